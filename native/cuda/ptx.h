// Instructions beyond C++, each with its assembly for nvcc and, for the device model, an exact emulation on the register
// layouts that the PTX manual documents. wgmma is in wgmma.h, copies by tiles in tma.h.
#ifndef POGO_CUDA_PTX_H
#define POGO_CUDA_PTX_H

#include "../exact/functions.h"
#include "device_code.h"

// Which element of a fragment of mma.m16n8k32 a lane holds: word w of the lane has bytes 0..3 of one row or column.
/** Word w of 4: rows (w % 2) * 8 + lane / 4, columns 4 * (lane % 4) + 16 * (w / 2) onward. */
POGO_HD int pogo_mma_a_row(int lane, int word) { return lane / 4 + 8 * (word & 1); }
POGO_HD int pogo_mma_a_column(int lane, int word) { return 4 * (lane % 4) + 16 * (word >> 1); }
/** Word w of 2: column lane / 4 of b, contracted index 4 * (lane % 4) + 16 * w onward. */
POGO_HD int pogo_mma_b_column(int lane) { return lane / 4; }
POGO_HD int pogo_mma_b_row(int lane, int word) { return 4 * (lane % 4) + 16 * word; }
/** Accumulator i of 4. */
POGO_HD int pogo_mma_d_row(int lane, int i) { return lane / 4 + 8 * (i >> 1); }
POGO_HD int pogo_mma_d_column(int lane, int i) { return 2 * (lane % 4) + (i & 1); }

#if defined(__CUDACC__)

/** Address of a place in shared memory as the instructions want it. */
static __device__ __forceinline__ uint32_t pogo_shared_address(const void* place) {
  return (uint32_t)__cvta_generic_to_shared(place);
}

#define POGO_MMA(name, types)                                                                                  \
  static __device__ __forceinline__ void name(int32_t d[4], const uint32_t a[4], const uint32_t b[2]) {        \
    asm volatile("mma.sync.aligned.m16n8k32.row.col.s32." types ".s32 {%0, %1, %2, %3}, {%4, %5, %6, %7}, "     \
                 "{%8, %9}, {%0, %1, %2, %3};"                                                                 \
                 : "+r"(d[0]), "+r"(d[1]), "+r"(d[2]), "+r"(d[3])                                              \
                 : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b[0]), "r"(b[1]));                          \
  }
/** d += a b: a 16 x 32 signed by rows, b 32 x 8 signed by columns, int32 sums. All lanes of the warp. */
POGO_MMA(mma_s8s8, "s8.s8")
/** The same with a unsigned. */
POGO_MMA(mma_u8s8, "u8.s8")
#undef POGO_MMA

/** Four 8 x 16-byte matrices: lane i gives the address of row i % 8 of matrix i / 8, and gets bytes 4 (i % 4).. of row i / 4. */
static __device__ __forceinline__ void ldmatrix_x4(uint32_t r[4], const void* row) {
  asm volatile("ldmatrix.sync.aligned.m8n8.x4.shared.b16 {%0, %1, %2, %3}, [%4];"
               : "=r"(r[0]), "=r"(r[1]), "=r"(r[2]), "=r"(r[3])
               : "r"(pogo_shared_address(row))
               : "memory");
}

/** Two of them: lanes 0..15 give the addresses. */
static __device__ __forceinline__ void ldmatrix_x2(uint32_t r[2], const void* row) {
  asm volatile("ldmatrix.sync.aligned.m8n8.x2.shared.b16 {%0, %1}, [%2];"
               : "=r"(r[0]), "=r"(r[1])
               : "r"(pogo_shared_address(row))
               : "memory");
}

