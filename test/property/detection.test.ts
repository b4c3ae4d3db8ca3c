/**
 * Detection, measured: cheaters that forge a fraction of a claim's units, against the shipped draw of units by a
 * verifier's own signature. No training: a cheater is found when a forged unit is drawn. The observed rate must lie
 * within 3σ of the hypergeometric formula.
 *
 * The table that it prints is in docs/protocol.md. Twenty cheaters who really train are in test/attacks (T7).
 */
import { describe, expect, it } from 'vitest';
import { loadRecipe } from '../../src/model/recipe.js';
import { badUnits, committeeDetection, samplesForDetection } from '../../src/protocol/detection.js';
import { deriveHash, u64Bytes } from '../../src/protocol/domains.js';
import { drawUnits, signDraw } from '../../src/protocol/draws.js';
import { nativeBls } from '../support/testChain.js';

const CHEATERS = 10_000;
/** Signatures are unique and hashed before they draw, so that a hash of a counter draws alike; every 100th is a real one. */
const REAL_SIGNATURES = 100;
const FRACTIONS_PPM = [500_000, 100_000, 30_000, 10_000];

interface Row {
  readonly fraction: string;
  readonly bad: number;
  readonly samples: number;
  readonly expected: number;
  readonly observed: number;
  readonly sigmas: number;
}

/** Units of a claim of the recipe, as numbers. */
function measure(recipeName: string, fractionPpm: number, verifiers: number): Row {
  const recipe = loadRecipe(recipeName);
  const { stepsPerClaim: steps, unitsPerStep } = recipe;
  const population = steps * unitsPerStep;
  const bad = badUnits(population, fractionPpm);
  const samples = samplesForDetection(population, recipe.detection.fractionPpm, recipe.detection.targetPpm, verifiers);
  const keys = nativeBls.deriveKey(new Uint8Array(32).fill(4), 'verifier', 0);
  let found = 0;
  for (let cheater = 0; cheater < CHEATERS; cheater += 1) {
    const name = deriveHash('cheater', u64Bytes(cheater), u64Bytes(fractionPpm));
    const forged = new Set(
      drawUnits(deriveHash('forged', name), steps, unitsPerStep, bad).map((u) => u.stepIndex * unitsPerStep + u.unit),
    );
    const caught = Array.from({ length: verifiers }, (_, verifier) => {
      const beacon2 = deriveHash('beacon 2', name, u64Bytes(verifier));
      const seed = cheater % REAL_SIGNATURES === 0 ? signDraw(nativeBls, keys, beacon2, name) : beacon2;
      return drawUnits(seed, steps, unitsPerStep, samples).some((u) => forged.has(u.stepIndex * unitsPerStep + u.unit));
    });
    if (caught.includes(true)) found += 1;
  }
  const expected = committeeDetection(population, bad, samples, verifiers);
  const sigma = Math.sqrt((expected * (1 - expected)) / CHEATERS);
  const observed = found / CHEATERS;
  const sigmas = sigma === 0 ? (observed === expected ? 0 : Number.POSITIVE_INFINITY) : (observed - expected) / sigma;
  return { fraction: `${fractionPpm / 10_000} %`, bad, samples, expected, observed, sigmas };
}

describe(`detection by the draw of units, ${CHEATERS} cheaters a fraction`, () => {
  it.each([
    ['gpt2-124m', 1],
    ['moby', 4],
  ] as const)('%s, %i verifier(s): within 3 sigma of the formula', (recipe, verifiers) => {
    const rows = FRACTIONS_PPM.map((fraction) => measure(recipe, fraction, verifiers));
    for (const row of rows) {
      const { fraction, bad, samples, expected, observed, sigmas } = row;
      const numbers = [expected.toFixed(4), observed.toFixed(4), sigmas.toFixed(1)].join(' | ');
      process.stdout.write(`| ${recipe}, ${verifiers} | ${fraction} | ${bad} | ${samples} | ${numbers} |\n`);
      expect(Math.abs(sigmas)).toBeLessThanOrEqual(3);
    }
  });
});
