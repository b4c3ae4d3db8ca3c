// Integer products of bytes on 256-bit registers by AVX-VNNI: the GEMM's operands and tile, and attention's blocks (the
// functions of attention_pairs.h). Included by simd_avx2.h.
//
// As under AVX-512 (simd_avx512.h, attention_bytes512.h): the broadcast operand is unsigned, code + 128 where the codes
// are signed, and sums begin at -128 times the sum of what they contract.
#ifndef POGO_CPU_BYTES256_H
#define POGO_CPU_BYTES256_H

/** c += a . b in place. */
POGO_HD void dot_bytes(__m256i& c, __m256i a, __m256i b) {
#if defined(__GNUC__)
  __asm__("%{vex%} vpdpbusd %2, %1, %0" : "+x"(c) : "x"(a), "x"(b));
#else
  c = _mm256_dpbusd_avx_epi32(c, a, b);
#endif
}

/** 16 rows of b (`rows` of them real, K columns): corrections int32 [16], then fours [ceil(K/4)][16][4]. */
static void pack_fours(const int8_t* b, int64_t ldb, int rows, int64_t K, int8_t* out) {
  const __m256i offset = _mm256_set1_epi8(-128);  // 128 as the unsigned operand
  int8_t* fours = out + 64;
  int64_t k = 0;
  for (; rows == 16 && k + 32 <= K; k += 32) {
    for (int half = 0; half < 2; half++) {
      __m256i r[8];
      for (int i = 0; i < 8; i++) r[i] = _mm256_loadu_si256((const __m256i*)(b + (half * 8 + i) * ldb + k));
      transpose8(r);
      for (int i = 0; i < 8; i++) _mm256_storeu_si256((__m256i*)(fours + (k / 4 + i) * 64 + half * 32), r[i]);
    }
  }
  for (int64_t word = k / 4; word < (K + 3) / 4; word++) {
    for (int n = 0; n < 16; n++) {
      for (int e = 0; e < 4; e++) {
        int64_t at = 4 * word + e;
        fours[(word * 16 + n) * 4 + e] = n < rows && at < K ? b[n * ldb + at] : 0;
      }
    }
  }
  for (int half = 0; half < 64; half += 32) {
    __m256i sum = _mm256_setzero_si256();
    for (int64_t word = 0; word < (K + 3) / 4; word++) {
      dot_bytes(sum, offset, _mm256_loadu_si256((const __m256i*)(fours + word * 64 + half)));
    }
    _mm256_storeu_si256((__m256i*)(out + half), _mm256_sub_epi32(_mm256_setzero_si256(), sum));
  }
}

// The GEMM's operands.
typedef int8_t GemmCode;
static constexpr int GEMM_CODES = 4, GEMM_ROWS = 6, GEMM_COLUMNS = 16, GEMM_HEAD = 4;

/** A row of a in the GEMM's form. */
POGO_HD void gemm_row(const int8_t* in, int8_t* out, int64_t n) {
  const __m256i sign = _mm256_set1_epi8(-128);
  int64_t i = 0;
  for (; i + 32 <= n; i += 32) {
    __m256i x = _mm256_loadu_si256((const __m256i*)(in + i));
    _mm256_storeu_si256((__m256i*)(out + i), _mm256_xor_si256(x, sign));
  }
  for (; i < n; i++) out[i] = (int8_t)(in[i] ^ -128);
}

POGO_HD void pack_gemm(const int8_t* b, int64_t ldb, int rows, int64_t K, int8_t* out) {
  pack_fours(b, ldb, rows, K, out);
}

