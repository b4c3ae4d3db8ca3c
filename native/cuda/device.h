// Devices, their traits, and device memory that frees itself. Host side only.
#ifndef POGO_CUDA_DEVICE_H
#define POGO_CUDA_DEVICE_H

#include "ops.h"

namespace pogo {

struct Device {
  char name[256];
  int major;
  int minor;
  int multiprocessors;
  uint64_t memory_bytes;
};

/** Versions as CUDA gives them (13000 = 13.0); driver 0 means that none is installed. */
struct DeviceInfo {
  int runtime = 0;
  int driver = 0;
  int count = 0;
  /** Empty if a device can be used, else why not. */
  const char* reason = "";
};

DeviceInfo device_info();
Status describe_device(int index, Device* device);
Status device_traits(int index, DeviceTraits* traits);

/** Device memory that is freed when it goes out of scope. */
class DeviceMemory {
 public:
  DeviceMemory() = default;
  DeviceMemory(const DeviceMemory&) = delete;
  DeviceMemory& operator=(const DeviceMemory&) = delete;
  ~DeviceMemory() {
    if (pointer_ != nullptr) cudaFree(pointer_);
  }

  cudaError_t allocate(size_t bytes) { return cudaMalloc(&pointer_, bytes == 0 ? 1 : bytes); }
  template <class T>
  T* as() const {
    return static_cast<T*>(pointer_);
  }

 private:
  void* pointer_ = nullptr;
};

}  // namespace pogo

#endif
