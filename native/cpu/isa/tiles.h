// The instructions of AMX-TILE and AMX-INT8, one function each.
//
// Inline assembly and not the compiler's intrinsics: those of GCC 12 do not tell the compiler that a tile load reads
// memory beyond its address, nor that LDTILECFG reads more than its first 8 bytes, so that stores before them may be
// dropped or moved behind them. Every function here that touches memory is a barrier for the compiler.
//
// All tiles and their configuration are volatile across calls by the System V ABI: nothing that may use tiles is called
// between a configuration and the last use. test/native/tile_model.h has the same functions in plain C++.
#ifndef POGO_CPU_TILES_H
#define POGO_CPU_TILES_H

#include "../../exact/arith.h"

/** The operand of LDTILECFG (palette 1): shapes of the eight tiles. */
struct alignas(64) TileConfig {
  uint8_t palette, start_row, reserved[14];
  uint16_t row_bytes[16];  // of tiles 0 to 7; the others must be 0
  uint8_t rows[16];
};
static_assert(sizeof(TileConfig) == 64, "the layout is the processor's");

/** Sets the shapes and zeroes all tiles. */
POGO_HD void tile_configure(const TileConfig* config) { __asm__ volatile("ldtilecfg %0" : : "m"(*config) : "memory"); }

/** Back to the initial state: the kernel saves no tiles of this thread any more. */
POGO_HD void tile_release() { __asm__ volatile("tilerelease" : : : "memory"); }

template <int t>
POGO_HD void tile_zero() {
  __asm__ volatile("tilezero %%tmm%c0" : : "i"(t));
}

/** The rows of tile t from memory, `stride` bytes apart; any alignment. */
template <int t>
POGO_HD void tile_load(const void* p, int64_t stride) {
  __asm__ volatile("tileloadd (%1,%2,1), %%tmm%c0" : : "i"(t), "r"(p), "r"(stride) : "memory");
}

template <int t>
POGO_HD void tile_store(void* p, int64_t stride) {
  __asm__ volatile("tilestored %%tmm%c0, (%1,%2,1)" : : "i"(t), "r"(p), "r"(stride) : "memory");
}

/** c[m][n] += sum over k of a[m][k] * b[k / 4][4 n + k % 4], signed bytes, int32 modulo 2^32. */
template <int c, int a, int b>
POGO_HD void tile_dot_signed() {
  __asm__ volatile("tdpbssd %%tmm%c2, %%tmm%c1, %%tmm%c0" : : "i"(c), "i"(a), "i"(b));
}

/** The same with unsigned a and signed b. */
template <int c, int a, int b>
POGO_HD void tile_dot_unsigned() {
  __asm__ volatile("tdpbusd %%tmm%c2, %%tmm%c1, %%tmm%c0" : : "i"(c), "i"(a), "i"(b));
}

#endif