// 6 x 16 accumulators fill 12 of the 16 registers; two hold b, one the broadcast of a.
#define POGO_TILE_ROW(r)                                     \
  if constexpr (R > r) {                                     \
    __m256i x = _mm256_set1_epi32(load_word(a + (r) * ars)); \
    dot_bytes(c##r##0, x, b0);                               \
    dot_bytes(c##r##1, x, b1);                               \
  }

/** Sums of R rows x 16 columns that begin at `left` and `right`, strides in bytes; `store(r, left, right)` per row. */
template <int R, class Store>
POGO_HD void tile_rows(const int8_t* a, int64_t ars, int64_t aks, const int8_t* b, int64_t bks, int64_t words,
                       __m256i left, __m256i right, Store store) {
  __m256i c00 = left, c01 = right, c10 = left, c11 = right, c20 = left, c21 = right;
  __m256i c30 = left, c31 = right, c40 = left, c41 = right, c50 = left, c51 = right;
  for (int64_t k = 0; k < words; k++) {
    __m256i b0 = _mm256_loadu_si256((const __m256i*)b), b1 = _mm256_loadu_si256((const __m256i*)(b + 32));
    POGO_TILE_ROW(0)
    POGO_TILE_ROW(1)
    POGO_TILE_ROW(2)
    POGO_TILE_ROW(3)
    POGO_TILE_ROW(4)
    POGO_TILE_ROW(5)
    a += aks;
    b += bks;
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
static void tile_f32_rows(const int8_t* a, int64_t ars, const int8_t* b, int64_t words, const float* sa,
                          const float* sb, float* y, int64_t ldy, bool first) {
  __m256i begin0 = _mm256_loadu_si256((const __m256i*)b), begin1 = _mm256_loadu_si256((const __m256i*)(b + 32));
  tile_rows<R>(a, ars, 4, b + 64, 64, words, begin0, begin1, [&](int r, __m256i left, __m256i right) {
    F s0 = ld(sb), s1 = ld(sb + 8), row = pogo_fill(s0, sa[r]);
    F v0 = pogo_promote(I{left}, row, s0), v1 = pogo_promote(I{right}, row, s1);
    float* p = y + r * ldy;
    st(p, first ? v0 : pogo_add(ld(p), v0));
    st(p + 8, first ? v1 : pogo_add(ld(p + 8), v1));
  });
}

/** A tile of the GEMM, promoted: y[r][c] = (first ? : y +) float(acc) * (sa[r] * sb[c]); rows <= GEMM_ROWS. */
static void tile_f32(const int8_t* a, int64_t ars, const int8_t* b, int64_t words, int rows, const float* sa,
                     const float* sb, float* y, int64_t ldy, bool first) {
  ars *= 4;
  switch (rows) {
    case 6: return tile_f32_rows<6>(a, ars, b, words, sa, sb, y, ldy, first);
    case 5: return tile_f32_rows<5>(a, ars, b, words, sa, sb, y, ldy, first);
    case 4: return tile_f32_rows<4>(a, ars, b, words, sa, sb, y, ldy, first);
    case 3: return tile_f32_rows<3>(a, ars, b, words, sa, sb, y, ldy, first);
    case 2: return tile_f32_rows<2>(a, ars, b, words, sa, sb, y, ldy, first);
    default: return tile_f32_rows<1>(a, ars, b, words, sa, sb, y, ldy, first);
  }
}

// Attention's blocks.
typedef int8_t AttentionCode;

static inline int64_t score_rows_size(int64_t h) { return 64 * h; }
/** Four times 16 columns: int32 [16], then [h/4][16][4]. */
static inline int64_t score_columns_size(int64_t h) { return 4 * (64 + 16 * h); }
/** [16][h][4], then running sums int32 [9][h]: 128 times the sum of tokens 0 to 8 g. */
static inline int64_t mix_tokens_size(int64_t h) { return 64 * h + 36 * h; }
static constexpr int64_t MIX_CODES_SIZE = 64 * 64;

static void score_rows(const int8_t* in, int64_t stride, int64_t h, AttentionCode* out) {
  for (int t = 0; t < 64; t++) gemm_row(in + t * stride, out + t * h, h);
}

static void score_columns(const int8_t* in, int64_t stride, int64_t h, AttentionCode* out) {
  for (int j = 0; j < 4; j++) pack_fours(in + 16 * j * stride, stride, 16, h, out + j * (64 + 16 * h));
}

POGO_ALONE void mix_tokens(const int8_t* in, int64_t stride, int64_t h, AttentionCode* out) {
  const __m256i offset = _mm256_set1_epi8(-128);
  int32_t* sums = (int32_t*)(void*)(out + 64 * h);
  for (int64_t d = 0; d < h; d += 16) {
    __m256i left = _mm256_setzero_si256(), right = left;
    for (int g = 0; g < 9; g++) {
      _mm256_storeu_si256((__m256i*)(sums + g * h + d), left);
      _mm256_storeu_si256((__m256i*)(sums + g * h + d + 8), right);
      for (int f = 2 * g; g < 8 && f < 2 * g + 2; f++) {
        // From registers: a vector that was stored in two parts cannot be read before both are in the cache.
        const Interleaved x = interleave_rows(in + 4 * f * stride + d, stride);
        const __m256i a = _mm256_set_m128i(x.v[1], x.v[0]), b = _mm256_set_m128i(x.v[3], x.v[2]);
        __m256i* p = (__m256i*)(out + (f * h + d) * 4);
        _mm256_storeu_si256(p, a);
        _mm256_storeu_si256(p + 1, b);
        dot_bytes(left, offset, a);
        dot_bytes(right, offset, b);
      }
    }
  }
}

template <int R>
static void tile_i32_rows(const int8_t* a, int64_t ars, int64_t aks, const int8_t* b, int64_t bks, int64_t words,
                          __m256i left, __m256i right, int32_t* acc, int64_t ldacc) {
  tile_rows<R>(a, ars, aks, b, bks, words, left, right, [&](int r, __m256i x, __m256i y) {
    _mm256_storeu_si256((__m256i*)(acc + r * ldacc), x);
    _mm256_storeu_si256((__m256i*)(acc + r * ldacc + 8), y);
  });
}

/** Rows of a block are 10 times 6, and 4. */
static void tile_i32(const int8_t* a, int64_t ars, int64_t aks, const int8_t* b, int64_t bks, int64_t words, int rows,
                     __m256i left, __m256i right, int32_t* acc, int64_t ldacc) {
  if (rows == 6) return tile_i32_rows<6>(a, ars, aks, b, bks, words, left, right, acc, ldacc);
  tile_i32_rows<4>(a, ars, aks, b, bks, words, left, right, acc, ldacc);
}

POGO_ALONE void score_tile(const AttentionCode* rows, const AttentionCode* columns, int64_t h, AttentionReach reach,
                           int32_t* acc) {
  for (int j = 0; j < 64; j += 16) {
    const int8_t* b = columns + j / 16 * (64 + 16 * h);
    __m256i left = _mm256_loadu_si256((const __m256i*)b), right = _mm256_loadu_si256((const __m256i*)(b + 32));
    for (int i = 0; i < 64; i += 6) {
      int height = 64 - i < 6 ? 4 : 6;
      if (reach == REACH_UP_TO_ROW && j > i + height - 1) continue;
      if (reach == REACH_FROM_ROW && j + 15 < i) continue;
      tile_i32(rows + i * h, h, 4, b + 64, 64, h / 4, height, left, right, acc + i * 64 + j, 64);
    }
  }
}

template <bool SIGNED>
static void mix_clear(AttentionCode* codes) {
  memset(codes, SIGNED ? 0x80 : 0, MIX_CODES_SIZE);
}

template <bool SIGNED>
POGO_HD void mix_store_row(AttentionCode* codes, int r, int n, const I* c) {
  __m256i x = low_bytes(c);
  if (SIGNED) x = _mm256_xor_si256(x, _mm256_set1_epi8(-128));
  _mm256_storeu_si256((__m256i*)(codes + 64 * r + n), x);
}

template <bool SIGNED>
POGO_HD void mix_store_column(AttentionCode* codes, int r, int n, I c0, I c1, I c2, I c3) {
  __m256i x = word_of_bytes(c0, c1, c2, c3).v;
  if (SIGNED) x = _mm256_xor_si256(x, _mm256_set1_epi8(-128));
  _mm256_storeu_si256((__m256i*)(codes + 64 * n + 4 * r), x);
}

template <bool BY_COLUMN, bool SIGNED>
POGO_ALONE void mix_tile(const AttentionCode* codes, const AttentionCode* tokens, int64_t h, AttentionReach reach,
                         int32_t* acc) {
  constexpr int64_t ars = BY_COLUMN ? 4 : 64, aks = BY_COLUMN ? 256 : 4;
  const int32_t* sums = (const int32_t*)(const void*)(tokens + 64 * h);
  for (int64_t d = 0; d < h; d += 16) {
    for (int i = 0; i < 64; i += 6) {
      // Whole groups of 8 tokens, which the running sums know; codes beyond the diagonal are 0.
      int height = 64 - i < 6 ? 4 : 6;
      int64_t first = reach == REACH_FROM_ROW ? i / 8 : 0, last = reach == REACH_UP_TO_ROW ? (i + height + 7) / 8 : 8;
      __m256i left = _mm256_setzero_si256(), right = left;
      if (SIGNED) {
        const __m256i *from = (const __m256i*)(sums + first * h + d), *to = (const __m256i*)(sums + last * h + d);
        left = _mm256_sub_epi32(_mm256_loadu_si256(from), _mm256_loadu_si256(to));
        right = _mm256_sub_epi32(_mm256_loadu_si256(from + 1), _mm256_loadu_si256(to + 1));
      }
      tile_i32(codes + i * ars + 2 * first * aks, ars, aks, tokens + 4 * (2 * first * h + d), 4 * h, 2 * (last - first),
               height, left, right, acc + i * h + d, h);
    }
  }
}

#endif
