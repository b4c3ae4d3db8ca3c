// BLAKE3 trees over 1 KiB leaves with every chaining value kept, several segments at once.
//
// Instruction issue decides (7 rounds of 8 mixes for 64 bytes), not memory. A lane hashes one leaf; a warp brings the next
// block of its 32 leaves into shared memory by asynchronous copies while it hashes the last one, so that each row of four
// lanes reads 64 whole bytes and no register holds data in flight. A block of threads then hashes the parents above its
// leaves up to one value, in shared memory; the levels above are one launch for every seven of them.
#include "blake3_compress.h"
#include "ptx.h"
#include "ops.h"

namespace pogo {
namespace {

constexpr int THREADS = 128;
constexpr uint32_t WARPS = THREADS / 32;
/** Levels of parents above a block's values: 128 to one. */
constexpr uint32_t BLOCK_LEVELS = 7;
/** Words of a block of 64 bytes in shared memory: 4 more, so that eight lanes that read 16 bytes meet no bank twice. */
constexpr uint32_t ROW_WORDS = POGO_BLAKE3_BLOCK / 4 + 4;
constexpr uint32_t STAGES = 2;
constexpr uint32_t STAGE_WORDS = 32 * ROW_WORDS;
constexpr uint32_t STAGED_WORDS = WARPS * STAGES * STAGE_WORDS;
/** A value in shared memory: 8 words and one, so that neighbouring lanes use other banks. */
constexpr uint32_t VALUE_WORDS = 9;
constexpr uint32_t SHARED_WORDS = STAGED_WORDS > 2 * THREADS * VALUE_WORDS ? STAGED_WORDS : 2 * THREADS * VALUE_WORDS;

POGO_HD uint64_t leaves_of(uint64_t length) { return (length + POGO_BLAKE3_CHUNK - 1) / POGO_BLAKE3_CHUNK; }

static __device__ __forceinline__ void store_value(uint32_t* place, const uint32_t cv[8]) {
  reinterpret_cast<uint4*>(place)[0] = make_uint4(cv[0], cv[1], cv[2], cv[3]);
  reinterpret_cast<uint4*>(place)[1] = make_uint4(cv[4], cv[5], cv[6], cv[7]);
}

static __device__ __forceinline__ void load_value(const uint32_t* place, uint32_t cv[8]) {
  const uint4 a = reinterpret_cast<const uint4*>(place)[0], b = reinterpret_cast<const uint4*>(place)[1];
  cv[0] = a.x;
  cv[1] = a.y;
  cv[2] = a.z;
  cv[3] = a.w;
  cv[4] = b.x;
  cv[5] = b.y;
  cv[6] = b.z;
  cv[7] = b.w;
}

/** A level of a segment's tree: how many values it has, and where its first stands. */
struct Level {
  uint64_t count;
  uint32_t* values;
};

/**
 * The parents above the values that this block holds, up to one. `level`: that of the values; this thread's is `cv`, number
 * blockIdx.x * 128 + threadIdx.x of it. Where the tree ends, its hash is written too.
 */
static __device__ __forceinline__ void hash_parents(Level level, uint32_t cv[8], uint32_t* shared) {
  uint64_t first = (uint64_t)blockIdx.x * THREADS;
  // Two halves take turns: a level is read from one and written to the other.
  uint32_t* from = shared;
  uint32_t* to = shared + THREADS * VALUE_WORDS;
  POGO_UNROLL
  for (uint32_t i = 0; i < 8; i += 1) from[threadIdx.x * VALUE_WORDS + i] = cv[i];
  __syncthreads();
  POGO_NO_UNROLL
  for (uint32_t width = THREADS / 2; width > 0 && level.count > 1; width /= 2) {
    const uint64_t parents = (level.count + 1) / 2;
    uint32_t* parent_values = level.values + 8 * level.count;
    const uint64_t index = first / 2 + threadIdx.x;
    if (threadIdx.x < width && index < parents) {
      const uint32_t* left = from + 2 * threadIdx.x * VALUE_WORDS;
      if (2 * index + 1 < level.count) {
        uint32_t children[16];
        POGO_UNROLL
        for (uint32_t i = 0; i < 8; i += 1) {
          children[i] = left[i];
          children[8 + i] = left[VALUE_WORDS + i];
        }
        // The last two values once more with the ROOT flag: the hash stands behind the top.
        POGO_NO_UNROLL
        for (int root = level.count == 2 ? 1 : 0; root >= 0; root -= 1) {
          pogo_blake3_parent(children, root != 0, cv);
          store_value(parent_values + 8 * (index + (uint32_t)root), cv);
        }
      } else {
        // An odd last value moves up unchanged.
        POGO_UNROLL
        for (uint32_t i = 0; i < 8; i += 1) cv[i] = left[i];
        store_value(parent_values + 8 * index, cv);
      }
      POGO_UNROLL
      for (uint32_t i = 0; i < 8; i += 1) to[threadIdx.x * VALUE_WORDS + i] = cv[i];
    }
    __syncthreads();
    level.values = parent_values;
    level.count = parents;
    first /= 2;
    uint32_t* kept = from;
    from = to;
    to = kept;
  }
}

// Blocks (x, y): y is the segment, x counts 128 of its leaves or values.

__global__ void __launch_bounds__(THREADS) blake3_leaves_kernel(const Blake3Segment* __restrict__ segments) {
  uint32_t* shared = reinterpret_cast<uint32_t*>(pogo_shared());
  const Blake3Segment s = segments[blockIdx.y];
  const uint64_t leaves = leaves_of(s.length), first = (uint64_t)blockIdx.x * THREADS;
  if (first >= leaves) return;
  const uint32_t lane = threadIdx.x % 32, warp = threadIdx.x / 32;
  uint32_t* staged = shared + warp * STAGES * STAGE_WORDS;
  const uint64_t warp_start = (first + warp * 32) * POGO_BLAKE3_CHUNK;

  // Lane l copies piece l % 4 of rows l / 4, l / 4 + 8, … of the warp's leaves.
  const bool whole = warp_start + 32 * POGO_BLAKE3_CHUNK <= s.length;
  const uint64_t lane_at = warp_start + (uint64_t)(lane / 4) * POGO_BLAKE3_CHUNK + 16 * (lane % 4);
  uint32_t* const lane_stage = staged + (lane / 4) * ROW_WORDS + 4 * (lane % 4);
  auto bring = [&](uint32_t block) {
    uint32_t* stage = lane_stage + (block % STAGES) * STAGE_WORDS;
    const uint64_t at = lane_at + block * POGO_BLAKE3_BLOCK;
    if (whole) {
      POGO_UNROLL
      for (uint32_t k = 0; k < 4; k += 1) {
        cp_async16(stage + 8 * k * ROW_WORDS, s.bytes + at + 8 * k * POGO_BLAKE3_CHUNK, true);
      }
    } else {
      // Zeros behind the end. Where nothing is read the address must still be a legal one.
      POGO_NO_UNROLL
      for (uint32_t k = 0; k < 4; k += 1) {
        const uint64_t from = at + 8 * k * POGO_BLAKE3_CHUNK;
        const uint32_t bytes = from + 16 <= s.length ? 16 : from < s.length ? (uint32_t)(s.length - from) : 0;
        cp_async16_part(stage + 8 * k * ROW_WORDS, s.bytes + (bytes > 0 ? from : 0), bytes);
      }
    }
    cp_async_commit();
  };

  const uint64_t leaf = first + threadIdx.x, start = leaf * POGO_BLAKE3_CHUNK;
  const uint64_t left = start < s.length ? s.length - start : 0;
  const uint32_t size = left < POGO_BLAKE3_CHUNK ? (uint32_t)left : POGO_BLAKE3_CHUNK;
  const uint32_t blocks = (size + POGO_BLAKE3_BLOCK - 1) / POGO_BLAKE3_BLOCK;
  uint32_t cv[8];
  pogo_blake3_start(cv);
  bring(0);
  POGO_NO_UNROLL
  for (uint32_t block = 0; block < POGO_BLAKE3_CHUNK / POGO_BLAKE3_BLOCK; block += 1) {
    if (block + 1 < POGO_BLAKE3_CHUNK / POGO_BLAKE3_BLOCK) {
      bring(block + 1);
      cp_async_wait<1>();
    } else {
      cp_async_wait<0>();
    }
    __syncwarp();
    uint32_t message[16];
    const uint32_t* row = staged + (block % STAGES) * STAGE_WORDS + lane * ROW_WORDS;
    load_value(row, message);
    load_value(row + 8, message + 8);
    if (block < blocks) {
      const uint32_t rest = size - block * POGO_BLAKE3_BLOCK;
      uint32_t flags = block == 0 ? POGO_BLAKE3_CHUNK_START : 0;
      if (block + 1 == blocks) flags |= POGO_BLAKE3_CHUNK_END;
      pogo_blake3_compress(cv, message, s.firstLeaf + leaf, rest < POGO_BLAKE3_BLOCK ? rest : POGO_BLAKE3_BLOCK, flags);
    }
    // The stage is free for the block after the next.
    __syncwarp();
  }
  uint32_t* values = reinterpret_cast<uint32_t*>(s.tree);
  if (leaf < leaves) store_value(values + 8 * leaf, cv);
  if (leaves == 1) {
    // The hash of one leaf: its last compression carries the ROOT flag, too. Rare, so all of it again.
    if (threadIdx.x == 0) {
      pogo_blake3_chunk(s.bytes, size, s.firstLeaf, true, cv);
      store_value(values + 8, cv);
    }
    return;
  }
  // Stages and values share memory.
  __syncthreads();
  hash_parents({leaves, values}, cv, shared);
}

/** Seven levels from level `done` on, which an earlier launch wrote. */
__global__ void __launch_bounds__(THREADS) blake3_parents_kernel(const Blake3Segment* __restrict__ segments, uint32_t done) {
  uint32_t* shared = reinterpret_cast<uint32_t*>(pogo_shared());
  const Blake3Segment s = segments[blockIdx.y];
  Level level = {leaves_of(s.length), reinterpret_cast<uint32_t*>(s.tree)};
  for (uint32_t i = 0; i < done && level.count > 1; i += 1) {
    level.values += 8 * level.count;
    level.count = (level.count + 1) / 2;
  }
  const uint64_t index = (uint64_t)blockIdx.x * THREADS + threadIdx.x;
  // The whole block leaves, or nobody.
  if (level.count < 2 || (uint64_t)blockIdx.x * THREADS >= level.count) return;
  uint32_t cv[8] = {0, 0, 0, 0, 0, 0, 0, 0};
  if (index < level.count) load_value(level.values + 8 * index, cv);
  hash_parents(level, cv, shared);
}

}  // namespace

Status blake3_trees(const Blake3TreesArgs& a, const Launch& launch) {
  if (a.count == 0) return Status();
  auto blocks = [&](uint64_t values) { return dim3((unsigned)((values + THREADS - 1) / THREADS), a.count); };
  POGO_TRY(POGO_LAUNCH(blake3_leaves_kernel, blocks(a.mostLeaves), THREADS, SHARED_WORDS * 4, launch.stream, a.segments),
           "blake3_leaves_kernel");
  uint64_t values = a.mostLeaves;
  for (uint32_t done = BLOCK_LEVELS;; done += BLOCK_LEVELS) {
    for (uint32_t i = 0; i < BLOCK_LEVELS; i += 1) values = (values + 1) / 2;
    if (values < 2) return Status();
    POGO_TRY(POGO_LAUNCH(blake3_parents_kernel, blocks(values), THREADS, 2 * THREADS * VALUE_WORDS * 4, launch.stream,
                         a.segments, done),
             "blake3_parents_kernel");
  }
}

}  // namespace pogo
