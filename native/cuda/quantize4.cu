// 4-bit gradient codes (numerics 2.5) and their values.
//
// Memory decides: 4 bytes are read and half a byte is written per element. A warp owns one group of 64 columns and walks
// down rows, so the column words of the dither are hashed once and each lane holds two neighbouring elements, one byte
// of codes. absmax is gathered on integers (numerics 1.2), so its order does not matter.
#include "elements.h"
#include "ops.h"

namespace pogo {
namespace {

constexpr int WARP = 32;
constexpr int GROUP = 64;
constexpr int WARPS_PER_BLOCK = 8;
/** Rows of a warp: enough to pay for the column words; not yet tuned on a device. */
constexpr int ROWS_PER_WARP = 8;

__global__ void quantize4_kernel(const float* __restrict__ x, uint8_t* __restrict__ codes,
                                 uint16_t* __restrict__ scales, const uint32_t* __restrict__ seed,
                                 uint32_t rows, uint32_t cols, unsigned long long* failure, uint32_t entry) {
  uint32_t lane = threadIdx.x;
  uint32_t group = blockIdx.x * WARPS_PER_BLOCK + threadIdx.y;
  uint32_t groups = (cols + GROUP - 1) / GROUP;
  if (group >= groups) return;
  uint32_t column = group * GROUP + 2 * lane;
  bool has0 = column < cols;
  bool has1 = column + 1 < cols;
  uint32_t word0 = pogo_dither_column(seed, column);
  uint32_t word1 = pogo_dither_column(seed, column + 1);
  for (uint64_t first = (uint64_t)blockIdx.y * ROWS_PER_WARP; first < rows; first += (uint64_t)gridDim.y * ROWS_PER_WARP) {
    uint32_t end = (uint32_t)(first + ROWS_PER_WARP < rows ? first + ROWS_PER_WARP : rows);
    for (uint32_t row = (uint32_t)first; row < end; row += 1) {
      uint64_t at = (uint64_t)row * cols + column;
      float x0 = has0 ? x[at] : 0.0f;
      float x1 = has1 ? x[at + 1] : 0.0f;
      uint32_t absmax = __reduce_max_sync(0xFFFFFFFFu, pogo_imax(pogo_abs_bits(x0), pogo_abs_bits(x1)));
      float multiplier = 0.0f;
      uint16_t stored = 0;
      bool live = pogo_q4(absmax, POGO_Q4_R, &multiplier, &stored);
      // The groups of a matrix row are whole, so this index holds for vectors and matrices alike.
      uint64_t index = ((uint64_t)row * cols) / GROUP + group;
      bool finite = pogo_absmax_is_finite(absmax) && stored < (POGO_INFINITY_BITS >> 16);
      if (lane == 0) {
        scales[index] = stored;
        if (!finite) pogo_report(failure, entry, FAILURE_NON_FINITE, index);
      }
      uint32_t dither_row = pogo_dither_row(seed, row);
      uint8_t pair = pogo_quantize4_pair(x0, x1, multiplier, live && has0, live && has1, word0, word1, dither_row);
      if (has0) codes[at / 2] = pair;
    }
  }
}

__global__ void dequantize4_kernel(const uint8_t* __restrict__ codes, const uint16_t* __restrict__ scales,
                                   float* __restrict__ x, uint64_t pairs) {
  uint64_t stride = (uint64_t)gridDim.x * blockDim.x;
  for (uint64_t i = (uint64_t)blockIdx.x * blockDim.x + threadIdx.x; i < pairs; i += stride) {
    float scale = pogo_of_bf16(scales[i / (GROUP / 2)]);
    uint8_t byte = codes[i];
    float2 value;
    value.x = pogo_mul(pogo_to_float((uint32_t)pogo_nibble(byte, 0)), scale);
    value.y = pogo_mul(pogo_to_float((uint32_t)pogo_nibble(byte, 1)), scale);
    reinterpret_cast<float2*>(x)[i] = value;
  }
}

}  // namespace

Status quantize4(const Quantize4Args& a, const Launch& launch) {
  size_t count = (size_t)a.rows * a.cols;
  size_t code_bytes = (count + 1) / 2, scale_count = (count + 63) / 64;
  if (a.codeBytes > code_bytes) {
    POGO_TRY(cudaMemsetAsync(a.codes + code_bytes, 0, a.codeBytes - code_bytes, launch.stream), "memset of quantize4's codes");
  }
  if (a.scaleCount > scale_count) {
    POGO_TRY(cudaMemsetAsync(a.scales + scale_count, 0, 2 * (a.scaleCount - scale_count), launch.stream),
             "memset of quantize4's scales");
  }
  if (count == 0) return Status();
  uint32_t groups = (a.cols + GROUP - 1) / GROUP;
  uint32_t row_blocks = (a.rows + ROWS_PER_WARP - 1) / ROWS_PER_WARP;
  dim3 grid((groups + WARPS_PER_BLOCK - 1) / WARPS_PER_BLOCK, row_blocks < 65535u ? row_blocks : 65535u);
  POGO_TRY(POGO_LAUNCH(quantize4_kernel, grid, dim3(WARP, WARPS_PER_BLOCK), 0, launch.stream, a.x, a.codes, a.scales, a.seed,
                       a.rows, a.cols, launch.failure, launch.entry),
           "quantize4_kernel");
  return Status();
}

Status dequantize4(const Dequantize4Args& a, const Launch& launch) {
  if (a.n == 0) return Status();
  uint64_t pairs = a.n / 2;
  uint64_t blocks = (pairs + 255) / 256;
  POGO_TRY(POGO_LAUNCH(dequantize4_kernel, (unsigned)(blocks < 65536 ? blocks : 65536), 256, 0, launch.stream, a.codes,
                       a.scales, a.x, pairs),
           "dequantize4_kernel");
  return Status();
}

}  // namespace pogo
