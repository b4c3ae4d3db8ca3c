// The four operations and the square root, one IEEE binary32 rounding each, and the integer operations beside them.
//
// Every definition of native/exact is a template over the number type V: `float` here, read by the C++ and the CUDA
// compiler, and the vector types of native/cpu/isa/*.h, whose overloads of the primitives below give the same
// definition on 8 lanes. Nothing else in native/ may spell a formula of docs/numerics.md a second time.
#ifndef POGO_EXACT_ARITH_H
#define POGO_EXACT_ARITH_H

#include <float.h>
#include <math.h>
#include <stdint.h>
#include <string.h>

#include "constants.h"

#if defined(__CUDACC__)
#define POGO_HD __host__ __device__ static __forceinline__
#elif defined(_MSC_VER)
#pragma fp_contract(off)
#define POGO_HD static __forceinline
#else
// `static`: one copy per translation unit, so that no copy compiled for a newer instruction set leaks into an older
// one.
#define POGO_HD static inline __attribute__((always_inline, unused))
#endif

// A loop that must not lose its registers to the code around it.
#if defined(_MSC_VER) && !defined(__CUDACC__)
#define POGO_ALONE static __declspec(noinline)
#else
#define POGO_ALONE static __attribute__((noinline, unused))
#endif

#if !defined(__CUDA_ARCH__)
static_assert(FLT_EVAL_METHOD == 0, "x87 or other extended evaluation would round twice");
#endif
static_assert(sizeof(float) == 4, "binary32");

#if defined(__CUDA_ARCH__)
POGO_HD float pogo_add(float a, float b) { return __fadd_rn(a, b); }
POGO_HD float pogo_sub(float a, float b) { return __fsub_rn(a, b); }
POGO_HD float pogo_mul(float a, float b) { return __fmul_rn(a, b); }
POGO_HD float pogo_div(float a, float b) { return __fdiv_rn(a, b); }
POGO_HD float pogo_sqrt(float a) { return __fsqrt_rn(a); }
POGO_HD uint32_t pogo_bits(float a) { return __float_as_uint(a); }
POGO_HD float pogo_of_bits(uint32_t a) { return __uint_as_float(a); }
POGO_HD float pogo_to_float(uint32_t a) { return __int2float_rn((int32_t)a); }
/**
 * 1 / a for 1 <= a < 2^125, correctly rounded like the division, without its tests and branch; of other numbers it is anything.
 * The seed is off by at most one unit in the last place (PTX ISA, rcp.approx). From every seed that is off by up to four,
 * two steps with fused products give the rounded quotient of every mantissa but the one of all ones, where they may end one
 * unit below it, an odd number: native/cuda/test/gemm_test.cc tries them all.
 */
POGO_HD float pogo_reciprocal(float a) {
  float r;
  asm("{\n.reg .f32 minus, error;\n"
      "neg.f32 minus, %1;\n"
      "rcp.approx.ftz.f32 %0, %1;\n"
      "fma.rn.f32 error, minus, %0, 0f3F800000;\n"
      "fma.rn.f32 %0, %0, error, %0;\n"
      "fma.rn.f32 error, minus, %0, 0f3F800000;\n"
      "fma.rn.f32 %0, %0, error, %0;\n}"
      : "=&f"(r)
      : "f"(a));
  return __uint_as_float(__float_as_uint(r) | ((__float_as_uint(a) & POGO_MANTISSA) == POGO_MANTISSA ? 1u : 0u));
}
#else
POGO_HD float pogo_add(float a, float b) { return a + b; }
POGO_HD float pogo_sub(float a, float b) { return a - b; }
POGO_HD float pogo_mul(float a, float b) { return a * b; }
POGO_HD float pogo_div(float a, float b) { return a / b; }
// IEEE requires the correctly rounded root; the call compiles to SQRTSS (no errno path: -fno-math-errno).
POGO_HD float pogo_sqrt(float a) { return sqrtf(a); }
POGO_HD uint32_t pogo_bits(float a) {
  uint32_t b;
  memcpy(&b, &a, 4);
  return b;
}
POGO_HD float pogo_of_bits(uint32_t a) {
  float b;
  memcpy(&b, &a, 4);
  return b;
}
/** Signed integer to binary32, nearest even. */
POGO_HD float pogo_to_float(uint32_t a) { return (float)(int32_t)a; }
#endif

// Constants of the type of the first argument.
POGO_HD float pogo_fill(float, float c) { return c; }
POGO_HD uint32_t pogo_ifill(uint32_t, uint32_t c) { return c; }

