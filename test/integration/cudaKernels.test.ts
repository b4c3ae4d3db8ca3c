/**
 * The CUDA kernels without a GPU: compiled by the C++ compiler against the device model and compared with the known
 * answers; a changed constant must be noticed; the addon, where it is built, loads and says why it cannot be used.
 */
import { execFileSync, spawnSync } from 'node:child_process';
import { cpSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { loadCudaAddon } from '../../src/backend/cudaAddon.js';

const root = join(import.meta.dirname, '..', '..');
const compiler = process.env['CXX'] ?? 'c++';
const hasCompiler = spawnSync(compiler, ['--version']).status === 0;
let folder = '';

/** Builds the kernels and their test in `tree` (a folder with native/) on the device model and runs it. */
function buildAndRun(tree: string): { status: number | null; output: string } {
  const program = join(folder, `kernel_test_${Math.random().toString(36).slice(2)}`);
  const sources = [
    ...['quantize4.cu', 'blake3.cu', 'host_calls.cu', 'device.cu', 'kernel_test.cc'],
    ...['model/blocks.cc', 'model/fiber.cc', 'model/runtime.cc'],
  ].map((file) => join(tree, 'native', 'cuda', file));
  const flags = ['-std=c++17', '-O1', '-ffp-contract=off', '-fno-math-errno', '-DPOGO_CUDA_MODEL', '-x', 'c++'];
  execFileSync(compiler, [...flags, ...sources, '-o', program]);
  const { status, stdout } = spawnSync(program, { encoding: 'utf8' });
  return { status, output: stdout };
}

beforeAll(() => {
  folder = mkdtempSync(join(tmpdir(), 'pogo-cuda-'));
});
afterAll(() => rmSync(folder, { recursive: true }));

// A machine without a C++ compiler cannot build the test; set-up reports the missing compiler.
describe.skipIf(!hasCompiler)('CUDA kernels on the device model', () => {
  it('give the known answers', () => {
    const { status, output } = buildAndRun(root);
    expect(output).toMatch(/\d+ passed, 0 failed/);
    expect(status).toBe(0);
  });

  it('fail them when one constant is changed', () => {
    cpSync(join(root, 'native'), join(folder, 'native'), {
      recursive: true,
      filter: (path) => !/[\\/](build|build-test|target|merkle|cpu)$/.test(path),
    });
    const header = join(folder, 'native', 'exact', 'constants.h');
    const text = readFileSync(header, 'utf8');
    const changed = text.replace('POGO_MIX_1 = 0x7FEB352Du', 'POGO_MIX_1 = 0x7FEB352Fu');
    expect(changed).not.toBe(text);
    writeFileSync(header, changed);
    const { status, output } = buildAndRun(folder);
    expect(output).toContain('FAILED quantize4');
    expect(status).toBe(1);
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
