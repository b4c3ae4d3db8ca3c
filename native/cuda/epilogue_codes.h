// Epilogues that quantize: groups of columns of a row get one scale and codes of 8 bits (numerics 2.1).
//
// A group may be wider than a tile (row codes: 1024 columns; heads of 256). Its absmax is then gathered by one of two
// ways with the same bits, since a maximum has no order: a cluster of blocks reads each other's maxima in distributed
// shared memory (sm_90), or the product runs twice (sm_80): the first pass gathers maxima with integer atomics in the
// place where the scales will be, the second quantizes, and a last small kernel turns maxima into scales.
// The product is run twice and not stored in between because it is cheap where this is needed: with K = 768 it costs
// less than writing and reading 8 bytes an element.
#ifndef POGO_CUDA_EPILOGUE_CODES_H
#define POGO_CUDA_EPILOGUE_CODES_H

#include "epilogue.h"

namespace pogo {

/** How far a group reaches and which pass this is. */
enum class Reach : uint32_t {
  /** A group lies within a tile. */
  TILE,
  /** Within a cluster. */
  CLUSTER,
  /** First pass: maxima only. */
  FIRST,
  /** Second pass: codes by known maxima. */
  SECOND,
};

enum class CodesForm {
  /** y (+ bias) */
  PLAIN,
  /** gelu(y + bias), and codes of its derivative */
  GELU,
  /** y * derivative / 112, and column sums of it */
  GELU_GRADIENT,
};

template <CodesForm FORM>
struct CodesEpilogue {
  struct Args {
    /** i8 [M, N], f32 [ceil(N / group), M]. In two passes the scales hold bits of maxima until the last kernel. */
    int8_t* codes;
    float* scales;
    /** f32 [N] or null. */
    const float* bias;
    /** Four words; null: nearest. */
    const uint32_t* seed;
    /** Out: GELU, in: GELU_GRADIENT. i8 [M, N]. */
    int8_t* derivative_out;
    const int8_t* derivative_in;
    /** f32 [ceil(M / 64), N] or null: sums of du over blocks of 64 rows. */
    float* block_sums;
    unsigned long long* failure;
    uint32_t entry, t0;
    /** Columns of a group: 32, 64, 128, 256 or 1024. */
    uint32_t group;
    Reach reach;
  };

  template <class Shape>
  POGO_HD constexpr uint32_t codes_bytes() {
    return Shape::ROWS * byte_pitch(Shape::COLUMNS);
  }

  template <class Shape>
  POGO_HD constexpr uint32_t bytes() {
    return codes_bytes<Shape>() + (FORM == CodesForm::GELU            ? codes_bytes<Shape>()
                                   : FORM == CodesForm::GELU_GRADIENT ? 4 * Shape::ROWS * float_pitch(Shape::COLUMNS)
                                                                      : 0);
  }

