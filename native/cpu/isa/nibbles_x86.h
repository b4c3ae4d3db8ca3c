// Gathering and scattering of nibbles by AVX2: eight bytes at a time by a shuffle that a byte of the bitmap chooses.
// Shared by the x86 sets; those with VPCOMPRESSB use it only on machines that lack that.
#ifndef POGO_CPU_NIBBLES_X86_H
#define POGO_CPU_NIBBLES_X86_H

#include <immintrin.h>

#include "bits.h"

/** Asks for a line; never faults, so it may lie beyond an array. */
POGO_HD void ask(const uint8_t* p) { _mm_prefetch((const char*)p, _MM_HINT_T0); }
/** Asks for the page behind, which the caller reads soon. */
POGO_HD void ask_ahead(const uint8_t* p) { ask((const uint8_t*)((uintptr_t)p + 4096)); }

/** For each byte of bits: where its ones are, packed to the left; and the inverse, each one's rank, others 128. */
struct NibbleShuffles {
  uint64_t left[256], rank[256];
};
static constexpr NibbleShuffles make_nibble_shuffles() {
  NibbleShuffles t = {};
  for (int bits = 0; bits < 256; bits++) {
    uint64_t left = 0, rank = 0;
    int count = 0;
    for (int i = 0; i < 8; i++) {
      if (bits >> i & 1) {
        left |= (uint64_t)i << (8 * count);
        rank |= (uint64_t)count << (8 * i);
        count++;
      } else {
        rank |= (uint64_t)128 << (8 * i);
      }
    }
    t.left[bits] = left;
    t.rank[bits] = rank;
  }
  return t;
}
alignas(64) static constexpr NibbleShuffles kNibbleShuffles = make_nibble_shuffles();

/** Bytes of x that `bits` choose, to `out` without gaps: 32 bytes, in four steps of eight. Returns their number. */
POGO_HD int64_t pack_left(__m256i x, uint32_t bits, uint8_t* out) {
  alignas(32) uint8_t bytes[32];
  _mm256_store_si256((__m256i*)bytes, x);
  int64_t count = 0;
  for (int i = 0; i < 4; i++) {
    const uint32_t eight = bits >> (8 * i) & 255;
    __m128i order = _mm_loadl_epi64((const __m128i*)&kNibbleShuffles.left[eight]);
    __m128i part = _mm_loadl_epi64((const __m128i*)(bytes + 8 * i));
    _mm_storel_epi64((__m128i*)(out + count), _mm_shuffle_epi8(part, order));
    count += ones(eight);
  }
  return count;
}

POGO_HD __m256i select_low_nibbles(__m256i low, __m256i high) {
  const __m256i mask = _mm256_set1_epi8(15);
  return _mm256_or_si256(_mm256_and_si256(mask, low), _mm256_andnot_si256(mask, high));
}
/** newer - older and older + difference of packed nibbles. */
POGO_HD __m256i nibbles_sub(__m256i a, __m256i b) {
  const __m256i mask = _mm256_set1_epi8(15);
  // No borrow crosses into the high nibble: all ones minus nothing below it.
  __m256i high = _mm256_sub_epi8(_mm256_or_si256(a, mask), _mm256_andnot_si256(mask, b));
  return select_low_nibbles(_mm256_sub_epi8(a, b), high);
}
POGO_HD __m256i nibbles_add(__m256i a, __m256i b) {
  const __m256i mask = _mm256_set1_epi8(15);
  return select_low_nibbles(_mm256_add_epi8(a, b), _mm256_add_epi8(a, _mm256_andnot_si256(mask, b)));
}

