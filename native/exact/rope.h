// Rotation of a head's pairs and its inverse (docs/numerics.md 4: rotateHeads, rotateHeadsBackward).
#ifndef POGO_EXACT_ROPE_H
#define POGO_EXACT_ROPE_H

#include "arith.h"

/** The pair (a, b) turned: a cos - b sin, b cos + a sin. */
template <class V>
POGO_HD void pogo_rotate(V a, V b, V cosine, V sine, V* first, V* second) {
  *first = pogo_sub(pogo_mul(a, cosine), pogo_mul(b, sine));
  *second = pogo_add(pogo_mul(b, cosine), pogo_mul(a, sine));
}

/** The pair turned back: a cos + b sin, b cos - a sin. */
template <class V>
POGO_HD void pogo_rotate_back(V a, V b, V cosine, V sine, V* first, V* second) {
  *first = pogo_add(pogo_mul(a, cosine), pogo_mul(b, sine));
  *second = pogo_sub(pogo_mul(b, cosine), pogo_mul(a, sine));
}

#endif
