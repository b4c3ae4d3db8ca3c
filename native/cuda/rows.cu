// Row codes of bf16 matrices (quantizeRows, quantizeGradientRows), sums of columns, the loss of a unit, zeros.
//
// Memory decides: 2 bytes are read and 1 is written an element. A warp has a row's panel in registers, so absmax and
// codes need one read.
#include "gradient_rows.h"

namespace pogo {
namespace {

constexpr uint32_t WARPS = 8;
constexpr uint32_t THREADS = 32 * WARPS;

__global__ void __launch_bounds__(THREADS) quantize_rows_kernel(QuantizeRowsArgs a, unsigned long long* failure,
                                                                uint32_t entry) {
  const uint32_t lane = threadIdx.x % 32;
  const uint64_t row = (uint64_t)blockIdx.x * WARPS + threadIdx.x / 32;
  if (row >= a.T) return;
  for (uint32_t first = 0; first < a.N; first += PANEL) {
    const Panel p = {first, a.N, lane};
    float v[CHUNKS][8];
    load_panel(a.x + row * a.N, p, v);
    const CodeRow out = {a.codes + row * a.N, a.scales + (uint64_t)(first / PANEL) * a.T + row, failure, entry, row};
    quantize_panel<false>(v, p, out, nullptr, 0);
  }
}

__global__ void __launch_bounds__(GRADIENT_THREADS)
    quantize_gradient_rows_kernel(QuantizeGradientRowsArgs a, float* partial, unsigned long long* failure, uint32_t entry) {
  gradient_rows(
      a, partial, failure, entry,
      [&](uint64_t row, const Panel& p, float v[CHUNKS][8]) { load_panel(a.x + row * a.N, p, v); },
      [&](uint32_t block_row, uint32_t r, uint32_t pair, float2* terms) {
        const uint32_t* x = reinterpret_cast<const uint32_t*>(a.x + (uint64_t)block_row * a.N);
        const uint32_t w = x[(uint64_t)r * (a.N / 2) + pair];
        terms[0] = make_float2(low_bf16(w), high_bf16(w));
      });
}

__global__ void __launch_bounds__(128)
    add_column_blocks_kernel(const float* __restrict__ partial, float* __restrict__ totals, uint32_t blocks, uint32_t n,
                             bool accumulate) {
  const uint32_t c = blockIdx.x * 128 + threadIdx.x;
  if (c >= n) return;
  float sum = accumulate ? pogo_add(totals[c], partial[c]) : partial[c];
#if defined(__CUDA_ARCH__)
#pragma unroll 8
#endif
  for (uint32_t b = 1; b < blocks; b += 1) sum = pogo_add(sum, partial[(uint64_t)b * n + c]);
  totals[c] = sum;
}

constexpr uint32_t LOSS_THREADS = 1024;
/** 64-blocks whose sums lie in shared memory at once. */
constexpr uint32_t LOSS_BLOCKS = 4096;

/** One block of threads: a warp a 64-block, then one thread in order. */
__global__ void __launch_bounds__(LOSS_THREADS) unit_loss_kernel(UnitLossArgs a, float inverse) {
  float* sums = reinterpret_cast<float*>(pogo_shared());
  const uint32_t lane = threadIdx.x % 32, warp = threadIdx.x / 32, blocks = (a.U + 63) / 64;
  float total = 0.0f;
  for (uint32_t first = 0; first < blocks; first += LOSS_BLOCKS) {
    const uint32_t count = blocks - first < LOSS_BLOCKS ? blocks - first : LOSS_BLOCKS;
    for (uint32_t b = warp; b < count; b += LOSS_THREADS / 32) {
      const uint64_t at = (uint64_t)(first + b) * 64 + 2 * lane;
      // A short last block is filled with +0.
      const float x0 = at < a.U ? a.loss[at] : 0.0f, x1 = at + 1 < a.U ? a.loss[at + 1] : 0.0f;
      float y = pogo_add(x0, x1);
      for (int s = 16; s > 0; s >>= 1) y = pogo_add(y, __shfl_xor_sync(ALL_LANES, y, s));
      if (lane == 0) sums[b] = y;
    }
    __syncthreads();
    if (threadIdx.x == 0) {
      for (uint32_t b = 0; b < count; b += 1) total = first + b == 0 ? sums[b] : pogo_add(total, sums[b]);
    }
    __syncthreads();
  }
  if (threadIdx.x == 0) a.out[0] = pogo_mul(total, inverse);
}

}  // namespace

cudaError_t add_column_blocks(const float* partial, float* totals, uint32_t blocks, uint32_t n, bool accumulate,
                              cudaStream_t stream) {
  return POGO_LAUNCH(add_column_blocks_kernel, (n + 127) / 128, 128, 0, stream, partial, totals, blocks, n, accumulate);
}

Status fill_zero(const FillZeroArgs& a, const Launch& launch) {
  if (a.n == 0) return Status();
  POGO_TRY(cudaMemsetAsync(a.x, 0, 4 * a.n, launch.stream), "fillZero");
  return Status();
}

Status quantize_rows(const QuantizeRowsArgs& a, const Launch& launch) {
  POGO_TRY(POGO_LAUNCH(quantize_rows_kernel, (a.T + WARPS - 1) / WARPS, THREADS, 0, launch.stream, a, launch.failure,
                       launch.entry),
           "quantize_rows_kernel");
  return Status();
}

size_t quantize_gradient_rows_workspace(const QuantizeGradientRowsArgs& a, const DeviceTraits&) {
  return gradient_rows_workspace(a);
}

Status quantize_gradient_rows(const QuantizeGradientRowsArgs& a, const Launch& launch) {
  return launch_gradient_rows(quantize_gradient_rows_kernel, "quantize_gradient_rows_kernel", a, launch);
}

size_t unit_loss_workspace(const UnitLossArgs&, const DeviceTraits&) { return 0; }

Status unit_loss(const UnitLossArgs& a, const Launch& launch) {
  const uint32_t blocks = (a.U + 63) / 64;
  POGO_TRY(POGO_LAUNCH(unit_loss_kernel, 1, LOSS_THREADS, (blocks < LOSS_BLOCKS ? blocks : LOSS_BLOCKS) * sizeof(float),
                       launch.stream, a, pogo_inverse_count(a.U)),
           "unit_loss_kernel");
  return Status();
}

}  // namespace pogo
