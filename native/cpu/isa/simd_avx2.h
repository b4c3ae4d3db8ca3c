// Eight lanes of AVX2: the primitives of native/exact on vectors, memory operations, and the GEMM tile by VPMADDWD.
//
// FMA is never used: it would round once where the definition rounds twice. Everything is static: a copy compiled here
// must not become the one the linker keeps for other instruction sets.
#ifndef POGO_CPU_SIMD_AVX2_H
#define POGO_CPU_SIMD_AVX2_H

#include <immintrin.h>

#include "../../exact/adamw.h"
#include "../../exact/attention.h"
#include "../../exact/norm.h"
#include "../../exact/quantize.h"
#include "../../exact/rope.h"
#include "../../exact/sums.h"
#include "attention_reach.h"
#include "nibbles_x86.h"
#include "interleave_x86.h"

struct PogoF8 {
  __m256 v;
};
struct PogoI8 {
  __m256i v;
};
typedef PogoF8 F;
typedef PogoI8 I;
static constexpr int W = 8;

POGO_HD F pogo_add(F a, F b) { return {_mm256_add_ps(a.v, b.v)}; }
POGO_HD F pogo_sub(F a, F b) { return {_mm256_sub_ps(a.v, b.v)}; }
POGO_HD F pogo_mul(F a, F b) { return {_mm256_mul_ps(a.v, b.v)}; }
POGO_HD F pogo_div(F a, F b) { return {_mm256_div_ps(a.v, b.v)}; }
POGO_HD F pogo_sqrt(F a) { return {_mm256_sqrt_ps(a.v)}; }
POGO_HD I pogo_bits(F a) { return {_mm256_castps_si256(a.v)}; }
POGO_HD F pogo_of_bits(I a) { return {_mm256_castsi256_ps(a.v)}; }
POGO_HD F pogo_to_float(I a) { return {_mm256_cvtepi32_ps(a.v)}; }
POGO_HD F pogo_fill(F, float c) { return {_mm256_set1_ps(c)}; }
POGO_HD I pogo_ifill(I, uint32_t c) { return {_mm256_set1_epi32((int)c)}; }

// Masks are integer vectors of all ones or all zeros.
POGO_HD I pogo_lt(F a, F b) { return {_mm256_castps_si256(_mm256_cmp_ps(a.v, b.v, _CMP_LT_OQ))}; }
POGO_HD I pogo_gt(F a, F b) { return {_mm256_castps_si256(_mm256_cmp_ps(a.v, b.v, _CMP_GT_OQ))}; }
POGO_HD F pogo_sel(I m, F a, F b) { return {_mm256_blendv_ps(b.v, a.v, _mm256_castsi256_ps(m.v))}; }
// By an AND: of a selection with zero compilers make a comparison of the mask more.
POGO_HD F pogo_zero(I m, F a) { return {_mm256_andnot_ps(_mm256_castsi256_ps(m.v), a.v)}; }
POGO_HD I pogo_isel(I m, I a, I b) { return {_mm256_blendv_epi8(b.v, a.v, m.v)}; }
// MAXPS is a > b ? a : b, with the second operand for NaN and for zeros of both signs: exactly pogo_max.
POGO_HD F pogo_max(F a, F b) { return {_mm256_max_ps(a.v, b.v)}; }
// MINPS is b < a ? b : a with its operands in this order.
POGO_HD F pogo_min(F a, F b) { return {_mm256_min_ps(b.v, a.v)}; }

POGO_HD I pogo_iadd(I a, I b) { return {_mm256_add_epi32(a.v, b.v)}; }
POGO_HD I pogo_isub(I a, I b) { return {_mm256_sub_epi32(a.v, b.v)}; }
POGO_HD I pogo_imul(I a, I b) { return {_mm256_mullo_epi32(a.v, b.v)}; }
POGO_HD I pogo_iand(I a, I b) { return {_mm256_and_si256(a.v, b.v)}; }
POGO_HD I pogo_ior(I a, I b) { return {_mm256_or_si256(a.v, b.v)}; }
POGO_HD I pogo_ixor(I a, I b) { return {_mm256_xor_si256(a.v, b.v)}; }
template <int n>
POGO_HD I pogo_shl(I a) {
  return {_mm256_slli_epi32(a.v, n)};
}
template <int n>
POGO_HD I pogo_shr(I a) {
  return {_mm256_srli_epi32(a.v, n)};
}
template <int n>
POGO_HD I pogo_sar(I a) {
  return {_mm256_srai_epi32(a.v, n)};
}
POGO_HD I pogo_igt(I a, I b) { return {_mm256_cmpgt_epi32(a.v, b.v)}; }
POGO_HD I pogo_imax(I a, I b) { return {_mm256_max_epu32(a.v, b.v)}; }

