/** What a text is cut into and where each piece belongs: laws over random texts. */
import { blake3 } from '@noble/hashes/blake3.js';
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { PogoError } from '../../../src/errors.js';
import {
  copiesOf,
  type DocumentRule,
  documentEnd,
  documentText,
  isHeldOut,
  MAX_SECTION_BYTES,
  PPM,
  SECTION_BYTES,
} from '../../../src/model/documents.js';
import { RootSet } from '../../../src/model/rootSet.js';

/** Cuts a text that arrives in pieces of the given lengths. */
function cut(text: Uint8Array, rule: DocumentRule, pieces: readonly number[]): Uint8Array[] {
  const documents: Uint8Array[] = [];
  let start = 0;
  let end = 0;
  let next = 0;
  const take = (ended: boolean): void => {
    while (start < end) {
      const length = documentEnd(text.subarray(start, end), rule, ended);
      if (length === undefined) return;
      if (length < 1) throw new Error('an empty document');
      documents.push(text.subarray(start, start + length));
      start += length;
    }
  };
  while (end < text.length) {
    end = Math.min(text.length, end + (pieces[next++ % pieces.length] ?? 1));
    take(false);
  }
  take(true);
  return documents;
}

const words = fc.constantFrom(
  'whale ',
  'é',
  '🐋',
  '\n',
  '\n\n',
  '\r\n\r\n',
  'x'.repeat(3000),
  '鯨'.repeat(9000),
  '\n'.repeat(5000),
  `${'y'.repeat(700)}\n`,
);
const texts = fc.array(words, { maxLength: 40 }).map((parts) => new TextEncoder().encode(parts.join('')));
const pieces = fc.array(fc.integer({ min: 1, max: 70_000 }), { minLength: 1, maxLength: 4 });

describe('documents of a text', () => {
  it.each(['section', 'line', 'file'] as const)(
    'by %s are the same however the text arrives, and together are the text',
    (rule) => {
      fc.assert(
        fc.property(texts, pieces, (text, lengths) => {
          const documents = cut(text, rule, lengths);
          expect(Buffer.concat(documents).equals(Buffer.from(text))).toBe(true);
          const whole = cut(text, rule, [Math.max(1, text.length)]);
          expect(documents.map(({ length }) => length)).toEqual(whole.map(({ length }) => length));
          if (rule !== 'line') for (const document of documents) documentText(document, 'text', 0); // whole characters
        }),
        { numRuns: 60 },
      );
    },
  );

  it('by section are of bounded length, and end with a blank line where there is one in reach', () => {
    fc.assert(
      fc.property(texts, (text) => {
        const sections = cut(text, 'section', [100_000]);
        for (const [i, section] of sections.entries()) {
          expect(section.length).toBeLessThanOrEqual(MAX_SECTION_BYTES);
          if (i === sections.length - 1) continue;
          expect(section.length).toBeGreaterThanOrEqual(SECTION_BYTES);
          const reach = Buffer.from(section)
            .toString('latin1')
            .slice(SECTION_BYTES - 2, -1);
          expect(/\n\r?\n/.test(reach.slice(0, -1))).toBe(false);
        }
      }),
      { numRuns: 60 },
    );
  });

  it('are one for a short text, and none for an empty one', () => {
    const short = new TextEncoder().encode('Call me Ishmael.\n\nSome years ago.');
    expect(cut(short, 'section', [5])).toHaveLength(1);
    expect(cut(short, 'line', [5])).toHaveLength(3);
    expect(cut(new Uint8Array(0), 'section', [5])).toEqual([]);
  });
});

