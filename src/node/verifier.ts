/**
 * The verifier: gives its beacon shares, checks claims by redoing what its own signature drew, and attests. What it finds
 * false it proves: evidence goes to the ledger before the negative attestation.
 */
import * as path from 'node:path';
import { PogoError } from '../errors.js';
import { equalBytes, toHex } from '../hex.js';
import { type Duty, dutiesOf } from '../ledger/stateDuties.js';
import { evidenceCommitment } from '../ledger/stateEvidence.js';
import { findByKey, type LedgerState, LedgerStateType } from '../ledger/stateTypes.js';
import type { Recipe } from '../model/recipe.js';
import type { Trainer } from '../pipeline/trainer.js';
import { LOSS_NOT_MEASURED, signAttestation } from '../protocol/attestation.js';
import { createBeaconShare } from '../protocol/beacon.js';
import type { KeyPair } from '../protocol/bls.js';
import { verifyClaimSignature } from '../protocol/claim.js';
import { samplesForDetection } from '../protocol/detection.js';
import { deriveHash } from '../protocol/domains.js';
import { drawHeldOut, drawUnits, signDraw } from '../protocol/draws.js';
import { buildEquivocationEvidence } from '../protocol/evidence/build.js';
import { MAX_EVIDENCE_BYTES } from '../protocol/evidence/types.js';
import { evidenceKind } from '../protocol/evidence.js';
import { encodeTransaction, signOrder } from '../protocol/ledgerTypes.js';
import { claimRoot as claimRootOf, decodeStrict, type SignedClaim, SignedClaimType } from '../protocol/types.js';
import { evidenceFromFault } from './buildEvidence.js';
import { checkClaim } from './checkClaim.js';
import type { Environment } from './environment.js';
import { hashBytes } from './files/digest.js';
import { writeFileAtomic } from './files/durable.js';
import { readWholeFile, realFiles } from './files/fileLayer.js';
import { HeldOutLoss } from './heldOutLoss.js';
import { Published } from './published.js';
import { cpuSeconds, type MemberContext, type RoleReport } from './roles/common.js';
import { FinalizedClaims } from './roles/finalizedClaims.js';
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
  readonly tokens: Uint16Array | Uint32Array;
}

interface Losses {
  readonly before: number;
  readonly after: number;
}

interface Checked {
  /** The file that proves the claim false; undefined where nothing false was found. */
  readonly evidence: Uint8Array | undefined;
  readonly losses: Losses;
}

/** A verifier without a process of its own: whoever holds it feeds it with the ledger's state. */
export class Verifier {
  readonly finalized = new FinalizedClaims();
  readonly #context: MemberContext;
  readonly #environment: Environment;
  readonly #keys: KeyPair;
  readonly #recipe: Recipe;
  readonly #published: Published;
  /** Claim roots (with their round) that were found to have missing bytes: looked at again in the next round. */
  readonly #abstained = new Set<string>();
  #opened: Promise<Opened> | undefined;

  constructor(context: MemberContext, environment: Environment) {
    this.#context = context;
    this.#environment = environment;
    this.#keys = context.keys;
    this.#recipe = context.recipe;
    this.#published = Published.reader(context.published);
  }

