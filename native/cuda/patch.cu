// A packed model from the one before and the canonical chunks of the difference (numerics 4: patchModel; format:
// src/reference/diffModel.ts).
//
// A chunk says only by its bitmap where the next begins, so that chunks are a chain of thousands of dependent steps. It is not
// followed in order. The patch is cut into segments; a block finds the chains of each that could come from before it: those
// few places among the first 16 KiB from which every chunk up to the segment's end is one that the encoder could have written.
// Then one block joins the chains of the segments from the patch's beginning on, and itself follows only what no chain was
// found for. What is found does not hang on the cut: a place that is joined was reached from the beginning.
#include "patch_join.h"
#include "patch_walk.h"

namespace pogo {
namespace patch {

/** The lowest nibbles to the mask's places. */
__device__ constexpr NibbleSelectors EXPAND = make_selectors(false);

struct ApplyShared {
  static constexpr uint32_t WARP_SUMS = 0;
  static constexpr uint32_t SELECTORS = CHUNK_WARPS;
  static constexpr uint32_t DATA = SELECTORS + 256;
  /** Up to 15 bytes before a chunk's data, and what a word that begins in its last ones reaches. */
  static constexpr uint32_t QUADS = DIFF_CHUNK / 16 + 3;
  static constexpr uint32_t TOTAL = DATA + 4 * QUADS;
};
static_assert(TURNS == 4, "turns are counted in two pairs");
static_assert(CHUNK_THREADS == 256, "a selector a thread");

__global__ void __launch_bounds__(CHUNK_THREADS) patch_apply_kernel(PatchModelArgs a, Scratch scratch,
                                                                    unsigned long long* failure, uint32_t entry) {
  uint32_t* shared = reinterpret_cast<uint32_t*>(pogo_shared());
  uint32_t* words = shared + ApplyShared::DATA;
  const uint64_t chunk = blockIdx.x, chunks = chunks_of(a.n);
  const unsigned long long bad = *scratch.bad;
  if (chunk == 0 && threadIdx.x == 0 && bad < chunks) pogo_report(failure, entry, FAILURE_MALFORMED, bad);
  if (chunk >= bad) return;
  const uint32_t thread = threadIdx.x, lane = thread % 32, warp = thread / 32;
  const uint32_t n = chunk_bytes(a.n, chunk), bitmap_bytes = (n + 3) / 4, count = scratch.counts[chunk];
  const uint64_t data = scratch.starts[chunk] + 1, base = data / 16 * 16;
  const uint8_t* older = a.older + chunk * DIFF_CHUNK;
  uint8_t* newer = a.newer + chunk * DIFF_CHUNK;
  const uint32_t before = (uint32_t)(data - base);
  const uint32_t tag = count > 0 ? 1 : a.patch[data - 1];
  const uint32_t length = tag == 1 ? bitmap_bytes + (count + 1) / 2 : tag == 2 ? n : 0;
  for (uint32_t i = thread; 16 * i < before + length; i += CHUNK_THREADS) {
    const uint64_t left = a.patchBytes - base - 16 * i;
    cp_async16_part(words + 4 * i, a.patch + base + 16 * i, left < 16 ? (uint32_t)left : 16);
  }
  cp_async_commit();
  uint32_t* selectors = shared + ApplyShared::SELECTORS;
  selectors[thread] = EXPAND.selector[thread];
  uint32_t x[TURNS][LANE_WORDS];
  load_chunk(older, n, x);
  cp_async_wait<0>();
  __syncthreads();
  if (tag == 1) {
    // One word of the bitmap for the lane's four words of model in each turn.
    uint32_t bits[TURNS], own[TURNS];
    POGO_UNROLL
    for (uint32_t t = 0; t < TURNS; t += 1) {
      const uint32_t word = lane_word(warp, t, lane), at = before + word;
      const uint32_t nibbles = 4 * word < n ? 2 * n - 8 * word : 0;
      bits[t] = nibbles == 0 ? 0 : __funnelshift_r(words[at / 4], words[at / 4 + 1], 8 * (at % 4));
      if (nibbles < 32) bits[t] &= (1u << nibbles) - 1u;
      own[t] = (uint32_t)__popc(bits[t]);
    }
    const uint32_t pairs[2] = {lanes_up_to(own[0] | (own[1] << 16)), lanes_up_to(own[2] | (own[3] << 16))};
    const uint32_t totals[2] = {__shfl_sync(ALL, pairs[0], 31), __shfl_sync(ALL, pairs[1], 31)};
    const uint32_t all = (totals[0] & 0xFFFFu) + (totals[0] >> 16) + (totals[1] & 0xFFFFu) + (totals[1] >> 16);
    if (lane == 0) shared[ApplyShared::WARP_SUMS + warp] = all;
    __syncthreads();
    uint32_t place = 2 * (before + bitmap_bytes);
    for (uint32_t w = 0; w < warp; w += 1) place += shared[ApplyShared::WARP_SUMS + w];
    POGO_UNROLL
    for (uint32_t t = 0; t < TURNS; t += 1) {
      // In bits.
      uint32_t next = 4 * (place + ((pairs[t / 2] >> (16 * (t % 2))) & 0xFFFFu) - own[t]);
      place += (totals[t / 2] >> (16 * (t % 2))) & 0xFFFFu;
      POGO_UNROLL
      for (uint32_t k = 0; k < LANE_WORDS; k += 1) {
        const uint32_t mask = (bits[t] >> (8 * k)) & 255u;
        const uint32_t stream = __funnelshift_r(words[next / 32], words[next / 32 + 1], next);
        x[t][k] = pogo_nibbles_add8(x[t][k], moved_nibbles(stream, selectors[mask]));
        next += 4 * (uint32_t)__popc(mask);
      }
    }
  } else if (tag == 2) {
    POGO_UNROLL
    for (uint32_t t = 0; t < TURNS; t += 1) {
      const uint32_t at = before + 4 * lane_word(warp, t, lane);
      POGO_UNROLL
      for (uint32_t k = 0; k < LANE_WORDS; k += 1) {
        if (at + 4 * k < before + n) {
          const uint32_t difference = __funnelshift_r(words[at / 4 + k], words[at / 4 + k + 1], 8 * (at % 4));
          x[t][k] = pogo_nibbles_add8(x[t][k], difference);
        }
      }
    }
  }
  POGO_UNROLL
  for (uint32_t t = 0; t < TURNS; t += 1) {
    const uint32_t at = 4 * lane_word(warp, t, lane);
    if (at + 16 <= n) {
      *reinterpret_cast<uint4*>(newer + at) = make_uint4(x[t][0], x[t][1], x[t][2], x[t][3]);
    } else {
      POGO_UNROLL
      for (uint32_t b = 0; b < 16; b += 1) {
        if (at + b < n) newer[at + b] = (uint8_t)(x[t][b / 4] >> (8 * (b % 4)));
      }
    }
  }
}

static uint64_t segments_of(const PatchModelArgs& a) {
  return a.patchBytes <= a.start ? 0 : (a.patchBytes - a.start + SEGMENT - 1) / SEGMENT;
}
static size_t scratch_bytes(const PatchModelArgs& a) {
  return segments_of(a) * sizeof(Chains) + sizeof(unsigned long long) + chunks_of(a.n) * (sizeof(uint64_t) + sizeof(uint32_t));
}

}  // namespace patch

using namespace patch;

size_t patch_model_workspace(const PatchModelArgs& a, const DeviceTraits&) { return scratch_bytes(a); }

/** A failure's index: the first chunk that is not canonical, or their number where bytes are left behind the last. */
Status patch_model(const PatchModelArgs& a, const Launch& launch) {
  const uint64_t chunks = chunks_of(a.n);
  if (launch.workspace.bytes < scratch_bytes(a)) return failed(cudaErrorInvalidValue, "workspace of patch_model");
  Scratch scratch;
  scratch.chains = static_cast<Chains*>(launch.workspace.data);
  scratch.segments = segments_of(a);
  scratch.bad = reinterpret_cast<unsigned long long*>(scratch.chains + scratch.segments);
  scratch.starts = reinterpret_cast<uint64_t*>(scratch.bad + 1);
  scratch.counts = reinterpret_cast<uint32_t*>(scratch.starts + chunks);
  const unsigned segments = (unsigned)scratch.segments;
  if (segments > 0) {
    POGO_TRY(POGO_LAUNCH(patch_walk_kernel, segments, WALK_THREADS, WalkShared::TOTAL, launch.stream, a, scratch),
             "patch_walk_kernel");
  }
  POGO_TRY(POGO_LAUNCH(patch_join_kernel, 1, JOIN_THREADS, JoinShared::TOTAL * 4, launch.stream, a, scratch, launch.failure,
                       launch.entry),
           "patch_join_kernel");
  if (segments > 0) {
    POGO_TRY(POGO_LAUNCH(patch_place_kernel, segments, CHUNK_THREADS, 0, launch.stream, a, scratch), "patch_place_kernel");
  }
  if (chunks == 0) return Status();
  POGO_TRY(POGO_LAUNCH(patch_apply_kernel, (unsigned)chunks, CHUNK_THREADS, ApplyShared::TOTAL * 4, launch.stream, a, scratch,
                       launch.failure, launch.entry),
           "patch_apply_kernel");
  return Status();
}

}  // namespace pogo
