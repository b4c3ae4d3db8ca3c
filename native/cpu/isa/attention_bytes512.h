// Attention's blocks on bytes, by VPDPBUSD on 512-bit registers: the functions of attention_pairs.h.
//
// The broadcast operand is unsigned. Rows of a score are code + 128, and the sums begin at -128 times the column's sum,
// which stands at the head of its packed columns. Codes of a mix are unsigned by nature (P) or code + 128; then the
// sums begin at -128 times the sum of the contracted tokens, from running sums kept behind the tokens.
#ifndef POGO_CPU_ATTENTION_BYTES512_H
#define POGO_CPU_ATTENTION_BYTES512_H

typedef int8_t AttentionCode;

static inline int64_t score_rows_size(int64_t h) { return 64 * h; }
/** Two halves of 32 columns: int32 [32], then [h/4][32][4]. */
static inline int64_t score_columns_size(int64_t h) { return 2 * (128 + 32 * h); }
/** [16][h][4], then running sums int32 [9][h]: 128 times the sum of tokens 0 to 8 g. */
static inline int64_t mix_tokens_size(int64_t h) { return 64 * h + 36 * h; }
static constexpr int64_t MIX_CODES_SIZE = 64 * 64;

static void score_rows(const int8_t* in, int64_t stride, int64_t h, AttentionCode* out) {
  const __m256i sign = _mm256_set1_epi8(-128);
  for (int t = 0; t < 64; t++) {
    for (int64_t d = 0; d < h; d += 32) {
      __m256i x = _mm256_loadu_si256((const __m256i*)(in + t * stride + d));
      _mm256_storeu_si256((__m256i*)(out + t * h + d), _mm256_xor_si256(x, sign));
    }
  }
}

static void score_columns(const int8_t* in, int64_t stride, int64_t h, AttentionCode* out) {
  for (int half = 0; half < 2; half++) pack_fours(in + 32 * half * stride, stride, 32, h, out + half * (128 + 32 * h));
}

/** Four rows of 16 codes as [16][4]: a row a quarter, then words by column, then bytes. */
POGO_HD __m512i interleave_quarters(const int8_t* in, int64_t stride) {
  const __m512i words = _mm512_setr_epi32(0, 4, 8, 12, 1, 5, 9, 13, 2, 6, 10, 14, 3, 7, 11, 15);
  const __m512i bytes = _mm512_broadcast_i32x4(_mm_setr_epi8(0, 4, 8, 12, 1, 5, 9, 13, 2, 6, 10, 14, 3, 7, 11, 15));
  auto row = [&](int i) { return _mm_loadu_si128((const __m128i*)(in + i * stride)); };
  __m512i x = _mm512_castsi128_si512(row(0));
  x = _mm512_mask_broadcast_i32x4(x, 0x00F0, row(1));
  x = _mm512_mask_broadcast_i32x4(x, 0x0F00, row(2));
  x = _mm512_mask_broadcast_i32x4(x, 0xF000, row(3));
  return _mm512_shuffle_epi8(_mm512_permutexvar_epi32(words, x), bytes);
}

POGO_ALONE void mix_tokens(const int8_t* in, int64_t stride, int64_t h, AttentionCode* out) {
  const __m512i offset = _mm512_set1_epi8(-128);  // 128 as the unsigned operand
  int32_t* sums = (int32_t*)(void*)(out + 64 * h);
  for (int64_t d = 0; d < h; d += 16) {
    __m512i sum = _mm512_setzero_si512();
    for (int g = 0; g < 8; g++) {
      _mm512_storeu_si512(sums + g * h + d, sum);
      for (int f = 2 * g; f < 2 * g + 2; f++) {
        // From registers: a line that was stored in four parts cannot be read before all of them are in the cache.
        const __m512i x = interleave_quarters(in + 4 * f * stride + d, stride);
        _mm512_storeu_si512(out + (f * h + d) * 4, x);
        sum = _mm512_dpbusd_epi32(sum, offset, x);
      }
    }
    _mm512_storeu_si512(sums + 8 * h + d, sum);
  }
}

