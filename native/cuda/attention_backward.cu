// Gradient of causal attention (docs/numerics.md 4: attentionBackward, groupedAttentionBackward), without float atomics: each
// accumulator has one owner and one order. D needs its whole row before any error is known, so it is a kernel of its own; a second
// owns 64 keys, for dV and dK, and writes the codes of dQ, which a third multiplies, 64 queries a block of threads.
#include "attention_keys.h"
#include "attention_queries.h"
#include "attention_sums.h"

namespace pogo {
namespace {

using namespace attention;

/** Codes of dQ that lie in memory at a time, unless one pair of (sequence, group of heads) has more. */
constexpr size_t CODES_BYTES = (size_t)256 << 20;

/** What the workspace holds: numbers of the queries, then codes and scales of as many pairs as it has room for. */
struct Scratch {
  size_t codes_at, pair_bytes;
  uint32_t pairs;

  explicit Scratch(const Shape& shape)
      : codes_at((size_t)shape.H * sequence_count(shape) * shape.blocks * QueryNumbers::WORDS * sizeof(float)),
        pair_bytes((size_t)shape.tiles_a_head() * (shape.H / shape.G) * QueryCodes::TILE_BYTES),
        pairs(sequence_count(shape) * shape.G) {}

  /** Pairs whose codes fit into `bytes`, at most all. */
  uint32_t chunk(size_t bytes) const {
    const size_t fit = bytes / pair_bytes;
    return fit < pairs ? (uint32_t)fit : pairs;
  }
  size_t bytes() const {
    const uint32_t most = chunk(CODES_BYTES);
    return codes_at + (most == 0 ? 1 : most) * pair_bytes;
  }
};

template <int h>
Status launch_backward(BackwardArrays a, const Shape& shape, const Launch& launch) {
  const Scratch scratch(shape);
  if (launch.workspace.bytes < scratch.codes_at + scratch.pair_bytes) {
    return failed(cudaErrorInvalidValue, "attention_backward: too small a workspace");
  }
  unsigned char* memory = static_cast<unsigned char*>(launch.workspace.data);
  a.numbers = reinterpret_cast<float*>(memory);
  a.codes.words = reinterpret_cast<uint4*>(memory + scratch.codes_at);
  POGO_TRY(POGO_LAUNCH((attention_sums_kernel<h>), grid_of(shape, sequence_count(shape) * shape.H), THREADS,
                       SumsShared<h>::BYTES, launch.stream, a, shape, launch.failure, launch.entry),
           "attention_sums_kernel");
  const uint32_t most = scratch.chunk(launch.workspace.bytes - scratch.codes_at);
  for (uint32_t first = 0; first < scratch.pairs; first += most) {
    const uint32_t count = most < scratch.pairs - first ? most : scratch.pairs - first;
    a.codes.first_pair = first;
    a.codes.scales = reinterpret_cast<float*>(memory + scratch.codes_at + scratch.pair_bytes / QueryCodes::TILE_BYTES *
                                                                              count * (TILE * TILE));
    POGO_TRY(POGO_LAUNCH((attention_keys_kernel<h>), grid_of(shape, count * KeyColumns<h>::PARTS), THREADS,
                         KeyShared<h>::BYTES, launch.stream, a, shape, launch.failure, launch.entry),
             "attention_keys_kernel");
    POGO_TRY(POGO_LAUNCH((attention_queries_kernel<h>), grid_of(shape, count * shape.heads_a_group), THREADS,
                         QueriesShared<h>::BYTES, launch.stream, a, shape),
             "attention_queries_kernel");
  }
  return Status();
}

Status backward(const BackwardArrays& a, const Shape& shape, uint32_t h, const Launch& launch) {
  switch (h) {
    case 32: return launch_backward<32>(a, shape, launch);
    case 64: return launch_backward<64>(a, shape, launch);
    case 128: return launch_backward<128>(a, shape, launch);
    case 256: return launch_backward<256>(a, shape, launch);
    default: return failed(cudaErrorInvalidValue, "attention_keys_kernel");
  }
}

Shape shape_of(const AttentionBackwardArgs& a) { return attention::shape_of(a.T, a.H, a.H, a.context, 0, a.C / a.H); }
Shape shape_of(const GroupedAttentionBackwardArgs& a) {
  return attention::shape_of(a.T, a.H, a.G, a.context, a.window, a.scalar);
}

template <class Args>
BackwardArrays arrays_of(const Args& a) {
  return {a.qkv, a.qkvScales, a.dO, a.dOScales, a.lambda, a.dqkv, a.seedV, a.seedK, a.seedQ, a.t0, a.U, nullptr,
          {nullptr, nullptr, 0}};
}

}  // namespace

size_t attention_backward_workspace(const AttentionBackwardArgs& a, const DeviceTraits&) { return Scratch(shape_of(a)).bytes(); }

Status attention_backward(const AttentionBackwardArgs& a, const Launch& launch) {
  return backward(arrays_of(a), shape_of(a), a.C / a.H, launch);
}

size_t grouped_attention_backward_workspace(const GroupedAttentionBackwardArgs& a, const DeviceTraits&) {
  return Scratch(shape_of(a)).bytes();
}

Status grouped_attention_backward(const GroupedAttentionBackwardArgs& a, const Launch& launch) {
  return backward(arrays_of(a), shape_of(a), a.h, launch);
}

}  // namespace pogo
