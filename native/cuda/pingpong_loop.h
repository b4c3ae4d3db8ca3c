// The products on wgmma (sm_90a) as a persistent grid: the same tiles, instructions and epilogues as wgmma_loop.h in another
// order, for long contractions.
//
// A block has one warp that does nothing but ask for stages, and two warpgroups that each hold 64 rows of its tile and never
// meet: they read the same stages, but one is a few stages ahead. So one promotes its panel, or runs its epilogue, while the
// other has the tensor cores for itself; and the stages of the next tile are there when a tile ends. Both keep to one tile and
// not, as usual, to a tile each: a tile of 64 x 128 alone would need 192 bytes of shared memory a cycle, of 128 that there are,
// this one needs 160.
#ifndef POGO_CUDA_PINGPONG_LOOP_H
#define POGO_CUDA_PINGPONG_LOOP_H

#include "pingpong_walk.h"
#include "product_forms.h"
#include "wgmma_loop.h"

namespace pogo {

/** Dynamic shared memory of a block of sm_90. */
static constexpr uint32_t MOST_SHARED_BYTES = 227 * 1024;

/**
 * Where the sums of a tile wait that is cut between two walkers: [walker and rank][warpgroup][fragment][thread], and a flag for
 * each; and how many clusters have begun. Null where no tile is cut.
 */
struct Carry {
  float4* sums;
  uint32_t* flags;
  uint32_t* begun;

  static constexpr uint32_t GROUPS = 2, THREADS = 128;
  /** Of a block whose threads hold `fragments` of 16 x 8. */
  static constexpr size_t block_bytes(int fragments) { return (size_t)GROUPS * fragments * THREADS * sizeof(float4); }

  /** Of flags and count, which begin at zero; sums come before them. */
  static constexpr size_t flag_bytes(size_t blocks) { return (blocks * GROUPS + 1) * sizeof(uint32_t); }

  /**
   * One thread of a cluster: its walker. Who waits for the sums of the walker before must know that it has begun, and clusters
   * may begin in any order, the last of them only when others have ended; so they are numbered as they begin.
   */
  __device__ __forceinline__ uint32_t turn(uint32_t cluster) const {
    return begun == nullptr ? cluster : atomicAdd(begun, 1u);
  }

  template <int NT>
  __device__ __forceinline__ float4* place(uint32_t block, uint32_t group) const {
    return sums + ((size_t)block * GROUPS + group) * NT * THREADS + Team<WarpgroupTile<NT>>::thread();
  }

  template <int NT>
  __device__ __forceinline__ void leave(uint32_t block, uint32_t group, const float (&sum)[1][NT][4]) const {
    float4* to = place<NT>(block, group);
    POGO_UNROLL
    for (int nt = 0; nt < NT; nt += 1) {
      to[nt * THREADS] = make_float4(sum[0][nt][0], sum[0][nt][1], sum[0][nt][2], sum[0][nt][3]);
    }
  }

  /** Says that the sums are there: some work after `leave`, so that nobody waits until they have reached memory. */
  template <int NT>
  __device__ __forceinline__ void tell(uint32_t block, uint32_t group) const {
    __threadfence();
    Team<WarpgroupTile<NT>>::sync();
    if (Team<WarpgroupTile<NT>>::thread() == 0) flag_raise(flags + block * GROUPS + group);
  }

  template <int NT>
  __device__ __forceinline__ void take(uint32_t block, uint32_t group, float (&sum)[1][NT][4]) const {
    if (Team<WarpgroupTile<NT>>::thread() == 0) flag_wait(flags + block * GROUPS + group);
    Team<WarpgroupTile<NT>>::sync();
    const float4* from = place<NT>(block, group);
    POGO_UNROLL
    for (int nt = 0; nt < NT; nt += 1) {
      const float4 four = __ldcg(from + nt * THREADS);
      sum[0][nt][0] = four.x;
      sum[0][nt][1] = four.y;
      sum[0][nt][2] = four.z;
      sum[0][nt][3] = four.w;
    }
  }
};

/** What all blocks of the grid know. */
struct Persistent {
  Walk walk;
  ClusterShape cluster;
  uint32_t row_clusters, column_clusters;
  uint32_t tile_columns;
  Carry carry;

