/**
 * `proof-of-gradient/light` in a real browser: the example page, loaded once and then offline, decides over leaves,
 * attestations, evidence and origins; a changed byte turns it red; every answer names what it rests on.
 */
import { mkdirSync, writeFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { pathToFileURL } from 'node:url';
import type { Browser, Page } from 'playwright-core';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { toHex } from '../../src/hex.js';
import { buildOrigin, encodeOrigin } from '../../src/ledger/origin.js';
import { encodeOriginFile } from '../../src/ledger/originHandovers.js';
import { encodeRecipe } from '../../src/model/recipe.js';
import { aggregateAttestations, signAttestation } from '../../src/protocol/attestation.js';
import { signClaim } from '../../src/protocol/claim.js';
import {
  blobSource,
  buildBatchEvidence,
  buildCommitmentsEvidence,
  buildEquivocationEvidence,
  buildLeafEvidence,
  buildQuantizationEvidence,
} from '../../src/protocol/evidence/build.js';
import { encodeEvidence } from '../../src/protocol/evidence.js';
import { createLeafCheck, type LeafCheck, LeafCheckType, vectorNames } from '../../src/protocol/leafCheck.js';
import { GenesisType } from '../../src/protocol/ledgerTypes.js';
import { AggregatedAttestationType, claimRoot } from '../../src/protocol/types.js';
import { findBrowser, openBrowser } from '../support/browser.js';
import { temporaryFolder } from '../support/bundles.js';
import { falseProof, honestTrace, lie, play } from '../support/disputes.js';
import { headerAfter, LoggedChain } from '../support/loggedChain.js';
import { movingChain, partsOf } from '../support/movingChain.js';
import { bls, type Tampering, type TrainedClaim, trainClaim } from '../support/trainedClaim.js';

const executable = findBrowser();
const LAST = 1;

function leafCheckOf(trained: TrainedClaim, leaf: number): LeafCheck {
  const step = trained.steps[LAST]!;
  const names = vectorNames(trained.recipe);
  const parts = {
    commitments: [...trained.commitments],
    stepIndex: LAST,
    preHeader: step.preHeader,
    postHeader: step.postHeader,
    before: names.map((name) => blobSource(step.before[name])),
    after: names.map((name) => blobSource(step.after[name])),
    units: step.units.map((unit) => blobSource(unit)),
  };
  return createLeafCheck(parts, trained.plan.layout, leaf);
}

const accusation = ({ claim, recipe, commitments }: TrainedClaim) => ({ claim, recipe, commitments: [...commitments] });
const onLast =
  <T>(change: (value: T) => void) =>
  (value: T, step: number): void => {
    if (step === LAST) change(value);
  };

/** A lie for each kind of evidence that needs no backend, and the file that convicts it. */
const EVIDENCE: Readonly<Record<string, readonly [Tampering, (trained: TrainedClaim) => Uint8Array]>> = {
  leaf: [
    { state: onLast(({ m }) => m.set([1], 3 * 256)) },
    (trained) => buildLeafEvidence(trained, leafCheckOf(trained, 3)),
  ],
  quantization: [
    { model: (model) => model.map((byte, i) => (i === 3 * 256 ? byte ^ 2 : byte)) },
    (trained) => {
      const { after, postHeader } = trained.steps[LAST]!;
      return buildQuantizationEvidence(trained, postHeader, blobSource(after.ema), blobSource(trained.model), 3);
    },
  ],
  batch: [
    { offsets: (offsets, step) => (step === LAST ? [...offsets].reverse() : offsets) },
    (trained) => buildBatchEvidence(accusation(trained), LAST),
  ],
  commitments: [
    { commitments: ([a]) => [a!] },
    (trained) => buildCommitmentsEvidence(accusation(trained), trained.steps[0]!.preHeader),
  ],
  equivocation: [
    {},
    (trained) => {
      const second = signClaim(bls, trained.miner, { ...trained.claim.header, diffRoot: new Uint8Array(32).fill(9) });
      return buildEquivocationEvidence(trained.claim, second, trained.recipe);
    },
  ],
};

interface Answer {
  readonly colour: string;
  readonly reason: string;
  readonly restsOn: readonly string[];
}

const folder = temporaryFolder();
let browser: Browser;
let page: Page;
let honest: TrainedClaim;

/** Gives the page a file and waits for its answer. */
async function ask(kind: string, trusted: object, bytes: Uint8Array): Promise<Answer> {
  await page.selectOption('#kind', kind);
  await page.fill('#trusted', JSON.stringify(trusted));
  await page.setInputFiles('#file', { name: 'file', mimeType: 'application/octet-stream', buffer: Buffer.from(bytes) });
  const answer = page.locator('body.green, body.red');
  await answer.waitFor({ state: 'attached' });
  return {
    colour: (await answer.getAttribute('class')) ?? '',
    reason: (await page.locator('#reason').textContent()) ?? '',
    restsOn: await page.locator('#rests-on li').allTextContents(),
  };
}

/** Copies of a file with one bit changed, at `count` places spread over it. */
function* changed(bytes: Uint8Array, count: number): Generator<Uint8Array> {
  for (let i = 0; i < count; i += 1) {
    const copy = bytes.slice();
    const at = Math.floor(((i + 0.5) * bytes.length) / count);
    copy[at]! ^= 1 << (i % 8);
    yield copy;
  }
}

describe.skipIf(executable === undefined)(
  'the light page in a browser (skipped where no Chromium is installed)',
  () => {
    beforeAll(async () => {
      const { lightPage } = await import('../../scripts/build-light.mjs');
      const file = join(folder.path, 'light', 'index.html');
      mkdirSync(dirname(file), { recursive: true });
      writeFileSync(file, await lightPage());
      honest = trainClaim();
      browser = await openBrowser(executable!);
      const context = await browser.newContext();
      page = await context.newPage();
      const failures: string[] = [];
      page.on('pageerror', (error) => failures.push(error.message));
      await page.goto(pathToFileURL(file).href);
      // Locators only: the page's own rules forbid it to evaluate text, and a test that lifted them would test another page.
      await page.locator('body[data-ready=true]').waitFor();
      expect(failures).toEqual([]);
      // From here on it has only itself: no network, and no file behind it.
      await context.setOffline(true);
      folder.remove();
    });
    afterAll(async () => {
      await browser?.close();
      folder.remove();
    });

    const trustedLeaf = (): object => ({
      recipeSsz: toHex(encodeRecipe(honest.recipe)),
      listRoot: toHex(honest.claim.header.listRoot),
    });

    it('a leaf: green, and red for every changed byte and for another list', async () => {
      const file = LeafCheckType.serialize(leafCheckOf(honest, 3));
      const good = await ask('leaf', trustedLeaf(), file);
      expect(good).toMatchObject({ colour: 'green', reason: expect.stringContaining('leaf 3') });
      expect(good.restsOn.join('\n')).toContain(toHex(honest.claim.header.listRoot));
      for (const bytes of changed(file, 40)) expect((await ask('leaf', trustedLeaf(), bytes)).colour).toBe('red');
      const other = { ...trustedLeaf(), listRoot: '00'.repeat(32) };
      expect((await ask('leaf', other, file)).colour).toBe('red');
      expect((await ask('leaf', {}, file)).colour).toBe('red');
    });

    it('attestations: green with their committee, red with another or with a changed byte', async () => {
      const { chainId } = honest.claim.header;
      const root = claimRoot(honest.claim.header);
      const committee = [0, 1, 2].map((index) => bls.deriveKey(new Uint8Array(32).fill(8), 'verifier', index));
      const content = {
        chainId,
        claimRoot: root,
        beacon2: new Uint8Array(32),
        verdict: 'positive',
        heldOutBeforeBits: 1,
        heldOutAfterBits: 0,
      } as const;
      const signed = committee.slice(0, 2).map((keys) => signAttestation(bls, keys, content));
      const file = AggregatedAttestationType.serialize(aggregateAttestations(bls, signed)[0]!);
      const trusted = {
        chainId: toHex(chainId),
        claimRoot: toHex(root),
        committee: committee.map(({ publicKey }) => toHex(publicKey)),
      };
      const good = await ask('attestation', trusted, file);
      expect(good).toMatchObject({ colour: 'green', reason: '2 of 3 keys signed a positive verdict' });
      expect(good.restsOn.join('\n')).toContain('a committee of 3 keys, given by you');
      const fewer = { ...trusted, committee: trusted.committee.slice(1) };
      expect((await ask('attestation', fewer, file)).colour).toBe('red');
      for (const bytes of changed(file, 16)) expect((await ask('attestation', trusted, bytes)).colour).toBe('red');
    });

    it('an origin: green with the genesis and without it, red for another chain and for a changed byte', async () => {
      const chain = new LoggedChain();
      await chain.toAttesting();
      await chain.attest();
      const { chainId } = chain.state;
      const recipe = encodeRecipe(honest.recipe);
      const state = [headerAfter(honest.recipe.stepsPerClaim)];
      const file = encodeOrigin(buildOrigin(bls, { chainId, recipe, state, step: [] }, chain.log.finalized));
      const open = await ask('origin', {}, file);
      expect(open).toMatchObject({ colour: 'green', reason: expect.stringContaining('from 1 voted claim,') });
      expect(open.restsOn.join()).toContain('taken from the file');
      const known = await ask('origin', { genesis: toHex(GenesisType.serialize(chain.demo.genesis)) }, file);
      expect(known.colour).toBe('green');
      expect(known.restsOn.join()).not.toContain('taken from the file');
      expect((await ask('origin', { chainId: '11'.repeat(32) }, file)).colour).toBe('red');
      for (const bytes of changed(file, 16)) expect((await ask('origin', {}, bytes)).colour).toBe('red');
    });

    it('an origin across changes of membership: green from the genesis, red without its handovers', async () => {
      const chain = await movingChain();
      const parts = partsOf(chain);
      const genesis = { genesis: toHex(GenesisType.serialize(chain.demo.genesis)) };
      const file = encodeOriginFile(parts);
      const known = await ask('origin', genesis, file);
      expect(known).toMatchObject({ colour: 'green', reason: expect.stringContaining('voted claims,') });
      expect(known.restsOn.join()).toContain('signed for the one that follows');
      expect((await ask('origin', genesis, encodeOriginFile({ ...parts, handovers: [] }))).colour).toBe('red');
      for (const bytes of changed(file, 12)) expect((await ask('origin', genesis, bytes)).colour).toBe('red');
    });

    it.each(Object.keys(EVIDENCE))(
      'evidence %s: green for the lie, red for the truth and for changed bytes',
      async (kind) => {
        const [lie, build] = EVIDENCE[kind]!;
        const liar = trainClaim(lie);
        const file = build(liar);
        const good = await ask('evidence', {}, file);
        expect(good).toMatchObject({ colour: 'green', reason: expect.stringContaining(`${kind}: `) });
        expect(good.restsOn.join('\n')).toContain('not pinned');
        const pins = { claimRoot: toHex(claimRoot(liar.claim.header)), accused: toHex(liar.miner.publicKey) };
        expect((await ask('evidence', pins, file)).restsOn.join('\n')).toContain(pins.claimRoot);
        expect((await ask('evidence', { claimRoot: '11'.repeat(32) }, file)).colour).toBe('red');
        if (kind !== 'equivocation') expect((await ask('evidence', {}, build(honest))).colour).toBe('red');
        for (const bytes of changed(file, 12)) expect((await ask('evidence', {}, bytes)).colour).toBe('red');
      },
    );

    it('evidence element: one element of a disputed computation, recomputed in the page', async () => {
      const trace = honestTrace(honest, 'unit');
      const operation = Math.floor(trace.program.operations.length / 2);
      const element = Math.floor(trace.program.operations[operation]!.length / 2);
      const { evidence } = play(trace, lie(trace, operation, element, false));
      expect(evidence.length).toBeLessThanOrEqual(64 * 1024);
      const good = await ask('evidence', {}, evidence);
      expect(good).toMatchObject({ colour: 'green', reason: expect.stringContaining('element: ') });
      const truth = encodeEvidence('element', falseProof(trace, operation, element));
      expect((await ask('evidence', {}, truth)).colour).toBe('red');
      for (const bytes of changed(evidence, 12)) expect((await ask('evidence', {}, bytes)).colour).toBe('red');
    });
  },
);

describe('the browser', () => {
  it('is there where it is demanded (POGO_TEST_REQUIRE_BROWSER=1, as CI does)', () => {
    if (process.env['POGO_TEST_REQUIRE_BROWSER'] === '1') expect(executable).toBeDefined();
    else expect(executable ?? 'none').not.toBe('');
  });
});
