import { copyFile, mkdir, mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { Command } from 'commander';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { register } from '../../src/cli/exportImport.js';
import { hashBytes } from '../../src/files/digest.js';
import { initialVector } from '../../src/model/initialize.js';
import { createLayout } from '../../src/model/layout.js';
import { recipeOfCheckpoint } from '../../src/model/node/checkpointRecipe.js';
import { loadRecipe, type Recipe, recipeRoot, recipeToJson, validateRecipe } from '../../src/model/recipe.js';
import { gpt2Tokenizer } from '../../src/model/tokenizerGpt2.js';
import { readStateFolder, readStateHeader, writeStateFolder } from '../../src/node/files/stateFolder.js';

let folder: string;
beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), 'pogo-export-'));
});
afterAll(async () => {
  await rm(folder, { recursive: true });
});

async function pogo(...args: string[]): Promise<void> {
  const program = new Command('pogo').exitOverride();
  register(program);
  await program.parseAsync([...args, '--json'], { from: 'user' });
}

/** A state in the middle of a run: every vector has values of its own. */
function writeState(path: string, recipe: Recipe): void {
  const layout = createLayout(recipe);
  const theta = initialVector(recipe, layout);
  const [m, v, ema] = [2, 4, 8].map((divisor) => theta.map((value) => Math.fround(value / divisor)));
  const root = (vector: Float32Array): Uint8Array => hashBytes(new Uint8Array(vector.buffer));
  const scalars = { version: 1, step: 9, tokens: 2304, beta1Power: 0x3ec65d3b, beta2Power: 0x3f2159e1 };
  const roots = { thetaRoot: root(theta), mRoot: root(m), vRoot: root(v), emaRoot: root(ema) };
  writeStateFolder(path, { ...scalars, ...roots, recipeRoot: recipeRoot(recipe) }, { theta, m, v, ema });
}

const tiny = loadRecipe('tiny');
const small = validateRecipe({ ...tiny, name: 'small', norm: 'layer', bias: true, layers: 1 });

describe('pogo export and import', () => {
  it('carry a whole state through a file: the folders are equal, byte for byte', async () => {
    const [from, to, file] = ['a', 'b', 'a.safetensors'].map((name) => join(folder, name));
    writeState(from, tiny);
    await pogo('export', '--state', from, '--checkpoint', file);
    await pogo('import', '--state', to, '--checkpoint', file);
    for (const name of ['header.ssz', 'theta.bin', 'm.bin', 'v.bin', 'ema.bin']) {
      expect((await readFile(join(to, name))).equals(await readFile(join(from, name))), name).toBe(true);
    }
  });

  it('ship the EMA to Hugging Face, with a config from which the shape is read back', async () => {
    const recipeFile = join(folder, 'small.json');
    await writeFile(recipeFile, JSON.stringify(recipeToJson(small)));
    const [from, to, file] = ['hf', 'hf-back', 'model.safetensors'].map((name) => join(folder, name));
    writeState(from, small);
    await pogo('export', '--state', from, '--checkpoint', file, '--format', 'hf', '--recipe', recipeFile);
    const shape = await recipeOfCheckpoint(file);
    const { vocab, layers, width, heads, hidden, context, norm, bias, normEpsilonBits, tokenizer } = small;
    expect(shape).toMatchObject({
      vocab,
      layers,
      width,
      heads,
      hidden,
      context,
      norm,
      bias,
      normEpsilonBits,
      tokenizer,
    });

    await pogo('import', '--state', to, '--checkpoint', file, '--recipe', recipeFile);
    const layout = createLayout(small);
    const before = readStateFolder(from, layout);
    const after = readStateFolder(to, layout);
    const shipped = before.vectors.ema ?? new Float32Array(0);
    expect(after.vectors.theta).toHaveLength(shipped.length);
    expect(after.vectors.theta.every((value, i) => Object.is(value, shipped[i]))).toBe(true);
    expect(readStateHeader(to).step).toBe(0);
    expect(after.vectors.m.every((value) => value === 0)).toBe(true);
  });

  it('need the recipe where none is known', async () => {
    const state = join(folder, 'unknown');
    writeState(state, small);
    const file = join(folder, 'x.safetensors');
    await expect(pogo('export', '--state', state, '--checkpoint', file)).rejects.toMatchObject({ code: 'RECIPE' });
    const other = pogo('export', '--state', state, '--checkpoint', file, '--recipe', 'tiny');
    await expect(other).rejects.toMatchObject({ code: 'MISMATCH' });
    const alone = join(folder, 'alone', 'model.safetensors');
    await mkdir(join(folder, 'alone'));
    await copyFile(join(folder, 'model.safetensors'), alone);
    const without = pogo('import', '--state', join(folder, 'n'), '--checkpoint', alone);
    await expect(without).rejects.toMatchObject({ code: 'MISSING' });
  });
});

/** Spelled as `tokenizer.json` does, from the bytes of our table. */
function tokenizerJson(): unknown {
  const plain = (b: number): boolean => (b >= 33 && b <= 126) || (b >= 161 && b <= 172) || b >= 174;
  const others = Array.from({ length: 256 }, (_, b) => b).filter((b) => !plain(b));
  const spell = (b: number): string => String.fromCodePoint(plain(b) ? b : 256 + others.indexOf(b));
  const tokens = Array.from({ length: 50_257 }, (_, id) => [...gpt2Tokenizer().decodeBytes([id])].map(spell).join(''));
  return { model: { type: 'BPE', vocab: Object.fromEntries(tokens.map((token, id) => [token, id])) } };
}

describe('a Hugging Face folder', () => {
  const config = { model_type: 'gpt2', n_embd: 64, n_layer: 2, n_head: 1, n_positions: 64, vocab_size: 50_257 };

  async function recipeOf(files: Readonly<Record<string, unknown>>): Promise<Recipe> {
    const place = await mkdtemp(join(folder, 'hf-'));
    for (const [name, content] of Object.entries(files)) await writeFile(join(place, name), JSON.stringify(content));
    await writeFile(join(place, 'model.safetensors'), Buffer.from('0200000000000000' + '7b7d', 'hex'));
    return await recipeOfCheckpoint(join(place, 'model.safetensors'));
  }

  it('of GPT-2 is recognized by its table', async () => {
    const recipe = await recipeOf({ 'config.json': config, 'tokenizer.json': tokenizerJson() });
    expect(recipe).toMatchObject({ tokenizer: 'gpt2', width: 64, hidden: 256, layers: 2, norm: 'layer', bias: true });
  });

  it.each([
    ['no config', {}, 'MISSING'],
    ['no tokenizer for 50,257 tokens', { 'config.json': config }, 'MISSING'],
    ['a tokenizer that is none', { 'config.json': config, 'tokenizer.json': { model: { type: 'BPE' } } }, 'MALFORMED'],
    [
      'more tokens than rows',
      { 'config.json': { ...config, vocab_size: 50_000 }, 'tokenizer.json': tokenizerJson() },
      'MISMATCH',
    ],
    ['another architecture', { 'config.json': { ...config, model_type: 'llama' } }, 'MISMATCH'],
    ['another activation', { 'config.json': { ...config, activation_function: 'relu' } }, 'MISMATCH'],
    ['a width that is no multiple of 64', { 'config.json': { ...config, vocab_size: 256, n_embd: 100 } }, 'RECIPE'],
  ])('is refused with %s', async (_, files, code) => {
    await expect(recipeOf(files)).rejects.toMatchObject({ code });
  });
});
