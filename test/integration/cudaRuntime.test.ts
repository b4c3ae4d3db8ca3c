/**
 * What the CUDA addon does with bad arguments, little memory and foreign handles, on the device model. Each is an error
 * that says what to do; none ends the process.
 */
import { execFileSync } from 'node:child_process';
import { join } from 'node:path';
import { afterEach, describe, expect, it } from 'vitest';
import { cudaError, cudaKernels, openCudaBackend } from '../../src/backend/cuda.js';
import { describeReport, examine } from '../../src/cli/doctor.js';
import { buildModelAddon, modelAddon } from '../support/cudaModel.js';

const file = buildModelAddon();
const addon = file === undefined ? undefined : modelAddon(file);
const GIB = 2 ** 30;

describe.skipIf(addon === undefined)('the CUDA addon', () => {
  const model = addon as NonNullable<typeof addon>;
  const number = (name: string): number => model.operations().findIndex((operation) => operation.name === name);
  afterEach(() => model.modelSettings({ memory: 8 * GIB, devices: 1 }));

  /** The message of what `work` throws. */
  function refusal(work: () => unknown): string {
    try {
      work();
    } catch (error) {
      return (error as Error).message;
    }
    return 'nothing was refused';
  }

  it('lists its operations with their fields', () => {
    const fields = model.operations()[number('dequantize4')]?.fields;
    expect(fields).toEqual([
      { name: 'n', type: 'u64', kind: 'scalar', written: false },
      { name: 'codes', type: 'u8', kind: 'array', written: false },
      { name: 'scales', type: 'bf16', kind: 'array', written: false },
      { name: 'x', type: 'f32', kind: 'array', written: true },
    ]);
  });

  it('says how many bytes are needed and how many are free', () => {
    model.modelSettings({ memory: 1 << 20 });
    let thrown: unknown;
    try {
      model.createModel(0, 1 << 20, 4096, 2);
    } catch (error) {
      thrown = cudaError(error, 'model');
    }
    expect(thrown).toMatchObject({
      code: 'ENVIRONMENT',
      details: { needed: (1 << 20) + 2 * 4352, available: 1 << 20 },
    });
    expect((thrown as Error).message).toMatch(/expected 1057280 bytes of free memory, found 1048576; use fewer lanes/);
    // Nothing was kept: the next model has all of it.
    expect(model.freeBytes(0)).toBe(1 << 20);
  });

  it('gives memory back when a model is released and no lane has it', () => {
    const before = model.freeBytes(0);
    const id = model.createModel(0, 1 << 20, 4096, 1);
    const lane = model.attachLane(id, 1 << 16);
    model.releaseModel(id);
    expect(model.freeBytes(0)).toBeLessThan(before);
    model.detachLane(lane);
    expect(model.freeBytes(0)).toBe(before);
    expect(refusal(() => model.attachLane(id, 1 << 16))).toMatch(/expected one that somebody holds/);
  });

  it('moves any number of bytes through its staging memory', () => {
    const id = model.createModel(0, 1 << 20, 4096, 1);
    const lane = model.attachLane(id, 1 << 16);
    for (const length of [1, 4096, 65_536, 65_537, 1_000_001]) {
      const bytes = Uint8Array.from({ length }, (_, i) => i % 251);
      const before = model.counters();
      model.upload(lane, 0, 16, bytes);
      const back = new Uint8Array(new SharedArrayBuffer(length));
      model.download(lane, 0, 16, back);
      expect(Buffer.compare(back, bytes)).toBe(0);
      const after = model.counters();
      expect([after.toDevice - before.toDevice, after.fromDevice - before.fromDevice]).toEqual([length, length]);
    }
    model.detachLane(lane);
    model.releaseModel(id);
  });

  it('runs a tape whose copies overlap, also where work is done only when it is waited for', () => {
    const id = model.createModel(0, 1 << 16, 1 << 16, 1);
    const lane = model.attachLane(id, 1 << 16);
    const words = (codes: number, x: number): number[] => [
      number('dequantize4'),
      64,
      0,
      codes,
      32,
      0,
      1024,
      1,
      1,
      x,
      64,
    ];
    const nothing = { offset: 0, bytes: 0 };
    const tape = model.bindTape(lane, Float64Array.from([...words(0, 0), ...words(32, 0)]), nothing, nothing);
    for (const deferred of [false, true]) {
      model.modelSettings({ deferred });
      const codes = Uint8Array.from({ length: 64 }, (_, i) => (i < 32 ? 0x21 : 0x43));
      const uploads = [
        { space: 0, offset: 0, data: codes },
        { space: 0, offset: 1024, data: Uint16Array.of(0x3f80) },
      ] as const;
      const first = new Float32Array(64);
      const second = new Float32Array(64);
      const copied = { fromSpace: 1, fromOffset: 0, toSpace: 1, toOffset: 4096, bytes: 256 } as const;
      const downloads = [
        { after: 0, overlap: false, space: 1, offset: 0, data: first },
        { after: 1, overlap: true, space: 1, offset: 0, data: second },
      ] as const;
      expect(model.runTape(lane, tape, uploads, downloads, [copied])).toBeUndefined();
      expect([first[0], first[1], second[0], second[1]]).toEqual([1, 2, 3, 4]);
      const back = new Float32Array(64);
      model.download(lane, 1, 4096, back);
      expect(back).toEqual(second);
    }
    model.modelSettings({ deferred: false });
    model.detachLane(lane);
    model.releaseModel(id);
  });

  it('refuses tables that point outside, are cut off, misaligned or unknown', () => {
    const id = model.createModel(0, 4096, 4096, 1);
    const lane = model.attachLane(id, 1 << 16);
    const nothing = { offset: 0, bytes: 0 };
    const bind = (...words: number[]): string =>
      refusal(() => model.bindTape(lane, Float64Array.from(words), nothing, nothing));
    const dequantize = number('dequantize4');
    expect(bind(9999)).toMatch(/integer in its range/);
    expect(bind(dequantize, 64)).toMatch(/codes to be in the table, found its end/);
    expect(bind(dequantize, 64, 0, 4096, 32, 0, 1024, 1, 0, 0, 64)).toMatch(/codes to lie inside the memory/);
    expect(bind(dequantize, 64, 0, 2 ** 52, 2 ** 52, 0, 1024, 1, 0, 0, 64)).toMatch(/codes to lie inside the memory/);
    expect(bind(dequantize, 64, 0, 1, 32, 0, 1024, 1, 0, 0, 64)).toMatch(/multiple of 16 bytes, found 1/);
    expect(bind(dequantize, 64, 0, 0, 31, 0, 1024, 1, 0, 0, 64)).toMatch(/at least 32 elements, found 31/);
    expect(bind(dequantize, 64, 2, 0, 32, 0, 1024, 1, 0, 0, 64)).toMatch(/integer in its range/);
    expect(bind(dequantize, 0.5, 0, 0, 32, 0, 1024, 1, 0, 0, 64)).toMatch(/integer in its range/);
    expect(refusal(() => model.upload(lane, 0, 4000, new Uint8Array(97)))).toMatch(/inside the memory/);
    expect(refusal(() => model.download(lane, 1, 2 ** 52, new Uint8Array(1)))).toMatch(/inside the memory/);
    model.detachLane(lane);
    model.releaseModel(id);
  });

  it('refuses handles of others and more lanes than were planned', () => {
    const id = model.createModel(0, 4096, 4096, 1);
    const lane = model.attachLane(id, 1 << 16);
    const nothing = { offset: 0, bytes: 0 };
    expect(refusal(() => model.attachLane(id, 1 << 16))).toMatch(/expected a free lane, found all taken/);
    expect(refusal(() => model.runTape(lane, 12_345, [], [], []))).toMatch(/foreign handle/);
    expect(refusal(() => model.upload(54_321, 0, 0, new Uint8Array(1)))).toMatch(/foreign handle/);
    expect(refusal(() => model.bindTape(lane, [] as never, nothing, nothing))).toMatch(/Float64Array/);
    model.detachLane(lane);
    model.releaseModel(id);
  });

  it('refuses whole-array calls with other arrays than the operation has', () => {
    const calls = model.openCalls(0);
    const call = (...values: unknown[]): string =>
      refusal(() => model.call(calls, number('dequantize4'), values as never));
    expect(call(64, new Uint8Array(31), new Uint16Array(1), new Float32Array(64))).toMatch(/at least 32 elements/);
    expect(call(64, new Float32Array(32), new Uint16Array(1), new Float32Array(64))).toMatch(/an array of u8/);
    expect(call(64, new Uint8Array(32))).toMatch(/found no more arguments/);
    expect(call(64, new Float64Array(32))).toMatch(/typed arrays of the tape's types/);
    expect(refusal(() => model.call(77_777, 0, []))).toMatch(/handle of this thread/);
  });

  it('names a device that is not there', () => {
    expect(refusal(() => model.createModel(3, 4096, 4096, 1))).toMatch(/cudaSetDevice: CUDA error 101/);
    expect(refusal(() => model.freeBytes(64))).toMatch(/expected an index below 64/);
    expect(refusal(() => openCudaBackend({ addonFile: file as string, device: 7 }))).toMatch(/kernel|device 7/);
  });

  it('gives wrong shapes the error of every backend', () => {
    const kernels = cudaKernels(model, 0);
    const wrong = { codes: new Uint8Array(31), scales: new Uint16Array(1), x: new Float32Array(64), n: 64 };
    expect(() => kernels.dequantize4(wrong)).toThrow(expect.objectContaining({ code: 'SHAPE' }));
  });

  // A fresh process each: what the addon says of a machine is asked once.
  it.each([
    ['driver=0', /no NVIDIA driver/, /install an NVIDIA driver, 580 or newer/],
    ['driver=12080', /older than the CUDA runtime/, /update the NVIDIA driver to 580 or newer/],
    ['devices=0', /no CUDA(-capable)? device/, /nvidia-smi lists a device/],
    ['sm=75', /no device of compute capability 8\.0 or newer, found device model \(7\.5\)/, /A100 or a newer GPU/],
  ])('says why a machine with %s cannot be used, and what to do', (machine, reason, fix) => {
    const door = join(import.meta.dirname, '..', '..', 'dist', 'backend', 'cudaAddon.js');
    const script = `import { loadCudaAddon } from ${JSON.stringify(door)};
      const { reason, fix } = loadCudaAddon(${JSON.stringify(file)});
      process.stdout.write(JSON.stringify({ reason, fix }));`;
    const env = { ...process.env, POGO_CUDA_MODEL: machine };
    const output = execFileSync(process.execPath, ['--input-type=module', '-e', script], { encoding: 'utf8', env });
    const found = JSON.parse(output) as { reason: string; fix: string };
    expect(found.reason).toMatch(reason);
    expect(found.fix).toMatch(fix);
  });

  it('errors of CUDA carry their code and the kernel, and say what to do', () => {
    const thrown = (cudaCode: number, deviceLost: boolean): Error =>
      cudaError(
        Object.assign(new Error('gemm_kernel: CUDA error'), {
          code: 'CUDA',
          cudaCode,
          kernel: 'gemm_kernel',
          deviceLost,
        }),
        'gemm',
      );
    expect(thrown(209, false)).toMatchObject({
      code: 'ENVIRONMENT',
      details: { cudaCode: 209, kernel: 'gemm_kernel' },
    });
    expect(thrown(209, false).message).toMatch(/no machine code for this device: build it here/);
    expect(thrown(35, false).message).toMatch(/update the NVIDIA driver/);
    expect(thrown(700, true).message).toMatch(/again after a restart of the process/);
  });

  it('doctor runs the known answers on it and says what has run on hardware', async () => {
    const report = await examine({ quick: true, cudaAddon: file as string });
    expect(report.backends[0]).toMatchObject({ backend: 'cuda', isa: 'sm_90a', state: 'ok', fix: '' });
    expect(report.backends[0]?.vectors).toBeGreaterThan(50);
    expect(report.backends[0]?.vectorsPassed).toBe(report.backends[0]?.vectors);
    const text = describeReport(report);
    expect(text).toMatch(/ok +cuda sm_90a +\d+ of \d+ vectors, device 0: device model/);
    expect(text).toMatch(/CUDA kernels: /);
    expect(report.cudaKernels.every(({ status, device }) => (status === 'hardware') === (device !== ''))).toBe(true);
  });
});
