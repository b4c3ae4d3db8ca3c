// headForward: the product with its epilogue, then what the whole vocabulary decides of a token.
#include "epilogue_head.h"
#include "gemm_forms.h"
#include "wgmma_loop.h"

namespace pogo {
namespace {

/** Tokens of a block, one a lane; warps, each a panel of these tokens at a time; panels whose terms are held at a time. */
constexpr uint32_t TOKENS = 32, TOKEN_WARPS = 16, TOKEN_THREADS = TOKENS * TOKEN_WARPS, HELD = 64;

struct HeadTotals {
  const uint32_t* targets;
  const uint32_t* maxima;
  const float* block_sums;
  const float* target_z;
  float* loss;
  /** Null: losses only. */
  float* e_scales;
  unsigned long long* failure;
  uint32_t entry, T, V, vocab;
  float inverse_tokens;
};

/** Sums of a panel's blocks, ascending. All are read before the first is added. */
__device__ float panel_sum(const HeadTotals& a, uint32_t panel, uint32_t t) {
  constexpr uint32_t MOST = PANEL / 64;
  const uint32_t first = panel * MOST, blocks = min(MOST, (a.V + 63) / 64 - first);
  const float* sums = a.block_sums + (size_t)first * a.T + t;
  float each[MOST];
  POGO_UNROLL
  for (uint32_t i = 0; i < MOST; i += 1) each[i] = i < blocks ? __ldg(sums + (size_t)i * a.T) : 0.0f;
  float sum = each[0];
  POGO_UNROLL
  for (uint32_t i = 1; i < MOST; i += 1) sum = i < blocks ? pogo_add(sum, each[i]) : sum;
  return sum;
}

struct HeadShared {
  float terms[HELD][TOKENS];
  uint32_t keys[TOKEN_WARPS][TOKENS];
  float lses[TOKENS];
};

/** A block's tokens: panels are dealt out to its warps, their terms meet in shared memory and are added ascending. */
__global__ void __launch_bounds__(TOKEN_THREADS) head_totals(HeadTotals a) {
  HeadShared& shared = *reinterpret_cast<HeadShared*>(pogo_shared());
  auto& [terms, keys, lses] = shared;
  const uint32_t warp = threadIdx.x / TOKENS, lane = threadIdx.x % TOKENS;
  const uint32_t t = blockIdx.x * TOKENS + lane, panels = (a.V + PANEL - 1) / PANEL;
  const bool live = t < a.T;
  uint32_t key = 0;
  for (uint32_t p = warp; live && p < panels; p += TOKEN_WARPS) key = pogo_imax(key, __ldg(a.maxima + (size_t)p * a.T + t));
  keys[warp][lane] = key;
  __syncthreads();
  for (uint32_t i = 0; i < TOKEN_WARPS; i += 1) key = pogo_imax(key, keys[i][lane]);
  const float maximum = panel_maximum(key);
  float total = NOTHING_YET;
  for (uint32_t first = 0; first < panels; first += HELD) {
    const uint32_t held = min(HELD, panels - first);
    for (uint32_t p = first + warp; live && p < first + held; p += TOKEN_WARPS) {
      const float m = panel_maximum(__ldg(a.maxima + (size_t)p * a.T + t));
      terms[p - first][lane] = pogo_mul(panel_sum(a, p, t), pogo_exp2(pogo_sub(m, maximum)));
    }
    __syncthreads();
    for (uint32_t i = 0; warp == 0 && live && i < held; i += 1) total = pogo_add(total, terms[i][lane]);
    __syncthreads();
  }
  if (warp == 0 && live) {
    const float lse = pogo_add(maximum, pogo_log2(total));
    lses[lane] = lse;
    // An entry that is no target: nothing is written for its token.
    if (a.targets[t] >= a.vocab) {
      pogo_report(a.failure, a.entry, FAILURE_TARGET, t);
      keys[0][lane] = 0;
    } else {
      const float loss = pogo_mul(pogo_sub(lse, a.target_z[t]), POGO_LN2);
      if (!pogo_absmax_is_finite(pogo_abs_bits(loss))) pogo_report(a.failure, a.entry, FAILURE_NON_FINITE, t);
      a.loss[t] = loss;
      keys[0][lane] = 1;
    }
  }
  __syncthreads();
  if (a.e_scales == nullptr || !live || keys[0][lane] == 0) return;
  for (uint32_t p = warp; p < panels; p += TOKEN_WARPS) {
    const float m = panel_maximum(__ldg(a.maxima + (size_t)p * a.T + t));
    const float e = pogo_exp2(pogo_sub(m, lses[lane]));
    a.e_scales[(size_t)p * a.T + t] = pogo_mul(pogo_mul(e, POGO_Q8_R), a.inverse_tokens);
  }
}

template <bool DEEP>
Status products(const GemmOperands& g, HeadEpilogue::Args e, const Launch& launch) {
  using Loop = MmaLoop<LargeTile, DEEP>;
  const GroupPlan plan = plan_groups(g.N, PANEL, LargeTile::COLUMNS, *launch.device);
  e.reach = plan.reach;
  if (runs_on_wgmma(g, *launch.device)) return launch_wgmma<HeadEpilogue, DEEP, 2>(g, e, plan.cluster, launch, "head_forward");
  if (plan.reach != Reach::FIRST) return launch_gemm<Loop, HeadEpilogue>(g, e, plan.cluster, launch, "head_forward");
  const size_t panels = (g.N + PANEL - 1) / PANEL;
  POGO_TRY(cudaMemsetAsync(e.maxima, 0, panels * g.M * sizeof(uint32_t), launch.stream), "head_forward");
  Status status = launch_gemm<Loop, HeadEpilogue>(g, e, 0, launch, "head_forward");
  if (!status.ok()) return status;
  e.reach = Reach::SECOND;
  return launch_gemm<Loop, HeadEpilogue>(g, e, 0, launch, "head_forward");
}

}  // namespace

size_t head_forward_workspace(const HeadForwardArgs& a, const DeviceTraits&) {
  const size_t panels = (a.V + PANEL - 1) / PANEL, blocks = (a.V + 63) / 64;
  return (panels + blocks + 1) * a.T * sizeof(float);
}

Status head_forward(const HeadForwardArgs& a, const Launch& launch) {
  if (a.T == 0) return Status();
  const uint32_t panels = (a.V + PANEL - 1) / PANEL;
  if (a.vocab > a.V || a.vocab <= (panels - 1) * PANEL) {
    return failed(cudaErrorInvalidValue, "head_forward: a panel of the vocabulary is masked altogether");
  }
  if (launch.workspace.bytes < head_forward_workspace(a, *launch.device)) {
    return failed(cudaErrorInvalidValue, "head_forward: too small a workspace");
  }
  HeadEpilogue::Args e = {};
  e.codes = a.codes;
  e.seed = a.seed;
  e.targets = a.targets;
  e.maxima = static_cast<uint32_t*>(launch.workspace.data);
  e.block_sums = reinterpret_cast<float*>(e.maxima + (size_t)panels * a.T);
  e.target_z = e.block_sums + (size_t)((a.V + 63) / 64) * a.T;
  e.failure = launch.failure;
  e.entry = launch.entry;
  e.t0 = a.t0;
  e.vocab = a.vocab;
  const GemmOperands g = {a.a, a.aScales, a.w, a.wScales, nullptr, a.T, a.V, a.C};
  const Status status = is_shallow(g.K) ? products<false>(g, e, launch) : products<true>(g, e, launch);
  if (!status.ok()) return status;
  HeadTotals totals = {};
  totals.targets = a.targets;
  totals.maxima = e.maxima;
  totals.block_sums = e.block_sums;
  totals.target_z = e.target_z;
  totals.loss = a.loss;
  totals.e_scales = a.codes == nullptr ? nullptr : a.eScales;
  totals.failure = launch.failure;
  totals.entry = launch.entry;
  totals.T = a.T;
  totals.V = a.V;
  totals.vocab = a.vocab;
  totals.inverse_tokens = pogo_inverse_count(a.U);
  POGO_TRY(POGO_LAUNCH(head_totals, dim3((a.T + TOKENS - 1) / TOKENS), dim3(TOKEN_THREADS),
                       sizeof(HeadShared), launch.stream, totals),
           "head_totals");
  return Status();
}

}  // namespace pogo
