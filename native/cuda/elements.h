// Element functions of the kernels that native/exact does not have: each is read by nvcc and by the C++ compiler.
#ifndef POGO_CUDA_ELEMENTS_H
#define POGO_CUDA_ELEMENTS_H

#include "../exact/quantize.h"

/** The byte of two neighbouring gradient elements: low nibble first. Dead groups and missing elements have code 0. */
POGO_HD uint8_t pogo_quantize4_pair(float x0, float x1, float multiplier, bool live0, bool live1, uint32_t column0,
                                    uint32_t column1, uint32_t row) {
  uint32_t low = live0 ? pogo_code_dithered(x0, multiplier, column0, row) & 15u : 0u;
  uint32_t high = live1 ? pogo_code_dithered(x1, multiplier, column1, row) & 15u : 0u;
  return (uint8_t)(low | (high << 4));
}

// Fields of 4 or 8 bits inside a word: the top bit of each field is kept out of the carry and added back by xor.
POGO_HD uint32_t pogo_field_tops(int bits) { return bits == 4 ? 0x88888888u : 0x80808080u; }

/** a - b in every field, modulo 2^bits. */
POGO_HD uint32_t pogo_field_sub(uint32_t a, uint32_t b, int bits) {
  uint32_t tops = pogo_field_tops(bits);
  return ((a | tops) - (b & ~tops)) ^ ((a ^ ~b) & tops);
}

/** a + b in every field, modulo 2^bits. */
POGO_HD uint32_t pogo_field_add(uint32_t a, uint32_t b, int bits) {
  uint32_t tops = pogo_field_tops(bits);
  return ((a & ~tops) + (b & ~tops)) ^ ((a ^ b) & tops);
}

#endif
