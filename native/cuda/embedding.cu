// Token and position embeddings, and their gradients summed in token order.
//
// Scatter sums without float atomics: token positions are sorted by vocabulary entry (stable, so positions ascend inside
// an entry), then the columns of each table row are summed in that order, a thread for four columns.
#include "row_panels.h"

namespace pogo {
namespace {

constexpr uint32_t EMBED_WARPS = 8;
constexpr uint32_t EMBED_THREADS = 32 * EMBED_WARPS;

/** The token of a row; one beyond the table is reported and read as 0. */
static __device__ __forceinline__ uint32_t checked_token(const uint32_t* tokens, uint32_t t, uint32_t V, uint32_t lane,
                                                         unsigned long long* failure, uint32_t entry) {
  const uint32_t token = tokens[t];
  if (token < V) return token;
  if (lane == 0) pogo_report(failure, entry, FAILURE_TOKEN, t);
  return 0;
}

/** A warp a token. */
__global__ void __launch_bounds__(EMBED_THREADS) embed_kernel(EmbedArgs a, unsigned long long* failure, uint32_t entry) {
  const uint32_t lane = threadIdx.x % 32, t = blockIdx.x * EMBED_WARPS + threadIdx.x / 32;
  if (t >= a.T) return;
  const float* row = a.wte + (uint64_t)checked_token(a.tokens, t, a.V, lane, failure, entry) * a.C;
  const float* position = a.wpe + (uint64_t)(t % a.context) * a.C;
  for (uint32_t c = 8 * lane; c < a.C; c += 8 * 32) {
    float x[8], p[8];
    load8_f32(row + c, x);
    load8_f32(position + c, p);
    POGO_UNROLL
    for (int e = 0; e < 8; e += 1) x[e] = pogo_add(x[e], p[e]);
    store8_bf16(a.x + (uint64_t)t * a.C + c, x);
  }
}

__global__ void __launch_bounds__(EMBED_THREADS)
    embed_scaled_kernel(EmbedScaledArgs a, unsigned long long* failure, uint32_t entry) {
  const uint32_t lane = threadIdx.x % 32, t = blockIdx.x * EMBED_WARPS + threadIdx.x / 32;
  if (t >= a.T) return;
  const float* row = a.wte + (uint64_t)checked_token(a.tokens, t, a.V, lane, failure, entry) * a.C;
  for (uint32_t c = 8 * lane; c < a.C; c += 8 * 32) {
    float x[8];
    load8_f32(row + c, x);
    POGO_UNROLL
    for (int e = 0; e < 8; e += 1) x[e] = pogo_mul(x[e], a.scale);
    store8_bf16(a.x + (uint64_t)t * a.C + c, x);
  }
}

// --- Stable sort of positions by value: least significant digits of 9 bits first. ---

constexpr uint32_t DIGIT_BITS = 9;
constexpr uint32_t DIGITS = 1u << DIGIT_BITS;
constexpr uint32_t SORT_WARPS = 8;
constexpr uint32_t SORT_THREADS = 32 * SORT_WARPS;
/** Positions of one warp, of one block. */
constexpr uint32_t WARP_SPAN = 256;
constexpr uint32_t BLOCK_SPAN = SORT_WARPS * WARP_SPAN;
constexpr uint32_t SCAN_THREADS = 1024;

POGO_HD uint32_t sort_blocks(uint32_t U) { return (U + BLOCK_SPAN - 1) / BLOCK_SPAN; }

/** Passes over values below `limit`. */
POGO_HD uint32_t sort_passes(uint32_t limit) {
  uint32_t passes = 1;
  while (DIGIT_BITS * passes < 32 && ((limit - 1) >> (DIGIT_BITS * passes)) != 0) passes += 1;
  return passes;
}

/** Two sorts side by side: 0 of targets, 1 of tokens. Workspace of each: keys and positions [U] twice, counts, start. */
struct Sorts {
  const uint32_t* values[2];  // of the caller
  uint32_t* workspace;
  size_t words;  // of one sort's workspace
  uint32_t U, V, blocks;
};

/** One of them: passes take the two sides in turns. */
struct Sort {
  const uint32_t* values;
  uint32_t* words;
  uint32_t U, blocks;

