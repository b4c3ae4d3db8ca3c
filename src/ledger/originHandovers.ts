/**
 * A file of origin whose committees moved: a single file, and beside it what the committee before each change signed. Files
 * without a change stay as `origin.ts` writes them.
 */
import { BitArray, BitListType, ByteVectorType, ContainerType, ListCompositeType, type ValueOf } from '@chainsafe/ssz';
import { PogoError } from '../errors.js';
import { equalBytes, toHex } from '../hex.js';
import { compareBytes } from '../protocol/beacon.js';
import type { Bls } from '../protocol/bls.js';
import { handoverMessage } from '../protocol/handover.js';
import { byteList, decodeStrict, Root, Signature, Uint32 } from '../protocol/ssz.js';
import { type ClaimHeader, MAX_COMMITTEE } from '../protocol/types.js';
import { decodeOrigin, encodeOrigin, MAX_ORIGIN_BYTES, type OriginBody } from './origin.js';
import type { FinalizedVotes } from './originLog.js';
import { seatStake } from './stateCommittee.js';
import { type Seat, SeatsType } from './stateTypes.js';

/** First bytes of such a file. One without handovers begins with an offset, a chain of files with a tag of its own. */
const TAG = new TextEncoder().encode('ORH1');
/** As many as there may be claims. */
const MAX_HANDOVERS = 1 << 16;

/** `signers` has one bit for each seat of the committee before, in the order of their keys. */
export const OriginHandoverType = new ContainerType(
  { claim: Uint32, signers: new BitListType(MAX_COMMITTEE), signature: Signature },
  { typeName: 'OriginHandover', jsonCase: 'eth2' },
);
export type OriginHandover = ValueOf<typeof OriginHandoverType>;

const HandoversType = new ListCompositeType(OriginHandoverType, MAX_HANDOVERS);
const MovedOriginType = new ContainerType(
  {
    tag: new ByteVectorType(4),
    origin: byteList(MAX_ORIGIN_BYTES),
    /** Ascending by claim, at most one each. */
    handovers: HandoversType,
    handoversRoot: Root,
  },
  { typeName: 'MovedOrigin', jsonCase: 'eth2' },
);

/** A file of origin, taken apart. */
export interface OriginParts {
  readonly origin: OriginBody;
  readonly handovers: readonly OriginHandover[];
}

function malformed(message: string): PogoError {
  return new PogoError('MALFORMED', `origin: ${message}`);
}

/** @returns the bytes of the file */
export function encodeOriginFile({ origin, handovers }: OriginParts): Uint8Array {
  const file = encodeOrigin(origin);
  if (handovers.length === 0) return file;
  const list = [...handovers];
  return MovedOriginType.serialize({
    tag: TAG,
    origin: file,
    handovers: list,
    handoversRoot: HandoversType.hashTreeRoot(list),
  });
}

/** Decodes a file with or without handovers and checks its form: nothing in it is believed. @throws PogoError MALFORMED */
export function decodeOriginFile(file: Uint8Array): OriginParts {
  if (!TAG.every((byte, i) => file[i] === byte)) return { origin: decodeOrigin(file), handovers: [] };
  const { origin: inner, handovers, handoversRoot } = decodeStrict(MovedOriginType, file, MAX_ORIGIN_BYTES);
  const found = HandoversType.hashTreeRoot(handovers);
  if (!equalBytes(found, handoversRoot)) {
    throw malformed(`expected handovers with root ${toHex(found)}, found ${toHex(handoversRoot)}: get the file again`);
  }
  if (handovers.length === 0)
    throw malformed('expected a file without handovers to begin as one, found the tag of others');
  const origin = decodeOrigin(inner);
  handovers.forEach(({ claim }, i) => {
    const before = handovers[i - 1]?.claim ?? -1;
    if (claim > before && claim < origin.claims.length) return;
    throw malformed(`expected handovers to ascending claims below ${origin.claims.length}, found claim ${claim}`);
  });
  return { origin, handovers };
}

/** The handovers among finalized claims. */
export function buildHandovers(bls: Bls, claims: readonly FinalizedVotes[]): OriginHandover[] {
  return claims.flatMap(({ handover }, claim) => {
    if (handover === undefined) return [];
    const seats = [...handover.from].sort((a, b) => compareBytes(a.publicKey, b.publicKey));
    const signed = ({ publicKey }: Seat): boolean =>
      handover.vouchers.some(({ sender }) => equalBytes(sender, publicKey));
    return [
      {
        claim,
        signers: BitArray.fromBoolArray(seats.map(signed)),
        signature: bls.aggregate(handover.vouchers.map(({ voucher }) => voucher)),
      },
    ];
  });
}

/**
 * Checks that two thirds of a committee's stake signed for the committee of the next claim.
 *
 * @param listed seats of the committee before as the signers' bits count them
 * @param trusted what those seats weigh; a key that is not among them may not sign
 * @throws PogoError MALFORMED, MISMATCH, UNDECIDED
 */
export function checkHandover(
  bls: Bls,
  { claim, signers: bits, signature }: OriginHandover,
  { chainId, job, claimNumber, attempt }: Pick<ClaimHeader, 'chainId' | 'job' | 'claimNumber' | 'attempt'>,
  next: readonly Seat[],
  listed: readonly Seat[],
  trusted: readonly Seat[],
): void {
  if (bits.bitLen !== listed.length) {
    throw malformed(`handover to claim ${claim}: expected ${listed.length} bits of signers, found ${bits.bitLen}`);
  }
  const signers = listed.filter((_, i) => bits.get(i)).map(({ publicKey }) => publicKey);
  const counted = trusted.filter(({ publicKey }) => signers.some((key) => equalBytes(key, publicKey)));
  if (counted.length !== signers.length) {
    throw new PogoError(
      'MISMATCH',
      `origin: handover to claim ${claim}: expected signers of the committee before, found ${signers.length - counted.length} others`,
    );
  }
  const committeeRoot = SeatsType.hashTreeRoot([...next]);
  const message = handoverMessage({ chainId, job, claimNumber, attempt, committeeRoot });
  if (!bls.verifyAggregate(signers, message, signature)) {
    throw malformed(`handover to claim ${claim}: expected the aggregate of ${signers.length} seats, found another`);
  }
  const [vouched, all] = [seatStake(counted), seatStake(trusted)];
  if (3n * vouched >= 2n * all) return;
  throw new PogoError(
    'UNDECIDED',
    `origin: handover to claim ${claim}: expected 2/3 of the stake ${all} of the committee before, found ${vouched}`,
  );
}
