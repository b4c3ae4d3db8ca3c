// Epilogues of single warps on wgmma (sm_90a): 8-bit codes and the head, by the functions of epilogue_codes.h and epilogue_head.h.
//
// A warp has 16 whole rows of the tile, so it goes from the products to the stores without meeting the other warps of its
// block: maxima cross blocks by RowExchange, staging is each warp's own. While one warp waits, the others go on.
#ifndef POGO_CUDA_WARP_CODES_H
#define POGO_CUDA_WARP_CODES_H

#include "epilogue_codes.h"
#include "epilogue_head.h"
#include "row_exchange.h"

namespace pogo {

/** A warp's part of a block's tile: made anew where it is needed, since no register is free for it in between. */
static __device__ __forceinline__ TilePlace place_of_warp(TilePlace place) {
  return {made_again(place.row0) + made_again(threadIdx.x) / 32 * (uint32_t)WarpTile::ROWS, made_again(place.col0)};
}

/** A warp's staged codes to `out` i8 [M, N]. */
static __device__ __forceinline__ void store_codes(const GemmOperands& g, TilePlace own, const unsigned char* staged, int8_t* out) {
  __syncwarp();
  store_tile<WarpTile, WarpTile::COLUMNS>(staged, byte_pitch(WarpTile::COLUMNS),
                                          reinterpret_cast<unsigned char*>(out + (size_t)own.row0 * g.N + own.col0), g.N,
                                          live_rows<WarpTile>(g, own), live_columns<WarpTile>(g, own));
}

/** The dither words of a lane's two rows. */
template <class Shape>
static __device__ __forceinline__ void lane_row_words(const TileScratch<Shape>& scratch, uint32_t (&words)[1][2]) {
  POGO_UNROLL
  for (uint32_t h = 0; h < 2; h += 1) words[0][h] = scratch.row_words[threadIdx.x / 32 * 16 + threadIdx.x % 32 / 4 + 8 * h];
}

template <CodesForm FORM>
struct WarpCodes {
  using Codes = CodesEpilogue<FORM>;
  using Args = typename Codes::Args;
  static constexpr uint32_t CODES_BYTES = WarpTile::ROWS * byte_pitch(WarpTile::COLUMNS),
                            SECOND_BYTES = FORM == CodesForm::GELU_GRADIENT ? 4 * WarpTile::ROWS * float_pitch(WarpTile::COLUMNS)
                                                                            : CODES_BYTES;

  template <class Shape>
  POGO_HD constexpr uint32_t bytes() {
    return Codes::template bytes<Shape>();
  }

  /** All threads of the block, a barrier of which must follow. */
  template <class Shape>
  static __device__ __forceinline__ void ahead(const GemmOperands& g, const Args& e, TilePlace place,
                                               const TileScratch<Shape>& scratch) {
    const uint32_t column = place.col0 + threadIdx.x, row = place.row0 + threadIdx.x;
    if (FORM != CodesForm::GELU_GRADIENT && e.bias != nullptr && threadIdx.x < (uint32_t)Shape::COLUMNS) {
      Ahead::bias(scratch)[threadIdx.x] = column < g.N ? __ldg(e.bias + column) : 0.0f;
    }
    if (FORM == CodesForm::GELU_GRADIENT && threadIdx.x < (uint32_t)Shape::ROWS && row < g.M && place.col0 < g.N) {
      fetch_ahead(e.derivative_in + (size_t)row * g.N + place.col0);
    }
    if (e.seed != nullptr) dither_words<Shape>(e.seed, e.t0, place, scratch);
  }

  /**
   * Bits of the absmax of each lane's two rows over groups of `width` times 32 columns, at the first 32 columns of each group;
   * all four lanes of a row know them.
   */
  static __device__ __forceinline__ void maxima(const float (&sum)[1][16][4], uint32_t width, uint32_t (&tops)[2][4]) {
    POGO_UNROLL
    for (int h = 0; h < 2; h += 1) {
      float each[4];
      POGO_UNROLL
      for (int s = 0; s < 4; s += 1) {
        each[s] = 0.0f;
        POGO_UNROLL
        for (int nt = 4 * s; nt < 4 * s + 4; nt += 1) {
          each[s] = larger_magnitude(each[s], sum[0][nt][2 * h]);
          each[s] = larger_magnitude(each[s], sum[0][nt][2 * h + 1]);
        }
      }
      if (width > 1) {
        each[0] = larger_magnitude(each[0], each[1]);
        each[2] = larger_magnitude(each[2], each[3]);
      }
      if (width > 2) {
        tops[h][0] = pogo_bits(quad_magnitude(larger_magnitude(each[0], each[2])));
      } else {
        POGO_UNROLL
        for (int s = 0; s < 4; s += 1) tops[h][s] = pogo_bits(quad_magnitude(each[s]));
      }
    }
  }

