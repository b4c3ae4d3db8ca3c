/**
 * Training that goes on from a trained model under another recipe: the start is a root of the recipe, the data and the
 * sampling rule change, and everything about checking stays as it is.
 */
import { mkdirSync, readdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { PogoError } from '../../src/errors.js';
import { equalBytes, toHex } from '../../src/hex.js';
import { deriveRecipe } from '../../src/model/deriveRecipe.js';
import { bitsToFloat } from '../../src/model/fp32.js';
import { hfConfig } from '../../src/model/hf.js';
import { createLayout } from '../../src/model/layout.js';
import { writeCheckpoint } from '../../src/model/node/checkpoint.js';
import {
  loadRecipe,
  OPEN_START,
  type Recipe,
  recipeRoot,
  recipeToJson,
  validateRecipe,
} from '../../src/model/recipe.js';
import { SOTU_BYTES } from '../../src/model/recipeData.js';
import { START_SCALARS, seedState } from '../../src/model/state.js';
import { allocateWeights, LossRunner, modelPlan, quantizeWeights } from '../../src/model/unit.js';
import { Environment } from '../../src/node/environment.js';
import { readStateFolder, readStateHeader } from '../../src/node/files/stateFolder.js';
import { keepRecipe } from '../../src/node/recipeStore.js';
import { openStartSource, startFrom } from '../../src/node/startSource.js';
import { type VerifyBundleOptions, verifyBundle } from '../../src/node/verifyBundle.js';
import { mineTiny, TINY, temporaryFolder, testEnvironment } from '../support/bundles.js';
import { eventFaults } from '../support/eventSchema.js';
import { eventsOf, type Finished, pogo } from '../support/pogo.js';
import { codeOf } from '../support/refusal.js';
import { nativeIsas } from '../support/trainers.js';

const folder = temporaryFolder();
const at = (...names: string[]): string => join(folder.path, ...names);
const home = at('home');

/** `tiny` on the speeches, windows without replacement, its start left open. */
const OPEN: Recipe = validateRecipe({
  ...TINY,
  name: 'tiny-tune',
  data: SOTU_BYTES,
  start: { kind: 'root', root: OPEN_START },
  sampling: 'epochs',
});

let environment: Environment;
/** State folder of a trained `tiny`. */
let trained: string;
let tuned: Recipe;
let lora: Recipe;

const lastState = (bundle: string): string => {
  const states = join(`${bundle}.work`, 'states');
  return join(states, readdirSync(states).at(-1) as string);
};

const tune = (path: string, claims: number, cheat?: string, more: Parameters<typeof mineTiny>[5] = {}) =>
  mineTiny(environment, path, claims, cheat, 0, { recipe: tuned, from: trained, ...more });
const verify = (path: string, options: Partial<VerifyBundleOptions> = {}) =>
  verifyBundle(path, { environment, ...options });

beforeAll(async () => {
  environment = testEnvironment(folder.path);
  await mineTiny(environment, at('trained'), 2); // eight steps: the EMA has moved
  trained = lastState(at('trained'));
  ({ recipe: tuned } = await startFrom(OPEN, await openStartSource(trained, { home })));
});
afterAll(async () => {
  await environment.dispose();
  folder.remove();
});

describe('a recipe that leaves its start open', () => {
  it('becomes one with the root of the start’s EMA, or of its θ', async () => {
    const { emaRoot, thetaRoot } = readStateHeader(trained);
    expect(tuned.start).toEqual({ kind: 'root', root: emaRoot });
    const source = await openStartSource(trained, { home });
    const { recipe } = await startFrom(OPEN, source, { weights: 'theta' });
    expect(recipe.start).toEqual({ kind: 'root', root: thetaRoot });
    expect(toHex(recipeRoot(recipe))).not.toBe(toHex(recipeRoot(tuned)));
    // From the root alone the same recipe follows.
    const alone = deriveRecipe(OPEN, { recipe: TINY, thetaRoot: emaRoot, source: 'a root' });
    expect(toHex(recipeRoot(alone))).toBe(toHex(recipeRoot(tuned)));
  });

  it('is trained by nobody', async () => {
    expect(await codeOf(() => mineTiny(environment, at('open'), 1, undefined, 0, { recipe: OPEN }))).toBe('USAGE');
    expect(await codeOf(() => tune(at('open'), 1, undefined, { recipe: OPEN }))).toBe('USAGE');
  });

  it('refuses a start of another shape or tokenizer, and one that lacks the vector or is not the named one', async () => {
    const source = await openStartSource(trained, { home });
    const other = validateRecipe({ ...OPEN, layers: 1 });
    expect(await codeOf(() => startFrom(other, source))).toBe('MISMATCH');
    const words = { ...source, recipe: loadRecipe('gpt2-124m') };
    expect(await codeOf(() => startFrom(OPEN, words))).toBe('MISMATCH');
    const withoutEma = validateRecipe({ ...TINY, ema: false });
    const file = at('no-ema.safetensors');
    await writeCheckpoint(file, withoutEma, START_SCALARS, seedState(modelPlan(withoutEma)), 'pogo');
    const plain = await openStartSource(file, { home });
    expect(await codeOf(() => startFrom(OPEN, plain, { weights: 'ema' }))).toBe('MISSING');
    expect(await codeOf(() => startFrom(tuned, plain))).toBe('MISMATCH');
    expect(await codeOf(() => tune(at('other-start'), 1, undefined, { from: file }))).toBe('MISMATCH');
    expect(await codeOf(() => openStartSource(at('nothing'), { home }))).toBe('IO');
  });
});

describe('claims from a trained model', () => {
  it('hold, whatever is pinned of them; what is not pinned is said', async () => {
    const { fromRoot } = await tune(at('honest'), 2);
    const unpinned = await verify(at('honest'), { exhaustive: true });
    expect(unpinned.verdict).toBe('holds');
    expect(unpinned.origin.takenFromBundle).toContain('recipe');
    const open = await verify(at('honest'), { openRecipe: OPEN });
    expect(open.verdict).toBe('holds');
    expect(open.origin.pinned).toEqual(['recipe-but-start']);
    expect(open.origin.takenFromBundle).toContain('start');
    const start = await verify(at('honest'), { openRecipe: OPEN, fromRoot });
    expect(start.origin.pinned).toEqual(['recipe', 'from']);
    const whole = await verify(at('honest'), { recipeRoot: recipeRoot(tuned) });
    expect(whole.origin.takenFromBundle).not.toContain('from');
    const otherSteps = validateRecipe({ ...OPEN, sequencesPerUnit: 4 });
    expect(await codeOf(() => verify(at('honest'), { openRecipe: otherSteps }))).toBe('MISMATCH');
    expect(await codeOf(() => verify(at('honest'), { recipeRoot: recipeRoot(TINY) }))).toBe('MISMATCH');
  });

  it('end in one state, interrupted or not, and are gone on with from their own end', async () => {
    const crash = new PogoError('IO', 'a crash');
    const interrupted = tune(at('stopped'), 2, undefined, {
      onStep: ({ commitment }) => {
        if (commitment.step === 5) throw crash;
      },
    });
    await expect(interrupted).rejects.toBe(crash);
    const resumed = await tune(at('stopped'), 2);
    expect(toHex(resumed.stateRoot)).toBe(toHex((await verify(at('honest'))).stateRoot));
    const next = await tune(at('next'), 1, undefined, { from: lastState(at('stopped')) });
    expect(toHex(next.fromRoot)).toBe(toHex(resumed.stateRoot));
    expect((await verify(at('next'))).verdict).toBe('holds');
  });

  it('that lie are proven false', async () => {
    await tune(at('false'), 1, 'own-data');
    expect((await verify(at('false'))).evidence?.kind).toBe('batch');
    await tune(at('invented'), 1, 'invent-units');
    expect((await verify(at('invented'), { exhaustive: true })).evidence?.kind).toBe('unit');
  });
});

describe('a GPT-2 of Hugging Face as the start', () => {
  const shape = validateRecipe({ ...TINY, name: 'small', norm: 'layer', bias: true, layers: 1 });
  const file = at('hf', 'model.safetensors');

  beforeAll(async () => {
    mkdirSync(at('hf'), { recursive: true });
    await writeCheckpoint(file, shape, START_SCALARS, seedState(modelPlan(shape)), 'hf');
    writeFileSync(at('hf', 'config.json'), JSON.stringify(hfConfig(shape)));
  });

  it('gives a recipe its shape where that is asked for', async () => {
    const source = await openStartSource(file, { home });
    expect(await codeOf(() => startFrom(OPEN, source))).toBe('MISMATCH');
    const { recipe, theta } = await startFrom(OPEN, source, { takeShape: true });
    expect(recipe).toMatchObject({ layers: 1, norm: 'layer', bias: true, sampling: 'epochs', name: OPEN.name });
    expect(theta).toHaveLength(createLayout(recipe).length);
    const mined = await tune(at('from-hf'), 1, undefined, { recipe, from: file });
    expect((await verify(at('from-hf'), { fromRoot: mined.fromRoot })).verdict).toBe('holds');
  });
});

describe('adapters over a trained model', () => {
  const OPEN_LORA: Recipe = validateRecipe({
    ...TINY,
    name: 'tiny-lora',
    data: SOTU_BYTES,
    sampling: 'epochs',
    adapter: { kind: 'lora', rank: 8, alphaBits: 0x41800000, targets: ['qkv', 'o', 'fc', 'proj'], base: OPEN_START },
  });
  const mineLora = (path: string, claims: number, cheat?: string, where: Environment = environment) =>
    mineTiny(where, path, claims, cheat, 0, { recipe: lora, from: trained });

  beforeAll(async () => {
    const { recipe, theta } = await startFrom(OPEN_LORA, await openStartSource(trained, { home }));
    lora = recipe;
    environment.models.keep(theta);
  });

  it('name it by root, train from zero, and hold; claims are small', async () => {
    expect(lora.adapter?.base).toEqual(readStateHeader(trained).emaRoot);
    expect(lora.start).toEqual(TINY.start);
    await mineLora(at('lora'), 2);
    expect(createLayout(lora).length).toBeLessThan(createLayout(TINY).length / 4);
    const open = await verify(at('lora'), { openRecipe: OPEN_LORA, exhaustive: true });
    expect(open.verdict).toBe('holds');
    expect(open.origin.takenFromBundle).toContain('start');
    const pinned = await verify(at('lora'), { recipeRoot: recipeRoot(lora) });
    expect(pinned.origin.takenFromBundle).not.toContain('from');
    expect(await codeOf(() => verify(at('lora'), { openRecipe: OPEN }))).toBe('MISMATCH');
  });

  it('end in one state with other lanes and instruction sets, in a folder that has the model from the bundle alone', async () => {
    const expected = toHex((await verify(at('lora'))).stateRoot);
    const native = (await nativeIsas()).length > 0;
    const forced = native ? ({ backend: 'cpu', isa: 'scalar' } as const) : ({ backend: 'reference' } as const);
    const other = new Environment({ lanes: 1, home: at('elsewhere'), ...forced });
    try {
      expect((await verifyBundle(at('lora'), { environment: other })).verdict).toBe('holds');
      const again = await mineLora(at('lora-again'), 2, undefined, other);
      expect(toHex(again.stateRoot)).toBe(expected);
    } finally {
      await other.dispose();
    }
  });

  it('are nothing without their model', async () => {
    const other = new Environment({ lanes: 1, home: at('nowhere') });
    try {
      expect(await codeOf(() => mineLora(at('lora-nothing'), 1, undefined, other))).toBe('MISSING');
    } finally {
      await other.dispose();
    }
  });

  it.each([
    ['flip-code', 'unit'],
    ['own-data', 'batch'],
    ['false-state', 'state-root'],
    ['false-model', 'quantization'],
  ])('that lie (%s) are proven false', async (cheat, kind) => {
    await mineLora(at(`lora-${cheat}`), 1, cheat);
    const { evidence } = await verify(at(`lora-${cheat}`), { exhaustive: true });
    expect(evidence?.kind).toBe(kind);
    // A third party has the file and nothing else. Who recomputes a unit needs the model under the adapters.
    const third = (...more: string[]) =>
      pogo(['evidence', evidence!.file, ...more], { POGO_HOME: at(`third-${cheat}`) });
    const alone = await third();
    expect(alone.code).toBe(kind === 'unit' ? 4 : 0);
    if (kind !== 'unit') return;
    expect(alone.stderr).toMatch(
      /error MISSING: .*evidence of kind unit recomputes over the whole model; .*--blobs BUNDLE/,
    );
    expect((await third('--blobs', join(at(`lora-${cheat}`), 'blobs'))).code).toBe(0);
  });
});

describe('pogo', () => {
  const command = (...args: string[]): Promise<Finished> => pogo([...args, '--json'], { POGO_HOME: home });
  const events = ({ code, stdout, stderr }: Finished): Record<string, unknown>[] => {
    expect(code, stderr).toBe(0);
    const all = eventsOf(stdout);
    expect(all.flatMap((event) => eventFaults(event))).toEqual([]);
    return all;
  };

  it('runs it on a ledger: the cheat is slashed, and the origin of the result spans both runs', async () => {
    const file = at('open.json');
    writeFileSync(file, JSON.stringify(recipeToJson(OPEN)));
    const first = at('first');
    const few = ['--claims', '1', '--verifiers', '2'];
    events(await command('run', '--recipe', 'tiny', ...few, '--cheat', 'none', '--dir', first));
    const [derived] = events(await command('recipe', 'derive', file, '--from', first));
    expect(derived).toMatchObject({ vector: 'ema', recipe: OPEN.name });

    const second = at('second');
    const from = ['--from', first];
    const ran = events(await command('run', '--recipe', file, ...from, ...few, '--dir', second));
    expect(ran[0]).toMatchObject({ recipeRoot: derived!['recipeRoot'], startTheta: derived!['startTheta'] });
    expect(ran.at(-1)).toMatchObject({ slashed: 1 });

    const origin = at('first.origin');
    events(await command('prove-origin', join(first, 'state'), '--run', first, '--out', origin));
    const both = at('both.origin');
    const prove = ['prove-origin', join(second, 'state'), '--run', second];
    const [proven] = events(await command(...prove, '--after', origin, '--out', both));
    expect(proven).toMatchObject({ earlier: [{ recipe: 'tiny', root: toHex(stateRootOf(first)) }] });
    events(await command('prove-origin', '--check', both));
    // A run that starts from a seed goes on from nothing.
    const seeded = ['prove-origin', join(first, 'state'), '--run', first, '--after', origin, '--out', at('no.origin')];
    expect((await command(...seeded)).code).toBe(2);
  });

  it('says where the start is missing, and refuses options that mean nothing', async () => {
    const file = at('tuned.json');
    writeFileSync(file, JSON.stringify(recipeToJson(tuned)));
    expect((await command('run', '--recipe', file)).stderr).toMatch(/error USAGE: expected --from/);
    expect((await command('run', '--recipe', 'tiny', '--from', trained)).code).toBe(2);
    expect((await command('mine', '--recipe', 'sotu-finetune', '--dir', at('x'))).code).toBe(2);
    expect((await command('recipe', 'derive', 'sotu-finetune')).code).toBe(2);
    expect((await command('recipe', 'derive', 'sotu-finetune', '--from', trained)).stderr).toMatch(/error MISMATCH/);
  });

  it('merges adapters into a whole model, whose loss is close to that of the adapters beside it', async () => {
    const file = at('lora.json');
    writeFileSync(file, JSON.stringify(recipeToJson(lora)));
    const merged = at('merged.safetensors');
    const state = lastState(at('lora'));
    events(await command('export', '--state', state, '--recipe', file, '--checkpoint', merged, '--weights', 'theta'));
    const source = await openStartSource(merged, { home });
    const plan = modelPlan(source.recipe);
    expect(source.recipe.adapter).toBeUndefined();
    const kernels = environment.backend.kernels;
    const tokens = Uint32Array.from({ length: 4 * (TINY.context + 1) }, (_, i) => 97 + (i % 26));
    const lossOf = (one: typeof plan, theta: Float32Array): number => {
      const weights = allocateWeights(one, theta);
      quantizeWeights(one, kernels, weights);
      return bitsToFloat(new LossRunner(one, kernels, weights, 1).lossBits(tokens));
    };
    const adapted = environment.models.complete(modelPlan(lora));
    const { theta } = readStateFolder(state, adapted.layout).vectors;
    // Two different quantizations of nearly the same weights.
    expect(lossOf(plan, await source.read('theta'))).toBeCloseTo(lossOf(adapted, theta), 1);
  });

  it('finds a derived recipe again by its root', async () => {
    keepRecipe(home, tuned);
    const state = lastState(at('stopped'));
    expect(equalBytes(readStateHeader(state).recipeRoot, recipeRoot(tuned))).toBe(true);
    events(await command('export', '--state', state, '--checkpoint', at('tuned.safetensors')));
    const [evaluated] = events(
      await command('eval', '--checkpoint', at('tuned.safetensors'), '--data', at('open.json')),
    );
    expect(bitsToFloat(evaluated!['lossBits'] as number)).toBeGreaterThan(0);
  });
});

function stateRootOf(run: string): Uint8Array {
  const name = readdirSync(join(run, 'miner-0', 'states')).at(-1) as string;
  return Uint8Array.from(Buffer.from(name.slice(13), 'hex'));
}
