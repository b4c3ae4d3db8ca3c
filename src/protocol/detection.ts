/**
 * How many samples find a cheat: the hypergeometric law behind every verifier's duty.
 *
 * Doubles with + − × ÷ only, so every node computes the same number of samples.
 */
import { PogoError } from '../errors.js';

/**
 * Probability that `samples` draws without replacement from `population` units meet at least one of `bad` ones:
 * 1 − C(population − bad, samples) ÷ C(population, samples).
 */
export function detectionProbability(population: number, bad: number, samples: number): number {
  if (bad <= 0 || samples <= 0) return 0;
  if (samples > population - bad) return 1;
  let miss = 1;
  // One factor per bad unit or per sample, whichever are fewer: C(N−b,k)/C(N,k) is symmetric in b and k.
  const factors = Math.min(bad, samples);
  const other = Math.max(bad, samples);
  for (let i = 0; i < factors; i += 1) miss *= (population - other - i) / (population - i);
  return 1 - miss;
}

/** The same for several verifiers that draw independently of each other, each `samplesEach` without replacement. */
export function committeeDetection(population: number, bad: number, samplesEach: number, verifiers: number): number {
  const missEach = 1 - detectionProbability(population, bad, samplesEach);
  let miss = 1;
  for (let i = 0; i < verifiers; i += 1) miss *= missEach;
  return 1 - miss;
}

/** Bad units of the fraction that a recipe wants found: at least one. */
export function badUnits(population: number, fractionPpm: number): number {
  return Math.max(1, Math.ceil((population * fractionPpm) / 1_000_000));
}

/**
 * Smallest number of samples for each of `verifiers` verifiers, so that together they find a fraction of bad units with
 * the probability asked for.
 *
 * @param population K · M units of a claim
 * @param fractionPpm fraction of bad units, in parts per million
 * @param targetPpm probability of finding one, in parts per million, below 1,000,000 unless all units are to be drawn
 * @throws PogoError RANGE
 */
export function samplesForDetection(population: number, fractionPpm: number, targetPpm: number, verifiers = 1): number {
  if (!Number.isSafeInteger(population) || population < 1) {
    throw new PogoError('RANGE', `expected at least one unit to sample from, found ${population}`);
  }
  if (!(fractionPpm > 0 && fractionPpm <= 1_000_000) || !(targetPpm >= 0 && targetPpm <= 1_000_000)) {
    throw new PogoError(
      'RANGE',
      `expected a fraction and a target in parts per million (0 to 1000000), found ${fractionPpm} and ${targetPpm}`,
    );
  }
  if (!Number.isSafeInteger(verifiers) || verifiers < 1) {
    throw new PogoError('RANGE', `expected at least one verifier, found ${verifiers}`);
  }
  const bad = badUnits(population, fractionPpm);
  const target = targetPpm / 1_000_000;
  let low = 0;
  let high = population;
  while (low < high) {
    const middle = Math.floor((low + high) / 2);
    if (committeeDetection(population, bad, middle, verifiers) >= target) high = middle;
    else low = middle + 1;
  }
  return low;
}
