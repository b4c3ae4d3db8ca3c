/** Changed copies of a file: what a fuzzer does to its seeds. */
import fc from 'fast-check';

/** One change: kind, place in [0, 1), and a value. */
export interface Mutation {
  readonly kind: 'flip' | 'set' | 'cut' | 'grow' | 'insert' | 'remove' | 'word' | 'copy';
  readonly at: number;
  readonly value: number;
}

export const mutations: fc.Arbitrary<Mutation[]> = fc.array(
  fc.record({
    kind: fc.constantFrom('flip', 'set', 'cut', 'grow', 'insert', 'remove', 'word', 'copy'),
    at: fc.double({ min: 0, max: 1, maxExcluded: true, noNaN: true }),
    value: fc.integer({ min: 0, max: 0xffffffff }),
  }),
  { minLength: 1, maxLength: 4 },
);

/** 32-bit words that break bounds: ends of ranges, and lengths next to them. */
const WORDS = [0, 1, 4, 0x7fffffff, 0x80000000, 0xfffffffc, 0xffffffff, 0x00100000];

export function mutate(bytes: Uint8Array, changes: readonly Mutation[]): Uint8Array {
  let file = bytes;
  for (const change of changes) file = changed(file, change);
  return file;
}

function changed(file: Uint8Array, { kind, at, value }: Mutation): Uint8Array {
  const place = Math.floor(at * file.length);
  const spliced = (skip: number, middle: Uint8Array): Uint8Array => {
    const result = new Uint8Array(place + middle.length + Math.max(0, file.length - place - skip));
    result.set(file.subarray(0, place));
    result.set(middle, place);
    result.set(file.subarray(Math.min(file.length, place + skip)), place + middle.length);
    return result;
  };
  switch (kind) {
    case 'flip':
      return spliced(1, Uint8Array.of((file[place] ?? 0) ^ (1 << (value % 8))));
    case 'set':
      return spliced(1, Uint8Array.of(value));
    case 'cut':
      return file.slice(0, place);
    case 'grow':
      return Uint8Array.from([...file, ...new Uint8Array(1 + (value % 8)).fill(value >>> 8)]);
    case 'insert':
      return spliced(0, Uint8Array.of(value));
    case 'remove':
      return spliced(1 + (value % 5), new Uint8Array(0));
    case 'word': {
      const word = new Uint8Array(4);
      new DataView(word.buffer).setUint32(0, WORDS[value % WORDS.length]!, true);
      return spliced(4, word);
    }
    default:
      return spliced(0, file.slice(Math.floor(place / 2), place));
  }
}
