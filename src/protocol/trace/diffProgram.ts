/**
 * The program of a claim's diff (docs/disputes.md §2): from the parent's packed model and the claim's to the file.
 *
 * The file's length depends on what is in it, so a byte of it says nothing about the chunk that it belongs to. Three small
 * outputs tell: where every chunk ends, how long the file is, and for every kilobyte of the file which chunk it begins
 * in. The first is a running sum and the last a running look-up, so each of their elements needs its neighbour only.
 */
import { DIFF_CHUNK_BYTES, diffModel } from '../../reference/diffModel.js';
import { DIFF_HEADER_BYTES, diffHeader, maxDiffBytes } from '../diff.js';
import { type Program, ProgramBuilder, type Reader, type Rule, rowGroups, type Source, single } from './program.js';

/** A chunk's tag and data, zeros behind: places in the file are not known yet. */
const PADDED_BYTES = 1 + DIFF_CHUNK_BYTES;
/** Bytes of the file that share one look-up. A chunk is a byte at least, so at most as many chunks end in them. */
const LOOKUP_BYTES = 1024;
/** Ends that are read together: 1 KiB. */
const READ_ENDS = 128;
const WORD = 2 ** 32;

/** What a diff is made of. */
export interface DiffSubject {
  /** Of each packed model. */
  readonly modelBytes: number;
  /** Of the file. */
  readonly fileBytes: number;
  /** Roots of both models, asked for by the bytes of the file's header only. */
  readonly roots: () => { readonly older: Uint8Array; readonly newer: Uint8Array };
}

/** Bytes of model behind chunk `i`. */
function chunkModelBytes(modelBytes: number, i: number): number {
  return Math.min(DIFF_CHUNK_BYTES, modelBytes - i * DIFF_CHUNK_BYTES);
}

/** u8 [chunks, 16,385]: each chunk as the file has it. */
function chunkRule(older: Source, newer: Source, modelBytes: number): Rule {
  return {
    kind: 'diff.chunk',
    inputs: [older, newer],
    span: rowGroups(PADDED_BYTES, PADDED_BYTES),
    compute(read, start, out) {
      const i = start / PADDED_BYTES;
      const from = i * DIFF_CHUNK_BYTES;
      const n = chunkModelBytes(modelBytes, i);
      out.fill(0);
      const models = { older: read.u8(0, from, n), newer: read.u8(1, from, n) };
      diffModel({ ...models, out: out as Uint8Array, end: new Uint32Array(2), n });
    },
  };
}

/** Bytes that chunk `i` takes in the file: from its tag, and of a sparse one from its bitmap. */
function encodedBytes(read: Reader, i: number, n: number): number {
  const tag = read.u8(0, i * PADDED_BYTES, 1)[0];
  if (tag === 0) return 1;
  if (tag !== 1) return 1 + n;
  const bitmap = read.u8(0, i * PADDED_BYTES + 1, Math.ceil(n / 4));
  let ones = 0;
  for (const byte of bitmap) for (let bits = byte; bits !== 0; bits >>>= 1) ones += bits & 1;
  return 1 + bitmap.length + Math.ceil(ones / 2);
}

/** Offset `i` of an input that holds offsets: low word, high word. */
function offsetAt(read: Reader, input: number, i: number): number {
  const [low, high] = read.u32(input, 2 * i, 2) as unknown as readonly [number, number];
  return low + WORD * high;
}

function writeOffset(out: Uint32Array, offset: number): void {
  out[0] = offset % WORD;
  out[1] = Math.floor(offset / WORD);
}

/** u32 [chunks, 2]: offset in the file behind each chunk. */
function endRule(chunks: Source, self: Source, modelBytes: number): Rule {
  return {
    kind: 'diff.end',
    inputs: [chunks, self],
    span: rowGroups(2, 2),
    compute(read, start, out) {
      const i = start / 2;
      const before = i === 0 ? DIFF_HEADER_BYTES : offsetAt(read, 1, i - 1);
      writeOffset(out as Uint32Array, before + encodedBytes(read, i, chunkModelBytes(modelBytes, i)));
    },
  };
}

/** u32 [2]: the file's length. */
function lengthRule(ends: Source, chunks: number): Rule {
  return {
    kind: 'diff.length',
    inputs: [ends],
    span: rowGroups(2, 2),
    compute(read, _start, out) {
      writeOffset(out as Uint32Array, offsetAt(read, 0, chunks - 1));
    },
  };
}

