// Kernels for Advanced SIMD with the dot product extension (SDOT): neon with another GEMM.
#define POGO_DOTPROD 1
#include "simd_neon.h"

#include "../kernels/table.inc"

extern const PogoKernels pogo_kernels_dotprod = POGO_KERNEL_TABLE("dotprod");
