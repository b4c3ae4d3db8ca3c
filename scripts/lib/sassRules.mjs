// What the machine code of the CUDA kernels must look like: the one list that scripts/inspect-sass.mjs holds it against.
// Names are kernels as c++filt gives them, without namespaces and arguments; the first rule whose pattern matches decides.

/** Architectures and the tensor-core instruction of each. */
export const ARCHITECTURES = {
  sm_80: /\bIMMA\b/,
  sm_90: /\bIMMA\b/,
  sm_90a: /\bIGMMA\b/,
};

/** Kernels that multiply codes: each instance needs tensor-core instructions on every architecture that has it. */
export const TENSOR_KERNELS = [/^gemm_kernel</, /^attention_(forward|keys|queries)_kernel</];

/**
 * Kernels that need not be free of local memory, with the most words that an instance may load and store there. All others
 * count as hot: none.
 */
export const SPILLS_ALLOWED = [
  // All 255 registers are taken.
  { kernel: /^attention_(forward|keys|queries)_kernel<(128|256)/, words: 64 },
  // Before and behind the loop over key blocks, none in it.
  { kernel: /^attention_forward_kernel<(32|64)/, words: 8 },
  // Bounded to the registers that let three blocks share a multiprocessor; on sm_90 8 of the keys' are in the loop of 1,991
  // instructions over query blocks.
  { kernel: /^attention_(keys|queries)_kernel<(32|64)/, words: 32 },
  // In the epilogue, behind the loop over products.
  { kernel: /^gemm_kernel<WgmmaLoop<[^>]*>, HeadEpilogue>/, words: 24 },
  // Bound by memory; outside its loops.
  { kernel: /^rotate_heads_backward_kernel</, words: 4 },
  // Runs once a claim, bound by memory.
  { kernel: /^patch_apply_kernel/, words: 8 },
];

/**
 * Kernels without PTX of their own (sm_90a is machine code only), for which division shows as the reciprocal's seed:
 * IEEE division and root are made of fused multiply-adds, so these may have them.
 */
export const DIVISION_SEED = /\bMUFU\.(RCP|RSQ)\b/;
