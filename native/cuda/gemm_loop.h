// The main loop of the products on mma.sync (sm_80 and newer), and what both main loops share.
//
// Codes of both operands come in stages of DEPTH contracted bytes through cp.async; int32 accumulators of a panel of 1024
// are promoted to binary32 at its end and added in ascending order (numerics 2.4). What lies beyond M, N or K is zero in
// shared memory and adds nothing.
#ifndef POGO_CUDA_GEMM_LOOP_H
#define POGO_CUDA_GEMM_LOOP_H

#include "gemm_tiles.h"
#include "ptx.h"

namespace pogo {

/** The threads that hold a tile: those of the block, numbered from 0, and their barrier. */
template <class Shape>
struct Team {
  static __device__ __forceinline__ uint32_t thread() { return threadIdx.x; }
  static __device__ __forceinline__ void sync() { __syncthreads(); }
};

/** The tile of a warpgroup that works beside others of its block (pingpong_loop.h). */
template <int NT>
struct WarpgroupTile : TileShape<1, NT, 4, 1> {};

template <int NT>
struct Team<WarpgroupTile<NT>> {
  static __device__ __forceinline__ uint32_t thread() { return threadIdx.x % 128; }
  /** By constants: the number of a barrier that is not known takes all sixteen of the block. */
  static __device__ __forceinline__ void sync() {
    if (threadIdx.x < 128) {
      named_barrier(1, 128);
    } else {
      named_barrier(2, 128);
    }
  }
};

/** The tile of a warp that works alone: 16 rows, each held by four lanes (row_exchange.h). */
struct WarpTile : TileShape<1, 16, 1, 1> {};

template <>
struct Team<WarpTile> {
  static __device__ __forceinline__ uint32_t thread() { return threadIdx.x % 32; }
  static __device__ __forceinline__ void sync() { __syncwarp(); }
};

/** a i8 [M, K] with scales [P(K), M], b i8 [N, K] with scales [P(K), N]. `start`: f32 [M, N] to go on from, or null. */
struct GemmOperands {
  const int8_t* a;
  const float* a_scales;
  const int8_t* b;
  const float* b_scales;
  const float* start;
  uint32_t M, N, K;
};

/** The sum that leaves whatever is added to it as it is, signs of zeros included: "starting from the first". */
static constexpr float NOTHING_YET = -0.0f;

/**
 * Chunks of one operand's stage from `rows` real rows of K bytes at `codes`; k >= K is zero. Rows beyond the last repeat it:
 * their scales are 0, and so is then whatever is made of them. WHOLE_CHUNKS: K is a multiple of 16, every chunk aligned.
 */
template <int ROWS, int DEPTH, int THREADS, bool WHOLE_CHUNKS>
static __device__ __forceinline__ void load_operand(const int8_t* codes, uint32_t rows, uint32_t K, uint32_t k0,
                                                    unsigned char* stage) {
  constexpr uint32_t CHUNKS = DEPTH / CHUNK, PASS = THREADS / CHUNKS;
  static_assert(ROWS % PASS == 0, "whole passes");
  const uint32_t chunk = threadIdx.x % CHUNKS, first = threadIdx.x / CHUNKS, k = k0 + chunk * CHUNK;
  // Rows that are not whole chunks begin at any address: byte by byte, slowly.
  if (WHOLE_CHUNKS || K % CHUNK == 0) {
    POGO_UNROLL
    for (uint32_t i = 0; i < ROWS / PASS; i += 1) {
      const uint32_t row = first + i * PASS;
      cp_async16(stage + chunk_offset<DEPTH>(row, chunk), codes + (min(row, rows - 1) * K + k), k < K);
    }
  } else {
    POGO_NO_UNROLL
    for (uint32_t i = 0; i < ROWS / PASS; i += 1) {
      const uint32_t row = first + i * PASS;
      unsigned char* to = stage + chunk_offset<DEPTH>(row, chunk);
      const int8_t* from = codes + (min(row, rows - 1) * K + k);
      POGO_NO_UNROLL
      for (uint32_t j = 0; j < CHUNK; j += 1) to[j] = k + j < K ? (unsigned char)from[j] : 0;
    }
  }
}

/** One stage: the tile's rows of a, then those of b. */
template <class Shape, int DEPTH, bool WHOLE_CHUNKS>
static __device__ __forceinline__ void load_stage(const GemmOperands& g, uint32_t row0, uint32_t col0, uint32_t k0,
                                                  unsigned char* stage) {
  load_operand<Shape::ROWS, DEPTH, Shape::THREADS, WHOLE_CHUNKS>(g.a + (size_t)row0 * g.K, g.M - row0, g.K, k0, stage);
  load_operand<Shape::COLUMNS, DEPTH, Shape::THREADS, WHOLE_CHUNKS>(g.b + (size_t)col0 * g.K, g.N - col0, g.K, k0,
                                                      stage + Shape::ROWS * DEPTH);
}

/** The scales of a panel's rows and columns: asked for at its beginning, put into shared memory at its end. */
template <class Shape>
struct PanelScales {
  static constexpr int COUNT = Shape::ROWS + Shape::COLUMNS, EACH = (COUNT + Shape::THREADS - 1) / Shape::THREADS;
  float values[EACH];

