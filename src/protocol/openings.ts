/**
 * Openings: bytes under a BLAKE3 root, shown with the path that proves them.
 *
 * A blob is opened chunk by chunk (1 KiB, one BLAKE3 chunk). The checker derives from the recipe's layout how long the
 * blob is and which chunks cover the bytes that it needs; an opening that brings more, fewer or other chunks is
 * malformed, so every opening has one encoding and no byte of it is ignored.
 */
import { ContainerType, ListCompositeType, type ValueOf } from '@chainsafe/ssz';
import { PogoError } from '../errors.js';
import { toHex } from '../hex.js';
import { verifyLeafProof } from '../merkle/proof.js';
import { LEAF_BYTES, leafCount } from '../merkle/shape.js';
import { byteList } from './ssz.js';

export const CHUNK_BYTES = LEAF_BYTES;
/** 2^53 bytes are 2^43 chunks: at most that many siblings. */
const MAX_PATH_BYTES = 43 * 32;

/** One chunk: 1 to 1024 bytes, and the chaining values of its siblings from the bottom up, 32 bytes each. */
export const ChunkOpeningType = new ContainerType(
  { bytes: byteList(CHUNK_BYTES), path: byteList(MAX_PATH_BYTES) },
  { typeName: 'ChunkOpening', jsonCase: 'eth2' },
);
export type ChunkOpening = ValueOf<typeof ChunkOpeningType>;

/** Chunks in ascending order. */
export const ChunkOpeningsType = new ListCompositeType(ChunkOpeningType, 1 << 16);

/** A blob as the checker knows it: never from the opening. */
export interface BlobShape {
  /** What it is, for messages. */
  readonly name: string;
  readonly root: Uint8Array;
  readonly totalBytes: number;
}

/** Whether the opened bytes are chunk `index` of a blob of `totalBytes` bytes with this BLAKE3 root. */
export function chunkHolds(blob: BlobShape, index: number, opening: ChunkOpening): boolean {
  if (!Number.isSafeInteger(index) || index < 0 || index >= leafCount(blob.totalBytes)) return false;
  return verifyLeafProof(blob.root, blob.totalBytes, index, opening.bytes, opening.path);
}

/** Indices of the chunks that cover the byte ranges [start, end), ascending, each once. */
export function coveringChunks(ranges: readonly (readonly [start: number, end: number])[]): number[] {
  const indices = new Set<number>();
  for (const [start, end] of ranges) {
    for (let i = Math.floor(start / CHUNK_BYTES); i * CHUNK_BYTES < end; i += 1) indices.add(i);
  }
  return [...indices].sort((a, b) => a - b);
}

/**
 * Checks an opening and reads byte ranges out of it.
 *
 * @param openings exactly the chunks that cover `ranges`, ascending
 * @returns the bytes of each range
 * @throws PogoError MALFORMED when a chunk is missing, superfluous or does not lead to the root
 */
export function openRanges(
  blob: BlobShape,
  ranges: readonly (readonly [start: number, end: number])[],
  openings: readonly ChunkOpening[],
): Uint8Array[] {
  const indices = coveringChunks(ranges);
  if (openings.length !== indices.length) {
    throw new PogoError(
      'MALFORMED',
      `${blob.name}: expected the ${indices.length} chunks that are needed, found ${openings.length}`,
    );
  }
  const position = new Map<number, Uint8Array>();
  indices.forEach((index, i) => {
    const opening = openings[i]!;
    if (!chunkHolds(blob, index, opening)) {
      throw new PogoError(
        'MALFORMED',
        `${blob.name}: expected chunk ${index} with a path to ${toHex(blob.root)}, found bytes that do not lead there`,
        { chunk: index },
      );
    }
    position.set(index, opening.bytes);
  });
  return ranges.map(([start, end]) => {
    const out = new Uint8Array(end - start);
    for (let at = start; at < end; ) {
      const index = Math.floor(at / CHUNK_BYTES);
      const from = at - index * CHUNK_BYTES;
      const stop = Math.min(CHUNK_BYTES, end - index * CHUNK_BYTES);
      out.set(position.get(index)!.subarray(from, stop), at - start);
      at = index * CHUNK_BYTES + stop;
    }
    return out;
  });
}

/** What an author of openings needs of a blob: chunk bytes and paths (a stored tree, or the whole blob in memory). */
export interface ChunkSource {
  chunk(index: number): ChunkOpening;
}

/** The chunks of {@link openRanges} for these ranges. */
export function openChunks(
  source: ChunkSource,
  ranges: readonly (readonly [start: number, end: number])[],
): ChunkOpening[] {
  return coveringChunks(ranges).map((index) => source.chunk(index));
}
