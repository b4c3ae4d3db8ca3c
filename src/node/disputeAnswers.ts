/**
 * The accused's side of disputes, as a node plays it: it publishes the trace of the disputed computation and opens what is
 * contested. It keeps nothing between its moves: everything is computed again from its files and the ledger's state, so a
 * process that was killed goes on where the ledger stands.
 */

import { PogoError } from '../errors.js';
import type { DisputeDuty } from '../ledger/stateDisputeDuties.js';
import { nodeOf } from '../ledger/stateDisputes.js';
import type { Recipe } from '../model/recipe.js';
import { recipeHeader } from '../model/recipeHeader.js';
import type { Bls, KeyPair } from '../protocol/bls.js';
import { Accused } from '../protocol/dispute/players.js';
import { committedResults, hasProgram } from '../protocol/dispute/subject.js';
import { makeTrace, requireValidTrace, signTrace } from '../protocol/dispute/trace.js';
import { TURN } from '../protocol/dispute/transactions.js';
import { SUBJECT_KIND } from '../protocol/dispute/types.js';
import { encodeTransaction } from '../protocol/ledgerTypes.js';
import { proveCommitment } from '../protocol/listProof.js';
import { type DisputedWork, subjectName } from './disputeSubject.js';

/** What a trace took, for people. */
export interface TraceReport {
  readonly subject: string;
  readonly operations: number;
  /** Of the transaction that carries the list. */
  readonly bytes: number;
  readonly seconds: number;
}

export class DisputeAnswers {
  readonly #bls: Bls;
  readonly #keys: KeyPair;
  /** One accused for a subject: the disputed output is computed once for all its moves. */
  readonly #accused = new Map<string, Accused>();

  constructor(
    bls: Bls,
    keys: KeyPair,
    readonly recipe: Recipe,
  ) {
    this.#bls = bls;
    this.#keys = keys;
  }

  /**
   * The transaction that answers a turn.
   *
   * @param open goes through the claim up to the subject; called when something must be computed
   * @throws PogoError MISMATCH, MISSING, … where this side has no answer that the ledger takes: then silence loses
   */
  async answer(
    { dispute, claim }: DisputeDuty,
    open: () => Promise<DisputedWork>,
    onTrace: (report: TraceReport) => void,
  ): Promise<Uint8Array> {
    const { recipe } = this;
    if (!hasProgram(recipe, dispute.subject)) {
      return encodeTransaction('decline-dispute', { dispute: dispute.id, recipe: recipeHeader(recipe) });
    }
    if (dispute.turn === TURN.trace) return this.#publish(await open(), onTrace);
    const key = `${claim.header.claimNumber}/${claim.header.attempt}/${subjectName(dispute.subject)}`;
    let accused = this.#accused.get(key);
    if (accused === undefined) {
      const { program, inputs } = await open();
      accused = new Accused(program, inputs);
      this.#accused.clear();
      this.#accused.set(key, accused);
    }
    const opened = accused.open(dispute.operation, nodeOf(dispute));
    return encodeTransaction('open-node', { dispute: dispute.id, opened });
  }

  #publish(work: DisputedWork, onTrace: (report: TraceReport) => void): Uint8Array {
    const { context, inputs, program, recipe, source, post } = work;
    const { subject } = context;
    if (subject.kind === SUBJECT_KIND.state && post === undefined) {
      throw new PogoError('INTERNAL', 'expected the state after the disputed step, found none');
    }
    const start = performance.now();
    const trace = makeTrace(context, inputs);
    // What does not end in what was committed is refused by the ledger: it is not sent.
    requireValidTrace(context, trace, committedResults(context, post));
    const transaction = encodeTransaction('publish-trace', {
      trace: signTrace(this.#bls, this.#keys, context, trace, inputs.merkle),
      recipe: recipeHeader(recipe),
      step: context.commitment === undefined ? [] : [proveCommitment(source.list, subject.stepIndex)],
      header: context.header,
      post: subject.kind === SUBJECT_KIND.state ? [post!] : [],
      list: trace.list,
    });
    onTrace({
      subject: subjectName(subject),
      operations: program.operations.length,
      bytes: transaction.length,
      seconds: (performance.now() - start) / 1000,
    });
    return transaction;
  }
}
