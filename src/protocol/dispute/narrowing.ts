/**
 * Narrowing: from the root of one operation's output down to a few chunks (docs/disputes.md §5).
 *
 * The accused opens the chaining values ten levels below a node, at most 1,024 of them (twelve levels of an output over
 * 64 GiB, 4,096); the challenger names the one that it contests, and so on, until a node has at most 64 chunks: then the
 * accused opens their bytes. Every move is checked against the node that it opens. What must be opened follows from the
 * length of the output, never from a move.
 */
import { PogoError } from '../../errors.js';
import { equalBytes } from '../../hex.js';
import { parentInto, parentRootInto, subtreeInto } from '../../merkle/compress.js';
import type { OpenableTree } from '../../merkle/opening.js';
import { CV_BYTES, LEAF_BYTES, leafCount } from '../../merkle/shape.js';

/** Levels of one move: 1,024 values, 32 KiB. */
const MOVE_LEVELS = 10;
/** Of an output that would need a third such move: 4,096 values, 128 KiB. So two are enough up to 1 TiB. */
const WIDE_MOVE_LEVELS = 12;
/** A node of 2^6 chunks is opened as bytes. */
const BYTES_LEVEL = 6;

/** A node of the disputed output's tree, and its value under the accused's root. */
export interface Narrowing {
  /** Bytes of the whole output. */
  readonly totalBytes: number;
  readonly level: number;
  readonly index: number;
  /** Chaining value; the root itself for the whole output. */
  readonly value: Uint8Array;
  readonly isRoot: boolean;
}

/** What the accused has to open next. */
export type Opening =
  /** Chaining values [low, low + count) of a level. */
  | { readonly kind: 'values'; readonly level: number; readonly low: number; readonly count: number }
  /** Bytes [start, end) of the output. */
  | { readonly kind: 'bytes'; readonly start: number; readonly end: number };

export function startNarrowing(totalBytes: number, root: Uint8Array): Narrowing {
  const level = Math.ceil(Math.log2(leafCount(totalBytes)));
  return { totalBytes, level, index: 0, value: root, isRoot: true };
}

function moveLevels(totalBytes: number): number {
  return leafCount(totalBytes) <= 2 ** (BYTES_LEVEL + 2 * MOVE_LEVELS) ? MOVE_LEVELS : WIDE_MOVE_LEVELS;
}

/** Values of a level. */
function width(totalBytes: number, level: number): number {
  return Math.ceil(leafCount(totalBytes) / 2 ** level);
}

export function nextOpening({ totalBytes, level, index }: Narrowing): Opening {
  if (level <= BYTES_LEVEL) {
    const size = LEAF_BYTES * 2 ** level;
    return { kind: 'bytes', start: index * size, end: Math.min(totalBytes, (index + 1) * size) };
  }
  const below = Math.max(BYTES_LEVEL, level - moveLevels(totalBytes));
  const low = index * 2 ** (level - below);
  return {
    kind: 'values',
    level: below,
    low,
    count: Math.min(width(totalBytes, below) - low, 2 ** (level - below)),
  };
}

/** Moves of the accused from here to the bytes. */
export function movesLeft({ level, totalBytes }: Pick<Narrowing, 'level' | 'totalBytes'>): number {
  return 1 + Math.max(0, Math.ceil((level - BYTES_LEVEL) / moveLevels(totalBytes)));
}

/** Whether values or bytes are those of the node: of the right length, leading to its value. */
export function opensNode(node: Narrowing, opened: Uint8Array): boolean {
  const opening = nextOpening(node);
  if (opening.kind === 'bytes') {
    if (opened.length !== opening.end - opening.start) return false;
    const out = new Uint8Array(CV_BYTES);
    subtreeInto(opened, 0, opened.length, opening.start / LEAF_BYTES, node.isRoot, out, 0);
    return equalBytes(out, node.value);
  }
  if (opened.length !== opening.count * CV_BYTES) return false;
  return equalBytes(combine(opened.slice(), opening.count, node.isRoot), node.value);
}

/** The value above `count` > 1 values of one level; pairs, an odd last one moves up. Works in place. */
function combine(values: Uint8Array, count: number, isRoot: boolean): Uint8Array {
  for (let left = count; left > 1; left = Math.ceil(left / 2)) {
    for (let i = 0; 2 * i + 1 < left; i += 1) {
      const make = isRoot && left === 2 ? parentRootInto : parentInto;
      make(values.slice(2 * i * CV_BYTES, (2 * i + 2) * CV_BYTES), 0, CV_BYTES, values, i * CV_BYTES);
    }
    if (left % 2 === 1) values.copyWithin((left >> 1) * CV_BYTES, (left - 1) * CV_BYTES, left * CV_BYTES);
  }
  return values.subarray(0, CV_BYTES);
}

