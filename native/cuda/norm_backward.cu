// RMSNorm and LayerNorm backward: the rows' gradient, added to the residual's, and the column sums of gain and bias.
//
// Rows of at most 1,024 values are read once: a thread has four columns of 64 rows. Longer ones have a warp each, and what the
// columns need of them is read again, from the cache.
#include "column_sums.h"
#include "../exact/norm.h"

namespace pogo {
namespace {

constexpr uint32_t WARPS = 8;
constexpr uint32_t THREADS = 32 * WARPS;

/**
 * T64 of eight sets of 64 values: x[2 i] and x[2 i + 1] hold a lane's pair sums of set i, 16 lanes a set. Lane j gets that
 * of set j % 8. The tree's levels 16, 8, 4, 2 go between lanes 8, 4, 2, 1 apart and level 1 between lanes 8 apart again; where
 * sums of two sets or pairs are due, each of two lanes makes one.
 */
static __device__ __forceinline__ float t64_of_eight(const float x[16], uint32_t lane) {
  const bool by8 = (lane & 8u) != 0, by4 = (lane & 4u) != 0, by2 = (lane & 2u) != 0, by1 = (lane & 1u) != 0;
  auto half = [](bool second, float a, float b, int apart) {
    return pogo_add(second ? b : a, __shfl_xor_sync(ALL_LANES, second ? a : b, apart));
  };
  float y[8];
  POGO_UNROLL
  for (int i = 0; i < 8; i += 1) y[i] = half(by8, x[2 * i], x[2 * i + 1], 8);
  POGO_UNROLL
  for (int i = 0; i < 4; i += 1) y[i] = half(by4, y[i], y[i + 4], 4);
  POGO_UNROLL
  for (int i = 0; i < 2; i += 1) y[i] = half(by2, y[i], y[i + 2], 2);
  const float sum = half(by1, y[0], y[1], 1);
  return pogo_add(sum, __shfl_xor_sync(ALL_LANES, sum, 8));
}

constexpr uint32_t BATCH = 4, OWN_COLUMNS = 4, MOST_BLOCKS = PANEL / 64;
/** Means and reciprocal deviations of 64 rows; two batches of the sums of 64-blocks: two of each row. */
constexpr uint32_t BACKWARD_SHARED = COLUMN_ROWS * sizeof(float2) + 2 * 2 * BATCH * MOST_BLOCKS * sizeof(float);

/**
 * 64 rows of one panel: their gradients and the sums of their columns. A thread has four columns of all rows, so that a
 * column's sum is one thread's and everything is read once; 16 lanes have a 64-block. The next batch of rows is under way
 * while the sums of this one cross the warps. partial: [blocks][C] of gain, then of bias.
 */
template <bool LAYER, bool WHOLE>
static __device__ __forceinline__ void norm_backward_rows(const NormBackwardArgs& a, float* partial, float inverse,
                                                          uint32_t rows) {
  float2* moments = reinterpret_cast<float2*>(pogo_shared());
  float* sums = reinterpret_cast<float*>(moments + COLUMN_ROWS);
  const uint32_t thread = threadIdx.x, lane = thread % 32, first_row = blockIdx.x * COLUMN_ROWS, blocks64 = a.C / 64;
  // Whoever has no columns reads the last ones and writes nothing.
  const bool owns = thread * OWN_COLUMNS < a.C;
  const uint32_t column = owns ? thread * OWN_COLUMNS : a.C - OWN_COLUMNS;
  for (uint32_t r = thread; r < rows; r += blockDim.x) {
    moments[r] = make_float2(a.rstd[first_row + r], LAYER ? a.mean[first_row + r] : 0.0f);
  }
  const float4 gains = *reinterpret_cast<const float4*>(a.gain + column);
  const float gain[OWN_COLUMNS] = {gains.x, gains.y, gains.z, gains.w};

  uint2 next_x[BATCH], next_dy[BATCH], next_residual[BATCH];
  uint64_t read_place = (uint64_t)first_row * a.C + column, write_place = read_place;
  auto read = [&](uint32_t batch) {
    POGO_UNROLL
    for (uint32_t r = 0; r < BATCH; r += 1) {
      next_x[r] = *reinterpret_cast<const uint2*>(a.x + read_place);
      next_dy[r] = *reinterpret_cast<const uint2*>(a.dy + read_place);
      if (a.residual) next_residual[r] = *reinterpret_cast<const uint2*>(a.dx + read_place);
      // A row that is not there is the last one again.
      if (WHOLE || batch + r + 1 < rows) read_place += a.C;
    }
  };
  read(0);
  __syncthreads();

  // -0 is what changes no term that it is added to.
  float gain_sum[OWN_COLUMNS] = {-0.0f, -0.0f, -0.0f, -0.0f}, bias_sum[OWN_COLUMNS] = {-0.0f, -0.0f, -0.0f, -0.0f};
  POGO_NO_UNROLL
  for (uint32_t batch = 0; batch < rows; batch += BATCH) {
    float xhat[BATCH][OWN_COLUMNS], gy[BATCH][OWN_COLUMNS], pairs[4 * BATCH];
    uint2 residual[BATCH];
    POGO_UNROLL
    for (uint32_t r = 0; r < BATCH; r += 1) {
      const bool is_there = WHOLE || batch + r < rows;
      const float2 moment = moments[is_there ? batch + r : rows - 1];
      const float x[OWN_COLUMNS] = {low_bf16(next_x[r].x), high_bf16(next_x[r].x), low_bf16(next_x[r].y), high_bf16(next_x[r].y)};
      const float dy[OWN_COLUMNS] = {low_bf16(next_dy[r].x), high_bf16(next_dy[r].x), low_bf16(next_dy[r].y),
                                     high_bf16(next_dy[r].y)};
      float product[OWN_COLUMNS];
      POGO_UNROLL
      for (uint32_t c = 0; c < OWN_COLUMNS; c += 1) {
        xhat[r][c] = pogo_mul(LAYER ? pogo_sub(x[c], moment.y) : x[c], moment.x);
        gy[r][c] = pogo_mul(dy[c], gain[c]);
        product[c] = pogo_mul(gy[r][c], xhat[r][c]);
        if (is_there) {
          gain_sum[c] = pogo_add(gain_sum[c], pogo_mul(dy[c], xhat[r][c]));
          if (LAYER) bias_sum[c] = pogo_add(bias_sum[c], dy[c]);
        }
      }
      pairs[4 * r] = pogo_add(product[0], product[1]);
      pairs[4 * r + 1] = pogo_add(product[2], product[3]);
      pairs[4 * r + 2] = LAYER ? pogo_add(gy[r][0], gy[r][1]) : 0.0f;
      pairs[4 * r + 3] = LAYER ? pogo_add(gy[r][2], gy[r][3]) : 0.0f;
      if (a.residual) residual[r] = next_residual[r];
    }
    if (batch + BATCH < rows) read(batch + BATCH);
    float* batch_sums = sums + batch / BATCH % 2 * (2 * BATCH * MOST_BLOCKS);
    const float block_sum = t64_of_eight(pairs, lane);
    if (owns && lane % 16 < 2 * BATCH) batch_sums[lane % 16 * MOST_BLOCKS + thread / 16] = block_sum;
    __syncthreads();
    // Each warp adds the 64-blocks up, a lane a sum: row lane / 2, products before gradients.
    float mean_of_sum = 0.0f;
    if (lane < 2 * BATCH) {
      float total = batch_sums[lane * MOST_BLOCKS];
      for (uint32_t b = 1; b < blocks64; b += 1) total = pogo_add(total, batch_sums[lane * MOST_BLOCKS + b]);
      mean_of_sum = pogo_mul(total, inverse);
    }
    POGO_UNROLL
    for (uint32_t r = 0; r < BATCH; r += 1) {
      const float s = __shfl_sync(ALL_LANES, mean_of_sum, (int)(2 * r));
      const float mean_gradient = LAYER ? __shfl_sync(ALL_LANES, mean_of_sum, (int)(2 * r + 1)) : 0.0f;
      const bool is_there = WHOLE || batch + r < rows;
      const float rstd = moments[is_there ? batch + r : rows - 1].x;
      float d[OWN_COLUMNS];
      POGO_UNROLL
      for (uint32_t c = 0; c < OWN_COLUMNS; c += 1) {
        d[c] = LAYER ? pogo_layer_gradient(gy[r][c], xhat[r][c], rstd, mean_gradient, s)
                     : pogo_rms_gradient(gy[r][c], xhat[r][c], rstd, s);
      }
      if (a.residual) {
        d[0] = pogo_add(low_bf16(residual[r].x), d[0]);
        d[1] = pogo_add(high_bf16(residual[r].x), d[1]);
        d[2] = pogo_add(low_bf16(residual[r].y), d[2]);
        d[3] = pogo_add(high_bf16(residual[r].y), d[3]);
      }
      if (owns && is_there) {
        *reinterpret_cast<uint2*>(a.dx + write_place) = make_uint2(pair_bf16(d[0], d[1]), pair_bf16(d[2], d[3]));
      }
      write_place += a.C;
    }
  }
  if (!owns) return;
  float* place = partial + (uint64_t)blockIdx.x * a.C + column;
  *reinterpret_cast<float4*>(place) = make_float4(gain_sum[0], gain_sum[1], gain_sum[2], gain_sum[3]);
  if (LAYER) {
    *reinterpret_cast<float4*>(place + (uint64_t)gridDim.x * a.C) = make_float4(bias_sum[0], bias_sum[1], bias_sum[2], bias_sum[3]);
  }
}

template <bool LAYER>
__global__ void __launch_bounds__(PANEL / OWN_COLUMNS, 2)
    norm_backward_kernel(NormBackwardArgs a, float* partial, float inverse) {
  const uint32_t left = a.T - blockIdx.x * COLUMN_ROWS;
  if (left >= COLUMN_ROWS) {
    norm_backward_rows<LAYER, true>(a, partial, inverse, COLUMN_ROWS);
  } else {
    norm_backward_rows<LAYER, false>(a, partial, inverse, left);
  }
}

/** The gradient of one row of several panels; also what the column sums need of it is read again there. */
template <bool LAYER>
static __device__ __forceinline__ void norm_backward_row(const NormBackwardArgs& a, uint64_t row, uint32_t lane,
                                                         float inverse) {
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
    load(p);
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

/** A part of rows of several panels, and of the column sums of 64 of them. */
template <bool LAYER>
__global__ void __launch_bounds__(THREADS) norm_backward_long_kernel(NormBackwardArgs a, float* partial, float inverse) {
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

template <bool LAYER>
cudaError_t launch_backward(const NormBackwardArgs& a, float* partial, const Launch& launch) {
  const uint32_t blocks = column_blocks(a.T);
  const float inverse = pogo_inverse_count(a.C);
  if (a.C > PANEL) {
    return POGO_LAUNCH((norm_backward_long_kernel<LAYER>), blocks * COLUMN_PARTS, THREADS, 0, launch.stream, a, partial, inverse);
  }
  return POGO_LAUNCH((norm_backward_kernel<LAYER>), blocks, (a.C / OWN_COLUMNS + 31) / 32 * 32, BACKWARD_SHARED, launch.stream,
                     a, partial, inverse);
}

}  // namespace

size_t norm_backward_workspace(const NormBackwardArgs& a, const DeviceTraits&) {
  return (size_t)column_blocks(a.T) * a.C * sizeof(float) * (a.layer ? 2 : 1);
}

Status norm_backward(const NormBackwardArgs& a, const Launch& launch) {
  float* partial = static_cast<float*>(launch.workspace.data);
  const uint32_t blocks = column_blocks(a.T);
  cudaError_t error = a.layer ? launch_backward<true>(a, partial, launch) : launch_backward<false>(a, partial, launch);
  POGO_TRY(error, "norm_backward_kernel");
  POGO_TRY(add_column_blocks(partial, {a.dGain, a.layer ? a.dBias : nullptr}, blocks, a.C, a.accumulate, launch.stream),
           "add_column_blocks_kernel");
  return Status();
}

}  // namespace pogo
