// Rows of bf16 or f32 values in the registers of one warp, a panel of 1024 at a time: sums in the one order
// (docs/numerics.md 1.11), absmax and 8-bit codes.
//
// Lane l holds elements 8 l … 8 l + 7 of each chunk of 256, so that memory is read and written in whole 128-byte lines
// and a block of 64 lies in 8 neighbouring lanes.
#ifndef POGO_CUDA_ROW_PANELS_H
#define POGO_CUDA_ROW_PANELS_H

#include "../exact/quantize.h"
#include "ops.h"
#include "ptx.h"
#include "row_index.h"

namespace pogo {

static constexpr uint32_t ALL_LANES = 0xFFFFFFFFu;
/** The two bf16 values of a word, the lower half first. */
POGO_HD float low_bf16(uint32_t word) { return pogo_of_bits(word << 16); }
POGO_HD float high_bf16(uint32_t word) { return pogo_of_bits(word & 0xFFFF0000u); }

static __device__ __forceinline__ void of8_bf16(const uint4& w, float v[8]) {
  v[0] = low_bf16(w.x);
  v[1] = high_bf16(w.x);
  v[2] = low_bf16(w.y);
  v[3] = high_bf16(w.y);
  v[4] = low_bf16(w.z);
  v[5] = high_bf16(w.z);
  v[6] = low_bf16(w.w);
  v[7] = high_bf16(w.w);
}

static __device__ __forceinline__ void load8_bf16(const uint16_t* place, float v[8]) {
  of8_bf16(*reinterpret_cast<const uint4*>(place), v);
}

static __device__ __forceinline__ void store8_bf16(uint16_t* place, const float v[8]) {
  *reinterpret_cast<uint4*>(place) =
      make_uint4(pair_bf16(v[0], v[1]), pair_bf16(v[2], v[3]), pair_bf16(v[4], v[5]), pair_bf16(v[6], v[7]));
}

static __device__ __forceinline__ void load8_f32(const float* place, float v[8]) {
  float4 a = reinterpret_cast<const float4*>(place)[0], b = reinterpret_cast<const float4*>(place)[1];
  v[0] = a.x;
  v[1] = a.y;
  v[2] = a.z;
  v[3] = a.w;
  v[4] = b.x;
  v[5] = b.y;
  v[6] = b.z;
  v[7] = b.w;
}

/** The low bytes of four words as one word. */
static __device__ __forceinline__ uint32_t low_bytes(uint32_t a, uint32_t b, uint32_t c, uint32_t d) {
  return __byte_perm(__byte_perm(a, b, 0x0040), __byte_perm(c, d, 0x0040), 0x5410);
}

/** Part of a row that lies in a warp: whole 64-blocks of the panel that begins at column `first` of a row of n. */
struct Panel {
  uint32_t first, n, lane;

  /** A chunk with at least one element: the same for all lanes. */
  __device__ bool has(uint32_t k) const { return first + k * CHUNK < n; }
  /** This lane's column in chunk k. */
  __device__ uint32_t column(uint32_t k) const { return first + panel_place(lane, k, 0); }
  /** Whether this lane has elements in chunk k: n is a multiple of 64, so all 8 or none. */
  __device__ bool owns(uint32_t k) const { return column(k) < n; }
};

/** v = the panel of a bf16 row, +0 behind its end. */
static __device__ __forceinline__ void load_panel(const uint16_t* row, const Panel& p, float v[CHUNKS][8]) {
  POGO_UNROLL
  for (uint32_t k = 0; k < CHUNKS; k += 1) {
    if (p.owns(k)) {
      load8_bf16(row + p.column(k), v[k]);
    } else {
      POGO_UNROLL
      for (int e = 0; e < 8; e += 1) v[k][e] = 0.0f;
    }
  }
}

/**
 * T64 of each 64-block of a chunk, in all 8 lanes that hold it. Pair i of a block is pair i % 4 of lane i / 4, so the
 * tree's levels 16, 8, 4 go between lanes 4, 2, 1 apart and 2, 1 inside a lane. Where two sums are due, each half of
 * the lanes makes one: 6 exchanges instead of 12. IEEE sums commute, so the bits do not depend on who adds.
 */
static __device__ __forceinline__ float t64_of_lanes(const float x[8], uint32_t lane) {
  float y0 = pogo_add(x[0], x[1]), y1 = pogo_add(x[2], x[3]), y2 = pogo_add(x[4], x[5]), y3 = pogo_add(x[6], x[7]);
  const bool upper = (lane & 4u) != 0, second = (lane & 2u) != 0;
  float a = upper ? y2 : y0, b = upper ? y3 : y1;
  a = pogo_add(a, __shfl_xor_sync(ALL_LANES, upper ? y0 : y2, 4));
  b = pogo_add(b, __shfl_xor_sync(ALL_LANES, upper ? y1 : y3, 4));
  float v = pogo_add(second ? b : a, __shfl_xor_sync(ALL_LANES, second ? a : b, 2));
  v = pogo_add(v, __shfl_xor_sync(ALL_LANES, v, 1));
  // This lane has the entry 2 * upper + second of the last four.
  v = pogo_add(v, __shfl_xor_sync(ALL_LANES, v, 4));
  return pogo_add(v, __shfl_xor_sync(ALL_LANES, v, 2));
}

/** A row's sum: 64-blocks ascending from the first. */
struct RowSum {
  float total = 0.0f;
  bool started = false;

