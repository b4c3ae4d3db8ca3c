// BLAKE3 of a vector with every chaining value kept: one thread a leaf, then one launch a level.
//
// The instruction issue rate decides (7 rounds of 8 mixes a block), not memory: the sixteen words of a block are read by
// 16-byte loads and the lines stay in L1 while a leaf's neighbours are hashed.
#include "blake3_compress.h"
#include "device.h"

namespace pogo {
namespace {

constexpr int THREADS = 128;

__global__ void __launch_bounds__(THREADS) blake3_leaves_kernel(const uint8_t* __restrict__ bytes, uint64_t length,
                                                                uint64_t first_leaf, uint32_t* __restrict__ values,
                                                                uint64_t leaves) {
  uint64_t leaf = (uint64_t)blockIdx.x * THREADS + threadIdx.x;
  if (leaf >= leaves) return;
  uint64_t start = leaf * POGO_BLAKE3_CHUNK;
  uint64_t left = length - start;
  uint32_t size = left < POGO_BLAKE3_CHUNK ? (uint32_t)left : POGO_BLAKE3_CHUNK;
  uint32_t cv[8];
  pogo_blake3_chunk(bytes + start, size, first_leaf + leaf, false, cv);
#pragma unroll
  for (int i = 0; i < 8; i += 1) values[8 * leaf + i] = cv[i];
}

__global__ void __launch_bounds__(THREADS) blake3_parents_kernel(const uint32_t* __restrict__ children,
                                                                 uint32_t* __restrict__ parents, uint64_t count) {
  uint64_t i = (uint64_t)blockIdx.x * THREADS + threadIdx.x;
  if (2 * i >= count) return;
  uint32_t cv[8];
  if (2 * i + 1 < count) {
    pogo_blake3_parent(children + 16 * i, false, cv);
  } else {
    // An odd last value moves up unchanged.
    for (int k = 0; k < 8; k += 1) cv[k] = children[16 * i + k];
  }
#pragma unroll
  for (int k = 0; k < 8; k += 1) parents[8 * i + k] = cv[k];
}

/** The hash: the only leaf, or the last two values, compressed once more with the ROOT flag. */
__global__ void blake3_root_kernel(const uint8_t* bytes, uint64_t length, uint64_t first_leaf, const uint32_t* pair,
                                   uint32_t* root) {
  uint32_t cv[8];
  if (pair == nullptr) {
    pogo_blake3_chunk(bytes, (uint32_t)length, first_leaf, true, cv);
  } else {
    pogo_blake3_parent(pair, true, cv);
  }
  for (int i = 0; i < 8; i += 1) root[i] = cv[i];
}

unsigned blocks_for(uint64_t threads) { return (unsigned)((threads + THREADS - 1) / THREADS); }

}  // namespace

Status blake3_tree(const uint8_t* bytes, size_t length, uint64_t first_leaf, uint8_t* tree) {
  size_t leaves = (length + POGO_BLAKE3_CHUNK - 1) / POGO_BLAKE3_CHUNK;
  size_t values = blake3_tree_values(leaves);
  DeviceMemory input, output;
  POGO_TRY(input.allocate(length), "cudaMalloc of blake3's input");
  POGO_TRY(output.allocate(32 * values), "cudaMalloc of blake3's tree");
  POGO_TRY(cudaMemcpy(input.as<void>(), bytes, length, cudaMemcpyHostToDevice), "copy of blake3's input");
  uint32_t* level = output.as<uint32_t>();
  blake3_leaves_kernel<<<blocks_for(leaves), THREADS>>>(input.as<uint8_t>(), length, first_leaf, level, leaves);
  POGO_TRY(cudaGetLastError(), "blake3_leaves_kernel");
  const uint32_t* pair = nullptr;
  for (size_t count = leaves; count > 1;) {
    uint32_t* next = level + 8 * count;
    blake3_parents_kernel<<<blocks_for((count + 1) / 2), THREADS>>>(level, next, count);
    POGO_TRY(cudaGetLastError(), "blake3_parents_kernel");
    if (count == 2) pair = level;
    level = next;
    count = (count + 1) / 2;
  }
  blake3_root_kernel<<<1, 1>>>(input.as<uint8_t>(), length, first_leaf, pair, output.as<uint32_t>() + 8 * (values - 1));
  POGO_TRY(cudaGetLastError(), "blake3_root_kernel");
  POGO_TRY(cudaMemcpy(tree, output.as<void>(), 32 * values, cudaMemcpyDeviceToHost), "blake3 kernels");
  return Status();
}

}  // namespace pogo
