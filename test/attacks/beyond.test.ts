/**
 * Attacks that no list names: what a forger who has read this code would try. Each is refused, or convicts its author.
 */
import { cpSync, mkdirSync, renameSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { fromHex, toHex } from '../../src/hex.js';
import { loadRecipe, recipeFromJson, recipeToJson } from '../../src/model/recipe.js';
import { parseSafetensorsHeader } from '../../src/model/safetensors.js';
import { parseStrictJson } from '../../src/model/strictJson.js';
import type { Environment } from '../../src/node/environment.js';
import { verifyBundle } from '../../src/node/verifyBundle.js';
import { createNobleBls } from '../../src/protocol/blsNoble.js';
import { blobSource, buildBatchEvidence, buildEquivocationEvidence } from '../../src/protocol/evidence/build.js';
import { checkEvidence } from '../../src/protocol/evidence.js';
import { createLeafCheck, type LeafCheck, vectorNames, verifyLeaf } from '../../src/protocol/leafCheck.js';
import { encodeTransaction, signOrder } from '../../src/protocol/ledgerTypes.js';
import { openCommitment, proveCommitment } from '../../src/protocol/listProof.js';
import { bundleFiles, mineTiny, temporaryFolder, testEnvironment } from '../support/bundles.js';
import { refusal } from '../support/refusal.js';
import { changedUnits, forged, type Lie } from '../support/stage.js';
import { useStage } from '../support/stageFixture.js';
import { nativeBls, TestChain } from '../support/testChain.js';
import { trainClaim } from '../support/trainedClaim.js';

const stage = useStage();

/** The first unit that was computed, handed in again wherever `where` says. */
function repeated(where: (step: number, unit: number) => boolean): Lie {
  let first: Promise<Uint8Array> | undefined;
  return {
    committer: {
      unit: async (step, unit, compute) => {
        const real = await compute();
        first ??= Promise.resolve(real.file.slice());
        const bytes = await first;
        return where(step, unit) ? forged(real, (file) => file.set(bytes)) : real;
      },
    },
  };
}

describe('units', () => {
  it.each([
    ['the unit of the step before', (step: number, unit: number) => step === 1 && unit === 0],
    ['the first unit of the step twice', (step: number, unit: number) => step === 0 && unit === 1],
  ] as const)('%s: convicted', async (_name, where) => {
    expect((await stage().play(repeated(where))).outcome).toBe('slashed by evidence unit');
  });

  it.each([0, 1, 2, 64])('a unit longer by %i bytes of zeros', async (more) => {
    const lie: Lie = {
      committer: {
        unit: async (step, unit, compute) => {
          const real = await compute();
          if (step !== 1 || unit !== 1) return real;
          const file = new Uint8Array(new SharedArrayBuffer(real.file.length + more));
          file.set(real.file);
          return forged({ ...real, file }, () => undefined);
        },
      },
    };
    // The trainer that replays it would refuse the length; the miner here commits the true unit and publishes the long one.
    const ending = await refusal(stage().play(lie));
    if (more === 0) expect(ending).toBe('accepted');
    else expect(ending).toMatch(/^SHAPE: expected a gradient unit/);
  });

  it('a loss that is another NaN, or −0', async () => {
    for (const bits of [0x7fc00001, 0xffc00000, 0x80000000]) {
      const lie: Lie = { committer: { unit: async (_s, _u, compute) => ({ ...(await compute()), lossBits: bits }) } };
      expect((await stage().play(lie)).outcome).toBe('slashed by evidence loss');
    }
  });

  it('a scale of −0 in an empty group', async () => {
    const lie: Lie = {
      committer: changedUnits((file) => {
        const scales = new Uint16Array(file.buffer, stage().plan.layout.length / 2);
        scales[scales.indexOf(0)] = 0x8000;
      }),
    };
    expect((await stage().play(lie)).outcome).toBe('slashed by evidence unit');
  });
});

describe('evidence on the wrong ledger, claim or accused', () => {
  it('a true proof against one chain’s claim moves nothing on another', async () => {
    const guilty = new TestChain();
    await guilty.toAttesting('batch');
    const claim = guilty.open.claim[0]!;
    const commitments = guilty.commitments.get(toHex(guilty.open.claimRoot))!;
    const evidence = buildBatchEvidence({ claim, recipe: trainClaim().recipe, commitments }, 1);
    const other = new TestChain({ seed: new Uint8Array(32).fill(6) });
    await other.toAttesting();
    const money = other.state.members.map(({ stake }) => stake);
    expect(await refusal(other.accuse(other.demo.verifiers[0]!, evidence))).toMatch(
      /^REJECTED: expected evidence of this/,
    );
    expect(other.state.members.map(({ stake }) => stake)).toEqual(money);
  });

  it('one claim signed once is no equivocation with itself', async () => {
    const { claim, recipe } = trainClaim();
    const evidence = buildEquivocationEvidence(claim, claim, recipe);
    expect((await checkEvidence(evidence, { bls: nativeBls })).verdict).toBe('false-accusation');
  });
});

/** A leaf check of an honest claim. */
function leafCheck(): { check: LeafCheck; listRoot: Uint8Array; trained: ReturnType<typeof trainClaim> } {
  const trained = trainClaim();
  const step = trained.steps[1]!;
  const names = vectorNames(trained.recipe);
  const sources = {
    commitments: [...trained.commitments],
    stepIndex: 1,
    preHeader: step.preHeader,
    postHeader: step.postHeader,
    before: names.map((name) => blobSource(step.before[name])),
    after: names.map((name) => blobSource(step.after[name])),
    units: step.units.map((unit) => blobSource(unit)),
  };
  const check = createLeafCheck(sources, trained.plan.layout, 3);
  return { check, listRoot: trained.claim.header.listRoot, trained };
}

describe('indices at the ends of their types', () => {
  it('a leaf beyond the vector, near 2^32 and at 2^53 − 1', async () => {
    const { check, listRoot, trained } = leafCheck();
    const leaves = trained.plan.layout.length / 256;
    for (const leaf of [leaves, 2 ** 32 + 3, 2 ** 32 - 1, Number.MAX_SAFE_INTEGER]) {
      expect(await refusal(() => verifyLeaf(listRoot, trained.recipe, { ...check, leaf }))).toMatch(/^MALFORMED/);
    }
  });

  it('a list index that differs by a multiple of the tree’s width has the same branch, and is refused', async () => {
    const { trained, listRoot } = leafCheck();
    const proven = proveCommitment([...trained.commitments], 1);
    expect(openCommitment(listRoot, proven).steps).toBe(2);
    for (const index of [1 + 2 ** 16, 1 + 2 ** 20, 2 ** 32 - 2 ** 16 + 1]) {
      expect(await refusal(() => openCommitment(listRoot, { ...proven, index }))).toMatch(/^MALFORMED/);
    }
  });

  it('no openings, empty openings, openings of other vectors', async () => {
    const { check, listRoot, trained } = leafCheck();
    const nothing = { bytes: new Uint8Array(0), path: new Uint8Array(0) };
    for (const after of [[], check.after.map(() => nothing), check.after.slice(1), [...check.after, nothing]]) {
      expect(await refusal(() => verifyLeaf(listRoot, trained.recipe, { ...check, after }))).toMatch(/^MALFORMED/);
    }
    for (const units of [[], check.units.map(() => []), [check.units[0]!, check.units[0]!]]) {
      expect(await refusal(() => verifyLeaf(listRoot, trained.recipe, { ...check, units }))).toMatch(/^MALFORMED/);
    }
  });
});

describe('keys and signatures', () => {
  it('the point at infinity signs for nobody, alone or in an aggregate', () => {
    const infinityKey = new Uint8Array(48);
    infinityKey[0] = 0xc0;
    const infinitySignature = new Uint8Array(96);
    infinitySignature[0] = 0xc0;
    const message = new Uint8Array(32);
    for (const bls of [nativeBls, createNobleBls()]) {
      expect(bls.verify(infinityKey, message, infinitySignature)).toBe(false);
      expect(bls.popVerify(infinityKey, infinitySignature)).toBe(false);
      expect(bls.verifyAggregate([infinityKey], message, infinitySignature)).toBe(false);
      expect(bls.verifyAggregate([], message, infinitySignature)).toBe(false);
    }
  });

  it('money beyond 2^64: such a chain has no genesis, and no order makes it', async () => {
    const half = 2n ** 63n;
    expect(await refusal(() => new TestChain({ minerStake: half, verifierStake: half }))).toMatch(/^REJECTED: .*2\^64/);
    const chain = new TestChain();
    const [giver, taker] = chain.demo.miners;
    const order = { nonce: 0, to: taker!.publicKey, amount: 2n ** 64n - 1n };
    const transfer = signOrder(nativeBls, giver!, chain.state.chainId, 'transfer', order);
    expect(await refusal(chain.submit(transfer))).toMatch(/^REJECTED: expected a balance/);
    const own = { nonce: 0, to: giver!.publicKey, amount: 1n };
    await chain.submit(signOrder(nativeBls, giver!, chain.state.chainId, 'transfer', own));
    expect(chain.balance(giver!)).toBe(chain.demo.genesis.accounts[0]!.balance);
  });
});

describe('text', () => {
  const json = JSON.stringify(recipeToJson(loadRecipe('tiny')));
  const parse = (text: string): Promise<string> =>
    refusal(() => {
      try {
        recipeFromJson(parseStrictJson(text));
      } catch (error) {
        if (!(error instanceof SyntaxError)) throw error;
        // What the file's reader reports as a recipe that is none.
        expect(error.message).not.toBe('');
        return;
      }
      throw new Error(`a recipe was read out of ${text.slice(0, 60)}`);
    });

  it('repeated keys, also by another spelling', async () => {
    for (const again of ['"layers":9', '"l\\u0061yers":9', '"\\u006cayers":9']) {
      expect(await parse(json.replace(/^\{/, `{${again},`))).toMatch(/^(accepted|RECIPE)/);
    }
  });

  it('keys of prototypes: refused, and nobody’s prototype changes', async () => {
    for (const key of ['__proto__', 'constructor', 'prototype', 'toString']) {
      expect(await parse(json.replace(/^\{/, `{"${key}":{"polluted":1},`))).toMatch(/^RECIPE/);
      expect(await refusal(() => loadRecipe(key))).toMatch(/^RECIPE/);
    }
    expect(({} as { polluted?: number }).polluted).toBeUndefined();
    const header = '{"__proto__":{"dtype":"F32","shape":[1],"data_offsets":[0,4]}}';
    const bytes = new TextEncoder().encode(header);
    const parsed = parseSafetensorsHeader(bytes, 8 + bytes.length + 4);
    expect(parsed.tensors.map(({ name }) => name)).toEqual(['__proto__']);
  });

  it('names that look like others, and numbers that are none', async () => {
    for (const name of ['tіny', 'tiny\u200b', 'ｔiny', 'tiny\u0000', 'Tiny', '../tiny', 'tiny/', '']) {
      expect(await parse(json.replace('"tiny"', JSON.stringify(name)))).toMatch(/^RECIPE/);
    }
    for (const number of ['1e400', '-0', '2.5', '9007199254740993', '"2"', 'null', 'true', '[2]']) {
      expect(await parse(json.replace(/"layers":\d+/, `"layers":${number}`))).toMatch(/^RECIPE/);
    }
  });

  it('hexadecimal with anything else in it', async () => {
    for (const text of ['0x00', '٠٠', 'gg', '0', ' 00', '00\n', '0０', '+1']) {
      expect(await refusal(() => fromHex(text, 1))).not.toBe('accepted');
    }
  });
});

const folder = temporaryFolder();
let environment: Environment;
beforeAll(async () => {
  environment = testEnvironment(folder.path, 1);
  await mineTiny(environment, join(folder.path, 'honest'), 1);
});
afterAll(async () => {
  await environment.dispose();
  folder.remove();
});

describe('bundles', () => {
  /** A copy with one thing changed, and what verifying it ends in. */
  async function verified(change: (bundle: string) => void): Promise<string> {
    const copy = join(folder.path, 'copy');
    rmSync(copy, { recursive: true, force: true });
    cpSync(join(folder.path, 'honest'), copy, { recursive: true });
    change(copy);
    return refusal(verifyBundle(copy, { environment, samples: 1 }));
  }

  it.skipIf(process.platform === 'win32')('links instead of files or folders', async () => {
    const blob = bundleFiles(join(folder.path, 'honest')).at(-1)!;
    const linked = (name: string) => (bundle: string) => {
      const outside = join(folder.path, 'outside');
      rmSync(outside, { recursive: true, force: true });
      renameSync(join(bundle, name), outside);
      symlinkSync(outside, join(bundle, name));
    };
    for (const name of ['bundle.ssz', 'blobs', blob]) expect(await verified(linked(name))).toMatch(/^MALFORMED/);
  });

  it('names that leave the folder, hide, or differ by case', async () => {
    const blob = bundleFiles(join(folder.path, 'honest')).at(-1)!;
    const added = (name: string) => (bundle: string) => writeFileSync(join(bundle, name), 'x');
    for (const name of [
      '.hidden',
      'blobs/..x',
      'blobs/con',
      blob.toUpperCase().replace('BLOBS', 'blobs'),
      'BUNDLE.SSZ',
    ]) {
      expect([name, await verified(added(name))]).toEqual([name, expect.stringMatching(/^MALFORMED/)]);
    }
    expect(await verified((bundle) => mkdirSync(join(bundle, 'blobs', 'folder')))).toMatch(/^MALFORMED/);
    expect(await verified(() => undefined)).toBe('accepted');
  });
});

describe('transactions', () => {
  it('an unknown kind, no bytes, and a kind without its body', async () => {
    const chain = new TestChain();
    for (const bytes of [new Uint8Array(0), Uint8Array.of(0), Uint8Array.of(255), Uint8Array.of(2)]) {
      expect(await refusal(chain.submit(bytes))).toMatch(/^MALFORMED/);
    }
    const attestation = encodeTransaction('tick', {
      claimNumber: 2 ** 53 - 1,
      attempt: 2 ** 32 - 1,
      stage: 255,
      sequence: 0,
    });
    expect(await refusal(chain.submit(attestation))).toMatch(/^REJECTED/);
  });
});
