// The main loop of the products on wgmma (sm_90a), and their kernel: operands come from shared memory, so a thread holds
// nothing but accumulators, and the tensor cores read each byte of a stage once for 64 x 128 results.
//
// Stages are loaded by the tensor memory accelerator, a box an operand: one thread asks, nobody computes addresses. Blocks of
// a cluster that need the same rows of an operand load a part each, which all of them get: alone, a tile of 128 x 128 asks the
// L2 cache for 64 bytes a cycle and multiprocessor at the int8 peak, more than it gives.
#ifndef POGO_CUDA_WGMMA_LOOP_H
#define POGO_CUDA_WGMMA_LOOP_H

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

/** Scales of a panel for one warpgroup: those of its 64 rows, then those of the tile's columns. */
struct GroupScales {
  static constexpr uint32_t ROWS = 64, COLUMNS = 128, EACH = 2;
  float values[EACH];

  __device__ __forceinline__ void fetch(const GemmOperands& g, uint32_t row0, uint32_t col0, uint32_t panel) {
    POGO_UNROLL
    for (uint32_t i = 0; i < EACH; i += 1) {
      const uint32_t at = threadIdx.x % 128 + 128 * i;
      const bool left = at < ROWS;
      const uint32_t index = left ? row0 + at : col0 + at - ROWS, count = left ? g.M : g.N;
      const float* scales = left ? g.a_scales : g.b_scales;
      values[i] = at < ROWS + COLUMNS && index < count ? __ldg(scales + (size_t)panel * count + index) : 0.0f;
    }
  }

  /** Barriers by constants: a number that is not known takes all sixteen of the block. */
  static __device__ __forceinline__ void meet(uint32_t group) {
    if (group == 0) {
      named_barrier(1, 128);
    } else {
      named_barrier(2, 128);
    }
  }

  /** To the 192 words at `shared`, which are this warpgroup's. */
  __device__ __forceinline__ void publish(float* shared, uint32_t group) const {
    // Its slowest warp may still read the last panel's.
    meet(group);
    POGO_UNROLL
    for (uint32_t i = 0; i < EACH; i += 1) {
      const uint32_t at = threadIdx.x % 128 + 128 * i;
      if (at < ROWS + COLUMNS) shared[at] = values[i];
    }
    meet(group);
  }
};

/**
 * WARPGROUPS of 64 x 128 results each: two, or one where two would leave multiprocessors idle. DEEP: any K, one block a
 * multiprocessor, products of one stage run while the next is issued, and a warpgroup promotes its panel while the other
 * multiplies. Else is_shallow(K): two blocks a multiprocessor, and the one computes while the other waits or quantizes.
 * K is a multiple of 16.
 */
template <bool DEEP_, int WARPGROUPS = 2>
struct WgmmaLoop {
  using Shape = TileShape<1, 16, 4 * WARPGROUPS, 1>;
  using S = Shape;
  static constexpr bool DEEP = DEEP_;
  static constexpr int DEPTH = 128, RESIDENT = DEEP ? 1 : 2;
  /**
   * Groups of products that still run when a stage is given back; turns after which a stage that was given back is loaded
   * again, so that the thread that loads does not wait for the slower warpgroup; stages; how many stages ahead loads go.
   */
  static constexpr uint32_t RUNNING = DEEP ? 1 : 0, LAG = DEEP ? 1 : 0, STAGES = DEEP ? 6 : 3, AHEAD = STAGES - RUNNING - LAG;
  static constexpr uint32_t STAGE_BYTES = (S::ROWS + S::COLUMNS) * DEPTH, PIPELINE_BYTES = STAGES * STAGE_BYTES;
  static constexpr uint32_t PER_PANEL = PANEL / DEPTH, WARPS = 4 * WARPGROUPS;
  /** Of the barriers that say when a stage is full and when it may be loaded again. */
  static constexpr uint32_t BARRIER_BYTES = 2 * STAGES * sizeof(PhaseBarrier);
  static_assert(STAGE_BYTES % 1024 == 0 && S::ROWS * DEPTH % 1024 == 0, "operands begin at multiples of 1024");
  static_assert(WARPGROUPS <= 2, "the second warpgroup's scales lie in the words of the maxima");

