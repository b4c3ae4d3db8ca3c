// The canonical chunks of the difference of two packed models (numerics 4: diffModel; format: src/reference/diffModel.ts).
//
// One pass over both models. A block takes the next chunk by a ticket, counts its differences, says how long the chunk becomes,
// and builds it in shared memory. Where it goes it learns from the blocks before: their lengths back to the nearest that knows
// its own place. Whoever is waited for took its ticket before, so it runs.
#include "diff_chunks.h"
#include "ptx.h"

namespace pogo {
namespace {

constexpr uint32_t BITMAP_WORDS = CHUNK_WORDS / 4;
/** Packed differences that a sparse chunk may hold: 12,288 bytes and a word of slack, in units of 16 bytes. */
constexpr uint32_t VALUE_WORDS = DIFF_CHUNK * 3 / 4 / 4 + 4;

/** What a chunk says of itself: nothing yet (0), its length, or the length of all up to it. */
constexpr unsigned long long LENGTH = 1ull << 62, LENGTH_UP_TO = 2ull << 62, LENGTHS = LENGTH - 1;

/** In a sum over a warp's chunks: the last of them knows its place. */
constexpr uint32_t KNOWS = 1u << 31;

struct EncodeShared {
  static constexpr uint32_t WARP_SUMS = 0;
  /** Of the chunks before, for each warp. */
  static constexpr uint32_t SUMS = WARP_SUMS + CHUNK_WARPS;
  static constexpr uint32_t KNOWN = SUMS + CHUNK_WARPS;
  static constexpr uint32_t TICKET = KNOWN + 2 * CHUNK_WARPS;
  static constexpr uint32_t SELECTORS = TICKET + 4;
  static constexpr uint32_t BITMAP = SELECTORS + 256;
  static constexpr uint32_t VALUES = BITMAP + BITMAP_WORDS;
  static constexpr uint32_t TOTAL = VALUES + VALUE_WORDS;
  /** A raw chunk takes bitmap and values together. */
  static_assert(BITMAP_WORDS + VALUE_WORDS >= CHUNK_WORDS, "a raw chunk fits");
  static_assert(BITMAP % 4 == 0 && VALUES % 4 == 0, "both are written by 16 bytes");
};
static_assert(TURNS == 4, "turns are counted in two pairs");
static_assert(CHUNK_THREADS == 256, "a selector a thread");

/** The mask's nibbles to the lowest places. */
__device__ constexpr NibbleSelectors GATHER = make_selectors(true);

/** A word whose top byte's bit i says whether nibble i is not zero. */
static __device__ __forceinline__ uint32_t top_nibble_bits(uint32_t x) {
  uint32_t m = x | (x >> 1);
  m = (m | (m >> 2)) & 0x11111111u;
  m = (m | (m >> 3)) & 0x03030303u;
  // Two bits of each byte, six further up for each byte below; what else the product holds lies below and carries nothing.
  return m * 0x01041040u;
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

/** Bytes of the chunks before `chunk`; says what it is including `own`. All threads of the block. */
static __device__ uint64_t bytes_before(unsigned long long* lengths, uint32_t chunk, uint32_t own, uint32_t* shared) {
  const uint32_t thread = threadIdx.x, lane = thread % 32, warp = thread / 32;
  uint32_t* sums = shared + EncodeShared::SUMS;
  uint2* known = reinterpret_cast<uint2*>(shared + EncodeShared::KNOWN);
  uint64_t total = 0;
  bool done = false;
  for (uint32_t left = chunk; left > 0 && !done; left -= min(left, (uint32_t)CHUNK_THREADS)) {
    unsigned long long said = LENGTH_UP_TO;
    if (thread < left) {
      volatile unsigned long long* place = lengths + (left - 1 - thread);
      do {
        said = *place;
      } while (said == 0);
    }
    // A warp's lengths up to its nearest chunk that knows its place.
    const uint32_t knows = __ballot_sync(ALL, (said & LENGTH_UP_TO) != 0);
    const uint32_t nearest = knows == 0 ? 32 : (uint32_t)__ffs((int)knows) - 1;
    const uint32_t sum = __reduce_add_sync(ALL, lane < nearest ? (uint32_t)said : 0);
    if (lane == 0) sums[warp] = sum | (knows == 0 ? 0 : KNOWS);
    if (lane == nearest) known[warp] = make_uint2((uint32_t)said, (uint32_t)((said & LENGTHS) >> 32));
    __syncthreads();
    POGO_UNROLL
    for (uint32_t w = 0; w < CHUNK_WARPS; w += 1) {
      if (done) continue;
      total += sums[w] & ~KNOWS;
      done = (sums[w] & KNOWS) != 0;
      if (done) total += known[w].x | ((uint64_t)known[w].y << 32);
    }
    __syncthreads();
  }
  if (thread == 0) *(volatile unsigned long long*)(lengths + chunk) = LENGTH_UP_TO | (total + own);
  return total;
}

/** `ticket`: how many chunks were taken; `lengths`: what each says. All zero before. */
__global__ void __launch_bounds__(CHUNK_THREADS, 4) diff_encode_kernel(DiffModelArgs a, unsigned long long* lengths,
                                                                       uint32_t* ticket) {
  uint32_t* shared = reinterpret_cast<uint32_t*>(pogo_shared());
  uint32_t* selectors = shared + EncodeShared::SELECTORS;
  uint32_t* bitmap = shared + EncodeShared::BITMAP;
  uint32_t* values = shared + EncodeShared::VALUES;
  const uint32_t thread = threadIdx.x, lane = thread % 32, warp = thread / 32;
  if (thread == 0) shared[EncodeShared::TICKET] = atomicAdd(ticket, 1u);
  selectors[thread] = GATHER.selector[thread];
  for (uint32_t i = thread; i < VALUE_WORDS / 4; i += CHUNK_THREADS) {
    reinterpret_cast<uint4*>(values)[i] = make_uint4(0, 0, 0, 0);
  }
  __syncthreads();
  const uint64_t chunk = shared[EncodeShared::TICKET], start = chunk * DIFF_CHUNK;
  const uint32_t n = chunk_bytes(a.n, chunk);
  uint32_t x[TURNS][LANE_WORDS], older[TURNS][LANE_WORDS], bits[TURNS], own[TURNS];
  load_chunk(a.newer + start, n, x);
  load_chunk(a.older + start, n, older);
  POGO_UNROLL
  for (uint32_t t = 0; t < TURNS; t += 1) {
    uint32_t tops[LANE_WORDS];
    POGO_UNROLL
    for (uint32_t k = 0; k < LANE_WORDS; k += 1) {
      x[t][k] = pogo_nibbles_sub8(x[t][k], older[t][k]);
      tops[k] = top_nibble_bits(x[t][k]);
    }
    bits[t] = __byte_perm(__byte_perm(tops[0], tops[1], 0x0073), __byte_perm(tops[2], tops[3], 0x0073), 0x5410);
    own[t] = (uint32_t)__popc(bits[t]);
  }
  const uint32_t pairs[2] = {lanes_up_to(own[0] | (own[1] << 16)), lanes_up_to(own[2] | (own[3] << 16))};
  const uint32_t totals[2] = {__shfl_sync(ALL, pairs[0], 31), __shfl_sync(ALL, pairs[1], 31)};
  const uint32_t all = (totals[0] & 0xFFFFu) + (totals[0] >> 16) + (totals[1] & 0xFFFFu) + (totals[1] >> 16);
  if (lane == 0) shared[EncodeShared::WARP_SUMS + warp] = all;
  __syncthreads();
  uint32_t place = 0, count = 0;
  POGO_UNROLL
  for (uint32_t w = 0; w < CHUNK_WARPS; w += 1) {
    if (w == warp) place = count;
    count += shared[EncodeShared::WARP_SUMS + w];
  }
  const uint32_t length = encoded_bytes(n, count);
  if (thread == 0) *(volatile unsigned long long*)(lengths + chunk) = LENGTH | length;
  const bool sparse = is_sparse(n, count);
  if (sparse) {
    POGO_UNROLL
    for (uint32_t t = 0; t < TURNS; t += 1) {
      bitmap[lane_word(warp, t, lane) / 4] = bits[t];
      // The lane's nibbles in order from `at` on; words at either end are shared with its neighbours.
      uint32_t at = place + ((pairs[t / 2] >> (16 * (t % 2))) & 0xFFFFu) - own[t];
      place += (totals[t / 2] >> (16 * (t % 2))) & 0xFFFFu;
      POGO_UNROLL
      for (uint32_t k = 0; k < LANE_WORDS; k += 2) {
        const uint32_t even_mask = (bits[t] >> (8 * k)) & 255u, odd_mask = (bits[t] >> (8 * k + 8)) & 255u;
        const uint32_t even = moved_nibbles(x[t][k], selectors[even_mask]);
        const uint32_t odd = moved_nibbles(x[t][k + 1], selectors[odd_mask]);
        const uint64_t both = even | (uint64_t)odd << (4 * (uint32_t)__popc(even_mask));
        const uint32_t low = (uint32_t)both, high = (uint32_t)(both >> 32), shift = 4 * (at % 8);
        const uint32_t out[3] = {low << shift, __funnelshift_l(low, high, shift), __funnelshift_l(high, 0, shift)};
        POGO_UNROLL
        for (uint32_t w = 0; w < 3; w += 1) shared_or(values + at / 8 + w, out[w]);
        at += (uint32_t)__popc(even_mask | odd_mask << 8);
      }
    }
  } else if (count > 0) {
    POGO_UNROLL
    for (uint32_t t = 0; t < TURNS; t += 1) {
      *reinterpret_cast<uint4*>(bitmap + lane_word(warp, t, lane)) = make_uint4(x[t][0], x[t][1], x[t][2], x[t][3]);
    }
  }
  __syncthreads();
  const uint64_t before = bytes_before(lengths, (uint32_t)chunk, length, shared);
  uint8_t* out = a.out + before;
  if (thread == 0) {
    out[0] = count == 0 ? 0 : sparse ? 1 : 2;
    if (chunk + 1 == chunks_of(a.n)) {
      a.end[0] = (uint32_t)(before + length);
      a.end[1] = (uint32_t)((before + length) >> 32);
    }
  }
  const uint32_t bitmap_bytes = (n + 3) / 4;
  if (count > 0 && (!sparse || bitmap_bytes == 4 * BITMAP_WORDS)) {
    copy_out(out + 1, bitmap, length - 1);
  } else if (sparse) {
    copy_out(out + 1, bitmap, bitmap_bytes);
    copy_out(out + 1 + bitmap_bytes, values, (count + 1) / 2);
  }
}

size_t lengths_bytes(const DiffModelArgs& a) { return chunks_of(a.n) * sizeof(unsigned long long); }

}  // namespace

/** What each chunk says of its length, and the ticket. */
size_t diff_model_workspace(const DiffModelArgs& a, const DeviceTraits&) { return lengths_bytes(a) + sizeof(uint32_t); }

Status diff_model(const DiffModelArgs& a, const Launch& launch) {
  if (a.n == 0) {
    POGO_TRY(cudaMemsetAsync(a.end, 0, 2 * sizeof(uint32_t), launch.stream), "diff_model");
    return Status();
  }
  const size_t bytes = lengths_bytes(a) + sizeof(uint32_t);
  if (launch.workspace.bytes < bytes) return failed(cudaErrorInvalidValue, "workspace of diff_model");
  unsigned long long* lengths = static_cast<unsigned long long*>(launch.workspace.data);
  POGO_TRY(cudaMemsetAsync(lengths, 0, bytes, launch.stream), "diff_model");
  POGO_TRY(POGO_LAUNCH(diff_encode_kernel, (unsigned)chunks_of(a.n), CHUNK_THREADS, EncodeShared::TOTAL * 4, launch.stream, a,
                       lengths, reinterpret_cast<uint32_t*>(lengths + chunks_of(a.n))),
           "diff_encode_kernel");
  return Status();
}

}  // namespace pogo
