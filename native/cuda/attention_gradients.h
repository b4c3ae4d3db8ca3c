// What the kernels of attention's backward pass share: arrays, accumulators, and the codes of dQ that lie in memory between two
// of them.
#ifndef POGO_CUDA_ATTENTION_GRADIENTS_H
#define POGO_CUDA_ATTENTION_GRADIENTS_H

#include "attention_tiles.h"

namespace pogo {
namespace attention {

struct Seed {
  uint32_t word[4];
  __device__ explicit Seed(const uint32_t* place) {
    POGO_UNROLL
    for (int i = 0; i < 4; i += 1) word[i] = place[i];
  }
};

/** Adds a block's product: sum + number * scale, or starts from it, which +0 before does too: no product is -0. */
static __device__ __forceinline__ void accumulate(float sums[2][4], const int32_t products[2][4], const float scale[2]) {
  POGO_UNROLL
  for (int i = 0; i < 8; i += 1) {
    float* sum = &sums[i / 4][i % 4];
    *sum = pogo_add(*sum, pogo_mul(number_of(products[i / 4][i % 4]), scale[i / 4]));
  }
}

template <int chunks>
static __device__ __forceinline__ void clear(float sums[chunks][2][4]) {
  POGO_UNROLL
  for (int c = 0; c < chunks; c += 1) {
    POGO_UNROLL
    for (int i = 0; i < 8; i += 1) sums[c][i / 4][i % 4] = 0.0f;
  }
}

/** Four columns of a row as bf16. */
static __device__ __forceinline__ void store_row(uint16_t* place, const float x[4], float factor) {
  *reinterpret_cast<uint2*>(place) = make_uint2(pair_bf16(pogo_mul(x[0], factor), pogo_mul(x[1], factor)),
                                                pair_bf16(pogo_mul(x[2], factor), pogo_mul(x[3], factor)));
}

/**
 * Codes and scales of e sk for a chunk of the pairs (sequence, group of heads), by head, then tile: the kernel over keys writes
 * them, the kernel over queries multiplies them.
 */
struct QueryCodes {
  /** Words of the left operand. */
  uint2* words;
  /** [tiles, 64] */
  float* scales;
  uint32_t first_pair;

  static constexpr size_t TILE_BYTES = TILE * TILE + TILE * sizeof(float);

  /** The two words of half 0 or 1 of row half r. */
  __device__ uint2* place(uint32_t tile, int warp, int half, int r, int lane) const {
    return words + ((uint64_t)tile * (TILE * TILE / 8) + (uint64_t)(128 * warp + 64 * half + 32 * r + lane));
  }
};

struct BackwardArrays {
  const int8_t* qkv;
  const float* scales;
  const int8_t* d_o;
  const float* d_o_scales;
  const float* lambda;
  uint16_t* dqkv;
  const uint32_t *seed_v, *seed_k, *seed_q;
  uint32_t t0, U;
  // Of the workspace.
  /** [H, T] */
  float* d;
  /** Row words of the dither of dV, dK and dQ, [3, T]. */
  uint32_t* row_words;
  QueryCodes codes;
};

}  // namespace attention
}  // namespace pogo

#endif
