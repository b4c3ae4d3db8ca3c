// Products on wgmma, for sm_90a alone: those that end in f32, bf16 or 4-bit codes.
#include "epilogue_gradient4.h"
#include "epilogue_plain.h"
#include "wgmma_loop.h"

namespace pogo {

template <class Epilogue, bool DEEP>
Status launch_wgmma(const GemmOperands& g, const typename Epilogue::Args& e, unsigned cluster, const Launch& launch,
                    const char* name) {
  return launch_gemm<WgmmaLoop<DEEP>, Epilogue>(g, e, cluster, launch, name);
}

#define POGO_WGMMA(Epilogue, DEEP)                                                                                \
  template Status launch_wgmma<Epilogue, DEEP>(const GemmOperands&, const Epilogue::Args&, unsigned, const Launch&, \
                                               const char*);
POGO_WGMMA(PlainEpilogue, true)
POGO_WGMMA(Gradient4Epilogue, true)
POGO_WGMMA(Bf16Epilogue<Bf16Form::PLAIN>, true)
POGO_WGMMA(Bf16Epilogue<Bf16Form::RESIDUAL>, true)
POGO_WGMMA(Bf16Epilogue<Bf16Form::RESIDUAL>, false)
POGO_WGMMA(Bf16Epilogue<Bf16Form::ONE_HOT>, true)
#undef POGO_WGMMA

}  // namespace pogo
