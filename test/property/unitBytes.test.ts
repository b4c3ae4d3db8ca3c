import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { equalBytes } from '../../src/hex.js';
import { createLayout, unitFileBytes } from '../../src/model/layout.js';
import { loadRecipe } from '../../src/model/recipe.js';
import { canonicalUnitFault } from '../../src/protocol/unitBytes.js';
import { assertCanonicalUnit } from '../../src/reference/adamw.js';

const layout = createLayout(loadRecipe('tiny'));
const { codes, scales, total } = unitFileBytes(layout);

/** A unit that an encoder could have written, from a seed. */
function canonical(seed: number): Uint8Array {
  const file = new Uint8Array(total);
  const scaleBits = new Uint16Array(file.buffer, codes, scales / 2);
  let state = seed >>> 0;
  const next = (): number => {
    state = (Math.imul(state, 1664525) + 1013904223) >>> 0;
    return state >>> 8;
  };
  for (let block = 0; block < scaleBits.length; block += 1) {
    if (next() % 5 === 0) continue;
    scaleBits[block] = 1 + (next() % 0x7f7f);
    for (let i = 0; i < 32; i += 1) {
      const digit = (): number => (9 + (next() % 15)) & 15;
      file[32 * block + i] = digit() | (digit() << 4);
    }
  }
  return file;
}

function referenceAccepts(file: Uint8Array): boolean {
  try {
    assertCanonicalUnit(file.subarray(0, codes), new Uint16Array(file.buffer, file.byteOffset + codes, scales / 2));
    return true;
  } catch {
    return false;
  }
}

/** Zeros where the layout pads, so that only codes and scales are in question. */
function withoutPadding(file: Uint8Array): Uint8Array {
  for (const { offset, size } of layout.tensors) {
    const end = Math.ceil(size / 256) * 256;
    file.fill(0, Math.ceil((offset + size) / 64) * 32, (offset + end) / 2);
    file.fill(0, codes + Math.ceil((offset + size) / 64) * 2, codes + (offset + end) / 32);
  }
  return file;
}

describe('which unit files an encoder writes', () => {
  test('by words as by single codes, over random bytes of random blocks', () => {
    fc.assert(
      fc.property(
        fc.integer(),
        fc.array(fc.tuple(fc.nat(total - 1), fc.integer({ min: 0, max: 255 })), { maxLength: 3 }),
        (seed, changes) => {
          const file = withoutPadding(canonical(seed));
          expect(canonicalUnitFault(layout, file)).toBeUndefined();
          for (const [at, value] of changes) file[at] = value;
          const found = canonicalUnitFault(layout, withoutPadding(file)) === undefined;
          expect(found).toBe(referenceAccepts(file));
        },
      ),
      { numRuns: 200 },
    );
  });

  test('each of the 64 places of a block: −8 there is found', () => {
    const file = withoutPadding(canonical(7));
    const scaleBits = new Uint16Array(file.buffer, codes, scales / 2);
    const block = scaleBits.findIndex((bits) => bits !== 0);
    for (let nibble = 0; nibble < 64; nibble += 1) {
      const changed = file.slice();
      const at = 32 * block + (nibble >> 1);
      const old = changed[at] as number;
      changed[at] = nibble % 2 === 0 ? (old & 0xf0) | 8 : (old & 15) | 0x80;
      expect(canonicalUnitFault(layout, changed)).toMatch(/−8/);
    }
  });

  test('every bit pattern of a scale, with and without codes under it, as the reference has it', () => {
    // A vector of one leaf, so that all 2^16 patterns are a matter of milliseconds.
    const leaf = { ...layout, length: 256, tensors: [{ ...layout.tensors[0]!, offset: 0, size: 256 }] };
    for (const code of [0, 1]) {
      const file = new Uint8Array(unitFileBytes(leaf).total);
      file[33] = code;
      const scaleBits = new Uint16Array(file.buffer, 128, 4);
      const wrong: number[] = [];
      for (let bits = 0; bits < 0x10000; bits += 1) {
        scaleBits[1] = bits;
        // Zero only over zeros; no Inf, NaN, −0 or negative number.
        const canonical = bits === 0 ? code === 0 : bits < 0x7f80;
        if ((canonicalUnitFault(leaf, file) === undefined) !== canonical) wrong.push(bits);
      }
      expect(wrong).toEqual([]);
    }
  });

  test('each scale of each padding is zero', () => {
    const file = withoutPadding(canonical(5));
    const scaleBits = new Uint16Array(file.buffer, codes, scales / 2);
    let padding = 0;
    for (const { name, offset, size } of layout.tensors) {
      const end = (offset + Math.ceil(size / 256) * 256) / 64;
      for (let block = Math.ceil((offset + size) / 64); block < end; block += 1) {
        scaleBits[block] = 1;
        expect(canonicalUnitFault(layout, file)).toContain(`padding of ${name}`);
        scaleBits[block] = 0;
        padding += 1;
      }
    }
    expect(padding).toBeGreaterThan(10);
    expect(canonicalUnitFault(layout, file)).toBeUndefined();
  });

  test('bytes that do not lie on the borders of words give the same answer', () => {
    const file = withoutPadding(canonical(3));
    const moved = new Uint8Array(new ArrayBuffer(total + 2), 2, total);
    moved.set(file);
    expect(canonicalUnitFault(layout, moved)).toBeUndefined();
    moved[0] = 0x88;
    expect(canonicalUnitFault(layout, moved)).toBeDefined();
  });
});

test('equal bytes: any length, any place, any changed byte', () => {
  const run = fc.property(
    fc.uint8Array({ maxLength: 70 }),
    fc.nat(7),
    fc.nat(7),
    fc.option(fc.tuple(fc.nat(), fc.integer({ min: 1, max: 255 }))),
    (bytes, left, right, change) => {
      const place = (offset: number): Uint8Array => {
        const view = new Uint8Array(new ArrayBuffer(bytes.length + offset), offset);
        view.set(bytes);
        return view;
      };
      const [a, b] = [place(left), place(right)];
      if (change !== null && b.length > 0) {
        const at = change[0] % b.length;
        b[at] = (b[at] as number) ^ change[1];
      }
      expect(equalBytes(a, b)).toBe(change === null || b.length === 0);
      expect(equalBytes(a, b.subarray(1))).toBe(a.length === 0);
    },
  );
  fc.assert(run, { numRuns: 500 });
});
