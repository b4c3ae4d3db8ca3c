/**
 * A verifier that signs a false held-out loss among three honest ones: who rechecks it compares the losses, and evidence or a
 * dispute convicts it, played by the nodes alone; an honest verifier that is challenged answers and is paid.
 */
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { equalBytes } from '../../src/hex.js';
import type { LedgerEvent, Member } from '../../src/index.js';
import * as library from '../../src/index.js';
import { totalMoney } from '../../src/ledger/state.js';
import { disputeTick } from '../../src/ledger/stateDisputeDuties.js';
import { recipeHeader } from '../../src/model/recipeHeader.js';
import { signAttestation } from '../../src/protocol/attestation.js';
import type { KeyPair } from '../../src/protocol/bls.js';
import { decodeTransaction, encodeTransaction, type Order, signOrder } from '../../src/protocol/ledgerTypes.js';
import type { Attestation, SignedClaim } from '../../src/protocol/types.js';
import { temporaryFolder } from '../support/bundles.js';

const folder = temporaryFolder();
const home = join(folder.path, 'home');
/** Two sequences: a trace of few operations. */
const tiny = library.loadRecipe('tiny');
const recipe = library.validateRecipe({ ...tiny, data: { ...tiny.data, heldOutTokens: tiny.context + 2 } });
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

interface Scene {
  readonly ledger: Awaited<ReturnType<typeof library.createEmbeddedLedger>>;
  readonly verifiers: readonly KeyPair[];
  order(keys: KeyPair, body: Omit<Order<'open-held-out-dispute'>, 'sender' | 'nonce'>): Promise<void>;
}

/**
 * One claim with four verifiers, of whom the first signs `lie` of its losses; goes on until `until` says so.
 *
 * @param onEvent what the test does itself
 */
async function played(
  name: string,
  evidenceBytes: number,
  lie: (losses: { before: number; after: number }) => { before: number; after: number },
  until: (event: LedgerEvent) => boolean,
  onEvent: (event: LedgerEvent, scene: Scene) => Promise<void> = async () => undefined,
) {
  const seed = new Uint8Array(32).fill(5);
  const demo = library.createDemoGenesis({ bls, seed, miners: 1, verifiers: 4, recipe, startStateRoot });
  const path = join(folder.path, name);
  const ledger = await library.createEmbeddedLedger({
    directory: join(path, 'ledger'),
    genesis: demo.genesis,
    bls,
    checkEvidence: (bytes) => library.checkEvidence(bytes, { bls, executor: environment.executor }),
  });
  const liar = demo.verifiers[0]!;
  /** The liar's votes are signed anew, with what `lie` makes of their losses. */
  const falsely = (bytes: Uint8Array): Uint8Array => {
    const { kind, body } = decodeTransaction(bytes);
    if (kind !== 'attestation') return bytes;
    const { data } = body;
    const { before, after } = lie({ before: data.heldOutBeforeBits, after: data.heldOutAfterBits });
    const content = { ...data, verdict: 'positive', heldOutBeforeBits: before, heldOutAfterBits: after } as const;
    return encodeTransaction('attestation', signAttestation(bls, liar, content));
  };
  const lying = new Proxy(ledger, {
    get(target, key) {
      if (key === 'submit') return (bytes: Uint8Array) => target.submit(falsely(bytes));
      const value: unknown = Reflect.get(target, key, target);
      return typeof value === 'function' ? value.bind(target) : value;
    },
  });
  const member = (role: string, keys: KeyPair) => ({
    ...{ ledger: keys === liar ? lying : ledger, keys, recipe, home, lanes: 1, evidenceBytes },
    directory: join(path, role),
    published: join(path, 'published'),
  });
  const members: Member[] = [
    library.createMiner(member('miner', demo.miners[0]!)),
    ...demo.verifiers.map((keys, i) => library.createVerifier(member(`verifier-${i}`, keys))),
  ];
  const money = totalMoney(ledger.state);
  const stakeOf = (keys: KeyPair): bigint =>
    ledger.state.members.find(({ publicKey }) => publicKey.join() === keys.publicKey.join())!.stake;
  const balanceOf = (keys: KeyPair): bigint =>
    ledger.state.accounts.find(({ publicKey }) => publicKey.join() === keys.publicKey.join())!.balance;
  const stake = stakeOf(liar);
  const scene: Scene = {
    ledger,
    verifiers: demo.verifiers,
    async order(keys, body) {
      const account = ledger.state.accounts.find(({ publicKey }) => publicKey.join() === keys.publicKey.join());
      const whole = { ...body, nonce: account?.nonce ?? 0 };
      const sent = await ledger.submit(signOrder(bls, keys, ledger.state.chainId, 'open-held-out-dispute', whole));
      expect(sent).toMatchObject({ accepted: true });
    },
  };
  const running = members.map((one) => one.run());
  const events: LedgerEvent[] = [];
  const proofs: number[] = [];
  const follow = async (): Promise<void> => {
    for await (const block of ledger.subscribe(1)) {
      for (const bytes of block.transactions) {
        const { kind, body } = decodeTransaction(bytes);
        if (kind === 'prove-element') proofs.push(body.proof.length);
      }
      for (const event of block.events) await onEvent(event, scene);
      events.push(...block.events);
      if (block.events.some(until)) return;
      for (const tick of library.waitingTicks(ledger.state)) await ledger.submit(tick);
    }
  };
  try {
    await Promise.race([follow(), Promise.all(running).then(() => Promise.reject(new Error('the members left')))]);
  } finally {
    await Promise.all(members.map((one) => one.dispose()));
    await Promise.all(running);
  }
  const { verifierStake } = ledger.state.parameters;
  const result = { events, proofs, liar, lost: stake - stakeOf(liar), verifierStake, balance: balanceOf(liar) };
  expect(totalMoney(ledger.state)).toBe(money);
  await ledger.close();
  return result;
}

