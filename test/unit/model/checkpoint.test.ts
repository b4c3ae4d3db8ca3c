import { mkdir, mkdtemp, readdir, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { hfModel } from '../../../src/model/hf.js';
import { createLayout, type Layout } from '../../../src/model/layout.js';
import {
  readCheckpoint,
  readCheckpointInfo,
  readCheckpointWeights,
  writeCheckpoint,
} from '../../../src/model/node/checkpoint.js';
import { writeHfModel } from '../../../src/model/node/hfWrite.js';
import { memorySink, TensorFiles } from '../../../src/model/node/tensorFiles.js';
import { loadRecipe, type Recipe, validateRecipe } from '../../../src/model/recipe.js';
import type { StateScalars, StateVectors } from '../../../src/model/state.js';
import { type FileTensor, gpt2Tensors, writeSharded, writeTensors } from '../../support/hfTensors.js';

const tiny = loadRecipe('tiny');
/** A small GPT-2: LayerNorm, biases, and a vocabulary that needs padding. */
const small: Recipe = { ...tiny, name: 'small-gpt2', vocab: 257, norm: 'layer', bias: true, layers: 1 };
const scalars: StateScalars = { step: 12, tokens: 3072, beta1Power: 0x3e909000, beta2Power: 0x3f0a0000 };

let folder: string;
beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), 'pogo-checkpoint-'));
});
afterAll(async () => {
  await rm(folder, { recursive: true });
});

/** Distinct finite values with +0 padding, −0 and subnormals included. */
function vectorOf(layout: Layout, recipe: Recipe, salt: number): Float32Array {
  const vector = new Float32Array(layout.length);
  const bits = new Uint32Array(vector.buffer);
  for (const { name, offset, size, cols } of layout.tensors) {
    const real = name === 'wte' ? recipe.vocab * cols : size;
    for (let i = 0; i < real; i++) bits[offset + i] = Math.imul(offset + i + salt, 0x9e3779b1) & 0xbfffffff;
  }
  return vector;
}

function stateOf(recipe: Recipe): StateVectors {
  const layout = createLayout(recipe);
  const [theta, m, v, ema] = [1, 2, 3, 4].map((salt) => vectorOf(layout, recipe, salt));
  return { theta, m, v, ema: recipe.ema ? ema : new Float32Array(0) };
}

function sameBits(a: Float32Array, b: Float32Array): boolean {
  const bytes = (x: Float32Array): Uint8Array => Buffer.from(x.buffer, x.byteOffset, x.byteLength);
  return Buffer.compare(bytes(a), bytes(b)) === 0;
}

/** θ as a Hugging Face file gives it back: the key third of the biases is 0. */
function withoutKeyBias(layout: Layout, theta: Float32Array): Float32Array {
  const copy = theta.slice();
  for (const { name, offset, size } of layout.tensors) {
    if (name.endsWith('.qkv.bias')) copy.fill(0, offset + size / 3, offset + (2 * size) / 3);
  }
  return copy;
}

