// The device model: enough of CUDA's language and runtime to run the kernels of this folder on a CPU, for tests.
//
// Threads of a block are fibers; one block runs at a time, or all blocks of a cluster together. A thread runs until it
// synchronizes, so what happens between two synchronizations is a matter of the order of fibers, which tests vary, like the
// order of blocks or clusters: ascending, descending, or drawn by a seed. Device and shared memory begin as bytes FF (a NaN, the largest absmax, an index
// out of range), and shared memory again before each block. Never shipped, never fast.
//
// What ends a launch with cudaErrorLaunchFailure and a message on stderr: threads that wait for others that ended or
// wait elsewhere (a divergent barrier), a warp operation whose mask names a missing lane, a write behind shared memory or
// beyond a stack. With AddressSanitizer every access beyond an allocation.
#ifndef POGO_CUDA_MODEL_H
#define POGO_CUDA_MODEL_H

#include <math.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <functional>

#include "runtime.h"

#define __global__
#define __device__
#define __host__
#define __grid_constant__
#define __forceinline__ inline __attribute__((always_inline))
#define __launch_bounds__(...)
#define __align__(n) __attribute__((aligned(n)))

struct uint3 {
  unsigned x, y, z;
};

#define POGO_MODEL_VECTORS(type, base, alignment)                       \
  struct alignas(alignment / 2) type##2 { base x, y; };                 \
  struct alignas(alignment) type##4 { base x, y, z, w; };               \
  static inline type##2 make_##type##2(base x, base y) { return {x, y}; } \
  static inline type##4 make_##type##4(base x, base y, base z, base w) { return {x, y, z, w}; }
POGO_MODEL_VECTORS(uint, unsigned, 16)
POGO_MODEL_VECTORS(int, int, 16)
POGO_MODEL_VECTORS(float, float, 16)
POGO_MODEL_VECTORS(ushort, unsigned short, 8)
POGO_MODEL_VECTORS(uchar, unsigned char, 4)
POGO_MODEL_VECTORS(char, signed char, 4)
#undef POGO_MODEL_VECTORS
struct alignas(16) ulonglong2 {
  unsigned long long x, y;
};
static inline ulonglong2 make_ulonglong2(unsigned long long x, unsigned long long y) { return {x, y}; }

namespace cuda_model {

/** What the running thread knows of itself. */
struct Thread {
  uint3 thread, block;
  dim3 block_size, grid_size;
  unsigned char* shared;
  size_t shared_bytes;
  /** Index within the block, and of the block within its cluster. */
  unsigned index, rank, cluster_size;
};

extern __thread Thread* current;

/** Receives the operands of the lanes that took part, by lane; null for the others. */
typedef void (*Complete)(void* const* operands, int lanes);

/** An operation of the lanes of `mask` together: the last to come runs `complete` for all. `name` for messages. */
void warp_collective(uint32_t mask, Complete complete, void* operand, const char* name);
/** The same of `warps` warps that begin at a multiple of `warps`, for all their lanes. */
void group_collective(unsigned warps, Complete complete, void* operand, const char* name);
void block_barrier();
/** Barrier `id` of `threads` threads of the block (bar.sync); `arrive` does not wait. */
void named_barrier(unsigned id, unsigned threads, bool arrive);
void cluster_arrive();
void cluster_wait();
/** The same place in the shared memory of another block of the cluster. */
void* map_shared(const void* place, unsigned rank);
/** Waits until `holds(argument)`. */
void wait_until(bool (*holds)(void*), void* argument, const char* name);
/** Lets the others run. */
void yield();
/** A drawn bit: whether an asynchronous operation is done at once or only when it is waited for. */
bool at_once();

/** An asynchronous copy of this thread, done at the latest when its group is waited for. */
void async_copy(void* to, const void* from, unsigned bytes, unsigned valid_bytes);
void async_commit();
void async_wait(unsigned groups_left);

/** Where shared memory begins in its own address space: a multiple of 16 as in the blocks' memory, and of no more. */
constexpr uint32_t SHARED_WINDOW = 16;
/** A copy that some thread waits for at `key`: done now, or by run_deferred; each must be waited for before the cluster ends. */
void defer(const void* key, std::function<void()> copy);
void run_deferred(const void* key);

/** Ends the launch with an error. */
[[noreturn]] void fail(const char* format, ...) __attribute__((format(printf, 1, 2)));

cudaError_t launch(const void* kernel, std::function<void()> body, dim3 grid, dim3 block, unsigned cluster,
                   size_t shared, cudaStream_t stream);

template <class T>
struct Shuffle {
  T value;
  int source;
  T result;
};

template <class T>
void complete_shuffle(void* const* operands, int) {
  for (int lane = 0; lane < 32; lane += 1) {
    Shuffle<T>* own = static_cast<Shuffle<T>*>(operands[lane]);
    if (own == nullptr) continue;
    Shuffle<T>* other = static_cast<Shuffle<T>*>(operands[own->source]);
    if (other == nullptr) fail("lane %d reads lane %d, which takes no part", lane, own->source);
    own->result = other->value;
  }
}

template <class T>
T shuffle(uint32_t mask, T value, int source, const char* name) {
  Shuffle<T> operand = {value, source, value};
  warp_collective(mask, complete_shuffle<T>, &operand, name);
  return operand.result;
}

struct Gather {
  uint32_t value, result;
};
void complete_max(void* const* operands, int);
void complete_min(void* const* operands, int);
void complete_add(void* const* operands, int);
void complete_or(void* const* operands, int);
void complete_and(void* const* operands, int);
void complete_signed_max(void* const* operands, int);
void complete_signed_min(void* const* operands, int);
void complete_ballot(void* const* operands, int);
void complete_nothing(void* const* operands, int);

inline uint32_t gather(uint32_t mask, uint32_t value, Complete complete, const char* name) {
  Gather operand = {value, 0};
  warp_collective(mask, complete, &operand, name);
  return operand.result;
}

inline int lane() { return (int)(current->index % 32); }

}  // namespace cuda_model

