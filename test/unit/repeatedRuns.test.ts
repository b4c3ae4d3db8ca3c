import { describe, expect, test } from 'vitest';
import type { ClaimRun } from '../../bench/claimRuns.js';
import { countedRuns, leastTimes, metOnce, repeatedRuns } from '../../bench/repeatedRuns.js';

/** Two claims of ten steps of 20 ms; a duty of 300 ms, of which each of five drawn steps is 40. */
const RUN: ClaimRun = {
  steps: 10,
  stepsMs: Array.from({ length: 10 }, () => 20),
  stepMs: 20,
  mineMs: 1000,
  dutyMs: 300,
  readMs: 20,
  replayMs: 30,
  hashMs: 50,
  unitMs: 150,
  modelMs: 5,
  heldOutMs: 35,
  samples: 7,
  drawnSteps: [5, 5],
  verifyMs: 1100,
  blobBytes: [1, 2],
  others: 0.01,
};
/** A first run, which never counts. */
const FIRST: ClaimRun = { ...RUN, stepMs: 1, mineMs: 1, dutyMs: 1, verifyMs: 1 };

describe('of the runs of a recipe', () => {
  test('the first does not count, nor one beside which others computed, unless there are no others', () => {
    const busy = { ...RUN, others: 0.2 };
    expect(countedRuns([FIRST])).toEqual([FIRST]);
    expect(countedRuns([FIRST, busy, RUN])).toEqual([RUN]);
    expect(countedRuns([FIRST, busy, busy])).toEqual([busy, busy]);
    const { others: _, ...unknown } = RUN;
    expect(countedRuns([FIRST, unknown])).toEqual([unknown]);
  });

  test('the least of each time counts, and what is around is the process without its steps and duties', () => {
    const slow = { ...RUN, stepMs: 25, mineMs: 900, dutyMs: 280, verifyMs: 1300 };
    const least = leastTimes([FIRST, RUN, slow]);
    // 900 of one run, without two claims of ten steps of 20 ms of the other; 1100 without two of 280.
    expect(least).toMatchObject({ stepMs: 20, mineMs: 900, mineAroundMs: 500, verifyMs: 1100, verifyAroundMs: 540 });
    expect(least.duty).toBe(slow);
  });

  test('draws of unlike length are made alike: the shorter duty may be the one of more steps', () => {
    // 40 ms a drawn step: seven steps would make 380 of 300.
    const more = { ...RUN, drawnSteps: [5, 7], unitMs: 210, hashMs: 70, dutyMs: 370, verifyMs: 1190 } as const;
    const least = leastTimes([FIRST, RUN, more]);
    expect(least.duty).toBe(more);
    // As of two claims of seven: 1100 + 4 · 40 of the one, 1190 + 2 · 40 of the other.
    expect(least.verifyMs).toBe(1260);
    expect(least.verifyAroundMs).toBe(1260 - 2 * 370);
  });

  test('a least that one run alone met is named', () => {
    const near = { ...RUN, stepMs: 20.9, mineMs: 1040, dutyMs: 310, verifyMs: 1150 };
    expect(metOnce([FIRST, RUN, near])).toEqual([]);
    expect(metOnce([FIRST, RUN, { ...near, mineMs: 1060 }])).toEqual(['pogo mine']);
    expect(metOnce([FIRST, RUN])).toEqual(['a step', 'pogo mine', 'a duty', 'pogo verify']);
    // The third run meets it again.
    expect(metOnce([FIRST, RUN, { ...near, mineMs: 1060 }, { ...near, stepMs: 40 }])).toEqual([]);
  });

  test('runs go on until each least was met twice, and not beyond the time', async () => {
    const runs = [FIRST, RUN, { ...RUN, mineMs: 900 }, { ...RUN, mineMs: 910 }, RUN, RUN];
    const seen: string[] = [];
    const of = (leastRuns: number, mostMs: number) => {
      let next = 0;
      return repeatedRuns(
        { root: '.', recipe: 'tiny' },
        (run) => `bundle-${run}`,
        { leastRuns, leastMs: 0, mostMs },
        ({ folder }) => {
          seen.push(folder);
          return Promise.resolve(runs[next++] as ClaimRun);
        },
      );
    };
    // Two that count have 1000 and 900 ms; the third meets 900 again.
    expect(await of(2, 60_000)).toHaveLength(4);
    expect(seen).toEqual(['bundle-0', 'bundle-1', 'bundle-2', 'bundle-3']);
    expect(await of(4, 60_000)).toHaveLength(5);
    expect(await of(2, 0)).toHaveLength(1);
  });
});
