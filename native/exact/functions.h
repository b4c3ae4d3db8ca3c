// exp2, log2, GELU and its derivative, bf16 (docs/numerics.md 1.6 to 1.9).
#ifndef POGO_EXACT_FUNCTIONS_H
#define POGO_EXACT_FUNCTIONS_H

#include "arith.h"

/** p * f + c, two roundings. */
template <class V>
POGO_HD V pogo_horner(V p, V f, float c) {
  return pogo_add(pogo_mul(p, f), pogo_fill(f, c));
}

// Range reduction shared by both exponentials: z = k + f, |f| <= 1/2.
template <class V>
POGO_HD V pogo_exp2_clamp(V z) {
  // z > top ? top : z
  return pogo_min(z, pogo_fill(z, POGO_EXP2_MAX));
}

// A polynomial p of f, scaled by 2^k.
template <class V>
POGO_HD V pogo_exp2_scale(V p, V t) {
  // k = bits(t) - ROUND_BITS; the shift drops the subtrahend, whose low 9 bits are 0.
  static_assert((POGO_ROUND_BITS & 0x1FFu) == 0, "k << 23 is bits(t) << 23");
  return pogo_of_bits(pogo_iadd(pogo_bits(p), pogo_shl<23>(pogo_bits(t))));
}

// The same; below -64 the exponent would wrap, so the test uses the original z.
template <class V>
POGO_HD V pogo_exp2_finish(V z, V p, V t) {
  return pogo_sel(pogo_lt(z, pogo_fill(z, POGO_EXP2_MIN)), pogo_fill(z, 0.0f), pogo_exp2_scale(p, t));
}

// The polynomial of degree 5 of the clamped z in c, and in t what scales it.
template <class V>
POGO_HD V pogo_exp2_polynomial(V c, V* t) {
  V round = pogo_fill(c, POGO_ROUND);
  *t = pogo_add(c, round);
  V f = pogo_sub(c, pogo_sub(*t, round));
  V p = pogo_fill(c, POGO_EXP2_C5);
  p = pogo_horner(p, f, POGO_EXP2_C4);
  p = pogo_horner(p, f, POGO_EXP2_C3);
  p = pogo_horner(p, f, POGO_EXP2_C2);
  p = pogo_horner(p, f, POGO_EXP2_C1);
  return pogo_horner(p, f, POGO_ONE);
}

/** 2^z by the polynomial of degree 5: row scalars, loss, GELU. */
template <class V>
POGO_HD V pogo_exp2(V z) {
  V t;
  V p = pogo_exp2_polynomial(pogo_exp2_clamp(z), &t);
  return pogo_exp2_finish(z, p, t);
}

/** The same where z is known to be at most 64 (or NaN): nothing to clamp. */
template <class V>
POGO_HD V pogo_exp2_below(V z) {
  V t;
  V p = pogo_exp2_polynomial(z, &t);
  return pogo_exp2_finish(z, p, t);
}

/** 1 + 2^z where z is at most 64: below -64 it is 1, as 1 + 2^-64 is, so no test is needed. Above 64 it is anything. */
template <class V>
POGO_HD V pogo_one_plus_exp2_below(V z) {
  V t;
  V p = pogo_exp2_polynomial(pogo_max(z, pogo_fill(z, POGO_EXP2_MIN)), &t);
  return pogo_add(pogo_fill(z, POGO_ONE), pogo_exp2_scale(p, t));
}

// The cubic of the clamped z in c, and in t what scales it.
template <class V>
POGO_HD V pogo_exp2c_polynomial(V c, V* t) {
  V round = pogo_fill(c, POGO_ROUND);
  *t = pogo_add(c, round);
  V f = pogo_sub(c, pogo_sub(*t, round));
  V p = pogo_fill(c, POGO_EXP2C_C3);
  p = pogo_horner(p, f, POGO_EXP2C_C2);
  p = pogo_horner(p, f, POGO_EXP2C_C1);
  return pogo_horner(p, f, POGO_ONE);
}

template <class V>
POGO_HD V pogo_exp2c_clamped(V z, V c) {
  V t;
  V p = pogo_exp2c_polynomial(c, &t);
  return pogo_exp2_finish(z, p, t);
}

/** 2^z by the cubic: attention probabilities, whose result becomes an 8-bit code. */
template <class V>
POGO_HD V pogo_exp2c(V z) {
  return pogo_exp2c_clamped(z, pogo_exp2_clamp(z));
}

/** The same where z is known to be at most 64 (or NaN): nothing to clamp. */
template <class V>
POGO_HD V pogo_exp2c_below(V z) {
  return pogo_exp2c_clamped(z, z);
}

/** The same where z is known to be in [-64, 64]: nothing to test. */
template <class V>
POGO_HD V pogo_exp2c_inside(V z) {
  V t;
  V p = pogo_exp2c_polynomial(z, &t);
  return pogo_exp2_scale(p, t);
}

