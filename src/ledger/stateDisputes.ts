/**
 * Disputes on the ledger: both sides move in turn, each turn has a clock, silence loses (docs/disputes.md §6).
 *
 * Every move is checked when it is made: a trace must end in what the claim committed to, an opened node must lead to
 * the root above it. So the ledger never judges who is right; it only sees whether a move is one, and whether the proof at
 * the end holds.
 */
import { PogoError } from '../errors.js';
import { equalBytes, toHex } from '../hex.js';
import { rootOfSet } from '../merkle/opening.js';
import { portableHash } from '../merkle/portable.js';
import { openRecipeHeader } from '../model/recipeHeader.js';
import type { Bls } from '../protocol/bls.js';
import {
  checkElementProof,
  checkReceiptProof,
  checkWitnessedProof,
  partOf,
  verifyStatement,
} from '../protocol/dispute/elementProof.js';
import { heldOutBonds, heldOutSubject, requireHeldOutVote } from '../protocol/dispute/heldOut.js';
import { contest, type Narrowing, nextOpening, opensNode, startNarrowing } from '../protocol/dispute/narrowing.js';
import {
  committedResults,
  hasProgram,
  hasUnit,
  type SubjectContext,
  subjectProgram,
  subjectStateRoot,
} from '../protocol/dispute/subject.js';
import { requireValidTrace } from '../protocol/dispute/trace.js';
import { type Dispute, type TraceRecord, TURN } from '../protocol/dispute/transactions.js';
import {
  ElementProofType,
  hasStep,
  needsWitness,
  ReceiptProofType,
  SUBJECT_KIND,
  WitnessedProofType,
} from '../protocol/dispute/types.js';
import { scalarFault } from '../protocol/leafCheck.js';
import { type Order, STAGE, type Transaction, type TransactionBody } from '../protocol/ledgerTypes.js';
import { openCommitment } from '../protocol/listProof.js';
import { receiptDuty } from '../protocol/receipt.js';
import { decodeStrict } from '../protocol/ssz.js';
import { outputBytes } from '../protocol/trace/program.js';
import { claimRoot as claimRootOf, type SignedClaim, stateRoot, ZERO_ROOT } from '../protocol/types.js';
import { awaitsPieces } from './stateAvailability.js';
import {
  closeDispute,
  disputedClaimOf,
  disputesOf,
  MAX_DISPUTES_PER_CLAIM,
  setTurn,
  startWaiting,
  traceFor,
} from './stateDisputeQueue.js';
import type { LedgerEvent } from './stateEvents.js';
import { convict, convictVerifier } from './stateEvidence.js';
import { accountOf, debit, leastBond, memberOf, rejected, requireRule } from './stateMoney.js';
import { receiptOf } from './stateOpen.js';
import { trySettle } from './stateSettle.js';
import type { LedgerState, OpenClaim } from './stateTypes.js';

type DisputeOrder = Extract<
  Transaction,
  { kind: 'open-dispute' | 'open-verifier-dispute' | 'open-held-out-dispute' | 'name-operation' | 'contest-node' }
>;
type DisputeMove = Extract<
  Transaction,
  { kind: 'publish-trace' | 'open-node' | 'prove-element' | 'prove-receipt' | 'dispute-tick' | 'decline-dispute' }
>;
type Change = Extract<LedgerEvent, { type: 'dispute' }>['change'];

/** Orders of a challenger. */
export function applyDisputeOrder(
  state: LedgerState,
  bls: Bls,
  { kind, body }: DisputeOrder,
  events: LedgerEvent[],
): void {
  switch (kind) {
    case 'open-dispute':
      return openDispute(state, body.order, events);
    case 'open-verifier-dispute':
      return openVerifierDispute(state, body.order, events);
    case 'open-held-out-dispute':
      return openHeldOutDispute(state, bls, body.order, events);
    case 'name-operation':
      return nameOperation(state, body.order, events);
    case 'contest-node':
      return contestNode(state, body.order, events);
  }
}

/** Moves that stand or fall by their content. */
export function applyDispute(state: LedgerState, bls: Bls, { kind, body }: DisputeMove, events: LedgerEvent[]): void {
  switch (kind) {
    case 'publish-trace':
      return publishTrace(state, bls, body, events);
    case 'open-node':
      return openNode(state, body, events);
    case 'prove-element':
      return proveElement(state, bls, body, events);
    case 'prove-receipt':
      return proveReceipt(state, bls, body, events);
    case 'dispute-tick':
      return endTurn(state, body, events);
    case 'decline-dispute':
      return declineDispute(state, body, events);
  }
}

