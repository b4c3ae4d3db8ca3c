// Sixteen lanes of AVX-512 (F, BW, DQ, VL, VNNI): the primitives of native/exact on vectors, memory operations, the
// GEMM tile by VPDPBUSD. Attention's blocks: attention_bytes512.h.
//
// FMA is never used: it would round once where the definition rounds twice. Nor are the saturating forms of VNNI.
// Everything is static: a copy compiled here must not become the one the linker keeps for other instruction sets.
#ifndef POGO_CPU_SIMD_AVX512_H
#define POGO_CPU_SIMD_AVX512_H

#include <immintrin.h>

#include "../../exact/adamw.h"
#include "../../exact/attention.h"
#include "../../exact/norm.h"
#include "../../exact/quantize.h"
#include "../../exact/rope.h"
#include "../../exact/sums.h"
#include "attention_reach.h"
#include "nibbles_avx512.h"
#include "interleave_x86.h"

struct PogoF16 {
  __m512 v;
};
struct PogoI16 {
  __m512i v;
};
/** A comparison's result: one bit a lane. */
struct PogoM16 {
  __mmask16 v;
};
typedef PogoF16 F;
typedef PogoI16 I;
static constexpr int W = 16;

POGO_HD F pogo_add(F a, F b) { return {_mm512_add_ps(a.v, b.v)}; }
POGO_HD F pogo_sub(F a, F b) { return {_mm512_sub_ps(a.v, b.v)}; }
POGO_HD F pogo_mul(F a, F b) { return {_mm512_mul_ps(a.v, b.v)}; }
POGO_HD F pogo_div(F a, F b) { return {_mm512_div_ps(a.v, b.v)}; }
POGO_HD F pogo_sqrt(F a) { return {_mm512_sqrt_ps(a.v)}; }
POGO_HD I pogo_bits(F a) { return {_mm512_castps_si512(a.v)}; }
POGO_HD F pogo_of_bits(I a) { return {_mm512_castsi512_ps(a.v)}; }
POGO_HD F pogo_to_float(I a) { return {_mm512_cvtepi32_ps(a.v)}; }
POGO_HD F pogo_fill(F, float c) { return {_mm512_set1_ps(c)}; }
POGO_HD I pogo_ifill(I, uint32_t c) { return {_mm512_set1_epi32((int)c)}; }

POGO_HD PogoM16 pogo_lt(F a, F b) { return {_mm512_cmp_ps_mask(a.v, b.v, _CMP_LT_OQ)}; }
POGO_HD PogoM16 pogo_gt(F a, F b) { return {_mm512_cmp_ps_mask(a.v, b.v, _CMP_GT_OQ)}; }
POGO_HD F pogo_sel(PogoM16 m, F a, F b) { return {_mm512_mask_blend_ps(m.v, b.v, a.v)}; }
POGO_HD I pogo_isel(PogoM16 m, I a, I b) { return {_mm512_mask_blend_epi32(m.v, b.v, a.v)}; }
// MAXPS is a > b ? a : b, with the second operand for NaN and for zeros of both signs: exactly pogo_max.
POGO_HD F pogo_max(F a, F b) { return {_mm512_max_ps(a.v, b.v)}; }
// MINPS is b < a ? b : a with its operands in this order.
POGO_HD F pogo_min(F a, F b) { return {_mm512_min_ps(b.v, a.v)}; }

POGO_HD I pogo_iadd(I a, I b) { return {_mm512_add_epi32(a.v, b.v)}; }
POGO_HD I pogo_isub(I a, I b) { return {_mm512_sub_epi32(a.v, b.v)}; }
POGO_HD I pogo_imul(I a, I b) { return {_mm512_mullo_epi32(a.v, b.v)}; }
POGO_HD I pogo_iand(I a, I b) { return {_mm512_and_si512(a.v, b.v)}; }
POGO_HD I pogo_ior(I a, I b) { return {_mm512_or_si512(a.v, b.v)}; }
POGO_HD I pogo_ixor(I a, I b) { return {_mm512_xor_si512(a.v, b.v)}; }
template <int n>
POGO_HD I pogo_shl(I a) {
  return {_mm512_slli_epi32(a.v, n)};
}
template <int n>
POGO_HD I pogo_shr(I a) {
  return {_mm512_srli_epi32(a.v, n)};
}
template <int n>
POGO_HD I pogo_sar(I a) {
  return {_mm512_srai_epi32(a.v, n)};
}
POGO_HD PogoM16 pogo_igt(I a, I b) { return {_mm512_cmpgt_epi32_mask(a.v, b.v)}; }
POGO_HD I pogo_imax(I a, I b) { return {_mm512_max_epu32(a.v, b.v)}; }

