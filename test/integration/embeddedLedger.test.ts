import * as fs from 'node:fs';
import * as os from 'node:os';
import * as path from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { toHex } from '../../src/hex.js';
import { createEmbeddedLedger } from '../../src/ledger/embedded.js';
import { dutiesOf } from '../../src/ledger/stateDuties.js';
import type { LedgerEvent } from '../../src/ledger/stateEvents.js';
import { createDemoGenesis } from '../../src/ledger/stateGenesis.js';
import { LedgerStateType } from '../../src/ledger/stateTypes.js';
import { loadRecipe } from '../../src/model/recipes.js';
import { createBeaconShare } from '../../src/protocol/beacon.js';
import { createNativeBls } from '../../src/protocol/blsNative.js';
import { encodeTransaction } from '../../src/protocol/ledgerTypes.js';
import { seededBytes } from '../support/random.js';

const bls = createNativeBls();
const demo = (seed: number) =>
  createDemoGenesis({
    bls,
    seed: seededBytes(32, seed),
    miners: 2,
    verifiers: 3,
    recipe: loadRecipe('tiny'),
    startStateRoot: seededBytes(32, 9),
  });

let directory: string;
beforeEach(() => {
  directory = fs.mkdtempSync(path.join(os.tmpdir(), 'pogo-ledger-'));
});
afterEach(() => {
  fs.rmSync(directory, { recursive: true, force: true });
});

const open = (seed = 1) =>
  createEmbeddedLedger({
    directory,
    genesis: demo(seed).genesis,
    bls,
    checkEvidence: () => Promise.reject(new Error('no evidence in this test')),
  });

describe('the embedded ledger of the state machine', () => {
  it('stores a claim’s life, resumes it at any block, and answers the same transactions the same way', async () => {
    const { verifiers } = demo(1);
    const shares: Uint8Array[] = [];
    let ledger = await open();
    for (const keys of verifiers) {
      const duties = dutiesOf(ledger.state, keys.publicKey);
      expect(duties.map(({ duty }) => duty)).toEqual(['beacon-share']);
      const [duty] = duties;
      if (duty?.duty !== 'beacon-share') throw new Error('expected a share to sign');
      const share = encodeTransaction('beacon-share', createBeaconShare(bls, keys, duty.id));
      shares.push(share);
      expect(await ledger.submit(share)).toEqual({ accepted: true, height: shares.length });
      // A new process after every block.
      const { stateRoot } = await ledger.head();
      await ledger.close();
      ledger = await open();
      expect(toHex((await ledger.head()).stateRoot)).toBe(toHex(stateRoot));
    }
    expect(ledger.height).toBe(3);
    for (const [index, share] of shares.entries()) {
      expect(await ledger.submit(share)).toEqual({ accepted: true, height: index + 1 });
    }
    const events: LedgerEvent[] = [];
    for await (const block of ledger.subscribe(1)) {
      events.push(...block.events);
      if (block.height === 3) break;
    }
    expect(events.map(({ type }) => type)).toEqual(expect.arrayContaining(['beacon', 'assigned']));
    const miner = demo(1).miners.find(({ publicKey }) => dutiesOf(ledger.state, publicKey).length > 0);
    expect(dutiesOf(ledger.state, miner!.publicKey)[0]).toMatchObject({ duty: 'train', firstStep: 0 });
    const stored = LedgerStateType.deserialize(await ledger.query('/state'));
    expect(toHex(LedgerStateType.hashTreeRoot(stored))).toBe(toHex((await ledger.head()).stateRoot));
    await ledger.close();
  });

  it('refuses forged, foreign and broken transactions and leaves the state as it was', async () => {
    const ledger = await open();
    const before = toHex((await ledger.head()).stateRoot);
    const [keys] = demo(1).verifiers;
    const duty = dutiesOf(ledger.state, keys!.publicKey)[0];
    if (duty?.duty !== 'beacon-share') throw new Error('expected a share to sign');
    const share = createBeaconShare(bls, keys!, duty.id);
    const foreign = createBeaconShare(bls, keys!, { ...duty.id, chainId: seededBytes(32, 3) });
    const stranger = createBeaconShare(bls, demo(2).verifiers[0]!, duty.id);
    const bad = [
      encodeTransaction('beacon-share', foreign),
      encodeTransaction('beacon-share', stranger),
      encodeTransaction('beacon-share', {
        ...share,
        signature: share.signature.map((byte, i) => (i === 60 ? byte ^ 1 : byte)),
      }),
      new Uint8Array(0),
      seededBytes(200, 1),
    ];
    for (const transaction of bad) {
      expect(await ledger.submit(transaction)).toMatchObject({ accepted: false, height: 0 });
    }
    expect(toHex((await ledger.head()).stateRoot)).toBe(before);
    await ledger.close();
    await expect(open(2)).rejects.toMatchObject({ code: 'MISMATCH' });
  });
});
