// Products of int8 by wgmma on one pair of tiles in shared memory, for sm_90a alone: the device's tensor peak.
#include "../wgmma.h"
#include "ceilings.h"

namespace test {
namespace {

constexpr int THREADS = 256;
constexpr uint32_t WARPGROUPS = THREADS / 128;
constexpr uint32_t BLOCKS_PER_MULTIPROCESSOR = 2;
constexpr uint32_t A_BYTES = 64 * 128, B_BYTES = 128 * 128, ALIGNMENT = 1024;
/** Instructions of 32 contracted bytes: four walk over a row of 128, and four times over. */
constexpr uint32_t STEPS = 16;
#if defined(POGO_CUDA_MODEL)
constexpr uint32_t ROUNDS = 2;
#else
constexpr uint32_t ROUNDS = 256;
#endif

__global__ void __launch_bounds__(THREADS) wgmma_peak_kernel(int32_t* sink) {
  const uintptr_t start = (reinterpret_cast<uintptr_t>(pogo_shared()) + ALIGNMENT - 1) / ALIGNMENT * ALIGNMENT;
  unsigned char* shared = pogo_shared() + (start - reinterpret_cast<uintptr_t>(pogo_shared()));
  for (uint32_t i = threadIdx.x; i < (A_BYTES + B_BYTES) / 4; i += THREADS) {
    reinterpret_cast<uint32_t*>(shared)[i] = i * 0x01010101u;
  }
  pogo::wgmma_see_writes();
  __syncthreads();
  const uint32_t a = pogo::wgmma_descriptor(pogo::wgmma_address(shared));
  const uint32_t b = pogo::wgmma_descriptor(pogo::wgmma_address(shared + A_BYTES));
  pogo::WgmmaAccumulators d;
  POGO_UNROLL
  for (int nt = 0; nt < 16; nt += 1) {
    POGO_UNROLL
    for (int i = 0; i < 4; i += 1) d[0][nt][i] = 0;
  }
  POGO_NO_UNROLL
  for (uint32_t round = 0; round < ROUNDS; round += 1) {
    pogo::wgmma_hold(d);
    pogo::wgmma_fence();
    // 32 bytes are two units of the descriptor's address.
    POGO_UNROLL
    for (uint32_t k = 0; k < STEPS; k += 1) pogo::wgmma_s8s8(d, a + 2 * (k % 4), b + 2 * (k % 4), true);
    pogo::wgmma_commit();
    pogo::wgmma_wait<0>();
    pogo::wgmma_hold(d);
  }
  int32_t sum = 0;
  POGO_UNROLL
  for (int nt = 0; nt < 16; nt += 1) {
    POGO_UNROLL
    for (int i = 0; i < 4; i += 1) sum ^= d[0][nt][i];
  }
  // Never true, which the compiler does not know.
  if (sum == 0x5EED5EED && threadIdx.x == 1000) *sink = sum;
}

unsigned blocks(const pogo::DeviceTraits& device) { return (unsigned)device.multiprocessors * BLOCKS_PER_MULTIPROCESSOR; }

}  // namespace

double wgmma_operations(const pogo::DeviceTraits& device) {
  return 2.0 * 64 * 128 * 32 * STEPS * ROUNDS * WARPGROUPS * blocks(device);
}

cudaError_t wgmma_products(int32_t* sink, const pogo::DeviceTraits& device, cudaStream_t stream) {
  return POGO_LAUNCH(wgmma_peak_kernel, blocks(device), THREADS, A_BYTES + B_BYTES + ALIGNMENT, stream, sink);
}

}  // namespace test
