/**
 * Bad input and bad surroundings, as a user meets them: one line of error, the exit code of the contract, and nothing
 * lost that was committed.
 *
 * | case | here | more closely in |
 * |---|---|---|
 * | unknown recipe | | integration/cli, integration/run |
 * | broken recipe field | `a recipe file` | unit/model/recipe |
 * | corrupted or cut bundle, blob | `a bundle` | integration/bundle, property/bundle |
 * | corrupted or cut store of a run | `the folder of a run` | integration/children (each file of LevelDB), property/durableFiles |
 * | checkpoint of wrong shape, hostile header | `a checkpoint` | unit/model/checkpoint, property/safetensors |
 * | text that is empty or not UTF-8 | `text` | integration/cli (eval), unit/model/dataset |
 * | full disk | `a disk without room` | property/claimMiner, property/durableFiles |
 * | unwritable directory | `a folder that cannot be made` | unit/realFiles, unit/model/dataset |
 * | second process on one directory | `a second process` | integration/lock |
 * | Node too old; missing compiler, Rust | `a machine without an addon` | unit/setup |
 * | forced backend or instruction set | `what is forced` | unit/cpu |
 */
import { spawn } from 'node:child_process';
import { cpSync, existsSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir, totalmem } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { loadCpuAddon } from '../../src/backend/cpuAddon.js';
import { loadCudaAddon } from '../../src/backend/cudaAddon.js';
import { loadRecipe, recipeToJson } from '../../src/model/recipe.js';
import { eventsOf, type Finished, finishedOf, killTree, pogo, startPogo } from '../support/pogo.js';

const folder = mkdtempSync(join(tmpdir(), 'pogo-bad-'));
const at = (...names: string[]): string => join(folder, ...names);
const HOME = { POGO_HOME: at('home'), POGO_LANES: '2' };
const ROOT = /^[0-9a-f]{64}$/;

const run = (args: readonly string[], environment: Readonly<Record<string, string>> = {}): Promise<Finished> =>
  pogo(args, { ...HOME, ...environment });

/** Checks the contract's form of a failure and returns its line. */
function failed({ code, stdout, stderr }: Finished, expected: number, name: string): string {
  const lines = stderr.split('\n').filter((line) => line.startsWith('error '));
  expect(lines, stderr).toHaveLength(1);
  expect(lines[0]).toMatch(new RegExp(`^error ${name}: `));
  expect(stderr.endsWith(`${lines[0]}\n`), stderr).toBe(true);
  expect(code, stderr).toBe(expected);
  const events = stdout.startsWith('{') ? eventsOf(stdout) : [];
  if (events.length > 0) expect(events.at(-1)).toMatchObject({ type: 'error', code: expect.stringMatching(name) });
  return lines[0] as string;
}

/** Root of the state in which a run or a mining that succeeded ended. */
function endRoot({ code, stdout, stderr }: Finished): string {
  expect(code, stderr).toBe(0);
  const root = eventsOf(stdout).at(-1)?.['stateRoot'];
  expect(root).toMatch(ROOT);
  return root as string;
}

const changed = (bytes: Uint8Array, place: number): Uint8Array =>
  bytes.map((value, index) => (index === place ? value ^ 0x40 : value));
const middle = (bytes: Uint8Array): Uint8Array => changed(bytes, bytes.length >> 1);
const half = (bytes: Uint8Array): Uint8Array => bytes.slice(0, bytes.length >> 1);

function damage(file: string, how: (bytes: Uint8Array) => Uint8Array): void {
  writeFileSync(file, how(Uint8Array.from(readFileSync(file))));
}

const bundle = at('bundle');
const work = at('bundle.work');
let mined: string;

beforeAll(async () => {
  mined = endRoot(await run(['mine', '--recipe', 'tiny', '--dir', bundle, '--json']));
});
afterAll(() => rmSync(folder, { recursive: true, force: true }));

