// Four lanes of Advanced SIMD (AArch64): the primitives of native/exact on vectors, memory operations, transposes, the
// attention tile and, without SDOT, the GEMM tile by SMLAL.
//
// FMLA is never used, neither by name nor as vmlaq_f32: it would round once where the definition rounds twice; nor FMAX
// and FMIN, which differ from the definition on NaN and on zeros of both signs. Everything is static: a copy compiled
// here must not become the one the linker keeps for other instruction sets.
#ifndef POGO_CPU_SIMD_NEON_H
#define POGO_CPU_SIMD_NEON_H

#if defined(_MSC_VER) && !defined(__clang__)
#include <arm64_neon.h>
#else
#include <arm_neon.h>
#endif

#include "../../exact/adamw.h"
#include "../../exact/attention.h"
#include "../../exact/norm.h"
#include "../../exact/quantize.h"
#include "../../exact/rope.h"
#include "../../exact/sums.h"
#include "attention_reach.h"

struct PogoF4 {
  float32x4_t v;
};
struct PogoI4 {
  uint32x4_t v;
};
typedef PogoF4 F;
typedef PogoI4 I;
static constexpr int W = 4;

POGO_HD F pogo_add(F a, F b) { return {vaddq_f32(a.v, b.v)}; }
POGO_HD F pogo_sub(F a, F b) { return {vsubq_f32(a.v, b.v)}; }
POGO_HD F pogo_mul(F a, F b) { return {vmulq_f32(a.v, b.v)}; }
POGO_HD F pogo_div(F a, F b) { return {vdivq_f32(a.v, b.v)}; }
POGO_HD F pogo_sqrt(F a) { return {vsqrtq_f32(a.v)}; }
POGO_HD I pogo_bits(F a) { return {vreinterpretq_u32_f32(a.v)}; }
POGO_HD F pogo_of_bits(I a) { return {vreinterpretq_f32_u32(a.v)}; }
POGO_HD F pogo_to_float(I a) { return {vcvtq_f32_s32(vreinterpretq_s32_u32(a.v))}; }
POGO_HD F pogo_fill(F, float c) { return {vdupq_n_f32(c)}; }
POGO_HD I pogo_ifill(I, uint32_t c) { return {vdupq_n_u32(c)}; }

// Masks are integer vectors of all ones or all zeros.
POGO_HD I pogo_lt(F a, F b) { return {vcltq_f32(a.v, b.v)}; }
POGO_HD I pogo_gt(F a, F b) { return {vcgtq_f32(a.v, b.v)}; }
POGO_HD F pogo_sel(I m, F a, F b) { return {vbslq_f32(m.v, a.v, b.v)}; }
POGO_HD I pogo_isel(I m, I a, I b) { return {vbslq_u32(m.v, a.v, b.v)}; }
// pogo_max is the template of arith.h: comparison and selection.

POGO_HD I pogo_iadd(I a, I b) { return {vaddq_u32(a.v, b.v)}; }
POGO_HD I pogo_isub(I a, I b) { return {vsubq_u32(a.v, b.v)}; }
POGO_HD I pogo_imul(I a, I b) { return {vmulq_u32(a.v, b.v)}; }
POGO_HD I pogo_iand(I a, I b) { return {vandq_u32(a.v, b.v)}; }
POGO_HD I pogo_ior(I a, I b) { return {vorrq_u32(a.v, b.v)}; }
POGO_HD I pogo_ixor(I a, I b) { return {veorq_u32(a.v, b.v)}; }
template <int n>
POGO_HD I pogo_shl(I a) {
  return {vshlq_n_u32(a.v, n)};
}
template <int n>
POGO_HD I pogo_shr(I a) {
  return {vshrq_n_u32(a.v, n)};
}
template <int n>
POGO_HD I pogo_sar(I a) {
  return {vreinterpretq_u32_s32(vshrq_n_s32(vreinterpretq_s32_u32(a.v), n))};
}
POGO_HD I pogo_igt(I a, I b) { return {vcgtq_s32(vreinterpretq_s32_u32(a.v), vreinterpretq_s32_u32(b.v))}; }
POGO_HD I pogo_imax(I a, I b) { return {vmaxq_u32(a.v, b.v)}; }

/** Asks for the cache line at an address; never faults, so it may lie beyond an array. */
POGO_HD void prefetch(uintptr_t p) {
#if defined(_MSC_VER) && !defined(__clang__)
  __prefetch((const void*)p);
#else
  __builtin_prefetch((const void*)p);
#endif
}

