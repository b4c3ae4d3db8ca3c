// How the tensor memory accelerator finds the tiles of a matrix of bytes: made by the host at each launch, read by the device.
#ifndef POGO_CUDA_TILE_MAP_H
#define POGO_CUDA_TILE_MAP_H

#include "device_code.h"

#if !defined(POGO_CUDA_MODEL)
#include <cuda.h>
#endif

namespace pogo {

/** Contracted bytes of a box: one row of the 128-byte swizzle. */
static constexpr uint32_t TILE_MAP_BYTES = 128;
/** Rows and their addresses begin at multiples of it. */
static constexpr uint32_t TILE_MAP_ALIGNMENT = 16;

#if defined(POGO_CUDA_MODEL)
struct TileMap {
  const int8_t* data;
  uint32_t rows, row_bytes, box_rows;
};
#else
typedef CUtensorMap TileMap;
#endif

/** Whether a matrix of rows of `row_bytes` bytes at `data` can be loaded by tiles. */
inline bool has_tile_map(const void* data, uint32_t row_bytes) {
  return row_bytes % TILE_MAP_ALIGNMENT == 0 && reinterpret_cast<uintptr_t>(data) % TILE_MAP_ALIGNMENT == 0;
}

/** The map of i8 [rows, row_bytes] at `data` for boxes of `box_rows` rows (8 to 256). */
#if defined(POGO_CUDA_MODEL)
inline cudaError_t make_tile_map(const int8_t* data, uint32_t rows, uint32_t row_bytes, uint32_t box_rows, TileMap* map) {
  if (rows == 0 || row_bytes == 0 || !has_tile_map(data, row_bytes) || box_rows < 8 || box_rows > 256) {
    return cudaErrorInvalidValue;
  }
  *map = {data, rows, row_bytes, box_rows};
  return cudaSuccess;
}
#else
cudaError_t make_tile_map(const int8_t* data, uint32_t rows, uint32_t row_bytes, uint32_t box_rows, TileMap* map);
#endif

}  // namespace pogo

#endif