/** Nibbles of 32 bytes in order, one per byte. */
POGO_HD void split_nibbles(__m256i x, __m256i* first, __m256i* second) {
  const __m256i mask = _mm256_set1_epi8(15);
  x = _mm256_permute4x64_epi64(x, 0xD8);
  __m256i low = _mm256_and_si256(x, mask), high = _mm256_and_si256(_mm256_srli_epi16(x, 4), mask);
  *first = _mm256_unpacklo_epi8(low, high);
  *second = _mm256_unpackhi_epi8(low, high);
}
POGO_HD uint32_t non_zero_bytes(__m256i x) {
  return ~(uint32_t)_mm256_movemask_epi8(_mm256_cmpeq_epi8(x, _mm256_setzero_si256()));
}

/**
 * As the generic primitive. Bytes that are zero go first, 32 at a time: few differences leave little to do for the
 * nibbles of the others.
 */
static int64_t gather_nibbles_avx2(const uint8_t* older, const uint8_t* newer, int64_t n, uint8_t* bitmap,
                                   uint8_t* values, const uint8_t* result) {
  int64_t count = 0;
  for (int64_t start = 0; start < n; start += 2048) {
    alignas(32) uint8_t bytes[2048 + 64];
    const int64_t end = n - start < 2048 ? n : start + 2048;
    int64_t kept = 0;
    for (int64_t i = start; i < end; i += 32) {
      // A line of each for 64 bytes of both.
      ask_ahead((i % 64 == 0 ? newer : older) + i);
      if (i % 64 == 0) ask(result + i);
      __m256i d =
          nibbles_sub(_mm256_loadu_si256((const __m256i*)(newer + i)), _mm256_loadu_si256((const __m256i*)(older + i)));
      __m256i a, b;
      split_nibbles(d, &a, &b);
      const uint64_t bits = non_zero_bytes(a) | (uint64_t)non_zero_bytes(b) << 32;
      memcpy(bitmap + i / 4, &bits, 8);
      kept += pack_left(d, non_zero_bytes(d), bytes + kept);
    }
    memset(bytes + kept, 0, 32);
    for (int64_t i = 0; i < kept; i += 32) {
      __m256i a, b;
      split_nibbles(_mm256_loadu_si256((const __m256i*)(bytes + i)), &a, &b);
      count += pack_left(a, non_zero_bytes(a), values + count);
      count += pack_left(b, non_zero_bytes(b), values + count);
    }
  }
  return count;
}

/** Eight nibbles, one per byte, at the places of `bits`. */
POGO_HD __m128i place_left(const uint8_t* values, uint32_t bits) {
  __m128i order = _mm_loadl_epi64((const __m128i*)&kNibbleShuffles.rank[bits]);
  return _mm_shuffle_epi8(_mm_loadl_epi64((const __m128i*)values), order);
}

static int64_t scatter_nibbles_avx2(const uint8_t* older, const uint8_t* bitmap, const uint8_t* values, int64_t n,
                                    uint8_t* newer) {
  const uint8_t* at = values;
  for (int64_t i = 0; i < n; i += 32) {
    uint64_t bits;
    ask_ahead(older + i);
    memcpy(&bits, bitmap + i / 4, 8);
    __m128i sixteen[4];
    for (int j = 0; j < 4; j++) {
      const uint32_t a = bits >> (16 * j) & 255, b = bits >> (16 * j + 8) & 255;
      __m128i left = place_left(at, a);
      at += ones(a);
      sixteen[j] = _mm_unpacklo_epi64(left, place_left(at, b));
      at += ones(b);
    }
    const __m256i weights = _mm256_set1_epi16(0x1001);
    __m256i x = _mm256_set_m128i(sixteen[1], sixteen[0]), y = _mm256_set_m128i(sixteen[3], sixteen[2]);
    // even + 16 odd per 16-bit lane
    __m256i d = _mm256_packus_epi16(_mm256_maddubs_epi16(x, weights), _mm256_maddubs_epi16(y, weights));
    d = _mm256_permute4x64_epi64(d, 0xD8);
    d = nibbles_add(_mm256_loadu_si256((const __m256i*)(older + i)), d);
    _mm256_storeu_si256((__m256i*)(newer + i), d);
  }
  return at - values;
}

#endif
