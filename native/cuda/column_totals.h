// The end of column sums (docs/numerics.md 1.11): sums of blocks of 64 rows, added up ascending. Whoever makes the block sums,
// rows or products, calls it.
#ifndef POGO_CUDA_COLUMN_TOTALS_H
#define POGO_CUDA_COLUMN_TOTALS_H

#include "device_code.h"

namespace pogo {

/** Where sums of n columns go: of one array of block sums, or of two that lie behind each other. */
struct ColumnTotals {
  float* of[2];
};

/** totals[c] = (accumulate ? totals[c] + : ) block sums ascending. `partial`: [blocks][n] of each of them. */
cudaError_t add_column_blocks(const float* partial, const ColumnTotals& totals, uint32_t blocks, uint32_t n, bool accumulate,
                              cudaStream_t stream);

}  // namespace pogo

#endif
