/**
 * Looking at foreign receipts: after the reveals each verifier is drawn one, goes to the place that its ticket names, and
 * accuses whoever did not do the work, or voted for a unit or a loss that is false.
 */
import { merkleKernels } from '../backend/merkleAddon.js';
import { equalBytes, toHex } from '../hex.js';
import { readState } from '../ledger/orders.js';
import { type RecheckDuty, rechecksOf } from '../ledger/stateDuties.js';
import { leastBond } from '../ledger/stateMoney.js';
import type { LedgerState } from '../ledger/stateTypes.js';
import { packedModelLayout } from '../model/layout.js';
import { recipeHeader } from '../model/recipeHeader.js';
import type { TokenSequence } from '../model/tokens.js';
import { heldOutBonds, heldOutSubject } from '../protocol/dispute/heldOut.js';
import { hasProgram } from '../protocol/dispute/subject.js';
import { type DisputeSubject, SUBJECT_KIND } from '../protocol/dispute/types.js';
import { provenUnit } from '../protocol/evidence/attestation.js';
import { tokenSource } from '../protocol/evidence/build.js';
import {
  buildAttestationEvidence,
  buildHeldOutEvidence,
  type HeldOutSubject,
} from '../protocol/evidence/buildVerifier.js';
import { receiptDuty } from '../protocol/receipt.js';
import type { Attestation, SignedClaim } from '../protocol/types.js';
import type { Accusations } from './accusations.js';
import { carriedBytes, evidenceFromFault } from './buildEvidence.js';
import { capture } from './checkClaim.js';
import { decidesNothing, type FollowedRun } from './followedRun.js';
import { type RecheckResult, recheckReceipt } from './recheckReceipt.js';
import type { SigningMember } from './roles/common.js';
import type { BookedReceipt, ReceiptBook } from './roles/receiptBook.js';

export class ReceiptChecks {
  readonly #member: SigningMember;
  readonly #run: FollowedRun;
  readonly #receipts: ReceiptBook;
  readonly #accusations: Accusations;
  /** Claims whose drawn receipt was looked at by this process. */
  readonly #done = new Set<string>();

  constructor(member: SigningMember, run: FollowedRun, receipts: ReceiptBook, accusations: Accusations) {
    this.#member = member;
    this.#run = run;
    this.#receipts = receipts;
    this.#accusations = accusations;
  }

