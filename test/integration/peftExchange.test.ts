/** Adapters in the form of Hugging Face's `peft`: what is written comes back, theirs become ours, and bad files are refused. */
import { mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { afterAll, describe, expect, it } from 'vitest';
import { PogoError } from '../../src/errors.js';
import { hashBytes } from '../../src/files/digest.js';
import { toHex } from '../../src/hex.js';
import { baseRecipe } from '../../src/model/adapter.js';
import { createLayout } from '../../src/model/layout.js';
import { readPeft, writePeft } from '../../src/model/node/peftFile.js';
import { peftModules } from '../../src/model/peft.js';
import {
  ADAPTER_TARGETS,
  type AdapterTarget,
  loadRecipe,
  type Recipe,
  validateRecipe,
} from '../../src/model/recipe.js';
import { START_SCALARS, seedState, vectorBytes } from '../../src/model/state.js';
import { modelPlan, withFrozen } from '../../src/model/unit.js';
import { readStateFolder, writeStateFolder } from '../../src/node/files/stateFolder.js';
import { mergeAdapters } from '../../src/node/mergeAdapters.js';
import { exportPeft, importPeft } from '../../src/node/peftState.js';
import { headerOf } from '../../src/protocol/stateHeader.js';
import { adapterOver, frozenTheta } from '../support/adapters.js';
import { temporaryFolder } from '../support/bundles.js';
import { parityCases, writeParityAdapter, writeParityModel } from '../support/hfParity.js';
import { type FileTensor, writeTensors } from '../support/hfTensors.js';
import { gemmaChanges } from '../support/optionRecipes.js';
import { pogo } from '../support/pogo.js';
import { seededBytes } from '../support/random.js';

const folder = temporaryFolder();
afterAll(() => folder.remove());
let used = 0;
function place(): string {
  used += 1;
  return join(folder.path, String(used));
}

const tiny = loadRecipe('tiny');
const GPT: Recipe = validateRecipe({ ...tiny, name: 'gpt', norm: 'layer', bias: true });
const GEMMA: Recipe = validateRecipe({ ...tiny, name: 'gemma', ...gemmaChanges() });

const noise = (count: number, seed: number): number[] =>
  Array.from(seededBytes(count, seed), (byte) => (byte - 128) / 512);

function lora(base: Recipe, targets: readonly AdapterTarget[] = ADAPTER_TARGETS, rank = 4): Recipe {
  return validateRecipe({ ...base, adapter: adapterOver(base, targets, rank) });
}

/** θ of adapters that have left their start. */
function thetaOf(recipe: Recipe): Float32Array {
  const { layout } = modelPlan(recipe);
  const theta = new Float32Array(new SharedArrayBuffer(4 * layout.length));
  for (const { id, offset, size } of layout.tensors) theta.set(noise(size, id + 1), offset);
  return theta;
}

/** Adapters as `peft` would write them, on the modules that match. */
async function writeTheirs(
  recipe: Recipe,
  matches: (name: string) => boolean,
  config: Record<string, unknown>,
  change: (tensors: FileTensor[]) => FileTensor[] = (tensors) => tensors,
): Promise<{ readonly path: string; readonly tensors: readonly FileTensor[] }> {
  const path = place();
  mkdirSync(path);
  const { modules, prefixes } = peftModules(recipe);
  const tensors = modules
    .filter(({ name }) => matches(name))
    .flatMap(({ name, rows, inputs }, i): FileTensor[] => {
      const before = `base_model.model.${prefixes[0]}${name}`;
      return [
        { name: `${before}.lora_A.weight`, shape: [2, inputs], values: noise(2 * inputs, 2 * i + 7) },
        { name: `${before}.lora_B.weight`, shape: [rows, 2], values: noise(2 * rows, 2 * i + 8) },
      ];
    });
  await writeTensors(join(path, 'adapter_model.safetensors'), change(tensors), { format: 'pt' });
  const all = { peft_type: 'LORA', r: 2, lora_alpha: 6, bias: 'none', ...config };
  writeFileSync(join(path, 'adapter_config.json'), JSON.stringify(all));
  return { path, tensors };
}

/** Tensors of a safetensors file by name. */
function tensorsOf(bytes: Buffer): Record<string, unknown> {
  const length = Number(bytes.readBigUInt64LE(0));
  const header = JSON.parse(bytes.subarray(8, 8 + length).toString()) as Record<
    string,
    { readonly shape: number[]; readonly data_offsets: [number, number] }
  >;
  const entries = Object.entries(header).filter(([name]) => name !== '__metadata__');
  return Object.fromEntries(
    entries.map(
      ([
        name,
        {
          shape,
          data_offsets: [from, to],
        },
      ]) => [name, [shape, bytes.subarray(8 + length + from, 8 + length + to).toString('base64')]],
    ),
  );
}

async function refusal(work: Promise<unknown>): Promise<PogoError> {
  const error = await work.then(
    () => undefined,
    (found: unknown) => found,
  );
  if (!(error instanceof PogoError)) throw new Error(`expected a PogoError, found ${String(error)}`);
  return error;
}

describe('adapters of ours', () => {
  it.each([
    ['gpt', lora(GPT)],
    ['gpt, one target', lora(GPT, ['o'], 3)],
    ['gemma3', lora(GEMMA)],
  ])('come back as they were: %s', async (_, recipe) => {
    const path = place();
    const theta = thetaOf(recipe);
    const { adapter } = recipe;
    const baseRoot = toHex(adapter!.base);
    await writePeft(recipe, adapter!, theta, { folder: path, baseRoot, base: 'some/model' });
    const config = JSON.parse(readFileSync(join(path, 'adapter_config.json'), 'utf8')) as Record<string, unknown>;
    expect(config).toMatchObject({ r: adapter!.rank, lora_alpha: 16, base_model_name_or_path: 'some/model' });
    expect(config['fan_in_fan_out']).toBe(recipe.family === 'gpt');
    const { adapter: read, fill, base } = await readPeft(path, baseRecipe(recipe));
    const { base: _base, ...expected } = adapter!;
    expect(read).toEqual(expected);
    expect(base).toBe(baseRoot);
    const back = new Float32Array(theta.length);
    fill(createLayout(recipe), back);
    expect(back).toEqual(Float32Array.from(theta));
    expect((await refusal(writePeft(recipe, adapter!, theta, { folder: path, baseRoot }))).code).toBe('IO');
  });

  it('go from state to state, with a recipe that names model and start', async () => {
    const recipe = lora(GPT);
    const state = place();
    const { m, v } = seedState(modelPlan(recipe));
    const theta = thetaOf(recipe);
    const vectors = { theta, m, v, ema: theta };
    writeStateFolder(state, headerOf(modelPlan(recipe).root, START_SCALARS, vectors, hashBytes), vectors);
    const peft = place();
    await exportPeft(recipe, { state, folder: peft, weights: 'ema' });
    const again = place();
    const imported = await importPeft({ folder: peft, state: again, recipe, home: folder.path, name: 'again' });
    expect(imported.recipe.start).toEqual({ kind: 'root', root: hashBytes(vectorBytes(theta)) });
    expect(imported.recipe.adapter).toEqual(recipe.adapter);
    const read = readStateFolder(again, createLayout(imported.recipe));
    expect(read.header).toEqual(imported.header);
    expect(Buffer.compare(vectorBytes(read.vectors.theta), vectorBytes(theta))).toBe(0);
    // Trained on one model, put on another.
    const other = { ...recipe, adapter: { ...recipe.adapter!, base: new Uint8Array(32).fill(9) } };
    const wrong = await refusal(importPeft({ folder: peft, state: place(), recipe: other, home: folder.path }));
    expect(wrong).toMatchObject({ code: 'MISMATCH' });
    expect(wrong.message).toMatch(/expected the model with θ .* found θ 0909/);
    expect((await refusal(importPeft({ folder: peft, state: place(), recipe: GPT, home: folder.path }))).code).toBe(
      'USAGE',
    );
    expect((await refusal(exportPeft(GPT, { state, folder: place(), weights: 'theta' }))).code).toBe('USAGE');
  });

  it('over a model that no architecture has are refused', async () => {
    const recipe = lora(tiny);
    const write = writePeft(recipe, recipe.adapter!, thetaOf(recipe), { folder: place(), baseRoot: '' });
    expect((await refusal(write)).message).toMatch(/GPT-2 has LayerNorm/);
  });
});

describe('pogo', () => {
  it('imports adapters over an imported model, and writes them again', async () => {
    const home = place();
    const run = (...args: string[]) => pogo(args, { POGO_HOME: home });
    const [base, adapter, out] = [place(), place(), place()];
    const [state, lora] = [place(), place()];
    const test = parityCases().find(({ name }) => name === 'gpt2-lora-all')!;
    await writeParityModel(base, { ...test, config: { ...test.config, vocab_size: 256 } });
    await writeParityAdapter(adapter, test);
    const ok = async (...args: string[]): Promise<string> => {
      const { code, stdout, stderr } = await run(...args);
      expect([code, stderr]).toEqual([0, expect.not.stringMatching(/error/)]);
      return stdout;
    };
    await ok('import', '--checkpoint', base, '--state', state);
    const recipe = `${state}.recipe.json`;
    await ok('import', '--checkpoint', adapter, '--recipe', recipe, '--base', state, '--state', lora);
    await ok('export', '--state', lora, '--format', 'peft', '--base', 'some/model', '--checkpoint', out);
    const [theirs, ours] = [adapter, out].map((path) => readFileSync(join(path, 'adapter_model.safetensors')));
    const [a, b] = [theirs!, ours!].map((bytes) => tensorsOf(bytes));
    expect(b).toEqual(a);
    const again = await run('import', '--checkpoint', adapter, '--state', place());
    expect(again).toMatchObject({ code: 2, stderr: expect.stringMatching(/error USAGE: expected --recipe/) });
    const hf = await run('import', '--checkpoint', base, '--state', place(), '--base', state);
    expect(hf.stderr).toMatch(/error USAGE: --base: expected adapters of peft/);
  });
});

describe('adapters of theirs', () => {
  it.each([
    ['q and v: side by side, of twice the rank', ['q_proj', 'v_proj'], { rank: 4, targets: ['qkv'] }],
    ['the gates alone', ['gate_proj'], { rank: 2, targets: ['fc'] }],
    ['all: three times the rank', ['q_proj', 'k_proj', 'v_proj', 'o_proj', 'up_proj', 'down_proj'], { rank: 6 }],
  ])('on some of the matrices that are one of ours: %s', async (_, targets, expected) => {
    const named = (name: string): boolean => targets.some((target) => name.endsWith(`.${target}`));
    const { path, tensors } = await writeTheirs(GEMMA, named, { target_modules: targets });
    const { adapter, fill } = await readPeft(path, GEMMA);
    expect(adapter).toMatchObject(expected);
    // The merged model is the sum that peft makes: W + (alpha ÷ r) B A of each module.
    const recipe = validateRecipe({ ...GEMMA, adapter: { ...adapter, base: new Uint8Array(32).fill(1) } });
    const frozen = frozenTheta(GEMMA);
    const plan = withFrozen(modelPlan(recipe), frozen);
    const theta = new Float32Array(plan.layout.length);
    fill(plan.layout, theta);
    const merged = mergeAdapters(plan, theta);
    const { modules } = peftModules(GEMMA);
    const values = new Map(tensors.map(({ name, values: all }) => [name, all]));
    for (const { name, layer, target, first, rows, inputs } of modules) {
      const { offset } = plan.model.byName(`h${layer}.${target}.weight`);
      const [a, b] = ['A', 'B'].map((matrix) => values.get(`base_model.model.model.${name}.lora_${matrix}.weight`));
      for (const [n, k] of [
        [0, 0],
        [rows - 1, 3],
        [rows >> 1, inputs - 1],
      ] as const) {
        const at = offset + (first + n) * inputs + k;
        const sum = a === undefined || b === undefined ? 0 : b[2 * n]! * a[k]! + b[2 * n + 1]! * a[inputs + k]!;
        expect(merged[at]).toBeCloseTo(frozen[at]! + 3 * sum, 5);
      }
    }
  });

  it('refuses what they are not', async () => {
    const attention = (name: string): boolean => name.endsWith('attn.c_attn');
    const target_modules = ['c_attn'];
    const open = async (
      config: Record<string, unknown> = {},
      change?: (tensors: FileTensor[]) => FileTensor[],
      recipe = GPT,
    ): Promise<PogoError> => {
      const { path } = await writeTheirs(GPT, attention, { target_modules, ...config }, change);
      return await refusal(readPeft(path, recipe));
    };
    const renamed = (from: RegExp, to: string) => (tensors: FileTensor[]) =>
      tensors.map((tensor) => ({ ...tensor, name: tensor.name.replace(from, to) }));
    const cases: [PogoError, string, RegExp][] = [
      [
        await open({ target_modules: ['c_attn', 'wte'] }),
        'MISMATCH',
        /expected adapters of h\.\*\.attn\.c_attn.* found one of "wte"/,
      ],
      [
        await open({}, renamed(/attn\.c_attn/, 'attn.other')),
        'MISMATCH',
        /found one of "transformer\.h\.0\.attn\.other"/,
      ],
      [await open({ target_modules: ['c_attn', 'c_fc'] }), 'SHAPE', /expected adapters of c_fc .*, found none/],
      [await open({ target_modules: ['c_fc'] }), 'SHAPE', /expected adapters of c_fc/],
      [await open({ r: 4 }), 'SHAPE', /lora_A\.weight \[4, 64\], found \[2, 64\]; the rank is 4 in adapter_config/],
      [
        await open({}, undefined, validateRecipe({ ...GPT, width: 128, heads: 2 })),
        'SHAPE',
        /\[2, 128\], found \[2, 64\]; .*another shape/,
      ],
      [
        await open({}, (tensors) => tensors.slice(1)),
        'SHAPE',
        /h\.0\.attn\.c_attn\.lora_A\.weight \[2, 64\], found none/,
      ],
      [
        await open({}, (tensors) => tensors.slice(0, -2)),
        'SHAPE',
        /h\.1\.attn\.c_attn\.lora_A\.weight .*found none; every layer/,
      ],
      [
        await open({}, renamed(/lora_A\.weight/, 'lora_magnitude_vector')),
        'SHAPE',
        /lora_B\.weight only, found .*magnitude/,
      ],
      [
        await open({}, (tensors) => [...tensors, { name: 'lm_head.weight', shape: [1], values: [1] }]),
        'SHAPE',
        /only, found "lm_head/,
      ],
      [
        await open({}, (tensors) =>
          tensors.map((t, i) => (i === 1 ? { ...t, values: t.values.with(5, Number.NaN) } : t)),
        ),
        'MALFORMED',
        /finite/,
      ],
      [
        await open({ peft_type: 'LOHA' }),
        'MISMATCH',
        /adapter_config\.json field peft_type: expected "LORA", found "LOHA"/,
      ],
      [await open({ use_dora: true }), 'MISMATCH', /use_dora/],
      [await open({ rank_pattern: { c_attn: 8 } }), 'MISMATCH', /rank_pattern/],
      [await open({ modules_to_save: ['wte'] }), 'MISMATCH', /modules_to_save/],
      [await open({ bias: 'all' }), 'MISMATCH', /field bias/],
      [await open({ r: 300 }), 'MISMATCH', /field r: expected at most 256/],
    ];
    for (const [error, code, message] of cases) {
      expect([error.code, error.message]).toEqual([code, expect.stringMatching(message)]);
    }
  });

  it('reads no pickle, no broken config, and no ranks that do not fit', async () => {
    const path = place();
    mkdirSync(path);
    const config = { peft_type: 'LORA', r: 2, lora_alpha: 6, target_modules: ['c_attn'] };
    writeFileSync(join(path, 'adapter_config.json'), JSON.stringify(config));
    writeFileSync(join(path, 'adapter_model.bin'), 'x');
    const pickle = await refusal(readPeft(path, GPT));
    expect(pickle).toMatchObject({ code: 'MISSING' });
    expect(pickle.message).toMatch(/can run code.*safe_serialization=True/);
    writeFileSync(join(path, 'adapter_config.json'), '{');
    expect((await refusal(readPeft(path, GPT))).code).toBe('MALFORMED');
    const names = ['q_proj', 'k_proj', 'v_proj'];
    const named = (name: string): boolean => names.some((target) => name.endsWith(target));
    const wide = (tensors: FileTensor[]): FileTensor[] =>
      tensors.map(({ name, shape: [rows, cols] }, i) => {
        const shape = name.includes('lora_A') ? [100, cols!] : [rows!, 100];
        return { name, shape, values: noise(shape[0]! * shape[1]!, i + 3) };
      });
    const theirs = await writeTheirs(GEMMA, named, { target_modules: names, r: 100 }, wide);
    expect((await refusal(readPeft(theirs.path, GEMMA))).message).toMatch(/at most 256 .* found 3 of rank 100/);
  });
});