/** Asks for the cache line at an address; never faults, so it may lie beyond an array. */
POGO_HD void prefetch(uintptr_t p) { _mm_prefetch((const char*)p, _MM_HINT_T0); }
#define POGO_OWN_PREFETCH_ONCE
/** The same for a line that is not needed again once it left the L1 cache: it takes no other's place in the outer ones. */
POGO_HD void prefetch_once(uintptr_t p) { _mm_prefetch((const char*)p, _MM_HINT_NTA); }

POGO_HD F ld(const float* p) { return {_mm512_loadu_ps(p)}; }
POGO_HD void st(float* p, F a) { _mm512_storeu_ps(p, a.v); }
#define POGO_OWN_STPAST
/** A store past the caches, to an address that is a multiple of 16, as those of shared arrays are (not of 64). */
POGO_HD void stpast(float* p, F a) {
  _mm_stream_ps(p, _mm512_castps512_ps128(a.v));
  _mm_stream_ps(p + 4, _mm512_extractf32x4_ps(a.v, 1));
  _mm_stream_ps(p + 8, _mm512_extractf32x4_ps(a.v, 2));
  _mm_stream_ps(p + 12, _mm512_extractf32x4_ps(a.v, 3));
}
/** The same to an address that is a multiple of 64. */
POGO_HD void stpast_whole(float* p, F a) { _mm512_stream_ps(p, a.v); }
/** Once after the last: what other threads see then is complete. */
POGO_HD void stpast_end() { _mm_sfence(); }
POGO_HD I ldi(const uint32_t* p) { return {_mm512_loadu_si512(p)}; }
POGO_HD void sti(uint32_t* p, I a) { _mm512_storeu_si512(p, a.v); }
POGO_HD F ldbf(const uint16_t* p) {
  __m512i x = _mm512_cvtepu16_epi32(_mm256_loadu_si256((const __m256i*)p));
  return {_mm512_castsi512_ps(_mm512_slli_epi32(x, 16))};
}
/** pogo_bf16 of every lane: the rounded word's high half, taken by one permutation; NaN keeps its high half. */
POGO_HD void stbf(uint16_t* p, F a) {
  const __m512i b = _mm512_castps_si512(a.v), odd = _mm512_and_si512(_mm512_srli_epi32(b, 16), _mm512_set1_epi32(1));
  const __m512i rounded = _mm512_add_epi32(_mm512_add_epi32(b, _mm512_set1_epi32(0x7FFF)), odd);
  const __mmask16 nan = _mm512_cmp_ps_mask(a.v, a.v, _CMP_UNORD_Q);
  const __m512i x = _mm512_mask_or_epi32(rounded, nan, b, _mm512_set1_epi32(0x400000));
  const __m512i high = _mm512_set_epi16(0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 31, 29, 27, 25, 23, 21, 19, 17, 15,
                                        13, 11, 9, 7, 5, 3, 1);
  _mm256_storeu_si256((__m256i*)p, _mm512_castsi512_si256(_mm512_permutexvar_epi16(high, x)));
}
POGO_HD F ldcode(const int8_t* p) {
  return {_mm512_cvtepi32_ps(_mm512_cvtepi8_epi32(_mm_loadu_si128((const __m128i*)p)))};
}
/** Low bytes of W integers. */
POGO_HD void stcode(int8_t* p, I c) { _mm_storeu_si128((__m128i*)p, _mm512_cvtepi32_epi8(c.v)); }
/** Low bytes of 4W integers: VPERMT2W takes the low halves of two vectors in order, VPMOVWB their low bytes. */
POGO_HD void stcodes(int8_t* p, const I* c) {
  const __m512i even = _mm512_set_epi16(62, 60, 58, 56, 54, 52, 50, 48, 46, 44, 42, 40, 38, 36, 34, 32, 30, 28, 26, 24,
                                        22, 20, 18, 16, 14, 12, 10, 8, 6, 4, 2, 0);
  __m512i a = _mm512_permutex2var_epi16(c[0].v, even, c[1].v), b = _mm512_permutex2var_epi16(c[2].v, even, c[3].v);
  _mm256_storeu_si256((__m256i*)p, _mm512_cvtepi16_epi8(a));
  _mm256_storeu_si256((__m256i*)(p + 32), _mm512_cvtepi16_epi8(b));
}
/** Words of the low bytes of four vectors: selections by a constant mask. */
POGO_HD I word_of_bytes(I c0, I c1, I c2, I c3) {
  const __m512i byte = _mm512_set1_epi32(0xFF), half = _mm512_set1_epi32(0xFFFF);
  __m512i low = _mm512_ternarylogic_epi32(byte, c0.v, _mm512_slli_epi32(c1.v, 8), 0xCA);
  __m512i high = _mm512_ternarylogic_epi32(byte, c2.v, _mm512_slli_epi32(c3.v, 8), 0xCA);
  return {_mm512_ternarylogic_epi32(half, low, _mm512_slli_epi32(high, 16), 0xCA)};
}
POGO_HD I lanes(uint32_t first) {
  __m512i n = _mm512_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15);
  return {_mm512_add_epi32(_mm512_set1_epi32((int)first), n)};
}
POGO_HD uint32_t hmax(I a) {
  __m256i y = _mm256_max_epu32(_mm512_castsi512_si256(a.v), _mm512_extracti64x4_epi64(a.v, 1));
  __m128i x = _mm_max_epu32(_mm256_castsi256_si128(y), _mm256_extracti128_si256(y, 1));
  x = _mm_max_epu32(x, _mm_shuffle_epi32(x, 0x4E));
  x = _mm_max_epu32(x, _mm_shuffle_epi32(x, 0xB1));
  return (uint32_t)_mm_cvtsi128_si32(x);
}
POGO_HD float hmaxf(F a) {
  __m256 y = _mm256_max_ps(_mm512_castps512_ps256(a.v), _mm512_extractf32x8_ps(a.v, 1));
  __m128 x = _mm_max_ps(_mm256_castps256_ps128(y), _mm256_extractf128_ps(y, 1));
  x = _mm_max_ps(x, _mm_movehl_ps(x, x));
  x = _mm_max_ss(x, _mm_shuffle_ps(x, x, 1));
  return _mm_cvtss_f32(x);
}

