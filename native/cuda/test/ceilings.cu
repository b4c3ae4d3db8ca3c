#include "ceilings.h"

#include "../ptx.h"

namespace test {
namespace {

constexpr int THREADS = 256;
constexpr uint32_t COPIES = 4;
#if defined(POGO_CUDA_MODEL)
constexpr uint32_t ROUNDS = 4;
#else
constexpr uint32_t ROUNDS = 512;
#endif
/** Independent accumulators of a warp: enough to hide an instruction's latency. */
constexpr uint32_t CHAINS = 8;
constexpr uint32_t BLOCKS_PER_MULTIPROCESSOR = 4;

__global__ void __launch_bounds__(THREADS) copy_kernel(uint4* __restrict__ to, const uint4* __restrict__ from, uint64_t count) {
  const uint64_t stride = (uint64_t)gridDim.x * THREADS;
  for (uint64_t first = (uint64_t)blockIdx.x * THREADS + threadIdx.x; first < count; first += COPIES * stride) {
    uint4 v[COPIES];
    POGO_UNROLL
    for (uint32_t k = 0; k < COPIES; k += 1) {
      if (first + k * stride < count) v[k] = from[first + k * stride];
    }
    POGO_UNROLL
    for (uint32_t k = 0; k < COPIES; k += 1) {
      if (first + k * stride < count) to[first + k * stride] = v[k];
    }
  }
}

__global__ void __launch_bounds__(THREADS) tensor_kernel(int32_t* sink) {
  int32_t d[CHAINS][4] = {};
  uint32_t a[4], b[2];
  POGO_UNROLL
  for (uint32_t i = 0; i < 4; i += 1) a[i] = threadIdx.x * 0x01010101u + i;
  POGO_UNROLL
  for (uint32_t i = 0; i < 2; i += 1) b[i] = threadIdx.x * 0x01010101u ^ i;
  POGO_NO_UNROLL
  for (uint32_t round = 0; round < ROUNDS; round += 1) {
    POGO_UNROLL
    for (uint32_t c = 0; c < CHAINS; c += 1) mma_s8s8(d[c], a, b);
  }
  int32_t sum = 0;
  POGO_UNROLL
  for (uint32_t c = 0; c < CHAINS; c += 1) sum ^= d[c][0] ^ d[c][1] ^ d[c][2] ^ d[c][3];
  // Never true, which the compiler does not know.
  if (sum == 0x5EED5EED && threadIdx.x == 1000) *sink = sum;
}

unsigned tensor_blocks(const pogo::DeviceTraits& device) {
  return (unsigned)device.multiprocessors * BLOCKS_PER_MULTIPROCESSOR;
}

}  // namespace

cudaError_t copy_bytes(void* to, const void* from, size_t bytes, const pogo::DeviceTraits& device, cudaStream_t stream) {
  return POGO_LAUNCH(copy_kernel, (unsigned)device.multiprocessors * 16, THREADS, 0, stream, static_cast<uint4*>(to),
                     static_cast<const uint4*>(from), (uint64_t)bytes / 16);
}

double tensor_operations(const pogo::DeviceTraits& device) {
  return 2.0 * 16 * 8 * 32 * CHAINS * ROUNDS * (THREADS / 32) * tensor_blocks(device);
}

cudaError_t tensor_products(int32_t* sink, const pogo::DeviceTraits& device, cudaStream_t stream) {
  return POGO_LAUNCH(tensor_kernel, tensor_blocks(device), THREADS, 0, stream, sink);
}

}  // namespace test
