// Host side of the products: which form of a kernel runs.
#ifndef POGO_CUDA_GEMM_FORMS_H
#define POGO_CUDA_GEMM_FORMS_H

#include "epilogue_codes.h"

namespace pogo {

/** How the groups of a result are gathered on a device. */
struct GroupPlan {
  Reach reach;
  /** Blocks of a cluster, or 0. */
  unsigned cluster;
};

/** Groups of `group` columns of a result of N columns in tiles of `tile` columns. */
inline GroupPlan plan_groups(uint32_t N, uint32_t group, uint32_t tile, const DeviceTraits& device) {
  const uint32_t widest = N < group ? N : group;
  if (widest <= tile) return {Reach::TILE, 0};
  if (!device.clusters()) return {Reach::FIRST, 0};
  unsigned cluster = 2;
  while (cluster * tile < widest) cluster *= 2;
  return {Reach::CLUSTER, cluster};
}

}  // namespace pogo

#endif
