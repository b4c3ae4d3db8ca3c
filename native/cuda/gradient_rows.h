// Row codes with dither of an error's matrix and, beside them, the sums of its columns: one frame for errors that are stored
// (quantizeGradientRows) and those that come about while they are read (geluGradientRows).
#ifndef POGO_CUDA_GRADIENT_ROWS_H
#define POGO_CUDA_GRADIENT_ROWS_H

#include "column_sums.h"

namespace pogo {

constexpr uint32_t GRADIENT_WARPS = 8;
constexpr uint32_t GRADIENT_THREADS = 32 * GRADIENT_WARPS;

/**
 * A part of the rows' codes and of the column sums of 64 rows. Shared: a panel's dither words.
 *
 * `load(row, panel, v)` gives a lane's elements of a row's panel; `terms(block_row, row in the block, pair, x)` gives in
 * x[0] those of columns 2 pair and 2 pair + 1.
 */
template <class Args, class Load, class Terms>
static __device__ __forceinline__ void gradient_rows(const Args& a, float* partial, unsigned long long* failure,
                                                     uint32_t entry, Load load, Terms terms) {
  uint32_t* words = reinterpret_cast<uint32_t*>(pogo_shared());
  const uint32_t thread = threadIdx.x, lane = thread % 32;
  const uint32_t block = blockIdx.x / COLUMN_PARTS, part = blockIdx.x % COLUMN_PARTS, block_row = block * COLUMN_ROWS;
  const uint32_t rows = a.T - block_row < COLUMN_ROWS ? a.T - block_row : COLUMN_ROWS;
  uint32_t seed[4];
  for (int i = 0; i < 4; i += 1) seed[i] = a.seed[i];
  for (uint32_t first = 0; first < a.N; first += PANEL) {
    const uint32_t width = a.N - first < PANEL ? a.N - first : PANEL;
    if (first > 0) __syncthreads();
    for (uint32_t c = thread; c < width; c += GRADIENT_THREADS) {
      words[dither_place(c)] = pogo_dither_column(seed, first + c);
    }
    __syncthreads();
    const Panel p = {first, a.N, lane};
    for (uint32_t r = part * PART_ROWS + thread / 32; r < (part + 1) * PART_ROWS && r < rows; r += GRADIENT_WARPS) {
      const uint64_t row = block_row + r;
      float v[CHUNKS][8];
      load(row, p, v);
      const CodeRow out = {a.codes + row * a.N, a.scales + (uint64_t)(first / PANEL) * a.T + row, failure, entry, row};
      quantize_panel<true>(v, p, out, words, pogo_dither_row(seed, a.t0 + (uint32_t)row));
    }
  }
  if (a.bias == nullptr) return;
  float* const sums[1] = {partial + (uint64_t)block * a.N};
  column_block_sums<1>(a.N, part, rows, thread, GRADIENT_THREADS, sums,
                       [&](uint32_t r, uint32_t pair, float2* x) { terms(block_row, r, pair, x); });
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
  const uint32_t blocks = column_blocks(a.T), width = a.N < PANEL ? a.N : PANEL;
  POGO_TRY(POGO_LAUNCH(kernel, blocks * COLUMN_PARTS, GRADIENT_THREADS,
                       ((width + CHUNK - 1) / CHUNK) * CHUNK * sizeof(uint32_t), launch.stream, a, partial, launch.failure,
                       launch.entry),
           name);
  if (a.bias != nullptr) {
    POGO_TRY(add_column_blocks(partial, a.bias, blocks, a.N, a.accumulate, launch.stream), "add_column_blocks_kernel");
  }
  return Status();
}

}  // namespace pogo

#endif
