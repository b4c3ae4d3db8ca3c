// A product is a main loop and an epilogue: this kernel joins them.
#ifndef POGO_CUDA_GEMM_KERNEL_H
#define POGO_CUDA_GEMM_KERNEL_H

#include "gemm_loop.h"
#include "ops.h"

namespace pogo {

/** The place of a block's tile in the result. */
struct TilePlace {
  uint32_t row0, col0;
};

/**
 * Shared memory of a block: the pipeline, reused by the epilogue for staging, and behind it what both need at the same
 * time. Offsets are from an address that is a multiple of 1024.
 */
template <class Shape>
struct TileScratch {
  /** f32 [ROWS + COLUMNS]: scales of the current panel. */
  float* scales;
  /** u32 [ROWS][SUBGROUPS]: maxima of a row over 32 columns. */
  uint32_t* tops;
  /** f32 [ROWS][SUBGROUPS]: what the values of a row's group are multiplied by. */
  float* multipliers;
  /** Dither words of the tile's columns and rows. */
  uint32_t* column_words;
  uint32_t* row_words;

  static constexpr uint32_t BYTES =
      4 * (Shape::ROWS + Shape::COLUMNS + 2 * Shape::ROWS * Shape::SUBGROUPS + Shape::COLUMNS + Shape::ROWS);

  __device__ __forceinline__ explicit TileScratch(unsigned char* at) {
    scales = reinterpret_cast<float*>(at);
    tops = reinterpret_cast<uint32_t*>(scales + Shape::ROWS + Shape::COLUMNS);
    multipliers = reinterpret_cast<float*>(tops + Shape::ROWS * Shape::SUBGROUPS);
    column_words = reinterpret_cast<uint32_t*>(multipliers + Shape::ROWS * Shape::SUBGROUPS);
    row_words = column_words + Shape::COLUMNS;
  }
};

static constexpr uint32_t TILE_ALIGNMENT = 1024;

template <class Loop, class Epilogue>
POGO_HD constexpr uint32_t staging_bytes() {
  return Loop::PIPELINE_BYTES > Epilogue::template bytes<typename Loop::Shape>()
             ? Loop::PIPELINE_BYTES
             : Epilogue::template bytes<typename Loop::Shape>();
}

template <class Loop, class Epilogue>
POGO_HD constexpr uint32_t gemm_shared_bytes() {
  return staging_bytes<Loop, Epilogue>() + TileScratch<typename Loop::Shape>::BYTES + TILE_ALIGNMENT;
}

template <class Loop, class Epilogue>
__global__ void __launch_bounds__(Loop::Shape::THREADS, Loop::RESIDENT)
    gemm_kernel(GemmOperands g, typename Epilogue::Args e, uint32_t cluster, uint32_t row_tiles, uint32_t column_clusters) {
  using Shape = typename Loop::Shape;
  unsigned char* shared = pogo_shared();
  shared += (TILE_ALIGNMENT - reinterpret_cast<uintptr_t>(shared) % TILE_ALIGNMENT) % TILE_ALIGNMENT;
  const TileScratch<Shape> scratch(shared + staging_bytes<Loop, Epilogue>());
  const TileIndex tile = tile_of_block(blockIdx.x, cluster, row_tiles, column_clusters);
  const TilePlace place = {tile.row * Shape::ROWS, tile.column * Shape::COLUMNS};
  float sum[Shape::MT][Shape::NT][4];
  // A cluster may reach beyond the last column; its idle blocks still take part in its barriers.
  if (place.col0 < g.N) Loop::run(g, place.row0, place.col0, shared, scratch.scales, sum);
  Epilogue::template run<Shape>(g, e, place, shared, scratch, sum);
}

/** `cluster`: blocks along the columns that form a cluster, or 0. */
template <class Loop, class Epilogue>
Status launch_gemm(const GemmOperands& g, const typename Epilogue::Args& e, unsigned cluster, const Launch& launch,
                   const char* name) {
  using Shape = typename Loop::Shape;
  if (g.M == 0 || g.N == 0) return Status();
  const uint32_t together = cluster == 0 ? 1 : cluster;
  const uint32_t row_tiles = (g.M - 1) / Shape::ROWS + 1, column_tiles = (g.N - 1) / Shape::COLUMNS + 1;
  const uint32_t column_clusters = (column_tiles + together - 1) / together;
  const uint64_t blocks = (uint64_t)row_tiles * column_clusters * together;
  if (blocks > 0x7FFFFFFFu || g.K > MOST_CONTRACTED) return failed(cudaErrorInvalidConfiguration, name);
  const dim3 grid((unsigned)blocks);
  constexpr uint32_t bytes = gemm_shared_bytes<Loop, Epilogue>();
  if (cluster > 1) {
    POGO_TRY(POGO_LAUNCH_CLUSTER((gemm_kernel<Loop, Epilogue>), grid, dim3(Shape::THREADS), cluster, bytes,
                                 launch.stream, g, e, together, row_tiles, column_clusters),
             name);
  } else {
    POGO_TRY(POGO_LAUNCH((gemm_kernel<Loop, Epilogue>), grid, dim3(Shape::THREADS), bytes, launch.stream, g, e, together,
                         row_tiles, column_clusters),
             name);
  }
  return Status();
}

/** Tiles of mma.sync: the large one, and a small one for results that would leave multiprocessors idle. */
using LargeTile = TileShape<2, 8, 4, 2>;
using SmallTile = TileShape<2, 8, 2, 1>;

/** Whether the large tile gives every multiprocessor a block. */
inline bool fills_device(uint32_t M, uint32_t N, const DeviceTraits& device) {
  return (uint64_t)((M + 127) / 128) * ((N + 127) / 128) >= (uint64_t)device.multiprocessors;
}

}  // namespace pogo

#endif
