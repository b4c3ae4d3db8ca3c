/**
 * Disputes that nodes play by themselves: `pogo run` with evidence held to 64 KiB, killed on the way and resumed; and an
 * honest miner that somebody challenges for nothing.
 */
import { readdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { toHex } from '../../src/hex.js';
import type { LedgerEvent, Member } from '../../src/index.js';
import * as library from '../../src/index.js';
import { totalMoney } from '../../src/ledger/state.js';
import { disputeTick } from '../../src/ledger/stateDisputeDuties.js';
import { nodeOf } from '../../src/ledger/stateDisputes.js';
import { openSet } from '../../src/merkle/opening.js';
import { portableKernels } from '../../src/merkle/portable.js';
import { nextOpening } from '../../src/protocol/dispute/narrowing.js';
import { openable } from '../../src/protocol/dispute/trace.js';
import { SUBJECT_KIND } from '../../src/protocol/dispute/types.js';
import {
  decodeTransaction,
  encodeTransaction,
  type Order,
  type OrderKind,
  signOrder,
} from '../../src/protocol/ledgerTypes.js';
import { ReceiptOpeningType, signReceipt } from '../../src/protocol/receipt.js';
import { temporaryFolder } from '../support/bundles.js';
import { eventFaults } from '../support/eventSchema.js';
import { eventsOf, killTree, pogo, startPogo } from '../support/pogo.js';

const folder = temporaryFolder();
const home = join(folder.path, 'home');
const HOME = { POGO_HOME: home };
const recipe = library.loadRecipe('tiny');
const environment = new library.Environment({ lanes: 1, home });
const { bls } = environment;
let startStateRoot: Uint8Array;

beforeAll(async () => {
  startStateRoot = await (await environment.createTrainer(recipe)).stateRoot();
});
afterAll(async () => {
  await environment.dispose();
  folder.remove();
});

/** Under this seed the cheat is drawn first. */
const SEED = '02'.repeat(32);
const args = (cheat: string, dir: string): string[] =>
  `run --recipe tiny --claims 1 --verifiers 2 --cheat ${cheat} --seed ${SEED} --evidence-bytes 65536 --json --dir`
    .split(' ')
    .concat(dir);

const rootOf = (stdout: string): unknown => eventsOf(stdout).find(({ type }) => type === 'summary')?.['stateRoot'];

const undisturbed = pogo(args('false-state', join(folder.path, 'whole')), HOME);

function changesOf(stdout: string): unknown[] {
  return eventsOf(stdout).flatMap((event) => (event['type'] === 'dispute' ? [event['change']] : []));
}

describe('pogo run with evidence of at most 64 KiB', () => {
  it.each([
    ['flip-code', 'unit'],
    ['false-loss', 'loss'],
    ['false-state', 'theta'],
  ])('%s is convicted by one element of %s, in a dispute that the nodes play', async (cheat, operation) => {
    const running = cheat === 'false-state' ? undisturbed : pogo(args(cheat, join(folder.path, cheat)), HOME);
    const { code, stdout, stderr } = await running;
    expect(code, stderr).toBe(0);
    const events = eventsOf(stdout);
    for (const event of events.filter(({ type }) => type === 'dispute')) expect(eventFaults(event)).toEqual([]);
    const convicted = events.find((event) => event['change'] === 'convicted');
    expect(convicted?.['reason']).toContain(`(${operation})`);
    expect(convicted?.['accused']).toBe('miner-1');
    expect(changesOf(stdout).filter((change) => change === 'convicted')).toHaveLength(1);
    const evidence = events.filter(({ type }) => type === 'evidence');
    expect(new Set(evidence.map(({ kind }) => kind))).toEqual(new Set(['element']));
    for (const { bytes } of evidence) expect(bytes).toBeLessThanOrEqual(65_536);
    expect((await pogo(['evidence', evidence[0]?.['file'] as string], HOME)).code).toBe(0);
  });

  it('a false diff is convicted by one byte of it', async () => {
    let events: ReturnType<typeof eventsOf> = [];
    // Until a seed draws the cheat for a claim with a parent: a first claim has no diff.
    for (let seed = 1; seed < 9 && !events.some(({ type }) => type === 'dispute'); seed += 1) {
      const options = ['--seed', `${seed}`.padStart(64, '0')];
      const run = await pogo([...args('false-diff', join(folder.path, `diff-${seed}`)), ...options], HOME);
      expect(run.code, run.stderr).toBe(0);
      events = eventsOf(run.stdout);
    }
    expect(events.find((event) => event['change'] === 'convicted')?.['reason']).toContain('(diff)');
    const evidence = events.filter(({ type }) => type === 'evidence');
    expect(evidence.map(({ kind }) => kind)).toEqual(['witnessed-element']);
    expect(evidence[0]?.['bytes']).toBeLessThanOrEqual(65_536);
    expect((await pogo(['evidence', evidence[0]?.['file'] as string], HOME)).code).toBe(0);
  });

  it.each(['traced', 'named', 'node-opened'])(
    'killed once its dispute is %s it goes on to the same end',
    async (change) => {
      const whole = await undisturbed;
      const dir = join(folder.path, `killed-${change}`);
      const first = startPogo(args('false-state', dir), HOME);
      await first.until((text) => text.includes(`"change":"${change}"`));
      killTree(first.child, 'SIGKILL');
      await first.finished;
      const { code, stdout, stderr } = await pogo(['run', '--resume', '--dir', dir, '--json'], HOME);
      expect(code, stderr).toBe(0);
      expect(changesOf(stdout).at(-1)).toBe('convicted');
      expect(rootOf(stdout)).toBe(rootOf(whole.stdout));
    },
  );
});

describe('an honest miner that is challenged', () => {
  it('answers by itself, is paid the bond, and its claim is finalized', async () => {
    const seed = new Uint8Array(32).fill(5);
    const demo = library.createDemoGenesis({ bls, seed, miners: 1, verifiers: 2, recipe, startStateRoot });
    const path = join(folder.path, 'honest');
    const ledger = await library.createEmbeddedLedger({
      directory: join(path, 'ledger'),
      genesis: demo.genesis,
      bls,
      checkEvidence: (bytes) => library.checkEvidence(bytes, { bls, executor: environment.executor }),
    });
    const member = (role: string, keys: library.MemberOptions['keys']) => ({
      ...{ ledger, keys, recipe, home, lanes: 1 },
      directory: join(path, role),
      published: join(path, 'published'),
    });
    const members: Member[] = [
      library.createMiner(member('miner', demo.miners[0]!)),
      ...demo.verifiers.map((keys, i) => library.createVerifier(member(`verifier-${i}`, keys))),
    ];
    const griefer = demo.verifiers[1]!;
    const { challengeBond, disputeBondSurplus } = demo.genesis.parameters;
    const bond = challengeBond + disputeBondSurplus;
    const order = async <K extends OrderKind>(kind: K, body: Omit<Order<K>, 'sender' | 'nonce'>): Promise<void> => {
      const account = ledger.state.accounts.find(({ publicKey }) => publicKey.join() === griefer.publicKey.join());
      const whole = { ...body, nonce: account?.nonce ?? 0 } as unknown as Omit<Order<K>, 'sender'>;
      const sent = await ledger.submit(signOrder(bls, griefer, ledger.state.chainId, kind, whole));
      expect(sent).toMatchObject({ accepted: true });
    };
    let list = new Uint8Array(0);
    /** The griefer's part: it contests the first value whatever is opened, and has nothing to prove. */
    const grief = async (event: LedgerEvent): Promise<void> => {
      if (event.type === 'claim') {
        const subject = { kind: SUBJECT_KIND.state, stepIndex: 1, unit: 0 };
        await order('open-dispute', { claimRoot: event.claimRoot, subject, bond });
      }
      if (event.type !== 'dispute') return;
      if (event.change === 'traced') {
        const { chunks, siblings } = openSet(openable(portableKernels, list), [0]);
        const opening = { indices: [0], chunks: [...chunks], siblings };
        await order('name-operation', { dispute: event.dispute, operation: 2, list: opening });
      }
      if (event.change !== 'node-opened') return;
      const dispute = ledger.state.disputes[0]!;
      const more = nextOpening(nodeOf(dispute)).kind === 'values';
      if (more) await order('contest-node', { dispute: dispute.id, child: 3 });
      else await ledger.submit(disputeTick(dispute));
    };
    const running = members.map((one) => one.run());
    const events: LedgerEvent[] = [];
    const money = totalMoney(ledger.state);
    try {
      const follow = async (): Promise<void> => {
        for await (const block of ledger.subscribe(1)) {
          for (const bytes of block.transactions) {
            const { kind, body } = decodeTransaction(bytes);
            if (kind === 'publish-trace') list = Uint8Array.from(body.list);
          }
          for (const event of block.events) await grief(event);
          events.push(...block.events);
          if (block.events.some((event) => event.type === 'outcome')) return;
          for (const tick of library.waitingTicks(ledger.state)) await ledger.submit(tick);
        }
      };
      await Promise.race([follow(), Promise.all(running).then(() => Promise.reject(new Error('the members left')))]);
    } finally {
      await Promise.all(members.map((one) => one.dispose()));
      await Promise.all(running);
    }
    const changes = events.flatMap((event) => (event.type === 'dispute' ? [event.change] : []));
    expect(changes).toEqual(['opened', 'traced', 'named', 'node-opened', 'contested', 'node-opened', 'lost']);
    expect(events.flatMap((event) => (event.type === 'outcome' ? [event.outcome] : []))).toEqual(['finalized']);
    const balance = (keys: { publicKey: Uint8Array }): bigint =>
      ledger.state.accounts.find(({ publicKey }) => publicKey.join() === keys.publicKey.join())!.balance;
    const reward = events.find((event) => event.type === 'outcome')!;
    expect(balance(demo.miners[0]!)).toBe(11n * bond + (reward.type === 'outcome' ? reward.reward : 0n));
    expect(totalMoney(ledger.state)).toBe(money);
    await ledger.close();
  });
});

/** Under these seeds the recheck draws a part over a unit, and one over a state. */
describe('a verifier whose receipt is false in every part', () => {
  it.each([
    ['unit', 5],
    ['receipt', 9],
  ] as const)('is rechecked (%s), challenged, answers with its own trace, and is slashed', async (kind, byte) => {
    const seed = new Uint8Array(32).fill(byte);
    const demo = library.createDemoGenesis({ bls, seed, miners: 1, verifiers: 2, recipe, startStateRoot });
    const path = join(folder.path, `receipt-${byte}`);
    const ledger = await library.createEmbeddedLedger({
      directory: join(path, 'ledger'),
      genesis: demo.genesis,
      bls,
      checkEvidence: (bytes) => library.checkEvidence(bytes, { bls, executor: environment.executor }),
    });
    const [honest, liar] = demo.verifiers as [library.KeyPair, library.KeyPair];
    /** What the liar signs and opens instead of what its work gave; all else of it is honest. */
    const corrupt = (bytes: Uint8Array): Uint8Array => {
      const { kind: sent, body } = decodeTransaction(bytes);
      if (sent !== 'receipt') return bytes;
      const receipts = join(path, 'liar', 'receipts');
      const name = readdirSync(receipts).find((file) => file.startsWith(toHex(body.message.claimRoot)))!;
      const { drawSignature, parts } = ReceiptOpeningType.deserialize(readFileSync(join(receipts, name)));
      const opening = { drawSignature, parts: parts.map((part) => Uint8Array.from(part, (value) => value ^ 1)) };
      writeFileSync(join(receipts, name), ReceiptOpeningType.serialize(opening));
      return encodeTransaction('receipt', signReceipt(bls, liar, body.message, opening));
    };
    const corrupted: library.MemberOptions['ledger'] = {
      submit: (bytes) => ledger.submit(corrupt(bytes)),
      subscribe: (from, signal) => ledger.subscribe(from, signal),
      head: () => ledger.head(),
      query: (where, data) => ledger.query(where, data),
    };
    const member = (role: string, keys: library.KeyPair) => ({
      ...{ ledger, keys, recipe, home, lanes: 1, evidenceBytes: 65536 },
      directory: join(path, role),
      published: join(path, 'published'),
    });
    const members: Member[] = [
      library.createMiner(member('miner', demo.miners[0]!)),
      library.createVerifier(member('honest', honest)),
      library.createVerifier({ ...member('liar', liar), ledger: corrupted }),
    ];
    const stakes = (): bigint[] =>
      [honest, liar].map(
        ({ publicKey }) => ledger.state.members.find((one) => one.publicKey.join() === publicKey.join())!.stake,
      );
    const [, staked] = stakes();
    const money = totalMoney(ledger.state);
    const running = members.map((one) => one.run());
    const changes: string[] = [];
    const disputed: number[] = [];
    try {
      const follow = async (): Promise<void> => {
        for await (const block of ledger.subscribe(1)) {
          for (const bytes of block.transactions) {
            const { kind: sent, body } = decodeTransaction(bytes);
            if (sent === 'open-verifier-dispute') disputed.push(body.order.subject.kind);
          }
          changes.push(...block.events.flatMap((event) => (event.type === 'dispute' ? [event.change] : [])));
          if (['convicted', 'lost'].includes(changes.at(-1) ?? '')) return;
          for (const tick of library.waitingTicks(ledger.state)) await ledger.submit(tick);
        }
      };
      await Promise.race([follow(), Promise.all(running).then(() => Promise.reject(new Error('the members left')))]);
    } finally {
      await Promise.all(members.map((one) => one.dispose()));
      await Promise.all(running);
    }
    expect(changes).toEqual(['opened', 'traced', 'convicted']);
    expect(disputed).toEqual([SUBJECT_KIND[kind]]);
    const { verifierStake } = ledger.state.parameters;
    const [kept, left] = stakes();
    expect([kept, left]).toEqual([staked, staked! - verifierStake]);
    expect(totalMoney(ledger.state)).toBe(money);
    await ledger.close();
  });
});