  /** The scale of one group, as one lane of its row: stored, and its multiplier. */
  static __device__ __forceinline__ float scale(const GemmOperands& g, const Args& e, TilePlace own, uint32_t h, uint32_t s,
                                                uint32_t width, uint32_t top, bool stores) {
    PogoScale scale;
    pogo_q8(top, POGO_Q8_C, POGO_Q8_R, &scale);
    const uint32_t in_tile = threadIdx.x % 32 / 4 + 8 * h, row = own.row0 + in_tile, column = own.col0 + 32 * s;
    // A group's scale is written by the tile that holds its first column; groups are powers of two.
    if (stores && row < g.M && column < g.N && (column & (e.group - 1)) == 0) {
      if (!pogo_absmax_is_finite(top)) Codes::template report<WarpTile>(g, e, own, in_tile, s / width);
      e.scales[(size_t)(column / e.group) * g.M + row] = scale.scale;
    }
    return scale.multiplier;
  }

  /** Multipliers of each lane's rows: the divisions of a row's groups are dealt out to its four lanes. */
  static __device__ __forceinline__ void scales(const GemmOperands& g, const Args& e, TilePlace own, uint32_t width,
                                                const uint32_t (&tops)[2][4], float (&multipliers)[1][2][4]) {
    const uint32_t q = threadIdx.x % 4, first = threadIdx.x % 32 & ~3u;
    if (width == 1) {
      POGO_UNROLL
      for (uint32_t h = 0; h < 2; h += 1) {
        const uint32_t top = q < 2 ? (q == 0 ? tops[h][0] : tops[h][1]) : (q == 2 ? tops[h][2] : tops[h][3]);
        const float multiplier = scale(g, e, own, h, q, 1, top, true);
        POGO_UNROLL
        for (uint32_t s = 0; s < 4; s += 1) multipliers[0][h][s] = __shfl_sync(0xFFFFFFFFu, multiplier, first + s);
      }
      return;
    }
    const uint32_t h = q / 2, s = width == 2 ? q % 2 * 2 : 0;
    const uint32_t top = s == 0 ? (h == 0 ? tops[0][0] : tops[1][0]) : (h == 0 ? tops[0][2] : tops[1][2]);
    const float multiplier = scale(g, e, own, h, s, width, top, width == 2 || q % 2 == 0);
    POGO_UNROLL
    for (uint32_t i = 0; i < 4; i += 1) {
      const float one = __shfl_sync(0xFFFFFFFFu, multiplier, first + i);
      multipliers[0][i / 2][i % 2 * 2] = one;
      multipliers[0][i / 2][i % 2 * 2 + 1] = one;
    }
  }

  /** `staging`: the block's; `exchange`: begun where groups reach beyond the tile. */
  template <class Shape>
  static __device__ __forceinline__ void run(const GemmOperands& g, const Args& e, TilePlace place, unsigned char* staging,
                                             const TileScratch<Shape>& scratch, const RowExchange& exchange,
                                             float (&sum)[1][16][4]) {
    const bool gathers = e.reach == Reach::CLUSTER;
    if (place.col0 >= g.N) return exchange.idle(gathers);
    unsigned char* second = staging + Codes::template codes_bytes<Shape>() + threadIdx.x / 32 * SECOND_BYTES;
    const auto own_codes = [&] { return staging + made_again(threadIdx.x) / 32 * CODES_BYTES; };
    if (FORM != CodesForm::GELU_GRADIENT && e.bias != nullptr) {
      const float* bias = Ahead::bias(scratch) + fragment_column<WarpTile>(threadIdx.x % 32, 0);
      POGO_UNROLL
      for (int nt = 0; nt < 16; nt += 1) add_to_columns<WarpTile>(nt, *reinterpret_cast<const float2*>(bias + 8 * nt), sum);
    }
    Codes::template values<WarpTile>(g, e, place_of_warp(place), own_codes(), second, sum);
    const uint32_t width = e.group < (uint32_t)Shape::COLUMNS ? e.group / 32 : (uint32_t)Shape::SUBGROUPS;
    uint32_t tops[2][4] = {};
    maxima(sum, width, tops);
    uint32_t row_tops[2] = {tops[0][0], tops[1][0]};
    if (gathers) exchange.tell(row_tops);
    if (FORM == CodesForm::GELU) store_codes(g, place_of_warp(place), second, e.derivative_out);
    if (FORM == CodesForm::GELU_GRADIENT && e.block_sums != nullptr) {
      // Sums of 64 rows need the warps of those rows.
      Team<WarpgroupTile<16>>::sync();
      const uint32_t group = threadIdx.x / 128;
      Codes::template column_sums<WarpgroupTile<16>>(g, e, {place.row0 + 64 * group, place.col0},
                                                 staging + Codes::template codes_bytes<Shape>() + 4 * group * SECOND_BYTES);
    }
    if (gathers) exchange.gather(row_tops);
    tops[0][0] = row_tops[0];
    tops[1][0] = row_tops[1];
    const TilePlace own = place_of_warp(place);
    unsigned char* codes = own_codes();
    float multipliers[1][2][4];
    scales(g, e, own, width, tops, multipliers);
    uint32_t row_words[1][2] = {};
    if (e.seed != nullptr) {
      lane_row_words(scratch, row_words);
      Codes::template codes<WarpTile, true>(scratch.column_words, row_words, multipliers, sum, codes);
    } else {
      Codes::template codes<WarpTile, false>(scratch.column_words, row_words, multipliers, sum, codes);
    }
    store_codes(g, own, codes, e.codes);
  }
};

struct WarpHead {
  using Args = HeadEpilogue::Args;

