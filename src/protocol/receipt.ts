/**
 * Receipts: what only somebody who redid the assigned work can produce (docs/protocol.md §7).
 *
 * A receipt is a list of 32-byte parts: one for each drawn unit, a hash of values that exist only while the unit is
 * computed; then one for a drawn state and one for the last state, hashes of all chaining values over θ, m and v. Every
 * part is keyed by the verifier's draw signature, which is unique (nothing to choose), secret until it is opened
 * (nothing to foresee), and opened with the receipt (then everybody can compute the same parts: a check is an equality).
 *
 * The verifier signs a commitment before the votes are over and opens it after them, so no part can be copied.
 */
import { ContainerType, ListCompositeType, type ValueOf } from '@chainsafe/ssz';
import { PogoError } from '../errors.js';
import { equalBytes, toHex } from '../hex.js';
import { portableKernels } from '../merkle/portable.js';
import { CV_BYTES, nodeCount, treeBytes } from '../merkle/shape.js';
import type { Layout } from '../model/layout.js';
import type { Recipe } from '../model/recipe.js';
import {
  backwardPlaces,
  forwardPlaces,
  gradientPlaces,
  type PlaceRange,
  type PlaceRecipe,
  type UnitPlace,
} from '../model/unitPlaces.js';
import type { Bls, KeyPair } from './bls.js';
import { samplesForDetection } from './detection.js';
import { CONTEXT, DOMAIN, deriveHash, u64Bytes } from './domains.js';
import { type DrawnUnit, drawUnits, verifyDraw } from './draws.js';
import { RandomStream } from './randomStream.js';
import { DomainTag, PublicKey, Root, Signature, Uint32 } from './ssz.js';

/** Largest number of parts of a receipt: more units are never drawn for one verifier. */
export const MAX_RECEIPT_PARTS = 1 << 16;

export const ReceiptPartsType = new ListCompositeType(Root, MAX_RECEIPT_PARTS, { typeName: 'ReceiptParts' });

/**
 * What a verifier signs before the votes are over. `committee` is the number of seats, on which the number of drawn
 * units depends; `commitment` binds draw signature and receipt.
 */
export const ReceiptMessageType = new ContainerType(
  { domain: DomainTag, chainId: Root, claimRoot: Root, beacon2: Root, committee: Uint32, commitment: Root },
  { typeName: 'ReceiptMessage', jsonCase: 'eth2' },
);
export type ReceiptMessage = ValueOf<typeof ReceiptMessageType>;

export const SignedReceiptType = new ContainerType(
  { message: ReceiptMessageType, verifier: PublicKey, signature: Signature },
  { typeName: 'SignedReceipt', jsonCase: 'eth2' },
);
export type SignedReceipt = ValueOf<typeof SignedReceiptType>;

/** What opens a commitment. */
export const ReceiptOpeningType = new ContainerType(
  { drawSignature: Signature, parts: ReceiptPartsType },
  { typeName: 'ReceiptOpening', jsonCase: 'eth2' },
);
export type ReceiptOpening = ValueOf<typeof ReceiptOpeningType>;

export function receiptCommitment({ drawSignature, parts }: ReceiptOpening): Uint8Array {
  return deriveHash(CONTEXT.receiptCommitment, drawSignature, ReceiptPartsType.hashTreeRoot(parts));
}

/** What a receipt is about. */
export interface ReceiptSubject {
  readonly chainId: Uint8Array;
  readonly claimRoot: Uint8Array;
  readonly beacon2: Uint8Array;
  /** Seats of the claim's committee. */
  readonly committee: number;
}

export function signReceipt(bls: Bls, keys: KeyPair, subject: ReceiptSubject, opening: ReceiptOpening): SignedReceipt {
  const { chainId, claimRoot, beacon2, committee } = subject;
  const commitment = receiptCommitment(opening);
  const message = { domain: DOMAIN.receipt, chainId, claimRoot, beacon2, committee, commitment };
  const signature = bls.sign(keys.secret, ReceiptMessageType.hashTreeRoot(message));
  return { message, verifier: keys.publicKey, signature };
}

