// The main loop of the products on wgmma (sm_90a), and their kernel: operands come from shared memory, so a thread holds
// nothing but accumulators, and the tensor cores read each byte of a stage once for 64 x 128 results.
#ifndef POGO_CUDA_WGMMA_LOOP_H
#define POGO_CUDA_WGMMA_LOOP_H

#include "gemm_kernel.h"
#include "row_exchange.h"
#include "stage_ring.h"

namespace pogo {

/** Scales of a panel for one warpgroup: those of its 64 rows, then those of the tile's columns. */
template <uint32_t COLUMNS>
struct GroupScales {
  static constexpr uint32_t ROWS = 64, EACH = 2;
  static_assert(ROWS + COLUMNS <= EACH * 128, "two for each thread");
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

  /** To the words at `shared`, which are this warpgroup's. */
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
  using Ring = StageRing<S, DEPTH, STAGES>;
  static constexpr uint32_t PIPELINE_BYTES = STAGES * Ring::STAGE_BYTES, BARRIER_BYTES = Ring::BARRIER_BYTES;
  static constexpr uint32_t PER_PANEL = PANEL / DEPTH, WARPS = 4 * WARPGROUPS;
  static_assert(WARPGROUPS <= 2, "the second warpgroup's scales lie in the words of the maxima");

  static __device__ __forceinline__ void run(const TileMaps& maps, const GemmOperands& g, TilePlace place,
                                             ClusterShape cluster, unsigned char* pipeline,
                                             const TileScratch<S>& scratch, PhaseBarrier* barriers, float (&sum)[1][16][4]) {
    const uint32_t blocks = (g.K + DEPTH - 1) / DEPTH;
    // By a shuffle, so that nvcc knows it is the same for a warp: descriptors are held in uniform registers.
    const uint32_t warp = __shfl_sync(0xFFFFFFFFu, threadIdx.x / 32, 0), group = warp / 4, lane = threadIdx.x % 32;
    const Ring ring(pipeline, barriers, cluster);
    if (threadIdx.x == 0) ring.begin(maps, WARPS);
    ring.template meet<true>();
    const auto peer = ring.empty_of_peer(lane);
    const StageView view = ring.view(group);
    // Of a stage that is not loaded again nobody is told, so that nothing is under way to a block that ends.
    const auto release = [&](uint32_t stage, uint32_t of_block) {
      __syncwarp();
      if (lane < ring.peers && of_block + STAGES < blocks) phase_arrive_at(peer, stage);
    };

    WgmmaAccumulators acc = {};
    if (DEEP) begin_sums<S>(g, place.row0, place.col0, sum);
    GroupScales<128> panel_scales;
    panel_scales.fetch(g, place.row0 + 64 * group, place.col0, 0);
    if (threadIdx.x == 0) {
      for (uint32_t s = 0; s < AHEAD && s < blocks; s += 1) ring.load(maps, place, s * DEPTH, s);
    }
    __syncwarp();
    wgmma_hold(acc);
    // Two loops and not one with a branch: products may run across the inner loop's end, and nvcc must see that their
    // registers are touched outside it only.
    uint32_t block = 0;
    StageCursor<STAGES> cursor;
    POGO_NO_UNROLL
    for (uint32_t panel = 0; block < blocks; panel += 1) {
      if (DEEP && panel > 0) panel_scales.fetch(g, place.row0 + 64 * group, place.col0, panel);
      const uint32_t first = block, end = DEEP ? min(first + PER_PANEL, blocks) : blocks;
      POGO_NO_UNROLL
      do {
        phase_wait(ring.full + cursor.stage, cursor.parity);
        ring.multiply(acc, view, cursor.stage, block == first);
        wgmma_wait<(int)RUNNING>();
        if (RUNNING == 0) {
          release(cursor.stage, block);
        } else if (block != first) {
          release(cursor.before(), block - 1);
        }
        if (warp == 0) {
          const uint32_t next = block + AHEAD;
          if (lane == 0 && next < blocks) {
            const uint32_t turn = next / STAGES, to = next - turn * STAGES;
            if (turn > 0) phase_wait(ring.empty + to, (turn - 1) & 1u);
            ring.load(maps, place, next * DEPTH, to);
          }
          __syncwarp();
        }
        block += 1;
        cursor.advance();
      } while (block < end);
      wgmma_wait<0>();
      if (RUNNING > 0) release(cursor.before(), block - 1);
      wgmma_hold(acc);
      float* scales = group == 0 ? scratch.scales : reinterpret_cast<float*>(scratch.tops);
      panel_scales.publish(scales, group);
      promote<S, !DEEP>(acc, sum, scales, 64 * group, scales + GroupScales<128>::ROWS);
    }
    // The epilogue reuses the pipeline; every thread is past its last product.
    __syncthreads();
  }
};

template <class Loop, class Epilogue>
POGO_HD constexpr uint32_t wgmma_shared_bytes() {
  return gemm_shared_bytes<Loop, Epilogue>() + Loop::BARRIER_BYTES + (BySingleWarps<Epilogue>::VALUE ? RowExchange::BYTES : 0);
}

/** `gathers`: the epilogue gathers over the cluster, also its idle blocks, and no block ends before it was told by all. */
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
  const RowExchange exchange(reinterpret_cast<unsigned char*>(barriers) + Loop::BARRIER_BYTES);
  const bool live = gathers || (place.row0 < g.M && place.col0 < g.N);
  if constexpr (BySingleWarps<Epilogue>::VALUE) {
    if (gathers && threadIdx.x == 0) exchange.begin();
    if (live) Epilogue::template ahead<Shape>(g, e, place, scratch);
  }
  // A block behind the last row or column loads its part for the others.
  Loop::run(maps, g, place, cluster, shared, scratch, barriers, sum);
  // No block may end while others of its cluster still load for it.
  const bool meet = !gathers && cluster.columns * cluster.rows > 1;
  if (meet) cluster_arrive_relaxed();
  if (live) {
    if constexpr (BySingleWarps<Epilogue>::VALUE) {
      Epilogue::template run<Shape>(g, e, place, shared, scratch, exchange, sum);
    } else {
      Epilogue::template run<Shape>(g, e, place, shared, scratch, sum);
    }
  }
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
