// Maxima of rows over the blocks of a cluster, warp to warp (sm_90a).
//
// A warp's accumulators on wgmma are 16 whole rows of a tile, a row in four lanes. So an epilogue needs nothing from the other
// warps of its block, and of the other blocks only what the warps of the same rows say: each tells all of them its maxima and
// waits until it was told all, by a barrier of its own that counts bytes. No barrier of the block or of the cluster is needed,
// and none at the end: whoever was told by all has nothing under way to it.
#ifndef POGO_CUDA_ROW_EXCHANGE_H
#define POGO_CUDA_ROW_EXCHANGE_H

#include "gemm_kernel.h"
#include "tma.h"

namespace pogo {

struct RowExchange {
  static constexpr uint32_t MOST_BLOCKS = 8, ROWS = 128, WARPS = ROWS / 16;
  static constexpr uint32_t BARRIER_BYTES = WARPS * sizeof(PhaseBarrier), BYTES = BARRIER_BYTES + 4 * MOST_BLOCKS * ROWS;

  PhaseBarrier* told;
  /** u32 [blocks][ROWS]: what each block says. */
  uint32_t* tops;

  /** `at`: BYTES of shared memory, aligned to 8, that nothing else uses. */
  __device__ __forceinline__ explicit RowExchange(unsigned char* at)
      : told(reinterpret_cast<PhaseBarrier*>(at)), tops(reinterpret_cast<uint32_t*>(at + BARRIER_BYTES)) {}

  /** One thread; `phase_publish` and a barrier of the cluster must follow. */
  __device__ __forceinline__ void begin() const {
    for (uint32_t warp = 0; warp < WARPS; warp += 1) phase_begin(told + warp, 1);
  }

  /** Where block `rank` says its maximum of half h of this lane's rows. */
  __device__ __forceinline__ uint32_t* of_block(uint32_t rank, uint32_t h) const {
    return tops + rank * ROWS + threadIdx.x / 32 * 16 + threadIdx.x % 32 / 4 + 8 * h;
  }

  /** The whole warp, once: the maxima of both rows of each lane, known to all four lanes of a row. */
  __device__ __forceinline__ void tell(const uint32_t (&top)[2]) const {
    const uint32_t blocks = cluster_size(), own = cluster_rank(), warp = threadIdx.x / 32;
    if (threadIdx.x % 32 == 0) phase_arrive_expecting(told + warp, blocks * 16 * (uint32_t)sizeof(uint32_t));
    POGO_NO_UNROLL
    for (uint32_t rank = threadIdx.x % 4; rank < blocks; rank += 4) {
      POGO_UNROLL
      for (uint32_t h = 0; h < 2; h += 1) phase_store(of_block(own, h), top[h], told + warp, rank);
    }
  }

  /** The whole warp: the maxima over the cluster. */
  __device__ __forceinline__ void gather(uint32_t (&top)[2]) const {
    const uint32_t blocks = cluster_size();
    phase_wait(told + threadIdx.x / 32, 0);
    POGO_NO_UNROLL
    for (uint32_t rank = threadIdx.x % 4; rank < blocks; rank += 4) {
      POGO_UNROLL
      for (uint32_t h = 0; h < 2; h += 1) top[h] = pogo_imax(top[h], *of_block(rank, h));
    }
    __syncwarp();
    POGO_UNROLL
    for (uint32_t h = 0; h < 2; h += 1) {
      top[h] = pogo_imax(top[h], __shfl_xor_sync(0xFFFFFFFFu, top[h], 1));
      top[h] = pogo_imax(top[h], __shfl_xor_sync(0xFFFFFFFFu, top[h], 2));
    }
  }

  /** A block behind the last column says 0, and stays until it was told all. */
  __device__ __forceinline__ void idle(bool gathers) const {
    if (!gathers) return;
    uint32_t top[2] = {};
    tell(top);
    gather(top);
  }
};

/** What an epilogue of single warps reads of the tile's columns and rows, brought to shared memory ahead of the products. */
struct Ahead {
  /** f32 [COLUMNS], in place of multipliers that such an epilogue holds in registers. */
  static __device__ __forceinline__ float* bias(const TileScratch<TileShape<1, 16, 8, 1>>& scratch) { return scratch.multipliers; }
  /** u32 [ROWS] */
  static __device__ __forceinline__ uint32_t* targets(const TileScratch<TileShape<1, 16, 8, 1>>& scratch) {
    return reinterpret_cast<uint32_t*>(scratch.multipliers + 128);
  }
};

/** Whether an epilogue is one of single warps: `ahead` before the products, `run` behind them. */
template <class Epilogue>
struct BySingleWarps {
  static constexpr bool VALUE = false;
};

}  // namespace pogo

#endif
