// RMSNorm and LayerNorm, forward (with row codes, or added to a residual stream) and backward (with the residual's gradient
// and the column sums of gain and bias).
//
// Memory decides. A warp has a row; rows of at most 1,024 values stay in its registers between the passes over them,
// longer ones are read again, from the cache.
#include "column_sums.h"
#include "../exact/norm.h"

namespace pogo {
namespace {

constexpr uint32_t WARPS = 8;
constexpr uint32_t THREADS = 32 * WARPS;

template <bool LAYER>
__global__ void __launch_bounds__(THREADS)
    norm_forward_kernel(NormForwardArgs a, float inverse, unsigned long long* failure, uint32_t entry) {
  const uint32_t lane = threadIdx.x % 32;
  const uint64_t row = (uint64_t)blockIdx.x * WARPS + threadIdx.x / 32;
  if (row >= a.T) return;
  const uint16_t* x = a.x + row * a.C;
  const bool single = a.C <= PANEL;
  float v[CHUNKS][8];
  float mean = 0.0f;
  auto load = [&](const Panel& p, bool centred) {
    load_panel(x, p, v);
    if (LAYER && centred) {
      POGO_UNROLL
      for (uint32_t k = 0; k < CHUNKS; k += 1) {
        POGO_UNROLL
        for (int e = 0; e < 8; e += 1) v[k][e] = pogo_sub(v[k][e], mean);
      }
    }
  };
  if (LAYER) {
    RowSum sum;
    for (uint32_t first = 0; first < a.C; first += PANEL) {
      const Panel p = {first, a.C, lane};
      load(p, false);
      POGO_UNROLL
      for (uint32_t k = 0; k < CHUNKS; k += 1) {
        if (p.has(k)) sum.add(v[k], p, k);
      }
    }
    mean = pogo_mul(sum.total, inverse);
    if (lane == 0) a.mean[row] = mean;
  }
  RowSum sum;
  for (uint32_t first = 0; first < a.C; first += PANEL) {
    const Panel p = {first, a.C, lane};
    load(p, true);
    POGO_UNROLL
    for (uint32_t k = 0; k < CHUNKS; k += 1) {
      float squares[8];
      POGO_UNROLL
      for (int e = 0; e < 8; e += 1) squares[e] = pogo_mul(v[k][e], v[k][e]);
      if (p.has(k)) sum.add(squares, p, k);
    }
  }
  const float r = pogo_norm_rstd(sum.total, inverse, a.epsilon);
  if (lane == 0) a.rstd[row] = r;
  for (uint32_t first = 0; first < a.C; first += PANEL) {
    const Panel p = {first, a.C, lane};
    if (!single) load(p, true);
    POGO_UNROLL
    for (uint32_t k = 0; k < CHUNKS; k += 1) {
      float gain[8] = {}, bias[8] = {};
      if (p.owns(k)) {
        load8_f32(a.gain + p.column(k), gain);
        if (LAYER) load8_f32(a.bias + p.column(k), bias);
      }
      POGO_UNROLL
      for (int e = 0; e < 8; e += 1) {
        const float y = LAYER ? pogo_layer(v[k][e], r, gain[e], bias[e]) : pogo_rms(v[k][e], r, gain[e]);
        v[k][e] = p.owns(k) ? y : 0.0f;
      }
    }
    const CodeRow out = {a.codes + row * a.C, a.scales + (uint64_t)(first / PANEL) * a.T + row, failure, entry, row};
    quantize_panel<false>(v, p, out, nullptr, 0);
  }
}

/** y = bf16(x + RMSNorm(o) gain); a lane reads its part of x before it writes it, so y may be x. */
__global__ void __launch_bounds__(THREADS) norm_residual_kernel(NormResidualArgs a, float inverse) {
  const uint32_t lane = threadIdx.x % 32;
  const uint64_t row = (uint64_t)blockIdx.x * WARPS + threadIdx.x / 32;
  if (row >= a.T) return;
  float v[CHUNKS][8];
  RowSum sum;
  for (uint32_t first = 0; first < a.C; first += PANEL) {
    const Panel p = {first, a.C, lane};
    load_panel(a.o + row * a.C, p, v);
    POGO_UNROLL
    for (uint32_t k = 0; k < CHUNKS; k += 1) {
      float squares[8];
      POGO_UNROLL
      for (int e = 0; e < 8; e += 1) squares[e] = pogo_mul(v[k][e], v[k][e]);
      if (p.has(k)) sum.add(squares, p, k);
    }
  }
  const float r = pogo_norm_rstd(sum.total, inverse, a.epsilon);
  if (lane == 0) a.rstd[row] = r;
  for (uint32_t first = 0; first < a.C; first += PANEL) {
    const Panel p = {first, a.C, lane};
    if (a.C > PANEL) load_panel(a.o + row * a.C, p, v);
    POGO_UNROLL
    for (uint32_t k = 0; k < CHUNKS; k += 1) {
      if (!p.owns(k)) continue;
      float x[8], gain[8];
      load8_bf16(a.x + row * a.C + p.column(k), x);
      load8_f32(a.gain + p.column(k), gain);
      POGO_UNROLL
      for (int e = 0; e < 8; e += 1) x[e] = pogo_add(x[e], pogo_rms(v[k][e], r, gain[e]));
      store8_bf16(a.y + row * a.C + p.column(k), x);
    }
  }
}

__global__ void __launch_bounds__(THREADS) gain_plus_one_kernel(GainPlusOneArgs a) {
  const uint32_t i = blockIdx.x * THREADS + threadIdx.x;
  if (i < a.n) a.out[i] = pogo_add(POGO_ONE, a.gain[i]);
}

/** The gradient of one row; also what the column sums need of it is read again there. */
template <bool LAYER>
static __device__ __forceinline__ void norm_backward_row(const NormBackwardArgs& a, uint64_t row, uint32_t lane,
                                                         float inverse) {
  const bool single = a.C <= PANEL;
  const float r = a.rstd[row], mean = LAYER ? a.mean[row] : 0.0f;
  float xhat[CHUNKS][8], gy[CHUNKS][8];
  auto load = [&](const Panel& p) {
    load_panel(a.x + row * a.C, p, xhat);
    load_panel(a.dy + row * a.C, p, gy);
    POGO_UNROLL
    for (uint32_t k = 0; k < CHUNKS; k += 1) {
      float gain[8] = {};
      if (p.owns(k)) load8_f32(a.gain + p.column(k), gain);
      POGO_UNROLL
      for (int e = 0; e < 8; e += 1) {
        if (LAYER) xhat[k][e] = pogo_sub(xhat[k][e], mean);
        xhat[k][e] = pogo_mul(xhat[k][e], r);
        gy[k][e] = pogo_mul(gy[k][e], gain[e]);
      }
    }
  };
  RowSum gradients, products;
  for (uint32_t first = 0; first < a.C; first += PANEL) {
    const Panel p = {first, a.C, lane};
    load(p);
    POGO_UNROLL
    for (uint32_t k = 0; k < CHUNKS; k += 1) {
      if (!p.has(k)) continue;
      float product[8];
      POGO_UNROLL
      for (int e = 0; e < 8; e += 1) product[e] = pogo_mul(gy[k][e], xhat[k][e]);
      products.add(product, p, k);
      if (LAYER) gradients.add(gy[k], p, k);
    }
  }
  const float s = pogo_mul(products.total, inverse), mean_gradient = LAYER ? pogo_mul(gradients.total, inverse) : 0.0f;
  for (uint32_t first = 0; first < a.C; first += PANEL) {
    const Panel p = {first, a.C, lane};
    if (!single) load(p);
    POGO_UNROLL
    for (uint32_t k = 0; k < CHUNKS; k += 1) {
      if (!p.owns(k)) continue;
      uint16_t* place = a.dx + row * a.C + p.column(k);
      float out[8];
      if (a.residual) load8_bf16(place, out);
      POGO_UNROLL
      for (int e = 0; e < 8; e += 1) {
        const float d = LAYER ? pogo_layer_gradient(gy[k][e], xhat[k][e], r, mean_gradient, s)
                              : pogo_rms_gradient(gy[k][e], xhat[k][e], r, s);
        out[e] = a.residual ? pogo_add(out[e], d) : d;
      }
      store8_bf16(place, out);
    }
  }
}

/** A part of the rows and of the column sums of 64 rows. partial: [blocks][C] of gain, then of bias. */
template <bool LAYER>
__global__ void __launch_bounds__(THREADS) norm_backward_kernel(NormBackwardArgs a, float* partial, float inverse) {
  const uint32_t thread = threadIdx.x;
  const uint32_t block = blockIdx.x / COLUMN_PARTS, part = blockIdx.x % COLUMN_PARTS, block_row = block * COLUMN_ROWS;
  const uint32_t rows = a.T - block_row < COLUMN_ROWS ? a.T - block_row : COLUMN_ROWS;
  for (uint32_t r = part * PART_ROWS + thread / 32; r < (part + 1) * PART_ROWS && r < rows; r += WARPS) {
    norm_backward_row<LAYER>(a, block_row + r, thread % 32, inverse);
  }
  const uint64_t at = (uint64_t)block_row * a.C;
  const uint32_t* x = reinterpret_cast<const uint32_t*>(a.x + at);
  const uint32_t* dy = reinterpret_cast<const uint32_t*>(a.dy + at);
  const float *rstd = a.rstd + block_row, *mean = a.mean + block_row;
  const uint64_t blocks = (a.T + COLUMN_ROWS - 1) / COLUMN_ROWS;
  float* const sums[2] = {partial + (uint64_t)block * a.C, partial + (blocks + block) * a.C};
  column_block_sums<LAYER ? 2 : 1>(a.C, part, rows, thread, THREADS, sums, [&](uint32_t r, uint32_t pair, float2* terms) {
    const uint64_t place = (uint64_t)r * (a.C / 2) + pair;
    const uint32_t w = x[place], d = dy[place];
    float x0 = low_bf16(w), x1 = high_bf16(w);
    if (LAYER) {
      x0 = pogo_sub(x0, mean[r]);
      x1 = pogo_sub(x1, mean[r]);
    }
    const float d0 = low_bf16(d), d1 = high_bf16(d);
    terms[0] = make_float2(pogo_mul(d0, pogo_mul(x0, rstd[r])), pogo_mul(d1, pogo_mul(x1, rstd[r])));
    if (LAYER) terms[1] = make_float2(d0, d1);
  });
}

}  // namespace

Status norm_forward(const NormForwardArgs& a, const Launch& launch) {
  const uint32_t grid = (a.T + WARPS - 1) / WARPS;
  const float inverse = pogo_inverse_count(a.C);
  cudaError_t error = a.layer ? POGO_LAUNCH((norm_forward_kernel<true>), grid, THREADS, 0, launch.stream, a, inverse,
                                            launch.failure, launch.entry)
                              : POGO_LAUNCH((norm_forward_kernel<false>), grid, THREADS, 0, launch.stream, a, inverse,
                                            launch.failure, launch.entry);
  POGO_TRY(error, "norm_forward_kernel");
  return Status();
}

Status norm_residual(const NormResidualArgs& a, const Launch& launch) {
  POGO_TRY(POGO_LAUNCH(norm_residual_kernel, (a.T + WARPS - 1) / WARPS, THREADS, 0, launch.stream, a,
                       pogo_inverse_count(a.C)),
           "norm_residual_kernel");
  return Status();
}

Status gain_plus_one(const GainPlusOneArgs& a, const Launch& launch) {
  POGO_TRY(POGO_LAUNCH(gain_plus_one_kernel, (a.n + THREADS - 1) / THREADS, THREADS, 0, launch.stream, a),
           "gain_plus_one_kernel");
  return Status();
}

size_t norm_backward_workspace(const NormBackwardArgs& a, const DeviceTraits&) {
  return (size_t)column_blocks(a.T) * a.C * sizeof(float) * (a.layer ? 2 : 1);
}

Status norm_backward(const NormBackwardArgs& a, const Launch& launch) {
  float* partial = static_cast<float*>(launch.workspace.data);
  const uint32_t blocks = column_blocks(a.T), grid = blocks * COLUMN_PARTS;
  const float inverse = pogo_inverse_count(a.C);
  cudaError_t error =
      a.layer ? POGO_LAUNCH((norm_backward_kernel<true>), grid, THREADS, 0, launch.stream, a, partial, inverse)
              : POGO_LAUNCH((norm_backward_kernel<false>), grid, THREADS, 0, launch.stream, a, partial, inverse);
  POGO_TRY(error, "norm_backward_kernel");
  POGO_TRY(add_column_blocks(partial, a.dGain, blocks, a.C, a.accumulate, launch.stream), "add_column_blocks_kernel");
  if (a.layer) {
    POGO_TRY(add_column_blocks(partial + (size_t)blocks * a.C, a.dBias, blocks, a.C, a.accumulate, launch.stream),
             "add_column_blocks_kernel");
  }
  return Status();
}

}  // namespace pogo
