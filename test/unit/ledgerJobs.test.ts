/**
 * Jobs of owners on the ledger: created, funded, trained and paid beside the genesis job, ended by their claims or their
 * deadline, and handed over; with claims out of hashes (`testChain.ts`).
 */
import { blake3 } from '@noble/hashes/blake3.js';
import { describe, expect, it } from 'vitest';
import { equalBytes, toHex } from '../../src/hex.js';
import { totalMoney } from '../../src/ledger/state.js';
import { dutiesOf, tickFor } from '../../src/ledger/stateDuties.js';
import { COIN } from '../../src/ledger/stateGenesis.js';
import { rootOf, scopeOfJob, scopesOf } from '../../src/ledger/stateScope.js';
import { JOB_STATUS } from '../../src/ledger/stateTypes.js';
import { loadRecipe, recipeRoot } from '../../src/model/recipe.js';
import { signAttestation } from '../../src/protocol/attestation.js';
import { PIECE, type Piece } from '../../src/protocol/availability.js';
import type { KeyPair } from '../../src/protocol/bls.js';
import { signClaim } from '../../src/protocol/claim.js';
import { hasLength, listChunksRoot, nextSteps } from '../../src/protocol/claimSteps.js';
import {
  encodeTransaction,
  type JobRules,
  type Order,
  type OrderKind,
  signOrder,
} from '../../src/protocol/ledgerTypes.js';
import { signReceipt } from '../../src/protocol/receipt.js';
import { StepCommitmentListType } from '../../src/protocol/types.js';
import { createFakeBls } from '../support/fakeBls.js';
import { refusal } from '../support/refusal.js';
import { syntheticClaim, TestChain } from '../support/testChain.js';
import { smallRecipe } from '../support/trainedClaim.js';

const bls = createFakeBls();
const OWNER = bls.deriveKey(new Uint8Array(32).fill(9), 'owner', 0);
const RULES: JobRules = {
  leastSteps: 2,
  mostSteps: 2,
  targetHeights: 0,
  claims: 2,
  deadline: 10_000,
  claimReward: 30n * COIN,
  usefulnessBonus: 10n * COIN,
  verifierReward: 8n * COIN,
};

/** A chain on which an owner has 1,000 coins. */
class JobChain {
  readonly chain: TestChain;

  constructor(parameters: NonNullable<ConstructorParameters<typeof TestChain>[0]>['parameters'] = {}) {
    const accounts = [{ publicKey: OWNER.publicKey, balance: 1000n * COIN }];
    this.chain = new TestChain({ bls, accounts, parameters });
  }

  get state() {
    return this.chain.state;
  }

  job(id = 1) {
    return this.state.jobs[id - 1]!;
  }

  async send<K extends OrderKind>(keys: KeyPair, kind: K, body: Omit<Order<K>, 'sender' | 'nonce'>) {
    const nonce = this.state.accounts.find(({ publicKey }) => equalBytes(publicKey, keys.publicKey))?.nonce ?? 0;
    const order = { ...body, nonce } as unknown as Omit<Order<K>, 'sender'>;
    return this.chain.submit(signOrder(bls, keys, this.state.chainId, kind, order));
  }

  create(changes: Partial<JobRules> = {}, fund = 100n * COIN, firstSteps = 2) {
    const { recipe } = smallRecipe();
    const rules = { ...RULES, ...changes };
    const startStateRoot = blake3(Uint8Array.of(7));
    return this.send(OWNER, 'create-job', { recipeRoot: recipeRoot(recipe), startStateRoot, firstSteps, rules, fund });
  }

  /** The open claim of a job goes from its draw to its claim. */
  async claim(job = 1, steps?: number): Promise<void> {
    await this.chain.shares();
    for (const keys of this.chain.demo.miners) {
      for (const duty of dutiesOf(this.state, keys.publicKey)) {
        if (duty.duty !== 'train' || duty.assignment.job !== job) continue;
        const made = syntheticClaim(duty.assignment, keys, steps ?? duty.steps, duty.firstStep, '', bls);
        const chunksRoot = listChunksRoot(made.commitments);
        await this.chain.submit(encodeTransaction('sized-claim', { claim: made.claim, chunksRoot }));
        return;
      }
    }
    throw new Error('nobody is training');
  }

