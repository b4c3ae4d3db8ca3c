// The commit pass of one parameter (docs/numerics.md 4: commitLeaves; 6 of the derivation): one rounding per operation.
#ifndef POGO_EXACT_ADAMW_H
#define POGO_EXACT_ADAMW_H

#include "arith.h"

/**
 * Scalars of a step, made once by pogo_adamw_scalars. What takes them is a template over their type S: a kernel may hold each
 * as lanes of its own, for which it has a pogo_fill.
 */
struct PogoAdamW {
  float inverse_units, beta1, beta2, c1, c2, inverse_bias1, inverse_bias2, epsilon, weight_decay, learning_rate;
  float ema_decay, ema_rest;
};

/** `b1t`, `b2t`: the powers of beta after they advanced to this step. */
POGO_HD PogoAdamW pogo_adamw_scalars(uint32_t units, float beta1, float beta2, float b1t, float b2t, float epsilon,
                                     float weight_decay, float learning_rate, float ema_decay) {
  PogoAdamW s;
  s.inverse_units = pogo_inverse_count(units);
  s.beta1 = beta1;
  s.beta2 = beta2;
  s.c1 = pogo_sub(1.0f, beta1);
  s.c2 = pogo_sub(1.0f, beta2);
  s.inverse_bias1 = pogo_div(1.0f, pogo_sub(1.0f, b1t));
  s.inverse_bias2 = pogo_div(1.0f, pogo_sub(1.0f, b2t));
  s.epsilon = epsilon;
  s.weight_decay = weight_decay;
  s.learning_rate = learning_rate;
  s.ema_decay = ema_decay;
  s.ema_rest = pogo_sub(1.0f, ema_decay);
  return s;
}

/** beta^t from beta^(t-1): flushed so that it never reaches subnormals. */
POGO_HD float pogo_beta_power(float beta, float previous) {
  return pogo_flush(pogo_mul(beta, previous), POGO_FLUSH_BETA);
}

/** Mean gradient from the sum over units, flushed. */
template <class V, class S>
POGO_HD V pogo_adamw_gradient(V sum, const S& s) {
  return pogo_flush(pogo_mul(sum, pogo_fill(sum, s.inverse_units)), POGO_FLUSH_GRADIENT);
}

/** v' of the *unclipped* gradient; `squared` = g g. */
template <class V, class S>
POGO_HD V pogo_adamw_second(V v, V squared, const S& s) {
  V next = pogo_add(pogo_mul(pogo_fill(v, s.beta2), v), pogo_mul(pogo_fill(v, s.c2), squared));
  return pogo_zero(pogo_lt(next, pogo_fill(v, POGO_FLUSH_V)), next);
}

/** The leaf's clip factor: 1 / r where r = sqrt(sum g^2 / (4 sum v^)) > 1; false: no clip. */
POGO_HD bool pogo_adamw_clip(float sum_squares, float sum_second, float* factor) {
  if (sum_second == 0.0f) return false;
  float r = pogo_sqrt(pogo_div(sum_squares, pogo_mul(POGO_CLIP_FOUR, sum_second)));
  if (!pogo_gt(r, POGO_ONE)) return false;
  *factor = pogo_div(1.0f, r);
  return true;
}

template <class V, class S>
POGO_HD V pogo_adamw_first(V m, V g, const S& s) {
  V next = pogo_add(pogo_mul(pogo_fill(m, s.beta1), m), pogo_mul(pogo_fill(m, s.c1), g));
  return pogo_flush(next, POGO_FLUSH_M);
}

/** What the first moment is divided by; `second_hat` = v' / (1 - beta2^t) as computed for the clip. */
template <class V, class S>
POGO_HD V pogo_adamw_root(V second_hat, const S& s) {
  return pogo_add(pogo_sqrt(second_hat), pogo_fill(second_hat, s.epsilon));
}

/** theta' from the new first moment and the root of the second. */
template <class V, class S>
POGO_HD V pogo_adamw_parameter(V theta, V m, V root, const S& s) {
  V m_hat = pogo_mul(m, pogo_fill(m, s.inverse_bias1));
  V step = pogo_add(pogo_div(m_hat, root), pogo_mul(pogo_fill(m, s.weight_decay), theta));
  return pogo_sub(theta, pogo_mul(pogo_fill(m, s.learning_rate), step));
}

template <class V, class S>
POGO_HD V pogo_adamw_ema(V ema, V theta, const S& s) {
  return pogo_add(pogo_mul(pogo_fill(ema, s.ema_decay), ema), pogo_mul(pogo_fill(ema, s.ema_rest), theta));
}

#endif
