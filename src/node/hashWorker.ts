/** A worker thread of {@link file://./hashFile.ts}: hashes pieces of the file until none is left, then ends. */
import { parentPort, workerData } from 'node:worker_threads';
import { merkleKernels } from '../backend/merkleAddon.js';
import { PogoError } from '../errors.js';
import { type HashJob, hashPieces } from './hashPieces.js';

try {
  const pieces = hashPieces(workerData as HashJob, merkleKernels());
  while (!pieces.next().done);
} catch (error) {
  // As data: structured clone would strip a PogoError of its code.
  parentPort?.postMessage(PogoError.from(error).toJSON());
}