  __device__ __forceinline__ void fetch(const GemmOperands& g, uint32_t row0, uint32_t col0, uint32_t panel) {
    POGO_UNROLL
    for (int i = 0; i < EACH; i += 1) {
      const uint32_t at = threadIdx.x + (uint32_t)(i * Shape::THREADS);
      const bool left = at < (uint32_t)Shape::ROWS;
      const uint32_t index = left ? row0 + at : col0 + at - (uint32_t)Shape::ROWS, count = left ? g.M : g.N;
      const float* scales = left ? g.a_scales : g.b_scales;
      values[i] = at < (uint32_t)COUNT && index < count ? __ldg(scales + (size_t)panel * count + index) : 0.0f;
    }
  }

  __device__ __forceinline__ void publish(float* shared) const {
    POGO_UNROLL
    for (int i = 0; i < EACH; i += 1) {
      const uint32_t at = threadIdx.x + (uint32_t)(i * Shape::THREADS);
      if (at < (uint32_t)COUNT) shared[at] = values[i];
    }
  }
};

/** sum += float(acc) * (sa * sb). FIRST: sum = that product. `rows`: scales of the tile's rows from `first_row` on. */
template <class Shape, bool FIRST>
static __device__ __forceinline__ void promote(const int32_t (&acc)[Shape::MT][Shape::NT][4],
                                               float (&sum)[Shape::MT][Shape::NT][4], const float* rows,
                                               uint32_t first_row, const float* columns) {
  float sa[Shape::MT][2];
  POGO_UNROLL
  for (int mt = 0; mt < Shape::MT; mt += 1) {
    POGO_UNROLL
    for (int h = 0; h < 2; h += 1) sa[mt][h] = rows[fragment_row<Shape>(Team<Shape>::thread(), mt, h) - first_row];
  }
  POGO_UNROLL
  for (int nt = 0; nt < Shape::NT; nt += 1) {
    const float2 sb = *reinterpret_cast<const float2*>(columns + fragment_column<Shape>(Team<Shape>::thread(), nt));
    POGO_UNROLL
    for (int mt = 0; mt < Shape::MT; mt += 1) {
      POGO_UNROLL
      for (int i = 0; i < 4; i += 1) {
        const float value = pogo_promote((uint32_t)acc[mt][nt][i], sa[mt][i / 2], i % 2 == 0 ? sb.x : sb.y);
        sum[mt][nt][i] = FIRST ? value : pogo_add(sum[mt][nt][i], value);
      }
    }
  }
}

/** Offsets within a tile have 32 bits. */
static constexpr uint32_t MOST_CONTRACTED = 1u << 24;

/** One panel of whole chunks. */
POGO_HD constexpr bool is_shallow(uint32_t K) { return K <= PANEL && K % CHUNK == 0; }

/** What a tile's sums begin with. */
template <class Shape>
static __device__ __forceinline__ void begin_sums(const GemmOperands& g, uint32_t row0, uint32_t col0,
                                                  float (&sum)[Shape::MT][Shape::NT][4]) {
  POGO_UNROLL
  for (int mt = 0; mt < Shape::MT; mt += 1) {
    POGO_UNROLL
    for (int nt = 0; nt < Shape::NT; nt += 1) {
      POGO_UNROLL
      for (int i = 0; i < 4; i += 1) sum[mt][nt][i] = NOTHING_YET;
    }
  }
  if (g.start == nullptr) return;
  POGO_UNROLL
  for (int mt = 0; mt < Shape::MT; mt += 1) {
    POGO_UNROLL
    for (int i = 0; i < 4; i += 1) {
      const uint32_t row = row0 + fragment_row<Shape>(Team<Shape>::thread(), mt, i / 2);
      if (row >= g.M) continue;
      POGO_UNROLL
      for (int nt = 0; nt < Shape::NT; nt += 1) {
        const uint32_t column = col0 + fragment_column<Shape>(Team<Shape>::thread(), nt) + (uint32_t)(i % 2);
        if (column < g.N) sum[mt][nt][i] = g.start[(size_t)row * g.N + column];
      }
    }
  }
}

/**
 * The product of a tile into registers. DEEP: any K; else is_shallow(K) and no `start`, where a tile needs no sums beside its
 * accumulators and two blocks fit into a multiprocessor's registers.
 */
template <class S, bool DEEP_>
struct MmaLoop {
  using Shape = S;
  static constexpr bool DEEP = DEEP_;
  static constexpr int DEPTH = 64, STAGES = 4, RESIDENT = DEEP || S::THREADS < 256 ? 1 : 2;
  static constexpr uint32_t STAGE_BYTES = (S::ROWS + S::COLUMNS) * DEPTH, PIPELINE_BYTES = STAGES * STAGE_BYTES;
  static constexpr uint32_t PER_PANEL = PANEL / DEPTH;

