/** The chain of claims in a bundle: signatures, beacons, numbers and roots that must follow from each other. */
import { PogoError } from '../errors.js';
import { equalBytes } from '../hex.js';
import { combineBeacon, compareBytes, genesisBeacon } from '../protocol/beacon.js';
import type { Bls } from '../protocol/bls.js';
import type { Bundle, BundleClaim } from '../protocol/bundleType.js';
import { type ClaimAssignment, verifyClaim } from '../protocol/claim.js';
import { draw1 } from '../protocol/draws.js';
import {
  BEACON_KIND,
  claimRoot,
  type SignedClaim,
  type StepCommitmentList,
  StepCommitmentListType,
  ZERO_ROOT,
} from '../protocol/types.js';

/** A claim whose header holds: what is left to check is its work. */
export interface ChainedClaim {
  readonly signedClaim: SignedClaim;
  readonly steps: StepCommitmentList;
  readonly assignment: ClaimAssignment;
  /** Whether a claim, here or before the bundle, came before it: then it has a diff. */
  readonly hasParent: boolean;
}

/**
 * Checks everything of a bundle's claims that needs no arithmetic of the model.
 *
 * @returns the claims in order, at least one
 * @throws PogoError MALFORMED for no claims, a wrong signature, beacon or list; MISMATCH for a field that does not
 *   follow from the claims before
 */
export function checkBundleChain(bls: Bls, bundle: Bundle, recipeRoot: Uint8Array): ChainedClaim[] {
  if (bundle.claims.length === 0) throw new PogoError('MALFORMED', 'bundle: expected at least one claim, found none');
  const chain: ChainedClaim[] = [];
  let parentBeacon: Uint8Array | undefined;
  for (const claim of bundle.claims) {
    const { header } = claim.signedClaim;
    const previous = chain.at(-1)?.signedClaim.header;
    const beacon = beaconOfClaim(bls, bundle, claim, parentBeacon);
    const assignment: ClaimAssignment = {
      chainId: bundle.chainId,
      job: previous?.job ?? header.job,
      claimNumber: previous === undefined ? header.claimNumber : previous.claimNumber + 1,
      attempt: header.attempt,
      parentClaimRoot: previous === undefined ? firstParent(claim) : claimRoot(previous),
      recipeRoot,
      miner: header.miner,
      fromRoot: previous?.toRoot ?? header.fromRoot,
      draw1: draw1(beacon, recipeRoot, header.claimNumber),
      bond: header.bond,
    };
    verifyClaim(bls, claim.signedClaim, assignment);
    if (!equalBytes(StepCommitmentListType.hashTreeRoot(claim.steps), header.listRoot)) {
      throw new PogoError('MALFORMED', `claim ${header.claimNumber}: expected the list of steps that it signs`);
    }
    const hasParent = !equalBytes(assignment.parentClaimRoot, ZERO_ROOT);
    chain.push({ signedClaim: claim.signedClaim, steps: claim.steps, assignment, hasParent });
    parentBeacon = beacon;
  }
  return chain;
}

/** A chain's first claim has no parent; any other claim names one, which then is outside the bundle. */
function firstParent({ signedClaim: { header } }: BundleClaim): Uint8Array {
  const isFirst = header.claimNumber === 0;
  if (isFirst === equalBytes(header.parentClaimRoot, ZERO_ROOT)) return header.parentClaimRoot;
  throw new PogoError(
    'MALFORMED',
    `claim ${header.claimNumber}: expected ${isFirst ? 'no' : 'a'} parent claim, found ${isFirst ? 'one' : 'none'}`,
  );
}

/**
 * Beacon 1 of a claim from its shares. Who the committee was is the ledger's knowledge: here every share must be valid,
 * in key order, and of one member each.
 */
function beaconOfClaim(
  bls: Bls,
  { chainId }: Bundle,
  { signedClaim: { header }, beaconShares }: BundleClaim,
  parent: Uint8Array | undefined,
): Uint8Array {
  const named = `claim ${header.claimNumber}`;
  const [first] = beaconShares;
  if (first === undefined) throw new PogoError('MALFORMED', `${named}: expected shares of its beacon, found none`);
  beaconShares.forEach((share, i) => {
    if (i > 0 && compareBytes(beaconShares[i - 1]!.member, share.member) >= 0) {
      throw new PogoError('MALFORMED', `${named}: expected beacon shares in ascending order of keys, each once`);
    }
  });
  const parentBeacon =
    parent ?? (header.claimNumber === 0 && header.attempt === 0 ? genesisBeacon(chainId) : first.message.parentBeacon);
  const id = {
    chainId,
    claimNumber: header.claimNumber,
    attempt: header.attempt,
    kind: BEACON_KIND.one,
    parentBeacon,
  };
  return combineBeacon(
    bls,
    id,
    beaconShares.map((share) => share.member),
    beaconShares,
  );
}
