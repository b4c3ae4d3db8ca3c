// Which chains of chunks lead through a segment of a patch (patch.cu).
#ifndef POGO_CUDA_PATCH_WALK_H
#define POGO_CUDA_PATCH_WALK_H

#include "patch_chains.h"
#include "ptx.h"

namespace pogo {
namespace patch {

constexpr int WALK_THREADS = 512;
constexpr uint32_t WALK_WARPS = WALK_THREADS / 32;
/** Ones are counted up to each piece, 16 bytes. */
constexpr uint32_t PIECE = 16;
constexpr uint32_t PIECES = REGION / PIECE;
constexpr uint32_t THREAD_PIECES = PIECES / WALK_THREADS;
static_assert(THREAD_PIECES * WALK_THREADS == PIECES, "every thread counts as many pieces");
/** Places that begin like a chunk; of them, those whose first chunk leads to another; those that lead through the segment. */
constexpr uint32_t MOST_CANDIDATES = 4096, MOST_TRIED = 256, MOST_FOUND = 32;

struct WalkShared {
  static constexpr uint32_t ONES = REGION;
  static constexpr uint32_t WARP_SUMS = ONES + 4 * (PIECES + 1);
  /** Lengths of the three lists. */
  static constexpr uint32_t LENGTHS = WARP_SUMS + 4 * WALK_WARPS;
  static constexpr uint32_t FOUND = LENGTHS + 4 * 3;
  static constexpr uint32_t KEPT = FOUND + 4 * MOST_FOUND;
  static constexpr uint32_t CHUNK_COUNTS = KEPT + 4 * CHAINS;
  static constexpr uint32_t TRIED = CHUNK_COUNTS + 4 * CHAINS * CHAIN_CHUNKS;
  static constexpr uint32_t CANDIDATES = TRIED + 4 * MOST_TRIED;
  static constexpr uint32_t TOTAL = CANDIDATES + 2 * MOST_CANDIDATES;
};
static_assert(SEGMENT + 16 <= 65536 && MOST_TRIED * CHAIN_CHUNKS <= MOST_CANDIDATES, "a path fits where a candidate was");
static_assert(CHAINS * CHAIN_CHUNKS <= WALK_THREADS && MOST_FOUND <= WALK_THREADS, "a thread for each");

/** The top bit of every byte that is 1 or 2. */
POGO_HD uint32_t tags(uint32_t x) {
  const uint32_t upper = x & 0xFCFCFCFCu;
  return ~(((upper & 0x7F7F7F7Fu) + 0x7F7F7F7Fu) | upper) & ((x ^ (x >> 1)) << 7) & 0x80808080u;
}

/** The bytes of a region in shared memory and the ones before each of its pieces. */
struct Region {
  const uint8_t* bytes;
  const uint32_t* ones;
  /** Bytes of the patch that it holds; whether the patch ends there; bytes of model of the last chunk, if it is shorter. */
  uint32_t limit;
  bool ends;
  uint32_t last;

  __device__ __forceinline__ uint32_t ones_before(uint32_t at) const {
    const uint4 q = reinterpret_cast<const uint4*>(bytes)[at / PIECE];
    return ones[at / PIECE] + (uint32_t)(__popc(q.x & bytes_below(at % 16)) + __popc(q.y & bytes_below(at % 16, 4)) +
                                         __popc(q.z & bytes_below(at % 16, 8)) + __popc(q.w & bytes_below(at % 16, 12)));
  }

  /** Where the chunk of n bytes of model that begins at `at` (tag 1 or 2) ends, or NOWHERE. */
  __device__ __forceinline__ uint32_t chunk_end(uint32_t at, uint32_t n, uint32_t* differences) const {
    const uint32_t bitmap_bytes = (n + 3) / 4;
    uint32_t end = at + 1 + n;
    *differences = 0;
    if (bytes[at] == 1) {
      if (at + 1 + bitmap_bytes > limit) return NOWHERE;
      const uint32_t count = ones_before(at + 1 + bitmap_bytes) - ones_before(at + 1);
      if (!is_sparse(n, count)) return NOWHERE;
      *differences = count;
      end = at + 1 + bitmap_bytes + (count + 1) / 2;
    }
    return end <= limit ? end : NOWHERE;
  }

