/**
 * H1–H8: commitments, encodings and files. Sources of the first two: CVE-2017-12842, CVE-2012-2459.
 */

import { blake3 } from '@noble/hashes/blake3.js';
import { describe, expect, it } from 'vitest';
import { toHex } from '../../src/hex.js';
import { rootFromProof, verifyLeafProof } from '../../src/merkle/proof.js';
import { buildTree } from '../../src/merkle/tree.js';
import { parseSafetensorsHeader, safetensorsHeaderLength } from '../../src/model/safetensors.js';
import { applyDiff, DIFF_HEADER_BYTES, encodeDiff, readDiffHeader } from '../../src/protocol/diff.js';
import { blobSource } from '../../src/protocol/evidence/build.js';
import { createLeafCheck, vectorNames, verifyLeaf } from '../../src/protocol/leafCheck.js';
import { decodeStrict, type StateHeader, StepCommitmentType, stateRoot } from '../../src/protocol/types.js';
import { attack } from '../support/attack.js';
import { allKernels, hex, patternBytes } from '../support/merkleKernels.js';
import { seededBytes } from '../support/random.js';
import { refusal } from '../support/refusal.js';
import { trainClaim } from '../support/trainedClaim.js';

const join = (...parts: Uint8Array[]): Uint8Array => Uint8Array.from(parts.flatMap((part) => [...part]));
const filled = (value: number): Uint8Array => new Uint8Array(32).fill(value);
const leaf = (byte: number): Uint8Array => new Uint8Array(1024).fill(byte);

/** A tree without domain tags: leaves and inner nodes are hashed alike; an odd last node is paired with itself. */
function weakRoot(leaves: readonly Uint8Array[]): Uint8Array {
  let level: Uint8Array[] = leaves.map((each) => blake3(each));
  while (level.length > 1) {
    const pairs: Uint8Array[] = [];
    for (let i = 0; i < level.length; i += 2) pairs.push(blake3(join(level[i]!, level[i + 1] ?? level[i]!)));
    level = pairs;
  }
  return level[0]!;
}

/** A checker that takes the depth from the proof, and has no domain tags. */
function weakVerify(root: Uint8Array, index: number, bytes: Uint8Array, proof: readonly Uint8Array[]): boolean {
  let value = blake3(bytes);
  let at = index;
  for (const sibling of proof) {
    value = blake3(at % 2 === 0 ? join(value, sibling) : join(sibling, value));
    at = Math.floor(at / 2);
  }
  return hex(value) === hex(root);
}

const accepted = (holds: boolean): string => (holds ? 'accepted' : 'not under the root');

attack(
  {
    id: 'H1',
    attack: 'an inner node passed off as a leaf',
    gain: 'bytes that were never committed, with a proof',
    defence: 'BLAKE3’s flags for chunk, parent and root; depth and length from the recipe’s layout',
    file: 'src/merkle/proof.ts',
    stoppedBy: 'not under the root',
    harm: 'accepted',
  },
  {
    real: () =>
      allKernels.flatMap((kernels) => {
        const bytes = join(...[1, 2, 3, 4].map(leaf));
        const tree = buildTree(kernels, bytes);
        const node = tree.chainingValues(0, 0, 2);
        const sibling = tree.chainingValues(1, 1, 2);
        const root = hex(tree.root());
        const led = (found: Uint8Array | undefined): string => accepted(hex(found ?? new Uint8Array()) === root);
        return [
          accepted(verifyLeafProof(tree.root(), 4096, 0, node, sibling)),
          // Not even a checker that believes in a shorter input is led to the root, because of the tags.
          led(rootFromProof(1024 + 64, 1, node, sibling)),
          led(rootFromProof(64, 0, tree.chainingValues(1, 0, 2), new Uint8Array())),
        ];
      }),
    twin: () => {
      const leaves = [1, 2, 3, 4].map(leaf);
      const inner = join(blake3(leaves[0]!), blake3(leaves[1]!));
      const right = blake3(join(blake3(leaves[2]!), blake3(leaves[3]!)));
      return accepted(weakVerify(weakRoot(leaves), 0, inner, [right]));
    },
  },
);

