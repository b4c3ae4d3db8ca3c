/** The scripts that measure a machine: what they need of the tests' modules, and what they say of a machine that lacks something. */
import { spawnSync } from 'node:child_process';
import { existsSync, mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { expect, it } from 'vitest';
import { loadCpuAddon } from '../../src/backend/cpuAddon.js';

const isReady = loadCpuAddon().addon !== undefined && existsSync('dist/index.js');

function node(...args: string[]): { status: number | null; stdout: string; stderr: string } {
  return spawnSync(process.execPath, args, { encoding: 'utf8' });
}

it.runIf(isReady)('the trainers of the tests load as a plain module, with what they import beside them', () => {
  const text = `import { supportModule } from './scripts/lib/supportModule.mjs';
    const { trainFor, loadRecipe } = await supportModule('trainers');
    const setup = { backend: 'cpu', lanes: 1 };
    console.log((await trainFor(loadRecipe('tiny'), setup, 2)).map(({ step }) => step).join());`;
  const { stdout, stderr } = node('--input-type=module', '-e', text);
  expect({ stdout, stderr }).toEqual({ stdout: '0,1\n', stderr: '' });
});

it.runIf(isReady)('legs that do not fit are not begun, what is done is not done again, what is lacking is said', () => {
  const out = mkdtempSync(join(tmpdir(), 'pogo-legs-'));
  try {
    const run = (...flags: string[]) => node('scripts/machine-run.mjs', '--out', out, ...flags);
    const short = run('--legs', 'doctor,products', '--minutes', '0.01');
    expect([short.status, existsSync(join(out, 'legs.jsonl'))]).toEqual([3, false]);
    expect(run('--legs', 'doctor').status).toBe(0);
    expect(run('--legs', 'doctor').stderr).toContain('doctor: done before');
    const lines = readFileSync(join(out, 'legs.jsonl'), 'utf8').trim().split('\n');
    expect(lines.map((line) => JSON.parse(line))).toMatchObject([{ type: 'leg', leg: 'doctor', code: 0 }]);
    expect(readFileSync(join(out, 'run.log'), 'utf8')).toContain('== doctor');
    expect(run('--legs', 'nothing')).toMatchObject({
      status: 2,
      stderr: expect.stringContaining('expected --legs of'),
    });
  } finally {
    rmSync(out, { recursive: true, force: true });
  }
});
