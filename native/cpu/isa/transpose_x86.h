// Transposing and interleaving bytes with 128-bit registers, for every x86 instruction set.
#ifndef POGO_CPU_TRANSPOSE_X86_H
#define POGO_CPU_TRANSPOSE_X86_H

#include <immintrin.h>

#include "../../exact/arith.h"

/** 16 x 16 bytes by four rounds of interleaving. */
POGO_HD void transpose16(const int8_t* in, int64_t ldi_, int8_t* out, int64_t ldo) {
  __m128i a[16], b[16];
  for (int i = 0; i < 16; i++) a[i] = _mm_loadu_si128((const __m128i*)(in + i * ldi_));
  for (int i = 0; i < 8; i++) {
    b[2 * i] = _mm_unpacklo_epi8(a[i], a[i + 8]);
    b[2 * i + 1] = _mm_unpackhi_epi8(a[i], a[i + 8]);
  }
  for (int i = 0; i < 8; i++) {
    a[2 * i] = _mm_unpacklo_epi8(b[i], b[i + 8]);
    a[2 * i + 1] = _mm_unpackhi_epi8(b[i], b[i + 8]);
  }
  for (int i = 0; i < 8; i++) {
    b[2 * i] = _mm_unpacklo_epi8(a[i], a[i + 8]);
    b[2 * i + 1] = _mm_unpackhi_epi8(a[i], a[i + 8]);
  }
  for (int i = 0; i < 8; i++) {
    a[2 * i] = _mm_unpacklo_epi8(b[i], b[i + 8]);
    a[2 * i + 1] = _mm_unpackhi_epi8(b[i], b[i + 8]);
  }
  for (int i = 0; i < 16; i++) _mm_storeu_si128((__m128i*)(out + i * ldo), a[i]);
}

/** Four rows of 16 bytes to [16][4]. */
POGO_HD void interleave4(const int8_t* in, int64_t stride, int8_t* out) {
  __m128i a = _mm_loadu_si128((const __m128i*)in), b = _mm_loadu_si128((const __m128i*)(in + stride));
  __m128i c = _mm_loadu_si128((const __m128i*)(in + 2 * stride)),
          d = _mm_loadu_si128((const __m128i*)(in + 3 * stride));
  __m128i ab0 = _mm_unpacklo_epi8(a, b), ab1 = _mm_unpackhi_epi8(a, b);
  __m128i cd0 = _mm_unpacklo_epi8(c, d), cd1 = _mm_unpackhi_epi8(c, d);
  _mm_storeu_si128((__m128i*)out, _mm_unpacklo_epi16(ab0, cd0));
  _mm_storeu_si128((__m128i*)(out + 16), _mm_unpackhi_epi16(ab0, cd0));
  _mm_storeu_si128((__m128i*)(out + 32), _mm_unpacklo_epi16(ab1, cd1));
  _mm_storeu_si128((__m128i*)(out + 48), _mm_unpackhi_epi16(ab1, cd1));
}

static void transpose64(const int8_t* in, int64_t ldi_, int8_t* out, int64_t ldo) {
  for (int n = 0; n < 64; n += 16) {
    for (int t = 0; t < 64; t += 16) transpose16(in + t * ldi_ + n, ldi_, out + n * ldo + t, ldo);
  }
}

#endif
