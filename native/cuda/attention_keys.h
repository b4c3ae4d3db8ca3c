// The second kernel of attention's backward pass: 64 keys a block of threads, the query blocks from its own on, for each query
// head of the group. It accumulates dV and dK, and writes the codes of dQ, so that P and the error are made once for all three.
#ifndef POGO_CUDA_ATTENTION_KEYS_H
#define POGO_CUDA_ATTENTION_KEYS_H

#include "attention_gradients.h"
#include "split_barrier.h"

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
  /** Dither columns of dQ for these keys, of a query head and the next. */
  static constexpr int KEY_WORDS = NUMBERS + 3 * QueryNumbers::WORDS * 4;
  static constexpr int EXCHANGE = KEY_WORDS + 2 * TILE * 4;
  static constexpr int SEPARATED = EXCHANGE + TILE / KeyColumns<h>::PARTS * TILE * (int)sizeof(float);
  /** Of gradients and queries, where two blocks of threads fit a multiprocessor with it. */
  static constexpr bool SEPARATES = h <= 128;
  static constexpr int SUMS = SEPARATED + (SEPARATES ? 2 * TILE_BYTES : 0);
  static constexpr bool STORES = h <= 64;
  static constexpr int BARRIERS = SUMS + (STORES ? StoredSums<KeyColumns<h>::COUNT / 16>::BYTES : 0);
  static constexpr int BYTES = BARRIERS + 2 * (int)sizeof(PhaseBarrier);
};