describe('a recipe file', () => {
  const tiny = recipeToJson(loadRecipe('tiny')) as Record<string, unknown>;
  const file = at('mine.json');

  it.each([
    ['heads', { heads: 3 }],
    ['unitsPerStep', { unitsPerStep: 'many' }],
    ['family', { family: 'diffusion' }],
    ['data.tokensRoot', { data: { ...(tiny['data'] as object), tokensRoot: 'abc' } }],
  ])('with a broken field %s is refused by name, before anything is written', async (field, change) => {
    writeFileSync(file, JSON.stringify({ ...tiny, ...change }));
    const line = failed(await run(['run', '--recipe', file, '--dir', at('none'), '--json']), 2, 'RECIPE');
    expect(line).toContain(field);
    expect(existsSync(at('none'))).toBe(false);
  });

  it('of any other text is refused on one line', async () => {
    writeFileSync(file, '{\n"name": \u001b[31m\n"tiny"}');
    const line = failed(await run(['mine', '--recipe', file, '--dir', at('none')]), 2, 'RECIPE');
    expect(line).not.toContain('\u001b');
  });
});

describe('a bundle', () => {
  const copy = at('copy');
  const blob = (): string => readdirSync(join(copy, 'blobs'))[3] as string;

  it.each([
    ['changed', middle],
    ['cut', half],
    ['emptied', () => new Uint8Array(0)],
  ])('whose container is %s is no bundle', async (_name, how) => {
    cpSync(bundle, copy, { recursive: true });
    damage(join(copy, 'bundle.ssz'), how);
    failed(await run(['verify', copy, '--json']), 2, 'MALFORMED');
    rmSync(copy, { recursive: true });
  });

  it.each([
    ['changed', middle],
    ['cut', half],
  ])('with a blob that is %s is undecided, and the blob is named', async (_name, how) => {
    cpSync(bundle, copy, { recursive: true });
    const name = blob();
    damage(join(copy, 'blobs', name), how);
    expect(failed(await run(['verify', copy, '--json']), 4, 'MISSING')).toContain(name);
    rmSync(copy, { recursive: true });
  });
});

/** A safetensors file with any header. */
function safetensors(header: unknown, length?: bigint): Uint8Array {
  const text = Buffer.from(typeof header === 'string' ? header : JSON.stringify(header));
  const bytes = new Uint8Array(8 + text.length);
  new DataView(bytes.buffer).setBigUint64(0, length ?? BigInt(text.length), true);
  bytes.set(text, 8);
  return bytes;
}

describe('a checkpoint', () => {
  const file = at('hostile.safetensors');
  const tensor = (shape: number[], offsets: number[]) => ({ wte: { dtype: 'F32', shape, data_offsets: offsets } });

  it.each([
    ['a header longer than memory', safetensors('{}', 1n << 60n)],
    ['a header that is no JSON', safetensors('{"wte": \n\u0007')],
    ['a shape whose size overflows', safetensors(tensor([2 ** 31, 2 ** 31, 4], [0, 4]))],
    ['data beyond the file', safetensors(tensor([4], [0, 16]))],
    ['nothing at all', new Uint8Array(0)],
  ])('with %s is malformed, for whoever reads it', async (_name, bytes) => {
    writeFileSync(file, bytes);
    failed(await run(['import', '--state', at('state'), '--checkpoint', file, '--recipe', 'tiny']), 2, 'MALFORMED');
    expect(existsSync(at('state'))).toBe(false);
  });

  it('of another shape names what it expected', async () => {
    const good = at('tiny.safetensors');
    const states = join(work, 'states');
    const state = join(states, readdirSync(states).at(-1) as string);
    expect((await run(['export', '--state', state, '--checkpoint', good])).code).toBe(0);
    const result = await run(['import', '--state', at('state'), '--checkpoint', good, '--recipe', 'moby']);
    expect(failed(result, 2, '(SHAPE|MISMATCH)')).toMatch(/expected .*found/);
    expect(existsSync(at('state'))).toBe(false);
  });
});

describe('text', () => {
  it.each([
    ['is empty', Buffer.alloc(0)],
    ['is not UTF-8', Buffer.from('caf\xe9', 'latin1')],
  ])('that %s makes no data', async (_name, bytes) => {
    writeFileSync(at('text.txt'), bytes);
    const line = failed(await run(['data', 'build', at('text.txt'), '-o', at('data')]), 2, 'DATA');
    expect(line).toContain('text.txt');
    expect(existsSync(at('data', 'data.tokens'))).toBe(false);
  });
});

