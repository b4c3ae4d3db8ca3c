/**
 * The main job as a process: what it prints, that it ends in one state however it is run, interrupted or killed, and
 * that every kind of cheat is proven false and slashed.
 */
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, describe, expect, it } from 'vitest';
import { CHEAT_NAMES } from '../../src/node/cheats.js';
import { eventsOf, killTree, pogo, startPogo } from '../support/pogo.js';
import { nativeIsas } from '../support/trainers.js';

const folder = mkdtempSync(join(tmpdir(), 'pogo-run-'));
afterAll(() => rmSync(folder, { recursive: true, force: true }));

const ROOT = /^[0-9a-f]{64}$/;
const HOME = { POGO_HOME: join(folder, 'home') };
const DEFAULTS = ['run', '--recipe', 'tiny', '--claims', '2', '--json'];
/** Every verifier is a process to start: only the first test has all four. */
const TINY = [...DEFAULTS, '--verifiers', '2'];

interface Summary {
  readonly stateRoot: string;
  readonly finalized: number;
  readonly slashed: number;
}

function summaryOf(stdout: string): Summary {
  const summary = eventsOf(stdout).find((event) => event['type'] === 'summary');
  expect(summary, stdout.slice(-2000)).toBeDefined();
  return summary as unknown as Summary;
}

const honest = pogo([...TINY, '--cheat', 'none', '--dir', join(folder, 'honest')], HOME);

describe('pogo run', () => {
  it('trains, verifies, finalizes, and prints the documented events', async () => {
    const { code, stdout, stderr } = await pogo([...DEFAULTS, '--cheat', 'none', '--dir', join(folder, 'four')], HOME);
    expect(code, stderr).toBe(0);
    const events = eventsOf(stdout);
    const types = new Set(events.map((event) => event['type']));
    for (const type of ['run', 'step', 'claim', 'attestation', 'outcome', 'sample', 'summary'])
      expect(types).toContain(type);
    for (const event of events) {
      expect(Object.keys(event).slice(0, 2)).toEqual(['type', 'time']);
      expect(new Date(event['time'] as string).toISOString()).toBe(event['time']);
    }
    const steps = events.filter((event) => event['type'] === 'step');
    expect(steps).toHaveLength(8);
    for (const step of steps) expect(step['stateRoot']).toMatch(ROOT);
    const summary = summaryOf(stdout);
    expect(summary).toMatchObject({ finalized: 2, slashed: 0, rejected: 0, steps: 8, claims: 2 });
    expect(summary.stateRoot).toBe(steps.at(-1)?.['stateRoot']);
    const verifiers = events.flatMap((event) => (event['type'] === 'attestation' ? [event['verifier']] : []));
    expect(new Set(verifiers)).toEqual(new Set(['verifier-0', 'verifier-1', 'verifier-2', 'verifier-3']));
  });

  it('ends in the same state with other kernels and lanes', async () => {
    const expected = summaryOf((await honest).stdout).stateRoot;
    const native = (await nativeIsas()).length > 0;
    const forced = native ? { POGO_BACKEND: 'cpu', POGO_ISA: 'scalar' } : { POGO_BACKEND: 'reference' };
    const args = [...TINY, '--cheat', 'none', '--dir', join(folder, 'forced')];
    const { code, stdout, stderr } = await pogo(args, { ...HOME, ...forced, POGO_LANES: '3' });
    expect(code, stderr).toBe(0);
    expect(summaryOf(stdout).stateRoot).toBe(expected);
  });

  it('stopped by Ctrl-C it can be resumed to the same state', async () => {
    const expected = summaryOf((await honest).stdout).stateRoot;
    const dir = join(folder, 'interrupted');
    const first = startPogo([...TINY, '--cheat', 'none', '--dir', dir], HOME);
    await first.until((text) => (text.match(/"type":"step"/g) ?? []).length >= 2);
    killTree(first.child, 'SIGINT');
    expect((await first.finished).code).toBe(130);
    const { code, stdout, stderr } = await pogo(['run', '--resume', '--dir', dir, '--json'], HOME);
    expect(code, stderr).toBe(0);
    expect(summaryOf(stdout).stateRoot).toBe(expected);
  });

  it.each([1, 5, 7])(
    'killed after step %i it can be resumed to the same state, training at most one step again',
    async (steps) => {
      const expected = summaryOf((await honest).stdout).stateRoot;
      const dir = join(folder, `killed-${steps}`);
      const first = startPogo([...TINY, '--cheat', 'none', '--dir', dir], HOME);
      await first.until((text) => (text.match(/"type":"step"/g) ?? []).length >= steps);
      killTree(first.child, 'SIGKILL');
      const before = eventsOf((await first.finished).stdout.replace(/[^\n]*$/, '')).filter((e) => e['type'] === 'step');
      const { code, stdout, stderr } = await pogo(['run', '--resume', '--dir', dir, '--json'], HOME);
      expect(code, stderr).toBe(0);
      expect(summaryOf(stdout).stateRoot).toBe(expected);
      const again = eventsOf(stdout).filter((e) => e['type'] === 'step' && before.some((b) => b['step'] === e['step']));
      expect(again.length).toBeLessThanOrEqual(1);
    },
  );

  it('refuses a folder that holds a run, unknown recipes and cheats, and a resume without a run', async () => {
    await honest;
    const dir = join(folder, 'honest');
    expect((await pogo([...TINY, '--dir', dir], HOME)).code).toBe(2);
    expect((await pogo(['run', '--recipe', 'nothing'], HOME)).code).toBe(2);
    expect((await pogo(['run', '--cheat', 'nothing'], HOME)).code).toBe(2);
    expect((await pogo(['run', '--claims', '0'], HOME)).code).toBe(2);
    const missing = await pogo(['run', '--resume', '--dir', join(folder, 'nowhere')], HOME);
    expect(missing.code).toBe(2);
    expect(missing.stderr).toMatch(/^error USAGE: /m);
  });
});

