import { blake3 } from '@noble/hashes/blake3.js';
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { PogoError } from '../../src/errors.js';
import { BlobStore } from '../../src/files/blobStore.js';
import { removeUnfinished, writeFileAtomic } from '../../src/files/durable.js';
import { readWholeFile } from '../../src/files/fileLayer.js';
import { equalBytes, toHex } from '../../src/hex.js';
import { readStateFolder, type StateVectors, writeStateFolder } from '../../src/node/files/stateFolder.js';
import { openStepLog } from '../../src/node/files/stepLog.js';
import { STATE_VERSION, type StateHeader, ZERO_ROOT } from '../../src/protocol/types.js';
import { crashSweep } from '../support/crashSweep.js';
import { FaultFiles } from '../support/faultFiles.js';
import { seededBytes } from '../support/random.js';

function errorOf(work: () => unknown): PogoError {
  try {
    work();
  } catch (error) {
    if (error instanceof PogoError) return error;
    throw error;
  }
  throw new Error('nothing was thrown');
}

describe('writeFileAtomic', () => {
  it('leaves the old content or the new one at every crash, and the new one once it returned', async () => {
    const before = seededBytes(700, 1);
    const after = [seededBytes(600, 2), seededBytes(500, 3)];
    const joined = Uint8Array.from([...after[0]!, ...after[1]!]);
    let returned = false;
    const seen = new Set<string>();
    await crashSweep(
      (files) => {
        files.makeDirectory('/d');
        writeFileAtomic(files, '/d/file', before);
      },
      (files) => {
        returned = false;
        writeFileAtomic(files, '/d/file', ...after);
        returned = true;
      },
      (files) => {
        removeUnfinished(files, '/d');
        expect(files.list('/d')).toEqual(['file']);
        const found = readWholeFile(files, '/d/file', 4096);
        const isNew = equalBytes(found, joined);
        expect(isNew || (!returned && equalBytes(found, before))).toBe(true);
        seen.add(isNew ? 'new' : 'old');
      },
      13,
    );
    expect(seen).toEqual(new Set(['old', 'new']));
  });

  it('leaves the old content when the disk is full', () => {
    const files = new FaultFiles();
    files.makeDirectory('/d');
    writeFileAtomic(files, '/d/file', Uint8Array.of(1));
    files.capacity = 100;
    expect(errorOf(() => writeFileAtomic(files, '/d/file', new Uint8Array(200)))).toMatchObject({
      code: 'IO',
      details: { system: 'ENOSPC' },
    });
    expect(readWholeFile(files, '/d/file', 10)).toEqual(Uint8Array.of(1));
    expect(files.list('/d')).toEqual(['file']);
  });
});