function push(state: LedgerState, dispute: Dispute, change: Change, reason: string, events: LedgerEvent[]): void {
  const { claimNumber, attempt } = claimOf(state, dispute).header;
  const { id, claimRoot, challenger, accused } = dispute;
  events.push({ type: 'dispute', claimNumber, attempt, dispute: id, claimRoot, challenger, accused, change, reason });
}

/** The open claim behind a root. @throws PogoError REJECTED when its window is over */
function disputedClaim(state: LedgerState, claimRoot: Uint8Array): OpenClaim {
  const open = state.open.find((other) => other.claim.length === 1 && equalBytes(other.claimRoot, claimRoot));
  if (open === undefined) throw rejected(`expected an open claim, found ${toHex(claimRoot)}: its window is over`);
  return open;
}

/** The signed claim that a dispute is about, open or settled. @throws PogoError REJECTED when its window is over */
function claimOf(state: LedgerState, dispute: Pick<Dispute, 'claimRoot' | 'claim'>): SignedClaim {
  return disputedClaimOf(state, dispute) ?? disputedClaim(state, dispute.claimRoot).claim[0]!;
}

function disputeAt(state: LedgerState, id: number, turns: readonly number[]): Dispute {
  const dispute = state.disputes.find((other) => other.id === id);
  if (dispute === undefined) throw rejected(`expected an open dispute, found ${id}`);
  requireRule(turns.includes(dispute.turn), `dispute ${id}: expected another move, found one out of turn`);
  return dispute;
}

function openDispute(state: LedgerState, order: Order<'open-dispute'>, events: LedgerEvent[]): void {
  const open = disputedClaim(state, order.claimRoot);
  // Once the votes are over, whoever is late to challenge is late.
  requireRule(open.stage !== STAGE.revealing, `expected a claim whose window is open, found ${toHex(order.claimRoot)}`);
  const least = leastBond(state.parameters);
  requireRule(order.bond >= least, `expected a bond of at least ${least}, found ${order.bond}`);
  requireRule(!equalBytes(order.sender, open.miner), 'expected a challenger, found the accused itself');
  const { kind, stepIndex, unit } = order.subject;
  requireRule(
    kind !== SUBJECT_KIND.receipt && (hasStep(kind) || kind === SUBJECT_KIND.model || kind === SUBJECT_KIND.diff),
    `expected a unit, a state, a model or a diff, found ${kind}`,
  );
  requireRule(hasStep(kind) ? stepIndex < open.steps : stepIndex === 0, 'expected a step of the claim');
  // A first claim has no diff that anybody could show; one that it names all the same is convicted by evidence.
  requireRule(
    kind !== SUBJECT_KIND.diff || !equalBytes(open.parentClaimRoot, ZERO_ROOT),
    'expected a claim with a parent, found a first one',
  );
  requireRule(kind === SUBJECT_KIND.unit || unit === 0, 'expected no unit for this subject, found one');
  const { claimRoot, subject, sender, bond } = order;
  queueDispute(state, { claimRoot, subject, accused: open.miner, challenger: sender, bond, claim: [] }, events);
}

/** A verifier of a settled claim is challenged over a unit or a state that it was drawn for, once its receipt is open. */
function openVerifierDispute(state: LedgerState, order: Order<'open-verifier-dispute'>, events: LedgerEvent[]): void {
  const { claim, accused, subject, sender, bond } = order;
  const claimRoot = claimRootOf(claim.header);
  const { settled, opened } = votedClaim(state, order);
  const receipt = receiptOf(settled, accused);
  requireRule(receipt?.opened === 1, 'expected a positive voter with an open receipt, found another');
  const duty = receiptDuty(receipt.drawSignature, opened.recipe, settled.steps, settled.committee);
  const drawn = partOf(subject, duty, settled.steps) !== undefined;
  requireRule(drawn, 'expected a unit or a state that the accused was drawn for');
  queueDispute(state, { claimRoot, subject, accused, challenger: sender, bond, claim: [claim] }, events);
}

