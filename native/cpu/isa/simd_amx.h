// AMX: the lanes of AVX-512, integer products by TDPBSSD on tiles of 16 x 64 bytes.
//
// A GEMM's tile is 32 x 32: four tiles of sums, two of a, two of b. Rows of a go into a tile as they are; b is packed
// as TDPBSSD wants it, a row of a tile holding 4 codes of each of 16 columns. A panel of 1024 codes is 16 steps of four
// products. Its sums are stored, and promoted to fp32 between the products of the next panel, as many rows a step as end
// with its last step: the vector units work while the tile unit does, and one buffer of sums is enough.
#ifndef POGO_CPU_SIMD_AMX_H
#define POGO_CPU_SIMD_AMX_H

#define POGO_TILES 1
#include "simd_avx512.h"
#include "tiles.h"

// Every tile is 16 rows of 64 bytes: 16 x 64 codes of a, 64 x 16 of b, 16 x 16 sums. Edges are padded in memory.
static const TileConfig TILES_FULL = {1, 0, {0}, {64, 64, 64, 64, 64, 64, 64, 64}, {16, 16, 16, 16, 16, 16, 16, 16}};

typedef int8_t GemmCode;
static constexpr int GEMM_CODES = 64, GEMM_ROWS = 32, GEMM_COLUMNS = 32, GEMM_HEAD = 0;
static constexpr int64_t STRIP = 64;

/** Rows of a that only need padding. */
POGO_HD void gemm_row(const int8_t* in, int8_t* out, int64_t n) { memcpy(out, in, (size_t)n); }

/**
 * Rows of a as they are: whole tiles, whose 64 bytes a row and 16 rows all belong to the strip. Not with rows a
 * multiple of 2 KiB apart: 32 of them would fall into at most two sets of a 48 KiB L1 (12 lines each).
 */
static inline const GemmCode* gemm_in_place(const int8_t* a, int64_t rows, int64_t K) {
  return K % 64 == 0 && rows % 16 == 0 && K % 2048 != 0 ? a : nullptr;
}

static inline int64_t gemm_row_stride(int64_t padded) { return padded % 2048 == 0 ? padded + 64 : padded; }

/** 32 rows of b (`rows` of them real, K columns), zeros beyond: [ceil(K/64)][2 tiles][16 fours of k][16][4]. */
static void pack_gemm(const int8_t* b, int64_t ldb, int rows, int64_t K, int8_t* out) {
  for (int64_t k = 0; k < K; k += 64) {
    for (int half = 0; half < 2; half++) {
      __m512i r[16];
      for (int i = 0; i < 16; i++) {
        int n = half * 16 + i;
        r[i] = n < rows ? load_codes(b + n * ldb + k, K - k) : _mm512_setzero_si512();
      }
      transpose_words(r);
      for (int i = 0; i < 16; i++) _mm512_storeu_si512(out + i * 64, r[i]);
      out += 1024;
    }
  }
}

// Member functions outside an anonymous namespace would be shared with the sets that have a class of the same name.
namespace {

/** Sums of one tile of the product that wait for their promotion. */
struct TileSums {
  const float *sa, *sb;
  float* y;
  int64_t ldy;
  int rows, done;
  bool first;
};

/** The tile unit of this thread while one operation runs; released however that ends. */
class TileUnit {
 public:
  TileUnit() { tile_configure(&TILES_FULL); }
  ~TileUnit() { tile_release(); }
  TileUnit(const TileUnit&) = delete;
  TileUnit& operator=(const TileUnit&) = delete;
};
typedef TileUnit AttentionUnit;

/** Tiles of a product, and the sums of the last one until they are promoted. */
class GemmTiles {
 public:
  GemmTiles() { pending_.rows = pending_.done = 0; }

  /**
   * y[r][c] = (first ? : y +) float(sum over `steps` of 64 codes) * (sa[r] * sb[c]) for `rows` <= 32 rows, 32 columns.
   * Rows of a are `ars` times 64 codes apart; the tiles of a with at least one of the rows are read whole. y is
   * complete only after the next call, or finish().
   */
  void tile(const int8_t* a, int64_t ars, const int8_t* b, int64_t steps, int rows, const float* sa, const float* sb,
            float* y, int64_t ldy, bool first) {
    if (rows > 16) {
      products<true>(a, 64 * ars, b, steps);
    } else {
      products<false>(a, 64 * ars, b, steps);
    }
    pending_ = {sa, sb, y, ldy, rows, 0, first};
  }

  /** Promotes what is waiting. */
  void finish() { promote(32); }

 private:
  TileUnit unit_;
  alignas(64) int32_t sums_[32 * 32];
  TileSums pending_;

  /** The next `count` rows of the sums that wait. */
  void promote(int count) {
    TileSums& p = pending_;
    int last = p.done + count < p.rows ? p.done + count : p.rows;
    if (p.done >= last) return;
    const uint32_t* sums = (const uint32_t*)sums_;
    F s0 = ld(p.sb), s1 = ld(p.sb + 16);
    for (int r = p.done; r < last; r++) {
      F row = pogo_fill(s0, p.sa[r]);
      F v0 = pogo_promote(ldi(sums + r * 32), row, s0), v1 = pogo_promote(ldi(sums + r * 32 + 16), row, s1);
      float* y = p.y + r * p.ldy;
      st(y, p.first ? v0 : pogo_add(ld(y), v0));
      st(y + 16, p.first ? v1 : pogo_add(ld(y + 16), v1));
    }
    p.done = last;
  }

  /** Sums of 32 (or, with LOWER false, 16) rows and 32 columns into sums_[32][32], once those that wait there are promoted. */
  template <bool LOWER>
  void products(const int8_t* a, int64_t stride, const int8_t* b, int64_t steps) {
    const int rows_a_step = (int)((32 + steps - 1) / steps);
    tile_zero<0>();
    tile_zero<1>();
    if constexpr (LOWER) {
      tile_zero<2>();
      tile_zero<3>();
    }
    for (int64_t k = 0; k < steps; k++) {
      tile_load<6>(b, 64);
      tile_load<4>(a, stride);
      tile_dot_signed<0, 4, 6>();
      if constexpr (LOWER) {
        tile_load<5>(a + 16 * stride, stride);
        tile_dot_signed<2, 5, 6>();
      }
      tile_load<7>(b + 1024, 64);
      tile_dot_signed<1, 4, 7>();
      if constexpr (LOWER) tile_dot_signed<3, 5, 7>();
      promote(rows_a_step);
      a += 64;
      b += 2048;
    }
    tile_store<0>(sums_, 128);
    tile_store<1>(sums_ + 16, 128);
    if constexpr (LOWER) {
      tile_store<2>(sums_ + 16 * 32, 128);
      tile_store<3>(sums_ + 16 * 32 + 16, 128);
    }
  }
};

}  // namespace

#include "attention_tiles.h"

#endif
