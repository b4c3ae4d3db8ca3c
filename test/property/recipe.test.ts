import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { PogoError } from '../../src/errors.js';
import { toHex } from '../../src/hex.js';
import {
  bitsAreFinite,
  bitsToDecimal,
  bitsToFloat,
  decimalToBits,
  floatToBits,
  rationalToBits,
} from '../../src/model/fp32.js';
import { decodeRecipe, encodeRecipe, loadRecipe, type Recipe, recipeRoot } from '../../src/model/recipe.js';
import { SMALL_GEMMA, SMALL_LORA } from '../support/optionRecipes.js';

const moby = loadRecipe('moby');

/** A legal other value for every field of a recipe. */
const CHANGES: Readonly<Record<string, (recipe: Recipe) => Recipe>> = {
  name: (r) => ({ ...r, name: 'other' }),
  vocab: (r) => ({ ...r, vocab: 257 }),
  layers: (r) => ({ ...r, layers: r.layers + 1 }),
  width: (r) => ({ ...r, width: 256 }),
  heads: (r) => ({ ...r, heads: 4 }),
  hidden: (r) => ({ ...r, hidden: r.hidden + 64 }),
  context: (r) => ({ ...r, context: r.context + 64 }),
  norm: (r) => ({ ...r, norm: 'layer' }),
  bias: (r) => ({ ...r, bias: !r.bias }),
  normEpsilonBits: (r) => ({ ...r, normEpsilonBits: r.normEpsilonBits ^ 1 }),
  tokenizer: (r) => ({ ...r, tokenizer: 'gpt2', vocab: 50_257 }),
  sequencesPerUnit: (r) => ({ ...r, sequencesPerUnit: r.sequencesPerUnit + 1 }),
  unitsPerStep: (r) => ({ ...r, unitsPerStep: r.unitsPerStep + 1 }),
  stepsPerClaim: (r) => ({ ...r, stepsPerClaim: r.stepsPerClaim + 1, maxStepsPerClaim: r.maxStepsPerClaim + 1 }),
  minStepsPerClaim: (r) => ({ ...r, minStepsPerClaim: r.minStepsPerClaim - 1 }),
  maxStepsPerClaim: (r) => ({ ...r, maxStepsPerClaim: r.maxStepsPerClaim + 1 }),
  beta1: (r) => ({ ...r, optimizer: { ...r.optimizer, beta1Bits: r.optimizer.beta1Bits ^ 1 } }),
  beta2: (r) => ({ ...r, optimizer: { ...r.optimizer, beta2Bits: r.optimizer.beta2Bits ^ 1 } }),
  epsilon: (r) => ({ ...r, optimizer: { ...r.optimizer, epsilonBits: r.optimizer.epsilonBits ^ 1 } }),
  weightDecay: (r) => ({ ...r, optimizer: { ...r.optimizer, weightDecayBits: r.optimizer.weightDecayBits ^ 1 } }),
  learningRate: (r) => ({ ...r, learningRateBits: r.learningRateBits.map((bits, i) => (i === 7 ? bits ^ 1 : bits)) }),
  learningRateLength: (r) => ({ ...r, learningRateBits: r.learningRateBits.slice(0, -1) }),
  ema: (r) => ({ ...r, ema: !r.ema }),
  emaDecayBits: (r) => ({ ...r, emaDecayBits: r.emaDecayBits ^ 1 }),
  dataName: (r) => ({ ...r, data: { ...r.data, name: 'other' } }),
  textRoot: (r) => ({ ...r, data: { ...r.data, textRoot: flip(r.data.textRoot) } }),
  tokensRoot: (r) => ({ ...r, data: { ...r.data, tokensRoot: flip(r.data.tokensRoot) } }),
  tokenizerRoot: (r) => ({ ...r, data: { ...r.data, tokenizerRoot: flip(r.data.tokenizerRoot) } }),
  tokens: (r) => ({ ...r, data: { ...r.data, tokens: r.data.tokens - 1 } }),
  heldOutTokens: (r) => ({ ...r, data: { ...r.data, heldOutTokens: r.data.heldOutTokens - 1 } }),
  seed: (r) => ({ ...r, start: { kind: 'seed', seed: new Uint8Array(32) } }),
  start: (r) => ({ ...r, start: { kind: 'root', root: r.start.kind === 'seed' ? r.start.seed : r.start.root } }),
  fractionPpm: (r) => ({ ...r, detection: { ...r.detection, fractionPpm: 1 } }),
  targetPpm: (r) => ({ ...r, detection: { ...r.detection, targetPpm: 1 } }),
};

function flip(bytes: Uint8Array): Uint8Array {
  return bytes.map((byte, i) => (i === 31 ? byte ^ 1 : byte));
}