/** A settled claim that the accused voted for, still open to accusations of its verifiers. */
function votedClaim(
  state: LedgerState,
  order: Pick<Order<'open-verifier-dispute'>, 'claim' | 'recipe' | 'accused' | 'sender' | 'bond'>,
) {
  const { claim, recipe, accused, sender, bond } = order;
  const claimRoot = claimRootOf(claim.header);
  // A claim that is kept longer because its verifiers are being disputed is open to no new dispute.
  const epoch = state.settled.slice(-Math.max(1, state.parameters.epochClaims));
  const settled = epoch.find((other) => equalBytes(other.claimRoot, claimRoot));
  if (settled === undefined) throw rejected(`expected a newly settled claim, found ${toHex(claimRoot)}`);
  const least = leastBond(state.parameters);
  requireRule(bond >= least, `expected a bond of at least ${least}, found ${bond}`);
  requireRule(!equalBytes(sender, accused), 'expected a challenger, found the accused itself');
  const voted = settled.voters.some((key) => equalBytes(key, accused));
  requireRule(voted, 'expected a positive voter, found another');
  const convicted = settled.convicted.some((key) => equalBytes(key, accused));
  requireRule(!convicted, 'expected a verifier that was not convicted of this claim, found one that was');
  requireRule(memberOf(state, accused) !== undefined, `expected a member, found ${toHex(accused)}`);
  const opened = openRecipeHeader(recipe);
  requireRule(equalBytes(opened.root, claim.header.recipeRoot), 'expected the claim’s recipe, found another');
  return { settled, opened };
}

/** A verifier of a settled claim is challenged over a held-out loss that its vote names. No draw is needed for that. */
function openHeldOutDispute(
  state: LedgerState,
  bls: Bls,
  order: Order<'open-held-out-dispute'>,
  events: LedgerEvent[],
): void {
  const { claim, recipe, attestation, after, sender, bond } = order;
  const accused = attestation.verifier;
  const claimRoot = claimRootOf(claim.header);
  const { settled, opened } = votedClaim(state, { claim, recipe, accused, sender, bond });
  const least = heldOutBonds(opened.recipe) * leastBond(state.parameters);
  requireRule(bond >= least, `expected a bond of at least ${least}, found ${bond}`);
  // A vote of an earlier round bound nobody: the ledger forgot it.
  const { chainId } = state;
  judge(() => requireHeldOutVote(bls, attestation, { chainId, claimRoot, beacon2: settled.beacon2 }, accused));
  requireRule(after <= 1, `expected the loss before (0) or after (1), found ${after}`);
  const subject = heldOutSubject(attestation.data, after === 1);
  queueDispute(state, { claimRoot, subject, accused, challenger: sender, bond, claim: [claim] }, events);
}

function queueDispute(
  state: LedgerState,
  opened: Pick<Dispute, 'claimRoot' | 'subject' | 'accused' | 'challenger' | 'bond' | 'claim'>,
  events: LedgerEvent[],
): void {
  const all = disputesOf(state, opened.claimRoot);
  const mine = all.some(({ challenger }) => equalBytes(challenger, opened.challenger));
  requireRule(!mine, 'expected one dispute of a challenger over a claim, found a second');
  if (all.length >= MAX_DISPUTES_PER_CLAIM) makeRoom(state, all, opened.bond);
  debit(accountOf(state, opened.challenger), opened.bond);
  const dispute: Dispute = {
    ...opened,
    id: state.disputeCount,
    turn: TURN.queued,
    turnHeight: state.height,
    sequence: 0,
    operation: 0,
    totalBytes: 0,
    level: 0,
    index: 0,
    value: new Uint8Array(32),
    isRoot: 0,
    opened: new Uint8Array(0),
  };
  state.disputeCount += 1;
  state.disputes.push(dispute);
  startWaiting(state, opened.claimRoot);
  push(state, dispute, dispute.turn === TURN.queued ? 'queued' : 'opened', '', events);
}

/** A higher bond takes the place of the lowest that waits, which goes back. */
function makeRoom(state: LedgerState, all: readonly Dispute[], bond: bigint): void {
  const waiting = all.filter(({ turn }) => turn === TURN.queued);
  const lowest = waiting.reduce<Dispute | undefined>(
    (low, dispute) => (low === undefined || dispute.bond <= low.bond ? dispute : low),
    undefined,
  );
  if (lowest === undefined || lowest.bond >= bond) {
    throw rejected(`expected a bond above those of ${all.length} disputes, found ${bond}`);
  }
  state.disputes = state.disputes.filter(({ id }) => id !== lowest.id);
  accountOf(state, lowest.challenger).balance += lowest.bond;
}

