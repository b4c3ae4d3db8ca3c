// The commit pass (numerics 4: commitLeaves): sum over the units in index order, AdamW, average; in place.
//
// Memory decides: 24 bytes of parameter and moments per parameter and half a byte per unit, 8 more where the average
// moves. A warp owns one leaf of 256: its clip factor needs nobody else. Lane l holds elements 4 (l % 16) … of block l / 16
// in each half of the leaf, so every load and store is 512 whole bytes of a warp.
#include "../exact/adamw.h"
#include "groups.h"

namespace pogo {
namespace {

constexpr int THREADS = 256;
constexpr uint32_t WARPS = THREADS / WARP_LANES;
constexpr uint32_t LEAF = 256;
constexpr uint32_t HALVES = LEAF / WARP_ELEMENTS;
/** Units at a time. */
constexpr uint32_t BATCH = 4;

/**
 * T64 of each of the two blocks that a warp holds, in all lanes of the block. Pair i of a block is pair i % 2 of lane
 * i / 2, so the tree's levels 16, 8, 4, 2 go between lanes 8, 4, 2, 1 apart and level 1 inside a lane.
 */
static __device__ __forceinline__ float t64_of_quads(const float x[4]) {
  float even = pogo_add(x[0], x[1]), odd = pogo_add(x[2], x[3]);
  POGO_UNROLL
  for (int s = 8; s > 0; s >>= 1) {
    even = pogo_add(even, __shfl_xor_sync(ALL_LANES, even, s));
    odd = pogo_add(odd, __shfl_xor_sync(ALL_LANES, odd, s));
  }
  return pogo_add(even, odd);
}

/** The leaf's sum: its four blocks ascending from the first. */
static __device__ __forceinline__ float leaf_sum(const float x[HALVES][4]) {
  const float first = t64_of_quads(x[0]), second = t64_of_quads(x[1]);
  float sum = __shfl_sync(ALL_LANES, first, 0);
  sum = pogo_add(sum, __shfl_sync(ALL_LANES, first, GROUP_LANES));
  sum = pogo_add(sum, __shfl_sync(ALL_LANES, second, 0));
  return pogo_add(sum, __shfl_sync(ALL_LANES, second, GROUP_LANES));
}

static __device__ __forceinline__ void load4(const float* place, float v[4]) {
  const float4 q = *reinterpret_cast<const float4*>(place);
  v[0] = q.x;
  v[1] = q.y;
  v[2] = q.z;
  v[3] = q.w;
}
static __device__ __forceinline__ void store4(float* place, const float v[4]) {
  *reinterpret_cast<float4*>(place) = make_float4(v[0], v[1], v[2], v[3]);
}

/**
 * g += the values of four codes of one group; the first unit's are taken as they are. A code c lies in the mantissa of
 * 2^(23 - 4 e) + 8 + c, where one is the value of its lowest bit, so the subtraction that leaves c is exact.
 */
static __device__ __forceinline__ void add_codes(float g[4], uint32_t codes, float scale, bool is_first) {
  const uint32_t biased = codes ^ 0x8888u;
  POGO_UNROLL
  for (uint32_t e = 0; e < 4; e += 1) {
    const uint32_t bits = (biased & (15u << (4 * e))) | ((150u - 4 * e) << 23);
    const float code = pogo_sub(pogo_of_bits(bits), (float)(1u << (23 - 4 * e)) + 8.0f);
    const float term = pogo_mul(code, scale);
    g[e] = is_first ? term : pogo_add(g[e], term);
  }
}

/** Adds UNITS units from `first` on: all are asked for before one is used. `at`: the lane's places in the tensor. */
template <uint32_t UNITS>
static __device__ __forceinline__ void add_units(const CommitLeavesArgs& a, uint32_t first, const uint64_t at[HALVES],
                                                 float g[HALVES][4]) {
  uint32_t codes[UNITS][HALVES], scales[UNITS][HALVES];
  POGO_UNROLL
  for (uint32_t k = 0; k < UNITS; k += 1) {
    const uint16_t* plane = reinterpret_cast<const uint16_t*>(a.codes[first + k]);
    const uint16_t* scale = a.scales[first + k];
    POGO_UNROLL
    for (uint32_t h = 0; h < HALVES; h += 1) {
      codes[k][h] = plane[at[h] / 4];
      scales[k][h] = scale[at[h] / GROUP];
    }
  }
  POGO_UNROLL
  for (uint32_t k = 0; k < UNITS; k += 1) {
    POGO_UNROLL
    for (uint32_t h = 0; h < HALVES; h += 1) {
      add_codes(g[h], codes[k][h], pogo_of_bits(scales[k][h] << 16), k == 0 && first == 0);
    }
  }
}

__global__ void __launch_bounds__(THREADS, 4) commit_leaves_kernel(CommitLeavesArgs a, PogoAdamW s) {
  const uint32_t lane = threadIdx.x % WARP_LANES;
  const uint64_t leaf = (uint64_t)blockIdx.x * WARPS + threadIdx.x / WARP_LANES;
  if (leaf * LEAF >= a.n) return;
  const uint64_t at[HALVES] = {leaf * LEAF + 4 * lane, leaf * LEAF + WARP_ELEMENTS + 4 * lane};
  float g[HALVES][4];
  POGO_UNROLL
  for (uint32_t h = 0; h < HALVES; h += 1) {
    POGO_UNROLL
    for (uint32_t e = 0; e < 4; e += 1) g[h][e] = 0.0f;
  }
  uint32_t first = 0;
  POGO_NO_UNROLL
  for (; first + BATCH <= a.units; first += BATCH) add_units<BATCH>(a, first, at, g);
  if (first + 2 <= a.units) {
    add_units<2>(a, first, at, g);
    first += 2;
  }
  if (first < a.units) add_units<1>(a, first, at, g);
  // Asked for behind the units: the registers that they would hold until then let one block more share a multiprocessor.
  float v[HALVES][4], m[HALVES][4], theta[HALVES][4];
  POGO_UNROLL
  for (uint32_t h = 0; h < HALVES; h += 1) {
    load4(a.v + at[h], v[h]);
    load4(a.m + at[h], m[h]);
    load4(a.theta + at[h], theta[h]);
  }
  float squares[HALVES][4], second[HALVES][4];
  POGO_UNROLL
  for (uint32_t h = 0; h < HALVES; h += 1) {
    POGO_UNROLL
    for (uint32_t e = 0; e < 4; e += 1) {
      g[h][e] = pogo_adamw_gradient(g[h][e], s);
      squares[h][e] = pogo_mul(g[h][e], g[h][e]);
      v[h][e] = pogo_adamw_second(v[h][e], squares[h][e], s);
      second[h][e] = pogo_mul(v[h][e], s.inverse_bias2);
    }
    store4(a.v + at[h], v[h]);
  }
  float factor = 0.0f;
  const bool clip = pogo_adamw_clip(leaf_sum(squares), leaf_sum(second), &factor);
  POGO_UNROLL
  for (uint32_t h = 0; h < HALVES; h += 1) {
    POGO_UNROLL
    for (uint32_t e = 0; e < 4; e += 1) {
      const float clipped = clip ? pogo_mul(g[h][e], factor) : g[h][e];
      m[h][e] = pogo_adamw_first(m[h][e], clipped, s);
      theta[h][e] = pogo_adamw_parameter(theta[h][e], m[h][e], pogo_adamw_root(second[h][e], s), s);
    }
    store4(a.m + at[h], m[h]);
    store4(a.theta + at[h], theta[h]);
    if (a.updateEma) {
      float ema[4];
      load4(a.ema + at[h], ema);
      POGO_UNROLL
      for (uint32_t e = 0; e < 4; e += 1) ema[e] = pogo_adamw_ema(ema[e], theta[h][e], s);
      store4(a.ema + at[h], ema);
    }
  }
}

}  // namespace

Status commit_leaves(const CommitLeavesArgs& a, const Launch& launch) {
  if (a.n == 0) return Status();
  const PogoAdamW s = pogo_adamw_scalars(a.units, a.beta1, a.beta2, a.b1t, a.b2t, a.epsilon, a.weightDecay,
                                         a.learningRate, a.emaDecay);
  const uint64_t leaves = a.n / LEAF;
  POGO_TRY(POGO_LAUNCH(commit_leaves_kernel, (unsigned)((leaves + WARPS - 1) / WARPS), THREADS, 0, launch.stream, a, s),
           "commit_leaves_kernel");
  return Status();
}

}  // namespace pogo
