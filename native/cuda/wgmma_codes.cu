// Products on wgmma, for sm_90a alone: those that end in 8-bit codes, and the head.
#include "epilogue_codes.h"
#include "epilogue_head.h"
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
POGO_WGMMA(CodesEpilogue<CodesForm::PLAIN>, true)
POGO_WGMMA(CodesEpilogue<CodesForm::PLAIN>, false)
POGO_WGMMA(CodesEpilogue<CodesForm::GELU>, true)
POGO_WGMMA(CodesEpilogue<CodesForm::GELU>, false)
POGO_WGMMA(CodesEpilogue<CodesForm::GELU_GRADIENT>, true)
POGO_WGMMA(CodesEpilogue<CodesForm::GELU_GRADIENT>, false)
POGO_WGMMA(HeadEpilogue, true)
POGO_WGMMA(HeadEpilogue, false)
#undef POGO_WGMMA

}  // namespace pogo
