// Groups of 64 values in the registers of a warp: lane l holds elements 4 (l % 16) … + 3 of group l / 16, so that a warp
// reads 512 bytes in one instruction, and a group's codes are 16 bits (or one word) a lane.
#ifndef POGO_CUDA_GROUPS_H
#define POGO_CUDA_GROUPS_H

#include "../exact/quantize.h"
#include "ops.h"
#include "row_panels.h"

namespace pogo {

static constexpr uint32_t GROUP = 64;
static constexpr uint32_t WARP_LANES = 32;
/** Lanes of a group, and elements that a warp holds at a time. */
static constexpr uint32_t GROUP_LANES = 16;
static constexpr uint32_t WARP_ELEMENTS = 128;

/** Up to four of the elements from `at` on, +0 behind `n`. `at` is a multiple of 4. */
static __device__ __forceinline__ float4 load_quad(const float* __restrict__ x, uint64_t at, uint64_t n) {
  if (at + 4 <= n) return *reinterpret_cast<const float4*>(x + at);
  float4 v = make_float4(0.0f, 0.0f, 0.0f, 0.0f);
  if (at < n) v.x = x[at];
  if (at + 1 < n) v.y = x[at + 1];
  if (at + 2 < n) v.z = x[at + 2];
  return v;
}

/** absmax bits of this lane's group. All lanes. */
static __device__ __forceinline__ uint32_t group_absmax(const float4& v) {
  uint32_t top = pogo_imax(pogo_imax(pogo_abs_bits(v.x), pogo_abs_bits(v.y)), pogo_imax(pogo_abs_bits(v.z), pogo_abs_bits(v.w)));
  POGO_UNROLL
  for (int s = 8; s > 0; s >>= 1) top = pogo_imax(top, __shfl_xor_sync(ALL_LANES, top, s));
  return top;
}

/** The low nibbles of four words, the first lowest. */
POGO_HD uint32_t low_nibbles(uint32_t a, uint32_t b, uint32_t c, uint32_t d) {
  return (a & 15u) | ((b & 15u) << 4) | ((c & 15u) << 8) | ((d & 15u) << 12);
}

/** Whether a group's absmax and its scale as bf16 are finite. */
POGO_HD bool group_is_finite(uint32_t absmax, uint16_t stored) {
  return pogo_absmax_is_finite(absmax) && stored < (POGO_INFINITY_BITS >> 16);
}

/** Values of four nibbles of one group. */
POGO_HD float4 nibble_values(uint32_t codes, float scale) {
  float4 v;
  v.x = pogo_mul(pogo_to_float((uint32_t)((int32_t)(codes << 28) >> 28)), scale);
  v.y = pogo_mul(pogo_to_float((uint32_t)((int32_t)(codes << 24) >> 28)), scale);
  v.z = pogo_mul(pogo_to_float((uint32_t)((int32_t)(codes << 20) >> 28)), scale);
  v.w = pogo_mul(pogo_to_float((uint32_t)((int32_t)(codes << 16) >> 28)), scale);
  return v;
}

/** Blocks of a grid-stride kernel: enough to fill the device several times, never more than there is work. */
inline unsigned stride_blocks(uint64_t blocks, const DeviceTraits* device) {
  uint64_t most = (uint64_t)(device == nullptr ? 132 : device->multiprocessors) * 32;
  return (unsigned)(blocks < most ? blocks : most);
}

}  // namespace pogo

#endif
