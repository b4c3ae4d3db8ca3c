/**
 * Attacks beyond the list on jobs of owners and on disputes over votes: what somebody would try who wants to be paid
 * twice, to judge alone, to hold others' stake, or to make members pay for work that they never chose.
 */
import { describe, expect, it } from 'vitest';
import { equalBytes } from '../../src/hex.js';
import { disputeTick } from '../../src/ledger/stateDisputeDuties.js';
import { dutiesOf } from '../../src/ledger/stateDuties.js';
import { evidenceCommitment } from '../../src/ledger/stateEvidence.js';
import { COIN } from '../../src/ledger/stateGenesis.js';
import { scopeOfJob } from '../../src/ledger/stateScope.js';
import { recipeHeader } from '../../src/model/recipeHeader.js';
import type { KeyPair } from '../../src/protocol/bls.js';
import { signClaim } from '../../src/protocol/claim.js';
import { listChunksRoot } from '../../src/protocol/claimSteps.js';
import { SUBJECT_KIND } from '../../src/protocol/dispute/types.js';
import { encodeTransaction } from '../../src/protocol/ledgerTypes.js';
import { receiptDuty } from '../../src/protocol/receipt.js';
import type { SignedClaim } from '../../src/protocol/types.js';
import { bls, JobChain, OWNER } from '../support/jobChain.js';
import { TOO_LARGE } from '../support/optionRecipes.js';
import { refusal } from '../support/refusal.js';
import { syntheticClaim } from '../support/testChain.js';
import { smallRecipe } from '../support/trainedClaim.js';

/** The drawn miner's claim for a job. */
function trained(jobs: JobChain, job: number) {
  for (const keys of jobs.chain.demo.miners) {
    for (const duty of dutiesOf(jobs.state, keys.publicKey)) {
      if (duty.duty !== 'train' || duty.assignment.job !== job) continue;
      return { keys, ...syntheticClaim(duty.assignment, keys, duty.steps, duty.firstStep, '', bls) };
    }
  }
  throw new Error('nobody is training');
}

describe('one work sold to two owners', () => {
  it('two jobs of one recipe and one start: the claim of one is no claim of the other', async () => {
    const jobs = new JobChain();
    await jobs.create();
    await jobs.create();
    await jobs.chain.shares();
    const { claim, commitments, keys } = trained(jobs, 1);
    const chunksRoot = listChunksRoot(commitments);
    const other = scopeOfJob(jobs.state, 2).open[0]!;
    const sell = (header: SignedClaim['header']) =>
      refusal(jobs.chain.submit(encodeTransaction('sized-claim', { claim: signClaim(bls, keys, header), chunksRoot })));
    // Batches follow from each job's own beacons, so the work of one cannot be that of the other.
    expect(await sell({ ...claim.header, job: 2 })).toMatch(/^MISMATCH/);
    if (equalBytes(other.miner, keys.publicKey)) {
      expect(await sell({ ...claim.header, job: 2, draw1: claim.header.draw1 })).toMatch(/draw1/);
    }
    expect(equalBytes(other.draw1, claim.header.draw1)).toBe(false);
    expect(await sell(claim.header)).toBe('accepted');
    expect(jobs.job(2).open[0]!.claim).toEqual([]);
  });
});

describe('evidence against one job’s claim', () => {
  it('revealed under a commitment against another job’s, it convicts nobody there', async () => {
    // The checker says what real evidence says: it names the claim that it is about.
    const about = new Map<
      string,
      { claimRoot: Uint8Array; accused: Uint8Array; job: number; number: number; attempt: number }
    >();
    const jobs: JobChain = new JobChain(
      {},
      {
        checkEvidence: async (bytes) => {
          const found = about.get(bytes.join())!;
          const { claimRoot, accused, job, number: claimNumber, attempt } = found;
          const common = {
            verdict: 'guilty' as const,
            kind: 'unit' as const,
            against: 'miner' as const,
            reason: 'false',
          };
          return { ...common, chainId: jobs.state.chainId, claimRoot, accused, job, claimNumber, attempt };
        },
      },
    );
    await jobs.create();
    await jobs.create();
    await jobs.claim(1);
    await jobs.claim(2);
    const [one, two] = [1, 2].map((job) => scopeOfJob(jobs.state, job).open[0]!);
    const evidence = Uint8Array.of(1, 2, 3);
    about.set(evidence.join(), {
      ...{ claimRoot: one!.claimRoot, accused: one!.miner, job: 1 },
      ...{ number: one!.claimNumber, attempt: one!.attempt },
    });
    const finder = jobs.chain.demo.verifiers[0]!;
    const salt = new Uint8Array(32);
    const commit = (claimRoot: Uint8Array) =>
      jobs.send(finder, 'commit-evidence', {
        claimRoot,
        commitment: evidenceCommitment(evidence, finder.publicKey, salt),
      });
    const reveal = encodeTransaction('evidence', { finder: finder.publicKey, salt, evidence });
    await commit(two!.claimRoot);
    const stakes = jobs.state.members.map(({ stake }) => stake);
    expect(await refusal(jobs.chain.submit(reveal))).toMatch(/^REJECTED: expected evidence of this chain and job/);
    expect(jobs.state.members.map(({ stake }) => stake)).toEqual(stakes);
    expect(jobs.outcomes(2)).toEqual([]);
    jobs.conserved();
  });
});

