/** Availability challenges on the ledger: shown pieces, silence, what is refused, and money. */
import { blake3 } from '@noble/hashes/blake3.js';
import { describe, expect, it } from 'vitest';
import { toHex } from '../../src/hex.js';
import { totalMoney } from '../../src/ledger/state.js';
import {
  AVAILABILITY_HEIGHTS,
  awaitsPieces,
  MAX_OPEN_PIECES,
  SEAT_OPEN_PIECES,
} from '../../src/ledger/stateAvailability.js';
import { tickFor } from '../../src/ledger/stateDuties.js';
import { COIN } from '../../src/ledger/stateGenesis.js';
import { portableKernels } from '../../src/merkle/portable.js';
import { buildTree } from '../../src/merkle/tree.js';
import { answers, PIECE, type Piece, type PieceAnswer, type PieceProof } from '../../src/protocol/availability.js';
import type { KeyPair } from '../../src/protocol/bls.js';
import { encodeTransaction, signOrder } from '../../src/protocol/ledgerTypes.js';
import { proveCommitment } from '../../src/protocol/listProof.js';
import { seededBytes } from '../support/random.js';
import { refusal } from '../support/refusal.js';
import { nativeBls, TestChain } from '../support/testChain.js';

const NO_PROOF: PieceProof = { step: [], unit: 0 };

function challenge(chain: TestChain, keys: KeyPair, piece: Piece, proof = NO_PROOF): Promise<unknown> {
  const nonce = chain.nonceOf(keys);
  return chain
    .submit(signOrder(nativeBls, keys, chain.state.chainId, 'challenge-piece', { nonce, piece, proof }))
    .then(() => chain.usedNonce(keys));
}

/** The synthetic model of the open claim: what its root is the BLAKE3 of. */
function modelPiece(chain: TestChain, index = 0): { piece: Piece; bytes: Uint8Array } {
  const { header } = chain.open.claim[0]!;
  const bytes = new TextEncoder().encode(`model ${toHex(header.toRoot)}`);
  return { piece: { claimRoot: chain.open.claimRoot, kind: PIECE.model, root: header.modelRoot, index }, bytes };
}

function answerOf(piece: Piece, bytes: Uint8Array, path = new Uint8Array(0)): PieceAnswer {
  return { piece, step: [], totalBytes: bytes.length, bytes, path };
}

