/**
 * Files of origin across changes of membership: members leave, are ejected, join and change their keys, and the seats of each
 * committee sign for the next; what a liar can write into such a file is refused.
 */
import { BitArray } from '@chainsafe/ssz';
import { beforeAll, describe, expect, it } from 'vitest';
import { buildOrigin, decodeOrigin, encodeOrigin, type OriginBody } from '../../src/ledger/origin.js';
import { type OriginPins, verifyOrigin } from '../../src/ledger/originCheck.js';
import {
  buildHandovers,
  decodeOriginFile,
  encodeOriginFile,
  type OriginHandover,
  OriginHandoverType,
  type OriginParts,
} from '../../src/ledger/originHandovers.js';
import type { FinalizedVotes } from '../../src/ledger/originLog.js';
import { SeatsType } from '../../src/ledger/stateTypes.js';
import { checkOriginFile } from '../../src/lightChecks.js';
import { handOverOrder } from '../../src/node/roles/committeeBook.js';
import { signAttestation } from '../../src/protocol/attestation.js';
import type { KeyPair } from '../../src/protocol/bls.js';
import { createNobleBls } from '../../src/protocol/blsNoble.js';
import { type HandoverSubject, handoverMessage } from '../../src/protocol/handover.js';
import type { Order } from '../../src/protocol/ledgerTypes.js';
import { claimRoot } from '../../src/protocol/types.js';
import { joins, MovingChain, movingChain, partsOf, rotated, STAKE } from '../support/movingChain.js';
import { refusal } from '../support/refusal.js';
import { nativeBls } from '../support/testChain.js';

const seed = new Uint8Array(32).fill(92);

let chain: MovingChain;
let claims: readonly FinalizedVotes[];
let parts: OriginParts;
let whole: Uint8Array;
let pins: OriginPins;

const check = (file: Uint8Array, known: OriginPins = pins): Promise<string> =>
  refusal(() => verifyOrigin(nativeBls, file, known));

beforeAll(async () => {
  chain = await movingChain();
  claims = chain.log.finalized;
  parts = partsOf(chain);
  whole = encodeOriginFile(parts);
  pins = { genesis: chain.demo.genesis };
});

describe('a file of origin whose committees moved', () => {
  it('follows members that join, leave, change their key and are ejected, from the genesis, on both libraries', () => {
    const roots = new Set(claims.map(({ committee }) => SeatsType.hashTreeRoot([...committee]).join()));
    expect(roots.size).toBeGreaterThanOrEqual(4);
    expect(parts.handovers.length).toBeGreaterThanOrEqual(3);
    expect(claims.at(-1)!.committee.some(({ publicKey }) => publicKey.join() === rotated.publicKey.join())).toBe(true);
    const genesis = chain.demo.genesis.members.map(({ publicKey }) => publicKey.join());
    // More of the last committee's stake came after genesis than a third: by genesis alone its votes were too few.
    const late = claims.at(-1)!.committee.filter(({ publicKey }) => !genesis.includes(publicKey.join()));
    expect(3 * late.length).toBeGreaterThan(claims.at(-1)!.committee.length);
    for (const bls of [nativeBls, createNobleBls()]) {
      for (const known of [pins, {}]) {
        expect(verifyOrigin(bls, whole, known)).toMatchObject({ kind: 'state', claims: claims.length });
      }
    }
  });

  it('says in the browser’s entry that it rests on the committees’ signatures', async () => {
    const result = await checkOriginFile(whole, createNobleBls(), pins);
    expect(result.holds).toBe(true);
    expect(result.restsOn.join()).toMatch(/signed for the one that follows/);
  });

  it('stays as it was where nobody moved: no verifier signs, and the file has no handovers', async () => {
    const still = new MovingChain();
    for (const keys of still.demo.verifiers) still.watch(keys);
    expect([await still.finalizeOne(), await still.finalizeOne()]).toEqual([0, 0]);
    const file = encodeOriginFile(partsOf(still));
    expect(decodeOrigin(file).claims).toHaveLength(2);
    // A miner that leaves moves no committee.
    await still.send(still.demo.miners[0]!, 'unbond', {});
    expect(await still.finalizeOne()).toBe(0);
  });

  it('a change costs what is stated: 56 bytes a seat for the committee, 104 and a bit a seat for its handover', () => {
    const { handovers, origin } = parts;
    const sizes = handovers.map((handover) => {
      const { length } = OriginHandoverType.serialize(handover);
      expect(length).toBe(104 + Math.floor(handover.signers.bitLen / 8) + 1);
      return 4 + length;
    });
    // Tag, two offsets, root.
    const around = 44 + sizes.reduce((sum, bytes) => sum + bytes, 0);
    expect(whole.length).toBe(encodeOrigin(origin).length + around);
    for (const seats of origin.committees) expect(SeatsType.serialize([...seats]).length).toBe(56 * seats.length);
  });
});