  static __device__ __forceinline__ void run(const GemmOperands& g, uint32_t row0, uint32_t col0,
                                             unsigned char* pipeline, float* scales, float (&sum)[S::MT][S::NT][4]) {
    const uint32_t lane = threadIdx.x % 32, warp = threadIdx.x / 32;
    const uint32_t a_row = warp / S::WARPS_N * (16 * S::MT) + left_row(lane);
    const uint32_t b_row = warp % S::WARPS_N * (8 * S::NT) + right_row(lane);
    // The chunk of step s is (2 s + chunk) ^ swizzle; 2 s and chunk share no bit.
    const uint32_t a_offset = chunk_offset<DEPTH>(a_row, left_chunk(lane));
    const uint32_t b_offset = S::ROWS * DEPTH + chunk_offset<DEPTH>(b_row, right_chunk(lane));
    const uint32_t blocks = (g.K + DEPTH - 1) / DEPTH;

    int32_t acc[S::MT][S::NT][4] = {};
    if (DEEP) begin_sums<S>(g, row0, col0, sum);
    PanelScales<S> panel_scales;
    panel_scales.fetch(g, row0, col0, 0);

    POGO_UNROLL
    for (uint32_t s = 0; s + 1 < STAGES; s += 1) {
      if (s < blocks) load_stage<S, DEPTH, !DEEP>(g, row0, col0, s * DEPTH, pipeline + s * STAGE_BYTES);
      cp_async_commit();
    }
    POGO_NO_UNROLL
    for (uint32_t block = 0; block < blocks; block += 1) {
      cp_async_wait<STAGES - 2>();
      __syncthreads();
      const uint32_t next = block + STAGES - 1;
      if (next < blocks) load_stage<S, DEPTH, !DEEP>(g, row0, col0, next * DEPTH, pipeline + next % STAGES * STAGE_BYTES);
      cp_async_commit();
      if (DEEP && block > 0 && block % PER_PANEL == 0) panel_scales.fetch(g, row0, col0, block / PER_PANEL);

      const unsigned char* stage = pipeline + block % STAGES * STAGE_BYTES;
      POGO_UNROLL
      for (uint32_t step = 0; step < DEPTH / STEP; step += 1) {
        uint32_t a[S::MT][4];
        POGO_UNROLL
        for (int mt = 0; mt < S::MT; mt += 1) ldmatrix_x4(a[mt], stage + (a_offset ^ (step * STEP)) + mt * 16 * DEPTH);
        POGO_UNROLL
        for (int n = 0; n < S::NT / 2; n += 1) {
          uint32_t b[4];
          ldmatrix_x4(b, stage + (b_offset ^ (step * STEP)) + n * 16 * DEPTH);
          POGO_UNROLL
          for (int half = 0; half < 2; half += 1) {
            POGO_UNROLL
            for (int mt = 0; mt < S::MT; mt += 1) mma_s8s8(acc[mt][2 * n + half], a[mt], b + 2 * half);
          }
        }
      }
      if (DEEP && (block % PER_PANEL == PER_PANEL - 1 || block == blocks - 1)) {
        panel_scales.publish(scales);
        __syncthreads();
        promote<S, !DEEP>(acc, sum, scales, 0, scales + S::ROWS);
        POGO_UNROLL
        for (int mt = 0; mt < S::MT; mt += 1) {
          POGO_UNROLL
          for (int nt = 0; nt < S::NT; nt += 1) {
            POGO_UNROLL
            for (int i = 0; i < 4; i += 1) acc[mt][nt][i] = 0;
          }
        }
      }
    }
    if (!DEEP) {
      panel_scales.publish(scales);
      __syncthreads();
      promote<S, !DEEP>(acc, sum, scales, 0, scales + S::ROWS);
    }
    // The epilogue reuses the pipeline; every thread is past its last read.
    __syncthreads();
  }
};

}  // namespace pogo

#endif
