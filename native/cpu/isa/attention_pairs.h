// Attention's blocks on pairs of 16-bit codes, for instruction sets whose integer tile multiplies such pairs: operands
// and products of 64 tokens, on tile_i32, pack_b16, widen, sthalves and TILE_ROWS of the set.
//
// What a block function means stands here; attention_bytes512.h has the same functions on bytes.
#ifndef POGO_CPU_ATTENTION_PAIRS_H
#define POGO_CPU_ATTENTION_PAIRS_H

/** Element of every operand of a block. */
typedef int16_t AttentionCode;

/** Elements of the operands of one block of 64 tokens. */
static inline int64_t score_rows_size(int64_t h) { return 64 * h; }
static inline int64_t score_columns_size(int64_t h) { return 64 * h; }
static inline int64_t mix_tokens_size(int64_t h) { return 64 * h; }
static constexpr int64_t MIX_CODES_SIZE = 64 * 64;

/** 64 tokens as rows of a score: `in` has h codes a token, `stride` codes from token to token. */
static void score_rows(const int8_t* in, int64_t stride, int64_t h, AttentionCode* out) {
  for (int t = 0; t < 64; t++) widen(in + t * stride, out + t * h, h);
}

/** 64 tokens as columns of a score. */
static void score_columns(const int8_t* in, int64_t stride, int64_t h, AttentionCode* out) {
  for (int t = 0; t < 64; t += 16) pack_b16(in + t * stride, stride, 16, h, out + t * h);
}

/** 64 tokens as what a mix contracts: pairs of tokens, [32][h][2]. */
static void mix_tokens(const int8_t* in, int64_t stride, int64_t h, AttentionCode* out) {
  for (int t = 0; t < 64; t += 2) {
    const int8_t *a = in + t * stride, *b = a + stride;
    for (int64_t d = 0; d < h; d++) {
      out[t * h + 2 * d] = a[d];
      out[t * h + 2 * d + 1] = b[d];
    }
  }
}

/** acc[r][c] = sum over d of rows[r][d] * columns[c][d]; acc [64][64], places that `reach` leaves out are undefined. */
static void score_tile(const AttentionCode* rows, const AttentionCode* columns, int64_t h, AttentionReach reach,
                       int32_t* acc) {
  for (int j = 0; j < 64; j += 16) {
    for (int i = 0; i < 64; i += TILE_ROWS) {
      int height = 64 - i < TILE_ROWS ? 64 - i : TILE_ROWS;
      if (reach == REACH_UP_TO_ROW && j > i + height - 1) continue;
      if (reach == REACH_FROM_ROW && j + 15 < i) continue;
      tile_i32(rows + i * h, h / 2, 1, columns + j * h, 16, h / 2, height, acc + i * 64 + j, 64);
    }
  }
}

/** Sets all 64 x 64 codes of a mix to 0. */
template <bool SIGNED>
static void mix_clear(AttentionCode* codes) {
  memset(codes, 0, MIX_CODES_SIZE * sizeof(AttentionCode));
}

/**
 * Codes n to n + 4 W of row r of a mix, from words whose low 16 bits are the codes (unsigned: 0 to 255). All codes of
 * a mix are stored by this function or all by mix_store_column.
 */
template <bool SIGNED>
POGO_HD void mix_store_row(AttentionCode* codes, int r, int n, const I* c) {
  sthalves(codes + 64 * r + n, c);
}

/** Codes n to n + 3 of rows r to r + W of a mix: lanes are rows. */
template <bool SIGNED>
POGO_HD void mix_store_column(AttentionCode* codes, int r, int n, I c0, I c1, I c2, I c3) {
  uint32_t* out = (uint32_t*)(void*)codes + 32 * n + r;
  sti(out, pogo_ior(pogo_iand(c0, pogo_ifill(c0, 0xFFFFu)), pogo_shl<16>(c1)));
  sti(out + 64, pogo_ior(pogo_iand(c2, pogo_ifill(c2, 0xFFFFu)), pogo_shl<16>(c3)));
}

/**
 * acc[r][d] = sum over tokens n of codes[r][n] * tokens[n][d]; acc [64][h]. `reach`: which n of a row can have codes
 * other than 0. BY_COLUMN: the codes were stored by mix_store_column.
 */
template <bool BY_COLUMN, bool SIGNED>
static void mix_tile(const AttentionCode* codes, const AttentionCode* tokens, int64_t h, AttentionReach reach,
                     int32_t* acc) {
  constexpr int64_t ars = BY_COLUMN ? 1 : 32, aks = BY_COLUMN ? 64 : 1;
  for (int64_t d = 0; d < h; d += 16) {
    for (int i = 0; i < 64; i += TILE_ROWS) {
      int height = 64 - i < TILE_ROWS ? 64 - i : TILE_ROWS;
      int64_t first = reach == REACH_FROM_ROW ? i / 2 : 0;
      int64_t last = reach == REACH_UP_TO_ROW ? (i + height + 1) / 2 : 32;
      tile_i32(codes + 2 * (i * ars + first * aks), ars, aks, tokens + 2 * (first * h + d), h, last - first, height,
               acc + i * h + d, h);
    }
  }
}

#endif
