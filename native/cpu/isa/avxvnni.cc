// Kernels for AVX2 with AVX-VNNI: products of bytes where AVX-512 is missing.
#define POGO_AVXVNNI 1
#include "simd_avx2.h"

#include "../kernels/table.inc"

extern const PogoKernels pogo_kernels_avxvnni = POGO_KERNEL_TABLE("avxvnni");
