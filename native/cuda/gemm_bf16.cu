// The products that end in bf16: linearResidual, linearInputGradient, headInputGradient.
#include "epilogue_plain.h"
#include "pingpong_loop.h"

namespace pogo {
namespace {

template <Bf16Form FORM>
Status product(const GemmOperands& g, const typename Bf16Epilogue<FORM>::Args& e, const Launch& launch, const char* name) {
  using Epilogue = Bf16Epilogue<FORM>;
  if constexpr (FORM == Bf16Form::RESIDUAL) {
    if (is_shallow(g.K)) {
      if (runs_on_wgmma(g, *launch.device)) return launch_wgmma<Epilogue, false, 2>(g, e, 0, launch, name);
      return launch_gemm<MmaLoop<LargeTile, false>, Epilogue>(g, e, 0, launch, name);
    }
  }
  if (runs_on_wgmma(g, *launch.device)) return launch_deep<Epilogue, 2>(g, e, launch, name);
  return launch_gemm<MmaLoop<LargeTile, true>, Epilogue>(g, e, 0, launch, name);
}

}  // namespace

Status linear_residual(const LinearResidualArgs& a, const Launch& launch) {
  Bf16Epilogue<Bf16Form::RESIDUAL>::Args e = {};
  e.y = a.y;
  e.x = a.x;
  e.bias = a.bias;
  return product<Bf16Form::RESIDUAL>({a.a, a.aScales, a.w, a.wScales, nullptr, a.T, a.N, a.K}, e, launch,
                                     "linear_residual");
}

Status linear_input_gradient(const LinearInputGradientArgs& a, const Launch& launch) {
  Bf16Epilogue<Bf16Form::PLAIN>::Args e = {};
  e.y = a.dx;
  return product<Bf16Form::PLAIN>({a.e, a.eScales, a.wt, a.wtScales, nullptr, a.T, a.K, a.N}, e, launch,
                                  "linear_input_gradient");
}

Status linear_rows(const LinearRowsArgs& a, const Launch& launch) {
  Bf16Epilogue<Bf16Form::PLAIN>::Args e = {};
  e.y = a.y;
  return product<Bf16Form::PLAIN>({a.a, a.aScales, a.w, a.wScales, nullptr, a.T, a.N, a.K}, e, launch, "linear_rows");
}

Status head_input_gradient(const HeadInputGradientArgs& a, const Launch& launch) {
  Bf16Epilogue<Bf16Form::ONE_HOT>::Args e = {};
  e.y = a.dx;
  e.w = a.w;
  e.w_scales = a.wScales;
  e.targets = a.targets;
  e.w_rows = a.V;
  e.inverse_tokens = pogo_inverse_count(a.U);
  return product<Bf16Form::ONE_HOT>({a.e, a.eScales, a.wt, a.wtScales, nullptr, a.T, a.C, a.V}, e, launch,
                                    "head_input_gradient");
}

}  // namespace pogo
