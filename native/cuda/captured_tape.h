// A tape's run as a CUDA graph: recorded once, launched by one call. Worth it where launches cost: see `GraphChoice`.
#ifndef POGO_CUDA_CAPTURED_TAPE_H
#define POGO_CUDA_CAPTURED_TAPE_H

#include <stdlib.h>
#include <string.h>

#include <chrono>
#include <vector>

#include "device_code.h"

namespace pogo {

/** POGO_CUDA_GRAPHS: `on`, `off`, or by what launches cost (the default). */
enum class GraphMode { OFF, ON, MEASURED };

inline GraphMode graph_mode() {
  const char* text = getenv("POGO_CUDA_GRAPHS");
  if (text != nullptr && strcmp(text, "on") == 0) return GraphMode::ON;
  if (text != nullptr && strcmp(text, "off") == 0) return GraphMode::OFF;
  return GraphMode::MEASURED;
}

/** Whether a tape is worth a graph. The first run loads kernels and says nothing; the second is measured. */
class GraphChoice {
 public:
  explicit GraphChoice(GraphMode mode) : mode_(mode) {}

  /** `issuing` of `whole` seconds passed until everything was on the streams. */
  void measured(double issuing, double whole) {
    runs_ += 1;
    if (runs_ == 2) share_ = whole > 0 ? issuing / whole : 0;
  }
  bool wants_graph() const {
    if (given_up_ || mode_ == GraphMode::OFF) return false;
    // A kernel must be loaded before it can be recorded.
    return mode_ == GraphMode::ON ? runs_ >= 1 : share_ > WORTH_A_GRAPH;
  }
  void give_up() { given_up_ = true; }
  /** Of the second run; negative before it. */
  double share() const { return share_; }

 private:
  /** Issuing runs beside the device; from this share of a run on it may hold it up. Not yet tuned on a device. */
  static constexpr double WORTH_A_GRAPH = 0.03;
  GraphMode mode_;
  uint32_t runs_ = 0;
  double share_ = -1;
  bool given_up_ = false;
};

/** An instantiated graph of one run: the same tape, the same places and sizes of what goes up and down. */
class CapturedTape {
 public:
  CapturedTape() = default;
  CapturedTape(const CapturedTape&) = delete;
  CapturedTape& operator=(const CapturedTape&) = delete;
  ~CapturedTape() {
    if (exec_ != nullptr) cudaGraphExecDestroy(exec_);
  }

  bool fits(const std::vector<uint64_t>& key) const { return exec_ != nullptr && key == key_; }
  cudaError_t launch(cudaStream_t stream) const { return cudaGraphLaunch(exec_, stream); }

  /** Records what `issue` puts on `stream`; other streams must have joined it again. @returns false where that cannot be */
  template <class Issue>
  bool record(cudaStream_t stream, const std::vector<uint64_t>& key, Issue issue) {
    if (exec_ != nullptr) cudaGraphExecDestroy(exec_);
    exec_ = nullptr;
    // Only this thread's calls are recorded and restricted: other lanes go on.
    if (cudaStreamBeginCapture(stream, cudaStreamCaptureModeThreadLocal) != cudaSuccess) return failed();
    bool issued = true;
    try {
      issue();
    } catch (...) {
      issued = false;
    }
    cudaGraph_t graph = nullptr;
    const bool ended = cudaStreamEndCapture(stream, &graph) == cudaSuccess && graph != nullptr;
    const bool made = issued && ended && cudaGraphInstantiate(&exec_, graph, 0) == cudaSuccess;
    if (graph != nullptr) cudaGraphDestroy(graph);
    if (!made) {
      exec_ = nullptr;
      return failed();
    }
    key_ = key;
    return true;
  }

 private:
  static bool failed() {
    // Said by the return value; the next call must not find it.
    cudaGetLastError();
    return false;
  }
  cudaGraphExec_t exec_ = nullptr;
  std::vector<uint64_t> key_;
};

}  // namespace pogo

#endif