  __device__ __forceinline__ TilePlace place(uint32_t tile, uint32_t rank) const {
    const uint32_t together = cluster.columns * cluster.rows;
    const TileIndex index =
        tile_of_cluster(tile * together + rank, cluster.columns, cluster.rows, row_clusters, column_clusters);
    return {index.row * 128, index.column * tile_columns};
  }
};

/** NT: 16 or 24, tiles of 128 or 192 columns. */
template <class Epilogue, int NT>
struct PingpongLoop {
  using Block = TileShape<1, NT, 8, 1>;
  using Shape = WarpgroupTile<NT>;
  /** What the epilogue takes at a time: a wide tile by 64 columns, so that staging leaves room for five stages. */
  using Pass = WarpgroupTile<NT == 16 ? 16 : 8>;
  using Scales = GroupScales<(uint32_t)Shape::COLUMNS>;
  static_assert(NT % Pass::NT == 0 && (!Epilogue::FETCHES || NT == Pass::NT), "whole passes; what is asked for early is one pass");
  static constexpr uint32_t DEPTH = 128, PER_PANEL = PANEL / DEPTH;
  /** Warps that multiply. Behind them is a warpgroup of which one thread loads: registers are given away by warpgroups. */
  static constexpr uint32_t WARPS = 8, THREADS = 32 * WARPS + 128;
  static constexpr int LOADING_REGISTERS = 40, MULTIPLYING_REGISTERS = 232;
  static_assert(128 * LOADING_REGISTERS + 256 * MULTIPLYING_REGISTERS <= 65536, "the registers of a multiprocessor");
  /** Of a warpgroup: staging of its epilogue, scratch, and scales of a panel. */
  static constexpr uint32_t STAGING_BYTES = (Epilogue::template bytes<Pass>() + 127) / 128 * 128;
  static constexpr uint32_t SCALE_BYTES = (Scales::ROWS + Shape::COLUMNS) * sizeof(float);
  static constexpr uint32_t GROUP_BYTES = STAGING_BYTES + TileScratch<Pass>::BYTES + SCALE_BYTES;
  static constexpr uint32_t STAGE_BYTES = (Block::ROWS + Block::COLUMNS) * DEPTH;
  /** What does not fit beside the epilogues' memory is left out; barriers and the walker's number take less than 128 bytes. */
  static constexpr uint32_t FIT = (MOST_SHARED_BYTES - 2 * GROUP_BYTES - TILE_ALIGNMENT - 128) / STAGE_BYTES;
  static constexpr uint32_t STAGES = FIT < 6 ? FIT : 6;
  using Ring = StageRing<Block, DEPTH, STAGES>;
  static constexpr uint32_t SHARED_BYTES =
      STAGES * STAGE_BYTES + 2 * GROUP_BYTES + Ring::BARRIER_BYTES + sizeof(uint32_t) + TILE_ALIGNMENT;
  static_assert(STAGES >= 5 && GROUP_BYTES % 16 == 0 && Ring::BARRIER_BYTES + sizeof(uint32_t) <= 128, "room for stages");
  /** How many stages the first warpgroup is ahead at first: about what the other multiplies alone during a promotion. */
  static constexpr uint32_t AHEAD = 2;

  /** One thread: every stage of every part, in the order in which they are read. */
  static __device__ __forceinline__ void load(const TileMaps& maps, const GemmOperands& g, const Persistent& all,
                                              const Ring& ring, uint32_t walker, uint32_t rank) {
    const uint32_t blocks = (g.K + DEPTH - 1) / DEPTH;
    StageCursor<STAGES> cursor;
    WalkPart part;
    POGO_NO_UNROLL
    for (uint32_t i = 0; walk_part(all.walk, walker, i, &part); i += 1) {
      const TilePlace place = all.place(part.tile, rank);
      const uint32_t end = min(part.end * PER_PANEL, blocks);
      POGO_NO_UNROLL
      for (uint32_t block = part.first * PER_PANEL; block < end; block += 1) {
        // The phase before the first of a barrier counts as ended.
        phase_wait(ring.empty + cursor.stage, cursor.parity ^ 1u);
        ring.load(maps, place, block * DEPTH, cursor.stage);
        cursor.advance();
      }
    }
  }