attack(
  {
    id: 'H2',
    attack: 'the last leaf doubled, padded or cut under one root',
    gain: 'two inputs of different length with one commitment',
    defence: 'nothing is doubled; chunk counters and lengths are part of the hash',
    file: 'src/merkle/tree.ts',
    stoppedBy: 'another root',
    harm: 'the same root',
  },
  {
    real: () =>
      allKernels.flatMap((kernels) => {
        const root = (...parts: Uint8Array[]): string => hex(buildTree(kernels, join(...parts)).root());
        const [a, b, c] = [leaf(1), leaf(2), leaf(3)];
        const pairs = [
          [root(a, b, c), root(a, b, c, c)],
          [root(a), root(a, a)],
          [root(a, b.subarray(0, 1000)), root(a, b.subarray(0, 1000), new Uint8Array(24))],
          [root(a, b), root(a, b.subarray(0, 1023))],
        ];
        return pairs.map(([x, y]) => (x === y ? 'the same root' : 'another root'));
      }),
    twin: () => {
      const [a, b, c] = [leaf(1), leaf(2), leaf(3)];
      return hex(weakRoot([a, b, c])) === hex(weakRoot([a, b, c, c])) ? 'the same root' : 'another root';
    },
    also: {
      'equal leaves have different chaining values: one cannot stand for the other': () => {
        for (const kernels of allKernels) {
          const tree = buildTree(kernels, join(leaf(1), leaf(1), leaf(3)));
          expect(hex(tree.chainingValues(0, 0, 1))).not.toBe(hex(tree.chainingValues(0, 1, 2)));
          expect(verifyLeafProof(tree.root(), 3072, 1, leaf(1), tree.proveLeaf(0))).toBe(false);
        }
      },
    },
  },
);

const HEADER: StateHeader = {
  version: 1,
  recipeRoot: filled(1),
  step: 8,
  tokens: 1024,
  beta1Power: 1,
  beta2Power: 2,
  thetaRoot: filled(2),
  mRoot: filled(3),
  vRoot: filled(4),
  emaRoot: filled(5),
};

attack(
  {
    id: 'H3',
    attack: 'the same bytes as another tensor, vector or place',
    gain: 'a true opening used for something that it does not say',
    defence: 'shape, place and length follow from the recipe’s layout; vectors have their own fields in the header',
    file: 'src/protocol/leafCheck.ts',
    stoppedBy: 'MALFORMED',
    harm: 'one digest for two states',
  },
  {
    real: async () => {
      const trained = trainClaim();
      const step = trained.steps[1]!;
      const names = vectorNames(trained.recipe);
      const check = createLeafCheck(
        {
          commitments: [...trained.commitments],
          stepIndex: 1,
          preHeader: step.preHeader,
          postHeader: step.postHeader,
          before: names.map((name) => blobSource(step.before[name])),
          after: names.map((name) => blobSource(step.after[name])),
          units: step.units.map((unit) => blobSource(unit)),
        },
        trained.plan.layout,
        3,
      );
      const { listRoot } = trained.claim.header;
      expect(verifyLeaf(listRoot, trained.recipe, check).holds).toBe(true);
      const [theta, m, v, ema] = check.after;
      const confused = [
        { ...check, leaf: 4 },
        { ...check, after: [m!, theta!, v!, ema!] },
        { ...check, after: check.before },
        { ...check, units: [...check.units].reverse() },
        { ...check, preHeader: check.postHeader, postHeader: check.preHeader },
      ];
      return Promise.all(confused.map((each) => refusal(() => verifyLeaf(listRoot, trained.recipe, each))));
    },
    // A digest of the vectors' roots that does not say which is which.
    twin: () => {
      const digest = ({ thetaRoot, mRoot }: StateHeader): string => [toHex(thetaRoot), toHex(mRoot)].sort().join();
      const swapped = { ...HEADER, thetaRoot: HEADER.mRoot, mRoot: HEADER.thetaRoot };
      expect(toHex(stateRoot(swapped))).not.toBe(toHex(stateRoot(HEADER)));
      return digest(swapped) === digest(HEADER) ? 'one digest for two states' : 'two digests';
    },
  },
);

