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

/** Bytes of a model that are gathered at a time: what is made of them stays in the L1 cache. */
static constexpr int64_t GATHER = 2048;

/** Bitmaps of the low and of the high nibbles of 512 bytes, to one of all nibbles in order. */
POGO_HD void interleave_bits(const uint64_t* lows, const uint64_t* highs, uint8_t* bitmap) {
  const __m512i four = _mm512_set1_epi8(15);
  // Four bits at the even places of a byte, and at the odd ones.
  const __m512i even =
      _mm512_broadcast_i32x4(_mm_setr_epi8(0, 1, 4, 5, 16, 17, 20, 21, 64, 65, 68, 69, 80, 81, 84, 85));
  const __m512i odd = _mm512_slli_epi16(even, 1);
  const __m512i l = _mm512_load_si512(lows), h = _mm512_load_si512(highs);
  const __m512i l4 = _mm512_srli_epi16(l, 4), h4 = _mm512_srli_epi16(h, 4);
  __m512i first = _mm512_or_si512(_mm512_shuffle_epi8(even, _mm512_and_si512(l, four)),
                                  _mm512_shuffle_epi8(odd, _mm512_and_si512(h, four)));
  __m512i second = _mm512_or_si512(_mm512_shuffle_epi8(even, _mm512_and_si512(l4, four)),
                                   _mm512_shuffle_epi8(odd, _mm512_and_si512(h4, four)));
  // A quarter of a, and the same of b, is 32 bytes of the bitmap.
  __m512i a = _mm512_unpacklo_epi8(first, second), b = _mm512_unpackhi_epi8(first, second);
  _mm512_storeu_si512(bitmap, _mm512_permutex2var_epi64(a, _mm512_setr_epi64(0, 1, 8, 9, 2, 3, 10, 11), b));
  _mm512_storeu_si512(bitmap + 64, _mm512_permutex2var_epi64(a, _mm512_setr_epi64(4, 5, 12, 13, 6, 7, 14, 15), b));
}

/** Nibbles that are not zero, one per byte, of the bytes from `from`, which begins a line, to `end`; to a whole line, zeros follow. */
POGO_VBMI2 static uint8_t* take_nibbles(const uint8_t* from, const uint8_t* end, uint8_t* out) {
  for (; from < end; from += 64) {
    for (int j = 0; j < 2; j++) {
      __m512i x = nibble_bytes(_mm256_load_si256((const __m256i*)(from + 32 * j)));
      const uint64_t live = _mm512_test_epi8_mask(x, x);
      _mm512_storeu_si512(out, _mm512_mask_compress_epi8(fresh_zero(), live, x));
      out += ones(live);
    }
  }
  return out;
}

/**
 * As the generic primitive, in passes over 2 KiB. Where a byte goes depends on all bits before it: in one pass the
 * addresses of stores would wait for memory, and loads behind them too. In the second pass they come from bitmaps, which
 * lie in the L1 cache: bytes that are zero are left out, so that nibbles are looked for only in the others, one round
 * later, since what was just stored in pieces is slow to load as a whole.
 *
 * Reading must not rest while values are gathered: of one model lines are asked for in the first pass, of the other and
 * of the result in the second. Measured on Zen 5, old and new in turn: 1.2 times as fast as with both in the first and
 * none of the result, models of 16 and of 64 MiB.
 */
POGO_VBMI2 static int64_t gather_nibbles_vbmi2(const uint8_t* older, const uint8_t* newer, int64_t n, uint8_t* bitmap,
                                               uint8_t* values, const uint8_t* result) {
  const __m512i low = _mm512_set1_epi8(15), high = _mm512_set1_epi8(-16);
  alignas(64) uint8_t differences[GATHER], bits[GATHER / 4], kept[DIFF_CHUNK + 64];
  alignas(64) uint64_t lows[GATHER / 64], highs[GATHER / 64];
  uint8_t *end = kept, *out = values;
  const uint8_t* taken = kept;
  for (int64_t start = 0; start < n; start += GATHER) {
    const int64_t length = n - start < GATHER ? n - start : GATHER;
    for (int64_t i = 0; i < length; i += 64) {
      const uint8_t *p = newer + start + i, *q = older + start + i;
      ask_ahead(p);
      __m512i a = _mm512_loadu_si512(p), b = _mm512_loadu_si512(q);
      // No borrow crosses into the high nibble: all ones minus nothing below it.
      __m512i top = _mm512_sub_epi8(_mm512_or_si512(a, low), _mm512_andnot_si512(low, b));
      __m512i d = merge_nibbles(_mm512_sub_epi8(a, b), top);
      _mm512_store_si512(differences + i, d);
      lows[i / 64] = _mm512_test_epi8_mask(d, low);
      highs[i / 64] = _mm512_test_epi8_mask(d, high);
    }
    const uint8_t* whole = kept + (end - kept) / 64 * 64;
    for (int64_t i = 0; i < length; i += 64) {
      const uint64_t live = lows[i / 64] | highs[i / 64];
      ask_ahead(older + start + i);
      ask(result + start + i);
      // To a register and stored whole: the form with a memory operand is slow on some machines.
      _mm512_storeu_si512(end, _mm512_mask_compress_epi8(fresh_zero(), live, _mm512_load_si512(differences + i)));
      end += ones(live);
    }
    out = take_nibbles(taken, whole, out);
    taken = whole;
    // Bits of 512 bytes at a time: the last ones may not be there.
    uint8_t* to = length == GATHER ? bitmap + start / 4 : bits;
    for (int64_t i = 0; i < length; i += 512) interleave_bits(lows + i / 64, highs + i / 64, to + i / 4);
    if (to == bits) memcpy(bitmap + start / 4, bits, (size_t)(length / 4));
  }
  _mm512_storeu_si512(end, _mm512_setzero_si512());
  return take_nibbles(taken, end, out) - values;
}