describe('what is refused', () => {
  it('every flipped bit', async () => {
    for (let at = 0; at < whole.length; at += 101) {
      const copy = whole.slice();
      copy[at]! ^= 1 << (at % 8);
      expect(await check(copy), `byte ${at}`).toMatch(/^MALFORMED: /);
    }
    const inHandovers = whole.length - 150 * parts.handovers.length;
    for (let at = inHandovers; at < whole.length; at += 7) {
      const copy = whole.slice();
      copy[at]! ^= 1;
      expect(await check(copy), `byte ${at}`).toMatch(/^MALFORMED: /);
    }
  });

  const edits: Readonly<Record<string, readonly [(list: OriginHandover[]) => OriginHandover[], RegExp]>> = {
    'no handover at all': [() => [], /^(MISMATCH|UNDECIDED): /],
    'the last handover is missing': [(list) => list.slice(0, -1), /^UNDECIDED: .*one that it signed for/],
    'the first one is missing': [(list) => list.slice(1), /^(MISMATCH|UNDECIDED): /],
    'one stands twice': [(list) => [list[0]!, ...list], /^MALFORMED: .*ascending/],
    'they stand in another order': [(list) => [...list].reverse(), /^MALFORMED: .*ascending/],
    'one is to a claim that is not there': [
      (list) => [...list.slice(0, -1), { ...list.at(-1)!, claim: 99 }],
      /^MALFORMED: .*below/,
    ],
    'one has another’s signature': [
      (list) => list.map((one, i) => (i === 1 ? { ...one, signature: list[0]!.signature } : one)),
      /^MALFORMED: .*aggregate/,
    ],
    'one counts a seat that did not sign': [
      (list) =>
        list.map((one, i) => {
          const bits = one.signers.toBoolArray();
          return i === 1
            ? { ...one, signers: BitArray.fromBoolArray(bits.map((bit, seat) => bit !== (seat === 0))) }
            : one;
        }),
      /^MALFORMED: .*aggregate/,
    ],
    'one counts too few seats': [
      (list) => list.map((one, i) => (i === 1 ? { ...one, signers: BitArray.fromBoolArray([true]) } : one)),
      /^MALFORMED: .*bits of signers/,
    ],
  };

  it.each(Object.entries(edits))('%s', async (_name, [edit, expected]) => {
    const handovers = edit([...parts.handovers]);
    expect(await check(encodeOriginFile({ ...parts, handovers }))).toMatch(expected);
  });

  it('a committee that somebody made up, and signed for with keys of its own', async () => {
    const strangers = [0, 1, 2].map((i) => nativeBls.deriveKey(seed, 'stranger', i));
    const last = claims.length - 1;
    const seats = strangers
      .map(({ publicKey }) => ({ publicKey, stake: STAKE }))
      .sort((a, b) => (a.publicKey.join() < b.publicKey.join() ? -1 : 1));
    const forged = claims.map((claim, i) => {
      if (i !== last) return claim;
      const { data } = claim.votes[0]!;
      const votes = strangers.map((keys) => signAttestation(nativeBls, keys, { ...data, verdict: 'positive' }));
      const from = claims[last - 1]!.committee;
      return { ...claim, committee: seats, votes, handover: { from, vouchers: vouchers(claim, seats, strangers) } };
    });
    expect(await check(fileOf(forged, true))).toMatch(/^MALFORMED: .*aggregate/);
    // Even without a handover the committee before does not stand for it.
    expect(await check(fileOf(forged, false))).toMatch(/^UNDECIDED: .*one that it signed for/);
  });

  it('a committee that less than two thirds of the one before signed for, though its own votes are all there', async () => {
    const last = claims.findLastIndex(({ handover }) => handover !== undefined);
    const few = claims.map((claim, i) => {
      if (i !== last) return claim;
      const { from, vouchers: given } = claim.handover!;
      return { ...claim, handover: { from, vouchers: given.slice(0, 1) } };
    });
    expect(await check(fileOf(few, true))).toMatch(/^UNDECIDED: .*2\/3/);
    expect(await check(fileOf(claims, true))).toBe('accepted');
  });

  it('a handover of another chain, job, claim or attempt', async () => {
    const at = claims.findLastIndex(({ handover }) => handover !== undefined);
    const claim = claims[at]!;
    const { from, vouchers: given } = claim.handover!;
    const signers = given.map(({ sender }) => chain.keyOf(sender));
    const subject = subjectOf(claim);
    const others: readonly HandoverSubject[] = [
      { ...subject, chainId: seed },
      { ...subject, job: 1 },
      { ...subject, claimNumber: subject.claimNumber + 1 },
      { ...subject, attempt: subject.attempt + 1 },
      { ...subject, committeeRoot: seed },
    ];
    for (const other of [subject, ...others]) {
      const signed = signers.map(({ publicKey, secret }) => ({
        sender: publicKey,
        voucher: nativeBls.sign(secret, handoverMessage(other)),
      }));
      const forged = claims.map((one, i) => (i === at ? { ...one, handover: { from, vouchers: signed } } : one));
      expect(await check(fileOf(forged, true))).toMatch(other === subject ? /^accepted$/ : /^MALFORMED: .*aggregate/);
    }
  });

  it('a tag without handovers: a file has one form', async () => {
    const tagged = encodeOriginFile(parts);
    expect(decodeOriginFile(tagged).handovers).toEqual(parts.handovers);
    expect(await check(encodeOrigin(parts.origin))).toMatch(/^(MISMATCH|UNDECIDED): /);
  });
});

