// Transposition of codes (recode): places in shared memory, tested on the host. A tile is up to 1024 rows of 64 columns, in
// units of 16 columns. A strip of 64 rows is read by ldmatrix, transposed as pairs of bytes, so that a lane gets 16 rows in
// order of two columns.
#ifndef POGO_CUDA_RECODE_INDEX_H
#define POGO_CUDA_RECODE_INDEX_H

#include "../exact/arith.h"

namespace pogo {

static constexpr uint32_t RECODE_COLUMNS = 64, RECODE_UNIT = 16, RECODE_STRIP = 64;
/** Place of a unit. Eight neighbouring units in the order of memory, and the eight rows of a matrix, hit each bank once. */
POGO_HD constexpr uint32_t recode_unit(uint32_t row, uint32_t unit) { return row * 4 + (unit ^ (row / 16 % 4)); }
/** Place of a word that each row has: four neighbouring rows of each of four runs of 16 hit each bank once. */
POGO_HD constexpr uint32_t recode_row_place(uint32_t row) { return row ^ (row / 8 & 4u); }
/** Row of its strip whose unit lane `lane` names to ldmatrix for half `half` of all runs of 16 rows. */
POGO_HD constexpr uint32_t recode_matrix_row(uint32_t lane, uint32_t half) {
  return lane % 8 / 2 * 16 + half * 8 + lane / 8 * 2 + lane % 2;
}

}  // namespace pogo

#endif