/**
 * The node that a challenger contests among opened values.
 *
 * @param child index among the opened values
 * @throws PogoError RANGE for another index, or where bytes are to be opened
 */
export function contest(node: Narrowing, values: Uint8Array, child: number): Narrowing {
  const opening = nextOpening(node);
  if (opening.kind !== 'values' || !Number.isSafeInteger(child) || child < 0 || child >= opening.count) {
    throw new PogoError('RANGE', `expected one of the opened values, found ${child}`);
  }
  const index = opening.low + child;
  // An odd last value stands for a smaller subtree: its level is that of the chunks it covers.
  const chunks = Math.min(2 ** opening.level, leafCount(node.totalBytes) - index * 2 ** opening.level);
  const level = Math.ceil(Math.log2(chunks));
  return {
    totalBytes: node.totalBytes,
    level,
    index: index * 2 ** (opening.level - level),
    value: values.slice(child * CV_BYTES, (child + 1) * CV_BYTES),
    isRoot: false,
  };
}

/** What an accused answers: the values or bytes that the node asks for. */
export function openNode(node: Narrowing, bytes: Uint8Array, tree: OpenableTree): Uint8Array {
  const opening = nextOpening(node);
  if (opening.kind === 'bytes') return bytes.slice(opening.start, opening.end);
  const values = new Uint8Array(opening.count * CV_BYTES);
  for (let i = 0; i < opening.count; i += 1) values.set(tree.value(opening.level, opening.low + i), i * CV_BYTES);
  return values;
}

/** First opened value that is not the challenger's own; undefined where all agree. */
export function firstContested(node: Narrowing, values: Uint8Array, own: OpenableTree): number | undefined {
  const opening = nextOpening(node);
  if (opening.kind !== 'values') return undefined;
  for (let i = 0; i < opening.count; i += 1) {
    const value = values.subarray(i * CV_BYTES, (i + 1) * CV_BYTES);
    if (!equalBytes(value, own.value(opening.level, opening.low + i))) return i;
  }
  return undefined;
}

/** One answer of the accused. */
export interface NarrowingMove {
  readonly node: Narrowing;
  readonly opened: Uint8Array;
}

/**
 * The accused's output as a challenger can open it after narrowing: opened bytes and values, and to the left of them the
 * challenger's own tree, which agrees there.
 *
 * @param moves all answers, each on the node that was contested in the one before; the last opened bytes
 */
export function narrowedTree(moves: readonly NarrowingMove[], own: OpenableTree): OpenableTree {
  const known = new Map<string, Uint8Array>();
  const { totalBytes } = own;
  const chunks = leafCount(totalBytes);
  let bytesStart = 0;
  let bytes = new Uint8Array(0);
  for (const { node, opened } of moves) {
    const opening = nextOpening(node);
    if (opening.kind === 'bytes') {
      bytesStart = opening.start;
      bytes = opened.slice();
    } else {
      for (let i = 0; i < opening.count; i += 1) {
        // By the chunks that it covers: an odd last value stands at several levels.
        const from = (opening.low + i) * 2 ** opening.level;
        const to = Math.min(chunks, from + 2 ** opening.level);
        known.set(`${from} ${to}`, opened.slice(i * CV_BYTES, (i + 1) * CV_BYTES));
      }
    }
  }
  const contested = bytesStart / LEAF_BYTES;
  const chunk = (index: number): Uint8Array => {
    if (index < contested) return own.chunk(index);
    const from = index * LEAF_BYTES - bytesStart;
    if (from >= bytes.length) throw new PogoError('MISSING', `chunk ${index} of the disputed output was not opened`);
    return bytes.slice(from, from + LEAF_BYTES);
  };
  const value = (level: number, index: number): Uint8Array => {
    const low = index * 2 ** level;
    const high = Math.min(chunks, low + 2 ** level);
    if (high <= contested) return own.value(level, index);
    const found = known.get(`${low} ${high}`);
    if (found !== undefined) return found;
    const out = new Uint8Array(CV_BYTES);
    if (low >= contested && high * LEAF_BYTES <= bytesStart + Math.ceil(bytes.length / LEAF_BYTES) * LEAF_BYTES) {
      const start = low * LEAF_BYTES - bytesStart;
      const end = Math.min(bytes.length, high * LEAF_BYTES - bytesStart);
      subtreeInto(bytes, start, end, low, false, out, 0);
      return out;
    }
    if (level === 0) throw new PogoError('MISSING', `chunk ${index} of the disputed output was not opened`);
    if ((2 * index + 1) * 2 ** (level - 1) >= chunks) return value(level - 1, 2 * index);
    const pair = new Uint8Array(2 * CV_BYTES);
    pair.set(value(level - 1, 2 * index), 0);
    pair.set(value(level - 1, 2 * index + 1), CV_BYTES);
    parentInto(pair, 0, CV_BYTES, out, 0);
    return out;
  };
  return { totalBytes, chunk, value };
}