#define threadIdx (cuda_model::current->thread)
#define blockIdx (cuda_model::current->block)
#define blockDim (cuda_model::current->block_size)
#define gridDim (cuda_model::current->grid_size)
static constexpr int warpSize = 32;

static inline void __syncthreads() { cuda_model::block_barrier(); }
static inline void __syncwarp(unsigned mask = 0xFFFFFFFFu) {
  cuda_model::warp_collective(mask, cuda_model::complete_nothing, nullptr, "__syncwarp");
}
static inline void __threadfence() {}
static inline void __threadfence_block() {}
static inline void __nanosleep(unsigned) { cuda_model::yield(); }

template <class T>
static inline T __shfl_sync(unsigned mask, T value, int source, int width = 32) {
  int lane = cuda_model::lane();
  return cuda_model::shuffle(mask, value, (lane & ~(width - 1)) | (source & (width - 1)), "__shfl_sync");
}
template <class T>
static inline T __shfl_xor_sync(unsigned mask, T value, int bits, int width = 32) {
  int lane = cuda_model::lane(), source = lane ^ bits;
  return cuda_model::shuffle(mask, value, source / width > lane / width ? lane : source, "__shfl_xor_sync");
}
template <class T>
static inline T __shfl_down_sync(unsigned mask, T value, unsigned delta, int width = 32) {
  int lane = cuda_model::lane(), source = lane + (int)delta;
  return cuda_model::shuffle(mask, value, source / width != lane / width ? lane : source, "__shfl_down_sync");
}
template <class T>
static inline T __shfl_up_sync(unsigned mask, T value, unsigned delta, int width = 32) {
  int lane = cuda_model::lane(), source = lane - (int)delta;
  return cuda_model::shuffle(mask, value, source < (lane & ~(width - 1)) ? lane : source, "__shfl_up_sync");
}
static inline unsigned __ballot_sync(unsigned mask, int holds) {
  return cuda_model::gather(mask, holds != 0, cuda_model::complete_ballot, "__ballot_sync");
}
static inline int __any_sync(unsigned mask, int holds) { return __ballot_sync(mask, holds) != 0; }
static inline int __all_sync(unsigned mask, int holds) { return __ballot_sync(mask, !holds) == 0; }
static inline unsigned __reduce_max_sync(unsigned mask, unsigned value) {
  return cuda_model::gather(mask, value, cuda_model::complete_max, "__reduce_max_sync");
}
static inline unsigned __reduce_min_sync(unsigned mask, unsigned value) {
  return cuda_model::gather(mask, value, cuda_model::complete_min, "__reduce_min_sync");
}
static inline int __reduce_max_sync(unsigned mask, int value) {
  return (int)cuda_model::gather(mask, (uint32_t)value, cuda_model::complete_signed_max, "__reduce_max_sync");
}
static inline int __reduce_min_sync(unsigned mask, int value) {
  return (int)cuda_model::gather(mask, (uint32_t)value, cuda_model::complete_signed_min, "__reduce_min_sync");
}
static inline unsigned __reduce_add_sync(unsigned mask, unsigned value) {
  return cuda_model::gather(mask, value, cuda_model::complete_add, "__reduce_add_sync");
}
static inline int __reduce_add_sync(unsigned mask, int value) {
  return (int)cuda_model::gather(mask, (uint32_t)value, cuda_model::complete_add, "__reduce_add_sync");
}
static inline unsigned __reduce_or_sync(unsigned mask, unsigned value) {
  return cuda_model::gather(mask, value, cuda_model::complete_or, "__reduce_or_sync");
}
static inline unsigned __reduce_and_sync(unsigned mask, unsigned value) {
  return cuda_model::gather(mask, value, cuda_model::complete_and, "__reduce_and_sync");
}

// Integer atomics. There is none on floats: their sums would hang on the order.
#define POGO_MODEL_ATOMIC(name, type, result) \
  static inline type name(type* place, type value) { \
    type old = *place;                        \
    *place = (result);                        \
    return old;                               \
  }
