/**
 * Checking a claim by doing part of it again: the whole log replayed, state roots compared at the drawn steps and at the
 * end, drawn units recomputed, the 4-bit model and its diff rebuilt. Every comparison is an equality.
 *
 * What is found false is returned with the bytes that prove it, captured when they were in memory. Bytes that are
 * missing or do not match their root decide nothing: they are thrown as MISSING.
 */
import { hashBytes } from '../backend/merkleAddon.js';
import { PogoError } from '../errors.js';
import { equalBytes, toHex } from '../hex.js';
import { type StateScalars, type StateVectors, vectorBytes } from '../model/state.js';
import type { TokenSequence } from '../model/tokens.js';
import { gatherSequences } from '../model/unit.js';
import type { Trainer } from '../pipeline/trainer.js';
import { type CommitmentFault, checkStepCommitments } from '../protocol/claim.js';
import { encodeDiff } from '../protocol/diff.js';
import { type DrawnUnit, drawBatch, unitOffsets } from '../protocol/draws.js';
import {
  type ClaimHeader,
  type StateHeader,
  type StepCommitment,
  type StepCommitmentList,
  ZERO_ROOT,
} from '../protocol/types.js';
import type { ReceiptRecorder } from './receiptRecorder.js';
import { LENGTH_FACTOR, type StepUnits, UnitFiles, type UnitSource } from './unitFiles.js';

/** Where a claim's bytes come from: a bundle, or the store that miner and verifiers share. */
export interface ClaimSource extends UnitSource {
  readonly header: ClaimHeader;
  readonly list: StepCommitmentList;
}

/** A pre-state as bytes that evidence can carry. */
export interface CapturedState {
  readonly header: StateHeader;
  readonly theta: Uint8Array;
  readonly m: Uint8Array;
  readonly v: Uint8Array;
  readonly ema: Uint8Array;
}

/** Something false that the claim commits to, with what proves it. */
export type Fault =
  | { readonly kind: 'commitments' | 'batch'; readonly stepIndex: number; readonly message: string }
  | {
      readonly kind: 'unit' | 'loss';
      readonly stepIndex: number;
      readonly unit: number;
      readonly pre: CapturedState;
      /** The unit as committed and as recomputed. */
      readonly committed: Uint8Array;
      readonly computed: Uint8Array;
      readonly computedLossBits: number;
      readonly message: string;
    }
  | {
      readonly kind: 'state-root';
      readonly stepIndex: number;
      readonly pre: CapturedState;
      readonly units: readonly Uint8Array[];
      readonly message: string;
    }
  | {
      readonly kind: 'quantization';
      readonly post: CapturedState;
      readonly committedModel: Uint8Array;
      readonly computedModel: Uint8Array;
      readonly message: string;
    }
  | {
      readonly kind: 'diff';
      /** The right packed models before (undefined for a first claim) and after the claim. */
      readonly parentModel: Uint8Array | undefined;
      readonly model: Uint8Array;
      readonly message: string;
    };

export interface CheckOptions {
  /** Positioned at the claim's from state; at the end of a true claim it stands at the to state. */
  readonly trainer: Trainer;
  /**
   * Brings the trainer back to the claim's from state. Asked for only where a claim is false in a way that one replay does not
   * locate, so that nobody keeps a second state in memory for it.
   */
  readonly goBack: () => Promise<void>;
  readonly source: ClaimSource;
  readonly tokens: TokenSequence;
  /** Units to recompute. */
  readonly drawn: readonly DrawnUnit[];
  /** The parent's packed model; undefined for the first claim. */
  readonly parentModel: Uint8Array | undefined;
  readonly signal?: AbortSignal;
  /** Makes the receipt of this check; its duty has drawn the same units. */
  readonly receipt?: ReceiptRecorder;
  readonly onProgress?: (unitsDone: number, unitsDrawn: number) => void;
}

export interface CheckResult {
  readonly fault: Fault | undefined;
  /** Comparisons that were made. */
  readonly checks: number;
  readonly unitsRecomputed: number;
  readonly bytesRead: number;
  readonly seconds: number;
  /** Of these: reading the log, hashing its blobs, and looking through their codes. */
  readonly readSeconds: number;
  /** Of these: applying the log. */
  readonly replaySeconds: number;
  /** Of these: hashing the state. */
  readonly hashSeconds: number;
  /** Of these: computing drawn units, the integer weights for them included. */
  readonly unitSeconds: number;
  /** Of these: rebuilding the 4-bit model and its diff. */
  readonly modelSeconds: number;
  /** The claim's packed model, rebuilt; present where no fault was found. */
  readonly model: Uint8Array | undefined;
}

/**
 * @throws PogoError MISSING when bytes are absent; MALFORMED when true units lead to numbers that are not finite, which
 *   no miner could have trained on
 */