  template <class Shape>
  POGO_HD constexpr uint32_t bytes() {
    return HeadEpilogue::bytes<Shape>();
  }

  template <class Shape>
  static __device__ __forceinline__ void ahead(const GemmOperands& g, const Args& e, TilePlace place,
                                               const TileScratch<Shape>& scratch) {
    const uint32_t row = place.row0 + threadIdx.x;
    if (threadIdx.x < (uint32_t)Shape::ROWS && row < g.M) Ahead::targets(scratch)[threadIdx.x] = __ldg(e.targets + row);
    if (e.codes != nullptr) dither_words<Shape>(e.seed, e.t0, place, scratch);
  }

  template <class Shape>
  static __device__ __forceinline__ void run(const GemmOperands& g, const Args& e, TilePlace place, unsigned char* staging,
                                             const TileScratch<Shape>& scratch, const RowExchange& exchange,
                                             float (&sum)[1][16][4]) {
    const bool gathers = e.reach == Reach::CLUSTER;
    if (place.col0 >= g.N) return exchange.idle(gathers);
    const TilePlace own = place_of_warp(place);
    unsigned char* codes = staging + threadIdx.x / 32 * (WarpTile::ROWS * byte_pitch(WarpTile::COLUMNS));
    uint32_t keys[2];
    float tops[1][2][WarpTile::BLOCKS];
    HeadEpilogue::maxima<WarpTile>(g, e, own, sum, tops);
    POGO_UNROLL
    for (uint32_t h = 0; h < 2; h += 1) {
      float top = tops[0][h][0];
      POGO_UNROLL
      for (int block = 1; block < WarpTile::BLOCKS; block += 1) top = larger(top, tops[0][h][block]);
      keys[h] = order_key(HeadEpilogue::quad_largest(top));
    }
    if (gathers) exchange.tell(keys);
    const uint32_t* targets = Ahead::targets(scratch) + threadIdx.x / 32 * 16;
    HeadEpilogue::find_targets<WarpTile>(g, e, own, sum, [&](uint32_t row) { return targets[row]; });
    if (gathers) exchange.gather(keys);
    const uint32_t panel = own.col0 / PANEL, q = threadIdx.x % 4, t = own.row0 + threadIdx.x % 32 / 4 + 8 * q;
    if (own.col0 % PANEL == 0 && q < 2 && t < g.M) e.maxima[(size_t)panel * g.M + t] = q == 0 ? keys[0] : keys[1];
    uint32_t row_words[1][2];
    lane_row_words(scratch, row_words);
    const float maxima[1][2] = {{panel_maximum(keys[0]), panel_maximum(keys[1])}};
    HeadEpilogue::numerators<WarpTile>(g, e, own, codes, scratch.column_words, row_words, maxima, sum);
    if (e.codes != nullptr) store_codes(g, own, codes, e.codes);
  }
};

template <CodesForm FORM>
struct BySingleWarps<WarpCodes<FORM>> {
  static constexpr bool VALUE = true;
};
template <>
struct BySingleWarps<WarpHead> {
  static constexpr bool VALUE = true;
};

}  // namespace pogo

#endif
