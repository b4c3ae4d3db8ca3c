// GeGLU with row codes, and its gradient with dithered row codes. u holds the gates of a token, then the other half.
#include "../exact/functions.h"
#include "row_panels.h"

namespace pogo {
namespace {

constexpr uint32_t WARPS = 8;
constexpr uint32_t THREADS = 32 * WARPS;
/** Rows that share a panel's dither words. */
constexpr uint32_t GRADIENT_ROWS = 2 * WARPS;

__global__ void __launch_bounds__(THREADS) geglu_kernel(GegluArgs a, unsigned long long* failure, uint32_t entry) {
  const uint32_t lane = threadIdx.x % 32;
  const uint64_t row = (uint64_t)blockIdx.x * WARPS + threadIdx.x / 32;
  if (row >= a.T) return;
  const uint16_t* gates = a.u + row * 2 * a.N;
  for (uint32_t first = 0; first < a.N; first += PANEL) {
    const Panel p = {first, a.N, lane};
    float v[CHUNKS][8];
    load_panel(gates, p, v);
    POGO_UNROLL
    for (uint32_t k = 0; k < CHUNKS; k += 1) {
      if (!p.owns(k)) continue;
      float up[8];
      load8_bf16(gates + a.N + p.column(k), up);
      POGO_UNROLL
      for (int e = 0; e < 8; e += 1) v[k][e] = pogo_geglu(v[k][e], up[e]);
    }
    const CodeRow out = {a.codes + row * a.N, a.scales + (uint64_t)(first / PANEL) * a.T + row, failure, entry, row};
    quantize_panel<false>(v, p, out, nullptr, 0);
  }
}

/** Shared: a panel's dither words. */
__global__ void __launch_bounds__(THREADS)
    geglu_gradient_kernel(GegluGradientArgs a, unsigned long long* failure, uint32_t entry) {
  uint32_t* words = reinterpret_cast<uint32_t*>(pogo_shared());
  const uint32_t thread = threadIdx.x, columns = 2 * a.N;
  const uint64_t first_row = (uint64_t)blockIdx.x * GRADIENT_ROWS;
  uint32_t seed[4];
  for (int i = 0; i < 4; i += 1) seed[i] = a.seed[i];
  for (uint32_t first = 0; first < columns; first += PANEL) {
    const uint32_t width = columns - first < PANEL ? columns - first : PANEL;
    if (first > 0) __syncthreads();
    for (uint32_t c = thread; c < width; c += THREADS) words[dither_place(c)] = pogo_dither_column(seed, first + c);
    __syncthreads();
    const Panel p = {first, columns, thread % 32};
    for (uint64_t row = first_row + thread / 32; row < first_row + GRADIENT_ROWS && row < a.T; row += WARPS) {
      const uint16_t *gates = a.u + row * columns, *gradient = a.dh + row * a.N;
      float v[CHUNKS][8];
      POGO_UNROLL
      for (uint32_t k = 0; k < CHUNKS; k += 1) {
        POGO_UNROLL
        for (int e = 0; e < 8; e += 1) v[k][e] = 0.0f;
        if (!p.owns(k)) continue;
        // 64 divides N, so a lane's columns lie in one half.
        const bool is_gate = p.column(k) < a.N;
        const uint32_t n = is_gate ? p.column(k) : p.column(k) - a.N;
        float dh[8], gate[8], up[8];
        load8_bf16(gradient + n, dh);
        load8_bf16(gates + n, gate);
        load8_bf16(gates + a.N + n, up);
        POGO_UNROLL
        for (int e = 0; e < 8; e += 1) {
          float d_gate, d_up;
          pogo_geglu_gradient(dh[e], gate[e], up[e], &d_gate, &d_up);
          v[k][e] = is_gate ? d_gate : d_up;
        }
      }
      const CodeRow out = {a.codes + row * columns, a.scales + (uint64_t)(first / PANEL) * a.T + row, failure, entry, row};
      quantize_panel<true>(v, p, out, words, pogo_dither_row(seed, a.t0 + (uint32_t)row));
    }
  }
}

}  // namespace

Status geglu(const GegluArgs& a, const Launch& launch) {
  POGO_TRY(POGO_LAUNCH(geglu_kernel, (a.T + WARPS - 1) / WARPS, THREADS, 0, launch.stream, a, launch.failure, launch.entry),
           "geglu_kernel");
  return Status();
}

Status geglu_gradient(const GegluGradientArgs& a, const Launch& launch) {
  const uint32_t width = 2 * a.N < PANEL ? 2 * a.N : PANEL;
  POGO_TRY(POGO_LAUNCH(geglu_gradient_kernel, (a.T + GRADIENT_ROWS - 1) / GRADIENT_ROWS, THREADS,
                       ((width + CHUNK - 1) / CHUNK) * CHUNK * sizeof(uint32_t), launch.stream, a, launch.failure,
                       launch.entry),
           "geglu_gradient_kernel");
  return Status();
}

}  // namespace pogo
