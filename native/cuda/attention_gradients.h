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
  /** Words of the left operand: of a tile 256 of these. */
  uint4* words;
  /** [tiles, 64] */
  float* scales;
  uint32_t first_pair;

  static constexpr int CODES_BYTES = TILE * TILE, SCALES_BYTES = TILE * (int)sizeof(float);
  static constexpr size_t TILE_BYTES = CODES_BYTES + SCALES_BYTES;

  /** Which of a tile: a lane's words of half 0 or 1 of the columns. */
  static __device__ int place(int warp, int half, int lane) { return 64 * warp + 32 * half + lane; }
  __device__ uint4* tile_words(uint32_t tile) const { return words + (uint64_t)tile * (CODES_BYTES / 16); }
};

/**
 * Numbers of a tile of queries that the kernel over keys wants, as they lie in its shared memory: pairs (factor, Lambda), (sdo, D),
 * (row words of the dither of dV, dK), then sq, row words of dQ. Zeros, except the row words, where the sequence has ended.
 */
struct QueryNumbers {
  static constexpr int SCORE = 0;
  static constexpr int ERROR = 2 * TILE;
  static constexpr int ROW_WORDS = 4 * TILE;
  static constexpr int QUERY_SCALE = 6 * TILE;
  static constexpr int QUERY_WORD = 7 * TILE;
  static constexpr int WORDS = 8 * TILE;
  static_assert(WORDS * 4 == THREADS * 16, "each thread copies 16 bytes of them");
};

/** Which tile of queries, by sequence, block and head. */
static __device__ __forceinline__ size_t query_tile(const Shape& shape, uint32_t head, uint32_t sequence, uint32_t qb) {
  return ((size_t)sequence * shape.blocks + qb) * shape.H + head;
}

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
  /** QueryNumbers of each tile of queries. */
  float* numbers;
  QueryCodes codes;
};

}  // namespace attention
}  // namespace pogo

#endif
