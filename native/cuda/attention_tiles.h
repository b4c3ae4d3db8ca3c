// What both passes of attention share on the device: copies of tiles, products, and the exact numbers of a tile of scores.
#ifndef POGO_CUDA_ATTENTION_TILES_H
#define POGO_CUDA_ATTENTION_TILES_H

#include "attention_index.h"
#include "../exact/quantize.h"
#include "ops.h"
#include "ptx.h"
#include "row_panels.h"

namespace pogo {
namespace attention {

/**
 * Accumulators start at the bits of 12582912, so that after exact integer sums below 2^22 they are the bits of
 * 12582912 + sum: one subtraction makes the number, where the conversion would cost more.
 */
static constexpr int32_t BIASED_ZERO = (int32_t)POGO_ROUND_BITS;
/** Bits of -64, below which 2^z is +0. */
static constexpr uint32_t EXP2_MIN_BITS = 0xC2800000u;
static_assert(POGO_EXP2_MIN == -64.0f, "its bits are those above");
static_assert(256 * 127 * 127 < (1 << 22) && 64 * 255 * 127 < (1 << 22), "every sum of a tile is exact");
static __device__ __forceinline__ float number_of(int32_t biased) {
  return pogo_sub(pogo_of_bits((uint32_t)biased), POGO_ROUND);
}

/** Base-2 logarithm of P of the backward pass, above 0 where rounding made it so. */
static __device__ __forceinline__ float logit(float u, float a, float lambda) { return pogo_sub(pogo_mul(u, a), lambda); }

/** What a lane has of a tile: [row half][step][side]. */
typedef float Numbers[2][STEPS][2];

/**
 * 2^z of a warp's part of a tile, in place, by the cubic. Where all of it is in [-64, +0], as it nearly always is, no result
 * needs a test: bits of negative numbers grow with their magnitude, so one comparison of the largest bits shows it. A NaN is
 * larger than all. `CLAMP`: z above 0, which rounding can make, counts as +0; then +0 takes the tests, too.
 */
template <bool CLAMP>
static __device__ __forceinline__ void exponentials(Numbers z) {
  uint32_t top = CLAMP ? 0x80000000u : 0u;
  POGO_UNROLL
  for (int i = 0; i < 2 * STEPS; i += 1) {
    const uint32_t a = pogo_bits(z[i / STEPS][i % STEPS][0]), b = pogo_bits(z[i / STEPS][i % STEPS][1]);
    top = CLAMP ? (uint32_t)largest_signed((int32_t)top, (int32_t)a, (int32_t)b) : largest_unsigned(top, a, b);
  }
  const uint32_t limit = EXP2_MIN_BITS;
  if (__any_sync(ALL_LANES, CLAMP ? (int32_t)top > (int32_t)limit : top > limit)) {
    POGO_UNROLL
    for (int i = 0; i < 4 * STEPS; i += 1) {
      float* p = &z[i / (2 * STEPS)][i / 2 % STEPS][i % 2];
#if defined(__CUDA_ARCH__)
      *p = pogo_exp2c_below(CLAMP ? fminf(*p, 0.0f) : *p);
#else
      *p = pogo_exp2c_below(CLAMP ? pogo_min(*p, 0.0f) : *p);
#endif
    }
  } else {
    POGO_UNROLL
    for (int i = 0; i < 4 * STEPS; i += 1) {
      float* p = &z[i / (2 * STEPS)][i / 2 % STEPS][i % 2];
      *p = pogo_exp2c_inside(*p);
    }
  }
}

/**
 * The grid: x is (sequence, head) or (sequence, group), y the row or column of tiles of it, 0 the longest. Blocks begin in the
 * order of x, then y: the longest of all pairs first, so that the last of a launch are short ones and end together.
 */
inline dim3 grid_of(const Shape& shape, uint32_t pairs) { return dim3(pairs, shape.blocks); }

static __device__ __forceinline__ bool is_finite(float x) { return pogo_absmax_is_finite(pogo_abs_bits(x)); }

/** Over the four lanes that hold a row. */
static __device__ __forceinline__ float row_larger(float x) {
  x = larger(x, __shfl_xor_sync(ALL_LANES, x, 1));
  return larger(x, __shfl_xor_sync(ALL_LANES, x, 2));
}
static __device__ __forceinline__ float row_larger_magnitude(float x) {
  x = larger_magnitude(x, __shfl_xor_sync(ALL_LANES, x, 1));
  return larger_magnitude(x, __shfl_xor_sync(ALL_LANES, x, 2));
}

/** What a lane of four has in `value`, from lane `of` of the four. */
static __device__ __forceinline__ float from_quad(float value, int lane, int of) {
  return __shfl_sync(ALL_LANES, value, lane / 4 * 4 + of);
}

/**
 * Multipliers and scales of two groups of which the four lanes of their rows have the largest numbers `top`, none negative: the
 * lanes divide for one each, and exchange the quotients.
 */
static __device__ __forceinline__ void two_scales(const float top[2], int lane, float c, float r, float multiplier[2],
                                                  float scale[2]) {
  const bool odd = lane % 2 == 1;
  float own = odd ? top[1] : top[0];
  own = larger(own, __shfl_xor_sync(ALL_LANES, odd ? top[0] : top[1], 1));
  own = larger(own, __shfl_xor_sync(ALL_LANES, own, 2));
  float own_multiplier, own_scale;
  pogo_q8_lanes(own, c, r, &own_multiplier, &own_scale);
  POGO_UNROLL
  for (int i = 0; i < 2; i += 1) {
    multiplier[i] = from_quad(own_multiplier, lane, i);
    scale[i] = from_quad(own_scale, lane, i);
  }
}

/**
 * The same of four groups: two unsigned (u), of which no number is negative, and two signed, by magnitude. @returns the absmax of
 * the lane's own: of lanes 2 and 3 of the four that of the signed ones.
 */
static __device__ __forceinline__ float four_scales(const float top_u[2], const float top[2], int lane, float multiplier_u[2],
                                                    float scale_u[2], float multiplier[2], float scale[2]) {
  const bool odd = lane % 2 == 1, is_signed = lane / 2 % 2 == 1;
  float u = odd ? top_u[1] : top_u[0], v = odd ? top[1] : top[0];
  u = larger(u, __shfl_xor_sync(ALL_LANES, odd ? top_u[0] : top_u[1], 1));
  v = larger_magnitude(v, __shfl_xor_sync(ALL_LANES, odd ? top[0] : top[1], 1));
  float own = is_signed ? v : u;
  own = larger_magnitude(own, __shfl_xor_sync(ALL_LANES, is_signed ? u : v, 2));
  float own_multiplier, own_scale;
  pogo_q8_lanes(own, is_signed ? POGO_Q8_C : POGO_Q8U_C, is_signed ? POGO_Q8_R : POGO_Q8U_R, &own_multiplier, &own_scale);
  POGO_UNROLL
  for (int i = 0; i < 2; i += 1) {
    multiplier_u[i] = from_quad(own_multiplier, lane, i);
    scale_u[i] = from_quad(own_scale, lane, i);
    multiplier[i] = from_quad(own_multiplier, lane, 2 + i);
    scale[i] = from_quad(own_scale, lane, 2 + i);
  }
  return own;
}

/** T64 of a row from its pair sums: y[n] is pair 4 n + lane % 4. In all four lanes of the row. */
static __device__ __forceinline__ float row_t64(const float y[STEPS]) {
  float a[4];
  POGO_UNROLL
  for (int n = 0; n < 4; n += 1) a[n] = pogo_add(y[n], y[n + 4]);
  float v = pogo_add(pogo_add(a[0], a[2]), pogo_add(a[1], a[3]));
  v = pogo_add(v, __shfl_xor_sync(ALL_LANES, v, 2));
  return pogo_add(v, __shfl_xor_sync(ALL_LANES, v, 1));
}

/**
 * Brings tiles of 64 rows of h bytes from rows of `stride` bytes into shared memory: a thread has one chunk of every
 * ROWS_APART-th row.
 */
template <int h>
struct TileFetch {
  static constexpr int ROWS_APART = rows_apart<h>();
  static_assert(ROWS_APART % 8 == 0, "a thread's chunks have one place in their rows");

