/**
 * Files of origin: a chain with votes becomes a file that holds, under the genesis and without it; what a liar can write is
 * refused, and each rule stands beside what gets through where it is not asked for.
 */
import { beforeAll, describe, expect, it } from 'vitest';
import { toHex } from '../../src/hex.js';
import {
  buildOrigin,
  decodeOrigin,
  encodeOrigin,
  type OriginBody,
  OriginClaimType,
  type OriginSubject,
  OriginType,
} from '../../src/ledger/origin.js';
import { type OriginPins, verifyOrigin } from '../../src/ledger/originCheck.js';
import type { FinalizedVotes } from '../../src/ledger/originLog.js';
import { SeatsType } from '../../src/ledger/stateTypes.js';
import { checkOriginFile } from '../../src/lightChecks.js';
import { encodeRecipe } from '../../src/model/recipe.js';
import { attestationData, signAttestation } from '../../src/protocol/attestation.js';
import { createNobleBls } from '../../src/protocol/blsNoble.js';
import { signClaim } from '../../src/protocol/claim.js';
import { chainIdOf } from '../../src/protocol/ledgerTypes.js';
import { proveCommitment } from '../../src/protocol/listProof.js';
import { type ClaimHeader, claimRoot, type StateHeader, stateRoot } from '../../src/protocol/types.js';
import { headerAfter, LoggedChain } from '../support/loggedChain.js';
import { refusal } from '../support/refusal.js';
import { nativeBls } from '../support/testChain.js';
import { smallRecipe } from '../support/trainedClaim.js';

const { recipe } = smallRecipe();
const root = (byte: number): Uint8Array => new Uint8Array(32).fill(byte);

const chain = new LoggedChain();
const pins: OriginPins = { genesis: chain.demo.genesis };
let claims: readonly FinalizedVotes[];
let whole: Uint8Array;

const subject = (state: readonly StateHeader[], step: OriginSubject['step'] = []): OriginSubject => ({
  chainId: chain.state.chainId,
  recipe: encodeRecipe(recipe),
  state: [...state],
  step,
});
const steps = recipe.stepsPerClaim;
const build = (from: readonly FinalizedVotes[], state: readonly StateHeader[] = [headerAfter(3 * steps)]): Uint8Array =>
  encodeOrigin(buildOrigin(nativeBls, subject(state), from));
const check = (file: Uint8Array, known: OriginPins = {}): Promise<string> =>
  refusal(() => verifyOrigin(nativeBls, file, known));
/** The file with other contents, and a root of its own that is right. */
const changed = (change: (body: OriginBody) => OriginBody): Uint8Array => encodeOrigin(change(decodeOrigin(whole)));

beforeAll(async () => {
  for (let number = 0; number < 3; number += 1) {
    await chain.toAttesting();
    // The second claim is finalized by three of four.
    await chain.attest(number === 1 ? chain.demo.verifiers.slice(1) : chain.demo.verifiers);
    if (number === 1) await chain.tick();
  }
  expect(chain.outcomes()).toEqual(['finalized', 'finalized', 'finalized']);
  claims = chain.log.finalized;
  whole = build(claims);
});

describe('a file of origin', () => {
  it('holds for the state in which the last claim ends, with and without the genesis, on both libraries', () => {
    for (const bls of [nativeBls, createNobleBls()]) {
      for (const known of [pins, {}]) {
        const origin = verifyOrigin(bls, whole, known);
        expect(origin).toMatchObject({ kind: 'state', claims: 3, step: 3 * steps, falls: 0 });
        expect(toHex(origin.root)).toBe(toHex(stateRoot(headerAfter(3 * steps))));
        expect(toHex(origin.fromRoot)).toBe(toHex(chain.demo.genesis.job.startStateRoot));
        expect(4n * origin.leastVote.stakeFor).toBe(3n * origin.leastVote.stake);
      }
    }
  });

  it('takes one list of seats for all claims of one committee', () => {
    expect(decodeOrigin(whole).committees).toHaveLength(1);
    expect(claims.map(({ votes }) => votes.length)).toEqual([4, 3, 4]);
  });

  it('holds for a packed model, and for a state inside a claim', async () => {
    const model = verifyOrigin(nativeBls, build(claims.slice(0, 2), []), pins);
    expect(model).toMatchObject({ kind: 'model', claims: 2, step: undefined });
    expect(toHex(model.root)).toBe(toHex(claims[1]!.claim.header.modelRoot));
    const inside = (index: number): Uint8Array => {
      const state = [headerAfter(2 * steps + index + 1)];
      return encodeOrigin(buildOrigin(nativeBls, subject(state, [proveCommitment(chain.lists[2]!, index)]), claims));
    };
    expect(verifyOrigin(nativeBls, inside(0), pins)).toMatchObject({ kind: 'state', step: 2 * steps + 1 });
    expect(await check(inside(steps - 1))).toMatch(/^MALFORMED: .*expected no step where a claim ends/);
  });

  it('light says what the answer rests on', async () => {
    const bls = createNobleBls();
    const known = await checkOriginFile(whole, bls, pins);
    expect(known).toMatchObject({ holds: true, reason: expect.stringContaining('from 3 voted claims,') });
    expect(known.restsOn.join()).toContain(toHex(chain.state.chainId));
    expect(known.restsOn.join()).not.toContain('taken from the file');
    const unknown = await checkOriginFile(whole, bls);
    expect(unknown.holds).toBe(true);
    expect(unknown.restsOn.join()).toContain('the committees’ keys and stakes are taken from the file');
    expect(await checkOriginFile(whole.slice(1), bls)).toMatchObject({ holds: false });
  });
});

