// The last kernel of attention's backward pass: dQ of 64 queries of a head a block of threads, from the codes that the kernel
// over keys wrote, key blocks ascending.
#ifndef POGO_CUDA_ATTENTION_QUERIES_H
#define POGO_CUDA_ATTENTION_QUERIES_H

#include "attention_gradients.h"

namespace pogo {
namespace attention {

/** Shared memory: two stages of keys. */
template <int h>
struct QueriesShared {
  static constexpr int TILE_BYTES = TILE * h;
  static constexpr int BYTES = 2 * TILE_BYTES;
};

/** Blocks of threads: (pair of the chunk, head of its group, block of queries). */
template <int h>
__global__ void __launch_bounds__(THREADS, h <= 128 ? 4 : 2) attention_queries_kernel(BackwardArrays a, Shape shape) {
  using S = QueriesShared<h>;
  unsigned char* shared = pogo_shared();
  const int thread = (int)threadIdx.x, lane = thread % 32, warp = thread / 32;
  const uint32_t qb = shape.blocks - 1 - blockIdx.x % shape.blocks, chunk_head = blockIdx.x / shape.blocks;
  const uint32_t heads_a_group = shape.H / shape.G, pair = a.codes.first_pair + chunk_head / heads_a_group;
  const uint32_t head = pair % shape.G * heads_a_group + chunk_head % heads_a_group;
  const Tokens tokens = sequence_tokens(pair / shape.G, shape.context, shape.T);
  if (qb * TILE >= tokens.length) return;
  const uint32_t begin = shape.first_block(qb);
  const uint64_t stride = (uint64_t)shape.heads() * h;
  const int8_t* keys = a.qkv + (uint64_t)tokens.first * stride + shape.key_head(head) * h;
  const TileFetch<h> tiles(thread, stride);
  auto fetch = [&](uint32_t kb) {
    const uint32_t first = kb * TILE;
    tiles.start(shared + (kb % 2) * S::TILE_BYTES, keys + first * stride, tokens.length - first);
    cp_async_commit();
  };
  const uint32_t own_row = (uint32_t)(ROWS * warp + score_row(lane, 0));
  // Of key block `begin`; the next follow it.
  uint32_t tile = chunk_head * shape.tiles_a_head() + shape.tile_of(qb, begin);
  uint2 next_words[2][2];
  float next_scale[2];
  auto load = [&]() {
    POGO_UNROLL
    for (int r = 0; r < 2; r += 1) {
      POGO_UNROLL
      for (int half = 0; half < 2; half += 1) next_words[half][r] = *a.codes.place(tile, warp, half, r, lane);
      next_scale[r] = a.codes.scales[tile * TILE + own_row + 8 * (uint32_t)r];
    }
  };
  fetch(begin);
  load();
  float dq[h / 16][2][4];
  clear<h / 16>(dq);

  for (uint32_t kb = begin; kb <= qb; kb += 1) {
    cp_async_wait<0>();
    __syncthreads();
    const float scale[2] = {next_scale[0], next_scale[1]};
    Codes codes;
    POGO_UNROLL
    for (int i = 0; i < 4; i += 1) {
      codes.word[i / 2][code_word(i % 2, 0)] = next_words[i / 2][i % 2].x;
      codes.word[i / 2][code_word(i % 2, 2)] = next_words[i / 2][i % 2].y;
    }
    if (kb < qb) {
      fetch(kb + 1);
      tile += 1;
      load();
    }
    POGO_UNROLL
    for (int c = 0; c < h / 16; c += 1) {
      int32_t products[2][4];
      mix_columns<h, false>(codes, shared + (kb % 2) * S::TILE_BYTES, lane, c, products);
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