/** Asks for the cache line at an address; never faults, so it may lie beyond an array. */
POGO_HD void prefetch(uintptr_t p) { _mm_prefetch((const char*)p, _MM_HINT_T0); }
#define POGO_OWN_PREFETCH_ONCE
/** The same for a line that is not needed again once it left the L1 cache: it takes no other's place in the outer ones. */
POGO_HD void prefetch_once(uintptr_t p) { _mm_prefetch((const char*)p, _MM_HINT_NTA); }

POGO_HD F ld(const float* p) { return {_mm256_loadu_ps(p)}; }
POGO_HD void st(float* p, F a) { _mm256_storeu_ps(p, a.v); }
#define POGO_OWN_STPAST
/** A store past the caches, to an address that is a multiple of 16, as those of shared arrays are (not of 32). */
POGO_HD void stpast(float* p, F a) {
  _mm_stream_ps(p, _mm256_castps256_ps128(a.v));
  _mm_stream_ps(p + 4, _mm256_extractf128_ps(a.v, 1));
}
/** The same to an address that is a multiple of 32. */
POGO_HD void stpast_whole(float* p, F a) { _mm256_stream_ps(p, a.v); }
/** Once after the last: what other threads see then is complete. */
POGO_HD void stpast_end() { _mm_sfence(); }
POGO_HD I ldi(const uint32_t* p) { return {_mm256_loadu_si256((const __m256i*)p)}; }
POGO_HD void sti(uint32_t* p, I a) { _mm256_storeu_si256((__m256i*)p, a.v); }
POGO_HD F ldbf(const uint16_t* p) {
  __m256i x = _mm256_cvtepu16_epi32(_mm_loadu_si128((const __m128i*)p));
  return {_mm256_castsi256_ps(_mm256_slli_epi32(x, 16))};
}
POGO_HD void stbf(uint16_t* p, F a) {
  __m256i x = pogo_bf16(a).v;
  x = _mm256_permute4x64_epi64(_mm256_packus_epi32(x, x), 0x08);
  _mm_storeu_si128((__m128i*)p, _mm256_castsi256_si128(x));
}
POGO_HD F ldcode(const int8_t* p) {
  return {_mm256_cvtepi32_ps(_mm256_cvtepi8_epi32(_mm_loadl_epi64((const __m128i*)p)))};
}
/** Low halves of 4W integers. */
POGO_HD void sthalves(int16_t* p, const I* c) {
  const __m256i low = _mm256_set1_epi32(0xFFFF);
  __m256i a = _mm256_packus_epi32(_mm256_and_si256(c[0].v, low), _mm256_and_si256(c[1].v, low));
  __m256i b = _mm256_packus_epi32(_mm256_and_si256(c[2].v, low), _mm256_and_si256(c[3].v, low));
  _mm256_storeu_si256((__m256i*)p, _mm256_permute4x64_epi64(a, 0xD8));
  _mm256_storeu_si256((__m256i*)(p + 16), _mm256_permute4x64_epi64(b, 0xD8));
}
/** Low bytes of 4W integers (masked first: the packs saturate, and the code of a NaN is its low byte everywhere). */
POGO_HD __m256i low_bytes(const I* c) {
  const __m256i low = _mm256_set1_epi32(255);
  __m256i a = _mm256_packus_epi32(_mm256_and_si256(c[0].v, low), _mm256_and_si256(c[1].v, low));
  __m256i b = _mm256_packus_epi32(_mm256_and_si256(c[2].v, low), _mm256_and_si256(c[3].v, low));
  __m256i x = _mm256_packus_epi16(a, b);
  return _mm256_permutevar8x32_epi32(x, _mm256_setr_epi32(0, 4, 1, 5, 2, 6, 3, 7));
}
POGO_HD void stcodes(int8_t* p, const I* c) { _mm256_storeu_si256((__m256i*)p, low_bytes(c)); }
/** Words of the low bytes of four vectors. */
POGO_HD I word_of_bytes(I c0, I c1, I c2, I c3) {
  const __m256i byte = _mm256_set1_epi32(255);
  __m256i low = _mm256_or_si256(_mm256_and_si256(c0.v, byte), _mm256_slli_epi32(c1.v, 8));
  __m256i high = _mm256_or_si256(_mm256_and_si256(c2.v, byte), _mm256_slli_epi32(c3.v, 8));
  return {_mm256_blend_epi16(low, _mm256_slli_epi32(high, 16), 0xAA)};
}
/** Low bytes of W integers. */
POGO_HD void stcode(int8_t* p, I c) {
  const __m256i x = _mm256_and_si256(c.v, _mm256_set1_epi32(255));
  __m128i y = _mm_packus_epi32(_mm256_castsi256_si128(x), _mm256_extracti128_si256(x, 1));
  _mm_storel_epi64((__m128i*)p, _mm_packus_epi16(y, y));
}
POGO_HD I lanes(uint32_t first) {
  return {_mm256_add_epi32(_mm256_set1_epi32((int)first), _mm256_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7))};
}
POGO_HD uint32_t hmax(I a) {
  __m128i x = _mm_max_epu32(_mm256_castsi256_si128(a.v), _mm256_extracti128_si256(a.v, 1));
  x = _mm_max_epu32(x, _mm_shuffle_epi32(x, 0x4E));
  x = _mm_max_epu32(x, _mm_shuffle_epi32(x, 0xB1));
  return (uint32_t)_mm_cvtsi128_si32(x);
}
POGO_HD float hmaxf(F a) {
  __m128 x = _mm_max_ps(_mm256_castps256_ps128(a.v), _mm256_extractf128_ps(a.v, 1));
  x = _mm_max_ps(x, _mm_movehl_ps(x, x));
  x = _mm_max_ss(x, _mm_shuffle_ps(x, x, 1));
  return _mm_cvtss_f32(x);
}

