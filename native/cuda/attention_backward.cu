// Gradient of causal attention (docs/numerics.md 4: attentionBackward, groupedAttentionBackward), without float atomics: one
// kernel owns 64 queries and walks the key blocks twice, for D and then for dQ; a second owns 64 keys and walks the query
// blocks from its own on, for each query head of its group, for dV and dK. Each accumulator then has one owner and one order. Probabilities are made three times in all: keeping
// them would cost more memory traffic than they cost instructions.
#include "attention_tiles.h"

namespace pogo {
namespace {

using namespace attention;

/** What a lane has of a tile: [row half][step][side]. */
typedef float Numbers[2][STEPS][2];

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

struct BackwardArrays {
  const int8_t* qkv;
  const float* scales;
  const int8_t* d_o;
  const float* d_o_scales;
  const float* lambda;
  uint16_t* dqkv;
  const uint32_t *seed_v, *seed_k, *seed_q;
  /** Of the workspace, f32 [H, T]. */
  float* d;
  uint32_t t0, U;
};

// --- D and dQ. ---

/** Shared memory: queries, their gradients, two stages of keys, values, and three words of each key. */
template <int h>
struct QueryShared {
  static constexpr int TILE_BYTES = TILE * h;
  static constexpr int GRADIENTS = TILE_BYTES;
  static constexpr int KEYS = 2 * TILE_BYTES;
  static constexpr int VALUES = 4 * TILE_BYTES;
  static constexpr int WORDS = 6 * TILE_BYTES;
  static constexpr int STAGE_WORDS = 3 * TILE;
  static constexpr int BYTES = WORDS + 2 * STAGE_WORDS * 4;
};

template <int h>
__global__ void __launch_bounds__(THREADS, h <= 64 ? 3 : h == 128 ? 2 : 1)
    attention_queries_kernel(BackwardArrays a, Shape shape, unsigned long long* failure, uint32_t entry) {
  using S = QueryShared<h>;
  unsigned char* shared = pogo_shared();
  const int thread = (int)threadIdx.x, lane = thread % 32, warp = thread / 32;
  const uint32_t qb = shape.blocks - 1 - blockIdx.x % shape.blocks, pair = blockIdx.x / shape.blocks;
  const uint32_t head = pair % shape.H, key_head = shape.key_head(head);
  const Tokens tokens = sequence_tokens(pair / shape.H, shape.context, shape.T);
  if (qb * TILE >= tokens.length) return;
  const uint32_t begin = shape.first_block(qb), count = qb - begin + 1;
  const uint64_t stride = (uint64_t)shape.heads() * h, gradient_stride = (uint64_t)shape.H * h;
  const int8_t* qkv = a.qkv + (uint64_t)tokens.first * stride;
  const Seed seed(a.seed_q);
  const TileFetch<h> tiles(thread, stride);
  // Threads 0 … 63 bring the keys' scales, the others the values'.
  const uint32_t own_scales = thread < TILE ? key_head : key_head + shape.G;

  auto scale_of = [&](uint32_t kb) {
    const uint32_t token = kb * TILE + (uint32_t)(thread % TILE);
    return token < tokens.length ? a.scales[own_scales * shape.T + tokens.first + token] : 0.0f;
  };
  auto store_scale = [&](uint32_t kb, uint32_t stage, float scale) {
    uint32_t* words = reinterpret_cast<uint32_t*>(shared + S::WORDS) + stage * S::STAGE_WORDS;
    words[thread] = pogo_bits(scale);
    const uint32_t token = kb * TILE + (uint32_t)(thread % TILE);
    if (thread >= TILE) {
      words[TILE + thread] = pogo_dither_column(seed.word, head * a.U + a.t0 + tokens.first + token);
    }
    if (!is_finite(scale)) pogo_report(failure, entry, FAILURE_NON_FINITE, tokens.first + token);
  };
  auto fetch = [&](uint32_t kb, uint32_t stage) {
    const uint32_t first = kb * TILE, rows = tokens.length - first;
    const int8_t* keys = qkv + first * stride + key_head * h;
    tiles.start(shared + S::KEYS + stage * S::TILE_BYTES, keys, rows);
    tiles.start(shared + S::VALUES + stage * S::TILE_BYTES, keys + shape.G * h, rows);
  };

  tiles.start(shared, qkv + qb * TILE * stride + head * h, tokens.length - qb * TILE);
  TileFetch<h>(thread, gradient_stride)
      .start(shared + S::GRADIENTS, a.d_o + (tokens.first + qb * TILE) * gradient_stride + head * h,
             tokens.length - qb * TILE);
  fetch(begin, 0);
  cp_async_commit();
  store_scale(begin, 0, scale_of(begin));

  const uint32_t own_row = (uint32_t)(ROWS * warp + score_row(lane, 0));
  float factor[2], lambda[2], sdo[2], d[2] = {0.0f, 0.0f};
  uint32_t row_word[2];
  POGO_UNROLL
  for (int r = 0; r < 2; r += 1) {
    const uint32_t token = qb * TILE + own_row + 8 * (uint32_t)r;
    const bool here = token < tokens.length;
    const uint32_t at = head * shape.T + tokens.first + token;
    factor[r] = here ? pogo_mul(a.scales[at], shape.temperature) : 0.0f;
    lambda[r] = here ? a.lambda[at] : 0.0f;
    sdo[r] = here ? a.d_o_scales[at] : 0.0f;
    row_word[r] = pogo_dither_row(seed.word, a.t0 + tokens.first + token);
    const bool sound = is_finite(factor[r]) && is_finite(lambda[r]) && is_finite(sdo[r]);
    if (!sound) pogo_report(failure, entry, FAILURE_NON_FINITE, tokens.first + token);
  }
  float dq[h / 16][2][4];
  clear<h / 16>(dq);

  // The first `count` steps make D, as many more dQ.
  for (uint32_t step = 0; step < 2 * count; step += 1) {
    cp_async_wait<0>();
    __syncthreads();
    const uint32_t stage = step % 2, kb = begin + (step < count ? step : step - count);
    const uint32_t next = kb == qb ? begin : kb + 1;
    float next_scale = 0.0f;
    if (step + 1 < 2 * count) {
      fetch(next, 1 - stage);
      next_scale = scale_of(next);
    }
    cp_async_commit();
    const unsigned char* keys = shared + S::KEYS + stage * S::TILE_BYTES;
    const float* scales = reinterpret_cast<const float*>(shared + S::WORDS) + stage * S::STAGE_WORDS;
    const bool diagonal = kb == qb, edge = shape.is_edge(qb, kb);

    Numbers p, gamma;
    {
      Accumulators acc;
      multiply_rows<h>(shared, keys, lane, warp, acc);
      POGO_UNROLL
      for (int n = 0; n < STEPS; n += 1) {
        const float2 s = *reinterpret_cast<const float2*>(scales + score_column(lane, n, 0));
        POGO_UNROLL
        for (int r = 0; r < 2; r += 1) {
          p[r][n][0] = probability(pogo_mul(number_of(acc[n][2 * r]), s.x), factor[r], lambda[r]);
          p[r][n][1] = probability(pogo_mul(number_of(acc[n][2 * r + 1]), s.y), factor[r], lambda[r]);
        }
      }
    }
    if (edge) {
      POGO_UNROLL
      for (int i = 0; i < 4 * STEPS; i += 1) {
        const int r = i / (2 * STEPS), n = i / 2 % STEPS, side = i % 2;
        if (is_masked(diagonal, own_row + 8 * (uint32_t)r, (uint32_t)score_column(lane, n, side))) p[r][n][side] = 0.0f;
      }
    }
    {
      Accumulators acc;
      multiply_rows<h>(shared + S::GRADIENTS, shared + S::VALUES + stage * S::TILE_BYTES, lane, warp, acc);
      POGO_UNROLL
      for (int n = 0; n < STEPS; n += 1) {
        const float2 s = *reinterpret_cast<const float2*>(scales + TILE + score_column(lane, n, 0));
        POGO_UNROLL
        for (int r = 0; r < 2; r += 1) {
          gamma[r][n][0] = pogo_mul(number_of(acc[n][2 * r]), s.x);
          gamma[r][n][1] = pogo_mul(number_of(acc[n][2 * r + 1]), s.y);
        }
      }
    }
    if (step < count) {
      // A masked P is +0; then the term may be -0, which changes no sum but one of nothing but zeros, and D = -0 gives
      // the same codes as D = +0.
      POGO_UNROLL
      for (int r = 0; r < 2; r += 1) {
        float pairs[STEPS];
        POGO_UNROLL
        for (int n = 0; n < STEPS; n += 1) {
          pairs[n] = pogo_add(pogo_mul(p[r][n][0], gamma[r][n][0]), pogo_mul(p[r][n][1], gamma[r][n][1]));
        }
        const float sum = row_t64(pairs);
        d[r] = step == 0 ? sum : pogo_add(d[r], sum);
      }
      if (step + 1 == count && lane % 4 == 0) {
        POGO_UNROLL
        for (int r = 0; r < 2; r += 1) {
          const uint32_t token = qb * TILE + own_row + 8 * (uint32_t)r;
          if (token < tokens.length) a.d[head * shape.T + tokens.first + token] = d[r];
        }
      }
    } else {
      // p becomes e sk.
      float top[2] = {0.0f, 0.0f}, k[2], scale[2];
      POGO_UNROLL
      for (int n = 0; n < STEPS; n += 1) {
        const float2 s = *reinterpret_cast<const float2*>(scales + score_column(lane, n, 0));
        POGO_UNROLL
        for (int i = 0; i < 4; i += 1) {
          const int r = i / 2, side = i % 2;
          const float e = pogo_mul(pogo_mul(p[r][n][side], sdo[r]), pogo_sub(gamma[r][n][side], d[r]));
          p[r][n][side] = pogo_mul(e, side == 0 ? s.x : s.y);
          top[r] = larger_magnitude(top[r], p[r][n][side]);
        }
      }
      Codes codes;
      POGO_UNROLL
      for (int r = 0; r < 2; r += 1) {
        const float absmax = row_larger_magnitude(top[r]);
        if (!is_finite(absmax) && lane % 4 == 0) {
          pogo_report(failure, entry, FAILURE_NON_FINITE, tokens.first + qb * TILE + own_row + 8 * (uint32_t)r);
        }
        pogo_q8_lanes(absmax, POGO_Q8_C, POGO_Q8_R, &k[r], &scale[r]);
      }
      const uint32_t* words = reinterpret_cast<const uint32_t*>(scales) + 2 * TILE;
      POGO_UNROLL
      for (int n = 0; n < STEPS; n += 2) {
        const uint2 w0 = *reinterpret_cast<const uint2*>(words + score_column(lane, n, 0));
        const uint2 w1 = *reinterpret_cast<const uint2*>(words + score_column(lane, n + 1, 0));
        POGO_UNROLL
        for (int r = 0; r < 2; r += 1) {
          set_codes(&codes, r, n, pogo_code_dithered_bits(p[r][n][0], k[r], w0.x, row_word[r]),
                    pogo_code_dithered_bits(p[r][n][1], k[r], w0.y, row_word[r]),
                    pogo_code_dithered_bits(p[r][n + 1][0], k[r], w1.x, row_word[r]),
                    pogo_code_dithered_bits(p[r][n + 1][1], k[r], w1.y, row_word[r]));
        }
      }
      POGO_UNROLL
      for (int c = 0; c < h / 16; c += 1) {
        int32_t products[2][4];
        mix_columns<h, false>(codes, keys, lane, c, products);
        accumulate(dq[c], products, scale);
      }
    }
    if (step + 1 < 2 * count) store_scale(next, 1 - stage, next_scale);
  }

  POGO_UNROLL
  for (int r = 0; r < 2; r += 1) {
    const uint32_t token = qb * TILE + own_row + 8 * (uint32_t)r;
    if (token >= tokens.length) continue;
    uint16_t* out = a.dqkv + (tokens.first + token) * stride + head * h + mix_column(lane, 0, 0);
    POGO_UNROLL
    for (int c = 0; c < h / 16; c += 1) store_row(out + 16 * c, dq[c][r], shape.inverse_root);
  }
}

// --- dV and dK. ---

/** Shared memory: keys, values, two stages of queries, their gradients, and of each query the numbers below. */
template <int h>
struct KeyShared {
  static constexpr int TILE_BYTES = TILE * h;
  static constexpr int VALUES = TILE_BYTES;
  static constexpr int QUERIES = 2 * TILE_BYTES;
  static constexpr int GRADIENTS = 4 * TILE_BYTES;
  static constexpr int NUMBERS = 6 * TILE_BYTES;
  // Words of a stage: pairs (factor, Lambda), (sdo, D), (dither rows of dV, dK), then sq.
  static constexpr int SCORE = 0;
  static constexpr int ERROR = 2 * TILE;
  static constexpr int ROW_WORDS = 4 * TILE;
  static constexpr int QUERY_SCALE = 6 * TILE;
  static constexpr int STAGE_WORDS = 7 * TILE;
  static constexpr int BYTES = NUMBERS + 2 * STAGE_WORDS * 4;
};

/** Head columns of one block's accumulators: heads of 256 are split over two blocks. */
template <int h>
struct KeyColumns {
  static constexpr int COUNT = h < 128 ? h : 128;
  static constexpr int PARTS = h / COUNT;
};

template <int h>
__global__ void __launch_bounds__(THREADS, 2)
    attention_keys_kernel(BackwardArrays a, Shape shape, unsigned long long* failure, uint32_t entry) {
  using S = KeyShared<h>;
  constexpr int CHUNKS = KeyColumns<h>::COUNT / 16;
  unsigned char* shared = pogo_shared();
  const int thread = (int)threadIdx.x, lane = thread % 32, warp = thread / 32;
  // Long columns of tiles first.
  const uint32_t tile = blockIdx.x / KeyColumns<h>::PARTS, kb = tile % shape.blocks, pair = tile / shape.blocks;
  const int first_chunk = (int)(blockIdx.x % KeyColumns<h>::PARTS) * CHUNKS;
  const uint32_t group = pair % shape.G, key_head = shape.H + group, heads_a_group = shape.H / shape.G;
  const Tokens tokens = sequence_tokens(pair / shape.G, shape.context, shape.T);
  if (kb * TILE >= tokens.length) return;
  const uint64_t stride = (uint64_t)shape.heads() * h, gradient_stride = (uint64_t)shape.H * h;
  const int8_t* qkv = a.qkv + (uint64_t)tokens.first * stride;
  const TileFetch<h> tiles(thread, stride), gradient_tiles(thread, gradient_stride);
  // Query blocks that see these keys.
  const uint32_t tiles_left = tiles_of(tokens.length) - kb;
  const uint32_t count = shape.reach < tiles_left ? shape.reach + 1 : tiles_left, steps = heads_a_group * count;

  // Threads 0 … 63 bring sq and Lambda of a query, the others sdo and D.
  const bool scores = thread < TILE;
  // And they hash a query's row word for dV, the others for dK.
  const Seed row_seed(scores ? a.seed_v : a.seed_k);
  const float* first_numbers = scores ? a.scales : a.d_o_scales;
  const float* second_numbers = scores ? a.lambda : a.d;
  auto numbers_of = [&](uint32_t head, uint32_t qb) {
    const uint32_t token = qb * TILE + (uint32_t)(thread % TILE);
    if (token >= tokens.length) return make_float2(0.0f, 0.0f);
    const uint32_t at = head * shape.T + tokens.first + token;
    return make_float2(first_numbers[at], second_numbers[at]);
  };
  auto store_numbers = [&](uint32_t qb, uint32_t stage, float2 x) {
    uint32_t* words = reinterpret_cast<uint32_t*>(shared + S::NUMBERS) + stage * S::STAGE_WORDS;
    const int query = thread % TILE;
    const uint32_t token = a.t0 + tokens.first + qb * TILE + (uint32_t)query;
    if (scores) {
      reinterpret_cast<float2*>(words + S::SCORE)[query] = make_float2(pogo_mul(x.x, shape.temperature), x.y);
      words[S::QUERY_SCALE + query] = pogo_bits(x.x);
    } else {
      reinterpret_cast<float2*>(words + S::ERROR)[query] = x;
    }
    words[S::ROW_WORDS + 2 * query + (scores ? 0 : 1)] = pogo_dither_row(row_seed.word, token);
  };
  auto fetch = [&](uint32_t head, uint32_t qb, uint32_t stage) {
    const uint32_t first = qb * TILE, rows = tokens.length - first;
    tiles.start(shared + S::QUERIES + stage * S::TILE_BYTES, qkv + first * stride + head * h, rows);
    gradient_tiles.start(shared + S::GRADIENTS + stage * S::TILE_BYTES,
                         a.d_o + (tokens.first + first) * gradient_stride + head * h, rows);
  };

  uint32_t head = group * heads_a_group, qb = kb;
  const int8_t* keys = qkv + kb * TILE * stride + key_head * h;
  tiles.start(shared, keys, tokens.length - kb * TILE);
  tiles.start(shared + S::VALUES, keys + shape.G * h, tokens.length - kb * TILE);
  fetch(head, kb, 0);
  cp_async_commit();
  store_numbers(kb, 0, numbers_of(head, kb));

  const uint32_t own_row = (uint32_t)(ROWS * warp + score_row(lane, 0));
  float sk[2], sv[2];
  POGO_UNROLL
  for (int r = 0; r < 2; r += 1) {
    const uint32_t token = kb * TILE + own_row + 8 * (uint32_t)r;
    const bool here = token < tokens.length;
    const uint32_t at = key_head * shape.T + tokens.first + token;
    sk[r] = here ? a.scales[at] : 0.0f;
    sv[r] = here ? a.scales[at + shape.G * shape.T] : 0.0f;
  }
  // Columns of the dither are (query head, key).
  uint32_t word_v[2], word_k[2];
  auto set_words = [&](uint32_t of_head) {
    const Seed seed_v(a.seed_v), seed_k(a.seed_k);
    POGO_UNROLL
    for (int r = 0; r < 2; r += 1) {
      const uint32_t token = kb * TILE + own_row + 8 * (uint32_t)r;
      const uint32_t n = of_head * a.U + a.t0 + tokens.first + token;
      word_v[r] = pogo_dither_column(seed_v.word, n);
      word_k[r] = pogo_dither_column(seed_k.word, n);
    }
  };
  set_words(head);
  float dv[CHUNKS][2][4], dk[CHUNKS][2][4];
  clear<CHUNKS>(dv);
  clear<CHUNKS>(dk);

  for (uint32_t step = 0; step < steps; step += 1) {
    cp_async_wait<0>();
    __syncthreads();
    const uint32_t stage = step % 2;
    const bool turns = qb + 1 == kb + count;
    const uint32_t next_qb = turns ? kb : qb + 1, next_head = turns ? head + 1 : head;
    float2 next = make_float2(0.0f, 0.0f);
    if (step + 1 < steps) {
      fetch(next_head, next_qb, 1 - stage);
      next = numbers_of(next_head, next_qb);
    }
    cp_async_commit();
    const unsigned char* queries = shared + S::QUERIES + stage * S::TILE_BYTES;
    const unsigned char* gradients = shared + S::GRADIENTS + stage * S::TILE_BYTES;
    const float* numbers = reinterpret_cast<const float*>(shared + S::NUMBERS) + stage * S::STAGE_WORDS;
    const bool diagonal = qb == kb, edge = shape.is_edge(qb, kb);

    // x and e; rows are keys, columns queries.
    Numbers x, e;
    float top_v[2] = {0.0f, 0.0f}, top_k[2] = {0.0f, 0.0f};
    {
      Accumulators acc;
      multiply_rows<h>(shared, queries, lane, warp, acc);
      POGO_UNROLL
      for (int n = 0; n < STEPS; n += 1) {
        // Of two neighbouring queries.
        const float4 s = *reinterpret_cast<const float4*>(numbers + S::SCORE + 2 * score_column(lane, n, 0));
        POGO_UNROLL
        for (int r = 0; r < 2; r += 1) {
          x[r][n][0] = probability(pogo_mul(number_of(acc[n][2 * r]), sk[r]), s.x, s.y);
          x[r][n][1] = probability(pogo_mul(number_of(acc[n][2 * r + 1]), sk[r]), s.z, s.w);
        }
      }
    }
    if (edge) {
      POGO_UNROLL
      for (int i = 0; i < 4 * STEPS; i += 1) {
        const int r = i / (2 * STEPS), n = i / 2 % STEPS, side = i % 2;
        if (is_masked(diagonal, (uint32_t)score_column(lane, n, side), own_row + 8 * (uint32_t)r)) x[r][n][side] = 0.0f;
      }
    }
    {
      Accumulators acc;
      multiply_rows<h>(shared + S::VALUES, gradients, lane, warp, acc);
      POGO_UNROLL
      for (int n = 0; n < STEPS; n += 1) {
        const float4 s = *reinterpret_cast<const float4*>(numbers + S::ERROR + 2 * score_column(lane, n, 0));
        const float2 sq = *reinterpret_cast<const float2*>(numbers + S::QUERY_SCALE + score_column(lane, n, 0));
        POGO_UNROLL
        for (int i = 0; i < 4; i += 1) {
          const int r = i / 2, side = i % 2;
          const float gamma = pogo_mul(number_of(acc[n][i]), sv[r]);
          x[r][n][side] = pogo_mul(x[r][n][side], side == 0 ? s.x : s.z);
          const float error = pogo_mul(x[r][n][side], pogo_sub(gamma, side == 0 ? s.y : s.w));
          e[r][n][side] = pogo_mul(error, side == 0 ? sq.x : sq.y);
          top_v[r] = larger(top_v[r], x[r][n][side]);
          top_k[r] = larger_magnitude(top_k[r], e[r][n][side]);
        }
      }
    }
    float k_v[2], k_k[2], scale_v[2], scale_k[2];
    POGO_UNROLL
    for (int r = 0; r < 2; r += 1) {
      pogo_q8_lanes(row_larger(top_v[r]), POGO_Q8U_C, POGO_Q8U_R, &k_v[r], &scale_v[r]);
      const float absmax = row_larger_magnitude(top_k[r]);
      if (!is_finite(absmax) && lane % 4 == 0) {
        pogo_report(failure, entry, FAILURE_NON_FINITE, tokens.first + kb * TILE + own_row + 8 * (uint32_t)r);
      }
      pogo_q8_lanes(absmax, POGO_Q8_C, POGO_Q8_R, &k_k[r], &scale_k[r]);
    }
    Codes codes_v, codes_k;
    POGO_UNROLL
    for (int n = 0; n < STEPS; n += 2) {
      const uint32_t* words = reinterpret_cast<const uint32_t*>(numbers) + S::ROW_WORDS;
      const uint4 w0 = *reinterpret_cast<const uint4*>(words + 2 * score_column(lane, n, 0));
      const uint4 w1 = *reinterpret_cast<const uint4*>(words + 2 * score_column(lane, n + 1, 0));
      POGO_UNROLL
      for (int r = 0; r < 2; r += 1) {
        set_codes(&codes_v, r, n, pogo_code_dithered_bits(x[r][n][0], k_v[r], word_v[r], w0.x),
                  pogo_code_dithered_bits(x[r][n][1], k_v[r], word_v[r], w0.z),
                  pogo_code_dithered_bits(x[r][n + 1][0], k_v[r], word_v[r], w1.x),
                  pogo_code_dithered_bits(x[r][n + 1][1], k_v[r], word_v[r], w1.z));
        set_codes(&codes_k, r, n, pogo_code_dithered_bits(e[r][n][0], k_k[r], word_k[r], w0.y),
                  pogo_code_dithered_bits(e[r][n][1], k_k[r], word_k[r], w0.w),
                  pogo_code_dithered_bits(e[r][n + 1][0], k_k[r], word_k[r], w1.y),
                  pogo_code_dithered_bits(e[r][n + 1][1], k_k[r], word_k[r], w1.w));
      }
    }
    POGO_UNROLL
    for (int c = 0; c < CHUNKS; c += 1) {
      int32_t products[2][4];
      mix_columns<h, true>(codes_v, gradients, lane, first_chunk + c, products);
      accumulate(dv[c], products, scale_v);
      mix_columns<h, false>(codes_k, queries, lane, first_chunk + c, products);
      accumulate(dk[c], products, scale_k);
    }
    if (step + 1 < steps) store_numbers(next_qb, 1 - stage, next);
    if (turns) set_words(next_head);
    head = next_head;
    qb = next_qb;
  }

  POGO_UNROLL
  for (int r = 0; r < 2; r += 1) {
    const uint32_t token = kb * TILE + own_row + 8 * (uint32_t)r;
    if (token >= tokens.length) continue;
    uint16_t* out = a.dqkv + (tokens.first + token) * stride + key_head * h + 16 * first_chunk + mix_column(lane, 0, 0);
    POGO_UNROLL
    for (int c = 0; c < CHUNKS; c += 1) {
      store_row(out + 16 * c, dk[c][r], shape.inverse_root);
      store_row(out + shape.G * h + 16 * c, dv[c][r], POGO_ONE);
    }
  }
}

template <int h>
Status launch_backward(const BackwardArrays& a, const Shape& shape, const Launch& launch) {
  const uint32_t tiles = sequence_count(shape) * shape.blocks;
  POGO_TRY(POGO_LAUNCH((attention_queries_kernel<h>), tiles * shape.H, THREADS, QueryShared<h>::BYTES, launch.stream, a,
                       shape, launch.failure, launch.entry),
           "attention_queries_kernel");
  POGO_TRY(POGO_LAUNCH((attention_keys_kernel<h>), tiles * shape.G * KeyColumns<h>::PARTS, THREADS, KeyShared<h>::BYTES,
                       launch.stream, a, shape, launch.failure, launch.entry),
           "attention_keys_kernel");
  return Status();
}

Status backward(const BackwardArrays& a, const Shape& shape, uint32_t h, const Launch& launch) {
  switch (h) {
    case 32: return launch_backward<32>(a, shape, launch);
    case 64: return launch_backward<64>(a, shape, launch);
    case 128: return launch_backward<128>(a, shape, launch);
    case 256: return launch_backward<256>(a, shape, launch);
    default: return failed(cudaErrorInvalidValue, "attention_queries_kernel");
  }
}

}  // namespace

size_t attention_backward_workspace(const AttentionBackwardArgs& a, const DeviceTraits&) {
  return (size_t)a.H * a.T * sizeof(float);
}

Status attention_backward(const AttentionBackwardArgs& a, const Launch& launch) {
  const uint32_t h = a.C / a.H;
  const BackwardArrays arrays = {a.qkv,  a.qkvScales, a.dO,    a.dOScales, a.lambda,
                                 a.dqkv, a.seedV,     a.seedK, a.seedQ,    static_cast<float*>(launch.workspace.data),
                                 a.t0,   a.U};
  return backward(arrays, shape_of(a.T, a.H, a.H, a.context, 0, h), h, launch);
}

size_t grouped_attention_backward_workspace(const GroupedAttentionBackwardArgs& a, const DeviceTraits&) {
  return (size_t)a.H * a.T * sizeof(float);
}

Status grouped_attention_backward(const GroupedAttentionBackwardArgs& a, const Launch& launch) {
  const BackwardArrays arrays = {a.qkv,  a.qkvScales, a.dO,    a.dOScales, a.lambda,
                                 a.dqkv, a.seedV,     a.seedK, a.seedQ,    static_cast<float*>(launch.workspace.data),
                                 a.t0,   a.U};
  return backward(arrays, shape_of(a.T, a.H, a.G, a.context, a.window, a.scalar), a.h, launch);
}

}  // namespace pogo
