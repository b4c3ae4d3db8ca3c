// weightGradient and quantize4 in one.
#include "epilogue_gradient4.h"
#include "pingpong_loop.h"

namespace pogo {

size_t weight_gradient4_workspace(const WeightGradient4Args& a, const DeviceTraits& device) {
  return carry_bytes(a.N, a.K, a.T, device);
}

Status weight_gradient4(const WeightGradient4Args& a, const Launch& launch) {
  const GemmOperands g = {a.et, a.etScales, a.xt, a.xtScales, nullptr, a.N, a.K, a.T};
  const Gradient4Epilogue::Args e = {a.codes, a.scales, a.seed, launch.failure, launch.entry};
  if (a.K % 64 != 0) return failed(cudaErrorInvalidValue, "weight_gradient4: columns that are no multiple of 64");
  const uint64_t count = (uint64_t)a.N * a.K;
  if (a.codeBytes > count / 2) {
    POGO_TRY(cudaMemsetAsync(a.codes + count / 2, 0, a.codeBytes - count / 2, launch.stream), "weight_gradient4");
  }
  if (a.scaleCount > count / 64) {
    POGO_TRY(cudaMemsetAsync(a.scales + count / 64, 0, 2 * (a.scaleCount - count / 64), launch.stream), "weight_gradient4");
  }
  const bool fills = fills_device(g.M, g.N, *launch.device);
  if (runs_on_wgmma(g, *launch.device)) {
    return fills ? launch_deep<Gradient4Epilogue, 2>(g, e, launch, "weight_gradient4")
                 : launch_deep<Gradient4Epilogue, 1>(g, e, launch, "weight_gradient4");
  }
  if (!fills) return launch_gemm<MmaLoop<SmallTile, true>, Gradient4Epilogue>(g, e, 0, launch, "weight_gradient4");
  return launch_gemm<MmaLoop<LargeTile, true>, Gradient4Epilogue>(g, e, 0, launch, "weight_gradient4");
}

}  // namespace pogo
