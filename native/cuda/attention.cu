// Causal attention, forward (docs/numerics.md 4: attentionForward): 64 queries of a head a block of threads, key blocks
// ascending with a running maximum, keys and values copied one block ahead.
#include "attention_tiles.h"

namespace pogo {
namespace {

using namespace attention;

/** Shared memory: queries, then two stages of keys, values and their scales. */
template <int h>
struct ForwardShared {
  static constexpr int KEYS = TILE * h;
  static constexpr int VALUES = 3 * TILE * h;
  static constexpr int SCALES = 5 * TILE * h;
  static constexpr int BYTES = SCALES + 2 * 2 * TILE * (int)sizeof(float);
};

/** Running state of the lane's two rows. */
struct Rows {
  float m[2], l[2];
};

template <int h>
__global__ void __launch_bounds__(THREADS, h <= 64 ? 4 : h == 128 ? 3 : 2)
    attention_forward_kernel(AttentionForwardArgs a, float temperature, uint32_t blocks, unsigned long long* failure,
                             uint32_t entry) {
  using S = ForwardShared<h>;
  unsigned char* shared = pogo_shared();
  const int thread = (int)threadIdx.x, lane = thread % 32, warp = thread / 32;
  // Long rows of tiles first.
  const uint32_t qb = blocks - 1 - blockIdx.x % blocks, pair = blockIdx.x / blocks;
  const uint32_t head = pair % a.H;
  const Tokens tokens = sequence_tokens(pair / a.H, a.context, a.T);
  if (qb * TILE >= tokens.length) return;
  const uint64_t stride = 3 * (uint64_t)a.C;
  const int8_t* q = a.qkv + tokens.first * stride + head * h;
  const float* sq = a.qkvScales + (uint64_t)head * a.T + tokens.first;
  const float *sk = sq + (uint64_t)a.H * a.T, *sv = sk + (uint64_t)a.H * a.T;
  // Threads 0 … 63 bring the keys' scales, the others the values'.
  const float* own_scales = thread < TILE ? sk : sv;

  const TileFetch<h> tiles(thread, stride);
  auto scale_of = [&](uint32_t kb) {
    const uint32_t token = kb * TILE + (uint32_t)(thread % TILE);
    return token < tokens.length ? own_scales[token] : 0.0f;
  };
  auto store_scale = [&](uint32_t kb, float scale) {
    reinterpret_cast<float*>(shared + S::SCALES)[(kb % 2) * 2 * TILE + (uint32_t)thread] = scale;
    if (!is_finite(scale)) pogo_report(failure, entry, FAILURE_NON_FINITE, tokens.first + kb * TILE + thread % TILE);
  };
  auto fetch = [&](uint32_t kb) {
    const uint32_t first = kb * TILE, count = tokens.length - first;
    tiles.start(shared + S::KEYS + (kb % 2) * TILE * h, q + a.C + first * stride, count);
    tiles.start(shared + S::VALUES + (kb % 2) * TILE * h, q + 2 * a.C + first * stride, count);
  };

  tiles.start(shared, q + qb * TILE * stride, tokens.length - qb * TILE);
  fetch(0);
  cp_async_commit();
  store_scale(0, scale_of(0));

  float factor[2];
  POGO_UNROLL
  for (int r = 0; r < 2; r += 1) {
    const uint32_t token = qb * TILE + (uint32_t)(ROWS * warp + score_row(lane, r));
    factor[r] = token < tokens.length ? pogo_mul(sq[token], temperature) : 0.0f;
  }
  Rows rows;
  float o[h / 16][2][4];
  POGO_UNROLL
  for (int c = 0; c < h / 16; c += 1) {
    POGO_UNROLL
    for (int i = 0; i < 8; i += 1) o[c][i / 4][i % 4] = 0.0f;
  }
  rows.l[0] = rows.l[1] = 0.0f;

  for (uint32_t kb = 0; kb <= qb; kb += 1) {
    cp_async_wait<0>();
    __syncthreads();
    float next_scale = 0.0f;
    if (kb < qb) {
      fetch(kb + 1);
      next_scale = scale_of(kb + 1);
    }
    cp_async_commit();
    const unsigned char* values = shared + S::VALUES + (kb % 2) * TILE * h;
    const float* scales = reinterpret_cast<const float*>(shared + S::SCALES) + (kb % 2) * 2 * TILE;
    const bool diagonal = kb == qb;

    // u, then p, then p sv, by row half, step and side.
    float x[2][STEPS][2];
    {
      Accumulators acc;
      multiply_rows<h>(shared, shared + S::KEYS + (kb % 2) * TILE * h, lane, warp, acc);
      POGO_UNROLL
      for (int n = 0; n < STEPS; n += 1) {
        const float2 s = *reinterpret_cast<const float2*>(scales + score_column(lane, n, 0));
        POGO_UNROLL
        for (int r = 0; r < 2; r += 1) {
          x[r][n][0] = pogo_mul(number_of(acc[n][2 * r]), s.x);
          x[r][n][1] = pogo_mul(number_of(acc[n][2 * r + 1]), s.y);
        }
      }
    }
    if (diagonal) {
      POGO_UNROLL
      for (int i = 0; i < 4 * STEPS; i += 1) {
        const int r = i / (2 * STEPS), n = i / 2 % STEPS, side = i % 2;
        const bool masked = score_column(lane, n, side) > ROWS * warp + score_row(lane, r);
        if (masked) x[r][n][side] = pogo_of_bits(0xFF800000u);
      }
    }
    float k_codes[2], alpha[2], weight[2], scale[2];
    POGO_UNROLL
    for (int r = 0; r < 2; r += 1) {
      float m = x[r][0][0];
      POGO_UNROLL
      for (int i = 1; i < 2 * STEPS; i += 1) m = larger(m, x[r][i / 2][i % 2]);
      m = pogo_add(row_larger(m), 0.0f);
      POGO_UNROLL
      for (int i = 0; i < 2 * STEPS; i += 1) {
        float* p = &x[r][i / 2][i % 2];
        *p = pogo_attention_weight_below(*p, m, factor[r]);
      }
      if (diagonal) {
        POGO_UNROLL
        for (int i = 0; i < 2 * STEPS; i += 1) {
          const bool masked = score_column(lane, i / 2, i % 2) > ROWS * warp + score_row(lane, r);
          if (masked) x[r][i / 2][i % 2] = 0.0f;
        }
      }
      float pairs[STEPS];
      POGO_UNROLL
      for (int n = 0; n < STEPS; n += 1) pairs[n] = pogo_add(x[r][n][0], x[r][n][1]);
      const float block_l = row_t64(pairs);
      // The running maximum moves in one of the two, so one of the weights is exp2(+0) = 1. First block: both are.
      const float old = kb == 0 ? m : rows.m[r];
      const bool moves = m > old;
      const float step = pogo_exp2(pogo_mul(moves ? pogo_sub(old, m) : pogo_sub(m, old), factor[r]));
      alpha[r] = moves ? step : POGO_ONE;
      weight[r] = moves ? POGO_ONE : step;
      rows.m[r] = moves ? m : old;
      rows.l[r] = pogo_attention_merge(rows.l[r], alpha[r], block_l, weight[r]);
      // A score may overflow although its scales are finite: then the maximum shows it.
      if (!is_finite(m) && lane % 4 == 0) {
        const uint32_t token = qb * TILE + (uint32_t)(ROWS * warp + score_row(lane, r));
        if (token < tokens.length) pogo_report(failure, entry, FAILURE_NON_FINITE, tokens.first + token);
      }
    }
    {
      float top[2] = {0.0f, 0.0f};
      POGO_UNROLL
      for (int n = 0; n < STEPS; n += 1) {
        const float2 s = *reinterpret_cast<const float2*>(scales + TILE + score_column(lane, n, 0));
        POGO_UNROLL
        for (int r = 0; r < 2; r += 1) {
          x[r][n][0] = pogo_mul(x[r][n][0], s.x);
          x[r][n][1] = pogo_mul(x[r][n][1], s.y);
          top[r] = larger(top[r], larger(x[r][n][0], x[r][n][1]));
        }
      }
      POGO_UNROLL
      for (int r = 0; r < 2; r += 1) pogo_q8_lanes(row_larger(top[r]), POGO_Q8U_C, POGO_Q8U_R, &k_codes[r], &scale[r]);
    }
    Codes codes;
    POGO_UNROLL
    for (int r = 0; r < 2; r += 1) {
      POGO_UNROLL
      for (int n = 0; n < STEPS; n += 2) {
        set_codes(&codes, r, n, pogo_code_bits(x[r][n][0], k_codes[r]), pogo_code_bits(x[r][n][1], k_codes[r]),
                  pogo_code_bits(x[r][n + 1][0], k_codes[r]), pogo_code_bits(x[r][n + 1][1], k_codes[r]));
      }
    }
    POGO_UNROLL
    for (int c = 0; c < h / 16; c += 1) {
      int32_t sums[2][4];
      mix_columns<h, true>(codes, values, lane, c, sums);
      POGO_UNROLL
      for (int i = 0; i < 8; i += 1) {
        const int r = i / 4, d = i % 4;
        const float block = pogo_mul(number_of(sums[r][d]), scale[r]);
        o[c][r][d] = pogo_attention_merge(o[c][r][d], alpha[r], block, weight[r]);
      }
    }
    if (kb < qb) store_scale(kb + 1, next_scale);
  }

  POGO_UNROLL
  for (int r = 0; r < 2; r += 1) {
    const uint32_t token = qb * TILE + (uint32_t)(ROWS * warp + score_row(lane, r));
    if (token >= tokens.length) continue;
    const float inverse = pogo_div(POGO_ONE, rows.l[r]);
    const uint64_t t = tokens.first + token;
    uint16_t* out = a.o + t * a.C + head * h + mix_column(lane, 0, 0);
    POGO_UNROLL
    for (int c = 0; c < h / 16; c += 1) {
      *reinterpret_cast<uint2*>(out + 16 * c) =
          make_uint2(pair_bf16(pogo_mul(o[c][r][0], inverse), pogo_mul(o[c][r][1], inverse)),
                     pair_bf16(pogo_mul(o[c][r][2], inverse), pogo_mul(o[c][r][3], inverse)));
    }
    if (lane % 4 == 0) {
      a.lambda[(uint64_t)head * a.T + t] = pogo_attention_lambda(rows.m[r], factor[r], rows.l[r]);
      if (!is_finite(factor[r])) pogo_report(failure, entry, FAILURE_NON_FINITE, t);
    }
  }
}

template <int h>
cudaError_t launch_forward(const AttentionForwardArgs& a, const Launch& launch) {
  const uint32_t sequences = (a.T + a.context - 1) / a.context;
  const uint32_t blocks = tiles_of(a.context < a.T ? a.context : a.T);
  return POGO_LAUNCH((attention_forward_kernel<h>), sequences * a.H * blocks, THREADS, ForwardShared<h>::BYTES,
                     launch.stream, a, pogo_attention_temperature(h), blocks, launch.failure, launch.entry);
}

}  // namespace

Status attention_forward(const AttentionForwardArgs& a, const Launch& launch) {
  cudaError_t error = cudaErrorInvalidValue;
  switch (a.C / a.H) {
    case 32: error = launch_forward<32>(a, launch); break;
    case 64: error = launch_forward<64>(a, launch); break;
    case 128: error = launch_forward<128>(a, launch); break;
    case 256: error = launch_forward<256>(a, launch); break;
    default: break;
  }
  POGO_TRY(error, "attention_forward_kernel");
  return Status();
}

}  // namespace pogo
