// RMSNorm and LayerNorm, forward and backward (docs/numerics.md 4: normForward, normBackward).
#ifndef POGO_EXACT_NORM_H
#define POGO_EXACT_NORM_H

#include "arith.h"

/** 1 / sqrt(mean square + epsilon); `sum` the row's sum of squares. */
template <class V>
POGO_HD V pogo_norm_rstd(V sum, float inverse_count, float epsilon) {
  V square = pogo_mul(sum, pogo_fill(sum, inverse_count));
  return pogo_div(pogo_fill(sum, POGO_ONE), pogo_sqrt(pogo_add(square, pogo_fill(sum, epsilon))));
}

/** RMSNorm: (x r) gain. */
template <class V>
POGO_HD V pogo_rms(V x, V rstd, V gain) {
  return pogo_mul(pogo_mul(x, rstd), gain);
}

/** LayerNorm of the centred x: ((x r) gain) + bias. */
template <class V>
POGO_HD V pogo_layer(V centred, V rstd, V gain, V bias) {
  return pogo_add(pogo_mul(pogo_mul(centred, rstd), gain), bias);
}

/** RMSNorm gradient: r (gy - xhat s). */
template <class V>
POGO_HD V pogo_rms_gradient(V gy, V xhat, V rstd, V s) {
  return pogo_mul(rstd, pogo_sub(gy, pogo_mul(xhat, s)));
}

/** LayerNorm gradient: r ((gy - a) - xhat s). */
template <class V>
POGO_HD V pogo_layer_gradient(V gy, V xhat, V rstd, V a, V s) {
  return pogo_mul(rstd, pogo_sub(pogo_sub(gy, a), pogo_mul(xhat, s)));
}

#endif