describe('where there are more verifiers than seats', () => {
  it('the genesis gives each claim the committee that its parent’s beacon drew', async () => {
    const drawn = new LoggedChain({ parameters: { committeeSize: 2 } });
    for (let number = 0; number < 4; number += 1) {
      await drawn.toAttesting();
      await drawn.attest(drawn.open.committee.map(({ publicKey }) => drawn.keyOf(publicKey)));
    }
    const { genesis } = drawn.demo;
    const { finalized } = drawn.log;
    const body = { ...subject([]), chainId: drawn.state.chainId };
    const file = encodeOrigin(buildOrigin(nativeBls, body, finalized));
    expect(decodeOrigin(file).committees.length).toBeGreaterThan(1);
    expect(verifyOrigin(nativeBls, file, { genesis })).toMatchObject({ kind: 'model', claims: 4 });
    // Verifiers without a seat vote in the place of those who have one.
    const idle = finalized.map((claim) => {
      const seats = claim.committee.map(({ publicKey }) => toHex(publicKey));
      const others = drawn.demo.verifiers.filter(({ publicKey }) => !seats.includes(toHex(publicKey)));
      const committee = others.map(({ publicKey }) => ({ publicKey, stake: 1n }));
      const { data } = claim.votes[0]!;
      const votes = others.map((keys) => signAttestation(nativeBls, keys, { ...data, verdict: 'positive' }));
      return { ...claim, committee, votes };
    });
    const wrong = encodeOrigin(buildOrigin(nativeBls, body, idle));
    expect(await check(wrong)).toBe('accepted');
    expect(await check(wrong, { genesis })).toMatch(/^MISMATCH: .*signers of the committee/);
  });
});