  uint32_t row;
  int to;
  /** In bytes; 64 rows are less than 4 GiB. */
  uint32_t from, step;

  __device__ TileFetch(int thread, uint64_t stride)
      : row((uint32_t)fetch_row<h>(thread)),
        to(tile_place<h>(fetch_row<h>(thread), fetch_chunk<h>(thread))),
        from((uint32_t)fetch_row<h>(thread) * (uint32_t)stride + (uint32_t)(fetch_chunk<h>(thread) * 16)),
        step((uint32_t)(ROWS_APART * stride)) {}

  /** Starts the copy; rows from `count` on become zeros. */
  __device__ void start(unsigned char* tile, const int8_t* first_row, uint32_t count) const {
    const int8_t* place = first_row + from;
    POGO_UNROLL
    for (int i = 0; i < TILE / ROWS_APART; i += 1) {
      cp_async16(tile + to + i * ROWS_APART * h, place, row + (uint32_t)(i * ROWS_APART) < count);
      place += step;
    }
  }
};

typedef int32_t Accumulators[STEPS][4];

/** Products of this warp's 16 rows of `left` with all 64 rows of `right`, over the h bytes; biased (BIASED_ZERO). */
template <int h>
static __device__ __forceinline__ void multiply_rows(const unsigned char* left, const unsigned char* right, int lane,
                                                     int warp, Accumulators acc) {
  POGO_UNROLL
  for (int n = 0; n < STEPS; n += 1) {
    POGO_UNROLL
    for (int i = 0; i < 4; i += 1) acc[n][i] = BIASED_ZERO;
  }
  POGO_UNROLL
  for (int k = 0; k < h / 32; k += 1) {
    uint32_t a[4];
    ldmatrix_x4(a, left + ROWS * warp * h + tile_place<h>(left_row(lane), left_chunk(lane, k)));
    POGO_UNROLL
    for (int n = 0; n < STEPS; n += 2) {
      uint32_t b[4];
      ldmatrix_x4(b, right + 8 * n * h + tile_place<h>(right_row(lane), right_chunk(lane, k)));
      mma_s8s8(acc[n], a, b);
      mma_s8s8(acc[n + 1], a, b + 2);
    }
  }
}

/** Codes of a warp's 16 rows as the left operand of the mix. */
struct Codes {
  uint32_t word[2][4];
};

/** Code words of row half r, steps n and n + 1 (n even): low bytes of c. */
static __device__ __forceinline__ void set_codes(Codes* codes, int r, int n, uint32_t c0, uint32_t c1, uint32_t c2,
                                                 uint32_t c3) {
  codes->word[code_half(n)][code_word(r, n)] = low_bytes(c0, c1, c2, c3);
}

/**
 * Right operand of the mix for columns 16 c … 16 c + 15 and 32 tokens of `half`: two words of the even columns, then two of the odd
 * ones.
 */
template <int h>
static __device__ __forceinline__ uint4 separate_columns(const unsigned char* tokens, int lane, int c, int half) {
  uint32_t m[4];
  ldmatrix_x4_trans(m, tokens + 32 * half * h + tile_place<h>(lane, c));
  return make_uint4(__byte_perm(m[0], m[1], 0x6420), __byte_perm(m[2], m[3], 0x6420), __byte_perm(m[0], m[1], 0x7531),
                    __byte_perm(m[2], m[3], 0x7531));
}

/**
 * Sums of codes times tokens for columns 16 c … 16 c + 15, of both halves' right operands: sums[r][d] is row half r, column
 * 4 (lane % 4) + d of the 16; biased.
 */
template <bool UNSIGNED>
static __device__ __forceinline__ void mix_separated(const Codes& codes, const uint4 right[2], int32_t sums[2][4]) {
  int32_t even[4] = {BIASED_ZERO, BIASED_ZERO, BIASED_ZERO, BIASED_ZERO};
  int32_t odd[4] = {BIASED_ZERO, BIASED_ZERO, BIASED_ZERO, BIASED_ZERO};
  POGO_UNROLL
  for (int half = 0; half < 2; half += 1) {
    const uint32_t b_even[2] = {right[half].x, right[half].y}, b_odd[2] = {right[half].z, right[half].w};
    if (UNSIGNED) {
      mma_u8s8(even, codes.word[half], b_even);
      mma_u8s8(odd, codes.word[half], b_odd);
    } else {
      mma_s8s8(even, codes.word[half], b_even);
      mma_s8s8(odd, codes.word[half], b_odd);
    }
  }
  POGO_UNROLL
  for (int r = 0; r < 2; r += 1) {
    sums[r][0] = even[2 * r];
    sums[r][1] = odd[2 * r];
    sums[r][2] = even[2 * r + 1];
    sums[r][3] = odd[2 * r + 1];
  }
}

/** The same from the tokens themselves. */
template <int h, bool UNSIGNED>
static __device__ __forceinline__ void mix_columns(const Codes& codes, const unsigned char* tokens, int lane, int c,
                                                   int32_t sums[2][4]) {
  const uint4 right[2] = {separate_columns<h>(tokens, lane, c, 0), separate_columns<h>(tokens, lane, c, 1)};
  mix_separated<UNSIGNED>(codes, right, sums);
}

/**
 * Right operands of the mix of all 64 tokens for `chunks` chunks of columns from `first` on, in shared memory: made once by the four
 * warps, where a barrier lies between that and their use, instead of by each.
 */
template <int h, int chunks>
struct Separated {
  static constexpr int BYTES = chunks * 2 * 32 * 16;
  uint4* words;

