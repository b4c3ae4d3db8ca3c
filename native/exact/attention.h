// Causal attention by blocks of 64 with block-local scales (docs/numerics.md 4: attentionForward, attentionBackward).
#ifndef POGO_EXACT_ATTENTION_H
#define POGO_EXACT_ATTENTION_H

#include "functions.h"

/** log2e / sqrt(h): multiplied by a query's scale it turns u into base-2 logits. */
POGO_HD float pogo_attention_temperature(uint32_t head_size) {
  return pogo_div(POGO_LOG2E, pogo_sqrt(pogo_to_float(head_size)));
}

/** 1 / sqrt(h), the factor of dQ and dK. */
POGO_HD float pogo_attention_inverse_root(uint32_t head_size) {
  return pogo_div(1.0f, pogo_sqrt(pogo_to_float(head_size)));
}

/** Unnormalized probability inside a block: exp2c((u - m) a). */
template <class V>
POGO_HD V pogo_attention_weight(V u, V m, V a) {
  return pogo_exp2c(pogo_mul(pogo_sub(u, m), a));
}

/** The same where u <= m and a >= 0, as scales of quantizers are. */
template <class V>
POGO_HD V pogo_attention_weight_below(V u, V m, V a) {
  return pogo_exp2c_below(pogo_mul(pogo_sub(u, m), a));
}

/** exp2((m - m') a): the weight of a block's sums when the running maximum moves. */
template <class V>
POGO_HD V pogo_attention_rescale(V m, V m_new, V a) {
  return pogo_exp2(pogo_mul(pogo_sub(m, m_new), a));
}

/** old alpha + block w, two products and a sum: O and l. */
template <class V>
POGO_HD V pogo_attention_merge(V old, V alpha, V block, V w) {
  return pogo_add(pogo_mul(old, alpha), pogo_mul(block, w));
}

/** Lambda = M a + log2(l). */
template <class V>
POGO_HD V pogo_attention_lambda(V m, V a, V l) {
  return pogo_add(pogo_mul(m, a), pogo_log2(l));
}

/** Backward probability: exp2c(min(0, u a - Lambda)). */
template <class V>
POGO_HD V pogo_attention_probability(V u, V a, V lambda) {
  V z = pogo_sub(pogo_mul(u, a), lambda);
  // z > 0 ? +0 : z
  return pogo_exp2c_below(pogo_min(z, pogo_fill(u, 0.0f)));
}

#endif