  /** A warpgroup: its 64 rows of every tile. */
  static __device__ __forceinline__ void multiply(const GemmOperands& g, const typename Epilogue::Args& e,
                                                  const Persistent& all, const Ring& ring, uint32_t walker, uint32_t rank,
                                                  uint32_t group, unsigned char* staging) {
    const TileScratch<Pass> scratch(staging + STAGING_BYTES);
    float* scales = reinterpret_cast<float*>(staging + STAGING_BYTES + TileScratch<Pass>::BYTES);
    const uint32_t blocks = (g.K + DEPTH - 1) / DEPTH, lane = threadIdx.x % 32;
    const auto peer = ring.empty_of_peer(lane);
    const StageView view = ring.view(group);
    const auto release = [&](uint32_t stage) {
      __syncwarp();
      if (lane < ring.peers) phase_arrive_at(peer, stage);
    };
    int32_t acc[1][NT][4] = {};
    float sum[1][NT][4];
    Scales panel_scales;
    StageCursor<STAGES> cursor;
    bool waits = group == 1, owes = false;
    const auto tell = [&]() {
      if (owes) all.carry.template tell<NT>(walker * ring.together() + rank, group);
      owes = false;
    };
    WalkPart part;
    POGO_NO_UNROLL
    for (uint32_t i = 0; walk_part(all.walk, walker, i, &part); i += 1) {
      if (part.end == 0) continue;
      TilePlace place = all.place(part.tile, rank);
      place.row0 += 64 * group;
      const bool live = place.row0 < g.M && place.col0 < g.N;
      uint32_t block = part.first * PER_PANEL;
      const uint32_t last = min(part.end * PER_PANEL, blocks);
      if (waits) {
        phase_wait(ring.full + min(AHEAD, last - block - 1), 0);
        waits = false;
      }
      if (part.first > 0 && live) {
        // Whoever waits here leaves nobody waiting.
        tell();
        all.carry.take((walker - 1) * ring.together() + rank, group, sum);
      } else {
        begin_sums<Shape>(g, place.row0, place.col0, sum);
      }
      // The last tile's epilogue may still read its staging.
      if (Epilogue::FETCHES && part.end == all.walk.panels && live) {
        Team<Shape>::sync();
        if constexpr (Epilogue::FETCHES) Epilogue::template fetch<Pass>(g, e, place, staging);
      }
      wgmma_hold(acc);
      // Two loops: as in WgmmaLoop.
      uint32_t panel = part.first;
      panel_scales.fetch(g, place.row0, place.col0, panel);
      POGO_NO_UNROLL
      while (block < last) {
        uint32_t left = min(PER_PANEL, last - block);
        block += left;
        phase_wait(ring.full + cursor.stage, cursor.parity);
        ring.multiply(acc, view, cursor.stage, true);
        uint32_t running = cursor.stage;
        cursor.advance();
        POGO_NO_UNROLL
        for (left -= 1; left > 0; left -= 1) {
          phase_wait(ring.full + cursor.stage, cursor.parity);
          ring.multiply(acc, view, cursor.stage, false);
          wgmma_wait<1>();
          release(running);
          running = cursor.stage;
          cursor.advance();
        }
        // While the panel's last products run: its scales to shared memory, the next one's on their way.
        panel_scales.publish(scales, group);
        panel += 1;
        if (block < last) panel_scales.fetch(g, place.row0, place.col0, panel);
        wgmma_wait<0>();
        release(running);
        wgmma_hold(acc);
        promote<Shape, false>(acc, sum, scales, 0, scales + Scales::ROWS);
        tell();
      }
      if (!live) continue;
      if (part.end < all.walk.panels) {
        all.carry.leave(walker * ring.together() + rank, group, sum);
        owes = true;
      } else if constexpr (Epilogue::FETCHES) {
        Epilogue::template finish<Pass>(g, e, place, staging, sum);
      } else {
        run_passes(g, e, place, staging, scratch, sum);
      }
    }
    tell();
  }

