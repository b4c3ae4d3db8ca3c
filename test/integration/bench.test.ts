/** The bench program, as a process: every line of the contract is there and matches the schema. No time is judged. */
import { spawn } from 'node:child_process';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { beforeAll, describe, expect, it } from 'vitest';
import { workloadOf } from '../../src/cost/workload.js';
import { loadRecipe } from '../../src/model/recipe.js';
import { eventFaults } from '../support/eventSchema.js';
import { eventsOf, type Finished, finishedOf } from '../support/pogo.js';

const PROGRAM = fileURLToPath(new URL('../../bench/build.mjs', import.meta.url));

/** Names that scripts rely on; gemm stands for its shapes. */
const CONTRACT = [
  'ceiling/copy',
  'step',
  'gemm/2048x384x128',
  'quantize4',
  'dequantize4',
  'diff',
  'patch',
  'commit',
  'commit/ema',
  'log-replay',
  'merkle/tree',
  'merkle/root',
  'merkle/groups',
  'merkle/update',
  'merkle/tree-all',
  'merkle/groups-all',
  'hash',
  'hash/1',
  'leaf-check',
  'unit-replay',
  'boundary',
  'pipeline/scaling',
];

interface Line extends Record<string, unknown> {
  readonly type: string;
  readonly name: string;
  readonly value: number;
  readonly result: string | null;
  readonly details: Readonly<Record<string, unknown>>;
}

function bench(...args: readonly string[]): Promise<Finished> {
  const env = { ...process.env, POGO_LANES: '2' };
  const child = spawn(process.execPath, [PROGRAM, ...args], { env, stdio: ['ignore', 'pipe', 'pipe'] });
  return finishedOf(child);
}

describe('bench --quick --json', () => {
  let lines: Line[];

  beforeAll(async () => {
    const { code, stdout, stderr } = await bench('--quick', '--json', '--no-peers', '--recipe', 'tiny');
    expect(code, stderr).toBe(0);
    lines = eventsOf(stdout) as unknown as Line[];
  }, 300_000);

  it('prints only lines of the schema', () => {
    expect(lines.flatMap((line) => eventFaults(line))).toEqual([]);
  });

  it('has every line of the contract, each with a result that was compared and hashed', () => {
    const measured = lines.filter(({ type }) => type === 'bench');
    expect(measured.map(({ name }) => name)).toEqual(expect.arrayContaining(CONTRACT));
    for (const { name, value, result } of measured) {
      expect(value, name).toBeGreaterThan(0);
      if (name.startsWith('ceiling/')) continue; // a property of the machine, not a result of ours
      expect(result, name).toMatch(/^[0-9a-f]{64}$/);
    }
  });

  it('says why a peer is missing', () => {
    expect(lines).toContainEqual(expect.objectContaining({ type: 'bench-skipped', name: 'step/pytorch' }));
  });

  it('gives one state root for every number of lanes', () => {
    const roots = lines.flatMap(({ details }) => (details?.['stateRoot'] === undefined ? [] : [details['stateRoot']]));
    expect(roots).toHaveLength(2);
    expect(new Set(roots).size).toBe(1);
  });
});

describe('bench flags', () => {
  it.each([
    [['--only', 'nothing'], 'names of'],
    [['--only', 'step', '--peer-modes', 'fp64'], 'names of fp32'],
    [['--seconds', 'soon'], '--seconds: expected a positive integer'],
    [['--from', '/dev/null'], '--from: expected bench lines in /dev/null, found none; measure some: npm run bench'],
  ])('refuses %j', async (flags, expected) => {
    const { code, stderr } = await bench('--quick', ...flags);
    expect(code).toBe(2);
    expect(stderr).toContain(expected);
  });
});

it('--from alone says the lines of a file', async () => {
  const line = {
    type: 'bench',
    name: 'step',
    value: 7,
    unit: 's',
    spread: 0,
    spreadLow: 7,
    spreadHigh: 7,
    details: {},
  };
  const place = mkdtempSync(join(tmpdir(), 'pogo-bench-'));
  const file = join(place, 'results.jsonl');
  writeFileSync(file, `${JSON.stringify(line)}\n`);
  const { code, stdout, stderr } = await bench('--json', '--from', file);
  rmSync(place, { recursive: true });
  expect(code, stderr).toBe(0);
  expect(JSON.parse(stdout)).toEqual(line);
});

it('what the cost analysis reads: two claims of mine and verify, whose parts lie within the duty; all passes of a sequence’s loss', async () => {
  const { code, stdout, stderr } = await bench(
    '--quick',
    '--json',
    '--no-peers',
    '--recipe',
    'tiny',
    '--only',
    'claim/,loss-profile/',
  );
  expect(code, stderr).toBe(0);
  const lines = eventsOf(stdout) as unknown as Line[];
  expect(lines.flatMap((line) => eventFaults(line))).toEqual([]);
  const details = (name: string) => lines.find((line) => line.name === name)?.details as Record<string, number>;
  const [mine, verify] = [details('claim/mine'), details('claim/verify')];
  expect(mine['stepMs']).toBeGreaterThan(0);
  // Half of the second claim's steps took the median at least.
  expect(mine['mineMs']).toBeGreaterThan(((mine['steps'] as number) / 2) * (mine['stepMs'] as number));
  expect(verify['samples']).toBeGreaterThanOrEqual(verify['drawnSteps'] as number);
  expect(verify['drawnSteps']).toBeGreaterThan(0);
  const parts = ['readMs', 'replayMs', 'hashMs', 'unitMs', 'modelMs', 'heldOutMs'].map(
    (name) => verify[name] as number,
  );
  for (const part of parts) expect(part).toBeGreaterThan(0);
  // The duty is between two events, whose times are whole milliseconds.
  expect(parts.reduce((sum, part) => sum + part, 0)).toBeLessThan((verify['dutyMs'] as number) + 2);
  const passes = lines.filter(({ name }) => name.startsWith('loss-profile/'));
  const { sequenceLoss } = workloadOf(loadRecipe('tiny'));
  const sum = (some: readonly { readonly operations: number }[]) => some.reduce((all, one) => all + one.operations, 0);
  expect(sum(passes as unknown as { readonly operations: number }[])).toBe(sum([...sequenceLoss.values()]));
  for (const { value } of passes) expect(value).toBeGreaterThan(0);
  if (process.platform === 'linux') expect(verify['othersShare']).toBeGreaterThanOrEqual(0);
}, 120_000);
