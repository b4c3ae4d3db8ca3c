// CUDA's runtime calls, as far as this folder uses them, for the device model. Names, values and meaning are CUDA's.
#ifndef POGO_CUDA_MODEL_RUNTIME_H
#define POGO_CUDA_MODEL_RUNTIME_H

#include <stddef.h>
#include <stdint.h>

struct dim3 {
  unsigned x, y, z;
  constexpr dim3(unsigned x_ = 1, unsigned y_ = 1, unsigned z_ = 1) : x(x_), y(y_), z(z_) {}
};

enum cudaError_t : int {
  cudaSuccess = 0,
  cudaErrorInvalidValue = 1,
  cudaErrorMemoryAllocation = 2,
  cudaErrorInvalidConfiguration = 9,
  cudaErrorInsufficientDriver = 35,
  cudaErrorNoDevice = 100,
  cudaErrorInvalidDevice = 101,
  cudaErrorNoKernelImageForDevice = 209,
  cudaErrorInvalidResourceHandle = 400,
  cudaErrorNotReady = 600,
  cudaErrorLaunchFailure = 719,
  cudaErrorNotSupported = 801,
  cudaErrorStreamCaptureUnsupported = 900,
  cudaErrorStreamCaptureInvalidated = 901,
  cudaErrorStreamCaptureUnjoined = 904,
};

enum cudaMemcpyKind { cudaMemcpyHostToHost, cudaMemcpyHostToDevice, cudaMemcpyDeviceToHost, cudaMemcpyDeviceToDevice, cudaMemcpyDefault };
enum cudaDeviceAttr {
  cudaDevAttrMaxThreadsPerBlock = 1,
  cudaDevAttrMultiProcessorCount = 16,
  cudaDevAttrL2CacheSize = 38,
  cudaDevAttrComputeCapabilityMajor = 75,
  cudaDevAttrComputeCapabilityMinor = 76,
  cudaDevAttrMaxSharedMemoryPerBlockOptin = 97,
  cudaDevAttrClusterLaunch = 120,
};
enum cudaFuncAttribute { cudaFuncAttributeMaxDynamicSharedMemorySize = 8, cudaFuncAttributeNonPortableClusterSizeAllowed = 13 };
enum cudaStreamCaptureStatus { cudaStreamCaptureStatusNone, cudaStreamCaptureStatusActive, cudaStreamCaptureStatusInvalidated };
enum cudaStreamCaptureMode { cudaStreamCaptureModeGlobal, cudaStreamCaptureModeThreadLocal, cudaStreamCaptureModeRelaxed };
static constexpr unsigned cudaStreamNonBlocking = 1;
static constexpr unsigned cudaEventDisableTiming = 2;
static constexpr unsigned cudaHostAllocDefault = 0;

struct cudaDeviceProp {
  char name[256];
  size_t totalGlobalMem;
  int major, minor, multiProcessorCount, l2CacheSize;
  size_t sharedMemPerBlockOptin;
};

namespace cuda_model {
struct Stream;
struct Event;
struct Graph;
struct GraphExec;

enum class Order { ASCENDING, DESCENDING, SEEDED };
/**
 * The modelled machine. At first from the environment variable POGO_CUDA_MODEL, a list such as
 * `sm=80,devices=2,memory=64M,order=seeded,seed=7,deferred`; one for all threads.
 */
struct Settings {
  Order order = Order::ASCENDING;
  uint64_t seed = 1;
  int major = 9, minor = 0;
  int devices = 1;
  /** Device memory in bytes; allocations beyond it fail. */
  size_t memory = (size_t)8 << 30;
  /** Work of a stream waits until somebody waits for it: shows a host that reads or reuses memory too early. */
  bool deferred = false;
  /** 0: no driver, else as CUDA gives it. */
  int driver = 13000;
  /** Launches from this one on (counted from 1) fail as if the device were lost; 0: never. */
  uint64_t lost_at = 0;
};
Settings& settings();
/** What the last failed launch said. */
const char* last_message();
}  // namespace cuda_model

