// Products on wgmma, for sm_90a alone: those that end in f32, bf16 or 4-bit codes.
#include "epilogue_gradient4.h"
#include "epilogue_plain.h"
#include "wgmma_loop.h"

namespace pogo {

template <class Epilogue, bool DEEP, int WARPGROUPS>
Status launch_wgmma(const GemmOperands& g, const typename Epilogue::Args& e, unsigned cluster, const Launch& launch,
                    const char* name) {
  return launch_wgmma_loop<WgmmaLoop<DEEP, WARPGROUPS>, Epilogue>(g, e, cluster, launch, name);
}

#define POGO_WGMMA(Epilogue, DEEP, WARPGROUPS)                                             \
  template Status launch_wgmma<Epilogue, DEEP, WARPGROUPS>(const GemmOperands&, const Epilogue::Args&, unsigned, \
                                                           const Launch&, const char*);
POGO_WGMMA(PlainEpilogue, true, 2)
POGO_WGMMA(PlainEpilogue, true, 1)
POGO_WGMMA(Gradient4Epilogue, true, 2)
POGO_WGMMA(Gradient4Epilogue, true, 1)
POGO_WGMMA(Bf16Epilogue<Bf16Form::PLAIN>, true, 2)
POGO_WGMMA(Bf16Epilogue<Bf16Form::RESIDUAL>, true, 2)
POGO_WGMMA(Bf16Epilogue<Bf16Form::RESIDUAL>, false, 2)
POGO_WGMMA(Bf16Epilogue<Bf16Form::ONE_HOT>, true, 2)
#undef POGO_WGMMA

}  // namespace pogo
