// Products on wgmma as a persistent grid, for sm_90a alone: those with long contractions.
#include "epilogue_gradient4.h"
#include "epilogue_plain.h"
#include "pingpong_loop.h"

namespace pogo {

template <class Epilogue>
Status launch_pingpong(const GemmOperands& g, const typename Epilogue::Args& e, const Launch& launch, const char* name) {
  return launch_pingpong_loop<Epilogue>(g, e, launch, name);
}

#define POGO_PINGPONG(Epilogue) \
  template Status launch_pingpong<Epilogue>(const GemmOperands&, const Epilogue::Args&, const Launch&, const char*);
POGO_PINGPONG(PlainEpilogue)
POGO_PINGPONG(Gradient4Epilogue)
POGO_PINGPONG(Bf16Epilogue<Bf16Form::PLAIN>)
POGO_PINGPONG(Bf16Epilogue<Bf16Form::RESIDUAL>)
POGO_PINGPONG(Bf16Epilogue<Bf16Form::ONE_HOT>)
#undef POGO_PINGPONG

}  // namespace pogo