describe('the split', () => {
  const roots = Array.from({ length: 20_000 }, (_, i) => blake3(new TextEncoder().encode(String(i))));

  it('holds out its share, and a larger share holds out the same documents and more', () => {
    const held = (ppm: number): boolean[] => roots.map((root) => isHeldOut(root, ppm));
    const [five, ten] = [held(50_000), held(100_000)];
    // Binomial: the deviation of 20,000 draws at 5 % is 0.15 %.
    expect(five.filter(Boolean).length / roots.length).toBeCloseTo(0.05, 2);
    expect(five.every((isOut, i) => !isOut || ten[i])).toBe(true);
    expect(held(0).some(Boolean)).toBe(false);
    expect(held(PPM).every(Boolean)).toBe(true);
  });

  it('takes documents as often as their weight says, on average exactly so', () => {
    for (const weight of [0.1, 1, 2.25]) {
      const copies = roots.map((root) => copiesOf(root, weight * PPM));
      expect(copies.every((count) => count === Math.floor(weight) || count === Math.ceil(weight))).toBe(true);
      const mean = copies.reduce((sum, count) => sum + count, 0) / roots.length;
      expect(Math.abs(mean - weight)).toBeLessThan(0.02);
    }
  });

  it('does not couple the share with the weight', () => {
    const taken = roots.filter((root) => copiesOf(root, 100_000) > 0);
    expect(taken.filter((root) => isHeldOut(root, 100_000)).length / taken.length).toBeCloseTo(0.1, 1);
  });
});

describe('RootSet', () => {
  it('is a set', () => {
    const root = fc.oneof(
      fc.uint8Array({ minLength: 32, maxLength: 32 }),
      fc.nat(40).map((n) => new Uint8Array(32).fill(n)),
      fc.nat(5).map((n) => Uint8Array.from({ length: 32 }, (_, i) => (i === 8 ? n : 0))),
    );
    fc.assert(
      fc.property(fc.array(root, { maxLength: 300 }), (roots) => {
        const ours = new RootSet();
        const theirs = new Set<string>();
        for (const value of roots) {
          const key = Buffer.from(value.subarray(0, 16)).toString('hex');
          expect(ours.add(value)).toBe(!theirs.has(key));
          theirs.add(key);
        }
        expect(ours.size).toBe(theirs.size);
      }),
    );
  });

  it('grows with what it holds, and forgets nothing', () => {
    const set = new RootSet();
    const root = (i: number): Uint8Array => blake3(Uint8Array.of(i, i >> 8, i >> 16));
    for (let i = 0; i < 20_000; i++) expect(set.add(root(i))).toBe(true);
    for (let i = 0; i < 20_000; i += 7) expect(set.add(root(i))).toBe(false);
    expect(set.bytes).toBeLessThanOrEqual(20_000 * 48);
  });
});

describe('text that is not UTF-8', () => {
  const message = (bytes: Uint8Array): string => {
    try {
      documentText(bytes, 'file.txt', 100);
      return 'no error';
    } catch (error) {
      expect(PogoError.from(error).code).toBe('DATA');
      return PogoError.from(error).message;
    }
  };

  it('is refused with the place of its first byte, and what it looks like', () => {
    expect(message(Buffer.from('caf\xe9 au lait', 'latin1'))).toMatch(
      /file\.txt, found byte E9 at 103; it looks like Latin-1/,
    );
    expect(message(Buffer.from('\ufeffwhale', 'utf16le'))).toMatch(/byte FF at 100; it looks like UTF-16/);
    expect(message(Buffer.from([0x50, 0x4b, 3, 4, 0, 0, 0xff, 0xfe]))).toMatch(/no text at all/);
    expect(message(Buffer.from([0x61, 0xe2, 0x82]))).toMatch(/byte E2 at 101/);
    expect(message(Buffer.from([0xc0, 0x80]))).toMatch(/byte C0 at 100/);
  });

  it('and nothing else is refused', () => {
    fc.assert(
      fc.property(fc.uint8Array({ maxLength: 40 }), (bytes) => {
        const isText = Buffer.from(bytes.buffer, bytes.byteOffset, bytes.length).toString('utf8').includes('\ufffd');
        const real = Buffer.from(bytes).includes(Buffer.from('\ufffd'));
        if (!real) expect(message(bytes) === 'no error').toBe(!isText);
      }),
    );
  });
});