const COMMITMENT = {
  step: 1,
  preStateRoot: filled(1),
  batchDigest: filled(2),
  unitRoots: [filled(3), filled(4)],
  unitLosses: [1, 2],
  postStateRoot: filled(5),
};

/** The same commitment in bytes that no encoder writes. */
function secondEncodings(): Uint8Array[] {
  const bytes = StepCommitmentType.serialize(COMMITMENT);
  // A counter above 2^53, which a double rounds to one that another encoding has, too.
  const rounded = bytes.slice();
  rounded.set([1, 0, 0, 0, 0, 0, 0x20, 0], 0);
  const long = new Uint8Array(bytes.length + 1);
  long.set(bytes);
  // A gap between the fixed part and the first variable field.
  const view = new DataView(bytes.buffer, bytes.byteOffset);
  const first = view.getUint32(72, true);
  const gap = join(bytes.subarray(0, first), new Uint8Array(4), bytes.subarray(first));
  const gapView = new DataView(gap.buffer);
  gapView.setUint32(72, first + 4, true);
  gapView.setUint32(76, view.getUint32(76, true) + 4, true);
  return [rounded, long, gap];
}

attack(
  {
    id: 'H4',
    attack: 'two encodings of one object',
    gain: 'one object with two hashes, or two readers that see two objects',
    defence: 'binary encodings only; what is decoded must encode to the same bytes',
    file: 'src/protocol/ssz.ts',
    stoppedBy: 'MALFORMED',
    harm: 'accepted',
  },
  {
    real: () => Promise.all(secondEncodings().map((bytes) => refusal(() => decodeStrict(StepCommitmentType, bytes)))),
    twin: () => {
      const [rounded] = secondEncodings();
      return StepCommitmentType.deserialize(rounded!).step === 2 ** 53 ? 'accepted' : 'refused';
    },
    also: {
      'a cut object is refused, or it is another object with another root': async () => {
        const bytes = StepCommitmentType.serialize(COMMITMENT);
        const root = toHex(StepCommitmentType.hashTreeRoot(COMMITMENT));
        for (let length = 0; length < bytes.length; length += 1) {
          const cut = bytes.subarray(0, length);
          const ending = await refusal(() => {
            const found = StepCommitmentType.hashTreeRoot(decodeStrict(StepCommitmentType, cut));
            expect(toHex(found)).not.toBe(root);
          });
          expect(ending).toMatch(/^(accepted|MALFORMED)/);
        }
      },
    },
  },
);

/** Beginnings of files that can run code where they are loaded by the library that wrote them. */
function hostileCheckpoints(): Uint8Array[] {
  const pickle = join(Uint8Array.of(0x80, 4), new TextEncoder().encode('cposix\nsystem\n(S"id"\ntR.'));
  const zip = join(Uint8Array.of(0x50, 0x4b, 3, 4), new Uint8Array(60));
  const json = new TextEncoder().encode('{"a":{"dtype":"F32","shape":[4294967295,4294967295],"data_offsets":[0,4]}}');
  const sized = new Uint8Array(8 + json.length + 4);
  new DataView(sized.buffer).setBigUint64(0, BigInt(json.length), true);
  sized.set(json, 8);
  return [pickle, zip, sized];
}

function readCheckpoint(file: Uint8Array): unknown {
  const length = safetensorsHeaderLength(file, file.length);
  return parseSafetensorsHeader(file.subarray(8, 8 + length), file.length);
}

