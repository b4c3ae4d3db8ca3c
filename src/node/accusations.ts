/**
 * How a verifier accuses. Evidence is kept as a file, committed to, and revealed; what would be too large for that is
 * disputed. The salt of a commitment follows from the verifier's secret and the file, so that a process that died between
 * the two goes on from its folder.
 */
import * as path from 'node:path';
import { hashBytes } from '../files/digest.js';
import { writeFileAtomic } from '../files/durable.js';
import { readWholeFile, realFiles } from '../files/fileLayer.js';
import { equalBytes } from '../hex.js';
import { readState, submitOrder } from '../ledger/orders.js';
import { evidenceCommitment } from '../ledger/stateEvidence.js';
import type { LedgerState } from '../ledger/stateTypes.js';
import type { DisputeSubject } from '../protocol/dispute/types.js';
import { deriveHash } from '../protocol/domains.js';
import { MAX_EVIDENCE_BYTES } from '../protocol/evidence/types.js';
import { evidenceKind } from '../protocol/evidence.js';
import { encodeTransaction, MAX_EVIDENCE_TRANSACTION_BYTES, type Order } from '../protocol/ledgerTypes.js';
import { type ClaimHeader, claimRoot as claimRootOf, type SignedClaim } from '../protocol/types.js';
import { subjectName } from './disputeSubject.js';
import type { SigningMember } from './roles/common.js';

/** From the verifier's secret and the evidence to the salt of its commitment. */
const SALT_CONTEXT = 'pogo/evidence-salt/1';

/** Orders that open a dispute: of a miner's claim, a vote over a unit or a state, a vote's held-out loss. */
type DisputeKind = 'open-dispute' | 'open-verifier-dispute' | 'open-held-out-dispute';

export class Accusations {
  readonly #member: SigningMember;
  readonly #folder: string;

  constructor(member: SigningMember) {
    this.#member = member;
    this.#folder = path.join(member.directory, 'evidence');
  }

  /** Bytes of the largest file of evidence that is sent; what would be larger is disputed. */
  get evidenceLimit(): number {
    return this.#member.evidenceBytes ?? MAX_EVIDENCE_TRANSACTION_BYTES;
  }

  /**
   * Commits to evidence, does what stands between (a vote against the claim), reveals. A negative vote stands only on a
   * commitment, and the reveal settles the claim: after it there is nothing left to vote on. Whoever is later finds the
   * accused convicted already.
   *
   * @returns why the ledger refused the commitment, or what `between` returns
   */
  async commitAndReveal(
    claim: SignedClaim,
    evidence: Uint8Array,
    between: () => Promise<string | undefined> = async () => undefined,
  ): Promise<string | undefined> {
    const { ledger } = this.#member;
    this.write(claim, evidence);
    const order = { claimRoot: claimRootOf(claim.header), commitment: this.#commitmentTo(evidence) };
    const result = await submitOrder(this.#member, await readState(ledger), 'commit-evidence', order);
    if (!result.accepted) return result.reason;
    const refusal = await between();
    await ledger.submit(this.#reveal(evidence));
    return refusal;
  }

  /** Reveals evidence that an earlier process of this verifier committed to. @returns whether it was taken */
  async revealPending(state: LedgerState): Promise<boolean> {
    const { ledger, keys } = this.#member;
    const own = state.commitments.filter(({ finder }) => equalBytes(finder, keys.publicKey));
    if (own.length === 0 || realFiles.status(this.#folder)?.kind !== 'directory') return false;
    for (const name of realFiles.list(this.#folder).filter((file) => file.endsWith('.ssz'))) {
      const evidence = readWholeFile(realFiles, path.join(this.#folder, name), MAX_EVIDENCE_BYTES);
      const commitment = this.#commitmentTo(evidence);
      if (!own.some((other) => equalBytes(other.commitment, commitment))) continue;
      if ((await ledger.submit(this.#reveal(evidence))).accepted) return true;
    }
    return false;
  }

  /** Keeps a file of evidence, for the ledger and for everybody. */
  write({ header }: SignedClaim, evidence: Uint8Array): void {
    const { claimNumber, attempt } = header;
    const kind = evidenceKind(evidence);
    const file = path.join(this.#folder, `${claimNumber}-${attempt}-${kind}.ssz`);
    realFiles.makeDirectory(this.#folder);
    writeFileAtomic(realFiles, file, evidence);
    this.#member.report({ type: 'evidence', claim: claimNumber, kind, file, bytes: evidence.length });
  }

  /** Challenges the accused to show the trace of a computation: what stands in place of evidence that is too large. */
  async openDispute<K extends DisputeKind>(
    state: LedgerState,
    { claimNumber, attempt }: ClaimHeader,
    subject: DisputeSubject,
    kind: K,
    order: Omit<Order<K>, 'sender' | 'nonce'> & { readonly bond: bigint },
  ): Promise<void> {
    const [name, bond] = [subjectName(subject), `${order.bond}`];
    this.#member.report({ type: 'disputed', claim: claimNumber, attempt, subject: name, bond });
    await submitOrder(this.#member, state, kind, order);
  }

  #commitmentTo(evidence: Uint8Array): Uint8Array {
    return evidenceCommitment(evidence, this.#member.keys.publicKey, this.#saltOf(evidence));
  }

  #reveal(evidence: Uint8Array): Uint8Array {
    const finder = this.#member.keys.publicKey;
    return encodeTransaction('evidence', { finder, salt: this.#saltOf(evidence), evidence });
  }

  /** Secret until revealed, and the same after a crash: a commitment can always be opened by its finder. */
  #saltOf(evidence: Uint8Array): Uint8Array {
    return deriveHash(SALT_CONTEXT, this.#member.keys.secret, hashBytes(evidence));
  }
}
