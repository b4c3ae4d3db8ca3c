// A barrier of a block of threads in two halves: a warp arrives, does something else, and waits for the others. It stalls nobody
// who has as much to do in between as the others are behind. Before sm_90 it is the barrier of the block, at the wait.
#ifndef POGO_CUDA_SPLIT_BARRIER_H
#define POGO_CUDA_SPLIT_BARRIER_H

#include "tma.h"

namespace pogo {

#if defined(POGO_CUDA_MODEL) || !defined(__CUDA_ARCH__) || __CUDA_ARCH__ >= 900
#define POGO_SPLIT_BARRIER 1
#else
#define POGO_SPLIT_BARRIER 0
#endif

#if defined(POGO_DEVICE_CODE)

struct SplitBarrier {
  PhaseBarrier* barrier;

  /** One thread; a barrier of the block must follow before others use it. */
  __device__ __forceinline__ void begin(uint32_t warps) const {
#if POGO_SPLIT_BARRIER
    phase_begin(barrier, warps);
#else
    (void)warps;
#endif
  }
  /** A warp: what it has read and written is before what others do after their wait. */
  __device__ __forceinline__ void arrive(int lane) const {
#if POGO_SPLIT_BARRIER
    __syncwarp();
    if (lane == 0) phase_arrive_expecting(barrier, 0);
#else
    (void)lane;
#endif
  }
  /** Until all warps have arrived for the time `turn`, counted from 0; -1 is before the first. */
  __device__ __forceinline__ void wait(uint32_t turn) const {
#if POGO_SPLIT_BARRIER
    phase_wait(barrier, turn & 1);
#else
    (void)turn;
    __syncthreads();
#endif
  }
};

#endif

}  // namespace pogo

#endif
