/**
 * The cases of the known-answer vectors: shapes and fill rules, without the answers (`vectorData.ts`).
 *
 * Shapes lie at the borders: panels of 1023, 1024, 1025 elements, a second panel, a short last block of 64, codes of
 * ±127 throughout, groups of zeros, subnormals, huge values. Short, so that every process can check its kernels at start.
 */
import { BORDER_CASES } from './vectorBorders.js';
import type { VectorCase } from './vectorCase.js';
import { GEMMA_CASES } from './vectorCasesGemma.js';
import { MODEL_CASES } from './vectorCasesModel.js';
import { PRODUCT_CASES } from './vectorCasesProducts.js';
import { TAPE_CASES } from './vectorCasesTape.js';

export type { VectorCase } from './vectorCase.js';

/** Every case. An operation without one fails the registry's test. */
export const VECTOR_CASES: readonly VectorCase[] = [
  ...PRODUCT_CASES,
  ...TAPE_CASES,
  ...MODEL_CASES,
  ...GEMMA_CASES,
  ...BORDER_CASES,
];