#define POGO_OWN_HMAXES
/** Lane j: the largest lane of v[j], for 8 vectors. A tree of maxima that halves the vectors at every level. */
POGO_HD I hmaxes(const I* v) {
  __m256i a[4], b[2];
  for (int i = 0; i < 4; i++) {
    __m256i x = v[2 * i].v, y = v[2 * i + 1].v;
    a[i] = _mm256_max_epu32(_mm256_unpacklo_epi32(x, y), _mm256_unpackhi_epi32(x, y));
  }
  // A half of a[i]: words of v[2i], v[2i+1], v[2i], v[2i+1].
  for (int i = 0; i < 2; i++) {
    b[i] =
        _mm256_max_epu32(_mm256_unpacklo_epi64(a[2 * i], a[2 * i + 1]), _mm256_unpackhi_epi64(a[2 * i], a[2 * i + 1]));
  }
  // A half of b[i]: words of v[4i] to v[4i+3]; two halves still to be joined.
  return {_mm256_max_epu32(_mm256_permute2x128_si256(b[0], b[1], 0x20), _mm256_permute2x128_si256(b[0], b[1], 0x31))};
}

#define POGO_OWN_STNIBBLES
/** See simd_generic.h. The conversion rounds as an operation does, to nearest even, and leaves nothing to mask before packs saturate. */
POGO_HD I nibble_word(F y) { return {_mm256_cvtps_epi32(y.v)}; }
template <bool PAST = false>
POGO_HD void stnibbles(uint8_t* out, const I* c) {
  const __m256i nibble = _mm256_set1_epi8(15), weights = _mm256_set1_epi16(0x1001);
  __m256i x[2];
  for (int h = 0; h < 2; h++) {
    const I* p = c + 4 * h;
    __m256i bytes = _mm256_packs_epi16(_mm256_packs_epi32(p[0].v, p[1].v), _mm256_packs_epi32(p[2].v, p[3].v));
    // even + 16 odd per 16-bit lane
    x[h] = _mm256_maddubs_epi16(_mm256_and_si256(bytes, nibble), weights);
  }
  // In each half words [vector], a half of a vector's four bytes: first the halves of the same four vectors to one half.
  __m256i y = _mm256_permute4x64_epi64(_mm256_packus_epi16(x[0], x[1]), 0xD8);
  y = _mm256_shuffle_epi8(y, _mm256_setr_epi8(0, 1, 8, 9, 2, 3, 10, 11, 4, 5, 12, 13, 6, 7, 14, 15,  //
                                              0, 1, 8, 9, 2, 3, 10, 11, 4, 5, 12, 13, 6, 7, 14, 15));
  if constexpr (PAST) _mm256_stream_si256((__m256i*)out, y);
  else _mm256_storeu_si256((__m256i*)out, y);
}

