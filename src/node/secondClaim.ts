/** Looking for equivocation: another signed claim of the same turn that its miner left among the published files. */
import * as path from 'node:path';
import { readWholeFile, realFiles } from '../files/fileLayer.js';
import { equalBytes } from '../hex.js';
import type { Bls } from '../protocol/bls.js';
import { verifyClaimSignature } from '../protocol/claim.js';
import { type ClaimHeader, decodeStrict, type SignedClaim, SignedClaimType } from '../protocol/types.js';

/** Signed claims that miners left beside the ledger; more are not read. */
const MAX_STRAY_CLAIMS = 64;

/** @param published folder that miners publish to */
export function findSecondClaim(bls: Bls, published: string, claim: SignedClaim): SignedClaim | undefined {
  const folder = path.join(published, 'claims');
  if (realFiles.status(folder)?.kind !== 'directory') return undefined;
  const own = SignedClaimType.hashTreeRoot(claim);
  for (const name of realFiles.list(folder).slice(0, MAX_STRAY_CLAIMS)) {
    const other = readClaim(path.join(folder, name));
    if (other === undefined || !isSameTurn(other.header, claim.header)) continue;
    if (equalBytes(SignedClaimType.hashTreeRoot(other), own)) continue;
    // Anybody can leave a file here: without the miner's signature it would cost the accuser its bond.
    if (verifyClaimSignature(bls, other)) return other;
  }
  return undefined;
}

function readClaim(file: string): SignedClaim | undefined {
  try {
    return decodeStrict(SignedClaimType, readWholeFile(realFiles, file, SignedClaimType.maxSize));
  } catch {
    // Not a claim: nothing that anybody could be accused with.
    return undefined;
  }
}

function isSameTurn(one: ClaimHeader, other: ClaimHeader): boolean {
  return (
    one.claimNumber === other.claimNumber &&
    one.attempt === other.attempt &&
    one.job === other.job &&
    equalBytes(one.miner, other.miner) &&
    equalBytes(one.chainId, other.chainId)
  );
}
