/** Traces on the ledger: what the accused publishes must end in what the claim committed to, under its own signature. */
import { equalBytes } from '../hex.js';
import { portableHash } from '../merkle/portable.js';
import { openRecipeHeader } from '../model/recipeHeader.js';
import type { Bls } from '../protocol/bls.js';
import { verifyStatement } from '../protocol/dispute/proofSubject.js';
import {
  committedResults,
  hasProgram,
  hasUnit,
  type SubjectContext,
  subjectStateRoot,
} from '../protocol/dispute/subject.js';
import { requireValidTrace } from '../protocol/dispute/trace.js';
import { type TraceRecord, TURN } from '../protocol/dispute/transactions.js';
import { hasStep, SUBJECT_KIND } from '../protocol/dispute/types.js';
import { scalarFault } from '../protocol/leafCheck.js';
import type { TransactionBody } from '../protocol/ledgerTypes.js';
import { openCommitment } from '../protocol/listProof.js';
import { type SignedClaim, stateRoot } from '../protocol/types.js';
import { disputesOf, sameSubject, setTurn } from './stateDisputeQueue.js';
import { accusedReceipt, claimOf, disputeAt, lose, pushChange } from './stateDisputeTurn.js';
import type { LedgerEvent } from './stateEvents.js';
import { rejected, requireRule } from './stateMoney.js';
import type { LedgerState } from './stateTypes.js';

/** Context of a subject from what a transaction carries, checked against the open claim. */
export function contextOf({ header: claim }: SignedClaim, record: TraceRecord): SubjectContext {
  const { subject, end } = record.trace.statement;
  const { recipe, root: recipeRoot } = openRecipeHeader(record.recipe);
  requireRule(equalBytes(recipeRoot, claim.recipeRoot), 'trace: expected the claim’s recipe, found another');
  const [proven] = record.step;
  requireRule(hasStep(subject.kind) === (proven !== undefined), 'trace: expected the step of its subject');
  if (proven !== undefined) {
    requireRule(proven.index === subject.stepIndex, `trace: expected step ${subject.stepIndex}, found ${proven.index}`);
  }
  const commitment = proven === undefined ? undefined : openCommitment(claim.listRoot, proven).commitment;
  if (commitment !== undefined) {
    const units = Math.min(commitment.unitRoots.length, commitment.unitLosses.length);
    requireRule(units === recipe.unitsPerStep && hasUnit(subject, units), `trace: expected a unit below ${units}`);
  }
  const root = subjectStateRoot(claim, subject, commitment);
  requireRule(equalBytes(stateRoot(record.header), root), 'trace: expected the header of the subject’s state');
  const rate = (): number => {
    throw rejected('trace: a learning rate is read by proofs only');
  };
  const context = { claim, recipe, subject, commitment, header: record.header, rate };
  return subject.kind === SUBJECT_KIND.diff ? { ...context, fileBytes: end.element } : context;
}

/** The accused shows its trace: it serves every dispute that asked for it. */
export function publishTrace(
  state: LedgerState,
  bls: Bls,
  body: TransactionBody<'publish-trace'>,
  events: LedgerEvent[],
): void {
  const { trace, recipe, step, header, post, list } = body;
  const { statement } = trace;
  const asked = disputesOf(state, statement.claimRoot).filter(
    ({ turn, accused, subject }) =>
      turn === TURN.trace && equalBytes(accused, statement.accused) && sameSubject(subject, statement.subject),
  );
  const [first] = asked;
  if (first === undefined) throw rejected('expected a trace that is asked for, found another');
  requireRule(equalBytes(statement.chainId, state.chainId), 'trace: expected this chain, found another');
  requireRule(verifyStatement(bls, trace), 'trace: expected the accused’s signature, found another');
  requireRule(equalBytes(portableHash(list), statement.listRoot), 'trace: expected the list of the statement');
  const record = { trace, recipe, step, header };
  const drawn = accusedReceipt(state, first);
  const draw = drawn === undefined ? {} : { drawSignature: drawn.drawSignature };
  const context = { ...contextOf(claimOf(state, first), record), ...draw };
  const results = committedResults(context, requirePost(context, post[0]));
  requireValidTrace(context, { list, end: statement.end }, results);
  state.traces.push(record);
  for (const dispute of asked) {
    setTurn(state, dispute, TURN.name);
    pushChange(state, dispute, 'traced', '', events);
  }
}

/** The header after a disputed step: its root is committed, its scalars must follow. */
function requirePost(
  context: SubjectContext,
  post: TransactionBody<'publish-trace'>['post'][number] | undefined,
): typeof post {
  const isState = context.subject.kind === SUBJECT_KIND.state;
  requireRule(
    isState === (post !== undefined),
    'trace: expected the header after the step for a state, and only there',
  );
  if (post === undefined) return undefined;
  const { commitment, claim, recipe, header } = context;
  requireRule(equalBytes(stateRoot(post), commitment!.postStateRoot), 'trace: expected the header of the post-state');
  const fault = scalarFault(header, post, recipe, claim.recipeRoot);
  requireRule(fault === undefined, `trace: the post-state’s header is false: ${fault}`);
  return post;
}

/** A computation that is too large for a trace is nobody's to show: who asked for it loses its bond. */
export function declineDispute(
  state: LedgerState,
  { dispute: id, recipe }: TransactionBody<'decline-dispute'>,
  events: LedgerEvent[],
): void {
  const dispute = disputeAt(state, id, [TURN.trace]);
  const opened = openRecipeHeader(recipe);
  const { recipeRoot } = claimOf(state, dispute).header;
  requireRule(equalBytes(opened.root, recipeRoot), 'expected the claim’s recipe, found another');
  requireRule(
    !hasProgram(opened.recipe, dispute.subject),
    'expected a computation too large for disputes, found one that can be shown',
  );
  lose(state, dispute, 'this computation is too large for disputes', events);
}
