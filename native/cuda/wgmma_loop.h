// The main loop of the products on wgmma (sm_90a): operands come from shared memory, so a thread holds nothing but
// accumulators, and the tensor cores read each byte of a stage once for 64 x 128 results.
#ifndef POGO_CUDA_WGMMA_LOOP_H
#define POGO_CUDA_WGMMA_LOOP_H

#include "gemm_kernel.h"
#include "wgmma.h"

namespace pogo {

/**
 * WARPGROUPS of 64 x 128 results each: two, or one where two would leave multiprocessors idle. DEEP: any K, one block a multiprocessor, products of one stage run while the next
 * is issued. Else is_shallow(K): two blocks a multiprocessor, and the one computes while the other waits or quantizes.
 */
template <bool DEEP_, int WARPGROUPS = 2>
struct WgmmaLoop {
  using Shape = TileShape<1, 16, 4 * WARPGROUPS, 1>;
  using S = Shape;
  static constexpr bool DEEP = DEEP_;
  static constexpr int DEPTH = 128, RESIDENT = DEEP ? 1 : 2;
  /** Groups of products that still run when a stage is loaded, stages, and how many stages ahead loads go. */
  static constexpr int RUNNING = DEEP ? 1 : 0, STAGES = DEEP ? 5 : 3, AHEAD = STAGES - 1 - RUNNING;
  static constexpr uint32_t STAGE_BYTES = (S::ROWS + S::COLUMNS) * DEPTH, PIPELINE_BYTES = STAGES * STAGE_BYTES;
  static constexpr uint32_t PER_PANEL = PANEL / DEPTH;
  static_assert(STAGE_BYTES % 1024 == 0 && S::ROWS * DEPTH % 1024 == 0, "operands begin at multiples of 1024");

  static __device__ __forceinline__ void run(const GemmOperands& g, uint32_t row0, uint32_t col0,
                                             unsigned char* pipeline, float* scales, float (&sum)[1][16][4]) {
    const uint32_t blocks = (g.K + DEPTH - 1) / DEPTH;
    // Bytes before this warpgroup's 64 rows of a. By a shuffle, so that nvcc knows it is the same for a warp: descriptors are
    // held in uniform registers.
    const uint32_t a_offset = __shfl_sync(0xFFFFFFFFu, threadIdx.x / 128, 0) * (64 * DEPTH);

    WgmmaAccumulators acc = {};
    if (DEEP) begin_sums<S>(g, row0, col0, sum);
    PanelScales<S> panel_scales;
    panel_scales.fetch(g, row0, col0, 0);

    POGO_UNROLL
    for (uint32_t s = 0; s < AHEAD; s += 1) {
      if (s < blocks) load_stage<S, DEPTH, !DEEP>(g, row0, col0, s * DEPTH, pipeline + s * STAGE_BYTES);
      cp_async_commit();
    }
    wgmma_hold(acc);
    // Two loops and not one with a branch: products may run across the inner loop's end, and nvcc must see that their
    // registers are touched outside it only.
    uint32_t block = 0;
    POGO_NO_UNROLL
    for (uint32_t panel = 0; block < blocks; panel += 1) {
      if (DEEP && panel > 0) panel_scales.fetch(g, row0, col0, panel);
      const uint32_t first = block, end = DEEP ? min(first + PER_PANEL, blocks) : blocks;
      POGO_NO_UNROLL
      do {
        cp_async_wait<AHEAD - 1>();
        wgmma_see_writes();
        __syncthreads();
        // The stage that is loaded now was read by products that every thread has waited for before the barrier.
        const uint32_t next = block + AHEAD;
        if (next < blocks) {
          load_stage<S, DEPTH, !DEEP>(g, row0, col0, next * DEPTH, pipeline + next % STAGES * STAGE_BYTES);
        }
        cp_async_commit();

        const uint32_t stage = wgmma_address(pipeline + block % STAGES * STAGE_BYTES);
        const uint64_t a = wgmma_descriptor(stage + a_offset), b = wgmma_descriptor(stage + S::ROWS * DEPTH);
        wgmma_fence();
        POGO_UNROLL
        for (uint32_t step = 0; step < DEPTH / STEP; step += 1) {
          // A step further along the contraction is 32 bytes, in units of 16.
          wgmma_s8s8(acc, a + step * (STEP / 16), b + step * (STEP / 16), step > 0 || block != first);
        }
        wgmma_commit();
        wgmma_wait<RUNNING>();
        block += 1;
      } while (block < end);
      wgmma_wait<0>();
      wgmma_hold(acc);
      panel_scales.publish(scales);
      __syncthreads();
      promote<S, !DEEP>(acc, sum, scales);
    }
    // The epilogue reuses the pipeline; every thread is past its last product.
    __syncthreads();
  }
};

/** launch_gemm with wgmma: defined in the files that are compiled for sm_90a alone. */
template <class Epilogue, bool DEEP, int WARPGROUPS>
Status launch_wgmma(const GemmOperands& g, const typename Epilogue::Args& e, unsigned cluster, const Launch& launch,
                    const char* name);

}  // namespace pogo

#endif
