// The stages that products on wgmma (sm_90a) read their operands from, and the blocks of a cluster share.
//
// Stages are loaded by the tensor memory accelerator, a box an operand: one thread asks, nobody computes addresses. Blocks of
// a cluster that need the same rows of an operand load a part each, which all of them get: alone, a tile of 128 x 128 asks the
// L2 cache for 64 bytes a cycle and multiprocessor at the int8 peak, more than it gives.
#ifndef POGO_CUDA_STAGE_RING_H
#define POGO_CUDA_STAGE_RING_H

#include "gemm_kernel.h"
#include "tma.h"
#include "wgmma.h"

namespace pogo {

/** Where both operands lie. */
struct TileMaps {
  TileMap a, b;
};

/** Columns x rows of tiles of a cluster: 1, 2, 4 or 8 columns, 1 or 2 rows. Neighbouring blocks are neighbours in a row. */
struct ClusterShape {
  uint32_t columns, rows;
};

/** A warpgroup's operands in stage 0: the descriptor of its rows of a, and how far behind it that of b's lies. */
struct StageView {
  uint32_t a, b_behind;
};

/**
 * The stages of a block's pipeline, each both operands of DEPTH contracted bytes. The blocks of a row of a cluster share a's
 * rows, those of a column b's: each loads its part for all of them, and may load again when all of them are done with the stage.
 * One warp of the block makes it (`begin`), then the blocks of the cluster meet, and each thread makes its own view of it.
 */
template <class S, int DEPTH, uint32_t STAGES>
struct StageRing {
  static constexpr uint32_t STAGE_BYTES = (S::ROWS + S::COLUMNS) * DEPTH;
  static_assert(STAGE_BYTES % 1024 == 0 && S::ROWS * DEPTH % 1024 == 0, "operands begin at multiples of 1024");
  /** Of the barriers that say when a stage is full and when it may be loaded again. */
  static constexpr uint32_t BARRIER_BYTES = 2 * STAGES * sizeof(PhaseBarrier);

  unsigned char* pipeline;
  PhaseBarrier *full, *empty;
  ClusterShape cluster;
  /** This block's place in its cluster, and how many blocks get what it loads. */
  uint32_t own_row, own_column, peers;
  /** Rows of a and b that it loads, and the blocks that get them. */
  uint32_t a_rows, b_rows, row_mask, column_mask;

  __device__ __forceinline__ StageRing(unsigned char* pipeline_, PhaseBarrier* barriers, ClusterShape cluster_)
      : pipeline(pipeline_), full(barriers), empty(barriers + STAGES), cluster(cluster_) {
    const uint32_t rank = together() > 1 ? cluster_rank() : 0;
    own_row = rank / cluster.columns;
    own_column = rank - own_row * cluster.columns;
    peers = cluster.columns + cluster.rows - 1;
    a_rows = S::ROWS / cluster.columns;
    b_rows = S::COLUMNS / cluster.rows;
    row_mask = cluster.columns > 1 ? ((1u << cluster.columns) - 1) << (own_row * cluster.columns) : 0;
    column_mask = cluster.rows > 1 ? (1u | 1u << cluster.columns) << own_column : 0;
  }

  __device__ __forceinline__ uint32_t together() const { return cluster.columns * cluster.rows; }

  /** One thread; `meet` must follow. `readers`: warps of a block that read its stages. */
  __device__ __forceinline__ void begin(const TileMaps& maps, uint32_t readers) const {
    for (uint32_t s = 0; s < STAGES; s += 1) {
      phase_begin(full + s, 1);
      phase_begin(empty + s, peers * readers);
    }
    phase_publish();
    tile_map_prefetch(&maps.a);
    tile_map_prefetch(&maps.b);
  }

  /** All threads of the cluster. RELAXED: barriers that `begin` published are all that others must see. */
  template <bool RELAXED = false>
  __device__ __forceinline__ void meet() const {
    if (together() > 1) {
      if (RELAXED) {
        cluster_arrive_relaxed();
      } else {
        cluster_arrive();
      }
      cluster_wait();
    } else {
      __syncthreads();
    }
  }

  /** Where lane i of a warp tells peer i that a stage was read: the blocks of its row, then the other one of its column. */
  __device__ __forceinline__ auto empty_of_peer(uint32_t lane) const {
    const uint32_t rank = lane < cluster.columns ? own_row * cluster.columns + lane
                          : lane < peers         ? (1 - own_row) * cluster.columns + own_column
                                                 : own_row * cluster.columns + own_column;
    return phase_of_block(empty, rank);
  }

  /** One thread: asks for this block's part of the stage that begins at byte `k`. */
  __device__ __forceinline__ void load(const TileMaps& maps, TilePlace place, uint32_t k, uint32_t stage) const {
    unsigned char* at = pipeline + stage * STAGE_BYTES;
    phase_arrive_expecting(full + stage, STAGE_BYTES);
    tile_load(at + own_column * a_rows * DEPTH, &maps.a, k, place.row0 + own_column * a_rows, full + stage, row_mask);
    tile_load(at + (S::ROWS + own_row * b_rows) * DEPTH, &maps.b, k, place.col0 + own_row * b_rows, full + stage,
              column_mask);
  }

  /** What warpgroup `group` reads stage 0 by. */
  __device__ __forceinline__ StageView view(uint32_t group) const {
    StageView view = {wgmma_descriptor(wgmma_address(pipeline) + group * (64 * DEPTH)), (S::ROWS - 64 * group) * (DEPTH / 16)};
    wgmma_hold(view.a);
    wgmma_hold(view.b_behind);
    return view;
  }

  /** Issues the products of a stage; `first`: the accumulators begin anew. */
  template <int NT>
  __device__ __forceinline__ void multiply(int32_t (&acc)[1][NT][4], const StageView& view, uint32_t stage, bool first) const {
    const uint32_t a = view.a + stage * (STAGE_BYTES / 16), b = a + view.b_behind;
    wgmma_fence();
    POGO_UNROLL
    for (uint32_t step = 0; step < DEPTH / STEP; step += 1) {
      // A step further along the contraction is 32 bytes, in units of 16.
      wgmma_s8s8(acc, a + step * (STEP / 16), b + step * (STEP / 16), step > 0 || !first);
    }
    wgmma_commit();
  }
};

/** A stage that a thread waits for: its number, and the parity of the phase that fills it. */
template <uint32_t STAGES>
struct StageCursor {
  uint32_t stage = 0, parity = 0;

  __device__ __forceinline__ uint32_t before() const { return stage == 0 ? STAGES - 1 : stage - 1; }
  /** Behind the last stage comes the first, in the next phase. */
  __device__ __forceinline__ void wrap() {
    if (stage == STAGES) {
      stage = 0;
      parity ^= 1;
    }
  }
  __device__ __forceinline__ void advance() {
    stage += 1;
    wrap();
  }
};

}  // namespace pogo

#endif