  static __device__ __forceinline__ void run_passes(const GemmOperands& g, const typename Epilogue::Args& e, TilePlace place,
                                                    unsigned char* staging, const TileScratch<Pass>& scratch,
                                                    const float (&sum)[1][NT][4]) {
    POGO_UNROLL
    for (int first = 0; first < NT; first += Pass::NT) {
      const TilePlace at = {place.row0, place.col0 + 8 * (uint32_t)first};
      if (at.col0 >= g.N) break;
      // Staging and scratch are the last pass's until all have stored it.
      if (first > 0) Team<Pass>::sync();
      float part[1][Pass::NT][4];
      POGO_UNROLL
      for (int nt = 0; nt < Pass::NT; nt += 1) {
        POGO_UNROLL
        for (int i = 0; i < 4; i += 1) part[0][nt][i] = sum[0][first + nt][i];
      }
      Epilogue::template run<Pass>(g, e, at, staging, scratch, part);
    }
  }
};

template <class Epilogue, int NT>
__global__ void __launch_bounds__(PingpongLoop<Epilogue, NT>::THREADS, 1)
    pingpong_kernel(const __grid_constant__ TileMaps maps, GemmOperands g, typename Epilogue::Args e, Persistent all) {
  using Loop = PingpongLoop<Epilogue, NT>;
  unsigned char* shared = pogo_shared();
  shared += (TILE_ALIGNMENT - reinterpret_cast<uintptr_t>(shared) % TILE_ALIGNMENT) % TILE_ALIGNMENT;
  unsigned char* behind = shared + Loop::STAGES * Loop::STAGE_BYTES;
  unsigned char* barriers = behind + 2 * Loop::GROUP_BYTES;
  const typename Loop::Ring ring(shared, reinterpret_cast<PhaseBarrier*>(barriers), all.cluster);
  uint32_t* turn = reinterpret_cast<uint32_t*>(barriers + Loop::Ring::BARRIER_BYTES);
  const uint32_t cluster = blockIdx.x / ring.together(), rank = blockIdx.x - cluster * ring.together();
  if (threadIdx.x == 0) {
    ring.begin(maps, Loop::WARPS);
    if (rank == 0) *turn = all.carry.turn(cluster);
  }
  ring.meet();
  // By shuffles, so that nvcc knows that they are the same for a warp.
  const uint32_t warp = __shfl_sync(0xFFFFFFFFu, threadIdx.x / 32, 0), group = warp / 4;
  const uint32_t walker = __shfl_sync(0xFFFFFFFFu, *(ring.together() > 1 ? map_shared(turn, 0) : turn), 0);
  if (warp >= Loop::WARPS) {
    warpgroup_shrink<Loop::LOADING_REGISTERS>();
    if (threadIdx.x == 32 * Loop::WARPS) Loop::load(maps, g, all, ring, walker, rank);
    __syncwarp();
  } else {
    warpgroup_grow<Loop::MULTIPLYING_REGISTERS>();
    Loop::multiply(g, e, all, ring, walker, rank, group, behind + group * Loop::GROUP_BYTES);
  }
  // No block may end while others of its cluster still tell it what they are done with.
  if (ring.together() > 1) cluster_sync();
}

/** Memory that a product of this shape can use to deal out its last tiles by panels, or 0. */
inline size_t carry_bytes(uint32_t M, uint32_t N, uint32_t K, const DeviceTraits& device) {
  const uint64_t tiles = (uint64_t)((M + 127) / 128) * ((N + 127) / 128);
  if (!device.wgmma() || K <= PANEL || tiles < (uint64_t)device.multiprocessors) return 0;
  return device.multiprocessors * Carry::block_bytes(24) + Carry::flag_bytes(device.multiprocessors);
}

/** A grid of this shape of cluster: its walk, and where sums may wait. */
template <class Epilogue, int NT>
cudaError_t plan_grid(const GemmOperands& g, ClusterShape cluster, const Launch& launch, Persistent* all) {
  using Loop = PingpongLoop<Epilogue, NT>;
  const uint32_t row_tiles = (g.M - 1) / 128 + 1, column_tiles = (g.N - 1) / (8 * NT) + 1;
  *all = {};
  all->cluster = cluster;
  all->row_clusters = (row_tiles + cluster.rows - 1) / cluster.rows;
  all->column_clusters = (column_tiles + cluster.columns - 1) / cluster.columns;
  all->tile_columns = 8 * NT;
  const uint32_t together = cluster.columns * cluster.rows;
  const uint64_t tiles = (uint64_t)all->row_clusters * all->column_clusters;
  if (tiles * together > 0x7FFFFFFFu) return cudaErrorInvalidConfiguration;
  unsigned walkers = 0;
  const cudaError_t error = most_clusters<Loop>((pingpong_kernel<Epilogue, NT>), dim3(Loop::THREADS), together,
                                                Loop::SHARED_BYTES, launch.device->multiprocessors, &walkers);
  if (error != cudaSuccess) return error;
  const size_t blocks = (size_t)walkers * together, sums = blocks * Carry::block_bytes(NT), flags = Carry::flag_bytes(blocks);
  const bool may_split = g.K > PANEL && launch.workspace.data != nullptr && launch.workspace.bytes >= sums + flags;
  all->walk = make_walk((uint32_t)tiles, walkers, (g.K + PANEL - 1) / PANEL, may_split);
  if (!all->walk.split) return cudaSuccess;
  all->carry.sums = static_cast<float4*>(launch.workspace.data);
  all->carry.flags = reinterpret_cast<uint32_t*>(static_cast<unsigned char*>(launch.workspace.data) + sums);
  all->carry.begun = all->carry.flags + (flags / sizeof(uint32_t) - 1);
  return cudaSuccess;
}

/**
 * The grid whose busiest walker has least to do. Groups of multiprocessors need not hold whole clusters of four: on an H200, 30 of
 * them leave 12 of 132 multiprocessors idle, 66 of two none.
 */
template <class Epilogue, int NT>
cudaError_t best_grid(const GemmOperands& g, const Launch& launch, Persistent* best) {
  const uint32_t columns = pair_of((g.N - 1) / (8 * NT) + 1), rows = pair_of((g.M - 1) / 128 + 1);
  cudaError_t error = plan_grid<Epilogue, NT>(g, {columns, rows}, launch, best);
  if (columns * rows < 4) return error;
  for (const ClusterShape pair : {ClusterShape{2, 1}, ClusterShape{1, 2}}) {
    Persistent other;
    if (error == cudaSuccess) error = plan_grid<Epilogue, NT>(g, pair, launch, &other);
    if (error == cudaSuccess && walk_longest(other.walk) < walk_longest(best->walk)) *best = other;
  }
  return error;
}

template <class Epilogue, int NT>
Status launch_grid(const GemmOperands& g, const typename Epilogue::Args& e, const Persistent& all, const Launch& launch,
                   const char* name) {
  using Loop = PingpongLoop<Epilogue, NT>;
  const uint32_t together = all.cluster.columns * all.cluster.rows;
  TileMaps maps;
  POGO_TRY(make_tile_map(g.a, g.M, g.K, 128 / all.cluster.columns, &maps.a), name);
  POGO_TRY(make_tile_map(g.b, g.N, g.K, 8 * NT / all.cluster.rows, &maps.b), name);
  if (all.walk.split) {
    POGO_TRY(cudaMemsetAsync(all.carry.flags, 0, Carry::flag_bytes((size_t)all.walk.walkers * together), launch.stream), name);
  }
  POGO_TRY(POGO_LAUNCH_CLUSTER((pingpong_kernel<Epilogue, NT>), dim3(all.walk.walkers * together), dim3(Loop::THREADS),
                               together > 1 ? together : 0, Loop::SHARED_BYTES, launch.stream, maps, g, e, all),
           name);
  return Status();
}

template <class Epilogue>
Status launch_pingpong_loop(const GemmOperands& g, const typename Epilogue::Args& e, const Launch& launch,
                            const char* name) {
  if (g.K == 0 || g.K > MOST_CONTRACTED) return failed(cudaErrorInvalidConfiguration, name);
  Persistent narrow;
  POGO_TRY((best_grid<Epilogue, 16>(g, launch, &narrow)), name);
  if constexpr (!Epilogue::FETCHES) {
    Persistent wide;
    POGO_TRY((best_grid<Epilogue, 24>(g, launch, &wide)), name);
    // A product on a wide tile takes 0.93 of its time on others (H200).
    if (walk_longest(wide.walk) * 24 * 15 <= walk_longest(narrow.walk) * 16 * 16) {
      return launch_grid<Epilogue, 24>(g, e, wide, launch, name);
    }
  }
  return launch_grid<Epilogue, 16>(g, e, narrow, launch, name);
}

/** Defined in the file that is compiled for sm_90a alone. */
template <class Epilogue>
Status launch_pingpong(const GemmOperands& g, const typename Epilogue::Args& e, const Launch& launch, const char* name);

/** A product of any contraction without groups, on the form that its shape has; WARPGROUPS: of a block a tile. */
template <class Epilogue, int WARPGROUPS>
Status launch_deep(const GemmOperands& g, const typename Epilogue::Args& e, const Launch& launch, const char* name) {
  if (g.M == 0 || g.N == 0) return Status();
  ProductTrial trial({name, g.M, g.N, g.K}, launch);
  const Status status = trial.form() == ProductForm::PINGPONG ? launch_pingpong<Epilogue>(g, e, launch, name)
                                                              : launch_wgmma<Epilogue, true, WARPGROUPS>(g, e, 0, launch, name);
  if (status.ok()) trial.end();
  return status;
}

}  // namespace pogo

#endif
