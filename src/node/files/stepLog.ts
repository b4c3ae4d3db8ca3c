/**
 * The write-ahead log of a run: the gradient units of each finished step, and the step's commitment.
 *
 * Units are stored and synced as blobs first, then one record is appended; so every step in the log has its units, and
 * a step that died half-way is not in the log. A state is a checkpoint plus a replay of this log.
 */
import * as path from 'node:path';
import { PogoError } from '../../errors.js';
import { AppendLog } from '../../files/appendLog.js';
import { BlobStore } from '../../files/blobStore.js';
import { removeUnfinished } from '../../files/durable.js';
import { type FileLayer, realFiles } from '../../files/fileLayer.js';
import { toHex } from '../../hex.js';

const LOG_NAME = 'steps.log';
const RECORD_HEADER_BYTES = 12;
const UNIT_ENTRY_BYTES = 40;

/** One committed step. */
export interface LoggedStep {
  /** Number of the step, counted from the start state's 0. */
  readonly step: number;
  /** BLAKE3 root and length in bytes of each unit file, units in order. */
  readonly units: readonly { readonly root: Uint8Array; readonly length: number }[];
  /** The encoded StepCommitment. */
  readonly commitment: Uint8Array;
}

export interface StepLogOptions {
  readonly layer?: FileLayer;
  /** Where the units are kept; `blobs` inside the log's directory if absent. Several logs may share one. */
  readonly blobs?: BlobStore;
}

/** Record: u64 step ‖ u32 unit count ‖ (root, u64 length) per unit ‖ commitment. */
function encodeStep(step: LoggedStep): Uint8Array {
  const bytes = new Uint8Array(RECORD_HEADER_BYTES + UNIT_ENTRY_BYTES * step.units.length + step.commitment.length);
  const view = new DataView(bytes.buffer);
  view.setBigUint64(0, BigInt(step.step), true);
  view.setUint32(8, step.units.length, true);
  let at = RECORD_HEADER_BYTES;
  for (const unit of step.units) {
    bytes.set(unit.root, at);
    view.setBigUint64(at + 32, BigInt(unit.length), true);
    at += UNIT_ENTRY_BYTES;
  }
  bytes.set(step.commitment, at);
  return bytes;
}

function decodeStep(bytes: Uint8Array): LoggedStep | undefined {
  if (bytes.length < RECORD_HEADER_BYTES) return undefined;
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  const count = view.getUint32(8, true);
  const end = RECORD_HEADER_BYTES + UNIT_ENTRY_BYTES * count;
  if (end > bytes.length) return undefined;
  const units = [];
  for (let at = RECORD_HEADER_BYTES; at < end; at += UNIT_ENTRY_BYTES) {
    units.push({ root: bytes.slice(at, at + 32), length: Number(view.getBigUint64(at + 32, true)) });
  }
  return { step: Number(view.getBigUint64(0, true)), units, commitment: bytes.slice(end) };
}

export class StepLog {
  readonly blobs: BlobStore;
  readonly #log: AppendLog;
  readonly #steps: LoggedStep[];
  readonly #path: string;

  /** Use {@link openStepLog}. */
  constructor(log: AppendLog, file: string, blobs: BlobStore) {
    this.#log = log;
    this.#path = file;
    this.blobs = blobs;
    this.#steps = log.records.map((record, index) => {
      const step = decodeStep(record);
      const follows = index === 0 || step?.step === decodeStep(log.records[index - 1]!)!.step + 1;
      if (step === undefined || !follows) {
        throw new PogoError(
          'CORRUPT',
          `${file}: expected record ${index} to hold the step after the one before it, found something else: ` +
            'restore the file from a copy, or remove the run folder and start again',
          { path: file, record: index },
        );
      }
      return step;
    });
  }

  /** The committed steps, consecutive. */
  get steps(): readonly LoggedStep[] {
    return this.#steps;
  }

  /** Number of the last committed step; `undefined` for an empty log. */
  get last(): number | undefined {
    return this.#steps.at(-1)?.step;
  }

  /**
   * Commits one step: its unit files (each whole, or as parts such as codes and scales planes), then its commitment.
   * When it returns, the step survives power loss; if it throws, the step is not in the log.
   *
   * @param step the number after the last one; any number for an empty log
   * @throws PogoError RANGE if the step is out of order, IO
   */
  append(step: number, unitFiles: readonly (Uint8Array | readonly Uint8Array[])[], commitment: Uint8Array): LoggedStep {
    const expected = this.last === undefined ? step : this.last + 1;
    if (!Number.isSafeInteger(step) || step < 0 || step !== expected) {
      throw new PogoError('RANGE', `${this.#path}: expected step ${expected}, found step ${step}`, { step });
    }
    const files = unitFiles.map((file) => (file instanceof Uint8Array ? [file] : file));
    const roots = this.blobs.putAll(files);
    const units = files.map((parts, i) => {
      return { root: roots[i] as Uint8Array, length: parts.reduce((sum, part) => sum + part.length, 0) };
    });
    const logged: LoggedStep = { step, units, commitment: Uint8Array.from(commitment) };
    this.#log.append(encodeStep(logged));
    this.#steps.push(logged);
    return logged;
  }

  /** The record of a committed step. @throws PogoError RANGE if the step is not in the log */
  step(step: number): LoggedStep {
    const found = this.#steps[step - (this.#steps[0]?.step ?? 0)];
    if (found === undefined || found.step !== step) {
      const range = this.#steps.length === 0 ? 'none' : `${this.#steps[0]!.step} to ${this.last}`;
      throw new PogoError('RANGE', `${this.#path}: expected a committed step (${range}), found ${step}`, { step });
    }
    return found;
  }

  /**
   * The unit files of a committed step, in order, verified against their roots.
   *
   * @throws PogoError RANGE if the step is not in the log, MISSING naming the unit's root
   */
  units(step: number): Uint8Array<ArrayBuffer>[] {
    return this.step(step).units.map((unit) => this.blobs.get(unit.root, { length: unit.length }));
  }

  close(): void {
    this.#log.close();
  }
}

/**
 * Opens or creates the log in `directory`, discarding an incomplete last step. The caller holds the directory's lock.
 * Every unit of every committed step must be there with its length; bytes are verified when they are read.
 *
 * @throws PogoError CORRUPT (damaged record), MISSING (a unit's file is gone or cut), IO
 */
export function openStepLog(directory: string, options: StepLogOptions = {}): StepLog {
  const layer = options.layer ?? realFiles;
  layer.makeDirectory(directory);
  removeUnfinished(layer, directory);
  const blobs = options.blobs ?? BlobStore.open(path.join(directory, 'blobs'), { layer });
  // A shared store may have other writers; only its owner clears it.
  if (options.blobs === undefined) removeUnfinished(layer, blobs.directory);
  const file = path.join(directory, LOG_NAME);
  const log = AppendLog.open(layer, file);
  try {
    const steps = new StepLog(log, file, blobs);
    for (const { step, units } of steps.steps) {
      for (const { root, length } of units) {
        if (blobs.has(root, length)) continue;
        throw new PogoError(
          'MISSING',
          `${file}: expected unit ${toHex(root)} of step ${step} (${length} bytes) in ${blobs.directory}, found none: ` +
            'restore the blob from a copy, or remove the run folder and start again',
          { root: toHex(root), step },
        );
      }
    }
    return steps;
  } catch (error) {
    log.close();
    throw error;
  }
}
