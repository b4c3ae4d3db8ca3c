/**
 * Jobs of owners on the ledger: created, funded, trained and paid beside the genesis job, ended by their claims or their
 * deadline, and handed over; with claims out of hashes (`testChain.ts`).
 */
import { blake3 } from '@noble/hashes/blake3.js';
import { describe, expect, it } from 'vitest';
import { toHex } from '../../src/hex.js';
import { dutiesOf, tickFor } from '../../src/ledger/stateDuties.js';
import { COIN } from '../../src/ledger/stateGenesis.js';
import { rootOf, scopeOfJob, scopesOf } from '../../src/ledger/stateScope.js';
import { JOB_STATUS } from '../../src/ledger/stateTypes.js';
import { loadRecipe } from '../../src/model/recipe.js';
import { PIECE, type Piece } from '../../src/protocol/availability.js';
import type { KeyPair } from '../../src/protocol/bls.js';
import { signClaim } from '../../src/protocol/claim.js';
import { hasLength, listChunksRoot, nextSteps } from '../../src/protocol/claimSteps.js';
import { encodeTransaction, type JobRules } from '../../src/protocol/ledgerTypes.js';
import { StepCommitmentListType } from '../../src/protocol/types.js';
import { bls, JobChain, OWNER } from '../support/jobChain.js';
import { refusal } from '../support/refusal.js';
import { syntheticClaim } from '../support/testChain.js';