POGO_HD bool pogo_lt(float a, float b) { return a < b; }
POGO_HD bool pogo_gt(float a, float b) { return a > b; }
/** m ? a : b */
POGO_HD float pogo_sel(bool m, float a, float b) { return m ? a : b; }
POGO_HD uint32_t pogo_isel(bool m, uint32_t a, uint32_t b) { return m ? a : b; }

POGO_HD uint32_t pogo_iadd(uint32_t a, uint32_t b) { return a + b; }
POGO_HD uint32_t pogo_isub(uint32_t a, uint32_t b) { return a - b; }
POGO_HD uint32_t pogo_imul(uint32_t a, uint32_t b) { return a * b; }
POGO_HD uint32_t pogo_iand(uint32_t a, uint32_t b) { return a & b; }
POGO_HD uint32_t pogo_ior(uint32_t a, uint32_t b) { return a | b; }
POGO_HD uint32_t pogo_ixor(uint32_t a, uint32_t b) { return a ^ b; }
template <int n>
POGO_HD uint32_t pogo_shl(uint32_t a) {
  return a << n;
}
template <int n>
POGO_HD uint32_t pogo_shr(uint32_t a) {
  return a >> n;
}
/** Arithmetic shift of the two's complement value. */
template <int n>
POGO_HD uint32_t pogo_sar(uint32_t a) {
  return (uint32_t)((int32_t)a >> n);
}
/** Signed comparison. */
POGO_HD bool pogo_igt(uint32_t a, uint32_t b) { return (int32_t)a > (int32_t)b; }
/** Maximum of unsigned values: absmax gathers `bits & ABS` with it. */
POGO_HD uint32_t pogo_imax(uint32_t a, uint32_t b) { return a > b ? a : b; }

// Compositions of primitives.

/** 1 / a for 1 <= a < 2^125, or anything: what divides may leave out the other cases. */
template <class V>
POGO_HD V pogo_reciprocal(V a) {
  return pogo_div(pogo_fill(a, POGO_ONE), a);
}

#if defined(__CUDA_ARCH__)
/** As a modifier of the instruction that uses it. */
POGO_HD float pogo_neg(float a) { return -a; }
#endif
template <class V>
POGO_HD V pogo_neg(V a) {
  auto b = pogo_bits(a);
  return pogo_of_bits(pogo_ixor(b, pogo_ifill(b, 0x80000000u)));
}

/** a > b ? a : b (1.3); the caller adds +0 to the final maximum. */
template <class V>
POGO_HD V pogo_max(V a, V b) {
  return pogo_sel(pogo_gt(a, b), a, b);
}

/** b < a ? b : a */
template <class V>
POGO_HD V pogo_min(V a, V b) {
  return pogo_sel(pogo_lt(b, a), b, a);
}

/** Bits of |a|, for absmax (1.2). */
template <class V>
POGO_HD auto pogo_abs_bits(V a) {
  auto b = pogo_bits(a);
  return pogo_iand(b, pogo_ifill(b, POGO_ABS));
}

/** A word whose low 22 bits are the nearest-even integer of |y| < 2^21 in two's complement (1.4). */
template <class V>
POGO_HD auto pogo_nearest_bits(V y) {
  return pogo_bits(pogo_add(y, pogo_fill(y, POGO_ROUND)));
}

/** The nearest-even integer of |y| < 2^22 as two's complement (1.4). */
template <class V>
POGO_HD auto pogo_nearest(V y) {
  auto b = pogo_nearest_bits(y);
  return pogo_isub(b, pogo_ifill(b, POGO_ROUND_BITS));
}

/** m ? +0 : a */
template <class M, class V>
POGO_HD V pogo_zero(M m, V a) {
  return pogo_sel(m, pogo_fill(a, 0.0f), a);
}

/** a where |a| >= limit, else +0 (1.5). */
template <class V>
POGO_HD V pogo_flush(V a, float limit) {
  V magnitude = pogo_of_bits(pogo_abs_bits(a));
  return pogo_zero(pogo_lt(magnitude, pogo_fill(a, limit)), a);
}

/** 1 / float(count) (1.12). */
POGO_HD float pogo_inverse_count(uint32_t count) { return pogo_div(1.0f, pogo_to_float(count)); }

/** One GEMM panel promoted to binary32 (2.4): float(acc) * (sa * sb). |acc| < 2^24, so the conversion is exact. */
template <class V, class I>
POGO_HD V pogo_promote(I acc, V sa, V sb) {
  return pogo_mul(pogo_to_float(acc), pogo_mul(sa, sb));
}

#endif
