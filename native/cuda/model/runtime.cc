// The host side of the model: memory, streams, events, graphs, errors.
#include "runtime.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <chrono>
#include <deque>
#include <map>
#include <memory>
#include <mutex>
#include <string>
#include <vector>

#include "cuda_model.h"
#include "launches.h"

namespace cuda_model {

typedef std::function<cudaError_t()> Task;

/** A piece of work of a graph, and the pieces that must be done before it. */
struct Node {
  Task task;
  std::vector<size_t> after;
};

struct Graph {
  std::vector<Node> nodes;
};
struct GraphExec {
  std::vector<Node> nodes;
};

/** What streams record into: the one that began it, and those that an event of one of its streams led into it. */
struct Capture {
  Graph graph;
  Stream* origin = nullptr;
  std::vector<Stream*> streams;
  bool broken = false;
};

struct Event {
  uint64_t recorded = 0, reached = 0;
  Stream* stream = nullptr;
  std::chrono::steady_clock::time_point at;
  /** Where it was recorded into a capture. */
  std::shared_ptr<Capture> capture;
  std::vector<size_t> captured_after;
};

/** Work in order. With `capture` it goes into a graph instead, behind the nodes of `tail`. */
struct Stream {
  std::deque<Task> tasks;
  std::shared_ptr<Capture> capture;
  std::vector<size_t> tail;
  cudaError_t error = cudaSuccess;
};

namespace {

constexpr size_t ALIGNMENT = 256;
constexpr int PATTERN = 0xFF;
constexpr size_t SHARED_80 = 163 * 1024, SHARED_90 = 227 * 1024;
constexpr unsigned MOST_THREADS = 1024;
constexpr unsigned MOST_BLOCKS_YZ = 65535;
constexpr unsigned LARGEST_CLUSTER = 16;


struct World {
  std::mutex lock;
  std::map<void*, size_t> allocations;
  size_t used = 0;
  uint64_t launches = 0;
  bool lost = false;
};

World& world() {
  static World instance;
  return instance;
}

thread_local cudaError_t last_error = cudaSuccess;
thread_local std::string message;
thread_local int device = 0;
thread_local Stream default_stream;

cudaError_t noted(cudaError_t error) {
  if (error != cudaSuccess) last_error = error;
  return error;
}

Stream& own(cudaStream_t stream) { return stream == nullptr ? default_stream : *stream; }

cudaError_t drain(Stream& stream) {
  while (!stream.tasks.empty()) {
    Task task = std::move(stream.tasks.front());
    stream.tasks.pop_front();
    cudaError_t error = task();
    if (error != cudaSuccess && stream.error == cudaSuccess) stream.error = error;
  }
  // Told once. A real context is lost for good after a failed launch; here `lost_at` plays that.
  cudaError_t error = stream.error;
  stream.error = cudaSuccess;
  return error;
}

cudaError_t enqueue(Stream& stream, Task task) {
  if (stream.capture != nullptr) {
    std::vector<Node>& nodes = stream.capture->graph.nodes;
    nodes.push_back({std::move(task), stream.tail});
    stream.tail = {nodes.size() - 1};
    return cudaSuccess;
  }
  stream.tasks.push_back(std::move(task));
  return settings().deferred ? cudaSuccess : drain(stream);
}

Settings from_environment() {
  Settings found;
  const char* text = getenv("POGO_CUDA_MODEL");
  std::string list = text == nullptr ? "" : text;
  for (size_t at = 0; at < list.size();) {
    size_t end = list.find(',', at);
    if (end == std::string::npos) end = list.size();
    std::string item = list.substr(at, end - at);
    at = end + 1;
    size_t equals = item.find('=');
    std::string name = item.substr(0, equals), value = equals == std::string::npos ? "" : item.substr(equals + 1);
    char* rest = nullptr;
    unsigned long long number = strtoull(value.c_str(), &rest, 10);
    if (name == "sm") {
      found.major = (int)(number / 10);
      found.minor = (int)(number % 10);
    } else if (name == "devices") {
      found.devices = (int)number;
    } else if (name == "memory") {
      found.memory = (size_t)number << (*rest == 'G' ? 30 : *rest == 'M' ? 20 : *rest == 'K' ? 10 : 0);
    } else if (name == "order") {
      found.order = value == "descending" ? Order::DESCENDING : value == "seeded" ? Order::SEEDED : Order::ASCENDING;
    } else if (name == "seed") {
      found.seed = number;
    } else if (name == "driver") {
      found.driver = (int)number;
    } else if (name == "lost_at") {
      found.lost_at = number;
    } else if (name == "deferred") {
      found.deferred = true;
    } else {
      fprintf(stderr, "POGO_CUDA_MODEL: unknown setting %s\n", name.c_str());
      abort();
    }
  }
  return found;
}

size_t most_shared() { return settings().major >= 9 ? SHARED_90 : SHARED_80; }

}  // namespace

Settings& settings() {
  static Settings instance = from_environment();
  return instance;
}

const char* last_message() { return message.c_str(); }

cudaError_t launch(const void*, std::function<void()> body, dim3 grid, dim3 block, unsigned cluster,
                   size_t shared, cudaStream_t stream) {
  unsigned long long threads = (unsigned long long)block.x * block.y * block.z;
  if (grid.x == 0 || grid.y == 0 || grid.z == 0 || threads == 0 || threads > MOST_THREADS || grid.x > 0x7FFFFFFFu ||
      grid.y > MOST_BLOCKS_YZ || grid.z > MOST_BLOCKS_YZ || block.z > 64) {
    return noted(cudaErrorInvalidConfiguration);
  }
  if (cluster > 0 && settings().major < 9) return noted(cudaErrorNotSupported);
  if (cluster > LARGEST_CLUSTER || (cluster > 0 && grid.x % cluster != 0)) return noted(cudaErrorInvalidConfiguration);
  // On the device pogo::launch opts in for what is beyond 48 KiB; the limit stays.
  if (shared > most_shared()) return noted(cudaErrorInvalidValue);
  Task task = [=]() -> cudaError_t {
    {
      std::lock_guard<std::mutex> hold(world().lock);
      world().launches += 1;
      if (settings().lost_at != 0 && world().launches >= settings().lost_at) world().lost = true;
      if (world().lost) return noted(cudaErrorLaunchFailure);
    }
    std::string problem = run_grid(body, grid, block, cluster, shared);
    if (problem.empty()) return cudaSuccess;
    message = problem;
    fprintf(stderr, "device model: %s\n", problem.c_str());
    return noted(cudaErrorLaunchFailure);
  };
  return noted(enqueue(own(stream), std::move(task)));
}

}  // namespace cuda_model