export async function checkClaim(options: CheckOptions): Promise<CheckResult> {
  const { trainer, source } = options;
  try {
    return await new ClaimCheck(options).run();
  } catch (error) {
    if (!isNonFinite(error)) throw error;
  }
  // Units that no training gives drove the state to Inf or NaN before one of the drawn ones was false. With every unit
  // computed again on the way, the false one is found before the step that breaks.
  await options.goBack();
  const drawn = source.list.flatMap((_, stepIndex) =>
    Array.from({ length: trainer.plan.recipe.unitsPerStep }, (__, unit) => ({ stepIndex, unit })),
  );
  try {
    return await new ClaimCheck({ ...options, drawn }).run();
  } catch (error) {
    if (!isNonFinite(error)) throw error;
    throw new PogoError('MALFORMED', `expected a claim over finite numbers, found: ${PogoError.from(error).message}`);
  }
}

function isNonFinite(error: unknown): boolean {
  return error instanceof PogoError && error.code === 'NON_FINITE';
}

/** What a check spends its time on. */
type Part = 'read' | 'replay' | 'hash' | 'unit' | 'model';

class ClaimCheck {
  readonly #options: CheckOptions;
  readonly #trainer: Trainer;
  readonly #unitFiles: UnitFiles;
  readonly #ms: Record<Part, number> = { read: 0, replay: 0, hash: 0, unit: 0, model: 0 };
  #checks = 0;
  #units = 0;
  #bytes = 0;
  #model: Uint8Array | undefined;

  constructor(options: CheckOptions) {
    this.#options = options;
    this.#trainer = options.trainer;
    this.#unitFiles = new UnitFiles(options.trainer, options.source);
  }

  async run(): Promise<CheckResult> {
    const start = performance.now();
    const fault =
      (await this.#commitments()) ?? (await this.#replay()) ?? (await this.#timed('model', this.#results()));
    const { read, replay, hash, unit, model } = this.#ms;
    return {
      fault,
      checks: this.#checks,
      unitsRecomputed: this.#units,
      bytesRead: this.#bytes,
      seconds: (performance.now() - start) / 1000,
      readSeconds: read / 1000,
      replaySeconds: replay / 1000,
      hashSeconds: hash / 1000,
      unitSeconds: unit / 1000,
      modelSeconds: model / 1000,
      model: fault === undefined ? this.#model : undefined,
    };
  }

  async #timed<T>(part: Part, work: Promise<T>): Promise<T> {
    const start = performance.now();
    try {
      return await work;
    } finally {
      this.#ms[part] += performance.now() - start;
    }
  }

  async #commitments(): Promise<CommitmentFault | undefined> {
    const { header, list } = this.#options.source;
    const from = await this.#timed('hash', this.#trainer.header());
    this.#checks += 3 + 2 * list.length;
    return checkStepCommitments(header, list, from, this.#trainer.plan.recipe);
  }

