/**
 * Checks a file of origin, trusting nothing in it but what the caller pins: claims are signed and build on each other
 * from claim 0 to the checkpoint, and two thirds of the stake of each claim's committee voted for it.
 */
import { PogoError } from '../errors.js';
import { equalBytes, toHex } from '../hex.js';
import { decodeRecipe, type Recipe, recipeRoot } from '../model/recipe.js';
import { attestationData } from '../protocol/attestation.js';
import { compareBytes, firstBeacon } from '../protocol/beacon.js';
import type { Bls } from '../protocol/bls.js';
import { verifyClaimSignature } from '../protocol/claim.js';
import { draw1 } from '../protocol/draws.js';
import { chainIdOf, type Genesis, type Job, ROLE } from '../protocol/ledgerTypes.js';
import { openCommitment } from '../protocol/listProof.js';
import {
  AttestationDataType,
  type ClaimHeader,
  claimRoot,
  STATE_VERSION,
  stateRoot,
  ZERO_ROOT,
} from '../protocol/types.js';
import type { OriginBody, OriginClaim } from './origin.js';
import { checkHandover, decodeOriginFile, type OriginHandover } from './originHandovers.js';
import { committeeOf, seatStake } from './stateCommittee.js';
import { membersOfGenesis } from './stateGenesis.js';
import type { Seat } from './stateTypes.js';

/** What the caller knows of the chain; what is left out is taken from the file. */
export interface OriginPins {
  readonly chainId?: Uint8Array;
  /** Gives chain id, recipe, start state and the first committee; later ones as long as nobody signed for another. */
  readonly genesis?: Genesis;
  /**
   * The owner's job that the file must be of. Genesis says nothing of its recipe and start state: where they are not given
   * here, they are the file's own.
   */
  readonly job?: Pick<Job, 'id'> & Partial<Pick<Job, 'recipeRoot' | 'startStateRoot'>>;
}

/** Where a checkpoint comes from, once the check has passed. */
export interface Origin {
  /** What the checkpoint is: a whole training state, or the packed 4-bit model of the last claim. */
  readonly kind: 'state' | 'model';
  /** State root, or BLAKE3 of the packed model. */
  readonly root: Uint8Array;
  readonly chainId: Uint8Array;
  /** 0 for the genesis job, else the number of an owner's. */
  readonly job: number;
  readonly recipe: Recipe;
  readonly recipeRoot: Uint8Array;
  /** Claims from the start state on. */
  readonly claims: number;
  /** Root of the last one. */
  readonly claimRoot: Uint8Array;
  readonly fromRoot: Uint8Array;
  /** Turns that fell on the way: each drew a committee of its own. */
  readonly falls: number;
  /** Finished steps of the state; undefined for a packed model. */
  readonly step: number | undefined;
  /** Roots of the state's vectors that another recipe can start from; undefined for a packed model. */
  readonly vectors: { readonly thetaRoot: Uint8Array; readonly emaRoot: Uint8Array } | undefined;
  /** The smallest part of a committee's stake that voted for its claim. */
  readonly leastVote: { readonly stakeFor: bigint; readonly stake: bigint };
}

function malformed(message: string): PogoError {
  return new PogoError('MALFORMED', `origin: ${message}`);
}

function requireRoot(code: 'MALFORMED' | 'MISMATCH', name: string, expected: Uint8Array, found: Uint8Array): void {
  if (equalBytes(expected, found)) return;
  throw new PogoError(code, `origin: expected ${name} ${toHex(expected)}, found ${toHex(found)}`);
}

/**
 * @param file the whole file
 * @throws PogoError MALFORMED for bytes, signatures or roots that do not lead from claim 0 to the checkpoint; MISMATCH for
 *   another chain, recipe or start than the pinned one; UNDECIDED where fewer than two thirds of a committee's stake voted
 */