/** log2(x) of a normal x > 0. */
template <class V>
POGO_HD V pogo_log2(V x) {
  auto b = pogo_bits(x);
  auto offset = pogo_ifill(b, POGO_LOG2_OFFSET);
  auto i = pogo_isub(b, offset);
  V e = pogo_to_float(pogo_sar<23>(i));
  V m = pogo_of_bits(pogo_iadd(pogo_iand(i, pogo_ifill(b, POGO_MANTISSA)), offset));
  V one = pogo_fill(x, POGO_ONE);
  V s = pogo_div(pogo_sub(m, one), pogo_add(m, one));
  V w = pogo_mul(s, s);
  V q = pogo_fill(x, POGO_LOG2_L3);
  q = pogo_horner(q, w, POGO_LOG2_L2);
  q = pogo_horner(q, w, POGO_LOG2_L1);
  q = pogo_horner(q, w, POGO_LOG2_L0);
  return pogo_add(e, pogo_mul(s, q));
}

/** What gelu(u) and gelu'(u) share: 1 / (1 + 2^w), w = u (-c0 + -c1 u u), since signs are exact in every rounding. */
template <class V>
POGO_HD V pogo_gelu_sigmoid(V u) {
  V c = pogo_add(pogo_fill(u, -POGO_GELU_C0), pogo_mul(pogo_fill(u, -POGO_GELU_C1), pogo_mul(u, u)));
  V w = pogo_mul(u, c);
  V sigmoid = pogo_reciprocal(pogo_one_plus_exp2_below(w));
  // Above it the exponent wraps.
  return pogo_sel(pogo_gt(w, pogo_fill(u, POGO_GELU_MAX)), pogo_fill(u, 0.0f), sigmoid);
}

/** gelu'(u) of u, u u and the sigmoid s. It is finite exactly where u u is: for large u the factor s (1 - s) is 0. */
template <class V>
POGO_HD V pogo_gelu_derivative(V u, V square, V s) {
  V slope = pogo_mul(u, pogo_mul(s, pogo_sub(pogo_fill(u, POGO_ONE), s)));
  V d = pogo_add(pogo_fill(u, POGO_GELU_D0), pogo_mul(pogo_fill(u, POGO_GELU_D1), square));
  return pogo_add(s, pogo_mul(slope, d));
}

/** gelu(u) in `*value` and gelu'(u) in `*derivative`. */
template <class V>
POGO_HD void pogo_gelu(V u, V* value, V* derivative) {
  V s = pogo_gelu_sigmoid(u);
  *value = pogo_mul(u, s);
  *derivative = pogo_gelu_derivative(u, pogo_mul(u, u), s);
}

/** GeGLU: gelu(gate) up. */
template <class V>
POGO_HD V pogo_geglu(V gate, V up) {
  V value, slope;
  pogo_gelu(gate, &value, &slope);
  return pogo_mul(value, up);
}

/** Gradients of GeGLU: (dh up) gelu'(gate) for the gate, dh gelu(gate) for the other half. */
template <class V>
POGO_HD void pogo_geglu_gradient(V dh, V gate, V up, V* d_gate, V* d_up) {
  V value, slope;
  pogo_gelu(gate, &value, &slope);
  *d_gate = pogo_mul(pogo_mul(dh, up), slope);
  *d_up = pogo_mul(dh, value);
}

/** The code of the activation's derivative: nearest(112 gelu'). */
template <class V>
POGO_HD auto pogo_derivative_code(V derivative) {
  return pogo_nearest(pogo_mul(derivative, pogo_fill(derivative, POGO_DERIVATIVE)));
}

/** The same as the low byte of a word. */
template <class V>
POGO_HD auto pogo_derivative_bits(V derivative) {
  return pogo_nearest_bits(pogo_mul(derivative, pogo_fill(derivative, POGO_DERIVATIVE)));
}

/** bf16 pattern of x, nearest even, in the low 16 bits; subnormals kept, NaN carried with its quiet bit. */
template <class V>
POGO_HD auto pogo_bf16(V x) {
  auto b = pogo_bits(x);
  auto high = pogo_shr<16>(b);
  auto odd = pogo_iand(high, pogo_ifill(b, 1u));
  auto rounded = pogo_shr<16>(pogo_iadd(b, pogo_iadd(odd, pogo_ifill(b, 0x7FFFu))));
  auto is_nan = pogo_igt(pogo_iand(b, pogo_ifill(b, POGO_ABS)), pogo_ifill(b, POGO_INFINITY_BITS));
  return pogo_isel(is_nan, pogo_ior(high, pogo_ifill(b, 0x40u)), rounded);
}

/** Bits of a positive finite x rounded up to a bf16 value: the scale of a 4-bit block must not shrink. */
template <class I>
POGO_HD I pogo_bf16_up(I bits) {
  return pogo_iand(pogo_iadd(bits, pogo_ifill(bits, 0xFFFFu)), pogo_ifill(bits, 0xFFFF0000u));
}

POGO_HD float pogo_of_bf16(uint16_t x) { return pogo_of_bits((uint32_t)x << 16); }

#endif
