// What the machine says about itself, and which features follow from it.
#ifndef POGO_CPU_MACHINE_H
#define POGO_CPU_MACHINE_H

#include "features.h"

/**
 * The registers that the choice of kernels rests on, as the processor gives them. Everything that follows is a pure
 * function of these words, so that tests can evaluate any machine. X(field)
 */
#define POGO_FACTS(X)                                                                                         \
  X(lastLeaf) /* CPUID 0: eax */                                                                              \
  X(leaf1Ecx)                                                                                                 \
  X(leaf7Ebx) /* CPUID 7, sub-leaf 0 */                                                                       \
  X(leaf7Ecx)                                                                                                 \
  X(leaf7Edx)                                                                                                 \
  X(leaf7Eax1)        /* CPUID 7, sub-leaf 1 */                                                               \
  X(leaf1DEbx)        /* CPUID 1D, sub-leaf 1: tile palette 1: bytes of a row, number of tiles */             \
  X(leaf1DEcx)        /* rows of a tile */                                                                    \
  X(lastExtendedLeaf) /* CPUID 80000000: eax */                                                               \
  X(extendedEcx)      /* CPUID 80000001: ecx */                                                               \
  X(enabledStates)    /* XCR0, low word: register state that the operating system saves; 0 without OSXSAVE */ \
  X(tileRefusal)      /* 0, or the errno with which the kernel refused this process the tile state */         \
  X(arm)              /* POGO_HAS_NEON, POGO_HAS_DOTPROD */

struct PogoFacts {
#define POGO_FACT(name) uint32_t name = 0;
  POGO_FACTS(POGO_FACT)
#undef POGO_FACT
};

/**
 * This machine's facts. Where processor and operating system offer AMX it asks the kernel, once a process, for the
 * permission to use the tile state.
 */
const PogoFacts& pogo_machine();

/** Whether this thread has AMX tiles in use (XINUSE): between operations it must not. False where nobody can tell. */
bool pogo_tiles_in_use();

/** What the processor alone reports: the instructions exist, whether or not the operating system saves their state. */
uint32_t pogo_processor_features(const PogoFacts& facts);

/** What may be used: the processor has it, and the operating system saves its registers. */
uint32_t pogo_features(const PogoFacts& facts);

#endif
