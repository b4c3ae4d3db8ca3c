// The head (numerics 4, headForward): logits, softmax numerators and their codes by panels of 1024 vocabulary entries,
// no tokens x vocabulary matrix in fp32.
//
// The maximum of a panel is gathered like the absmax of row codes (epilogue_codes.h): by a cluster, or in a pass of its
// own. T64 fits the accumulators: element pairs are the first step, fragments nt and nt + 4, + 2, + 1 the next three, the
// lanes of a row the last two. Sums of blocks of 64 entries go to memory; a small kernel adds them and does the rest.
#ifndef POGO_CUDA_EPILOGUE_HEAD_H
#define POGO_CUDA_EPILOGUE_HEAD_H

#include "epilogue.h"
#include "epilogue_codes.h"

namespace pogo {

/** An unsigned integer in the order of floats, 0 for none: maxima of floats by integer operations (-0 < +0, no matter). */
POGO_HD uint32_t order_key(float x) {
  const uint32_t bits = pogo_bits(x);
  return bits ^ ((bits >> 31) != 0 ? 0xFFFFFFFFu : 0x80000000u);
}
POGO_HD float of_order_key(uint32_t key) { return pogo_of_bits(key ^ ((key >> 31) != 0 ? 0x80000000u : 0xFFFFFFFFu)); }

/** Of a float: what is masked. Below every key of a finite one. */
static constexpr uint32_t MINUS_INFINITY = 0x80000000u | POGO_INFINITY_BITS;

/** A panel's maximum as it enters the exponentials: -0 becomes +0 (1.3). */
POGO_HD float panel_maximum(uint32_t key) { return pogo_add(of_order_key(key), 0.0f); }

struct HeadEpilogue {
  struct Args {
    /** i8 [T, V] or null (losses only). */
    int8_t* codes;
    const uint32_t* seed;
    const uint32_t* targets;
    /** u32 [P(V), T]: maxima as keys. */
    uint32_t* maxima;
    /** f32 [ceil(V / 64), T]. */
    float* block_sums;
    /** f32 [T]: z of the target. */
    float* target_z;
    unsigned long long* failure;
    uint32_t entry, t0, vocab;
    Reach reach;
  };

  template <class Shape>
  POGO_HD constexpr uint32_t bytes() {
    return Shape::ROWS * byte_pitch(Shape::COLUMNS);
  }

  /** z of the targets that lie in the tile, `target_of` a row of it. Few tiles hold a row's target, and of such a tile one thread. */
  template <class Shape, class TargetOf>
  static __device__ __forceinline__ void find_targets(const GemmOperands& g, const Args& e, TilePlace place,
                                                      const float (&sum)[Shape::MT][Shape::NT][4], TargetOf target_of) {
    POGO_UNROLL
    for (int mt = 0; mt < Shape::MT; mt += 1) {
      POGO_UNROLL
      for (int h = 0; h < 2; h += 1) {
        const uint32_t row = fragment_row<Shape>(Team<Shape>::thread(), mt, h), t = place.row0 + row;
        const uint32_t target = t < g.M ? target_of(row) : 0xFFFFFFFFu;
        const uint32_t distance = target - (place.col0 + fragment_column<Shape>(Team<Shape>::thread(), 0));
        if (target >= e.vocab || distance >= 8 * Shape::NT || distance % 8 >= 2) continue;
        float target_z = 0.0f;
        POGO_UNROLL
        for (int nt = 0; nt < Shape::NT; nt += 1) {
          POGO_UNROLL
          for (uint32_t k = 0; k < 2; k += 1) {
            if (distance == 8 * (uint32_t)nt + k) target_z = sum[mt][nt][2 * h + k];
          }
        }
        e.target_z[t] = target_z;
      }
    }
  }

