// Which devices there are, what they can do, and why none can be used where that is so.
#include "device.h"

#include <stdlib.h>
#include <string.h>

namespace pogo {

DeviceInfo device_info() {
  DeviceInfo info;
  cudaRuntimeGetVersion(&info.runtime);
  // Without a driver this call still works and gives 0; cudaGetDeviceCount would say "insufficient driver" for both cases.
  if (cudaDriverGetVersion(&info.driver) != cudaSuccess || info.driver == 0) {
    info.driver = 0;
    info.reason = "no NVIDIA driver is installed";
    return info;
  }
  // Within a major version a newer runtime works on an older driver: machine code for its architecture is there.
  if (info.driver / 1000 < info.runtime / 1000) {
    info.reason = info.runtime / 1000 >= 13
                      ? "the NVIDIA driver is older than the CUDA runtime of this build (driver 580 or newer is needed)"
                      : "the NVIDIA driver is older than the CUDA runtime of this build (driver 525 or newer is needed)";
    return info;
  }
  cudaError_t error = cudaGetDeviceCount(&info.count);
  if (error != cudaSuccess) {
    info.count = 0;
    info.reason = cudaGetErrorString(error);
  } else if (info.count == 0) {
    info.reason = "the driver reports no CUDA device";
  }
  return info;
}

Status describe_device(int index, Device* device) {
  cudaDeviceProp properties;
  POGO_TRY(cudaGetDeviceProperties(&properties, index), "cudaGetDeviceProperties");
  memset(device, 0, sizeof(*device));
  strncpy(device->name, properties.name, sizeof(device->name) - 1);
  device->major = properties.major;
  device->minor = properties.minor;
  device->multiprocessors = properties.multiProcessorCount;
  device->memory_bytes = properties.totalGlobalMem;
  return Status();
}

Status device_traits(int index, DeviceTraits* traits) {
  int shared = 0, l2 = 0;
  traits->index = index;
  POGO_TRY(cudaDeviceGetAttribute(&traits->major, cudaDevAttrComputeCapabilityMajor, index), "cudaDeviceGetAttribute");
  POGO_TRY(cudaDeviceGetAttribute(&traits->minor, cudaDevAttrComputeCapabilityMinor, index), "cudaDeviceGetAttribute");
  POGO_TRY(cudaDeviceGetAttribute(&traits->multiprocessors, cudaDevAttrMultiProcessorCount, index),
           "cudaDeviceGetAttribute");
  POGO_TRY(cudaDeviceGetAttribute(&shared, cudaDevAttrMaxSharedMemoryPerBlockOptin, index), "cudaDeviceGetAttribute");
  POGO_TRY(cudaDeviceGetAttribute(&l2, cudaDevAttrL2CacheSize, index), "cudaDeviceGetAttribute");
  traits->shared_bytes = (size_t)shared;
  traits->l2_bytes = (size_t)l2;
  const char* wgmma = getenv("POGO_CUDA_WGMMA");
  const char* products = getenv("POGO_CUDA_PRODUCTS");
  if (products == nullptr || strcmp(products, "auto") == 0) {
    traits->products = Products::AUTO;
  } else if (strcmp(products, "cluster") == 0) {
    traits->products = Products::CLUSTER;
  } else if (strcmp(products, "pingpong") == 0) {
    traits->products = Products::PINGPONG;
  } else {
    return failed(cudaErrorInvalidValue, "POGO_CUDA_PRODUCTS: expected pingpong, cluster or auto");
  }
  traits->without_wgmma = wgmma != nullptr && strcmp(wgmma, "0") == 0;
  return Status();
}

}  // namespace pogo
