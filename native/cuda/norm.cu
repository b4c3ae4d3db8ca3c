// RMSNorm and LayerNorm forward, with row codes or added to a residual stream.
//
// Memory decides. A warp has a row; rows of at most 1,024 values stay in its registers between the passes over them,
// longer ones are read again, from the cache.
#include "row_panels.h"
#include "../exact/norm.h"

namespace pogo {
namespace {

constexpr uint32_t WARPS = 8;
constexpr uint32_t THREADS = 32 * WARPS;
/** Chunks of rows that end before their panel does: three of four, so that fewer registers are taken. */
constexpr uint32_t SHORT = 3;
/** Blocks that share a multiprocessor then. */
#if defined(__CUDA_ARCH__) && __CUDA_ARCH__ < 900
constexpr int SHORT_BLOCKS = 4;
#else
constexpr int SHORT_BLOCKS = 5;
#endif

/** A panel of a bf16 row as it was read, or its first COUNT chunks where the row ends there; zeros behind the row's end. */
template <uint32_t COUNT>
struct HeldPanel {
  uint4 words[COUNT];

  __device__ void load(const uint16_t* row, const Panel& p) {
    POGO_UNROLL
    for (uint32_t k = 0; k < COUNT; k += 1) {
      words[k] = p.owns(k) ? *reinterpret_cast<const uint4*>(row + p.column(k)) : make_uint4(0, 0, 0, 0);
    }
  }
  /** A lane's values of chunk k, made anew: the compiler would keep them all. */
  __device__ void values(uint32_t k, float v[8]) {
    words[k].x = made_again(words[k].x);
    words[k].y = made_again(words[k].y);
    words[k].z = made_again(words[k].z);
    words[k].w = made_again(words[k].w);
    of8_bf16(words[k], v);
  }
};

/** A row stays as it was read between the passes, in half the registers of its values: so more warps are at work. */
template <bool LAYER, uint32_t COUNT>
__global__ void __launch_bounds__(THREADS, COUNT == SHORT ? SHORT_BLOCKS : 3)
    norm_forward_kernel(NormForwardArgs a, float inverse, unsigned long long* failure, uint32_t entry) {
  const uint32_t lane = threadIdx.x % 32;
  const uint64_t row = (uint64_t)blockIdx.x * WARPS + threadIdx.x / 32;
  if (row >= a.T) return;
  const uint16_t* x = a.x + row * a.C;
  const bool single = COUNT < CHUNKS || a.C <= PANEL;
  const uint32_t end = COUNT < CHUNKS ? 1 : a.C;  // of where panels begin
  HeldPanel<COUNT> held;
  float mean = 0.0f;
  auto centred = [&](uint32_t k, float v[8]) {
    held.values(k, v);
    POGO_UNROLL
    for (int e = 0; e < 8; e += 1) v[e] = LAYER ? pogo_sub(v[e], mean) : v[e];
  };
  held.load(x, {0, a.C, lane});
  if (LAYER) {
    RowSum sum;
    for (uint32_t first = 0; first < end; first += PANEL) {
      const Panel p = {first, a.C, lane};
      if (first > 0) held.load(x, p);
      POGO_UNROLL
      for (uint32_t k = 0; k < COUNT; k += 1) {
        float v[8];
        held.values(k, v);
        if (p.has(k)) sum.add(v, p, k);
      }
    }
    mean = pogo_mul(sum.total, inverse);
    if (lane == 0) a.mean[row] = mean;
  }
  RowSum sum;
  for (uint32_t first = 0; first < end; first += PANEL) {
    const Panel p = {first, a.C, lane};
    if (LAYER ? !single : first > 0) held.load(x, p);
    POGO_UNROLL
    for (uint32_t k = 0; k < COUNT; k += 1) {
      float v[8];
      centred(k, v);
      POGO_UNROLL
      for (int e = 0; e < 8; e += 1) v[e] = pogo_mul(v[e], v[e]);
      if (p.has(k)) sum.add(v, p, k);
    }
  }
  const float r = pogo_norm_rstd(sum.total, inverse, a.epsilon);
  if (lane == 0) a.rstd[row] = r;
  for (uint32_t first = 0; first < end; first += PANEL) {
    const Panel p = {first, a.C, lane};
    if (!single) held.load(x, p);
    float v[COUNT][8];
    POGO_UNROLL
    for (uint32_t k = 0; k < COUNT; k += 1) {
      float gain[8] = {}, bias[8] = {};
      if (p.owns(k)) {
        // A chunk's at a time: all of them would take too many registers.
        const uint32_t column = made_again(p.column(k));
        load8_f32(a.gain + column, gain);
        if (LAYER) load8_f32(a.bias + column, bias);
      }
      centred(k, v[k]);
      POGO_UNROLL
      for (int e = 0; e < 8; e += 1) {
        const float y = LAYER ? pogo_layer(v[k][e], r, gain[e], bias[e]) : pogo_rms(v[k][e], r, gain[e]);
        v[k][e] = p.owns(k) ? y : 0.0f;
      }
    }
    const CodeRow out = {a.codes + row * a.C, a.scales + (uint64_t)(first / PANEL) * a.T + row, failure, entry, row};
    quantize_panel<false>(v, p, out, nullptr, 0);
  }
}

/** y = bf16(x + RMSNorm(o) gain); a lane reads its part of x before it writes it, so y may be x. */
__global__ void __launch_bounds__(THREADS) norm_residual_kernel(NormResidualArgs a, float inverse) {
  const uint32_t lane = threadIdx.x % 32;
  const uint64_t row = (uint64_t)blockIdx.x * WARPS + threadIdx.x / 32;
  if (row >= a.T) return;
  float v[CHUNKS][8];
  RowSum sum;
  for (uint32_t first = 0; first < a.C; first += PANEL) {
    const Panel p = {first, a.C, lane};
    load_panel(a.o + row * a.C, p, v);
    POGO_UNROLL
    for (uint32_t k = 0; k < CHUNKS; k += 1) {
      float squares[8];
      POGO_UNROLL
      for (int e = 0; e < 8; e += 1) squares[e] = pogo_mul(v[k][e], v[k][e]);
      if (p.has(k)) sum.add(squares, p, k);
    }
  }
  const float r = pogo_norm_rstd(sum.total, inverse, a.epsilon);
  if (lane == 0) a.rstd[row] = r;
  for (uint32_t first = 0; first < a.C; first += PANEL) {
    const Panel p = {first, a.C, lane};
    if (a.C > PANEL) load_panel(a.o + row * a.C, p, v);
    POGO_UNROLL
    for (uint32_t k = 0; k < CHUNKS; k += 1) {
      if (!p.owns(k)) continue;
      float x[8], gain[8];
      load8_bf16(a.x + row * a.C + p.column(k), x);
      load8_f32(a.gain + p.column(k), gain);
      POGO_UNROLL
      for (int e = 0; e < 8; e += 1) x[e] = pogo_add(x[e], pogo_rms(v[k][e], r, gain[e]));
      store8_bf16(a.y + row * a.C + p.column(k), x);
    }
  }
}

__global__ void __launch_bounds__(THREADS) gain_plus_one_kernel(GainPlusOneArgs a) {
  const uint32_t i = blockIdx.x * THREADS + threadIdx.x;
  if (i < a.n) a.out[i] = pogo_add(POGO_ONE, a.gain[i]);
}

template <bool LAYER, uint32_t COUNT>
cudaError_t launch_forward(const NormForwardArgs& a, const Launch& launch) {
  return POGO_LAUNCH((norm_forward_kernel<LAYER, COUNT>), (a.T + WARPS - 1) / WARPS, THREADS, 0, launch.stream, a,
                     pogo_inverse_count(a.C), launch.failure, launch.entry);
}

}  // namespace

Status norm_forward(const NormForwardArgs& a, const Launch& launch) {
  const bool is_short = a.C <= SHORT * CHUNK;
  cudaError_t error = a.layer ? is_short ? launch_forward<true, SHORT>(a, launch) : launch_forward<true, CHUNKS>(a, launch)
                      : is_short ? launch_forward<false, SHORT>(a, launch)
                                 : launch_forward<false, CHUNKS>(a, launch);
  POGO_TRY(error, "norm_forward_kernel");
  return Status();
}

Status norm_residual(const NormResidualArgs& a, const Launch& launch) {
  POGO_TRY(POGO_LAUNCH(norm_residual_kernel, (a.T + WARPS - 1) / WARPS, THREADS, 0, launch.stream, a,
                       pogo_inverse_count(a.C)),
           "norm_residual_kernel");
  return Status();
}

Status gain_plus_one(const GainPlusOneArgs& a, const Launch& launch) {
  POGO_TRY(POGO_LAUNCH(gain_plus_one_kernel, (a.n + THREADS - 1) / THREADS, THREADS, 0, launch.stream, a),
           "gain_plus_one_kernel");
  return Status();
}

}  // namespace pogo
