/**
 * Typed kernels for benchmark harnesses: `import … from 'proof-of-gradient/kernels'`.
 *
 * ```ts
 * const { kernels } = openBackend({ require: 'cpu' });
 * kernels.gemm({ a, aScales, b, bScales, y, M: 1024, N: 1024, K: 1024 });
 * ```
 */
export { type OpenBackendOptions, openBackend } from './backend/open.js';
export { type Kernels, OPERATIONS, type OperationName, PURPOSE } from './backend/ops.js';
export { assertSelfTest, type SelfTestResult, selfTest } from './backend/selfTest.js';
export type { Backend, BackendMiss, BackendName, IsaName } from './backend/types.js';