  /** Does the first open duty; false when there is none. */
  async act(state: LedgerState): Promise<boolean> {
    if (await this.#revealPending(state)) return true;
    for (const duty of dutiesOf(state, this.#keys.publicKey)) {
      if (duty.duty === 'beacon-share') {
        const share = createBeaconShare(this.#environment.bls, this.#keys, duty.id);
        await this.#context.ledger.submit(encodeTransaction('beacon-share', share));
        return true;
      }
      if (duty.duty === 'attest' && !this.#abstained.has(this.#roundName(duty))) {
        await this.#attest(duty, state);
        return true;
      }
    }
    return false;
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

  async #attest(duty: AttestDuty, state: LedgerState): Promise<void> {
    const { header } = duty.claim;
    try {
      const { evidence, losses } = await this.#check(duty, state);
      if (evidence === undefined) await this.#vote(duty, 'positive', losses);
      else await this.#accuse(duty, evidence, losses);
    } catch (error) {
      const failure = PogoError.from(error);
      if (!NO_VERDICT.has(failure.code)) throw error;
      // Missing bytes are no evidence against anybody: no vote, and the next round tries again.
      this.#abstained.add(this.#roundName(duty));
      const { claimNumber: claim, attempt } = header;
      this.#report({ type: 'abstained', claim, attempt, code: failure.code, message: failure.message });
    }
  }

  async #check(duty: AttestDuty, state: LedgerState): Promise<Checked> {
    const { claim, claimRoot, beacon2 } = duty;
    const { header } = claim;
    const { trainer, follower, tokens } = await this.#open();
    await follower.goTo(header.fromRoot, this.finalized.headers);
    const fromHeader = await trainer.header();
    const source = this.#published.source(header);
    const parentModel = await trainer.packModel();
    const committee = state.open.find((open) => equalBytes(open.claimRoot, claimRoot))?.committee.length ?? 1;
    const population = duty.steps * this.#recipe.unitsPerStep;
    const { fractionPpm, targetPpm } = this.#recipe.detection;
    const samples = samplesForDetection(population, fractionPpm, targetPpm, committee);
    const drawSignature = signDraw(this.#environment.bls, this.#keys, beacon2, claimRoot);
    const drawn = drawUnits(drawSignature, duty.steps, this.#recipe.unitsPerStep, samples);
    const start = performance.now();
    const cpu = cpuSeconds();
    const result = await checkClaim({
      trainer,
      source,
      tokens,
      drawn,
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
      replaySeconds: result.replaySeconds,
      heldOutBeforeBits: losses.before,
      heldOutAfterBits: losses.after,
    });
    const parent = this.finalized.headers.find((other) => equalBytes(claimRootOf(other), header.parentClaimRoot));
    const accused = { claim, recipe: this.#recipe, commitments: source.list, fromHeader, tokens };
    const subject = parent === undefined ? accused : { ...accused, parent };
    const second = this.#findSecondClaim(claim);
    if (second !== undefined) return { evidence: buildEquivocationEvidence(claim, second, this.#recipe), losses };
    return { evidence: result.fault === undefined ? undefined : evidenceFromFault(subject, result.fault), losses };
  }

  /**
   * Commits to the evidence, votes against the claim, reveals. The vote stands only on a commitment, and the reveal
   * settles the claim: after it there is nothing left to vote on. Whoever is later finds the claim convicted already.
   */
  async #accuse(duty: AttestDuty, evidence: Uint8Array, losses: Losses): Promise<void> {
    const { claim, claimRoot } = duty;
    const { bls } = this.#environment;
    const { ledger, directory } = this.#context;
    const kind = evidenceKind(evidence);
    const { claimNumber, attempt, chainId } = claim.header;
    const file = path.join(directory, 'evidence', `${claimNumber}-${attempt}-${kind}.ssz`);
    realFiles.makeDirectory(path.dirname(file));
    writeFileAtomic(realFiles, file, evidence);
    this.#report({ type: 'evidence', claim: claimNumber, kind, file, bytes: evidence.length });
    const salt = this.#saltOf(evidence);
    const commitment = evidenceCommitment(evidence, this.#keys.publicKey, salt);
    const state = await this.#state();
    const account = findByKey(state.accounts, this.#keys.publicKey);
    const order = { nonce: account?.nonce ?? 0, claimRoot, commitment };
    const committed = await ledger.submit(signOrder(bls, this.#keys, chainId, 'commit-evidence', order));
    if (!committed.accepted) return;
    await this.#vote(duty, 'negative', losses);
    await ledger.submit(encodeTransaction('evidence', { finder: this.#keys.publicKey, salt, evidence }));
  }

  async #vote(
    { claim, claimRoot, beacon2 }: AttestDuty,
    verdict: 'positive' | 'negative',
    losses: Losses,
  ): Promise<void> {
    const { bls } = this.#environment;
    const drawSignature = signDraw(bls, this.#keys, beacon2, claimRoot);
    const attestation = signAttestation(
      bls,
      this.#keys,
      {
        chainId: claim.header.chainId,
        claimRoot,
        verdict,
        heldOutBeforeBits: losses.before,
        heldOutAfterBits: losses.after,
      },
      drawSignature,
    );
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

  #roundName({ claimRoot, round }: AttestDuty): string {
    return `${toHex(claimRoot)}/${round}`;
  }

  #open(): Promise<Opened> {
    this.#opened ??= (async () => {
      const { tokens } = await this.#environment.tokens(this.#recipe);
      const trainer = await this.#environment.createTrainer(this.#recipe);
      return { trainer, tokens, follower: await StateFollower.open(trainer, this.#published) };
    })();
    return this.#opened;
  }

  #report(event: RoleReport): void {
    this.#context.report(event);
  }
}
