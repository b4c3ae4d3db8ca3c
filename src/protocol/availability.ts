/**
 * Availability challenges: whoever misses bytes of a claim names one piece of them, and the miner shows it or loses its
 * bond (docs/protocol.md §9). A piece is one step's commitment of the list, or one 16 KiB group of a blob.
 */
import { ContainerType, ListCompositeType, type ValueOf } from '@chainsafe/ssz';
import { PogoError } from '../errors.js';
import { equalBytes, toHex } from '../hex.js';
import { verifyGroupProof } from '../merkle/proof.js';
import { GROUP_BYTES } from '../merkle/shape.js';
import { openCommitment, ProvenCommitmentType } from './listProof.js';
import { byteList, Root, Uint8, Uint32, Uint64 } from './ssz.js';
import { type ClaimHeader, ZERO_ROOT } from './types.js';

/** Which of a claim's files. */
export const PIECE = { commitment: 0, unit: 1, model: 2, diff: 3 } as const;

/** 2^53 bytes are 2^39 groups: at most that many siblings. */
const MAX_GROUP_PATH_BYTES = 39 * 32;

/** Names a piece. `index` is the step of the claim (a commitment) or the group (everything else). */
export const PieceType = new ContainerType(
  { claimRoot: Root, kind: Uint8, root: Root, index: Uint64 },
  { typeName: 'Piece', jsonCase: 'eth2' },
);
export type Piece = ValueOf<typeof PieceType>;

/** What leads from the claim to a unit's root; empty for the other kinds. */
export const PieceProofType = new ContainerType(
  { step: new ListCompositeType(ProvenCommitmentType, 1), unit: Uint32 },
  { typeName: 'PieceProof', jsonCase: 'eth2' },
);
export type PieceProof = ValueOf<typeof PieceProofType>;

/**
 * The piece. A commitment answers with `step`; the rest is empty. A group with the file's length, its bytes and the path.
 * A piece that lies behind the file's end is answered by the last one there is, which shows where the end is.
 */
export const PieceAnswerType = new ContainerType(
  {
    piece: PieceType,
    step: new ListCompositeType(ProvenCommitmentType, 1),
    totalBytes: Uint64,
    bytes: byteList(GROUP_BYTES),
    path: byteList(MAX_GROUP_PATH_BYTES),
  },
  { typeName: 'PieceAnswer', jsonCase: 'eth2' },
);
export type PieceAnswer = ValueOf<typeof PieceAnswerType>;

export function samePiece(a: Piece, b: Piece): boolean {
  return equalBytes(PieceType.serialize(a), PieceType.serialize(b));
}

/** Checks that the claim commits to a piece's file. @throws PogoError MALFORMED */
export function verifyPiece(header: ClaimHeader, piece: Piece, proof: PieceProof): void {
  if (piece.kind === PIECE.unit) {
    const [step] = proof.step;
    const root =
      step === undefined ? undefined : openCommitment(header.listRoot, step).commitment.unitRoots[proof.unit];
    if (root !== undefined && equalBytes(root, piece.root)) return;
    throw new PogoError('MALFORMED', `expected a unit of the claim, found ${toHex(piece.root)}`);
  }
  const roots: Readonly<Record<number, Uint8Array>> = {
    [PIECE.commitment]: header.listRoot,
    [PIECE.model]: header.modelRoot,
    [PIECE.diff]: header.diffRoot,
  };
  const expected = roots[piece.kind];
  if (expected === undefined || equalBytes(expected, ZERO_ROOT) || !equalBytes(expected, piece.root)) {
    throw new PogoError('MALFORMED', `expected a file that the claim commits to, found ${toHex(piece.root)}`);
  }
  if (proof.step.length !== 0 || proof.unit !== 0) {
    throw new PogoError('MALFORMED', 'expected no proof for a file that the claim names itself, found one');
  }
}

/** Whether an answer shows its piece: every byte of it under the root that the claim's miner signed. */
export function answers({ piece, step, totalBytes, bytes, path }: PieceAnswer): boolean {
  if (piece.kind === PIECE.commitment) {
    const [proven] = step;
    if (proven === undefined || totalBytes !== 0 || bytes.length !== 0 || path.length !== 0) return false;
    try {
      const { steps } = openCommitment(piece.root, proven);
      return proven.index === Math.min(piece.index, steps - 1);
    } catch {
      // A branch to another root shows nothing.
      return false;
    }
  }
  if (step.length !== 0 || !Number.isSafeInteger(totalBytes)) return false;
  const last = Math.max(0, Math.ceil(totalBytes / GROUP_BYTES) - 1);
  try {
    return verifyGroupProof(piece.root, totalBytes, Math.min(piece.index, last), bytes, path);
  } catch {
    return false;
  }
}