using namespace cuda_model;

cudaError_t cudaMalloc(void** place, size_t bytes) {
  *place = nullptr;
  if (settings().devices == 0) return noted(cudaErrorNoDevice);
  if (bytes == 0) return cudaSuccess;
  std::lock_guard<std::mutex> hold(world().lock);
  if (world().lost) return noted(cudaErrorLaunchFailure);
  if (bytes > settings().memory || world().used > settings().memory - bytes) return noted(cudaErrorMemoryAllocation);
  if (posix_memalign(place, ALIGNMENT, bytes) != 0) return noted(cudaErrorMemoryAllocation);
  memset(*place, PATTERN, bytes);
  world().allocations[*place] = bytes;
  world().used += bytes;
  return cudaSuccess;
}

cudaError_t cudaFree(void* place) {
  if (place == nullptr) return cudaSuccess;
  cudaDeviceSynchronize();
  std::lock_guard<std::mutex> hold(world().lock);
  auto found = world().allocations.find(place);
  if (found == world().allocations.end()) return noted(cudaErrorInvalidValue);
  world().used -= found->second;
  world().allocations.erase(found);
  free(place);
  return cudaSuccess;
}

cudaError_t cudaMallocHost(void** place, size_t bytes) {
  *place = nullptr;
  if (bytes == 0) return cudaSuccess;
  if (posix_memalign(place, ALIGNMENT, bytes) != 0) return noted(cudaErrorMemoryAllocation);
  memset(*place, PATTERN, bytes);
  return cudaSuccess;
}

cudaError_t cudaHostAlloc(void** place, size_t bytes, unsigned) { return cudaMallocHost(place, bytes); }

cudaError_t cudaFreeHost(void* place) {
  free(place);
  return cudaSuccess;
}

cudaError_t cudaHostRegister(void*, size_t, unsigned) { return cudaSuccess; }
cudaError_t cudaHostUnregister(void*) { return cudaSuccess; }

cudaError_t cudaMemGetInfo(size_t* free_bytes, size_t* total) {
  std::lock_guard<std::mutex> hold(world().lock);
  *total = settings().memory;
  *free_bytes = settings().memory - world().used;
  return cudaSuccess;
}

