/**
 * Every domain of a signature and every derive_key context of the protocol, in one table.
 *
 * Two messages of different kinds can never share bytes: signed SSZ objects carry a four-byte domain as their first
 * field, hashed strings use BLAKE3's key derivation mode with a context of their own. A new kind gets a new line here;
 * a changed meaning gets a new version suffix. (The model's own contexts, for dither and initial weights, are in
 * `src/model/seeds.ts`.)
 */
import { blake3 } from '@noble/hashes/blake3.js';

const encoder = new TextEncoder();

function tag(text: string): Uint8Array {
  return encoder.encode(text);
}

/** Domains of signed objects: four ASCII bytes each. */
export const DOMAIN = {
  /** ClaimHeader */
  claim: tag('CLM1'),
  /** AttestationData */
  attestation: tag('ATT1'),
  /** BeaconMessage */
  beacon: tag('BCN1'),
  /** DrawMessage: a verifier's signature over (beacon 2 ‖ claim root) */
  unitDraw: tag('UDR1'),
  /** PossessionMessage: proof of possession of a key */
  possession: tag('POP1'),
  /** TraceStatement: the roots of every operation of a disputed computation */
  trace: tag('TRC1'),
  /** AccountMessage: a transaction signed by an account */
  account: tag('ACC1'),
  /** ReceiptMessage: a verifier's commitment to its receipt */
  receipt: tag('RCP1'),
  /** HandoverMessage: a seat of a claim's committee names the committee of the next claim */
  handover: tag('HND1'),
} as const;

/** Contexts of BLAKE3 derive_key. */
export const CONTEXT = {
  /** shares ‖ message root → beacon */
  beacon: 'pogo/beacon/1',
  /** beacon 1 ‖ recipe root ‖ claim number → draw 1 */
  draw1: 'pogo/draw-1/1',
  /** draw 1 ‖ step → stream of batch offsets */
  batch: 'pogo/batch/1',
  /** draw 1 ‖ epoch → shift and order of an epoch's windows */
  epoch: 'pogo/epoch/1',
  /** beacon 1 → stream that draws the miner */
  minerDraw: 'pogo/miner-draw/1',
  /** draw signature → stream of (step, unit) */
  unitDraw: 'pogo/unit-draw/1',
  /** beacon 2 ‖ claim root → stream of held-out sequences */
  heldOut: 'pogo/held-out/1',
  /** draw signature → stream of leaves */
  leafDraw: 'pogo/leaf-draw/1',
  /** beacon → the committee's order */
  committee: 'pogo/committee/1',
  /** evidence root ‖ finder ‖ salt → a finder's commitment */
  evidenceCommitment: 'pogo/evidence-commitment/1',
  /** draw signature ‖ root of the parts → commitment to a receipt */
  receiptCommitment: 'pogo/receipt-commitment/1',
  /** draw signature ‖ step ‖ unit → stream of places inside a unit's computation */
  receiptPlaces: 'pogo/receipt-places/1',
  /** draw signature ‖ step ‖ unit ‖ values at the places → part of a receipt */
  receiptUnit: 'pogo/receipt-unit/1',
  /** draw signature → stream that draws a state */
  receiptStateDraw: 'pogo/receipt-state-draw/1',
  /** draw signature ‖ steps ‖ chaining values of θ, m, v → part of a receipt */
  receiptState: 'pogo/receipt-state/1',
  /** claim root ‖ all draw signatures → who rechecks whose receipt */
  recheck: 'pogo/recheck/1',
  /** last history root ‖ finalized claim → history root of the ledger */
  history: 'pogo/history/1',
  /** parent beacon ‖ repetition → parent of a beacon 2 that is drawn again without its missing members */
  beaconRepeat: 'pogo/beacon-repeat/1',
  /** previous beacon, when nothing came before: chain id → parent of claim 0's beacon */
  genesisBeacon: 'pogo/genesis-beacon/1',
  /** chain id ‖ number of an owner's job → parent of its claim 0's beacon */
  jobBeacon: 'pogo/job-beacon/1',
  /** seed of a run → salt of its genesis */
  genesisSalt: 'pogo/genesis-salt/1',
} as const;

/**
 * BLAKE3 in key derivation mode over the concatenation of `parts`.
 *
 * Every caller's parts have fixed lengths (or one part of variable length, last), so concatenation is injective.
 * @returns 32 bytes
 */
export function deriveHash(context: string, ...parts: readonly Uint8Array[]): Uint8Array {
  const hash = blake3.create({ context: encoder.encode(context) });
  for (const part of parts) hash.update(part);
  return hash.digest();
}

/** A non-negative safe integer as 8 little-endian bytes. */
export function u64Bytes(value: number): Uint8Array {
  const bytes = new Uint8Array(8);
  new DataView(bytes.buffer).setBigUint64(0, BigInt(value), true);
  return bytes;
}
