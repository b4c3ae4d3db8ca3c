#include "host_calls.h"

#include "elements.h"

namespace pogo {
namespace {

__global__ void diff_codes_kernel(const uint32_t* __restrict__ a, const uint32_t* __restrict__ b,
                                  uint32_t* __restrict__ out, uint64_t words, int bits, bool add) {
  uint64_t stride = (uint64_t)gridDim.x * blockDim.x;
  for (uint64_t i = (uint64_t)blockIdx.x * blockDim.x + threadIdx.x; i < words; i += stride) {
    out[i] = add ? pogo_field_add(a[i], b[i], bits) : pogo_field_sub(a[i], b[i], bits);
  }
}

}  // namespace

namespace host {

Status quantize4(const float* x, uint8_t* codes, size_t code_bytes, uint16_t* scales, size_t scale_count,
                 const uint32_t seed[4], uint32_t rows, uint32_t cols, int64_t* non_finite_group) {
  *non_finite_group = -1;
  size_t count = (size_t)rows * cols;
  DeviceMemory input, output, output_scales, words, flag;
  POGO_TRY(input.allocate(4 * count), "cudaMalloc of quantize4's input");
  POGO_TRY(output.allocate(code_bytes), "cudaMalloc of quantize4's codes");
  POGO_TRY(output_scales.allocate(2 * scale_count), "cudaMalloc of quantize4's scales");
  POGO_TRY(words.allocate(16), "cudaMalloc of quantize4's seed");
  POGO_TRY(flag.allocate(8), "cudaMalloc of quantize4's flag");
  POGO_TRY(cudaMemcpy(input.as<void>(), x, 4 * count, cudaMemcpyHostToDevice), "copy of quantize4's input");
  POGO_TRY(cudaMemcpy(words.as<void>(), seed, 16, cudaMemcpyHostToDevice), "copy of quantize4's seed");
  POGO_TRY(cudaMemset(flag.as<void>(), 0xFF, 8), "memset of quantize4's flag");
  DeviceTraits traits;
  Launch launch;
  int device = 0;
  POGO_TRY(cudaGetDevice(&device), "cudaGetDevice");
  Status status = device_traits(device, &traits);
  if (!status.ok()) return status;
  launch.device = &traits;
  launch.failure = flag.as<unsigned long long>();
  Quantize4Args a = {input.as<float>(), output.as<uint8_t>(), output_scales.as<uint16_t>(), words.as<uint32_t>(), rows, cols,
                     code_bytes, scale_count};
  status = pogo::quantize4(a, launch);
  if (!status.ok()) return status;
  unsigned long long failure = NO_FAILURE;
  POGO_TRY(cudaMemcpy(&failure, flag.as<void>(), 8, cudaMemcpyDeviceToHost), "quantize4_kernel");
  if (failure != NO_FAILURE) {
    *non_finite_group = (int64_t)failure_index(failure);
    return Status();
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
  Dequantize4Args a = {input.as<uint8_t>(), input_scales.as<uint16_t>(), output.as<float>(), n};
  Status status = pogo::dequantize4(a, Launch());
  if (!status.ok()) return status;
  POGO_TRY(cudaMemcpy(x, output.as<void>(), 4 * n, cudaMemcpyDeviceToHost), "dequantize4_kernel");
  return Status();
}

Status blake3_tree(const uint8_t* bytes, size_t length, uint64_t first_leaf, uint8_t* tree) {
  size_t leaves = (length + 1023) / 1024;
  size_t values = blake3_tree_values(leaves);
  DeviceMemory input, output, table;
  POGO_TRY(input.allocate(length), "cudaMalloc of blake3's input");
  POGO_TRY(output.allocate(32 * values), "cudaMalloc of blake3's tree");
  POGO_TRY(table.allocate(sizeof(Blake3Segment)), "cudaMalloc of blake3's segment");
  Blake3Segment segment = {input.as<uint8_t>(), output.as<uint8_t>(), length, first_leaf};
  POGO_TRY(cudaMemcpy(input.as<void>(), bytes, length, cudaMemcpyHostToDevice), "copy of blake3's input");
  POGO_TRY(cudaMemcpy(table.as<void>(), &segment, sizeof segment, cudaMemcpyHostToDevice), "copy of blake3's segment");
  Blake3TreesArgs a = {table.as<Blake3Segment>(), 1, leaves, leaves};
  Status status = blake3_trees(a, Launch());
  if (!status.ok()) return status;
  POGO_TRY(cudaMemcpy(tree, output.as<void>(), 32 * values, cudaMemcpyDeviceToHost), "copy of blake3's tree");
  return Status();
}

Status diff_codes(const uint8_t* a, const uint8_t* b, uint8_t* out, size_t bytes, int bits, bool add) {
  // Whole words on the device: the last word's bytes beyond the end are computed and not copied back.
  size_t words = (bytes + 3) / 4;
  DeviceMemory first, second, result;
  POGO_TRY(first.allocate(4 * words), "cudaMalloc of diff_codes' first operand");
  POGO_TRY(second.allocate(4 * words), "cudaMalloc of diff_codes' second operand");
  POGO_TRY(result.allocate(4 * words), "cudaMalloc of diff_codes' result");
  POGO_TRY(cudaMemcpy(first.as<void>(), a, bytes, cudaMemcpyHostToDevice), "copy of diff_codes' first operand");
  POGO_TRY(cudaMemcpy(second.as<void>(), b, bytes, cudaMemcpyHostToDevice), "copy of diff_codes' second operand");
  if (words > 0) {
    uint64_t blocks = (words + 255) / 256;
    POGO_TRY(POGO_LAUNCH(diff_codes_kernel, (unsigned)(blocks < 65536 ? blocks : 65536), 256, 0, nullptr,
                         first.as<uint32_t>(), second.as<uint32_t>(), result.as<uint32_t>(), words, bits, add),
             "diff_codes_kernel");
  }
  POGO_TRY(cudaMemcpy(out, result.as<void>(), bytes, cudaMemcpyDeviceToHost), "diff_codes_kernel");
  return Status();
}

}  // namespace host
}  // namespace pogo
