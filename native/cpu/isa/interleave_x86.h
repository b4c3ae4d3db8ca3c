// What every x86 instruction set shares: bytes of four rows interleaved in 128-bit registers, a word of four bytes.
#ifndef POGO_CPU_INTERLEAVE_X86_H
#define POGO_CPU_INTERLEAVE_X86_H

#include <immintrin.h>

#include "../../exact/arith.h"

/** Four bytes of a row, to be broadcast: they may lie at any address. */
POGO_HD int32_t load_word(const void* p) {
  int32_t word;
  memcpy(&word, p, 4);
  return word;
}

/** Four rows of 16 bytes as [16][4], four columns a register. */
struct Interleaved {
  __m128i v[4];
};
POGO_HD Interleaved interleave_rows(const int8_t* in, int64_t stride) {
  __m128i a = _mm_loadu_si128((const __m128i*)in), b = _mm_loadu_si128((const __m128i*)(in + stride));
  __m128i c = _mm_loadu_si128((const __m128i*)(in + 2 * stride)),
          d = _mm_loadu_si128((const __m128i*)(in + 3 * stride));
  __m128i ab0 = _mm_unpacklo_epi8(a, b), ab1 = _mm_unpackhi_epi8(a, b);
  __m128i cd0 = _mm_unpacklo_epi8(c, d), cd1 = _mm_unpackhi_epi8(c, d);
  return {{_mm_unpacklo_epi16(ab0, cd0), _mm_unpackhi_epi16(ab0, cd0), _mm_unpacklo_epi16(ab1, cd1),
           _mm_unpackhi_epi16(ab1, cd1)}};
}

/** The same to memory. */
POGO_HD void interleave4(const int8_t* in, int64_t stride, int8_t* out) {
  const Interleaved x = interleave_rows(in, stride);
  for (int i = 0; i < 4; i++) _mm_storeu_si128((__m128i*)(out + 16 * i), x.v[i]);
}

#endif
