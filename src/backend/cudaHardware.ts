/** CUDA kernels that have run on a GPU and were equal there: written by scripts/gpu-status.mjs from its results. */
export const CUDA_HARDWARE: Readonly<Record<string, { readonly device: string; readonly date: string }>> = {};
