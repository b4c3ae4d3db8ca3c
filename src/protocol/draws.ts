/**
 * Every draw of the protocol, as pure functions of public bytes: the batches, the miner, a verifier's units and leaves,
 * the held-out sequences. All of them read a {@link RandomStream} by rejection, so all outcomes are equally likely.
 */
import { ContainerType } from '@chainsafe/ssz';
import { PogoError } from '../errors.js';
import type { Recipe } from '../model/recipe.js';
import { compareBytes } from './beacon.js';
import type { Bls, KeyPair } from './bls.js';
import { CONTEXT, DOMAIN, deriveHash, u64Bytes } from './domains.js';
import { permutation } from './permutation.js';
import { RandomStream } from './randomStream.js';
import { DomainTag, Root } from './ssz.js';
import { BatchOffsetsType } from './types.js';

/** Sequences on which the loss of the 4-bit model is compared: at least this many, afresh for each claim. */
export const HELD_OUT_SEQUENCES = 64;

/** Draw 1 of a claim: fixes every batch and every dither seed of its K steps. */
export function draw1(beacon1: Uint8Array, recipeRoot: Uint8Array, claimNumber: number): Uint8Array {
  return deriveHash(CONTEXT.draw1, beacon1, recipeRoot, u64Bytes(claimNumber));
}

/** The recipe fields that a batch depends on. */
export type BatchShape = Pick<Recipe, 'sequencesPerUnit' | 'unitsPerStep' | 'context' | 'sampling'> & {
  readonly data: Pick<Recipe['data'], 'tokens' | 'heldOutTokens'>;
};

/**
 * Offsets of one step's batch, in tokens: `unitsPerStep · sequencesPerUnit` of them, unit by unit. A sequence is
 * `tokens[o … o + context]`. By the recipe's sampling rule:
 *
 * - `uniform`: each independent and uniform over [0, tokens − heldOutTokens − context − 1];
 * - `epochs`: windows without replacement ({@link drawWindows}).
 *
 * @param step the step's number in the run, counted from 0
 */
export function drawBatch(draw: Uint8Array, step: number, recipe: BatchShape): number[] {
  if (recipe.sampling === 'epochs') return drawWindows(draw, step, recipe);
  const bound = recipe.data.tokens - recipe.data.heldOutTokens - recipe.context;
  if (bound < 1) {
    throw new PogoError('DATA', `expected more than ${recipe.context} training tokens, found too few for one sequence`);
  }
  const stream = new RandomStream(CONTEXT.batch, draw, u64Bytes(step));
  const offsets: number[] = [];
  for (let i = 0; i < recipe.unitsPerStep * recipe.sequencesPerUnit; i += 1) offsets.push(stream.below(bound));
  return offsets;
}

/**
 * The training part is cut into W windows of `context` tokens, one behind the other, behind a shift below `context`.
 * Sequence n of the run (steps and their sequences counted through) is place n mod W of epoch ⌊n / W⌋; draw 1 and the
 * epoch give the shift and the order. So inside a claim no window comes twice before all came once, and of the next
 * claim's windows nobody knows more than of its draw 1.
 */
function drawWindows(draw: Uint8Array, step: number, recipe: BatchShape): number[] {
  const { context } = recipe;
  const windows = Math.floor((recipe.data.tokens - recipe.data.heldOutTokens - context) / context);
  if (windows < 1) {
    throw new PogoError('DATA', `expected at least ${2 * context} training tokens for one window, found fewer`);
  }
  const count = recipe.unitsPerStep * recipe.sequencesPerUnit;
  const offsets: number[] = [];
  let epoch = -1;
  let shift = 0;
  let order = (place: number): number => place;
  for (let n = step * count; n < (step + 1) * count; n += 1) {
    if (Math.floor(n / windows) !== epoch) {
      epoch = Math.floor(n / windows);
      const stream = new RandomStream(CONTEXT.epoch, draw, u64Bytes(epoch));
      shift = stream.below(context);
      order = permutation(stream, windows);
    }
    offsets.push(shift + context * order(n % windows));
  }
  return offsets;
}

/** Offsets of unit `unit` inside a step's batch. */
export function unitOffsets(offsets: readonly number[], unit: number, recipe: BatchShape): number[] {
  return offsets.slice(unit * recipe.sequencesPerUnit, (unit + 1) * recipe.sequencesPerUnit);
}

/** hash_tree_root of the list of offsets. */
export function batchDigest(offsets: readonly number[]): Uint8Array {
  return BatchOffsetsType.hashTreeRoot([...offsets]);
}