  __device__ void make(const unsigned char* tokens, int lane, int warp, int first) const {
    POGO_UNROLL
    for (int i = 0; i < chunks / 2; i += 1) {
      const int unit = 4 * i + warp;
      words[32 * unit + lane] = separate_columns<h>(tokens, lane, first + unit / 2, unit % 2);
    }
  }
  template <bool UNSIGNED>
  __device__ void mix(const Codes& codes, int lane, int c, int32_t sums[2][4]) const {
    const uint4 right[2] = {words[64 * c + lane], words[64 * c + 32 + lane]};
    mix_separated<UNSIGNED>(codes, right, sums);
  }
};

template <int chunks>
static __device__ __forceinline__ void clear(float sums[chunks][2][4]) {
  POGO_UNROLL
  for (int c = 0; c < chunks; c += 1) {
    POGO_UNROLL
    for (int i = 0; i < 8; i += 1) sums[c][i / 4][i % 4] = 0.0f;
  }
}

/** Adds a block's product: sum + number * scale, or starts from it, which +0 before does too: no product is -0. */
static __device__ __forceinline__ void accumulate(float sums[2][4], const int32_t products[2][4], const float scale[2]) {
  POGO_UNROLL
  for (int i = 0; i < 8; i += 1) {
    float* sum = &sums[i / 4][i % 4];
    *sum = pogo_add(*sum, pogo_mul(number_of(products[i / 4][i % 4]), scale[i / 4]));
  }
}

/**
 * Sums of a block of threads' tile in shared memory instead of registers: of chunk c and row half r the thread's four neighbouring
 * columns.
 */
template <int chunks>
struct StoredSums {
  static constexpr int BYTES = chunks * 2 * THREADS * 16;
  float4* places;

  __device__ StoredSums(unsigned char* memory, int thread) : places(reinterpret_cast<float4*>(memory) + thread) {}
  __device__ void get(int c, int r, float sums[4]) const {
    const float4 own = places[(2 * c + r) * THREADS];
    sums[0] = own.x;
    sums[1] = own.y;
    sums[2] = own.z;
    sums[3] = own.w;
  }
  __device__ void set(int c, int r, const float sums[4]) const {
    places[(2 * c + r) * THREADS] = make_float4(sums[0], sums[1], sums[2], sums[3]);
  }
  /** Adds a block's product. */
  __device__ void add(int c, const int32_t products[2][4], const float scale[2]) const {
    float sums[2][4];
    POGO_UNROLL
    for (int r = 0; r < 2; r += 1) get(c, r, sums[r]);
    accumulate(sums, products, scale);
    POGO_UNROLL
    for (int r = 0; r < 2; r += 1) set(c, r, sums[r]);
  }
  __device__ void clear() const {
    POGO_UNROLL
    for (int i = 0; i < 2 * chunks; i += 1) places[i * THREADS] = make_float4(0.0f, 0.0f, 0.0f, 0.0f);
  }
};

}  // namespace attention
}  // namespace pogo

#endif