/** Runs `pogo` under a limit on the size of every file, KiB: what a full disk does, without one. */
function limited(kib: number, args: readonly string[]): Promise<Finished> {
  const main = join(import.meta.dirname, '..', '..', 'dist', 'cli', 'main.js');
  const child = spawn('bash', ['-c', `ulimit -f ${kib}; exec "$@"`, 'bash', process.execPath, main, ...args], {
    env: { ...process.env, ...HOME },
    stdio: ['ignore', 'pipe', 'pipe'],
  });
  return finishedOf(child);
}

const RUN = ['--recipe', 'tiny', '--claims', '1', '--verifiers', '1', '--cheat', 'none', '--json'];
const whole = (async () => endRoot(await run(['run', ...RUN, '--dir', at('whole')])))();

// Windows has no such limit.
describe.skipIf(process.platform === 'win32')('a disk without room', () => {
  it('stops mining with IO; the same command goes on', async () => {
    const args = ['mine', '--recipe', 'tiny', '--dir', at('small'), '--json'];
    failed(await limited(200, args), 5, 'IO');
    expect(endRoot(await run(args))).toBe(mined);
  });

  it('stops a run with IO, and counts as nobody’s missed turn: it goes on to the undisturbed state', async () => {
    failed(await limited(200, ['run', ...RUN, '--dir', at('small-run')]), 5, 'IO');
    expect(endRoot(await run(['run', '--resume', '--dir', at('small-run'), '--json']))).toBe(await whole);
  });
});

describe('a folder that cannot be made', () => {
  const file = at('a-file');
  beforeAll(() => writeFileSync(file, 'x'));

  it.each([
    ['mine', ['mine', '--recipe', 'tiny', '--dir', join(file, 'bundle')], {}],
    ['run', ['run', ...RUN, '--dir', join(file, 'run')], {}],
    ['run, for its data', ['run', ...RUN, '--dir', at('no-home')], { POGO_HOME: join(file, 'home') }],
  ])('stops %s with one line', async (_name, args, environment) => {
    const line = failed(await run(args, environment), 5, 'IO');
    // What no argument names is moved by a variable.
    expect(line.includes('POGO_HOME')).toBe('POGO_HOME' in environment);
  });
});

describe('the folder of a run', () => {
  const base = at('stopped');
  const copy = at('damaged');
  const inside = (...names: string[]): string => join(copy, ...names);
  const only = (...names: string[]): string => inside(...names, readdirSync(inside(...names)).at(-1) as string);
  const resume = (): Promise<Finished> => run(['run', '--resume', '--dir', copy, '--json']);

  beforeAll(async () => {
    const first = startPogo(['run', ...RUN, '--dir', base], HOME);
    await first.until((text) => (text.match(/"type":"step"/g) ?? []).length >= 3);
    killTree(first.child, 'SIGSTOP');
    // While it lives nobody else may: the error names the process.
    const second = await run(['run', '--resume', '--dir', base, '--json']);
    killTree(first.child, 'SIGKILL');
    await first.finished;
    expect(failed(second, 5, 'LOCKED')).toContain(`process ${first.child.pid}`);
  });

  it.each<[string, () => string, (bytes: Uint8Array) => Uint8Array]>([
    ['its settings', () => inside('run.json'), half],
    ['the ledger’s file of heights', () => inside('ledger', 'heights.log'), (bytes) => changed(bytes, 20)],
    ['the ledger’s CURRENT', () => inside('ledger', 'store', 'CURRENT'), half],
    ['the step log', () => join(only('miner-0', 'steps'), 'steps.log'), (bytes) => changed(bytes, 30)],
    ['a unit in the step log', () => only('published', 'blobs'), half],
    ['a checkpoint', () => join(only('miner-0', 'states'), 'theta.bin'), middle],
  ])(
    'with damage in %s is refused or resumed to the right state, and whole again once that is put back',
    async (_name, place, how) => {
      cpSync(base, copy, { recursive: true });
      const file = place();
      const before = readFileSync(file);
      damage(file, how);
      const finished = await resume();
      if (finished.code !== 0) {
        failed(finished, 4, '(CORRUPT|MISSING)');
        writeFileSync(file, before);
      }
      expect(endRoot(finished.code === 0 ? finished : await resume())).toBe(await whole);
      rmSync(copy, { recursive: true });
    },
  );

  it('whose last record was cut goes on', async () => {
    cpSync(base, copy, { recursive: true });
    damage(join(only('miner-0', 'steps'), 'steps.log'), (bytes) => bytes.slice(0, -7));
    expect(endRoot(await resume())).toBe(await whole);
    rmSync(copy, { recursive: true });
  });
});

