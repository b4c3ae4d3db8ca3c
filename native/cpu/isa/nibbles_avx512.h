// Gathering and scattering of nibbles by VPCOMPRESSB and VPEXPANDB (VBMI2), which a machine with AVX-512 and VNNI may
// lack: they are compiled into functions of their own, and chosen at run time.
#ifndef POGO_CPU_NIBBLES_AVX512_H
#define POGO_CPU_NIBBLES_AVX512_H

#include "../kernel_table.h"
#include "nibbles_x86.h"

#if defined(__GNUC__)
#define POGO_VBMI2 __attribute__((target("avx512vbmi2")))
#else
#define POGO_VBMI2
#endif

/** low nibbles of `low`, high nibbles of `high` */
POGO_HD __m512i merge_nibbles(__m512i low, __m512i high) {
  return _mm512_ternarylogic_epi32(_mm512_set1_epi8(15), low, high, 0xCA);
}
/** Nibbles of 32 bytes in order, one per byte. */
POGO_HD __m512i nibble_bytes(__m256i x) {
  __m512i y = _mm512_cvtepu8_epi16(x);
  // (y | y << 4) & 0x0F0F
  return _mm512_ternarylogic_epi32(y, _mm512_slli_epi16(y, 4), _mm512_set1_epi8(15), 0xA8);
}

/**
 * Zeros that the compiler does not know to be zeros. VPCOMPRESSB and VPEXPANDB wait for their old destination even
 * where the mask zeroes it, which chains the iterations of a loop (Zen 5: 5 cycles each instead of 1); merged into a
 * register that was just cleared they do not.
 */
POGO_HD __m512i fresh_zero() {
  __m512i x = _mm512_setzero_si512();
#if defined(__GNUC__)
  __asm__("" : "+v"(x));
#endif
  return x;
}

/**
 * As the generic primitive, in two passes over 2 KiB. Where a value goes depends on all bits before it: in one pass the
 * addresses of stores would wait for memory, and loads behind them too (Zen 5, models beyond the caches: 18 GB/s
 * instead of 40). In the second pass they come from the bitmap, which lies in the L1 cache.
 */
POGO_VBMI2 static int64_t gather_nibbles_vbmi2(const uint8_t* older, const uint8_t* newer, int64_t n, uint8_t* bitmap,
                                               uint8_t* values) {
  const __m512i low = _mm512_set1_epi8(15);
  uint8_t* out = values;
  for (int64_t start = 0; start < n; start += 2048) {
    alignas(64) uint8_t differences[2048];
    const int64_t length = n - start < 2048 ? n - start : 2048;
    for (int64_t i = 0; i < length; i += 64) {
      const uint8_t *p = newer + start + i, *q = older + start + i;
      ask_ahead(p);
      ask_ahead(q);
      __m512i a = _mm512_loadu_si512(p), b = _mm512_loadu_si512(q);
      // No borrow crosses into the high nibble: all ones minus nothing below it.
      __m512i high = _mm512_sub_epi8(_mm512_or_si512(a, low), _mm512_andnot_si512(low, b));
      __m512i d = merge_nibbles(_mm512_sub_epi8(a, b), high);
      _mm512_store_si512(differences + i, d);
      __m512i x = nibble_bytes(_mm512_castsi512_si256(d)), y = nibble_bytes(_mm512_extracti64x4_epi64(d, 1));
      const uint64_t bits[2] = {_mm512_test_epi8_mask(x, x), _mm512_test_epi8_mask(y, y)};
      memcpy(bitmap + (start + i) / 4, bits, 16);
    }
    for (int64_t i = 0; i < length; i += 32) {
      uint64_t bits;
      memcpy(&bits, bitmap + (start + i) / 4, 8);
      __m512i x = nibble_bytes(_mm256_load_si256((const __m256i*)(differences + i)));
      // To a register and stored whole: the form with a memory operand is slow on some machines.
      _mm512_storeu_si512(out, _mm512_mask_compress_epi8(fresh_zero(), bits, x));
      out += ones(bits);
    }
  }
  return out - values;
}

POGO_VBMI2 static int64_t scatter_nibbles_vbmi2(const uint8_t* older, const uint8_t* bitmap, const uint8_t* values,
                                                int64_t n, uint8_t* newer) {
  const __m512i low = _mm512_set1_epi8(15), weights = _mm512_set1_epi16(0x1001);
  const uint8_t* at = values;
  for (int64_t i = 0; i < n; i += 64) {
    uint64_t bits[2];
    memcpy(bits, bitmap + i / 4, 16);
    __m256i half[2];
    for (int j = 0; j < 2; j++) {
      __m512i x = _mm512_mask_expand_epi8(fresh_zero(), bits[j], _mm512_loadu_si512(at));
      at += ones(bits[j]);
      // even + 16 odd per 16-bit lane
      half[j] = _mm512_cvtepi16_epi8(_mm512_maddubs_epi16(_mm512_and_si512(x, low), weights));
    }
    ask_ahead(older + i);
    __m512i a = _mm512_loadu_si512(older + i);
    __m512i d = _mm512_inserti64x4(_mm512_castsi256_si512(half[0]), half[1], 1);
    __m512i sum = merge_nibbles(_mm512_add_epi8(a, d), _mm512_add_epi8(a, _mm512_andnot_si512(low, d)));
    _mm512_storeu_si512(newer + i, sum);
  }
  return at - values;
}

#define POGO_OWN_NIBBLES
static int64_t gather_nibbles(const uint8_t* older, const uint8_t* newer, int64_t n, uint8_t* bitmap, uint8_t* values) {
  if (pogo_optional_features & POGO_HAS_AVX512VBMI2) return gather_nibbles_vbmi2(older, newer, n, bitmap, values);
  return gather_nibbles_avx2(older, newer, n, bitmap, values);
}
static int64_t scatter_nibbles(const uint8_t* older, const uint8_t* bitmap, const uint8_t* values, int64_t n,
                               uint8_t* newer) {
  if (pogo_optional_features & POGO_HAS_AVX512VBMI2) return scatter_nibbles_vbmi2(older, bitmap, values, n, newer);
  return scatter_nibbles_avx2(older, bitmap, values, n, newer);
}

#endif