#define POGO_OWN_HMAXES
/** Lane j: the largest lane of v[j], for 16 vectors. A tree of maxima that halves the vectors at every level. */
POGO_HD I hmaxes(const I* v) {
  __m512i a[8], b[4], c[2];
  // Lanes 0, 1, … of a quarter: v[j], v[j + 1] by pairs of words; then by words; then quarters.
  for (int i = 0; i < 8; i++) {
    __m512i x = v[2 * i].v, y = v[2 * i + 1].v;
    a[i] = _mm512_max_epu32(_mm512_unpacklo_epi32(x, y), _mm512_unpackhi_epi32(x, y));
  }
  // A quarter of a[i]: words of v[2i], v[2i+1], v[2i], v[2i+1].
  for (int i = 0; i < 4; i++) {
    b[i] =
        _mm512_max_epu32(_mm512_unpacklo_epi64(a[2 * i], a[2 * i + 1]), _mm512_unpackhi_epi64(a[2 * i], a[2 * i + 1]));
  }
  // A quarter of b[i]: words of v[4i], v[4i+1], v[4i+2], v[4i+3]; four quarters still to be joined.
  for (int i = 0; i < 2; i++) {
    c[i] = _mm512_max_epu32(_mm512_shuffle_i32x4(b[2 * i], b[2 * i + 1], 0x88),
                            _mm512_shuffle_i32x4(b[2 * i], b[2 * i + 1], 0xDD));
  }
  // Quarters of c[i]: b[2i], b[2i], b[2i+1], b[2i+1].
  return {_mm512_max_epu32(_mm512_shuffle_i32x4(c[0], c[1], 0x88), _mm512_shuffle_i32x4(c[0], c[1], 0xDD))};
}

