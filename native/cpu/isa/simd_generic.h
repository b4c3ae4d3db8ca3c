// Primitives that an instruction set may leave to this file: exact by definition, in terms of those it must have. A set
// that has its own says so by the macro named here. Included by kernels/table.inc after the set's primitives.
#ifndef POGO_CPU_SIMD_GENERIC_H
#define POGO_CPU_SIMD_GENERIC_H

#include "bits.h"

#ifndef POGO_OWN_HMAXES
/** Lane j: the largest lane of v[j], for W vectors of unsigned values. */
POGO_HD I hmaxes(const I* v) {
  alignas(64) uint32_t tops[W];
  for (int j = 0; j < W; j++) tops[j] = hmax(v[j]);
  return ldi(tops);
}
#endif

#ifndef POGO_OWN_TREE
/** T64 of 64 values that come as 64 / W vectors, j = 0, 1, …: a set with its own keeps its sums in registers. */
struct Tree64 {
  alignas(64) float x[64];
};
POGO_HD void tree_take(Tree64& t, int j, F v) { st(t.x + j * W, v); }
POGO_HD float tree_sum(const Tree64& t) { return t64(t.x); }
#endif

#ifndef POGO_OWN_SETTLED
/** 64 codes that were just stored are to be loaded again, part by part, where that costs less than to take a register apart. */
POGO_HD void settled(int8_t*) {}
#endif

#ifndef POGO_OWN_PREFETCH_ONCE
/** Asks for a line that is not needed again soon. */
POGO_HD void prefetch_once(uintptr_t p) { prefetch(p); }
#endif

#ifndef POGO_OWN_STNIBBLES
/** A word with the 4-bit code of y: what else it holds is the set's own. Of a y that is not finite, or beyond 8, it is anything. */
POGO_HD I nibble_word(F y) { return pogo_nearest_bits(y); }
/** 64 such words to 32 bytes; PAST: past the caches where the set can, to an address that is a multiple of 32. */
template <bool PAST = false>
POGO_HD void stnibbles(uint8_t* out, const I* c) {
  alignas(64) int8_t codes[64];
  for (int i = 0; i < 16 / W; i++) stcodes(codes + 4 * W * i, c + 4 * i);
  pack_nibbles(codes, out);
}
#endif

#ifndef POGO_OWN_STPAST
/** A store past the caches where the set can, to an address that is a multiple of 16. */
POGO_HD void stpast(float* p, F a) { st(p, a); }
/** The same to an address that is a multiple of a vector's bytes. */
POGO_HD void stpast_whole(float* p, F a) { st(p, a); }
/** Once after the last: what other threads see then is complete. */
POGO_HD void stpast_end() {}
#endif

#ifndef POGO_OWN_NIBBLES
/**
 * Differences newer - older of n packed bytes, n a multiple of 64: bit i of `bitmap` for nibble i that differs, the
 * non-zero differences in order, one per byte, to `values`. Returns their number; up to 64 bytes behind the last value
 * may be written. `result`: memory that the caller writes next, n bytes at most, which may be asked for meanwhile.
 */
POGO_HD int64_t gather_nibbles(const uint8_t* older, const uint8_t* newer, int64_t n, uint8_t* bitmap, uint8_t* values,
                               const uint8_t* /* result */) {
  int64_t count = 0;
  for (int64_t i = 0; i < n; i += 4) {
    uint8_t bits = 0;
    for (int j = 0; j < 4; j++) {
      uint8_t d = pogo_nibbles_sub(newer[i + j], older[i + j]), low = d & 15, high = d >> 4;
      // Written always and kept only if it is not zero: no branch that nobody can predict.
      values[count] = low;
      count += low != 0;
      values[count] = high;
      count += high != 0;
      bits = (uint8_t)(bits | (low != 0) << (2 * j) | (high != 0) << (2 * j + 1));
    }
    bitmap[i / 4] = bits;
  }
  return count;
}

/**
 * newer = older + the differences that `bitmap` places, n packed bytes, n a multiple of 64. Returns how many values
 * were used; up to 64 bytes behind the last one may be read. `past`: newer, which begins a line, may be written past the
 * caches; whoever asks for that calls stpast_end at the end.
 */
POGO_HD int64_t scatter_nibbles(const uint8_t* older, const uint8_t* bitmap, const uint8_t* values, int64_t n,
                                uint8_t* newer, bool /* past */) {
  int64_t used = 0;
  for (int64_t i = 0; i < n; i++) {
    int low = bitmap[i / 4] >> (i % 4 * 2) & 1, high = bitmap[i / 4] >> (i % 4 * 2 + 1) & 1;
    uint8_t d = (uint8_t)((values[used] & -low) | (values[used + low] << 4 & -(high << 4)));
    used += low + high;
    newer[i] = pogo_nibbles_add(older[i], d);
  }
  return used;
}
#endif

#ifndef POGO_OWN_SPLIT
/** Nibbles of n packed bytes, a multiple of 32, one per byte; false if one is zero. */
POGO_HD bool split_values(const uint8_t* packed, int64_t n, uint8_t* values) {
  uint8_t zeros = 0;
  for (int64_t i = 0; i < n; i++) {
    values[2 * i] = packed[i] & 15;
    values[2 * i + 1] = packed[i] >> 4;
    zeros |= (values[2 * i] == 0) | (values[2 * i + 1] == 0);
  }
  return zeros == 0;
}
#endif

#ifndef POGO_OWN_COUNT
/** Ones of n bytes, n a multiple of 64. */
POGO_HD int64_t count_ones(const uint8_t* p, int64_t n) {
  int64_t count[4] = {0, 0, 0, 0};
  for (int64_t i = 0; i < n; i += 32) {
    uint64_t words[4];
    memcpy(words, p + i, 32);
    for (int j = 0; j < 4; j++) count[j] += ones(words[j]);
  }
  return count[0] + count[1] + count[2] + count[3];
}
#endif

#if !defined(POGO_OWN_T64S)
/** Lane r: T64 of row r of W rows of 64, `ld` apart. */
POGO_HD F t64s(const float* x, int64_t ld_x) {
  alignas(64) float sums[W];
  for (int r = 0; r < W; r++) sums[r] = t64(x + r * ld_x);
  return ld(sums);
}
#endif

#endif