attack(
  {
    id: 'H5',
    attack: 'code or lies about sizes inside a checkpoint',
    gain: 'a program of the attacker’s on the reader’s machine',
    defence: 'plain formats; a header is compared with the file before anything is allocated',
    file: 'src/model/safetensors.ts',
    stoppedBy: 'MALFORMED',
    harm: 'code of the file ran',
  },
  {
    real: () => Promise.all(hostileCheckpoints().map((file) => refusal(() => readCheckpoint(file)))),
    // A loader that asks the file how to build its objects, as pickle does.
    twin: () => {
      const ran: string[] = [];
      const registry: Record<string, (argument: string) => void> = { system: (argument) => ran.push(argument) };
      const load = (file: { call: string; argument: string }): void => registry[file.call]?.(file.argument);
      load({ call: 'system', argument: 'id' });
      return ran.length === 1 ? 'code of the file ran' : 'nothing ran';
    },
  },
);

attack(
  {
    id: 'H6',
    attack: 'a hash cut to 128 bits or fewer',
    gain: 'two inputs under one commitment after 2^64 tries',
    defence: 'roots of 32 bytes, compared whole',
    file: 'src/merkle/proof.ts',
    stoppedBy: 'not under the root',
    harm: 'accepted',
  },
  {
    real: () => {
      const bytes = patternBytes(5000);
      return allKernels.flatMap((kernels) => {
        const tree = buildTree(kernels, bytes);
        const half = tree.root().slice();
        half[31]! ^= 1;
        const shown = bytes.slice(1024, 2048);
        return [half, tree.root().subarray(0, 16), tree.root().subarray(0, 31)].map((root) =>
          accepted(verifyLeafProof(root, 5000, 1, shown, tree.proveLeaf(1))),
        );
      });
    },
    // Only the first half is compared.
    twin: () => {
      const bytes = patternBytes(5000);
      const tree = buildTree(allKernels[0]!, bytes);
      const forged = tree.root().slice();
      forged.fill(0, 16);
      const found = rootFromProof(5000, 1, bytes.slice(1024, 2048), tree.proveLeaf(1))!;
      return accepted(hex(found.subarray(0, 16)) === hex(forged.subarray(0, 16)));
    },
  },
);

const OLD = seededBytes(1000, 1);

/** A kilobyte that says it makes a terabyte. */
function bomb(): Uint8Array {
  const patch = new Uint8Array(1024);
  patch.set(encodeDiff(OLD, OLD));
  new DataView(patch.buffer).setBigUint64(8, 2n ** 40n, true);
  return patch;
}

/** It allocates what the header says, adds in place, and checks neither the bounds nor the root. */
function weakApply(older: Uint8Array, patch: Uint8Array, allocate: (bytes: number) => Uint8Array): Uint8Array {
  const result = allocate(readDiffHeader(patch).length);
  result.set(older.subarray(0, result.length));
  const bitmapBytes = Math.ceil(older.length / 4);
  const bitmap = patch.subarray(DIFF_HEADER_BYTES + 1, DIFF_HEADER_BYTES + 1 + bitmapBytes);
  let at = DIFF_HEADER_BYTES + 1 + bitmapBytes;
  for (let nibble = 0; nibble < 8 * bitmapBytes; nibble += 1) {
    if (((bitmap[nibble >>> 3]! >>> (nibble & 7)) & 1) === 0) continue;
    result[nibble >>> 1] = (result[nibble >>> 1]! + patch[at]!) & 0xff;
    at += 1;
  }
  return result;
}

