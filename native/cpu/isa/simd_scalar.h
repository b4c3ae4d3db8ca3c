// One lane: the exact definitions themselves. Memory operations of the lane and the portable GEMM tile.
#ifndef POGO_CPU_SIMD_SCALAR_H
#define POGO_CPU_SIMD_SCALAR_H

#include "../../exact/adamw.h"
#include "../../exact/attention.h"
#include "../../exact/norm.h"
#include "../../exact/quantize.h"
#include "../../exact/rope.h"
#include "../../exact/sums.h"
#include "attention_reach.h"

typedef float F;
typedef uint32_t I;
static constexpr int W = 1;

POGO_HD void prefetch(uintptr_t) {}
POGO_HD F ld(const float* p) { return *p; }
POGO_HD void st(float* p, F a) { *p = a; }
POGO_HD I ldi(const uint32_t* p) { return *p; }
/** Any alignment, as a vector's store: p may be a place among codes. */
POGO_HD void sti(uint32_t* p, I a) { memcpy((void*)p, &a, 4); }
POGO_HD F ldbf(const uint16_t* p) { return pogo_of_bf16(*p); }
POGO_HD void stbf(uint16_t* p, F a) { *p = (uint16_t)pogo_bf16(a); }
POGO_HD F ldcode(const int8_t* p) { return pogo_to_float((uint32_t)(int32_t)*p); }
/** Low bytes of 4W integers. */
POGO_HD void stcodes(int8_t* p, const I* c) {
  for (int i = 0; i < 4; i++) p[i] = (int8_t)(uint8_t)c[i];
}
/** Low bytes of W integers. */
POGO_HD void stcode(int8_t* p, I c) { *p = (int8_t)(uint8_t)c; }
/** 4W integers in the range of int16. */
POGO_HD void sthalves(int16_t* p, const I* c) {
  for (int i = 0; i < 4; i++) p[i] = (int16_t)(uint16_t)c[i];
}
/** 0, 1, … W-1 */
POGO_HD I lanes(uint32_t first) { return first; }
POGO_HD uint32_t hmax(I a) { return a; }
POGO_HD float hmaxf(F a) { return a; }
POGO_HD float t64(const float* x) { return pogo_t64(x); }

/** i8 [n] to i16 [n]. */
POGO_HD void widen(const int8_t* in, int16_t* out, int64_t n) {
  for (int64_t i = 0; i < n; i++) out[i] = in[i];
}

/** 64 bytes of codes -7..7 to 32 bytes of nibbles, low nibble = even index. */
POGO_HD void pack_nibbles(const int8_t* c, uint8_t* out) {
  for (int i = 0; i < 32; i++) out[i] = (uint8_t)((c[2 * i] & 15) | ((c[2 * i + 1] & 15) << 4));
}
POGO_HD void unpack_nibbles(const uint8_t* in, int8_t* c) {
  for (int i = 0; i < 32; i++) {
    c[2 * i] = (int8_t)pogo_nibble(in[i], 0);
    c[2 * i + 1] = (int8_t)pogo_nibble(in[i], 1);
  }
}

/** 16 rows of b (row stride ldb, `rows` of them real, K columns) to pairs [ceil(K/2)][16][2]. */
static void pack_b16(const int8_t* b, int64_t ldb, int rows, int64_t K, int16_t* out) {
  for (int64_t kp = 0; kp < (K + 1) / 2; kp++) {
    for (int n = 0; n < 16; n++) {
      for (int e = 0; e < 2; e++) {
        int64_t k = 2 * kp + e;
        out[(kp * 16 + n) * 2 + e] = n < rows && k < K ? b[n * ldb + k] : 0;
      }
    }
  }
}

static constexpr int TILE_ROWS = 4;

/**
 * Integer tile: acc[r][c] = sum over k pairs of a . b. Strides in pairs (int32 units): `a` advances `ars` per row and
 * `aks` per pair, `b` advances `bks` per pair, 16 columns contiguous. rows <= TILE_ROWS.
 */
static void tile_i32(const int16_t* a, int64_t ars, int64_t aks, const int16_t* b, int64_t bks, int64_t pairs, int rows,
                     int32_t* acc, int64_t ldacc) {
  for (int r = 0; r < rows; r++) {
    int32_t sum[16] = {0};
    for (int64_t k = 0; k < pairs; k++) {
      const int16_t* pa = a + 2 * (r * ars + k * aks);
      const int16_t* pb = b + 2 * k * bks;
      int32_t a0 = pa[0], a1 = pa[1];
      for (int c = 0; c < 16; c++) sum[c] += a0 * pb[2 * c] + a1 * pb[2 * c + 1];
    }
    for (int c = 0; c < 16; c++) acc[r * ldacc + c] = sum[c];
  }
}

#include "attention_pairs.h"

// The GEMM's operands: codes of a in 32 bits, rows and columns of a tile; a panel of packed b begins with GEMM_HEAD
// codes per column that are the tile's own.
typedef int16_t GemmCode;
static constexpr int GEMM_CODES = 2, GEMM_ROWS = TILE_ROWS, GEMM_COLUMNS = 16, GEMM_HEAD = 0;

/** A row of a in the GEMM's form. */
POGO_HD void gemm_row(const int8_t* in, int16_t* out, int64_t n) { widen(in, out, n); }

/**
 * The GEMM's own layout of 16 rows of b: [16][2 ceil(K/2)]. A dot product along k is what compilers turn into the
 * machine's multiply-add of 16-bit pairs without being told.
 */
static void pack_gemm(const int8_t* b, int64_t ldb, int rows, int64_t K, int16_t* out) {
  int64_t padded = (K + 1) / 2 * 2;
  memset(out, 0, (size_t)(16 * padded) * 2);
  for (int n = 0; n < rows; n++) {
    for (int64_t k = 0; k < K; k++) out[n * padded + k] = b[n * ldb + k];
  }
}

/** A tile of the GEMM, promoted: y[r][c] = (first ? : y +) float(acc) * (sa[r] * sb[c]). `a` advances `ars` pairs per
 * row. */
static void tile_f32(const int16_t* a, int64_t ars, const int16_t* b, int64_t pairs, int rows, const float* sa,
                     const float* sb, float* y, int64_t ldy, bool first) {
  for (int r = 0; r < rows; r++) {
    const int16_t* pa = a + 2 * r * ars;
    for (int c = 0; c < 16; c++) {
      const int16_t* pb = b + 2 * c * pairs;
      int32_t sum = 0;
      for (int64_t k = 0; k < 2 * pairs; k++) sum += (int32_t)pa[k] * (int32_t)pb[k];
      float v = pogo_promote((uint32_t)sum, sa[r], sb[c]);
      y[r * ldy + c] = first ? v : pogo_add(y[r * ldy + c], v);
    }
  }
}

#endif
