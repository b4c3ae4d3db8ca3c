import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { PogoError } from '../../src/errors.js';
import { BlobStore } from '../../src/files/blobStore.js';
import { writeFileAtomic } from '../../src/files/durable.js';
import { readWholeFile } from '../../src/files/fileLayer.js';
import { toHex } from '../../src/hex.js';
import { bundleBlobs, openBundle, writeBundle } from '../../src/node/bundle.js';
import { type Bundle, type BundleClaim, decodeBundle, encodeBundle } from '../../src/protocol/bundleType.js';
import { crashSweep } from '../support/crashSweep.js';
import { FaultFiles } from '../support/faultFiles.js';
import { seededBytes } from '../support/random.js';

const root = (seed: number) => seededBytes(32, seed);

function claim(seed: number): BundleClaim {
  return {
    signedClaim: {
      header: {
        domain: seededBytes(4, seed),
        chainId: root(1),
        job: 0,
        claimNumber: seed,
        attempt: 0,
        parentClaimRoot: root(2),
        recipeRoot: root(3),
        miner: seededBytes(48, 4),
        fromRoot: root(5),
        toRoot: root(6),
        listRoot: root(7),
        modelRoot: root(8),
        diffRoot: root(9),
        draw1: root(10),
        bond: 1000n,
      },
      signature: seededBytes(96, seed),
    },
    steps: [
      {
        step: seed,
        preStateRoot: root(5),
        batchDigest: root(11),
        unitRoots: [root(12), root(13)],
        unitLosses: [1, 2],
        postStateRoot: root(6),
      },
    ],
    beaconShares: [
      {
        message: {
          domain: seededBytes(4, 1),
          chainId: root(1),
          claimNumber: seed,
          attempt: 0,
          kind: 1,
          parentBeacon: root(14),
        },
        member: seededBytes(48, 15),
        signature: seededBytes(96, 16),
      },
    ],
  };
}

const BODY: Omit<Bundle, 'version' | 'blobs'> = {
  demo: true,
  chainId: root(1),
  recipe: seededBytes(100, 1),
  startHeader: [],
  claims: [claim(0), claim(1)],
};

const CONTENTS = [seededBytes(300, 21), seededBytes(1, 22), new Uint8Array(0)];

function written(): { files: FaultFiles; roots: Uint8Array[] } {
  const files = new FaultFiles();
  const source = BlobStore.open('/source', { layer: files });
  const roots = CONTENTS.map((content) => source.put(content));
  writeBundle('/bundle', BODY, [...roots, roots[0]!], source, files);
  return { files, roots };
}

function errorOf(work: () => unknown): PogoError {
  try {
    work();
  } catch (error) {
    if (error instanceof PogoError) return error;
    throw error;
  }
  throw new Error('nothing was thrown');
}

