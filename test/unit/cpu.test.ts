import { Session } from 'node:inspector';
import { Worker } from 'node:worker_threads';
import { afterEach, describe, expect, it } from 'vitest';
import { openCpuBackend } from '../../src/backend/cpu.js';
import { loadCpuAddon } from '../../src/backend/cpuAddon.js';
import { loadCudaAddon } from '../../src/backend/cudaAddon.js';
import { openBackend } from '../../src/backend/open.js';
import { OPERATIONS } from '../../src/backend/ops.js';
import { referenceKernels } from '../../src/backend/reference.js';
import { sharedArray } from '../../src/backend/sharedArrays.js';
import { PogoError } from '../../src/errors.js';
import { Arguments, MAKE } from '../support/kernelArguments.js';

const loaded = loadCpuAddon();
const addon = loaded.addon;
const isas = Object.entries(addon?.describe().isas ?? {});

function codeOf(run: () => void): string {
  try {
    run();
  } catch (error) {
    if (error instanceof PogoError) return error.code;
    throw error;
  }
  return 'none';
}

const bytesOf = (a: Uint16Array | Int8Array | Float32Array) => Buffer.from(a.buffer, a.byteOffset, a.byteLength);

describe.skipIf(addon === undefined)('CPU backend', () => {
  const environment = { ...process.env };
  afterEach(() => {
    process.env = { ...environment };
  });

  it('writes results larger than the caches with the same bits, at any alignment', () => {
    const n = 2 ** 21 + 64; // 8 MiB and a block
    const codes = new Uint8Array(n).map((_, i) => (Math.imul(i, 0x9e3779b1) >>> 24) & 0x77);
    const scales = new Uint16Array(n / 64).map((_, i) => 0x3a00 + (i % 64));
    const expected = { 4: new Float32Array(n), 8: new Float32Array(n) };
    const packed = { 4: codes.subarray(0, n / 2), 8: codes };
    for (const bits of [4, 8] as const) {
      referenceKernels.unpackModel({ codes: packed[bits], scales, x: expected[bits], n, bits });
    }
    for (const [isa, { built, machine }] of isas) {
      if (!built || !machine) continue;
      const { kernels } = openCpuBackend(isa as 'scalar');
      // At a line, beside it by a float, and by four.
      for (const offset of [0, 1, 4]) {
        const x = sharedArray(Float32Array, n + 4).subarray(offset, offset + n);
        for (const bits of [4, 8] as const) {
          kernels.unpackModel({ codes: packed[bits], scales, x, n, bits });
          expect(Buffer.compare(bytesOf(x), bytesOf(expected[bits])), `${isa} ${bits} ${offset}`).toBe(0);
        }
      }
    }
  });

  it('patches a model larger than the caches, at a line and beside one', () => {
    const n = 2 ** 23 + 16_384 + 7; // 8 MiB, a chunk and a short one
    const models = [0, 1].map(() => sharedArray(Uint8Array, n));
    for (let i = 0; i < n; i++) {
      const random = Math.imul(i, 0x9e3779b1) >>> 0;
      models[0][i] = random >>> 24;
      // Some chunks are equal, some differ nearly everywhere, the others in some places.
      const differs = [0, 0xff, random & (random >>> 8) & 0x55][(i >>> 14) % 3];
      models[1][i] = (random >>> 24) ^ differs;
    }
    const [older, newer] = models;
    const out = new Uint8Array(n + Math.ceil(n / 16_384));
    const end = new Uint32Array(2);
    const encoded: Buffer[] = [];
    for (const [isa, { built, machine }] of isas) {
      if (!built || !machine) continue;
      const { kernels } = openCpuBackend(isa as 'scalar');
      kernels.diffModel({ older, newer, out, end, n });
      const patch = out.slice(0, end[0]);
      encoded.push(Buffer.from(patch));
      expect(encoded.at(-1)?.equals(encoded[0]), isa).toBe(true);
      for (const offset of [0, 1]) {
        const result = sharedArray(Uint8Array, n + 1).subarray(offset, offset + n);
        kernels.patchModel({ older, patch, newer: result, start: 0, n });
        expect(Buffer.compare(result, newer), `${isa} ${offset}`).toBe(0);
      }
    }
  });

  it('counts the calls of the forced instruction set and of no other', () => {
    for (const [isa, { built, machine }] of isas) {
      if (!built || !machine) continue;
      const backend = openCpuBackend(isa as 'scalar');
      const others = () =>
        Object.entries(addon!.describe().isas)
          .filter(([name]) => name !== isa)
          .map(([, { calls }]) => calls);
      for (const operation of OPERATIONS.filter((name) => name !== 'fillZero')) {
        const [before, rest] = [backend.kernelCalls(), others()];
        (backend.kernels[operation] as (a: unknown) => void)(MAKE[operation](new Arguments(1, 'ordinary')));
        expect(backend.kernelCalls() - before, `${isa} ${operation}`).toBe(1);
        expect(others()).toEqual(rest);
        expect(addon!.tilesInUse(), `${isa} ${operation} leaves tiles in use`).toBe(false);
      }
    }
  });

  it('keeps two backends of one thread apart', () => {
    const [a, b] = [openCpuBackend('scalar'), openCpuBackend('auto')];
    const before = a.kernelCalls();
    b.kernels.unitLoss({ loss: new Float32Array(64), out: new Float32Array(1), U: 64 });
    a.kernels.unitLoss({ loss: new Float32Array(64), out: new Float32Array(1), U: 64 });
    expect(a.kernelCalls() - before).toBe(a.isa === b.isa ? 2 : 1);
  });

  it.skipIf(process.arch !== 'x64')('computes exactly under a foreign floating-point mode, and puts it back', () => {
    // All masked, round toward zero, flush to zero, denormals are zero.
    const foreign = 0x1f80 | 0x6000 | 0x8000 | 0x40;
    const { kernels } = openCpuBackend('auto');
    const host = addon!.floatingPointMode()!;
    const make = () => MAKE.gemm(new Arguments(7, 'tiny'));
    const [expected, found] = [make(), make()];
    // 2^-75 * 2^-75 is far below the smallest subnormal, 2^-65 * 2^-65 lies among them.
    for (const a of [expected, found]) {
      a.aScales.fill(2 ** -69);
      a.bScales.fill(2 ** -70);
    }
    referenceKernels.gemm(expected);
    expect(expected.y.some((v) => v !== 0 && Math.abs(v) < 2 ** -126)).toBe(true);
    let after = 0;
    try {
      addon!.setFloatingPointMode(foreign);
      kernels.gemm(found);
      after = addon!.floatingPointMode()!;
    } finally {
      addon!.setFloatingPointMode(host);
    }
    // Status flags (the low six bits) may have been raised by the host's own arithmetic.
    expect(after & ~0x3f).toBe(foreign & ~0x3f);
    expect(new Uint32Array(found.y.buffer)).toEqual(new Uint32Array(expected.y.buffer));
  });

  it('gives the same bits while signals interrupt it', () => {
    // V8's sampling profiler stops this thread by SIGPROF: the kernel saves and restores all registers, tiles included.
    const a = MAKE.attentionForward(new Arguments(3, 'ordinary'));
    const m = MAKE.linearQkv(new Arguments(5, 'extreme'));
    referenceKernels.attentionForward(a);
    referenceKernels.linearQkv(m);
    const session = new Session();
    session.connect();
    session.post('Profiler.enable');
    session.post('Profiler.setSamplingInterval', { interval: 100 });
    session.post('Profiler.start');
    for (const [isa, { built, machine }] of isas) {
      if (!built || !machine) continue;
      const { kernels } = openCpuBackend(isa as 'scalar');
      for (let round = 0; round < 20; round += 1) {
        const [attention, linear] = [
          { ...a, o: new Uint16Array(a.o.length) },
          { ...m, codes: new Int8Array(m.codes.length) },
        ];
        kernels.attentionForward(attention);
        kernels.linearQkv(linear);
        expect(Buffer.compare(bytesOf(attention.o), bytesOf(a.o)), isa).toBe(0);
        expect(Buffer.compare(bytesOf(linear.codes), bytesOf(m.codes)), isa).toBe(0);
      }
    }
    let samples = 0;
    session.post('Profiler.stop', (_, { profile }) => {
      samples = profile.samples?.length ?? 0;
    });
    session.disconnect();
    expect(samples).toBeGreaterThan(10);
  });

  it('restores the mode when a kernel refuses its input', () => {
    const host = addon!.floatingPointMode();
    const { kernels } = openCpuBackend('auto');
    const x = new Uint16Array(64).fill(0x7f80);
    const a = { x, codes: new Int8Array(64), scales: new Float32Array(1), T: 1, N: 64 };
    expect(codeOf(() => kernels.quantizeRows(a))).toBe('NON_FINITE');
    expect((addon!.floatingPointMode() ?? 0) & ~0x3f).toBe((host ?? 0) & ~0x3f);
  });

  it('names operation and tensor of a non-finite value', () => {
    const { kernels } = openCpuBackend('scalar');
    const x = new Float32Array(64);
    x[3] = Number.NaN;
    const a = {
      x,
      codes: new Uint8Array(128),
      scales: new Uint16Array(4),
      seed: new Uint32Array(4),
      rows: 1,
      cols: 64,
    };
    expect(() => kernels.quantize4(a)).toThrow(/quantize4: .* in x, found an Inf or NaN/);
  });

  it('names the argument of a wrong shape, before native code sees it', () => {
    const { kernels } = openCpuBackend('auto');
    const a = MAKE.linearGelu(new Arguments(3, 'ordinary'));
    expect(() => kernels.linearGelu({ ...a, wScales: a.wScales.subarray(1) })).toThrow(/linearGelu: expected wScales/);
    expect(codeOf(() => kernels.linearGelu({ ...a, N: a.N + 1 }))).toBe('SHAPE');
    const norm = MAKE.normForward(new Arguments(3, 'ordinary'));
    expect(() => kernels.normForward({ ...norm, C: 100 })).toThrow(/multiple of 64 \(128 would do\)/);
  });

  it('is memory-safe without the TypeScript checks', () => {
    const short = new Float32Array(3);
    expect(() => addon!.unitLoss(64, short, short)).toThrow(/at least 64 elements, found 3/);
    expect(() => addon!.unitLoss(64, new Uint32Array(64), short)).toThrow(/Float32Array/);
    expect(() => addon!.unitLoss()).toThrow(TypeError);
    expect(() => addon!.unitLoss(-1, short, short)).toThrow(/integer/);
    const big = new Float32Array(64 * 64);
    const out = new Uint16Array(64);
    expect(() => addon!.embed(1, 64, 1, 64, Uint32Array.of(64), big, big, out)).toThrow(/indices below 64/);
  });

  it('reads and writes views of shared memory in place', () => {
    const shared = new Float32Array(new SharedArrayBuffer(4 * 256), 4 * 128, 64).fill(0.5);
    const out = new Float32Array(new SharedArrayBuffer(8), 4, 1);
    openCpuBackend('auto').kernels.unitLoss({ loss: shared, out, U: 64 });
    expect(out[0]).toBe(0.5);
  });

  it('survives workers that load and unload the addon', async () => {
    const { path } = loaded as { path: string };
    const source = `
      const { parentPort, workerData } = require('node:worker_threads');
      const addon = require(workerData);
      const out = new Float32Array(1);
      addon.unitLoss(64, new Float32Array(64).fill(2), out);
      parentPort.postMessage(out[0]);`;
    for (let round = 0; round < 3; round += 1) {
      const results = await Promise.all(
        [0, 1].map(
          () =>
            new Promise((resolve, reject) => {
              const worker = new Worker(source, { eval: true, workerData: path });
              let value: unknown;
              worker.on('message', (message) => {
                value = message;
              });
              worker.on('error', reject);
              worker.on('exit', () => resolve(value));
            }),
        ),
      );
      expect(results).toEqual([2, 2]);
    }
    const out = new Float32Array(1);
    openCpuBackend('auto').kernels.unitLoss({ loss: new Float32Array(64).fill(3), out, U: 64 });
    expect(out[0]).toBe(3);
  });

  it('refuses an instruction set that the machine or the build lacks, and says what would do', () => {
    const missing = isas.find(([, { built, machine }]) => !built || !machine);
    expect(missing).toBeDefined();
    const open = () => openCpuBackend(missing![0] as 'scalar');
    expect(codeOf(open)).toBe('ENVIRONMENT');
    expect(open).toThrow(/POGO_ISA to one of auto, .*scalar/);
  });

  it('opens by environment, forced and in order', () => {
    process.env['POGO_ISA'] = 'scalar';
    process.env['POGO_BACKEND'] = '';
    expect(openBackend()).toMatchObject({ name: 'cpu', isa: 'scalar' });
    process.env['POGO_ISA'] = 'sse9';
    expect(codeOf(() => openBackend())).toBe('USAGE');
    process.env['POGO_ISA'] = '';
    process.env['POGO_BACKEND'] = 'reference';
    expect(openBackend({ selfTest: 'none' })).toMatchObject({ name: 'reference', isa: 'typescript' });
    expect(openBackend({ require: 'cpu' }).name).toBe('cpu');
    process.env['POGO_BACKEND'] = '';
    // A GPU that can be used comes first, and is then what was demanded.
    const gpu = loadCudaAddon().addon !== undefined;
    expect(openBackend({ isa: 'auto' }).misses.map((miss) => miss.backend)).toEqual(gpu ? [] : ['cuda']);
    if (gpu) expect(openBackend({ require: 'cuda' }).name).toBe('cuda');
    else expect(codeOf(() => openBackend({ require: 'cuda' }))).toBe('ENVIRONMENT');
  });
});
