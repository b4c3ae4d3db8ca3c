// Modular difference and sum of packed codes, the core of the binary diff between two 4-bit models (numerics 2.6).
#include "device.h"
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
    diff_codes_kernel<<<(unsigned)(blocks < 65536 ? blocks : 65536), 256>>>(
        first.as<uint32_t>(), second.as<uint32_t>(), result.as<uint32_t>(), words, bits, add);
    POGO_TRY(cudaGetLastError(), "diff_codes_kernel");
  }
  POGO_TRY(cudaMemcpy(out, result.as<void>(), bytes, cudaMemcpyDeviceToHost), "diff_codes_kernel");
  return Status();
}

}  // namespace pogo
