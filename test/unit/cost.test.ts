import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, test } from 'vitest';
import { benchRecipe } from '../../bench/benchRecipe.js';
import { alternatives } from '../../src/cost/alternatives.js';
import { analyse, claimBytes, DEFAULT_INPUTS, stepSeconds } from '../../src/cost/analysis.js';
import { secondsAt } from '../../src/cost/bySize.js';
import { logBars } from '../../src/cost/chart.js';
import { assumedDevice, H100, measuredDevice } from '../../src/cost/device.js';
import { checkedText } from '../../src/cost/document.js';
import { stepsByUnitsDrawn, stepsByUnitsKnown, stepsOfDraw } from '../../src/cost/duty.js';
import { DUTY_SHARE, shortestClaimWithin } from '../../src/cost/dutyLength.js';
import { MEASURED } from '../../src/cost/measured.js';
import { commitBytes, hashBytes } from '../../src/cost/passBytes.js';
import { fitRate, passSeconds, readPoints } from '../../src/cost/points.js';
import { leastRoundPercent, type PointLine, secondsOfStep, shareOfStep } from '../../src/cost/resultLines.js';
import { figureText } from '../../src/cost/text.js';
import { workloadOf } from '../../src/cost/workload.js';
import { PogoError } from '../../src/errors.js';
import { loadRecipe } from '../../src/model/recipe.js';
import { StepCommitmentListType } from '../../src/protocol/types.js';

const ROOT = join(__dirname, '..', '..');
const committed = (): PointLine[] =>
  readFileSync(join(ROOT, MEASURED.file), 'utf8')
    .trimEnd()
    .split('\n')
    .map((line) => JSON.parse(line) as PointLine);

/** Without whole processes: a line `step` is of a step in memory. */
const inMemory = (): PointLine[] => committed().filter(({ name }) => !name?.startsWith('claim/'));