describe('BlobStore', () => {
  it('gives back any bytes under the root that BLAKE3 gives them', () => {
    const files = new FaultFiles();
    const store = BlobStore.open('/blobs', { layer: files });
    fc.assert(
      fc.property(fc.array(fc.uint8Array({ maxLength: 3000 }), { maxLength: 3 }), (parts) => {
        const whole = Uint8Array.from(parts.flatMap((part) => [...part]));
        const root = store.put(...parts);
        expect(toHex(root)).toBe(toHex(blake3(whole)));
        expect(store.get(root, { length: whole.length })).toEqual(whole);
        const streamed = [...store.stream(root)].flatMap((chunk) => [...chunk]);
        expect(streamed).toEqual([...whole]);
      }),
      { numRuns: 50 },
    );
  });

  it('hashes parts across group boundaries as one string', () => {
    const store = BlobStore.open('/blobs', { layer: new FaultFiles() });
    const whole = seededBytes(3 * 16384 + 100, 5);
    for (const length of [16383, 16384, 16385, 32768, whole.length]) {
      for (const cut of [0, 1, 1000, 16383, 16384, 16385, 20000, length]) {
        if (cut > length) continue;
        const root = store.put(
          whole.subarray(0, cut),
          whole.subarray(cut, Math.min(cut + 7, length)),
          whole.subarray(Math.min(cut + 7, length), length),
        );
        expect(toHex(root)).toBe(toHex(blake3(whole.subarray(0, length))));
        store.verify(root);
      }
    }
  });

  it('takes and fills views of SharedArrayBuffers', () => {
    const store = BlobStore.open('/blobs', { layer: new FaultFiles() });
    const shared = new Uint8Array(new SharedArrayBuffer(64), 16, 32);
    shared.set(seededBytes(32, 1));
    const root = store.put(shared);
    const into = new Uint8Array(new SharedArrayBuffer(32));
    store.getInto(root, into);
    expect([...into]).toEqual([...shared]);
  });

  it('holds a blob in full or not at all at every crash, and surely once put returned', async () => {
    const content = seededBytes(1500, 9);
    const root = blake3(content);
    let returned = false;
    await crashSweep(
      (files) => void BlobStore.open('/blobs', { layer: files }),
      (files) => {
        returned = false;
        BlobStore.open('/blobs', { layer: files }).put(content);
        returned = true;
      },
      (files) => {
        const store = BlobStore.open('/blobs', { layer: files });
        if (returned) expect(store.has(root)).toBe(true);
        if (store.has(root)) expect(equalBytes(store.get(root), content)).toBe(true);
        expect(equalBytes(store.get(store.put(content)), content)).toBe(true);
      },
      13,
    );
  });

  it('calls absent, cut, grown and changed blobs MISSING and names the root; a new put repairs them', () => {
    const files = new FaultFiles();
    const store = BlobStore.open('/blobs', { layer: files });
    const content = seededBytes(100, 3);
    const root = blake3(content);
    expect(errorOf(() => store.get(root))).toMatchObject({ code: 'MISSING', details: { root: toHex(root) } });
    store.put(content);
    const damages: ((bytes: Uint8Array) => Uint8Array)[] = [
      (bytes) => bytes.subarray(0, 99),
      (bytes) => Uint8Array.from([...bytes, 0]),
      (bytes) => bytes.map((value, index) => (index === 50 ? value ^ 1 : value)),
      () => new Uint8Array(0),
    ];
    for (const damage of damages) {
      files.damage(store.path(root), damage);
      for (const read of [
        () => store.get(root),
        () => store.verify(root),
        () => store.getInto(root, new Uint8Array(100)),
      ]) {
        expect(errorOf(read)).toMatchObject({ code: 'MISSING', details: { root: toHex(root) } });
      }
      store.put(content);
      expect(store.get(root)).toEqual(content);
    }
  });

  it('compares sizes before it allocates', () => {
    const files = new FaultFiles();
    const store = BlobStore.open('/blobs', { layer: files, maxBytes: 1000 });
    expect(errorOf(() => store.put(new Uint8Array(1001))).code).toBe('RANGE');
    const root = store.put(new Uint8Array(500));
    expect(errorOf(() => store.get(root, { length: 499 })).code).toBe('MISSING');
    expect(errorOf(() => store.get(root, { maxBytes: 499 })).code).toBe('RANGE');
    // A file that claims a terabyte: refused by its length alone, no buffer of that size is asked for.
    const liar = { ...statusLiar(files, 2 ** 40) };
    expect(errorOf(() => BlobStore.reader('/blobs', { layer: liar }).get(root)).code).toBe('RANGE');
  });
});

function statusLiar(files: FaultFiles, size: number) {
  return {
    open: files.open.bind(files),
    rename: files.rename.bind(files),
    syncDirectory: files.syncDirectory.bind(files),
    list: files.list.bind(files),
    status: () => ({ kind: 'file' as const, size }),
    remove: files.remove.bind(files),
    removeDirectory: files.removeDirectory.bind(files),
    makeDirectory: files.makeDirectory.bind(files),
  };
}

const LAYOUT = { length: 256 };

