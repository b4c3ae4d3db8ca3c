// Which devices there are, and why none can be used where that is so.
#include <string.h>

#include "device.h"

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
  if (info.driver < info.runtime) {
    info.reason = "the NVIDIA driver is older than the CUDA runtime of this build (driver 580 or newer is needed)";
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

}  // namespace pogo
