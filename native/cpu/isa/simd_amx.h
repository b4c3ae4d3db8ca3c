// AMX: the lanes of AVX-512, integer products by TDPBSSD on tiles of 16 x 64 bytes.
//
// Rows of a go into a tile as they are; b is packed as TDPBSSD wants it, a row of a tile holding 4 codes of each of 16
// columns. gemm_tiles.h has the order of a product's tiles.
#ifndef POGO_CPU_SIMD_AMX_H
#define POGO_CPU_SIMD_AMX_H

#define POGO_TILES 1
#include "simd_avx512.h"
#include "tiles.h"

// Every tile is 16 rows of 64 bytes: 16 x 64 codes of a, 64 x 16 of b, 16 x 16 sums. Edges are padded in memory.
static const TileConfig TILES_FULL = {1, 0, {0}, {64, 64, 64, 64, 64, 64, 64, 64}, {16, 16, 16, 16, 16, 16, 16, 16}};

typedef int8_t GemmCode;
static constexpr int GEMM_CODES = 64, GEMM_ROWS = 32, GEMM_COLUMNS = 32, GEMM_HEAD = 0;

/** Rows of a that only need padding. */
POGO_HD void gemm_row(const int8_t* in, int8_t* out, int64_t n) { memcpy(out, in, (size_t)n); }

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

/** The tile unit of this thread while one operation runs; released however that ends. */
class TileUnit {
 public:
  TileUnit() { tile_configure(&TILES_FULL); }
  ~TileUnit() { tile_release(); }
  TileUnit(const TileUnit&) = delete;
  TileUnit& operator=(const TileUnit&) = delete;
};
typedef TileUnit AttentionUnit;

}  // namespace

#include "attention_tiles.h"

#endif
