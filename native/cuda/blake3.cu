// BLAKE3 of a vector with every chaining value kept: one thread a leaf, then one launch a level.
//
// The instruction issue rate decides (7 rounds of 8 mixes a block), not memory: the sixteen words of a block are read by
// 16-byte loads and the lines stay in L1 while a leaf's neighbours are hashed.
#include "blake3_compress.h"
#include "ops.h"

namespace pogo {
namespace {

constexpr int THREADS = 128;

// Blocks (x, y): y is the segment, x counts its leaves or parents.

__global__ void __launch_bounds__(THREADS) blake3_leaves_kernel(const Blake3Segment* __restrict__ segments) {
  Blake3Segment s = segments[blockIdx.y];
  uint64_t leaf = (uint64_t)blockIdx.x * THREADS + threadIdx.x;
  uint64_t start = leaf * POGO_BLAKE3_CHUNK;
  if (start >= s.length) return;
  uint64_t left = s.length - start;
  uint32_t size = left < POGO_BLAKE3_CHUNK ? (uint32_t)left : POGO_BLAKE3_CHUNK;
  uint32_t cv[8];
  pogo_blake3_chunk(s.bytes + start, size, s.firstLeaf + leaf, false, cv);
  uint32_t* value = reinterpret_cast<uint32_t*>(s.tree) + 8 * leaf;
  POGO_UNROLL
  for (int i = 0; i < 8; i += 1) value[i] = cv[i];
}

/** Values of level `level` + 1 from those of `level`; segments whose tree ended are left alone. */
__global__ void __launch_bounds__(THREADS) blake3_parents_kernel(const Blake3Segment* __restrict__ segments, uint32_t level) {
  Blake3Segment s = segments[blockIdx.y];
  uint64_t count = (s.length + POGO_BLAKE3_CHUNK - 1) / POGO_BLAKE3_CHUNK, first = 0;
  for (uint32_t i = 0; i < level && count > 1; i += 1) {
    first += count;
    count = (count + 1) / 2;
  }
  uint64_t i = (uint64_t)blockIdx.x * THREADS + threadIdx.x;
  if (count < 2 || 2 * i >= count) return;
  const uint32_t* children = reinterpret_cast<const uint32_t*>(s.tree) + 8 * first;
  uint32_t* parents = reinterpret_cast<uint32_t*>(s.tree) + 8 * (first + count);
  uint32_t cv[8];
  if (2 * i + 1 < count) {
    pogo_blake3_parent(children + 16 * i, false, cv);
  } else {
    // An odd last value moves up unchanged.
    for (int k = 0; k < 8; k += 1) cv[k] = children[16 * i + k];
  }
  POGO_UNROLL
  for (int k = 0; k < 8; k += 1) parents[8 * i + k] = cv[k];
  if (count > 2) return;
  // The hash: the last two values, compressed once more with the ROOT flag.
  pogo_blake3_parent(children, true, cv);
  for (int k = 0; k < 8; k += 1) parents[8 + k] = cv[k];
}

/** The hash of segments of one leaf. */
__global__ void blake3_single_kernel(const Blake3Segment* __restrict__ segments) {
  Blake3Segment s = segments[blockIdx.x];
  if (s.length > POGO_BLAKE3_CHUNK) return;
  uint32_t cv[8];
  pogo_blake3_chunk(s.bytes, (uint32_t)s.length, s.firstLeaf, true, cv);
  uint32_t* root = reinterpret_cast<uint32_t*>(s.tree) + 8;
  for (int i = 0; i < 8; i += 1) root[i] = cv[i];
}

}  // namespace

Status blake3_trees(const Blake3TreesArgs& a, const Launch& launch) {
  if (a.count == 0) return Status();
  auto blocks = [&](uint64_t threads) { return dim3((unsigned)((threads + THREADS - 1) / THREADS), a.count); };
  POGO_TRY(POGO_LAUNCH(blake3_leaves_kernel, blocks(a.mostLeaves), THREADS, 0, launch.stream, a.segments),
           "blake3_leaves_kernel");
  POGO_TRY(POGO_LAUNCH(blake3_single_kernel, a.count, 1, 0, launch.stream, a.segments), "blake3_single_kernel");
  uint32_t level = 0;
  for (uint64_t count = a.mostLeaves; count > 1; count = (count + 1) / 2) {
    POGO_TRY(POGO_LAUNCH(blake3_parents_kernel, blocks((count + 1) / 2), THREADS, 0, launch.stream, a.segments, level),
             "blake3_parents_kernel");
    level += 1;
  }
  return Status();
}

}  // namespace pogo
