// Dithered codes of errors' rows, and the sums of their columns: one frame for errors that are stored (quantizeGradientRows)
// and those that come about while they are read (geluGradientRows).
//
// A block of threads has a panel of 64 rows, a thread four columns of it: a column's sum is then one thread's, and an element
// is read once. Rows come in batches; the next one is under way while a row's absmax crosses the warps.
#ifndef POGO_CUDA_GRADIENT_ROWS_H
#define POGO_CUDA_GRADIENT_ROWS_H

#include "column_sums.h"

namespace pogo {

constexpr uint32_t GRADIENT_COLUMNS = 4;
constexpr uint32_t GRADIENT_THREADS = PANEL / GRADIENT_COLUMNS;
constexpr uint32_t GRADIENT_WARPS = GRADIENT_THREADS / 32;
constexpr uint32_t GRADIENT_BATCH = 8;
/** Two batches of absmax by warp, and the rows' dither words. */
constexpr uint32_t GRADIENT_SHARED = (2 * GRADIENT_BATCH * GRADIENT_WARPS + COLUMN_ROWS) * sizeof(uint32_t);

/**
 * A panel of 64 rows: codes, scales and block sums of its columns. Block (x, y): rows 64 x, panel y. WHOLE: there are 64 rows.
 *
 * `Load` has a type Raw of what is read of a lane's four columns, `read(place)` that reads it at an element's place in the
 * matrix, a type Held of what is kept of it until its codes are made, `hold(raw)`, and `values(held)`.
 */
template <bool WHOLE, class Args, class Load>
static __device__ __forceinline__ void gradient_rows_of(const Args& a, float* partial, unsigned long long* failure,
                                                        uint32_t entry, uint32_t rows, Load load) {
  typedef typename Load::Raw Raw;
  typedef typename Load::Held Held;
  uint32_t* tops = reinterpret_cast<uint32_t*>(pogo_shared());
  uint32_t* row_words = tops + 2 * GRADIENT_BATCH * GRADIENT_WARPS;
  const uint32_t thread = threadIdx.x, lane = thread % 32, warp = thread / 32, warps = blockDim.x / 32;
  const uint32_t first_row = blockIdx.x * COLUMN_ROWS, own_column = blockIdx.y * PANEL + thread * GRADIENT_COLUMNS;
  // Whoever has no columns reads the panel's last, which changes no maximum, and writes nothing.
  const bool owns = own_column < a.N;
  const uint32_t column = owns ? own_column : a.N - GRADIENT_COLUMNS;

  // Of the row that is read next, and of the row whose codes are written next.
  uint64_t read_place = (uint64_t)first_row * a.N + column;
  int8_t* codes = a.codes + read_place;
  Raw raw[GRADIENT_BATCH];
  auto read = [&](uint32_t batch) {
    POGO_UNROLL
    for (uint32_t r = 0; r < GRADIENT_BATCH; r += 1) {
      raw[r] = load.read(read_place);
      // A row that is not there is the last one again.
      if (WHOLE || batch + r + 1 < rows) read_place += a.N;
    }
  };
  read(0);
  uint32_t seed[4], words[GRADIENT_COLUMNS];
  for (int i = 0; i < 4; i += 1) seed[i] = a.seed[i];
  POGO_UNROLL
  for (uint32_t c = 0; c < GRADIENT_COLUMNS; c += 1) words[c] = pogo_dither_column(seed, column + c);
  for (uint32_t r = thread; r < COLUMN_ROWS; r += blockDim.x) row_words[r] = pogo_dither_row(seed, a.t0 + first_row + r);

  // -0 is what changes no term that it is added to.
  float sum[GRADIENT_COLUMNS] = {-0.0f, -0.0f, -0.0f, -0.0f};
  POGO_NO_UNROLL
  for (uint32_t batch = 0; batch < rows; batch += GRADIENT_BATCH) {
    Held held[GRADIENT_BATCH];
    uint32_t own_top = 0;
    POGO_UNROLL
    for (uint32_t r = 0; r < GRADIENT_BATCH; r += 1) {
      held[r] = load.hold(raw[r]);
      float v[GRADIENT_COLUMNS];
      load.values(held[r], v);
      float top = 0.0f;
      POGO_UNROLL
      for (uint32_t c = 0; c < GRADIENT_COLUMNS; c += 1) {
        top = larger_magnitude(top, v[c]);
        if (WHOLE || batch + r < rows) sum[c] = pogo_add(sum[c], v[c]);
      }
      const uint32_t row_top = __reduce_max_sync(ALL_LANES, pogo_bits(top));
      if (lane == r) own_top = row_top;
    }
    if (batch + GRADIENT_BATCH < rows) read(batch + GRADIENT_BATCH);
    uint32_t* batch_tops = tops + batch / GRADIENT_BATCH % 2 * (GRADIENT_BATCH * GRADIENT_WARPS);
    if (lane < GRADIENT_BATCH) batch_tops[lane * GRADIENT_WARPS + warp] = own_top;
    __syncthreads();
    // Each warp makes the multipliers, a lane a row.
    PogoScale scale = {};
    if (lane < GRADIENT_BATCH) {
      uint32_t top = 0;
      for (uint32_t w = 0; w < warps; w += 1) top = pogo_imax(top, batch_tops[lane * GRADIENT_WARPS + w]);
      pogo_q8(top, POGO_Q8_C, POGO_Q8_R, &scale);
      if (warp == 0 && batch + lane < rows) {
        const uint64_t row = first_row + batch + lane;
        a.scales[(uint64_t)blockIdx.y * a.T + row] = scale.scale;
        if (!pogo_absmax_is_finite(top)) pogo_report(failure, entry, FAILURE_NON_FINITE, row);
      }
    }
    POGO_UNROLL
    for (uint32_t r = 0; r < GRADIENT_BATCH; r += 1) {
      const float multiplier = __shfl_sync(ALL_LANES, scale.multiplier, (int)r);
      const uint32_t row_word = row_words[batch + r];
      float v[GRADIENT_COLUMNS];
      load.values(held[r], v);
      uint32_t code[GRADIENT_COLUMNS];
      POGO_UNROLL
      for (uint32_t c = 0; c < GRADIENT_COLUMNS; c += 1) {
        code[c] = pogo_code_dithered_bits(v[c], multiplier, words[c], row_word);
      }
      if (owns && (WHOLE || batch + r < rows)) {
        *reinterpret_cast<uint32_t*>(codes) = low_bytes(code[0], code[1], code[2], code[3]);
      }
      codes += a.N;
    }
  }
  if (a.bias != nullptr && owns) {
    *reinterpret_cast<float4*>(partial + (uint64_t)blockIdx.x * a.N + column) = make_float4(sum[0], sum[1], sum[2], sum[3]);
  }
}

template <class Args, class Load>
static __device__ __forceinline__ void gradient_rows(const Args& a, float* partial, unsigned long long* failure,
                                                     uint32_t entry, Load load) {
  const uint32_t left = a.T - blockIdx.x * COLUMN_ROWS;
  if (left >= COLUMN_ROWS) {
    gradient_rows_of<true>(a, partial, failure, entry, COLUMN_ROWS, load);
  } else {
    gradient_rows_of<false>(a, partial, failure, entry, left, load);
  }
}

/** Bytes of workspace: the block sums of the columns. */
template <class Args>
size_t gradient_rows_workspace(const Args& a) {
  return a.bias == nullptr ? 0 : (size_t)column_blocks(a.T) * a.N * sizeof(float);
}

/** Launches a kernel made of `gradient_rows`, and adds its block sums up. */
template <class Args, class Kernel>
Status launch_gradient_rows(Kernel kernel, const char* name, const Args& a, const Launch& launch) {
  float* partial = static_cast<float*>(launch.workspace.data);
  const uint32_t blocks = column_blocks(a.T), threads = a.N < PANEL ? (a.N / GRADIENT_COLUMNS + 31) / 32 * 32 : GRADIENT_THREADS;
  POGO_TRY(POGO_LAUNCH(kernel, dim3(blocks, panel_count(a.N)), threads, GRADIENT_SHARED, launch.stream, a, partial,
                       launch.failure, launch.entry),
           name);
  if (a.bias != nullptr) {
    POGO_TRY(add_column_blocks(partial, {a.bias, nullptr}, blocks, a.N, a.accumulate, launch.stream), "add_column_blocks_kernel");
  }
  return Status();
}

}  // namespace pogo

#endif