  /** Chunk k of panel p. All lanes. */
  __device__ void add(const float x[8], const Panel& p, uint32_t k) {
    const float block = t64_of_lanes(x, p.lane);
    POGO_UNROLL
    for (uint32_t b = 0; b < CHUNK / 64; b += 1) {
      if (p.first + k * CHUNK + b * 64 >= p.n) break;
      const float sum = __shfl_sync(ALL_LANES, block, (int)(8 * b));
      total = started ? pogo_add(total, sum) : sum;
      started = true;
    }
  }
};

/** absmax bits over what the lanes hold of one panel, or of its first COUNT chunks. All lanes. */
template <uint32_t COUNT>
static __device__ __forceinline__ uint32_t panel_absmax(const float (&v)[COUNT][8]) {
  uint32_t top = 0;
  POGO_UNROLL
  for (uint32_t k = 0; k < COUNT; k += 1) {
    POGO_UNROLL
    for (int e = 0; e < 8; e += 1) top = pogo_imax(top, pogo_abs_bits(v[k][e]));
  }
  return __reduce_max_sync(ALL_LANES, top);
}

/** Where a warp's codes go, and whom to tell of an Inf or NaN. */
struct CodeRow {
  int8_t* codes;  // the row's
  float* scale;   // of the panel
  unsigned long long* failure;
  uint32_t entry;
  unsigned long long index;
};

/**
 * Q8 of one panel (2.1): v must be +0 behind the row's end. `words` null: nearest; else the dither words of the panel's
 * columns in the order of `dither_place`, with the row's word.
 */
template <bool DITHER, uint32_t COUNT>
static __device__ __forceinline__ void quantize_panel(const float (&v)[COUNT][8], const Panel& p, const CodeRow& out,
                                                      const uint32_t* words, uint32_t row_word) {
  const uint32_t top = panel_absmax(v);
  PogoScale s;
  pogo_q8(top, POGO_Q8_C, POGO_Q8_R, &s);
  if (p.lane == 0) {
    *out.scale = s.scale;
    if (!pogo_absmax_is_finite(top)) pogo_report(out.failure, out.entry, FAILURE_NON_FINITE, out.index);
  }
  POGO_UNROLL
  for (uint32_t k = 0; k < COUNT; k += 1) {
    if (!p.owns(k)) continue;
    uint32_t code[8];
    if (DITHER) {
      const uint4* place = reinterpret_cast<const uint4*>(words + k * CHUNK) + p.lane;
      const uint4 a = place[0], b = place[32];
      const uint32_t column[8] = {a.x, a.y, a.z, a.w, b.x, b.y, b.z, b.w};
      POGO_UNROLL
      for (int e = 0; e < 8; e += 1) code[e] = pogo_code_dithered_bits(v[k][e], s.multiplier, column[e], row_word);
    } else {
      POGO_UNROLL
      for (int e = 0; e < 8; e += 1) code[e] = pogo_code_bits(v[k][e], s.multiplier);
    }
    *reinterpret_cast<uint2*>(out.codes + p.column(k)) =
        make_uint2(low_bytes(code[0], code[1], code[2], code[3]), low_bytes(code[4], code[5], code[6], code[7]));
  }
}

}  // namespace pogo

#endif