POGO_HD F ld(const float* p) { return {vld1q_f32(p)}; }
POGO_HD void st(float* p, F a) { vst1q_f32(p, a.v); }
POGO_HD I ldi(const uint32_t* p) { return {vld1q_u32(p)}; }
POGO_HD void sti(uint32_t* p, I a) { vst1q_u32(p, a.v); }
POGO_HD F ldbf(const uint16_t* p) { return {vreinterpretq_f32_u32(vshlq_n_u32(vmovl_u16(vld1_u16(p)), 16))}; }
POGO_HD void stbf(uint16_t* p, F a) { vst1_u16(p, vmovn_u32(pogo_bf16(a).v)); }
POGO_HD F ldcode(const int8_t* p) {
  uint32_t word;
  memcpy(&word, p, 4);
  int16x8_t x = vmovl_s8(vcreate_s8(word));
  return {vcvtq_f32_s32(vmovl_s16(vget_low_s16(x)))};
}
/** Low bytes of W integers. The narrowing moves keep the low half: they do not saturate. */
POGO_HD void stcode(int8_t* p, I c) {
  uint16x4_t half = vmovn_u32(c.v);
  uint8x8_t x = vmovn_u16(vcombine_u16(half, half));
  uint32_t word = vget_lane_u32(vreinterpret_u32_u8(x), 0);
  memcpy(p, &word, 4);
}
/** Low bytes of 4W integers. */
POGO_HD void stcodes(int8_t* p, const I* c) {
  uint16x8_t a = vcombine_u16(vmovn_u32(c[0].v), vmovn_u32(c[1].v));
  uint16x8_t b = vcombine_u16(vmovn_u32(c[2].v), vmovn_u32(c[3].v));
  vst1q_s8(p, vreinterpretq_s8_u8(vcombine_u8(vmovn_u16(a), vmovn_u16(b))));
}
/** 4W integers in the range of int16. */
POGO_HD void sthalves(int16_t* p, const I* c) {
  for (int i = 0; i < 4; i++) vst1_s16(p + 4 * i, vreinterpret_s16_u16(vmovn_u32(c[i].v)));
}
/** first, first + 1, … */
POGO_HD I lanes(uint32_t first) {
  const uint32_t steps[4] = {0, 1, 2, 3};
  return {vaddq_u32(vdupq_n_u32(first), vld1q_u32(steps))};
}
POGO_HD uint32_t hmax(I a) { return vmaxvq_u32(a.v); }
POGO_HD float hmaxf(F a) {
  F x = pogo_max(a, F{vextq_f32(a.v, a.v, 2)});
  return pogo_max(vgetq_lane_f32(x.v, 0), vgetq_lane_f32(x.v, 1));
}

/** T64. FADDP makes the pair sums in their own order, so the tree adds whole vectors down to the last four. */
POGO_HD float t64(const float* x) {
  float32x4_t y[8];
  for (int i = 0; i < 8; i++) y[i] = vpaddq_f32(vld1q_f32(x + 8 * i), vld1q_f32(x + 8 * i + 4));
  for (int s = 4; s > 0; s >>= 1) {
    for (int i = 0; i < s; i++) y[i] = vaddq_f32(y[i], y[i + s]);
  }
  float32x2_t z = vadd_f32(vget_low_f32(y[0]), vget_high_f32(y[0]));
  return vget_lane_f32(vpadd_f32(z, z), 0);
}

POGO_HD void widen(const int8_t* in, int16_t* out, int64_t n) {
  int64_t i = 0;
  for (; i + 8 <= n; i += 8) vst1q_s16(out + i, vmovl_s8(vld1_s8(in + i)));
  for (; i < n; i++) out[i] = in[i];
}

POGO_HD void pack_nibbles(const int8_t* c, uint8_t* out) {
  for (int i = 0; i < 32; i += 16) {
    int8x16x2_t x = vld2q_s8(c + 2 * i);
    // SLI keeps the low nibble of the even codes and inserts the odd ones above it.
    vst1q_u8(out + i, vreinterpretq_u8_s8(vsliq_n_s8(x.val[0], x.val[1], 4)));
  }
}
POGO_HD void unpack_nibbles(const uint8_t* in, int8_t* c) {
  for (int i = 0; i < 32; i += 16) {
    int8x16_t x = vreinterpretq_s8_u8(vld1q_u8(in + i));
    int8x16x2_t y;
    y.val[0] = vshrq_n_s8(vshlq_n_s8(x, 4), 4);
    y.val[1] = vshrq_n_s8(x, 4);
    vst2q_s8(c + 2 * i, y);
  }
}