  static __device__ __forceinline__ void run(const TileMaps& maps, const GemmOperands& g, TilePlace place,
                                             ClusterShape cluster, unsigned char* pipeline,
                                             const TileScratch<S>& scratch, PhaseBarrier* full, float (&sum)[1][16][4]) {
    PhaseBarrier* empty = full + STAGES;
    const uint32_t blocks = (g.K + DEPTH - 1) / DEPTH;
    // By a shuffle, so that nvcc knows it is the same for a warp: descriptors are held in uniform registers.
    const uint32_t warp = __shfl_sync(0xFFFFFFFFu, threadIdx.x / 32, 0), group = warp / 4, lane = threadIdx.x % 32;
    const uint32_t a_offset = group * (64 * DEPTH);

    // The blocks of a row of the cluster share a's rows, those of a column b's. Each loads its part for all of them, and may
    // load again when all of them are done with the stage.
    const uint32_t together = cluster.columns * cluster.rows, rank = together > 1 ? cluster_rank() : 0;
    const uint32_t own_row = rank / cluster.columns, own_column = rank - own_row * cluster.columns;
    const uint32_t peers = cluster.columns + cluster.rows - 1;
    if (threadIdx.x == 0) {
      for (uint32_t s = 0; s < STAGES; s += 1) {
        phase_begin(full + s, 1);
        phase_begin(empty + s, peers * WARPS);
      }
      phase_publish();
      tile_map_prefetch(&maps.a);
      tile_map_prefetch(&maps.b);
    }
    if (together > 1) {
      cluster_sync();
    } else {
      __syncthreads();
    }
    // Lane i of a warp tells peer i: the blocks of its row, then the other one of its column.
    const uint32_t peer_rank = lane < cluster.columns ? own_row * cluster.columns + lane
                               : lane < peers         ? (1 - own_row) * cluster.columns + own_column
                                                      : rank;
    const auto peer = phase_of_block(empty, peer_rank);
    const auto release = [&](uint32_t stage) {
      __syncwarp();
      if (lane < peers) phase_arrive_at(peer, stage);
    };

    const uint32_t a_rows = S::ROWS / cluster.columns, b_rows = S::COLUMNS / cluster.rows;
    const uint32_t row_mask = cluster.columns > 1 ? ((1u << cluster.columns) - 1) << (own_row * cluster.columns) : 0;
    const uint32_t column_mask = cluster.rows > 1 ? (1u | 1u << cluster.columns) << own_column : 0;
    const auto load = [&](uint32_t block, uint32_t stage) {
      unsigned char* at = pipeline + stage * STAGE_BYTES;
      phase_arrive_expecting(full + stage, STAGE_BYTES);
      tile_load(at + own_column * a_rows * DEPTH, &maps.a, block * DEPTH, place.row0 + own_column * a_rows, full + stage,
                row_mask);
      tile_load(at + (S::ROWS + own_row * b_rows) * DEPTH, &maps.b, block * DEPTH, place.col0 + own_row * b_rows,
                full + stage, column_mask);
    };

    WgmmaAccumulators acc = {};
    if (DEEP) begin_sums<S>(g, place.row0, place.col0, sum);
    GroupScales panel_scales;
    panel_scales.fetch(g, place.row0 + 64 * group, place.col0, 0);
    if (threadIdx.x == 0) {
      for (uint32_t s = 0; s < AHEAD && s < blocks; s += 1) load(s, s);
    }
    __syncwarp();
    wgmma_hold(acc);
    // Two loops and not one with a branch: products may run across the inner loop's end, and nvcc must see that their
    // registers are touched outside it only.
    uint32_t block = 0, stage = 0, parity = 0;
    POGO_NO_UNROLL
    for (uint32_t panel = 0; block < blocks; panel += 1) {
      if (DEEP && panel > 0) panel_scales.fetch(g, place.row0 + 64 * group, place.col0, panel);
      const uint32_t first = block, end = DEEP ? min(first + PER_PANEL, blocks) : blocks;
      POGO_NO_UNROLL
      do {
        phase_wait(full + stage, parity);
        const uint32_t at = wgmma_address(pipeline + stage * STAGE_BYTES);
        const uint64_t a = wgmma_descriptor(at + a_offset), b = wgmma_descriptor(at + S::ROWS * DEPTH);
        wgmma_fence();
        POGO_UNROLL
        for (uint32_t step = 0; step < DEPTH / STEP; step += 1) {
          // A step further along the contraction is 32 bytes, in units of 16.
          wgmma_s8s8(acc, a + step * (STEP / 16), b + step * (STEP / 16), step > 0 || block != first);
        }
        wgmma_commit();
        wgmma_wait<(int)RUNNING>();
        if (RUNNING == 0) {
          release(stage);
        } else if (block != first) {
          release(stage == 0 ? STAGES - 1 : stage - 1);
        }
        if (warp == 0) {
          const uint32_t next = block + AHEAD;
          if (lane == 0 && next < blocks) {
            const uint32_t turn = next / STAGES, to = next - turn * STAGES;
            if (turn > 0) phase_wait(empty + to, (turn - 1) & 1u);
            load(next, to);
          }
          __syncwarp();
        }
        block += 1;
        stage += 1;
        if (stage == STAGES) {
          stage = 0;
          parity ^= 1;
        }
      } while (block < end);
      wgmma_wait<0>();
      if (RUNNING > 0) release(stage == 0 ? STAGES - 1 : stage - 1);
      wgmma_hold(acc);
      float* scales = group == 0 ? scratch.scales : reinterpret_cast<float*>(scratch.tops);
      panel_scales.publish(scales, group);
      promote<S, !DEEP>(acc, sum, scales, 64 * group, scales + GroupScales::ROWS);
    }
    // The epilogue reuses the pipeline; every thread is past its last product.
    __syncthreads();
  }
};