  /** Σ over the log: drawn units are recomputed on the way. */
  async #replay(): Promise<Fault | undefined> {
    const { source, drawn } = this.#options;
    for (let stepIndex = 0; stepIndex < source.list.length; stepIndex += 1) {
      const commitment = source.list[stepIndex] as StepCommitment;
      const units = await this.#readUnits(commitment);
      const wanted = drawn.filter((d) => d.stepIndex === stepIndex);
      const observed = this.#options.receipt?.wantsState(stepIndex) ?? false;
      if (wanted.length > 0 || observed) {
        // The state first: a unit is only judged under a state root that holds.
        if (!(await this.#atRoot(commitment.preStateRoot))) return this.#findFalseState();
        if (observed) await this.#options.receipt?.state(stepIndex, false);
        const fault = await this.#recompute(stepIndex, commitment, units.files, wanted);
        if (fault !== undefined) return fault;
      }
      const malformed = await this.#canonical(stepIndex, units);
      if (malformed !== undefined) return malformed;
      await this.#timed('replay', this.#trainer.commit(units.files));
    }
    if (!(await this.#atRoot(source.header.toRoot))) return this.#findFalseState();
    await this.#options.receipt?.state(source.list.length, true);
    return undefined;
  }

  async #atRoot(root: Uint8Array): Promise<boolean> {
    this.#checks += 1;
    return equalBytes(await this.#timed('hash', this.#trainer.stateRoot()), root);
  }

  async #readUnits(commitment: StepCommitment): Promise<StepUnits> {
    const units = await this.#timed('read', this.#unitFiles.read(commitment));
    for (const { length } of units.files) this.#bytes += length;
    return units;
  }

  /** A unit file that no encoder writes is false whatever it should have been: recomputing it proves that. */
  async #canonical(stepIndex: number, { files, faults }: StepUnits): Promise<Fault | undefined> {
    this.#checks += files.length;
    const unit = faults.findIndex((fault) => fault !== undefined);
    if (unit < 0) return undefined;
    const commitment = this.#options.source.list[stepIndex] as StepCommitment;
    if (!(await this.#atRoot(commitment.preStateRoot))) return this.#findFalseState();
    return this.#recompute(stepIndex, commitment, files, [{ stepIndex, unit }]);
  }

  async #recompute(
    stepIndex: number,
    commitment: StepCommitment,
    units: readonly Uint8Array[],
    wanted: readonly DrawnUnit[],
  ): Promise<Fault | undefined> {
    const { recipe } = this.#trainer.plan;
    const { draw1 } = this.#options.source.header;
    const offsets = drawBatch(draw1, commitment.step, recipe);
    const computing = wanted.map(async ({ unit }) => {
      const tokens = gatherSequences(this.#options.tokens, unitOffsets(offsets, unit, recipe), recipe.context);
      const places = this.#options.receipt?.places({ stepIndex, unit }) ?? [];
      return { unit, computed: await this.#trainer.computeUnit({ draw1, unit, tokens, places }) };
    });
    const results = await this.#timed('unit', Promise.all(computing));
    for (const { unit, computed } of results) {
      this.#units += 1;
      this.#checks += 2;
      this.#options.onProgress?.(this.#units, this.#options.drawn.length);
      const committed = units[unit] as Uint8Array;
      this.#options.receipt?.unit({ stepIndex, unit }, computed.observed);
      const sameBytes = equalBytes(committed, computed.file);
      if (sameBytes && computed.lossBits === commitment.unitLosses[unit]) continue;
      const kind = sameBytes ? 'loss' : 'unit';
      return {
        kind,
        stepIndex,
        unit,
        pre: await capture(this.#trainer),
        committed,
        computed: computed.file.slice(),
        computedLossBits: computed.lossBits,
        message: `${kind} ${unit} of step ${commitment.step} is not what its batch and state give`,
      };
    }
    return undefined;
  }

  /** The replay left the committed chain somewhere: goes through it again and compares every state root. */
  async #findFalseState(): Promise<Fault> {
    await this.#options.goBack();
    const { list } = this.#options.source;
    for (let stepIndex = 0; stepIndex < list.length; stepIndex += 1) {
      const commitment = list[stepIndex] as StepCommitment;
      const { files: units } = await this.#readUnits(commitment);
      const pre = await capture(this.#trainer);
      await this.#trainer.commit(units);
      if (await this.#atRoot(commitment.postStateRoot)) continue;
      const found = toHex(commitment.postStateRoot);
      const expected = toHex(await this.#trainer.stateRoot());
      const message = `state root after step ${commitment.step}: expected ${expected}, found ${found}`;
      return { kind: 'state-root', stepIndex, pre, units, message };
    }
    throw new PogoError('INTERNAL', 'a replay gave two different results: this machine is faulty; run pogo doctor');
  }

  /** The packed model and its diff. */
  async #results(): Promise<Fault | undefined> {
    const { header, blob } = this.#options.source;
    const model = await this.#trainer.packModel();
    this.#checks += 2;
    if (!equalBytes(hashBytes(model), header.modelRoot)) {
      return {
        kind: 'quantization',
        post: await capture(this.#trainer),
        committedModel: blob.call(this.#options.source, header.modelRoot, LENGTH_FACTOR * model.length),
        computedModel: model,
        message: 'the 4-bit model is not what the state gives',
      };
    }
    const { parentModel } = this.#options;
    const { kernels } = this.#trainer.pool;
    const expected = parentModel === undefined ? undefined : encodeDiff(parentModel, model, hashBytes, kernels);
    const diffRoot = expected === undefined ? ZERO_ROOT : hashBytes(expected);
    if (!equalBytes(diffRoot, header.diffRoot)) {
      const message = `diff root: expected ${toHex(diffRoot)}, found ${toHex(header.diffRoot)}`;
      return { kind: 'diff', parentModel, model, message };
    }
    this.#model = model;
    return undefined;
  }
}

/** A copy of a trainer's state. */
export interface Snapshot {
  readonly vectors: StateVectors;
  readonly scalars: StateScalars;
}

const NAMES = ['theta', 'm', 'v', 'ema'] as const;

/** Of a trainer whose vectors are in host memory: {@link Trainer.fetchState}. */
export function snapshot(trainer: Trainer): Snapshot {
  const [theta, m, v, ema] = NAMES.map((name) => trainer.state[name].slice()) as [
    Float32Array,
    Float32Array,
    Float32Array,
    Float32Array,
  ];
  return { vectors: { theta, m, v, ema }, scalars: trainer.scalars };
}

export async function restore(trainer: Trainer, saved: Snapshot): Promise<void> {
  for (const name of NAMES) trainer.memory[name].set(saved.vectors[name]);
  await trainer.reset(saved.scalars);
}

/** The current state as bytes. */
export async function capture(trainer: Trainer): Promise<CapturedState> {
  const header = await trainer.header();
  const state = await trainer.fetchState();
  const bytes = (name: (typeof NAMES)[number]): Uint8Array => {
    return vectorBytes(state[name]).slice();
  };
  return { header, theta: bytes('theta'), m: bytes('m'), v: bytes('v'), ema: bytes('ema') };
}
