// What both passes of attention share: tiles of 64 tokens in shared memory, their fragments, and the exact integers and
// numbers of a tile of scores.
//
// A warp owns 16 rows of a 64 x 64 tile (queries forward and for dQ, keys for dK and dV). Accumulators of m16n8k32 give
// lane l the columns 2 (l % 4), 2 (l % 4) + 1 of each of 8 steps of 8 columns: a row's pairs of T64 lie in one lane, and
// the tree's levels 16, 8, 4 too; only 2 and 1 cross lanes. The second product contracts over those columns. Integer
// sums may be taken in any order, so the codes stay where they were made: the lane's 16 codes of a row are, in the order
// of `mix_token`, the left operand, and the right operand is read in the same order by ldmatrix.trans on pairs of bytes.
#ifndef POGO_CUDA_ATTENTION_TILES_H
#define POGO_CUDA_ATTENTION_TILES_H

#include "../exact/attention.h"
#include "../exact/quantize.h"
#include "ops.h"
#include "ptx.h"
#include "row_panels.h"

namespace pogo {
namespace attention {

/** Queries, and keys, of a tile. */
static constexpr int TILE = 64;
static constexpr int THREADS = 128;
/** Rows of a warp. */
static constexpr int ROWS = 16;
/** Steps of 8 columns of a tile. */
static constexpr int STEPS = TILE / 8;

/**
 * Byte of 16-byte chunk `chunk` of row `row` in a tile of rows of `h` bytes: 8 rows at one chunk touch every bank once.
 * Eight rows further it is 8 h bytes further, so a lane needs few addresses.
 */
template <int h>
POGO_HD constexpr int tile_place(int row, int chunk) {
  constexpr int chunks = h / 16, rows_a_line = chunks >= 8 ? 1 : 8 / chunks, turn = chunks >= 8 ? 7 : chunks - 1;
  return row * h + ((chunk ^ (row % 8 / rows_a_line & turn)) * 16);
}

// Rows and chunks of which lane `lane` gives the address to ldmatrix.x4.
/** Left operand, 16 rows x 32 bytes, step k of 32 bytes: words as mma wants them. */
POGO_HD constexpr int left_row(int lane) { return lane % 16; }
POGO_HD constexpr int left_chunk(int lane, int k) { return 2 * k + lane / 16; }
/** Right operand of two steps of 8 rows, 32 bytes: words 0, 1 of the first, then of the second. */
POGO_HD constexpr int right_row(int lane) { return lane / 16 * 8 + lane % 8; }
POGO_HD constexpr int right_chunk(int lane, int k) { return 2 * k + lane / 8 % 2; }
// Right operand of the mix, 32 tokens x 16 columns, transposed on pairs of bytes: row `lane`, chunk of the columns.

/** Token of the tile that byte `byte` of word `word` (0, 1 of the right operand; 0, 2 of the left) of `half` stands for. */
POGO_HD constexpr int mix_token(int lane, int half, int upper, int byte) {
  return 32 * half + 16 * upper + byte / 2 * 8 + lane % 4 * 2 + byte % 2;
}

/** Column of the head, in a chunk of 16, of accumulator i of the mix with the even (0) or odd (1) bytes. */
POGO_HD constexpr int mix_column(int lane, int odd, int i) { return 4 * (lane % 4) + 2 * (i & 1) + odd; }

/** Column of the tile of accumulator i of step n. */
POGO_HD constexpr int score_column(int lane, int n, int i) { return 8 * n + 2 * (lane % 4) + (i & 1); }
/** Row within the warp's 16 of half r (accumulators 2 r, 2 r + 1). */
POGO_HD constexpr int score_row(int lane, int r) { return lane / 4 + 8 * r; }

/**
 * Accumulators start at the bits of 12582912, so that after exact integer sums below 2^22 they are the bits of
 * 12582912 + sum: one subtraction makes the number, where the conversion would cost more.
 */
static constexpr int32_t BIASED_ZERO = (int32_t)POGO_ROUND_BITS;
static_assert(256 * 127 * 127 < (1 << 22) && 64 * 255 * 127 < (1 << 22), "every sum of a tile is exact");
static __device__ __forceinline__ float number_of(int32_t biased) {
  return pogo_sub(pogo_of_bits((uint32_t)biased), POGO_ROUND);
}

/** The larger of two finite numbers; which of two zeros is left to the caller. */
static __device__ __forceinline__ float larger(float a, float b) {
#if defined(__CUDA_ARCH__)
  return fmaxf(a, b);
#else
  return a > b ? a : b;
#endif
}

/** P of the backward pass, as pogo_attention_probability where nothing is NaN: a minimum of one instruction. */
static __device__ __forceinline__ float probability(float u, float a, float lambda) {
  const float z = pogo_sub(pogo_mul(u, a), lambda);
#if defined(__CUDA_ARCH__)
  return pogo_exp2c_below(fminf(z, 0.0f));
#else
  return pogo_exp2c_below(pogo_min(z, 0.0f));
#endif
}

/** Magnitudes: as the maximum of bits (1.2), a NaN wins. */
static __device__ __forceinline__ float larger_magnitude(float top, float x) {
#if defined(__CUDA_ARCH__)
  float result;
  asm("max.NaN.f32 %0, %1, %2;" : "=f"(result) : "f"(top), "f"(fabsf(x)));
  return result;
#else
  return pogo_of_bits(pogo_imax(pogo_bits(top), pogo_abs_bits(x)));
#endif
}

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
 * Sizes: rows of qkv hold H query heads, G heads of keys, G of values. A query sees the keys up to its own, and of the
 * block `reach` before its block only those behind its own place (NO_WINDOW: all before).
 */
struct Shape {
  uint32_t T, H, G, context, reach;
  /** Query tiles of the longest sequence. */
  uint32_t blocks;
  /** log2e and 1 over the root that scores are divided by. */
  float temperature, inverse_root;

