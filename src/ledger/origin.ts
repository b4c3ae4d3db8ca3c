/**
 * The file of a checkpoint's origin: every finalized claim from the start state to the checkpoint, each with the votes
 * that finalized it (docs/protocol.md §12). It is one SSZ object with its hash_tree_root behind it, so a byte that was
 * damaged on the way is refused; what it says is checked by `originCheck.ts`.
 */
import { BitArray, BitListType, ContainerType, ListCompositeType, type ValueOf } from '@chainsafe/ssz';
import { PogoError } from '../errors.js';
import { equalBytes, toHex } from '../hex.js';
import { compareBytes } from '../protocol/beacon.js';
import type { Bls } from '../protocol/bls.js';
import { ProvenCommitmentType } from '../protocol/listProof.js';
import { byteList, decodeStrict, Float32Bits, Root, Signature, Uint32 } from '../protocol/ssz.js';
import { MAX_COMMITTEE, SignedClaimType, StateHeaderType } from '../protocol/types.js';
import type { FinalizedVotes } from './originLog.js';
import { type Seat, SeatsType } from './stateTypes.js';

export const ORIGIN_VERSION = 1;
/** Largest file that is looked at: 2^16 claims of one committee take 43 MB. */
export const MAX_ORIGIN_BYTES = 1 << 28;
const MAX_ORIGIN_CLAIMS = 1 << 16;
const MAX_RECIPE_BYTES = (1 << 22) + 4096;

/**
 * A finalized claim. `committee` is an index into the file's committees, `signers` has one bit for each of its seats;
 * `signature` is the aggregate of their equal positive votes, whose other fields stand here.
 */
export const OriginClaimType = new ContainerType(
  {
    claim: SignedClaimType,
    /** Gives the claim's draw 1, and draws the next claim's committee. */
    beacon1: Root,
    committee: Uint32,
    beacon2: Root,
    heldOutBeforeBits: Float32Bits,
    heldOutAfterBits: Float32Bits,
    signers: new BitListType(MAX_COMMITTEE),
    signature: Signature,
  },
  { typeName: 'OriginClaim', jsonCase: 'eth2' },
);
export type OriginClaim = ValueOf<typeof OriginClaimType>;

export const OriginType = new ContainerType(
  {
    version: Uint32,
    chainId: Root,
    /** SSZ of the recipe; its root is in every claim. */
    recipe: byteList(MAX_RECIPE_BYTES),
    /** Header of the checkpoint's state; none where the checkpoint is the last claim's packed 4-bit model. */
    state: new ListCompositeType(StateHeaderType, 1),
    /** Where the state is none of the ends of claims: the step of the last claim that ends in it. */
    step: new ListCompositeType(ProvenCommitmentType, 1),
    /** In the order of their first use, each once. */
    committees: new ListCompositeType(SeatsType, MAX_ORIGIN_CLAIMS),
    /** From claim 0 on, in order. */
    claims: new ListCompositeType(OriginClaimType, MAX_ORIGIN_CLAIMS),
  },
  { typeName: 'Origin', jsonCase: 'eth2' },
);
export type OriginBody = ValueOf<typeof OriginType>;

/** What the file holds. */
const OriginFileType = new ContainerType(
  { origin: OriginType, originRoot: Root },
  { typeName: 'OriginFile', jsonCase: 'eth2' },
);

/** @returns the bytes of the file */
export function encodeOrigin(origin: OriginBody): Uint8Array {
  return OriginFileType.serialize({ origin, originRoot: OriginType.hashTreeRoot(origin) });
}

/** Decodes a file and checks its form: nothing in it is believed. @throws PogoError MALFORMED */
export function decodeOrigin(file: Uint8Array): OriginBody {
  const { origin, originRoot } = decodeStrict(OriginFileType, file, MAX_ORIGIN_BYTES);
  const found = OriginType.hashTreeRoot(origin);
  if (!equalBytes(found, originRoot)) {
    throw new PogoError(
      'MALFORMED',
      `origin: expected contents with root ${toHex(originRoot)}, found ${toHex(found)}: the file was changed; get it again`,
    );
  }
  if (origin.version !== ORIGIN_VERSION) {
    throw new PogoError('MALFORMED', `origin: expected version ${ORIGIN_VERSION}, found ${origin.version}`);
  }
  return origin;
}

/** What a file of origin is made of, beside the claims and their votes. */
export type OriginSubject = Pick<OriginBody, 'chainId' | 'recipe' | 'state' | 'step'>;

/**
 * Builds the file's contents from finalized claims.
 *
 * @param claims from claim 0 to the last one that the checkpoint needs
 */
export function buildOrigin(bls: Bls, subject: OriginSubject, claims: readonly FinalizedVotes[]): OriginBody {
  const committees: Seat[][] = [];
  const places = new Map<string, number>();
  const links = claims.map(({ claim, beacon1, committee, votes }): OriginClaim => {
    const seats = [...committee].sort((a, b) => compareBytes(a.publicKey, b.publicKey));
    const key = toHex(SeatsType.hashTreeRoot(seats));
    const place = places.get(key) ?? committees.push(seats) - 1;
    places.set(key, place);
    const signed = (seat: Seat): boolean => votes.some(({ verifier }) => equalBytes(verifier, seat.publicKey));
    const { beacon2, heldOutBeforeBits, heldOutAfterBits } = votes[0]!.data;
    return {
      claim,
      beacon1,
      committee: place,
      beacon2,
      heldOutBeforeBits,
      heldOutAfterBits,
      signers: BitArray.fromBoolArray(seats.map(signed)),
      signature: bls.aggregate(votes.map(({ signature }) => signature)),
    };
  });
  return { version: ORIGIN_VERSION, ...subject, committees, claims: links };
}