cudaError_t cudaMemcpyAsync(void* to, const void* from, size_t bytes, cudaMemcpyKind, cudaStream_t stream) {
  return noted(enqueue(own(stream), [=]() -> cudaError_t {
    if (world().lost) return cudaErrorLaunchFailure;
    if (bytes > 0) memcpy(to, from, bytes);
    return cudaSuccess;
  }));
}

cudaError_t cudaMemsetAsync(void* place, int value, size_t bytes, cudaStream_t stream) {
  return noted(enqueue(own(stream), [=]() -> cudaError_t {
    if (world().lost) return cudaErrorLaunchFailure;
    if (bytes > 0) memset(place, value, bytes);
    return cudaSuccess;
  }));
}

cudaError_t cudaMemcpy(void* to, const void* from, size_t bytes, cudaMemcpyKind kind) {
  cudaError_t error = cudaMemcpyAsync(to, from, bytes, kind, nullptr);
  return error != cudaSuccess ? error : noted(drain(default_stream));
}

cudaError_t cudaMemset(void* place, int value, size_t bytes) {
  cudaError_t error = cudaMemsetAsync(place, value, bytes, nullptr);
  return error != cudaSuccess ? error : noted(drain(default_stream));
}

cudaError_t cudaStreamCreateWithFlags(cudaStream_t* stream, unsigned) {
  *stream = new Stream;
  return cudaSuccess;
}
cudaError_t cudaStreamCreate(cudaStream_t* stream) { return cudaStreamCreateWithFlags(stream, 0); }

cudaError_t cudaStreamDestroy(cudaStream_t stream) {
  if (stream == nullptr) return noted(cudaErrorInvalidResourceHandle);
  drain(*stream);
  delete stream;
  return cudaSuccess;
}

/** What waits for a stream that records breaks its capture. */
static cudaError_t broken(Capture& capture) {
  capture.broken = true;
  return noted(cudaErrorStreamCaptureUnsupported);
}

cudaError_t cudaStreamSynchronize(cudaStream_t stream) {
  if (own(stream).capture != nullptr) return broken(*own(stream).capture);
  return noted(drain(own(stream)));
}
cudaError_t cudaStreamQuery(cudaStream_t stream) {
  if (own(stream).capture != nullptr) return broken(*own(stream).capture);
  return own(stream).tasks.empty() ? own(stream).error : cudaErrorNotReady;
}

cudaError_t cudaStreamWaitEvent(cudaStream_t stream, cudaEvent_t event, unsigned) {
  if (event->capture != nullptr) {
    Stream& joins = own(stream);
    if (joins.capture == nullptr) {
      if (!joins.tasks.empty()) return broken(*event->capture);
      joins.capture = event->capture;
      joins.tail.clear();
      event->capture->streams.push_back(&joins);
    }
    joins.tail.insert(joins.tail.end(), event->captured_after.begin(), event->captured_after.end());
    return cudaSuccess;
  }
  if (own(stream).capture != nullptr) return broken(*own(stream).capture);
  uint64_t awaited = event->recorded;
  return noted(enqueue(own(stream), [=]() -> cudaError_t {
    if (event->reached < awaited && event->stream != nullptr) drain(*event->stream);
    return cudaSuccess;
  }));
}

cudaError_t cudaEventCreateWithFlags(cudaEvent_t* event, unsigned) {
  *event = new Event;
  return cudaSuccess;
}
cudaError_t cudaEventCreate(cudaEvent_t* event) { return cudaEventCreateWithFlags(event, 0); }

cudaError_t cudaEventDestroy(cudaEvent_t event) {
  if (event->reached < event->recorded && event->stream != nullptr) drain(*event->stream);
  delete event;
  return cudaSuccess;
}

cudaError_t cudaEventRecord(cudaEvent_t event, cudaStream_t stream) {
  Stream& on = own(stream);
  event->capture = on.capture;
  event->captured_after = on.tail;
  if (on.capture != nullptr) return cudaSuccess;
  uint64_t number = ++event->recorded;
  event->stream = &on;
  return noted(enqueue(on, [=]() -> cudaError_t {
    event->reached = number;
    event->at = std::chrono::steady_clock::now();
    return cudaSuccess;
  }));
}

cudaError_t cudaEventSynchronize(cudaEvent_t event) {
  if (event->capture != nullptr) return broken(*event->capture);
  if (event->reached < event->recorded && event->stream != nullptr) return noted(drain(*event->stream));
  return cudaSuccess;
}