function state(seed: number, ema: boolean): { header: StateHeader; vectors: StateVectors } {
  const vector = (which: number) =>
    Float32Array.from({ length: LAYOUT.length }, (_, index) => Math.fround(Math.sin(seed * 100 + which * 10 + index)));
  const root = (values: Float32Array) => blake3(new Uint8Array(values.buffer));
  const vectors = { theta: vector(0), m: vector(1), v: vector(2), ...(ema ? { ema: vector(3) } : {}) };
  const header: StateHeader = {
    version: STATE_VERSION,
    recipeRoot: seededBytes(32, 77),
    step: seed,
    tokens: 1000 * seed,
    beta1Power: 0x3f800000,
    beta2Power: 0x3f800000,
    thetaRoot: root(vectors.theta),
    mRoot: root(vectors.m),
    vRoot: root(vectors.v),
    emaRoot: vectors.ema === undefined ? ZERO_ROOT : root(vectors.ema),
  };
  return { header, vectors };
}

function plain(vectors: StateVectors): Record<string, number[]> {
  return Object.fromEntries(Object.entries(vectors).map(([name, values]) => [name, [...(values as Float32Array)]]));
}

describe('state folder', () => {
  it('gives back the state it was given, with and without an EMA, on shared memory', () => {
    for (const ema of [true, false]) {
      const files = new FaultFiles();
      const { header, vectors } = state(3, ema);
      writeStateFolder('/run/states/3', header, vectors, files);
      const read = readStateFolder('/run/states/3', LAYOUT, files);
      expect(plain(read.vectors)).toEqual(plain(vectors));
      expect(read.header.step).toBe(3);
      expect(read.vectors.theta.buffer).toBeInstanceOf(SharedArrayBuffer);
      writeStateFolder('/run/states/3', header, vectors, files);
      expect(
        errorOf(() => writeStateFolder('/run/states/3', state(4, ema).header, state(4, ema).vectors, files)).code,
      ).toBe('IO');
    }
  });

  it('is there in full or not at all at every crash', async () => {
    const { header, vectors } = state(5, true);
    let returned = false;
    await crashSweep(
      (files) => files.makeDirectory('/run'),
      (files) => {
        returned = false;
        writeStateFolder('/run/state', header, vectors, files);
        returned = true;
      },
      (files) => {
        removeUnfinished(files, '/run');
        const there = files.list('/run').length > 0;
        if (returned) expect(there).toBe(true);
        if (!there) writeStateFolder('/run/state', header, vectors, files);
        expect(
          equalBytes(
            new Uint8Array(readStateFolder('/run/state', LAYOUT, files).vectors.ema!.buffer.slice(0)),
            new Uint8Array(vectors.ema!.buffer),
          ),
        ).toBe(true);
      },
      31,
    );
  });

  it('refuses every changed, cut or added byte and every other file', () => {
    const { header, vectors } = state(6, true);
    const names = ['header.ssz', 'theta.bin', 'm.bin', 'v.bin', 'ema.bin'];
    const damages: ((bytes: Uint8Array) => Uint8Array)[] = [
      (bytes) => bytes.subarray(0, bytes.length - 1),
      (bytes) => Uint8Array.from([...bytes, 0]),
      (bytes) => bytes.map((value, index) => (index === 70 ? value ^ 0x80 : value)),
    ];
    for (const name of names) {
      for (const damage of damages) {
        const files = new FaultFiles();
        writeStateFolder('/state', header, vectors, files);
        files.damage(`/state/${name}`, damage);
        expect(errorOf(() => readStateFolder('/state', LAYOUT, files)).code).toBe('CORRUPT');
      }
      const files = new FaultFiles();
      writeStateFolder('/state', header, vectors, files);
      files.remove(`/state/${name}`);
      expect(errorOf(() => readStateFolder('/state', LAYOUT, files)).code).toBe(
        name === 'header.ssz' ? 'MISSING' : 'CORRUPT',
      );
    }
    const files = new FaultFiles();
    writeStateFolder('/state', header, vectors, files);
    writeFileAtomic(files, '/state/more.bin', Uint8Array.of(1));
    expect(errorOf(() => readStateFolder('/state', LAYOUT, files)).code).toBe('CORRUPT');
    expect(errorOf(() => readStateFolder('/state', { length: 2 ** 50 }, files)).code).toBe('CORRUPT');
  });

  it('never writes a folder that could not be read back', () => {
    const { header, vectors } = state(7, true);
    const wrong = { ...vectors, m: vectors.v };
    expect(errorOf(() => writeStateFolder('/state', header, wrong, new FaultFiles())).code).toBe('INTERNAL');
  });
});

