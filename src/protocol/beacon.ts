/**
 * Beacons: public randomness out of the BLS signatures of every member of a committee (docs/protocol.md §3).
 *
 * A BLS signature is unique, so a member has no choice but to sign or to stay silent; the beacon is the hash of *all*
 * members' shares, so nobody who lacks one of them can know it. The message names chain, claim number, attempt, kind
 * and the parent beacon, and nothing else: neither height nor time can move a root.
 */
import { PogoError } from '../errors.js';
import { equalBytes, toHex } from '../hex.js';
import type { Bls, KeyPair } from './bls.js';
import { CONTEXT, DOMAIN, deriveHash, u64Bytes } from './domains.js';
import { type BeaconKind, type BeaconMessage, BeaconMessageType, type BeaconShare } from './types.js';

/** What names a beacon, without the domain. */
export interface BeaconId {
  readonly chainId: Uint8Array;
  readonly claimNumber: number;
  readonly attempt: number;
  readonly kind: BeaconKind;
  /** Kind 1: the chain's last beacon; kind 2: beacon 1 of the same claim and attempt. */
  readonly parentBeacon: Uint8Array;
}

/** The parent of a chain's first beacon. */
export function genesisBeacon(chainId: Uint8Array): Uint8Array {
  return deriveHash(CONTEXT.genesisBeacon, chainId);
}

/** The parent of a job's first beacon: the chain's for the genesis job, one of its own for an owner's. */
export function firstBeacon(chainId: Uint8Array, job: number): Uint8Array {
  return job === 0 ? genesisBeacon(chainId) : deriveHash(CONTEXT.jobBeacon, chainId, u64Bytes(job));
}

export function beaconMessage(id: BeaconId): BeaconMessage {
  return {
    domain: DOMAIN.beacon,
    chainId: id.chainId,
    claimNumber: id.claimNumber,
    attempt: id.attempt,
    kind: id.kind,
    parentBeacon: id.parentBeacon,
  };
}

/** A member's share of a beacon. */
export function createBeaconShare(bls: Bls, keys: KeyPair, id: BeaconId): BeaconShare {
  const message = beaconMessage(id);
  const signature = bls.sign(keys.secret, BeaconMessageType.hashTreeRoot(message));
  return { message, member: keys.publicKey, signature };
}

/** Whether a share is the member's signature over exactly this beacon's message. */
export function verifyBeaconShare(bls: Bls, share: BeaconShare, id: BeaconId): boolean {
  const root = BeaconMessageType.hashTreeRoot(beaconMessage(id));
  if (!equalBytes(BeaconMessageType.hashTreeRoot(share.message), root)) return false;
  return bls.verify(share.member, root, share.signature);
}

/** Byte order of keys: the canonical order of committees and shares. */
export function compareBytes(a: Uint8Array, b: Uint8Array): number {
  const length = Math.min(a.length, b.length);
  for (let i = 0; i < length; i += 1) if (a[i] !== b[i]) return a[i]! - b[i]!;
  return a.length - b.length;
}

/**
 * The beacon: BLAKE3 of the message root and every member's share in ascending key order.
 *
 * @param committee keys of all members, each once
 * @param shares one of each member, in any order
 * @returns 32 bytes
 * @throws PogoError MALFORMED for a share that does not verify, MISSING while a member's share is missing
 */
export function combineBeacon(
  bls: Bls,
  id: BeaconId,
  committee: readonly Uint8Array[],
  shares: readonly BeaconShare[],
): Uint8Array {
  const byMember = new Map(shares.map((share) => [toHex(share.member), share]));
  const signatures: Uint8Array[] = [];
  for (const member of [...committee].sort(compareBytes)) {
    const share = byMember.get(toHex(member));
    if (share === undefined) {
      throw new PogoError('MISSING', `expected a beacon share of ${toHex(member)}, found none; wait for it`);
    }
    if (!verifyBeaconShare(bls, share, id)) {
      throw new PogoError('MALFORMED', `expected a valid beacon share of ${toHex(member)}, found a wrong signature`);
    }
    signatures.push(share.signature);
  }
  if (signatures.length === 0) throw new PogoError('MISSING', 'expected a committee of at least one member');
  return beaconFromVerifiedShares(id, signatures);
}

/** {@link combineBeacon} for signatures that were verified when they arrived, in ascending order of their keys. */
export function beaconFromVerifiedShares(id: BeaconId, signatures: readonly Uint8Array[]): Uint8Array {
  return deriveHash(CONTEXT.beacon, BeaconMessageType.hashTreeRoot(beaconMessage(id)), ...signatures);
}