cudaError_t cudaEventQuery(cudaEvent_t event) { return event->reached < event->recorded ? cudaErrorNotReady : cudaSuccess; }

cudaError_t cudaEventElapsedTime(float* milliseconds, cudaEvent_t begin, cudaEvent_t end) {
  *milliseconds = std::chrono::duration<float, std::milli>(end->at - begin->at).count();
  return cudaSuccess;
}

cudaError_t cudaDeviceSynchronize() { return noted(drain(default_stream)); }

cudaError_t cudaStreamBeginCapture(cudaStream_t stream, cudaStreamCaptureMode) {
  if (stream == nullptr || stream->capture != nullptr) return noted(cudaErrorStreamCaptureUnsupported);
  stream->capture = std::make_shared<Capture>();
  stream->capture->origin = stream;
  stream->capture->streams = {stream};
  stream->tail.clear();
  return cudaSuccess;
}

cudaError_t cudaStreamIsCapturing(cudaStream_t stream, cudaStreamCaptureStatus* status) {
  *status = stream != nullptr && stream->capture != nullptr ? cudaStreamCaptureStatusActive : cudaStreamCaptureStatusNone;
  return cudaSuccess;
}

cudaError_t cudaStreamEndCapture(cudaStream_t stream, cudaGraph_t* graph) {
  *graph = nullptr;
  if (stream == nullptr || stream->capture == nullptr || stream->capture->origin != stream) {
    return noted(cudaErrorStreamCaptureInvalidated);
  }
  std::shared_ptr<Capture> capture = stream->capture;
  // Everything must lie before the end of the stream that began: the others' work joined it by their events.
  std::vector<bool> before(capture->graph.nodes.size(), false);
  std::vector<size_t> open = stream->tail;
  while (!open.empty()) {
    size_t node = open.back();
    open.pop_back();
    if (before[node]) continue;
    before[node] = true;
    for (size_t earlier : capture->graph.nodes[node].after) open.push_back(earlier);
  }
  for (Stream* each : capture->streams) {
    each->capture = nullptr;
    each->tail.clear();
  }
  if (capture->broken) return noted(cudaErrorStreamCaptureInvalidated);
  for (bool joined : before) {
    if (!joined) return noted(cudaErrorStreamCaptureUnjoined);
  }
  *graph = new Graph{std::move(capture->graph.nodes)};
  return cudaSuccess;
}

cudaError_t cudaGraphInstantiate(cudaGraphExec_t* exec, cudaGraph_t graph, unsigned long long) {
  *exec = new GraphExec{graph->nodes};
  return cudaSuccess;
}

/** In any order that the edges allow: which one is a matter of the settings. */
cudaError_t cudaGraphLaunch(cudaGraphExec_t exec, cudaStream_t stream) {
  if (own(stream).capture != nullptr) return noted(cudaErrorNotSupported);
  std::vector<Node> nodes = exec->nodes;
  return noted(enqueue(own(stream), [nodes]() -> cudaError_t {
    std::vector<bool> done(nodes.size(), false);
    uint64_t random = settings().seed * 2 + 1;
    for (size_t left = nodes.size(); left > 0; left -= 1) {
      std::vector<size_t> ready;
      for (size_t i = 0; i < nodes.size(); i += 1) {
        bool waits = done[i];
        for (size_t earlier : nodes[i].after) waits = waits || !done[earlier];
        if (!waits) ready.push_back(i);
      }
      random = random * 6364136223846793005ull + 1442695040888963407ull;
      size_t next = settings().order == Order::ASCENDING    ? ready.front()
                    : settings().order == Order::DESCENDING ? ready.back()
                                                            : ready[(size_t)(random >> 33) % ready.size()];
      done[next] = true;
      cudaError_t error = nodes[next].task();
      if (error != cudaSuccess) return error;
    }
    return cudaSuccess;
  }));
}

cudaError_t cudaGraphDestroy(cudaGraph_t graph) {
  delete graph;
  return cudaSuccess;
}
cudaError_t cudaGraphExecDestroy(cudaGraphExec_t exec) {
  delete exec;
  return cudaSuccess;
}

cudaError_t cudaGetLastError() {
  cudaError_t error = last_error;
  last_error = cudaSuccess;
  return error;
}
cudaError_t cudaPeekAtLastError() { return last_error; }

