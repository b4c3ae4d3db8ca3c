/** `pogo diff OLD NEW -o PATCH` and `pogo patch OLD PATCH -o NEW`: the canonical diff of two packed 4-bit models. */
import type { Command } from 'commander';
import { openBackend } from '../backend/open.js';
import { hashBytes } from '../files/digest.js';
import { readWholeFile, realFiles } from '../files/fileLayer.js';
import { writeTarget } from '../files/target.js';
import { toHex } from '../hex.js';
import { applyDiff, encodeDiff, maxDiffBytes, readDiffHeader } from '../protocol/diff.js';
import { addForceOption } from './options.js';

/** A model is held in memory whole; Node's buffers end here, bytes. */
const MAX_MODEL_BYTES = 2 ** 32;

interface Options {
  readonly output: string;
  readonly force?: true;
}

function diff(oldFile: string, newFile: string, { output, force }: Options): void {
  const older = readWholeFile(realFiles, oldFile, MAX_MODEL_BYTES);
  const newer = readWholeFile(realFiles, newFile, MAX_MODEL_BYTES);
  const patch = encodeDiff(older, newer, hashBytes, openBackend().kernels);
  writeTarget(output, patch, force);
  const { oldRoot, newRoot } = readDiffHeader(patch);
  const share = newer.length === 0 ? '' : ` (${((100 * patch.length) / newer.length).toFixed(1)} % of the model)`;
  process.stdout.write(`${output}: ${patch.length} bytes${share}, ${toHex(oldRoot)} → ${toHex(newRoot)}\n`);
}

function patch(oldFile: string, patchFile: string, { output, force }: Options): void {
  const older = readWholeFile(realFiles, oldFile, MAX_MODEL_BYTES);
  const bytes = readWholeFile(realFiles, patchFile, maxDiffBytes(older.length));
  const newer = applyDiff(older, bytes, hashBytes, openBackend().kernels);
  writeTarget(output, newer, force);
  process.stdout.write(`${output}: ${newer.length} bytes, root ${toHex(readDiffHeader(bytes).newRoot)}\n`);
}

export function register(program: Command): void {
  addForceOption(program.command('diff'))
    .argument('<old>', 'packed model before')
    .argument('<new>', 'packed model after, of the same length')
    .requiredOption('-o, --output <patch>', 'where to write the diff')
    .action((oldFile: string, newFile: string, options: Options) => diff(oldFile, newFile, options));
  addForceOption(program.command('patch'))
    .argument('<old>', 'packed model that the diff was made from')
    .argument('<patch>', 'diff made by pogo diff')
    .requiredOption('-o, --output <new>', 'where to write the new model')
    .action((oldFile: string, patchFile: string, options: Options) => patch(oldFile, patchFile, options));
}
