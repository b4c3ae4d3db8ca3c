// Which kernels run: the only interface to the choice of an instruction set.
#ifndef POGO_CPU_DISPATCH_H
#define POGO_CPU_DISPATCH_H

#include <string>
#include <vector>

#include "kernel_table.h"
#include "machine.h"

/** An instruction set that this version knows. `kernels` is null where the build has no code for it. */
struct PogoIsa {
  const char* name;
  const PogoKernels* kernels;
  bool machine;        // processor and operating system offer all that its code may use
  std::string reason;  // empty where it can be used, else what is missing
};

/** All instruction sets, best first, for a machine of these facts. A pure function of the facts and the build. */
std::vector<PogoIsa> pogo_isas_for(const PogoFacts& facts);

/** The entry of the best set that has kernels and runs, or null. */
const PogoIsa* pogo_best_of(const std::vector<PogoIsa>& isas);

/** All instruction sets on this machine. */
const std::vector<PogoIsa>& pogo_isas();

/** The entry called `name` on this machine, or null. */
const PogoIsa* pogo_isa(const std::string& name);

/** Names of features that matter for the choice. */
std::vector<std::string> pogo_feature_names(uint32_t features);

#endif
