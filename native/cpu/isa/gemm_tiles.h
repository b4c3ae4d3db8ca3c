// The order of a product's tiles on AMX. Included by kernels/gemm.inc, which says what its parts mean.
//
// Four tiles of sums, two of a, two of b: 32 x 32 of the product, and 64 codes of depth, in four TDPBSSD of 16 cycles
// each. Loads hide behind them as long as L1 has the operands of one side, so the orders below are those with the
// fewest bytes between the caches (scripts/tile-counts.mjs; numbers in ../README.md):
// - 32 rows of a stay in L1 while b passes. More than 576 codes of depth do not fit beside a tile of b, so such a
//   panel goes in two sweeps of half its depth, rows of a copied side by side; the sums of the first wait in L2 and are
//   added as integers.
// - Up to 320 codes, 64 rows fit, and a tile of b is used twice while it is there.
// Sums of a tile are stored, and promoted to fp32 between the products of the next one, as many rows a step as end with
// its last step: the vector units work while the tile unit does, and one buffer of sums is enough.
#ifndef POGO_CPU_GEMM_TILES_H
#define POGO_CPU_GEMM_TILES_H

#include "gemm_tile_sizes.h"

static constexpr int64_t STRIP = 64;
static_assert(PART == 64, "narrow_block gives whole parts");

/** Rows of a as they are: whole tiles, whose 64 bytes a row and 16 rows all belong to the strip. */
static inline const GemmCode* gemm_in_place(const int8_t* a, int64_t rows, int64_t K) {
  return K % 64 == 0 && rows % 16 == 0 ? a : nullptr;
}
static inline int64_t gemm_row_stride(int64_t padded) { return padded; }

/** A matrix that an L2 does not hold is not read into it before it is written. */
static inline bool gemm_past(const float* y, int64_t M, int64_t N) {
  return M * N * 4 >= 2 << 20 && N % 16 == 0 && (uintptr_t)y % 64 == 0;
}

namespace {

/** Sums of one tile of the product that wait for their promotion. */
struct TileSums {
  const int32_t* before;  // of the first half of the depth, or null
  const float *sa, *sb;
  float *y, *to;  // sums so far, and where the new ones go: y, or past the caches
  int64_t ld, to_ld;
  int rows, done;
  bool first, past;
};

/** Tiles of a product, and the sums of the last one until they are promoted. */
class GemmTiles {
 public:
  explicit GemmTiles(PogoArena* arena)
      : halves_(take<int32_t>(arena, 32 * 1024)), copied_(take<int8_t>(arena, 32 * 64 * HALF_STEPS)) {
    pending_.rows = pending_.done = 0;
  }

  /**
   * The tiles of a with at least one of the rows are read whole. `after(j)` follows the last product of column tile j:
   * those before j are then complete in y. All are after finish().
   */
  template <class After>
  void sweep(const GemmSweep& s, After after) {
    if (s.words <= WHOLE_STEPS) {
      pass(s, s.a, 64 * s.ars, 0, s.words, nullptr, after);
      return;
    }
    const int64_t early = s.words / 2;
    copy(s, 0, early);
    for (int64_t j = 0; j < s.tiles; j++)
      products(s.rows, copied_, 64 * early, s.b + j * s.tile_size, early, halves_ + 1024 * j);
    copy(s, early, s.words - early);
    pass(s, copied_, 64 * (s.words - early), early, s.words - early, halves_, after);
  }

  /** Promotes what is waiting. */
  void finish() { promote(32); }

 private:
  TileUnit unit_;
  alignas(64) int32_t sums_[32 * 32];
  int32_t* halves_;
  int8_t* copied_;
  TileSums pending_;

  /** Steps `from` to `from + steps` of the depth; `a` begins at the first of them. */
  template <class After>
  void pass(const GemmSweep& s, const int8_t* a, int64_t stride, int64_t from, int64_t steps, const int32_t* before,
            After after) {
    for (int64_t j = 0; j < s.tiles; j++) {
      for (int64_t r = 0; r < s.rows; r += 32) {
        const int64_t rows = s.rows - r < 32 ? s.rows - r : 32;
        products(rows, a + r * stride, stride, s.b + j * s.tile_size + 2048 * from, steps, sums_);
        float* y = s.y + r * s.ld + 32 * j;
        float* to = s.past ? s.past + r * s.past_ld + 32 * j : y;
        pending_ = {before ? before + 1024 * j : nullptr,
                    s.sa + r,
                    s.sb + 32 * j,
                    y,
                    to,
                    s.ld,
                    s.past ? s.past_ld : s.ld,
                    (int)rows,
                    0,
                    s.first,
                    s.past != nullptr};
      }
      after(j);
    }
  }

  /** Steps of the strip's rows, at most 32, side by side. */
  void copy(const GemmSweep& s, int64_t from, int64_t steps) {
    const int64_t rows = (s.rows + 15) / 16 * 16;
    for (int64_t r = 0; r < rows; r++)
      memcpy(copied_ + r * 64 * steps, s.a + 64 * (r * s.ars + from), (size_t)(64 * steps));
  }

  /** The next `count` rows of the sums that wait. */
  void promote(int count) {
    const TileSums p = pending_;  // a copy: stores of results might else change it, for all that the compiler knows
    const int last = p.done + count < p.rows ? p.done + count : p.rows;
    if (p.done >= last) return;
    pending_.done = last;
    if (p.past) {
      promote_rows<true>(p, last);
    } else {
      promote_rows<false>(p, last);
    }
  }

  template <bool PAST>
  void promote_rows(const TileSums& p, int last) {
    const uint32_t *sums = (const uint32_t*)sums_, *before = (const uint32_t*)p.before;
    const F s0 = ld(p.sb), s1 = ld(p.sb + 16);
    for (int r = p.done; r < last; r++) {
      const F row = pogo_fill(s0, p.sa[r]);
      I c0 = ldi(sums + r * 32), c1 = ldi(sums + r * 32 + 16);
      if (before) {
        c0 = pogo_iadd(c0, ldi(before + r * 32));
        c1 = pogo_iadd(c1, ldi(before + r * 32 + 16));
      }
      F v0 = pogo_promote(c0, row, s0), v1 = pogo_promote(c1, row, s1);
      if (!p.first) {
        const float* y = p.y + r * p.ld;
        v0 = pogo_add(ld(y), v0);
        v1 = pogo_add(ld(y + 16), v1);
      }
      float* to = p.to + r * p.to_ld;
      if constexpr (PAST) {
        stpast_whole(to, v0);
        stpast_whole(to + 16, v1);
      } else {
        st(to, v0);
        st(to + 16, v1);
      }
    }
  }

  /** Sums of up to 32 rows and 32 columns into out[32][32], which may be sums_: those that wait there are promoted
   * before. */
  void products(int64_t rows, const int8_t* a, int64_t stride, const int8_t* b, int64_t steps, int32_t* out) {
    if (rows > 16) {
      tiles<true>(a, stride, b, steps, out);
    } else {
      tiles<false>(a, stride, b, steps, out);
    }
  }

  /** LOWER: rows 16 to 31, too. */
  template <bool LOWER>
  void tiles(const int8_t* a, int64_t stride, const int8_t* b, int64_t steps, int32_t* out) {
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
    tile_store<0>(out, 128);
    tile_store<1>(out + 16, 128);
    if constexpr (LOWER) {
      tile_store<2>(out + 16 * 32, 128);
      tile_store<3>(out + 16 * 32 + 16, 128);
    }
  }
};

}  // namespace

#endif