/** @throws PogoError MALFORMED, MISMATCH: which field, what was expected, what was found */
export function verifySignedReceipt(bls: Bls, receipt: SignedReceipt, subject: ReceiptSubject): void {
  const { message, verifier, signature } = receipt;
  const fields = [
    ['domain', message.domain, DOMAIN.receipt],
    ['chain', message.chainId, subject.chainId],
    ['claim', message.claimRoot, subject.claimRoot],
    ['beacon 2', message.beacon2, subject.beacon2],
  ] as const;
  for (const [name, found, expected] of fields) {
    if (equalBytes(found, expected)) continue;
    throw new PogoError('MISMATCH', `receipt: expected ${name} ${toHex(expected)}, found ${toHex(found)}`);
  }
  if (message.committee !== subject.committee) {
    throw new PogoError('MISMATCH', `receipt: expected ${subject.committee} seats, found ${message.committee}`);
  }
  if (!bls.verify(verifier, ReceiptMessageType.hashTreeRoot(message), signature)) {
    throw new PogoError('MALFORMED', 'receipt: expected the verifier’s signature over its commitment, found another');
  }
}

/** Checks that an opening is the one that was committed to. @throws PogoError MALFORMED */
export function verifyReceiptOpening(
  bls: Bls,
  {
    message,
    verifier,
  }: {
    readonly message: Pick<ReceiptMessage, 'beacon2' | 'claimRoot' | 'commitment'>;
    readonly verifier: Uint8Array;
  },
  opening: ReceiptOpening,
): void {
  if (!equalBytes(receiptCommitment(opening), message.commitment)) {
    throw new PogoError('MALFORMED', 'receipt: expected the opening that was committed to, found another');
  }
  if (!verifyDraw(bls, verifier, message.beacon2, message.claimRoot, opening.drawSignature)) {
    throw new PogoError('MALFORMED', 'receipt: expected the verifier’s draw signature, found another');
  }
}

/** What a draw signature obliges its verifier to. */
export interface ReceiptDuty {
  readonly units: readonly DrawnUnit[];
  /** Index of the step before which the drawn state stands. */
  readonly stateStep: number;
  /** Parts of the receipt: a unit each, the drawn state, the last state. */
  readonly parts: number;
}

/**
 * The work that a receipt stands for.
 *
 * @param steps K of the claim
 * @param committee seats of the claim's committee
 */
export function receiptDuty(
  drawSignature: Uint8Array,
  recipe: Pick<Recipe, 'unitsPerStep' | 'detection'>,
  steps: number,
  committee: number,
): ReceiptDuty {
  const { fractionPpm, targetPpm } = recipe.detection;
  const samples = samplesForDetection(steps * recipe.unitsPerStep, fractionPpm, targetPpm, committee);
  const units = drawUnits(drawSignature, steps, recipe.unitsPerStep, samples);
  return { units, stateStep: drawStateStep(drawSignature, units), parts: units.length + 2 };
}

/**
 * A state that is hashed anyway, since a drawn unit's step starts from it; never the claim's first one, which everybody
 * has, unless no other was drawn.
 */
function drawStateStep(drawSignature: Uint8Array, units: readonly DrawnUnit[]): number {
  const later = [...new Set(units.map((unit) => unit.stepIndex))].filter((step) => step > 0);
  return later.length === 0
    ? 0
    : (later[new RandomStream(CONTEXT.receiptStateDraw, drawSignature).below(later.length)] ?? 0);
}

/**
 * Where a receipt looks inside a drawn unit: a row of a forward activation and of a backward error at a drawn layer, a
 * leaf of the deepest weight's fp32 gradient (it sums over every token of the unit, after all layers forward and back),
 * and a leaf of a drawn tensor's.
 */
