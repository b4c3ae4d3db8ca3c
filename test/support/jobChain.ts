/** A chain with jobs of one owner, driven by hand with claims out of hashes (`testChain.ts`). */
import { blake3 } from '@noble/hashes/blake3.js';
import { expect } from 'vitest';
import { equalBytes } from '../../src/hex.js';
import { totalMoney } from '../../src/ledger/state.js';
import { dutiesOf } from '../../src/ledger/stateDuties.js';
import { COIN } from '../../src/ledger/stateGenesis.js';
import { scopeOfJob } from '../../src/ledger/stateScope.js';
import { type Recipe, recipeRoot } from '../../src/model/recipe.js';
import { signAttestation } from '../../src/protocol/attestation.js';
import type { KeyPair } from '../../src/protocol/bls.js';
import { listChunksRoot } from '../../src/protocol/claimSteps.js';
import {
  encodeTransaction,
  type JobRules,
  type Order,
  type OrderKind,
  signOrder,
} from '../../src/protocol/ledgerTypes.js';
import { signReceipt } from '../../src/protocol/receipt.js';
import { createFakeBls } from './fakeBls.js';
import { syntheticClaim, TestChain, type TestChainOptions } from './testChain.js';
import { smallRecipe } from './trainedClaim.js';

export const bls = createFakeBls();
export const OWNER = bls.deriveKey(new Uint8Array(32).fill(9), 'owner', 0);
export const RULES: JobRules = {
  leastSteps: 2,
  mostSteps: 2,
  targetHeights: 0,
  claims: 2,
  deadline: 10_000,
  leastStake: 8000n * COIN,
  claimReward: 30n * COIN,
  usefulnessBonus: 10n * COIN,
  verifierReward: 8n * COIN,
};

/** A chain on which an owner has 1,000 coins. */
export class JobChain {
  readonly chain: TestChain;

  constructor(parameters: TestChainOptions['parameters'] = {}, options: TestChainOptions = {}) {
    const accounts = [{ publicKey: OWNER.publicKey, balance: 1000n * COIN }];
    this.chain = new TestChain({ bls, accounts, parameters: parameters ?? {}, ...options });
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

  /** Everybody serves the newest job. */
  async create(
    changes: Partial<JobRules> = {},
    fund = 100n * COIN,
    firstSteps = 2,
    serve = true,
    recipe: Recipe = smallRecipe().recipe,
  ): Promise<void> {
    const rules = { ...RULES, ...changes };
    const startStateRoot = blake3(Uint8Array.of(7));
    await this.send(OWNER, 'create-job', { recipeRoot: recipeRoot(recipe), startStateRoot, firstSteps, rules, fund });
    const job = this.state.jobs.length;
    for (const keys of serve ? this.chain.keys : []) await this.send(keys, 'serve-job', { job, serves: 1 });
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