describe('points', () => {
  test('a fit finds the two rates that made the times, and none below zero', () => {
    const made = [1, 2, 5, 9].map((i) => ({ operations: i * 1e9, bytes: (12 - i) * 1e6 }));
    const samples = made.map((one) => ({ ...one, seconds: passSeconds({ perOperation: 2e-12, perByte: 3e-10 }, one) }));
    const { perOperation, perByte } = fitRate(samples);
    expect(perOperation / 2e-12).toBeCloseTo(1, 9);
    expect(perByte / 3e-10).toBeCloseTo(1, 9);
    const inverse = samples.map((one) => ({ ...one, seconds: 1e-12 * one.operations - 1e-11 * one.bytes }));
    const rate = fitRate(inverse.filter(({ seconds }) => seconds > 0));
    expect(rate.perOperation).toBeGreaterThanOrEqual(0);
    expect(rate.perByte).toBeGreaterThanOrEqual(0);
  });

  test('runs of whole processes beside steps in memory give what processes add, also to a recipe that has no part in them', () => {
    const steps = inMemory().filter(({ name, isa }) => name === 'step' && isa === MEASURED.isa);
    const others = inMemory().filter(({ name, isa }) => name !== 'step' && isa === MEASURED.isa);
    const law = {
      log: [0.002, 1.5e-9],
      read: [0.001, 1e-9],
      replay: [0.0004, 3e-11],
      hash: [0.0006, 7e-11],
      compare: [0.0005, 5e-10],
      model: [0.003, 2e-9],
      mine: [0.6, 5e-9],
      verify: [0.5, 3e-9],
    } as const;
    const runs = steps.flatMap((line): PointLine[] => {
      const work = workloadOf(benchRecipe(String(line.details?.['recipe'])));
      const [log, state] = [work.unitsPerStep * work.unitBytes, 4 * work.vectors * work.length];
      const { modelBytes } = work;
      const details = {
        recipe: line.details?.['recipe'],
        logBytesPerStep: log,
        stateBytes: state,
        modelBytes,
        unitBytes: work.unitBytes,
        unitsPerStep: work.unitsPerStep,
        samples: 27,
        drawnSteps: 18,
        steps: 20,
      };
      const at = ([fixed, perByte]: readonly [number, number], bytes: number): number =>
        1e3 * (fixed + perByte * bytes);
      const parts = {
        readMs: 20 * at(law.read, log),
        replayMs: 20 * at(law.replay, commitBytes(work.length, work.unitsPerStep)),
        hashMs: 19 * at(law.hash, hashBytes(work.length)),
        unitMs: 300,
        modelMs: at(law.model, modelBytes),
        heldOutMs: 40,
      };
      const untimed = 27 * at(law.compare, work.unitBytes);
      const dutyMs = Object.values(parts).reduce((sum, ms) => sum + ms, untimed);
      // A step is its least round, where the line says it.
      const inMemoryMs = Number(line.details?.['leastRoundMs'] ?? (1e3 * work.tokensPerStep) / Number(line.value));
      const stepMs = inMemoryMs + at(law.log, log);
      return [
        { ...line, name: 'claim/mine', details: { ...details, stepMs, mineAroundMs: at(law.mine, state) } },
        {
          ...line,
          name: 'claim/verify',
          details: { ...details, ...parts, dutyMs, verifyAroundMs: at(law.verify, state) },
        },
      ];
    });
    const all = [...steps, ...others, ...runs];
    expect(readPoints([...steps, ...others], 'x').process).toBeUndefined();
    const { process } = readPoints(all, 'x', 'moby');
    for (const name of ['log', 'read', 'replay', 'hash', 'compare', 'model', 'mine', 'verify'] as const) {
      const [fixed, perByte] = law[name];
      // Between the sizes, beyond the largest, and below the smallest, where moby would be.
      for (const bytes of [1e6, 1e8, 1e12]) {
        expect(secondsAt(process![name], bytes) / (fixed + perByte * bytes), `${name} ${bytes}`).toBeCloseTo(1, 6);
      }
    }
    // A recipe without a step says how long a process starts and ends, and nothing else.
    const [mineLine, verifyLine] = runs.slice(0, 2).map((line): PointLine => {
      const details = { ...line.details, recipe: 'tiny', stateBytes: 1e6, mineAroundMs: 100, verifyAroundMs: 50 };
      return { ...line, details: { ...details, readMs: 9e9, replayMs: 9e9, hashMs: 9e9, modelMs: 9e9, dutyMs: 9e9 } };
    });
    const withTiny = readPoints([...all, mineLine!, verifyLine!], 'x', 'moby').process!;
    expect([secondsAt(withTiny.mine, 1e6), secondsAt(withTiny.verify, 1e6)]).toEqual([0.1, 0.05]);
    const { mine: _, verify: __, ...duty } = process!;
    // Lines that say how many of their runs count have the least times.
    expect([process!.least, withTiny.least]).toEqual([false, false]);
    const counting = all.map((line) => ({ ...line, details: { ...line.details, countedRuns: 3 } }));
    expect(readPoints(counting, 'x').process?.least).toBe(true);
    expect(withTiny).toMatchObject(duty);
    // They lengthen what they are part of, by what they say.
    const work = workloadOf(benchRecipe('moby'));
    const device = (lines: readonly PointLine[]) => measuredDevice(readPoints(lines, 'x', 'moby'));
    const within = device(all);
    const added = stepSeconds(work, within, 1).value - stepSeconds(work, device([...steps, ...others]), 1).value;
    expect(added).toBeCloseTo(law.log[0] + law.log[1] * work.unitsPerStep * work.unitBytes, 6);
    expect(within.around('mine', 1e9).value).toBeCloseTo(0.6 + 5, 6);
  });

  test('profiles of a sequence’s loss make the held-out loss, and nothing else', () => {
    const work = workloadOf(benchRecipe('moby'));
    const lines = inMemory().filter(({ isa, name }) => isa === MEASURED.isa && !name?.startsWith('loss-profile/'));
    const step = lines.find(({ name }) => name === 'step') as PointLine;
    const rate = { perOperation: 3e-12, perByte: 0 };
    const profile = [...work.sequenceLoss].map(([operation, cost]): PointLine => {
      const seconds = passSeconds(cost.operations > 0 ? rate : { perOperation: 0, perByte: 1e-10 }, cost);
      const details = { recipe: 'moby', operation: `${operation}, other` };
      return { ...step, ...cost, name: `loss-profile/${operation}`, value: 1e3 * seconds, details };
    });
    const [before, after] = [lines, [...lines, ...profile]].map((some) => measuredDevice(readPoints(some, 'x')));
    const seconds = profile.reduce((sum, { value }) => sum + Number(value) / 1e3, 0);
    expect(after!.lossSeconds(work).value / seconds).toBeCloseTo(1, 9);
    expect(before!.lossSeconds(work).value).not.toBeCloseTo(after!.lossSeconds(work).value, 4);
    expect(after!.unitSeconds(work).value).toBe(before!.unitSeconds(work).value);
    expect(stepSeconds(work, after!, 1).value).toBe(stepSeconds(work, before!, 1).value);
  });

  test('the committed points are those of the committed results', () => {
    const again = readPoints(committed(), MEASURED.file);
    const short = JSON.parse(
      JSON.stringify(again, (_, value: unknown) => (typeof value === 'number' ? Number(value.toPrecision(6)) : value)),
    ) as unknown;
    expect(short).toEqual(MEASURED);
  });

  test('each recipe of the results is predicted from the others within 15 %: a unit, and a step from tokens to root', () => {
    const lines = inMemory();
    const steps = lines.filter(({ name, isa }) => name === 'step' && isa === MEASURED.isa);
    expect(steps.length).toBeGreaterThanOrEqual(3);
    for (const line of steps) {
      const name = String(line.details?.['recipe']);
      const device = measuredDevice(readPoints(lines, MEASURED.file, name));
      const work = workloadOf(benchRecipe(name));
      const unit = lines.find(
        (l) => l.name === 'unit-replay' && l.isa === MEASURED.isa && l.details?.['recipe'] === name,
      );
      expect(Math.abs((1e3 * device.unitSeconds(work).value) / Number(unit?.value) - 1), `${name}: unit`).toBeLessThan(
        0.15,
      );
      const seconds = secondsOfStep({ line, source: '' });
      expect(Math.abs(stepSeconds(work, device, 1).value / seconds - 1), `${name}: step`).toBeLessThan(0.15);
    }
  });

  test('a step is its least round where the line says so, with the shares of that round; else the median of all', () => {
    const details = { tokensPerStep: 4096, unitPercent: 84, idlePercent: 11 };
    const older = { line: { type: 'bench', name: 'step', value: 128_000, details }, source: '' };
    expect(secondsOfStep(older)).toBe(0.032);
    expect([shareOfStep(older, 'unit'), shareOfStep(older, 'idle')]).toEqual([0.84, 0.11]);
    const least = { leastRoundMs: 28, [leastRoundPercent('unit')]: 85, [leastRoundPercent('idle')]: 10 };
    const line = { ...older, line: { ...older.line, details: { ...details, ...least } } };
    expect(secondsOfStep(line)).toBe(0.028);
    expect([shareOfStep(line, 'unit'), shareOfStep(line, 'idle')]).toEqual([0.85, 0.1]);
  });

  test('a file without steps is refused', () => {
    expect(() => readPoints([], 'x.jsonl')).toThrow(/x\.jsonl: expected lines of pogo bench/);
  });
});

