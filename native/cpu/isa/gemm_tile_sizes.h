// Sizes of the order of a product's tiles on AMX (gemm_tiles.h), also for bench/native/tileloops.cc, which counts it.
#ifndef POGO_CPU_GEMM_TILE_SIZES_H
#define POGO_CPU_GEMM_TILE_SIZES_H

#include <stdint.h>

static inline int64_t strip_rows(int64_t K) { return K <= 320 ? 64 : 32; }

/** Steps of 64 codes of a panel that is contracted in one sweep, and most of a half's. */
static constexpr int64_t WHOLE_STEPS = 9, HALF_STEPS = 8;

/** Panel by panel where b takes more than half of a 2 MiB L2: 256 columns of a panel and the sums of 192 rows stay. */
static inline bool gemm_is_deep(int64_t N, int64_t K) { return K > 1024 && (N < 1024 ? N : 1024) * K > 1 << 20; }
static constexpr int64_t DEEP_ROWS = 192, DEEP_COLUMNS = 256;

/** Columns whose packed codes take half of a 2 MiB L2: whole parts of 64. */
static inline int64_t narrow_block(int64_t K) {
  const int64_t fit = (1 << 20) / K / 64 * 64;
  return fit < 256 ? 256 : fit > 1024 ? 1024 : fit;
}

#endif