/** The first chunk from `i` on that ends behind `offset`; no further than a look-up reaches, and never behind the last. */
function chunkBehind(read: Reader, ends: number, offset: number, i: number, chunks: number): number {
  const limit = Math.min(chunks, i + LOOKUP_BYTES + 1);
  for (let from = i; from < limit; from += READ_ENDS) {
    const count = Math.min(READ_ENDS, limit - from);
    const words = read.u32(ends, 2 * from, 2 * count);
    for (let k = 0; k < count; k += 1) {
      if ((words[2 * k] as number) + WORD * (words[2 * k + 1] as number) > offset) return from + k;
    }
  }
  return limit - 1;
}

/** u32 [⌈file / 1,024⌉]: the chunk in which each kilobyte of the file begins; the header counts to the first. */
function firstRule(ends: Source, self: Source, chunks: number): Rule {
  return {
    kind: 'diff.first',
    inputs: [ends, self],
    span: single,
    compute(read, start, out) {
      const before = start === 0 ? 0 : Math.min(read.u32(1, start - 1, 1)[0] as number, chunks - 1);
      out[0] = start === 0 ? 0 : chunkBehind(read, 0, start * LOOKUP_BYTES, before, chunks);
    },
  };
}

/** u8 [file]: the header, then the chunks one after the other. */
function fileRule(sources: readonly [chunks: Source, ends: Source, first: Source], subject: DiffSubject): Rule {
  const chunks = Math.ceil(subject.modelBytes / DIFF_CHUNK_BYTES);
  const header = (): Uint8Array => {
    const { older, newer } = subject.roots();
    return diffHeader(subject.modelBytes, older, newer);
  };
  return {
    kind: 'diff',
    inputs: sources,
    span: (byte) => (byte < DIFF_HEADER_BYTES ? [0, DIFF_HEADER_BYTES] : [byte, byte + 1]),
    compute(read, start, out) {
      if (start < DIFF_HEADER_BYTES) {
        (out as Uint8Array).set(header());
        return;
      }
      const before = read.u32(2, Math.floor(start / LOOKUP_BYTES), 1)[0] as number;
      const i = chunkBehind(read, 1, start, Math.min(before, chunks - 1), chunks);
      const at = start - (i === 0 ? DIFF_HEADER_BYTES : offsetAt(read, 1, i - 1));
      // Offsets that lead out of a chunk are another element's fault.
      out[0] = at >= 0 && at < PADDED_BYTES ? (read.u8(0, i * PADDED_BYTES + at, 1)[0] as number) : 0;
    },
    whole({ read }, out) {
      const file = out as Uint8Array;
      file.set(header());
      let from = DIFF_HEADER_BYTES;
      for (let i = 0; i < chunks && from < file.length; i += 1) {
        const count = Math.min(file.length, offsetAt(read, 1, i)) - from;
        file.set(read.u8(0, i * PADDED_BYTES, count), from);
        from += count;
      }
    },
  };
}

/**
 * Externals: the parent's packed model, the claim's. Results: `length`, `diff`.
 *
 * @param subject whose length {@link isDiffLength} allows
 */
export function diffProgram(subject: DiffSubject): Program {
  const { modelBytes, fileBytes } = subject;
  const chunks = Math.ceil(modelBytes / DIFF_CHUNK_BYTES);
  const b = new ProgramBuilder();
  const older = b.external('parentModel', modelBytes);
  const newer = b.external('model', modelBytes);
  const coded = b.add('diff.chunks', 'u8', chunks * PADDED_BYTES, chunkRule(older, newer, modelBytes));
  const ends = b.add('diff.ends', 'u32', 2 * chunks, endRule(coded, b.next(), modelBytes));
  b.result('length', b.add('diff.length', 'u32', 2, lengthRule(ends, chunks)));
  const kilobytes = Math.ceil(fileBytes / LOOKUP_BYTES);
  const first = b.add('diff.firsts', 'u32', kilobytes, firstRule(ends, b.next(), chunks));
  b.result('diff', b.add('diff', 'u8', fileBytes, fileRule([coded, ends, first], subject)));
  return { ...b.build(), statedBytes: fileBytes };
}

/** Whether a diff of models of this length can have this many bytes. */
export function isDiffLength(modelBytes: number, fileBytes: number): boolean {
  const least = DIFF_HEADER_BYTES + Math.ceil(modelBytes / DIFF_CHUNK_BYTES);
  return Number.isSafeInteger(fileBytes) && fileBytes >= least && fileBytes <= maxDiffBytes(modelBytes);
}
