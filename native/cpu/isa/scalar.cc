// Kernels for any machine: the exact definitions, one lane. What the other instruction sets are compared with.
#include "simd_scalar.h"

#include "../kernels/table.inc"

extern const PogoKernels pogo_kernels_scalar = POGO_KERNEL_TABLE("scalar");
