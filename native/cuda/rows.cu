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

struct StoredErrors {
  typedef uint2 Raw;
  typedef uint2 Held;
  const uint16_t* x;

  __device__ Raw read(uint64_t place) const { return *reinterpret_cast<const uint2*>(x + place); }
  __device__ Held hold(Raw raw) const { return raw; }
  __device__ void values(Held held, float v[GRADIENT_COLUMNS]) const {
    v[0] = low_bf16(held.x);
    v[1] = high_bf16(held.x);
    v[2] = low_bf16(held.y);
    v[3] = high_bf16(held.y);
  }
};

__global__ void __launch_bounds__(GRADIENT_THREADS, 3)
    quantize_gradient_rows_kernel(QuantizeGradientRowsArgs a, float* partial, unsigned long long* failure, uint32_t entry) {
  gradient_rows(a, partial, failure, entry, StoredErrors{a.x});
}

/** Columns of a block of threads, block sums of a tile, loads of a thread that are under way together. */
constexpr uint32_t TOTAL_COLUMNS = 32, TOTAL_TILE = 256, TOTAL_LOADS = 16;
constexpr uint32_t TOTAL_THREADS = TOTAL_COLUMNS * TOTAL_TILE / TOTAL_LOADS;

/**
 * The additions of a column are one chain; the loads are not. All threads bring a tile of block sums, one warp adds it up,
 * a lane a column, while the next tile is under way. Block (x, i): columns of totals[i]. Shared: a tile.
 */
__global__ void __launch_bounds__(TOTAL_THREADS)
    add_column_blocks_kernel(const float* __restrict__ partial, ColumnTotals totals, uint32_t blocks, uint32_t n, bool accumulate) {
  float* tile = reinterpret_cast<float*>(pogo_shared());
  const uint32_t lane = threadIdx.x % TOTAL_COLUMNS, warp = threadIdx.x / TOTAL_COLUMNS;
  const uint32_t column = blockIdx.x * TOTAL_COLUMNS + lane;
  const bool is_there = column < n;
  const float* own = partial + (uint64_t)blockIdx.y * blocks * n + column;
  float* const out = (blockIdx.y == 0 ? totals.of[0] : totals.of[1]) + column;
  float held[TOTAL_LOADS];
  auto load = [&](uint32_t first) {
    POGO_UNROLL
    for (uint32_t i = 0; i < TOTAL_LOADS; i += 1) {
      const uint32_t block = first + warp + i * (TOTAL_TILE / TOTAL_LOADS);
      held[i] = is_there && block < blocks ? own[(uint64_t)block * n] : 0.0f;
    }
  };
  load(0);
  const bool adds = warp == 0 && is_there;
  float sum = adds && accumulate ? *out : 0.0f;
  for (uint32_t first = 0; first < blocks; first += TOTAL_TILE) {
    POGO_UNROLL
    for (uint32_t i = 0; i < TOTAL_LOADS; i += 1) tile[threadIdx.x + i * TOTAL_THREADS] = held[i];
    __syncthreads();
    const uint32_t next = first + TOTAL_TILE, count = blocks < next ? blocks - first : TOTAL_TILE;
    if (next < blocks) load(next);
    if (adds) {
      sum = first == 0 && !accumulate ? tile[lane] : pogo_add(sum, tile[lane]);
#if defined(__CUDA_ARCH__)
#pragma unroll 16
#endif
      for (uint32_t b = 1; b < count; b += 1) sum = pogo_add(sum, tile[b * TOTAL_COLUMNS + lane]);
    }
    __syncthreads();
  }
  if (adds) *out = sum;
}

constexpr uint32_t LOSS_THREADS = 1024;
/** 64-blocks whose sums lie in shared memory at once. */
constexpr uint32_t LOSS_BLOCKS = 4096;
/** All of them whatever U is, and 16 bytes behind: the ordered sum is compiled to read four ahead. */
constexpr uint32_t LOSS_SHARED = (LOSS_BLOCKS + 4) * sizeof(float);

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

cudaError_t add_column_blocks(const float* partial, const ColumnTotals& totals, uint32_t blocks, uint32_t n, bool accumulate,
                              cudaStream_t stream) {
  const dim3 grid((n + TOTAL_COLUMNS - 1) / TOTAL_COLUMNS, totals.of[1] == nullptr ? 1 : 2);
  return POGO_LAUNCH(add_column_blocks_kernel, grid, TOTAL_THREADS, TOTAL_COLUMNS * TOTAL_TILE * sizeof(float), stream, partial,
                     totals, blocks, n, accumulate);
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
  POGO_TRY(POGO_LAUNCH(unit_loss_kernel, 1, LOSS_THREADS, LOSS_SHARED, launch.stream, a, pogo_inverse_count(a.U)),
           "unit_loss_kernel");
  return Status();
}

}  // namespace pogo