/** Moves of the disputes against a verifier. */
const changesOf = (events: readonly LedgerEvent[], accused: KeyPair): string[] =>
  events.flatMap((event) =>
    event.type === 'dispute' && equalBytes(event.accused, accused.publicKey) ? [event.change] : [],
  );
const outcomesOf = (events: readonly LedgerEvent[]): string[] =>
  events.flatMap((event) => (event.type === 'outcome' ? [event.outcome] : []));
const isSlashed = (event: LedgerEvent): boolean => event.type === 'member' && event.change === 'slashed';

describe('a false held-out loss in a vote', () => {
  it.each([
    ['after the claim', ({ before, after }: { before: number; after: number }) => ({ before, after: after - 1 })],
    ['before a first claim', ({ before, after }: { before: number; after: number }) => ({ before: before + 1, after })],
  ])('%s: a dispute that the nodes play convicts it by one element; the claim stays final', async (name, lie) => {
    const { events, proofs, liar, lost, verifierStake } = await played(name, 65_536, lie, isSlashed);
    expect(outcomesOf(events)).toContain('finalized');
    // The liar, whose node takes its own vote for right, challenges an honest verifier meanwhile: that one answers.
    const moves = changesOf(events, liar).filter((change) => change !== 'queued');
    expect(moves.slice(-4)).toEqual(['traced', 'named', 'node-opened', 'convicted']);
    const convicted = events.find((event) => event.type === 'dispute' && event.change === 'convicted');
    expect(convicted?.type === 'dispute' ? convicted.reason : '').toContain('(loss)');
    expect(proofs.length).toBe(1);
    expect(proofs[0]).toBeLessThan(65_536);
    expect(lost).toBe(verifierStake);
  });

  it('is convicted by evidence where that is small enough', async () => {
    const lie = ({ before, after }: { before: number; after: number }) => ({ before, after: after - 1 });
    const { events, liar, lost, verifierStake } = await played('evidence', 1 << 30, lie, isSlashed);
    const found = events.flatMap((event) => (event.type === 'evidence' ? [event] : []));
    expect(found.map(({ kind }) => kind)).toContain('held-out');
    for (const { accused, verdict } of found) {
      expect(verdict).toBe(equalBytes(accused, liar.publicKey) ? 'guilty' : 'false-accusation');
    }
    expect(changesOf(events, liar)).toEqual([]);
    expect(lost).toBe(verifierStake);
  });
});

describe('an honest verifier', () => {
  it('that is challenged over its losses answers by itself and is paid the bond', async () => {
    let claim: SignedClaim | undefined;
    let attestation: Attestation | undefined;
    let before = 0n;
    let bond = 0n;
    const honest = await played(
      'honest',
      65_536,
      (losses) => losses,
      (event) => event.type === 'dispute' && event.change === 'lost',
      async (event, { ledger, verifiers, order }) => {
        const [accused, griefer] = verifiers;
        const mine = ({ verifier }: { verifier: Uint8Array }) => verifier.join() === accused!.publicKey.join();
        const [open] = ledger.state.open;
        claim ??= open?.claim[0];
        attestation ??= open?.attestations.find(mine) as Attestation | undefined;
        if (event.type === 'outcome') {
          const { challengeBond, disputeBondSurplus } = ledger.state.parameters;
          bond = challengeBond + disputeBondSurplus;
          before = ledger.state.accounts.find(
            ({ publicKey }) => publicKey.join() === accused!.publicKey.join(),
          )!.balance;
          const subject = { claim: claim!, recipe: recipeHeader(recipe), attestation: attestation!, after: 1, bond };
          await order(griefer!, subject);
        }
        // The griefer's own node finds nothing to go on with; its turn ends.
        if (event.type === 'dispute' && event.change === 'traced')
          await ledger.submit(disputeTick(ledger.state.disputes[0]!));
      },
    );
    expect(changesOf(honest.events, honest.liar)).toEqual(['opened', 'traced', 'lost']);
    expect(outcomesOf(honest.events)).toContain('finalized');
    expect(honest.lost).toBe(0n);
    expect(honest.balance - before).toBe(bond);
  });
});
