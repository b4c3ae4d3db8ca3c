// Device memory and error handling shared by the kernels (CUDA files only).
#ifndef POGO_CUDA_DEVICE_H
#define POGO_CUDA_DEVICE_H

#include <cuda_runtime_api.h>

#include "kernels.h"

namespace pogo {

inline Status failure(cudaError_t code, const char* where) {
  Status status;
  status.code = (int)code;
  status.where = where;
  status.message = cudaGetErrorString(code);
  return status;
}

/** Device memory that is freed when it goes out of scope. */
class DeviceMemory {
 public:
  DeviceMemory() = default;
  DeviceMemory(const DeviceMemory&) = delete;
  DeviceMemory& operator=(const DeviceMemory&) = delete;
  ~DeviceMemory() { cudaFree(pointer_); }

  cudaError_t allocate(size_t bytes) { return cudaMalloc(&pointer_, bytes == 0 ? 1 : bytes); }
  template <class T>
  T* as() const {
    return static_cast<T*>(pointer_);
  }

 private:
  void* pointer_ = nullptr;
};

}  // namespace pogo

// Returns from the calling function with the CUDA code and the name of the kernel or call.
#define POGO_TRY(call, where)                                          \
  do {                                                                 \
    cudaError_t pogo_error = (call);                                   \
    if (pogo_error != cudaSuccess) return pogo::failure(pogo_error, where); \
  } while (0)

#endif