/** What a lie is convicted of. */
const KIND: Readonly<Record<string, string>> = {
  'invent-units': 'unit',
  'flip-code': 'unit',
  'false-loss': 'loss',
  'own-data': 'batch',
  'false-state': 'state-root',
  // Nobody has the state's bytes, and evidence is at most 64 KiB in this run: the miner is asked, and has no answer.
  'hidden-state': 'silence',
  'false-model': 'quantization',
  'false-diff': 'diff',
  equivocate: 'equivocation',
  // No lie that could be proven: its silence is recorded by the ledger.
  'keep-back': 'silence',
};

describe('a cheat is slashed', () => {
  it('every kind has a test', () => {
    expect(Object.keys(KIND).sort()).toEqual([...CHEAT_NAMES].sort());
  });

  it.each(CHEAT_NAMES.map((name) => [name]))('%s', async (cheat) => {
    const dir = join(folder, cheat);
    const { code, stdout, stderr } = await pogo([...TINY, '--cheat', cheat, '--dir', dir], HOME);
    expect(code, stderr).toBe(0);
    const events = eventsOf(stdout);
    expect(summaryOf(stdout)).toMatchObject({ slashed: 1, rejected: 0 });
    const outcomes = events.filter((event) => event['type'] === 'outcome');
    expect(outcomes.filter((o) => o['outcome'] === 'slashed').map((o) => o['miner'])).toEqual(['miner-1']);
    const evidence = events.filter((event) => event['type'] === 'evidence');
    if (KIND[cheat] === 'silence') return expect(evidence).toEqual([]);
    expect(new Set(evidence.map((event) => event['kind']))).toEqual(new Set([KIND[cheat]]));
    const checked = await pogo(['evidence', evidence[0]?.['file'] as string, '--json'], HOME);
    expect(checked.code, checked.stderr).toBe(0);
  });
});