/** Four rows of four 32-bit words, transposed. */
POGO_HD void transpose_words(int32x4_t* r) {
  int32x4_t a = vzip1q_s32(r[0], r[2]), b = vzip2q_s32(r[0], r[2]);
  int32x4_t c = vzip1q_s32(r[1], r[3]), d = vzip2q_s32(r[1], r[3]);
  r[0] = vzip1q_s32(a, c);
  r[1] = vzip2q_s32(a, c);
  r[2] = vzip1q_s32(b, d);
  r[3] = vzip2q_s32(b, d);
}

#define POGO_BYTE_WORDS 1
/** Words of the low bytes of four vectors: SLI keeps what is below its shift. */
POGO_HD I word_of_bytes(I c0, I c1, I c2, I c3) {
  return {vsliq_n_u32(vsliq_n_u32(vsliq_n_u32(c0.v, c1.v, 8), c2.v, 16), c3.v, 24)};
}
/** W vectors of W words, transposed. */
POGO_HD void transpose_lanes(I* r) {
  int32x4_t x[4];
  for (int i = 0; i < 4; i++) x[i] = vreinterpretq_s32_u32(r[i].v);
  transpose_words(x);
  for (int i = 0; i < 4; i++) r[i].v = vreinterpretq_u32_s32(x[i]);
}