describe('format pogo', () => {
  it.each([
    ['with EMA', tiny],
    ['without EMA', { ...tiny, ema: false }],
    ['with LayerNorm, biases and a padded vocabulary', small],
  ])('gives a whole state back, bit for bit, %s', async (_, recipe) => {
    const path = join(folder, 'state.safetensors');
    const vectors = stateOf(recipe);
    await writeCheckpoint(path, recipe, scalars, vectors, 'pogo');
    const found = await readCheckpoint(path, recipe);
    expect(found.scalars).toEqual(scalars);
    for (const name of ['theta', 'm', 'v', 'ema'] as const) {
      expect(sameBits(found.vectors[name], vectors[name]), name).toBe(true);
      expect(found.vectors[name].buffer).toBeInstanceOf(SharedArrayBuffer);
    }
    const info = await readCheckpointInfo(path);
    expect(info.format).toBe('pogo');
    expect(info.recipe).toEqual(validateRecipe(recipe));
    const weights = new Float32Array(createLayout(recipe).length);
    await readCheckpointWeights(path, recipe, weights);
    expect(sameBits(weights, recipe.ema ? vectors.ema : vectors.theta)).toBe(true);
    expect((await readdir(folder)).filter((name) => name.endsWith('.tmp'))).toEqual([]);
  });

  it('gives a start state to another recipe of the same shape', async () => {
    const path = join(folder, 'other.safetensors');
    const vectors = stateOf(tiny);
    await writeCheckpoint(path, tiny, scalars, vectors, 'pogo');
    const found = await readCheckpoint(path, { ...tiny, name: 'tuned' });
    expect(found.scalars).toBeUndefined();
    expect(sameBits(found.vectors.theta, vectors.theta)).toBe(true);
    expect(sameBits(found.vectors.ema, vectors.theta)).toBe(true);
    expect(found.vectors.m.every((value) => Object.is(value, 0))).toBe(true);
  });

  it('is refused with anything but +0 in the rows that pad the vocabulary', async () => {
    const path = join(folder, 'padding.safetensors');
    for (const [value, vector] of [
      [1, 'theta'],
      [-0, 'v'],
    ] as const) {
      const vectors = stateOf(small);
      vectors[vector][small.vocab * small.width] = value;
      await writeCheckpoint(path, small, scalars, vectors, 'pogo');
      await expect(readCheckpoint(path, small)).rejects.toMatchObject({ code: 'MALFORMED' });
    }
  });

  it('is refused by a recipe of another shape', async () => {
    const path = join(folder, 'shape.safetensors');
    await writeCheckpoint(path, tiny, scalars, stateOf(tiny), 'pogo');
    await expect(readCheckpoint(path, loadRecipe('moby'))).rejects.toMatchObject({
      code: 'SHAPE',
      message: expect.stringMatching(/wte \[256, 128\], found \[256, 64\]/),
    });
    await expect(readCheckpoint(path, { ...tiny, layers: 1 })).rejects.toMatchObject({ code: 'SHAPE' });
    await expect(readCheckpoint(path, { ...tiny, layers: 3 })).rejects.toMatchObject({ code: 'SHAPE' });
  });
});

