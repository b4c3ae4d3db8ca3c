// Which kernels run: the only interface to the choice of an instruction set.
#ifndef POGO_CPU_DISPATCH_H
#define POGO_CPU_DISPATCH_H

#include <string>
#include <vector>

#include "kernel_table.h"

/** An instruction set that this build knows. `kernels` is null where the build has no code for it (yet). */
struct PogoIsa {
  const char* name;
  const PogoKernels* kernels;
  bool machine;  // the CPU and the operating system support it
};

/** All instruction sets, best first. */
const std::vector<PogoIsa>& pogo_isas();

/** The entry called `name`, or null. */
const PogoIsa* pogo_isa(const std::string& name);

/** Best instruction set that has kernels and runs here. Never null: scalar always runs. */
const PogoIsa* pogo_best_isa();

/** Names of CPU features that matter for the choice, as this machine and its operating system offer them. */
std::vector<std::string> pogo_cpu_features();

#endif
