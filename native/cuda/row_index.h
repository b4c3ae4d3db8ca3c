// Index arithmetic of the kernels over rows: a panel in the lanes of a warp, column sums. Read by the kernels and by their
// test on the host.
#ifndef POGO_CUDA_ROW_INDEX_H
#define POGO_CUDA_ROW_INDEX_H

#include "../exact/arith.h"

namespace pogo {

static constexpr uint32_t PANEL = 1024;
static constexpr uint32_t CHUNK = 256;
static constexpr uint32_t CHUNKS = PANEL / CHUNK;
static constexpr uint32_t LANE_ELEMENTS = 8;
POGO_HD uint32_t panel_count(uint32_t n) { return (n + PANEL - 1) / PANEL; }
/** Place in its panel of element e (of 8) of chunk k in lane `lane`. */
POGO_HD constexpr uint32_t panel_place(uint32_t lane, uint32_t k, uint32_t e) {
  return k * CHUNK + lane * LANE_ELEMENTS + e;
}

/**
 * Place of a panel column's dither word in shared memory: of a lane's 8 words of a chunk the first four lie with the
 * other lanes' first four, so that both 16-byte loads of a warp touch every bank once a phase.
 */
POGO_HD constexpr uint32_t dither_place(uint32_t column) {
  return column / CHUNK * CHUNK + (column % 8) / 4 * (CHUNK / 2) + (column % CHUNK) / 8 * 4 + column % 4;
}

static constexpr uint32_t COLUMN_ROWS = 64;
static constexpr uint32_t COLUMN_PARTS = 4;
static constexpr uint32_t PART_ROWS = COLUMN_ROWS / COLUMN_PARTS;

POGO_HD uint32_t column_blocks(uint32_t rows) { return (rows + COLUMN_ROWS - 1) / COLUMN_ROWS; }

/** Pairs of columns of part `part` of n columns, n a multiple of 64: [first, end). */
POGO_HD uint32_t column_part(uint32_t n, uint32_t part) { return n / 2 / COLUMN_PARTS * part; }

}  // namespace pogo

#endif
