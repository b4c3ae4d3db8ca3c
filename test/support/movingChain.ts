/** A chain whose members leave, join, change their keys and are ejected, and sign handovers as nodes do. */
import { expect } from 'vitest';
import { buildOrigin } from '../../src/ledger/origin.js';
import { buildHandovers, type OriginParts } from '../../src/ledger/originHandovers.js';
import { EMBEDDED_PARAMETERS } from '../../src/ledger/stateGenesis.js';
import { findByKey } from '../../src/ledger/stateTypes.js';
import { encodeRecipe } from '../../src/model/recipe.js';
import { CommitteeBook, handOverOrder } from '../../src/node/roles/committeeBook.js';
import type { KeyPair } from '../../src/protocol/bls.js';
import { type Order, type OrderKind, ROLE, signOrder } from '../../src/protocol/ledgerTypes.js';
import { headerAfter, LoggedChain } from './loggedChain.js';
import { nativeBls } from './testChain.js';
import { smallRecipe } from './trainedClaim.js';

const { recipe } = smallRecipe();
const seed = new Uint8Array(32).fill(91);
/** Keys that join after genesis: their accounts have the stake. */
export const [joins, rotated] = [0, 1].map((i) => nativeBls.deriveKey(seed, 'late', i)) as [KeyPair, KeyPair];
export const STAKE = 2n * EMBEDDED_PARAMETERS.verifierStake;

/** A chain whose verifiers have a committee book each, as nodes do. */
export class MovingChain extends LoggedChain {
  readonly books = new Map<KeyPair, CommitteeBook>();
  /** Who does not sign for committees. */
  silent: readonly KeyPair[] = [];

  override get keys(): readonly KeyPair[] {
    return [...super.keys, joins, rotated];
  }

  override async submit(transaction: Uint8Array) {
    const events = await super.submit(transaction);
    for (const book of this.books.values()) {
      book.add({ height: this.state.height, transactions: [transaction], events, stateRoot: new Uint8Array(32) });
    }
    return events;
  }

  watch(keys: KeyPair): void {
    this.books.set(keys, new CommitteeBook(keys.publicKey));
  }

  async send<K extends OrderKind>(keys: KeyPair, kind: K, body: Omit<Order<K>, 'sender' | 'nonce'>): Promise<void> {
    const nonce = findByKey(this.state.accounts, keys.publicKey)?.nonce ?? 0;
    const order = { ...body, nonce } as unknown as Omit<Order<K>, 'sender'>;
    await this.submit(signOrder(this.bls, keys, this.state.chainId, kind, order));
  }

  register(keys: KeyPair): Promise<void> {
    const possession = nativeBls.popProve(keys);
    return this.send(keys, 'register', { possession, roles: ROLE.verifier, stake: STAKE });
  }

  /** Everybody signs who has to. @returns how many did */
  async handOver(): Promise<number> {
    let signed = 0;
    for (const [keys, book] of this.books) {
      const subject = book.due(this.state);
      if (subject === undefined || this.silent.includes(keys)) continue;
      if (findByKey(this.state.members, keys.publicKey) === undefined) continue;
      await this.send(keys, 'hand-over', handOverOrder(nativeBls, keys, subject));
      signed += 1;
    }
    return signed;
  }

  /** The next claim, finalized by the whole committee. */
  async finalizeOne(): Promise<number> {
    const signed = await this.handOver();
    await this.toAttesting();
    await this.attest(this.open.committee.map(({ publicKey }) => this.keyOf(publicKey)));
    return signed;
  }
}

/** Claims, in which a verifier leaves, one joins, one changes its key and one is ejected. */
export async function movingChain(silent: (chain: MovingChain) => readonly KeyPair[] = () => []): Promise<MovingChain> {
  const accounts = [joins, rotated].map(({ publicKey }) => ({ publicKey, balance: STAKE }));
  const chain = new MovingChain({ parameters: { epochClaims: 1, silenceClaims: 1 }, accounts });
  for (const keys of [...chain.demo.verifiers, joins, rotated]) chain.watch(keys);
  chain.silent = silent(chain);
  const [first, second, third] = chain.demo.verifiers as [KeyPair, KeyPair, KeyPair];
  expect(await chain.finalizeOne()).toBe(0);
  await chain.register(joins);
  await chain.finalizeOne();
  await chain.send(first, 'unbond', {});
  await chain.finalizeOne();
  // A key is changed by leaving with the old one and joining with the new one.
  await chain.send(second, 'unbond', {});
  await chain.register(rotated);
  await chain.finalizeOne();
  // The third keeps silent and is ejected.
  await chain.handOver();
  await chain.toAttesting();
  const others = chain.open.committee.filter(({ publicKey }) => publicKey.join() !== third.publicKey.join());
  await chain.attest(others.map(({ publicKey }) => chain.keyOf(publicKey)));
  await chain.tick();
  await chain.finalizeOne();
  await chain.finalizeOne();
  return chain;
}

/** What a file of the chain's last state is made of. */
export function partsOf(from: MovingChain): OriginParts {
  const { finalized } = from.log;
  const state = [headerAfter(finalized.length * recipe.stepsPerClaim)];
  const subject = { chainId: from.state.chainId, recipe: encodeRecipe(recipe), state, step: [] };
  return { origin: buildOrigin(nativeBls, subject, finalized), handovers: buildHandovers(nativeBls, finalized) };
}