describe('availability challenges', () => {
  it('suspend the outcome, pay the miner that shows the piece, and end with the answer', async () => {
    const chain = new TestChain();
    const claim = await chain.toAttesting();
    const [asker] = chain.demo.verifiers;
    const miner = chain.keyOf(claim.header.miner);
    const { piece, bytes } = modelPiece(chain);
    await challenge(chain, asker!, piece);
    await chain.attest();
    expect(chain.outcomes()).toEqual([]);
    expect([awaitsPieces(chain.state, 0), awaitsPieces(chain.state, 1)]).toEqual([true, true]);
    const wrong = bytes.slice();
    wrong[0]! ^= 1;
    expect(await refusal(chain.submit(encodeTransaction('answer-piece', answerOf(piece, wrong))))).toMatch(/REJECTED/);
    const balance = chain.balance(miner);
    await chain.submit(encodeTransaction('answer-piece', answerOf(piece, bytes)));
    expect(chain.outcomes()).toEqual(['finalized']);
    const { challengeBond, claimReward, usefulnessBonus } = chain.state.parameters;
    expect(chain.balance(miner) - balance).toBe(challengeBond + claimReward + usefulnessBonus);
    expect(totalMoney(chain.state)).toBe(chain.money);
  });

  it('silence that the ledger recorded takes the bond; weakened: without a challenge the withholder is finalized', async () => {
    const withheld = async (asks: boolean): Promise<TestChain> => {
      const chain = new TestChain();
      const claim = await chain.toAttesting();
      const [asker] = chain.demo.verifiers;
      const { piece } = modelPiece(chain);
      const stake = chain.stake(chain.keyOf(claim.header.miner));
      if (asks) await challenge(chain, asker!, piece);
      // A committee that does not look for the bytes.
      await chain.attest();
      if (!asks) return chain;
      const { height } = chain.state.pieces[0]!;
      const silence = encodeTransaction('piece-silence', piece);
      while (chain.state.height + 1 < height + AVAILABILITY_HEIGHTS) {
        expect(await refusal(chain.submit(silence))).toMatch(/expected silence from height/);
        await chain.submit(tickFor(chain.open));
      }
      await chain.submit(silence);
      expect(stake - chain.stake(chain.keyOf(claim.header.miner))).toBe(chain.state.parameters.minerBond);
      expect(chain.balance(asker!)).toBe(100n * COIN + chain.state.parameters.minerBond / 2n);
      expect(totalMoney(chain.state)).toBe(chain.money);
      return chain;
    };
    expect((await withheld(true)).outcomes()).toEqual(['slashed']);
    expect((await withheld(false)).outcomes()).toEqual(['finalized']);
  });

  it('units are named through the list, the list by its steps; nothing else can be asked for', async () => {
    const chain = new TestChain();
    await chain.toAttesting();
    const [first, second] = chain.demo.verifiers;
    const { claimRoot } = chain.open;
    const { header } = chain.open.claim[0]!;
    const list = chain.commitments.get(toHex(claimRoot))!;
    const [unit] = list[1]!.unitRoots;
    const piece = { claimRoot, kind: PIECE.unit, root: unit!, index: 3 };
    const proof = { step: [proveCommitment(list, 1)], unit: 0 };
    for (const [bad, with_] of [
      [piece, NO_PROOF],
      [piece, { ...proof, unit: 1 }],
      [{ ...piece, root: new Uint8Array(32) }, proof],
      [{ ...piece, kind: PIECE.diff, root: header.diffRoot }, NO_PROOF],
      [{ ...piece, kind: 9 }, NO_PROOF],
      [{ ...piece, claimRoot: unit! }, proof],
    ] as const) {
      expect(await refusal(challenge(chain, first!, bad, with_))).toMatch(/^(MALFORMED|REJECTED)/);
    }
    await challenge(chain, first!, piece, proof);
    expect(await refusal(challenge(chain, second!, piece, proof))).toMatch(/one challenge of a piece/);
    // Group 3 of a file of one group: the last one shows where the file ends.
    const bytes = new TextEncoder().encode(`unit 0 ${toHex(list[1]!.preStateRoot)} `);
    expect(toHex(blake3(bytes))).toBe(toHex(unit!));
    await chain.submit(encodeTransaction('answer-piece', answerOf(piece, bytes)));
    const step = { claimRoot, kind: PIECE.commitment, root: header.listRoot, index: 1 };
    await challenge(chain, second!, step);
    const nothing = new Uint8Array(0);
    const show = (index: number): Uint8Array =>
      encodeTransaction('answer-piece', {
        piece: step,
        step: [proveCommitment(list, index)],
        totalBytes: 0,
        bytes: nothing,
        path: nothing,
      });
    expect(await refusal(chain.submit(show(0)))).toMatch(/REJECTED/);
    await chain.submit(show(1));
    expect(chain.state.pieces).toEqual([]);
    expect(totalMoney(chain.state)).toBe(chain.money);
  });

  it('are bounded, prepaid, and given back with a claim that falls', async () => {
    const chain = new TestChain();
    await chain.toAttesting();
    // Friends of the miner: nobody in the committee. One of them is the miner.
    const [flooder, other] = chain.demo.miners;
    const [asker] = chain.demo.verifiers;
    const before = chain.balance(flooder!);
    const { challengeBond } = chain.state.parameters;
    const affordable = Number(before / challengeBond);
    expect(affordable).toBeLessThan(MAX_OPEN_PIECES);
    for (let i = 0; i < affordable; i += 1) await challenge(chain, flooder!, modelPiece(chain, i).piece);
    expect(chain.balance(flooder!)).toBe(before - BigInt(affordable) * challengeBond);
    expect(await refusal(challenge(chain, flooder!, modelPiece(chain, affordable).piece))).toMatch(/balance/);
    for (let i = affordable; i < MAX_OPEN_PIECES; i += 1) await challenge(chain, other!, modelPiece(chain, i).piece);
    expect(await refusal(challenge(chain, other!, modelPiece(chain, 99).piece))).toMatch(/at most 16/);
    // The committee's places are its own.
    for (let i = 0; i < SEAT_OPEN_PIECES; i += 1) await challenge(chain, asker!, modelPiece(chain, 100 + i).piece);
    expect(await refusal(challenge(chain, asker!, modelPiece(chain, 200).piece))).toMatch(/at most 4/);
    for (let i = 0; i < AVAILABILITY_HEIGHTS; i += 1) await chain.submit(tickFor(chain.open));
    await chain.submit(encodeTransaction('piece-silence', modelPiece(chain, 100).piece));
    expect(chain.state.pieces).toEqual([]);
    expect(chain.outcomes()).toEqual(['slashed']);
    // Prepayments come back; the reward is that of whose question was not answered.
    expect(chain.balance(flooder!)).toBe(before);
    expect(chain.balance(asker!)).toBe(100n * COIN + chain.state.parameters.minerBond / 2n);
    expect(totalMoney(chain.state)).toBe(chain.money);
  });
});

describe('an answer', () => {
  it('shows exactly its group: another group, another file, a cut or a false length show nothing', () => {
    const file = seededBytes(100_000, 3);
    const root = blake3(file);
    const tree = buildTree(portableKernels, file);
    const group = (index: number): Uint8Array => file.slice(index * 16384, (index + 1) * 16384);
    const at = (index: number, from = index, totalBytes = file.length): PieceAnswer => ({
      piece: { claimRoot: root, kind: PIECE.model, root, index },
      step: [],
      totalBytes,
      bytes: group(from),
      path: tree.proveGroup(from),
    });
    for (let i = 0; i < 7; i += 1) expect(answers(at(i))).toBe(true);
    expect(answers(at(50, 6))).toBe(true);
    expect(answers(at(2, 3))).toBe(false);
    expect(answers(at(5, 3))).toBe(false);
    // A file told shorter or longer does not move the end.
    for (const total of [0, 16384, 16384 * 4, file.length - 1, file.length + 1]) {
      expect(answers(at(6, 3, total))).toBe(false);
      expect(answers(at(50, 6, total))).toBe(false);
    }
    expect(answers({ ...at(2), path: at(2).path.slice(32) })).toBe(false);
    expect(answers({ ...at(2), totalBytes: 2 ** 60 })).toBe(false);
  });
});
