/**
 * The verifier: gives its beacon shares, checks claims by redoing what its own signature drew, and attests. What it finds
 * false it proves: evidence goes to the ledger before the negative attestation.
 */
import * as path from 'node:path';
import { PogoError } from '../errors.js';
import { writeFileAtomic } from '../files/durable.js';
import { readWholeFile, realFiles } from '../files/fileLayer.js';
import { toHex } from '../hex.js';
import type { LedgerBlock } from '../ledger/ledger.js';
import { readState, submitOrder } from '../ledger/orders.js';
import { hasDispute } from '../ledger/stateDisputeQueue.js';
import { type Duty, dutiesOf } from '../ledger/stateDuties.js';
import type { LedgerEvent } from '../ledger/stateEvents.js';
import { leastBond } from '../ledger/stateMoney.js';
import { findByKey, type LedgerState } from '../ledger/stateTypes.js';
import { LOSS_NOT_MEASURED, signAttestation } from '../protocol/attestation.js';
import { createBeaconShare } from '../protocol/beacon.js';
import { hasProgram } from '../protocol/dispute/subject.js';
import type { DisputeSubject } from '../protocol/dispute/types.js';
import { drawHeldOut, signDraw } from '../protocol/draws.js';
import { buildEquivocationEvidence } from '../protocol/evidence/build.js';
import { encodeTransaction } from '../protocol/ledgerTypes.js';
import { type ReceiptOpening, ReceiptOpeningType, receiptDuty, signReceipt } from '../protocol/receipt.js';
import { decodeStrict } from '../protocol/types.js';
import { Accusations } from './accusations.js';
import { carriedBytes, evidenceFromFault, type FaultSubject, subjectFromFault } from './buildEvidence.js';
import { type CheckResult, checkClaim } from './checkClaim.js';
import { DisputeTurns } from './disputeTurns.js';
import type { Environment } from './environment.js';
import { decidesNothing, FollowedRun } from './followedRun.js';
import { HeldOutLoss } from './heldOutLoss.js';
import { pieceToAsk } from './pieces.js';
import { ReceiptChecks } from './receiptChecks.js';
import { ReceiptRecorder } from './receiptRecorder.js';
import { CommitteeBook, handOverOrder } from './roles/committeeBook.js';
import { cpuSeconds, type MemberContext, type SigningMember } from './roles/common.js';
import { DisputeBook } from './roles/disputeBook.js';
import { ReceiptBook } from './roles/receiptBook.js';
import { findSecondClaim } from './secondClaim.js';
import { serveJobs } from './severalJobs.js';

type AttestDuty = Extract<Duty, { duty: 'attest' }>;

interface Losses {
  readonly before: number;
  readonly after: number;
}

/** The file that proves a claim false, or what to dispute; undefined where nothing false was found. */
type Finding = { readonly evidence: Uint8Array } | { readonly subject: DisputeSubject } | undefined;

interface Checked {
  readonly found: Finding;
  readonly losses: Losses;
  /** What the check's receipt opens to. */
  readonly opening: ReceiptOpening;
}

/** A verifier without a process of its own: whoever holds it feeds it with the ledger's state. */
export class Verifier {
  readonly #member: SigningMember;
  readonly #run: FollowedRun;
  readonly #receipts = new ReceiptBook();
  readonly #disputes = new DisputeBook();
  readonly #committees: CommitteeBook;
  readonly #accusations: Accusations;
  readonly #receiptChecks: ReceiptChecks;
  readonly #disputeTurns: DisputeTurns;
  /** Claim roots, with the round, that this process could not decide or vote on: looked at again in the next round. */
  readonly #abstained = new Set<string>();
  /** Rounds whose receipts were opened by this process. */
  readonly #revealed = new Set<string>();
  /** Claims of which this process has asked for a file. */
  readonly #asked = new Set<string>();