/** T64. Pair sums of two vectors come out in the order 0 1 4 5 2 3 6 7; the tree's last three levels undo it. */
POGO_HD __m256 pair_sums(__m256 a, __m256 b) {
  return _mm256_add_ps(_mm256_shuffle_ps(a, b, 0x88), _mm256_shuffle_ps(a, b, 0xDD));
}
#define POGO_OWN_TREE
struct Tree64 {
  __m256 first, pairs[4];
};
POGO_HD void tree_take(Tree64& t, int j, F v) {
  if (j % 2 == 0) t.first = v.v;
  else t.pairs[j / 2] = pair_sums(t.first, v.v);
}
POGO_HD float tree_sum(const Tree64& t) {
  __m256 z = _mm256_add_ps(_mm256_add_ps(t.pairs[0], t.pairs[2]), _mm256_add_ps(t.pairs[1], t.pairs[3]));
  // Lane halves now hold (0 1 4 5) and (2 3 6 7): 4 apart is inside a half, 2 apart across the halves.
  __m128 low = _mm256_castps256_ps128(z), high = _mm256_extractf128_ps(z, 1);
  __m128 a = _mm_add_ps(low, _mm_movehl_ps(low, low));
  __m128 b = _mm_add_ps(high, _mm_movehl_ps(high, high));
  __m128 c = _mm_add_ps(a, b);
  return _mm_cvtss_f32(_mm_add_ss(c, _mm_shuffle_ps(c, c, 1)));
}
POGO_HD float t64(const float* x) {
  Tree64 t;
  for (int j = 0; j < 8; j++) tree_take(t, j, ld(x + 8 * j));
  return tree_sum(t);
}

#define POGO_OWN_T64S
/** Lane r: T64 of row r of 8 rows of 64, `ld` apart. From the third level on two vectors are halved into one. */
POGO_HD F t64s(const float* x, int64_t ld) {
  __m256 z[8];
  for (int i = 0; i < 8; i++) {
    const float* p = x + i * ld;
    __m256 y0 = pair_sums(_mm256_loadu_ps(p), _mm256_loadu_ps(p + 8));
    __m256 y1 = pair_sums(_mm256_loadu_ps(p + 16), _mm256_loadu_ps(p + 24));
    __m256 y2 = pair_sums(_mm256_loadu_ps(p + 32), _mm256_loadu_ps(p + 40));
    __m256 y3 = pair_sums(_mm256_loadu_ps(p + 48), _mm256_loadu_ps(p + 56));
    z[i] = _mm256_add_ps(_mm256_add_ps(y0, y2), _mm256_add_ps(y1, y3));
  }
  // 4 apart inside a half: sums 0, 1 | 2, 3 of rows 2i, 2i+1.
  for (int i = 0; i < 4; i++) {
    __m256 a = z[2 * i], b = z[2 * i + 1];
    z[i] = _mm256_add_ps(_mm256_shuffle_ps(a, b, 0x44), _mm256_shuffle_ps(a, b, 0xEE));
  }
  // 2 apart over the halves: rows 0, 1 | 4, 5 and 2, 3 | 6, 7, so that the last level has rows in order.
  __m256 a = _mm256_add_ps(_mm256_permute2f128_ps(z[0], z[2], 0x20), _mm256_permute2f128_ps(z[0], z[2], 0x31));
  __m256 b = _mm256_add_ps(_mm256_permute2f128_ps(z[1], z[3], 0x20), _mm256_permute2f128_ps(z[1], z[3], 0x31));
  return {pair_sums(a, b)};
}

POGO_HD void widen(const int8_t* in, int16_t* out, int64_t n) {
  int64_t i = 0;
  for (; i + 16 <= n; i += 16) {
    __m128i x = _mm_loadu_si128((const __m128i*)(in + i));
    _mm256_storeu_si256((__m256i*)(out + i), _mm256_cvtepi8_epi16(x));
  }
  for (; i < n; i++) out[i] = in[i];
}