  /** All votes and openings for the claim of a job. */
  async vote(job = 1): Promise<void> {
    await this.chain.shares();
    const open = () => scopeOfJob(this.state, job).open[0]!;
    const { claimRoot, beacon2, committee } = open();
    const { chainId } = this.state;
    const openings = this.chain.demo.verifiers.map((keys) => this.chain.opening(keys, { claimRoot, beacon2 }));
    for (const [i, keys] of this.chain.demo.verifiers.entries()) {
      const subject = { chainId, claimRoot, beacon2, committee: committee.length };
      await this.chain.submit(encodeTransaction('receipt', signReceipt(bls, keys, subject, openings[i]!)));
      const content = { chainId, claimRoot, beacon2, heldOutBeforeBits: 0x40000000, heldOutAfterBits: 0x3f800000 };
      const vote = signAttestation(bls, keys, { ...content, verdict: 'positive' });
      await this.chain.submit(encodeTransaction('attestation', vote));
    }
    for (const [i, { publicKey: verifier }] of this.chain.demo.verifiers.entries()) {
      await this.chain.submit(encodeTransaction('receipt-reveal', { claimRoot, verifier, opening: openings[i]! }));
    }
  }

  async round(job = 1): Promise<void> {
    await this.claim(job);
    await this.vote(job);
  }

  outcomes(job: number): string[] {
    return this.chain.events.flatMap((event) =>
      event.type === 'outcome' && (event.job ?? 0) === job ? [event.outcome] : [],
    );
  }

  conserved(): void {
    expect(totalMoney(this.state)).toBe(this.chain.money);
  }

  balance(keys: KeyPair): bigint {
    return this.chain.balance(keys);
  }
}

describe('a job of an owner', () => {
  it('is trained beside the genesis job, paid from its fund, and ends with its claims: the rest goes back', async () => {
    const jobs = new JobChain();
    const pool = jobs.state.rewardPool;
    await jobs.create();
    expect(jobs.balance(OWNER)).toBe(900n * COIN);
    expect(scopesOf(jobs.state).map(({ open }) => open.length)).toEqual([1, 1]);
    await jobs.round();
    const [miner] = jobs.job().finalized.map((claim) => claim.miner);
    expect(jobs.job().fund).toBe(52n * COIN);
    expect(jobs.state.rewardPool).toBe(pool);
    await jobs.round();
    expect(jobs.outcomes(1)).toEqual(['finalized', 'finalized']);
    expect(jobs.outcomes(0)).toEqual([]);
    // 100 coins paid two claims of 30 + 10 + 8.
    expect(jobs.balance(OWNER)).toBe(904n * COIN);
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
    await jobs.create({ deadline: 12 });
    const tick = encodeTransaction('job-tick', { job: 1 });
    expect(await refusal(jobs.chain.submit(tick))).toMatch(/^REJECTED: expected a tick at height 12/);
    await jobs.round();
    expect(jobs.state.height).toBeGreaterThan(12);
    // The claim that was open at the deadline was paid; no other follows.
    expect(jobs.outcomes(1)).toEqual(['finalized']);
    expect(jobs.job()).toMatchObject({ status: JOB_STATUS.delivering, open: [] });
    expect(jobs.balance(OWNER)).toBe(952n * COIN);
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
    expect(jobs.balance(OWNER)).toBe(952n * COIN);
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
    expect(await refused({}, 2000n * COIN)).toMatch(/balance/);
    expect(await refused({ claims: 0 })).toMatch(/at least one claim/);
    expect(await refused({ deadline: 0 })).toMatch(/deadline/);
    expect(await refused({ leastSteps: 0 })).toMatch(/steps/);
    expect(await refused({ leastSteps: 3, mostSteps: 4 })).toMatch(/steps/);
    expect(await refused({}, undefined, 3)).toMatch(/steps/);
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
