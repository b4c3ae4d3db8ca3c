// Which tiles the clusters of a persistent grid compute, and in which order: constexpr, tested on the host (gemm_test, "walk").
#ifndef POGO_CUDA_PINGPONG_WALK_H
#define POGO_CUDA_PINGPONG_WALK_H

#include "gemm_tiles.h"

namespace pogo {

/**
 * `walkers` clusters walk `tiles` tiles of a cluster's size, in rounds: neighbours of a round are neighbours in the result, so
 * that they share what they read.
 *
 * `split`, where tiles are no multiple of walkers: the last tiles, more than one and less than two for each walker, are dealt
 * out by panels, so that all walkers end together. A tile is then cut at most once. The walker of its head does that first and
 * leaves its sums in memory; the walker of its tail, the next one, does that last and goes on from them: sums over panels have
 * one order, and this keeps it.
 */
struct Walk {
  uint32_t tiles, walkers, panels;
  bool split;
};

/** Panels [first, end) of a tile; the sums come from memory where first > 0 and go there where end < panels. */
struct WalkPart {
  uint32_t tile, first, end;
};

POGO_HD constexpr Walk make_walk(uint32_t tiles, uint32_t most_walkers, uint32_t panels, bool may_split) {
  const uint32_t walkers = tiles < most_walkers ? tiles : most_walkers;
  return {tiles, walkers, panels, may_split && tiles % walkers != 0};
}

/** Rounds in which every walker has a whole tile, before what is dealt out by panels. */
POGO_HD constexpr uint32_t walk_rounds(const Walk& walk) {
  return walk.split ? walk.tiles / walk.walkers - 1 : (walk.tiles - 1) / walk.walkers + 1;
}

/** Panels of the walker that has most of them. */
POGO_HD constexpr uint64_t walk_longest(const Walk& walk) {
  return walk.split ? ((uint64_t)walk.tiles * walk.panels + walk.walkers - 1) / walk.walkers
                    : (uint64_t)walk_rounds(walk) * walk.panels;
}

/** Where a walker's share of the panels behind the rounds begins. */
POGO_HD constexpr uint32_t walk_share(const Walk& walk, uint32_t walker) {
  const uint32_t rest = walk.tiles - walk_rounds(walk) * walk.walkers;
  return (uint32_t)((uint64_t)rest * walk.panels * walker / walk.walkers);
}

/** Part `i` of a walker's walk. False behind the last; where it is true and end is 0, there is nothing to do. */
POGO_HD constexpr bool walk_part(const Walk& walk, uint32_t walker, uint32_t i, WalkPart* part) {
  const uint32_t rounds = walk_rounds(walk);
  *part = {0, 0, 0};
  if (!walk.split) {
    const uint32_t tile = i * walk.walkers + walker;
    if (i >= rounds || tile >= walk.tiles) return false;
    *part = {tile, 0, walk.panels};
    return true;
  }
  const uint32_t begin = walk_share(walk, walker), end = walk_share(walk, walker + 1), behind = rounds * walk.walkers;
  const uint32_t first_whole = (begin + walk.panels - 1) / walk.panels, last = end / walk.panels;
  if (i == 0) {
    if (end % walk.panels > 0) *part = {behind + last, 0, end % walk.panels};
  } else if (i <= rounds) {
    *part = {(i - 1) * walk.walkers + walker, 0, walk.panels};
  } else if (i <= rounds + 2) {
    // One, or none; two where a share of few panels is rounded up.
    const uint32_t tile = first_whole + (i - rounds - 1);
    if (tile < last) *part = {behind + tile, 0, walk.panels};
  } else if (i == rounds + 3) {
    if (begin % walk.panels > 0) *part = {behind + begin / walk.panels, begin % walk.panels, walk.panels};
  } else {
    return false;
  }
  return true;
}

}  // namespace pogo

#endif
