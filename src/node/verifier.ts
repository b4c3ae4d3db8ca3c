/**
 * The verifier: gives its beacon shares, checks claims by redoing what its own signature drew, and attests. What it finds
 * false it proves: evidence goes to the ledger before the negative attestation.
 */
import * as path from 'node:path';
import { merkleKernels } from '../backend/merkleAddon.js';
import { PogoError } from '../errors.js';
import { hashBytes } from '../files/digest.js';
import { writeFileAtomic } from '../files/durable.js';
import { readWholeFile, realFiles } from '../files/fileLayer.js';
import { equalBytes, toHex } from '../hex.js';
import type { LedgerBlock } from '../ledger/ledger.js';
import { type DisputeDuty, disputeDutiesOf } from '../ledger/stateDisputeDuties.js';
import { hasDispute } from '../ledger/stateDisputeQueue.js';
import { type Duty, dutiesOf, type RecheckDuty, rechecksOf } from '../ledger/stateDuties.js';
import type { LedgerEvent } from '../ledger/stateEvents.js';
import { evidenceCommitment } from '../ledger/stateEvidence.js';
import { leastBond } from '../ledger/stateMoney.js';
import { findByKey, type LedgerState, LedgerStateType } from '../ledger/stateTypes.js';
import { packedModelLayout } from '../model/layout.js';
import { type Recipe, recipeRoot } from '../model/recipe.js';
import { recipeHeader } from '../model/recipeHeader.js';
import { START_SCALARS } from '../model/state.js';
import type { TokenSequence } from '../model/tokens.js';
import { modelPlan } from '../model/unit.js';
import type { Trainer } from '../pipeline/trainer.js';
import { LOSS_NOT_MEASURED, signAttestation } from '../protocol/attestation.js';
import { createBeaconShare } from '../protocol/beacon.js';
import type { KeyPair } from '../protocol/bls.js';
import { verifyClaimSignature } from '../protocol/claim.js';
import { heldOutBonds, heldOutSubject } from '../protocol/dispute/heldOut.js';
import { hasProgram } from '../protocol/dispute/subject.js';
import { type DisputeSubject, SUBJECT_KIND } from '../protocol/dispute/types.js';
import { deriveHash } from '../protocol/domains.js';
import { drawHeldOut, signDraw } from '../protocol/draws.js';
import { provenUnit } from '../protocol/evidence/attestation.js';
import { buildEquivocationEvidence, tokenSource } from '../protocol/evidence/build.js';
import {
  buildAttestationEvidence,
  buildHeldOutEvidence,
  type HeldOutSubject,
} from '../protocol/evidence/buildVerifier.js';
import { MAX_EVIDENCE_BYTES } from '../protocol/evidence/types.js';
import { evidenceKind } from '../protocol/evidence.js';
import {
  encodeTransaction,
  MAX_EVIDENCE_TRANSACTION_BYTES,
  type Order,
  type OrderKind,
  signOrder,
} from '../protocol/ledgerTypes.js';
import { type ReceiptOpening, ReceiptOpeningType, receiptDuty, signReceipt } from '../protocol/receipt.js';
import { claimRoot as claimRootOf, decodeStrict, type SignedClaim, SignedClaimType } from '../protocol/types.js';
import { carriedBytes, evidenceFromFault, subjectFromFault } from './buildEvidence.js';
import { capture, checkClaim, type Fault } from './checkClaim.js';
import { DisputeAnswers } from './disputeAnswers.js';
import { type ChallengeMove, DisputeChallenges } from './disputeChallenges.js';
import { type DisputedWork, openDisputed, subjectName } from './disputeSubject.js';
import type { Environment } from './environment.js';
import { HeldOutLoss } from './heldOutLoss.js';
import { pieceToAsk } from './pieces.js';
import { Published } from './published.js';
import { startVectors } from './publishedStart.js';
import { ReceiptRecorder } from './receiptRecorder.js';
import { recheckReceipt } from './recheckReceipt.js';
import { CommitteeBook, handOverOrder } from './roles/committeeBook.js';
import { cpuSeconds, type MemberContext, type RoleReport } from './roles/common.js';
import { DisputeBook } from './roles/disputeBook.js';
import { FinalizedClaims } from './roles/finalizedClaims.js';
import { type BookedReceipt, ReceiptBook } from './roles/receiptBook.js';
import { serveJobs } from './severalJobs.js';
import { StateFollower } from './stateFollower.js';