typedef cuda_model::Stream* cudaStream_t;
typedef cuda_model::Event* cudaEvent_t;
typedef cuda_model::Graph* cudaGraph_t;
typedef cuda_model::GraphExec* cudaGraphExec_t;

cudaError_t cudaMalloc(void** place, size_t bytes);
cudaError_t cudaFree(void* place);
cudaError_t cudaMallocHost(void** place, size_t bytes);
cudaError_t cudaHostAlloc(void** place, size_t bytes, unsigned flags);
cudaError_t cudaFreeHost(void* place);
cudaError_t cudaHostRegister(void* place, size_t bytes, unsigned flags);
cudaError_t cudaHostUnregister(void* place);
template <class T>
cudaError_t cudaMalloc(T** place, size_t bytes) {
  return cudaMalloc(reinterpret_cast<void**>(place), bytes);
}
template <class T>
cudaError_t cudaMallocHost(T** place, size_t bytes) {
  return cudaMallocHost(reinterpret_cast<void**>(place), bytes);
}
cudaError_t cudaMemGetInfo(size_t* free_bytes, size_t* total);
cudaError_t cudaMemcpy(void* to, const void* from, size_t bytes, cudaMemcpyKind kind);
cudaError_t cudaMemcpyAsync(void* to, const void* from, size_t bytes, cudaMemcpyKind kind, cudaStream_t stream = nullptr);
cudaError_t cudaMemset(void* place, int value, size_t bytes);
cudaError_t cudaMemsetAsync(void* place, int value, size_t bytes, cudaStream_t stream = nullptr);

cudaError_t cudaStreamCreate(cudaStream_t* stream);
cudaError_t cudaStreamCreateWithFlags(cudaStream_t* stream, unsigned flags);
cudaError_t cudaStreamDestroy(cudaStream_t stream);
cudaError_t cudaStreamSynchronize(cudaStream_t stream);
cudaError_t cudaStreamQuery(cudaStream_t stream);
cudaError_t cudaStreamWaitEvent(cudaStream_t stream, cudaEvent_t event, unsigned flags = 0);
cudaError_t cudaEventCreate(cudaEvent_t* event);
cudaError_t cudaEventCreateWithFlags(cudaEvent_t* event, unsigned flags);
cudaError_t cudaEventDestroy(cudaEvent_t event);
cudaError_t cudaEventRecord(cudaEvent_t event, cudaStream_t stream = nullptr);
cudaError_t cudaEventSynchronize(cudaEvent_t event);
cudaError_t cudaEventQuery(cudaEvent_t event);
cudaError_t cudaEventElapsedTime(float* milliseconds, cudaEvent_t begin, cudaEvent_t end);
cudaError_t cudaDeviceSynchronize();

cudaError_t cudaStreamBeginCapture(cudaStream_t stream, cudaStreamCaptureMode mode);
cudaError_t cudaStreamIsCapturing(cudaStream_t stream, cudaStreamCaptureStatus* status);
cudaError_t cudaStreamEndCapture(cudaStream_t stream, cudaGraph_t* graph);
cudaError_t cudaGraphInstantiate(cudaGraphExec_t* exec, cudaGraph_t graph, unsigned long long flags = 0);
cudaError_t cudaGraphLaunch(cudaGraphExec_t exec, cudaStream_t stream);
cudaError_t cudaGraphDestroy(cudaGraph_t graph);
cudaError_t cudaGraphExecDestroy(cudaGraphExec_t exec);

cudaError_t cudaGetLastError();
cudaError_t cudaPeekAtLastError();
const char* cudaGetErrorString(cudaError_t error);
const char* cudaGetErrorName(cudaError_t error);
cudaError_t cudaGetDeviceCount(int* count);
cudaError_t cudaGetDevice(int* device);
cudaError_t cudaSetDevice(int device);
cudaError_t cudaGetDeviceProperties(cudaDeviceProp* properties, int device);
cudaError_t cudaDeviceGetAttribute(int* value, cudaDeviceAttr attribute, int device);
cudaError_t cudaRuntimeGetVersion(int* version);
cudaError_t cudaDriverGetVersion(int* version);
cudaError_t cudaFuncSetAttribute(const void* kernel, cudaFuncAttribute attribute, int value);

#endif
