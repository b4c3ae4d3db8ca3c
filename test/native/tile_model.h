// A model of AMX-TILE and AMX-INT8 in plain C++, with the functions of native/cpu/isa/tiles.h: scripts/tile-model.mjs
// puts it in that file's place in a copy of the sources, for tests on machines without AMX. It is never shipped.
//
// Written from the processor manual's pseudocode (LDTILECFG, TILELOADD, TILESTORED, TILEZERO, TDPBSSD, TDPBUSD,
// TILERELEASE). What would be a fault of the processor ends the process with a message. Beyond the processor it also
// refuses a configuration while another is in force: an operation that does not release its tiles is found by the next.
#ifndef POGO_CPU_TILES_H
#define POGO_CPU_TILES_H

#include <stdio.h>
#include <stdlib.h>

#include "../../exact/arith.h"

/** The 64 bytes of LDTILECFG's operand, read as bytes below. */
struct alignas(64) TileConfig {
  uint8_t palette, start_row, reserved[14];
  uint16_t row_bytes[16];
  uint8_t rows[16];
};

namespace {

struct ModelTiles {
  bool configured = false;
  int rows[8], row_bytes[8];
  uint8_t data[8][16][64];
};

thread_local ModelTiles unit;

[[noreturn]] void fault(const char* what) {
  fprintf(stderr, "tile model: %s\n", what);
  abort();
}

void configured(int t) {
  if (!unit.configured) fault("#UD: a tile instruction without a configuration");
  if (unit.rows[t] == 0 || unit.row_bytes[t] == 0) fault("#UD: a tile that the configuration does not have");
}

}  // namespace

static inline void tile_configure(const TileConfig* config) {
  const uint8_t* c = (const uint8_t*)config;
  if (unit.configured) fault("a configuration while tiles are in use: an operation before did not release them");
  if (c[0] != 1) fault("#GP: palette");
  if (c[1] != 0) fault("start_row other than 0 only comes from an interrupted load");
  for (int i = 2; i < 16; i++) {
    if (c[i] != 0) fault("#GP: reserved bytes 2 to 15");
  }
  for (int i = 32; i < 48; i++) {
    if (c[i] != 0) fault("#GP: row bytes of tiles beyond 7");
  }
  for (int i = 56; i < 64; i++) {
    if (c[i] != 0) fault("#GP: rows of tiles beyond 7");
  }
  for (int t = 0; t < 8; t++) {
    int row_bytes = c[16 + 2 * t] | c[17 + 2 * t] << 8, rows = c[48 + t];
    if (row_bytes > 64) fault("#GP: more than 64 bytes a row");
    if (rows > 16) fault("#GP: more than 16 rows");
    if ((row_bytes == 0) != (rows == 0)) fault("#GP: rows without bytes or bytes without rows");
    unit.row_bytes[t] = row_bytes;
    unit.rows[t] = rows;
  }
  memset(unit.data, 0, sizeof unit.data);
  unit.configured = true;
}

static inline void tile_release() {
  unit.configured = false;
  memset(unit.data, 0xA5, sizeof unit.data);
}

template <int t>
static inline void tile_zero() {
  static_assert(t >= 0 && t < 8, "tmm0 to tmm7");
  configured(t);
  memset(unit.data[t], 0, sizeof unit.data[t]);
}

template <int t>
static inline void tile_load(const void* p, int64_t stride) {
  static_assert(t >= 0 && t < 8, "tmm0 to tmm7");
  configured(t);
  memset(unit.data[t], 0, sizeof unit.data[t]);
  for (int r = 0; r < unit.rows[t]; r++) {
    memcpy(unit.data[t][r], (const uint8_t*)p + r * stride, (size_t)unit.row_bytes[t]);
  }
}

template <int t>
static inline void tile_store(void* p, int64_t stride) {
  static_assert(t >= 0 && t < 8, "tmm0 to tmm7");
  configured(t);
  for (int r = 0; r < unit.rows[t]; r++) {
    memcpy((uint8_t*)p + r * stride, unit.data[t][r], (size_t)unit.row_bytes[t]);
  }
}

namespace {

/**
 * TDPB.. tmm c, tmm a, tmm b: `is_signed` is that of a's bytes; b's are signed. It touches nothing but the tile unit,
 * so the sanitizers may leave its loops alone.
 */
__attribute__((no_sanitize("address", "undefined"))) void tile_dot(int c, int a, int b, bool is_signed) {
  configured(c);
  configured(a);
  configured(b);
  if (c == a || c == b || a == b) fault("#UD: the three tiles must differ");
  if (unit.row_bytes[c] % 4 != 0 || unit.row_bytes[a] % 4 != 0 || unit.row_bytes[b] % 4 != 0) {
    fault("#UD: bytes of a row are no multiple of 4");
  }
  if (unit.rows[c] != unit.rows[a]) fault("#UD: rows of the sums and of a");
  if (unit.row_bytes[c] != unit.row_bytes[b]) fault("#UD: columns of the sums and of b");
  if (unit.row_bytes[a] / 4 != unit.rows[b]) fault("#UD: fours of a's rows and rows of b");
  for (int m = 0; m < unit.rows[c]; m++) {
    for (int n = 0; n < unit.row_bytes[c] / 4; n++) {
      uint32_t sum;
      memcpy(&sum, &unit.data[c][m][4 * n], 4);
      for (int k = 0; k < unit.row_bytes[a]; k++) {
        uint8_t byte = unit.data[a][m][k];
        int32_t left = is_signed ? (int32_t)(int8_t)byte : (int32_t)byte;
        int32_t right = (int8_t)unit.data[b][k / 4][4 * n + k % 4];
        sum += (uint32_t)(left * right);
      }
      memcpy(&unit.data[c][m][4 * n], &sum, 4);
    }
  }
  // The rest of a row and the rows below are zero already: loads and TILEZERO left them so.
}

}  // namespace

template <int c, int a, int b>
static inline void tile_dot_signed() {
  tile_dot(c, a, b, true);
}

template <int c, int a, int b>
static inline void tile_dot_unsigned() {
  tile_dot(c, a, b, false);
}

#endif