POGO_HD void pack_nibbles(const int8_t* c, uint8_t* out) {
  const __m256i low = _mm256_set1_epi8(15), weights = _mm256_set1_epi16(0x1001);
  __m256i a = _mm256_and_si256(_mm256_loadu_si256((const __m256i*)c), low);
  __m256i b = _mm256_and_si256(_mm256_loadu_si256((const __m256i*)(c + 32)), low);
  // even + 16 odd per 16-bit lane
  __m256i x = _mm256_packus_epi16(_mm256_maddubs_epi16(a, weights), _mm256_maddubs_epi16(b, weights));
  _mm256_storeu_si256((__m256i*)out, _mm256_permute4x64_epi64(x, 0xD8));
}
POGO_HD void unpack_nibbles(const uint8_t* in, int8_t* c) {
  const __m256i low = _mm256_set1_epi8(15);
  // The code of every nibble.
  const __m256i codes = _mm256_setr_epi8(0, 1, 2, 3, 4, 5, 6, 7, -8, -7, -6, -5, -4, -3, -2, -1,  //
                                         0, 1, 2, 3, 4, 5, 6, 7, -8, -7, -6, -5, -4, -3, -2, -1);
  __m256i x = _mm256_permute4x64_epi64(_mm256_loadu_si256((const __m256i*)in), 0xD8);
  __m256i even = _mm256_shuffle_epi8(codes, _mm256_and_si256(x, low));
  __m256i odd = _mm256_shuffle_epi8(codes, _mm256_and_si256(_mm256_srli_epi16(x, 4), low));
  _mm256_storeu_si256((__m256i*)c, _mm256_unpacklo_epi8(even, odd));
  _mm256_storeu_si256((__m256i*)(c + 32), _mm256_unpackhi_epi8(even, odd));
}
#define POGO_OWN_SETTLED
/** See simd_generic.h. GCC would otherwise take every eight codes out of a register by three moves between registers. */
POGO_HD void settled(int8_t* c) {
#if defined(__GNUC__)
  __asm__("" : "+m"(*(int8_t(*)[64])c));
#endif
}

#define POGO_OWN_NIBBLES
POGO_HD int64_t gather_nibbles(const uint8_t* older, const uint8_t* newer, int64_t n, uint8_t* bitmap, uint8_t* values,
                               const uint8_t* result) {
  return gather_nibbles_avx2(older, newer, n, bitmap, values, result);
}
POGO_HD int64_t scatter_nibbles(const uint8_t* older, const uint8_t* bitmap, const uint8_t* values, int64_t n,
                                uint8_t* newer, bool /* past */) {
  return scatter_nibbles_avx2(older, bitmap, values, n, newer);
}

#define POGO_OWN_SPLIT
/** See simd_generic.h. */
POGO_HD bool split_values(const uint8_t* packed, int64_t n, uint8_t* values) {
  const __m256i zero = _mm256_setzero_si256();
  __m256i zeros = zero;
  for (int64_t i = 0; i < n; i += 32) {
    __m256i x, y;
    split_nibbles(_mm256_loadu_si256((const __m256i*)(packed + i)), &x, &y);
    zeros = _mm256_or_si256(zeros, _mm256_cmpeq_epi8(_mm256_min_epu8(x, y), zero));
    _mm256_storeu_si256((__m256i*)(values + 2 * i), x);
    _mm256_storeu_si256((__m256i*)(values + 2 * i + 32), y);
  }
  return _mm256_testz_si256(zeros, zeros);
}

/** Eight rows of eight 32-bit values, transposed. */
POGO_HD void transpose8(__m256i* r) {
  __m256i t[8], u[8];
  for (int i = 0; i < 4; i++) {
    t[2 * i] = _mm256_unpacklo_epi32(r[2 * i], r[2 * i + 1]);
    t[2 * i + 1] = _mm256_unpackhi_epi32(r[2 * i], r[2 * i + 1]);
  }
  for (int i = 0; i < 2; i++) {
    u[4 * i] = _mm256_unpacklo_epi64(t[4 * i], t[4 * i + 2]);
    u[4 * i + 1] = _mm256_unpackhi_epi64(t[4 * i], t[4 * i + 2]);
    u[4 * i + 2] = _mm256_unpacklo_epi64(t[4 * i + 1], t[4 * i + 3]);
    u[4 * i + 3] = _mm256_unpackhi_epi64(t[4 * i + 1], t[4 * i + 3]);
  }
  for (int i = 0; i < 4; i++) {
    r[i] = _mm256_permute2x128_si256(u[i], u[i + 4], 0x20);
    r[i + 4] = _mm256_permute2x128_si256(u[i], u[i + 4], 0x31);
  }
}

