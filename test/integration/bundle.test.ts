/**
 * Bundles: what `mine` writes holds; no changed, cut or added byte of any file passes; every lie is found and proven.
 */
import { readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import fc from 'fast-check';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { equalBytes, toHex } from '../../src/hex.js';
import { loadRecipe, recipeRoot } from '../../src/model/recipe.js';
import { CHEAT_NAMES } from '../../src/node/cheats.js';
import type { Environment } from '../../src/node/environment.js';
import { type VerifyBundleOptions, type VerifyBundleResult, verifyBundle } from '../../src/node/verifyBundle.js';
import type { Bundle, BundleClaim } from '../../src/protocol/bundleType.js';
import { checkEvidence } from '../../src/protocol/evidence.js';
import {
  bundleFiles,
  fileBytes,
  mineTiny,
  rewriteBundle,
  TINY,
  temporaryFolder,
  testEnvironment,
  withChangedFile,
} from '../support/bundles.js';
import { codeOf } from '../support/refusal.js';

const folder = temporaryFolder();
const honest = join(folder.path, 'honest');
let environment: Environment;
let stateRoot: Uint8Array;

beforeAll(async () => {
  environment = testEnvironment(folder.path);
  stateRoot = (await mineTiny(environment, honest, 2)).stateRoot;
});

afterAll(async () => {
  await environment.dispose();
  folder.remove();
});

function verify(path: string, options: Partial<VerifyBundleOptions> = {}): Promise<VerifyBundleResult> {
  return verifyBundle(path, { environment, ...options });
}

describe('an honest bundle', () => {
  it('holds, with the state root that was mined', async () => {
    const result = await verify(honest);
    expect(result.verdict).toBe('holds');
    expect(toHex(result.stateRoot)).toBe(toHex(stateRoot));
    expect(result.claims.map(({ claimNumber, holds }) => [claimNumber, holds])).toEqual([
      [0, true],
      [1, true],
    ]);
    expect(result.origin.pinned).toEqual([]);
    expect(result.origin.takenFromBundle).toContain('recipe');
  });

  it('holds under pins, and every unit can be computed again', async () => {
    const { fromRoot } = await verify(honest);
    const result = await verify(honest, {
      recipeRoot: recipeRoot(TINY),
      fromRoot,
      beacon: new Uint8Array(32).fill(9),
      exhaustive: true,
    });
    expect(result.verdict).toBe('holds');
    expect(result.origin.pinned).toEqual(['recipe', 'from', 'beacon']);
    expect(result.claims.every(({ samples, population }) => samples === population)).toBe(true);
  });

  it('is of one recipe and one start', async () => {
    expect(await codeOf(() => verify(honest, { recipeRoot: recipeRoot(loadRecipe('moby')) }))).toBe('MISMATCH');
    expect(await codeOf(() => verify(honest, { fromRoot: stateRoot }))).toBe('MISMATCH');
  });

  it('stays undecided by fewer samples than the recipe asks for', async () => {
    expect((await verify(honest, { samples: 1 })).verdict).toBe('undecided');
  });

  it('grows by more claims, and goes on from its end state', async () => {
    const path = join(folder.path, 'grown');
    await mineTiny(environment, path, 1);
    expect((await verify(path)).claims).toHaveLength(1);
    const grown = await mineTiny(environment, path, 2);
    expect(toHex(grown.stateRoot)).toBe(toHex(stateRoot));
    expect((await verify(path)).verdict).toBe('holds');
    const states = join(`${path}.work`, 'states');
    const end = readdirSync(states).at(-1) as string;
    const next = join(folder.path, 'next');
    const mined = await mineTiny(environment, next, 1, undefined, 0, { from: join(states, end) });
    expect(toHex(mined.fromRoot)).toBe(toHex(stateRoot));
    const result = await verify(next, { fromRoot: stateRoot });
    expect(result.verdict).toBe('holds');
    expect((await verify(next)).origin.takenFromBundle).toContain('from');
  });

  it('refuses to go on with another plan in the same folder', async () => {
    const other = { seed: new Uint8Array(32).fill(1) };
    expect(await codeOf(() => mineTiny(environment, honest, 3, undefined, 0, other))).toBe('MISMATCH');
  });
});

describe('bytes that were changed on the way', () => {
  const change = fc.oneof(
    fc.record({ kind: fc.constant('flip' as const), at: fc.nat(), bit: fc.integer({ min: 0, max: 7 }) }),
    fc.record({ kind: fc.constant('cut' as const), at: fc.nat(), bit: fc.constant(0) }),
    fc.record({ kind: fc.constant('add' as const), at: fc.nat(), bit: fc.integer({ min: 0, max: 7 }) }),
  );

  function apply(bytes: Uint8Array, { kind, at, bit }: { kind: 'flip' | 'cut' | 'add'; at: number; bit: number }) {
    const place = at % bytes.length;
    if (kind === 'cut') return bytes.slice(0, place);
    if (kind === 'add') return Uint8Array.from(Buffer.concat([bytes, Uint8Array.of(1 << bit)]));
    bytes[place] = (bytes[place] as number) ^ (1 << bit);
    return bytes;
  }

  it('never pass, whatever file they are in', async () => {
    const files = bundleFiles(honest);
    await fc.assert(
      fc.asyncProperty(fc.nat(), change, async (which, how) => {
        // The container is every other file: it is small, and most of what is believed is in it.
        const file = which % 2 === 0 ? 'bundle.ssz' : (files[(which >> 1) % files.length] as string);
        const code = await withChangedFile(
          honest,
          file,
          (bytes) => apply(bytes, how),
          () => codeOf(() => verify(honest)),
        );
        expect(['MALFORMED', 'MISSING']).toContain(code);
      }),
      { numRuns: 60 },
    );
    expect((await verify(honest)).verdict).toBe('holds');
  });

  it('never pass as a file more', async () => {
    for (const name of ['README', 'blobs/note.txt', `blobs/${'0'.repeat(64)}`]) {
      const path = join(honest, name);
      writeFileSync(path, 'x');
      expect(await codeOf(() => verify(honest))).toBe('MALFORMED');
      rmSync(path);
    }
  });

  it('are missing data when a blob is gone', async () => {
    const file = join(honest, bundleFiles(honest)[3] as string);
    const bytes = readFileSync(file);
    rmSync(file);
    expect(await codeOf(() => verify(honest))).toBe('MISSING');
    writeFileSync(file, bytes);
  });
});

describe('a container that was rewritten with a right root of its own', () => {
  const flipped = (bytes: Uint8Array): Uint8Array => {
    const copy = Uint8Array.from(bytes);
    copy[0] = (copy[0] as number) ^ 1;
    return copy;
  };
  const withClaim = (bundle: Bundle, index: number, change: (claim: BundleClaim) => BundleClaim): Bundle => ({
    ...bundle,
    claims: bundle.claims.map((claim, i) => (i === index ? change(claim) : claim)),
  });
  const withHeader = (bundle: Bundle, field: 'toRoot' | 'modelRoot' | 'draw1' | 'listRoot' | 'miner'): Bundle =>
    withClaim(bundle, 0, (claim) => {
      const { header } = claim.signedClaim;
      return {
        ...claim,
        signedClaim: { ...claim.signedClaim, header: { ...header, [field]: flipped(header[field]) } },
      };
    });

  const lies: readonly (readonly [string, (bundle: Bundle) => Bundle])[] = [
    ...(['toRoot', 'modelRoot', 'draw1', 'listRoot', 'miner'] as const).map(
      (field) => [`another ${field}`, (bundle: Bundle) => withHeader(bundle, field)] as const,
    ),
    ['no claims', (bundle) => ({ ...bundle, claims: [] })],
    ['without its first claim', (bundle) => ({ ...bundle, claims: bundle.claims.slice(1) })],
    ['claims in another order', (bundle) => ({ ...bundle, claims: [...bundle.claims].reverse() })],
    ['a claim twice', (bundle) => ({ ...bundle, claims: [...bundle.claims, bundle.claims[1] as BundleClaim] })],
    ['another chain id', (bundle) => ({ ...bundle, chainId: flipped(bundle.chainId) })],
    ['no beacon share', (bundle) => withClaim(bundle, 0, (claim) => ({ ...claim, beaconShares: [] }))],
    [
      'a beacon share of another claim',
      (bundle) => withClaim(bundle, 0, (claim) => ({ ...claim, beaconShares: bundle.claims[1]!.beaconShares })),
    ],
    [
      'other steps than signed',
      (bundle) => withClaim(bundle, 0, (claim) => ({ ...claim, steps: bundle.claims[1]!.steps })),
    ],
    ['a recipe cut short', (bundle) => ({ ...bundle, recipe: bundle.recipe.slice(0, -1) })],
    ['a recipe of its own', (bundle) => ({ ...bundle, recipe: flipRecipeName(bundle.recipe) })],
  ];

  /** The name's first letter: another legal recipe with another root. */
  function flipRecipeName(recipe: Uint8Array): Uint8Array {
    const at = Buffer.from(recipe).indexOf('tiny');
    const copy = Uint8Array.from(recipe);
    copy[at] = 'x'.charCodeAt(0);
    return copy;
  }

  it.each(lies)('does not pass: %s', async (name, change) => {
    const copy = join(folder.path, `lie ${name}`);
    rewriteBundle(honest, copy, change);
    const code = await codeOf(() => verify(copy));
    expect(['MALFORMED', 'MISMATCH', 'MISSING']).toContain(code);
    rmSync(copy, { recursive: true });
  });

  it('does not pass with a blob that no claim commits to', async () => {
    const copy = join(folder.path, 'one blob more');
    rewriteBundle(honest, copy, (bundle) => bundle);
    const { bundleBlobs } = await import('../../src/node/bundle.js');
    const root = bundleBlobs(copy).put(new TextEncoder().encode('nobody signed this'));
    const { decodeBundle, encodeBundle, sortBlobs } = await import('../../src/protocol/bundleType.js');
    const container = join(copy, 'bundle.ssz');
    const bundle = decodeBundle(readFileSync(container));
    writeFileSync(container, encodeBundle({ ...bundle, blobs: sortBlobs([...bundle.blobs, { root, length: 18 }]) }));
    expect(await codeOf(() => verify(copy))).toBe('MALFORMED');
  });
});

describe('a miner who cheats', () => {
  const EXPECTED: Readonly<Record<string, string>> = {
    'invent-units': 'unit',
    'flip-code': 'unit',
    'false-loss': 'loss',
    'own-data': 'batch',
    'false-state': 'state-root',
    'false-model': 'quantization',
    'false-diff': 'diff',
  };
  // Equivocation is no lie inside one bundle: it takes two. Bytes that are kept back prove nothing, and a state that nobody
  // has the bytes of leaves its miner nothing to go on from: both are answered on a ledger alone.
  const onLedgers = ['equivocate', 'keep-back', 'hidden-state'];
  const cheats = CHEAT_NAMES.filter((name) => !onLedgers.includes(name));

  it('is expected by a kind of evidence for every cheat', () => {
    expect([...cheats].sort()).toEqual(Object.keys(EXPECTED).sort());
  });

  // A false state sends the verifier back to where the claim starts: behind the log of another claim.
  const places = cheats.map((name, i) => [name, name === 'false-state' ? 1 : i % 2] as const);

  it.each(places)('%s is found in claim %i and proven', async (cheat, at) => {
    const path = join(folder.path, `cheat-${cheat}`);
    await mineTiny(environment, path, at + 1, cheat, at);
    const result = await verify(path);
    expect(result.verdict).toBe('false');
    const { evidence } = result;
    expect(evidence?.kind).toBe(EXPECTED[cheat]);
    expect(evidence?.claimNumber).toBe(at);
    const file = evidence?.file as string;
    expect(file.startsWith(`${path}.`)).toBe(true);
    expect(fileBytes(file)).toBe(evidence?.bytes);
    // A third party, by its own executor.
    const third = testEnvironment(folder.path, 1);
    const verdict = await checkEvidence(readFileSync(file), { bls: third.bls, executor: third.executor });
    await third.dispose();
    expect(verdict.verdict).toBe('guilty');
    expect(equalBytes(verdict.accused, evidence?.accused as Uint8Array)).toBe(true);
  });
});