describe('what is refused', () => {
  it('every flipped bit', async () => {
    for (let at = 0; at < whole.length; at += 37) {
      const copy = whole.slice();
      copy[at]! ^= 1 << (at % 8);
      expect(await check(copy), `byte ${at}`).toMatch(/^MALFORMED: /);
    }
  });

  const edits: Readonly<Record<string, (body: OriginBody) => OriginBody>> = {
    'a claim in the middle is left out': (body) => ({ ...body, claims: [body.claims[0]!, body.claims[2]!] }),
    'the first claim is left out': (body) => ({ ...body, claims: body.claims.slice(1) }),
    'claims stand in another order': (body) => ({ ...body, claims: [1, 0, 2].map((i) => body.claims[i]!) }),
    'there are no claims': (body) => ({ ...body, claims: [], committees: [] }),
    'the state is another one': (body) => ({ ...body, state: [headerAfter(steps)] }),
    'the last claim is not needed': (body) => ({ ...body, state: [headerAfter(2 * steps)] }),
    'the recipe is another one': (body) => ({ ...body, recipe: encodeRecipe({ ...recipe, name: 'other' }) }),
    'the recipe is none': (body) => ({ ...body, recipe: body.recipe.slice(1) }),
    'the chain is another one': (body) => ({ ...body, chainId: root(9) }),
    'the version is another one': (body) => ({ ...body, version: 2 }),
    'a signer is added': (body) => ({
      ...body,
      claims: body.claims.map((link, i) => (i === 1 ? withAll(link) : link)),
    }),
    'the votes are of another round': (body) => edited(body, { beacon2: root(7) }),
    'the votes are about other losses': (body) => edited(body, { heldOutAfterBits: 1 }),
    'the beacon draws other batches': (body) => edited(body, { beacon1: root(7) }),
    'a claim is signed by nobody': (body) => {
      const claim = { ...body.claims[2]!.claim, signature: body.claims[1]!.claim.signature };
      return edited(body, { claim });
    },
    'a committee is told twice': (body) => ({
      ...edited(body, { committee: 1 }),
      committees: [body.committees[0]!, body.committees[0]!],
    }),
    'a committee serves no claim': (body) => ({ ...body, committees: [...body.committees, []] }),
    'seats are out of order': (body) => ({ ...body, committees: [[...body.committees[0]!].reverse()] }),
    'a step stands beside a packed model': (body) => ({
      ...body,
      state: [],
      step: [proveCommitment(chain.lists[2]!, 0)],
    }),
  };
  const edited = (body: OriginBody, change: Partial<OriginBody['claims'][number]>): OriginBody => ({
    ...body,
    claims: body.claims.map((link, i) => (i === 2 ? { ...link, ...change } : link)),
  });
  const withAll = (link: OriginBody['claims'][number]): OriginBody['claims'][number] => {
    const signers = link.signers.clone();
    for (let i = 0; i < signers.bitLen; i += 1) signers.set(i, true);
    return { ...link, signers };
  };

  it.each(Object.entries(edits))('%s', async (_name, edit) => {
    expect(await check(changed(edit))).toMatch(/^MALFORMED: /);
    expect(await check(changed((body) => body))).toBe('accepted');
  });

  it('the pinned chain, recipe, start or job is another one', async () => {
    const { genesis } = chain.demo;
    expect(await check(whole, { chainId: root(1) })).toMatch(/^MISMATCH: .*chain/);
    expect(await check(whole, { chainId: chain.state.chainId })).toBe('accepted');
    expect(await check(whole, { genesis: { ...genesis, salt: root(1) } })).toMatch(/^MISMATCH: .*chain/);
  });

  it('fewer than two thirds of the stake voted', async () => {
    const half = claims.map((claim) => ({ ...claim, votes: claim.votes.slice(0, 2) }));
    expect(await check(build(half))).toMatch(/^UNDECIDED: .*2\/3/);
    expect(await check(build(half), pins)).toMatch(/^UNDECIDED: /);
    // Stakes that a file makes up are believed only where nobody knows better.
    const rich = half.map((claim) => {
      const heavy = claim.votes.map(({ verifier }) => toHex(verifier));
      const committee = claim.committee.map((seat) => ({
        ...seat,
        stake: heavy.includes(toHex(seat.publicKey)) ? 9n * seat.stake : seat.stake,
      }));
      return { ...claim, committee };
    });
    expect(await check(build(rich))).toBe('accepted');
    expect(await check(build(rich), pins)).toMatch(/^UNDECIDED: /);
  });

  it('a committee that somebody made up, once the genesis is known', async () => {
    const strangers = [0, 1, 2].map((i) => nativeBls.deriveKey(root(77), 'stranger', i));
    const forged = claims.map((claim) => ({
      ...claim,
      committee: strangers.map(({ publicKey }) => ({ publicKey, stake: 1n })),
      votes: strangers.map((keys) =>
        signAttestation(nativeBls, keys, {
          ...content(claim),
          verdict: 'positive',
        }),
      ),
    }));
    expect(await check(build(forged))).toBe('accepted');
    expect(await check(build(forged), pins)).toMatch(/^MISMATCH: .*signers of the committee/);
  });

  it('negative votes', async () => {
    const against = claims.map((claim) => ({
      ...claim,
      votes: chain.demo.verifiers.map((keys) =>
        signAttestation(nativeBls, keys, { ...content(claim), verdict: 'negative' }),
      ),
    }));
    expect(await check(build(against))).toMatch(/^MALFORMED: .*positive votes/);
  });

  it('its own miner’s vote', async () => {
    const own = claims.map((claim) => {
      const keys = chain.keyOf(claim.claim.header.miner);
      const votes = [...claim.votes, signAttestation(nativeBls, keys, { ...content(claim), verdict: 'positive' })];
      return { ...claim, votes, committee: [...claim.committee, { publicKey: keys.publicKey, stake: 1n }] };
    });
    expect(await check(build(own))).toMatch(/^MALFORMED: .*the miner’s/);
  });
});

function content(claim: FinalizedVotes) {
  const { beacon2, heldOutBeforeBits, heldOutAfterBits } = claim.votes[0]!.data;
  const { chainId } = chain.state;
  return { chainId, claimRoot: claimRoot(claim.claim.header), beacon2, heldOutBeforeBits, heldOutAfterBits };
}