describe('the length of a claim from which on a seat’s duty is within a hundredth of training', () => {
  test.each([100_000, 10_000])('is the shortest such one, and its parts are all of it (%i ppm)', (fractionPpm) => {
    const work = workloadOf(loadRecipe('gpt2-124m'));
    const inputs = { ...DEFAULT_INPUTS, fractionPpm };
    const device = measuredDevice(MEASURED);
    const within = shortestClaimWithin(work, device, inputs)!;
    const { stepsPerClaim } = within.work;
    expect(within.verifyToTrain.value).toBeLessThanOrEqual(DUTY_SHARE);
    const shorter = analyse({ ...work, stepsPerClaim: stepsPerClaim - 1 }, device, inputs);
    expect(shorter.verifyToTrain.value).toBeGreaterThan(DUTY_SHARE);
    const parts = Object.values(within.duty).reduce((sum, seconds) => sum + seconds, 0);
    expect(parts).toBe(within.verifySeconds.value);
    expect(within.detection).toBeGreaterThanOrEqual(0.99);
  });

  test('is none where replaying the log alone takes more', () => {
    const work = workloadOf(loadRecipe('gpt2-124m'));
    expect(shortestClaimWithin(work, measuredDevice(MEASURED), DEFAULT_INPUTS, 1e-6)).toBeUndefined();
  });
});