/** 16 rows of b (row stride ldb, `rows` of them real, K columns) to pairs [ceil(K/2)][16][2]. */
static void pack_b16(const int8_t* b, int64_t ldb, int rows, int64_t K, int16_t* out) {
  int64_t k = 0;
  for (; rows == 16 && k + 8 <= K; k += 8) {
    for (int n = 0; n < 16; n += 4) {
      int32x4_t r[4];
      for (int i = 0; i < 4; i++) r[i] = vreinterpretq_s32_s16(vmovl_s8(vld1_s8(b + (n + i) * ldb + k)));
      transpose_words(r);
      for (int i = 0; i < 4; i++) vst1q_s16(out + (k / 2 + i) * 32 + 2 * n, vreinterpretq_s16_s32(r[i]));
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

// 4 x 16 accumulators fill 16 of the 32 registers, in named variables as under the other instruction sets.
static constexpr int TILE_ROWS = 4;

#define POGO_TILE_ROW(r)                                               \
  if constexpr (R > r) {                                               \
    int16x4_t x = load_pair(a + (r) * ars);                            \
    c##r##0 = vmlal_lane_s16(c##r##0, vget_low_s16(b0.val[0]), x, 0);  \
    c##r##1 = vmlal_lane_s16(c##r##1, vget_high_s16(b0.val[0]), x, 0); \
    c##r##2 = vmlal_lane_s16(c##r##2, vget_low_s16(b1.val[0]), x, 0);  \
    c##r##3 = vmlal_lane_s16(c##r##3, vget_high_s16(b1.val[0]), x, 0); \
    c##r##0 = vmlal_lane_s16(c##r##0, vget_low_s16(b0.val[1]), x, 1);  \
    c##r##1 = vmlal_lane_s16(c##r##1, vget_high_s16(b0.val[1]), x, 1); \
    c##r##2 = vmlal_lane_s16(c##r##2, vget_low_s16(b1.val[1]), x, 1);  \
    c##r##3 = vmlal_lane_s16(c##r##3, vget_high_s16(b1.val[1]), x, 1); \
  }
#define POGO_TILE_STORE(r) \
  if constexpr (R > r) store(r, c##r##0, c##r##1, c##r##2, c##r##3);

/** A pair of codes in the first two lanes. */
POGO_HD int16x4_t load_pair(const int16_t* p) {
  uint32_t word;
  memcpy(&word, p, 4);
  return vcreate_s16(word);
}

/** Sums of R rows x 16 columns over k pairs; `store(r, four vectors)` takes each row. */
template <int R, class Store>
POGO_HD void tile_rows(const int16_t* a, int64_t ars, int64_t aks, const int16_t* b, int64_t bks, int64_t pairs,
                       Store store) {
  int32x4_t c00 = vdupq_n_s32(0), c01 = c00, c02 = c00, c03 = c00, c10 = c00, c11 = c00, c12 = c00, c13 = c00;
  int32x4_t c20 = c00, c21 = c00, c22 = c00, c23 = c00, c30 = c00, c31 = c00, c32 = c00, c33 = c00;
  ars *= 2;
  for (int64_t k = 0; k < pairs; k++) {
    // LD2 parts the pairs: val[0] holds the first codes of eight columns, val[1] the second ones.
    int16x8x2_t b0 = vld2q_s16(b), b1 = vld2q_s16(b + 16);
    POGO_TILE_ROW(0)
    POGO_TILE_ROW(1)
    POGO_TILE_ROW(2)
    POGO_TILE_ROW(3)
    a += 2 * aks;
    b += 2 * bks;
  }
  POGO_TILE_STORE(0)
  POGO_TILE_STORE(1)
  POGO_TILE_STORE(2)
  POGO_TILE_STORE(3)
}
#undef POGO_TILE_ROW
#undef POGO_TILE_STORE

template <int R>
static void tile_i32_rows(const int16_t* a, int64_t ars, int64_t aks, const int16_t* b, int64_t bks, int64_t pairs,
                          int32_t* acc, int64_t ldacc) {
  tile_rows<R>(a, ars, aks, b, bks, pairs, [&](int r, int32x4_t c0, int32x4_t c1, int32x4_t c2, int32x4_t c3) {
    int32_t* p = acc + r * ldacc;
    vst1q_s32(p, c0);
    vst1q_s32(p + 4, c1);
    vst1q_s32(p + 8, c2);
    vst1q_s32(p + 12, c3);
  });
}

/**
 * Integer tile: acc[r][c] = sum over k pairs of a . b. Strides in pairs (int32 units): `a` advances `ars` per row and
 * `aks` per pair, `b` advances `bks` per pair, 16 columns contiguous. rows <= TILE_ROWS.
 */
static void tile_i32(const int16_t* a, int64_t ars, int64_t aks, const int16_t* b, int64_t bks, int64_t pairs, int rows,
                     int32_t* acc, int64_t ldacc) {
  switch (rows) {
    case 4: return tile_i32_rows<4>(a, ars, aks, b, bks, pairs, acc, ldacc);
    case 3: return tile_i32_rows<3>(a, ars, aks, b, bks, pairs, acc, ldacc);
    case 2: return tile_i32_rows<2>(a, ars, aks, b, bks, pairs, acc, ldacc);
    default: return tile_i32_rows<1>(a, ars, aks, b, bks, pairs, acc, ldacc);
  }
}

#include "attention_pairs.h"

/** Four vectors of sums of a row, promoted: y[c] = (first ? : y +) float(acc) * (sa * sb[c]). */
POGO_HD void promote_row(int32x4_t c0, int32x4_t c1, int32x4_t c2, int32x4_t c3, float sa, const float* sb, float* y,
                         bool first) {
  const int32x4_t sums[4] = {c0, c1, c2, c3};
  for (int i = 0; i < 4; i++) {
    F s = ld(sb + 4 * i), v = pogo_promote(I{vreinterpretq_u32_s32(sums[i])}, pogo_fill(s, sa), s);
    st(y + 4 * i, first ? v : pogo_add(ld(y + 4 * i), v));
  }
}

// GEMM_COLUMNS columns of b and GEMM_ROWS rows of a make a tile of the GEMM, with SDOT or without.
static constexpr int GEMM_ROWS = TILE_ROWS, GEMM_COLUMNS = 16, GEMM_HEAD = 0;

#if defined(POGO_DOTPROD)
#include "gemm_dotprod.h"
#else
// Without SDOT the GEMM's operands are attention's: i16 pairs.
typedef int16_t GemmCode;
static constexpr int GEMM_CODES = 2;
POGO_HD void gemm_row(const int8_t* in, int16_t* out, int64_t n) { widen(in, out, n); }
POGO_HD void pack_gemm(const int8_t* b, int64_t ldb, int rows, int64_t K, int16_t* out) {
  pack_b16(b, ldb, rows, K, out);
}

template <int R>
static void tile_f32_rows(const int16_t* a, int64_t ars, const int16_t* b, int64_t pairs, const float* sa,
                          const float* sb, float* y, int64_t ldy, bool first) {
  tile_rows<R>(a, ars, 1, b, 16, pairs, [&](int r, int32x4_t c0, int32x4_t c1, int32x4_t c2, int32x4_t c3) {
    promote_row(c0, c1, c2, c3, sa[r], sb, y + r * ldy, first);
  });
}
#endif

/** A tile of the GEMM, promoted: y[r][c] = (first ? : y +) float(acc) * (sa[r] * sb[c]). `a` advances `ars` words of 32
 * bits per row. */
static void tile_f32(const GemmCode* a, int64_t ars, const GemmCode* b, int64_t words, int rows, const float* sa,
                     const float* sb, float* y, int64_t ldy, bool first) {
  switch (rows) {
    case 4: return tile_f32_rows<4>(a, ars, b, words, sa, sb, y, ldy, first);
    case 3: return tile_f32_rows<3>(a, ars, b, words, sa, sb, y, ldy, first);
    case 2: return tile_f32_rows<2>(a, ars, b, words, sa, sb, y, ldy, first);
    default: return tile_f32_rows<1>(a, ars, b, words, sa, sb, y, ldy, first);
  }
}

#endif