export function verifyOrigin(bls: Bls, file: Uint8Array, pins: OriginPins = {}): Origin {
  const { origin, handovers } = decodeOriginFile(file);
  const recipe = recipeOf(origin);
  const root = recipeRoot(recipe);
  const [first] = origin.claims;
  if (first === undefined) throw malformed('expected at least one claim, found none');
  checkPins(bls, origin, root, pins);
  checkCommittees(origin);
  let leastVote: Origin['leastVote'] | undefined;
  let previous: { readonly header: ClaimHeader; readonly root: Uint8Array; readonly beacon1: Uint8Array } | undefined;
  const signedFor = new Map(handovers.map((handover) => [handover.claim, handover]));
  let committee: Committee | undefined;
  for (const [number, link] of origin.claims.entries()) {
    const { header } = link.claim;
    const own = claimRoot(header);
    const expected = {
      chainId: origin.chainId,
      recipeRoot: root,
      parentClaimRoot: previous?.root ?? ZERO_ROOT,
      fromRoot: previous?.header.toRoot ?? header.fromRoot,
      draw1: draw1(link.beacon1, root, number),
    };
    for (const field of Object.keys(expected) as (keyof typeof expected)[]) {
      requireRoot('MALFORMED', `claim ${number} with ${field}`, expected[field], header[field]);
    }
    if (header.claimNumber !== number || header.job !== first.claim.header.job) {
      throw malformed(`expected claim ${number} of one job, found claim ${header.claimNumber} of job ${header.job}`);
    }
    if (header.attempt < (previous?.header.attempt ?? 0)) {
      throw malformed(`claim ${number}: expected attempts that only grow, found attempt ${header.attempt}`);
    }
    if (!verifyClaimSignature(bls, link.claim)) {
      throw malformed(`expected the signature of ${toHex(header.miner)} over claim ${number}, found another`);
    }
    const parentBeacon = previous?.beacon1 ?? firstBeacon(origin.chainId, header.job);
    const handover = signedFor.get(number);
    committee = committeeAt(bls, origin, number, { handover, before: committee, parentBeacon, genesis: pins.genesis });
    const vote = checkVote(bls, origin, link, own, committee, pins.genesis);
    if (leastVote === undefined || vote.stakeFor * leastVote.stake < leastVote.stakeFor * vote.stake) leastVote = vote;
    previous = { header, root: own, beacon1: link.beacon1 };
  }
  const last = previous!;
  return {
    ...checkSubject(origin, last.header, root),
    chainId: origin.chainId,
    job: first.claim.header.job,
    recipe,
    recipeRoot: root,
    claims: origin.claims.length,
    claimRoot: last.root,
    fromRoot: first.claim.header.fromRoot,
    falls: last.header.attempt,
    leastVote: leastVote!,
  };
}

function recipeOf(origin: OriginBody): Recipe {
  try {
    return decodeRecipe(origin.recipe);
  } catch (error) {
    throw malformed(`expected a recipe, found: ${PogoError.from(error).message}`);
  }
}

function checkPins(bls: Bls, origin: OriginBody, root: Uint8Array, pins: OriginPins): void {
  const { chainId, genesis } = pins;
  if (chainId !== undefined) requireRoot('MISMATCH', 'chain', chainId, origin.chainId);
  const { header } = origin.claims[0]!.claim;
  const job: OriginPins['job'] = pins.job ?? genesis?.job;
  if (job?.recipeRoot !== undefined) requireRoot('MISMATCH', 'recipe', job.recipeRoot, root);
  if (job?.startStateRoot !== undefined) requireRoot('MISMATCH', 'start state', job.startStateRoot, header.fromRoot);
  if (job !== undefined && header.job !== job.id) {
    throw new PogoError(
      'MISMATCH',
      `origin: expected job ${job.id}, found ${header.job}: an owner’s job is named with it`,
    );
  }
  if (genesis === undefined) return;
  const { parameters, members } = genesis;
  requireRoot('MISMATCH', 'chain', chainIdOf(genesis), origin.chainId);
  const { quorumNumerator: numerator, quorumDenominator: denominator } = parameters;
  if (!(3 * numerator >= 2 * denominator && numerator <= denominator && denominator > 0)) {
    throw malformed(`genesis: expected a quorum from 2/3 to 1, found ${numerator}/${denominator}`);
  }
  // A key made of others' keys could sign for them in an aggregate; possession excludes it.
  for (const { publicKey, possession, roles } of members) {
    if ((roles & ROLE.verifier) === 0 || bls.popVerify(publicKey, possession)) continue;
    throw malformed(`genesis: expected a proof of possession of ${toHex(publicKey)}, found another`);
  }
}