/** Signed claims that miners left beside the ledger; more are not read. */
const MAX_STRAY_CLAIMS = 64;
/** Failures of a check that say nothing about the claim: bytes that are missing, too large, or cannot be computed on. */
const NO_VERDICT: ReadonlySet<string> = new Set(['MISSING', 'UNDECIDED', 'MALFORMED', 'RANGE']);
/** From the verifier's secret and the evidence to the salt of its commitment. */
const SALT_CONTEXT = 'pogo/evidence-salt/1';

type AttestDuty = Extract<Duty, { duty: 'attest' }>;

/** What the first check needs and the later ones use again. */
interface Opened {
  readonly trainer: Trainer;
  readonly follower: StateFollower;
  readonly tokens: TokenSequence;
}

interface Losses {
  readonly before: number;
  readonly after: number;
}

interface Checked {
  /** The file that proves the claim false, or what to dispute; undefined where nothing false was found. */
  readonly found: { readonly evidence: Uint8Array } | { readonly subject: DisputeSubject } | undefined;
  readonly losses: Losses;
  /** What the check's receipt opens to. */
  readonly opening: ReceiptOpening;
}

/** A verifier without a process of its own: whoever holds it feeds it with the ledger's state. */
export class Verifier {
  readonly finalized = new FinalizedClaims();
  readonly receipts = new ReceiptBook();
  readonly disputes = new DisputeBook();
  readonly committees: CommitteeBook;
  readonly #challenges = new DisputeChallenges();
  readonly #answers: DisputeAnswers;
  /** Turns of disputes in which this process found nothing to go on with. */
  readonly #gaveUp = new Set<string>();
  readonly #context: MemberContext;
  readonly #environment: Environment;
  readonly #keys: KeyPair;
  readonly #recipe: Recipe;
  readonly #recipeRoot: Uint8Array;
  readonly #published: Published;
  /** Claim roots (with their round) that were found to have missing bytes: looked at again in the next round. */
  readonly #abstained = new Set<string>();
  /** Rounds whose receipts were opened, and claims whose drawn receipt was looked at, by this process. */
  readonly #revealed = new Set<string>();
  readonly #rechecked = new Set<string>();
  /** Claims of which this process has asked for a file. */
  readonly #asked = new Set<string>();
  #opened: Promise<Opened> | undefined;

  constructor(context: MemberContext, environment: Environment) {
    this.#context = context;
    this.#environment = environment;
    this.#keys = context.keys;
    this.committees = new CommitteeBook(context.keys.publicKey);
    this.#recipe = context.recipe;
    this.#recipeRoot = recipeRoot(context.recipe);
    this.#published = Published.reader(context.published);
    this.#answers = new DisputeAnswers(environment.bls, context.keys, context.recipe);
  }

  /** Sees every block, in order, before the state that it leads to. */
  see(block: LedgerBlock<LedgerEvent>): void {
    this.finalized.add(block);
    this.receipts.add(block);
    this.disputes.add(block);
    this.committees.add(block);
  }