describe('a job of an owner', () => {
  it('is trained beside the genesis job, paid from its fund, and ends with its claims: the rest goes back', async () => {
    const jobs = new JobChain();
    const pool = jobs.state.rewardPool;
    await jobs.create();
    // The fund, and a fee that is burned.
    expect(jobs.balance(OWNER)).toBe(890n * COIN);
    expect(jobs.state.burned).toBe(10n * COIN);
    expect(scopesOf(jobs.state).map(({ open }) => open.length)).toEqual([1, 1]);
    await jobs.round();
    const [miner] = jobs.job().finalized.map((claim) => claim.miner);
    expect(jobs.job().fund).toBe(52n * COIN);
    expect(jobs.state.rewardPool).toBe(pool);
    await jobs.round();
    expect(jobs.outcomes(1)).toEqual(['finalized', 'finalized']);
    expect(jobs.outcomes(0)).toEqual([]);
    // 100 coins paid two claims of 30 + 10 + 8.
    expect(jobs.balance(OWNER)).toBe(894n * COIN);
    expect(jobs.job()).toMatchObject({ fund: 0n, finalizedCount: 2, stepsDone: 4, status: JOB_STATUS.delivering });
    const ended = jobs.chain.events.find((event) => event.type === 'job' && event.change === 'ended');
    const last = jobs.job().finalized.at(-1)!;
    expect(ended).toMatchObject({ claims: 2, refund: 4n * COIN, toRoot: last.toRoot, modelRoot: last.modelRoot });
    expect(last.miner).toBeDefined();
    expect(miner).toBeDefined();
    jobs.conserved();
  });

  it('is trained by turns with others: several jobs and the genesis job on one ledger', async () => {
    const jobs = new JobChain();
    await jobs.create({ claims: 1 });
    await jobs.create({ claims: 1 });
    expect(scopesOf(jobs.state)).toHaveLength(3);
    await jobs.round(2);
    await jobs.chain.claim();
    await jobs.claim(1);
    await jobs.vote(1);
    await jobs.chain.attest();
    expect([0, 1, 2].map((job) => jobs.outcomes(job))).toEqual([['finalized'], ['finalized'], ['finalized']]);
    const firsts = [jobs.state, ...jobs.state.jobs].map(({ finalized }) => toHex(finalized[0]!.beacon1));
    // Each has beacons of its own.
    expect(new Set(firsts).size).toBe(3);
    jobs.conserved();
  });

  it('ends at its deadline, also without any claim, and gives back what is left', async () => {
    const jobs = new JobChain();
    await jobs.create({ deadline: 12 }, undefined, undefined, true);
    const tick = encodeTransaction('job-tick', { job: 1 });
    expect(await refusal(jobs.chain.submit(tick))).toMatch(/^REJECTED: expected a tick at height 12/);
    await jobs.round();
    expect(jobs.state.height).toBeGreaterThan(12);
    // The claim that was open at the deadline was paid; no other follows.
    expect(jobs.outcomes(1)).toEqual(['finalized']);
    expect(jobs.job()).toMatchObject({ status: JOB_STATUS.delivering, open: [] });
    expect(jobs.balance(OWNER)).toBe(942n * COIN);
    await jobs.create({ deadline: jobs.state.height + 30 });
    // Nobody gives a share; time passes by transfers, and the open claim falls.
    while (jobs.state.height < jobs.job(2).rules.deadline)
      await jobs.send(OWNER, 'transfer', { to: OWNER.publicKey, amount: 1n });
    const [open] = jobs.job(2).open;
    expect(await refusal(jobs.chain.submit(encodeTransaction('job-tick', { job: 2 })))).toMatch(
      /without an open claim/,
    );
    await jobs.chain.shares();
    await jobs.chain.submit(tickFor(jobs.job(2).open[0] ?? open!, 2));
    expect(jobs.job(2)).toMatchObject({ status: JOB_STATUS.closed, fund: 0n, finalizedCount: 0 });
    expect(jobs.balance(OWNER)).toBe(932n * COIN);
    jobs.conserved();
  });

  it('waits for money: without enough for a claim none is opened, and anybody may add some', async () => {
    const jobs = new JobChain();
    await jobs.create({ claims: 3 }, 60n * COIN);
    await jobs.round();
    // 60 − 48 do not pay a second one.
    expect(jobs.job().open).toEqual([]);
    expect(jobs.job().status).toBe(JOB_STATUS.open);
    const [friend] = jobs.chain.demo.verifiers;
    await jobs.send(friend!, 'fund-job', { job: 1, amount: 50n * COIN });
    expect(jobs.job().open).toHaveLength(1);
    await jobs.round();
    expect(jobs.outcomes(1)).toEqual(['finalized', 'finalized']);
    jobs.conserved();
  });

  it('is refused with rules that pay nothing, cannot pay, pay more than withheld beacons cost, or bound K wrongly', async () => {
    const jobs = new JobChain();
    const refused = async (changes: Partial<JobRules>, fund?: bigint, first?: number): Promise<string> => {
      const { state } = jobs;
      const answer = await refusal(jobs.create(changes, fund, first));
      expect(jobs.state).toBe(state);
      return answer;
    };
    expect(await refused({ claimReward: 0n })).toMatch(/reward for a claim/);
    expect(await refused({}, 47n * COIN)).toMatch(/fund of at least/);
    expect(await refused({ claimReward: 200n * COIN }, 500n * COIN)).toMatch(/withheld beacon/);
    expect(await refused({}, 995n * COIN)).toMatch(/balance/);
    expect(await refused({ claims: 0 })).toMatch(/at least one claim/);
    expect(await refused({ deadline: 0 })).toMatch(/deadline/);
    expect(await refused({ leastSteps: 0 })).toMatch(/steps/);
    expect(await refused({ leastSteps: 3, mostSteps: 4 })).toMatch(/steps/);
    expect(await refused({}, undefined, 3)).toMatch(/steps/);
  });

  it('draws only who serves it: nobody misses a turn, or is silent, in a job that it did not choose', async () => {
    const jobs = new JobChain();
    await jobs.create({ leastStake: 2000n * COIN }, undefined, undefined, false);
    expect(jobs.job().open).toEqual([]);
    const [miner] = jobs.chain.demo.miners;
    const [verifier, other] = jobs.chain.demo.verifiers;
    const serve = (keys: KeyPair, serves: number) => jobs.send(keys, 'serve-job', { job: 1, serves });
    expect(await refusal(serve(OWNER, 1))).toMatch(/member/);
    await serve(verifier!, 1);
    expect(await refusal(serve(verifier!, 1))).toMatch(/change/);
    expect(jobs.job().open).toEqual([]);
    await serve(miner!, 1);
    expect(jobs.job().open[0]!.committee.map(({ publicKey }) => publicKey)).toEqual([verifier!.publicKey]);
    await jobs.chain.shares();
    expect(jobs.job().open[0]!.miner).toEqual(miner!.publicKey);
    expect(await refusal(serve(other!, 0))).toMatch(/change/);
    await serve(miner!, 0);
    await jobs.chain.submit(tickFor(jobs.job().open[0]!, 1));
    // Its turn was drawn before it left; nobody is left to be drawn.
    expect(jobs.outcomes(1)).toEqual(['missed']);
    expect(jobs.job().open).toEqual([]);
    jobs.conserved();
  });

  it('shares the members’ stake: a bond of one job is not free for another', async () => {
    const jobs = new JobChain({ minerBond: 1000n * COIN });
    await jobs.create();
    await jobs.claim();
    const locked = jobs.state.members.map((member) => member.locked);
    expect(locked.filter((amount) => amount > 0n)).toEqual([1000n * COIN]);
    await jobs.vote();
    // The newest final claim of an owner keeps its bond locked until the next one is final.
    expect(jobs.state.members.reduce((sum, member) => sum + member.locked, 0n)).toBe(1000n * COIN);
    await jobs.round();
    expect(jobs.job().held).toBe(1000n * COIN);
    expect(jobs.state.members.reduce((sum, member) => sum + member.locked, 0n)).toBe(1000n * COIN);
  });

  it('slashes a miner of an owner’s claim; the job goes on with another turn', async () => {
    const chain = new JobChain();
    // Replaced by the evidence of the test below: here the miner misses its turn.
    await chain.create();
    await chain.chain.shares();
    const [open] = chain.job().open;
    await chain.chain.submit(tickFor(open!, 1));
    expect(chain.outcomes(1)).toEqual(['missed']);
    expect(chain.job().open[0]).toMatchObject({ claimNumber: 0, attempt: 1 });
    expect(chain.state.falls).toBe(0);
    await chain.round();
    expect(chain.outcomes(1)).toEqual(['missed', 'finalized']);
    chain.conserved();
  });
});

