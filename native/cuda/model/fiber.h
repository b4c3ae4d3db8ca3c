// Fibers: stacks that take turns on one thread. A switch is a few instructions on Linux for x86-64 and AArch64, and
// swapcontext elsewhere.
#ifndef POGO_CUDA_MODEL_FIBER_H
#define POGO_CUDA_MODEL_FIBER_H

#include <stddef.h>

namespace cuda_model {

struct Fiber {
  void* place = nullptr;  // where it stopped: a stack pointer, or a ucontext_t
  unsigned char* stack = nullptr;
  size_t stack_bytes = 0;
  void* sanitizer = nullptr;
};

/** Fibers of one OS thread: `main` is the thread's own stack. All switches go between main and a fiber. */
class FiberPool {
 public:
  FiberPool() = default;
  FiberPool(const FiberPool&) = delete;
  FiberPool& operator=(const FiberPool&) = delete;
  ~FiberPool();

  /** Makes room for `count` fibers with fresh stacks that will run `entry`, which must end in `finish`. */
  bool prepare(size_t count, void (*entry)());
  /** From main: runs fiber `index` until it pauses or finishes. */
  void resume(size_t index);
  /** From a fiber: back to main. */
  void pause();
  /** From a fiber, for ever. */
  [[noreturn]] void finish();
  /** First thing that a fiber calls. */
  void entered();
  /** False where a fiber wrote beyond its stack. */
  bool stack_is_whole(size_t index) const;

 private:
  void release();
  unsigned char* memory_ = nullptr;
  size_t memory_bytes_ = 0;
  Fiber* fibers_ = nullptr;
  size_t count_ = 0;
  size_t running_ = 0;
  Fiber main_;
};

}  // namespace cuda_model

#endif
