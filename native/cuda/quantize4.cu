// 4-bit gradient codes (numerics 2.5) and their values.
//
// Memory decides: 4 bytes are read and half a byte is written per element. A warp owns 128 columns (two groups) and walks
// down 8 rows, so the column words of the dither are hashed once, and each lane hashes the word of one row for all. Four rows
// are reduced together: a lane ends with the absmax of one of them, and divides once for four.
#include "groups.h"

namespace pogo {
namespace {

constexpr int THREADS = 256;
constexpr uint32_t WARPS = THREADS / WARP_LANES;
/** Rows of a warp: pays for the column words and the row words. */
constexpr uint32_t TASK_ROWS = 8;
/** Of them, rows that are loaded before any is used, and that share their reductions. */
constexpr uint32_t LOADED_ROWS = 4;

/** absmax bits of four rows of this lane's group: lane l of 16 gets those of row l / 4. All lanes. */
static __device__ __forceinline__ uint32_t absmax_of_rows(const float4 v[LOADED_ROWS], uint32_t lane) {
  uint32_t top[LOADED_ROWS];
  POGO_UNROLL
  for (uint32_t r = 0; r < LOADED_ROWS; r += 1) {
    top[r] = pogo_imax(pogo_imax(pogo_abs_bits(v[r].x), pogo_abs_bits(v[r].y)),
                       pogo_imax(pogo_abs_bits(v[r].z), pogo_abs_bits(v[r].w)));
  }
  // Two lanes exchange the halves that the other keeps, so that what is left halves with every step.
  const bool upper = (lane & 8u) != 0, odd = (lane & 4u) != 0;
  uint32_t even_row = __shfl_xor_sync(ALL_LANES, upper ? top[0] : top[2], 8);
  uint32_t odd_row = __shfl_xor_sync(ALL_LANES, upper ? top[1] : top[3], 8);
  even_row = pogo_imax(even_row, upper ? top[2] : top[0]);
  odd_row = pogo_imax(odd_row, upper ? top[3] : top[1]);
  uint32_t row = __shfl_xor_sync(ALL_LANES, odd ? even_row : odd_row, 4);
  row = pogo_imax(row, odd ? odd_row : even_row);
  row = pogo_imax(row, __shfl_xor_sync(ALL_LANES, row, 2));
  return pogo_imax(row, __shfl_xor_sync(ALL_LANES, row, 1));
}

__global__ void __launch_bounds__(THREADS, 5) quantize4_kernel(Quantize4Args a, uint32_t column_tasks, uint64_t tasks,
                                                               unsigned long long* failure, uint32_t entry) {
  const uint32_t lane = threadIdx.x % WARP_LANES;
  const uint64_t task = (uint64_t)blockIdx.x * WARPS + threadIdx.x / WARP_LANES;
  if (task >= tasks) return;
  const uint32_t row_task = (uint32_t)(task / column_tasks);
  const uint32_t column = ((uint32_t)(task - (uint64_t)row_task * column_tasks)) * WARP_ELEMENTS + 4 * lane;
  const uint32_t first = row_task * TASK_ROWS;
  const uint32_t rows = min(TASK_ROWS, a.rows - first);
  const bool owns = column < a.cols, whole = column + 4 <= a.cols;
  const uint32_t own_elements = whole ? 4 : owns ? a.cols - column : 0;
  const float* x = a.x + (uint64_t)first * a.cols + column;
  uint8_t* out = a.codes + ((uint64_t)first * a.cols + column) / 2;
  // Of four rows a lane has the scale of one.
  const uint32_t own_row = lane % GROUP_LANES / 4;
  const uint32_t groups_of_row = (a.cols + GROUP - 1) / GROUP;
  uint64_t group = (uint64_t)(first + own_row) * groups_of_row + column / GROUP;
  uint32_t words[4];
  POGO_UNROLL
  for (uint32_t e = 0; e < 4; e += 1) words[e] = pogo_dither_column(a.seed, column + e);
  const uint32_t row_words = pogo_dither_row(a.seed, first + lane % TASK_ROWS);
  POGO_NO_UNROLL
  for (uint32_t batch = 0; batch < rows; batch += LOADED_ROWS) {
    float4 v[LOADED_ROWS];
    POGO_UNROLL
    for (uint32_t r = 0; r < LOADED_ROWS; r += 1) {
      v[r] = load_quad(x, 0, batch + r < rows ? own_elements : 0);
      x += a.cols;
    }
    const uint32_t absmax = absmax_of_rows(v, lane);
    float own_multiplier = 0.0f;
    uint16_t stored = 0;
    // A dead group has multiplier 0: its codes are 0 whatever the dither.
    pogo_q4(absmax, POGO_Q4_R, &own_multiplier, &stored);
    if (owns && lane % 4 == 0 && batch + own_row < rows) {
      a.scales[group] = stored;
      if (!group_is_finite(absmax, stored)) pogo_report(failure, entry, FAILURE_NON_FINITE, group);
    }
    group += LOADED_ROWS * groups_of_row;
    POGO_UNROLL
    for (uint32_t r = 0; r < LOADED_ROWS; r += 1) {
      const float multiplier = __shfl_sync(ALL_LANES, own_multiplier, (int)(lane / GROUP_LANES * GROUP_LANES + 4 * r));
      const uint32_t word = __shfl_sync(ALL_LANES, row_words, (int)(batch + r));
      const uint32_t nibbles = low_nibbles(pogo_code_dithered_bits(v[r].x, multiplier, words[0], word),
                                           pogo_code_dithered_bits(v[r].y, multiplier, words[1], word),
                                           pogo_code_dithered_bits(v[r].z, multiplier, words[2], word),
                                           pogo_code_dithered_bits(v[r].w, multiplier, words[3], word));
      if (batch + r < rows) {
        if (whole) {
          *reinterpret_cast<uint16_t*>(out) = (uint16_t)nibbles;
        } else if (owns) {
          // The end of a vector. +0 behind it has code 0 whatever the dither: |delta| <= 1/2.
          out[0] = (uint8_t)nibbles;
          if (column + 2 < a.cols) out[1] = (uint8_t)(nibbles >> 8);
        }
      }
      out += a.cols / 2;
    }
  }
  // The rest of the tensor's last leaf.
  if (task != 0) return;
  const uint64_t count = (uint64_t)a.rows * a.cols;
  for (uint64_t i = (count + 1) / 2 + lane; i < a.codeBytes; i += WARP_LANES) a.codes[i] = 0;
  for (uint64_t i = (count + GROUP - 1) / GROUP + lane; i < a.scaleCount; i += WARP_LANES) a.scales[i] = 0;
}

__global__ void __launch_bounds__(THREADS) dequantize4_kernel(const uint16_t* __restrict__ codes,
                                                              const uint16_t* __restrict__ scales, float4* __restrict__ x,
                                                              uint64_t quads) {
  constexpr uint32_t UNROLLED = 4;
  const uint64_t stride = (uint64_t)gridDim.x * THREADS;
  for (uint64_t first = (uint64_t)blockIdx.x * THREADS + threadIdx.x; first < quads; first += UNROLLED * stride) {
    uint32_t code[UNROLLED];
    float scale[UNROLLED];
    POGO_UNROLL
    for (uint32_t k = 0; k < UNROLLED; k += 1) {
      const uint64_t i = first + k * stride;
      code[k] = i < quads ? codes[i] : 0;
      scale[k] = i < quads ? pogo_of_bf16(scales[i / GROUP_LANES]) : 0.0f;
    }
    POGO_UNROLL
    for (uint32_t k = 0; k < UNROLLED; k += 1) {
      const uint64_t i = first + k * stride;
      if (i < quads) x[i] = nibble_values(code[k], scale[k]);
    }
  }
}

}  // namespace

/** A failure's index: the group of 64, counted over the whole tensor. */
Status quantize4(const Quantize4Args& a, const Launch& launch) {
  if (a.rows == 0 || a.cols == 0) return Status();
  const uint32_t column_tasks = (a.cols + WARP_ELEMENTS - 1) / WARP_ELEMENTS;
  const uint64_t tasks = (uint64_t)((a.rows + TASK_ROWS - 1) / TASK_ROWS) * column_tasks;
  POGO_TRY(POGO_LAUNCH(quantize4_kernel, (unsigned)((tasks + WARPS - 1) / WARPS), THREADS, 0, launch.stream, a, column_tasks,
                       tasks, launch.failure, launch.entry),
           "quantize4_kernel");
  return Status();
}

Status dequantize4(const Dequantize4Args& a, const Launch& launch) {
  if (a.n == 0) return Status();
  const uint64_t quads = a.n / 4;
  POGO_TRY(POGO_LAUNCH(dequantize4_kernel, stride_blocks((quads + THREADS - 1) / THREADS, launch.device), THREADS, 0,
                       launch.stream, reinterpret_cast<const uint16_t*>(a.codes), a.scales, reinterpret_cast<float4*>(a.x),
                       quads),
           "dequantize4_kernel");
  return Status();
}

}  // namespace pogo