/** One file has one list of committees: in the order of their first use, each once; its seats in key order. */
function checkCommittees({ committees, claims }: OriginBody): void {
  let used = 0;
  for (const { committee } of claims) {
    if (committee > used) throw malformed(`expected committee ${used} next, found ${committee}`);
    if (committee === used) used += 1;
  }
  if (used !== committees.length) throw malformed(`expected ${used} committees, found ${committees.length}`);
  const known = new Set<string>();
  for (const seats of committees) {
    const key = seats.map(({ publicKey, stake }) => `${toHex(publicKey)} ${stake}`).join();
    if (known.has(key)) throw malformed('expected each committee once, found one twice');
    known.add(key);
    seats.forEach(({ publicKey, stake }, i) => {
      if (stake > 0n && (i === 0 || compareBytes(seats[i - 1]!.publicKey, publicKey) < 0)) return;
      throw malformed('expected seats with stake in ascending order of their keys, each once');
    });
  }
}

/** A committee that votes of a claim are counted by. */
interface Committee {
  readonly seats: readonly Seat[];
  /** Whether it was signed for, or followed one that was: genesis says nothing about it any more. */
  readonly handed: boolean;
}

interface CommitteeClue {
  readonly handover: OriginHandover | undefined;
  /** Of the claim before. */
  readonly before: Committee | undefined;
  readonly parentBeacon: Uint8Array;
  readonly genesis: Genesis | undefined;
}

/**
 * The committee of a claim: the file's own seats where the committee before signed for them, or where it was handed over
 * before and stays; else what genesis gives; without a genesis the file's own seats.
 */
function committeeAt(
  bls: Bls,
  { chainId, committees, claims }: OriginBody,
  number: number,
  { handover, before, parentBeacon, genesis }: CommitteeClue,
): Committee {
  const link = claims[number]!;
  const { header } = link.claim;
  const seats = committees[link.committee]!;
  if (handover !== undefined) {
    const first = (): Seat[] => (genesis === undefined ? [] : firstCommittee(genesis, chainId));
    const trusted = before?.seats ?? first();
    const listed = number === 0 ? trusted : committees[claims[number - 1]!.committee]!;
    // Without the genesis nothing is known of who sits before claim 0: then the file's seats are taken as they are.
    if (trusted.length > 0) checkHandover(bls, handover, header, seats, listed, trusted);
    return { seats, handed: true };
  }
  if (genesis === undefined) return { seats, handed: false };
  if (before?.handed !== true) return { seats: genesisCommittee(genesis, header, parentBeacon), handed: false };
  if (link.committee === claims[number - 1]!.committee) return before;
  throw new PogoError(
    'UNDECIDED',
    `origin: claim ${number}: expected the committee of the claim before, or one that it signed for, found another: ` +
      'the ledger’s log holds too few handovers; check without the genesis',
  );
}

/** The committee that a chain begins with. */
function firstCommittee(genesis: Genesis, chainId: Uint8Array): Seat[] {
  const { parameters } = genesis;
  return committeeOf({ parameters, members: membersOfGenesis(genesis) }, 0, 0, firstBeacon(chainId, 0));
}

/** The committee that genesis gives a claim; a beacon that draws it is bound by the draw of the claim before. */
function genesisCommittee(genesis: Genesis, { claimNumber, attempt }: ClaimHeader, parentBeacon: Uint8Array): Seat[] {
  const { parameters } = genesis;
  return committeeOf({ parameters, members: membersOfGenesis(genesis) }, claimNumber, attempt, parentBeacon);
}

