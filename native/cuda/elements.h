// Fields of 4 bits inside a word, for the difference of packed models: each nibble by itself, modulo 16. The same as
// exact/nibbles.h byte by byte (test/kernel_test.cc compares the two over whole models).
#ifndef POGO_CUDA_ELEMENTS_H
#define POGO_CUDA_ELEMENTS_H

#include "../exact/arith.h"

// The top bit of each field is kept out of the carry and added back by xor.
static constexpr uint32_t POGO_NIBBLE_TOPS = 0x88888888u;

/** a - b in every nibble. */
POGO_HD uint32_t pogo_nibbles_sub8(uint32_t a, uint32_t b) {
  return ((a | POGO_NIBBLE_TOPS) - (b & ~POGO_NIBBLE_TOPS)) ^ ((a ^ ~b) & POGO_NIBBLE_TOPS);
}

/** a + b in every nibble. */
POGO_HD uint32_t pogo_nibbles_add8(uint32_t a, uint32_t b) {
  return ((a & ~POGO_NIBBLE_TOPS) + (b & ~POGO_NIBBLE_TOPS)) ^ ((a ^ b) & POGO_NIBBLE_TOPS);
}

/** Bit i: whether nibble i is not zero. */
POGO_HD uint32_t pogo_nibble_bits(uint32_t x) {
  uint32_t m = x | (x >> 1);
  m = (m | (m >> 2)) & 0x11111111u;
  m = (m | (m >> 3)) & 0x03030303u;
  m = (m | (m >> 6)) & 0x000F000Fu;
  return (m | (m >> 12)) & 0xFFu;
}

#endif