#define POGO_OWN_STNIBBLES
/** See simd_generic.h. The conversion rounds as an operation does, to nearest even, and leaves nothing to mask before packs saturate. */
POGO_HD I nibble_word(F y) { return {_mm512_cvtps_epi32(y.v)}; }
template <bool PAST = false>
POGO_HD void stnibbles(uint8_t* out, const I* c) {
  __m512i x = _mm512_packs_epi16(_mm512_packs_epi32(c[0].v, c[1].v), _mm512_packs_epi32(c[2].v, c[3].v));
  // even + 16 odd per 16-bit lane
  x = _mm512_maddubs_epi16(_mm512_and_si512(x, _mm512_set1_epi8(15)), _mm512_set1_epi16(0x1001));
  // Words of two bytes [quarter][vector] to [vector][quarter].
  const __m256i order = _mm256_setr_epi16(0, 4, 8, 12, 1, 5, 9, 13, 2, 6, 10, 14, 3, 7, 11, 15);
  __m256i y = _mm256_permutexvar_epi16(order, _mm512_cvtepi16_epi8(x));
  if constexpr (PAST) _mm256_stream_si256((__m256i*)out, y);
  else _mm256_storeu_si256((__m256i*)out, y);
}

/** T64. Quarter q of a vector of pair sums holds 2q, 2q+1, 8+2q, 9+2q: the tree's later levels are in this order. */
POGO_HD __m512 pair_sums(__m512 a, __m512 b) {
  return _mm512_add_ps(_mm512_shuffle_ps(a, b, 0x88), _mm512_shuffle_ps(a, b, 0xDD));
}
#define POGO_OWN_TREE
struct Tree64 {
  __m512 first, pairs[2];
};
POGO_HD void tree_take(Tree64& t, int j, F v) {
  if (j % 2 == 0) t.first = v.v;
  else t.pairs[j / 2] = pair_sums(t.first, v.v);
}
POGO_HD float tree_sum(const Tree64& t) {
  // 16 apart; 8 apart inside a quarter; 4 apart over two quarters; 2 apart over neighbouring ones; 1 apart.
  __m512 z = _mm512_add_ps(t.pairs[0], t.pairs[1]);
  z = _mm512_add_ps(z, _mm512_shuffle_ps(z, z, 0x4E));
  __m256 h = _mm256_add_ps(_mm512_castps512_ps256(z), _mm512_extractf32x8_ps(z, 1));
  __m128 q = _mm_add_ps(_mm256_castps256_ps128(h), _mm256_extractf128_ps(h, 1));
  return _mm_cvtss_f32(_mm_add_ss(q, _mm_shuffle_ps(q, q, 1)));
}
POGO_HD float t64(const float* x) {
  Tree64 t;
  for (int j = 0; j < 4; j++) tree_take(t, j, ld(x + 16 * j));
  return tree_sum(t);
}

#define POGO_OWN_T64S
/** Lane r: T64 of row r of 16 rows of 64, `ld` apart. From the second level on two vectors are halved into one. */
POGO_HD F t64s(const float* x, int64_t ld) {
  __m512 z[16];
  for (int i = 0; i < 16; i++) {
    const float* p = x + i * ld;
    __m512 low = pair_sums(_mm512_loadu_ps(p), _mm512_loadu_ps(p + 16));
    z[i] = _mm512_add_ps(low, pair_sums(_mm512_loadu_ps(p + 32), _mm512_loadu_ps(p + 48)));
  }
  // 8 apart inside a quarter: sums 2q, 2q+1 of rows 2i, 2i+1.
  for (int i = 0; i < 8; i++) {
    __m512 a = z[2 * i], b = z[2 * i + 1];
    z[i] = _mm512_add_ps(_mm512_shuffle_ps(a, b, 0x44), _mm512_shuffle_ps(a, b, 0xEE));
  }
  // Rows 4q, 4q+1 in one vector's quarter q and 4q+2, 4q+3 in another's, so that the last level has rows in order.
  __m512 y[2];
  for (int i = 0; i < 2; i++) {
    // 4 apart: quarters 0, 1 and 2, 3; then 2 apart: neighbouring ones.
    __m512 w[2];
    for (int j = 0; j < 2; j++) {
      __m512 a = z[i + 4 * j], b = z[i + 4 * j + 2];
      w[j] = _mm512_add_ps(_mm512_shuffle_f32x4(a, b, 0x44), _mm512_shuffle_f32x4(a, b, 0xEE));
    }
    y[i] = _mm512_add_ps(_mm512_shuffle_f32x4(w[0], w[1], 0x88), _mm512_shuffle_f32x4(w[0], w[1], 0xDD));
  }
  return {pair_sums(y[0], y[1])};
}

