// 4-bit gradient codes (numerics 2.5) and their values.
//
// Memory decides: 4 bytes are read and half a byte is written per element. A warp owns one group of 64 columns and walks
// down rows, so the column words of the dither are hashed once and each lane holds two neighbouring elements, one byte
// of codes. absmax is gathered on integers (numerics 1.2), so its order does not matter.
#include "device.h"
#include "elements.h"

namespace pogo {
namespace {

constexpr int WARP = 32;
constexpr int GROUP = 64;
constexpr int WARPS_PER_BLOCK = 8;
/** Rows of a warp: enough to pay for the column words; not yet tuned on a device. */
constexpr int ROWS_PER_WARP = 8;
constexpr unsigned long long ALL_FINITE = ~0ull;

struct Seed {
  uint32_t words[4];
};

__global__ void quantize4_kernel(const float* __restrict__ x, uint8_t* __restrict__ codes,
                                 uint16_t* __restrict__ scales, Seed seed, uint32_t rows, uint32_t cols,
                                 unsigned long long* non_finite) {
  uint32_t lane = threadIdx.x;
  uint32_t group = blockIdx.x * WARPS_PER_BLOCK + threadIdx.y;
  uint32_t groups = (cols + GROUP - 1) / GROUP;
  if (group >= groups) return;
  uint32_t column = group * GROUP + 2 * lane;
  bool has0 = column < cols;
  bool has1 = column + 1 < cols;
  uint32_t word0 = pogo_dither_column(seed.words, column);
  uint32_t word1 = pogo_dither_column(seed.words, column + 1);
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
        if (!finite) atomicMin(non_finite, (unsigned long long)index);
      }
      uint32_t dither_row = pogo_dither_row(seed.words, row);
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

Status quantize4(const float* x, uint8_t* codes, size_t code_bytes, uint16_t* scales, size_t scale_count,
                 const uint32_t seed[4], uint32_t rows, uint32_t cols) {
  size_t count = (size_t)rows * cols;
  DeviceMemory input, output, output_scales, flag;
  POGO_TRY(input.allocate(4 * count), "cudaMalloc of quantize4's input");
  POGO_TRY(output.allocate(code_bytes), "cudaMalloc of quantize4's codes");
  POGO_TRY(output_scales.allocate(2 * scale_count), "cudaMalloc of quantize4's scales");
  POGO_TRY(flag.allocate(8), "cudaMalloc of quantize4's flag");
  POGO_TRY(cudaMemcpy(input.as<void>(), x, 4 * count, cudaMemcpyHostToDevice), "copy of quantize4's input");
  POGO_TRY(cudaMemset(output.as<void>(), 0, code_bytes), "memset of quantize4's codes");
  POGO_TRY(cudaMemset(output_scales.as<void>(), 0, 2 * scale_count), "memset of quantize4's scales");
  POGO_TRY(cudaMemset(flag.as<void>(), 0xFF, 8), "memset of quantize4's flag");
  if (count > 0) {
    Seed words = {{seed[0], seed[1], seed[2], seed[3]}};
    uint32_t groups = (cols + GROUP - 1) / GROUP;
    uint32_t row_blocks = (rows + ROWS_PER_WARP - 1) / ROWS_PER_WARP;
    dim3 grid((groups + WARPS_PER_BLOCK - 1) / WARPS_PER_BLOCK, row_blocks < 65535u ? row_blocks : 65535u);
    quantize4_kernel<<<grid, dim3(WARP, WARPS_PER_BLOCK)>>>(input.as<float>(), output.as<uint8_t>(),
                                                            output_scales.as<uint16_t>(), words, rows, cols,
                                                            flag.as<unsigned long long>());
    POGO_TRY(cudaGetLastError(), "quantize4_kernel");
  }
  unsigned long long first_bad = ALL_FINITE;
  POGO_TRY(cudaMemcpy(&first_bad, flag.as<void>(), 8, cudaMemcpyDeviceToHost), "quantize4_kernel");
  if (first_bad != ALL_FINITE) {
    Status status;
    status.non_finite_group = (int64_t)first_bad;
    return status;
  }
  POGO_TRY(cudaMemcpy(codes, output.as<void>(), code_bytes, cudaMemcpyDeviceToHost), "copy of quantize4's codes");
  POGO_TRY(cudaMemcpy(scales, output_scales.as<void>(), 2 * scale_count, cudaMemcpyDeviceToHost),
           "copy of quantize4's scales");
  return Status();
}

Status dequantize4(const uint8_t* codes, const uint16_t* scales, float* x, size_t n) {
  DeviceMemory input, input_scales, output;
  POGO_TRY(input.allocate(n / 2), "cudaMalloc of dequantize4's codes");
  POGO_TRY(input_scales.allocate(n / 32), "cudaMalloc of dequantize4's scales");
  POGO_TRY(output.allocate(4 * n), "cudaMalloc of dequantize4's output");
  POGO_TRY(cudaMemcpy(input.as<void>(), codes, n / 2, cudaMemcpyHostToDevice), "copy of dequantize4's codes");
  POGO_TRY(cudaMemcpy(input_scales.as<void>(), scales, n / 32, cudaMemcpyHostToDevice), "copy of dequantize4's scales");
  if (n > 0) {
    uint64_t pairs = n / 2;
    uint64_t blocks = (pairs + 255) / 256;
    dequantize4_kernel<<<(unsigned)(blocks < 65536 ? blocks : 65536), 256>>>(
        input.as<uint8_t>(), input_scales.as<uint16_t>(), output.as<float>(), pairs);
    POGO_TRY(cudaGetLastError(), "dequantize4_kernel");
  }
  POGO_TRY(cudaMemcpy(x, output.as<void>(), 4 * n, cudaMemcpyDeviceToHost), "dequantize4_kernel");
  return Status();
}

}  // namespace pogo