describe('handing over', () => {
  async function delivered(): Promise<{ jobs: JobChain; piece: Piece; bytes: Uint8Array; miner: KeyPair }> {
    const jobs = new JobChain();
    await jobs.create({ claims: 1 });
    await jobs.round();
    const [claim] = jobs.job().delivery;
    const { header } = claim!;
    const bytes = new TextEncoder().encode(`model ${toHex(header.toRoot)}`);
    const { claimRoot } = jobs.job().finalized[0]!;
    const piece = { claimRoot, kind: PIECE.model, root: header.modelRoot, index: 0 };
    return { jobs, piece, bytes, miner: jobs.chain.keyOf(header.miner) };
  }
  const none = { step: [], unit: 0 };

  it('an owner asks for a piece of its model, and its miner shows it', async () => {
    const { jobs, piece, bytes, miner } = await delivered();
    const [other] = jobs.chain.demo.verifiers;
    expect(await refusal(jobs.send(other!, 'challenge-piece', { piece, proof: none }))).toMatch(/owner/);
    await jobs.send(OWNER, 'challenge-piece', { piece, proof: none });
    expect(dutiesOf(jobs.state, miner.publicKey).map(({ duty }) => duty)).toContain('show-piece');
    const answer = { piece, step: [], totalBytes: bytes.length, bytes, path: new Uint8Array(0) };
    const before = jobs.balance(miner);
    await jobs.chain.submit(encodeTransaction('answer-piece', answer));
    expect(jobs.balance(miner) - before).toBe(10n * COIN);
    const tick = encodeTransaction('job-tick', { job: 1 });
    expect(await refusal(jobs.chain.submit(tick))).toMatch(/^REJECTED/);
    while (jobs.state.height < jobs.job().deliverUntil)
      await jobs.send(OWNER, 'transfer', { to: OWNER.publicKey, amount: 1n });
    await jobs.chain.submit(tick);
    expect(jobs.job()).toMatchObject({ status: JOB_STATUS.closed, held: 0n, delivery: [] });
    expect(jobs.state.members.every((member) => member.locked === 0n)).toBe(true);
    jobs.conserved();
  });

  it('a miner that does not show what it was paid for loses its bond, half of it to the owner', async () => {
    const { jobs, piece, miner } = await delivered();
    await jobs.send(OWNER, 'challenge-piece', { piece, proof: none });
    const silence = encodeTransaction('piece-silence', piece);
    expect(await refusal(jobs.chain.submit(silence))).toMatch(/^REJECTED/);
    const until = jobs.state.height + 8;
    while (jobs.state.height < until) await jobs.send(OWNER, 'transfer', { to: OWNER.publicKey, amount: 1n });
    const before = jobs.balance(OWNER);
    await jobs.chain.submit(silence);
    expect(jobs.balance(OWNER) - before).toBe(510n * COIN);
    expect(jobs.chain.stake(miner)).toBe(4000n * COIN);
    expect(jobs.job()).toMatchObject({ held: 0n, delivery: [] });
    jobs.conserved();
  });
});

