/**
 * A committed root can stand for a file of a wrong length. Its last chunk proves that length: BLAKE3 chunks carry their
 * number and their size, and the path along the right edge fits one number of chunks only.
 */
import { PogoError } from '../../errors.js';
import { type BlobShape, CHUNK_BYTES, type ChunkOpening, chunkHolds, openRanges } from '../openings.js';

/**
 * @param blob with the length that the evidence asserts, known to differ from `expectedBytes`
 * @param openings the last chunk of the blob
 * @returns the finding
 * @throws PogoError MALFORMED when the chunk does not prove that length
 */
export function checkForeignLength(blob: BlobShape, expectedBytes: number, openings: readonly ChunkOpening[]): string {
  const { totalBytes } = blob;
  if (!Number.isSafeInteger(totalBytes)) {
    throw new PogoError('MALFORMED', `${blob.name}: expected a length below 2^53, found ${totalBytes}`);
  }
  if (totalBytes === 0) {
    // The empty input has one empty chunk and no path; its root is the hash of nothing.
    const [opening] = openings;
    if (openings.length !== 1 || opening!.bytes.length !== 0) {
      throw new PogoError('MALFORMED', `${blob.name}: expected one empty chunk, found others`);
    }
    openEmpty(blob, opening!);
  } else {
    const last = Math.ceil(totalBytes / CHUNK_BYTES) - 1;
    openRanges(blob, [[last * CHUNK_BYTES, totalBytes]], openings);
  }
  return `${blob.name}: expected ${expectedBytes} bytes, found a root over ${totalBytes} bytes`;
}

function openEmpty(blob: BlobShape, opening: ChunkOpening): void {
  if (!chunkHolds(blob, 0, opening)) {
    throw new PogoError('MALFORMED', `${blob.name}: expected the root of an empty file, found another`);
  }
}
