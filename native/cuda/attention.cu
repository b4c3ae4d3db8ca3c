// Causal attention, forward (docs/numerics.md 4: attentionForward, groupedAttentionForward): 64 queries of a head a block of threads, key blocks
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

struct ForwardArrays {
  const int8_t* qkv;
  const float* scales;
  uint16_t* o;
  float* lambda;
};

template <int h>
__global__ void __launch_bounds__(THREADS, h <= 64 ? 4 : h == 128 ? 3 : 2)
    attention_forward_kernel(ForwardArrays a, Shape shape, unsigned long long* failure, uint32_t entry) {
  using S = ForwardShared<h>;
  unsigned char* shared = pogo_shared();
  const int thread = (int)threadIdx.x, lane = thread % 32, warp = thread / 32;
  const uint32_t qb = shape.blocks - 1 - blockIdx.y, sequence = blockIdx.x / shape.H;
  const uint32_t head = blockIdx.x - sequence * shape.H, key_head = shape.key_head(head);
  const Tokens tokens = sequence_tokens(sequence, shape.context, shape.T);
  if (qb * TILE >= tokens.length) return;
  const uint32_t begin = shape.first_block(qb);
  const uint64_t stride = (uint64_t)shape.heads() * h;
  const int8_t* qkv = a.qkv + (uint64_t)tokens.first * stride;
  const float* sq = a.scales + (uint64_t)head * shape.T + tokens.first;
  // Threads 0 … 63 bring the keys' scales, the others the values'.
  const uint32_t own_scales = thread < TILE ? key_head : key_head + shape.G;

  const TileFetch<h> tiles(thread, stride);
  auto scale_of = [&](uint32_t kb) {
    const uint32_t token = kb * TILE + (uint32_t)(thread % TILE);
    return token < tokens.length ? a.scales[own_scales * shape.T + tokens.first + token] : 0.0f;
  };
  auto store_scale = [&](uint32_t kb, float scale) {
    reinterpret_cast<float*>(shared + S::SCALES)[(kb % 2) * 2 * TILE + (uint32_t)thread] = scale;
    if (!is_finite(scale)) pogo_report(failure, entry, FAILURE_NON_FINITE, tokens.first + kb * TILE + thread % TILE);
  };
  auto fetch = [&](uint32_t kb) {
    const uint32_t first = kb * TILE, count = tokens.length - first;
    tiles.start(shared + S::KEYS + (kb % 2) * TILE * h, qkv + first * stride + key_head * h, count);
    tiles.start(shared + S::VALUES + (kb % 2) * TILE * h, qkv + first * stride + (key_head + shape.G) * h, count);
  };

  tiles.start(shared, qkv + qb * TILE * stride + head * h, tokens.length - qb * TILE);
  fetch(begin);
  cp_async_commit();
  store_scale(begin, scale_of(begin));

  const uint32_t own_row = (uint32_t)(ROWS * warp + score_row(lane, 0));
  float factor[2];
  POGO_UNROLL
  for (int r = 0; r < 2; r += 1) {
    const uint32_t token = qb * TILE + own_row + 8 * (uint32_t)r;
    factor[r] = token < tokens.length ? pogo_mul(sq[token], shape.temperature) : 0.0f;
  }
  Rows rows;
  float o[h / 16][2][4];
  POGO_UNROLL
  for (int c = 0; c < h / 16; c += 1) {
    POGO_UNROLL
    for (int i = 0; i < 8; i += 1) o[c][i / 4][i % 4] = 0.0f;
  }
  rows.l[0] = rows.l[1] = 0.0f;

  for (uint32_t kb = begin; kb <= qb; kb += 1) {
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
    const bool diagonal = kb == qb, edge = shape.is_edge(qb, kb);

    // u, then p, then p sv, by row half, step and side.
    Numbers x;
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
    if (edge) {
      POGO_UNROLL
      for (int i = 0; i < 4 * STEPS; i += 1) {
        const int r = i / (2 * STEPS), n = i / 2 % STEPS, side = i % 2;
        if (is_masked(diagonal, own_row + 8 * (uint32_t)r, (uint32_t)score_column(lane, n, side))) x[r][n][side] = pogo_of_bits(0xFF800000u);
      }
    }
    float m[2];
    POGO_UNROLL
    for (int r = 0; r < 2; r += 1) {
      m[r] = x[r][0][0];
      POGO_UNROLL
      for (int i = 1; i < 2 * STEPS; i += 1) m[r] = larger(m[r], x[r][i / 2][i % 2]);
      m[r] = pogo_add(row_larger(m[r]), 0.0f);
      // Where the window cuts, the last query of the block sees no key: it begins with the next block, from zeros.
      if (edge && !diagonal && own_row + 8 * (uint32_t)r == TILE - 1) m[r] = 0.0f;
      POGO_UNROLL
      for (int i = 0; i < 2 * STEPS; i += 1) {
        float* z = &x[r][i / 2][i % 2];
        *z = pogo_mul(pogo_sub(*z, m[r]), factor[r]);
      }
    }
    exponentials<false>(x);
    if (edge) {
      POGO_UNROLL
      for (int i = 0; i < 4 * STEPS; i += 1) {
        const int r = i / (2 * STEPS), n = i / 2 % STEPS, side = i % 2;
        if (is_masked(diagonal, own_row + 8 * (uint32_t)r, (uint32_t)score_column(lane, n, side))) x[r][n][side] = 0.0f;
      }
    }
    float k_codes[2], alpha[2], weight[2], scale[2];
    POGO_UNROLL
    for (int r = 0; r < 2; r += 1) {
      float pairs[STEPS];
      POGO_UNROLL
      for (int n = 0; n < STEPS; n += 1) pairs[n] = pogo_add(x[r][n][0], x[r][n][1]);
      const float block_l = row_t64(pairs);
      // The running maximum moves in one of the two, so one of the weights is exp2(+0) = 1. First block: both are.
      const bool last = own_row + 8 * (uint32_t)r == TILE - 1;
      const bool starts = kb == begin || (last && kb - 1 == begin && shape.is_edge(qb, begin));
      const float old = starts ? m[r] : rows.m[r];
      const bool moves = m[r] > old;
      const float step = pogo_exp2(pogo_mul(moves ? pogo_sub(old, m[r]) : pogo_sub(m[r], old), factor[r]));
      alpha[r] = moves ? step : POGO_ONE;
      weight[r] = moves ? POGO_ONE : step;
      rows.m[r] = moves ? m[r] : old;
      rows.l[r] = pogo_attention_merge(rows.l[r], alpha[r], block_l, weight[r]);
      // A score may overflow although its scales are finite: then the maximum shows it.
      if (!is_finite(m[r]) && lane % 4 == 0) {
        const uint32_t token = qb * TILE + own_row + 8 * (uint32_t)r;
        if (token < tokens.length) pogo_report(failure, entry, FAILURE_NON_FINITE, tokens.first + token);
      }
    }
    {
      // Bits of numbers that are not negative are in their order.
      int32_t top[2] = {0, 0};
      POGO_UNROLL
      for (int n = 0; n < STEPS; n += 1) {
        const float2 s = *reinterpret_cast<const float2*>(scales + TILE + score_column(lane, n, 0));
        POGO_UNROLL
        for (int r = 0; r < 2; r += 1) {
          x[r][n][0] = pogo_mul(x[r][n][0], s.x);
          x[r][n][1] = pogo_mul(x[r][n][1], s.y);
          top[r] = largest_signed(top[r], (int32_t)pogo_bits(x[r][n][0]), (int32_t)pogo_bits(x[r][n][1]));
        }
      }
      const float largest[2] = {pogo_of_bits((uint32_t)top[0]), pogo_of_bits((uint32_t)top[1])};
      two_scales(largest, lane, POGO_Q8U_C, POGO_Q8U_R, k_codes, scale);
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
    // Where no row's maximum moves, O is multiplied by ones: the usual case after the first blocks.
    if (__any_sync(ALL_LANES, alpha[0] != POGO_ONE || alpha[1] != POGO_ONE)) {
      POGO_UNROLL
      for (int i = 0; i < h / 2; i += 1) o[i / 8][i / 4 % 2][i % 4] = pogo_mul(o[i / 8][i / 4 % 2][i % 4], alpha[i / 4 % 2]);
    }
    POGO_UNROLL
    for (int c = 0; c < h / 16; c += 1) {
      int32_t sums[2][4];
      mix_columns<h, true>(codes, values, lane, c, sums);
      POGO_UNROLL
      for (int i = 0; i < 8; i += 1) {
        const int r = i / 4, d = i % 4;
        const float block = pogo_mul(number_of(sums[r][d]), scale[r]);
        o[c][r][d] = pogo_add(o[c][r][d], pogo_mul(block, weight[r]));
      }
    }
    if (kb < qb) store_scale(kb + 1, next_scale);
  }

  const uint32_t last_row = made_again(own_row);
  POGO_UNROLL
  for (int r = 0; r < 2; r += 1) {
    const uint32_t token = qb * TILE + last_row + 8 * (uint32_t)r;
    if (token >= tokens.length) continue;
    const float inverse = pogo_div(POGO_ONE, rows.l[r]);
    const uint64_t t = tokens.first + token;
    uint16_t* out = a.o + (t * shape.H + head) * h + mix_column(lane, 0, 0);
    POGO_UNROLL
    for (int c = 0; c < h / 16; c += 1) {
      *reinterpret_cast<uint2*>(out + 16 * c) =
          make_uint2(pair_bf16(pogo_mul(o[c][r][0], inverse), pogo_mul(o[c][r][1], inverse)),
                     pair_bf16(pogo_mul(o[c][r][2], inverse), pogo_mul(o[c][r][3], inverse)));
    }
    if (lane % 4 == 0) {
      a.lambda[(uint64_t)head * shape.T + t] = pogo_attention_lambda(rows.m[r], factor[r], rows.l[r]);
      if (!is_finite(factor[r])) pogo_report(failure, entry, FAILURE_NON_FINITE, t);
    }
  }
}

template <int h>
cudaError_t launch_forward(const ForwardArrays& a, const Shape& shape, const Launch& launch) {
  return POGO_LAUNCH((attention_forward_kernel<h>), grid_of(shape, sequence_count(shape) * shape.H), THREADS,
                     ForwardShared<h>::BYTES, launch.stream, a, shape, launch.failure, launch.entry);
}

Status forward(const ForwardArrays& a, const Shape& shape, uint32_t h, const Launch& launch) {
  cudaError_t error = cudaErrorInvalidValue;
  switch (h) {
    case 32: error = launch_forward<32>(a, shape, launch); break;
    case 64: error = launch_forward<64>(a, shape, launch); break;
    case 128: error = launch_forward<128>(a, shape, launch); break;
    case 256: error = launch_forward<256>(a, shape, launch); break;
    default: break;
  }
  POGO_TRY(error, "attention_forward_kernel");
  return Status();
}

}  // namespace

Status attention_forward(const AttentionForwardArgs& a, const Launch& launch) {
  const uint32_t h = a.C / a.H;
  return forward({a.qkv, a.qkvScales, a.o, a.lambda}, shape_of(a.T, a.H, a.H, a.context, 0, h), h, launch);
}

Status grouped_attention_forward(const GroupedAttentionForwardArgs& a, const Launch& launch) {
  return forward({a.qkv, a.qkvScales, a.o, a.lambda}, shape_of(a.T, a.H, a.G, a.context, a.window, a.scalar), a.h, launch);
}

}  // namespace pogo
