// Kernels for AVX-512 with VNNI.
#include "simd_avx512.h"

#include "../kernels/table.inc"

extern const PogoKernels pogo_kernels_avx512 = POGO_KERNEL_TABLE("avx512");
