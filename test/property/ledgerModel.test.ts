/**
 * The ledger beside a slow reference machine (`test/support/referenceLedger.ts`) over random sequences of blocks: the same
 * transactions are taken and refused, all money lies in the same pockets, nothing is made or lost, and whoever did what it
 * had to do has its whole stake.
 *
 * POGO_LEDGER_RUNS sets the number of sequences (500 by default).
 */
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { PogoError } from '../../src/errors.js';
import { equalBytes, toHex } from '../../src/hex.js';
import { totalMoney } from '../../src/ledger/state.js';
import { dutiesOf, tickFor } from '../../src/ledger/stateDuties.js';
import { beaconIdOf } from '../../src/ledger/stateOpen.js';
import { scopeOfClaim, scopeOfJob } from '../../src/ledger/stateScope.js';
import { JOB_STATUS, MEMBER_STATUS } from '../../src/ledger/stateTypes.js';
import { signAttestation } from '../../src/protocol/attestation.js';
import { PIECE, type Piece } from '../../src/protocol/availability.js';
import { createBeaconShare } from '../../src/protocol/beacon.js';
import type { KeyPair } from '../../src/protocol/bls.js';
import { listChunksRoot } from '../../src/protocol/claimSteps.js';
import { encodeTransaction, signOrder } from '../../src/protocol/ledgerTypes.js';
import { signReceipt } from '../../src/protocol/receipt.js';
import { createFakeBls } from '../support/fakeBls.js';
import { JOB_BONUS, JOB_PAY, JOB_REWARD, ReferenceJob, ReferenceLedger } from '../support/referenceLedger.js';
import { syntheticClaim, TestChain } from '../support/testChain.js';

const RUNS = Number(process.env['POGO_LEDGER_RUNS'] ?? 500);
const EPOCH = 2;
const COIN = 1_000_000_000n;
const NAMES = ['miner-0', 'miner-1', 'verifier-0', 'verifier-1', 'verifier-2', 'verifier-3'];
const VERIFIERS = NAMES.slice(2);
/** Has no stake; makes jobs. */
const OWNER = 'owner';
/** Whose receipts are false. */
const LAZY = 'verifier-3';
/** Loss bits after a claim from 2.0 nats, by gain in quarters of a nat. */
const AFTER = new Map([
  [4, 0x3f800000],
  [2, 0x3fc00000],
  [1, 0x3fe00000],
  [-4, 0x40400000],
]);
const GAINS = [...AFTER.keys()];

/** What to try, by weight: the ordinary life of a claim often, everything else now and then. */
const KINDS = [
  ...Array<string>(60).fill('next'),
  ...Array<string>(12).fill('share'),
  ...Array<string>(4).fill('claim'),
  ...Array<string>(8).fill('receipt'),
  ...Array<string>(8).fill('vote'),
  ...Array<string>(8).fill('reveal'),
  ...['tick', 'tick', 'commit', 'commit', 'evidence', 'evidence', 'evidence', 'against', 'piece', 'answer', 'answer'],
  ...[
    'silence',
    'unbond',
    'withdraw',
    'transfer',
    'create-job',
    'create-job',
    'fund-job',
    'job-tick',
    'job-tick',
    'serve-job',
  ],
];

type Step = readonly [kind: string, who: number, what: number];

/** Both machines, and who did not do what it had to. */
class Pair {
  readonly real: TestChain;
  readonly whole = new ReferenceLedger(NAMES.slice(0, 2), VERIFIERS, EPOCH);
  /** The job that the step at hand is about. */
  model: ReferenceLedger = this.whole;
  #job = 0;
  /** Why the real machine refused the last transaction, for messages. */
  reason = '';
  readonly failed = new Set<string>();
  /** Whose balance may have fallen: accusers, askers, givers. */
  readonly spent = new Set<string>();
  readonly #claimRoots = new Map<number, Uint8Array>();
  readonly #owner: KeyPair;

