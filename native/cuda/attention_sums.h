// The first kernel of attention's backward pass: D of 64 queries of a head a block of threads, over all their key blocks. It
// leaves all numbers of these queries that the kernel over keys needs, as that has them in shared memory.
#ifndef POGO_CUDA_ATTENTION_SUMS_H
#define POGO_CUDA_ATTENTION_SUMS_H

#include "attention_gradients.h"

namespace pogo {
namespace attention {

/** Shared memory: queries, their gradients, two stages of keys, values and their scales. */
template <int h>
struct SumsShared {
  static constexpr int TILE_BYTES = TILE * h;
  static constexpr int GRADIENTS = TILE_BYTES;
  static constexpr int KEYS = 2 * TILE_BYTES;
  static constexpr int VALUES = 4 * TILE_BYTES;
  static constexpr int SCALES = 6 * TILE_BYTES;
  static constexpr int BYTES = SCALES + 2 * 2 * TILE * (int)sizeof(float);
};

template <int h>
__global__ void __launch_bounds__(THREADS, h <= 64 ? 5 : h == 128 ? 3 : 2)
    attention_sums_kernel(BackwardArrays a, Shape shape, unsigned long long* failure, uint32_t entry) {
  using S = SumsShared<h>;
  unsigned char* shared = pogo_shared();
  const int thread = (int)threadIdx.x, lane = thread % 32, warp = thread / 32;
  const uint32_t qb = shape.blocks - 1 - blockIdx.y, sequence = blockIdx.x / shape.H;
  const uint32_t head = blockIdx.x - sequence * shape.H, key_head = shape.key_head(head);
  const Tokens tokens = sequence_tokens(sequence, shape.context, shape.T);
  if (qb * TILE >= tokens.length) return;
  const uint32_t begin = shape.first_block(qb);
  const uint64_t stride = (uint64_t)shape.heads() * h, gradient_stride = (uint64_t)shape.H * h;
  const int8_t* qkv = a.qkv + (uint64_t)tokens.first * stride;
  const TileFetch<h> tiles(thread, stride);
  // Threads 0 … 63 bring the keys' scales, the others the values'.
  const uint32_t own_scales = thread < TILE ? key_head : key_head + shape.G;

  auto scale_of = [&](uint32_t kb) {
    const uint32_t token = kb * TILE + (uint32_t)(thread % TILE);
    return token < tokens.length ? a.scales[own_scales * shape.T + tokens.first + token] : 0.0f;
  };
  auto store_scale = [&](uint32_t kb, float scale) {
    reinterpret_cast<float*>(shared + S::SCALES)[(kb % 2) * 2 * TILE + (uint32_t)thread] = scale;
    if (!is_finite(scale)) pogo_report(failure, entry, FAILURE_NON_FINITE, tokens.first + kb * TILE + thread % TILE);
  };
  auto fetch = [&](uint32_t kb) {
    const uint32_t first = kb * TILE, rows = tokens.length - first;
    const int8_t* keys = qkv + first * stride + key_head * h;
    tiles.start(shared + S::KEYS + (kb % 2) * S::TILE_BYTES, keys, rows);
    tiles.start(shared + S::VALUES + (kb % 2) * S::TILE_BYTES, keys + shape.G * h, rows);
  };

  // What is waited for in turn is asked for together.
  const float first_scale = scale_of(begin);
  const uint32_t own_row = (uint32_t)(ROWS * warp + score_row(lane, 0));
  float query_scale[2], gradient_scale[2], factor[2], lambda[2], d[2] = {0.0f, 0.0f};
  POGO_UNROLL
  for (int r = 0; r < 2; r += 1) {
    const uint32_t token = qb * TILE + own_row + 8 * (uint32_t)r;
    const bool here = token < tokens.length;
    const uint32_t at = head * shape.T + tokens.first + token;
    query_scale[r] = here ? a.scales[at] : 0.0f;
    gradient_scale[r] = here ? a.d_o_scales[at] : 0.0f;
    lambda[r] = here ? a.lambda[at] : 0.0f;
  }
  tiles.start(shared, qkv + qb * TILE * stride + head * h, tokens.length - qb * TILE);
  TileFetch<h>(thread, gradient_stride)
      .start(shared + S::GRADIENTS, a.d_o + (tokens.first + qb * TILE) * gradient_stride + head * h,
             tokens.length - qb * TILE);
  fetch(begin);
  cp_async_commit();
  store_scale(begin, first_scale);

  float* numbers = a.numbers + query_tile(shape, head, sequence, qb) * QueryNumbers::WORDS;
  {
    // Row words of the dither: of dV by half of the warp, of dK by the other, then of dQ.
    const int query = ROWS * warp + lane % ROWS;
    const uint32_t n = a.t0 + tokens.first + qb * TILE + (uint32_t)query;
    uint32_t* words = reinterpret_cast<uint32_t*>(numbers);
    words[QueryNumbers::ROW_WORDS + 2 * query + lane / ROWS] = pogo_dither_row(Seed(lane < ROWS ? a.seed_v : a.seed_k).word, n);
    if (lane < ROWS) words[QueryNumbers::QUERY_WORD + query] = pogo_dither_row(Seed(a.seed_q).word, n);
  }
  POGO_UNROLL
  for (int r = 0; r < 2; r += 1) {
    const uint32_t query = own_row + 8 * (uint32_t)r;
    factor[r] = pogo_mul(query_scale[r], shape.temperature);
    const bool sound = is_finite(factor[r]) && is_finite(lambda[r]) && is_finite(gradient_scale[r]);
    if (!sound) pogo_report(failure, entry, FAILURE_NON_FINITE, tokens.first + qb * TILE + query);
    // A lane of the four has one number or two of the row.
    if (lane % 4 == 0) {
      reinterpret_cast<float2*>(numbers + QueryNumbers::SCORE)[query] = make_float2(factor[r], lambda[r]);
    } else if (lane % 4 == 1) {
      numbers[QueryNumbers::ERROR + 2 * query] = gradient_scale[r];
    } else if (lane % 4 == 2) {
      numbers[QueryNumbers::QUERY_SCALE + query] = query_scale[r];
    }
  }

  for (uint32_t kb = begin; kb <= qb; kb += 1) {
    cp_async_wait<0>();
    __syncthreads();
    float next_scale = 0.0f;
    if (kb < qb) {
      fetch(kb + 1);
      next_scale = scale_of(kb + 1);
    }
    cp_async_commit();
    const float* scales = reinterpret_cast<const float*>(shared + S::SCALES) + (kb % 2) * 2 * TILE;

    Numbers p;
    {
      Accumulators acc;
      multiply_rows<h>(shared, shared + S::KEYS + (kb % 2) * S::TILE_BYTES, lane, warp, acc);
      POGO_UNROLL
      for (int n = 0; n < STEPS; n += 1) {
        const float2 s = *reinterpret_cast<const float2*>(scales + score_column(lane, n, 0));
        POGO_UNROLL
        for (int r = 0; r < 2; r += 1) {
          p[r][n][0] = logit(pogo_mul(number_of(acc[n][2 * r]), s.x), factor[r], lambda[r]);
          p[r][n][1] = logit(pogo_mul(number_of(acc[n][2 * r + 1]), s.y), factor[r], lambda[r]);
        }
      }
    }
    exponentials<true>(p);
    if (shape.is_edge(qb, kb)) {
      POGO_UNROLL
      for (int i = 0; i < 4 * STEPS; i += 1) {
        const int r = i / (2 * STEPS), n = i / 2 % STEPS, side = i % 2;
        if (is_masked(kb == qb, own_row + 8 * (uint32_t)r, (uint32_t)score_column(lane, n, side))) p[r][n][side] = 0.0f;
      }
    }
    float pairs[2][STEPS];
    {
      Accumulators acc;
      multiply_rows<h>(shared + S::GRADIENTS, shared + S::VALUES + (kb % 2) * S::TILE_BYTES, lane, warp, acc);
      // A masked P is +0; then the term may be -0, which changes no sum but one of nothing but zeros, and D = -0 gives
      // the same codes as D = +0.
      POGO_UNROLL
      for (int n = 0; n < STEPS; n += 1) {
        const float2 s = *reinterpret_cast<const float2*>(scales + TILE + score_column(lane, n, 0));
        POGO_UNROLL
        for (int r = 0; r < 2; r += 1) {
          pairs[r][n] = pogo_add(pogo_mul(p[r][n][0], pogo_mul(number_of(acc[n][2 * r]), s.x)),
                                 pogo_mul(p[r][n][1], pogo_mul(number_of(acc[n][2 * r + 1]), s.y)));
        }
      }
    }
    POGO_UNROLL
    for (int r = 0; r < 2; r += 1) {
      const float sum = row_t64(pairs[r]);
      d[r] = kb == begin ? sum : pogo_add(d[r], sum);
    }
    if (kb < qb) store_scale(kb + 1, next_scale);
  }

  const uint32_t last_row = made_again(own_row);
  POGO_UNROLL
  for (int r = 0; r < 2; r += 1) {
    const uint32_t query = last_row + 8 * (uint32_t)r;
    if (lane % 4 == 0) numbers[QueryNumbers::ERROR + 2 * query + 1] = qb * TILE + query < tokens.length ? d[r] : 0.0f;
  }
}

}  // namespace attention
}  // namespace pogo

#endif
