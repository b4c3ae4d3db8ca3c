// Primitives that an instruction set may leave to this file: exact by definition, in terms of those it must have. A set
// that has its own says so by the macro named here. Included by kernels/table.inc after the set's primitives.
#ifndef POGO_CPU_SIMD_GENERIC_H
#define POGO_CPU_SIMD_GENERIC_H

#ifndef POGO_OWN_HMAXES
/** Lane j: the largest lane of v[j], for W vectors of values below 2^31. */
POGO_HD I hmaxes(const I* v) {
  alignas(64) uint32_t tops[W];
  for (int j = 0; j < W; j++) tops[j] = hmax(v[j]);
  return ldi(tops);
}
#endif

#ifndef POGO_OWN_STNIBBLES
/** 64 words whose low nibbles are codes, to 32 bytes. */
POGO_HD void stnibbles(uint8_t* out, const I* c) {
  alignas(64) int8_t codes[64];
  for (int i = 0; i < 16 / W; i++) stcodes(codes + 4 * W * i, c + 4 * i);
  pack_nibbles(codes, out);
}
#endif

#endif