  /** The values to quantize, in place of the product with its bias. */
  template <class Shape>
  static __device__ __forceinline__ void values(const GemmOperands& g, const Args& e, TilePlace place,
                                                unsigned char* staging, unsigned char* second,
                                                float (&sum)[Shape::MT][Shape::NT][4]) {
    if (FORM == CodesForm::GELU) {
      float steepest[Shape::MT][2] = {};
      POGO_UNROLL
      for (int nt = 0; nt < Shape::NT; nt += 1) {
        POGO_UNROLL
        for (int mt = 0; mt < Shape::MT; mt += 1) {
          POGO_UNROLL
          for (int h = 0; h < 2; h += 1) {
            float* value = &sum[mt][nt][2 * h];
            float slopes[2];
            POGO_UNROLL
            for (int k = 0; k < 2; k += 1) {
              pogo_gelu(value[k], &value[k], &slopes[k]);
              steepest[mt][h] = larger_magnitude(steepest[mt][h], slopes[k]);
            }
            *reinterpret_cast<uint16_t*>(second +
                                         fragment_row<Shape>(Team<Shape>::thread(), mt, h) * byte_pitch(Shape::COLUMNS) +
                                         fragment_column<Shape>(Team<Shape>::thread(), nt)) =
                low_bytes(pogo_derivative_bits(slopes[0]), pogo_derivative_bits(slopes[1]));
          }
        }
      }
      // Where u * u overflows the slope is 0 * Inf while the value stays finite.
      POGO_UNROLL
      for (int mt = 0; mt < Shape::MT; mt += 1) {
        POGO_UNROLL
        for (int h = 0; h < 2; h += 1) {
          const uint32_t row = fragment_row<Shape>(Team<Shape>::thread(), mt, h);
          if (!pogo_absmax_is_finite(pogo_bits(steepest[mt][h])) && place.row0 + row < g.M) report<Shape>(g, e, place, row, 0);
        }
      }
    }
    if (FORM == CodesForm::GELU_GRADIENT) {
      // The derivative's codes lie where the codes of the result will.
      load_tile<Shape, Shape::COLUMNS>(
          reinterpret_cast<const unsigned char*>(e.derivative_in + (size_t)place.row0 * g.N + place.col0), g.N,
          live_rows<Shape>(g, place), live_columns<Shape>(g, place), staging, byte_pitch(Shape::COLUMNS));
      Team<Shape>::sync();
      each_pair<Shape>(sum, [&](uint32_t row, uint32_t column, float* value) {
        const uint32_t both = *reinterpret_cast<const uint16_t*>(staging + row * byte_pitch(Shape::COLUMNS) + column);
        const uint32_t codes[2] = {(uint32_t)(int32_t)(int8_t)(both & 255u), (uint32_t)(int32_t)(int8_t)(both >> 8)};
        POGO_UNROLL
        for (uint32_t k = 0; k < 2; k += 1) {
          // Beyond the result any code may lie there: the product is 0, and so is then the value.
          value[k] = pogo_mul(value[k], pogo_mul(pogo_to_float(codes[k]), POGO_INV_DERIVATIVE));
        }
        if (e.block_sums != nullptr) {
          *reinterpret_cast<float2*>(second + 4 * (row * float_pitch(Shape::COLUMNS) + column)) =
              make_float2(value[0], value[1]);
        }
      });
    }
  }

  template <class Shape>
  static __device__ __forceinline__ void report(const GemmOperands& g, const Args& e, TilePlace place, uint32_t row,
                                                uint32_t group_of_tile) {
    const uint32_t groups = (g.N + e.group - 1) / e.group, group = place.col0 / e.group + group_of_tile;
    pogo_report(e.failure, e.entry, FAILURE_NON_FINITE, (unsigned long long)(place.row0 + row) * groups + group);
  }

  /** Sums over blocks of 64 rows, one thread a column: sequential, as numerics 1.11 has it. */
  template <class Shape>
  static __device__ __forceinline__ void column_sums(const GemmOperands& g, const Args& e, TilePlace place,
                                                     const unsigned char* second) {
    const float* du = reinterpret_cast<const float*>(second);
    POGO_NO_UNROLL
    for (uint32_t i = Team<Shape>::thread(); i < (uint32_t)(Shape::COLUMNS * (Shape::ROWS / 64)); i += Shape::THREADS) {
      const uint32_t column = i % Shape::COLUMNS, first = i / Shape::COLUMNS * 64;
      if (place.col0 + column >= g.N || place.row0 + first >= g.M) continue;
      const uint32_t end = min(first + 64, g.M - place.row0);
      float total = du[first * float_pitch(Shape::COLUMNS) + column];
      // Several rows are read before the first is added.
#if defined(__CUDA_ARCH__)
#pragma unroll 8
#endif
      for (uint32_t row = first + 1; row < end; row += 1) {
        total = pogo_add(total, du[row * float_pitch(Shape::COLUMNS) + column]);
      }
      e.block_sums[(size_t)((place.row0 + first) / 64) * g.N + place.col0 + column] = total;
    }
  }

  /** Codes of the values, staged. */
  template <class Shape, bool DITHERED>
  static __device__ __forceinline__ void quantize(const TileScratch<Shape>& scratch,
                                                  const float (&sum)[Shape::MT][Shape::NT][4], unsigned char* staging) {
    // Read once, before anything is staged: for all that the compiler knows, staging changes them.
    float multipliers[Shape::MT][2][Shape::WARP_SUBGROUPS];
    uint32_t row_words[Shape::MT][2];
    const uint32_t subgroup = fragment_column<Shape>(Team<Shape>::thread(), 0) / 32;
    POGO_UNROLL
    for (int mt = 0; mt < Shape::MT; mt += 1) {
      POGO_UNROLL
      for (int h = 0; h < 2; h += 1) {
        const uint32_t row = fragment_row<Shape>(Team<Shape>::thread(), mt, h);
        row_words[mt][h] = DITHERED ? scratch.row_words[row] : 0;
        POGO_UNROLL
        for (int s = 0; s < Shape::WARP_SUBGROUPS; s += 1) {
          multipliers[mt][h][s] = scratch.multipliers[row * Shape::SUBGROUPS + subgroup + (uint32_t)s];
        }
      }
    }
    codes<Shape, DITHERED>(scratch.column_words, row_words, multipliers, sum, staging);
  }

