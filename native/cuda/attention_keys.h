// The second kernel of attention's backward pass: 64 keys a block of threads, the query blocks from its own on, for each query
// head of the group. It accumulates dV and dK, and writes the codes of dQ, so that P and the error are made once for all three.
#ifndef POGO_CUDA_ATTENTION_KEYS_H
#define POGO_CUDA_ATTENTION_KEYS_H

#include "attention_gradients.h"

namespace pogo {
namespace attention {

/** Head columns of one block's accumulators: heads of 256 are split over two blocks, which share the queries of dQ's codes, too. */
template <int h>
struct KeyColumns {
  static constexpr int COUNT = h < 128 ? h : 128;
  static constexpr int PARTS = h / COUNT;
};

/** Shared memory: keys, values, two stages of queries, their gradients, and of each query the numbers below. */
template <int h>
struct KeyShared {
  static constexpr int TILE_BYTES = TILE * h;
  static constexpr int VALUES = TILE_BYTES;
  static constexpr int QUERIES = 2 * TILE_BYTES;
  static constexpr int GRADIENTS = 4 * TILE_BYTES;
  static constexpr int NUMBERS = 6 * TILE_BYTES;
  // Words of a stage: pairs (factor, Lambda), (sdo, D), (dither rows of dV, dK), then sq, dither rows of dQ.
  static constexpr int SCORE = 0;
  static constexpr int ERROR = 2 * TILE;
  static constexpr int ROW_WORDS = 4 * TILE;
  static constexpr int QUERY_SCALE = 6 * TILE;
  static constexpr int QUERY_WORD = 7 * TILE;
  static constexpr int STAGE_WORDS = 8 * TILE;
  /** Dither columns of dQ for these keys, of a query head and the next. */
  static constexpr int KEY_WORDS = NUMBERS + 2 * STAGE_WORDS * 4;
  static constexpr int EXCHANGE = KEY_WORDS + 2 * TILE * 4;
  static constexpr int BYTES = EXCHANGE + TILE / KeyColumns<h>::PARTS * TILE * (int)sizeof(float);
};

template <int h>
__global__ void __launch_bounds__(THREADS, 2)
    attention_keys_kernel(BackwardArrays a, Shape shape, unsigned long long* failure, uint32_t entry) {
  using S = KeyShared<h>;
  constexpr int PARTS = KeyColumns<h>::PARTS, CHUNKS = KeyColumns<h>::COUNT / 16;
  unsigned char* shared = pogo_shared();
  const int thread = (int)threadIdx.x, lane = thread % 32, warp = thread / 32;
  // Long columns of tiles first.
  const uint32_t tile = blockIdx.x / PARTS, kb = tile % shape.blocks, chunk_pair = tile / shape.blocks;
  const uint32_t pair = a.codes.first_pair + chunk_pair;
  const int part = (int)(blockIdx.x % PARTS), first_chunk = part * CHUNKS;
  const uint32_t group = pair % shape.G, key_head = shape.H + group, heads_a_group = shape.H / shape.G;
  const Tokens tokens = sequence_tokens(pair / shape.G, shape.context, shape.T);
  if (kb * TILE >= tokens.length) return;
  const uint64_t stride = (uint64_t)shape.heads() * h, gradient_stride = (uint64_t)shape.H * h;
  const int8_t* qkv = a.qkv + (uint64_t)tokens.first * stride;
  const TileFetch<h> tiles(thread, stride);
  // Query blocks that see these keys.
  const uint32_t tiles_left = tiles_of(tokens.length) - kb;
  const uint32_t count = shape.reach < tiles_left ? shape.reach + 1 : tiles_left, steps = heads_a_group * count;

  // From heads of 128 on registers are rare: what follows from the thread's number is then made anew in every step.
  auto own_thread = [&]() { return h < 128 ? thread : (int)made_again((uint32_t)thread); };

  // Threads 0 … 63 bring sq, Lambda and the row word of dV of a query, the others sdo, D and the row words of dK and dQ.
  struct QueryNumbers {
    float first, second;
    uint32_t word, other_word;
  };
  auto numbers_of = [&](uint32_t head, uint32_t qb) {
    const int own = own_thread();
    const uint32_t token = qb * TILE + (uint32_t)(own % TILE);
    QueryNumbers x = {0.0f, 0.0f, 0, 0};
    if (token >= tokens.length) return x;
    const uint32_t at = head * shape.T + tokens.first + token;
    const uint32_t* row_words = a.row_words + tokens.first + token;
    x.first = (own < TILE ? a.scales : a.d_o_scales)[at];
    x.second = (own < TILE ? a.lambda : a.d)[at];
    x.word = row_words[own < TILE ? 0 : shape.T];
    if (own >= TILE) x.other_word = row_words[2 * (size_t)shape.T];
    return x;
  };
  auto store_numbers = [&](uint32_t stage, const QueryNumbers& x) {
    uint32_t* words = reinterpret_cast<uint32_t*>(shared + S::NUMBERS) + stage * S::STAGE_WORDS;
    const int own = own_thread(), query = own % TILE;
    words[S::ROW_WORDS + 2 * query + own / TILE] = x.word;
    if (own < TILE) {
      reinterpret_cast<float2*>(words + S::SCORE)[query] = make_float2(pogo_mul(x.first, shape.temperature), x.second);
      words[S::QUERY_SCALE + query] = pogo_bits(x.first);
    } else {
      reinterpret_cast<float2*>(words + S::ERROR)[query] = make_float2(x.first, x.second);
      words[S::QUERY_WORD + query] = x.other_word;
    }
  };
  auto fetch = [&](uint32_t head, uint32_t qb, uint32_t stage) {
    const uint32_t first = qb * TILE, rows = tokens.length - first;
    const int own = own_thread();
    TileFetch<h>(own, stride).start(shared + S::QUERIES + stage * S::TILE_BYTES, qkv + first * stride + head * h, rows);
    TileFetch<h>(own, gradient_stride).start(shared + S::GRADIENTS + stage * S::TILE_BYTES,
                         a.d_o + (tokens.first + first) * gradient_stride + head * h, rows);
  };

  uint32_t head = group * heads_a_group, qb = kb;
  const int8_t* keys = qkv + kb * TILE * stride + key_head * h;
  tiles.start(shared, keys, tokens.length - kb * TILE);
  tiles.start(shared + S::VALUES, keys + shape.G * h, tokens.length - kb * TILE);
  fetch(head, kb, 0);
  cp_async_commit();
  store_numbers(0, numbers_of(head, kb));

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
    if (thread < TILE) {
      reinterpret_cast<uint32_t*>(shared + S::KEY_WORDS)[of_head % 2 * TILE + (uint32_t)thread] = pogo_dither_column(
          Seed(a.seed_q).word, of_head * a.U + a.t0 + tokens.first + kb * TILE + (uint32_t)thread);
    }
  };
  set_words(head);
  float* exchange = reinterpret_cast<float*>(shared + S::EXCHANGE);
  float dv[CHUNKS][2][4], dk[CHUNKS][2][4];
  clear<CHUNKS>(dv);
  clear<CHUNKS>(dk);