/** W vectors of W words, transposed. */
POGO_HD void transpose_lanes(I* r) {
  __m256i x[8];
  for (int i = 0; i < 8; i++) x[i] = r[i].v;
  transpose8(x);
  for (int i = 0; i < 8; i++) r[i].v = x[i];
}
#define POGO_BYTE_WORDS 1

#if defined(POGO_AVXVNNI)

#include "bytes256.h"

#else

/** 16 rows of b (row stride ldb, `rows` of them real, K columns) to pairs [ceil(K/2)][16][2]. */
static void pack_b16(const int8_t* b, int64_t ldb, int rows, int64_t K, int16_t* out) {
  int64_t k = 0;
  for (; rows == 16 && k + 16 <= K; k += 16) {
    for (int half = 0; half < 2; half++) {
      __m256i r[8];
      for (int i = 0; i < 8; i++) {
        r[i] = _mm256_cvtepi8_epi16(_mm_loadu_si128((const __m128i*)(b + (half * 8 + i) * ldb + k)));
      }
      transpose8(r);
      for (int i = 0; i < 8; i++) _mm256_storeu_si256((__m256i*)(out + (k / 2 + i) * 32 + half * 16), r[i]);
    }
  }
  for (int64_t kp = k / 2; kp < (K + 1) / 2; kp++) {
    for (int n = 0; n < 16; n++) {
      for (int e = 0; e < 2; e++) {
        int64_t at = 2 * kp + e;
        out[(kp * 16 + n) * 2 + e] = n < rows && at < K ? b[n * ldb + at] : 0;
      }
    }
  }
}

// The GEMM's operands: i16 pairs, 16 columns, the same layout of b.
typedef int16_t GemmCode;
static constexpr int GEMM_CODES = 2, GEMM_ROWS = 6, GEMM_COLUMNS = 16, GEMM_HEAD = 0;
POGO_HD void gemm_row(const int8_t* in, int16_t* out, int64_t n) { widen(in, out, n); }
POGO_HD void pack_gemm(const int8_t* b, int64_t ldb, int rows, int64_t K, int16_t* out) {
  pack_b16(b, ldb, rows, K, out);
}

// 6 x 16 accumulators fill 12 of the 16 registers; two hold b, one the broadcast of a, one the product.
static constexpr int TILE_ROWS = GEMM_ROWS;