function checkVote(
  bls: Bls,
  origin: OriginBody,
  link: OriginClaim,
  root: Uint8Array,
  committee: Committee,
  genesis: Genesis | undefined,
): { readonly stakeFor: bigint; readonly stake: bigint } {
  const { claimNumber, miner } = link.claim.header;
  const weights = committee.seats;
  const seats = origin.committees[link.committee]!;
  if (link.signers.bitLen !== seats.length) {
    throw malformed(`claim ${claimNumber}: expected ${seats.length} bits of signers, found ${link.signers.bitLen}`);
  }
  const signers = seats.filter((_, i) => link.signers.get(i)).map(({ publicKey }) => publicKey);
  if (signers.some((key) => equalBytes(key, miner))) {
    throw malformed(`claim ${claimNumber}: expected votes of others than its miner, found the miner’s`);
  }
  const voters = weights.filter(({ publicKey }) => !equalBytes(publicKey, miner));
  const counted = voters.filter(({ publicKey }) => signers.some((key) => equalBytes(key, publicKey)));
  // Of a key outside the committee nobody knows whether its owner has it: with one, the aggregate says nothing.
  if (counted.length !== signers.length) {
    throw new PogoError(
      'MISMATCH',
      `origin: claim ${claimNumber}: expected signers of the committee that genesis gives, found ` +
        `${signers.length - counted.length} others: members joined, and no committee before signed for them; check without the genesis`,
    );
  }
  const data = attestationData({
    chainId: origin.chainId,
    claimRoot: root,
    beacon2: link.beacon2,
    verdict: 'positive',
    heldOutBeforeBits: link.heldOutBeforeBits,
    heldOutAfterBits: link.heldOutAfterBits,
  });
  if (!bls.verifyAggregate(signers, AttestationDataType.hashTreeRoot(data), link.signature)) {
    throw malformed(`claim ${claimNumber}: expected the aggregate of ${signers.length} positive votes, found another`);
  }
  const { quorumNumerator, quorumDenominator } = genesis?.parameters ?? { quorumNumerator: 2, quorumDenominator: 3 };
  const vote = { stakeFor: seatStake(counted), stake: seatStake(voters) };
  if (vote.stakeFor * BigInt(quorumDenominator) >= vote.stake * BigInt(quorumNumerator)) return vote;
  throw new PogoError(
    'UNDECIDED',
    `origin: claim ${claimNumber}: expected votes of ${quorumNumerator}/${quorumDenominator} of the committee’s stake ` +
      `${vote.stake}, found ${vote.stakeFor}`,
  );
}

/** What the claims lead to: the end of the last one, a step inside it, or its packed model. */
function checkSubject(
  { state: [header], step: [proven] }: OriginBody,
  last: ClaimHeader,
  recipe: Uint8Array,
): Pick<Origin, 'kind' | 'root' | 'step' | 'vectors'> {
  if (header === undefined) {
    if (proven !== undefined) throw malformed('expected no step beside a packed model, found one');
    if (equalBytes(last.modelRoot, ZERO_ROOT)) throw malformed('expected a packed model, found the zero root');
    return { kind: 'model', root: last.modelRoot, step: undefined, vectors: undefined };
  }
  requireRoot('MALFORMED', 'a state of recipe', recipe, header.recipeRoot);
  if (header.version !== STATE_VERSION) {
    throw malformed(`expected a state of version ${STATE_VERSION}, found ${header.version}`);
  }
  const root = stateRoot(header);
  if (proven === undefined) {
    requireRoot('MALFORMED', `claim ${last.claimNumber} to end in state`, root, last.toRoot);
  } else {
    const { commitment, steps } = openCommitment(last.listRoot, proven);
    requireRoot('MALFORMED', `step ${commitment.step} to end in state`, root, commitment.postStateRoot);
    if (proven.index + 1 >= steps) throw malformed('expected no step where a claim ends, found one');
  }
  return { kind: 'state', root, step: header.step, vectors: { thetaRoot: header.thetaRoot, emaRoot: header.emaRoot } };
}