export interface Staked {
  readonly publicKey: Uint8Array;
  /** Base units; candidates with 0 are never drawn. */
  readonly stake: bigint;
}

/**
 * The miner of a claim: a candidate drawn with probability proportional to its stake.
 *
 * @param beacon1 beacon 1 of the claim and attempt
 * @param candidates in any order; the draw sorts them by key
 * @returns the drawn candidate's key; undefined when nobody has stake
 */
export function drawMiner(beacon1: Uint8Array, candidates: readonly Staked[]): Uint8Array | undefined {
  const sorted = [...candidates].sort((a, b) => compareBytes(a.publicKey, b.publicKey));
  const total = sorted.reduce((sum, candidate) => sum + candidate.stake, 0n);
  if (total <= 0n) return undefined;
  let ticket = new RandomStream(CONTEXT.minerDraw, beacon1).belowBig(total);
  for (const candidate of sorted) {
    if (ticket < candidate.stake) return candidate.publicKey;
    ticket -= candidate.stake;
  }
  return undefined;
}

const DrawMessageType = new ContainerType({ domain: DomainTag, beacon2: Root, claimRoot: Root });

/** What a verifier signs to draw its units. */
export function drawMessageRoot(beacon2: Uint8Array, claimRoot: Uint8Array): Uint8Array {
  return DrawMessageType.hashTreeRoot({ domain: DOMAIN.unitDraw, beacon2, claimRoot });
}

/**
 * The verifier's draw signature: unique, so it cannot be ground; secret until opened, so nobody can foresee which units
 * this verifier will look at.
 */
export function signDraw(bls: Bls, keys: KeyPair, beacon2: Uint8Array, claimRoot: Uint8Array): Uint8Array {
  return bls.sign(keys.secret, drawMessageRoot(beacon2, claimRoot));
}

export function verifyDraw(
  bls: Bls,
  verifier: Uint8Array,
  beacon2: Uint8Array,
  claimRoot: Uint8Array,
  drawSignature: Uint8Array,
): boolean {
  return bls.verify(verifier, drawMessageRoot(beacon2, claimRoot), drawSignature);
}

/** A unit of a claim: `stepIndex` counts the claim's steps from 0. */
export interface DrawnUnit {
  readonly stepIndex: number;
  readonly unit: number;
}

/**
 * The units that a verifier must recompute, without replacement.
 *
 * @param seed the verifier's draw signature (or any secret bytes, for a check outside a ledger)
 * @param steps K of the claim
 * @param samples at most K · M; more are cut to all of them
 * @returns in the order of the log: by step, then unit
 */
export function drawUnits(seed: Uint8Array, steps: number, unitsPerStep: number, samples: number): DrawnUnit[] {
  const population = steps * unitsPerStep;
  const stream = new RandomStream(CONTEXT.unitDraw, seed);
  return stream
    .distinct(Math.min(samples, population), population)
    .sort((a, b) => a - b)
    .map((index) => ({ stepIndex: Math.floor(index / unitsPerStep), unit: index % unitsPerStep }));
}

/** A leaf of the state vectors at one step of the claim. */
export interface DrawnLeaf {
  readonly stepIndex: number;
  /** Index of the 1 KiB leaf. */
  readonly leaf: number;
}

/** Leaves for a light check, without replacement; `leaves` is the number of leaves of a vector. */
export function drawLeaves(seed: Uint8Array, steps: number, leaves: number, samples: number): DrawnLeaf[] {
  const population = steps * leaves;
  const stream = new RandomStream(CONTEXT.leafDraw, seed);
  return stream
    .distinct(Math.min(samples, population), population)
    .sort((a, b) => a - b)
    .map((index) => ({ stepIndex: Math.floor(index / leaves), leaf: index % leaves }));
}

/**
 * Offsets of the held-out sequences of a claim, without replacement, in the order drawn.
 *
 * Uniform over all sequences that lie wholly in the last `heldOutTokens` tokens. Where the held-out part has fewer
 * positions than `count`, all of them are taken.
 */
export function drawHeldOut(
  beacon2: Uint8Array,
  claimRoot: Uint8Array,
  recipe: BatchShape,
  count: number = HELD_OUT_SEQUENCES,
): number[] {
  const first = recipe.data.tokens - recipe.data.heldOutTokens;
  const positions = recipe.data.heldOutTokens - recipe.context;
  if (positions < 1) {
    throw new PogoError('DATA', `expected more than ${recipe.context} held-out tokens, found too few for one sequence`);
  }
  const stream = new RandomStream(CONTEXT.heldOut, beacon2, claimRoot);
  return stream.distinct(Math.min(count, positions), positions).map((position) => first + position);
}
