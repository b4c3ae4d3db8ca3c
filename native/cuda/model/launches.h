// Between the two halves of the model: runtime.cc calls what blocks.cc runs.
#ifndef POGO_CUDA_MODEL_LAUNCHES_H
#define POGO_CUDA_MODEL_LAUNCHES_H

#include <functional>
#include <string>

#include "runtime.h"

namespace cuda_model {

/** Runs a grid to its end. Empty, or what went wrong. */
std::string run_grid(const std::function<void()>& body, dim3 grid, dim3 block, unsigned cluster, size_t shared);

}  // namespace cuda_model

#endif