  const uint32_t head_tiles = shape.tiles_a_head(), first_tile = shape.tile_of(kb, kb);
  // Of this query head and block.
  uint32_t code_tile = chunk_pair * heads_a_group * head_tiles + first_tile, next_first = code_tile + head_tiles;

  for (uint32_t step = 0; step < steps; step += 1) {
    cp_async_wait<0>();
    __syncthreads();
    const uint32_t stage = step % 2;
    const bool turns = qb + 1 == kb + count;
    const uint32_t next_qb = turns ? kb : qb + 1, next_head = turns ? head + 1 : head;
    QueryNumbers next = {0.0f, 0.0f, 0, 0};
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
    int32_t top_v[2] = {0, 0};
    float top_k[2] = {0.0f, 0.0f};
    int store_places[2][2];
    const int storer = own_thread();
    POGO_UNROLL
    for (int i = 0; i < 4; i += 1) {
      store_places[i / 2][i % 2] = exchange_word<PARTS>(score_column(storer % 32, 0, i % 2),
                                                        ROWS * (storer / 32) + score_row(storer % 32, i / 2));
    }
    {
      Accumulators acc;
      multiply_rows<h>(shared, queries, lane, warp, acc);
      POGO_UNROLL
      for (int n = 0; n < STEPS; n += 1) {
        // Of two neighbouring queries.
        const float4 s = *reinterpret_cast<const float4*>(numbers + S::SCORE + 2 * score_column(lane, n, 0));
        POGO_UNROLL
        for (int r = 0; r < 2; r += 1) {
          x[r][n][0] = logit(pogo_mul(number_of(acc[n][2 * r]), sk[r]), s.x, s.y);
          x[r][n][1] = logit(pogo_mul(number_of(acc[n][2 * r + 1]), sk[r]), s.z, s.w);
        }
      }
    }
    exponentials<true>(x);
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
          top_k[r] = larger_magnitude(top_k[r], e[r][n][side]);
          if (PARTS == 1 || n % 2 == part) {
            exchange[store_places[r][side] + exchange_store_step<PARTS>(n)] = pogo_mul(error, sk[r]);
          }
        }
        POGO_UNROLL
        for (int r = 0; r < 2; r += 1) {
          top_v[r] = largest_signed(top_v[r], (int32_t)pogo_bits(x[r][n][0]), (int32_t)pogo_bits(x[r][n][1]));
        }
      }
    }
    float k_v[2], k_k[2], scale_v[2], scale_k[2];
    {
      const float largest_v[2] = {pogo_of_bits((uint32_t)top_v[0]), pogo_of_bits((uint32_t)top_v[1])};
      const float absmax = four_scales(largest_v, top_k, lane, k_v, scale_v, k_k, scale_k);
      // Lanes 2 and 3 of the four have dK's.
      if (!is_finite(absmax) && lane % 4 >= 2) {
        pogo_report(failure, entry, FAILURE_NON_FINITE, tokens.first + kb * TILE + own_row + 8 * (uint32_t)(lane % 2));
      }
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
    __syncthreads();
    // dQ's codes: rows are queries, columns keys.
    {
      const uint32_t* column_words = reinterpret_cast<const uint32_t*>(shared + S::KEY_WORDS) + head % 2 * TILE;
      POGO_UNROLL
      for (int i = 0; i < 2 / PARTS; i += 1) {
        const int r = PARTS == 1 ? i : part, loader = own_thread();
        const int query = ROWS * (loader / 32) + score_row(loader % 32, r);
        int load_places[4];
        POGO_UNROLL
        for (int n = 0; n < 4; n += 1) load_places[n] = exchange_word<PARTS>(query, score_column(loader % 32, n, 0));
        float y[STEPS][2], top = 0.0f;
        POGO_UNROLL
        for (int n = 0; n < STEPS; n += 1) {
          const float2 pair_of_keys =
              *reinterpret_cast<const float2*>(exchange + load_places[n % 4] + exchange_load_step(n));
          y[n][0] = pair_of_keys.x;
          y[n][1] = pair_of_keys.y;
          top = larger_magnitude(larger_magnitude(top, y[n][0]), y[n][1]);
        }
        top = row_larger_magnitude(top);
        if (!is_finite(top) && lane % 4 == 0) {
          pogo_report(failure, entry, FAILURE_NON_FINITE, tokens.first + qb * TILE + (uint32_t)query);
        }
        float k_q, scale_q;
        pogo_q8_lanes(top, POGO_Q8_C, POGO_Q8_R, &k_q, &scale_q);
        const uint32_t row_word = pogo_bits(numbers[S::QUERY_WORD + query]);
        POGO_UNROLL
        for (int half = 0; half < 2; half += 1) {
          uint32_t words[2];
          POGO_UNROLL
          for (int w = 0; w < 2; w += 1) {
            const int n = 4 * half + 2 * w;
            const uint2 w0 = *reinterpret_cast<const uint2*>(column_words + score_column(lane, n, 0));
            const uint2 w1 = *reinterpret_cast<const uint2*>(column_words + score_column(lane, n + 1, 0));
            words[w] = low_bytes(pogo_code_dithered_bits(y[n][0], k_q, w0.x, row_word),
                                 pogo_code_dithered_bits(y[n][1], k_q, w0.y, row_word),
                                 pogo_code_dithered_bits(y[n + 1][0], k_q, w1.x, row_word),
                                 pogo_code_dithered_bits(y[n + 1][1], k_q, w1.y, row_word));
          }
          *a.codes.place(code_tile, warp, half, r, lane) = make_uint2(words[0], words[1]);
        }
        if (lane % 4 == 0) a.codes.scales[code_tile * TILE + (uint32_t)query] = scale_q;
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
    if (step + 1 < steps) store_numbers(1 - stage, next);
    code_tile += shape.next_tile(qb);
    if (turns) {
      code_tile = next_first;
      next_first += head_tiles;
      set_words(next_head);
    }
    head = next_head;
    qb = next_qb;
  }

  const uint32_t last_row = made_again(own_row);
  POGO_UNROLL
  for (int r = 0; r < 2; r += 1) {
    const uint32_t token = kb * TILE + last_row + 8 * (uint32_t)r;
    if (token >= tokens.length) continue;
    uint16_t* out = a.dqkv + (tokens.first + token) * stride + key_head * h + 16 * first_chunk + mix_column(lane, 0, 0);
    POGO_UNROLL
    for (int c = 0; c < CHUNKS; c += 1) {
      store_row(out + 16 * c, dk[c][r], shape.inverse_root);
      store_row(out + shape.G * h + 16 * c, dv[c][r], POGO_ONE);
    }
  }
}

}  // namespace attention
}  // namespace pogo

#endif