attack(
  {
    id: 'H7',
    attack: 'a diff that claims a terabyte, or reaches outside the model',
    gain: 'the reader’s memory, or bytes written where they do not belong',
    defence: 'bounds first, one canonical form, applied to a copy, then the root',
    file: 'src/protocol/diff.ts',
    stoppedBy: 'SHAPE',
    harm: 'asks for 1099511627776 bytes',
  },
  {
    real: () => refusal(() => applyDiff(OLD, bomb())),
    twin: () => {
      let asked = 0;
      weakApply(OLD, bomb(), (bytes) => {
        asked = bytes;
        return new Uint8Array(OLD.length);
      });
      return `asks for ${asked} bytes`;
    },
    also: {
      'memory does not grow while it is refused': async () => {
        const before = process.memoryUsage().arrayBuffers;
        expect(await refusal(() => applyDiff(OLD, bomb()))).toMatch(/^SHAPE/);
        expect(process.memoryUsage().arrayBuffers - before).toBeLessThan(2 ** 24);
      },
      'an index outside the model: the weak decoder writes there, the real one refuses': () => {
        // Five bytes have ten nibbles; the bitmap's bits 10 to 15 stand for none.
        const five = new Uint8Array(5);
        const head = encodeDiff(five, five).subarray(0, DIFF_HEADER_BYTES);
        const outside = Uint8Array.from([...head, 1, 0x00, 0x04, 0x01]);
        const memory = new Uint8Array(16);
        weakApply(five, outside, () => memory);
        expect(memory[5]).toBe(1);
        // With a hash that agrees to everything only the bounds are left to refuse it.
        const agree = (bytes: Uint8Array) => (bytes.length === 5 ? blake3(five) : bytes);
        expect(() => applyDiff(five, outside, agree)).toThrow(expect.objectContaining({ code: 'MALFORMED' }));
      },
      'two diffs for one model: without the canonical form both pass, here one does': () => {
        const newer = OLD.slice();
        newer[3]! ^= 1;
        const good = encodeDiff(OLD, newer);
        // Raw form of the same change: the sum is right, and so is the root of the result.
        const raw = new Uint8Array(DIFF_HEADER_BYTES + 1 + OLD.length);
        raw.set(good.subarray(0, DIFF_HEADER_BYTES));
        raw[DIFF_HEADER_BYTES] = 2;
        raw[DIFF_HEADER_BYTES + 1 + 3] = (newer[3]! - OLD[3]!) & 0x0f;
        const weakResult = OLD.map((byte, i) => (byte & 0xf0) | ((byte + raw[DIFF_HEADER_BYTES + 1 + i]!) & 0x0f));
        expect(Buffer.compare(weakResult, newer)).toBe(0);
        expect(() => applyDiff(OLD, raw)).toThrow(expect.objectContaining({ code: 'MALFORMED' }));
        expect(Buffer.compare(applyDiff(OLD, good), newer)).toBe(0);
      },
      'a failed patch leaves the old model as it was': () => {
        const patch = encodeDiff(OLD, seededBytes(1000, 2));
        patch[60]! ^= 1;
        const before = OLD.slice();
        expect(() => applyDiff(OLD, patch)).toThrow(expect.objectContaining({ code: 'MALFORMED' }));
        expect(Buffer.compare(OLD, before)).toBe(0);
      },
    },
  },
);

/** A forged leaf with a proof of the right shape, made from the forger's own tree. */
function ownProof(kernels: (typeof allKernels)[number]) {
  const bytes = patternBytes(40 * 1024);
  const tree = buildTree(kernels, bytes);
  const forged = bytes.slice(3 * 1024, 4 * 1024);
  forged[17]! ^= 64;
  const own = buildTree(kernels, join(bytes.subarray(0, 3 * 1024), forged, bytes.subarray(4 * 1024)));
  return { length: bytes.length, root: tree.root(), proof: tree.proveLeaf(3), forged, own };
}

attack(
  {
    id: 'H8',
    attack: 'a proof rebuilt from the prover’s own hashes',
    gain: 'any bytes with a proof of the right shape',
    defence: 'a path counts only if it leads to the root that the checker holds',
    file: 'src/merkle/proof.ts',
    stoppedBy: 'not under the root',
    harm: 'accepted',
  },
  {
    real: () =>
      allKernels.flatMap((kernels) => {
        const { length, root, proof, forged, own } = ownProof(kernels);
        return [
          accepted(verifyLeafProof(root, length, 3, forged, own.proveLeaf(3))),
          accepted(verifyLeafProof(root, length, 3, forged, proof)),
        ];
      }),
    // The root is taken from whoever brings the proof.
    twin: () =>
      allKernels.map((kernels) => {
        const { length, forged, own } = ownProof(kernels);
        return accepted(verifyLeafProof(own.root(), length, 3, forged, own.proveLeaf(3)));
      }),
  },
);

describe('H: kernels of this machine', () => {
  it('portable always, native where it is built', () => {
    expect(allKernels.length).toBeGreaterThan(0);
  });
});