describe('a claim', () => {
  test('bytes of the list are those of its SSZ encoding, header and log those of the tables', () => {
    const work = workloadOf(loadRecipe('moby'));
    const root = new Uint8Array(32);
    const step = {
      step: 0,
      preStateRoot: root,
      batchDigest: root,
      unitRoots: Array.from({ length: work.unitsPerStep }, () => root),
      unitLosses: Array.from({ length: work.unitsPerStep }, () => 0),
      postStateRoot: root,
    };
    const list = Array.from({ length: work.stepsPerClaim }, () => step);
    expect(claimBytes(work).list).toBe(StepCommitmentListType.serialize(list).length);
    expect(claimBytes(work).log).toBe(40 * work.unitBytes);
  });

  test('expected steps of a draw: exact against counting on small cases', () => {
    // Three steps of two units, two drawn: 3 of 15 pairs lie in one step.
    expect(stepsOfDraw(3, 2, 2)).toBeCloseTo((3 * 1 + 12 * 2) / 15, 12);
    expect(stepsOfDraw(3, 2, 6)).toBe(3);
    expect(stepsOfDraw(3, 2, 0)).toBe(0);
  });

  test('steps by how many units are drawn of them: as many as there are, with all units of the draw, as counting says', () => {
    const cases = [
      [3, 2, 2],
      [20, 2, 27],
      [20, 16, 80],
      [4, 3, 11],
      [1, 4, 3],
      [320, 16, 11],
    ] as const;
    for (const [steps, units, samples] of cases) {
      const counts = stepsByUnitsDrawn(steps, units, samples);
      expect(counts).toHaveLength(units + 1);
      expect(counts.reduce((sum, count) => sum + count, 0) / steps, `${steps} × ${units}`).toBeCloseTo(1, 9);
      expect(counts.reduce((sum, count, j) => sum + j * count, 0) / samples, `${samples} drawn`).toBeCloseTo(1, 9);
    }
    // 3 of 15 pairs lie in one step; in each, two steps have none.
    const [none, one, both] = stepsByUnitsDrawn(3, 2, 2);
    expect([none, one, both].map((count) => (count as number) * 15)).toEqual(
      [3 * 2 + 12 * 1, 12 * 2, 3 * 1].map((count) => expect.closeTo(count, 9)),
    );
    // Eleven of twelve: one step lacks one.
    expect(stepsByUnitsDrawn(4, 3, 11)).toEqual([0, 0, expect.closeTo(1, 9), expect.closeTo(3, 9)]);
  });

  test('where the steps of a draw are known, they share its units: of two units a step there is one way, of more the mean holds', () => {
    // 27 units of 16 steps: 11 have both, 5 have one.
    expect(stepsByUnitsKnown(20, 2, 27, 16)).toEqual([4, 5, 11].map((count) => expect.closeTo(count, 9)));
    expect(stepsByUnitsKnown(20, 3, 12, 12)).toEqual([8, 12, 0, 0].map((count) => expect.closeTo(count, 9)));
    expect(stepsByUnitsKnown(20, 3, 12, 4)).toEqual([16, 0, 0, 4].map((count) => expect.closeTo(count, 9)));
    expect(stepsByUnitsKnown(5, 1, 3, 3)).toEqual([2, 3].map((count) => expect.closeTo(count, 9)));
    // One or two or three of three units, mean 2: as often one as three, and 3 ways to choose two to 1 for all, 3 for one.
    const [none, one, two, three] = stepsByUnitsKnown(9, 3, 16, 8) as [number, number, number, number];
    expect([none, one - three]).toEqual([1, expect.closeTo(0, 9)]);
    // c1 : c2 : c3 = 3 : 3t : t², so c1 = c3 gives t = √3, and two are √3 times one.
    expect(two / one).toBeCloseTo(Math.sqrt(3), 9);
    for (const [steps, units, samples, drawn] of [
      [20, 16, 80, 19],
      [320, 16, 11, 11],
      [20, 16, 80, 20],
    ] as const) {
      const counts = stepsByUnitsKnown(steps, units, samples, drawn);
      expect(counts.reduce((sum, count) => sum + count, 0)).toBeCloseTo(steps, 9);
      expect(counts.reduce((sum, count, j) => sum + j * count, 0)).toBeCloseTo(samples, 6);
    }
  });

  test('a draw of fewer steps takes less, and the expected one is what is said where none is known', () => {
    const work = workloadOf(loadRecipe('moby'));
    const device = measuredDevice(MEASURED);
    const inputs = { ...DEFAULT_INPUTS, fractionPpm: 100_000, committee: 1 };
    const seconds = (drawnSteps?: number) => analyse(work, device, inputs, drawnSteps).verifySeconds.value;
    const expected = stepsOfDraw(work.stepsPerClaim, work.unitsPerStep, analyse(work, device, inputs).samples);
    expect(seconds(expected)).toBeCloseTo(seconds(), 12);
    expect(seconds(expected - 1)).toBeLessThan(seconds());
    // Two units of two steps become two of one, beside each other: less than a unit is saved, and the hash of a state.
    const saved = seconds() - seconds(expected - 1);
    expect(saved).toBeGreaterThan(device.stateHash(work).value);
    expect(saved).toBeLessThan(device.unitSeconds(work).value + device.stateHash(work).value);
  });

  test('more machines make a shorter block until there is one a unit; prices scale what they are prices of', () => {
    const work = workloadOf(loadRecipe('gpt2-124m'));
    const device = assumedDevice(H100);
    const times = [1, 2, 4, 16].map((machines) => stepSeconds(work, device, machines).value);
    for (let i = 1; i < times.length; i += 1) expect(times[i]).toBeLessThan(times[i - 1] as number);
    expect(device.unitSeconds(work).value).toBeLessThan(stepSeconds(work, device, 1e6).value);
    const money = (machineHour: number) =>
      analyse(work, device, { ...DEFAULT_INPUTS, machineHour }).sections.at(-1)?.rows[0]?.figure.value ?? 0;
    expect(money(3) / money(1)).toBeCloseTo(3, 9);
  });

  test('a seat of a long claim draws a smaller share of it, and the detection that was asked for holds', () => {
    const device = assumedDevice(H100);
    const shares = [20, 200, 2000].map((stepsPerClaim) => {
      const analysis = analyse(workloadOf(loadRecipe('gpt2-124m'), { stepsPerClaim }), device, DEFAULT_INPUTS);
      expect(analysis.detection).toBeGreaterThanOrEqual(0.99);
      return analysis.verifyToTrain.value;
    });
    expect(shares[1]).toBeLessThan(shares[0] as number);
    expect(shares[2]).toBeLessThan(0.01);
  });

  test('half a million tokens a step and long claims: the default duty is within a hundredth of training', () => {
    const work = workloadOf(loadRecipe('gpt2-124m-long'));
    expect(work.unitsPerStep * work.tokensPerUnit).toBeGreaterThanOrEqual(500_000);
    for (const device of [measuredDevice(MEASURED), assumedDevice(H100)]) {
      const analysis = analyse(work, device, { ...DEFAULT_INPUTS, fractionPpm: 100_000 });
      expect(analysis.detection).toBeGreaterThanOrEqual(0.99);
      expect(analysis.verifyToTrain.value).toBeLessThan(0.01);
    }
  });

  test('what rests on an assumption is marked so, everything has a source', () => {
    for (const device of [assumedDevice(H100), measuredDevice(MEASURED)]) {
      const analysis = analyse(workloadOf(loadRecipe('tiny')), device, DEFAULT_INPUTS);
      for (const { rows } of analysis.sections) {
        for (const { name, figure } of rows) expect(figure.source, name).not.toBe('');
      }
      expect(analysis.stepSeconds.basis).toBe(device.lanes === 1 ? 'assumed' : 'derived');
      for (const way of alternatives(analysis)) expect(way.checker.source).not.toBe('');
    }
  });

  test('inputs that mean nothing are refused by name', () => {
    const work = workloadOf(loadRecipe('tiny'));
    const device = measuredDevice(MEASURED);
    for (const [name, value] of [
      ['machines', 0],
      ['bandwidth', Number.NaN],
      ['machineHour', -1],
    ] as const) {
      expect(() => analyse(work, device, { ...DEFAULT_INPUTS, [name]: value })).toThrow(PogoError);
      expect(() => analyse(work, device, { ...DEFAULT_INPUTS, [name]: value })).toThrow(new RegExp(name));
    }
  });
});