  /** The same by words and multipliers in registers; `column_words`: of the tile, in shared memory. */
  template <class Shape, bool DITHERED>
  static __device__ __forceinline__ void codes(const uint32_t* column_words, const uint32_t (&row_words)[Shape::MT][2],
                                               const float (&multipliers)[Shape::MT][2][Shape::WARP_SUBGROUPS],
                                               const float (&sum)[Shape::MT][Shape::NT][4], unsigned char* staging) {
    POGO_UNROLL
    for (int nt = 0; nt < Shape::NT; nt += 1) {
      const uint32_t column = fragment_column<Shape>(Team<Shape>::thread(), nt);
      uint2 words = make_uint2(0, 0);
      if (DITHERED) words = *reinterpret_cast<const uint2*>(column_words + column);
      POGO_UNROLL
      for (int mt = 0; mt < Shape::MT; mt += 1) {
        POGO_UNROLL
        for (int h = 0; h < 2; h += 1) {
          const uint32_t row = fragment_row<Shape>(Team<Shape>::thread(), mt, h);
          const float multiplier = multipliers[mt][h][nt / 4], *value = &sum[mt][nt][2 * h];
          uint32_t low, high;
          if (DITHERED) {
            low = pogo_code_dithered_bits(value[0], multiplier, words.x, row_words[mt][h]);
            high = pogo_code_dithered_bits(value[1], multiplier, words.y, row_words[mt][h]);
          } else {
            low = pogo_code_bits(value[0], multiplier);
            high = pogo_code_bits(value[1], multiplier);
          }
          *reinterpret_cast<uint16_t*>(staging + row * byte_pitch(Shape::COLUMNS) + column) = low_bytes(low, high);
        }
      }
    }
  }

