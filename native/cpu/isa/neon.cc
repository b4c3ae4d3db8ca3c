// Kernels for Advanced SIMD without the dot product extension.
#include "simd_neon.h"

#include "../kernels/table.inc"

extern const PogoKernels pogo_kernels_neon = POGO_KERNEL_TABLE("neon");
