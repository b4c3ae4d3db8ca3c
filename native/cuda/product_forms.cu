#include "product_forms.h"

#include <map>
#include <mutex>
#include <string>
#include <tuple>
#include <vector>

namespace pogo {
namespace {

struct Timed {
  unsigned form;
  cudaEvent_t begin, end;
};

/** Of one shape on one device. */
struct Trials {
  unsigned begun[2] = {0, 0}, timed[2] = {0, 0};
  float least[2] = {0.0f, 0.0f};
  std::vector<Timed> running;

  bool decided() const { return timed[0] > TRIALS && timed[1] > TRIALS; }

  /** The faster of what was timed; the persistent form, which nearly always is, where not both were. */
  unsigned best() const { return timed[0] > 1 && timed[1] > 1 && least[0] < least[1] ? 0 : 1; }

  /** Takes in what has ended. A launch that could not be timed counts with the time of none. */
  void collect() {
    std::vector<Timed> left;
    for (const Timed& one : running) {
      const cudaError_t state = cudaEventQuery(one.end);
      if (state == cudaErrorNotReady) {
        left.push_back(one);
        continue;
      }
      float milliseconds = 0.0f;
      if (state == cudaSuccess && cudaEventElapsedTime(&milliseconds, one.begin, one.end) == cudaSuccess) {
        // The first loads the kernel.
        const unsigned before = timed[one.form];
        if (before == 1 || (before > 1 && milliseconds < least[one.form])) least[one.form] = milliseconds;
        timed[one.form] += 1;
      }
      cudaEventDestroy(one.begin);
      cudaEventDestroy(one.end);
    }
    running = std::move(left);
  }
};

struct Table {
  std::mutex mutex;
  std::map<std::tuple<int, std::string, uint32_t, uint32_t, uint32_t>, Trials> shapes;
};

/** Never destroyed: its events would outlive the driver. */
Table& table() {
  static Table& instance = *new Table;
  return instance;
}

}  // namespace

ProductTrial::ProductTrial(const ProductShape& shape, const Launch& launch) : stream_(launch.stream) {
  if (launch.device->products != Products::AUTO) {
    form_ = launch.device->products == Products::PINGPONG ? ProductForm::PINGPONG : ProductForm::CLUSTER;
    return;
  }
  std::lock_guard<std::mutex> lock(table().mutex);
  Trials& trials = table().shapes[std::make_tuple(launch.device->index, std::string(shape.name), shape.M, shape.N, shape.K)];
  cudaStreamCaptureStatus capture = cudaStreamCaptureStatusNone;
  const bool known = cudaStreamIsCapturing(stream_, &capture) == cudaSuccess;
  // Nothing may be asked of events while a stream records.
  if (known && capture == cudaStreamCaptureStatusNone && !trials.decided()) {
    trials.collect();
    const unsigned form = trials.begun[1] < trials.begun[0] ? 1 : 0;
    if (trials.begun[form] <= TRIALS && cudaEventCreate(&begin_) == cudaSuccess) {
      if (cudaEventRecord(begin_, stream_) == cudaSuccess) {
        trials.begun[form] += 1;
        trials_ = &trials;
        form_ = (ProductForm)form;
        return;
      }
      cudaEventDestroy(begin_);
      begin_ = nullptr;
    }
  }
  form_ = (ProductForm)trials.best();
}

void ProductTrial::end() {
  cudaEvent_t end = nullptr;
  if (begin_ == nullptr || cudaEventCreate(&end) != cudaSuccess) return;
  if (cudaEventRecord(end, stream_) != cudaSuccess) {
    cudaEventDestroy(end);
    return;
  }
  std::lock_guard<std::mutex> lock(table().mutex);
  static_cast<Trials*>(trials_)->running.push_back({(unsigned)form_, begin_, end});
  begin_ = nullptr;
}

ProductTrial::~ProductTrial() {
  if (begin_ != nullptr) cudaEventDestroy(begin_);
}

}  // namespace pogo
