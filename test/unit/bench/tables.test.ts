import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, describe, expect, test } from 'vitest';
import { type BenchLine, lineOf, type PeerResult } from '../../../bench/harness.js';
import { readResults } from '../../../bench/results.js';
import { completeTables, shortTables } from '../../../bench/tables.js';

const folder = mkdtempSync(join(tmpdir(), 'pogo-tables-'));
afterAll(() => rmSync(folder, { recursive: true, force: true }));

function peer(kind: string, name: string, ratio: number, value: number): PeerResult {
  const spread = { min: value, max: value, mad: 0 };
  const rounds = { roundsMs: [3, 2, 4], oursRoundsMs: [1, 1, 1], warmUpMs: [1000, 500] };
  return { name, kind, value, spread, ratio, threads: 2, peakBytes: 100 * 2 ** 20, ...rounds };
}

function step(isa: string, recipe: string, tokensPerSecond: number, peers: readonly PeerResult[]): BenchLine {
  const unit = { name: 'tokens/s', perCall: 1000 } as const;
  const job = { name: 'step', backend: 'cpu', isa, unit, peers, details: { recipe }, peakBytes: 50 * 2 ** 20 };
  return lineOf(job, [1e6 / tokensPerSecond]);
}

function plain(name: string, isa: string, ceiling?: number): BenchLine {
  const unit = { name: 'GOP/s', perCall: 1e9 } as const;
  return lineOf(
    {
      name,
      backend: 'cpu',
      isa,
      unit,
      ...(ceiling === undefined ? {} : { ceiling: { name: 'peak', value: ceiling } }),
    },
    [10],
  );
}

/** Cells of the rows of the first table after a heading. */
function rowsAfter(markdown: string, heading: string): string[][] {
  const [, after = ''] = markdown.split(`### ${heading}\n`);
  const rows = (after.split('\n### ')[0] ?? '').split('\n').filter((line) => line.startsWith('|'));
  return rows.slice(2).map((row) =>
    row
      .split('|')
      .slice(1, -1)
      .map((cell) => cell.trim()),
  );
}

const LINES = [
  step('avx512', 'moby', 60_000, [
    peer('fp32', 'PyTorch fp32', 3, 20_000),
    peer('fp32', 'PyTorch fp32 compiled', 2, 30_000),
    peer('bf16', 'PyTorch bf16', 4, 15_000),
  ]),
  step('avx2', 'moby', 45_000, [peer('fp32 held to AVX2', 'PyTorch fp32, ATen held to AVX2', 2.5, 18_000)]),
  plain('gemm/64x64x64', 'avx512', 4e11),
  plain('gemm/64x64x64', 'avx2', 2e11),
  plain('commit', 'avx512', 2e11),
];

describe('tables', () => {
  test('a step is held against the best of each kind; a kind measured beside another set is marked', () => {
    const rows = rowsAfter(completeTables(LINES), 'Training step: tokens to state root');
    const [avx512, avx2] = rows;
    expect(avx512?.slice(0, 6)).toEqual([
      'moby',
      'avx512',
      '60,000 (60,000–60,000)',
      '3.33x (18,000)*',
      '2.00x (30,000)',
      '4.00x (15,000)',
    ]);
    expect(avx2?.slice(3, 6)).toEqual(['2.50x (18,000)', '1.50x (30,000)*', '3.00x (15,000)*']);
    expect(avx512?.slice(6)).toEqual(['–', '50.0 MiB', '100 MiB']);
  });

  test('every mode has its rounds, threads, warm-up and memory', () => {
    const rows = rowsAfter(completeTables(LINES), "PyTorch's modes");
    expect(rows).toHaveLength(4);
    expect(rows[1]?.slice(2)).toEqual([
      'PyTorch fp32 compiled',
      '30,000 (30,000–30,000)',
      '2.00x',
      '3.00 / 2.00 / 4.00',
      '1.00 / 1.00 / 1.00',
      '2',
      '1.50',
      '100 MiB',
    ]);
  });

  test('a GEMM has a column for every set, and the peak below', () => {
    expect(rowsAfter(completeTables(LINES), 'Integer GEMM, one core')).toEqual([
      ['64x64x64', '100 (25 %)', '100 (50 %)'],
      ['peak of a core', '400', '200'],
    ]);
  });

  test('the passes of a unit come slowest first, the small ones in one row', () => {
    const pass = (name: string, ms: number, unitPercent: number, operations = 0): BenchLine => {
      const details = {
        recipe: 'moby',
        operation: 'recode',
        calls: 4,
        unitPercent,
        GBs: 8,
        copyPercent: 40,
        GOPs: 9,
        peakPercent: 7,
      };
      const job = {
        name: `unit-profile/${name}`,
        backend: 'cpu',
        isa: 'avx512',
        unit: { name: 'ms', perCall: 1 } as const,
      };
      return lineOf({ ...job, bytes: 2e6, operations, details }, [ms]);
    };
    const profile = [pass('fc', 2, 10), pass('qkv', 17, 89.2, 3e9), pass('loss', 0.1, 0.5), pass('norm', 0.06, 0.3)];
    const text = completeTables([...LINES, ...profile]);
    expect(rowsAfter(text, 'Passes of a unit')).toEqual([
      ['qkv', 'recode', '4', '17.0', '89.2 %', '2.00', '8.00', '40 %', '3.00', '9.00', '7.0 %'],
      ['fc', 'recode', '4', '2.00', '10.0 %', '2.00', '8.00', '40 %', '–', '–', '–'],
      ['2 more', '–', '8', '0.160', '0.800 %', '4.00', '25.0', '–', '–', '–', '–'],
    ]);
    expect(text).toContain('A unit of `moby`, avx512, one core, 19.2 ms in all');
  });

  test('nothing measured gives no heading, and no lines give no text', () => {
    const text = completeTables(LINES);
    expect(text).not.toContain('BLAKE3');
    expect(text).not.toMatch(/undefined|null|NaN/);
    expect([completeTables([]), shortTables([])]).toEqual(['', '']);
  });

  test('the short table has the steps and the chosen set only', () => {
    const text = shortTables(LINES);
    expect(text).toContain('| moby | avx2 |');
    expect(text.match(/\| commit \|/g)).toHaveLength(1);
    expect(text).not.toContain('gemm/64x64x64');
  });
});

describe('files of results', () => {
  test('hold what was measured and skipped; closing lines of parts are passed over', () => {
    const file = join(folder, 'r.jsonl');
    const skipped = { type: 'bench-skipped', time: '2026-01-01T00:00:00.000Z', name: 'x', reason: 'y' };
    const part = { type: 'bench-part', part: 'avx2/moby', seconds: 3 };
    writeFileSync(file, [LINES[0], skipped, part].map((line) => `${JSON.stringify(line)}\n`).join(''));
    expect(readResults(file)).toEqual([LINES[0], skipped]);
  });

  test.each([
    ['not JSON', 'a line'],
    ['{"name":"x"}', 'bench line'],
    ['{"type":"bench","name":"x"}', 'older version'],
  ])('refuses %s with the place', (text, expected) => {
    const file = join(folder, 'bad.jsonl');
    writeFileSync(file, `\n${text}\n`);
    expect(() => readResults(file)).toThrow(
      expected === 'a line' ? /bad\.jsonl:\d+: expected a bench line/ : new RegExp(expected),
    );
    expect(() => readResults(join(folder, 'none.jsonl'))).toThrow(/none\.jsonl/);
  });
});