template <int h>
__global__ void __launch_bounds__(THREADS, h <= 64 ? 3 : 2)
    attention_keys_kernel(BackwardArrays a, Shape shape, unsigned long long* failure, uint32_t entry) {
  using S = KeyShared<h>;
  constexpr int PARTS = KeyColumns<h>::PARTS, CHUNKS = KeyColumns<h>::COUNT / 16;
  unsigned char* shared = pogo_shared();
  const int thread = (int)threadIdx.x, lane = thread % 32, warp = thread / 32;
  const uint32_t kb = blockIdx.y, chunk_pair = blockIdx.x / PARTS, pair = a.codes.first_pair + chunk_pair;
  const int part = (int)(blockIdx.x % PARTS), first_chunk = part * CHUNKS;
  const uint32_t sequence = pair / shape.G, group = pair - sequence * shape.G, key_head = shape.H + group;
  const uint32_t heads_a_group = shape.heads_a_group;
  const Tokens tokens = sequence_tokens(sequence, shape.context, shape.T);
  if (kb * TILE >= tokens.length) return;
  const uint64_t stride = (uint64_t)shape.heads() * h, gradient_stride = (uint64_t)shape.H * h;
  const int8_t* qkv = a.qkv + (uint64_t)tokens.first * stride;
  const TileFetch<h> tiles(thread, stride);
  // Query blocks that see these keys.
  const uint32_t tiles_left = tiles_of(tokens.length) - kb;
  const uint32_t count = shape.reach < tiles_left ? shape.reach + 1 : tiles_left, steps = heads_a_group * count;

  // From heads of 128 on registers are rare: what follows from the thread's number is then made anew in every step.
  auto own_thread = [&]() { return h < 128 ? thread : (int)made_again((uint32_t)thread); };

  // What is copied next: queries, their gradients and numbers of a head.
  const int8_t *next_queries, *next_gradients;
  const float* next_numbers;
  auto seek = [&](uint32_t head, uint32_t qb) {
    const uint32_t first = qb * TILE;
    next_queries = qkv + first * stride + head * h;
    next_gradients = a.d_o + (tokens.first + first) * gradient_stride + head * h;
    next_numbers = a.numbers + query_tile(shape, head, sequence, qb) * QueryNumbers::WORDS;
  };
  auto fetch = [&](uint32_t rows, uint32_t step) {
    const uint32_t stage = step % 2;
    const int own = own_thread();
    TileFetch<h>(own, stride).start(shared + S::QUERIES + stage * S::TILE_BYTES, next_queries, rows);
    TileFetch<h>(own, gradient_stride).start(shared + S::GRADIENTS + stage * S::TILE_BYTES, next_gradients, rows);
    cp_async16(shared + S::NUMBERS + step % 3 * QueryNumbers::WORDS * 4 + 16 * own, next_numbers + 4 * own, true);
    next_queries += TILE * stride;
    next_gradients += TILE * gradient_stride;
    next_numbers += shape.H * QueryNumbers::WORDS;
  };

  // What is waited for in turn is asked for together.
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
  const Seed seed_v(a.seed_v), seed_k(a.seed_k), seed_q(a.seed_q);
  uint32_t head = group * heads_a_group, qb = kb;
  const int8_t* keys = qkv + kb * TILE * stride + key_head * h;
  tiles.start(shared, keys, tokens.length - kb * TILE);
  tiles.start(shared + S::VALUES, keys + shape.G * h, tokens.length - kb * TILE);
  seek(head, kb);
  fetch(tokens.length - kb * TILE, 0);
  cp_async_commit();

  // Columns of the dither are (query head, key).
  uint32_t word_v[2], word_k[2];
  auto set_words = [&](uint32_t of_head, const Seed& v, const Seed& k, const Seed& q) {
    const uint32_t first = of_head * a.U + a.t0 + tokens.first + kb * TILE;
    POGO_UNROLL
    for (int r = 0; r < 2; r += 1) {
      word_v[r] = pogo_dither_column(v.word, first + own_row + 8 * (uint32_t)r);
      word_k[r] = pogo_dither_column(k.word, first + own_row + 8 * (uint32_t)r);
    }
    if (thread < TILE) {
      reinterpret_cast<uint32_t*>(shared + S::KEY_WORDS)[of_head % 2 * TILE + (uint32_t)key_place(thread)] =
          pogo_dither_column(q.word, first + (uint32_t)thread);
    }
  };
  set_words(head, seed_v, seed_k, seed_q);
  float* exchange = reinterpret_cast<float*>(shared + S::EXCHANGE);
  float dv[CHUNKS][2][4], dk[CHUNKS][2][4];
  clear<CHUNKS>(dv);
  const StoredSums<CHUNKS> stored(shared + S::SUMS, thread);
  if (S::STORES) {
    stored.clear();
  } else {
    clear<CHUNKS>(dk);
  }

  const uint32_t head_tiles = shape.tiles_a_head(), first_tile = shape.tile_of(kb, kb);
  // Of this query head and block.
  uint32_t code_tile = chunk_pair * heads_a_group * head_tiles + first_tile, next_first = code_tile + head_tiles;

  // `given`: the errors of a step lie in the exchange, its raw tiles are read, and the next tiles are there. So the exchange may
  // be read, and at the next step's begin these tiles' place be filled again. `taken`: what the exchange, the right operands and
  // the numbers held is read. So the next step may write the first two, and the one behind it the numbers, of which there are
  // three stages. Where right operands come from the raw tiles, these are read until `taken`, which is then waited for first.
  const SplitBarrier given = {reinterpret_cast<PhaseBarrier*>(shared + S::BARRIERS)},
                     taken = {reinterpret_cast<PhaseBarrier*>(shared + S::BARRIERS) + 1};
  if (thread == 0) {
    given.begin(THREADS / 32);
    taken.begin(THREADS / 32);
  }
  cp_async_wait<0>();
  __syncthreads();

  for (uint32_t step = 0; step < steps; step += 1) {
    if (!S::SEPARATES) taken.wait(step - 1);
    const uint32_t stage = step % 2;
    const bool turns = qb + 1 == kb + count;
    const uint32_t next_qb = turns ? kb : qb + 1, next_head = turns ? head + 1 : head;
    if (step + 1 < steps) {
      if (turns) seek(next_head, kb);
      fetch(tokens.length - next_qb * TILE, step + 1);
    }
    cp_async_commit();
    const unsigned char* queries = shared + S::QUERIES + stage * S::TILE_BYTES;
    const unsigned char* gradients = shared + S::GRADIENTS + stage * S::TILE_BYTES;
    const float* numbers = reinterpret_cast<const float*>(shared + S::NUMBERS) + step % 3 * QueryNumbers::WORDS;
    const bool diagonal = qb == kb, edge = shape.is_edge(qb, kb);

    const Separated<h, CHUNKS> right_v = {reinterpret_cast<uint4*>(shared + S::SEPARATED)},
                               right_k = {reinterpret_cast<uint4*>(shared + S::SEPARATED + S::TILE_BYTES)};
    // x and e; rows are keys, columns queries.
    Numbers x, e;
    int32_t top_v[2] = {0, 0};
    float top_k[2] = {0.0f, 0.0f};
    int store_places[2];
    const int storer = own_thread();
    POGO_UNROLL
    for (int side = 0; side < 2; side += 1) {
      store_places[side] = exchange_word<PARTS>(score_column(storer % 32, 0, side),
                                                ROWS * (storer / 32) + score_row(storer % 32, 0));
    }
    {
      Accumulators acc;
      multiply_rows<h>(shared, queries, lane, warp, acc);
      POGO_UNROLL
      for (int n = 0; n < STEPS; n += 1) {
        // Of two neighbouring queries.
        const float4 s = *reinterpret_cast<const float4*>(numbers + QueryNumbers::SCORE + 2 * score_column(lane, n, 0));
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
      if (S::SEPARATES) taken.wait(step - 1);
      if (S::SEPARATES) {
        right_v.make(gradients, lane, warp, first_chunk);
        right_k.make(queries, lane, warp, first_chunk);
      }
      POGO_UNROLL
      for (int n = 0; n < STEPS; n += 1) {
        const float4 s = *reinterpret_cast<const float4*>(numbers + QueryNumbers::ERROR + 2 * score_column(lane, n, 0));
        const float2 sq = *reinterpret_cast<const float2*>(numbers + QueryNumbers::QUERY_SCALE + score_column(lane, n, 0));
        POGO_UNROLL
        for (int side = 0; side < 2; side += 1) {
          float2 pair_of_keys;
          POGO_UNROLL
          for (int r = 0; r < 2; r += 1) {
            const float gamma = pogo_mul(number_of(acc[n][2 * r + side]), sv[r]);
            x[r][n][side] = pogo_mul(x[r][n][side], side == 0 ? s.x : s.z);
            const float error = pogo_mul(x[r][n][side], pogo_sub(gamma, side == 0 ? s.y : s.w));
            e[r][n][side] = pogo_mul(error, side == 0 ? sq.x : sq.y);
            top_k[r] = larger_magnitude(top_k[r], e[r][n][side]);
            (r == 0 ? pair_of_keys.x : pair_of_keys.y) = pogo_mul(error, sk[r]);
          }
          if (PARTS == 1 || n % 2 == part) {
            *reinterpret_cast<float2*>(exchange + store_places[side] + exchange_store_step<PARTS>(n)) = pair_of_keys;
          }
        }
        POGO_UNROLL
        for (int r = 0; r < 2; r += 1) {
          top_v[r] = largest_signed(top_v[r], (int32_t)pogo_bits(x[r][n][0]), (int32_t)pogo_bits(x[r][n][1]));
        }
      }
    }
    cp_async_wait<0>();
    given.arrive(lane);
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
      const uint32_t* words = reinterpret_cast<const uint32_t*>(numbers) + QueryNumbers::ROW_WORDS;
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
    given.wait(step);
    // dQ's codes: rows are queries, columns keys.
    {
      Codes codes_q;
      const uint32_t* column_words = reinterpret_cast<const uint32_t*>(shared + S::KEY_WORDS) + head % 2 * TILE;
      POGO_UNROLL
      for (int i = 0; i < 2 / PARTS; i += 1) {
        const int r = PARTS == 1 ? i : part, loader = own_thread();
        const int query = ROWS * (loader / 32) + score_row(loader % 32, r);
        int load_places[2];
        POGO_UNROLL
        for (int m = 0; m < 2; m += 1) load_places[m] = exchange_word<PARTS>(query, score_column(loader % 32, 2 * m, 0));
        float y[STEPS][2], top = 0.0f;
        POGO_UNROLL
        for (int n = 0; n < STEPS; n += 2) {
          const float4 four = *reinterpret_cast<const float4*>(exchange + load_places[n / 2 % 2] + exchange_load_step(n));
          y[n][0] = four.x;
          y[n + 1][0] = four.y;
          y[n][1] = four.z;
          y[n + 1][1] = four.w;
          top = larger_magnitude(larger_magnitude(top, four.x), four.y);
          top = larger_magnitude(larger_magnitude(top, four.z), four.w);
        }
        top = row_larger_magnitude(top);
        if (!is_finite(top) && lane % 4 == 0) {
          pogo_report(failure, entry, FAILURE_NON_FINITE, tokens.first + qb * TILE + (uint32_t)query);
        }
        float k_q, scale_q;
        pogo_q8_lanes(top, POGO_Q8_C, POGO_Q8_R, &k_q, &scale_q);
        const uint32_t row_word = pogo_bits(numbers[QueryNumbers::QUERY_WORD + query]);
        POGO_UNROLL
        for (int n = 0; n < STEPS; n += 2) {
          const uint4 w = *reinterpret_cast<const uint4*>(column_words + key_place(score_column(lane, n, 0)));
          set_codes(&codes_q, r, n, pogo_code_dithered_bits(y[n][0], k_q, w.x, row_word),
                    pogo_code_dithered_bits(y[n][1], k_q, w.z, row_word),
                    pogo_code_dithered_bits(y[n + 1][0], k_q, w.y, row_word),
                    pogo_code_dithered_bits(y[n + 1][1], k_q, w.w, row_word));
        }
        if (lane % 4 == 0) a.codes.scales[code_tile * TILE + (uint32_t)query] = scale_q;
      }
      uint4* words = a.codes.tile_words(code_tile);
      POGO_UNROLL
      for (int half = 0; half < 2; half += 1) {
        const uint32_t* own = codes_q.word[half];
        uint4* place = words + QueryCodes::place(warp, half, lane);
        if (PARTS == 1) {
          *place = make_uint4(own[0], own[1], own[2], own[3]);
        } else {
          uint32_t* word = reinterpret_cast<uint32_t*>(place);
          word[part] = part == 0 ? own[0] : own[1];
          word[part + 2] = part == 0 ? own[2] : own[3];
        }
      }
    }
    POGO_UNROLL
    for (int c = 0; c < CHUNKS; c += 1) {
      int32_t products[2][4];
      if (S::SEPARATES) {
        right_v.template mix<true>(codes_v, lane, c, products);
      } else {
        mix_columns<h, true>(codes_v, gradients, lane, first_chunk + c, products);
      }
      accumulate(dv[c], products, scale_v);
      if (S::SEPARATES) {
        right_k.template mix<false>(codes_k, lane, c, products);
      } else {
        mix_columns<h, false>(codes_k, queries, lane, first_chunk + c, products);
      }
      if (S::STORES) {
        stored.add(c, products, scale_k);
      } else {
        accumulate(dk[c], products, scale_k);
      }
    }
    taken.arrive(lane);
    code_tile += shape.next_tile(qb);
    if (turns && step + 1 < steps) {
      code_tile = next_first;
      next_first += head_tiles;
      set_words(next_head, Seed(a.seed_v), Seed(a.seed_k), Seed(a.seed_q));
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
      float own[4];
      if (S::STORES) {
        stored.get(c, r, own);
      } else {
        POGO_UNROLL
        for (int i = 0; i < 4; i += 1) own[i] = dk[c][r][i];
      }
      store_row(out + 16 * c, own, shape.inverse_root);
      store_row(out + shape.G * h + 16 * c, dv[c][r], POGO_ONE);
    }
  }
}

}  // namespace attention
}  // namespace pogo

#endif