describe('step log', () => {
  const units = (step: number) => [seededBytes(150, 2 * step), seededBytes(150, 2 * step + 1)];
  const commitment = (step: number) => seededBytes(80, 1000 + step);

  it('keeps every committed step with its units through every crash; at most the step in progress is lost', async () => {
    const steps = 3;
    let returned = 0;
    await crashSweep(
      (files) => files.makeDirectory('/run'),
      (files) => {
        returned = 0;
        const log = openStepLog('/run', { layer: files });
        for (let step = 0; step < steps; step += 1) {
          log.append(step, units(step), commitment(step));
          returned += 1;
        }
        log.close();
      },
      (files) => {
        const log = openStepLog('/run', { layer: files });
        const found = log.steps.length;
        expect(found === returned || found === returned + 1).toBe(true);
        for (let step = 0; step < found; step += 1) {
          expect(equalBytes(log.step(step).commitment, commitment(step))).toBe(true);
          log.units(step).forEach((unit, index) => {
            expect(equalBytes(unit, units(step)[index]!)).toBe(true);
          });
        }
        for (let step = found; step < steps; step += 1) log.append(step, units(step), commitment(step));
        expect(log.units(steps - 1)).toHaveLength(2);
      },
      17,
    );
  });

  it('takes steps in order only, from any first step on, and units as parts', () => {
    const files = new FaultFiles();
    const log = openStepLog('/run', { layer: files });
    log.append(40, [[Uint8Array.of(1), Uint8Array.of(2, 3)]], Uint8Array.of(9));
    expect(log.units(40)).toEqual([Uint8Array.of(1, 2, 3)]);
    for (const step of [40, 42, -1, 0.5])
      expect(errorOf(() => log.append(step, [], Uint8Array.of())).code).toBe('RANGE');
    expect(errorOf(() => log.units(41)).code).toBe('RANGE');
    expect(openStepLog('/run', { layer: files }).last).toBe(40);
  });

  it('notices a unit that is gone or cut on opening, and a changed one on reading', () => {
    const files = new FaultFiles();
    const log = openStepLog('/run', { layer: files });
    const [unit] = log.append(0, units(0), commitment(0)).units;
    log.close();
    files.damage(log.blobs.path(unit!.root), (bytes) => bytes.map((value) => value ^ 1));
    expect(errorOf(() => openStepLog('/run', { layer: files }).units(0))).toMatchObject({
      code: 'MISSING',
      details: { root: toHex(unit!.root) },
    });
    files.damage(log.blobs.path(unit!.root), (bytes) => bytes.subarray(1));
    expect(errorOf(() => openStepLog('/run', { layer: files })).code).toBe('MISSING');
  });

  it('goes on after a full disk', () => {
    const files = new FaultFiles();
    const log = openStepLog('/run', { layer: files });
    log.append(0, units(0), commitment(0));
    files.capacity = 600;
    expect(errorOf(() => log.append(1, units(1), commitment(1))).code).toBe('IO');
    expect(openStepLog('/run', { layer: files }).last).toBe(0);
    files.capacity = Number.POSITIVE_INFINITY;
    log.append(1, units(1), commitment(1));
    expect(openStepLog('/run', { layer: files }).last).toBe(1);
  });
});