/** Context of a subject from what a transaction carries, checked against the open claim. */
function contextOf({ header: claim }: SignedClaim, record: TraceRecord): SubjectContext {
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

function publishTrace(
  state: LedgerState,
  bls: Bls,
  body: TransactionBody<'publish-trace'>,
  events: LedgerEvent[],
): void {
  const { trace, recipe, step, header, post, list } = body;
  const { statement } = trace;
  const asked = disputesOf(state, statement.claimRoot).filter(
    ({ turn, accused, subject }) =>
      turn === TURN.trace &&
      equalBytes(accused, statement.accused) &&
      subject.kind === statement.subject.kind &&
      subject.stepIndex === statement.subject.stepIndex &&
      subject.unit === statement.subject.unit,
  );
  const [first] = asked;
  if (first === undefined) throw rejected('expected a trace that is asked for, found another');
  requireRule(equalBytes(statement.chainId, state.chainId), 'trace: expected this chain, found another');
  requireRule(verifyStatement(bls, trace), 'trace: expected the accused’s signature, found another');
  requireRule(equalBytes(portableHash(list), statement.listRoot), 'trace: expected the list of the statement');
  const record = { trace, recipe, step, header };
  const settled = state.settled.find((other) => equalBytes(other.claimRoot, first.claimRoot));
  const drawn = settled === undefined ? undefined : receiptOf(settled, first.accused);
  const draw = drawn === undefined ? {} : { drawSignature: drawn.drawSignature };
  const context = { ...contextOf(claimOf(state, first), record), ...draw };
  const results = committedResults(context, requirePost(context, post[0]));
  requireValidTrace(context, { list, end: statement.end }, results);
  state.traces.push(record);
  for (const dispute of asked) {
    setTurn(state, dispute, TURN.name);
    push(state, dispute, 'traced', '', events);
  }
}

/** A computation that is too large for a trace is nobody's to show: who asked for it loses its bond. */
function declineDispute(
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

function nameOperation(state: LedgerState, order: Order<'name-operation'>, events: LedgerEvent[]): void {
  const dispute = challengerTurn(state, order.dispute, order.sender, [TURN.name]);
  const record = traceFor(state, dispute)!;
  const program = subjectProgram(contextOf(claimOf(state, dispute), record));
  const { listRoot, end } = record.trace.statement;
  const roots = Math.min(end.operation, program.operations.length);
  const operation = program.operations[order.operation];
  requireRule(operation !== undefined && order.operation < roots, `expected an operation below ${roots}`);
  const chunk = Math.floor(order.operation / 32);
  const { indices, chunks } = order.list;
  const found = rootOfSet(32 * roots, order.list);
  requireRule(
    indices.length === 1 && indices[0] === chunk && found !== undefined && equalBytes(found, listRoot),
    `expected chunk ${chunk} of the published list, found another`,
  );
  const at = 32 * (order.operation % 32);
  dispute.operation = order.operation;
  setNode(dispute, startNarrowing(outputBytes(operation), chunks[0]!.slice(at, at + 32)));
  setTurn(state, dispute, TURN.open);
  push(state, dispute, 'named', operation.name, events);
}

function setNode(dispute: Dispute, node: Narrowing): void {
  dispute.totalBytes = node.totalBytes;
  dispute.level = node.level;
  dispute.index = node.index;
  dispute.value = node.value;
  dispute.isRoot = node.isRoot ? 1 : 0;
  dispute.opened = new Uint8Array(0);
}

/** The node that a dispute stands at. */
export function nodeOf({ totalBytes, level, index, value, isRoot }: Dispute): Narrowing {
  return { totalBytes, level, index, value, isRoot: isRoot === 1 };
}

function openNode(
  state: LedgerState,
  { dispute: id, opened }: TransactionBody<'open-node'>,
  events: LedgerEvent[],
): void {
  const dispute = disputeAt(state, id, [TURN.open]);
  requireRule(opensNode(nodeOf(dispute), opened), `dispute ${id}: expected what opens the node, found other bytes`);
  dispute.opened = opened;
  setTurn(state, dispute, TURN.contest);
  push(state, dispute, 'node-opened', '', events);
}

function contestNode(state: LedgerState, order: Order<'contest-node'>, events: LedgerEvent[]): void {
  const dispute = challengerTurn(state, order.dispute, order.sender, [TURN.contest]);
  const node = nodeOf(dispute);
  requireRule(nextOpening(node).kind === 'values', 'expected a proof once bytes are open, found a contested node');
  setNode(dispute, contest(node, dispute.opened, order.child));
  setTurn(state, dispute, TURN.open);
  push(state, dispute, 'contested', '', events);
}

function challengerTurn(state: LedgerState, id: number, sender: Uint8Array, turns: readonly number[]): Dispute {
  const dispute = disputeAt(state, id, turns);
  requireRule(equalBytes(dispute.challenger, sender), `dispute ${id}: expected a move of its challenger`);
  return dispute;
}

function proveElement(
  state: LedgerState,
  bls: Bls,
  { dispute: id, proof: bytes }: TransactionBody<'prove-element'>,
  events: LedgerEvent[],
): void {
  const dispute = disputeAt(state, id, [TURN.name, TURN.contest]);
  const { kind, stepIndex, unit } = dispute.subject;
  const witnessed = needsWitness(kind) ? decodeStrict(WitnessedProofType, bytes) : undefined;
  const proof = witnessed?.proof ?? decodeStrict(ElementProofType, bytes);
  const { statement } = proof.trace;
  requireRule(
    equalBytes(proof.head.chainId, state.chainId) &&
      equalBytes(proof.head.claimRoot, dispute.claimRoot) &&
      equalBytes(proof.head.accused, dispute.accused) &&
      statement.subject.kind === kind &&
      statement.subject.stepIndex === stepIndex &&
      statement.subject.unit === unit,
    `dispute ${id}: expected a proof about its subject, found another`,
  );
  const finding = judge(() =>
    witnessed === undefined ? checkElementProof(bls, proof) : checkWitnessedProof(bls, witnessed),
  );
  if (finding === undefined) return lose(state, dispute, 'the element is right', events);
  winByConviction(state, dispute, finding, events);
}

/** A verifier's own trace of what it was drawn for, against its receipt. */
function proveReceipt(
  state: LedgerState,
  bls: Bls,
  { dispute: id, proof: bytes }: TransactionBody<'prove-receipt'>,
  events: LedgerEvent[],
): void {
  const dispute = disputeAt(state, id, [TURN.name, TURN.contest]);
  const file = decodeStrict(ReceiptProofType, bytes);
  const { head, trace } = file.proof;
  const settled = state.settled.find((other) => equalBytes(other.claimRoot, dispute.claimRoot));
  const committed = settled === undefined ? undefined : receiptOf(settled, dispute.accused)?.commitment;
  const { kind, stepIndex, unit } = trace.statement.subject;
  requireRule(
    committed !== undefined &&
      equalBytes(file.receipt.message.commitment, committed) &&
      equalBytes(head.chainId, state.chainId) &&
      equalBytes(head.claimRoot, dispute.claimRoot) &&
      equalBytes(head.accused, dispute.accused) &&
      kind === dispute.subject.kind &&
      stepIndex === dispute.subject.stepIndex &&
      unit === dispute.subject.unit,
    `dispute ${id}: expected a proof about its subject and the accused’s receipt, found another`,
  );
  const finding = judge(() => checkReceiptProof(bls, file));
  if (finding === undefined) return lose(state, dispute, 'the receipt follows from the trace', events);
  winByConviction(state, dispute, finding, events);
}

function judge<T>(check: () => T): T {
  try {
    return check();
  } catch (error) {
    // Ranges and shapes that break below are, seen from here, a malformed proof.
    if (error instanceof PogoError) throw rejected(error.message);
    throw error;
  }
}

function winByConviction(state: LedgerState, dispute: Dispute, reason: string, events: LedgerEvent[]): void {
  push(state, dispute, 'convicted', reason, events);
  if (dispute.claim.length === 1) return convictVerifier(state, dispute, events);
  const open = disputedClaim(state, dispute.claimRoot);
  // The claim falls, and with it all its disputes: their bonds go back.
  convict(state, open, dispute.challenger, events);
}

/** A lost dispute pays the accused, and clears the claim of nothing else. */
function lose(state: LedgerState, dispute: Dispute, reason: string, events: LedgerEvent[]): void {
  push(state, dispute, 'lost', reason, events);
  closeDispute(state, dispute, dispute.accused);
  trySettle(state, events, false);
}

function endTurn(state: LedgerState, tick: TransactionBody<'dispute-tick'>, events: LedgerEvent[]): void {
  const dispute = disputeAt(state, tick.dispute, [TURN.trace, TURN.name, TURN.open, TURN.contest]);
  requireRule(dispute.sequence === tick.sequence, `dispute ${dispute.id}: expected a tick of its present turn`);
  const end = dispute.turnHeight + state.parameters.disputeClock;
  requireRule(state.height >= end, `expected a tick at height ${end} or later, found height ${state.height}`);
  // Bytes of a settled claim were there when it was voted for: nobody is asked for them any more.
  const waits = dispute.claim.length === 0 && awaitsPieces(state, claimOf(state, dispute).header.claimNumber);
  requireRule(!waits, 'expected no open availability challenge of the claim or an ancestor');
  const isAccused = dispute.turn === TURN.trace || dispute.turn === TURN.open;
  if (isAccused) winByConviction(state, dispute, 'the accused did not answer', events);
  else lose(state, dispute, 'the challenger did not go on', events);
}