#define POGO_MODEL_ERRORS(row)                                                        \
  row(cudaSuccess, "no error")                                                        \
  row(cudaErrorInvalidValue, "invalid argument")                                      \
  row(cudaErrorMemoryAllocation, "out of memory")                                     \
  row(cudaErrorInvalidConfiguration, "invalid configuration argument")                \
  row(cudaErrorInsufficientDriver, "CUDA driver version is insufficient for CUDA runtime version") \
  row(cudaErrorNoDevice, "no CUDA-capable device is detected")                        \
  row(cudaErrorInvalidDevice, "invalid device ordinal")                               \
  row(cudaErrorNoKernelImageForDevice, "no kernel image is available for execution on the device") \
  row(cudaErrorInvalidResourceHandle, "invalid resource handle")                      \
  row(cudaErrorNotReady, "device not ready")                                          \
  row(cudaErrorLaunchFailure, "unspecified launch failure")                           \
  row(cudaErrorNotSupported, "operation not supported")                               \
  row(cudaErrorStreamCaptureUnsupported, "operation not permitted when stream is capturing") \
  row(cudaErrorStreamCaptureInvalidated, "operation failed due to a previous error during capture") \
  row(cudaErrorStreamCaptureUnjoined, "capturing stream has unjoined work")

const char* cudaGetErrorString(cudaError_t error) {
#define POGO_MODEL_TEXT(name, text) \
  if (error == name) return text;
  POGO_MODEL_ERRORS(POGO_MODEL_TEXT)
  return "unknown error";
}

const char* cudaGetErrorName(cudaError_t error) {
#define POGO_MODEL_NAME(name, text) \
  if (error == name) return #name;
  POGO_MODEL_ERRORS(POGO_MODEL_NAME)
  return "unrecognized error code";
}

cudaError_t cudaGetDeviceCount(int* count) {
  *count = settings().driver == 0 ? 0 : settings().devices;
  if (settings().driver == 0) return noted(cudaErrorInsufficientDriver);
  return settings().devices == 0 ? noted(cudaErrorNoDevice) : cudaSuccess;
}

cudaError_t cudaGetDevice(int* index) {
  *index = device;
  return cudaSuccess;
}

cudaError_t cudaSetDevice(int index) {
  if (index < 0 || index >= settings().devices) return noted(cudaErrorInvalidDevice);
  device = index;
  return cudaSuccess;
}

cudaError_t cudaGetDeviceProperties(cudaDeviceProp* properties, int index) {
  if (index < 0 || index >= settings().devices) return noted(cudaErrorInvalidDevice);
  memset(properties, 0, sizeof *properties);
  strncpy(properties->name, "device model", sizeof properties->name - 1);
  properties->totalGlobalMem = settings().memory;
  properties->major = settings().major;
  properties->minor = settings().minor;
  properties->multiProcessorCount = 4;
  properties->l2CacheSize = 1 << 20;
  properties->sharedMemPerBlockOptin = most_shared();
  return cudaSuccess;
}

cudaError_t cudaDeviceGetAttribute(int* value, cudaDeviceAttr attribute, int index) {
  cudaDeviceProp properties;
  cudaError_t error = cudaGetDeviceProperties(&properties, index);
  if (error != cudaSuccess) return error;
  switch (attribute) {
    case cudaDevAttrMaxThreadsPerBlock: *value = (int)MOST_THREADS; break;
    case cudaDevAttrMultiProcessorCount: *value = properties.multiProcessorCount; break;
    case cudaDevAttrL2CacheSize: *value = properties.l2CacheSize; break;
    case cudaDevAttrComputeCapabilityMajor: *value = properties.major; break;
    case cudaDevAttrComputeCapabilityMinor: *value = properties.minor; break;
    case cudaDevAttrMaxSharedMemoryPerBlockOptin: *value = (int)properties.sharedMemPerBlockOptin; break;
    case cudaDevAttrClusterLaunch: *value = properties.major >= 9; break;
  }
  return cudaSuccess;
}

cudaError_t cudaRuntimeGetVersion(int* version) {
  *version = 13000;
  return cudaSuccess;
}
cudaError_t cudaDriverGetVersion(int* version) {
  *version = settings().driver;
  return cudaSuccess;
}

cudaError_t cudaFuncSetAttribute(const void*, cudaFuncAttribute attribute, int value) {
  bool shared = attribute == cudaFuncAttributeMaxDynamicSharedMemorySize;
  return shared && (value < 0 || (size_t)value > most_shared()) ? noted(cudaErrorInvalidValue) : cudaSuccess;
}
