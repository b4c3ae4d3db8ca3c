/** Models of Hugging Face into state folders and back, through the command line. */
import { mkdirSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { basename, join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { hfTokenizerJson } from '../../src/model/hfVocabulary.js';
import { createLayout } from '../../src/model/layout.js';
import { readCheckpoint } from '../../src/model/node/checkpoint.js';
import { openRecipe } from '../../src/model/node/recipeFile.js';
import { recipeRoot } from '../../src/model/recipe.js';
import { vectorBytes } from '../../src/model/state.js';
import { readStateFolder, readStateHeader } from '../../src/node/files/stateFolder.js';
import { exportHf } from '../../src/node/hfExport.js';
import { temporaryFolder } from '../support/bundles.js';
import { eventFaults } from '../support/eventSchema.js';
import { parityCases, writeParityModel } from '../support/hfParity.js';
import { type FileTensor, gpt2Tensors, writeSharded, writeTensors } from '../support/hfTensors.js';
import { eventsOf, pogo as runPogo } from '../support/pogo.js';
import { refusal } from '../support/refusal.js';

const folder = temporaryFolder();
const home = join(folder.path, 'home');
const env = { POGO_HOME: home };
const CONFIG = { model_type: 'gpt2', n_embd: 64, n_layer: 1, n_head: 1, n_positions: 128, vocab_size: 257 };

/** A byte-level tokenizer with one merge: 257 tokens. */
async function tokenizer(): Promise<Record<string, unknown>> {
  const plain = await hfTokenizerJson('bytes');
  const model = plain['model'] as { vocab: Record<string, number> };
  return { ...plain, model: { ...model, vocab: { ...model.vocab, th: 256 }, merges: [['t', 'h']] } };
}

async function modelFolder(
  name: string,
  tensors: readonly FileTensor[],
  config: object = CONFIG,
  shards = 0,
): Promise<string> {
  const place = join(folder.path, name);
  mkdirSync(place);
  if (shards > 0) await writeSharded(place, tensors, shards);
  else await writeTensors(join(place, 'model.safetensors'), tensors, { format: 'pt' });
  writeFileSync(join(place, 'config.json'), JSON.stringify(config));
  writeFileSync(join(place, 'tokenizer.json'), JSON.stringify(await tokenizer()));
  return place;
}

/** Values of the size that trained weights have. */
const tensors = gpt2Tensors('transformer.', 'F32', 257, 128).map((tensor) => ({
  ...tensor,
  values: tensor.values.map((value) => value / 1024),
}));

const recipeRootOf = (file: string): string => Buffer.from(recipeRoot(openRecipe(file))).toString('hex');

interface Result {
  readonly code: number;
  readonly event: Readonly<Record<string, unknown>>;
}

async function pogo(...args: string[]): Promise<Result> {
  const { code, stdout } = await runPogo([...args, '--json'], env);
  const events = eventsOf(stdout);
  expect(events.flatMap(eventFaults)).toEqual([]);
  return { code: code ?? -1, event: events[events.length - 1]! };
}

let model: string;
beforeAll(async () => {
  model = await modelFolder('model', tensors, CONFIG, 3);
});
afterAll(() => folder.remove());

/**
 * A claim over an imported model holds like any other, with its start carried by the bundle, and was of use; in a run of its
 * own a cheater is slashed.
 */
async function expectJudged(recipe: string, state: string, bundle: string): Promise<void> {
  const { code, stdout } = await runPogo(['verify', bundle, '--recipe', recipe, '--json'], { POGO_HOME: home });
  const claim = eventsOf(stdout).find(({ type }) => type === 'verify');
  expect([code, claim?.['holds']]).toEqual([0, true]);
  expect(Number(claim?.['heldOutAfter'])).toBeLessThan(Number(claim?.['heldOutBefore']));
  const seats = ['--claims', '2', '--verifiers', '2', '--cheat', 'flip-code'];
  const ran = await pogo('run', '--recipe', recipe, '--from', state, ...seats, '--dir', `${bundle}-run`);
  expect([ran.code, ran.event['slashed']]).toEqual([0, 1]);
  expect(Number(ran.event['heldOutAfter'])).toBeLessThan(Number(ran.event['heldOutBefore']));
}

describe('import of a folder in several files', () => {
  it('gives a state, a recipe that starts there, its data and its tokenizer', async () => {
    const state = join(folder.path, 'state');
    const { code, event } = await pogo('import', '--checkpoint', model, '--state', state, '--context', '64');
    expect(code).toBe(0);
    const recipe = openRecipe(String(event['recipe']));
    expect(recipe).toMatchObject({ name: 'imported', tokenizer: 'json', vocab: 257, context: 64, width: 64 });
    expect(event['thetaRoot']).toBe(Buffer.from((recipe.start as { root: Uint8Array }).root).toString('hex'));
    const layout = createLayout(recipe);
    const { header, vectors } = readStateFolder(state, layout);
    expect(Buffer.from(header.recipeRoot).toString('hex')).toBe(event['recipeRoot']);
    expect(vectors.m.every((value) => value === 0) && vectors.v.every((value) => value === 0)).toBe(true);
    expect(Buffer.from(vectors.ema!.buffer).equals(Buffer.from(vectors.theta.buffer))).toBe(true);
    const { offset, cols } = layout.byName('h0.fc.weight');
    const file = tensors.find(({ name }) => name.endsWith('c_fc.weight'))!.values;
    expect(vectors.theta[offset + 200 * cols + 9]).toBe(Math.fround(file[9 * 256 + 200]!));
    const kept = readdirSync(join(home, 'data'));
    expect(kept.some((name) => name.endsWith('.tokenizer.json'))).toBe(true);

    // And it trains: the recipe's data are there, and the start is the one it names.
    const bundle = join(folder.path, 'bundle');
    const mined = await pogo(
      'mine',
      '--recipe',
      String(event['recipe']),
      '--from',
      state,
      '--dir',
      bundle,
      '--claims',
      '1',
    );
    expect(mined.code).toBe(0);
    expect(mined.event['fromRoot']).toBe(event['stateRoot']);
    await expectJudged(String(event['recipe']), state, bundle);
  });
});

describe('export', () => {
  it('writes a folder that imports to the same θ, in one file and in several', async () => {
    const state = join(folder.path, 'state');
    const recipe = join(folder.path, 'state.recipe.json');
    const theta = Buffer.from(readStateHeader(state).thetaRoot).toString('hex');
    for (const [name, more] of [
      ['single', []],
      ['several', ['--max-shard-bytes', '40000']],
    ] as const) {
      const out = join(folder.path, name);
      mkdirSync(out);
      const common = ['--state', state, '--format', 'hf', '--recipe', recipe] as const;
      const { code, event } = await pogo('export', ...common, '--checkpoint', out, ...more);
      expect(code).toBe(0);
      const files = readdirSync(out);
      expect(files).toContain('config.json');
      expect(readFileSync(join(out, 'tokenizer.json')).equals(readFileSync(join(model, 'tokenizer.json')))).toBe(true);
      expect(readFileSync(join(out, 'tokenizer_config.json'), 'utf8')).toMatch(/"PreTrainedTokenizerFast"/);
      expect(event['files']).toHaveLength(files.length);
      expect(files.includes('model.safetensors.index.json')).toBe(name === 'several');
      const again = join(folder.path, `${name}-state`);
      const back = await pogo('import', '--checkpoint', out, '--state', again, '--recipe', recipe);
      expect([back.event['thetaRoot'], back.event['recipeRoot']]).toEqual([theta, recipeRootOf(recipe)]);
      expect(readStateHeader(again).step).toBe(0);
    }
    const several = join(folder.path, 'several');
    const clash = await pogo('export', '--state', state, '--format', 'hf', '--recipe', recipe, '--checkpoint', several);
    expect([clash.code, clash.event['code']]).toEqual([5, 'IO']);
    expect(clash.event['message']).toMatch(/model\.safetensors\.index\.json, found a file .*replace it with --force$/);
  });

  it('replaces an earlier one with --force, whatever its number of files and its model, and nothing else', async () => {
    const state = join(folder.path, 'state');
    const recipe = join(folder.path, 'state.recipe.json');
    const out = join(folder.path, 'replaced');
    mkdirSync(out);
    const foreign = ['model-00001-of-00002.bin', 'model-00001-of-2.safetensors', 'other-00001-of-00002.safetensors'];
    for (const name of [...foreign, 'notes.txt']) writeFileSync(join(out, name), name);
    // What a killed export of another number of files left, and small files of another model.
    for (const name of ['model-00007-of-00009.safetensors', '.unfinished-model-00001-of-00009.safetensors-4194999-1']) {
      writeFileSync(join(out, name), 'stale');
    }
    writeFileSync(join(out, 'config.json'), JSON.stringify({ ...CONFIG, n_layer: 2 }));
    writeFileSync(join(out, 'tokenizer.json'), '{"half":');
    const common = { state, checkpoint: join(out, 'model.safetensors'), weights: 'theta' as const };
    const places = { ...common, dataFolder: join(home, 'data') };
    const opened = openRecipe(recipe);
    expect(await refusal(() => exportHf(opened, places))).toMatch(/^MISMATCH: .*or replace it with --force$/);
    const theta = readFileSync(join(state, 'theta.bin'));
    const sizes = [];
    for (const shardBytes of [5e9, 40_000, 40_000, 70_000, 5e9]) {
      const written = await exportHf(opened, { ...places, shardBytes, force: true });
      const names = readdirSync(out).filter((name) => !foreign.includes(name) && name !== 'notes.txt');
      const tensorFiles = names.filter((name) => name.startsWith('model'));
      expect(names.sort()).toEqual([...tensorFiles, 'config.json', 'tokenizer.json', 'tokenizer_config.json'].sort());
      expect(written.map((file) => basename(file))).toEqual(expect.arrayContaining(tensorFiles));
      sizes.push(tensorFiles.length);
      const { vectors } = await readCheckpoint(out, opened);
      expect(Buffer.compare(theta, vectorBytes(vectors.theta))).toBe(0);
    }
    expect(sizes[0]).toBe(1);
    expect(sizes[1]).toBe(sizes[2]);
    expect(new Set(sizes).size).toBe(3);
    for (const name of [...foreign, 'notes.txt']) expect(readFileSync(join(out, name), 'utf8')).toBe(name);
  });

  it('and data of one’s own go with the imported weights', async () => {
    const recipe = join(folder.path, 'state.recipe.json');
    const text = join(folder.path, 'own.txt');
    writeFileSync(text, Array.from({ length: 400 }, (_, n) => `The ${n}th whale swims with the others.`).join('\n'));
    const common = ['--recipe', recipe, '--name', 'own', '-o', join(home, 'data')] as const;
    const built = await pogo('data', 'build', text, ...common, '--documents', 'line');
    expect(built.code).toBe(0);
    const own = openRecipe(String(built.event['recipe']));
    expect(own).toMatchObject({ tokenizer: 'json', start: openRecipe(recipe).start });
    const refused = await pogo('data', 'build', text, ...common, '--tokenizer', 'bytes');
    expect([refused.code, refused.event['code']]).toEqual([2, 'MISMATCH']);
    const bundle = join(folder.path, 'own-bundle');
    const from = ['--from', join(folder.path, 'state'), '--from-recipe', recipe] as const;
    const mined = await pogo(
      'mine',
      '--recipe',
      String(built.event['recipe']),
      ...from,
      '--dir',
      bundle,
      '--claims',
      '1',
    );
    expect(mined.code).toBe(0);
  });
});

describe('Gemma 3', () => {
  it('is imported, trained and exported again', async () => {
    const test = parityCases().find(({ name }) => name === 'gemma3-local-and-global')!;
    const place = join(folder.path, 'gemma');
    await writeParityModel(place, { ...test, shards: 2 });
    writeFileSync(join(place, 'tokenizer.json'), JSON.stringify(await hfTokenizerJson('bytes')));
    const state = join(folder.path, 'gemma-state');
    const imported = await pogo('import', '--checkpoint', place, '--state', state, '--context', '64');
    expect(imported.code).toBe(0);
    const file = String(imported.event['recipe']);
    const recipe = openRecipe(file);
    expect(recipe).toMatchObject({ family: 'gemma3', tokenizer: 'bytes', vocab: 300, context: 64 });
    const bundle = join(folder.path, 'gemma-bundle');
    const mined = await pogo('mine', '--recipe', file, '--from', state, '--dir', bundle, '--claims', '1');
    expect([mined.code, mined.event['fromRoot']]).toEqual([0, imported.event['stateRoot']]);
    await expectJudged(file, state, bundle);

    const out = join(folder.path, 'gemma-out');
    mkdirSync(out);
    const common = ['--state', state, '--format', 'hf', '--recipe', file] as const;
    expect((await pogo('export', ...common, '--checkpoint', out)).code).toBe(0);
    const again = await pogo('import', '--checkpoint', out, '--state', join(folder.path, 'gemma-2'), '--recipe', file);
    expect([again.code, again.event['thetaRoot']]).toEqual([0, imported.event['thetaRoot']]);
  });
});

describe('a model that is refused (others: badModels.test.ts)', () => {
  const head = { name: 'lm_head.weight', shape: [257, 64], values: tensors[0]!.values };

  it('is not one with an untied head that equals the table; one of other weights is', async () => {
    const place = await modelFolder('equal head', [...tensors, head], { ...CONFIG, tie_word_embeddings: false });
    const state = join(folder.path, 'equal-state');
    const recipe = join(folder.path, 'state.recipe.json');
    expect((await pogo('import', '--checkpoint', place, '--state', state, '--recipe', recipe)).code).toBe(0);
    const other = await modelFolder('other weights', gpt2Tensors('', 'F32', 257, 128));
    const { event } = await pogo(
      'import',
      '--checkpoint',
      other,
      '--state',
      join(folder.path, 'x'),
      '--recipe',
      recipe,
    );
    expect([event['code'], event['message']]).toEqual(['MISMATCH', expect.stringContaining('θ')]);
  });

  it('is one with another tokenizer than the recipe’s, where text is read', async () => {
    const place = await modelFolder('other tokenizer', tensors);
    const recipe = join(folder.path, 'state.recipe.json');
    const text = join(folder.path, 'text.txt');
    writeFileSync(text, 'the whale, the whale');
    const good = await pogo('eval', '--checkpoint', place, '--data', text, '--recipe', recipe);
    expect([good.code, good.event['tokenizer']]).toEqual([0, 'json']);
    rmSync(join(place, 'tokenizer.json'));
    writeFileSync(join(place, 'tokenizer.json'), JSON.stringify({ ...(await tokenizer()), version: '2.0' }));
    const { event } = await pogo('eval', '--checkpoint', place, '--data', text, '--recipe', recipe);
    expect(event['code']).toBe('MISMATCH');
    expect(event['message']).toContain('root');
  });
});
