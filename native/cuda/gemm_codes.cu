// The products that end in codes of 8 bits: linearQkv, linearHeadsInputGradient, linearGelu, linearGeluInputGradient.
#include "column_totals.h"
#include "epilogue_codes.h"
#include "gemm_forms.h"
#include "wgmma_loop.h"

namespace pogo {
namespace {

constexpr uint32_t FINISH_THREADS = 256;

/** Bits of maxima to scales, in place: the end of the two passes. */
__global__ void maxima_to_scales(float* scales, uint64_t count) {
  const uint64_t i = (uint64_t)blockIdx.x * FINISH_THREADS + threadIdx.x;
  if (i >= count) return;
  PogoScale scale;
  pogo_q8(pogo_bits(scales[i]), POGO_Q8_C, POGO_Q8_R, &scale);
  scales[i] = scale.scale;
}

template <CodesForm FORM, bool DEEP>
Status product_of_depth(const GemmOperands& g, typename CodesEpilogue<FORM>::Args e, const Launch& launch,
                        const char* name) {
  using Loop = MmaLoop<LargeTile, DEEP>;
  const GroupPlan plan = plan_groups(g.N, e.group, LargeTile::COLUMNS, *launch.device);
  e.reach = plan.reach;
  e.failure = launch.failure;
  e.entry = launch.entry;
  // Who has wgmma has clusters.
  if (runs_on_wgmma(g, *launch.device)) return launch_wgmma<CodesEpilogue<FORM>, DEEP, 2>(g, e, plan.cluster, launch, name);
  if (plan.reach != Reach::FIRST) return launch_gemm<Loop, CodesEpilogue<FORM>>(g, e, plan.cluster, launch, name);
  const uint64_t scales = (uint64_t)((g.N + e.group - 1) / e.group) * g.M;
  POGO_TRY(cudaMemsetAsync(e.scales, 0, scales * sizeof(float), launch.stream), name);
  Status status = launch_gemm<Loop, CodesEpilogue<FORM>>(g, e, 0, launch, name);
  if (!status.ok()) return status;
  e.reach = Reach::SECOND;
  status = launch_gemm<Loop, CodesEpilogue<FORM>>(g, e, 0, launch, name);
  if (!status.ok()) return status;
  POGO_TRY(POGO_LAUNCH(maxima_to_scales, dim3((unsigned)((scales + FINISH_THREADS - 1) / FINISH_THREADS)),
                       dim3(FINISH_THREADS), 0, launch.stream, e.scales, scales),
           name);
  return Status();
}

template <CodesForm FORM>
Status product(const GemmOperands& g, const typename CodesEpilogue<FORM>::Args& e, const Launch& launch,
               const char* name) {
  if (g.M == 0 || g.N == 0) return Status();
  return is_shallow(g.K) ? product_of_depth<FORM, false>(g, e, launch, name)
                      : product_of_depth<FORM, true>(g, e, launch, name);
}

bool is_head_size(uint32_t h) { return h == 32 || h == 64 || h == 128 || h == 256; }

}  // namespace

Status linear_qkv(const LinearQkvArgs& a, const Launch& launch) {
  CodesEpilogue<CodesForm::PLAIN>::Args e = {};
  e.codes = a.codes;
  e.scales = a.scales;
  e.bias = a.bias;
  e.group = a.C / a.H;
  if (!is_head_size(e.group)) return failed(cudaErrorInvalidValue, "linear_qkv: heads must be of 32, 64, 128 or 256");
  return product<CodesForm::PLAIN>({a.a, a.aScales, a.w, a.wScales, nullptr, a.T, 3 * a.C, a.C}, e, launch, "linear_qkv");
}

Status linear_heads_input_gradient(const LinearHeadsInputGradientArgs& a, const Launch& launch) {
  CodesEpilogue<CodesForm::PLAIN>::Args e = {};
  e.codes = a.codes;
  e.scales = a.scales;
  e.seed = a.seed;
  e.t0 = a.t0;
  e.group = a.K / a.H;
  if (!is_head_size(e.group)) {
    return failed(cudaErrorInvalidValue, "linear_heads_input_gradient: heads must be of 32, 64, 128 or 256");
  }
  return product<CodesForm::PLAIN>({a.e, a.eScales, a.wt, a.wtScales, nullptr, a.T, a.K, a.N}, e, launch,
                                   "linear_heads_input_gradient");
}

Status linear_gelu(const LinearGeluArgs& a, const Launch& launch) {
  CodesEpilogue<CodesForm::GELU>::Args e = {};
  e.codes = a.codes;
  e.scales = a.scales;
  e.bias = a.bias;
  e.derivative_out = a.derivative;
  e.group = PANEL;
  return product<CodesForm::GELU>({a.a, a.aScales, a.w, a.wScales, nullptr, a.T, a.N, a.K}, e, launch, "linear_gelu");
}

size_t linear_gelu_input_gradient_workspace(const LinearGeluInputGradientArgs& a, const DeviceTraits&) {
  return a.bias == nullptr ? 0 : (size_t)((a.T + 63) / 64) * a.K * sizeof(float);
}

Status linear_gelu_input_gradient(const LinearGeluInputGradientArgs& a, const Launch& launch) {
  CodesEpilogue<CodesForm::GELU_GRADIENT>::Args e = {};
  e.codes = a.codes;
  e.scales = a.scales;
  e.seed = a.seed;
  e.t0 = a.t0;
  e.derivative_in = a.derivative;
  e.group = PANEL;
  if (launch.workspace.bytes < linear_gelu_input_gradient_workspace(a, *launch.device)) {
    return failed(cudaErrorInvalidValue, "linear_gelu_input_gradient: too small a workspace");
  }
  if (a.bias != nullptr) e.block_sums = static_cast<float*>(launch.workspace.data);
  Status status = product<CodesForm::GELU_GRADIENT>({a.e, a.eScales, a.wt, a.wtScales, nullptr, a.T, a.K, a.N}, e, launch,
                                                    "linear_gelu_input_gradient");
  if (!status.ok() || a.bias == nullptr || a.T == 0) return status;
  POGO_TRY(add_column_blocks(e.block_sums, {a.bias, nullptr}, (a.T + 63) / 64, a.K, a.accumulate, launch.stream),
           "add_column_blocks_kernel");
  return Status();
}

}  // namespace pogo
