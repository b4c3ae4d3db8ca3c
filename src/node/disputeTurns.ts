/** The turns that a verifier takes in disputes: in those that it opened, and in those over its own votes and receipts. */
import { PogoError } from '../errors.js';
import type { SubmitResult } from '../ledger/ledger.js';
import { readState, submitOrder } from '../ledger/orders.js';
import { type DisputeDuty, disputeDutiesOf } from '../ledger/stateDisputeDuties.js';
import type { LedgerState } from '../ledger/stateTypes.js';
import type { Accusations } from './accusations.js';
import { DisputeAnswers } from './disputeAnswers.js';
import { type ChallengeMove, DisputeChallenges } from './disputeChallenges.js';
import { type DisputedWork, openDisputed } from './disputeSubject.js';
import { decidesNothing, type FollowedRun } from './followedRun.js';
import type { SigningMember } from './roles/common.js';
import type { DisputeBook } from './roles/disputeBook.js';
import type { ReceiptBook } from './roles/receiptBook.js';

/** What the chain's blocks told of receipts and disputes. */
export interface DisputeBooks {
  readonly receipts: ReceiptBook;
  readonly disputes: DisputeBook;
}

export class DisputeTurns {
  readonly #member: SigningMember;
  readonly #run: FollowedRun;
  readonly #books: DisputeBooks;
  readonly #accusations: Accusations;
  readonly #challenges = new DisputeChallenges();
  readonly #answers: DisputeAnswers;
  /** Turns in which this process found nothing to go on with. */
  readonly #gaveUp = new Set<string>();

  constructor(member: SigningMember, run: FollowedRun, books: DisputeBooks, accusations: Accusations) {
    this.#member = member;
    this.#run = run;
    this.#books = books;
    this.#accusations = accusations;
    this.#answers = new DisputeAnswers(member.bls, member.keys, member.recipe);
  }

  /** Takes the next turn; false when there is none. */
  async next(state: LedgerState): Promise<boolean> {
    for (const duty of disputeDutiesOf(state, this.#member.keys.publicKey)) {
      if (!this.#run.isMine(duty.claim) || this.#gaveUp.has(turnName(duty))) continue;
      const took = duty.side === 'accused' ? await this.#answer(duty) : await this.#challenge(state, duty);
      if (took) return true;
    }
    return false;
  }

  /** @returns false where it has no move that the ledger takes */
  async #challenge(state: LedgerState, duty: DisputeDuty): Promise<boolean> {
    const move = await this.#moveOf(state, duty);
    if (move.kind === 'nothing') return this.#giveUp(duty, 'its own computation gives what the accused published');
    const result = await this.#make(state, duty, move);
    // The dispute may have ended meanwhile; a move that is refused in its turn would be refused for ever.
    if (result.accepted || !(await this.#isDue(duty))) return true;
    return this.#giveUp(duty, result.reason);
  }

  async #isDue(duty: DisputeDuty): Promise<boolean> {
    const state = await readState(this.#member.ledger);
    return disputeDutiesOf(state, this.#member.keys.publicKey).some((other) => turnName(other) === turnName(duty));
  }

  async #make(
    state: LedgerState,
    { dispute: { id: dispute }, claim }: DisputeDuty,
    move: Exclude<ChallengeMove, { kind: 'nothing' }>,
  ): Promise<SubmitResult> {
    switch (move.kind) {
      case 'prove':
        this.#accusations.write(claim, move.evidence);
        return this.#member.ledger.submit(move.transaction);
      case 'contest':
        return submitOrder(this.#member, state, 'contest-node', { dispute, child: move.child });
      case 'name': {
        const { operation, list } = move;
        return submitOrder(this.#member, state, 'name-operation', { dispute, operation, list });
      }
    }
  }

  async #moveOf(state: LedgerState, duty: DisputeDuty): Promise<ChallengeMove> {
    const { receipts, disputes } = this.#books;
    const { dispute } = duty;
    try {
      // Only a verifier that is accused over a settled claim has a receipt to be measured by.
      const booked = dispute.claim.length === 1 ? receipts.find(dispute.claimRoot, dispute.accused) : undefined;
      return await this.#challenges.move(state, duty, disputes, () => this.#disputed(duty), booked);
    } catch (error) {
      if (!decidesNothing(error)) throw error;
      return { kind: 'nothing' };
    }
  }

  /** Answers for a vote of its own: with the trace of a unit that it was drawn for. @returns false where it has none */
  async #answer(duty: DisputeDuty): Promise<boolean> {
    const { claimNumber, attempt } = duty.claim.header;
    let message: string;
    try {
      const answer = await this.#answers.answer(
        duty,
        () => this.#disputed(duty, true),
        (trace) => this.#member.report({ type: 'traced', claim: claimNumber, attempt, ...trace }),
      );
      const result = await this.#member.ledger.submit(answer);
      if (result.accepted) return true;
      message = result.reason;
    } catch (error) {
      const failure = PogoError.from(error);
      if (failure.code !== 'MISMATCH' && !decidesNothing(failure)) throw error;
      message = failure.message;
    }
    return this.#giveUp(duty, message);
  }

  #giveUp(duty: DisputeDuty, message: string): false {
    const { claimNumber, attempt } = duty.claim.header;
    this.#gaveUp.add(turnName(duty));
    this.#member.report({ type: 'gave-up', claim: claimNumber, attempt, dispute: duty.dispute.id, message });
    return false;
  }

  /** Goes through a claim up to what is disputed. @param standsBy as the accused: for what the claim commits to */
  async #disputed({ claim, dispute }: DisputeDuty, standsBy = false): Promise<DisputedWork> {
    const { receipts } = this.#books;
    const { trainer, tokens } = await this.#run.goTo(claim.header);
    const source = this.#run.published.source(claim.header);
    const parent = this.#run.finalized.find(claim.header.parentClaimRoot);
    // Of a verifier that opened one; a miner's disputes need none.
    const drawSignature = receipts.find(dispute.claimRoot, dispute.accused)?.opening.drawSignature;
    const vote = receipts.voteOf(dispute.claimRoot, dispute.accused);
    const work = { claim, recipe: this.#member.recipe, source, tokens, parent, vote, trainer };
    return openDisputed(
      { ...work, ...(drawSignature === undefined ? {} : { drawSignature }) },
      dispute.subject,
      standsBy,
    );
  }
}

function turnName({ dispute }: DisputeDuty): string {
  return `${dispute.id}/${dispute.sequence}`;
}
