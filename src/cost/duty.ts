/** A verifier's duty: what a seat computes for one claim, part by part. */

import type { Device } from './device.js';
import { weightBytes } from './passBytes.js';
import { logBytes, type Workload } from './workload.js';

/** Held-out sequences whose loss every seat computes. */
export const HELD_OUT_SEQUENCES = 64;

/**
 * Expected number of steps of which j units are drawn, by j from 0 to M: `samples` drawn without replacement from K steps
 * of M units.
 */
export function stepsByUnitsDrawn(steps: number, unitsPerStep: number, samples: number): number[] {
  const [M, n, rest] = [unitsPerStep, samples, (steps - 1) * unitsPerStep];
  if (steps === 1) return Array.from({ length: M + 1 }, (_, j) => (j === n ? 1 : 0));
  // From the end that is possible and by ratios of neighbours, as logarithms: factorials of a long claim have thousands of digits.
  const fromNone = n <= rest;
  const ofEnd = (available: number): number => {
    let sum = 0;
    for (let i = 0; i < M; i += 1) sum += Math.log((available - i) / (rest + M - i));
    return sum;
  };
  const logs = new Array<number>(M + 1).fill(Number.NEGATIVE_INFINITY);
  const ratio = (j: number): number => Math.log(((M - j) * (n - j)) / ((j + 1) * (rest - n + j + 1)));
  logs[fromNone ? 0 : M] = ofEnd(fromNone ? rest + M - n : n);
  if (fromNone) for (let j = 0; j < Math.min(M, n); j += 1) logs[j + 1] = (logs[j] as number) + ratio(j);
  else for (let j = M - 1; j >= n - rest; j -= 1) logs[j] = (logs[j + 1] as number) - ratio(j);
  return logs.map((log) => steps * Math.exp(log));
}

/**
 * The same where it is known from how many steps the units were drawn: those steps have one unit at least, and fewer steps
 * have more units each. Of all ways in which units can lie in them the mean number of units a step decides; for two units a
 * step that leaves no choice.
 *
 * @param drawnSteps from samples ÷ unitsPerStep to the lesser of `steps` and `samples`
 */
export function stepsByUnitsKnown(steps: number, unitsPerStep: number, samples: number, drawnSteps: number): number[] {
  const M = unitsPerStep;
  const mean = Math.min(M, Math.max(1, samples / drawnSteps));
  /** Shares of the drawn steps by j from 1 to M: ways to choose j of M, times tilt^j. */
  const shares = (logTilt: number): number[] => {
    let log = 0;
    const logs = Array.from({ length: M }, (_, i) => {
      log += Math.log((M - i) / (i + 1)) + logTilt;
      return log;
    });
    const most = Math.max(...logs);
    const weights = logs.map((one) => Math.exp(one - most));
    const sum = weights.reduce((total, weight) => total + weight, 0);
    return weights.map((weight) => weight / sum);
  };
  // The mean rises with the tilt; beyond these ends it is 1 or M to the last digit.
  let [low, high] = [-50, 50];
  for (let i = 0; i < 100; i += 1) {
    const middle = (low + high) / 2;
    const found = shares(middle).reduce((sum, share, j) => sum + (j + 1) * share, 0);
    if (found < mean) low = middle;
    else high = middle;
  }
  return [steps - drawnSteps, ...shares(high).map((share) => drawnSteps * share)];
}

/** Expected number of different steps among `samples` units drawn without replacement from K steps of M units. */
export function stepsOfDraw(steps: number, unitsPerStep: number, samples: number): number {
  return steps - (stepsByUnitsDrawn(steps, unitsPerStep, samples)[0] as number);
}

/** Parts of a verifier's duty, in seconds on one machine. */
export interface Duty {
  /** Drawn units, and the integer weights at their steps. */
  readonly units: number;
  /** Beside the drawn units: their batches drawn, their tokens gathered, their bytes and losses compared. */
  readonly compare: number;
  /** The log's replay: commit passes. */
  readonly replay: number;
  /** The log read from disk, hashed and looked through. */
  readonly read: number;
  /** State roots at drawn steps and at the end. */
  readonly hash: number;
  /** The 4-bit model and its diff. */
  readonly model: number;
  readonly heldOut: number;
}

/**
 * @param drawnSteps steps that the units were really drawn from; the expected number where it is not known
 */
export function dutyOf(work: Workload, device: Device, samples: number, drawnSteps?: number): Duty {
  const { stepsPerClaim: steps, unitsPerStep, length } = work;
  const { lanes } = device;
  const alone = device.unitSeconds(work).value;
  const beside = alone * device.together.value;
  const waits = (seconds: number): number => device.waits(seconds).value;
  /** Work of all lanes at once, and the tasks that each takes for it one after the other. */
  const parallel = (seconds: number, rounds = 1): number => seconds + rounds * device.trip.value;
  const weights = parallel(weightBytes(length) / device.weights.value);
  /** Units of one step side by side, in rounds of as many as there are lanes; one left over computes alone. */
  const unitsOfStep = (units: number): number => {
    const rounds = Math.floor(units / lanes);
    const left = units % lanes;
    const shared = (rounds + (left > 1 ? 1 : 0)) * beside;
    const computed = lanes === 1 ? units * alone : shared + (shared > 0 ? waits(shared) : 0) + (left === 1 ? alone : 0);
    return parallel(computed, Math.ceil(units / lanes));
  };
  const byUnits =
    drawnSteps === undefined
      ? stepsByUnitsDrawn(steps, unitsPerStep, samples)
      : stepsByUnitsKnown(steps, unitsPerStep, samples, drawnSteps);
  const drawn = steps - (byUnits[0] as number);
  let units = drawn * weights;
  for (const [j, count] of byUnits.entries()) if (j > 0) units += count * unitsOfStep(j);
  const sequences = HELD_OUT_SEQUENCES / lanes;
  const losses = sequences * device.lossSeconds(work).value * device.together.value;
  // The model is unpacked by one lane’s worth of bandwidth: read, and written as fp32.
  const unpack = (work.modelBytes + 4 * length) / (device.commit.value / lanes);
  return {
    units,
    compare: samples * device.compare(work.unitBytes).value,
    replay: steps * device.replay(work).value,
    read: steps * device.read(logBytes(work)).value,
    hash: (drawn + 1) * device.stateHash(work).value,
    model: device.model(work.modelBytes).value,
    heldOut: 2 * (unpack + weights + parallel(losses) + (lanes === 1 ? 0 : waits(losses))),
  };
}