// One row of the tile in named accumulators: in an array the compiler leaves them in memory, and from intrinsics it
// gathers products before their sums and spills (both measured at half the speed). The second product takes the place
// of the broadcast, so that nothing spills (10 % on Zen 5).
#define POGO_TILE_ROW(r)                                    \
  if constexpr (R > r) {                                    \
    __m256i x = _mm256_set1_epi32(load_word(pa + r * ars)); \
    dot_pairs(c##r##0, c##r##1, x, b0, b1);                 \
  }

/** c0 += x . b0, c1 += x . b1, sums in place: 12 sums, two of b, x and one product fill the 16 registers. */
POGO_HD void dot_pairs(__m256i& c0, __m256i& c1, __m256i x, __m256i b0, __m256i b1) {
#if defined(__GNUC__)
  __m256i p;
  __asm__("vpmaddwd %4, %3, %2\n\tvpmaddwd %5, %3, %3\n\tvpaddd %2, %0, %0\n\tvpaddd %3, %1, %1"
          : "+x"(c0), "+x"(c1), "=&x"(p), "+x"(x)
          : "x"(b0), "x"(b1));
#else
  c0 = _mm256_add_epi32(c0, _mm256_madd_epi16(x, b0));
  c1 = _mm256_add_epi32(c1, _mm256_madd_epi16(x, b1));
#endif
}

/** Sums of R rows x 16 columns over k pairs; `store(r, left, right)` takes each row. */
template <int R, class Store>
POGO_HD void tile_rows(const int16_t* a, int64_t ars, int64_t aks, const int16_t* b, int64_t bks, int64_t pairs,
                       Store store) {
  __m256i c00 = _mm256_setzero_si256(), c01 = c00, c10 = c00, c11 = c00, c20 = c00, c21 = c00;
  __m256i c30 = c00, c31 = c00, c40 = c00, c41 = c00, c50 = c00, c51 = c00;
  const int16_t* pa = a;
  ars *= 2;
  for (int64_t k = 0; k < pairs; k++) {
    __m256i b0 = _mm256_loadu_si256((const __m256i*)b), b1 = _mm256_loadu_si256((const __m256i*)(b + 16));
    POGO_TILE_ROW(0)
    POGO_TILE_ROW(1)
    POGO_TILE_ROW(2)
    POGO_TILE_ROW(3)
    POGO_TILE_ROW(4)
    POGO_TILE_ROW(5)
    pa += 2 * aks;
    b += 2 * bks;
  }
  store(0, c00, c01);
  if constexpr (R > 1) store(1, c10, c11);
  if constexpr (R > 2) store(2, c20, c21);
  if constexpr (R > 3) store(3, c30, c31);
  if constexpr (R > 4) store(4, c40, c41);
  if constexpr (R > 5) store(5, c50, c51);
}
#undef POGO_TILE_ROW

template <int R>
static void tile_i32_rows(const int16_t* a, int64_t ars, int64_t aks, const int16_t* b, int64_t bks, int64_t pairs,
                          int32_t* acc, int64_t ldacc) {
  tile_rows<R>(a, ars, aks, b, bks, pairs, [&](int r, __m256i left, __m256i right) {
    _mm256_storeu_si256((__m256i*)(acc + r * ldacc), left);
    _mm256_storeu_si256((__m256i*)(acc + r * ldacc + 8), right);
  });
}

template <int R>
static void tile_f32_rows(const int16_t* a, int64_t ars, const int16_t* b, int64_t pairs, const float* sa,
                          const float* sb, float* y, int64_t ldy, bool first) {
  tile_rows<R>(a, ars, 1, b, 16, pairs, [&](int r, __m256i left, __m256i right) {
    F s0 = ld(sb), s1 = ld(sb + 8), row = pogo_fill(s0, sa[r]);
    F v0 = pogo_promote(I{left}, row, s0), v1 = pogo_promote(I{right}, row, s1);
    float* p = y + r * ldy;
    st(p, first ? v0 : pogo_add(ld(p), v0));
    st(p + 8, first ? v1 : pogo_add(ld(p + 8), v1));
  });
}

/**
 * Integer tile: acc[r][c] = sum over k pairs of a . b. Strides in pairs (int32 units): `a` advances `ars` per row and
 * `aks` per pair, `b` advances `bks` per pair, 16 columns contiguous. rows <= TILE_ROWS.
 */
static void tile_i32(const int16_t* a, int64_t ars, int64_t aks, const int16_t* b, int64_t bks, int64_t pairs, int rows,
                     int32_t* acc, int64_t ldacc) {
  switch (rows) {
    case 6: return tile_i32_rows<6>(a, ars, aks, b, bks, pairs, acc, ldacc);
    case 5: return tile_i32_rows<5>(a, ars, aks, b, bks, pairs, acc, ldacc);
    case 4: return tile_i32_rows<4>(a, ars, aks, b, bks, pairs, acc, ldacc);
    case 3: return tile_i32_rows<3>(a, ars, aks, b, bks, pairs, acc, ldacc);
    case 2: return tile_i32_rows<2>(a, ars, aks, b, bks, pairs, acc, ldacc);
    default: return tile_i32_rows<1>(a, ars, aks, b, bks, pairs, acc, ldacc);
  }
}

/** The same tile promoted: y[r][c] = (first ? : y +) float(acc) * (sa[r] * sb[c]). */
static void tile_f32(const int16_t* a, int64_t ars, const int16_t* b, int64_t pairs, int rows, const float* sa,
                     const float* sb, float* y, int64_t ldy, bool first) {
  switch (rows) {
    case 6: return tile_f32_rows<6>(a, ars, b, pairs, sa, sb, y, ldy, first);
    case 5: return tile_f32_rows<5>(a, ars, b, pairs, sa, sb, y, ldy, first);
    case 4: return tile_f32_rows<4>(a, ars, b, pairs, sa, sb, y, ldy, first);
    case 3: return tile_f32_rows<3>(a, ars, b, pairs, sa, sb, y, ldy, first);
    case 2: return tile_f32_rows<2>(a, ars, b, pairs, sa, sb, y, ldy, first);
    default: return tile_f32_rows<1>(a, ars, b, pairs, sa, sb, y, ldy, first);
  }
}

#include "attention_pairs.h"

#endif

#endif