template <class Loop, class Epilogue>
POGO_HD constexpr uint32_t wgmma_shared_bytes() {
  return gemm_shared_bytes<Loop, Epilogue>() + Loop::BARRIER_BYTES;
}

/** `gathers`: the epilogue gathers over the cluster, also its idle blocks, and ends with it. */
template <class Loop, class Epilogue>
__global__ void __launch_bounds__(Loop::Shape::THREADS, Loop::RESIDENT)
    wgmma_kernel(const __grid_constant__ TileMaps maps, GemmOperands g, typename Epilogue::Args e, ClusterShape cluster,
                 bool gathers, uint32_t row_clusters, uint32_t column_clusters) {
  using Shape = typename Loop::Shape;
  unsigned char* shared = pogo_shared();
  shared += (TILE_ALIGNMENT - reinterpret_cast<uintptr_t>(shared) % TILE_ALIGNMENT) % TILE_ALIGNMENT;
  unsigned char* behind = shared + staging_bytes<Loop, Epilogue>();
  const TileScratch<Shape> scratch(behind);
  auto* barriers = reinterpret_cast<PhaseBarrier*>(behind + TileScratch<Shape>::BYTES);
  static_assert(staging_bytes<Loop, Epilogue>() % 16 == 0 && TileScratch<Shape>::BYTES % 16 == 0, "aligned barriers");
  const TileIndex tile = tile_of_cluster(blockIdx.x, cluster.columns, cluster.rows, row_clusters, column_clusters);
  const TilePlace place = {tile.row * Shape::ROWS, tile.column * Shape::COLUMNS};
  float sum[Shape::MT][Shape::NT][4];
  // A block behind the last row or column loads its part for the others.
  Loop::run(maps, g, place, cluster, shared, scratch, barriers, sum);
  // No block may end while others of its cluster still tell it what they are done with.
  const bool meet = !gathers && cluster.columns * cluster.rows > 1;
  if (meet) cluster_arrive();
  if (gathers || (place.row0 < g.M && place.col0 < g.N)) Epilogue::template run<Shape>(g, e, place, shared, scratch, sum);
  if (meet) cluster_wait();
}

/** Tiles of a cluster along one side: two where that leaves no or few blocks idle. */
inline uint32_t pair_of(uint32_t tiles) { return tiles % 2 == 0 || tiles > 16 ? 2 : 1; }

/** `group_cluster`: blocks along the columns that the epilogue gathers over, or 0. */
template <class Loop, class Epilogue>
Status launch_wgmma_loop(const GemmOperands& g, const typename Epilogue::Args& e, unsigned group_cluster,
                         const Launch& launch, const char* name) {
  using Shape = typename Loop::Shape;
  if (g.M == 0 || g.N == 0) return Status();
  const uint32_t row_tiles = (g.M - 1) / Shape::ROWS + 1, column_tiles = (g.N - 1) / Shape::COLUMNS + 1;
  const ClusterShape cluster = group_cluster > 0 ? ClusterShape{group_cluster, 1}
                                                 : ClusterShape{pair_of(column_tiles), pair_of(row_tiles)};
  const uint32_t together = cluster.columns * cluster.rows;
  const uint32_t row_clusters = (row_tiles + cluster.rows - 1) / cluster.rows;
  const uint32_t column_clusters = (column_tiles + cluster.columns - 1) / cluster.columns;
  const uint64_t blocks = (uint64_t)row_clusters * column_clusters * together;
  if (blocks > 0x7FFFFFFFu || g.K == 0 || g.K > MOST_CONTRACTED) return failed(cudaErrorInvalidConfiguration, name);
  TileMaps maps;
  POGO_TRY(make_tile_map(g.a, g.M, g.K, Shape::ROWS / cluster.columns, &maps.a), name);
  POGO_TRY(make_tile_map(g.b, g.N, g.K, Shape::COLUMNS / cluster.rows, &maps.b), name);
  constexpr uint32_t bytes = wgmma_shared_bytes<Loop, Epilogue>();
  POGO_TRY(POGO_LAUNCH_CLUSTER((wgmma_kernel<Loop, Epilogue>), dim3((unsigned)blocks), dim3(Shape::THREADS),
                               together > 1 ? together : 0, bytes, launch.stream, maps, g, e, cluster, group_cluster > 0,
                               row_clusters, column_clusters),
           name);
  return Status();
}

/** Whether a product can run on wgmma: the device has it, and rows of both operands can be loaded by tiles. */
inline bool runs_on_wgmma(const GemmOperands& g, const DeviceTraits& device) {
  return device.wgmma() && g.K > 0 && has_tile_map(g.a, g.K) && has_tile_map(g.b, g.K);
}

/** launch_gemm with wgmma: defined in the files that are compiled for sm_90a alone. */
template <class Epilogue, bool DEEP, int WARPGROUPS>
Status launch_wgmma(const GemmOperands& g, const typename Epilogue::Args& e, unsigned cluster, const Launch& launch,
                    const char* name);

}  // namespace pogo

#endif
