// Two kernels for one product: which of them a shape runs on. Host side.
//
// Both give the same bits, so the choice is one of time alone, and it is made by the device: until both have been timed a few
// times at a shape, launches of that shape take turns, each between two events; then the faster one stays. Nothing waits for
// the events, and no product runs twice.
#ifndef POGO_CUDA_PRODUCT_FORMS_H
#define POGO_CUDA_PRODUCT_FORMS_H

#include "ops.h"

namespace pogo {

/** CLUSTER: a block a tile (wgmma_loop.h). PINGPONG: a persistent grid (pingpong_loop.h). */
enum class ProductForm : uint32_t { CLUSTER = 0, PINGPONG = 1 };

/** A kernel's family at a shape; `name` is compared by its text. */
struct ProductShape {
  const char* name;
  uint32_t M, N, K;
};

/** A launch that is perhaps timed. */
class ProductTrial {
 public:
  /** Chooses, and begins to time where the device decides and has not seen enough. */
  ProductTrial(const ProductShape& shape, const Launch& launch);
  ~ProductTrial();
  ProductTrial(const ProductTrial&) = delete;
  ProductTrial& operator=(const ProductTrial&) = delete;
  ProductForm form() const { return form_; }
  /** Behind the launch, if it went well. */
  void end();

 private:
  ProductForm form_ = ProductForm::CLUSTER;
  void* trials_ = nullptr;
  cudaStream_t stream_ = nullptr;
  cudaEvent_t begin_ = nullptr;
};

/** Timed launches of each form that decide; one before them is not counted, since it loads the kernel. */
static constexpr unsigned TRIALS = 4;

}  // namespace pogo

#endif
