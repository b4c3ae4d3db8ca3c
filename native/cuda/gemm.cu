// The products without groups in their results: gemm, weightGradient, headLogits.
#include "epilogue_plain.h"
#include "pingpong_loop.h"

namespace pogo {

Status product_plain(const GemmOperands& g, const PlainEpilogue::Args& e, const Launch& launch, const char* name) {
  const bool fills = fills_device(g.M, g.N, *launch.device);
  if (runs_on_wgmma(g, *launch.device)) {
    return fills ? launch_deep<PlainEpilogue, 2>(g, e, launch, name) : launch_deep<PlainEpilogue, 1>(g, e, launch, name);
  }
  if (!fills) return launch_gemm<MmaLoop<SmallTile, true>, PlainEpilogue>(g, e, 0, launch, name);
  return launch_gemm<MmaLoop<LargeTile, true>, PlainEpilogue>(g, e, 0, launch, name);
}

Status gemm(const GemmArgs& a, const Launch& launch) {
  return product_plain({a.a, a.aScales, a.b, a.bScales, nullptr, a.M, a.N, a.K}, {a.y}, launch, "gemm");
}

size_t weight_gradient_workspace(const WeightGradientArgs& a, const DeviceTraits& device) {
  return carry_bytes(a.N, a.K, a.T, device);
}

Status weight_gradient(const WeightGradientArgs& a, const Launch& launch) {
  const float* start = a.accumulate ? a.dw : nullptr;
  return product_plain({a.et, a.etScales, a.xt, a.xtScales, start, a.N, a.K, a.T}, {a.dw}, launch, "weight_gradient");
}

Status head_logits(const HeadLogitsArgs& a, const Launch& launch) {
  return product_plain({a.a, a.aScales, a.w, a.wScales, nullptr, a.T, a.V, a.C}, {a.logits}, launch, "head_logits");
}

}  // namespace pogo
