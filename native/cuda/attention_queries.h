// The last kernel of attention's backward pass: dQ of 64 queries of a head a block of threads, from the codes that the kernel
// over keys wrote, key blocks ascending.
#ifndef POGO_CUDA_ATTENTION_QUERIES_H
#define POGO_CUDA_ATTENTION_QUERIES_H

#include "attention_gradients.h"

namespace pogo {
namespace attention {

/** Shared memory: stages of keys and of codes with their scales, copied that many blocks ahead. */
template <int h>
struct QueriesShared {
  static constexpr int STAGES = 4;
  static constexpr int CODES = TILE * h;
  static constexpr int SCALES = CODES + QueryCodes::CODES_BYTES;
  static constexpr int STAGE_BYTES = SCALES + QueryCodes::SCALES_BYTES;
  static constexpr int BYTES = STAGES * STAGE_BYTES;
};

/** Blocks of threads: (pair of the chunk, head of its group, block of queries). */
template <int h>
__global__ void __launch_bounds__(THREADS, h <= 64 ? 4 : h == 128 ? 3 : 2) attention_queries_kernel(BackwardArrays a, Shape shape) {
  using S = QueriesShared<h>;
  unsigned char* shared = pogo_shared();
  const int thread = (int)threadIdx.x, lane = thread % 32, warp = thread / 32;
  const uint32_t qb = shape.blocks - 1 - blockIdx.y, chunk_head = blockIdx.x, chunk_pair = shape.group_of(chunk_head);
  const uint32_t pair = a.codes.first_pair + chunk_pair, sequence = pair / shape.G;
  const uint32_t head = (pair - sequence * shape.G) * shape.heads_a_group + chunk_head - chunk_pair * shape.heads_a_group;
  const Tokens tokens = sequence_tokens(sequence, shape.context, shape.T);
  if (qb * TILE >= tokens.length) return;
  const uint32_t begin = shape.first_block(qb);
  const uint64_t stride = (uint64_t)shape.heads() * h;
  const int8_t* keys = a.qkv + (uint64_t)tokens.first * stride + shape.key_head(head) * h;
  const uint32_t own_row = (uint32_t)(ROWS * warp + score_row(lane, 0));
  // Of key block 0; those of a block of queries follow one another.
  const uint32_t first_tile = chunk_head * shape.tiles_a_head() + shape.tile_of(qb, begin) - begin;
  auto fetch = [&](uint32_t kb) {
    if (kb <= qb) {
      const uint32_t first = kb * TILE, tile = first_tile + kb;
      unsigned char* stage = shared + kb % S::STAGES * S::STAGE_BYTES;
      // Of larger heads registers are rare: what follows from the thread's number is made anew.
      const int own = h < 128 ? thread : (int)made_again((uint32_t)thread);
      TileFetch<h>(own, stride).start(stage, keys + first * stride, tokens.length - first);
      POGO_UNROLL
      for (int half = 0; half < 2; half += 1) {
        const int place = QueryCodes::place(own / 32, half, own % 32);
        cp_async16(stage + S::CODES + 16 * place, a.codes.tile_words(tile) + place, true);
      }
      if (own < TILE / 4) cp_async16(stage + S::SCALES + 16 * own, a.codes.scales + tile * TILE + 4 * own, true);
    }
    cp_async_commit();
  };
  POGO_UNROLL
  for (uint32_t i = 0; i + 1 < S::STAGES; i += 1) fetch(begin + i);
  float dq[h / 16][2][4];
  clear<h / 16>(dq);

  for (uint32_t kb = begin; kb <= qb; kb += 1) {
    cp_async_wait<S::STAGES - 2>();
    __syncthreads();
    // Into the stage that every thread has just left.
    fetch(kb + S::STAGES - 1);
    const unsigned char* stage = shared + kb % S::STAGES * S::STAGE_BYTES;
    float scale[2];
    Codes codes;
    POGO_UNROLL
    for (int i = 0; i < 2; i += 1) {
      const uint4 words = reinterpret_cast<const uint4*>(stage + S::CODES)[QueryCodes::place(warp, i, lane)];
      codes.word[i][0] = words.x;
      codes.word[i][1] = words.y;
      codes.word[i][2] = words.z;
      codes.word[i][3] = words.w;
      scale[i] = reinterpret_cast<const float*>(stage + S::SCALES)[own_row + 8 * (uint32_t)i];
    }
    POGO_UNROLL
    for (int c = 0; c < h / 16; c += 1) {
      int32_t products[2][4];
      mix_columns<h, false>(codes, stage, lane, c, products);
      accumulate(dq[c], products, scale);
    }
  }

  const uint32_t last_row = made_again(own_row);
  POGO_UNROLL
  for (int r = 0; r < 2; r += 1) {
    const uint32_t token = qb * TILE + last_row + 8 * (uint32_t)r;
    if (token >= tokens.length) continue;
    uint16_t* out = a.dqkv + (tokens.first + token) * stride + head * h + mix_column(lane, 0, 0);
    POGO_UNROLL
    for (int c = 0; c < h / 16; c += 1) store_row(out + 16 * c, dq[c][r], shape.inverse_root);
  }
}

}  // namespace attention
}  // namespace pogo

#endif
