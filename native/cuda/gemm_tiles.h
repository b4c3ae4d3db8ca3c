// Index arithmetic of the products: which byte of shared memory an operand's chunk lies in, which element of the
// result a thread's register holds. Everything is constexpr and has a host test (kernel_test_model, "tiles").
#ifndef POGO_CUDA_GEMM_TILES_H
#define POGO_CUDA_GEMM_TILES_H

#include <stdint.h>

#include "device_code.h"

namespace pogo {

/** Contracted elements of one scale. */
static constexpr uint32_t PANEL = 1024;
/** Bytes of one cp.async and of one row of an 8 x 8 matrix of ldmatrix. */
static constexpr uint32_t CHUNK = 16;
/** Contracted elements of one tensor-core instruction on bytes. */
static constexpr uint32_t STEP = 32;

/**
 * A block's tile of the result. WARPS_M x WARPS_N warps own MT x NT fragments of 16 x 8 elements each; the registers of a
 * fragment are those of mma.m16n8k32, and wgmma's accumulators are the same with MT = 1 and one warp per 16 rows.
 */
template <int MT_, int NT_, int WARPS_M_, int WARPS_N_>
struct TileShape {
  static constexpr int MT = MT_, NT = NT_, WARPS_M = WARPS_M_, WARPS_N = WARPS_N_;
  static constexpr int ROWS = 16 * MT * WARPS_M, COLUMNS = 8 * NT * WARPS_N, THREADS = 32 * WARPS_M * WARPS_N;
  /** Columns of a warp in blocks of 64, the unit of T64 and of 4-bit scales. */
  static constexpr int BLOCKS = NT / 8;
  /** The smallest group of columns with one scale is a head of 32. */
  static constexpr int SUBGROUPS = COLUMNS / 32, WARP_SUBGROUPS = NT / 4;
  static_assert(NT % 8 == 0, "a warp holds whole blocks of 64 columns");
};

/** A block's tile: its row and column among the tiles. */
struct TileIndex {
  uint32_t row, column;
};

/** Rows of tiles that are walked together. */
static constexpr uint32_t RASTER_ROWS = 16;

/**
 * Which tile block `block` of the grid computes, clusters of `cluster` neighbours along the columns being the unit. Blocks
 * that run at the same time cover a region that is about square (RASTER_ROWS tiles high), and so share what they read
 * from memory: by rows alone, a right operand larger than the L2 cache would be read anew for each row of tiles.
 */
POGO_HD constexpr TileIndex tile_of_block(uint32_t block, uint32_t cluster, uint32_t row_tiles, uint32_t column_clusters) {
  const uint32_t index = block / cluster, band = index / (RASTER_ROWS * column_clusters);
  const uint32_t first = band * RASTER_ROWS, in_band = index - first * column_clusters;
  const uint32_t rows = row_tiles - first < RASTER_ROWS ? row_tiles - first : RASTER_ROWS;
  return {first + in_band % rows, in_band / rows * cluster + block % cluster};
}

/** The same for clusters of `columns` x `rows` tiles: neighbouring blocks of a cluster are neighbours in a row. */
POGO_HD constexpr TileIndex tile_of_cluster(uint32_t block, uint32_t columns, uint32_t rows, uint32_t row_clusters,
                                            uint32_t column_clusters) {
  const uint32_t index = block / (columns * rows), rank = block - index * (columns * rows), row = rank / columns;
  const TileIndex cluster = tile_of_block(index, 1, row_clusters, column_clusters);
  return {cluster.row * rows + row, cluster.column * columns + (rank - row * columns)};
}

/** The tile's row of fragment mt, half h (0: rows 0..7 of the fragment, 1: rows 8..15). */
template <class Shape>
POGO_HD constexpr uint32_t fragment_row(uint32_t thread, int mt, int h) {
  return thread / 32 / Shape::WARPS_N * (16 * Shape::MT) + 16 * (uint32_t)mt + 8 * (uint32_t)h + thread % 32 / 4;
}

/** The tile's column of the first of the two neighbouring elements of fragment nt. */
template <class Shape>
POGO_HD constexpr uint32_t fragment_column(uint32_t thread, int nt) {
  return thread / 32 % Shape::WARPS_N * (8 * Shape::NT) + 8 * (uint32_t)nt + 2 * (thread % 4);
}

/** The register of a fragment: half h, element e of the two. */
POGO_HD constexpr int fragment_register(int h, int e) { return 2 * h + e; }

/**
 * What a row's number is xored into its chunks' numbers by, so that eight rows of one column of chunks lie in eight
 * different groups of four banks. DEPTH: bytes of a row, 64 or 128. With 128 it is the swizzle that wgmma reads.
 */
template <int DEPTH>
POGO_HD constexpr uint32_t swizzle(uint32_t row) {
  static_assert(DEPTH == 64 || DEPTH == 128, "rows of 64 or 128 bytes");
  return DEPTH == 64 ? (row >> 1) & 3u : row & 7u;
}

/** Offset of a chunk of an operand's stage. */
template <int DEPTH>
POGO_HD constexpr uint32_t chunk_offset(uint32_t row, uint32_t chunk) {
  return row * DEPTH + ((chunk ^ swizzle<DEPTH>(row)) * CHUNK);
}

/** ldmatrix.x4 of a fragment of a, 16 rows x 32 bytes: the row and chunk that a lane points at. */
POGO_HD constexpr uint32_t left_row(uint32_t lane) { return lane & 15u; }
POGO_HD constexpr uint32_t left_chunk(uint32_t lane) { return lane >> 4; }
/** The same of two neighbouring fragments of b, 2 x 8 rows x 32 bytes. */
POGO_HD constexpr uint32_t right_row(uint32_t lane) { return (lane & 7u) + ((lane >> 4) << 3); }
POGO_HD constexpr uint32_t right_chunk(uint32_t lane) { return (lane >> 3) & 1u; }

// Staging: results leave by way of shared memory, so that global stores are whole lines. The pitches spread the eight
// rows of a warp's store over all banks.
POGO_HD constexpr uint32_t byte_pitch(uint32_t columns) { return columns + 16; }
POGO_HD constexpr uint32_t half_pitch(uint32_t columns) { return 2 * columns + 16; }
POGO_HD constexpr uint32_t nibble_pitch(uint32_t columns) { return columns / 2 + 16; }
/** In floats. */
POGO_HD constexpr uint32_t float_pitch(uint32_t columns) { return columns + 8; }

}  // namespace pogo

#endif