  template <class Shape>
  static __device__ __forceinline__ void run(const GemmOperands& g, const Args& e, TilePlace place,
                                             unsigned char* staging, const TileScratch<Shape>& scratch,
                                             float (&sum)[Shape::MT][Shape::NT][4]) {
    static_assert(Shape::SUBGROUPS == 4, "maxima of a row are read as four words");
    const bool live = place.col0 < g.N;
    unsigned char* second = staging + codes_bytes<Shape>();
    if (live) {
      if (FORM != CodesForm::GELU_GRADIENT && e.bias != nullptr) add_bias<Shape>(g, e.bias, place, sum);
      values<Shape>(g, e, place, staging, second, sum);
      POGO_UNROLL
      for (int mt = 0; mt < Shape::MT; mt += 1) {
        POGO_UNROLL
        for (int h = 0; h < 2; h += 1) {
          POGO_UNROLL
          for (int s = 0; s < Shape::WARP_SUBGROUPS; s += 1) {
            float top = 0.0f;
            POGO_UNROLL
            for (int nt = 4 * s; nt < 4 * s + 4; nt += 1) {
              top = larger_magnitude(top, sum[mt][nt][2 * h]);
              top = larger_magnitude(top, sum[mt][nt][2 * h + 1]);
            }
            top = quad_magnitude(top);
            if (Team<Shape>::thread() % 4 == 0) {
              scratch.tops[fragment_row<Shape>(Team<Shape>::thread(), mt, h) * Shape::SUBGROUPS +
                           fragment_column<Shape>(Team<Shape>::thread(), 4 * s) / 32] = pogo_bits(top);
            }
          }
        }
      }
      if (e.seed != nullptr && e.reach != Reach::FIRST) dither_words<Shape>(e.seed, e.t0, place, scratch);
    }
    Team<Shape>::sync();

    // One thread a row: the absmax of its groups, multipliers and scales.
    const uint32_t width = e.group < (uint32_t)Shape::COLUMNS ? e.group / 32 : (uint32_t)Shape::SUBGROUPS;
    uint32_t row_tops[Shape::SUBGROUPS] = {};
    const bool owns_row = Team<Shape>::thread() < (uint32_t)Shape::ROWS;
    if (owns_row && live) {
      const uint4 tops = *reinterpret_cast<const uint4*>(scratch.tops + Team<Shape>::thread() * Shape::SUBGROUPS);
      const uint32_t pair0 = pogo_imax(tops.x, tops.y), pair1 = pogo_imax(tops.z, tops.w), all = pogo_imax(pair0, pair1);
      row_tops[0] = width == 1 ? tops.x : width == 2 ? pair0 : all;
      row_tops[1] = width == 1 ? tops.y : width == 2 ? pair0 : all;
      row_tops[2] = width == 1 ? tops.z : width == 2 ? pair1 : all;
      row_tops[3] = width == 1 ? tops.w : width == 2 ? pair1 : all;
    }
    const uint32_t row = place.row0 + Team<Shape>::thread(), group0 = place.col0 / e.group;
    const bool owns = owns_row && row < g.M && live;
    if (e.reach == Reach::FIRST) {
      uint32_t* maxima = reinterpret_cast<uint32_t*>(e.scales);
      if (owns) atomicMax(maxima + (size_t)group0 * g.M + row, row_tops[0]);
      return;
    }
    if (e.reach == Reach::SECOND && owns) {
      row_tops[0] = __ldg(reinterpret_cast<const uint32_t*>(e.scales) + (size_t)group0 * g.M + row);
    }
    if (e.reach == Reach::CLUSTER) {
      // The first word of a row's maxima is its own thread's alone by now. An idle block says 0.
      if (owns_row) scratch.tops[Team<Shape>::thread() * Shape::SUBGROUPS] = row_tops[0];
      cluster_sync();
      if (owns_row) {
        const uint32_t blocks = cluster_size();
        POGO_NO_UNROLL
        for (uint32_t rank = 0; rank < blocks; rank += 1) {
          row_tops[0] = pogo_imax(row_tops[0], *map_shared(scratch.tops + Team<Shape>::thread() * Shape::SUBGROUPS, rank));
        }
      }
      // Whoever is read may not end before; the wait for the others comes at the end.
      cluster_arrive();
    }
    if (owns) {
      POGO_UNROLL
      for (uint32_t s = 0; s < (uint32_t)Shape::SUBGROUPS; s += 1) {
        if (s % width != 0) continue;
        PogoScale scale;
        pogo_q8(row_tops[s], POGO_Q8_C, POGO_Q8_R, &scale);
        POGO_UNROLL
        for (uint32_t i = 0; i < (uint32_t)Shape::SUBGROUPS; i += 1) {
          if (i >= s && i < s + width) scratch.multipliers[Team<Shape>::thread() * Shape::SUBGROUPS + i] = scale.multiplier;
        }
        // A group's scale is written by the tile that holds its first column.
        const uint32_t column = place.col0 + 32 * s;
        if (column >= g.N || column % e.group != 0) continue;
        if (!pogo_absmax_is_finite(row_tops[s])) report<Shape>(g, e, place, Team<Shape>::thread(), s / width);
        if (e.reach != Reach::SECOND) e.scales[(size_t)(column / e.group) * g.M + row] = scale.scale;
      }
    }
    Team<Shape>::sync();
    if (live) {
      if (e.seed != nullptr) {
        quantize<Shape, true>(scratch, sum, staging);
      } else {
        quantize<Shape, false>(scratch, sum, staging);
      }
      Team<Shape>::sync();
      const uint32_t rows = live_rows<Shape>(g, place), columns = live_columns<Shape>(g, place);
      const size_t at = (size_t)place.row0 * g.N + place.col0;
      store_tile<Shape, Shape::COLUMNS>(staging, byte_pitch(Shape::COLUMNS), reinterpret_cast<unsigned char*>(e.codes + at), g.N,
                                 rows, columns);
      if (FORM == CodesForm::GELU) {
        store_tile<Shape, Shape::COLUMNS>(second, byte_pitch(Shape::COLUMNS),
                                   reinterpret_cast<unsigned char*>(e.derivative_out + at), g.N, rows, columns);
      }
      if (FORM == CodesForm::GELU_GRADIENT && e.block_sums != nullptr) column_sums<Shape>(g, e, place, second);
    }
    if (e.reach == Reach::CLUSTER) cluster_wait();
  }
};

}  // namespace pogo

#endif
