// Kernels for AVX2.
#include "simd_avx2.h"

#include "../kernels/table.inc"

extern const PogoKernels pogo_kernels_avx2 = POGO_KERNEL_TABLE("avx2");
