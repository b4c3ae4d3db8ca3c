/**
 * Attestations: signed verdicts over one common message, so that any number of equal ones aggregate to one signature.
 */
import { PogoError } from '../errors.js';
import { equalBytes, toHex } from '../hex.js';
import { compareBytes } from './beacon.js';
import type { Bls, KeyPair } from './bls.js';
import { DOMAIN } from './domains.js';
import {
  type AggregatedAttestation,
  type Attestation,
  type AttestationData,
  AttestationDataType,
  VERDICT,
} from './types.js';

/** Loss bits of a negative verdict that did not measure: the canonical NaN. */
export const LOSS_NOT_MEASURED = 0x7fc00000;

export interface AttestationContent {
  readonly chainId: Uint8Array;
  readonly claimRoot: Uint8Array;
  /** Beacon 2 of the round that is voted in. */
  readonly beacon2: Uint8Array;
  readonly verdict: 'positive' | 'negative';
  /** fp32 bits; {@link LOSS_NOT_MEASURED} where there is no measurement. */
  readonly heldOutBeforeBits: number;
  readonly heldOutAfterBits: number;
}

export function attestationData(content: AttestationContent): AttestationData {
  return {
    domain: DOMAIN.attestation,
    chainId: content.chainId,
    claimRoot: content.claimRoot,
    beacon2: content.beacon2,
    verdict: VERDICT[content.verdict],
    heldOutBeforeBits: content.heldOutBeforeBits,
    heldOutAfterBits: content.heldOutAfterBits,
  };
}

export function signAttestation(bls: Bls, keys: KeyPair, content: AttestationContent): Attestation {
  const data = attestationData(content);
  const signature = bls.sign(keys.secret, AttestationDataType.hashTreeRoot(data));
  return { data, verifier: keys.publicKey, signature };
}

/** What an attestation must speak of; with `beacon2`, the round too. */
export interface AttestedClaim {
  readonly chainId: Uint8Array;
  readonly claimRoot: Uint8Array;
  readonly beacon2?: Uint8Array;
}

/**
 * Checks an attestation against the claim it must speak of.
 *
 * @throws PogoError MALFORMED, MISMATCH: which field, what was expected, what was found
 */
export function verifyAttestation(bls: Bls, attestation: Attestation, expected: AttestedClaim): void {
  const { data } = attestation;
  checkAttestationData(data, expected);
  if (!bls.verify(attestation.verifier, AttestationDataType.hashTreeRoot(data), attestation.signature)) {
    throw new PogoError('MALFORMED', 'expected the verifier’s signature over the attestation, found another');
  }
}

function checkAttestationData(data: AttestationData, expected: AttestedClaim): void {
  if (!equalBytes(data.domain, DOMAIN.attestation)) {
    throw new PogoError('MALFORMED', `expected the attestation domain, found ${toHex(data.domain)}`);
  }
  if (!equalBytes(data.chainId, expected.chainId)) {
    throw new PogoError(
      'MISMATCH',
      `expected an attestation of chain ${toHex(expected.chainId)}, found ${toHex(data.chainId)}`,
    );
  }
  if (!equalBytes(data.claimRoot, expected.claimRoot)) {
    throw new PogoError(
      'MISMATCH',
      `expected an attestation of claim ${toHex(expected.claimRoot)}, found ${toHex(data.claimRoot)}`,
    );
  }
  if (expected.beacon2 !== undefined && !equalBytes(data.beacon2, expected.beacon2)) {
    throw new PogoError(
      'MISMATCH',
      `expected an attestation under beacon 2 ${toHex(expected.beacon2)}, found ${toHex(data.beacon2)}`,
    );
  }
  if (data.verdict !== VERDICT.positive && data.verdict !== VERDICT.negative) {
    throw new PogoError('MALFORMED', `expected verdict 0 or 1, found ${data.verdict}`);
  }
}

/**
 * Aggregates attestations: equal messages become one signature. A verifier's second copy of the same message is
 * dropped; signatures are not checked here (`verifyAttestation` did).
 *
 * @returns one aggregate per distinct message, in ascending order of the messages' roots
 */
export function aggregateAttestations(bls: Bls, attestations: readonly Attestation[]): AggregatedAttestation[] {
  const groups = new Map<string, { data: AttestationData; signatures: Map<string, Attestation> }>();
  for (const attestation of attestations) {
    const key = toHex(AttestationDataType.hashTreeRoot(attestation.data));
    const group = groups.get(key) ?? { data: attestation.data, signatures: new Map<string, Attestation>() };
    group.signatures.set(toHex(attestation.verifier), attestation);
    groups.set(key, group);
  }
  return [...groups.entries()]
    .sort(([a], [b]) => (a < b ? -1 : 1))
    .map(([, group]) => {
      const members = [...group.signatures.values()].sort((a, b) => compareBytes(a.verifier, b.verifier));
      return {
        data: group.data,
        participants: members.map((member) => member.verifier),
        signature: bls.aggregate(members.map((member) => member.signature)),
      };
    });
}

/**
 * Checks an aggregate against a claim and the committee.
 *
 * @param committee keys whose possession was proven at registration; a participant outside it is an error
 * @returns the participants' keys
 * @throws PogoError MALFORMED, MISMATCH
 */
export function verifyAggregatedAttestation(
  bls: Bls,
  aggregate: AggregatedAttestation,
  expected: AttestedClaim,
  committee: readonly Uint8Array[],
): readonly Uint8Array[] {
  checkAttestationData(aggregate.data, expected);
  // Both ascend, so one walk finds every participant: 0.1 ms for a thousand on Zen 5, where a set of their names took 3.
  const members = [...committee].sort(compareBytes);
  let at = 0;
  aggregate.participants.forEach((participant, i) => {
    while (at < members.length && compareBytes(members[at]!, participant) < 0) at += 1;
    if (at === members.length || compareBytes(members[at]!, participant) !== 0) {
      // Whoever stands too late in the list is no stranger.
      const known = committee.some((key) => equalBytes(key, participant));
      if (!known) throw new PogoError('MALFORMED', `expected members of the committee, found ${toHex(participant)}`);
    }
    // Ascending order makes the encoding canonical and a double count impossible.
    if (i > 0 && compareBytes(aggregate.participants[i - 1]!, participant) >= 0) {
      throw new PogoError('MALFORMED', 'expected participants in ascending order of their keys, each once');
    }
  });
  const root = AttestationDataType.hashTreeRoot(aggregate.data);
  if (!bls.verifyAggregate(aggregate.participants, root, aggregate.signature)) {
    throw new PogoError('MALFORMED', 'expected the participants’ aggregate signature, found another');
  }
  return aggregate.participants;
}
