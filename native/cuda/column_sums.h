// Column sums in the one order (docs/numerics.md 1.11): sequential inside 64 rows, then block sums ascending.
//
// COLUMN_PARTS blocks of threads for 64 rows: each block of threads makes its part of the columns over all 64 rows, and
// beside it its part of the rows' own work, so that a call with few rows still fills the device. The block sums go to
// workspace [blocks][n]; a second kernel adds them up.
#ifndef POGO_CUDA_COLUMN_SUMS_H
#define POGO_CUDA_COLUMN_SUMS_H

#include "column_totals.h"
#include "row_panels.h"

namespace pogo {

/**
 * Sums over `rows` <= 64 rows of this part's columns, into partial[s][column]. `terms(row, pair, x)` gives in x[s] the
 * terms of columns 2 pair and 2 pair + 1.
 */
template <int SUMS, class Terms>
static __device__ __forceinline__ void column_block_sums(uint32_t n, uint32_t part, uint32_t rows, uint32_t thread,
                                                         uint32_t threads, float* const partial[SUMS], Terms terms) {
  const uint32_t end = column_part(n, part + 1);
  for (uint32_t pair = column_part(n, part) + thread; pair < end; pair += threads) {
    float2 sum[SUMS];
    terms(0u, pair, sum);
#if defined(__CUDA_ARCH__)
#pragma unroll 8
#endif
    for (uint32_t r = 1; r < rows; r += 1) {
      float2 x[SUMS];
      terms(r, pair, x);
      POGO_UNROLL
      for (int s = 0; s < SUMS; s += 1) {
        sum[s].x = pogo_add(sum[s].x, x[s].x);
        sum[s].y = pogo_add(sum[s].y, x[s].y);
      }
    }
    POGO_UNROLL
    for (int s = 0; s < SUMS; s += 1) reinterpret_cast<float2*>(partial[s])[pair] = sum[s];
  }
}

}  // namespace pogo

#endif