test('the page says what whole runs were found to take, each miss by name, and that nothing is kept where nothing is', () => {
  expect(checkedText([])).toContain('none of the present formulas is kept');
  const row = { type: 'cost-check', recipe: 'moby', what: 'a step, s', formula: 0.03, found: 0.02, off: 0.5 } as const;
  const head = { date: '2026-01-01', cpu: 'C', cores: 2, isa: 'avx2', points: 'timed in the same run' };
  const text = checkedText([
    { type: 'cost-check-run', ...head },
    { ...row, holds: false },
  ]);
  expect(text).toContain('1 of 1 are missed');
  expect(text).toContain('| moby | a step, s | 0.03 | 0.02 | +50.0 % | **missed** |');
  expect(
    checkedText([
      { type: 'cost-check-run', ...head },
      { ...row, off: -0.1, holds: true },
    ]),
  ).toContain('all hold');
});

test('figures for people', () => {
  expect(figureText({ value: 0.0123, unit: 's' })).toBe('12.3 ms');
  expect(figureText({ value: 90, unit: 's' })).toBe('90 s');
  expect(figureText({ value: 3 * 365.25 * 86_400, unit: 's' })).toBe('3 years');
  expect(figureText({ value: 21_220_000_000, unit: 'B' })).toBe('21.2 GB');
  expect(figureText({ value: 0.25, unit: 'share' })).toBe('25 %');
  expect(figureText({ value: 124_439_808, unit: '' })).toBe('124,439,808');
});

test('a chart has a bar for each value and escapes its words', () => {
  const svg = logBars(
    'a < b',
    [
      {
        title: 'g',
        bars: [
          { label: 'x', value: 1, text: '1' },
          { label: 'y', value: 1e6, text: 'M' },
        ],
      },
    ],
    [[10, 'ten']],
  );
  expect(svg.match(/<rect x="250"/g)).toHaveLength(2);
  expect(svg).toContain('a &lt; b');
});
