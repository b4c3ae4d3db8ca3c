// Index arithmetic of attention: places in tiles of 64 tokens, fragments, and which blocks of keys a block of queries sees.
// Read by the kernels and by their test on the host.
//
// A warp owns 16 rows of a 64 x 64 tile (queries forward and for dQ, keys for dK and dV). Accumulators of m16n8k32 give
// lane l the columns 2 (l % 4), 2 (l % 4) + 1 of each of 8 steps of 8 columns: a row's pairs of T64 lie in one lane, and
// the tree's levels 16, 8, 4 too; only 2 and 1 cross lanes. The second product contracts over those columns. Integer
// sums may be taken in any order, so the codes stay where they were made: the lane's 16 codes of a row are, in the order
// of `mix_token`, the left operand, and the right operand is read in the same order by ldmatrix.trans on pairs of bytes.
#ifndef POGO_CUDA_ATTENTION_INDEX_H
#define POGO_CUDA_ATTENTION_INDEX_H

#include "../exact/attention.h"
#include "device_code.h"

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

/** Where the code of step n, row half r, side 0 or 1 lies in the left operand: half, word, byte. */
POGO_HD constexpr int code_half(int n) { return n / 4; }
POGO_HD constexpr int code_word(int r, int n) { return r + (n % 4 < 2 ? 0 : 2); }
POGO_HD constexpr int code_byte(int n, int side) { return n % 2 * 2 + side; }

/** Where a key lies among a row's 64: the two keys of a lane, eight apart, are neighbours, and so are the four of two steps. */
POGO_HD constexpr int key_place(int key) { return key / 16 * 16 + key % 8 * 2 + key / 8 % 2; }
/**
 * Word of the tile through which the kernel over keys gives its errors to the warps that own the queries: rows of 64 keys, of
 * which `parts` blocks of threads have their part of the queries. Stores of 8 pairs of keys x 4 queries two apart and loads of 8
 * queries x 16 keys, four a lane, touch every bank once a phase.
 */
template <int parts>
POGO_HD constexpr int exchange_word(int query, int key) {
  const int row = parts == 1 ? query : query / 16 * 8 + query % 8;
  return row * TILE + (key_place(key) ^ (query / 2 % 4 * 8) ^ (query % 2 * 16));
}
/** How much further the word of step n is than that of step 0, for stores (queries are columns), and of steps n and n + 1 (n even)
 * than of n % 4, for loads (keys are). */
template <int parts>
POGO_HD constexpr int exchange_store_step(int n) {
  return n / parts * 8 * TILE;
}
POGO_HD constexpr int exchange_load_step(int n) { return n / 4 * 32; }

/** The chunk of a tile that a thread copies first, and how many rows further the next: a thread has one chunk of a row. */
template <int h>
POGO_HD constexpr int fetch_row(int thread) {
  return thread / (h / 16);
}
template <int h>
POGO_HD constexpr int fetch_chunk(int thread) {
  return thread % (h / 16);
}
template <int h>
POGO_HD constexpr int rows_apart() {
  return THREADS / (h / 16);
}

/**
 * Sizes: rows of qkv hold H query heads, G heads of keys, G of values. A query sees the keys up to its own, and of the
 * block `reach` before its block only those behind its own place (NO_WINDOW: all before).
 */
struct Shape {
  /** Scales [H + 2 G, T] are fewer than 2^32, as are tokens. */
  uint32_t T, H, G, heads_a_group, context, reach;
  /** Query tiles of the longest sequence. */
  uint32_t blocks;
  /** log2e and 1 over the root that scores are divided by. */
  float temperature, inverse_root;

  __host__ __device__ uint32_t heads() const { return H + 2 * G; }
  /** Heads of keys and values that query head `head` attends to, counted in a row of qkv. */
  __host__ __device__ uint32_t key_head(uint32_t head) const { return H + group_of(head); }
  /** Without a division where each head is a group. */
  __host__ __device__ uint32_t group_of(uint32_t head) const { return heads_a_group == 1 ? head : head / heads_a_group; }
  /** First block of keys that block qb of queries sees. */
  __host__ __device__ uint32_t first_block(uint32_t qb) const { return qb > reach ? qb - reach : 0; }
  /** Tiles of a head's queries and keys that see each other, by block of queries, then of keys: which of them, and how many. */
  __host__ __device__ uint32_t tile_of(uint32_t qb, uint32_t kb) const {
    const uint32_t full = qb < reach ? qb : reach;
    return full * (full + 1) / 2 + (qb - full) * (full + 1) + kb - first_block(qb);
  }
  /** How many tiles further that of the same keys and the next block of queries is. */
  __host__ __device__ uint32_t next_tile(uint32_t qb) const { return qb < reach ? qb + 1 : reach; }
  __host__ __device__ uint32_t tiles_a_head() const { return tile_of(blocks - 1, blocks - 1) + 1; }
  /** Block of queries that sees only part of block kb, on the diagonal or where the window cuts. */
  __host__ __device__ bool is_edge(uint32_t qb, uint32_t kb) const { return qb == kb || qb - kb == reach; }
};
static constexpr uint32_t NO_WINDOW = 0xFFFFFFFFu;

/** In a tile at an edge: whether the query at place `query` of its block does not see the key at `key` of its own. */
POGO_HD bool is_masked(bool diagonal, uint32_t query, uint32_t key) { return (key > query) == diagonal; }

/** A sequence: where it begins in the call, and its tokens. */
struct Tokens {
  uint32_t first, length;
};

POGO_HD Tokens sequence_tokens(uint32_t sequence, uint32_t context, uint32_t T) {
  const uint32_t first = sequence * context;
  return {first, T - first < context ? T - first : context};
}
POGO_HD uint32_t tiles_of(uint32_t length) { return (length + TILE - 1) / TILE; }

/** `window` keys, a multiple of 64, or 0: all. Scores are divided by the root of `scalar`. */
inline Shape shape_of(uint32_t T, uint32_t H, uint32_t G, uint32_t context, uint32_t window, uint32_t scalar) {
  return {T,
          H,
          G,
          H / G,
          context,
          window == 0 ? NO_WINDOW : window / TILE,
          tiles_of(context < T ? context : T),
          pogo_attention_temperature(scalar),
          pogo_attention_inverse_root(scalar)};
}
POGO_HD uint32_t sequence_count(const Shape& s) { return (s.T + s.context - 1) / s.context; }

}  // namespace attention
}  // namespace pogo

#endif
