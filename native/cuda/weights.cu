// Codes of a weight (numerics 4: quantizeWeight): row codes of theta, one warp per row and panel, then their recode.
#include "row_panels.h"

namespace pogo {
namespace {

constexpr int THREADS = 256;
constexpr uint32_t WARPS = THREADS / 32;

__global__ void __launch_bounds__(THREADS) quantize_weight_kernel(QuantizeWeightArgs a, uint32_t panels, uint64_t tasks,
                                                                  unsigned long long* failure, uint32_t entry) {
  const uint64_t task = (uint64_t)blockIdx.x * WARPS + threadIdx.x / 32;
  if (task >= tasks) return;
  const uint32_t row = (uint32_t)(task / panels), panel = (uint32_t)(task - (uint64_t)row * panels);
  const Panel p = {panel * PANEL, a.K, threadIdx.x % 32};
  const float* x = a.theta + (uint64_t)row * a.K;
  const bool is_there = row < a.rows;
  float v[CHUNKS][8];
  POGO_UNROLL
  for (uint32_t k = 0; k < CHUNKS; k += 1) {
    if (is_there && p.owns(k)) {
      load8_f32(x + p.column(k), v[k]);
    } else {
      POGO_UNROLL
      for (int e = 0; e < 8; e += 1) v[k][e] = 0.0f;
    }
  }
  const CodeRow out = {a.w + (uint64_t)row * a.K, a.wScales + (uint64_t)panel * a.N + row, failure, entry, row};
  quantize_panel<false>(v, p, out, nullptr, 0);
}

}  // namespace

/** A failure's index: the row. */
Status quantize_weight(const QuantizeWeightArgs& a, const Launch& launch) {
  if (a.N == 0 || a.K == 0) return Status();
  const uint32_t panels = panel_count(a.K);
  const uint64_t tasks = (uint64_t)a.N * panels;
  POGO_TRY(POGO_LAUNCH(quantize_weight_kernel, (unsigned)((tasks + WARPS - 1) / WARPS), THREADS, 0, launch.stream, a, panels,
                       tasks, launch.failure, launch.entry),
           "quantize_weight_kernel");
  RecodeArgs r = {};
  r.codes = a.w;
  r.scales = a.wScales;
  r.out = a.wt;
  r.outScales = a.wtScales;
  r.dither = false;
  r.T = a.N;
  r.N = a.K;
  r.t0 = 0;
  return recode(r, launch);
}

}  // namespace pogo
