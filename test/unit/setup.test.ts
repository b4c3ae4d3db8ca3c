/** The scripts that run before anything is installed: their decisions, without building anything. */
import { spawn, spawnSync } from 'node:child_process';
import { existsSync, mkdirSync, mkdtempSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { afterEach, describe, expect, it } from 'vitest';
import { isCheckout, setupFix } from '../../src/backend/packageRoot.js';
import { COMMAND_NAMES } from '../../src/cli/commands.js';
import { type DoctorReport, describeReport } from '../../src/cli/doctor.js';

const root = join(import.meta.dirname, '..', '..');

interface Component {
  readonly status: string;
  readonly reason: string;
  readonly fix: string;
}
type Arguments = readonly string[];

// The scripts are plain JavaScript without declarations: what is used of them is declared here.
const load = async (name: string): Promise<Record<string, (...given: never[]) => unknown>> =>
  (await import(join(root, 'scripts', name))) as Record<string, (...given: never[]) => unknown>;
const project = await load('lib/project.mjs');
const components = await load('lib/components.mjs');
const start = await load('start.mjs');
const tests = await load('test.mjs');
const tracked = await load('check-tracked.mjs');

describe('Node version', () => {
  const requireNode = project['requireNode'] as (version?: string) => void;
  it.each(['18.20.4', '20.18.9', '16.0.0'])('refuses %s with exit code 5', (version) => {
    expect(() => requireNode(version)).toThrowError(
      expect.objectContaining({ exitCode: 5, message: expect.stringContaining(`found ${version}`) }),
    );
  });
  it.each(['20.19.0', '20.20.2', '22.0.0', '24.1.0'])('accepts %s', (version) => {
    requireNode(version);
  });
});

describe('a missing tool chain', () => {
  const before = { ...process.env };
  afterEach(() => {
    process.env = { ...before };
  });
  it.each([
    ['buildCpu', /C\+\+17 compiler.*make.*Python 3/],
    ['buildMerkle', /Rust/],
  ])('is reported by %s with its fix, and is no error', async (name, reason) => {
    process.env['PATH'] = '/nonexistent';
    process.env['HOME'] = '/nonexistent';
    delete process.env['CARGO_HOME'];
    delete process.env['CXX'];
    const report = (await components[name]!()) as Component;
    expect(report.status).toBe('missing');
    expect(report.reason).toMatch(reason);
    expect(report.fix.length).toBeGreaterThan(10);
  });
  it('names the compiler that CXX asks for', async () => {
    process.env['CXX'] = 'no-such-compiler';
    const report = (await components['buildCpu']!()) as Component;
    expect(report).toMatchObject({ status: 'missing', reason: expect.stringContaining('no-such-compiler') });
  });
});

describe('npm start', () => {
  const commandArguments = start['commandArguments'] as (given: Arguments) => Arguments;
  it.each([
    [[], ['run']],
    [['--json'], ['run', '--json']],
    [
      ['doctor', '--json'],
      ['doctor', '--json'],
    ],
    [
      ['--claims', '2'],
      ['run', '--claims', '2'],
    ],
    [['--help'], ['--help']],
    // Every command of the list, and a word that is none: `pogo` says so.
    ...[...COMMAND_NAMES, 'help', 'unknown'].map((name) => [
      [name, 'word'],
      [name, 'word'],
    ]),
  ])('%j is pogo %j', (given, expected) => {
    expect(commandArguments(given)).toEqual(expected);
  });
});

describe('counts of npm test', () => {
  const countResults = tests['countResults'] as (report: object) => object;
  const report = { numPassedTests: 5, numFailedTests: 1, numPendingTests: 2, numTodoTests: 0 };
  it('are those of the report', () => {
    expect(countResults({ ...report, testResults: [] })).toEqual({ passed: 5, failed: 1, skipped: 2 });
  });
  it('count a file that could not be loaded as a failure', () => {
    const testResults = [{ status: 'failed', assertionResults: [] }];
    expect(countResults({ ...report, testResults })).toMatchObject({ failed: 2 });
  });
});

describe('the fix for a native part that is missing', () => {
  it('is set-up in a checkout; an installed package has nothing to build', () => {
    expect(setupFix('--cuda')).toBe('npm run setup -- --cuda');
    expect(setupFix('', join(root, 'no-checkout'))).toMatch(
      /^install a package with addons for .*: npm run setup, node /,
    );
  });

  it('and asks for tool chains in a checkout alone', () => {
    expect([isCheckout(), isCheckout(join(root, 'no-checkout'))]).toEqual([true, false]);
    const tool = { name: 'Rust', purpose: 'native/merkle', fix: 'install it' };
    const report: DoctorReport = {
      ...{ node: 'v20.19.0', platform: 'linux-x64', chosen: { backend: 'cpu', isa: 'scalar', reason: '' } },
      ...{ features: [], backends: [], cudaKernels: [], setup: [], toolchains: [tool] },
    };
    expect(describeReport(report)).toContain('fix: install it');
    const installed = describeReport({ ...report, toolchains: [] });
    expect(installed).toContain('not needed');
    expect(installed).not.toContain('fix:');
  });
});

describe('a script', () => {
  it.each([['--bogus'], ['word']])('refuses %s as bad usage, on one line', (word) => {
    const { status, stderr } = spawnSync(process.execPath, [join(root, 'scripts', 'setup.mjs'), word], {
      encoding: 'utf8',
      env: { ...process.env, POGO_TOOLS: join(root, '.tools', 'usage-test') },
    });
    expect(stderr).toMatch(/^error USAGE: .*\n$/);
    expect(stderr).toContain(word);
    expect(status).toBe(2);
  });

  it('that is started by a path with a link in it runs', async () => {
    const link = join(mkdtempSync(join(tmpdir(), 'pogo-link-')), 'checkout');
    symlinkSync(root, link);
    try {
      const child = spawn(process.execPath, [join(link, 'scripts', 'setup.mjs'), '--no-such-option']);
      expect(await new Promise((resolve) => child.once('close', resolve))).toBe(2);
    } finally {
      rmSync(dirname(link), { recursive: true });
    }
  });
});

describe('tracked files', () => {
  const problemsOf = tracked['problemsOf'] as (text: string) => readonly string[];
  const scheme = 'https:';
  it('may name known hosts and relative paths', () => {
    expect(problemsOf(`see ${scheme}//github.com/x\nimport './work/x.js'\nnative/cpu/addon.cc\n`)).toEqual([]);
  });
  it.each([
    ['an unknown host', `${scheme}//registry.internal/pkg.tgz`],
    ['a home directory', `cd ${['', 'home', 'someone'].join('/')}`],
    ['a conflict marker', `${'<'.repeat(7)} HEAD`],
  ])('may not hold %s', (_name, text) => {
    expect(problemsOf(`first\n${text}\n`)).toHaveLength(1);
  });
});

describe('lock of the set-up', () => {
  const folder = join(root, '.tools', 'lock-test');
  const module = join(root, 'scripts', 'lib', 'stamp.mjs');
  /** Runs a program that takes the lock of a scratch root, and returns what it printed. */
  const run = (body: string): Promise<string> =>
    new Promise((resolve) => {
      const text = `import { withLock } from ${JSON.stringify(module)}; ${body}`;
      const child = spawn(process.execPath, ['--input-type=module', '-e', text], {
        env: { ...process.env, POGO_TOOLS: folder },
        stdio: ['ignore', 'pipe', 'inherit'],
      });
      let out = '';
      child.stdout.on('data', (part: Buffer) => {
        out += part.toString();
      });
      child.on('close', () => resolve(out));
    });
  afterEach(() => rmSync(folder, { recursive: true, force: true }));

  it('lets one process work at a time', async () => {
    const mark = join(folder, 'inside');
    const body = `import { existsSync, mkdirSync, rmdirSync } from 'node:fs';
      await withLock(async () => {
        process.stdout.write(existsSync(${JSON.stringify(mark)}) ? 'two ' : 'one ');
        mkdirSync(${JSON.stringify(mark)});
        await new Promise((resolve) => setTimeout(resolve, 150));
        rmdirSync(${JSON.stringify(mark)});
      });`;
    const outputs = await Promise.all([run(body), run(body), run(body)]);
    expect(outputs).toEqual(['one ', 'one ', 'one ']);
    expect(existsSync(join(folder, 'lock'))).toBe(false);
  });

  it('of a dead process is taken over', async () => {
    mkdirSync(join(folder, 'lock'), { recursive: true });
    // Larger than any process id of Linux, so it is nobody's.
    writeFileSync(join(folder, 'lock', 'pid'), '4999999');
    expect(await run("await withLock(async () => process.stdout.write('mine'));")).toBe('mine');
  });

  // Windows has no groups of processes.
  it.skipIf(process.platform === 'win32')('of a killed process waits for what that one had started', async () => {
    const project = join(root, 'scripts', 'lib', 'project.mjs');
    const done = join(folder, 'done');
    const work = "setTimeout(() => require('fs').writeFileSync(process.argv[1], ''), 1000)";
    // It kills itself while a program of its own runs on.
    const killed = run(`const { runProgram } = await import(${JSON.stringify(project)});
      const { existsSync, readdirSync } = await import('node:fs');
      await withLock(async () => {
        void runProgram(process.execPath, ['-e', ${JSON.stringify(work)}, ${JSON.stringify(done)}], { log: 'left' });
        process.stdout.write(readdirSync(${JSON.stringify(join(folder, 'lock'))}).filter((name) => name !== 'pid').length + ' noted');
        process.kill(process.pid, 'SIGKILL');
      });`);
    expect(await killed).toBe('1 noted');
    expect(existsSync(done)).toBe(false);
    const next = `const { existsSync } = await import('node:fs');
      await withLock(async () => process.stdout.write(String(existsSync(${JSON.stringify(done)}))));`;
    expect(await run(next)).toBe('true');
  });
});