  __host__ __device__ uint32_t heads() const { return H + 2 * G; }
  /** Heads of keys and values that query head `head` attends to, counted in a row of qkv. */
  __host__ __device__ uint32_t key_head(uint32_t head) const { return H + head / (H / G); }
  /** First block of keys that block qb of queries sees. */
  __host__ __device__ uint32_t first_block(uint32_t qb) const { return qb > reach ? qb - reach : 0; }
  /** Block of queries that sees only part of block kb, on the diagonal or where the window cuts. */
  __host__ __device__ bool is_edge(uint32_t qb, uint32_t kb) const { return qb == kb || qb - kb == reach; }
};
static constexpr uint32_t NO_WINDOW = 0xFFFFFFFFu;

/** In a tile at an edge: whether the query at place `query` of its block does not see the key at `key` of its own. */
POGO_HD bool is_masked(bool diagonal, uint32_t query, uint32_t key) { return (key > query) == diagonal; }

/** A sequence: where it begins in the call, and its tokens. */
struct Tokens {
  uint64_t first;
  uint32_t length;
};

POGO_HD Tokens sequence_tokens(uint32_t sequence, uint32_t context, uint32_t T) {
  const uint64_t first = (uint64_t)sequence * context;
  return {first, T - first < context ? (uint32_t)(T - first) : context};
}
POGO_HD uint32_t tiles_of(uint32_t length) { return (length + TILE - 1) / TILE; }

/** `window` keys, a multiple of 64, or 0: all. Scores are divided by the root of `scalar`. */
inline Shape shape_of(uint32_t T, uint32_t H, uint32_t G, uint32_t context, uint32_t window, uint32_t scalar) {
  return {T,
          H,
          G,
          context,
          window == 0 ? NO_WINDOW : window / TILE,
          tiles_of(context < T ? context : T),
          pogo_attention_temperature(scalar),
          pogo_attention_inverse_root(scalar)};
}
POGO_HD uint32_t sequence_count(const Shape& s) { return (s.T + s.context - 1) / s.context; }

/**
 * Brings tiles of 64 rows of h bytes from rows of `stride` bytes into shared memory: a thread has one chunk of every
 * ROWS_APART-th row.
 */
template <int h>
struct TileFetch {
  static constexpr int CHUNKS_A_ROW = h / 16;
  static constexpr int ROWS_APART = THREADS / CHUNKS_A_ROW;
  static_assert(ROWS_APART % 8 == 0, "a thread's chunks have one place in their rows");

  uint32_t row;
  int to;
  /** In bytes; 64 rows are less than 4 GiB. */
  uint32_t from, step;

  __device__ TileFetch(int thread, uint64_t stride)
      : row((uint32_t)(thread / CHUNKS_A_ROW)),
        to(tile_place<h>(thread / CHUNKS_A_ROW, thread % CHUNKS_A_ROW)),
        from((uint32_t)(thread / CHUNKS_A_ROW) * (uint32_t)stride + (uint32_t)(thread % CHUNKS_A_ROW * 16)),
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
  codes->word[n / 4][r + (n % 4 == 0 ? 0 : 2)] = low_bytes(c0, c1, c2, c3);
}

/**
 * Sums of codes times tokens for columns 16 c … 16 c + 15: sums[r][d] is row half r, column 4 (lane % 4) + d of the 16;
 * biased.
 */
template <int h, bool UNSIGNED>
static __device__ __forceinline__ void mix_columns(const Codes& codes, const unsigned char* tokens, int lane, int c,
                                                   int32_t sums[2][4]) {
  int32_t even[4] = {BIASED_ZERO, BIASED_ZERO, BIASED_ZERO, BIASED_ZERO};
  int32_t odd[4] = {BIASED_ZERO, BIASED_ZERO, BIASED_ZERO, BIASED_ZERO};
  POGO_UNROLL
  for (int half = 0; half < 2; half += 1) {
    uint32_t m[4];
    ldmatrix_x4_trans(m, tokens + 32 * half * h + tile_place<h>(lane, c));
    const uint32_t b_even[2] = {__byte_perm(m[0], m[1], 0x6420), __byte_perm(m[2], m[3], 0x6420)};
    const uint32_t b_odd[2] = {__byte_perm(m[0], m[1], 0x7531), __byte_perm(m[2], m[3], 0x7531)};
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

}  // namespace attention
}  // namespace pogo

#endif
