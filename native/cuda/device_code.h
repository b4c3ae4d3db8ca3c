// The one header that kernels include. It is the CUDA runtime, or with -DPOGO_CUDA_MODEL the device model
// (model/cuda_model.h), on which a C++ compiler's build of the same kernels runs for tests. Host files that only call
// the runtime (the addon) include it too, without nvcc. Formulas come from native/exact alone.
//
// Rules that make both work: launch only by POGO_LAUNCH and POGO_LAUNCH_CLUSTER, shared memory only by pogo_shared(),
// instructions beyond C++ only by ptx.h.
#ifndef POGO_CUDA_DEVICE_CODE_H
#define POGO_CUDA_DEVICE_CODE_H

#if defined(POGO_CUDA_MODEL)
#include "model/cuda_model.h"
#else
#include <cuda_runtime.h>
#endif

/** Set where kernels may be written: not in host files of a CUDA build. */
#if defined(POGO_CUDA_MODEL) || defined(__CUDACC__)
#define POGO_DEVICE_CODE
#endif

#include <stddef.h>
#include <stdint.h>

#include <atomic>
#include <tuple>
#include <utility>

#include "../exact/arith.h"

#if defined(__CUDA_ARCH__)
#define POGO_UNROLL _Pragma("unroll")
/** For an array beside which registers would be better: keeps a loop rolled. */
#define POGO_NO_UNROLL _Pragma("unroll 1")
#else
#define POGO_UNROLL
#define POGO_NO_UNROLL
#endif

#if defined(POGO_DEVICE_CODE)
/** Dynamic shared memory of this block, 16-byte aligned. Whoever needs more rounds up and asks for the slack. */
#if defined(__CUDACC__)
static __device__ __forceinline__ unsigned char* pogo_shared() {
  extern __shared__ __align__(16) unsigned char pogo_shared_memory[];
  return pogo_shared_memory;
}
#else
static inline unsigned char* pogo_shared() { return cuda_model::current->shared; }
#endif