  /** Looks at the next foreign receipt that this verifier was drawn for; false when there is none. */
  async next(state: LedgerState): Promise<boolean> {
    for (const duty of rechecksOf(state, this.#member.keys.publicKey)) {
      const name = toHex(duty.claim.claimRoot);
      const booked = this.#receipts.find(duty.claim.claimRoot, duty.verifier);
      if (booked === undefined || !this.#run.isMine(booked.claim) || this.#done.has(name)) continue;
      this.#done.add(name);
      try {
        await this.#check(duty, booked);
      } catch (error) {
        // Bytes that are gone prove nothing about anybody.
        if (!decidesNothing(error)) throw error;
      }
      return true;
    }
    return false;
  }

  async #check(duty: RecheckDuty, booked: BookedReceipt): Promise<void> {
    const { recipe } = this.#member;
    const { header } = booked.claim;
    const { evidenceLimit } = this.#accusations;
    const { trainer, tokens } = await this.#run.goTo(header);
    const source = this.#run.published.source(header);
    const start = performance.now();
    const work = { trainer, source, tokens, booked, recipe };
    const result = await recheckReceipt({ ...work, ticket: duty.ticket, evidenceBytes: evidenceLimit });
    this.#member.report({
      type: 'rechecked',
      claim: header.claimNumber,
      attempt: header.attempt,
      verifier: toHex(duty.verifier),
      part: result.part,
      held: result.held,
      seconds: (performance.now() - start) / 1000,
    });
    const { falseUnit } = result;
    const large = falseUnit !== undefined && carriedBytes(falseUnit) > evidenceLimit;
    if (result.held && large && hasProgram(recipe, { kind: SUBJECT_KIND.unit })) {
      const { stepIndex, unit } = falseUnit;
      return this.#disputeVote(duty, booked, { kind: SUBJECT_KIND.unit, stepIndex, unit });
    }
    if (result.disputed !== undefined) return this.#disputeVote(duty, booked, result.disputed);
    const evidence = result.evidence ?? this.#falseVote(duty, booked, falseUnit, tokens);
    if (evidence === undefined) return this.#compareLosses(duty, booked.claim);
    await this.#accusations.commitAndReveal(booked.claim, evidence);
  }

  /**
   * Evidence against a positive vote over a unit that its verifier was drawn for: one that the recheck found false, or one
   * that somebody proved false before.
   */
  #falseVote(
    { claim: { claimRoot }, verifier }: RecheckDuty,
    { claim, receipt, opening }: BookedReceipt,
    falseUnit: RecheckResult['falseUnit'],
    tokens: TokenSequence,
  ): Uint8Array | undefined {
    const vote = this.#receipts.voteOf(claimRoot, verifier);
    if (vote === undefined) return undefined;
    const { recipe } = this.#member;
    const { drawSignature } = opening;
    const accusation = { claim, recipe, receipt, drawSignature };
    const commitments = this.#run.published.list(claim.header.listRoot);
    if (falseUnit !== undefined) {
      const subject = { claim, recipe, commitments, fromHeader: falseUnit.pre.header, tokens };
      return buildAttestationEvidence(accusation, vote, evidenceFromFault(subject, falseUnit));
    }
    const { units } = receiptDuty(drawSignature, recipe, commitments.length, receipt.message.committee);
    const proof = this.#receipts.falseUnitsOf(claimRoot).find((file) => {
      const { stepIndex, unit } = provenUnit(file);
      return units.some((drawn) => drawn.stepIndex === stepIndex && drawn.unit === unit);
    });
    return proof === undefined ? undefined : buildAttestationEvidence(accusation, vote, proof);
  }

  /** The losses of a vote against this verifier's own of the same round: whoever differs is accused, or disputed. */
  async #compareLosses({ claim: { claimRoot }, verifier }: RecheckDuty, claim: SignedClaim): Promise<void> {
    const own = this.#receipts.voteOf(claimRoot, this.#member.keys.publicKey);
    const vote = this.#receipts.voteOf(claimRoot, verifier);
    if (own === undefined || vote === undefined || !equalBytes(own.data.beacon2, vote.data.beacon2)) return;
    const isAfter = own.data.heldOutAfterBits !== vote.data.heldOutAfterBits;
    if (!isAfter && own.data.heldOutBeforeBits === vote.data.heldOutBeforeBits) return;
    const { recipe } = this.#member;
    const evidence = await this.#heldOutEvidence(claim, vote, isAfter);
    if (evidence.length <= this.#accusations.evidenceLimit || !hasProgram(recipe, { kind: SUBJECT_KIND.heldOut })) {
      await this.#accusations.commitAndReveal(claim, evidence);
      return;
    }
    const state = await readState(this.#member.ledger);
    const bond = heldOutBonds(recipe) * leastBond(state.parameters);
    const order = { claim, recipe: recipeHeader(recipe), attestation: vote, after: isAfter ? 1 : 0, bond };
    const subject = heldOutSubject(vote.data, isAfter);
    await this.#accusations.openDispute(state, claim.header, subject, 'open-held-out-dispute', order);
  }

  async #heldOutEvidence(claim: SignedClaim, vote: Attestation, isAfter: boolean): Promise<Uint8Array> {
    const { recipe } = this.#member;
    const { header } = claim;
    const { trainer, tokens } = await this.#run.goTo(header);
    const parent = this.#run.finalized.find(header.parentClaimRoot);
    let subject: HeldOutSubject;
    if (isAfter) {
      const { bytes } = packedModelLayout(trainer.plan.layout);
      subject = { after: true, model: this.#run.published.source(header).blob(header.modelRoot, bytes) };
    } else if (parent !== undefined) {
      subject = { after: false, parent, model: await trainer.packModel() };
    } else {
      const { header: fromHeader, theta, ema } = await capture(trainer);
      subject = { after: false, fromHeader, vector: recipe.ema ? ema : theta };
    }
    return buildHeldOutEvidence({ claim, recipe }, vote, subject, tokenSource(tokens, merkleKernels()));
  }

  /** Challenges who voted to show how a unit, or its receipt, comes about: where evidence against them is too large. */
  async #disputeVote({ verifier }: RecheckDuty, { claim }: BookedReceipt, subject: DisputeSubject): Promise<void> {
    const state = await readState(this.#member.ledger);
    const bond = leastBond(state.parameters);
    const order = { claim, recipe: recipeHeader(this.#member.recipe), accused: verifier, subject, bond };
    await this.#accusations.openDispute(state, claim.header, subject, 'open-verifier-dispute', order);
  }
}