  /** The first byte from `at` on that is not zero, or `limit`. */
  __device__ __forceinline__ uint32_t behind_zeros(uint32_t at) const {
    uint32_t skipped = at % 16;
    for (at -= skipped; at < limit; at += 16, skipped = 0) {
      const uint4 q = *reinterpret_cast<const uint4*>(bytes + at);
      const uint32_t x[4] = {q.x & ~bytes_below(skipped), q.y & ~bytes_below(skipped, 4), q.z & ~bytes_below(skipped, 8),
                             q.w & ~bytes_below(skipped, 12)};
      if ((x[0] | x[1] | x[2] | x[3]) == 0) continue;
      const uint32_t word = x[0] != 0 ? 0 : x[1] != 0 ? 1 : x[2] != 0 ? 2 : 3;
      return at + 4 * word + ((uint32_t)__ffs((int)(x[0] != 0 ? x[0] : x[1] != 0 ? x[1] : x[2] != 0 ? x[2] : x[3])) - 1) / 8;
    }
    return limit;
  }

  /**
   * Where the next chunk with differences begins behind the one at `at`, or NOWHERE where that is none of the encoder's.
   * `chunks`: how many chunks that is. With STOPS: the patch ends there, or its last, shorter chunk begins there.
   */
  __device__ __forceinline__ uint32_t step(uint32_t at, uint32_t* differences, uint32_t* chunks) const {
    const uint32_t end = chunk_end(at, DIFF_CHUNK, differences);
    if (end != NOWHERE) {
      const uint32_t next = behind_zeros(end);
      *chunks = 1 + next - end;
      if (next < limit && bytes[next] <= 2) return next;
      if (next == limit && ends) return next | STOPS;
    }
    uint32_t unused;
    if (ends && last != 0 && chunk_end(at, last, &unused) == limit) {
      *chunks = 0;
      return at | STOPS;
    }
    return NOWHERE;
  }
};

/** The chains of segment blockIdx.x. */
__global__ void __launch_bounds__(WALK_THREADS) patch_walk_kernel(PatchModelArgs a, Scratch scratch) {
  unsigned char* shared = pogo_shared();
  uint32_t* ones = reinterpret_cast<uint32_t*>(shared + WalkShared::ONES);
  uint32_t* warp_sums = reinterpret_cast<uint32_t*>(shared + WalkShared::WARP_SUMS);
  uint32_t* lengths = reinterpret_cast<uint32_t*>(shared + WalkShared::LENGTHS);
  uint32_t* found = reinterpret_cast<uint32_t*>(shared + WalkShared::FOUND);
  uint32_t* kept = reinterpret_cast<uint32_t*>(shared + WalkShared::KEPT);
  uint32_t* chunk_counts = reinterpret_cast<uint32_t*>(shared + WalkShared::CHUNK_COUNTS);
  uint32_t* tried = reinterpret_cast<uint32_t*>(shared + WalkShared::TRIED);
  uint16_t* candidates = reinterpret_cast<uint16_t*>(shared + WalkShared::CANDIDATES);
  const uint32_t thread = threadIdx.x, lane = thread % 32, warp = thread / 32;
  // The region begins at a multiple of 16 of the patch, the segment up to 15 bytes behind.
  const uint64_t begin = a.start + (uint64_t)blockIdx.x * SEGMENT, base = begin / 16 * 16;
  const uint32_t first = (uint32_t)(begin - base);
  const uint64_t left = a.patchBytes - base;
  Region region = {shared, ones, left < REGION ? (uint32_t)left : REGION, left <= REGION, (uint32_t)(a.n % DIFF_CHUNK)};
  for (uint32_t i = thread; i < REGION / 16; i += WALK_THREADS) {
    const uint32_t valid = 16 * i < region.limit ? min(16u, region.limit - 16 * i) : 0;
    cp_async16_part(shared + 16 * i, a.patch + base + (valid > 0 ? 16 * i : 0), valid);
  }
  cp_async_commit();
  if (thread < 3) lengths[thread] = 0;
  cp_async_wait<0>();
  __syncthreads();
  uint32_t counts[THREAD_PIECES], own = 0;
  POGO_UNROLL
  for (uint32_t i = 0; i < THREAD_PIECES; i += 1) {
    const uint4 q = reinterpret_cast<const uint4*>(shared)[thread * THREAD_PIECES + i];
    counts[i] = (uint32_t)(__popc(q.x) + __popc(q.y) + __popc(q.z) + __popc(q.w));
    own += counts[i];
  }
  const uint32_t up_to = lanes_up_to(own);
  if (lane == 31) warp_sums[warp] = up_to;
  // Places that begin like a chunk with differences. The first segment is entered at its beginning.
  for (uint32_t i = thread; blockIdx.x > 0 && 16 * i < first + ENTRANCES; i += WALK_THREADS) {
    const uint4 q = *reinterpret_cast<const uint4*>(shared + 16 * i);
    // Bit 8 b + w: byte b of word w.
    uint32_t some = tags(q.x) >> 7 | tags(q.y) >> 6 | tags(q.z) >> 5 | tags(q.w) >> 4;
    for (; some != 0; some &= some - 1) {
      const uint32_t bit = (uint32_t)__ffs((int)some) - 1, at = 16 * i + 4 * (bit % 8) + bit / 8;
      if (at < first || at >= first + ENTRANCES || at >= region.limit) continue;
      const uint32_t place = atomicAdd(lengths, 1u);
      if (place < MOST_CANDIDATES) candidates[place] = (uint16_t)at;
    }
  }
  if (blockIdx.x == 0 && thread == 0) {
    const uint32_t at = region.behind_zeros(first);
    if (at < first + SEGMENT && at < region.limit && region.bytes[at] <= 2) {
      candidates[0] = (uint16_t)at;
      lengths[0] = 1;
    }
  }
  __syncthreads();
  uint32_t sum = up_to - own;
  for (uint32_t w = 0; w < warp; w += 1) sum += warp_sums[w];
  POGO_UNROLL
  for (uint32_t i = 0; i < THREAD_PIECES; i += 1) {
    ones[thread * THREAD_PIECES + i] = sum;
    sum += counts[i];
  }
  if (thread == WALK_THREADS - 1) ones[PIECES] = sum;
  __syncthreads();
  uint32_t differences = 0, chunks = 0;
  const uint32_t end = first + SEGMENT;
  if (lengths[0] <= MOST_CANDIDATES) {
    for (uint32_t i = thread; i < lengths[0]; i += WALK_THREADS) {
      if (region.step(candidates[i], &differences, &chunks) == NOWHERE) continue;
      const uint32_t place = atomicAdd(lengths + 1, 1u);
      if (place < MOST_TRIED) tried[place] = candidates[i];
    }
  }
  __syncthreads();
  // The candidates are done with: their room gets the places that each chain passes.
  uint16_t* paths = candidates;
  if (lengths[1] <= MOST_TRIED) {
    // One of a warp, so that none waits for another's branches.
    for (uint32_t i = lane * WALK_WARPS + warp; i < lengths[1]; i += WALK_THREADS) {
      uint32_t at = tried[i], links = 0;
      while (at < end) {
        paths[i * CHAIN_CHUNKS + links] = (uint16_t)at;
        links += 1;
        at = region.step(at, &differences, &chunks);
      }
      if (at == NOWHERE) continue;
      const uint32_t place = atomicAdd(lengths + 2, 1u);
      if (place < MOST_FOUND) found[place] = i | links << 16;
    }
  }
  __syncthreads();
  const uint32_t count = lengths[2] <= MOST_FOUND ? lengths[2] : 0;
  if (thread < MOST_FOUND) {
    const uint32_t own = thread < count ? tried[found[thread] & 0xFFFFu] : 0;
    uint32_t rank = 0;
    for (uint32_t i = 0; i < count; i += 1) rank += tried[found[i] & 0xFFFFu] < own ? 1 : 0;
    if (thread < count && rank < CHAINS) kept[rank] = found[thread];
  }
  __syncthreads();
  // A thread has one chunk of a chain that is kept.
  Chains& out = scratch.chains[blockIdx.x];
  if (thread == 0) out.chosen = NOWHERE;
  const uint32_t slot = lane * WALK_WARPS + warp, chain = slot / CHAIN_CHUNKS, link = slot % CHAIN_CHUNKS;
  const bool is_kept = chain < CHAINS && chain < count;
  const uint32_t links = is_kept ? kept[chain] >> 16 : 0;
  uint32_t at = 0, next = 0;
  if (link < links) {
    at = paths[(kept[chain] & 0xFFFFu) * CHAIN_CHUNKS + link];
    next = region.step(at, &differences, &chunks);
    chunk_counts[slot] = chunks;
  }
  __syncthreads();
  if (chain < CHAINS && link == 0) out.entrance[chain] = is_kept ? at - first : NOWHERE;
  if (link >= links) return;
  uint32_t before = 0;
  for (uint32_t i = slot - link; i < slot; i += 1) before += chunk_counts[i];
  // The patch's last, shorter chunk is none of a chain.
  if (chunks != 0) out.link[chain][link] = {at - first, differences, before};
  if (link + 1 < links) return;
  out.exit[chain] = ((next & ~STOPS) - first) | (next & STOPS);
  out.chunks[chain] = before + chunks;
  out.links[chain] = chunks != 0 ? links : link;
}

}  // namespace patch
}  // namespace pogo

#endif