describe('the ledger', () => {
  it('takes handovers of verifiers to the committee that it drew alone', async () => {
    const moved = await movingChain();
    await moved.send(moved.keyOf(moved.open.committee[0]!.publicKey), 'unbond', {});
    const [signer] = moved.open.committee.slice(1).map(({ publicKey }) => moved.keyOf(publicKey)) as [KeyPair];
    const { claimNumber, attempt } = moved.open;
    const committeeRoot = SeatsType.hashTreeRoot(moved.open.committee);
    const right = { chainId: moved.state.chainId, job: 0, claimNumber, attempt, committeeRoot };
    const give = (keys: KeyPair, subject: HandoverSubject, change: Partial<Order<'hand-over'>> = {}): Promise<string> =>
      refusal(() => moved.send(keys, 'hand-over', { ...handOverOrder(nativeBls, keys, subject), ...change }));
    expect(await give(signer, { ...right, committeeRoot: seed })).toMatch(/expected committee/);
    expect(await give(signer, { ...right, claimNumber: claimNumber + 1 })).toMatch(/open claim/);
    expect(await give(signer, { ...right, attempt: attempt + 1 })).toMatch(/open claim/);
    expect(await give(signer, { ...right, job: 3 })).toMatch(/job of this chain/);
    expect(await give(signer, right, { voucher: nativeBls.sign(signer.secret, seed) })).toMatch(/expected the voucher/);
    expect(await give(moved.demo.miners[0]!, right)).toMatch(/by a verifier/);
    expect(await give(signer, right)).toBe('accepted');
  });

  it('too few handovers: the file is not made up from less, and the check says what is missing', async () => {
    const quiet = await movingChain(({ demo }) => [...demo.verifiers, joins]);
    const file = encodeOriginFile(partsOf(quiet));
    expect(decodeOriginFile(file).handovers).toEqual([]);
    expect(await check(file, { genesis: quiet.demo.genesis })).toMatch(/^(MISMATCH|UNDECIDED): /);
    expect(await check(file, {})).toBe('accepted');
  });
});

function subjectOf({ claim: { header }, committee }: FinalizedVotes): HandoverSubject {
  const { chainId, job, claimNumber, attempt } = header;
  return { chainId, job, claimNumber, attempt, committeeRoot: SeatsType.hashTreeRoot([...committee]) };
}

function vouchers(claim: FinalizedVotes, committee: FinalizedVotes['committee'], signers: readonly KeyPair[]) {
  const message = handoverMessage(subjectOf({ ...claim, committee }));
  // The liar's keys sign in the place of the seats before: the bits name those.
  return claims
    .at(-2)!
    .committee.slice(0, signers.length)
    .map(({ publicKey }, i) => ({ sender: publicKey, voucher: nativeBls.sign(signers[i]!.secret, message) }));
}

function fileOf(from: readonly FinalizedVotes[], handed: boolean): Uint8Array {
  const { chainId, recipe: bytes, state, step } = parts.origin satisfies OriginBody;
  const origin = buildOrigin(nativeBls, { chainId, recipe: bytes, state, step }, from);
  const all = buildHandovers(nativeBls, from);
  // Without: that of the last claim alone is left out.
  const handovers = handed ? all : all.filter(({ claim }) => claim !== from.length - 1);
  expect(claimRoot(from.at(-1)!.claim.header)).toEqual(claimRoot(claims.at(-1)!.claim.header));
  return encodeOriginFile({ origin, handovers });
}
