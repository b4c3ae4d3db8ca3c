// The chain of a whole patch from the chains of its segments, and what of its chunks only their values say (patch.cu).
#ifndef POGO_CUDA_PATCH_JOIN_H
#define POGO_CUDA_PATCH_JOIN_H

#include "patch_chains.h"

namespace pogo {
namespace patch {

constexpr int JOIN_THREADS = 1024;
constexpr uint32_t JOIN_WARPS = JOIN_THREADS / 32;

/** A chain of the next segment for each of one's own, four bits each; 15: none. `after` of `before`. */
static __device__ __forceinline__ uint32_t composed(uint32_t before, uint32_t after) {
  uint32_t result = 0;
  POGO_UNROLL
  for (uint32_t i = 0; i < CHAINS; i += 1) {
    const uint32_t chain = (before >> (4 * i)) & 15u;
    result |= (chain == 15 ? 15u : (after >> (4 * chain)) & 15u) << (4 * i);
  }
  return result;
}
constexpr uint32_t SAME_CHAINS = 0x76543210u;
static_assert(CHAINS == 8, "eight chains fill a word");

/** A number of each chain, NOWHERE without chains. */
static __device__ __forceinline__ void load_ends(const uint32_t* from, uint32_t ends[CHAINS]) {
  POGO_UNROLL
  for (uint32_t half = 0; half < 2; half += 1) {
    const uint4 q = from == nullptr ? make_uint4(NOWHERE, NOWHERE, NOWHERE, NOWHERE) : reinterpret_cast<const uint4*>(from)[half];
    ends[4 * half] = q.x;
    ends[4 * half + 1] = q.y;
    ends[4 * half + 2] = q.z;
    ends[4 * half + 3] = q.w;
  }
}

struct JoinShared {
  static constexpr uint32_t MAPS = 0;
  static constexpr uint32_t SUMS = MAPS + JOIN_WARPS;
  static constexpr uint32_t VALUES = SUMS + JOIN_WARPS;
  static constexpr uint32_t TOTAL = VALUES + 8;
};

/** The lowest bit of every nibble that is not zero. */
POGO_HD uint32_t some_nibbles(uint32_t x) {
  x |= x >> 1;
  return (x | (x >> 2)) & 0x11111111u;
}

/** Nibbles that are not zero among `bytes` bytes from `at` on that are this thread's, one of `threads`. */
static __device__ __forceinline__ uint32_t differing_nibbles(const PatchModelArgs& a, uint64_t at, uint32_t bytes,
                                                             uint32_t thread, uint32_t threads) {
  constexpr uint32_t AT_ONCE = 8;
  const uint64_t base = at / 16 * 16, left = a.patchBytes - base;
  const uint32_t from = (uint32_t)(at - base), to = from + bytes;
  uint32_t count = 0;
  for (uint32_t first = 16 * thread; first < to; first += 16 * AT_ONCE * threads) {
    uint4 q[AT_ONCE];
    POGO_UNROLL
    for (uint32_t k = 0; k < AT_ONCE; k += 1) {
      const uint32_t i = first + 16 * k * threads;
      q[k] = i < to ? load_part(a.patch + base + i, left - i < 16 ? (uint32_t)(left - i) : 16) : make_uint4(0, 0, 0, 0);
    }
    POGO_UNROLL
    for (uint32_t k = 0; k < AT_ONCE; k += 1) {
      const uint32_t i = first + 16 * k * threads;
      uint32_t x[4] = {q[k].x, q[k].y, q[k].z, q[k].w};
      if (i < from || i + 16 > to) {
        POGO_UNROLL
        for (uint32_t w = 0; w < 4; w += 1) {
          x[w] &= ~bytes_below(i < from ? from - i : 0, 4 * w) & bytes_below(i < to ? to - i : 0, 4 * w);
        }
      }
      // Four fields of one bit in each nibble, then one number.
      const uint32_t some = some_nibbles(x[0]) + some_nibbles(x[1]) + some_nibbles(x[2]) + some_nibbles(x[3]);
      count += (((some & 0x0F0F0F0Fu) + (some >> 4 & 0x0F0F0F0Fu)) * 0x01010101u) >> 24;
    }
  }
  return count;
}

/** Whether a chunk at `at` whose values' nibbles that are not zero were counted is not what the encoder writes. */
static __device__ __forceinline__ bool is_wrong(const PatchModelArgs& a, uint64_t at, uint32_t n, uint32_t ones,
                                                uint32_t nibbles) {
  if (ones == 0) return nibbles == 0 || is_sparse(n, nibbles);
  const uint64_t values = at + 1 + (n + 3) / 4;
  return nibbles != ones || (ones % 2 == 1 && a.patch[values + ones / 2] >> 4 != 0) ||
         (n % 4 != 0 && (uint32_t)a.patch[values - 1] >> (2 * (n % 4)) != 0);
}

/**
 * Joins the segments' chains from the patch's beginning on. `bad` gets the first chunk that is none of the encoder's as far as
 * its length tells, or their number; where bytes are left behind the last a failure tells. One block.
 */
__global__ void __launch_bounds__(JOIN_THREADS) patch_join_kernel(PatchModelArgs a, Scratch scratch,
                                                                  unsigned long long* failure, uint32_t entry) {
  uint32_t* shared = reinterpret_cast<uint32_t*>(pogo_shared());
  uint32_t* maps = shared + JoinShared::MAPS;
  uint32_t* sums = shared + JoinShared::SUMS;
  uint32_t* values = shared + JoinShared::VALUES;
  const uint32_t thread = threadIdx.x, lane = thread % 32, warp = thread / 32;
  const uint64_t chunks = chunks_of(a.n), whole = a.n / DIFF_CHUNK;
  uint64_t at = a.start, chunk = 0;
  while (chunk < chunks && at < a.patchBytes) {
    // The chains from here on, of as many segments as there are threads, are asked for together with what follows.
    const uint64_t segment = (at - a.start) / SEGMENT, own = segment + thread;
    const uint32_t place = (uint32_t)(at - a.start - segment * SEGMENT);
    uint32_t entrance[CHAINS], next[CHAINS], exit[CHAINS], lengths[CHAINS];
    load_ends(own < scratch.segments ? scratch.chains[own].entrance : nullptr, entrance);
    load_ends(own < scratch.segments ? scratch.chains[own].exit : nullptr, exit);
    load_ends(own < scratch.segments ? scratch.chains[own].chunks : nullptr, lengths);
    load_ends(own + 1 < scratch.segments ? scratch.chains[own + 1].entrance : nullptr, next);
    // Chunks without differences.
    const bool is_zero = chunk + thread < chunks && at + thread < a.patchBytes && a.patch[at + thread] == 0;
    const uint32_t zeros = block_min(is_zero ? (uint32_t)JOIN_THREADS : thread, maps);
    if (thread < zeros) {
      scratch.starts[chunk + thread] = at + thread;
      scratch.counts[chunk + thread] = 0;
    }
    at += zeros;
    chunk += zeros;
    if (zeros > 0) continue;
    uint32_t entered = NOWHERE;
    POGO_UNROLL
    for (uint32_t i = 0; i < CHAINS; i += 1) {
      if (scratch.chains[segment].entrance[i] == place) entered = i;
    }
    if (entered != NOWHERE) {
      uint32_t map = 0;
      POGO_UNROLL
      for (uint32_t i = 0; i < CHAINS; i += 1) {
        uint32_t to = 15;
        POGO_UNROLL
        for (uint32_t k = 0; k < CHAINS; k += 1) {
          if (entrance[i] != NOWHERE && next[k] != NOWHERE && exit[i] == next[k] + SEGMENT) to = k;
        }
        map |= to << (4 * i);
      }
      // Through all segments before one's own.
      uint32_t through = map;
      POGO_UNROLL
      for (uint32_t s = 1; s < 32; s <<= 1) {
        const uint32_t before = __shfl_up_sync(ALL, through, s);
        if (lane >= s) through = composed(before, through);
      }
      if (lane == 31) maps[warp] = through;
      __syncthreads();
      uint32_t chain = entered;
      for (uint32_t w = 0; w < warp; w += 1) chain = chain == 15 ? 15u : (maps[w] >> (4 * chain)) & 15u;
      through = __shfl_up_sync(ALL, through, 1);
      if (lane == 0) through = SAME_CHAINS;
      chain = chain == 15 ? 15u : (through >> (4 * chain)) & 15u;
      const bool joined = chain != 15;
      uint32_t own_chunks = 0, own_exit = 0;
      POGO_UNROLL
      for (uint32_t i = 0; i < CHAINS; i += 1) {
        if (chain == i) own_chunks = lengths[i];
        if (chain == i) own_exit = exit[i] & ~STOPS;
      }
      const uint32_t up_to = lanes_up_to(own_chunks);
      if (lane == 31) sums[warp] = up_to;
      __syncthreads();
      uint64_t first = chunk + up_to - own_chunks;
      for (uint32_t w = 0; w < warp; w += 1) first += sums[w];
      // Only whole chunks are in chains: the last one may be shorter, and none may be too many.
      const bool all = joined && first + own_chunks <= whole;
      const uint32_t taken = all ? own_chunks : joined && first < whole ? (uint32_t)(whole - first) : 0;
      if (taken > 0) {
        scratch.chains[own].chosen = chain;
        scratch.chains[own].taken = taken;
        scratch.chains[own].first = first;
      }
      // Where to go on: behind the last chain that was taken whole, or in the one that has a chunk too many.
      const uint32_t behind = block_min(joined && taken == own_chunks ? (uint32_t)JOIN_THREADS : thread, maps);
      const auto go_on = [&](uint64_t place_in_patch, uint64_t next) {
        values[0] = (uint32_t)place_in_patch;
        values[1] = (uint32_t)(place_in_patch >> 32);
        values[2] = (uint32_t)next;
        values[3] = (uint32_t)(next >> 32);
      };
      const uint64_t own_begin = a.start + own * SEGMENT;
      if (behind == 0 && thread == 0) go_on(at, chunk);
      if (thread + 1 == behind) go_on(own_begin + own_exit, first + taken);
      __syncthreads();
      if (thread == behind && taken > 0) {
        const Chains& from = scratch.chains[own];
        uint32_t i = from.links[chain] - 1;
        while (i > 0 && from.link[chain][i].before > taken) i -= 1;
        const Link& link = from.link[chain][i];
        const uint32_t rest = link.before == taken ? link.at : link.at + link_bytes(link) + taken - link.before - 1;
        go_on(own_begin + rest, first + taken);
      }
      __syncthreads();
      const uint64_t to = values[0] | ((uint64_t)values[1] << 32);
      chunk = values[2] | ((uint64_t)values[3] << 32);
      __syncthreads();
      if (to != at) {
        at = to;
        continue;
      }
    }
    // One chunk.
    const uint32_t n = chunk_bytes(a.n, chunk), bitmap_bytes = (n + 3) / 4, tag = a.patch[at];
    const uint64_t left = a.patchBytes - at - 1;
    if (tag > 2) break;
    uint32_t ones = 0, length = n;
    if (tag == 1) {
      if (left < bitmap_bytes) break;
      for (uint32_t i = thread; i < bitmap_bytes; i += JOIN_THREADS) ones += (uint32_t)__popc(a.patch[at + 1 + i]);
      ones = block_sum(ones, maps);
      if (!is_sparse(n, ones)) break;
      length = bitmap_bytes + (ones + 1) / 2;
    }
    if (length > left) break;
    const uint32_t skipped = tag == 1 ? bitmap_bytes : 0;
    const uint32_t nibbles =
        block_sum(differing_nibbles(a, at + 1 + skipped, length - skipped, thread, JOIN_THREADS), maps);
    if (is_wrong(a, at, n, ones, nibbles)) break;
    if (thread == 0) {
      scratch.starts[chunk] = at;
      scratch.counts[chunk] = ones;
    }
    at += 1 + length;
    chunk += 1;
  }
  if (thread != 0) return;
  *scratch.bad = chunk;
  if (chunk == chunks && at != a.patchBytes) pogo_report(failure, entry, FAILURE_MALFORMED, chunks);
}

/** Writes where the chunks of the joined chains begin, and checks what their differences are. A segment a block, a chunk a warp. */
__global__ void __launch_bounds__(CHUNK_THREADS) patch_place_kernel(PatchModelArgs a, Scratch scratch) {
  const Chains& from = scratch.chains[blockIdx.x];
  const uint32_t chosen = from.chosen, lane = threadIdx.x % 32;
  if (chosen == NOWHERE) return;
  const uint32_t links = from.links[chosen], taken = from.taken;
  const uint64_t first = from.first;
  for (uint32_t i = threadIdx.x / 32; i < links; i += CHUNK_WARPS) {
    const Link link = from.link[chosen][i];
    const uint32_t until = min(taken, i + 1 < links ? from.link[chosen][i + 1].before : from.chunks[chosen]);
    if (link.before >= until) continue;
    const uint64_t at = a.start + (uint64_t)blockIdx.x * SEGMENT + link.at;
    for (uint32_t k = link.before + lane; k < until; k += 32) {
      scratch.starts[first + k] = k == link.before ? at : at + link_bytes(link) + (k - link.before - 1);
      scratch.counts[first + k] = k == link.before ? link.ones : 0;
    }
    const uint32_t skipped = link.ones == 0 ? 1 : 1 + BITMAP;
    const uint32_t nibbles = __reduce_add_sync(ALL, differing_nibbles(a, at + skipped, link_bytes(link) - skipped, lane, 32));
    if (lane == 0 && is_wrong(a, at, DIFF_CHUNK, link.ones, nibbles)) {
      atomicMin(scratch.bad, (unsigned long long)(first + link.before));
    }
  }
}

}  // namespace patch
}  // namespace pogo

#endif
