// Scratch memory that is reused between operations. Its own translation unit: kernels compiled for any instruction
// set call it through one plain function.
#include <stdlib.h>

#include <new>
#include <vector>

#include "arena.h"

// AddressSanitizer sees one allocation for all scratch of an operation: told where each part ends, it finds the byte
// read or written between two of them.
#if defined(__SANITIZE_ADDRESS__)
#include <sanitizer/asan_interface.h>
#else
#define ASAN_POISON_MEMORY_REGION(address, bytes) ((void)(address), (void)(bytes))
#define ASAN_UNPOISON_MEMORY_REGION(address, bytes) ((void)(address), (void)(bytes))
#endif

namespace {
void* aligned(size_t bytes) {
#if defined(_WIN32)
  return _aligned_malloc(bytes, 64);
#else
  void* p = nullptr;
  return posix_memalign(&p, 64, bytes) == 0 ? p : nullptr;
#endif
}
void release(void* p) {
#if defined(_WIN32)
  _aligned_free(p);
#else
  free(p);
#endif
}
}  // namespace

struct PogoArena {
  struct Block {
    char* base;
    size_t size;
  };
  std::vector<Block> blocks;
  size_t used = 0;   // of the last block
  size_t total = 0;  // of all blocks in this operation
  size_t allocations = 0;

  void grow(size_t bytes) {
    size_t size = bytes < (size_t(1) << 20) ? (size_t(1) << 20) : bytes;
    blocks.reserve(blocks.size() + 1);
    char* base = static_cast<char*>(aligned(size));
    if (base == nullptr) throw std::bad_alloc();
    blocks.push_back({base, size});
    allocations += 1;
    used = 0;
  }
  void clear() {
    for (Block& b : blocks) {
      ASAN_UNPOISON_MEMORY_REGION(b.base, b.size);
      release(b.base);
    }
    blocks.clear();
  }
};

size_t pogo_arena_allocations(const PogoArena* arena) { return arena->allocations; }

PogoArena* pogo_arena_new() { return new PogoArena(); }

void pogo_arena_delete(PogoArena* arena) {
  arena->clear();
  delete arena;
}

void pogo_arena_reset(PogoArena* arena) {
  // One block large enough for everything the last operation took: the next call of its kind allocates nothing.
  if (arena->blocks.size() > 1) {
    size_t total = arena->total;
    arena->clear();
    arena->grow(total);
  }
  arena->used = 0;
  arena->total = 0;
}

void* pogo_take(PogoArena* arena, size_t bytes) {
  size_t size = (bytes + 63) & ~size_t(63);
  // Blocks start 64-byte aligned; the odd line keeps power-of-two buffers from sharing cache sets.
  size += 64;
  if (arena->blocks.empty() || arena->used + size > arena->blocks.back().size) arena->grow(size);
  char* p = arena->blocks.back().base + arena->used;
  arena->used += size;
  arena->total += size;
  ASAN_UNPOISON_MEMORY_REGION(p, bytes);
  ASAN_POISON_MEMORY_REGION(p + bytes, size - bytes);
  return p;
}