  constructor(context: MemberContext, environment: Environment) {
    const member = { ...context, bls: environment.bls };
    this.#member = member;
    this.#run = new FollowedRun(context, environment);
    this.#committees = new CommitteeBook(context.keys.publicKey);
    this.#accusations = new Accusations(member);
    this.#receiptChecks = new ReceiptChecks(member, this.#run, this.#receipts, this.#accusations);
    const books = { receipts: this.#receipts, disputes: this.#disputes };
    this.#disputeTurns = new DisputeTurns(member, this.#run, books, this.#accusations);
  }

  /** Sees every block, in order, before the state that it leads to. */
  see(block: LedgerBlock<LedgerEvent>): void {
    this.#run.finalized.add(block);
    this.#receipts.add(block);
    this.#disputes.add(block);
    this.#committees.add(block);
  }

  /** Does the first open duty; false when there is none. */
  async act(state: LedgerState): Promise<boolean> {
    const { bls, keys, ledger } = this.#member;
    if (await serveJobs(this.#member, state, this.#run.recipeRoot)) return true;
    if ((await this.#accusations.revealPending(state)) || (await this.#disputeTurns.next(state))) return true;
    if (await this.#handOver(state)) return true;
    for (const duty of dutiesOf(state, keys.publicKey)) {
      if (duty.duty === 'beacon-share') {
        await ledger.submit(encodeTransaction('beacon-share', createBeaconShare(bls, keys, duty.id)));
        return true;
      }
      if (duty.duty === 'reveal' && (await this.#reveal(duty))) return true;
      if (duty.duty === 'attest' && this.#run.isMine(duty.claim) && !this.#abstained.has(roundName(duty))) {
        await this.#attest(duty);
        return true;
      }
    }
    return this.#receiptChecks.next(state);
  }

  /** Signs for a committee that is another than the one before: files of origin follow the members by it. */
  async #handOver(state: LedgerState): Promise<boolean> {
    const { bls, keys } = this.#member;
    const subject = this.#committees.due(state);
    if (subject === undefined || findByKey(state.members, keys.publicKey) === undefined) return false;
    this.#committees.took(subject);
    const order = handOverOrder(bls, keys, subject);
    return (await submitOrder(this.#member, state, 'hand-over', order)).accepted;
  }

  async #attest(duty: AttestDuty): Promise<void> {
    try {
      const refusal = await this.#conclude(duty, await this.#check(duty));
      // Tried again at once it would be checked for ever; the round does without this vote, as without one that is missing.
      if (refusal !== undefined && (await this.#isDue(duty))) this.#abstain(duty, 'REJECTED', refusal);
    } catch (error) {
      if (!decidesNothing(error)) throw error;
      const failure = PogoError.from(error);
      if (failure.code === 'MISSING') await this.#ask(duty, failure);
      // Missing bytes are no evidence against anybody: no vote, and the next round tries again.
      this.#abstain(duty, failure.code, failure.message);
    }
  }

  /** Votes by what the check found, with evidence or a dispute before a negative vote. @returns why the ledger refused it */
  async #conclude(duty: AttestDuty, { found, losses, opening }: Checked): Promise<string | undefined> {
    if (found === undefined) {
      await this.#commitReceipt(duty, opening);
      return this.#vote(duty, 'positive', losses);
    }
    if ('evidence' in found) {
      const vote = () => this.#vote(duty, 'negative', losses);
      return this.#accusations.commitAndReveal(duty.claim, found.evidence, vote);
    }
    await this.#dispute(duty, found.subject);
    return this.#vote(duty, 'negative', losses);
  }

  /** Whether this round still waits for the vote: not where evidence has settled the claim meanwhile. */
  async #isDue(duty: AttestDuty): Promise<boolean> {
    const state = await readState(this.#member.ledger);
    return dutiesOf(state, this.#member.keys.publicKey).some(
      (other) => other.duty === 'attest' && roundName(other) === roundName(duty),
    );
  }

  #abstain(duty: AttestDuty, code: string, message: string): void {
    const { job, claimNumber: claim, attempt } = duty.claim.header;
    this.#abstained.add(roundName(duty));
    this.#member.report({ type: 'abstained', job, claim, attempt, code, message });
  }

  async #check(duty: AttestDuty): Promise<Checked> {
    const { bls, keys, recipe, report } = this.#member;
    const { claim, claimRoot, beacon2 } = duty;
    const { header } = claim;
    const { trainer, tokens, goBack } = await this.#run.goTo(header);
    const fromHeader = await trainer.header();
    const source = this.#run.published.source(header);
    const parentModel = await trainer.packModel();
    const drawSignature = signDraw(bls, keys, beacon2, claimRoot);
    const work = receiptDuty(drawSignature, recipe, duty.steps, duty.committee);
    const drawn = work.units;
    const receipt = new ReceiptRecorder(trainer, drawSignature, work);
    const start = performance.now();
    const cpu = cpuSeconds();
    const result = await checkClaim({
      trainer,
      goBack,
      source,
      tokens,
      drawn,
      receipt,
      parentModel: duty.firstStep === 0 ? undefined : parentModel,
      onProgress: (units, of) => report({ type: 'checking', claim: header.claimNumber, units, of }),
    });
    let losses: Losses = { before: LOSS_NOT_MEASURED, after: LOSS_NOT_MEASURED };
    if (result.fault === undefined && result.model !== undefined) {
      const heldOut = new HeldOutLoss(trainer, tokens, drawHeldOut(beacon2, claimRoot, recipe));
      losses = { before: await heldOut.of(parentModel), after: await heldOut.of(result.model) };
    }
    report({
      type: 'checked',
      job: header.job,
      claim: header.claimNumber,
      attempt: header.attempt,
      verdict: result.fault === undefined ? 'positive' : 'negative',
      fault: result.fault?.kind,
      message: result.fault?.message,
      checks: result.checks,
      units: result.unitsRecomputed,
      drawn: drawn.length,
      bytesRead: result.bytesRead,
      seconds: (performance.now() - start) / 1000,
      cpuSeconds: cpuSeconds() - cpu,
      replaySeconds: result.replaySeconds + result.hashSeconds,
      heldOutBeforeBits: losses.before,
      heldOutAfterBits: losses.after,
    });
    const parent = this.#run.finalized.find(header.parentClaimRoot);
    const accused = { claim, recipe, commitments: source.list, fromHeader, tokens };
    const subject = parent === undefined ? accused : { ...accused, parent };
    return { found: this.#finding(subject, result), losses, opening: { drawSignature, parts: receipt.parts } };
  }

  #finding(subject: FaultSubject, { fault }: CheckResult): Finding {
    const { bls, published, recipe } = this.#member;
    const { claim } = subject;
    const second = findSecondClaim(bls, published, claim);
    if (second !== undefined) return { evidence: buildEquivocationEvidence(claim, second, recipe) };
    if (fault === undefined) return undefined;
    const disputed = subjectFromFault(fault);
    const disputable = disputed !== undefined && hasProgram(recipe, disputed);
    if (disputable && carriedBytes(fault) > this.#accusations.evidenceLimit) return { subject: disputed };
    return { evidence: evidenceFromFault(subject, fault) };
  }

  async #dispute({ claim, claimRoot }: AttestDuty, subject: DisputeSubject): Promise<void> {
    const state = await readState(this.#member.ledger);
    // Opened by an earlier process of this verifier.
    if (hasDispute(state, claimRoot, this.#member.keys.publicKey)) return;
    const order = { claimRoot, subject, bond: leastBond(state.parameters) };
    await this.#accusations.openDispute(state, claim.header, subject, 'open-dispute', order);
  }

  /** The opening is on disk before the ledger knows of it: what was committed to can be opened after a crash. */
  async #commitReceipt(
    { claim, claimRoot, beacon2, round, committee }: AttestDuty,
    opening: ReceiptOpening,
  ): Promise<void> {
    const { bls, keys, ledger } = this.#member;
    const file = this.#receiptFile(`${toHex(claimRoot)}-${round}`);
    realFiles.makeDirectory(path.dirname(file));
    writeFileAtomic(realFiles, file, ReceiptOpeningType.serialize(opening));
    const subject = { chainId: claim.header.chainId, claimRoot, beacon2, committee };
    await ledger.submit(encodeTransaction('receipt', signReceipt(bls, keys, subject, opening)));
  }

  /** Opens the receipt of this round. @returns false where it was lost with the verifier's files */
  async #reveal({ claimRoot, round }: Extract<Duty, { duty: 'reveal' }>): Promise<boolean> {
    const { keys, ledger } = this.#member;
    const name = `${toHex(claimRoot)}-${round}`;
    const file = this.#receiptFile(name);
    if (this.#revealed.has(name) || realFiles.status(file)?.kind !== 'file') return false;
    const opening = decodeStrict(ReceiptOpeningType, readWholeFile(realFiles, file, ReceiptOpeningType.maxSize));
    await ledger.submit(encodeTransaction('receipt-reveal', { claimRoot, verifier: keys.publicKey, opening }));
    this.#revealed.add(name);
    return true;
  }

  #receiptFile(name: string): string {
    return path.join(this.#member.directory, 'receipts', `${name}.ssz`);
  }

  async #vote(
    { claim, claimRoot, beacon2 }: AttestDuty,
    verdict: 'positive' | 'negative',
    losses: Losses,
  ): Promise<string | undefined> {
    const { bls, keys, ledger } = this.#member;
    const attestation = signAttestation(bls, keys, {
      chainId: claim.header.chainId,
      claimRoot,
      beacon2,
      verdict,
      heldOutBeforeBits: losses.before,
      heldOutAfterBits: losses.after,
    });
    const result = await ledger.submit(encodeTransaction('attestation', attestation));
    return result.accepted ? undefined : result.reason;
  }

  /** Asks the claim's miner for the file that the check missed: once for a claim, since the answer costs. */
  async #ask({ claim, claimRoot }: AttestDuty, failure: PogoError): Promise<void> {
    const missing = failure.details['root'];
    const name = toHex(claimRoot);
    if (typeof missing !== 'string' || this.#asked.has(name)) return;
    const asked = pieceToAsk(this.#run.published, claim.header, missing);
    if (asked === undefined) return;
    this.#asked.add(name);
    await submitOrder(this.#member, await readState(this.#member.ledger), 'challenge-piece', asked);
  }
}

function roundName({ claimRoot, round }: AttestDuty): string {
  return `${toHex(claimRoot)}/${round}`;
}