/** As ldmatrix_x4 with each matrix transposed as 8 x 8 of 16 bits: the pairs of bytes i / 4 of rows 2 (i % 4) and one more. */
static __device__ __forceinline__ void ldmatrix_x4_trans(uint32_t r[4], const void* row) {
  asm volatile("ldmatrix.sync.aligned.m8n8.x4.trans.shared.b16 {%0, %1, %2, %3}, [%4];"
               : "=r"(r[0]), "=r"(r[1]), "=r"(r[2]), "=r"(r[3])
               : "r"(pogo_shared_address(row))
               : "memory");
}

/** Sixteen bytes from global to shared memory without registers; zeros where not `valid` (then `global` is not read). */
static __device__ __forceinline__ void cp_async16(void* shared, const void* global, bool valid) {
  asm volatile("cp.async.cg.shared.global [%0], [%1], 16, %2;" ::"r"(pogo_shared_address(shared)), "l"(global),
               "r"(valid ? 16 : 0)
               : "memory");
}
/** The same of the first `bytes` of 16, zeros behind them; `global` is read no further. */
static __device__ __forceinline__ void cp_async16_part(void* shared, const void* global, uint32_t bytes) {
  asm volatile("cp.async.cg.shared.global [%0], [%1], 16, %2;" ::"r"(pogo_shared_address(shared)), "l"(global), "r"(bytes)
               : "memory");
}
/** Asks for the line of `global` to be brought to the L2 cache. */
static __device__ __forceinline__ void fetch_ahead(const void* global) {
  asm volatile("prefetch.global.L2 [%0];" ::"l"(global));
}
static __device__ __forceinline__ void cp_async_commit() { asm volatile("cp.async.commit_group;" ::: "memory"); }
/** Until at most N of this thread's groups are left; other threads see them after a barrier. */
template <int N>
static __device__ __forceinline__ void cp_async_wait() {
  asm volatile("cp.async.wait_group %0;" ::"n"(N) : "memory");
}

/** Byte k: the byte of b:a that nibble k of the selector names, b's from 4 on, or 0 where it names 8 and the byte has no top bit. */
static __device__ __forceinline__ uint32_t chosen_bytes(uint32_t a, uint32_t b, uint32_t selector) {
  uint32_t result;
  asm("prmt.b32 %0, %1, %2, %3;" : "=r"(result) : "r"(a), "r"(b), "r"(selector));
  return result;
}

/** place |= bits in shared memory, other threads' bits kept. Without a branch; nothing where `bits` is 0. */
static __device__ __forceinline__ void shared_or(uint32_t* place, uint32_t bits) {
  asm volatile("{\n\t.reg .pred some;\n\tsetp.ne.u32 some, %1, 0;\n\t@some red.shared.or.b32 [%0], %1;\n\t}" ::"r"(
                   pogo_shared_address(place)),
               "r"(bits)
               : "memory");
}

// Clusters (sm_90).
static __device__ __forceinline__ uint32_t cluster_rank() {
  uint32_t rank = 0;
#if !defined(__CUDA_ARCH__) || __CUDA_ARCH__ >= 900
  asm volatile("mov.u32 %0, %%cluster_ctarank;" : "=r"(rank));
#endif
  return rank;
}
static __device__ __forceinline__ uint32_t cluster_size() {
  uint32_t size = 1;
#if !defined(__CUDA_ARCH__) || __CUDA_ARCH__ >= 900
  asm volatile("mov.u32 %0, %%cluster_nctarank;" : "=r"(size));
#endif
  return size;
}
/** Releases what this thread wrote; `cluster_wait` acquires what the others wrote before they arrived. */
static __device__ __forceinline__ void cluster_arrive() {
#if !defined(__CUDA_ARCH__) || __CUDA_ARCH__ >= 900
  asm volatile("barrier.cluster.arrive.aligned;" ::: "memory");
#endif
}
/** Arrives without releasing anything: nothing that waits for others' writes may rely on it. */
static __device__ __forceinline__ void cluster_arrive_relaxed() {
#if !defined(__CUDA_ARCH__) || __CUDA_ARCH__ >= 900
  asm volatile("barrier.cluster.arrive.relaxed.aligned;" ::: "memory");
#endif
}
static __device__ __forceinline__ void cluster_wait() {
#if !defined(__CUDA_ARCH__) || __CUDA_ARCH__ >= 900
  asm volatile("barrier.cluster.wait.aligned;" ::: "memory");
#endif
}
/** The same place in the shared memory of block `rank` of the cluster, as a generic address. */
template <class T>
static __device__ __forceinline__ T* map_shared(T* place, uint32_t rank) {
#if !defined(__CUDA_ARCH__) || __CUDA_ARCH__ >= 900
  T* mapped;
  asm volatile("mapa.u64 %0, %1, %2;" : "=l"(mapped) : "l"(place), "r"(rank));
  return mapped;
#else
  (void)rank;
  return place;
#endif
}

