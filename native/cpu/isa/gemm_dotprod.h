// The GEMM of AArch64 machines with SDOT: bytes times bytes, four products added to an int32 lane. Included by
// simd_neon.h.
//
// The codes need no offset, both operands are signed, and no sum saturates: exact for every code, -128 included.
#ifndef POGO_CPU_GEMM_DOTPROD_H
#define POGO_CPU_GEMM_DOTPROD_H

typedef int8_t GemmCode;
static constexpr int GEMM_CODES = 4;

/** A row of a in the GEMM's form. */
POGO_HD void gemm_row(const int8_t* in, int8_t* out, int64_t n) { memcpy(out, in, (size_t)n); }

/** 16 rows of b (`rows` of them real, K columns) to fours [ceil(K/4)][16][4]. */
static void pack_gemm(const int8_t* b, int64_t ldb, int rows, int64_t K, int8_t* out) {
  int64_t k = 0;
  for (; rows == 16 && k + 16 <= K; k += 16) {
    for (int n = 0; n < 16; n += 4) {
      int32x4_t r[4];
      for (int i = 0; i < 4; i++) r[i] = vreinterpretq_s32_s8(vld1q_s8(b + (n + i) * ldb + k));
      transpose_words(r);
      for (int i = 0; i < 4; i++) vst1q_s8(out + (k / 4 + i) * 64 + 4 * n, vreinterpretq_s8_s32(r[i]));
    }
  }
  for (int64_t word = k / 4; word < (K + 3) / 4; word++) {
    for (int n = 0; n < 16; n++) {
      for (int e = 0; e < 4; e++) {
        int64_t at = 4 * word + e;
        out[(word * 16 + n) * 4 + e] = n < rows && at < K ? b[n * ldb + at] : 0;
      }
    }
  }
}

// 4 x 16 accumulators, four vectors of a with four words each, four of b: 24 of the 32 registers.
#define POGO_DOT_ROW(r, lane)                           \
  if constexpr (R > r) {                                \
    c##r##0 = vdotq_laneq_s32(c##r##0, b0, a##r, lane); \
    c##r##1 = vdotq_laneq_s32(c##r##1, b1, a##r, lane); \
    c##r##2 = vdotq_laneq_s32(c##r##2, b2, a##r, lane); \
    c##r##3 = vdotq_laneq_s32(c##r##3, b3, a##r, lane); \
  }
#define POGO_DOT_WORD(lane)                                                   \
  {                                                                           \
    int8x16_t b0 = vld1q_s8(b), b1 = vld1q_s8(b + 16), b2 = vld1q_s8(b + 32); \
    int8x16_t b3 = vld1q_s8(b + 48);                                          \
    POGO_DOT_ROW(0, lane)                                                     \
    POGO_DOT_ROW(1, lane)                                                     \
    POGO_DOT_ROW(2, lane)                                                     \
    POGO_DOT_ROW(3, lane)                                                     \
    b += 64;                                                                  \
  }
#define POGO_LOAD_ROWS(load)                   \
  a0 = load(a);                                \
  if constexpr (R > 1) a1 = load(a + ars);     \
  if constexpr (R > 2) a2 = load(a + 2 * ars); \
  if constexpr (R > 3) a3 = load(a + 3 * ars);
#define POGO_TILE_STORE(r) \
  if constexpr (R > r) promote_row(c##r##0, c##r##1, c##r##2, c##r##3, sa[r], sb, y + r * ldy, first);

/** One word of four codes in lane 0. */
POGO_HD int8x16_t load_word(const int8_t* p) {
  uint32_t word;
  memcpy(&word, p, 4);
  return vreinterpretq_s8_u32(vdupq_n_u32(word));
}

template <int R>
static void tile_f32_rows(const int8_t* a, int64_t ars, const int8_t* b, int64_t words, const float* sa,
                          const float* sb, float* y, int64_t ldy, bool first) {
  int32x4_t c00 = vdupq_n_s32(0), c01 = c00, c02 = c00, c03 = c00, c10 = c00, c11 = c00, c12 = c00, c13 = c00;
  int32x4_t c20 = c00, c21 = c00, c22 = c00, c23 = c00, c30 = c00, c31 = c00, c32 = c00, c33 = c00;
  int8x16_t a0, a1, a2, a3;
  a0 = a1 = a2 = a3 = vdupq_n_s8(0);
  ars *= 4;
  int64_t k = 0;
  for (; k + 4 <= words; k += 4) {
    POGO_LOAD_ROWS(vld1q_s8)
    POGO_DOT_WORD(0)
    POGO_DOT_WORD(1)
    POGO_DOT_WORD(2)
    POGO_DOT_WORD(3)
    a += 16;
  }
  for (; k < words; k++) {
    POGO_LOAD_ROWS(load_word)
    POGO_DOT_WORD(0)
    a += 4;
  }
  POGO_TILE_STORE(0)
  POGO_TILE_STORE(1)
  POGO_TILE_STORE(2)
  POGO_TILE_STORE(3)
}
#undef POGO_DOT_ROW
#undef POGO_DOT_WORD
#undef POGO_LOAD_ROWS
#undef POGO_TILE_STORE

#endif