#define POGO_MODEL_ATOMICS(type)                               \
  POGO_MODEL_ATOMIC(atomicMax, type, old > value ? old : value) \
  POGO_MODEL_ATOMIC(atomicMin, type, old < value ? old : value) \
  POGO_MODEL_ATOMIC(atomicOr, type, old | value)               \
  POGO_MODEL_ATOMIC(atomicAnd, type, old & value)              \
  POGO_MODEL_ATOMIC(atomicExch, type, value)                   \
  static inline type atomicCAS(type* place, type compare, type value) { \
    type old = *place;                                         \
    if (old == compare) *place = value;                        \
    return old;                                                \
  }
POGO_MODEL_ATOMICS(unsigned)
POGO_MODEL_ATOMICS(int)
POGO_MODEL_ATOMICS(unsigned long long)
POGO_MODEL_ATOMIC(atomicAdd, unsigned, old + value)
POGO_MODEL_ATOMIC(atomicAdd, int, (int)((unsigned)old + (unsigned)value))
POGO_MODEL_ATOMIC(atomicAdd, unsigned long long, old + value)
#undef POGO_MODEL_ATOMICS
#undef POGO_MODEL_ATOMIC

static inline int __popc(unsigned x) { return __builtin_popcount(x); }
static inline int __popcll(unsigned long long x) { return __builtin_popcountll(x); }
static inline int __clz(int x) { return x == 0 ? 32 : __builtin_clz((unsigned)x); }
static inline int __clzll(long long x) { return x == 0 ? 64 : __builtin_clzll((unsigned long long)x); }
static inline int __ffs(int x) { return __builtin_ffs(x); }
static inline int __ffsll(long long x) { return __builtin_ffsll(x); }
static inline unsigned __brev(unsigned x) {
  unsigned y = 0;
  for (int i = 0; i < 32; i += 1) y |= ((x >> i) & 1u) << (31 - i);
  return y;
}
static inline unsigned __umulhi(unsigned a, unsigned b) { return (unsigned)(((unsigned long long)a * b) >> 32); }
static inline unsigned __float_as_uint(float x) {
  unsigned bits;
  memcpy(&bits, &x, 4);
  return bits;
}
static inline float __uint_as_float(unsigned bits) {
  float x;
  memcpy(&x, &bits, 4);
  return x;
}
static inline int __float_as_int(float x) { return (int)__float_as_uint(x); }
static inline float __int_as_float(int bits) { return __uint_as_float((unsigned)bits); }
static inline unsigned __byte_perm(unsigned a, unsigned b, unsigned selector) {
  unsigned long long bytes = ((unsigned long long)b << 32) | a;
  unsigned result = 0;
  for (int i = 0; i < 4; i += 1) {
    unsigned nibble = (selector >> (4 * i)) & 15u;
    unsigned byte = (unsigned)(bytes >> (8 * (nibble & 7u))) & 255u;
    if (nibble & 8u) byte = byte & 128u ? 255u : 0u;
    result |= byte << (8 * i);
  }
  return result;
}
static inline unsigned __funnelshift_r(unsigned low, unsigned high, unsigned shift) {
  return (unsigned)((((unsigned long long)high << 32) | low) >> (shift & 31u));
}
static inline unsigned __funnelshift_l(unsigned low, unsigned high, unsigned shift) {
  return (unsigned)(((((unsigned long long)high << 32) | low) << (shift & 31u)) >> 32);
}
static inline int __dp4a(int a, int b, int sum) {
  for (int i = 0; i < 4; i += 1) sum += (int)(int8_t)((unsigned)a >> (8 * i)) * (int)(int8_t)((unsigned)b >> (8 * i));
  return sum;
}
static inline unsigned __dp4a(unsigned a, unsigned b, unsigned sum) {
  for (int i = 0; i < 4; i += 1) sum += ((a >> (8 * i)) & 255u) * ((b >> (8 * i)) & 255u);
  return sum;
}

// Cache hints change nothing here.
template <class T>
static inline T __ldg(const T* place) {
  return *place;
}
template <class T>
static inline T __ldcs(const T* place) {
  return *place;
}
template <class T>
static inline T __ldcg(const T* place) {
  return *place;
}
template <class T>
static inline void __stcs(T* place, T value) {
  *place = value;
}
template <class T>
static inline void __stcg(T* place, T value) {
  *place = value;
}

// CUDA's integer minima and maxima. Those of floats are not here: they differ from the definition on NaN and zeros.
static inline int min(int a, int b) { return a < b ? a : b; }
static inline int max(int a, int b) { return a > b ? a : b; }
static inline unsigned min(unsigned a, unsigned b) { return a < b ? a : b; }
static inline unsigned max(unsigned a, unsigned b) { return a > b ? a : b; }
static inline long long min(long long a, long long b) { return a < b ? a : b; }
static inline long long max(long long a, long long b) { return a > b ? a : b; }
static inline unsigned long long min(unsigned long long a, unsigned long long b) { return a < b ? a : b; }
static inline unsigned long long max(unsigned long long a, unsigned long long b) { return a > b ? a : b; }

#endif
