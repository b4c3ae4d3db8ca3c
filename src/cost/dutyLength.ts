/**
 * How long a claim must be for a seat's duty to stay below a share of training. A seat draws about as many units from a long
 * claim as from a short one, so the share of what it computes falls with the length, down to the replay of the log.
 */
import { type Analysis, analyse, type CostInputs } from './analysis.js';
import type { Device } from './device.js';
import type { Workload } from './workload.js';

/** What a verifier's duty is meant to stay below. */
export const DUTY_SHARE = 0.01;
/** Longest claim that is looked at. */
const MOST_STEPS = 1 << 20;

/**
 * The shortest claim for which a seat's machine time is at most `share` of the miner's.
 *
 * @returns its analysis; undefined where replaying and hashing alone take more
 */
export function shortestClaimWithin(
  work: Workload,
  device: Device,
  inputs: CostInputs,
  share = DUTY_SHARE,
): Analysis | undefined {
  const at = (stepsPerClaim: number): Analysis => analyse({ ...work, stepsPerClaim }, device, inputs);
  const holds = (analysis: Analysis): boolean => analysis.verifyToTrain.value <= share;
  let high = 1;
  while (!holds(at(high))) {
    if (high >= MOST_STEPS) return undefined;
    high *= 2;
  }
  let low = Math.max(1, high / 2);
  while (low < high) {
    const middle = Math.floor((low + high) / 2);
    if (holds(at(middle))) high = middle;
    else low = middle + 1;
  }
  return at(high);
}
