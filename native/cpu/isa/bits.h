// Bits of machine words, for primitives of every instruction set.
#ifndef POGO_CPU_BITS_H
#define POGO_CPU_BITS_H

#include "../../exact/nibbles.h"

/** Bytes of a model in a chunk of its difference to another, all but the last. */
static constexpr int64_t DIFF_CHUNK = 16384;

/** Ones of a word: one instruction where the set has it. */
POGO_HD int64_t ones(uint64_t x) {
#if defined(__GNUC__)
  return __builtin_popcountll(x);
#else
  x -= x >> 1 & 0x5555555555555555u;
  x = (x & 0x3333333333333333u) + (x >> 2 & 0x3333333333333333u);
  return (int64_t)((x + (x >> 4) & 0x0F0F0F0F0F0F0F0Fu) * 0x0101010101010101u >> 56);
#endif
}

#endif