POGO_HD void pack_nibbles(const int8_t* c, uint8_t* out) {
  __m512i x = _mm512_and_si512(_mm512_loadu_si512(c), _mm512_set1_epi8(15));
  // even + 16 odd per 16-bit lane
  x = _mm512_maddubs_epi16(x, _mm512_set1_epi16(0x1001));
  _mm256_storeu_si256((__m256i*)out, _mm512_cvtepi16_epi8(x));
}
POGO_HD void unpack_nibbles(const uint8_t* in, int8_t* c) {
  const __m512i sign = _mm512_set1_epi8(8);
  __m512i x = _mm512_cvtepu8_epi16(_mm256_loadu_si256((const __m256i*)in));
  x = _mm512_and_si512(_mm512_or_si512(x, _mm512_slli_epi16(x, 4)), _mm512_set1_epi8(15));
  _mm512_storeu_si512(c, _mm512_sub_epi8(_mm512_xor_si512(x, sign), sign));
}

/** Sixteen rows of sixteen 32-bit values, transposed. */
POGO_HD void transpose_words(__m512i* r) {
  __m512i t[16];
  for (int i = 0; i < 8; i++) {
    t[2 * i] = _mm512_unpacklo_epi32(r[2 * i], r[2 * i + 1]);
    t[2 * i + 1] = _mm512_unpackhi_epi32(r[2 * i], r[2 * i + 1]);
  }
  // Four rows at a time: r[4 i + e] holds words e, 4 + e, 8 + e, 12 + e of rows 4 i to 4 i + 3.
  for (int i = 0; i < 4; i++) {
    r[4 * i] = _mm512_unpacklo_epi64(t[4 * i], t[4 * i + 2]);
    r[4 * i + 1] = _mm512_unpackhi_epi64(t[4 * i], t[4 * i + 2]);
    r[4 * i + 2] = _mm512_unpacklo_epi64(t[4 * i + 1], t[4 * i + 3]);
    r[4 * i + 3] = _mm512_unpackhi_epi64(t[4 * i + 1], t[4 * i + 3]);
  }
  for (int e = 0; e < 4; e++) {
    t[e] = _mm512_shuffle_i32x4(r[e], r[e + 4], 0x88);           // words e, 8 + e of rows 0 to 7
    t[e + 4] = _mm512_shuffle_i32x4(r[e], r[e + 4], 0xDD);       // words 4 + e, 12 + e
    t[e + 8] = _mm512_shuffle_i32x4(r[e + 8], r[e + 12], 0x88);  // the same of rows 8 to 15
    t[e + 12] = _mm512_shuffle_i32x4(r[e + 8], r[e + 12], 0xDD);
  }
  for (int e = 0; e < 4; e++) {
    r[e] = _mm512_shuffle_i32x4(t[e], t[e + 8], 0x88);
    r[e + 8] = _mm512_shuffle_i32x4(t[e], t[e + 8], 0xDD);
    r[e + 4] = _mm512_shuffle_i32x4(t[e + 4], t[e + 12], 0x88);
    r[e + 12] = _mm512_shuffle_i32x4(t[e + 4], t[e + 12], 0xDD);
  }
}

/** W vectors of W words, transposed. */
POGO_HD void transpose_lanes(I* r) {
  __m512i x[16];
  for (int i = 0; i < 16; i++) x[i] = r[i].v;
  transpose_words(x);
  for (int i = 0; i < 16; i++) r[i].v = x[i];
}
#define POGO_BYTE_WORDS 1

/** The first n of 64 codes, zeros after them. */
POGO_HD __m512i load_codes(const int8_t* p, int64_t n) {
  __mmask64 mask = n >= 64 ? ~(__mmask64)0 : n <= 0 ? 0 : ((__mmask64)1 << n) - 1;
  return _mm512_maskz_loadu_epi8(mask, p);
}

// simd_amx.h takes the lanes of this file and has integer products of its own.
#if !defined(POGO_TILES)

/** c += a . b in place: GCC 12 copies accumulators of the intrinsic where a loop around it is unrolled. */
POGO_HD void dot_bytes(__m512i& c, __m512i a, __m512i b) {
#if defined(__GNUC__)
  __asm__("vpdpbusd %2, %1, %0" : "+v"(c) : "v"(a), "v"(b));
#else
  c = _mm512_dpbusd_epi32(c, a, b);
#endif
}

