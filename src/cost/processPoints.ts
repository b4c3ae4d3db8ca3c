/**
 * What whole processes take, from the lines `claim/mine` and `claim/verify`: each part by the size that it grows with, taken
 * between the measured sizes ({@link BySize}). Constants that do not grow (tasks that go to a lane and back, files that are
 * opened, a process that starts) are in it as they are at that size.
 */

import { type BySize, measuredBySize } from './bySize.js';
import { commitBytes, hashBytes, unitFileLength } from './passBytes.js';
import { detail, type Located, recipeOf, secondsOfStep } from './resultLines.js';

/** Seconds of whole runs of `pogo mine` and `pogo verify`. */
export interface ProcessPoints {
  /** Whether the times are the least of repeated runs; in older lines they are medians, of the first run where it was alone. */
  readonly least: boolean;
  /** Longer than in memory: a step of a miner, by the bytes of its units, which are hashed, written and synced. */
  readonly log: BySize;
  /** A verifier's reading, hashing and looking through the units of a step, by their bytes. */
  readonly read: BySize;
  /** A step of its replay, by the bytes of the commit pass. */
  readonly replay: BySize;
  /** Hashing the state once, by the bytes that are read for it. */
  readonly hash: BySize;
  /** What no part of a duty is, a drawn unit's share of it, by the unit's bytes: batch, tokens, comparison. */
  readonly compare: BySize;
  /** The 4-bit model and its diff at a claim's end, by the model's bytes. */
  readonly model: BySize;
  /** Start and end, by the bytes of the state: filling it, first steps, checkpoints, the bundle. */
  readonly mine: BySize;
  readonly verify: BySize;
}

/** Parts of a duty that a verifier times. */
const TIMED_PARTS = ['readMs', 'replayMs', 'hashMs', 'unitMs', 'modelMs', 'heldOutMs'] as const;

/**
 * Two recipes with a step at least, since what grows and what is fixed are told apart by them; else nothing.
 *
 * @param steps lines `step` of the same file, in memory; a recipe without one says only how long a process starts and ends
 */
export function processOf(
  lines: readonly Located[],
  steps: readonly Located[],
  file: string,
): { readonly process?: ProcessPoints } {
  const [allMines, allVerifies] = ['claim/mine', 'claim/verify'].map((name) =>
    lines.filter(({ line }) => line.name === name),
  ) as [Located[], Located[]];
  // Others, of a few short steps, say what starts and ends, and nothing of steps that are long under way.
  const trained = (one: Located): boolean => steps.some((step) => recipeOf(step) === recipeOf(one));
  const [mines, verifies] = [allMines.filter(trained), allVerifies.filter(trained)];
  if (mines.length < 2 || verifies.length < 2) return {};
  const inMemory = (one: Located): number =>
    secondsOfStep(steps.find((step) => recipeOf(step) === recipeOf(one)) as Located);
  const bySize = (
    some: readonly Located[],
    where: string,
    milliseconds: (one: Located) => number,
    size: (one: Located) => number,
  ): BySize =>
    measuredBySize(
      some.map((one) => ({ size: size(one), seconds: milliseconds(one) / 1e3 })),
      `${file}, ${where}`,
    );
  const says =
    (name: string) =>
    (one: Located): number =>
      detail(one, name);
  const length = (one: Located): number => unitFileLength(detail(one, 'unitBytes'));
  const untimed = (one: Located): number =>
    TIMED_PARTS.reduce((rest, part) => rest - detail(one, part), detail(one, 'dutyMs'));
  return {
    process: {
      least: [...allMines, ...allVerifies].every(({ line }) => line.details?.['countedRuns'] !== undefined),
      log: bySize(
        mines,
        'stepMs of the lines claim/mine over the lines step',
        (one) => detail(one, 'stepMs') - 1e3 * inMemory(one),
        says('logBytesPerStep'),
      ),
      read: bySize(
        verifies,
        'readMs of the lines claim/verify',
        (one) => detail(one, 'readMs') / detail(one, 'steps'),
        says('logBytesPerStep'),
      ),
      replay: bySize(
        verifies,
        'replayMs of the lines claim/verify',
        (one) => detail(one, 'replayMs') / detail(one, 'steps'),
        (one) => commitBytes(length(one), detail(one, 'unitsPerStep')),
      ),
      hash: bySize(
        verifies,
        'hashMs of the lines claim/verify',
        // At the drawn steps and the end.
        (one) => detail(one, 'hashMs') / (detail(one, 'drawnSteps') + 1),
        (one) => hashBytes(length(one)),
      ),
      compare: bySize(
        verifies,
        'dutyMs of the lines claim/verify without its timed parts',
        (one) => untimed(one) / detail(one, 'samples'),
        says('unitBytes'),
      ),
      model: bySize(verifies, 'modelMs of the lines claim/verify', says('modelMs'), says('modelBytes')),
      mine: bySize(allMines, 'mineAroundMs of the lines claim/mine', says('mineAroundMs'), says('stateBytes')),
      verify: bySize(
        allVerifies,
        'verifyAroundMs of the lines claim/verify',
        says('verifyAroundMs'),
        says('stateBytes'),
      ),
    },
  };
}