namespace pogo {

/** What every kernel may ask for without being asked: the runtime's limit before the opt-in. */
static constexpr size_t SHARED_WITHOUT_OPT_IN = 48 * 1024;

#if defined(__CUDACC_RTC__)

/** Device code alone (test/nvrtc_compile.cc): a launch only names the kernel, so that it is compiled. */
template <class K, class... A>
cudaError_t launch(K kernel, A&&...) {
  return kernel == nullptr ? cudaErrorInvalidValue : cudaSuccess;
}
template <class Key, class... P>
cudaError_t most_clusters(void (*)(P...), dim3, unsigned, size_t, int, unsigned* most) {
  *most = 1;
  return cudaSuccess;
}

#elif defined(__CUDACC__)

static constexpr int MOST_KNOWN_DEVICES = 64;
static constexpr unsigned MOST_KNOWN_CLUSTER = 8;

/** Launches with arguments converted to the kernel's own types; `cluster` blocks along x form a cluster (0: none). */
template <class... P, class... A>
cudaError_t launch(void (*kernel)(P...), dim3 grid, dim3 block, unsigned cluster, size_t shared, cudaStream_t stream,
                   A&&... arguments) {
  static_assert(sizeof...(P) == sizeof...(A), "one argument per parameter");
  if (shared > SHARED_WITHOUT_OPT_IN) {
    cudaError_t error = cudaFuncSetAttribute((const void*)kernel, cudaFuncAttributeMaxDynamicSharedMemorySize, (int)shared);
    if (error != cudaSuccess) return error;
  }
  std::tuple<P...> values(static_cast<P>(std::forward<A>(arguments))...);
  return std::apply(
      [&](P&... each) {
        void* pointers[] = {(void*)&each...};
        if (cluster == 0) return cudaLaunchKernel((const void*)kernel, grid, block, pointers, shared, stream);
        if (cluster > 8) {
          cudaError_t error = cudaFuncSetAttribute((const void*)kernel, cudaFuncAttributeNonPortableClusterSizeAllowed, 1);
          if (error != cudaSuccess) return error;
        }
        cudaLaunchAttribute attribute;
        attribute.id = cudaLaunchAttributeClusterDimension;
        attribute.val.clusterDim.x = cluster;
        attribute.val.clusterDim.y = 1;
        attribute.val.clusterDim.z = 1;
        cudaLaunchConfig_t config = {};
        config.gridDim = grid;
        config.blockDim = block;
        config.dynamicSmemBytes = shared;
        config.stream = stream;
        config.attrs = &attribute;
        config.numAttrs = 1;
        return cudaLaunchKernelExC(&config, (const void*)kernel, pointers);
      },
      values);
}

/**
 * How many clusters of `cluster` blocks of this kernel run at a time, at least 1. Asked for once a `Key` (a type for
 * each kernel), shape and device.
 */
template <class Key, class... P>
cudaError_t most_clusters(void (*kernel)(P...), dim3 block, unsigned cluster, size_t shared, int, unsigned* most) {
  static std::atomic<int> known[MOST_KNOWN_DEVICES][MOST_KNOWN_CLUSTER + 1];
  int device = 0;
  cudaError_t error = cudaGetDevice(&device);
  if (error != cudaSuccess) return error;
  if (device >= MOST_KNOWN_DEVICES || cluster > MOST_KNOWN_CLUSTER) return cudaErrorInvalidValue;
  int count = known[device][cluster].load();
  if (count == 0) {
    error = cudaFuncSetAttribute((const void*)kernel, cudaFuncAttributeMaxDynamicSharedMemorySize, (int)shared);
    if (error != cudaSuccess) return error;
    cudaLaunchAttribute attribute;
    attribute.id = cudaLaunchAttributeClusterDimension;
    attribute.val.clusterDim.x = cluster;
    attribute.val.clusterDim.y = 1;
    attribute.val.clusterDim.z = 1;
    cudaLaunchConfig_t config = {};
    config.gridDim = dim3(cluster);
    config.blockDim = block;
    config.dynamicSmemBytes = shared;
    config.attrs = &attribute;
    config.numAttrs = 1;
    error = cudaOccupancyMaxActiveClusters(&count, (const void*)kernel, &config);
    if (error != cudaSuccess) return error;
    if (count < 1) count = 1;
    known[device][cluster].store(count);
  }
  *most = (unsigned)count;
  return cudaSuccess;
}

#else

/** As many as multiprocessors hold. */
template <class Key, class... P>
cudaError_t most_clusters(void (*)(P...), dim3, unsigned cluster, size_t, int multiprocessors, unsigned* most) {
  *most = (unsigned)multiprocessors < cluster ? 1 : (unsigned)multiprocessors / cluster;
  return cudaSuccess;
}

template <class... P, class... A>
cudaError_t launch(void (*kernel)(P...), dim3 grid, dim3 block, unsigned cluster, size_t shared, cudaStream_t stream,
                   A&&... arguments) {
  static_assert(sizeof...(P) == sizeof...(A), "one argument per parameter");
  std::tuple<P...> values(static_cast<P>(std::forward<A>(arguments))...);
  return cuda_model::launch((const void*)kernel, [kernel, values]() { std::apply(kernel, values); }, grid, block, cluster,
                            shared, stream);
}

#endif

template <class K, class... A>
cudaError_t launch_alone(K kernel, dim3 grid, dim3 block, size_t shared, cudaStream_t stream, A&&... arguments) {
  return launch(kernel, grid, block, 0u, shared, stream, std::forward<A>(arguments)...);
}

}  // namespace pogo

/** POGO_LAUNCH((kernel<4>), grid, block, shared_bytes, stream, arguments…): an expression of type cudaError_t. */
#define POGO_LAUNCH(...) pogo::launch_alone(__VA_ARGS__)
/** POGO_LAUNCH_CLUSTER(kernel, grid, block, cluster_x, shared_bytes, stream, arguments…) */
#define POGO_LAUNCH_CLUSTER(...) pogo::launch(__VA_ARGS__)

#endif  // POGO_DEVICE_CODE

#endif