/** 16 rows of 64 codes, turned: 16 words of 16 rows to `out`, 128 bytes apart. Adds 128 times the codes to `sum`. */
POGO_HD void pack_block(const int8_t* b, int64_t ldb, int8_t* out, __m512i& sum) {
  const __m512i offset = _mm512_set1_epi8(-128);  // 128 as the unsigned operand
  __m512i r[16];
  for (int i = 0; i < 16; i++) r[i] = _mm512_loadu_si512(b + i * ldb);
  transpose_words(r);
  for (int i = 0; i < 16; i++) {
    sum = _mm512_dpbusd_epi32(sum, offset, r[i]);
    _mm512_storeu_si512(out + i * 128, r[i]);
  }
}

/** The same of `rows` rows and `count` codes, the others zero; ceil(count / 4) words. */
POGO_ALONE __m512i pack_edge(const int8_t* b, int64_t ldb, int64_t rows, int64_t count, int8_t* out, __m512i sum) {
  const __m512i offset = _mm512_set1_epi8(-128);
  __m512i r[16];
  for (int i = 0; i < 16; i++) r[i] = i < rows ? load_codes(b + i * ldb, count) : _mm512_setzero_si512();
  transpose_words(r);
  for (int i = 0; i < 16 && i * 4 < count; i++) {
    sum = _mm512_dpbusd_epi32(sum, offset, r[i]);
    _mm512_storeu_si512(out + i * 128, r[i]);
  }
  return sum;
}

/** 32 rows of b (`rows` of them real, K columns): corrections int32 [32], then fours [ceil(K/4)][32][4]. */
static void pack_fours(const int8_t* b, int64_t ldb, int rows, int64_t K, int8_t* out) {
  for (int half = 0; half < 2; half++) {
    __m512i sum = _mm512_setzero_si512();
    int8_t* p = out + half * 64;
    const int8_t* in = b + half * 16 * ldb;
    int64_t k = 0;
    for (; rows >= half * 16 + 16 && k + 64 <= K; k += 64) pack_block(in + k, ldb, p + (1 + k / 4) * 128, sum);
    for (; k < K; k += 64) sum = pack_edge(in + k, ldb, rows - half * 16, K - k, p + (1 + k / 4) * 128, sum);
    _mm512_storeu_si512(p, _mm512_sub_epi32(_mm512_setzero_si512(), sum));
  }
}

// The GEMM's operands. VPDPBUSD multiplies unsigned by signed bytes: a is stored as code + 128, and the sums of a panel
// begin at -128 times the sum of b's codes, which stand at the head of the packed panel. All of it is exact in int32:
// 1024 * 255 * 127 < 2^26.
typedef int8_t GemmCode;
static constexpr int GEMM_CODES = 4, GEMM_ROWS = 12, GEMM_COLUMNS = 32, GEMM_HEAD = 4;

/** A row of a in the GEMM's form. */
POGO_HD void gemm_row(const int8_t* in, int8_t* out, int64_t n) {
  const __m512i sign = _mm512_set1_epi8(-128);
  int64_t i = 0;
  for (; i + 64 <= n; i += 64) _mm512_storeu_si512(out + i, _mm512_xor_si512(_mm512_loadu_si512(in + i), sign));
  for (; i < n; i++) out[i] = (int8_t)(in[i] ^ -128);
}

POGO_HD void pack_gemm(const int8_t* b, int64_t ldb, int rows, int64_t K, int8_t* out) {
  pack_fours(b, ldb, rows, K, out);
}

