// The rank-1 dither (docs/numerics.md 1.10): a hash per row and a hash per column, one xor and one addition per
// element.
#ifndef POGO_EXACT_DITHER_H
#define POGO_EXACT_DITHER_H

#include "arith.h"

template <class I>
POGO_HD I pogo_mix(I x) {
  x = pogo_ixor(x, pogo_shr<16>(x));
  x = pogo_imul(x, pogo_ifill(x, POGO_MIX_1));
  x = pogo_ixor(x, pogo_shr<15>(x));
  x = pogo_imul(x, pogo_ifill(x, POGO_MIX_2));
  return pogo_ixor(x, pogo_shr<16>(x));
}

template <class I>
POGO_HD I pogo_hash(uint32_t a, uint32_t b, I n) {
  return pogo_mix(pogo_iadd(pogo_mix(pogo_ixor(n, pogo_ifill(n, a))), pogo_ifill(n, b)));
}

/** A[n]: exponent of [1, 2) and the column's mantissa. `seed`: four words a0, b0, a1, b1. */
template <class I>
POGO_HD I pogo_dither_column(const uint32_t* seed, I n) {
  I h = pogo_hash(seed[0], seed[1], n);
  return pogo_ior(pogo_iand(h, pogo_ifill(n, POGO_MANTISSA)), pogo_ifill(n, POGO_DITHER_ONE));
}

/** B[t]: the row's mantissa. */
template <class I>
POGO_HD I pogo_dither_row(const uint32_t* seed, I t) {
  return pogo_iand(pogo_hash(seed[2], seed[3], t), pogo_ifill(t, POGO_MANTISSA));
}

/** y + delta for a column word A[n] and a row word B[t]. */
template <class V, class I>
POGO_HD V pogo_dithered(V y, I column, I row) {
  V delta = pogo_sub(pogo_of_bits(pogo_ixor(column, row)), pogo_fill(y, POGO_HALF_STEP));
  return pogo_add(y, delta);
}

#endif