/** Says that what this thread wrote before, or saw written, can be read; `flag_wait` waits until somebody said so. Grid-wide. */
static __device__ __forceinline__ void flag_raise(uint32_t* flag) {
  asm volatile("st.release.gpu.global.u32 [%0], %1;" ::"l"(flag), "r"(1u) : "memory");
}
static __device__ __forceinline__ void flag_wait(uint32_t* flag) {
  uint32_t raised;
  do {
    asm volatile("ld.acquire.gpu.global.u32 %0, [%1];" : "=r"(raised) : "l"(flag) : "memory");
  } while (raised == 0);
}

/** Barrier `id` (1..15) of `threads` threads of the block. */
static __device__ __forceinline__ void named_barrier(uint32_t id, uint32_t threads) {
  asm volatile("bar.sync %0, %1;" ::"r"(id), "r"(threads) : "memory");
}
/** Arrives there without waiting. */
static __device__ __forceinline__ void named_barrier_arrive(uint32_t id, uint32_t threads) {
  asm volatile("bar.arrive %0, %1;" ::"r"(id), "r"(threads) : "memory");
}

#else

struct PogoMmaOperand {
  int32_t* d;
  const uint32_t *a, *b;
};

template <bool unsigned_a>
static inline void pogo_mma_emulated(void* const* operands, int) {
  int32_t a[16][32], b[8][32];
  for (int lane = 0; lane < 32; lane += 1) {
    const PogoMmaOperand& own = *static_cast<const PogoMmaOperand*>(operands[lane]);
    for (int word = 0; word < 4; word += 1) {
      for (int k = 0; k < 4; k += 1) {
        uint8_t byte = (uint8_t)(own.a[word] >> (8 * k));
        a[pogo_mma_a_row(lane, word)][pogo_mma_a_column(lane, word) + k] = unsigned_a ? (int32_t)byte : (int8_t)byte;
      }
    }
    for (int word = 0; word < 2; word += 1) {
      for (int k = 0; k < 4; k += 1) {
        b[pogo_mma_b_column(lane)][pogo_mma_b_row(lane, word) + k] = (int8_t)(uint8_t)(own.b[word] >> (8 * k));
      }
    }
  }
  for (int lane = 0; lane < 32; lane += 1) {
    const PogoMmaOperand& own = *static_cast<const PogoMmaOperand*>(operands[lane]);
    for (int i = 0; i < 4; i += 1) {
      const int32_t* row = a[pogo_mma_d_row(lane, i)];
      const int32_t* column = b[pogo_mma_d_column(lane, i)];
      int32_t sum = 0;
      for (int k = 0; k < 32; k += 1) sum += row[k] * column[k];
      own.d[i] = (int32_t)((uint32_t)own.d[i] + (uint32_t)sum);
    }
  }
}

static inline void mma_s8s8(int32_t d[4], const uint32_t a[4], const uint32_t b[2]) {
  PogoMmaOperand operand = {d, a, b};
  cuda_model::warp_collective(0xFFFFFFFFu, pogo_mma_emulated<false>, &operand, "mma_s8s8");
}
static inline void mma_u8s8(int32_t d[4], const uint32_t a[4], const uint32_t b[2]) {
  PogoMmaOperand operand = {d, a, b};
  cuda_model::warp_collective(0xFFFFFFFFu, pogo_mma_emulated<true>, &operand, "mma_u8s8");
}

