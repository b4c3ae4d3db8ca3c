/**
 * The CUDA kernels without a GPU: compiled by the C++ compiler against the device model and compared with the known
 * answers; a changed constant must be noticed; the addon, where it is built, loads and says why it cannot be used.
 */
import { execFile, execFileSync, spawnSync } from 'node:child_process';
import { cpSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { loadCudaAddon } from '../../src/backend/cudaAddon.js';

const root = join(import.meta.dirname, '..', '..');
const compiler = process.env['CXX'] ?? 'c++';
const hasCompiler = spawnSync(compiler, ['--version']).status === 0;
let folder = '';

/** Unoptimized: compiling is most of the time. */
const flags = ['-std=c++17', '-O0', '-ffp-contract=off', '-fno-math-errno', '-DPOGO_CUDA_MODEL'];
/** What the test of one kernel file needs beside it. */
const SOURCES = [
  ...['test/kernel_test.cc', 'test/operations.cc', 'test/random_cases.cc', 'test/case.cc', 'test/timing.cc'],
  ...['test/ceilings.cu', 'test/ceilings_90a.cu', 'blake3.cu', 'device.cu'],
  ...['model/blocks.cc', 'model/fiber.cc', 'model/runtime.cc', '../cpu/isa/scalar.cc', '../cpu/arena.cc'],
];
const MUTATED = 'quantize4.cu';

/** Compiles one file of native/cuda in `tree` (a folder with native/). @returns the object */
async function compile(tree: string, file: string, name = file): Promise<string> {
  const object = join(folder, `${name.replaceAll('/', '_')}.o`);
  await promisify(execFile)(compiler, [...flags, '-x', 'c++', '-c', join(tree, 'native', 'cuda', file), '-o', object]);
  return object;
}

/** Links the test with one object of the kernel file and runs it. */
function run(objects: readonly string[], kernel: string): { status: number | null; output: string } {
  const program = join(folder, 'kernel_test');
  execFileSync(compiler, [...objects, kernel, '-pthread', '-o', program]);
  const { status, stdout } = spawnSync(program, ['--vectors', join(root, 'test', 'vectors')], { encoding: 'utf8' });
  return { status, output: stdout };
}

beforeAll(() => {
  folder = mkdtempSync(join(tmpdir(), 'pogo-cuda-'));
});
afterAll(() => rmSync(folder, { recursive: true }));

// A machine without a C++ compiler cannot build the test; set-up reports the missing compiler.
describe.skipIf(!hasCompiler)('CUDA kernels on the device model', () => {
  it('give the answers of the vectors, and no longer when one constant is changed', { timeout: 300_000 }, async () => {
    // Two compilers at a time.
    const objects: string[] = [];
    const left = [...SOURCES, MUTATED];
    const worker = async () => {
      for (let file = left.shift(); file !== undefined; file = left.shift()) objects.push(await compile(root, file));
    };
    await Promise.all([worker(), worker()]);
    const kernel = objects.find((object) => object.endsWith(`${MUTATED}.o`)) ?? '';
    const others = objects.filter((object) => object !== kernel);
    const good = run(others, kernel);
    expect(good.output).toMatch(/quantize4: \d+ passed, 0 failed/);
    expect(good.output).toMatch(/\n\d+ passed, 0 failed\n/);
    expect(good.status).toBe(0);

    for (const part of ['exact', 'cuda']) {
      cpSync(join(root, 'native', part), join(folder, 'native', part), {
        recursive: true,
        filter: (path) => !/[\\/]build/.test(path),
      });
    }
    const header = join(folder, 'native', 'exact', 'constants.h');
    const text = readFileSync(header, 'utf8');
    const changed = text.replace('POGO_MIX_1 = 0x7FEB352Du', 'POGO_MIX_1 = 0x7FEB352Fu');
    expect(changed).not.toBe(text);
    writeFileSync(header, changed);
    const bad = run(others, await compile(folder, MUTATED, 'changed'));
    expect(bad.output).toContain('FAILED quantize4');
    expect(bad.status).toBe(1);
  });
});

describe('CUDA addon', () => {
  it('is usable, or says why not and what to do', () => {
    const loaded = loadCudaAddon();
    if (loaded.addon === undefined) {
      expect(loaded.reason.length).toBeGreaterThan(10);
      expect(loaded.fix.length).toBeGreaterThan(10);
    } else {
      expect(loaded.info.devices.length).toBeGreaterThan(0);
    }
  });
});
