// Times operations at the shapes of gpt2-124m against the ceilings of the same run.
#ifndef POGO_CUDA_TEST_TIMING_H
#define POGO_CUDA_TEST_TIMING_H

#include <functional>

#include "operations.h"

namespace test {

/** What one call moves or computes at least. */
struct Work {
  /** Bytes of every array that is read and of every one that is written, once each. */
  double bytes = 0;
  /** Multiplications and additions of int8, 0 where memory decides. */
  double operations = 0;
};

/** Milliseconds of a product on each of its two kernels (product_forms.h); both 0 where there is one. */
struct FormTimes {
  double cluster = 0, pingpong = 0;
};

struct Timing {
  std::string operation, shape;
  double milliseconds = 0;
  Work work;
  /** Work per second over the ceiling that decides. */
  double ratio = 0;
  FormTimes forms;
};

struct Ceilings {
  double copy_bytes_per_second = 0;
  /** Of int8 by mma.sync, and by wgmma (0 where the device lacks it). */
  double mma_per_second = 0, wgmma_per_second = 0;
  double operations_per_second() const { return mma_per_second > wgmma_per_second ? mma_per_second : wgmma_per_second; }
};

Ceilings measure_ceilings(const pogo::DeviceTraits& traits);

/** Median seconds of calls with a cold L2 cache. */
double time_calls(const std::function<void()>& call, const pogo::DeviceTraits& traits);

/** Whether the operation has two kernels with the same bits on this device. */
bool has_two_forms(const std::string& operation, const pogo::DeviceTraits& traits);

/** Cases of the operation at its shapes of gpt2-124m, the one that takes longest first; none where it is not timed. */
std::vector<Case> timing_cases(const std::string& operation);
Work work_of(const Case& one);

}  // namespace test

#endif