struct PogoMatrixOperand {
  uint32_t* r;
  const unsigned char* row;
};

template <int matrices>
static inline void pogo_ldmatrix_emulated(void* const* operands, int) {
  for (int matrix = 0; matrix < matrices; matrix += 1) {
    for (int lane = 0; lane < 32; lane += 1) {
      const PogoMatrixOperand& from = *static_cast<const PogoMatrixOperand*>(operands[8 * matrix + lane / 4]);
      if ((uintptr_t)from.row % 16 != 0) cuda_model::fail("ldmatrix: a row is not aligned to 16 bytes");
      memcpy(&static_cast<const PogoMatrixOperand*>(operands[lane])->r[matrix], from.row + 4 * (lane % 4), 4);
    }
  }
}

static inline void ldmatrix_x4(uint32_t r[4], const void* row) {
  PogoMatrixOperand operand = {r, static_cast<const unsigned char*>(row)};
  cuda_model::warp_collective(0xFFFFFFFFu, pogo_ldmatrix_emulated<4>, &operand, "ldmatrix_x4");
}
static inline void ldmatrix_x2(uint32_t r[2], const void* row) {
  PogoMatrixOperand operand = {r, static_cast<const unsigned char*>(row)};
  cuda_model::warp_collective(0xFFFFFFFFu, pogo_ldmatrix_emulated<2>, &operand, "ldmatrix_x2");
}

static inline void pogo_ldmatrix_trans_emulated(void* const* operands, int) {
  for (int matrix = 0; matrix < 4; matrix += 1) {
    for (int lane = 0; lane < 32; lane += 1) {
      uint16_t pair[2];
      for (int i = 0; i < 2; i += 1) {
        const PogoMatrixOperand& from = *static_cast<const PogoMatrixOperand*>(operands[8 * matrix + 2 * (lane % 4) + i]);
        if ((uintptr_t)from.row % 16 != 0) cuda_model::fail("ldmatrix: a row is not aligned to 16 bytes");
        memcpy(&pair[i], from.row + 2 * (lane / 4), 2);
      }
      memcpy(&static_cast<const PogoMatrixOperand*>(operands[lane])->r[matrix], pair, 4);
    }
  }
}
static inline void ldmatrix_x4_trans(uint32_t r[4], const void* row) {
  PogoMatrixOperand operand = {r, static_cast<const unsigned char*>(row)};
  cuda_model::warp_collective(0xFFFFFFFFu, pogo_ldmatrix_trans_emulated, &operand, "ldmatrix_x4_trans");
}

static inline void cp_async16(void* shared, const void* global, bool valid) {
  if ((uintptr_t)shared % 16 != 0 || (valid && (uintptr_t)global % 16 != 0)) {
    cuda_model::fail("cp_async16: an address is not aligned to 16 bytes");
  }
  cuda_model::async_copy(shared, global, 16, valid ? 16 : 0);
}
static inline void cp_async16_part(void* shared, const void* global, uint32_t bytes) {
  if ((uintptr_t)shared % 16 != 0 || (bytes > 0 && (uintptr_t)global % 16 != 0)) {
    cuda_model::fail("cp_async16_part: an address is not aligned to 16 bytes");
  }
  cuda_model::async_copy(shared, global, 16, bytes);
}
static inline void cp_async_commit() { cuda_model::async_commit(); }
template <int N>
static inline void cp_async_wait() {
  cuda_model::async_wait(N);
}