  /** @param jobFirst whether the chain begins with a job that most of it is about */
  constructor(readonly jobFirst: boolean) {
    const bls = createFakeBls();
    this.#owner = bls.deriveKey(new Uint8Array(32).fill(8), OWNER, 0);
    this.whole.balance.set(OWNER, 400n * COIN);
    this.real = new TestChain({
      bls,
      accounts: [{ publicKey: this.#owner.publicKey, balance: 400n * COIN }],
      parameters: { epochClaims: EPOCH },
      checkEvidence: async (bytes) => this.#judge(bytes),
    });
  }

  /** The real ledger as the job at hand sees it. */
  get scope() {
    return scopeOfJob(this.real.state, this.#job);
  }

  keys(name: string): KeyPair {
    if (name === OWNER) return this.#owner;
    const index = NAMES.indexOf(name);
    return index < 2 ? this.real.demo.miners[index]! : this.real.demo.verifiers[index - 2]!;
  }

  name(key: Uint8Array): string {
    return NAMES.find((name) => equalBytes(this.keys(name).publicKey, key)) ?? 'nobody';
  }

  /** Evidence of the test: guilty?, index of the accused, claim root. */
  #judge(bytes: Uint8Array) {
    const claimRoot = bytes.slice(2);
    const { chainId } = this.real.state;
    const scope = scopeOfClaim(this.real.state, claimRoot);
    const claim = [...scope.open, ...scope.settled].find((other) => equalBytes(other.claimRoot, claimRoot));
    return {
      verdict: bytes[0] === 1 ? ('guilty' as const) : ('false-accusation' as const),
      kind: 'unit' as const,
      against: bytes[1]! < 2 ? ('miner' as const) : ('verifier' as const),
      chainId,
      claimRoot,
      accused: this.keys(NAMES[bytes[1]!]!).publicKey,
      job: scope.job.id,
      claimNumber: claim?.claimNumber ?? 0,
      attempt: claim?.attempt ?? 0,
      reason: 'told by the test',
    };
  }

  /** Submits to the real machine. @returns whether it was taken */
  async #submit(transaction: Uint8Array, sender?: KeyPair): Promise<boolean> {
    try {
      await this.real.submit(transaction);
    } catch (error) {
      if (error instanceof PogoError && error.code === 'REJECTED') {
        this.reason = error.message;
        return false;
      }
      throw error;
    }
    if (sender !== undefined) this.real.usedNonce(sender);
    const open = this.scope.open[0];
    const { open: told } = this.model;
    if (open?.claim.length === 1 && told !== undefined) this.#claimRoots.set(told.id, open.claimRoot);
    return true;
  }

  #order<
    K extends
      | 'commit-evidence'
      | 'challenge-piece'
      | 'unbond'
      | 'withdraw'
      | 'transfer'
      | 'create-job'
      | 'fund-job'
      | 'serve-job',
  >(name: string, kind: K, body: object): Promise<boolean> {
    const keys = this.keys(name);
    const nonce = this.real.nonceOf(keys);
    const order = { nonce, ...body } as unknown as Parameters<typeof signOrder<K>>[4];
    return this.#submit(signOrder(this.real.bls, keys, this.real.state.chainId, kind, order), keys);
  }

  /** What the stage waits for. */
  #next(): string {
    const told = this.model.open;
    if (told?.stage === 'training') return 'claim';
    if (told?.stage === 'revealing') return 'reveal';
    if (told?.stage !== 'attesting') return 'share';
    return told.receipts.size > told.votes.size ? 'vote' : 'receipt';
  }

  async step(step: Step): Promise<void> {
    const { jobs } = this.whole;
    const [, who, what] = step;
    // Where there is a job, most steps are about it in chains that began with one, a few in others.
    const toJob = jobs.length > 0 && (this.jobFirst ? what % 8 !== 3 : what % 8 === 3);
    this.#job = toJob ? 1 + (who % 8 === 0 ? jobs.length - 1 : 0) : 0;
    this.model = this.#job === 0 ? this.whole : jobs[this.#job - 1]!;
    const { height } = this.whole;
    await this.#step(step);
    if (this.whole.height > height) this.whole.retry();
  }

