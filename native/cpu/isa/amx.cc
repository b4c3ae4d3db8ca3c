// Kernels for AMX (TILE, INT8) beside AVX-512 with VNNI.
#include "simd_amx.h"

#include "../kernels/table.inc"

extern const PogoKernels pogo_kernels_amx = POGO_KERNEL_TABLE("amx");