describe('a machine without an addon', () => {
  it('computes with the next backend, and says why and what would help', async () => {
    const without = { POGO_CPU_ADDON: at('no-such-addon.node'), POGO_BACKEND: '', POGO_ISA: '' };
    const { code, stdout, stderr } = await run(['doctor', '--quick', '--json'], without);
    expect(code, stderr).toBe(0);
    const report = eventsOf(stdout)[0] as {
      chosen: { backend: string };
      backends: { backend: string; state: string; reason: string; fix: string }[];
    };
    expect(report.chosen.backend).toBe('reference');
    const cpu = report.backends.find(({ backend }) => backend === 'cpu');
    expect(cpu).toMatchObject({ state: 'missing', reason: expect.stringContaining('not built') });
    expect(cpu?.fix).toContain('npm run setup');
    const args = ['mine', '--recipe', 'tiny', '--dir', at('slow')];
    const demanded = failed(await run(args, { ...without, POGO_BACKEND: 'cpu' }), 5, 'ENVIRONMENT');
    expect(demanded).toContain('npm run setup');
  });
});

describe('a run of more processes than memory holds', () => {
  // 10,000 of them: 640 GB.
  it.skipIf(totalmem() > 600e9)('is refused before any of them is started', async () => {
    const args = ['run', '--recipe', 'tiny', '--dir', at('none'), '--verifiers', '10000', '--json'];
    expect(failed(await run(args), 5, 'ENVIRONMENT')).toMatch(/--verifiers: expected at most \d+ .*found 10000$/);
    expect(existsSync(at('none'))).toBe(false);
  });
});

describe('what is forced', () => {
  const addon = loadCpuAddon().addon;
  const cudaUsable = loadCudaAddon().addon !== undefined;
  const lacking = Object.entries(addon?.describe().isas ?? {}).filter(([, { built, machine }]) => !built || !machine);
  const args = ['mine', '--recipe', 'tiny', '--dir', at('none'), '--json'];

  // Without the addon every instruction set is lacking: that is the case above.
  it.skipIf(addon === undefined).each(lacking.map(([isa]) => [isa]))(
    'POGO_ISA=%s is an error where it is missing, with what could be used',
    async (isa) => {
      const line = failed(await run(args, { POGO_BACKEND: '', POGO_ISA: isa }), 5, 'ENVIRONMENT');
      expect(line).toMatch(/set POGO_ISA to one of auto, .*scalar/);
    },
  );

  it.skipIf(cudaUsable)('POGO_BACKEND=cuda is one where it cannot train', async () => {
    const finished = await run(args, { POGO_BACKEND: 'cuda', POGO_ISA: '' });
    failed(finished, 5, 'ENVIRONMENT');
    const { details } = eventsOf(finished.stdout).at(-1) as { details: { fix: string } };
    expect(details.fix.length).toBeGreaterThan(10);
    expect(finished.stderr).toContain(details.fix);
  });

  it.each([
    ['POGO_BACKEND', 'gpu'],
    ['POGO_ISA', 'sse9'],
    ['POGO_LANES', 'all'],
    ['POGO_DEVICES', '0,0'],
    ['POGO_DEVICES', 'cpu'],
    ['POGO_DEVICES', 'gpu'],
  ])('%s=%s is bad usage, and the line names the variable', async (name, value) => {
    const line = failed(await run(args, { [name]: value }), 2, 'USAGE');
    expect(line).toContain(name);
    expect(line).toContain(value);
    expect(existsSync(at('none'))).toBe(false);
  });
});
