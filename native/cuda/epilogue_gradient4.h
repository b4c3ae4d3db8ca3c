// The weight gradient straight to 4-bit codes (numerics 2.5): no fp32 dW is stored.
//
// A block of 64 columns lies in one warp, in the registers of the four lanes that share a row, and a lane's two
// neighbouring elements are one byte of codes.
#ifndef POGO_CUDA_EPILOGUE_GRADIENT4_H
#define POGO_CUDA_EPILOGUE_GRADIENT4_H

#include "epilogue.h"

namespace pogo {

struct Gradient4Epilogue {
  static constexpr bool FETCHES = false;

  struct Args {
    /** u8 [M * N / 2], bf16 [M * N / 64]; N a multiple of 64. */
    uint8_t* codes;
    uint16_t* scales;
    const uint32_t* seed;
    unsigned long long* failure;
    uint32_t entry;
  };

  template <class Shape>
  POGO_HD constexpr uint32_t bytes() {
    return Shape::ROWS * nibble_pitch(Shape::COLUMNS);
  }

  template <class Shape>
  static __device__ __forceinline__ void run(const GemmOperands& g, const Args& e, TilePlace place,
                                             unsigned char* staging, const TileScratch<Shape>& scratch,
                                             float (&sum)[Shape::MT][Shape::NT][4]) {
    dither_words<Shape>(e.seed, 0, place, scratch);
    Team<Shape>::sync();
    POGO_UNROLL
    for (int mt = 0; mt < Shape::MT; mt += 1) {
      POGO_UNROLL
      for (int h = 0; h < 2; h += 1) {
        const uint32_t row = fragment_row<Shape>(Team<Shape>::thread(), mt, h), i = place.row0 + row;
        const uint32_t row_word = scratch.row_words[row];
        POGO_UNROLL
        for (int block = 0; block < Shape::BLOCKS; block += 1) {
          float largest = 0.0f;
          POGO_UNROLL
          for (int nt = 8 * block; nt < 8 * block + 8; nt += 1) {
            largest = larger_magnitude(largest, sum[mt][nt][2 * h]);
            largest = larger_magnitude(largest, sum[mt][nt][2 * h + 1]);
          }
          const uint32_t top = pogo_bits(quad_magnitude(largest));
          float multiplier;
          uint16_t stored;
          pogo_q4(top, POGO_Q4_R, &multiplier, &stored);
          const uint32_t column0 = fragment_column<Shape>(Team<Shape>::thread(), 8 * block) - 2 * (Team<Shape>::thread() % 4);
          if (Team<Shape>::thread() % 4 == 0 && i < g.M && place.col0 + column0 < g.N) {
            const size_t index = ((size_t)i * g.N + place.col0 + column0) / 64;
            e.scales[index] = stored;
            if (!pogo_absmax_is_finite(top) || stored >= (POGO_INFINITY_BITS >> 16)) {
              pogo_report(e.failure, e.entry, FAILURE_NON_FINITE, index);
            }
          }
          POGO_UNROLL
          for (int nt = 8 * block; nt < 8 * block + 8; nt += 1) {
            const uint32_t column = fragment_column<Shape>(Team<Shape>::thread(), nt);
            const uint2 words = *reinterpret_cast<const uint2*>(scratch.column_words + column);
            const float* value = &sum[mt][nt][2 * h];
            const uint32_t low = pogo_code_dithered_bits(value[0], multiplier, words.x, row_word) & 15u;
            const uint32_t high = pogo_code_dithered_bits(value[1], multiplier, words.y, row_word) & 15u;
            staging[row * nibble_pitch(Shape::COLUMNS) + column / 2] = (uint8_t)(low | high << 4);
          }
        }
      }
    }
    Team<Shape>::sync();
    store_tile<Shape, Shape::COLUMNS / 2>(staging, nibble_pitch(Shape::COLUMNS),
                               e.codes + ((size_t)place.row0 * g.N + place.col0) / 2, g.N / 2,
                               live_rows<Shape>(g, place), live_columns<Shape>(g, place) / 2);
  }
};

}  // namespace pogo

#endif
