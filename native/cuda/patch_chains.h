// The chains of a patch's segments (patch.cu): what patch_walk.h finds and patch_join.h joins.
#ifndef POGO_CUDA_PATCH_CHAINS_H
#define POGO_CUDA_PATCH_CHAINS_H

#include "diff_chunks.h"

namespace pogo {
namespace patch {

/** Bytes that a block holds: its segment, the longest chunk that begins in it, and some chunks without differences. */
constexpr uint32_t REGION = 80 * 1024;
constexpr uint32_t SEGMENT = 63 * 1024;
constexpr uint32_t SLACK = REGION - SEGMENT - 16;
static_assert(SLACK > 1 + DIFF_CHUNK, "the chunk that begins last ends in the region");
/** Where the chain can enter a segment: behind a chunk that began before it. */
constexpr uint32_t ENTRANCES = DIFF_CHUNK + 1;
constexpr uint32_t BITMAP = DIFF_CHUNK / 4;

/** Chains of a segment that are kept, the first ones, and chunks with differences of one. */
constexpr uint32_t CHAINS = 8;
constexpr uint32_t CHAIN_CHUNKS = SEGMENT / (BITMAP + 2) + 1;

constexpr uint32_t NOWHERE = 0xFFFFFFFFu;
/** Of an exit: what follows is followed step by step. */
constexpr uint32_t STOPS = 0x80000000u;

/** A chunk of a chain: from the segment's beginning, how many differences (0: raw), and how many chunks of the chain precede it. */
struct Link {
  uint32_t at, ones, before;
};

/** Bytes of its chunk, the tag included. */
POGO_HD uint32_t link_bytes(const Link& link) {
  return 1 + (link.ones == 0 ? DIFF_CHUNK : BITMAP + (link.ones + 1) / 2);
}

/** The chains of a segment. Places count from its beginning. */
struct alignas(16) Chains {
  uint32_t entrance[CHAINS];
  /** Where the first chunk with differences behind the segment begins. */
  uint32_t exit[CHAINS];
  /** Chunks from entrance to exit, those without differences included, and links. */
  uint32_t chunks[CHAINS], links[CHAINS];
  Link link[CHAINS][CHAIN_CHUNKS];
  /** Set by the block that joins: which chain, chunks of it that belong to the patch, and the number of the first. */
  uint32_t chosen, taken;
  uint64_t first;
};

/** Scratch of a patch: where chunks begin, how many differences they have, and the first that is not canonical. */
struct Scratch {
  uint64_t* starts;
  uint32_t* counts;
  /** [0]: the first bad chunk, or their number. */
  unsigned long long* bad;
  Chains* chains;
  uint64_t segments;
};

/** Of a word whose first byte is byte `first` of 16: the bytes below `at`. */
POGO_HD uint32_t bytes_below(uint32_t at, uint32_t first = 0) {
  return at <= first ? 0 : at >= first + 4 ? 0xFFFFFFFFu : (1u << (8 * (at - first))) - 1u;
}

}  // namespace patch
}  // namespace pogo

#endif
