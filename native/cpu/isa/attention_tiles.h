// Attention's blocks on tiles: the functions of attention_pairs.h by TDPBSSD and TDPBUSD. Codes stay as they are:
// signed, or unsigned where they are so by nature (P), which is what TDPBUSD takes on its left.
#ifndef POGO_CPU_ATTENTION_TILES_H
#define POGO_CPU_ATTENTION_TILES_H

typedef int8_t AttentionCode;

/** Contracted codes of a score, in tiles of 64: a head of 32 has zeros behind it. */
static inline int64_t score_depth(int64_t h) { return h < 64 ? 64 : h; }

static inline int64_t score_rows_size(int64_t h) { return 64 * score_depth(h); }
static inline int64_t score_columns_size(int64_t h) { return 64 * score_depth(h); }
static inline int64_t mix_tokens_size(int64_t h) { return 64 * h; }
static constexpr int64_t MIX_CODES_SIZE = 64 * 64;

static void score_rows(const int8_t* in, int64_t stride, int64_t h, AttentionCode* out) {
  for (int t = 0; t < 64; t++) {
    for (int64_t d = 0; d < h; d += 64) {
      _mm512_storeu_si512(out + t * score_depth(h) + d, load_codes(in + t * stride + d, h - d));
    }
  }
}

/** [4 tiles of 16 tokens][depth / 64][16 fours of codes][16][4]. */
static void score_columns(const int8_t* in, int64_t stride, int64_t h, AttentionCode* out) {
  for (int t = 0; t < 64; t += 16) {
    for (int64_t d = 0; d < h; d += 64) {
      __m512i r[16];
      for (int i = 0; i < 16; i++) r[i] = load_codes(in + (t + i) * stride + d, h - d);
      transpose_words(r);
      for (int i = 0; i < 16; i++) _mm512_storeu_si512(out + i * 64, r[i]);
      out += 1024;
    }
  }
}

/** [h / 16 tiles][16 fours of tokens][16][4]. */
static void mix_tokens(const int8_t* in, int64_t stride, int64_t h, AttentionCode* out) {
  for (int64_t d = 0; d < h; d += 16) {
    for (int f = 0; f < 16; f++) interleave4(in + 4 * f * stride + d, stride, out + d * 64 + f * 64);
  }
}

POGO_ALONE void score_tile(const AttentionCode* rows, const AttentionCode* columns, int64_t h, AttentionReach reach,
                           int32_t* acc) {
  const int64_t depth = score_depth(h);
  for (int j = 0; j < 64; j += 32) {
    for (int i = 0; i < 64; i += 32) {
      if (reach == REACH_UP_TO_ROW && j > i) continue;
      if (reach == REACH_FROM_ROW && j < i) continue;
      tile_zero<0>();
      tile_zero<1>();
      tile_zero<2>();
      tile_zero<3>();
      for (int64_t d = 0; d < depth; d += 64) {
        const int8_t *a = rows + i * depth + d, *b = columns + j * depth + 16 * d;
        tile_load<6>(b, 64);
        tile_load<4>(a, depth);
        tile_dot_signed<0, 4, 6>();
        tile_load<5>(a + 16 * depth, depth);
        tile_dot_signed<2, 5, 6>();
        tile_load<7>(b + 16 * depth, 64);
        tile_dot_signed<1, 4, 7>();
        tile_dot_signed<3, 5, 7>();
      }
      int32_t* out = acc + i * 64 + j;
      tile_store<0>(out, 256);
      tile_store<1>(out + 16, 256);
      tile_store<2>(out + 16 * 64, 256);
      tile_store<3>(out + 16 * 64 + 16, 256);
    }
  }
}

template <bool SIGNED>
static void mix_clear(AttentionCode* codes) {
  memset(codes, 0, MIX_CODES_SIZE);
}

template <bool SIGNED>
POGO_HD void mix_store_row(AttentionCode* codes, int r, int n, const I* c) {
  stcodes(codes + 64 * r + n, c);
}

/** By column the codes stand as [16 fours of tokens][64 rows][4]. */
template <bool SIGNED>
POGO_HD void mix_store_column(AttentionCode* codes, int r, int n, I c0, I c1, I c2, I c3) {
  // Selections by a constant mask: byte 0 of c0, byte 0 of c1, …
  const __m512i byte = _mm512_set1_epi32(0xFF), half = _mm512_set1_epi32(0xFFFF);
  __m512i low = _mm512_ternarylogic_epi32(byte, c0.v, _mm512_slli_epi32(c1.v, 8), 0xCA);
  __m512i high = _mm512_ternarylogic_epi32(byte, c2.v, _mm512_slli_epi32(c3.v, 8), 0xCA);
  _mm512_storeu_si512(codes + 64 * n + 4 * r, _mm512_ternarylogic_epi32(half, low, _mm512_slli_epi32(high, 16), 0xCA));
}

/** One tile of 16 rows of codes against the tokens in tile 4. */
template <bool SIGNED, int sums, int codes>
POGO_HD void mix_rows(int32_t* acc, int64_t h) {
  tile_zero<sums>();
  if constexpr (SIGNED) {
    tile_dot_signed<sums, codes, 4>();
  } else {
    tile_dot_unsigned<sums, codes, 4>();
  }
  tile_store<sums>(acc, 4 * h);
}

/** The 64 tokens are the depth of one tile, so `reach` saves nothing: what it leaves out are codes 0. */
template <bool BY_COLUMN, bool SIGNED>
POGO_ALONE void mix_tile(const AttentionCode* codes, const AttentionCode* tokens, int64_t h, AttentionReach,
                         int32_t* acc) {
  alignas(64) int8_t by_row[MIX_CODES_SIZE];
  if (BY_COLUMN) {
    for (int i = 0; i < 64; i += 16) {
      __m512i r[16];
      for (int f = 0; f < 16; f++) r[f] = _mm512_loadu_si512(codes + 256 * f + 4 * i);
      transpose_words(r);
      for (int n = 0; n < 16; n++) _mm512_store_si512(by_row + 64 * (i + n), r[n]);
    }
    codes = by_row;
  }
  tile_load<0>(codes, 64);
  tile_load<1>(codes + 1024, 64);
  tile_load<2>(codes + 2048, 64);
  tile_load<3>(codes + 3072, 64);
  for (int64_t d = 0; d < h; d += 16) {
    tile_load<4>(tokens + 64 * d, 64);
    mix_rows<SIGNED, 5, 0>(acc + d, h);
    mix_rows<SIGNED, 6, 1>(acc + 16 * h + d, h);
    mix_rows<SIGNED, 7, 2>(acc + 32 * h + d, h);
    mix_rows<SIGNED, 5, 3>(acc + 48 * h + d, h);
  }
}

#endif