  /** Does the first open duty; false when there is none. */
  async act(state: LedgerState): Promise<boolean> {
    if (await serveJobs(this.#context, this.#environment.bls, state, this.#recipeRoot)) return true;
    if ((await this.#revealPending(state)) || (await this.#playDisputes(state))) return true;
    if (await this.#handOver(state)) return true;
    for (const duty of dutiesOf(state, this.#keys.publicKey)) {
      if (duty.duty === 'beacon-share') {
        const share = createBeaconShare(this.#environment.bls, this.#keys, duty.id);
        await this.#context.ledger.submit(encodeTransaction('beacon-share', share));
        return true;
      }
      if (duty.duty === 'reveal' && (await this.#reveal(duty))) return true;
      if (duty.duty === 'attest' && this.#isMine(duty.claim) && !this.#abstained.has(this.#roundName(duty))) {
        await this.#attest(duty);
        return true;
      }
    }
    return this.#recheck(state);
  }

  /** Signs for a committee that is another than the one before: files of origin follow the members by it. */
  async #handOver(state: LedgerState): Promise<boolean> {
    const subject = this.committees.due(state);
    if (subject === undefined || findByKey(state.members, this.#keys.publicKey) === undefined) return false;
    this.committees.took(subject);
    return this.#order(state, 'hand-over', handOverOrder(this.#environment.bls, this.#keys, subject));
  }

  /** Bytes of the largest file of evidence that is sent; what would be larger is disputed. */
  get #evidenceLimit(): number {
    return this.#context.evidenceBytes ?? MAX_EVIDENCE_TRANSACTION_BYTES;
  }

  /** Whether a claim is under this verifier's recipe: one of another job is another's work. */
  #isMine({ header }: SignedClaim): boolean {
    return equalBytes(header.recipeRoot, this.#recipeRoot);
  }

  /** Opens the receipt of this round. @returns false where it was lost with the verifier's files */
  async #reveal({ claimRoot, round }: Extract<Duty, { duty: 'reveal' }>): Promise<boolean> {
    const name = `${toHex(claimRoot)}-${round}`;
    const file = this.#receiptFile(name);
    if (this.#revealed.has(name) || realFiles.status(file)?.kind !== 'file') return false;
    const opening = decodeStrict(ReceiptOpeningType, readWholeFile(realFiles, file, ReceiptOpeningType.maxSize));
    const body = { claimRoot, verifier: this.#keys.publicKey, opening };
    await this.#context.ledger.submit(encodeTransaction('receipt-reveal', body));
    this.#revealed.add(name);
    return true;
  }

  /** Looks at the next foreign receipt that this verifier was drawn for; false when there is none. */
  async #recheck(state: LedgerState): Promise<boolean> {
    for (const duty of rechecksOf(state, this.#keys.publicKey)) {
      const name = toHex(duty.claim.claimRoot);
      const booked = this.receipts.find(duty.claim.claimRoot, duty.verifier);
      if (booked === undefined || !this.#isMine(booked.claim) || this.#rechecked.has(name)) continue;
      this.#rechecked.add(name);
      try {
        await this.#recheckOne(duty, booked);
      } catch (error) {
        const failure = PogoError.from(error);
        // Bytes that are gone prove nothing about anybody.
        if (!NO_VERDICT.has(failure.code)) throw error;
      }
      return true;
    }
    return false;
  }

  async #recheckOne(duty: RecheckDuty, booked: BookedReceipt): Promise<void> {
    const { trainer, follower, tokens } = await this.#open();
    const { header } = booked.claim;
    await follower.goTo(header.fromRoot, this.finalized.headers);
    const source = this.#published.source(header);
    const start = performance.now();
    const work = { trainer, source, tokens, booked, recipe: this.#recipe };
    const result = await recheckReceipt({ ...work, ticket: duty.ticket, evidenceBytes: this.#evidenceLimit });
    this.#report({
      type: 'rechecked',
      claim: header.claimNumber,
      attempt: header.attempt,
      verifier: toHex(duty.verifier),
      part: result.part,
      held: result.held,
      seconds: (performance.now() - start) / 1000,
    });
    const { falseUnit } = result;
    const large = falseUnit !== undefined && carriedBytes(falseUnit) > this.#evidenceLimit;
    if (result.held && large && hasProgram(this.#recipe, { kind: SUBJECT_KIND.unit })) {
      const { stepIndex, unit } = falseUnit;
      return this.#disputeVote(duty, booked, { kind: SUBJECT_KIND.unit, stepIndex, unit });
    }
    if (result.disputed !== undefined) return this.#disputeVote(duty, booked, result.disputed);
    const evidence = result.evidence ?? this.#falseVote(duty, booked, falseUnit, tokens);
    if (evidence !== undefined) return this.#commitAndReveal(booked.claim, evidence);
    await this.#compareLosses(duty, booked.claim);
  }

  /** The losses of a vote against this verifier's own of the same round: whoever differs is accused, or disputed. */
  async #compareLosses({ claim: { claimRoot }, verifier }: RecheckDuty, claim: SignedClaim): Promise<void> {
    const own = this.receipts.voteOf(claimRoot, this.#keys.publicKey);
    const vote = this.receipts.voteOf(claimRoot, verifier);
    if (own === undefined || vote === undefined || !equalBytes(own.data.beacon2, vote.data.beacon2)) return;
    const isAfter = own.data.heldOutAfterBits !== vote.data.heldOutAfterBits;
    if (!isAfter && own.data.heldOutBeforeBits === vote.data.heldOutBeforeBits) return;
    const { trainer, follower, tokens } = await this.#open();
    const { header } = claim;
    await follower.goTo(header.fromRoot, this.finalized.headers);
    const parent = this.finalized.find(header.parentClaimRoot);
    const tokenFile = tokenSource(tokens, merkleKernels());
    let subject: HeldOutSubject;
    if (isAfter) {
      const { bytes } = packedModelLayout(trainer.plan.layout);
      subject = { after: true, model: this.#published.source(header).blob(header.modelRoot, bytes) };
    } else if (parent !== undefined) {
      subject = { after: false, parent, model: await trainer.packModel() };
    } else {
      const { header: fromHeader, theta, ema } = await capture(trainer);
      subject = { after: false, fromHeader, vector: this.#recipe.ema ? ema : theta };
    }
    const evidence = buildHeldOutEvidence({ claim, recipe: this.#recipe }, vote, subject, tokenFile);
    if (evidence.length <= this.#evidenceLimit || !hasProgram(this.#recipe, { kind: SUBJECT_KIND.heldOut })) {
      return this.#commitAndReveal(claim, evidence);
    }
    const state = await this.#state();
    const bond = heldOutBonds(this.#recipe) * leastBond(state.parameters);
    const { claimNumber, attempt } = header;
    const name = subjectName(heldOutSubject(vote.data, isAfter));
    this.#report({ type: 'disputed', claim: claimNumber, attempt, subject: name, bond: `${bond}` });
    const order = { claim, recipe: recipeHeader(this.#recipe), attestation: vote, after: isAfter ? 1 : 0, bond };
    await this.#order(state, 'open-held-out-dispute', order);
  }

  /** Challenges who voted to show how a unit, or its receipt, comes about: where evidence against them is too large. */
  async #disputeVote({ verifier }: RecheckDuty, { claim }: BookedReceipt, subject: DisputeSubject): Promise<void> {
    const state = await this.#state();
    const bond = leastBond(state.parameters);
    const { claimNumber, attempt } = claim.header;
    this.#report({ type: 'disputed', claim: claimNumber, attempt, subject: subjectName(subject), bond: `${bond}` });
    const recipe = recipeHeader(this.#recipe);
    await this.#order(state, 'open-verifier-dispute', { claim, recipe, accused: verifier, subject, bond });
  }

  /**
   * Evidence against a positive vote over a unit that its verifier was drawn for: one that the recheck found false, or one
   * that somebody proved false before.
   */
  #falseVote(
    { claim: { claimRoot }, verifier }: RecheckDuty,
    { claim, receipt, opening }: BookedReceipt,
    falseUnit: Extract<Fault, { kind: 'unit' | 'loss' }> | undefined,
    tokens: TokenSequence,
  ): Uint8Array | undefined {
    const vote = this.receipts.voteOf(claimRoot, verifier);
    if (vote === undefined) return undefined;
    const { drawSignature } = opening;
    const accusation = { claim, recipe: this.#recipe, receipt, drawSignature };
    if (falseUnit !== undefined) {
      const commitments = this.#published.list(claim.header.listRoot);
      const subject = { claim, recipe: this.#recipe, commitments, fromHeader: falseUnit.pre.header, tokens };
      return buildAttestationEvidence(accusation, vote, evidenceFromFault(subject, falseUnit));
    }
    const { listRoot } = claim.header;
    const steps = this.#published.list(listRoot).length;
    const { units } = receiptDuty(drawSignature, this.#recipe, steps, receipt.message.committee);
    const proof = this.receipts.falseUnitsOf(claimRoot).find((file) => {
      const { stepIndex, unit } = provenUnit(file);
      return units.some((drawn) => drawn.stepIndex === stepIndex && drawn.unit === unit);
    });
    return proof === undefined ? undefined : buildAttestationEvidence(accusation, vote, proof);
  }

  #receiptFile(name: string): string {
    return path.join(this.#context.directory, 'receipts', `${name}.ssz`);
  }

  /** Reveals evidence that an earlier process of this verifier committed to. @returns whether it was taken */
  async #revealPending(state: LedgerState): Promise<boolean> {
    const folder = path.join(this.#context.directory, 'evidence');
    const own = state.commitments.filter(({ finder }) => equalBytes(finder, this.#keys.publicKey));
    if (own.length === 0 || realFiles.status(folder)?.kind !== 'directory') return false;
    for (const name of realFiles.list(folder).filter((file) => file.endsWith('.ssz'))) {
      const evidence = readWholeFile(realFiles, path.join(folder, name), MAX_EVIDENCE_BYTES);
      const salt = this.#saltOf(evidence);
      const commitment = evidenceCommitment(evidence, this.#keys.publicKey, salt);
      if (!own.some((other) => equalBytes(other.commitment, commitment))) continue;
      const reveal = encodeTransaction('evidence', { finder: this.#keys.publicKey, salt, evidence });
      if ((await this.#context.ledger.submit(reveal)).accepted) return true;
    }
    return false;
  }

  /** Secret until revealed, and the same after a crash: a commitment can always be opened by its finder. */
  #saltOf(evidence: Uint8Array): Uint8Array {
    return deriveHash(SALT_CONTEXT, this.#keys.secret, hashBytes(evidence));
  }

  async #attest(duty: AttestDuty): Promise<void> {
    const { header } = duty.claim;
    try {
      const { found, losses, opening } = await this.#check(duty);
      if (found === undefined) {
        await this.#commitReceipt(duty, opening);
        await this.#vote(duty, 'positive', losses);
      } else if ('evidence' in found) {
        await this.#commitAndReveal(duty.claim, found.evidence, () => this.#vote(duty, 'negative', losses));
      } else {
        await this.#dispute(duty, found.subject);
        await this.#vote(duty, 'negative', losses);
      }
    } catch (error) {
      const failure = PogoError.from(error);
      if (!NO_VERDICT.has(failure.code)) throw error;
      if (failure.code === 'MISSING') await this.#ask(duty, failure);
      // Missing bytes are no evidence against anybody: no vote, and the next round tries again.
      this.#abstained.add(this.#roundName(duty));
      const { claimNumber: claim, attempt } = header;
      this.#report({
        type: 'abstained',
        job: header.job,
        claim,
        attempt,
        code: failure.code,
        message: failure.message,
      });
    }
  }

  /** The opening is on disk before the ledger knows of it: what was committed to can be opened after a crash. */
  async #commitReceipt(
    { claim, claimRoot, beacon2, round, committee }: AttestDuty,
    opening: ReceiptOpening,
  ): Promise<void> {
    const file = this.#receiptFile(`${toHex(claimRoot)}-${round}`);
    realFiles.makeDirectory(path.dirname(file));
    writeFileAtomic(realFiles, file, ReceiptOpeningType.serialize(opening));
    const subject = { chainId: claim.header.chainId, claimRoot, beacon2, committee };
    const receipt = signReceipt(this.#environment.bls, this.#keys, subject, opening);
    await this.#context.ledger.submit(encodeTransaction('receipt', receipt));
  }

  async #check(duty: AttestDuty): Promise<Checked> {
    const { claim, claimRoot, beacon2 } = duty;
    const { header } = claim;
    const { trainer, follower, tokens } = await this.#open();
    await follower.goTo(header.fromRoot, this.finalized.headers);
    const fromHeader = await trainer.header();
    const source = this.#published.source(header);
    const parentModel = await trainer.packModel();
    const drawSignature = signDraw(this.#environment.bls, this.#keys, beacon2, claimRoot);
    const work = receiptDuty(drawSignature, this.#recipe, duty.steps, duty.committee);
    const drawn = work.units;
    const receipt = new ReceiptRecorder(trainer, drawSignature, work);
    const start = performance.now();
    const cpu = cpuSeconds();
    const result = await checkClaim({
      trainer,
      goBack: () => follower.goBack(header.fromRoot),
      source,
      tokens,
      drawn,
      receipt,
      parentModel: duty.firstStep === 0 ? undefined : parentModel,
      onProgress: (units, of) => this.#report({ type: 'checking', claim: header.claimNumber, units, of }),
    });
    let losses: Losses = { before: LOSS_NOT_MEASURED, after: LOSS_NOT_MEASURED };
    if (result.fault === undefined && result.model !== undefined) {
      const heldOut = new HeldOutLoss(trainer, tokens, drawHeldOut(beacon2, claimRoot, this.#recipe));
      losses = { before: await heldOut.of(parentModel), after: await heldOut.of(result.model) };
    }
    this.#report({
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
    const parent = this.finalized.find(header.parentClaimRoot);
    const accused = { claim, recipe: this.#recipe, commitments: source.list, fromHeader, tokens };
    const subject = parent === undefined ? accused : { ...accused, parent };
    const second = this.#findSecondClaim(claim);
    const opening = { drawSignature, parts: receipt.parts };
    if (second !== undefined) {
      return { found: { evidence: buildEquivocationEvidence(claim, second, this.#recipe) }, losses, opening };
    }
    const { fault } = result;
    if (fault === undefined) return { found: undefined, losses, opening };
    const disputed = subjectFromFault(fault);
    const disputable = disputed !== undefined && hasProgram(this.#recipe, disputed);
    if (disputable && carriedBytes(fault) > this.#evidenceLimit)
      return { found: { subject: disputed }, losses, opening };
    return { found: { evidence: evidenceFromFault(subject, fault) }, losses, opening };
  }

  /** Challenges the miner to show the trace of a computation: what stands in place of evidence that is too large. */
  async #dispute({ claim, claimRoot }: AttestDuty, subject: DisputeSubject): Promise<void> {
    const state = await this.#state();
    const bond = leastBond(state.parameters);
    // Opened by an earlier process of this verifier.
    if (hasDispute(state, claimRoot, this.#keys.publicKey)) return;
    const { claimNumber, attempt } = claim.header;
    this.#report({ type: 'disputed', claim: claimNumber, attempt, subject: subjectName(subject), bond: `${bond}` });
    await this.#order(state, 'open-dispute', { claimRoot, subject, bond });
  }

  /** Takes the next turn of a dispute that this verifier opened; false when there is none. */
  async #playDisputes(state: LedgerState): Promise<boolean> {
    for (const duty of disputeDutiesOf(state, this.#keys.publicKey)) {
      const { dispute, claim } = duty;
      const turn = `${dispute.id}/${dispute.sequence}`;
      if (duty.side === 'accused') {
        if (this.#isMine(claim) && !this.#gaveUp.has(turn) && (await this.#answer(duty))) return true;
        continue;
      }
      if (!this.#isMine(claim) || this.#gaveUp.has(turn)) continue;
      const { claimNumber, attempt } = claim.header;
      let move: ChallengeMove;
      try {
        // Only a verifier that is accused over a settled claim has a receipt to be measured by.
        const booked = dispute.claim.length === 1 ? this.receipts.find(dispute.claimRoot, dispute.accused) : undefined;
        move = await this.#challenges.move(state, duty, this.disputes, () => this.#disputed(duty), booked);
      } catch (error) {
        if (!NO_VERDICT.has(PogoError.from(error).code)) throw error;
        move = { kind: 'nothing' };
      }
      if (move.kind === 'nothing') {
        const message = 'its own computation gives what the accused published';
        this.#gaveUp.add(turn);
        this.#report({ type: 'gave-up', claim: claimNumber, attempt, dispute: dispute.id, message });
        continue;
      }
      if (move.kind === 'prove') {
        this.#writeEvidence(claim, move.evidence);
        await this.#context.ledger.submit(move.transaction);
        return true;
      }
      if (move.kind === 'contest') {
        await this.#order(state, 'contest-node', { dispute: dispute.id, child: move.child });
      } else {
        await this.#order(state, 'name-operation', {
          dispute: dispute.id,
          operation: move.operation,
          list: move.list,
        });
      }
      return true;
    }
    return false;
  }

  /** Answers for a vote of its own: with the trace of a unit that it was drawn for. @returns false where it has none */
  async #answer(duty: DisputeDuty): Promise<boolean> {
    const { dispute, claim } = duty;
    const { claimNumber, attempt } = claim.header;
    let message: string;
    try {
      const answer = await this.#answers.answer(
        duty,
        () => this.#disputed(duty, true),
        (trace) => this.#report({ type: 'traced', claim: claimNumber, attempt, ...trace }),
      );
      const result = await this.#context.ledger.submit(answer);
      if (result.accepted) return true;
      message = result.reason;
    } catch (error) {
      const failure = PogoError.from(error);
      if (failure.code !== 'MISMATCH' && !NO_VERDICT.has(failure.code)) throw error;
      message = failure.message;
    }
    this.#gaveUp.add(`${dispute.id}/${dispute.sequence}`);
    this.#report({ type: 'gave-up', claim: claimNumber, attempt, dispute: dispute.id, message });
    return false;
  }

  /** Goes through a claim up to what is disputed. @param standsBy as the accused: for what the claim commits to */
  async #disputed({ claim, dispute }: DisputeDuty, standsBy = false): Promise<DisputedWork> {
    const { trainer, follower, tokens } = await this.#open();
    await follower.goTo(claim.header.fromRoot, this.finalized.headers);
    const source = this.#published.source(claim.header);
    const parent = this.finalized.find(claim.header.parentClaimRoot);
    // Of a verifier that opened one; a miner's disputes need none.
    const drawSignature = this.receipts.find(dispute.claimRoot, dispute.accused)?.opening.drawSignature;
    const vote = this.receipts.voteOf(dispute.claimRoot, dispute.accused);
    const work = { claim, recipe: this.#recipe, source, tokens, parent, vote, trainer };
    return openDisputed(
      { ...work, ...(drawSignature === undefined ? {} : { drawSignature }) },
      dispute.subject,
      standsBy,
    );
  }

  async #order<K extends OrderKind>(
    state: LedgerState,
    kind: K,
    body: Omit<Order<K>, 'sender' | 'nonce'>,
  ): Promise<boolean> {
    const nonce = findByKey(state.accounts, this.#keys.publicKey)?.nonce ?? 0;
    const order = { ...body, nonce } as unknown as Omit<Order<K>, 'sender'>;
    const signed = signOrder(this.#environment.bls, this.#keys, state.chainId, kind, order);
    return (await this.#context.ledger.submit(signed)).accepted;
  }

  /**
   * Commits to evidence, does what stands between (a vote against the claim), reveals. A negative vote stands only on a
   * commitment, and the reveal settles the claim: after it there is nothing left to vote on. Whoever is later finds the
   * accused convicted already.
   */
  async #commitAndReveal(
    claim: SignedClaim,
    evidence: Uint8Array,
    between: () => Promise<void> = async () => undefined,
  ): Promise<void> {
    const claimRoot = claimRootOf(claim.header);
    const { ledger } = this.#context;
    this.#writeEvidence(claim, evidence);
    const salt = this.#saltOf(evidence);
    const commitment = evidenceCommitment(evidence, this.#keys.publicKey, salt);
    if (!(await this.#order(await this.#state(), 'commit-evidence', { claimRoot, commitment }))) return;
    await between();
    await ledger.submit(encodeTransaction('evidence', { finder: this.#keys.publicKey, salt, evidence }));
  }

  /** Keeps a file of evidence, for the ledger and for everybody. */
  #writeEvidence({ header }: SignedClaim, evidence: Uint8Array): void {
    const { claimNumber, attempt } = header;
    const kind = evidenceKind(evidence);
    const file = path.join(this.#context.directory, 'evidence', `${claimNumber}-${attempt}-${kind}.ssz`);
    realFiles.makeDirectory(path.dirname(file));
    writeFileAtomic(realFiles, file, evidence);
    this.#report({ type: 'evidence', claim: claimNumber, kind, file, bytes: evidence.length });
  }

  async #vote(
    { claim, claimRoot, beacon2 }: AttestDuty,
    verdict: 'positive' | 'negative',
    losses: Losses,
  ): Promise<void> {
    const attestation = signAttestation(this.#environment.bls, this.#keys, {
      chainId: claim.header.chainId,
      claimRoot,
      beacon2,
      verdict,
      heldOutBeforeBits: losses.before,
      heldOutAfterBits: losses.after,
    });
    // Refused when evidence has settled the claim meanwhile: nothing is left to vote on.
    await this.#context.ledger.submit(encodeTransaction('attestation', attestation));
  }

  /** Another signed claim of the same turn that its miner left among the published files. */
  #findSecondClaim(claim: SignedClaim): SignedClaim | undefined {
    const folder = path.join(this.#context.published, 'claims');
    if (realFiles.status(folder)?.kind !== 'directory') return undefined;
    const own = SignedClaimType.hashTreeRoot(claim);
    for (const name of realFiles.list(folder).slice(0, MAX_STRAY_CLAIMS)) {
      let other: SignedClaim;
      try {
        other = decodeStrict(
          SignedClaimType,
          readWholeFile(realFiles, path.join(folder, name), SignedClaimType.maxSize),
        );
      } catch {
        // Not a claim: nothing that anybody could be accused with.
        continue;
      }
      const sameTurn =
        other.header.claimNumber === claim.header.claimNumber &&
        other.header.attempt === claim.header.attempt &&
        other.header.job === claim.header.job &&
        equalBytes(other.header.miner, claim.header.miner) &&
        equalBytes(other.header.chainId, claim.header.chainId);
      if (!sameTurn || equalBytes(SignedClaimType.hashTreeRoot(other), own)) continue;
      // Anybody can leave a file here: without the miner's signature it would cost the accuser its bond.
      if (verifyClaimSignature(this.#environment.bls, other)) return other;
    }
    return undefined;
  }

  async #state(): Promise<LedgerState> {
    return decodeStrict(LedgerStateType, await this.#context.ledger.query('/state'));
  }

  /** Asks the claim's miner for the file that the check missed: once for a claim, since the answer costs. */
  async #ask({ claim, claimRoot }: AttestDuty, failure: PogoError): Promise<void> {
    const missing = failure.details['root'];
    const name = toHex(claimRoot);
    if (typeof missing !== 'string' || this.#asked.has(name)) return;
    const asked = pieceToAsk(this.#published, claim.header, missing);
    if (asked === undefined) return;
    this.#asked.add(name);
    await this.#order(await this.#state(), 'challenge-piece', asked);
  }

  #roundName({ claimRoot, round }: AttestDuty): string {
    return `${toHex(claimRoot)}/${round}`;
  }

  #open(): Promise<Opened> {
    this.#opened ??= (async () => {
      const { tokens } = await this.#environment.tokens(this.#recipe);
      this.#environment.models.add(this.#published.blobs);
      const plan = modelPlan(this.#recipe);
      const start = { vectors: startVectors(plan, this.#published.blobs), scalars: START_SCALARS };
      const trainer = await this.#environment.createTrainer(plan, start);
      return { trainer, tokens, follower: await StateFollower.open(trainer, this.#published) };
    })();
    return this.#opened;
  }

  #report(event: RoleReport): void {
    this.#context.report(event);
  }
}
