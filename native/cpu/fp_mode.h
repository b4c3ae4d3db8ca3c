// The floating-point mode of an operation: nearest even, subnormals kept, exceptions masked, whatever the host set.
#ifndef POGO_CPU_FP_MODE_H
#define POGO_CPU_FP_MODE_H

#include <stdint.h>

#if defined(POGO_X86)
#include <xmmintrin.h>
#elif defined(_M_ARM64) && !defined(__clang__)
#include <intrin.h>
#elif !defined(__aarch64__)
#include <cfenv>
#endif

// The control word as the host sees it: MXCSR, or FPCR, of which 0 is the exact mode: round to nearest, FZ, FZ16, FIZ,
// AH and DN off, no traps.
#if defined(POGO_X86)
#define POGO_HAS_FP_CONTROL 1
static inline uint64_t pogo_fp_control() { return _mm_getcsr(); }
static inline void pogo_set_fp_control(uint64_t word) { _mm_setcsr((unsigned)word); }
// All exceptions masked, round to nearest, FTZ (bit 15) and DAZ (bit 6) off, no flags.
static constexpr uint64_t POGO_EXACT_FP_CONTROL = 0x1F80;
#elif defined(__aarch64__)
#define POGO_HAS_FP_CONTROL 1
static inline uint64_t pogo_fp_control() {
  uint64_t word;
  __asm__ volatile("mrs %0, fpcr" : "=r"(word) : : "memory");
  return word;
}
static inline void pogo_set_fp_control(uint64_t word) { __asm__ volatile("msr fpcr, %0" : : "r"(word) : "memory"); }
static constexpr uint64_t POGO_EXACT_FP_CONTROL = 0;
#elif defined(_M_ARM64)
#define POGO_HAS_FP_CONTROL 1
static inline uint64_t pogo_fp_control() { return (uint64_t)_ReadStatusReg(ARM64_FPCR); }
static inline void pogo_set_fp_control(uint64_t word) { _WriteStatusReg(ARM64_FPCR, (__int64)word); }
static constexpr uint64_t POGO_EXACT_FP_CONTROL = 0;
#endif

/** Sets the exact mode for its lifetime and puts the host's back, also when an exception passes. */
class PogoFpMode {
 public:
#if defined(POGO_HAS_FP_CONTROL)
  PogoFpMode() : saved_(pogo_fp_control()) { pogo_set_fp_control(POGO_EXACT_FP_CONTROL); }
  ~PogoFpMode() { pogo_set_fp_control(saved_); }

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
