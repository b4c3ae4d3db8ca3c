// What the device reaches at best, measured in the same run as the kernels: a copy, and tensor-core instructions on registers.
#ifndef POGO_CUDA_TEST_CEILINGS_H
#define POGO_CUDA_TEST_CEILINGS_H

#include "../ops.h"

namespace test {

/** to = from, 16 bytes a thread at a time. bytes: a multiple of 16. */
cudaError_t copy_bytes(void* to, const void* from, size_t bytes, const pogo::DeviceTraits& device, cudaStream_t stream);

/** Products of int8 by mma.sync on registers alone. @returns how many multiplications and additions one call does */
double tensor_operations(const pogo::DeviceTraits& device);
cudaError_t tensor_products(int32_t* sink, const pogo::DeviceTraits& device, cudaStream_t stream);

/** The same by wgmma, where the device has it (`traits.wgmma()`). */
double wgmma_operations(const pogo::DeviceTraits& device);
cudaError_t wgmma_products(int32_t* sink, const pogo::DeviceTraits& device, cudaStream_t stream);

}  // namespace test

#endif
