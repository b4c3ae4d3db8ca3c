// What the epilogues of the products share: bias, dither words, maxima of rows, stores by whole lines.
//
// An epilogue is a struct with `Args`, `bytes<Shape>()` of staging, and `run<Shape>(g, args, place, staging, scratch,
// sum)`, called by all threads of a block, also of an idle one (place.col0 >= N: its sums are undefined).
#ifndef POGO_CUDA_EPILOGUE_H
#define POGO_CUDA_EPILOGUE_H

#include "../exact/quantize.h"
#include "gemm_kernel.h"

namespace pogo {

/** Calls f(row, column, pair): the tile's row and column of a thread's pairs of elements, and their two registers. */
template <class Shape, class F>
static __device__ __forceinline__ void each_pair(float (&sum)[Shape::MT][Shape::NT][4], F f) {
  POGO_UNROLL
  for (int mt = 0; mt < Shape::MT; mt += 1) {
    POGO_UNROLL
    for (int h = 0; h < 2; h += 1) {
      const uint32_t row = fragment_row<Shape>(Team<Shape>::thread(), mt, h);
      POGO_UNROLL
      for (int nt = 0; nt < Shape::NT; nt += 1) {
        f(row, fragment_column<Shape>(Team<Shape>::thread(), nt), &sum[mt][nt][2 * h]);
      }
    }
  }
}

/** Two neighbouring floats of a vector of `count`, 0 beyond it. */
static __device__ __forceinline__ float2 load_pair(const float* x, uint32_t at, uint32_t count) {
  float2 pair;
  pair.x = at < count ? __ldg(x + at) : 0.0f;
  pair.y = at + 1 < count ? __ldg(x + at + 1) : 0.0f;
  return pair;
}

/** Adds a pair to a thread's two columns of fragment nt. */
template <class Shape>
static __device__ __forceinline__ void add_to_columns(int nt, float2 pair, float (&sum)[Shape::MT][Shape::NT][4]) {
  POGO_UNROLL
  for (int mt = 0; mt < Shape::MT; mt += 1) {
    POGO_UNROLL
    for (int i = 0; i < 4; i += 1) sum[mt][nt][i] = pogo_add(sum[mt][nt][i], i % 2 == 0 ? pair.x : pair.y);
  }
}

/** sum += bias of its column; `bias` f32 [N]. */
template <class Shape>
static __device__ __forceinline__ void add_bias(const GemmOperands& g, const float* bias, TilePlace place,
                                                float (&sum)[Shape::MT][Shape::NT][4]) {
  const uint32_t first = place.col0 + fragment_column<Shape>(Team<Shape>::thread(), 0);
  const auto add = [&](int nt, float2 b) { add_to_columns<Shape>(nt, b, sum); };
  // Nearly all tiles are whole: 16 loads of two floats at one address and constants instead of 32 with a test each.
  if (place.col0 + (uint32_t)Shape::COLUMNS <= g.N && reinterpret_cast<uintptr_t>(bias) % sizeof(float2) == 0) {
    const float2* pairs = reinterpret_cast<const float2*>(bias + first);
    POGO_UNROLL
    for (int nt = 0; nt < Shape::NT; nt += 1) add(nt, __ldg(pairs + 4 * nt));
  } else {
    POGO_UNROLL
    for (int nt = 0; nt < Shape::NT; nt += 1) add(nt, load_pair(bias, first + 8 * (uint32_t)nt, g.N));
  }
}

/** Dither words of the tile's columns, and of its rows counted from `t0`. A barrier must follow. */
template <class Shape>
static __device__ __forceinline__ void dither_words(const uint32_t* seed, uint32_t t0, TilePlace place,
                                                    const TileScratch<Shape>& scratch) {
  POGO_NO_UNROLL
  for (uint32_t i = Team<Shape>::thread(); i < (uint32_t)(Shape::ROWS + Shape::COLUMNS); i += Shape::THREADS) {
    if (i < (uint32_t)Shape::COLUMNS) {
      scratch.column_words[i] = pogo_dither_column(seed, place.col0 + i);
    } else {
      scratch.row_words[i - Shape::COLUMNS] = pogo_dither_row(seed, t0 + place.row0 + i - Shape::COLUMNS);
    }
  }
}

/** The low bytes of two words, that of the first below. */
static __device__ __forceinline__ uint16_t low_bytes(uint32_t first, uint32_t second) {
  return (uint16_t)__byte_perm(first, second, 0x0040);
}

/** The largest magnitude of the four lanes that share a row. */
static __device__ __forceinline__ float quad_magnitude(float value) {
  value = larger_magnitude(value, __shfl_xor_sync(0xFFFFFFFFu, value, 1));
  return larger_magnitude(value, __shfl_xor_sync(0xFFFFFFFFu, value, 2));
}

/** Whether all of a tile is there, rows of WIDTH bytes each, in words of sixteen bytes. */
template <class Shape, uint32_t WIDTH>
static __device__ __forceinline__ bool is_whole(const void* at, size_t stride, uint32_t rows, uint32_t width) {
  static_assert(WIDTH % 16 == 0 && Shape::THREADS % (WIDTH / 16) == 0 && Shape::ROWS % (Shape::THREADS / (WIDTH / 16)) == 0,
                "whole turns of the threads");
  return rows == (uint32_t)Shape::ROWS && width == WIDTH && (reinterpret_cast<uintptr_t>(at) | stride) % 16 == 0;
}

/**
 * A staged tile to global memory: `rows` rows of `width` bytes each, `pitch` bytes apart in shared memory (a multiple of
 * 16) and `stride` bytes apart at `out`. Sixteen bytes at a time where that is aligned. WIDTH: of a whole tile, which nearly
 * all are: no division by what is only known at run time, one address.
 */
template <class Shape, uint32_t WIDTH>
static __device__ __forceinline__ void store_tile(const unsigned char* tile, uint32_t pitch, unsigned char* out,
                                                  size_t stride, uint32_t rows, uint32_t width) {
  if (is_whole<Shape, WIDTH>(out, stride, rows, width)) {
    constexpr uint32_t WORDS = WIDTH / 16, TURN = Shape::THREADS / WORDS;
    const uint32_t row = Team<Shape>::thread() / WORDS, byte = Team<Shape>::thread() % WORDS * 16;
    const unsigned char* from = tile + row * pitch + byte;
    unsigned char* to = out + row * stride + byte;
    POGO_UNROLL
    for (uint32_t turn = 0; turn < Shape::ROWS / TURN; turn += 1) {
      *reinterpret_cast<uint4*>(to) = *reinterpret_cast<const uint4*>(from + turn * TURN * pitch);
      to += TURN * stride;
    }
  } else if (((reinterpret_cast<uintptr_t>(out) | stride | width) % 16) == 0) {
    const uint32_t words = width / 16;
    POGO_NO_UNROLL
    for (uint32_t i = Team<Shape>::thread(); i < rows * words; i += Shape::THREADS) {
      const uint32_t row = i / words, word = i % words;
      *reinterpret_cast<uint4*>(out + row * stride + word * 16) =
          *reinterpret_cast<const uint4*>(tile + row * pitch + word * 16);
    }
  } else {
    POGO_NO_UNROLL
    for (uint32_t i = Team<Shape>::thread(); i < rows * width; i += Shape::THREADS) {
      const uint32_t row = i / width, byte = i % width;
      out[row * stride + byte] = tile[row * pitch + byte];
    }
  }
}

/**
 * The other way: asks for rows of a tile, which are in staging behind cp_async_wait<0> and a barrier. What is not there stays
 * undefined.
 */
template <class Shape, uint32_t WIDTH>
static __device__ __forceinline__ void start_tile(const unsigned char* in, size_t stride, uint32_t rows, uint32_t width,
                                                  unsigned char* tile, uint32_t pitch) {
  if (is_whole<Shape, WIDTH>(in, stride, rows, width)) {
    constexpr uint32_t WORDS = WIDTH / 16, TURN = Shape::THREADS / WORDS;
    const uint32_t row = Team<Shape>::thread() / WORDS, byte = Team<Shape>::thread() % WORDS * 16;
    unsigned char* to = tile + row * pitch + byte;
    const unsigned char* from = in + row * stride + byte;
    POGO_UNROLL
    for (uint32_t turn = 0; turn < Shape::ROWS / TURN; turn += 1) {
      cp_async16(to + turn * TURN * pitch, from, true);
      from += TURN * stride;
    }
    cp_async_commit();
  } else if (((reinterpret_cast<uintptr_t>(in) | stride | width) % 16) == 0) {
    const uint32_t words = width / 16;
    POGO_NO_UNROLL
    for (uint32_t i = Team<Shape>::thread(); i < rows * words; i += Shape::THREADS) {
      const uint32_t row = i / words, word = i % words;
      cp_async16(tile + row * pitch + word * 16, in + row * stride + word * 16, true);
    }
    cp_async_commit();
  } else {
    POGO_NO_UNROLL
    for (uint32_t i = Team<Shape>::thread(); i < rows * width; i += Shape::THREADS) {
      const uint32_t row = i / width, byte = i % width;
      tile[row * pitch + byte] = in[row * stride + byte];
    }
  }
}

/** The same, and waits for this thread's part. A barrier must follow. */
template <class Shape, uint32_t WIDTH>
static __device__ __forceinline__ void load_tile(const unsigned char* in, size_t stride, uint32_t rows, uint32_t width,
                                                 unsigned char* tile, uint32_t pitch) {
  start_tile<Shape, WIDTH>(in, stride, rows, width, tile, pitch);
  cp_async_wait<0>();
}

/** Rows and columns of the tile that exist. */
template <class Shape>
static __device__ __forceinline__ uint32_t live_rows(const GemmOperands& g, TilePlace place) {
  return place.row0 < g.M ? min(g.M - place.row0, (uint32_t)Shape::ROWS) : 0u;
}
template <class Shape>
static __device__ __forceinline__ uint32_t live_columns(const GemmOperands& g, TilePlace place) {
  return place.col0 < g.N ? min(g.N - place.col0, (uint32_t)Shape::COLUMNS) : 0u;
}

}  // namespace pogo

#endif
