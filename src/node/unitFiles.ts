/**
 * The unit files of a log, step by step: read into shared memory that is used again, hashed and looked through by the
 * lanes. Nothing of a file is believed before its hash was compared.
 */
import { hashBytes } from '../backend/merkleAddon.js';
import { sharedArray } from '../backend/sharedArrays.js';
import { PogoError } from '../errors.js';
import type { BlobStore } from '../files/blobStore.js';
import { equalBytes, toHex } from '../hex.js';
import { unitFileBytes } from '../model/layout.js';
import type { Trainer } from '../pipeline/trainer.js';
import type { StepCommitment } from '../protocol/types.js';

/** Where the bytes of units come from. */
export interface UnitSource {
  /**
   * The bytes under a root, of whatever length they are.
   *
   * @throws PogoError MISSING when the blob is absent or does not match its root, RANGE when it is over `maxBytes`
   */
  blob(root: Uint8Array, maxBytes: number): Uint8Array;
  /**
   * The same bytes before anybody hashed them, in memory that the caller gives: for callers that hash them by themselves.
   * Absent where a source has only verified bytes.
   *
   * @throws PogoError MISSING when the blob is absent, RANGE when it is over `maxBytes`
   */
  read?(root: Uint8Array, maxBytes: number, allocate: (bytes: number) => Uint8Array): Uint8Array;
}

/** The units of a store. */
export function storedUnits(blobs: BlobStore): Required<UnitSource> {
  return {
    blob: (root, maxBytes) => blobs.get(root, { maxBytes }),
    read: (root, maxBytes, allocate) => blobs.readUnverified(root, { maxBytes }, allocate),
  };
}

/** Files of a wrong length are read up to this many times the right one, so that they can be shown as evidence. */
export const LENGTH_FACTOR = 4;

/** The units of one step. Valid until the next step is read. */
export interface StepUnits {
  /** On shared memory. */
  readonly files: readonly Uint8Array[];
  /** What no encoder writes, by unit: see {@link canonicalUnitFault}. */
  readonly faults: readonly (string | undefined)[];
}

export class UnitFiles {
  readonly #trainer: Trainer;
  readonly #source: UnitSource;
  /** Memory of the units of one step: fresh memory for each costs more than reading the files. */
  readonly #slots: (Uint8Array | undefined)[] = [];

  /** @param trainer whose lanes do the work */
  constructor(trainer: Trainer, source: UnitSource) {
    this.#trainer = trainer;
    this.#source = source;
  }

  /** @throws PogoError MISSING when bytes are absent or do not match their root */
  async read({ unitRoots }: Pick<StepCommitment, 'unitRoots'>): Promise<StepUnits> {
    const files = unitRoots.map((root, unit) => this.#bytes(root, unit));
    const found = await Promise.all(files.map((file) => this.#trainer.inspectUnit(file)));
    for (const [unit, { root }] of found.entries()) {
      const wanted = unitRoots[unit] as Uint8Array;
      if (!equalBytes(root, wanted)) this.#readAgain(wanted, files[unit] as Uint8Array);
    }
    return { files, faults: found.map(({ fault }) => fault) };
  }

  #bytes(root: Uint8Array, unit: number): Uint8Array {
    const { total } = unitFileBytes(this.#trainer.plan.layout);
    const allocate = (bytes: number): Uint8Array => {
      if (bytes !== total) return sharedArray(Uint8Array, bytes);
      this.#slots[unit] ??= sharedArray(Uint8Array, total);
      return this.#slots[unit];
    };
    const limit = LENGTH_FACTOR * total;
    if (this.#source.read !== undefined) return this.#source.read(root, limit, allocate);
    const blob = this.#source.blob(root, limit);
    const shared = allocate(blob.length);
    shared.set(blob);
    return shared;
  }

  /** Bytes of another root: the source says so in its words, naming where they lie. */
  #readAgain(root: Uint8Array, file: Uint8Array): never {
    this.#source.blob(root, LENGTH_FACTOR * file.length);
    throw new PogoError(
      'MISSING',
      `expected bytes of root ${toHex(root)}, found ${toHex(hashBytes(file))}, and other bytes when they were read again: get this blob again`,
      { root: toHex(root) },
    );
  }
}

/**
 * State → state by a log: the units of `steps`, without looking at the states between.
 *
 * @throws PogoError MISSING when bytes are absent, do not match their root, or are no unit of the recipe by their length
 */
export async function replayLog(
  trainer: Trainer,
  source: UnitSource,
  steps: readonly Pick<StepCommitment, 'unitRoots'>[],
): Promise<void> {
  const units = new UnitFiles(trainer, source);
  const { total } = unitFileBytes(trainer.plan.layout);
  for (const step of steps) {
    const { files } = await units.read(step);
    for (const [unit, { length }] of files.entries()) {
      if (length === total) continue;
      const root = toHex(step.unitRoots[unit] as Uint8Array);
      throw new PogoError('MISSING', `unit ${root}: expected ${total} bytes, found ${length}`, { root });
    }
    await trainer.commit(files);
  }
}