describe('judging alone', () => {
  it('who serves a job first waits for the stake that its owner asked for', async () => {
    const jobs = new JobChain();
    await jobs.create({}, undefined, undefined, false);
    const [miner] = jobs.chain.demo.miners;
    const [first, ...others] = jobs.chain.demo.verifiers;
    const serve = (keys: KeyPair) => jobs.send(keys, 'serve-job', { job: 1, serves: 1 });
    // A miner and its one friend would be the whole committee.
    await serve(miner!);
    await serve(first!);
    expect(jobs.job().open).toEqual([]);
    for (const keys of others.slice(0, -1)) await serve(keys);
    expect(jobs.job().open).toEqual([]);
    await serve(others.at(-1)!);
    expect(jobs.job().open[0]!.committee).toHaveLength(4);
  });
});

describe('jobs that nobody asked for', () => {
  it('cost their owner a fee and members nothing: no turn is missed, no share withheld, no silence counted', async () => {
    const jobs = new JobChain();
    for (let i = 0; i < 5; i += 1)
      await jobs.create({ claimReward: 1n, usefulnessBonus: 0n, verifierReward: 0n }, 2n, 2, false);
    expect(jobs.state.burned).toBe(50n * COIN);
    const members = jobs.state.members;
    await jobs.chain.toAttesting();
    await jobs.chain.attest();
    expect(jobs.outcomes(0)).toEqual(['finalized']);
    expect(jobs.state.jobs.every(({ open }) => open.length === 0)).toBe(true);
    expect(jobs.state.members.map(({ stake, silence }) => [stake, silence])).toEqual(
      members.map(({ stake, silence }) => [stake, silence]),
    );
  });
});

describe('holding a verifier’s stake for ever', () => {
  it('one dispute after the other over an old vote: none is opened once its claim has left the epoch', async () => {
    const jobs = new JobChain({ epochClaims: 1 });
    const { chain } = jobs;
    const { recipe } = smallRecipe();
    const claim = await chain.toAttesting();
    await chain.attest();
    const settled = jobs.state.settled[0]!;
    const [accused] = chain.demo.verifiers;
    const receipt = settled.receipts.find(({ verifier }) => equalBytes(verifier, accused!.publicKey))!;
    const [drawn] = receiptDuty(receipt.drawSignature, recipe, settled.steps, settled.committee).units;
    const subject = { kind: SUBJECT_KIND.unit, ...drawn! };
    const order = { claim, recipe: recipeHeader(recipe), accused: accused!.publicKey, subject, bond: 10n * COIN };
    const [, friend, another] = chain.demo.verifiers;
    const dispute = (keys: KeyPair) => jobs.send(keys, 'open-verifier-dispute', order);
    await dispute(friend!);
    await chain.toAttesting();
    await chain.attest();
    // The disputed claim is kept, since its dispute must end; it takes no new one.
    expect(jobs.state.settled).toHaveLength(2);
    expect(await refusal(dispute(another!))).toMatch(/newly settled/);
    expect(await refusal(dispute(OWNER))).toMatch(/newly settled/);
    const silent = jobs.state.disputes[0]!;
    // The accused of this test keeps silent; what matters is that the list ends.
    await chain.submit(disputeTick(silent));
    await chain.toAttesting();
    await chain.attest();
    expect(jobs.state.settled).toHaveLength(1);
    expect(jobs.state.disputes).toEqual([]);
    jobs.conserved();
  });
});

describe('asking for a trace that nobody can make', () => {
  it('over a unit that is too large for disputes: the accused declines, and is paid', async () => {
    const recipe = TOO_LARGE;
    const jobs = new JobChain();
    await jobs.create({}, undefined, undefined, true, recipe);
    await jobs.claim();
    const { claimRoot, miner } = jobs.job().open[0]!;
    const [griefer, other] = jobs.chain.demo.verifiers;
    const subject = { kind: SUBJECT_KIND.unit, stepIndex: 0, unit: 0 };
    await jobs.send(griefer!, 'open-dispute', { claimRoot, subject, bond: 10n * COIN });
    const decline = (header: Uint8Array) =>
      jobs.chain.submit(encodeTransaction('decline-dispute', { dispute: 0, recipe: header }));
    // Another recipe's options are no excuse.
    expect(await refusal(decline(recipeHeader(smallRecipe().recipe)))).toMatch(/claim’s recipe/);
    const accused = jobs.chain.keyOf(miner);
    const before = jobs.balance(accused);
    await decline(recipeHeader(recipe));
    expect(jobs.balance(accused) - before).toBe(10n * COIN);
    expect(jobs.state.disputes).toEqual([]);
    await jobs.vote();
    expect(jobs.outcomes(1)).toEqual(['finalized']);

    // Where there is a program, declining is no answer.
    await jobs.create();
    await jobs.claim(2);
    const known = jobs.job(2).open[0]!.claimRoot;
    await jobs.send(other!, 'open-dispute', { claimRoot: known, subject, bond: 10n * COIN });
    const body = { dispute: 1, recipe: recipeHeader(smallRecipe().recipe) };
    expect(await refusal(jobs.chain.submit(encodeTransaction('decline-dispute', body)))).toMatch(/that can be shown/);
    jobs.conserved();
  });
});
