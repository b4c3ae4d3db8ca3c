/**
 * Usefulness: the bonus for claims that made the 4-bit model better (docs/protocol.md §8). It only scales a bonus;
 * correct work always earns the base reward, and nothing here slashes.
 *
 * Losses are fp32 bits that all verifiers computed alike. They enter the ledger as integers, loss · 2^32, which is exact
 * for every loss below 2^20 but for bits under 2^-32 that are cut off.
 */
import { bitsToFloat } from '../model/fp32.js';
import { GAIN_OFFSET, type LedgerState } from './stateTypes.js';

/** Recent finalized claims whose median gain sets the bar. */
const MEDIAN_CLAIMS = 16;

/** A loss in 2^-32 nats a token; undefined for bits that are no loss (NaN, Inf, negative, absurd). */
export function lossUnits(bits: number): bigint | undefined {
  const value = bitsToFloat(bits);
  return value >= 0 && value < 2 ** 20 ? BigInt(Math.floor(value * 2 ** 32)) : undefined;
}

/** before − after; 0 where either is no loss. */
export function claimGain(beforeBits: number, afterBits: number): bigint {
  const before = lossUnits(beforeBits);
  const after = lossUnits(afterBits);
  return before === undefined || after === undefined ? 0n : before - after;
}

/** Gain over a claim and its finalized ancestors, back over at least `usefulnessSteps` steps as far as there are. */
export function windowGain(state: LedgerState, gain: bigint, ownSteps: number): bigint {
  let steps = ownSteps;
  let sum = gain;
  for (const ancestor of [...state.finalized].reverse()) {
    if (steps >= state.parameters.usefulnessSteps) break;
    sum += claimGain(ancestor.heldOutBeforeBits, ancestor.heldOutAfterBits);
    steps += ancestor.steps;
  }
  return sum;
}

/** Median of the recent finalized claims' window gains; undefined without any. */
function medianGain(state: LedgerState): bigint | undefined {
  const gains = state.finalized.slice(-MEDIAN_CLAIMS).map((claim) => claim.windowGain - GAIN_OFFSET);
  gains.sort((a, b) => (a < b ? -1 : a > b ? 1 : 0));
  return gains[Math.floor((gains.length - 1) / 2)];
}

/**
 * The bonus of a claim: nothing below max(0, a quarter of the median), else in proportion to gain ÷ median, at most
 * the whole.
 */
export function usefulnessBonus(state: LedgerState, gain: bigint): bigint {
  if (gain <= 0n) return 0n;
  const full = state.parameters.usefulnessBonus;
  const median = medianGain(state);
  if (median === undefined || median <= 0n) return full;
  if (4n * gain < median) return 0n;
  return gain >= median ? full : (full * gain) / median;
}
