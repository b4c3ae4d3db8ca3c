/**
 * Disputes on the ledger: both sides move in turn, each turn has a clock, silence loses (docs/disputes.md §6).
 *
 * Every move is checked when it is made: a trace must end in what the claim committed to, an opened node must lead to
 * the root above it. So the ledger never judges who is right; it only sees whether a move is one, and whether the proof at
 * the end holds.
 */
import { equalBytes } from '../hex.js';
import { rootOfSet } from '../merkle/opening.js';
import type { Bls } from '../protocol/bls.js';
import { contest, type Narrowing, nextOpening, opensNode, startNarrowing } from '../protocol/dispute/narrowing.js';
import { subjectProgram } from '../protocol/dispute/subject.js';
import { type Dispute, TURN } from '../protocol/dispute/transactions.js';
import type { Order, Transaction, TransactionBody } from '../protocol/ledgerTypes.js';
import { outputBytes } from '../protocol/trace/program.js';
import { awaitsPieces } from './stateAvailability.js';
import { openDispute, openHeldOutDispute, openVerifierDispute } from './stateDisputeOpen.js';
import { proveElement, proveReceipt } from './stateDisputeProof.js';
import { setTurn, traceFor } from './stateDisputeQueue.js';
import { contextOf, declineDispute, publishTrace } from './stateDisputeTrace.js';
import { challengerTurn, claimOf, disputeAt, lose, pushChange, winByConviction } from './stateDisputeTurn.js';
import type { LedgerEvent } from './stateEvents.js';
import { requireRule } from './stateMoney.js';
import type { LedgerState } from './stateTypes.js';

type DisputeOrder = Extract<
  Transaction,
  { kind: 'open-dispute' | 'open-verifier-dispute' | 'open-held-out-dispute' | 'name-operation' | 'contest-node' }
>;
type DisputeMove = Extract<
  Transaction,
  { kind: 'publish-trace' | 'open-node' | 'prove-element' | 'prove-receipt' | 'dispute-tick' | 'decline-dispute' }
>;

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
  pushChange(state, dispute, 'named', operation.name, events);
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
  pushChange(state, dispute, 'node-opened', '', events);
}

function contestNode(state: LedgerState, order: Order<'contest-node'>, events: LedgerEvent[]): void {
  const dispute = challengerTurn(state, order.dispute, order.sender, [TURN.contest]);
  const node = nodeOf(dispute);
  requireRule(nextOpening(node).kind === 'values', 'expected a proof once bytes are open, found a contested node');
  setNode(dispute, contest(node, dispute.opened, order.child));
  setTurn(state, dispute, TURN.open);
  pushChange(state, dispute, 'contested', '', events);
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
