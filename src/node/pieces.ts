/** Asking for bytes that a claim's check missed, and showing them. */
import { merkleKernels } from '../backend/merkleAddon.js';
import { equalBytes, fromHex } from '../hex.js';
import { GROUP_BYTES } from '../merkle/shape.js';
import { buildTree } from '../merkle/tree.js';
import { PIECE, type Piece, type PieceAnswer, type PieceProof } from '../protocol/availability.js';
import { proveCommitment } from '../protocol/listProof.js';
import { type ClaimHeader, claimRoot as claimRootOf, type StepCommitmentList } from '../protocol/types.js';
import type { Published } from './published.js';

/** Largest file that a piece is shown of, bytes. */
const MAX_FILE_BYTES = 2 ** 40;
const NO_PROOF: PieceProof = { step: [], unit: 0 };

/**
 * The piece to ask for where a file of a claim is missing; undefined where the claim does not name that file.
 *
 * @param missing root of the file, in hex
 */
export function pieceToAsk(
  published: Published,
  header: ClaimHeader,
  missing: string,
): { readonly piece: Piece; readonly proof: PieceProof } | undefined {
  const root = fromHex(missing, 32);
  const claimRoot = claimRootOf(header);
  const named = [
    [PIECE.commitment, header.listRoot],
    [PIECE.model, header.modelRoot],
    [PIECE.diff, header.diffRoot],
  ] as const;
  for (const [kind, of] of named) {
    if (equalBytes(of, root)) return { piece: { claimRoot, kind, root, index: 0 }, proof: NO_PROOF };
  }
  const list = published.list(header.listRoot);
  for (const [index, { unitRoots }] of list.entries()) {
    const unit = unitRoots.findIndex((of) => equalBytes(of, root));
    if (unit < 0) continue;
    return {
      piece: { claimRoot, kind: PIECE.unit, root, index: 0 },
      proof: { step: [proveCommitment(list, index)], unit },
    };
  }
  return undefined;
}

/** @throws PogoError MISSING where the published files do not hold it */
export function showPiece(published: Published, header: ClaimHeader, piece: Piece): PieceAnswer {
  const nothing = new Uint8Array(0);
  if (piece.kind === PIECE.commitment) {
    const list: StepCommitmentList = published.list(header.listRoot);
    const step = [proveCommitment(list, Math.min(piece.index, list.length - 1))];
    return { piece, step, totalBytes: 0, bytes: nothing, path: nothing };
  }
  const file = published.blobs.get(piece.root, { maxBytes: MAX_FILE_BYTES });
  const group = Math.min(piece.index, Math.max(0, Math.ceil(file.length / GROUP_BYTES) - 1));
  const bytes = file.slice(group * GROUP_BYTES, (group + 1) * GROUP_BYTES);
  const path = buildTree(merkleKernels(), file).proveGroup(group);
  return { piece, step: [], totalBytes: file.length, bytes, path };
}