  async #step([tried, who, what]: Step): Promise<void> {
    const { real, model, scope } = this;
    const told = model.open;
    const kind = tried === 'next' ? this.#next() : tried;
    const open = scope.open[0];
    const miner = told?.miner ?? '';
    // Mostly whoever has not done this yet: chains in which nothing comes twice get further.
    const next = VERIFIERS.find((name) => {
      if (kind === 'reveal') return told?.receipts.get(name) === false;
      if (kind === 'receipt') return !told?.receipts.has(name);
      return !told?.votes.has(name) && told?.receipts.has(name);
    });
    const verifier = who % 5 === 0 || next === undefined ? VERIFIERS[what % VERIFIERS.length]! : next;
    const anybody = NAMES[who % NAMES.length]!;
    const stage = told?.stage;
    switch (kind) {
      case 'share': {
        const id = open === undefined ? undefined : beaconIdOf(scope, open);
        const missing = told?.seats.find((seat) => !told.shares.has(seat.name))?.name;
        const name = what % 8 === 0 || missing === undefined ? verifier : missing;
        if (id === undefined) return;
        const share = encodeTransaction('beacon-share', createBeaconShare(real.bls, this.keys(name), id));
        if (stage === 'claimed' && told !== undefined && model.height + 1 < told.since + 2) {
          return this.#agree(await this.#submit(tickFor(open!, this.#job)), model.tick());
        }
        const taken = await this.#submit(share);
        return this.#agree(
          taken,
          model.share(name, () => this.name(this.scope.open[0]!.miner)),
        );
      }
      case 'claim': {
        // With no miner left to be drawn, a turn waits for its tick.
        if (stage !== 'training' || miner === 'nobody') return;
        const lie = what % 3 === 0;
        const keys = this.keys(miner);
        const duty = dutiesOf(real.state, keys.publicKey).find(
          (other) => other.duty === 'train' && other.assignment.job === this.#job,
        );
        if (duty?.duty !== 'train') throw new Error('expected the drawn miner to be training');
        const { assignment, steps: K, firstStep } = duty;
        const { claim, commitments } = syntheticClaim(assignment, keys, K, firstStep, lie ? 'batch' : '', real.bls);
        const chunksRoot = listChunksRoot(commitments);
        const taken = await this.#submit(
          this.#job === 0 ? encodeTransaction('claim', claim) : encodeTransaction('sized-claim', { claim, chunksRoot }),
        );
        this.#agree(taken, model.claim(lie));
        if (taken) this.#claimRoots.set(told!.id, this.scope.open[0]!.claimRoot);
        return;
      }
      case 'receipt':
      case 'vote':
        if (stage !== 'attesting') return;
        if (kind === 'receipt')
          return this.#agree(await this.#submit(this.#receipt(this.keys(verifier))), model.receipt(verifier));
        return this.#vote(verifier, GAINS[what % 12] ?? 4);
      case 'against':
        return stage === 'attesting' ? this.#vote(verifier, 'against') : undefined;
      case 'reveal': {
        if (stage !== 'revealing') return;
        const opening = real.opening(this.keys(verifier), open!);
        const body = { claimRoot: open!.claimRoot, verifier: this.keys(verifier).publicKey, opening };
        return this.#agree(await this.#submit(encodeTransaction('receipt-reveal', body)), model.reveal(verifier));
      }
      case 'tick': {
        if (open === undefined || told === undefined) return;
        if (stage !== 'attesting' && stage !== 'revealing' && what % 4 !== 0) return;
        const silent = told.seats.filter((seat) => !told.shares.has(seat.name)).map((seat) => seat.name);
        const early = stage === 'claimed' && model.height + 1 < told.since + 2;
        const taken = await this.#submit(tickFor(open, this.#job));
        this.#agree(taken, model.tick());
        if (!taken || early) return;
        if (stage === 'training') this.failed.add(miner);
        if (stage === 'beacon one' || stage === 'claimed') for (const name of silent) this.failed.add(name);
        return;
      }
      case 'commit': {
        const settled = model.settled.at(-1);
        const ofOpen = what % 2 === 0 || settled === undefined;
        const claim = ofOpen ? told?.id : settled.claim;
        const root = claim === undefined ? undefined : this.#claimRoots.get(claim);
        if (claim === undefined || root === undefined || (ofOpen && told?.made !== true)) return;
        const accused = ofOpen ? miner : VERIFIERS[(what >> 1) % VERIFIERS.length]!;
        const guilty = ofOpen ? told!.lie : accused === LAZY;
        const evidence = Uint8Array.of(guilty ? 1 : 0, NAMES.indexOf(accused), ...root);
        const transaction = real.commitmentTo(this.keys(anybody), evidence, new Uint8Array(32), root);
        const taken = await this.#submit(transaction, this.keys(anybody));
        this.#agree(taken, model.commit(anybody, claim, accused, guilty));
        if (taken) this.spent.add(anybody);
        return;
      }
      case 'evidence': {
        const entry = model.commits[who % Math.max(1, model.commits.length)];
        const root = entry === undefined ? undefined : this.#claimRoots.get(entry.claim);
        if (entry === undefined || root === undefined) return;
        const evidence = Uint8Array.of(entry.guilty ? 1 : 0, NAMES.indexOf(entry.accused), ...root);
        const finder = this.keys(entry.finder).publicKey;
        const taken = await this.#submit(encodeTransaction('evidence', { finder, salt: new Uint8Array(32), evidence }));
        this.#agree(taken, model.evidence(entry.finder, entry.claim));
        if (taken && entry.guilty) this.failed.add(entry.accused);
        return;
      }
      case 'piece': {
        if (open?.claim.length !== 1) return;
        const order = { piece: this.#piece(what % 3), proof: { step: [], unit: 0 } };
        const taken = await this.#order(anybody, 'challenge-piece', order);
        this.#agree(taken, model.piece(anybody, what % 3));
        if (taken) this.spent.add(anybody);
        return;
      }
      case 'answer': {
        const asked = model.pieces[who % Math.max(1, model.pieces.length)];
        if (asked === undefined || open?.claim.length !== 1) return;
        const bytes = new TextEncoder().encode(`model ${toHex(open.claim[0]!.header.toRoot)}`);
        const piece = this.#piece(asked.index);
        const answer = { piece, step: [], totalBytes: bytes.length, bytes, path: new Uint8Array(0) };
        return this.#agree(await this.#submit(encodeTransaction('answer-piece', answer)), model.answer(asked.index));
      }
      case 'silence': {
        if (open?.claim.length !== 1) return;
        const taken = await this.#submit(encodeTransaction('piece-silence', this.#piece(what % 3)));
        this.#agree(taken, model.silence(what % 3));
        if (taken) this.failed.add(miner);
        return;
      }
      case 'create-job': {
        if (this.whole.jobs.length >= 2) return;
        this.#job = 0;
        this.model = this.whole;
        const claims = 1 + (what % 2);
        const deadline = real.state.height + 1 + (who % 50);
        const fund = BigInt(40 + (what % 120)) * COIN;
        const leastStake = BigInt(who % 4) * 2000n * COIN;
        const rules = {
          ...{ leastSteps: 2, mostSteps: 2, targetHeights: 0, claims, deadline, leastStake },
          ...{ claimReward: JOB_REWARD, usefulnessBonus: JOB_BONUS, verifierReward: JOB_PAY },
        };
        const roots = { recipeRoot: real.state.job.recipeRoot, startStateRoot: real.state.chainId };
        const taken = await this.#order(OWNER, 'create-job', { ...roots, firstSteps: 2, rules, fund });
        return this.#agree(taken, this.whole.createJob(OWNER, claims, deadline, fund, leastStake));
      }
      case 'serve-job': {
        if (!(model instanceof ReferenceJob)) return;
        // Rarely no longer.
        const serves = what % 16 === 0 ? 0 : 1;
        const taken = await this.#order(anybody, 'serve-job', { job: this.#job, serves });
        return this.#agree(taken, model.serve(anybody, serves === 1));
      }
      case 'fund-job': {
        if (!(model instanceof ReferenceJob)) return;
        const amount = BigInt(what % 60) * COIN;
        const taken = await this.#order(anybody, 'fund-job', { job: this.#job, amount });
        this.#agree(taken, model.addFund(anybody, amount));
        if (taken) this.spent.add(anybody);
        return;
      }
      case 'job-tick': {
        if (!(model instanceof ReferenceJob)) return;
        return this.#agree(await this.#submit(encodeTransaction('job-tick', { job: this.#job })), model.jobTick());
      }
      case 'unbond':
        // One in four: a chain of which everybody leaves at once ends at once.
        if (what % 4 !== 0) return;
        return this.#agree(await this.#order(anybody, 'unbond', {}), this.whole.unbond(anybody));
      case 'withdraw':
        return this.#agree(await this.#order(anybody, 'withdraw', {}), this.whole.withdraw(anybody));
      default: {
        const to = NAMES[what % NAMES.length]!;
        const amount = BigInt(what % 200) * COIN;
        const order = { to: this.keys(to).publicKey, amount };
        this.#agree(await this.#order(anybody, 'transfer', order), model.transfer(anybody, to, amount));
        this.spent.add(anybody);
      }
    }
  }

  async #vote(name: string, gain: number | 'against'): Promise<void> {
    const losses = [0x40000000, gain === 'against' ? 0 : AFTER.get(gain)!] as const;
    const verdict = gain === 'against' ? 'negative' : 'positive';
    const { claimRoot, beacon2 } = this.scope.open[0]!;
    const content = { chainId: this.real.state.chainId, claimRoot, beacon2, verdict } as const;
    const [heldOutBeforeBits, heldOutAfterBits] = losses;
    const whole = { ...content, heldOutBeforeBits, heldOutAfterBits };
    const vote = signAttestation(this.real.bls, this.keys(name), whole);
    const taken = await this.#submit(encodeTransaction('attestation', vote));
    this.#agree(taken, this.model.vote(name, gain));
  }

  #receipt(keys: KeyPair): Uint8Array {
    const { chainId } = this.real.state;
    const { claimRoot, beacon2, committee } = this.scope.open[0]!;
    const subject = { chainId, claimRoot, beacon2, committee: committee.length };
    const opening = this.real.opening(keys, { claimRoot, beacon2 });
    return encodeTransaction('receipt', signReceipt(this.real.bls, keys, subject, opening));
  }

  #piece(index: number): Piece {
    const { claimRoot, claim } = this.scope.open[0]!;
    return { claimRoot, kind: PIECE.model, root: claim[0]!.header.modelRoot, index };
  }

  #agree(real: boolean, model: boolean): void {
    expect(real, this.reason).toBe(model);
  }

  /** Every pocket, and where the chain stands. */
  compare(): void {
    const { real, whole: model } = this;
    const { state } = real;
    expect(totalMoney(state)).toBe(real.money);
    expect(model.total()).toBe(real.money);
    const members = NAMES.map((name) => {
      const key = this.keys(name).publicKey;
      const found = state.members.find((member) => equalBytes(member.publicKey, key));
      const status = Object.entries(MEMBER_STATUS).find(([, value]) => value === found?.status)?.[0];
      const { stake, locked, silence } = found ?? {};
      return [name, real.balance(this.keys(name)), stake, locked, silence, status];
    });
    const told = NAMES.map((name) => {
      const { stake, locked, silence, status } = model.members.get(name) ?? {};
      return [name, model.balance.get(name), stake, locked, silence, status];
    });
    expect(members).toEqual(told);
    expect([state.height, state.rewardPool, state.burned]).toEqual([model.height, model.pool, model.burned]);
    expect([state.finalizedCount, state.open.length]).toEqual([model.finalized, model.open === undefined ? 0 : 1]);
    const outcomes = (job: number): string[] =>
      real.events.flatMap((event) => (event.type === 'outcome' && (event.job ?? 0) === job ? [event.outcome] : []));
    expect(outcomes(0)).toEqual(model.outcomes);
    expect(real.balance(this.#owner)).toBe(model.balance.get(OWNER));
    const jobs = state.jobs.map(({ fund, finalizedCount, open, status, held }, i) => {
      const name = Object.entries(JOB_STATUS).find(([, value]) => value === status)?.[0];
      return [fund, finalizedCount, open.length, name, held > 0n, outcomes(i + 1)];
    });
    expect(jobs).toEqual(
      model.jobs.map((job) => {
        const { pool, finalized, open, status, heldBy } = job;
        return [pool, finalized, open === undefined ? 0 : 1, status, heldBy !== undefined, job.outcomes];
      }),
    );
    for (const name of NAMES) {
      if (this.failed.has(name)) continue;
      const stake = model.members.get(name)?.stake;
      // Never less; gone only into its own balance.
      const whole = (name.startsWith('miner') ? 5000n : 2000n) * COIN;
      expect(stake === undefined || stake === whole, `${name} did nothing wrong`).toBe(true);
      if (!this.spent.has(name)) expect(model.balance.get(name)! >= 100n * COIN).toBe(true);
    }
  }
}

const steps = fc.array(fc.tuple(fc.constantFrom(...KINDS), fc.nat(1000), fc.nat(1000)), {
  minLength: 60,
  maxLength: 240,
});

describe('the ledger and the reference machine', () => {
  it(`agree on every transaction and every pocket, ${RUNS} sequences of at most 50 blocks`, {
    timeout: 3_600_000,
  }, async () => {
    let blocks = 0;
    const outcomes = new Map<string, number>();
    const jobs = new Map<string, number>();
    await fc.assert(
      fc.asyncProperty(steps, async (sequence) => {
        const pair = new Pair(sequence[0]![1] % 2 === 0);
        if (pair.jobFirst) {
          await pair.step(['create-job', sequence[0]![1], sequence[0]![2]]);
          // Everybody serves it, but now and then one does not.
          const absent = sequence[0]![2] % 12;
          for (let who = 0; who < NAMES.length; who += 1) {
            if (who !== absent) await pair.step(['serve-job', NAMES.length * 8 + who, 1]);
          }
        }
        for (const step of sequence) {
          if (pair.whole.height >= 50) break;
          await pair.step(step);
          pair.compare();
        }
        blocks += pair.whole.height;
        for (const job of pair.whole.jobs) {
          jobs.set(job.status, (jobs.get(job.status) ?? 0) + 1);
          for (const outcome of job.outcomes) jobs.set(outcome, (jobs.get(outcome) ?? 0) + 1);
        }
        for (const outcome of pair.whole.outcomes) outcomes.set(outcome, (outcomes.get(outcome) ?? 0) + 1);
      }),
      // A long sequence is shown as it was found: shrinking it runs it hundreds of times.
      { numRuns: RUNS, endOnFailure: true },
    );
    process.stderr.write(
      `${RUNS} sequences, ${blocks} blocks: ${JSON.stringify([...outcomes])}; jobs: ${JSON.stringify([...jobs])}\n`,
    );
    // Sequences that reach nothing prove nothing; a few of them need not reach everything.
    if (RUNS < 500) return;
    for (const outcome of ['finalized', 'slashed', 'missed', 'reopened'])
      expect((outcomes.get(outcome) ?? 0) + (jobs.get(outcome) ?? 0)).toBeGreaterThan(0);
    for (const reached of ['finalized', 'delivering', 'closed']) expect(jobs.get(reached) ?? 0).toBeGreaterThan(0);
  });
});