describe('K', () => {
  it('follows how long claims take, inside the bounds and by at most a factor of two', () => {
    const bounds = { leastSteps: 4, mostSteps: 64, targetHeights: 10 };
    expect([10, 20, 5, 1, 1000].map((heights) => nextSteps(bounds, 16, heights))).toEqual([16, 8, 32, 32, 8]);
    expect(nextSteps(bounds, 5, 1000)).toBe(4);
    expect(nextSteps(bounds, 60, 1)).toBe(64);
    expect(nextSteps({ ...bounds, mostSteps: 0 }, 16, 1)).toBe(16);
    for (const name of ['tiny', 'moby', 'gpt-5m', 'gpt-19m', 'gpt2-124m']) {
      // Built-in recipes have equal bounds: their runs repeat.
      const { minStepsPerClaim, maxStepsPerClaim, stepsPerClaim } = loadRecipe(name);
      expect([minStepsPerClaim, maxStepsPerClaim]).toEqual([stepsPerClaim, stepsPerClaim]);
      const own = { leastSteps: minStepsPerClaim, mostSteps: maxStepsPerClaim, targetHeights: 10 };
      expect(nextSteps(own, stepsPerClaim, 1)).toBe(stepsPerClaim);
    }
  });

  it('is the ledger’s word: the next claim has another number of steps, and no other is taken', async () => {
    const jobs = new JobChain();
    await jobs.create({ leastSteps: 1, mostSteps: 8, targetHeights: 40, claims: 3 }, 200n * COIN, 2);
    await jobs.round();
    const [first] = jobs.job().finalized;
    // It took fewer than 20 heights: as many more steps as are allowed at once.
    expect(first!.steps).toBe(2);
    expect(jobs.job().job.stepsPerClaim).toBe(4);
    expect(jobs.job().open[0]).toMatchObject({ steps: 4, firstStep: 2 });
    expect(await refusal(jobs.claim(1, 2))).toMatch(/shows its 4 steps/);
    await jobs.round();
    expect(jobs.job()).toMatchObject({ stepsDone: 6 });
    expect(rootOf(scopeOfJob(jobs.state, 1))).toBe(jobs.state);
  });

  it('the length of a list is shown by one root beside it', () => {
    for (const length of [1, 2, 5, 64]) {
      const list = Array.from({ length }, (_, step) => ({
        step,
        preStateRoot: blake3(Uint8Array.of(step)),
        batchDigest: new Uint8Array(32),
        unitRoots: [],
        unitLosses: [],
        postStateRoot: new Uint8Array(32),
      }));
      const root = StepCommitmentListType.hashTreeRoot(list);
      const chunks = listChunksRoot(list);
      expect(hasLength(root, chunks, length)).toBe(true);
      expect(hasLength(root, chunks, length + 1)).toBe(false);
      expect(hasLength(root, blake3(chunks), length)).toBe(false);
    }
  });

  it('a claim without its length is refused in an owner’s job', async () => {
    const jobs = new JobChain();
    await jobs.create();
    await jobs.chain.shares();
    for (const keys of jobs.chain.demo.miners) {
      for (const duty of dutiesOf(jobs.state, keys.publicKey)) {
        if (duty.duty !== 'train' || duty.assignment.job !== 1) continue;
        const { claim } = syntheticClaim(duty.assignment, keys, duty.steps, duty.firstStep, '', bls);
        const plain = encodeTransaction('claim', signClaim(bls, keys, claim.header));
        expect(await refusal(jobs.chain.submit(plain))).toMatch(/shows its 2 steps/);
      }
    }
  });
});