  /** z in place of the logits, -Inf in place of masked ones; a thread's maxima over its entries of 64 columns of a row. */
  template <class Shape, bool MASKED>
  static __device__ __forceinline__ void thread_maxima(const GemmOperands& g, const Args& e, TilePlace place,
                                                       float (&sum)[Shape::MT][Shape::NT][4],
                                                       float (&tops)[Shape::MT][2][Shape::BLOCKS]) {
    POGO_UNROLL
    for (int mt = 0; mt < Shape::MT; mt += 1) {
      POGO_UNROLL
      for (int h = 0; h < 2; h += 1) {
        const uint32_t row = fragment_row<Shape>(Team<Shape>::thread(), mt, h), t = place.row0 + row;
        float largest = 0.0f;
        POGO_UNROLL
        for (int block = 0; block < Shape::BLOCKS; block += 1) {
          float top = pogo_of_bits(MINUS_INFINITY);
          POGO_UNROLL
          for (int nt = 8 * block; nt < 8 * block + 8; nt += 1) {
            const uint32_t n = place.col0 + fragment_column<Shape>(Team<Shape>::thread(), nt);
            POGO_UNROLL
            for (uint32_t k = 0; k < 2; k += 1) {
              float& z = sum[mt][nt][2 * h + k];
              z = pogo_mul(z, POGO_LOG2E);
              const bool real = !MASKED || n + k < e.vocab;
              largest = larger_magnitude(largest, real ? z : 0.0f);
              if (MASKED) z = real ? z : pogo_of_bits(MINUS_INFINITY);
              top = larger(top, z);
            }
          }
          tops[mt][h][block] = top;
        }
        if (!pogo_absmax_is_finite(pogo_bits(largest)) && t < g.M) {
          pogo_report(e.failure, e.entry, FAILURE_NON_FINITE, t);
        }
      }
    }
  }

  /** Few tiles hold masked entries; the others do not ask. */
  template <class Shape>
  static __device__ __forceinline__ void maxima(const GemmOperands& g, const Args& e, TilePlace place,
                                                float (&sum)[Shape::MT][Shape::NT][4],
                                                float (&tops)[Shape::MT][2][Shape::BLOCKS]) {
    if (place.col0 + (uint32_t)Shape::COLUMNS > e.vocab) {
      thread_maxima<Shape, true>(g, e, place, sum, tops);
    } else {
      thread_maxima<Shape, false>(g, e, place, sum, tops);
    }
  }

  /** The largest of the four lanes that share a row. */
  static __device__ __forceinline__ float quad_largest(float top) {
    top = larger(top, __shfl_xor_sync(0xFFFFFFFFu, top, 1));
    return larger(top, __shfl_xor_sync(0xFFFFFFFFu, top, 2));
  }