describe('a bundle folder', () => {
  it('gives back what was written, blobs named once and verified', () => {
    const { files, roots } = written();
    const open = openBundle('/bundle', files);
    expect(open.bundle.claims).toEqual(BODY.claims);
    expect(open.bundle.blobs).toHaveLength(3);
    roots.forEach((blob, index) => {
      expect(open.get(blob)).toEqual(CONTENTS[index]);
    });
    expect(errorOf(() => open.get(root(99))).code).toBe('MISSING');
  });

  it('refuses every changed, cut or added byte of its container as MALFORMED', () => {
    const { files } = written();
    const good = readWholeFile(files, '/bundle/bundle.ssz', 1e6);
    // Every byte with POGO_FULL_SWEEP=1; else every third, which still meets every field.
    const stride = process.env['POGO_FULL_SWEEP'] === '1' ? 1 : 3;
    for (let at = 0; at < good.length; at += stride) {
      const bad = good.slice();
      bad[at]! ^= 1 << (at % 8);
      expect(errorOf(() => decodeBundle(bad)).code, `byte ${at}`).toBe('MALFORMED');
      if (at % 7 === 0) expect(errorOf(() => decodeBundle(good.subarray(0, at))).code).toBe('MALFORMED');
    }
    expect(errorOf(() => decodeBundle(Uint8Array.from([...good, 0]))).code).toBe('MALFORMED');
    files.remove('/bundle/bundle.ssz');
    expect(errorOf(() => openBundle('/bundle', files)).code).toBe('MALFORMED');
    expect(errorOf(() => openBundle('/nothing', files)).code).toBe('USAGE');
  });

  it('calls a blob that is absent, changed, cut or grown MISSING and names it', () => {
    const damages: ((bytes: Uint8Array) => Uint8Array)[] = [
      (bytes) => bytes.map((value, index) => (index === 0 ? value ^ 1 : value)),
      (bytes) => bytes.subarray(1),
      (bytes) => Uint8Array.from([...bytes, 0]),
    ];
    for (let which = 0; which < 2; which += 1) {
      for (const damage of [...damages, undefined]) {
        const { files, roots } = written();
        const name = toHex(roots[which]!);
        if (damage === undefined) files.remove(`/bundle/blobs/${name}`);
        else files.damage(`/bundle/blobs/${name}`, damage);
        expect(errorOf(() => openBundle('/bundle', files))).toMatchObject({ code: 'MISSING', details: { root: name } });
      }
    }
  });

  it('refuses any other file', () => {
    for (const extra of [
      'note.txt',
      'blobs/note.txt',
      `blobs/${'0'.repeat(64)}`,
      'blobs/.unfinished-x-1-1',
      '.hidden',
    ]) {
      const { files } = written();
      writeFileAtomic(files, `/bundle/${extra}`, Uint8Array.of(1));
      const error = errorOf(() => openBundle('/bundle', files));
      expect(error.code).toBe('MALFORMED');
      expect(error.message).toContain(extra);
    }
    const { files, roots } = written();
    files.makeDirectory('/bundle/more');
    expect(errorOf(() => openBundle('/bundle', files)).code).toBe('MALFORMED');
    const other = written().files;
    other.remove(`/bundle/blobs/${toHex(roots[0]!)}`);
    other.makeDirectory(`/bundle/blobs/${toHex(roots[0]!)}`);
    expect(errorOf(() => openBundle('/bundle', other)).code).toBe('MALFORMED');
    writeFileAtomic(files, '/run.log', Uint8Array.of(1));
    expect(errorOf(() => writeBundle('/', BODY, [], BlobStore.reader('/source', { layer: files }), files)).code).toBe(
      'IO',
    );
  });

  it('refuses blobs out of order or named twice', () => {
    const { files } = written();
    const { bundle } = openBundle('/bundle', files);
    for (const blobs of [[...bundle.blobs].reverse(), [bundle.blobs[0]!, ...bundle.blobs]]) {
      expect(errorOf(() => decodeBundle(encodeBundle({ ...bundle, blobs }))).code).toBe('MALFORMED');
    }
    expect(errorOf(() => decodeBundle(encodeBundle({ ...bundle, version: 2 }))).code).toBe('MALFORMED');
  });

  it('is complete, or no bundle, at every crash of its writing; the next writing completes it', async () => {
    await crashSweep(
      (files) => {
        const own = bundleBlobs('/bundle', files);
        own.put(CONTENTS[0]!);
        own.put(seededBytes(40, 99));
      },
      (files) => {
        const source = BlobStore.open('/source', { layer: files });
        const roots = CONTENTS.slice(1).map((content) => source.put(content));
        const first = bundleBlobs('/bundle', files).put(CONTENTS[0]!);
        writeBundle('/bundle', BODY, [first, ...roots], source, files);
        // A second, shorter bundle in place of the first.
        writeBundle('/bundle', { ...BODY, claims: [claim(0)] }, [first], source, files);
      },
      (files, { model, tick }) => {
        try {
          openBundle('/bundle', files);
        } catch (error) {
          // Before the container is there the folder is no bundle; a half-made one must not be taken for damaged blobs.
          expect((error as PogoError).code, `${model} at ${tick}`).toBe('MALFORMED');
        }
        const source = BlobStore.open('/source', { layer: files });
        const roots = CONTENTS.map((content) => source.put(content));
        writeBundle('/bundle', BODY, roots, source, files);
        expect(openBundle('/bundle', files).bundle.claims).toHaveLength(2);
      },
      211,
    );
  });

  it('answers any bytes with MALFORMED', () => {
    fc.assert(
      fc.property(fc.uint8Array({ maxLength: 400 }), (bytes) => {
        expect(errorOf(() => decodeBundle(bytes)).code).toBe('MALFORMED');
      }),
    );
    // Offsets of a real bundle with random words over them: the decoder meets hostile lengths.
    const good = encodeBundle({ version: 1, ...BODY, blobs: [] });
    fc.assert(
      fc.property(fc.nat(good.length - 4), fc.nat(0xffffffff), (at, word) => {
        const bad = good.slice();
        new DataView(bad.buffer).setUint32(at, word, true);
        if (toHex(bad) !== toHex(good)) expect(errorOf(() => decodeBundle(bad)).code).toBe('MALFORMED');
      }),
      { numRuns: 500 },
    );
  });
});
