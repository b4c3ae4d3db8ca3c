// Copies of tiles from global to shared memory by the tensor memory accelerator, and the barriers that count their bytes
// (sm_90a): one thread asks for a tile, into several blocks of a cluster at once where it says so.
//
// The emulation keeps a copy back until somebody waits for its barrier, does it at once, or draws: a missing wait, or a tile
// that is overwritten while it is read, shows. A barrier that nobody initialized, or that gets more arrivals than it expects,
// ends the launch.
#ifndef POGO_CUDA_TMA_H
#define POGO_CUDA_TMA_H

#include "ptx.h"
#include "tile_map.h"

namespace pogo {

/** Counts arrivals and bytes; a phase ends when both are complete. In shared memory, aligned to 8 bytes. */
typedef uint64_t PhaseBarrier;

#if defined(POGO_DEVICE_CODE) && !defined(POGO_CUDA_MODEL)

/** One thread; `phase_publish` and a barrier of the block or cluster must follow before others use it. */
static __device__ __forceinline__ void phase_begin(PhaseBarrier* barrier, uint32_t arrivals) {
  asm volatile("mbarrier.init.shared::cta.b64 [%0], %1;" ::"r"(pogo_shared_address(barrier)), "r"(arrivals) : "memory");
}
static __device__ __forceinline__ void phase_publish() {
  asm volatile("fence.mbarrier_init.release.cluster;" ::: "memory");
}
/** Arrives, and says that this phase gets `bytes` by copies. */
static __device__ __forceinline__ void phase_arrive_expecting(PhaseBarrier* barrier, uint32_t bytes) {
  asm volatile("mbarrier.arrive.expect_tx.shared::cta.b64 _, [%0], %1;" ::"r"(pogo_shared_address(barrier)), "r"(bytes)
               : "memory");
}
/** A barrier at the same place in block `rank` of the cluster. */
static __device__ __forceinline__ uint32_t phase_of_block(PhaseBarrier* barrier, uint32_t rank) {
  uint32_t address;
  asm volatile("mapa.shared::cluster.u32 %0, %1, %2;" : "=r"(address) : "r"(pogo_shared_address(barrier)), "r"(rank));
  return address;
}
/** Arrives at barrier `index` behind the one that phase_of_block gave. */
static __device__ __forceinline__ void phase_arrive_at(uint32_t address, uint32_t index) {
  asm volatile("mbarrier.arrive.shared::cluster.b64 _, [%0];" ::"r"(address + index * (uint32_t)sizeof(PhaseBarrier))
               : "memory");
}
/** Until the phase of this parity has ended: 0 for the first, third, fifth... */
static __device__ __forceinline__ void phase_wait(PhaseBarrier* barrier, uint32_t parity) {
  asm volatile(
      "{\n.reg .pred done;\n"
      "POGO_WAIT:\n"
      "mbarrier.try_wait.parity.shared::cta.b64 done, [%0], %1;\n"
      "@done bra POGO_DONE;\n"
      "bra POGO_WAIT;\n"
      "POGO_DONE:\n}\n" ::"r"(pogo_shared_address(barrier)),
      "r"(parity)
      : "memory");
}

/**
 * A word to the same place in block `rank` of the cluster, and its four bytes to the barrier at the same place there: whoever
 * waits for that phase sees it. Nobody waits here.
 */
static __device__ __forceinline__ void phase_store(uint32_t* place, uint32_t value, PhaseBarrier* barrier, uint32_t rank) {
  asm volatile(
      "{\n.reg .u32 to, counted;\n"
      "mapa.shared::cluster.u32 to, %0, %3;\n"
      "mapa.shared::cluster.u32 counted, %2, %3;\n"
      "st.async.shared::cluster.mbarrier::complete_tx::bytes.u32 [to], %1, [counted];\n}\n" ::"r"(pogo_shared_address(place)),
      "r"(value), "r"(pogo_shared_address(barrier)), "r"(rank)
      : "memory");
}

/** Fetches the map itself ahead of its first use. */
static __device__ __forceinline__ void tile_map_prefetch(const TileMap* map) {
  asm volatile("prefetch.tensormap [%0];" ::"l"(map) : "memory");
}
/**
 * The box of `map` that begins at byte `k` of row `row`, swizzled by 128 bytes, to `shared` (a multiple of 1024) and its bytes
 * to `barrier`; what lies outside the tensor is zero. `blocks`: a bit for each block of the cluster that gets it, at the same
 * place as this one; 0: this block alone.
 */
static __device__ __forceinline__ void tile_load(unsigned char* shared, const TileMap* map, uint32_t k, uint32_t row,
                                                 PhaseBarrier* barrier, uint32_t blocks) {
  if (blocks == 0) {
    asm volatile(
        "cp.async.bulk.tensor.2d.shared::cluster.global.mbarrier::complete_tx::bytes [%0], [%1, {%3, %4}], [%2];" ::"r"(
            pogo_shared_address(shared)),
        "l"(map), "r"(pogo_shared_address(barrier)), "r"((int32_t)k), "r"((int32_t)row)
        : "memory");
  } else {
    asm volatile(
        "cp.async.bulk.tensor.2d.shared::cluster.global.mbarrier::complete_tx::bytes.multicast::cluster [%0], "
        "[%1, {%4, %5}], [%2], %3;" ::"r"(pogo_shared_address(shared)),
        "l"(map), "r"(pogo_shared_address(barrier)), "h"((uint16_t)blocks), "r"((int32_t)k), "r"((int32_t)row)
        : "memory");
  }
}

#elif defined(POGO_CUDA_MODEL)

namespace tma_model {

constexpr uint32_t MAGIC = 0x5A;

/** What the eight bytes of a barrier hold here; hardware keeps its own form. */
struct Phase {
  uint32_t magic : 8, parity : 1, expected : 11, pending : 12;
  int32_t bytes;
};
static_assert(sizeof(Phase) == sizeof(PhaseBarrier), "a barrier has eight bytes");

inline Phase read(const PhaseBarrier* barrier) {
  Phase phase;
  memcpy(&phase, barrier, sizeof phase);
  if (phase.magic != MAGIC) cuda_model::fail("a phase barrier that was not initialized");
  return phase;
}

inline void write(PhaseBarrier* barrier, Phase phase) {
  if (phase.pending == 0 && phase.bytes == 0) {
    phase.parity ^= 1;
    phase.pending = phase.expected;
  }
  memcpy(barrier, &phase, sizeof phase);
}

inline void arrive(PhaseBarrier* barrier, int32_t bytes) {
  Phase phase = read(barrier);
  if (phase.pending == 0) cuda_model::fail("a phase barrier gets more arrivals than it expects");
  phase.pending -= 1;
  phase.bytes += bytes;
  write(barrier, phase);
}

struct Wait {
  PhaseBarrier* barrier;
  uint32_t parity;
};

inline bool ended(void* argument) {
  const Wait& wait = *static_cast<Wait*>(argument);
  cuda_model::run_deferred(wait.barrier);
  return read(wait.barrier).parity != wait.parity;
}

/** A box into one block's shared memory, whose window begins as that of wgmma's emulation does. */
inline void copy(unsigned char* shared, uint32_t window, const TileMap& map, uint32_t k, uint32_t row,
                 PhaseBarrier* barrier) {
  for (uint32_t r = 0; r < map.box_rows; r += 1) {
    for (uint32_t byte = 0; byte < TILE_MAP_BYTES; byte += 1) {
      const bool inside = (uint64_t)row + r < map.rows && (uint64_t)k + byte < map.row_bytes;
      uint32_t address = window + r * TILE_MAP_BYTES + byte;
      address ^= (address >> 7 & 7u) << 4;
      shared[address - window] = inside ? (unsigned char)map.data[((uint64_t)row + r) * map.row_bytes + k + byte] : 0;
    }
  }
  Phase phase = read(barrier);
  phase.bytes -= (int32_t)(map.box_rows * TILE_MAP_BYTES);
  write(barrier, phase);
}

}  // namespace tma_model

static inline void phase_begin(PhaseBarrier* barrier, uint32_t arrivals) {
  if (reinterpret_cast<uintptr_t>(barrier) % sizeof(PhaseBarrier) != 0) cuda_model::fail("a phase barrier is not aligned");
  tma_model::Phase phase = {};
  phase.magic = tma_model::MAGIC;
  phase.expected = phase.pending = arrivals;
  memcpy(barrier, &phase, sizeof phase);
}
static inline void phase_publish() {}
static inline void phase_arrive_expecting(PhaseBarrier* barrier, uint32_t bytes) {
  tma_model::arrive(barrier, (int32_t)bytes);
}
static inline PhaseBarrier* phase_of_block(PhaseBarrier* barrier, uint32_t rank) {
  return static_cast<PhaseBarrier*>(cuda_model::map_shared(barrier, rank));
}
static inline void phase_arrive_at(PhaseBarrier* first, uint32_t index) { tma_model::arrive(first + index, 0); }
static inline void phase_wait(PhaseBarrier* barrier, uint32_t parity) {
  tma_model::Wait wait = {barrier, parity};
  cuda_model::wait_until(tma_model::ended, &wait, "a phase barrier");
}
static inline void phase_store(uint32_t* place, uint32_t value, PhaseBarrier* barrier, uint32_t rank) {
  auto* to = static_cast<uint32_t*>(cuda_model::map_shared(place, rank));
  auto* counted = static_cast<PhaseBarrier*>(cuda_model::map_shared(barrier, rank));
  cuda_model::defer(counted, [=]() {
    *to = value;
    tma_model::Phase phase = tma_model::read(counted);
    phase.bytes -= (int32_t)sizeof value;
    tma_model::write(counted, phase);
  });
}
static inline void tile_map_prefetch(const TileMap*) {}
static inline void tile_load(unsigned char* shared, const TileMap* map, uint32_t k, uint32_t row, PhaseBarrier* barrier,
                             uint32_t blocks) {
  const cuda_model::Thread& own = *cuda_model::current;
  const uint32_t window = (uint32_t)(shared - own.shared) + cuda_model::SHARED_WINDOW;
  if (window % 1024 != 0) cuda_model::fail("tile_load to a place that is no multiple of 1024");
  for (uint32_t rank = 0; rank < own.cluster_size; rank += 1) {
    if (blocks == 0 ? rank != own.rank : (blocks >> rank & 1u) == 0) continue;
    auto* to = static_cast<unsigned char*>(cuda_model::map_shared(shared, rank));
    auto* counted = static_cast<PhaseBarrier*>(cuda_model::map_shared(barrier, rank));
    const TileMap own_map = *map;
    cuda_model::defer(counted, [=]() { tma_model::copy(to, window, own_map, k, row, counted); });
  }
  if (blocks >> own.cluster_size != 0) cuda_model::fail("tile_load into a block that the cluster does not have");
}

#endif

}  // namespace pogo

#endif
