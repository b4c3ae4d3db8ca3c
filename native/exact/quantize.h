// Quantizers (docs/numerics.md 2): what a group's absmax gives, and the code of one element.
#ifndef POGO_EXACT_QUANTIZE_H
#define POGO_EXACT_QUANTIZE_H

#include "dither.h"
#include "functions.h"

/** A group's multiplier and stored scale; `multiplier` 0 gives codes 0. */
struct PogoScale {
  float multiplier;
  float scale;
};

POGO_HD bool pogo_absmax_is_finite(uint32_t absmax_bits) { return absmax_bits < POGO_INFINITY_BITS; }

/** Q8: codes -127..127. Groups below 2^-100 have all codes 0 (`live` false), whatever the dither. */
POGO_HD bool pogo_q8(uint32_t absmax_bits, float c, float r, PogoScale* out) {
  float a = pogo_of_bits(absmax_bits);
  bool live = !pogo_lt(a, POGO_ABSMAX_MIN);
  out->multiplier = live ? pogo_div(c, a) : 0.0f;
  out->scale = live ? pogo_mul(a, r) : 0.0f;
  return live;
}

/** Q8 of one group a lane: a group below 2^-100 has multiplier 0, and |delta| <= 1/2 alone rounds to code 0. */
template <class V>
POGO_HD void pogo_q8_lanes(V absmax, float c, float r, V* multiplier, V* scale) {
  auto dead = pogo_lt(absmax, pogo_fill(absmax, POGO_ABSMAX_MIN));
  V zero = pogo_fill(absmax, 0.0f);
  *multiplier = pogo_sel(dead, zero, pogo_div(pogo_fill(absmax, c), absmax));
  *scale = pogo_sel(dead, zero, pogo_mul(absmax, pogo_fill(absmax, r)));
}

/**
 * Q4 and model codes of a finite absmax: `scale` = d, a bf16 value rounded up, and `multiplier` = 1 / d. A block below
 * 2^-100 has both +0: its codes are then 0 whatever the dither, since |delta| <= 1/2.
 */
template <class V>
POGO_HD void pogo_q4_lanes(V absmax, float r, V* multiplier, V* scale) {
  V least = pogo_fill(absmax, POGO_ABSMAX_MIN), zero = pogo_fill(absmax, 0.0f);
  auto dead = pogo_lt(absmax, least);
  V d = pogo_mul(pogo_sel(dead, least, absmax), pogo_fill(absmax, r));
  d = pogo_of_bits(pogo_bf16_up(pogo_bits(d)));
  *multiplier = pogo_sel(dead, zero, pogo_div(pogo_fill(absmax, POGO_ONE), d));
  *scale = pogo_sel(dead, zero, d);
}

/** The same from a block's absmax bits; `stored` = d as bf16. False for a block below 2^-100. */
POGO_HD bool pogo_q4(uint32_t absmax_bits, float r, float* multiplier, uint16_t* stored) {
  float scale;
  pogo_q4_lanes(pogo_of_bits(absmax_bits), r, multiplier, &scale);
  *stored = (uint16_t)(pogo_bits(scale) >> 16);
  return *stored != 0;
}

template <class V>
POGO_HD auto pogo_code(V x, V multiplier) {
  return pogo_nearest(pogo_mul(x, multiplier));
}

template <class V, class I>
POGO_HD auto pogo_code_dithered(V x, V multiplier, I column, I row) {
  return pogo_nearest(pogo_dithered(pogo_mul(x, multiplier), column, row));
}

/** The same without the subtraction: the low bytes of these words are the codes. */
template <class V>
POGO_HD auto pogo_code_bits(V x, V multiplier) {
  return pogo_nearest_bits(pogo_mul(x, multiplier));
}

template <class V, class I>
POGO_HD auto pogo_code_dithered_bits(V x, V multiplier, I column, I row) {
  return pogo_nearest_bits(pogo_dithered(pogo_mul(x, multiplier), column, row));
}

/** Sign-extended nibble of two's complement. */
POGO_HD int32_t pogo_nibble(uint8_t byte, int high) { return (int32_t)(((byte >> (high ? 4 : 0)) & 15) ^ 8) - 8; }

#endif
