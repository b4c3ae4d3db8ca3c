// What the difference of two packed models and its inverse share: the chunks of src/reference/diffModel.ts and where the words
// of a chunk lie in a block.
#ifndef POGO_CUDA_DIFF_CHUNKS_H
#define POGO_CUDA_DIFF_CHUNKS_H

#include "elements.h"
#include "ops.h"
#include "ptx.h"

namespace pogo {

static constexpr uint32_t DIFF_CHUNK = 16384;

POGO_HD uint64_t chunks_of(uint64_t n) { return (n + DIFF_CHUNK - 1) / DIFF_CHUNK; }
POGO_HD uint32_t chunk_bytes(uint64_t n, uint64_t chunk) {
  const uint64_t left = n - chunk * DIFF_CHUNK;
  return left < DIFF_CHUNK ? (uint32_t)left : DIFF_CHUNK;
}

/** Length of a chunk of n bytes with `differing` nibbles, its tag included. */
POGO_HD uint32_t encoded_bytes(uint32_t n, uint32_t differing) {
  if (differing == 0) return 1;
  const uint32_t sparse = (n + 3) / 4 + (differing + 1) / 2;
  return 1 + (sparse > n ? n : sparse);
}
POGO_HD bool is_sparse(uint32_t n, uint32_t differing) {
  return differing != 0 && (n + 3) / 4 + (differing + 1) / 2 <= n;
}

#if defined(POGO_DEVICE_CODE)

static constexpr uint32_t ALL = 0xFFFFFFFFu;
/** Threads of a block that has one chunk. */
static constexpr int CHUNK_THREADS = 256;
static constexpr uint32_t CHUNK_WARPS = CHUNK_THREADS / 32;
static constexpr uint32_t CHUNK_WORDS = DIFF_CHUNK / 4;
static constexpr uint32_t WARP_WORDS = CHUNK_WORDS / CHUNK_WARPS;
/** Words of a lane at a time: 16 bytes. */
static constexpr uint32_t LANE_WORDS = 4;
static constexpr uint32_t TURNS = WARP_WORDS / (32 * LANE_WORDS);

/** Word of a chunk that a lane has in a turn; its three neighbours follow. */
POGO_HD uint32_t lane_word(uint32_t warp, uint32_t turn, uint32_t lane) {
  return warp * WARP_WORDS + (turn * 32 + lane) * LANE_WORDS;
}

/**
 * Selectors for a mask of eight nibbles. A word's nibbles are taken apart into four bytes of the even ones and four of the odd,
 * chosen once for the even nibbles of the result (low half) and once for the odd (high half), and put together again.
 */
struct NibbleSelectors {
  uint32_t selector[256];
};
constexpr uint32_t NO_NIBBLE = 8;
constexpr uint32_t nibble_byte(uint32_t nibble) { return nibble / 2 + 4 * (nibble % 2); }

/** `gathers`: the mask's nibbles move to the lowest places; else the lowest move to the mask's places. Zeros elsewhere. */
constexpr NibbleSelectors make_selectors(bool gathers) {
  NibbleSelectors made = {};
  for (uint32_t mask = 0; mask < 256; mask += 1) {
    uint32_t source[8] = {NO_NIBBLE, NO_NIBBLE, NO_NIBBLE, NO_NIBBLE, NO_NIBBLE, NO_NIBBLE, NO_NIBBLE, NO_NIBBLE}, count = 0;
    for (uint32_t i = 0; i < 8; i += 1) {
      if ((mask >> i & 1u) == 0) continue;
      source[gathers ? count : i] = nibble_byte(gathers ? i : count);
      count += 1;
    }
    for (uint32_t i = 0; i < 8; i += 1) made.selector[mask] |= source[i] << (4 * (i / 2) + 16 * (i % 2));
  }
  return made;
}

#if defined(POGO_DEVICE_CODE)
/** The nibbles of x moved as a selector says. */
static __device__ __forceinline__ uint32_t moved_nibbles(uint32_t x, uint32_t selector) {
  const uint32_t even = x & 0x0F0F0F0Fu, odd = (x >> 4) & 0x0F0F0F0Fu;
  return chosen_bytes(even, odd, selector) + (chosen_bytes(even, odd, selector >> 16) << 4);
}
#endif

/** The 16 bytes at `place`, which is a multiple of 16, zeros from `bytes` of them on. */
static __device__ __forceinline__ uint4 load_part(const uint8_t* place, uint32_t bytes) {
  if (bytes >= 16) return *reinterpret_cast<const uint4*>(place);
  uint64_t low = 0, high = 0;
  POGO_NO_UNROLL
  for (uint32_t b = bytes; b > 0; b -= 1) {
    high = high << 8 | low >> 56;
    low = low << 8 | place[b - 1];
  }
  return make_uint4((uint32_t)low, (uint32_t)(low >> 32), (uint32_t)high, (uint32_t)(high >> 32));
}

/** A chunk's words as this thread has them, zeros behind its n bytes. */
static __device__ __forceinline__ void load_chunk(const uint8_t* chunk, uint32_t n, uint32_t x[TURNS][LANE_WORDS]) {
  const auto load = [&](auto of) {
    POGO_UNROLL
    for (uint32_t t = 0; t < TURNS; t += 1) {
      const uint4 q = of(4 * lane_word(threadIdx.x / 32, t, threadIdx.x % 32));
      x[t][0] = q.x;
      x[t][1] = q.y;
      x[t][2] = q.z;
      x[t][3] = q.w;
    }
  };
  if (n == DIFF_CHUNK) {
    load([&](uint32_t at) { return *reinterpret_cast<const uint4*>(chunk + at); });
  } else {
    load([&](uint32_t at) { return load_part(chunk + at, at < n ? n - at : 0); });
  }
}

/** `shared`: a word a warp. All threads of the block. */
static __device__ __forceinline__ uint32_t block_sum(uint32_t value, uint32_t* shared) {
  value = __reduce_add_sync(ALL, value);
  if (threadIdx.x % 32 == 0) shared[threadIdx.x / 32] = value;
  __syncthreads();
  uint32_t sum = 0;
  for (uint32_t w = 0; w < blockDim.x / 32; w += 1) sum += shared[w];
  __syncthreads();
  return sum;
}

/** The least of all threads' values. `shared`: a word a warp. All threads of the block. */
static __device__ __forceinline__ uint32_t block_min(uint32_t value, uint32_t* shared) {
  value = __reduce_min_sync(ALL, value);
  if (threadIdx.x % 32 == 0) shared[threadIdx.x / 32] = value;
  __syncthreads();
  uint32_t least = shared[0];
  for (uint32_t w = 1; w < blockDim.x / 32; w += 1) least = min(least, shared[w]);
  __syncthreads();
  return least;
}

/** Sum over the lanes up to this one. */
static __device__ __forceinline__ uint32_t lanes_up_to(uint32_t value) {
  POGO_UNROLL
  for (uint32_t s = 1; s < 32; s <<= 1) {
    const uint32_t before = __shfl_up_sync(ALL, value, s);
    if (threadIdx.x % 32 >= s) value += before;
  }
  return value;
}

#endif

}  // namespace pogo

#endif