describe('format hf', () => {
  it('gives the shipped weights back without the key bias', async () => {
    const path = join(folder, 'hf.safetensors');
    const layout = createLayout(small);
    const vectors = stateOf(small);
    for (const [weights, expected] of [
      [undefined, vectors.ema],
      ['theta', vectors.theta],
    ] as const) {
      await writeCheckpoint(path, small, scalars, vectors, 'hf', weights);
      const found = await readCheckpoint(path, small);
      expect(found.scalars).toBeUndefined();
      expect(sameBits(found.vectors.theta, withoutKeyBias(layout, expected))).toBe(true);
    }
  });

  it('crosses strips of large matrices', async () => {
    const recipe: Recipe = { ...small, width: 1024, heads: 8, hidden: 1088, ema: false };
    const path = join(folder, 'wide.safetensors');
    const layout = createLayout(recipe);
    const theta = vectorOf(layout, recipe, 5);
    const none = new Float32Array(0);
    await writeCheckpoint(path, recipe, scalars, { theta, m: none, v: none, ema: none }, 'hf');
    const weights = new Float32Array(layout.length).fill(Number.NaN);
    await readCheckpointWeights(path, recipe, weights);
    expect(sameBits(weights, withoutKeyBias(layout, theta))).toBe(true);
    await rm(path);
  });

  it.each([
    ['', 'F32'],
    ['transformer.', 'F32'],
    ['transformer.', 'BF16'],
  ] as const)('reads names with prefix "%s" in %s, transposing the linear layers', async (prefix, dtype) => {
    const path = join(folder, 'gpt2.safetensors');
    const tensors = gpt2Tensors(prefix, dtype);
    const extra: FileTensor[] = [
      { name: `${prefix}h.0.attn.bias`, shape: [1, 1, 2, 2], values: [1, 0, 1, 1] },
      { name: 'lm_head.weight', shape: [257, 64], values: tensors[0].values, dtype },
    ];
    await writeTensors(path, [...tensors, ...extra], { format: 'pt' });
    const { vectors } = await readCheckpoint(path, small);
    const layout = createLayout(small);
    const fileValues = (name: string) => tensors.find((tensor) => tensor.name === prefix + name)?.values ?? [];
    const own = (name: string, row: number, col: number): number => {
      const tensor = layout.byName(name);
      return vectors.theta[tensor.offset + row * tensor.cols + col];
    };
    for (let out = 0; out < 192; out += 5) {
      for (let into = 0; into < 64; into += 3) {
        expect(own('h0.qkv.weight', out, into)).toBe(fileValues('h.0.attn.c_attn.weight')[into * 192 + out]);
      }
      const bias = out >= 64 && out < 128 ? 0 : fileValues('h.0.attn.c_attn.bias')[out];
      expect(own('h0.qkv.bias', 0, out)).toBe(bias);
    }
    expect(own('h0.proj.weight', 9, 200)).toBe(fileValues('h.0.mlp.c_proj.weight')[200 * 64 + 9]);
    expect(own('h0.fc.weight', 200, 9)).toBe(fileValues('h.0.mlp.c_fc.weight')[9 * 256 + 200]);
    expect(own('wte', 256, 63)).toBe(fileValues('wte.weight')[256 * 64 + 63]);
    expect(own('wte', 257, 0)).toBe(0);
    expect(own('wpe', 5, 6)).toBe(fileValues('wpe.weight')[5 * 64 + 6]);
    expect(own('norm.bias', 0, 7)).toBe(fileValues('ln_f.bias')[7]);
  });

  const change = (name: string, edit: (tensor: FileTensor) => FileTensor | undefined): FileTensor[] =>
    gpt2Tensors('').flatMap((tensor) => (tensor.name === name ? (edit(tensor) ?? []) : tensor));
  it.each<[string, FileTensor[], string, RegExp]>([
    ['a missing tensor', change('h.0.ln_2.bias', () => undefined), 'SHAPE', /h\.0\.ln_2\.bias/],
    [
      'another shape',
      change('wpe.weight', (t) => ({ ...t, shape: [128, 32] })),
      'SHAPE',
      /\[64, 64\], found \[128, 32\]/,
    ],
    ['integers', change('ln_f.bias', (t) => ({ ...t, dtype: 'I32' })), 'SHAPE', /I32/],
    [
      'an infinity',
      change('ln_f.bias', (t) => ({ ...t, values: t.values.map((x, i) => (i === 3 ? 1 / 0 : x)) })),
      'MALFORMED',
      /ln_f\.bias, found Infinity at 3/,
    ],
    [
      'a NaN',
      change('wte.weight', (t) => ({ ...t, values: t.values.map((x, i) => (i === 99 ? Number.NaN : x)) })),
      'MALFORMED',
      /found NaN at 99/,
    ],
    [
      'a tensor too many',
      [...gpt2Tensors(''), { name: 'h.1.ln_1.bias', shape: [1], values: [0] }],
      'SHAPE',
      /h\.1\.ln_1\.bias/,
    ],
    [
      'an untied head',
      [...gpt2Tensors(''), { name: 'lm_head.weight', shape: [257, 64], values: Array(257 * 64).fill(0.5) }],
      'SHAPE',
      /lm_head/,
    ],
  ])('refuses %s', async (_, tensors, code, message) => {
    const path = join(folder, 'bad.safetensors');
    await writeTensors(path, tensors);
    await expect(readCheckpoint(path, small)).rejects.toMatchObject({ code, message: expect.stringMatching(message) });
  });

  it('writes zero biases for a recipe without, and reads no others', async () => {
    const recipe: Recipe = { ...small, bias: false };
    const path = join(folder, 'nobias.safetensors');
    const vectors = stateOf(recipe);
    await writeCheckpoint(path, recipe, scalars, vectors, 'hf');
    expect(sameBits((await readCheckpoint(path, recipe)).vectors.theta, vectors.ema)).toBe(true);
    await writeTensors(path, gpt2Tensors(''));
    await expect(readCheckpoint(path, recipe)).rejects.toMatchObject({
      code: 'SHAPE',
      message: expect.stringMatching(/zeros/),
    });
  });

  it('is the same in tiles of any size, reading and writing', async () => {
    const layout = createLayout(small);
    const values = vectorOf(layout, small, 7);
    const source = {
      read: (element: number, out: Float32Array) => out.set(values.subarray(element, element + out.length)),
    };
    const whole = join(folder, 'whole.safetensors');
    await writeHfModel(whole, small, source);
    const file = await readFile(whole);
    const parts = hfModel(small, layout).parts.map((part) => ({ ...part, name: `transformer.${part.name}` }));
    for (const tile of [1000, 4097, 12_289]) {
      const path = join(folder, `tile-${tile}.safetensors`);
      await writeHfModel(path, small, source, { tileElements: tile });
      expect((await readFile(path)).equals(file), `written in tiles of ${tile}`).toBe(true);
      const out = new Float32Array(layout.length);
      const files = await TensorFiles.open(whole);
      await files.read(parts, memorySink(out), tile);
      await files.close();
      expect(sameBits(out, withoutKeyBias(layout, values)), `read in tiles of ${tile}`).toBe(true);
    }
  });

  it('reads several files by their index, wherever the tensors lie', async () => {
    const one = join(folder, 'one.safetensors');
    await writeTensors(one, gpt2Tensors('transformer.'));
    const { vectors } = await readCheckpoint(one, small);
    for (const count of [1, 2, 5, 16]) {
      const place = join(folder, `shards-${count}`);
      await mkdir(place);
      await writeSharded(place, gpt2Tensors('transformer.'), count);
      for (const path of [place, join(place, 'model.safetensors.index.json')]) {
        const found = await readCheckpoint(path, small);
        expect(sameBits(found.vectors.theta, vectors.theta), `${count} files`).toBe(true);
      }
    }
  });

  it.each<[string, string, RegExp, (place: string) => Promise<void>]>([
    ['a missing file', 'MISSING', /model-2-of-3/, (place) => rm(join(place, 'model-2-of-3.safetensors'))],
    [
      'a file cut short',
      'MALFORMED',
      /safetensors/,
      async (place) => {
        const file = join(place, 'model-3-of-3.safetensors');
        const bytes = await readFile(file);
        await writeFile(file, bytes.subarray(0, bytes.length - 4));
      },
    ],
    ['no index and no file', 'MISSING', /index/, (place) => rm(join(place, 'model.safetensors.index.json'))],
    ['an index that is no JSON', 'MALFORMED', /JSON/, (place) => index(place, () => '{')],
    ['an index without a map', 'MALFORMED', /weight_map/, (place) => index(place, () => '{"metadata":{}}')],
    [
      'a name that leads elsewhere',
      'MALFORMED',
      /name/,
      (place) => index(place, (text) => text.replace('model-1', '../model-1')),
    ],
    [
      'a key twice',
      'MALFORMED',
      /twice/,
      (place) => index(place, (text) => text.replace('{"wte', '{"wte.weight":"x.safetensors","wte')),
    ],
    [
      'a tensor in another file than the index says',
      'MALFORMED',
      /wpe/,
      (place) => index(place, (text) => text.replace('"wpe.weight":"model-2', '"wpe.weight":"model-1')),
    ],
    [
      'a tensor that the index does not name',
      'MALFORMED',
      /ln_f/,
      (place) => index(place, (text) => text.replace(/,"ln_f.bias":"[^"]*"/, '')),
    ],
    [
      'a tensor in two files',
      'MALFORMED',
      /wte\.weight in one file/,
      (place) =>
        writeTensors(
          join(place, 'model-2-of-3.safetensors'),
          gpt2Tensors('').filter((_, i) => i % 3 === 1 || i === 0),
        ),
    ],
  ])('refuses %s', async (_, code, message, spoil) => {
    const place = await mkdtemp(join(folder, 'bad-'));
    await writeSharded(place, gpt2Tensors(''), 3);
    await spoil(place);
    const refused = expect(readCheckpoint(place, small).then(() => 'was read')).rejects;
    await refused.toMatchObject({ code, message: expect.stringMatching(message) });
  });

  async function index(place: string, edit: (text: string) => string): Promise<void> {
    const file = join(place, 'model.safetensors.index.json');
    await writeFile(file, edit(await readFile(file, 'utf8')));
  }

  it('cannot express RMSNorm, and says so', async () => {
    const path = join(folder, 'rms.safetensors');
    await expect(writeCheckpoint(path, tiny, scalars, stateOf(tiny), 'hf')).rejects.toMatchObject({ code: 'MISMATCH' });
  });
});

describe('broken files', () => {
  it('are refused wherever they are cut, and leave the old file in place', async () => {
    const path = join(folder, 'cut.safetensors');
    await writeCheckpoint(path, tiny, scalars, stateOf(tiny), 'pogo');
    const good = await readFile(path);
    for (const length of [0, 7, 8, 100, good.length - 1]) {
      await writeFile(path, good.subarray(0, length));
      await expect(readCheckpoint(path, tiny)).rejects.toMatchObject({ code: 'MALFORMED' });
    }
    await expect(readCheckpoint(join(folder, 'nothing'), tiny)).rejects.toMatchObject({ code: 'IO' });
  });
});
