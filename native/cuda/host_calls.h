// Whole-array operations on host memory, synchronous: what the addon calls. Each allocates, copies and waits.
#ifndef POGO_CUDA_HOST_CALLS_H
#define POGO_CUDA_HOST_CALLS_H

#include "device.h"

namespace pogo {
namespace host {

/**
 * 4-bit codes of a gradient, numerics 2.5: x f32 [rows, cols] (cols a multiple of 64, or rows = 1), dithered by (row, column).
 * Bytes of `codes` and values of `scales` beyond the tensor become zero. `non_finite_group`: the first group of 64 whose
 * absmax or scale is not finite, or -1.
 */
Status quantize4(const float* x, uint8_t* codes, size_t code_bytes, uint16_t* scales, size_t scale_count,
                 const uint32_t seed[4], uint32_t rows, uint32_t cols, int64_t* non_finite_group);

/** x[i] = code × scale; n a multiple of 64. */
Status dequantize4(const uint8_t* codes, const uint16_t* scales, float* x, size_t n);

/** As blake3_trees of one segment. bytes > 0. */
Status blake3_tree(const uint8_t* bytes, size_t length, uint64_t first_leaf, uint8_t* tree);

/** Modular difference of packed codes, field by field: out = a - b, or a + b with `add`. bits 4 or 8. */
Status diff_codes(const uint8_t* a, const uint8_t* b, uint8_t* out, size_t bytes, int bits, bool add);

}  // namespace host
}  // namespace pogo

#endif