#define POGO_EACH_ROW(X) X(0) X(1) X(2) X(3) X(4) X(5) X(6) X(7)
#define POGO_START(r) __m512i c##r##_0 = left, c##r##_1 = right;
#define POGO_TILE_ROW(r)                                     \
  {                                                          \
    __m512i x = _mm512_set1_epi32(load_word(a + (r) * ars)); \
    dot_bytes(c##r##_0, x, b0);                              \
    dot_bytes(c##r##_1, x, b1);                              \
  }
#define POGO_TILE_STORE(r)                          \
  _mm512_storeu_si512(acc + (r) * ldacc, c##r##_0); \
  _mm512_storeu_si512(acc + (r) * ldacc + 16, c##r##_1);

/** 8 x 32 sums that begin at `left` and `right`: `words` words of a, strides in bytes; 16 chains hide the latency. */
POGO_HD void tile_8x32(const int8_t* a, int64_t ars, int64_t aks, const int8_t* b, int64_t bks, int64_t words,
                       __m512i left, __m512i right, int32_t* acc, int64_t ldacc) {
  POGO_EACH_ROW(POGO_START)
  for (int64_t k = 0; k < words; k++) {
    __m512i b0 = _mm512_loadu_si512(b), b1 = _mm512_loadu_si512(b + 64);
    POGO_EACH_ROW(POGO_TILE_ROW)
    a += aks;
    b += bks;
  }
  POGO_EACH_ROW(POGO_TILE_STORE)
}
#undef POGO_EACH_ROW
#undef POGO_START
#undef POGO_TILE_ROW
#undef POGO_TILE_STORE

POGO_ALONE void score_tile(const AttentionCode* rows, const AttentionCode* columns, int64_t h, AttentionReach reach,
                           int32_t* acc) {
  for (int j = 0; j < 64; j += 32) {
    const int8_t* b = columns + j / 32 * (128 + 32 * h);
    __m512i left = _mm512_loadu_si512(b), right = _mm512_loadu_si512(b + 64);
    for (int i = 0; i < 64; i += 8) {
      if (reach == REACH_UP_TO_ROW && j > i + 7) continue;
      if (reach == REACH_FROM_ROW && j + 31 < i) continue;
      tile_8x32(rows + i * h, h, 4, b + 128, 128, h / 4, left, right, acc + i * 64 + j, 64);
    }
  }
}

template <bool SIGNED>
static void mix_clear(AttentionCode* codes) {
  memset(codes, SIGNED ? 0x80 : 0, MIX_CODES_SIZE);
}

template <bool SIGNED>
POGO_HD void mix_store_row(AttentionCode* codes, int r, int n, const I* c) {
  // VPERMT2W takes the low halves of two vectors in order.
  const __m512i even = _mm512_set_epi16(62, 60, 58, 56, 54, 52, 50, 48, 46, 44, 42, 40, 38, 36, 34, 32, 30, 28, 26, 24,
                                        22, 20, 18, 16, 14, 12, 10, 8, 6, 4, 2, 0);
  __m512i a = _mm512_permutex2var_epi16(c[0].v, even, c[1].v), b = _mm512_permutex2var_epi16(c[2].v, even, c[3].v);
  __m512i x = SIGNED ? _mm512_packs_epi16(a, b) : _mm512_packus_epi16(a, b);
  x = _mm512_permutexvar_epi64(_mm512_setr_epi64(0, 2, 4, 6, 1, 3, 5, 7), x);
  if (SIGNED) x = _mm512_xor_si512(x, _mm512_set1_epi8(-128));
  _mm512_storeu_si512(codes + 64 * r + n, x);
}

template <bool SIGNED>
POGO_HD void mix_store_column(AttentionCode* codes, int r, int n, I c0, I c1, I c2, I c3) {
  __m512i x = word_of_bytes(c0, c1, c2, c3).v;
  if (SIGNED) x = _mm512_xor_si512(x, _mm512_set1_epi8(-128));
  _mm512_storeu_si512(codes + 64 * n + 4 * r, x);
}

template <bool BY_COLUMN, bool SIGNED>
POGO_ALONE void mix_tile(const AttentionCode* codes, const AttentionCode* tokens, int64_t h, AttentionReach reach,
                         int32_t* acc) {
  constexpr int64_t ars = BY_COLUMN ? 4 : 64, aks = BY_COLUMN ? 256 : 4;
  const int32_t* sums = (const int32_t*)(const void*)(tokens + 64 * h);
  for (int64_t d = 0; d < h; d += 32) {
    for (int i = 0; i < 64; i += 8) {
      int64_t first = reach == REACH_FROM_ROW ? i / 4 : 0;
      int64_t last = reach == REACH_UP_TO_ROW ? i / 4 + 2 : 16;
      __m512i left = _mm512_setzero_si512(), right = left;
      if (SIGNED) {
        const int32_t *from = sums + first / 2 * h + d, *to = sums + last / 2 * h + d;
        left = _mm512_sub_epi32(_mm512_loadu_si512(from), _mm512_loadu_si512(to));
        right = _mm512_sub_epi32(_mm512_loadu_si512(from + 16), _mm512_loadu_si512(to + 16));
      }
      tile_8x32(codes + i * ars + first * aks, ars, aks, tokens + 4 * (first * h + d), 4 * h, last - first, left, right,
                acc + i * h + d, h);
    }
  }
}

#endif
