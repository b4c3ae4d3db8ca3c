// wgmma of sm_90a: four warps multiply 64 x 32 bytes by 32 x 128 or 32 x 192 from shared memory into their registers, asynchronously.
// The emulation reads the descriptors as the PTX manual documents them, and runs at the issue, at the wait or as the
// model's seed draws: a missing wait, or a stage that is overwritten too early, shows.
#ifndef POGO_CUDA_WGMMA_H
#define POGO_CUDA_WGMMA_H

#include "gemm_tiles.h"
#include "ptx.h"

#if defined(POGO_CUDA_MODEL)
#include <unordered_map>
#include <vector>
#endif

namespace pogo {

// The descriptor of an operand in shared memory, rows of contracted bytes ("K-major"), swizzled by 128 bytes:
// bits 0..13 address / 16, 16..29 leading offset / 16 (not used in this layout), 32..45 offset / 16 between groups of eight
// rows, 49..51 base offset (0: groups begin at multiples of 1024), 62..63 the swizzle (1: 128 bytes).
static constexpr uint32_t WGMMA_GROUP_BYTES = 8 * 128;
/** The high word, the same for all operands. */
static constexpr uint32_t WGMMA_LAYOUT = WGMMA_GROUP_BYTES >> 4 | 1u << 30;

/**
 * The low word. Addresses in shared memory have 18 bits, so n bytes further is n / 16 more: additions of 32 bits, which ptxas
 * does in uniform registers where it knows the sum to be the same for a warp.
 */
POGO_HD constexpr uint32_t wgmma_descriptor(uint32_t address) { return (address >> 4 & 0x3FFFu) | 1u << 16; }

/** Accumulators of a warp: 16 x 128, the fragments of mma.m16n8k32 side by side. */
typedef int32_t WgmmaAccumulators[1][16][4];
/** The same of 16 x 192. */
typedef int32_t WgmmaWideAccumulators[1][24][4];

#if defined(POGO_DEVICE_CODE) && !defined(POGO_CUDA_MODEL)

static __device__ __forceinline__ uint32_t wgmma_address(const void* shared) { return pogo_shared_address(shared); }

/** Before the first wgmma, and before one that follows other uses of its registers. */
static __device__ __forceinline__ void wgmma_fence() { asm volatile("wgmma.fence.sync.aligned;" ::: "memory"); }
static __device__ __forceinline__ void wgmma_commit() { asm volatile("wgmma.commit_group.sync.aligned;" ::: "memory"); }
/** Until at most N groups of this warpgroup run. */
template <int N>
static __device__ __forceinline__ void wgmma_wait() {
  asm volatile("wgmma.wait_group.sync.aligned %0;" ::"n"(N) : "memory");
}
/** Makes this thread's writes to shared memory visible to wgmma, which reads by another way; a barrier must follow. */
static __device__ __forceinline__ void wgmma_see_writes() { asm volatile("fence.proxy.async.shared::cta;" ::: "memory"); }

/**
 * Registers of each thread of this warpgroup from here on, a multiple of 8: fewer than the kernel was launched with, or more,
 * which waits until other warpgroups of the block gave theirs up.
 */
template <int REGISTERS>
static __device__ __forceinline__ void warpgroup_shrink() {
  asm volatile("setmaxnreg.dec.sync.aligned.u32 %0;" ::"n"(REGISTERS));
}
template <int REGISTERS>
static __device__ __forceinline__ void warpgroup_grow() {
  asm volatile("setmaxnreg.inc.sync.aligned.u32 %0;" ::"n"(REGISTERS));
}

/** Keeps the compiler from computing a value again where it is used: it holds a register from here on. */
static __device__ __forceinline__ void wgmma_hold(uint32_t& value) { asm volatile("" : "+r"(value)); }

/** Keeps the compiler from reading or moving accumulators across this place. */
template <int NT>
static __device__ __forceinline__ void wgmma_hold(int32_t (&d)[1][NT][4]) {
  POGO_UNROLL
  for (int nt = 0; nt < NT; nt += 1) {
    POGO_UNROLL
    for (int i = 0; i < 4; i += 1) asm volatile("" : "+r"(d[0][nt][i])::"memory");
  }
}

#define POGO_D4(nt) "+r"(d[0][nt][0]), "+r"(d[0][nt][1]), "+r"(d[0][nt][2]), "+r"(d[0][nt][3])
/** d = (accumulate ? d : 0) + a b for 64 rows of a, 128 rows of b, 32 bytes of each. All threads of the warpgroup. */
static __device__ __forceinline__ void wgmma_s8s8(WgmmaAccumulators& d, uint32_t a, uint32_t b, bool accumulate) {
  asm volatile(
      "{\n.reg .pred p;\n.reg .b64 a, b;\nsetp.ne.b32 p, %66, 0;\nmov.b64 a, {%64, %67};\nmov.b64 b, {%65, %67};\n"
      "wgmma.mma_async.sync.aligned.m64n128k32.s32.s8.s8 "
      "{%0, %1, %2, %3, %4, %5, %6, %7, %8, %9, %10, %11, %12, %13, %14, %15, "
      "%16, %17, %18, %19, %20, %21, %22, %23, %24, %25, %26, %27, %28, %29, %30, %31, "
      "%32, %33, %34, %35, %36, %37, %38, %39, %40, %41, %42, %43, %44, %45, %46, %47, "
      "%48, %49, %50, %51, %52, %53, %54, %55, %56, %57, %58, %59, %60, %61, %62, %63}, "
      "a, b, p;\n}\n"
      : POGO_D4(0), POGO_D4(1), POGO_D4(2), POGO_D4(3), POGO_D4(4), POGO_D4(5), POGO_D4(6), POGO_D4(7), POGO_D4(8),
        POGO_D4(9), POGO_D4(10), POGO_D4(11), POGO_D4(12), POGO_D4(13), POGO_D4(14), POGO_D4(15)
      : "r"(a), "r"(b), "r"((uint32_t)accumulate), "n"(WGMMA_LAYOUT));
}
/** The same for 192 rows of b. */
static __device__ __forceinline__ void wgmma_s8s8(WgmmaWideAccumulators& d, uint32_t a, uint32_t b, bool accumulate) {
  asm volatile(
      "{\n.reg .pred p;\n.reg .b64 a, b;\nsetp.ne.b32 p, %98, 0;\nmov.b64 a, {%96, %99};\nmov.b64 b, {%97, %99};\n"
      "wgmma.mma_async.sync.aligned.m64n192k32.s32.s8.s8 "
      "{%0, %1, %2, %3, %4, %5, %6, %7, %8, %9, %10, %11, %12, %13, %14, %15, "
      "%16, %17, %18, %19, %20, %21, %22, %23, %24, %25, %26, %27, %28, %29, %30, %31, "
      "%32, %33, %34, %35, %36, %37, %38, %39, %40, %41, %42, %43, %44, %45, %46, %47, "
      "%48, %49, %50, %51, %52, %53, %54, %55, %56, %57, %58, %59, %60, %61, %62, %63, "
      "%64, %65, %66, %67, %68, %69, %70, %71, %72, %73, %74, %75, %76, %77, %78, %79, "
      "%80, %81, %82, %83, %84, %85, %86, %87, %88, %89, %90, %91, %92, %93, %94, %95}, "
      "a, b, p;\n}\n"
      : POGO_D4(0), POGO_D4(1), POGO_D4(2), POGO_D4(3), POGO_D4(4), POGO_D4(5), POGO_D4(6), POGO_D4(7), POGO_D4(8),
        POGO_D4(9), POGO_D4(10), POGO_D4(11), POGO_D4(12), POGO_D4(13), POGO_D4(14), POGO_D4(15), POGO_D4(16), POGO_D4(17),
        POGO_D4(18), POGO_D4(19), POGO_D4(20), POGO_D4(21), POGO_D4(22), POGO_D4(23)
      : "r"(a), "r"(b), "r"((uint32_t)accumulate), "n"(WGMMA_LAYOUT));
}
#undef POGO_D4

#elif defined(POGO_CUDA_MODEL)

namespace wgmma_model {

constexpr uint32_t WINDOW = cuda_model::SHARED_WINDOW;

struct Product {
  int32_t* d;
  uint32_t fragments;
  uint64_t a, b;
  bool accumulate;
  unsigned char* shared;
  size_t shared_bytes;
  uint32_t thread;
};

struct Queue {
  std::vector<Product> open;
  std::vector<std::vector<Product>> groups;
  bool fenced = false;
};

/** Of the running thread. */
inline Queue& queue() {
  static thread_local std::unordered_map<const void*, Queue> queues;
  return queues[cuda_model::current];
}

/** Sixteen bytes of a row of an operand, through its descriptor. */
inline const int8_t* chunk(const Product& p, uint64_t descriptor, uint32_t row, uint32_t byte) {
  const uint32_t start = (uint32_t)(descriptor & 0x3FFFu) << 4, stride = (uint32_t)(descriptor >> 32 & 0x3FFFu) << 4;
  if (descriptor >> 62 != 1 || (descriptor >> 49 & 7u) != 0) cuda_model::fail("wgmma: a descriptor of another layout");
  uint32_t address = start + row / 8 * stride + row % 8 * 128 + byte;
  if ((start & ~127u) % 1024 != 0) cuda_model::fail("wgmma: a tile that begins at no multiple of 1024");
  address ^= (address >> 7 & 7u) << 4;
  if (address < WINDOW || address - WINDOW + 16 > p.shared_bytes) cuda_model::fail("wgmma: an operand outside shared memory");
  return reinterpret_cast<const int8_t*>(p.shared + (address - WINDOW));
}

inline void run(const Product& p) {
  const uint32_t lane = p.thread % 32, warp = p.thread / 32 % 4;
  int8_t rows[2][32];
  for (uint32_t h = 0; h < 2; h += 1) {
    for (uint32_t byte = 0; byte < 32; byte += 16) {
      memcpy(&rows[h][byte], chunk(p, p.a, 16 * warp + lane / 4 + 8 * h, byte), 16);
    }
  }
  for (uint32_t nt = 0; nt < p.fragments; nt += 1) {
    for (uint32_t e = 0; e < 2; e += 1) {
      int8_t column[32];
      for (uint32_t byte = 0; byte < 32; byte += 16) {
        memcpy(&column[byte], chunk(p, p.b, 8 * nt + 2 * (lane % 4) + e, byte), 16);
      }
      for (uint32_t h = 0; h < 2; h += 1) {
        int32_t sum = 0;
        for (int k = 0; k < 32; k += 1) sum += (int32_t)rows[h][k] * column[k];
        int32_t* d = p.d + 4 * nt + 2 * h + e;
        *d = (p.accumulate ? *d : 0) + sum;
      }
    }
  }
}

}  // namespace wgmma_model

static inline uint32_t wgmma_address(const void* shared) {
  return (uint32_t)(static_cast<const unsigned char*>(shared) - cuda_model::current->shared) + wgmma_model::WINDOW;
}
static inline void wgmma_fence() { wgmma_model::queue().fenced = true; }
static inline void wgmma_commit() {
  wgmma_model::Queue& queue = wgmma_model::queue();
  queue.groups.push_back(std::move(queue.open));
  queue.open.clear();
}
template <int N>
static inline void wgmma_wait() {
  wgmma_model::Queue& queue = wgmma_model::queue();
  while (queue.groups.size() > N) {
    for (const wgmma_model::Product& product : queue.groups.front()) wgmma_model::run(product);
    queue.groups.erase(queue.groups.begin());
  }
  // Whoever waited may use the registers: the next product needs a fence.
  queue.fenced = false;
}
template <int REGISTERS>
static inline void warpgroup_shrink() {
  static_assert(REGISTERS % 8 == 0 && REGISTERS >= 24 && REGISTERS <= 256, "a count that setmaxnreg takes");
  cuda_model::group_collective(4, cuda_model::complete_nothing, nullptr, "setmaxnreg");
}
template <int REGISTERS>
static inline void warpgroup_grow() {
  warpgroup_shrink<REGISTERS>();
}
static inline void wgmma_see_writes() {}
static inline void wgmma_hold(uint32_t&) {}
template <int NT>
static inline void wgmma_hold(int32_t (&)[1][NT][4]) {}
template <int NT>
static inline void wgmma_s8s8(int32_t (&d)[1][NT][4], uint32_t a, uint32_t b, bool accumulate) {
  cuda_model::group_collective(4, cuda_model::complete_nothing, nullptr, "wgmma");
  wgmma_model::Queue& queue = wgmma_model::queue();
  if (!queue.fenced) cuda_model::fail("wgmma without a fence since its registers could be used");
  const cuda_model::Thread& own = *cuda_model::current;
  const uint64_t layout = (uint64_t)WGMMA_LAYOUT << 32;
  const wgmma_model::Product product = {&d[0][0][0], (uint32_t)NT, layout | a, layout | b, accumulate, own.shared, own.shared_bytes, own.index};
  // In order: at once only if nothing waits.
  if (queue.open.empty() && queue.groups.empty() && cuda_model::at_once()) return wgmma_model::run(product);
  queue.open.push_back(product);
}

#endif

}  // namespace pogo

#endif
