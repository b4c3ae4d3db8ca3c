// Products on wgmma, for sm_90a alone: those that end in 8-bit codes, and the head.
#include "warp_codes.h"
#include "wgmma_loop.h"

namespace pogo {

/** Which epilogue of single warps does an epilogue's work. */
template <class Epilogue>
struct SingleWarps;
template <CodesForm FORM>
struct SingleWarps<CodesEpilogue<FORM>> {
  using Type = WarpCodes<FORM>;
};
template <>
struct SingleWarps<HeadEpilogue> {
  using Type = WarpHead;
};

template <class Epilogue, bool DEEP, int WARPGROUPS>
Status launch_wgmma(const GemmOperands& g, const typename Epilogue::Args& e, unsigned cluster, const Launch& launch,
                    const char* name) {
  return launch_wgmma_loop<WgmmaLoop<DEEP, WARPGROUPS>, typename SingleWarps<Epilogue>::Type>(g, e, cluster, launch, name);
}

#define POGO_WGMMA(Epilogue, DEEP, WARPGROUPS)                                             \
  template Status launch_wgmma<Epilogue, DEEP, WARPGROUPS>(const GemmOperands&, const Epilogue::Args&, unsigned, \
                                                           const Launch&, const char*);
POGO_WGMMA(CodesEpilogue<CodesForm::PLAIN>, true, 2)
POGO_WGMMA(CodesEpilogue<CodesForm::PLAIN>, false, 2)
POGO_WGMMA(CodesEpilogue<CodesForm::GELU>, true, 2)
POGO_WGMMA(CodesEpilogue<CodesForm::GELU>, false, 2)
POGO_WGMMA(CodesEpilogue<CodesForm::GELU_GRADIENT>, true, 2)
POGO_WGMMA(CodesEpilogue<CodesForm::GELU_GRADIENT>, false, 2)
POGO_WGMMA(HeadEpilogue, true, 2)
POGO_WGMMA(HeadEpilogue, false, 2)
#undef POGO_WGMMA

}  // namespace pogo