describe('the recipe root', () => {
  it('changes with every field', () => {
    const roots = new Map([['none', toHex(recipeRoot(moby))]]);
    for (const [field, change] of Object.entries(CHANGES)) roots.set(field, toHex(recipeRoot(change(moby))));
    expect(new Set(roots.values()).size).toBe(roots.size);
  });

  it('changes with every option', () => {
    const gemma = SMALL_GEMMA.gemma as NonNullable<Recipe['gemma']>;
    const adapter = SMALL_LORA.adapter as NonNullable<Recipe['adapter']>;
    const recipes: Recipe[] = [
      SMALL_GEMMA,
      SMALL_LORA,
      loadRecipe('tiny'),
      { ...SMALL_GEMMA, adapter },
      ...(
        [
          { keyValueHeads: 4 },
          { headSize: 64 },
          { queryScalar: 25 },
          { slidingWindow: 128 },
          { globalEvery: 2 },
          { ropeLocalBase: 10_001 },
          { ropeGlobalBase: 10_001 },
          { ropeGlobalScale: 1 },
          { ropeRoot: flip(gemma.ropeRoot) },
          { embeddingScaleBits: gemma.embeddingScaleBits ^ 1 },
        ] as const
      ).map((change) => ({ ...SMALL_GEMMA, gemma: { ...gemma, ...change } })),
      ...(
        [
          { rank: 9 },
          { alphaBits: adapter.alphaBits ^ 1 },
          { targets: ['qkv'] },
          { targets: ['qkv', 'o', 'proj'] },
          { base: flip(adapter.base) },
        ] as const
      ).map((change) => ({ ...SMALL_LORA, adapter: { ...adapter, ...change } })),
    ];
    const roots = recipes.map((recipe) => toHex(recipeRoot(recipe)));
    expect(new Set(roots).size).toBe(recipes.length);
  });

  it.each([
    ['moby', moby],
    ['gemma', SMALL_GEMMA],
    ['adapter', SMALL_LORA],
  ])('covers every byte of the encoding of %s: a flipped bit is refused or gives another root', (_name, recipe) => {
    const bytes = encodeRecipe(recipe);
    const root = toHex(recipeRoot(recipe));
    fc.assert(
      fc.property(fc.nat(bytes.length * 8 - 1), (bit) => {
        const flipped = bytes.slice();
        flipped[bit >> 3] ^= 1 << (bit & 7);
        try {
          expect(toHex(recipeRoot(decodeRecipe(flipped)))).not.toBe(root);
        } catch (error) {
          if (!(error instanceof PogoError)) throw error;
          expect(['MALFORMED', 'RECIPE']).toContain(error.code);
        }
      }),
      { numRuns: 300 },
    );
  });
});

describe('fp32 from integers', () => {
  const finiteBits = fc.integer({ min: 0, max: 0xffffffff }).filter((bits) => bitsAreFinite(bits));

  it('rounds fractions as IEEE division of exact operands does', () => {
    // Both operands are exact in fp32, so the hardware's one rounding is the oracle.
    const operand = fc.integer({ min: 1, max: (1 << 24) - 1 });
    fc.assert(
      fc.property(operand, operand, fc.integer({ min: -140, max: 100 }), (n, d, power) => {
        const numerator = power >= 0 ? BigInt(n) << BigInt(power) : BigInt(n);
        const denominator = power >= 0 ? BigInt(d) : BigInt(d) << BigInt(-power);
        // The double quotient is exact enough: fl32(fl64(a/b)) = fl32(a/b) for 24-bit a and b in the normal range.
        const quotient = (n / d) * 2 ** power;
        if (Math.abs(quotient) < 2 ** -125) return;
        expect(rationalToBits(numerator, denominator)).toBe(floatToBits(quotient));
      }),
    );
  });

  it('gives every finite fp32 back from its own value, subnormals included', () => {
    fc.assert(
      fc.property(finiteBits, (bits) => {
        const value = bitsToFloat(bits);
        if (value === 0) return;
        const scaled = BigInt(Math.abs(value) * 2 ** 149); // every fp32 is an integer times 2^-149; exact as a double
        expect(rationalToBits(value < 0 ? -scaled : scaled, 1n << 149n)).toBe(bits);
      }),
    );
  });

  it('prints decimals that read back as the same bits', () => {
    fc.assert(
      fc.property(finiteBits, (bits) => {
        if (bits === 0x80000000) return; // −0: no recipe may hold it
        expect(decimalToBits(String(bitsToDecimal(bits)))).toBe(bits);
      }),
      { numRuns: 300 },
    );
  });

  it('rounds ties to even and overflows to infinity', () => {
    expect(rationalToBits(0x1000001n, 0x1000000n)).toBe(0x3f800000);
    expect(rationalToBits(0x1000003n, 0x1000000n)).toBe(0x3f800002);
    expect(rationalToBits(1n, 1n << 150n)).toBe(0);
    expect(rationalToBits(3n, 1n << 150n)).toBe(2);
    expect(rationalToBits(1n << 128n, 1n)).toBe(0x7f800000);
    expect(rationalToBits(-((1n << 128n) - 1n), 1n)).toBe(0xff800000);
  });
});
