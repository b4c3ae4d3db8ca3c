import { afterEach, describe, expect, it, vi } from 'vitest';
import { referenceKernels } from '../../src/backend/reference.js';
import { checkVector } from '../../src/backend/selfTest.js';
import { BORDER_CASES } from '../../src/backend/vectorBorders.js';
import { VECTOR_CASES, type VectorCase } from '../../src/backend/vectorCases.js';

/** The constants that the reference sees: getters over this table, so that a test can change one. */
const table = vi.hoisted((): { values: Record<string, number> } => ({ values: {} }));

vi.mock('../../src/reference/constants.js', async (original) => {
  table.values = { ...(await original<Record<string, number>>()) };
  const live = {};
  for (const name of Object.keys(table.values)) {
    Object.defineProperty(live, name, { enumerable: true, get: () => table.values[name] });
  }
  return live;
});

/**
 * Constants whose last bit shows in no operation, with the reason.
 * The vectors cannot find these, and no two backends can disagree by them.
 */
const INVISIBLE: Readonly<Record<string, string>> = {
  F32_ONE: 'native code only; the reference writes 1',
  F32_GELU_MAX: 'no u gives the binary32 next to 64 as w; the two u around it are in the vectors',
  F32_EXP2_MAX: 'no operation takes exp2 beyond 64',
  F32_FLUSH_BETA: 'βᵗ is a scalar of the state, advanced in TypeScript on every backend',
  F32_Q4_C: 'only its reciprocal is used',
  F32_MODEL8_C: 'only its reciprocal is used',
  U32_LOG2_OFFSET: 'log2 is continuous at the seam: both sides round to the same bits there',
};

const word = new Uint32Array(1);
const float = new Float32Array(word.buffer);

/** The constant with its last bit flipped. */
function flipped(name: string, value: number): number {
  if (name.startsWith('U32')) return (value ^ 1) >>> 0;
  float[0] = value;
  word[0] ^= 1;
  return float[0];
}

/** The first of these cases that the reference fails with the table as it is. */
function firstFailure(cases: readonly VectorCase[] = VECTOR_CASES.filter((c) => c.quick)): string | undefined {
  // The cases at the borders stand last and are the likeliest to differ.
  for (const vector of cases.toReversed()) {
    const failure = checkVector(referenceKernels, vector);
    if (failure !== undefined) return failure;
  }
  return undefined;
}

describe('the start-up vectors see the last bit of every constant', () => {
  const original = { ...table.values };

  afterEach(() => {
    table.values = { ...original };
  });

  it('nothing fails without a mutation', () => {
    expect(Object.keys(original).length).toBeGreaterThan(40);
    expect(firstFailure(BORDER_CASES)).toBeUndefined();
  });

  for (const [name, value] of Object.entries(original)) {
    if (name in INVISIBLE) continue;
    it(name, () => {
      table.values[name] = flipped(name, value);
      expect(firstFailure() ?? 'no vector fails').toContain('expected');
    });
  }

  it('and the list of those that are invisible is true', () => {
    for (const name of Object.keys(INVISIBLE)) {
      table.values = { ...original, [name]: flipped(name, original[name]) };
      expect(firstFailure(BORDER_CASES), name).toBeUndefined();
    }
  });
});
