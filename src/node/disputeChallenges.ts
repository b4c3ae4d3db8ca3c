/**
 * The challenger's side of disputes, as a node plays it: it computes the disputed trace itself, names the first operation
 * that differs, narrows it, and proves one element. Like the accused it can begin anywhere: the moves so far are read
 * from the chain's blocks.
 */

import { PogoError } from '../errors.js';
import { toHex } from '../hex.js';
import type { DisputeDuty } from '../ledger/stateDisputeDuties.js';
import { traceFor } from '../ledger/stateDisputeQueue.js';
import { nodeOf } from '../ledger/stateDisputes.js';
import type { LedgerState } from '../ledger/stateTypes.js';
import { openSet } from '../merkle/opening.js';
import { createProofBase } from '../protocol/dispute/buildProof.js';
import { contest } from '../protocol/dispute/narrowing.js';
import { Challenger, disputedOutput, planChallenge, proveReceipt } from '../protocol/dispute/players.js';
import { makeTrace, openable, type Trace } from '../protocol/dispute/trace.js';
import { type Dispute, TURN } from '../protocol/dispute/transactions.js';
import {
  ElementProofType,
  needsWitness,
  ReceiptProofType,
  type SignedStatement,
  WitnessedProofType,
} from '../protocol/dispute/types.js';
import { encodeEvidence } from '../protocol/evidence.js';
import { encodeTransaction } from '../protocol/ledgerTypes.js';
import { type DisputedWork, subjectName } from './disputeSubject.js';
import type { DisputeBook } from './roles/disputeBook.js';
import type { BookedReceipt } from './roles/receiptBook.js';

/** What a challenger does on its turn. */
export type ChallengeMove =
  | { readonly kind: 'name'; readonly operation: number; readonly list: ReturnType<typeof listOpening> }
  | { readonly kind: 'contest'; readonly child: number }
  /** `evidence`: the same proof as a file that any third party checks. */
  | { readonly kind: 'prove'; readonly transaction: Uint8Array; readonly evidence: Uint8Array }
  /** Its own computation agrees with the accused's: it has nothing to go on with. */
  | { readonly kind: 'nothing' };

function listOpening(work: DisputedWork, list: Uint8Array, operation: number) {
  const { indices, chunks, siblings } = openSet(openable(work.inputs.merkle, list), [Math.floor(operation / 32)]);
  return { indices: [...indices], chunks: [...chunks], siblings };
}

interface Own {
  readonly name: string;
  readonly work: DisputedWork;
  readonly trace: Trace;
}

export class DisputeChallenges {
  /** The computation of the newest dispute, with its trace. */
  #own: Own | undefined;
  #challenger: { readonly id: number; readonly moves: number; readonly player: Challenger } | undefined;

  /**
   * @param open goes through the claim up to the subject; called when something must be computed
   * @throws PogoError MISSING where bytes of the claim are gone
   */
  async move(
    state: LedgerState,
    { dispute, claim }: DisputeDuty,
    book: DisputeBook,
    open: () => Promise<DisputedWork>,
    booked?: BookedReceipt,
  ): Promise<ChallengeMove> {
    const record = traceFor(state, dispute);
    const list = record === undefined ? undefined : book.list(record.trace.statement.listRoot);
    if (record === undefined || list === undefined) return { kind: 'nothing' };
    const { claimNumber, attempt } = claim.header;
    // What a proof shows of a loss is the accused's own vote.
    const name = `${claimNumber}/${attempt}/${subjectName(dispute.subject)}/${toHex(dispute.accused)}`;
    if (this.#own?.name !== name) {
      const work = await open();
      this.#own = { name, work, trace: makeTrace(work.context, work.inputs) };
    }
    const { work, trace: own } = this.#own;
    const accused: Trace = { list, end: record.trace.statement.end };
    if (dispute.turn === TURN.name) {
      const plan = planChallenge(own, accused);
      if (plan.kind === 'nothing') {
        return booked === undefined ? plan : this.#proveReceipt(dispute, work, record.trace, accused, booked);
      }
      if (plan.kind === 'name') {
        return { ...plan, list: listOpening(work, list, plan.operation) };
      }
      const player = new Challenger({ program: work.program, trace: accused }, work.inputs, plan.operation);
      return this.#prove(dispute, work, record.trace, player, plan.element);
    }
    return this.#contest(dispute, work, record.trace, accused, book);
  }

  /** Plays what was opened so far again, then answers the newest. */
  #contest(
    dispute: Dispute,
    work: DisputedWork,
    statement: SignedStatement,
    trace: Trace,
    book: DisputeBook,
  ): ChallengeMove {
    const moves = book.moves(dispute.id);
    const known = this.#challenger;
    const goesOn = known !== undefined && known.id === dispute.id && known.moves === moves.length - 1;
    const disputed = { program: work.program, trace };
    const player = goesOn ? known.player : new Challenger(disputed, work.inputs, dispute.operation);
    if (!goesOn) {
      let node = disputedOutput(disputed, dispute.operation);
      for (const { opened, child } of moves.slice(0, -1)) {
        player.answer(node, opened);
        node = contest(node, opened, child ?? 0);
      }
    }
    this.#challenger = { id: dispute.id, moves: moves.length, player };
    const answer = player.answer(nodeOf(dispute), dispute.opened);
    if (answer === undefined) return { kind: 'nothing' };
    if ('child' in answer) return { kind: 'contest', child: answer.child };
    return this.#prove(dispute, work, statement, player, answer.element);
  }

  /** The trace is right: what can be false is the part of the receipt. */
  #proveReceipt(
    { id }: Dispute,
    { claim, recipe, source, context, program, inputs }: DisputedWork,
    statement: SignedStatement,
    trace: Trace,
    booked: BookedReceipt,
  ): ChallengeMove {
    const base = createProofBase(claim, recipe, source.list, context, statement);
    const proof = proveReceipt(base, recipe, context, { program, trace }, inputs, booked);
    return {
      kind: 'prove',
      transaction: encodeTransaction('prove-receipt', { dispute: id, proof: ReceiptProofType.serialize(proof) }),
      evidence: encodeEvidence('receipt-trace', proof),
    };
  }

  #prove(
    { id }: Dispute,
    { claim, recipe, source, context, witness }: DisputedWork,
    statement: SignedStatement,
    player: Challenger,
    element: number,
  ): ChallengeMove {
    const base = createProofBase(claim, recipe, source.list, context, statement);
    const proof = player.prove(base, recipe, element);
    if (!needsWitness(context.subject.kind)) {
      const bytes = ElementProofType.serialize(proof);
      return {
        kind: 'prove',
        transaction: encodeTransaction('prove-element', { dispute: id, proof: bytes }),
        evidence: encodeEvidence('element', proof),
      };
    }
    if (witness === undefined)
      throw new PogoError('MISSING', 'expected what the proof shows beside itself, found none');
    const witnessed = { witness, proof };
    return {
      kind: 'prove',
      transaction: encodeTransaction('prove-element', {
        dispute: id,
        proof: WitnessedProofType.serialize(witnessed),
      }),
      evidence: encodeEvidence('witnessed-element', witnessed),
    };
  }
}