/** The same claims with other headers: signed, voted for by everybody, each naming the one before as its parent. */
function retold(
  change: (header: ClaimHeader, number: number) => ClaimHeader,
  chainId = chain.state.chainId,
): Uint8Array {
  let parentClaimRoot = new Uint8Array(32);
  const told = claims.map((old, number) => {
    const header = change({ ...old.claim.header, chainId, parentClaimRoot }, number);
    const claim = signClaim(nativeBls, chain.keyOf(header.miner), header);
    parentClaimRoot = Uint8Array.from(claimRoot(header));
    const vote = { ...content(old), chainId, claimRoot: claimRoot(header), verdict: 'positive' as const };
    const votes = chain.demo.verifiers.map((keys) => signAttestation(nativeBls, keys, vote));
    return { ...old, claim, claimRoot: claimRoot(header), votes };
  });
  return encodeOrigin(buildOrigin(nativeBls, { ...subject([headerAfter(3 * steps)]), chainId }, told));
}
const only =
  (wanted: number, fields: Partial<ClaimHeader>) =>
  (header: ClaimHeader, number: number): ClaimHeader =>
    number === wanted ? { ...header, ...fields } : header;

describe('what two thirds of the stake cannot vote into a file', () => {
  it('a claim that begins elsewhere, names another parent, another job, or an attempt that was over', async () => {
    expect(
      await check(
        retold((header) => header),
        pins,
      ),
    ).toBe('accepted');
    expect(await check(retold(only(2, { parentClaimRoot: root(5) })), pins)).toMatch(/^MALFORMED: .*parentClaimRoot/);
    expect(await check(retold(only(2, { fromRoot: root(5) })), pins)).toMatch(/^MALFORMED: .*fromRoot/);
    expect(await check(retold(only(2, { job: 5 })), pins)).toMatch(/^MALFORMED: .*of one job/);
    expect(await check(retold(only(0, { attempt: 5 })), pins)).toMatch(/^MALFORMED: .*attempt 0/);
  });

  it('another start or job than the genesis has', async () => {
    for (const [fields, name] of [
      [{ fromRoot: root(5) }, 'start state'],
      [{ job: 5 }, 'job'],
    ] as const) {
      const file = retold((header, number) => ('job' in fields || number === 0 ? { ...header, ...fields } : header));
      expect(await check(file)).toBe('accepted');
      expect(await check(file, pins)).toMatch(new RegExp(`^MISMATCH: .*${name}`));
    }
  });

  it('a genesis with a key whose possession nobody proved', async () => {
    const { genesis } = chain.demo;
    const [, , other] = genesis.members;
    const members = genesis.members.map((member, i) =>
      i === genesis.members.length - 1 ? { ...member, possession: other!.possession } : member,
    );
    const bad = { ...genesis, members };
    expect(await check(retold((header) => header, chainIdOf(bad)))).toBe('accepted');
    expect(
      await check(
        retold((header) => header, chainIdOf(bad)),
        { genesis: bad },
      ),
    ).toMatch(/proof of possession/);
  });

  it('seats in another order, or without stake', async () => {
    const reversed = changed((body) => ({
      ...body,
      committees: [[...body.committees[0]!].reverse()],
      claims: body.claims.map((link) => {
        const signers = link.signers.clone();
        for (let i = 0; i < signers.bitLen; i += 1) signers.set(i, link.signers.get(signers.bitLen - 1 - i));
        return { ...link, signers };
      }),
    }));
    expect(await check(reversed)).toMatch(/^MALFORMED: .*ascending order/);
    const free = changed((body) => ({ ...body, committees: [body.committees[0]!.map((s) => ({ ...s, stake: 0n }))] }));
    expect(await check(free)).toMatch(/^MALFORMED: .*seats with stake/);
  });
});

describe('the log', () => {
  it('has the votes that the ledger counted: positive, of the last round, with an opened receipt', () => {
    for (const { claimRoot: name, votes, claim } of claims) {
      expect(toHex(name)).toBe(toHex(claimRoot(claim.header)));
      for (const { data } of votes) {
        expect(data).toEqual(
          attestationData({ ...data, verdict: 'positive' } as Parameters<typeof attestationData>[0]),
        );
      }
    }
  });

  it('sizes are bounded by their types', () => {
    expect(OriginClaimType.serialize(OriginClaimType.defaultValue()).length).toBeLessThan(700);
    expect(OriginType.minSize).toBeLessThan(100);
    expect(SeatsType.limit).toBe(4096);
  });
});
