// Epilogues without groups: f32 as it is, and bf16 with bias, residual or the one-hot term of the head.
#ifndef POGO_CUDA_EPILOGUE_PLAIN_H
#define POGO_CUDA_EPILOGUE_PLAIN_H

#include "epilogue.h"

namespace pogo {

/** y f32 [M, N] = the product. Four lanes write 32 bytes, a whole sector: no staging. */
struct PlainEpilogue {
  static constexpr bool FETCHES = false;

  struct Args {
    float* y;
  };

  template <class Shape>
  POGO_HD constexpr uint32_t bytes() {
    return 0;
  }

  template <class Shape>
  static __device__ __forceinline__ void run(const GemmOperands& g, const Args& e, TilePlace place, unsigned char*,
                                             const TileScratch<Shape>&, float (&sum)[Shape::MT][Shape::NT][4]) {
    const bool pairs = g.N % 2 == 0;
    each_pair<Shape>(sum, [&](uint32_t row, uint32_t column, const float* value) {
      const uint32_t i = place.row0 + row, j = place.col0 + column;
      if (i >= g.M || j >= g.N) return;
      float* to = e.y + (size_t)i * g.N + j;
      if (pairs) {
        *reinterpret_cast<float2*>(to) = make_float2(value[0], value[1]);
      } else {
        to[0] = value[0];
        if (j + 1 < g.N) to[1] = value[1];
      }
    });
  }
};

enum class Bf16Form {
  /** bf16(GEMM) */
  PLAIN,
  /** bf16(x + (GEMM + bias)) */
  RESIDUAL,
  /** bf16(GEMM - w[target] * (1/U)) */
  ONE_HOT,
};

/** y bf16 [M, N]. */
template <Bf16Form FORM>
struct Bf16Epilogue {
  /** Reads its tile of x into staging, which may be asked for (`fetch`) before the sums are there (`finish`). */
  static constexpr bool FETCHES = FORM == Bf16Form::RESIDUAL;

  struct Args {
    uint16_t* y;
    /** f32 [N] or null. */
    const float* bias;
    /** bf16 [M, N]; may be y: a block reads its tile before it writes it. */
    const uint16_t* x;
    /** Row codes [rows, N] and their scales [P(N), rows]. */
    const int8_t* w;
    const float* w_scales;
    const uint32_t* targets;
    uint32_t w_rows;
    float inverse_tokens;
  };

  template <class Shape>
  POGO_HD constexpr uint32_t bytes() {
    return Shape::ROWS * half_pitch(Shape::COLUMNS);
  }

  template <class Shape>
  static __device__ __forceinline__ void fetch(const GemmOperands& g, const Args& e, TilePlace place, unsigned char* staging) {
    const size_t at = (size_t)place.row0 * g.N + place.col0;
    start_tile<Shape, 2 * Shape::COLUMNS>(reinterpret_cast<const unsigned char*>(e.x + at), (size_t)g.N * 2,
                                          live_rows<Shape>(g, place), 2 * live_columns<Shape>(g, place), staging,
                                          half_pitch(Shape::COLUMNS));
  }

  template <class Shape>
  static __device__ __forceinline__ void run(const GemmOperands& g, const Args& e, TilePlace place,
                                             unsigned char* staging, const TileScratch<Shape>&,
                                             float (&sum)[Shape::MT][Shape::NT][4]) {
    if (FETCHES) fetch<Shape>(g, e, place, staging);
    finish<Shape>(g, e, place, staging, sum);
  }

  template <class Shape>
  static __device__ __forceinline__ void finish(const GemmOperands& g, const Args& e, TilePlace place, unsigned char* staging,
                                                float (&sum)[Shape::MT][Shape::NT][4]) {
    const uint32_t rows = live_rows<Shape>(g, place), width = 2 * live_columns<Shape>(g, place);
    const size_t at = (size_t)place.row0 * g.N + place.col0, stride = (size_t)g.N * 2;
    if (FORM == Bf16Form::RESIDUAL) {
      cp_async_wait<0>();
      if (e.bias != nullptr) add_bias<Shape>(g, e.bias, place, sum);
      Team<Shape>::sync();
    }
    each_pair<Shape>(sum, [&](uint32_t row, uint32_t column, float* value) {
      const uint32_t i = place.row0 + row, j = place.col0 + column;
      const bool live = i < g.M && j < g.N, second = j + 1 < g.N;
      // A thread reads the two values of x where it will write its own.
      uint32_t* word = reinterpret_cast<uint32_t*>(staging + row * half_pitch(Shape::COLUMNS) + 2 * column);
      if (FORM == Bf16Form::RESIDUAL) {
        const uint32_t x = *word;
        value[0] = pogo_add(pogo_of_bits(x << 16), value[0]);
        value[1] = pogo_add(pogo_of_bits(x & 0xFFFF0000u), value[1]);
      }
      if (FORM == Bf16Form::ONE_HOT && live) {
        const uint32_t target = min(__ldg(e.targets + i), e.w_rows - 1);
        const int8_t* w = e.w + (size_t)target * g.N + j;
        // Two neighbours lie in one panel: its width is even.
        const float scale = __ldg(e.w_scales + (size_t)(j / PANEL) * e.w_rows + target);
        POGO_UNROLL
        for (int k = 0; k < 2; k += 1) {
          if (k == 1 && !second) continue;
          const float weight = pogo_mul(pogo_to_float((uint32_t)(int32_t)w[k]), scale);
          value[k] = pogo_sub(value[k], pogo_mul(weight, e.inverse_tokens));
        }
      }
      *word = pair_bf16(value[0], value[1]);
    });
    Team<Shape>::sync();
    store_tile<Shape, 2 * Shape::COLUMNS>(staging, half_pitch(Shape::COLUMNS), reinterpret_cast<unsigned char*>(e.y + at), stride,
                               rows, width);
  }
};

}  // namespace pogo

#endif
