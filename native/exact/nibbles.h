// Differences of packed nibbles (docs/numerics.md 4: diffModel): each nibble of a byte by itself, modulo 16.
#ifndef POGO_EXACT_NIBBLES_H
#define POGO_EXACT_NIBBLES_H

#include "arith.h"

/** a - b */
POGO_HD uint8_t pogo_nibbles_sub(uint8_t a, uint8_t b) {
  return (uint8_t)(((a - b) & 0x0F) | (((a & 0xF0) - (b & 0xF0)) & 0xF0));
}

/** a + b */
POGO_HD uint8_t pogo_nibbles_add(uint8_t a, uint8_t b) {
  return (uint8_t)(((a + b) & 0x0F) | (((a & 0xF0) + (b & 0xF0)) & 0xF0));
}

#endif
