/** `pogo diff OLD NEW -o PATCH` and `pogo patch OLD PATCH -o NEW`: the canonical diff of two packed 4-bit models. */
import type { Command } from 'commander';
import { openBackend } from '../backend/open.js';
import { hashBytes } from '../files/digest.js';
import { writeFileAtomic } from '../files/durable.js';
import { readWholeFile, realFiles } from '../files/fileLayer.js';
import { toHex } from '../hex.js';
import { applyDiff, encodeDiff, maxDiffBytes, readDiffHeader } from '../protocol/diff.js';

/** A model is held in memory whole; Node's buffers end here, bytes. */
const MAX_MODEL_BYTES = 2 ** 32;

function diff(oldFile: string, newFile: string, output: string): void {
  const older = readWholeFile(realFiles, oldFile, MAX_MODEL_BYTES);
  const newer = readWholeFile(realFiles, newFile, MAX_MODEL_BYTES);
  const patch = encodeDiff(older, newer, hashBytes, openBackend().kernels);
  writeFileAtomic(realFiles, output, patch);
  const { oldRoot, newRoot } = readDiffHeader(patch);
  const share = newer.length === 0 ? '' : ` (${((100 * patch.length) / newer.length).toFixed(1)} % of the model)`;
  process.stdout.write(`${output}: ${patch.length} bytes${share}, ${toHex(oldRoot)} → ${toHex(newRoot)}\n`);
}

function patch(oldFile: string, patchFile: string, output: string): void {
  const older = readWholeFile(realFiles, oldFile, MAX_MODEL_BYTES);
  const bytes = readWholeFile(realFiles, patchFile, maxDiffBytes(older.length));
  const newer = applyDiff(older, bytes, hashBytes, openBackend().kernels);
  writeFileAtomic(realFiles, output, newer);
  process.stdout.write(`${output}: ${newer.length} bytes, root ${toHex(readDiffHeader(bytes).newRoot)}\n`);
}

export function register(program: Command): void {
  program
    .command('diff')
    .argument('<old>', 'packed model before')
    .argument('<new>', 'packed model after, of the same length')
    .requiredOption('-o, --output <patch>', 'where to write the diff')
    .action((oldFile: string, newFile: string, options: { output: string }) => diff(oldFile, newFile, options.output));
  program
    .command('patch')
    .argument('<old>', 'packed model that the diff was made from')
    .argument('<patch>', 'diff made by pogo diff')
    .requiredOption('-o, --output <new>', 'where to write the new model')
    .action((oldFile: string, patchFile: string, options: { output: string }) =>
      patch(oldFile, patchFile, options.output),
    );
}
