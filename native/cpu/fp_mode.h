// The floating-point mode of an operation: nearest even, subnormals kept, exceptions masked, whatever the host set.
#ifndef POGO_CPU_FP_MODE_H
#define POGO_CPU_FP_MODE_H

#include <stdint.h>

#if defined(POGO_X86)
#include <xmmintrin.h>
#elif defined(__aarch64__)
#else
#include <cfenv>
#endif

/** Sets the exact mode for its lifetime and puts the host's back, also when an exception passes. */
class PogoFpMode {
 public:
#if defined(POGO_X86)
  // 1F80: all exceptions masked, round to nearest, FTZ (bit 15) and DAZ (bit 6) off, no flags.
  PogoFpMode() : saved_(_mm_getcsr()) { _mm_setcsr(0x1F80); }
  ~PogoFpMode() { _mm_setcsr(saved_); }

 private:
  unsigned saved_;
#elif defined(__aarch64__)
  PogoFpMode() {
    __asm__ volatile("mrs %0, fpcr" : "=r"(saved_));
    __asm__ volatile("msr fpcr, %0" : : "r"(uint64_t(0)));
  }
  ~PogoFpMode() { __asm__ volatile("msr fpcr, %0" : : "r"(saved_)); }

 private:
  uint64_t saved_;
#else
  PogoFpMode() {
    fegetenv(&saved_);
    fesetenv(FE_DFL_ENV);
  }
  ~PogoFpMode() { fesetenv(&saved_); }

 private:
  fenv_t saved_;
#endif

 public:
  PogoFpMode(const PogoFpMode&) = delete;
  PogoFpMode& operator=(const PogoFpMode&) = delete;
};

#endif