export function unitReceiptPlaces(
  drawSignature: Uint8Array,
  { stepIndex, unit }: DrawnUnit,
  recipe: PlaceRecipe,
  layout: Layout,
): UnitPlace[] {
  const stream = new RandomStream(CONTEXT.receiptPlaces, drawSignature, u64Bytes(stepIndex), u64Bytes(unit));
  const gradients = gradientPlaces(layout);
  const deepest =
    recipe.adapter === undefined
      ? gradients.filter(({ name }) => name === 'h0.qkv.weight.gradient')
      : gradients.slice(0, 1);
  return [forwardPlaces(recipe), backwardPlaces(recipe), deepest, gradients].map((ranges) => {
    const { rows, ...range } = ranges[stream.below(ranges.length)] as PlaceRange;
    return { ...range, row: stream.below(rows) };
  });
}

/** @param observed the values at {@link unitReceiptPlaces}; empty for a null unit */
export function unitReceiptPart(drawSignature: Uint8Array, drawn: DrawnUnit, observed: Uint8Array): Uint8Array {
  const { stepIndex, unit } = drawn;
  return deriveHash(CONTEXT.receiptUnit, drawSignature, u64Bytes(stepIndex), u64Bytes(unit), observed);
}

/** The chaining values of a vector's leaves, in order: 32 bytes each. */
export type StateChainingValues = Readonly<Record<'theta' | 'm' | 'v', Uint8Array>>;

/**
 * Every leaf's chaining value goes in, so a part of the state is not enough; they are by-products of the state root.
 *
 * @param stepsDone steps of the claim that the state has behind it: the drawn step's index, or K
 */
export function stateReceiptPart(
  drawSignature: Uint8Array,
  stepsDone: number,
  values: StateChainingValues,
): Uint8Array {
  const { theta, m, v } = values;
  return deriveHash(CONTEXT.receiptState, drawSignature, u64Bytes(stepsDone), theta, m, v);
}

/** The leaves' chaining values of a kept tree (`treeBytes`): its first level. */
export function leafChainingValues(tree: Uint8Array, totalBytes: number): Uint8Array {
  return tree.subarray(0, nodeCount(totalBytes) * CV_BYTES);
}

/** {@link leafChainingValues} of bytes at hand, in TypeScript. */
export function chainingValuesOf(bytes: Uint8Array): Uint8Array {
  const nodes = nodeCount(bytes.length);
  const tree = new Uint8Array(treeBytes(bytes.length));
  portableKernels.hashRange(bytes, tree, nodes, 0, 0, 0);
  return leafChainingValues(tree, bytes.length);
}

/** A receipt as the ledger knows it once it is opened. */
export interface OpenedReceipt {
  readonly verifier: Uint8Array;
  readonly drawSignature: Uint8Array;
}

/** A foreign receipt that a verifier looks at again, and which part of it. */
export interface Recheck {
  readonly verifier: Uint8Array;
  /** Reduced modulo the receipt's parts. */
  readonly ticket: number;
}

/**
 * Who rechecks whom: the verifiers stand in a circle that all their draw signatures shuffle, and each looks at the next
 * one's receipt; so every receipt is looked at once, and nobody knew by whom before the last one was opened.
 *
 * @returns undefined for who has opened none, and where there is no other
 */
export function drawRecheck(
  claimRoot: Uint8Array,
  receipts: readonly OpenedReceipt[],
  verifier: Uint8Array,
): Recheck | undefined {
  const sorted = [...receipts].sort((a, b) => (toHex(a.verifier) < toHex(b.verifier) ? -1 : 1));
  if (sorted.length < 2) return undefined;
  const stream = new RandomStream(CONTEXT.recheck, claimRoot, ...sorted.map((receipt) => receipt.drawSignature));
  const circle: { readonly receipt: OpenedReceipt; readonly ticket: number }[] = [];
  while (sorted.length > 0) {
    const [receipt] = sorted.splice(stream.below(sorted.length), 1);
    circle.push({ receipt: receipt as OpenedReceipt, ticket: stream.below(2 ** 32) });
  }
  const at = circle.findIndex(({ receipt }) => equalBytes(receipt.verifier, verifier));
  if (at < 0) return undefined;
  const next = circle[(at + 1) % circle.length] as (typeof circle)[number];
  return { verifier: next.receipt.verifier, ticket: next.ticket };
}
