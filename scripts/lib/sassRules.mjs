// What the machine code of the CUDA kernels must look like: the one list that scripts/inspect-sass.mjs holds it against.
// Names are kernels as c++filt gives them, without namespaces and arguments; the first rule whose pattern matches decides.

/** Architectures and the tensor-core instruction of each. */
export const ARCHITECTURES = {
  sm_80: /\bIMMA\b/,
  sm_90: /\bIMMA\b/,
  sm_90a: /\bIGMMA\b/,
};

/** Kernels that multiply codes: each instance needs tensor-core instructions on every architecture that has it. */
export const TENSOR_KERNELS = [
  /^gemm_kernel</,
  /^wgmma_kernel</,
  /^pingpong_kernel</,
  /^attention_(forward|sums|keys|queries)_kernel</,
];

/**
 * Kernels that need not be free of local memory, with the words that the worst architecture's code loads and stores there today:
 * one more fails. All others count as hot: none.
 */
export const SPILLS_ALLOWED = [
  // All registers are taken: what does not change in the loop.
  { kernel: /^attention_keys_kernel<256>/, words: 34 },
  { kernel: /^attention_keys_kernel<128>/, words: 14 },
  { kernel: /^attention_queries_kernel<256>/, words: 80 },
  { kernel: /^attention_queries_kernel<128>/, words: 2 },
  { kernel: /^attention_forward_kernel<128>/, words: 3 },
  // Bounded to the registers that let three blocks share a multiprocessor, which is worth more.
  { kernel: /^attention_keys_kernel<64>/, words: 16 },
  // On sm_80 alone: bounded to the registers that let five blocks share a multiprocessor.
  { kernel: /^attention_sums_kernel<64>/, words: 12 },
];

/**
 * Most registers of a thread, where they decide how many blocks share a multiprocessor: 128 for two of 256 threads or four of
 * 128, 168 for three of 128. What launch bounds do not hold is held here.
 */
export const REGISTERS_ALLOWED = [
  { kernel: /^gemm_kernel<MmaLoop<TileShape<[^>]*>, false>/, registers: 128 },
  { kernel: /^wgmma_kernel<WgmmaLoop<false/, registers: 128 },
  // At the launch, 384 threads; then 232 where products are, 40 where stages are asked for.
  { kernel: /^pingpong_kernel</, registers: 168 },
  { kernel: /^attention_(forward|sums)_kernel<(32|64)>/, registers: 128 },
  { kernel: /^attention_keys_kernel<(32|64)>/, registers: 168 },
  { kernel: /^attention_queries_kernel<(32|64)>/, registers: 128 },
  { kernel: /^attention_(forward|sums)_kernel<128>/, registers: 168 },
  { kernel: /^blake3_leaves_kernel/, registers: 64 },
  { kernel: /^quantize4_kernel/, registers: 48 },
  { kernel: /^commit_leaves_kernel/, registers: 64 },
  { kernel: /^norm_backward_kernel/, registers: 128 },
];

/** Kernels whose warpgroups give registers to each other: setmaxnreg in both directions, or the accumulators would not fit. */
export const REGISTERS_MOVED = {
  kernel: /^pingpong_kernel</,
  instructions: [/\bUSETMAXREG\.DEALLOC\b/, /\bUSETMAXREG\.TRY_ALLOC\b/],
};

/** Most instructions of kernels that issue bounds: today's counts on the worst architecture (docs/gpu-attention.md). */
export const INSTRUCTIONS_ALLOWED = [
  { kernel: /^attention_forward_kernel<64>/, instructions: 2560 },
  { kernel: /^attention_sums_kernel<64>/, instructions: 1808 },
  { kernel: /^attention_keys_kernel<64>/, instructions: 3600 },
  { kernel: /^attention_queries_kernel<64>/, instructions: 704 },
];

/**
 * Kernels without PTX of their own (sm_90a is machine code only), for which division shows as the reciprocal's seed:
 * IEEE division and root are made of fused multiply-adds, so these may have them.
 */
export const DIVISION_SEED = /\bMUFU\.(RCP|RSQ)\b/;