  __host__ __device__ Sort(const Sorts& s, uint32_t which)
      : values(which == 0 ? s.values[0] : s.values[1]), words(s.workspace + which * s.words), U(s.U), blocks(s.blocks) {}
  __host__ __device__ uint32_t* keys(uint32_t pass) const { return words + (size_t)(pass % 2) * U; }
  __host__ __device__ uint32_t* positions(uint32_t pass) const { return words + (size_t)(2 + pass % 2) * U; }
  /** [DIGITS][blocks] */
  __host__ __device__ uint32_t* counts() const { return words + 4 * (size_t)U; }
  /** [V + 1] */
  __host__ __device__ uint32_t* start() const { return counts() + (size_t)DIGITS * blocks; }
  /** Key i as pass `pass` finds it. */
  __host__ __device__ uint32_t key(uint32_t pass, uint32_t i) const { return pass == 0 ? values[i] : keys(pass - 1)[i]; }
  __host__ __device__ uint32_t position(uint32_t pass, uint32_t i) const { return pass == 0 ? i : positions(pass - 1)[i]; }
};

POGO_HD uint32_t digit_of(uint32_t key, uint32_t pass) { return key >> (DIGIT_BITS * pass) & (DIGITS - 1); }

/** counts[digit][block] of a block's positions. */
__global__ void __launch_bounds__(SORT_THREADS) sort_count_kernel(Sorts s, uint32_t pass) {
  uint32_t* histogram = reinterpret_cast<uint32_t*>(pogo_shared());
  const Sort a(s, blockIdx.y);
  for (uint32_t d = threadIdx.x; d < DIGITS; d += SORT_THREADS) histogram[d] = 0;
  __syncthreads();
  const uint32_t first = blockIdx.x * BLOCK_SPAN;
  for (uint32_t i = first + threadIdx.x; i < first + BLOCK_SPAN && i < s.U; i += SORT_THREADS) {
    atomicAdd(&histogram[digit_of(a.key(pass, i), pass)], 1u);
  }
  __syncthreads();
  for (uint32_t d = threadIdx.x; d < DIGITS; d += SORT_THREADS) a.counts()[d * s.blocks + blockIdx.x] = histogram[d];
}

/** counts become the places where each digit of each block begins: sums of all before, digits first. */
__global__ void __launch_bounds__(SCAN_THREADS) sort_scan_kernel(Sorts s) {
  uint32_t* sums = reinterpret_cast<uint32_t*>(pogo_shared());
  uint32_t* counts = Sort(s, blockIdx.x).counts();
  const uint32_t lane = threadIdx.x % 32, warp = threadIdx.x / 32;
  const uint32_t n = DIGITS * s.blocks, each = (n + SCAN_THREADS - 1) / SCAN_THREADS;
  const uint32_t first = threadIdx.x * each < n ? threadIdx.x * each : n, end = first + each < n ? first + each : n;
  uint32_t own = 0;
  for (uint32_t i = first; i < end; i += 1) own += counts[i];
  uint32_t up_to = own;
  for (uint32_t d = 1; d < 32; d *= 2) {
    const uint32_t other = __shfl_up_sync(ALL_LANES, up_to, d);
    if (lane >= d) up_to += other;
  }
  if (lane == 31) sums[warp] = up_to;
  __syncthreads();
  uint32_t before = up_to - own;
  for (uint32_t w = 0; w < warp; w += 1) before += sums[w];
  for (uint32_t i = first; i < end; i += 1) {
    const uint32_t count = counts[i];
    counts[i] = before;
    before += count;
  }
}

/** Moves keys and positions to their places; equal digits keep their order. Shared: next place [warp][digit]. */
__global__ void __launch_bounds__(SORT_THREADS) sort_scatter_kernel(Sorts s, uint32_t pass) {
  uint32_t* next = reinterpret_cast<uint32_t*>(pogo_shared());
  const Sort a(s, blockIdx.y);
  const uint32_t lane = threadIdx.x % 32, warp = threadIdx.x / 32;
  for (uint32_t d = threadIdx.x; d < SORT_WARPS * DIGITS; d += SORT_THREADS) next[d] = 0;
  __syncthreads();
  const uint32_t first = blockIdx.x * BLOCK_SPAN + warp * WARP_SPAN;
  const uint32_t end = first + WARP_SPAN < s.U ? first + WARP_SPAN : s.U;
  for (uint32_t i = first + lane; i < end; i += 32) {
    atomicAdd(&next[warp * DIGITS + digit_of(a.key(pass, i), pass)], 1u);
  }
  __syncthreads();
  for (uint32_t d = threadIdx.x; d < DIGITS; d += SORT_THREADS) {
    uint32_t place = a.counts()[d * s.blocks + blockIdx.x];
    for (uint32_t w = 0; w < SORT_WARPS; w += 1) {
      const uint32_t count = next[w * DIGITS + d];
      next[w * DIGITS + d] = place;
      place += count;
    }
  }
  __syncthreads();
  for (uint32_t i0 = first; i0 < end; i0 += 32) {
    const uint32_t i = i0 + lane;
    const bool here = i < end;
    const uint32_t key = here ? a.key(pass, i) : 0, digit = digit_of(key, pass);
    // Lanes with this lane's digit.
    uint32_t peers = __ballot_sync(ALL_LANES, here);
    for (uint32_t b = 0; b < DIGIT_BITS; b += 1) {
      const uint32_t ones = __ballot_sync(ALL_LANES, (digit >> b) & 1u);
      peers &= (digit >> b) & 1u ? ones : ~ones;
    }
    const uint32_t rank = (uint32_t)__popc(peers & ((1u << lane) - 1u));
    const uint32_t place = here ? next[warp * DIGITS + digit] + rank : 0;
    __syncwarp();
    if (here) {
      if (rank == 0) next[warp * DIGITS + digit] = place + (uint32_t)__popc(peers);
      a.keys(pass)[place] = key;
      a.positions(pass)[place] = a.position(pass, i);
    }
    __syncwarp();
  }
}

/** start[v] = positions whose value is below v. */
__global__ void __launch_bounds__(256) sort_starts_kernel(Sorts s, uint32_t last_pass) {
  const Sort a(s, blockIdx.y);
  const uint32_t* keys = a.keys(last_pass);
  const uint32_t v = blockIdx.x * 256 + threadIdx.x;
  if (v > s.V) return;
  uint32_t low = 0, high = s.U;
  while (low < high) {
    const uint32_t middle = low + (high - low) / 2;
    if (keys[middle] < v) {
      low = middle + 1;
    } else {
      high = middle;
    }
  }
  a.start()[v] = low;
}

// --- Sums in token order. ---

static __device__ __forceinline__ float4 add4(float4 a, float4 b) {
  return make_float4(pogo_add(a.x, b.x), pogo_add(a.y, b.y), pogo_add(a.z, b.z), pogo_add(a.w, b.w));
}
static __device__ __forceinline__ float4 load4_bf16(const uint16_t* place) {
  const uint2 w = *reinterpret_cast<const uint2*>(place);
  return make_float4(low_bf16(w.x), high_bf16(w.x), low_bf16(w.y), high_bf16(w.y));
}
static __device__ __forceinline__ float code_of_byte(uint32_t word, int byte) {
  return pogo_to_float((uint32_t)(int32_t)(int8_t)(uint8_t)(word >> (8 * byte)));
}

static __device__ __forceinline__ float4 scale4(float4 x, float scale) {
  return make_float4(pogo_mul(x.x, scale), pogo_mul(x.y, scale), pogo_mul(x.z, scale), pogo_mul(x.w, scale));
}

/** One row v of dWte: (dense - S1) + S2. The terms of S2 are dx times `scale`, which is 1 where nothing is scaled. */
__global__ void __launch_bounds__(256)
    embed_rows_kernel(EmbedBackwardArgs a, float scale, const uint32_t* __restrict__ target_order,
                      const uint32_t* __restrict__ target_start, const uint32_t* __restrict__ token_order,
                      const uint32_t* __restrict__ token_start, float inverse) {
  const uint32_t v = blockIdx.x;
  const uint32_t first1 = target_start[v], end1 = target_start[v + 1];
  const uint32_t first2 = token_start[v], end2 = token_start[v + 1];
  for (uint32_t c = threadIdx.x * 4; c < a.C; c += blockDim.x * 4) {
    const float* scales = a.aScales + (uint64_t)(c / PANEL) * a.U;
    float4 s1 = make_float4(0.0f, 0.0f, 0.0f, 0.0f), s2 = s1;
#if defined(__CUDA_ARCH__)
#pragma unroll 4
#endif
    for (uint32_t i = first1; i < end1; i += 1) {
      const uint32_t t = target_order[i];
      const uint32_t codes = *reinterpret_cast<const uint32_t*>(a.a + (uint64_t)t * a.C + c);
      const float row_scale = scales[t];
      const float4 x = make_float4(
          pogo_mul(pogo_mul(code_of_byte(codes, 0), row_scale), inverse), pogo_mul(pogo_mul(code_of_byte(codes, 1), row_scale), inverse),
          pogo_mul(pogo_mul(code_of_byte(codes, 2), row_scale), inverse), pogo_mul(pogo_mul(code_of_byte(codes, 3), row_scale), inverse));
      s1 = i == first1 ? x : add4(s1, x);
    }
#if defined(__CUDA_ARCH__)
#pragma unroll 4
#endif
    for (uint32_t i = first2; i < end2; i += 1) {
      const float4 x = scale4(load4_bf16(a.dx + (uint64_t)token_order[i] * a.C + c), scale);
      s2 = i == first2 ? x : add4(s2, x);
    }
    float4* place = reinterpret_cast<float4*>(a.dWte + (uint64_t)v * a.C + c);
    const float4 dense = *place;
    const float4 sum = make_float4(pogo_add(pogo_sub(dense.x, s1.x), s2.x), pogo_add(pogo_sub(dense.y, s1.y), s2.y),
                                   pogo_add(pogo_sub(dense.z, s1.z), s2.z), pogo_add(pogo_sub(dense.w, s1.w), s2.w));
    // Most entries of a large vocabulary occur nowhere: then only a -0 changes, and nothing need be written.
    const bool same = pogo_bits(sum.x) == pogo_bits(dense.x) && pogo_bits(sum.y) == pogo_bits(dense.y) &&
                      pogo_bits(sum.z) == pogo_bits(dense.z) && pogo_bits(sum.w) == pogo_bits(dense.w);
    if (!same) *place = sum;
  }
}

/** One row p of dWpe: over t = p, p + context, … */
__global__ void __launch_bounds__(256) embed_positions_kernel(EmbedBackwardArgs a) {
  const uint32_t p = blockIdx.x;
  for (uint32_t c = threadIdx.x * 4; c < a.C; c += blockDim.x * 4) {
    float4 sum = p < a.U ? load4_bf16(a.dx + (uint64_t)p * a.C + c) : make_float4(0.0f, 0.0f, 0.0f, 0.0f);
#if defined(__CUDA_ARCH__)
#pragma unroll 4
#endif
    for (uint64_t t = (uint64_t)p + a.context; t < a.U; t += a.context) sum = add4(sum, load4_bf16(a.dx + t * a.C + c));
    *reinterpret_cast<float4*>(a.dWpe + (uint64_t)p * a.C + c) = sum;
  }
}

/** Threads for a row of C columns, four each. */
uint32_t row_threads(uint32_t C) { return C / 4 < 256 ? (C / 4 + 31) / 32 * 32 : 256; }

/** Words of the workspace of one sort. */
size_t sort_words(uint32_t U, uint32_t V) { return 4 * (size_t)U + (size_t)DIGITS * sort_blocks(U) + V + 1; }

}  // namespace

Status embed(const EmbedArgs& a, const Launch& launch) {
  POGO_TRY(POGO_LAUNCH(embed_kernel, (a.T + EMBED_WARPS - 1) / EMBED_WARPS, EMBED_THREADS, 0, launch.stream, a,
                       launch.failure, launch.entry),
           "embed_kernel");
  return Status();
}

Status embed_scaled(const EmbedScaledArgs& a, const Launch& launch) {
  POGO_TRY(POGO_LAUNCH(embed_scaled_kernel, (a.T + EMBED_WARPS - 1) / EMBED_WARPS, EMBED_THREADS, 0, launch.stream, a,
                       launch.failure, launch.entry),
           "embed_scaled_kernel");
  return Status();
}

/** dWte; the positions are the caller's. */
static Status embed_rows(const EmbedBackwardArgs& a, float scale, const Launch& launch) {
  const uint32_t passes = sort_passes(a.V), blocks = sort_blocks(a.U);
  const Sorts s = {{a.targets, a.tokens}, static_cast<uint32_t*>(launch.workspace.data), sort_words(a.U, a.V), a.U, a.V, blocks};
  for (uint32_t pass = 0; pass < passes; pass += 1) {
    POGO_TRY(POGO_LAUNCH(sort_count_kernel, dim3(blocks, 2), SORT_THREADS, DIGITS * sizeof(uint32_t), launch.stream, s, pass),
             "sort_count_kernel");
    POGO_TRY(POGO_LAUNCH(sort_scan_kernel, 2, SCAN_THREADS, SCAN_THREADS / 32 * sizeof(uint32_t), launch.stream, s),
             "sort_scan_kernel");
    POGO_TRY(POGO_LAUNCH(sort_scatter_kernel, dim3(blocks, 2), SORT_THREADS, SORT_WARPS * DIGITS * sizeof(uint32_t),
                         launch.stream, s, pass),
             "sort_scatter_kernel");
  }
  const uint32_t last = passes - 1;
  POGO_TRY(POGO_LAUNCH(sort_starts_kernel, dim3(a.V / 256 + 1, 2), 256, 0, launch.stream, s, last), "sort_starts_kernel");
  const Sort targets(s, 0), tokens(s, 1);
  POGO_TRY(POGO_LAUNCH(embed_rows_kernel, a.V, row_threads(a.C), 0, launch.stream, a, scale, targets.positions(last),
                       targets.start(), tokens.positions(last), tokens.start(), pogo_inverse_count(a.U)),
           "embed_rows_kernel");
  return Status();
}

size_t embed_backward_workspace(const EmbedBackwardArgs& a, const DeviceTraits&) {
  return 2 * sort_words(a.U, a.V) * sizeof(uint32_t);
}

Status embed_backward(const EmbedBackwardArgs& a, const Launch& launch) {
  const Status status = embed_rows(a, POGO_ONE, launch);
  if (!status.ok()) return status;
  POGO_TRY(POGO_LAUNCH(embed_positions_kernel, a.context, row_threads(a.C), 0, launch.stream, a), "embed_positions_kernel");
  return Status();
}

size_t embed_scaled_backward_workspace(const EmbedScaledBackwardArgs& a, const DeviceTraits&) {
  return 2 * sort_words(a.U, a.V) * sizeof(uint32_t);
}

Status embed_scaled_backward(const EmbedScaledBackwardArgs& a, const Launch& launch) {
  return embed_rows({a.tokens, a.targets, a.a, a.aScales, a.dx, a.dWte, nullptr, a.U, a.C, a.V, 0}, a.scale, launch);
}

}  // namespace pogo