static inline uint32_t chosen_bytes(uint32_t a, uint32_t b, uint32_t selector) {
  uint32_t result = 0;
  for (int k = 0; k < 4; k += 1) {
    const uint32_t nibble = (selector >> (4 * k)) & 15u;
    const uint32_t byte = (uint32_t)((((uint64_t)b << 32) | a) >> (8 * (nibble & 7u))) & 255u;
    result |= (nibble < 8 ? byte : byte >= 128 ? 255u : 0u) << (8 * k);
  }
  return result;
}

static inline void shared_or(uint32_t* place, uint32_t bits) { atomicOr(place, bits); }

static inline uint32_t cluster_rank() { return cuda_model::current->rank; }
static inline uint32_t cluster_size() { return cuda_model::current->cluster_size; }
static inline void cluster_arrive() { cuda_model::cluster_arrive(); }
static inline void cluster_arrive_relaxed() { cuda_model::cluster_arrive(); }
static inline void fetch_ahead(const void*) {}
static inline void cluster_wait() { cuda_model::cluster_wait(); }
template <class T>
static inline T* map_shared(T* place, uint32_t rank) {
  return static_cast<T*>(cuda_model::map_shared(place, rank));
}

static inline void flag_raise(uint32_t* flag) { *flag = 1; }
static inline bool flag_is_raised(void* flag) { return *static_cast<const volatile uint32_t*>(flag) != 0; }
static inline void flag_wait(uint32_t* flag) { cuda_model::wait_until(flag_is_raised, flag, "a flag in memory"); }

static inline void named_barrier(uint32_t id, uint32_t threads) { cuda_model::named_barrier(id, threads, false); }
static inline void named_barrier_arrive(uint32_t id, uint32_t threads) { cuda_model::named_barrier(id, threads, true); }

#endif

/** The larger of two finite numbers; which of two zeros is left to the caller. */
static __device__ __forceinline__ float larger(float a, float b) {
#if defined(__CUDA_ARCH__)
  return fmaxf(a, b);
#else
  return a > b ? a : b;
#endif
}

/** Magnitudes: as the maximum of bits (1.2) in one instruction; a NaN wins. */
static __device__ __forceinline__ float larger_magnitude(float top, float x) {
#if defined(__CUDA_ARCH__)
  float result;
  asm("max.NaN.f32 %0, %1, %2;" : "=f"(result) : "f"(top), "f"(fabsf(x)));
  return result;
#else
  return pogo_of_bits(pogo_imax(pogo_bits(top), pogo_abs_bits(x)));
#endif
}

/** Two values as bf16. The instruction rounds as the definition does; of a NaN it keeps no payload, which nothing specifies. */
POGO_HD uint32_t pair_bf16(float low, float high) {
#if defined(__CUDA_ARCH__)
  uint32_t pair;
  asm("cvt.rn.bf16x2.f32 %0, %1, %2;" : "=r"(pair) : "f"(high), "f"(low));
  return pair;
#else
  return pogo_bf16(low) | (pogo_bf16(high) << 16);
#endif
}

/** x, of which the compiler knows nothing: what is made of it is made here, not kept in a register since it was made before. */
static __device__ __forceinline__ uint32_t made_again(uint32_t x) {
#if defined(__CUDA_ARCH__)
  asm volatile("" : "+r"(x));
#endif
  return x;
}

/** The largest of three words as signed or unsigned numbers: one instruction from sm_90 on. */
static __device__ __forceinline__ int32_t largest_signed(int32_t a, int32_t b, int32_t c) {
#if defined(__CUDA_ARCH__)
  return __vimax3_s32(a, b, c);
#else
  const int32_t top = a > b ? a : b;
  return top > c ? top : c;
#endif
}
static __device__ __forceinline__ uint32_t largest_unsigned(uint32_t a, uint32_t b, uint32_t c) {
#if defined(__CUDA_ARCH__)
  return __vimax3_u32(a, b, c);
#else
  const uint32_t top = a > b ? a : b;
  return top > c ? top : c;
#endif
}

static __device__ __forceinline__ void cluster_sync() {
  cluster_arrive();
  cluster_wait();
}

#endif
