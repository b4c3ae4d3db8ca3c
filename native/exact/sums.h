// The one order of float sums (docs/numerics.md 1.11), over memory.
#ifndef POGO_EXACT_SUMS_H
#define POGO_EXACT_SUMS_H

#include "arith.h"

/** T64: pair sums, then the tree 16, 8, 4, 2, 1. */
POGO_HD float pogo_t64(const float* x) {
  float y[32];
  for (int i = 0; i < 32; i++) y[i] = pogo_add(x[2 * i], x[2 * i + 1]);
  for (int s = 16; s > 0; s >>= 1) {
    for (int i = 0; i < s; i++) y[i] = pogo_add(y[i], y[i + s]);
  }
  return y[0];
}

/** T64 of each 64-block, blocks ascending from the first. n: a multiple of 64. */
POGO_HD float pogo_rowsum(const float* x, int64_t n) {
  float sum = pogo_t64(x);
  for (int64_t i = 64; i < n; i += 64) sum = pogo_add(sum, pogo_t64(x + i));
  return sum;
}

#endif