// 12 x 32 accumulators fill 24 of the 32 registers; two hold b, one the broadcast of a. Named and not in an array, in
// which the compiler leaves them in memory.
#define POGO_TILE_ROW(r)                                     \
  if constexpr (R > r) {                                     \
    __m512i x = _mm512_set1_epi32(load_word(a + (r) * ars)); \
    dot_bytes(c##r##_0, x, b0);                              \
    dot_bytes(c##r##_1, x, b1);                              \
  }

/** A tile of the GEMM, promoted: y[r][c] = (first ? : y +) float(acc) * (sa[r] * sb[c]). */
template <int R>
static void tile_f32_rows(const int8_t* a, int64_t ars, const int8_t* b, int64_t words, const float* sa,
                          const float* sb, float* y, int64_t ldy, bool first) {
  const __m512i left = _mm512_loadu_si512(b), right = _mm512_loadu_si512(b + 64);
  __m512i c0_0 = left, c0_1 = right, c1_0 = left, c1_1 = right, c2_0 = left, c2_1 = right, c3_0 = left, c3_1 = right,
          c4_0 = left, c4_1 = right, c5_0 = left, c5_1 = right, c6_0 = left, c6_1 = right, c7_0 = left, c7_1 = right,
          c8_0 = left, c8_1 = right, c9_0 = left, c9_1 = right, c10_0 = left, c10_1 = right, c11_0 = left,
          c11_1 = right;
  for (int64_t k = 0; k < words; k++) {
    b += 128;
    __m512i b0 = _mm512_loadu_si512(b), b1 = _mm512_loadu_si512(b + 64);
    POGO_TILE_ROW(0)
    POGO_TILE_ROW(1)
    POGO_TILE_ROW(2)
    POGO_TILE_ROW(3)
    POGO_TILE_ROW(4)
    POGO_TILE_ROW(5)
    POGO_TILE_ROW(6)
    POGO_TILE_ROW(7)
    POGO_TILE_ROW(8)
    POGO_TILE_ROW(9)
    POGO_TILE_ROW(10)
    POGO_TILE_ROW(11)
    a += 4;
  }
  F s0 = ld(sb), s1 = ld(sb + 16);
#define POGO_PROMOTE(r)                                                                 \
  if constexpr (R > r) {                                                                \
    F row = pogo_fill(s0, sa[r]);                                                       \
    F v0 = pogo_promote(I{c##r##_0}, row, s0), v1 = pogo_promote(I{c##r##_1}, row, s1); \
    float* p = y + r * ldy;                                                             \
    st(p, first ? v0 : pogo_add(ld(p), v0));                                            \
    st(p + 16, first ? v1 : pogo_add(ld(p + 16), v1));                                  \
  }
  POGO_PROMOTE(0)
  POGO_PROMOTE(1)
  POGO_PROMOTE(2)
  POGO_PROMOTE(3)
  POGO_PROMOTE(4)
  POGO_PROMOTE(5)
  POGO_PROMOTE(6)
  POGO_PROMOTE(7)
  POGO_PROMOTE(8)
  POGO_PROMOTE(9)
  POGO_PROMOTE(10)
  POGO_PROMOTE(11)
}
#undef POGO_TILE_ROW
#undef POGO_PROMOTE

/** `a` advances `ars` words of 32 bits per row; b: a panel of pack_gemm of `words` words; rows <= GEMM_ROWS. */
static void tile_f32(const int8_t* a, int64_t ars, const int8_t* b, int64_t words, int rows, const float* sa,
                     const float* sb, float* y, int64_t ldy, bool first) {
  ars *= 4;
  switch (rows) {
    case 12: return tile_f32_rows<12>(a, ars, b, words, sa, sb, y, ldy, first);
    case 11: return tile_f32_rows<11>(a, ars, b, words, sa, sb, y, ldy, first);
    case 10: return tile_f32_rows<10>(a, ars, b, words, sa, sb, y, ldy, first);
    case 9: return tile_f32_rows<9>(a, ars, b, words, sa, sb, y, ldy, first);
    case 8: return tile_f32_rows<8>(a, ars, b, words, sa, sb, y, ldy, first);
    case 7: return tile_f32_rows<7>(a, ars, b, words, sa, sb, y, ldy, first);
    case 6: return tile_f32_rows<6>(a, ars, b, words, sa, sb, y, ldy, first);
    case 5: return tile_f32_rows<5>(a, ars, b, words, sa, sb, y, ldy, first);
    case 4: return tile_f32_rows<4>(a, ars, b, words, sa, sb, y, ldy, first);
    case 3: return tile_f32_rows<3>(a, ars, b, words, sa, sb, y, ldy, first);
    case 2: return tile_f32_rows<2>(a, ars, b, words, sa, sb, y, ldy, first);
    default: return tile_f32_rows<1>(a, ars, b, words, sa, sb, y, ldy, first);
  }
}

#include "attention_bytes512.h"

#endif

#endif