  /** Numerators by the rows' maxima, their codes to staging, their sums of blocks of 64 to memory. */
  template <class Shape>
  static __device__ __forceinline__ void numerators(const GemmOperands& g, const Args& e, TilePlace place,
                                                    unsigned char* staging, const uint32_t* column_words,
                                                    const uint32_t (&row_words)[Shape::MT][2],
                                                    const float (&maxima)[Shape::MT][2],
                                                    const float (&sum)[Shape::MT][Shape::NT][4]) {
    POGO_UNROLL
    for (int mt = 0; mt < Shape::MT; mt += 1) {
      POGO_UNROLL
      for (int h = 0; h < 2; h += 1) {
        const uint32_t row = fragment_row<Shape>(Team<Shape>::thread(), mt, h);
        const float maximum = maxima[mt][h];
        const uint32_t row_word = row_words[mt][h];
        POGO_UNROLL
        for (int block = 0; block < Shape::BLOCKS; block += 1) {
          float pairs[8];
          POGO_UNROLL
          for (int nt = 8 * block; nt < 8 * block + 8; nt += 1) {
            const uint32_t column = fragment_column<Shape>(Team<Shape>::thread(), nt);
            float p[2];
            POGO_UNROLL
            for (uint32_t k = 0; k < 2; k += 1) {
              // At most +0, and +0 of what is masked.
              p[k] = pogo_exp2_below(pogo_sub(sum[mt][nt][2 * h + k], maximum));
            }
            pairs[nt - 8 * block] = pogo_add(p[0], p[1]);
            // Codes that nobody wants are made of undefined words and go nowhere: cheaper than a branch an element.
            const uint2 words = *reinterpret_cast<const uint2*>(column_words + column);
            // A masked entry has p = +0, and dither alone rounds to code 0.
            *reinterpret_cast<uint16_t*>(staging + row * byte_pitch(Shape::COLUMNS) + column) =
                low_bytes(pogo_code_dithered_bits(p[0], POGO_Q8_C, words.x, row_word),
                          pogo_code_dithered_bits(p[1], POGO_Q8_C, words.y, row_word));
          }
          POGO_UNROLL
          for (int s = 4; s > 0; s /= 2) {
            POGO_UNROLL
            for (int i = 0; i < 4; i += 1) {
              if (i < s) pairs[i] = pogo_add(pairs[i], pairs[i + s]);
            }
          }
          float total = pogo_add(pairs[0], __shfl_xor_sync(0xFFFFFFFFu, pairs[0], 2));
          total = pogo_add(total, __shfl_xor_sync(0xFFFFFFFFu, total, 1));
          const uint32_t n0 = place.col0 + fragment_column<Shape>(Team<Shape>::thread(), 8 * block);
          if (Team<Shape>::thread() % 4 == 0 && place.row0 + row < g.M && n0 < g.N) {
            e.block_sums[(size_t)(n0 / 64) * g.M + place.row0 + row] = total;
          }
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
    const bool first_pass = e.reach == Reach::FIRST;
    if (live) {
      float tops[Shape::MT][2][Shape::BLOCKS];
      maxima<Shape>(g, e, place, sum, tops);
      POGO_UNROLL
      for (int mt = 0; mt < Shape::MT; mt += 1) {
        POGO_UNROLL
        for (int h = 0; h < 2; h += 1) {
          POGO_UNROLL
          for (int block = 0; block < Shape::BLOCKS; block += 1) {
            const float top = quad_largest(tops[mt][h][block]);
            if (Team<Shape>::thread() % 4 != 0) continue;
            uint32_t* words = scratch.tops + fragment_row<Shape>(Team<Shape>::thread(), mt, h) * Shape::SUBGROUPS +
                              fragment_column<Shape>(Team<Shape>::thread(), 8 * block) / 32;
            words[0] = order_key(top);
            words[1] = 0;
          }
        }
      }
      if (!first_pass) {
        find_targets<Shape>(g, e, place, sum, [&](uint32_t row) { return __ldg(e.targets + place.row0 + row); });
      }
      if (e.codes != nullptr && !first_pass) dither_words<Shape>(e.seed, e.t0, place, scratch);
    }
    Team<Shape>::sync();

    uint32_t top = 0;
    const bool owns_row = Team<Shape>::thread() < (uint32_t)Shape::ROWS;
    const uint32_t t = place.row0 + Team<Shape>::thread(), panel = place.col0 / PANEL;
    const bool owns = owns_row && t < g.M && live;
    if (owns_row && live) {
      const uint4 tops = *reinterpret_cast<const uint4*>(scratch.tops + Team<Shape>::thread() * Shape::SUBGROUPS);
      top = pogo_imax(pogo_imax(tops.x, tops.y), pogo_imax(tops.z, tops.w));
    }
    if (first_pass) {
      if (owns) atomicMax(e.maxima + (size_t)panel * g.M + t, top);
      return;
    }
    if (e.reach == Reach::SECOND && owns) top = __ldg(e.maxima + (size_t)panel * g.M + t);
    if (e.reach == Reach::CLUSTER) {
      if (owns_row) scratch.tops[Team<Shape>::thread() * Shape::SUBGROUPS] = top;
      cluster_sync();
      if (owns_row) {
        const uint32_t blocks = cluster_size();
        POGO_NO_UNROLL
        for (uint32_t rank = 0; rank < blocks; rank += 1) {
          top = pogo_imax(top, *map_shared(scratch.tops + Team<Shape>::thread() * Shape::SUBGROUPS, rank));
        }
      }
      cluster_arrive();
    }
    if (owns_row) scratch.multipliers[Team<Shape>::thread() * Shape::SUBGROUPS] = panel_maximum(top);
    if (owns && e.reach != Reach::SECOND && place.col0 % PANEL == 0) e.maxima[(size_t)panel * g.M + t] = top;
    Team<Shape>::sync();

    if (live) {
      float maxima[Shape::MT][2];
      uint32_t row_words[Shape::MT][2];
      POGO_UNROLL
      for (int mt = 0; mt < Shape::MT; mt += 1) {
        POGO_UNROLL
        for (int h = 0; h < 2; h += 1) {
          const uint32_t row = fragment_row<Shape>(Team<Shape>::thread(), mt, h);
          maxima[mt][h] = scratch.multipliers[row * Shape::SUBGROUPS];
          row_words[mt][h] = scratch.row_words[row];
        }
      }
      numerators<Shape>(g, e, place, staging, scratch.column_words, row_words, maxima, sum);
      Team<Shape>::sync();
      if (e.codes != nullptr) {
        store_tile<Shape, Shape::COLUMNS>(staging, byte_pitch(Shape::COLUMNS),
                                   reinterpret_cast<unsigned char*>(e.codes + (size_t)place.row0 * g.N + place.col0),
                                   g.N, live_rows<Shape>(g, place), live_columns<Shape>(g, place));
      }
    }
    if (e.reach == Reach::CLUSTER) cluster_wait();
  }
};

}  // namespace pogo

#endif