/**
 * As the generic primitive. PAST: of models beyond the caches, on Zen 5, in turn, 1.2 times as fast as stores to the
 * caches; by shuffles it was slower, a line being written in two parts with much between them.
 */
template <bool PAST>
POGO_VBMI2 static int64_t scatter_nibbles_vbmi2(const uint8_t* older, const uint8_t* bitmap, const uint8_t* values,
                                                int64_t n, uint8_t* newer) {
  const __m512i low = _mm512_set1_epi8(15), weights = _mm512_set1_epi16(0x1001);
  const __m512i order = _mm512_setr_epi64(0, 2, 4, 6, 1, 3, 5, 7);
  const uint8_t* at = values;
  for (int64_t i = 0; i < n; i += 64) {
    uint64_t bits[2];
    memcpy(bits, bitmap + i / 4, 16);
    __m512i half[2];
    for (int j = 0; j < 2; j++) {
      __m512i x = _mm512_mask_expand_epi8(fresh_zero(), bits[j], _mm512_loadu_si512(at));
      at += ones(bits[j]);
      // even + 16 odd per 16-bit lane
      half[j] = _mm512_maddubs_epi16(x, weights);
    }
    ask_ahead(older + i);
    __m512i a = _mm512_loadu_si512(older + i);
    __m512i d = _mm512_permutexvar_epi64(order, _mm512_packus_epi16(half[0], half[1]));
    __m512i sum = merge_nibbles(_mm512_add_epi8(a, d), _mm512_add_epi8(a, _mm512_andnot_si512(low, d)));
    if (PAST) {
      _mm512_stream_si512((__m512i*)(newer + i), sum);
    } else {
      _mm512_storeu_si512(newer + i, sum);
    }
  }
  return at - values;
}

#define POGO_OWN_NIBBLES
static int64_t gather_nibbles(const uint8_t* older, const uint8_t* newer, int64_t n, uint8_t* bitmap, uint8_t* values,
                              const uint8_t* result) {
  if (pogo_optional_features & POGO_HAS_AVX512VBMI2) {
    return gather_nibbles_vbmi2(older, newer, n, bitmap, values, result);
  }
  return gather_nibbles_avx2(older, newer, n, bitmap, values, result);
}
static int64_t scatter_nibbles(const uint8_t* older, const uint8_t* bitmap, const uint8_t* values, int64_t n,
                               uint8_t* newer, bool past) {
  if (!(pogo_optional_features & POGO_HAS_AVX512VBMI2)) {
    return scatter_nibbles_avx2(older, bitmap, values, n, newer);
  }
  return past ? scatter_nibbles_vbmi2<true>(older, bitmap, values, n, newer)
              : scatter_nibbles_vbmi2<false>(older, bitmap, values, n, newer);
}

#define POGO_OWN_SPLIT
/** See simd_generic.h. */
POGO_HD bool split_values(const uint8_t* packed, int64_t n, uint8_t* values) {
  __mmask64 zeros = 0;
  for (int64_t i = 0; i < n; i += 32) {
    __m512i x = nibble_bytes(_mm256_loadu_si256((const __m256i*)(packed + i)));
    zeros |= _mm512_testn_epi8_mask(x, x);
    _mm512_storeu_si512(values + 2 * i, x);
  }
  return zeros == 0;
}

#define POGO_OWN_COUNT
/** Ones of n bytes, n a multiple of 64: of four bits at a time by a table. */
POGO_HD int64_t count_ones(const uint8_t* p, int64_t n) {
  const __m512i four = _mm512_set1_epi8(15), zero = _mm512_setzero_si512();
  const __m512i table = _mm512_broadcast_i32x4(_mm_setr_epi8(0, 1, 1, 2, 1, 2, 2, 3, 1, 2, 2, 3, 2, 3, 3, 4));
  __m512i total = zero;
  for (int64_t i = 0; i < n; i += 64) {
    __m512i x = _mm512_loadu_si512(p + i);
    __m512i low = _mm512_shuffle_epi8(table, _mm512_and_si512(x, four));
    __m512i high = _mm512_shuffle_epi8(table, _mm512_and_si512(_mm512_srli_epi16(x, 4), four));
    total = _mm512_add_epi64(total, _mm512_sad_epu8(_mm512_add_epi8(low, high), zero));
  }
  return _mm512_reduce_add_epi64(total);
}

#endif
