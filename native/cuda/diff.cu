// The canonical chunks of the difference of two packed models, and their inverse (numerics 4: diffModel, patchModel; format:
// src/reference/diffModel.ts).
//
// Encoding takes two passes over both models: how long each chunk becomes, then, with the offsets from one scan, the chunks
// themselves, built in shared memory and written out in whole words. Decoding first follows the chain of tags (a chunk says
// only by its bitmap where the next begins), then checks all chunks at once, then applies those before the first bad one.
#include "elements.h"
#include "ops.h"

namespace pogo {
namespace {

constexpr uint32_t ALL = 0xFFFFFFFFu;
constexpr int THREADS = 256;
constexpr uint32_t WARPS = THREADS / 32;
constexpr uint32_t DIFF_CHUNK = 16384;
constexpr uint32_t WORDS = DIFF_CHUNK / 4;
constexpr uint32_t WARP_WORDS = WORDS / WARPS;
/** Words of a lane at a time: 16 bytes. */
constexpr uint32_t LANE_WORDS = 4;
constexpr uint32_t TURNS = WARP_WORDS / (32 * LANE_WORDS);
constexpr uint32_t BITMAP_WORDS = WORDS / 4;
/** Packed differences that a sparse chunk may hold: 12,288 bytes and a word of slack. */
constexpr uint32_t VALUE_WORDS = DIFF_CHUNK * 3 / 4 / 4 + 1;
constexpr int CHAIN_THREADS = 1024;
constexpr int SCAN_THREADS = 1024;

POGO_HD uint64_t chunks_of(uint64_t n) { return (n + DIFF_CHUNK - 1) / DIFF_CHUNK; }
POGO_HD uint32_t chunk_bytes(uint64_t n, uint64_t chunk) {
  const uint64_t left = n - chunk * DIFF_CHUNK;
  return left < DIFF_CHUNK ? (uint32_t)left : DIFF_CHUNK;
}

/** Length of a chunk of n bytes with `differing` nibbles, its tag included. */
POGO_HD uint32_t encoded_bytes(uint32_t n, uint32_t differing) {
  if (differing == 0) return 1;
  const uint32_t sparse = (n + 3) / 4 + (differing + 1) / 2;
  return 1 + (sparse > n ? n : sparse);
}
POGO_HD bool is_sparse(uint32_t n, uint32_t differing) {
  return differing != 0 && (n + 3) / 4 + (differing + 1) / 2 <= n;
}

/** The four words from word `word` on of a chunk of n bytes, zeros behind its end. */
static __device__ __forceinline__ void load_words(const uint8_t* chunk, uint32_t n, uint32_t word, uint32_t x[4]) {
  const uint32_t at = 4 * word;
  if (at + 16 <= n) {
    const uint4 q = *reinterpret_cast<const uint4*>(chunk + at);
    x[0] = q.x;
    x[1] = q.y;
    x[2] = q.z;
    x[3] = q.w;
    return;
  }
  POGO_UNROLL
  for (uint32_t k = 0; k < 4; k += 1) {
    x[k] = 0;
    POGO_UNROLL
    for (uint32_t b = 0; b < 4; b += 1) {
      if (at + 4 * k + b < n) x[k] |= (uint32_t)chunk[at + 4 * k + b] << (8 * b);
    }
  }
}

/** Word of a chunk that a lane has in a turn; its three neighbours follow. */
POGO_HD uint32_t lane_word(uint32_t warp, uint32_t turn, uint32_t lane) {
  return warp * WARP_WORDS + (turn * 32 + lane) * LANE_WORDS;
}

static __device__ __forceinline__ uint32_t block_sum(uint32_t value, uint32_t* shared) {
  value = __reduce_add_sync(ALL, value);
  if (threadIdx.x % 32 == 0) shared[threadIdx.x / 32] = value;
  __syncthreads();
  uint32_t sum = 0;
  for (uint32_t w = 0; w < blockDim.x / 32; w += 1) sum += shared[w];
  __syncthreads();
  return sum;
}

/** Differences of this lane's words. @returns how many of their nibbles are not zero */
static __device__ __forceinline__ uint32_t lane_differences(const uint8_t* older, const uint8_t* newer, uint32_t n,
                                                            uint32_t x[TURNS][LANE_WORDS]) {
  uint32_t count = 0;
  POGO_UNROLL
  for (uint32_t t = 0; t < TURNS; t += 1) {
    const uint32_t word = lane_word(threadIdx.x / 32, t, threadIdx.x % 32);
    uint32_t a[4], b[4];
    load_words(newer, n, word, a);
    load_words(older, n, word, b);
    POGO_UNROLL
    for (uint32_t k = 0; k < LANE_WORDS; k += 1) {
      x[t][k] = pogo_nibbles_sub8(a[k], b[k]);
      count += (uint32_t)__popc(pogo_nibble_bits(x[t][k]));
    }
  }
  return count;
}

__global__ void __launch_bounds__(THREADS) diff_sizes_kernel(DiffModelArgs a, uint32_t* __restrict__ differing) {
  uint32_t* shared = reinterpret_cast<uint32_t*>(pogo_shared());
  const uint64_t start = (uint64_t)blockIdx.x * DIFF_CHUNK;
  uint32_t x[TURNS][LANE_WORDS];
  const uint32_t count = lane_differences(a.older + start, a.newer + start, chunk_bytes(a.n, blockIdx.x), x);
  const uint32_t sum = block_sum(count, shared);
  if (threadIdx.x == 0) differing[blockIdx.x] = sum;
}

/** offsets[i] = bytes of the chunks before i; `end` gets the whole length. One block. */
__global__ void __launch_bounds__(SCAN_THREADS) diff_offsets_kernel(const uint32_t* __restrict__ differing,
                                                                    uint64_t* __restrict__ offsets, uint64_t n,
                                                                    uint32_t* __restrict__ end) {
  uint64_t* warp_sums = reinterpret_cast<uint64_t*>(pogo_shared());
  const uint64_t chunks = chunks_of(n);
  const uint32_t lane = threadIdx.x % 32, warp = threadIdx.x / 32;
  uint64_t carry = 0;
  for (uint64_t first = 0; first < chunks; first += SCAN_THREADS) {
    const uint64_t i = first + threadIdx.x;
    const uint32_t own = i < chunks ? encoded_bytes(chunk_bytes(n, i), differing[i]) : 0;
    uint32_t up_to = own;
    for (uint32_t s = 1; s < 32; s <<= 1) {
      const uint32_t before = __shfl_up_sync(ALL, up_to, s);
      if (lane >= s) up_to += before;
    }
    if (lane == 31) warp_sums[warp] = up_to;
    __syncthreads();
    uint64_t base = carry;
    for (uint32_t w = 0; w < warp; w += 1) base += warp_sums[w];
    for (uint32_t w = 0; w < SCAN_THREADS / 32; w += 1) carry += warp_sums[w];
    if (i < chunks) offsets[i] = base + up_to - own;
    __syncthreads();
  }
  if (threadIdx.x == 0) {
    end[0] = (uint32_t)carry;
    end[1] = (uint32_t)(carry >> 32);
  }
}

/** `bytes` of shared memory, from a word's beginning, to any place. All threads of the block. */
static __device__ void copy_out(uint8_t* to, const uint32_t* from, uint32_t bytes) {
  const uint32_t head = min((4u - (uint32_t)(reinterpret_cast<uintptr_t>(to) & 3u)) & 3u, bytes);
  const uint32_t words = (bytes - head) / 4, tail = head + 4 * words;
  const uint8_t* raw = reinterpret_cast<const uint8_t*>(from);
  if (threadIdx.x < head) to[threadIdx.x] = raw[threadIdx.x];
  uint32_t* aligned = reinterpret_cast<uint32_t*>(to + head);
  for (uint32_t i = threadIdx.x; i < words; i += blockDim.x) {
    aligned[i] = head == 0 ? from[i] : __funnelshift_r(from[i], from[i + 1], 8 * head);
  }
  if (tail + threadIdx.x < bytes) to[tail + threadIdx.x] = raw[tail + threadIdx.x];
}

struct EncodeShared {
  static constexpr uint32_t WARP_SUMS = 0;
  static constexpr uint32_t BITMAP = WARPS;
  static constexpr uint32_t VALUES = BITMAP + BITMAP_WORDS;
  static constexpr uint32_t TOTAL = VALUES + VALUE_WORDS;
  /** A raw chunk takes bitmap and values together. */
  static_assert(BITMAP_WORDS + VALUE_WORDS >= WORDS, "a raw chunk fits");
};

__global__ void __launch_bounds__(THREADS) diff_encode_kernel(DiffModelArgs a, const uint32_t* __restrict__ differing,
                                                              const uint64_t* __restrict__ offsets) {
  uint32_t* shared = reinterpret_cast<uint32_t*>(pogo_shared());
  uint32_t* bitmap = shared + EncodeShared::BITMAP;
  uint32_t* values = shared + EncodeShared::VALUES;
  const uint64_t start = (uint64_t)blockIdx.x * DIFF_CHUNK;
  const uint32_t n = chunk_bytes(a.n, blockIdx.x), count = differing[blockIdx.x];
  uint8_t* out = a.out + offsets[blockIdx.x];
  const bool sparse = is_sparse(n, count);
  if (threadIdx.x == 0) out[0] = count == 0 ? 0 : sparse ? 1 : 2;
  if (count == 0) return;
  const uint32_t lane = threadIdx.x % 32, warp = threadIdx.x / 32;
  uint32_t x[TURNS][LANE_WORDS];
  const uint32_t own = lane_differences(a.older + start, a.newer + start, n, x);
  if (!sparse) {
    POGO_UNROLL
    for (uint32_t t = 0; t < TURNS; t += 1) {
      const uint32_t word = lane_word(warp, t, lane);
      *reinterpret_cast<uint4*>(bitmap + word) = make_uint4(x[t][0], x[t][1], x[t][2], x[t][3]);
    }
    __syncthreads();
    copy_out(out + 1, bitmap, n);
    return;
  }
  const uint32_t bitmap_bytes = (n + 3) / 4, value_bytes = (count + 1) / 2;
  for (uint32_t i = threadIdx.x; i < VALUE_WORDS; i += THREADS) values[i] = 0;
  const uint32_t warp_count = __reduce_add_sync(ALL, own);
  if (lane == 0) shared[EncodeShared::WARP_SUMS + warp] = warp_count;
  __syncthreads();
  uint32_t place = 0;
  for (uint32_t w = 0; w < warp; w += 1) place += shared[EncodeShared::WARP_SUMS + w];
  POGO_UNROLL
  for (uint32_t t = 0; t < TURNS; t += 1) {
    uint32_t bits[LANE_WORDS], mine = 0;
    POGO_UNROLL
    for (uint32_t k = 0; k < LANE_WORDS; k += 1) {
      bits[k] = pogo_nibble_bits(x[t][k]);
      mine += (uint32_t)__popc(bits[k]);
    }
    bitmap[lane_word(warp, t, lane) / 4] = bits[0] | (bits[1] << 8) | (bits[2] << 16) | (bits[3] << 24);
    uint32_t up_to = mine;
    POGO_UNROLL
    for (uint32_t s = 1; s < 32; s <<= 1) {
      const uint32_t before = __shfl_up_sync(ALL, up_to, s);
      if (lane >= s) up_to += before;
    }
    // The lane's nibbles in order from `at` on; words at either end are shared with its neighbours.
    uint32_t at = place + up_to - mine, gathered = 0;
    place += __shfl_sync(ALL, up_to, 31);
    POGO_UNROLL
    for (uint32_t k = 0; k < LANE_WORDS; k += 1) {
      for (uint32_t left = bits[k]; left != 0; left &= left - 1) {
        const uint32_t nibble = (uint32_t)__ffs((int)left) - 1;
        gathered |= ((x[t][k] >> (4 * nibble)) & 15u) << (4 * (at % 8));
        at += 1;
        if (at % 8 == 0) {
          atomicOr(values + at / 8 - 1, gathered);
          gathered = 0;
        }
      }
    }
    if (gathered != 0) atomicOr(values + at / 8, gathered);
  }
  __syncthreads();
  copy_out(out + 1, bitmap, bitmap_bytes);
  copy_out(out + 1 + bitmap_bytes, values, value_bytes);
}

// --- patchModel ---

/** Scratch of a patch: where chunks begin, how many differences they have, and the first that is not canonical. */
struct Chain {
  uint64_t* starts;
  uint32_t* counts;
  /** [0]: the first bad chunk, or their number. */
  unsigned long long* bad;
};

/**
 * Follows the chunks. Writes start and count of each whose length can be told and lies within the patch; `bad` gets the first
 * other, or, where bytes are left behind the last, their number stays and a failure tells. One block.
 */
__global__ void __launch_bounds__(CHAIN_THREADS) patch_chain_kernel(PatchModelArgs a, Chain chain,
                                                                    unsigned long long* failure, uint32_t entry) {
  uint32_t* shared = reinterpret_cast<uint32_t*>(pogo_shared());
  const uint64_t chunks = chunks_of(a.n);
  uint64_t at = a.start, chunk = 0;
  for (; chunk < chunks; chunk += 1) {
    if (at >= a.patchBytes) break;
    const uint32_t n = chunk_bytes(a.n, chunk), bitmap_bytes = (n + 3) / 4;
    const uint8_t* data = a.patch + at + 1;
    const uint64_t left = a.patchBytes - at - 1;
    // Asked for together with the tag: a sparse chunk is what mostly comes.
    uint32_t ones = 0;
    for (uint32_t i = threadIdx.x; i < bitmap_bytes && i < left; i += CHAIN_THREADS) ones += (uint32_t)__popc(data[i]);
    const uint32_t tag = a.patch[at];
    uint64_t length = 0;
    if (tag == 1) {
      ones = block_sum(ones, shared);
      if (left < bitmap_bytes || !is_sparse(n, ones)) break;
      length = bitmap_bytes + (ones + 1) / 2;
    } else if (tag == 2) {
      length = n;
    } else if (tag != 0) {
      break;
    }
    if (length > left) break;
    if (threadIdx.x == 0) {
      chain.starts[chunk] = at;
      chain.counts[chunk] = tag == 1 ? ones : 0;
    }
    at += 1 + length;
  }
  if (threadIdx.x != 0) return;
  *chain.bad = chunk;
  if (chunk == chunks && at != a.patchBytes) pogo_report(failure, entry, FAILURE_MALFORMED, chunks);
}

static __device__ __forceinline__ uint32_t nibble_of(const uint8_t* bytes, uint32_t i) {
  return ((uint32_t)bytes[i / 2] >> (4 * (i & 1u))) & 15u;
}

/** What the encoder never writes: unused bits or an unused nibble set, a zero among the differences, few of them raw. */
__global__ void __launch_bounds__(THREADS) patch_check_kernel(PatchModelArgs a, Chain chain) {
  uint32_t* shared = reinterpret_cast<uint32_t*>(pogo_shared());
  const uint64_t chunk = blockIdx.x;
  // `bad` only falls while blocks run, and a chunk behind it need not be checked.
  if (chunk >= *(volatile unsigned long long*)chain.bad) return;
  const uint32_t n = chunk_bytes(a.n, chunk), bitmap_bytes = (n + 3) / 4;
  const uint8_t* data = a.patch + chain.starts[chunk] + 1;
  const uint32_t tag = data[-1];
  bool wrong = false;
  if (tag == 1) {
    const uint32_t count = chain.counts[chunk];
    const uint8_t* values = data + bitmap_bytes;
    for (uint32_t i = threadIdx.x; i < count; i += THREADS) wrong = wrong || nibble_of(values, i) == 0;
    if (threadIdx.x == 0) {
      if (n % 4 != 0 && (uint32_t)data[bitmap_bytes - 1] >> (2 * (n % 4)) != 0) wrong = true;
      if (count % 2 == 1 && nibble_of(values, count) != 0) wrong = true;
    }
  } else if (tag == 2) {
    uint32_t count = 0;
    for (uint32_t i = threadIdx.x; i < n; i += THREADS) {
      count += (uint32_t)((data[i] & 15u) != 0) + (uint32_t)((data[i] & 0xF0u) != 0);
    }
    count = block_sum(count, shared);
    wrong = count == 0 || is_sparse(n, count);
  }
  if (wrong) atomicMin(chain.bad, (unsigned long long)chunk);
}

struct DecodeShared {
  static constexpr uint32_t WARP_SUMS = 0;
  static constexpr uint32_t TOTAL = WARPS;
};

/** The word of shared or global bytes at any place; bytes behind `end` are zero. */
static __device__ __forceinline__ uint32_t word_at(const uint8_t* bytes, uint32_t at, uint32_t end) {
  uint32_t word = 0;
  POGO_UNROLL
  for (uint32_t b = 0; b < 4; b += 1) {
    if (at + b < end) word |= (uint32_t)bytes[at + b] << (8 * b);
  }
  return word;
}

__global__ void __launch_bounds__(THREADS) patch_apply_kernel(PatchModelArgs a, Chain chain, unsigned long long* failure,
                                                              uint32_t entry) {
  uint32_t* shared = reinterpret_cast<uint32_t*>(pogo_shared());
  const uint64_t chunk = blockIdx.x, chunks = chunks_of(a.n);
  const unsigned long long bad = *chain.bad;
  if (chunk == 0 && threadIdx.x == 0 && bad < chunks) pogo_report(failure, entry, FAILURE_MALFORMED, bad);
  if (chunk >= bad) return;
  const uint32_t n = chunk_bytes(a.n, chunk), bitmap_bytes = (n + 3) / 4;
  const uint8_t* data = a.patch + chain.starts[chunk] + 1;
  const uint32_t tag = data[-1], lane = threadIdx.x % 32, warp = threadIdx.x / 32;
  const uint8_t* older = a.older + chunk * DIFF_CHUNK;
  uint8_t* newer = a.newer + chunk * DIFF_CHUNK;
  const uint8_t* values = data + bitmap_bytes;
  const uint32_t value_bytes = (chain.counts[chunk] + 1) / 2;
  uint32_t bits[TURNS], place = 0;
  if (tag == 1) {
    // One word of the bitmap for the lane's four words of model.
    uint32_t own = 0;
    POGO_UNROLL
    for (uint32_t t = 0; t < TURNS; t += 1) {
      bits[t] = word_at(data, lane_word(warp, t, lane), bitmap_bytes);
      own += (uint32_t)__popc(bits[t]);
    }
    own = __reduce_add_sync(ALL, own);
    if (lane == 0) shared[DecodeShared::WARP_SUMS + warp] = own;
    __syncthreads();
    for (uint32_t w = 0; w < warp; w += 1) place += shared[DecodeShared::WARP_SUMS + w];
  }
  POGO_UNROLL
  for (uint32_t t = 0; t < TURNS; t += 1) {
    const uint32_t word = lane_word(warp, t, lane), at = 4 * word;
    uint32_t x[4] = {0, 0, 0, 0};
    if (tag == 1) {
      const uint32_t mine = (uint32_t)__popc(bits[t]);
      uint32_t up_to = mine;
      POGO_UNROLL
      for (uint32_t s = 1; s < 32; s <<= 1) {
        const uint32_t before = __shfl_up_sync(ALL, up_to, s);
        if (lane >= s) up_to += before;
      }
      uint32_t next = place + up_to - mine;
      place += __shfl_sync(ALL, up_to, 31);
      POGO_UNROLL
      for (uint32_t k = 0; k < LANE_WORDS; k += 1) {
        for (uint32_t left = (bits[t] >> (8 * k)) & 255u; left != 0; left &= left - 1) {
          const uint32_t nibble = (uint32_t)__ffs((int)left) - 1;
          x[k] |= (next / 2 < value_bytes ? nibble_of(values, next) : 0) << (4 * nibble);
          next += 1;
        }
      }
    } else if (tag == 2) {
      POGO_UNROLL
      for (uint32_t k = 0; k < LANE_WORDS; k += 1) x[k] = word_at(data, at + 4 * k, n);
    }
    if (at >= n) continue;
    uint32_t base[4];
    load_words(older, n, word, base);
    POGO_UNROLL
    for (uint32_t k = 0; k < LANE_WORDS; k += 1) x[k] = pogo_nibbles_add8(base[k], x[k]);
    if (at + 16 <= n) {
      *reinterpret_cast<uint4*>(newer + at) = make_uint4(x[0], x[1], x[2], x[3]);
    } else {
      POGO_UNROLL
      for (uint32_t b = 0; b < 16; b += 1) {
        if (at + b < n) newer[at + b] = (uint8_t)(x[b / 4] >> (8 * (b % 4)));
      }
    }
  }
}

}  // namespace

size_t diff_model_workspace(const DiffModelArgs& a, const DeviceTraits&) { return chunks_of(a.n) * 12; }

Status diff_model(const DiffModelArgs& a, const Launch& launch) {
  const uint64_t chunks = chunks_of(a.n);
  if (launch.workspace.bytes < chunks * 12) return failed(cudaErrorInvalidValue, "workspace of diff_model");
  uint64_t* offsets = static_cast<uint64_t*>(launch.workspace.data);
  uint32_t* differing = reinterpret_cast<uint32_t*>(offsets + chunks);
  if (chunks > 0) {
    POGO_TRY(POGO_LAUNCH(diff_sizes_kernel, (unsigned)chunks, THREADS, WARPS * 4, launch.stream, a, differing),
             "diff_sizes_kernel");
  }
  POGO_TRY(POGO_LAUNCH(diff_offsets_kernel, 1, SCAN_THREADS, SCAN_THREADS / 32 * 8, launch.stream, differing, offsets, a.n,
                       a.end),
           "diff_offsets_kernel");
  if (chunks > 0) {
    POGO_TRY(POGO_LAUNCH(diff_encode_kernel, (unsigned)chunks, THREADS, EncodeShared::TOTAL * 4, launch.stream, a, differing,
                         offsets),
             "diff_encode_kernel");
  }
  return Status();
}

size_t patch_model_workspace(const PatchModelArgs& a, const DeviceTraits&) { return 8 + chunks_of(a.n) * 12; }

/** A failure's index: the first chunk that is not canonical, or their number where bytes are left behind the last. */
Status patch_model(const PatchModelArgs& a, const Launch& launch) {
  const uint64_t chunks = chunks_of(a.n);
  if (launch.workspace.bytes < 8 + chunks * 12) return failed(cudaErrorInvalidValue, "workspace of patch_model");
  Chain chain;
  chain.bad = static_cast<unsigned long long*>(launch.workspace.data);
  chain.starts = reinterpret_cast<uint64_t*>(chain.bad + 1);
  chain.counts = reinterpret_cast<uint32_t*>(chain.starts + chunks);
  POGO_TRY(POGO_LAUNCH(patch_chain_kernel, 1, CHAIN_THREADS, CHAIN_THREADS / 32 * 4, launch.stream, a, chain, launch.failure,
                       launch.entry),
           "patch_chain_kernel");
  if (chunks == 0) return Status();
  POGO_TRY(POGO_LAUNCH(patch_check_kernel, (unsigned)chunks, THREADS, WARPS * 4, launch.stream, a, chain),
           "patch_check_kernel");
  POGO_TRY(POGO_LAUNCH(patch_apply_kernel, (unsigned)chunks, THREADS, DecodeShared::TOTAL * 4, launch.stream, a, chain,
                       launch.failure, launch.entry),
           "patch_apply_kernel");
  return Status();
}

}  // namespace pogo
