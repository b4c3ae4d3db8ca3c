import { describe, expect, it } from 'vitest';
import { PogoError } from '../../../src/errors.js';
import { toHex } from '../../../src/hex.js';
import { bitsToFloat } from '../../../src/model/fp32.js';
import {
  countParameters,
  createLayout,
  paddedSize,
  type TensorSpec,
  unitFileBytes,
} from '../../../src/model/layout.js';
import {
  bytesPerToken,
  decodeRecipe,
  encodeRecipe,
  loadRecipe,
  paddedVocab,
  RECIPE_NAMES,
  type Recipe,
  recipeRoot,
  recipeToJson,
  tokensPerStep,
  validateRecipe,
} from '../../../src/model/recipe.js';
import {
  openLearningRate,
  openRecipeHeader,
  proveLearningRate,
  recipeHeader,
} from '../../../src/model/recipeHeader.js';
import { ExtendedRecipeSsz, extendedRecipeToSsz } from '../../../src/model/recipeSsz.js';
import { recipeRope } from '../../../src/model/rope.js';
import { weightsLayout } from '../../../src/model/weights.js';
import { SMALL_GEMMA, SMALL_LORA } from '../../support/optionRecipes.js';

function errorOf(run: () => unknown): PogoError {
  try {
    run();
  } catch (error) {
    if (error instanceof PogoError) return error;
    throw error;
  }
  throw new Error('expected an error');
}

/** A recipe with one field replaced, as a caller without types would do it. */
function change(recipe: Recipe, path: string, value: unknown): unknown {
  const [head, tail] = path.split('.');
  if (tail === undefined) return { ...recipe, [head]: value };
  return { ...recipe, [head]: { ...(recipe[head as keyof Recipe] as object), [tail]: value } };
}

describe('built-in recipes', () => {
  it.each(RECIPE_NAMES)('%s survives SSZ and JSON with the same root', (name) => {
    const recipe = loadRecipe(name);
    const root = toHex(recipeRoot(recipe));
    expect(toHex(recipeRoot(decodeRecipe(encodeRecipe(recipe))))).toBe(root);
    const view = recipeToJson(recipe);
    expect(toHex(recipeRoot(loadRecipe(JSON.stringify(view))))).toBe(root);
    expect(recipeToJson(loadRecipe(JSON.stringify(view)))).toEqual(view);
  });

  it('have roots of their own', () => {
    expect(new Set(RECIPE_NAMES.map((name) => toHex(recipeRoot(loadRecipe(name))))).size).toBe(RECIPE_NAMES.length);
  });

  it('have the shapes that they are named for', () => {
    const moby = loadRecipe('moby');
    expect(tokensPerStep(moby)).toBe(2 * 16 * 128);
    expect(paddedVocab(loadRecipe('gpt2-124m'))).toBe(50_304);
    expect(bytesPerToken(moby)).toBe(2);
    expect(loadRecipe('gpt2-124m')).toMatchObject({ norm: 'layer', bias: true, tokenizer: 'gpt2' });
    // 0.95 and 1e-8 in fp32, as any other IEEE implementation rounds them.
    expect(moby.optimizer.beta2Bits).toBe(0x3f733333);
    expect(moby.optimizer.epsilonBits).toBe(0x322bcc77);
  });
});

describe('the first container', () => {
  // Roots that claims were made under: no later field may move them.
  it.each([
    ['tiny', '4eaf02f71f945fe3cbe03752e32012abb86a05b7170090b44110611909bdaab9'],
    ['moby', '56bcecbd43382c26f67fca8b068be9b955c89ab19d90d5cd464e1a50487397b5'],
    ['gpt-5m', '21a9d190711bcc82088d3a462c8040129afacae586ab714efad74632b0b236a7'],
    ['gpt-19m', '77dc519d14c9e6143c337ec55de05218383799490eb57ccd4107fe9f5355a0c7'],
    ['gpt2-124m-long', '4d8c3cee9564ecc73c6f427737b5763fcf34c07ed7d63f3be7e95239219cbb82'],
    ['gpt2-124m', 'c87650602a87eced150f0b7c938d036fcde5ee083333c6216130d040a8369f70'],
  ])('keeps the root of %s', (name, root) => {
    const recipe = loadRecipe(name);
    expect(toHex(recipeRoot(recipe))).toBe(root);
    expect([...encodeRecipe(recipe).subarray(0, 4)]).toEqual([1, 0, 0, 0]);
    expect(toHex(openRecipeHeader(recipeHeader(recipe)).root)).toBe(root);
  });
});

describe('built-in recipes of large shapes and of the family gemma3', () => {
  it.each([
    ['gpt3-175b', '34276ebeb6a500c52778478fb9114ea914cca1a4523c75126d4451bed793cf05', 174_604_259_328],
    ['gemma-tiny', 'b4fbe84bf38977298aa7e814fccf8c1f5d3cfa1aa7db9b3ff5c282c5173c1033', 164_864],
    ['gemma3-1b', '2830a1796ed125e8551ab6445d02c151e900a3138a7345b937a81d8bb150c16a', 999_885_952],
    ['gemma3-4b', '9b63a0c4d9b31628d0fc8995015b4abd34fc6b1bb4e19dad62b48838b79bd114', 3_880_099_328],
    ['gemma3-27b', '035d01dc7d43d2df44aa2c86f0e43085229a3778b9f1e564e501834e9e1c3352', 27_009_002_240],
  ])('%s has its root and its parameters, and a layout of safe integers', (name, root, parameters) => {
    const recipe = loadRecipe(name);
    expect(toHex(recipeRoot(recipe))).toBe(root);
    const layout = createLayout(recipe);
    expect(countParameters(layout, recipe)).toBe(parameters);
    const last = layout.tensors.at(-1) as TensorSpec;
    expect(Number.isSafeInteger(layout.length)).toBe(true);
    expect(layout.length).toBe(last.offset + paddedSize(last));
    expect(layout.locate(last.offset)?.tensor).toBe(last);
    // Every tensor begins where the one before ends, beyond 2^32 too.
    layout.tensors.slice(1).forEach((tensor, i) => {
      const before = layout.tensors[i] as TensorSpec;
      expect(tensor.offset).toBe(before.offset + paddedSize(before));
    });
    const places = weightsLayout(layout);
    const matrices = layout.tensors.filter(({ kind, name: own }) => kind === 'matrix' || own === 'wte');
    expect(places.codesLength).toBe(2 * matrices.reduce((sum, { size }) => sum + size, 0));
    expect(unitFileBytes(layout).total).toBe(layout.length / 2 + layout.length / 32);
  });

  it('embed with the root of the width in bf16, as the published models do', () => {
    const scale = (name: string): number => bitsToFloat(loadRecipe(name).gemma?.embeddingScaleBits ?? 0);
    expect(scale('gemma3-1b')).toBe(34); // √1152 = 33.94
    expect(scale('gemma3-4b')).toBe(50.5); // √2560 = 50.60
    expect(scale('gemma3-27b')).toBe(73.5); // √5376 = 73.32
    expect(scale('gemma-tiny')).toBe(8);
  });

  it('have RoPE tables of the roots that they name', () => {
    expect(recipeRope(loadRecipe('gemma3-27b')).length).toBe(2 * 4096 * 128);
  });
});

describe('recipes with options', () => {
  const both = validateRecipe({ ...SMALL_GEMMA, adapter: SMALL_LORA.adapter });

  it.each([
    ['gemma', SMALL_GEMMA],
    ['adapter', SMALL_LORA],
    ['both', both],
  ])('%s: SSZ, JSON and header keep the root', (_name, recipe) => {
    const root = toHex(recipeRoot(recipe));
    const bytes = encodeRecipe(recipe);
    expect(new TextDecoder().decode(bytes.subarray(0, 4))).toBe('RCX2');
    expect(decodeRecipe(bytes)).toEqual(recipe);
    expect(toHex(recipeRoot(loadRecipe(JSON.stringify(recipeToJson(recipe)))))).toBe(root);
    const { learningRateBits: _rates, ...others } = recipe;
    const header = openRecipeHeader(recipeHeader(recipe));
    expect(toHex(header.root)).toBe(root);
    expect(header.recipe).toEqual(others);
    const rate = proveLearningRate(recipe, 77);
    expect(openLearningRate(header, 77, rate)).toBe(recipe.learningRateBits[77]);
  });

  it('has one encoding: the second container without options is no recipe', () => {
    const plain = extendedRecipeToSsz(loadRecipe('tiny'));
    const error = errorOf(() => decodeRecipe(ExtendedRecipeSsz.serialize(plain)));
    expect(error.code).toBe('MALFORMED');
    const header = errorOf(() => openRecipeHeader(recipeHeader(SMALL_GEMMA).subarray(0, 200)));
    expect(header.code).toBe('MALFORMED');
  });

  it('makes the root of the RoPE tables where the JSON leaves it out', () => {
    const view = recipeToJson(SMALL_GEMMA) as { gemma: Record<string, unknown> };
    const { ropeRoot: _root, ...rest } = view.gemma;
    const again = loadRecipe(JSON.stringify({ ...view, gemma: rest }));
    expect(toHex(recipeRoot(again))).toBe(toHex(recipeRoot(SMALL_GEMMA)));
    const broken = { ...view, context: 1e9, gemma: rest };
    expect(errorOf(() => loadRecipe(JSON.stringify(broken))).message).toContain('the nearest legal size is 1048576');
  });

  it.each([
    ['gemma.keyValueHeads', 3, 'the nearest legal number is 2'],
    ['gemma.keyValueHeads', 5, 'the nearest legal value is 4'],
    ['gemma.headSize', 96, '32 or 64 or 128 or 256'],
    ['gemma.slidingWindow', 100, '64 or 128'],
    ['gemma.queryScalar', 0, '1'],
    ['gemma.globalEvery', 0, '1'],
    ['gemma.ropeLocalBase', 1, '2'],
    ['gemma.ropeGlobalBase', 2 ** 33, '4294967295'],
    ['gemma.ropeGlobalScale', 0, '1'],
    ['gemma.ropeRoot', new Uint8Array(31), '32 bytes'],
    ['gemma.embeddingScaleBits', 0, '2^-10'],
    ['gemma.colour', 1, 'keyValueHeads'],
    ['gemma', undefined, 'an object'],
    ['heads', 5, 'a divisor of heads (5)'],
    ['bias', true, 'no biases'],
    ['norm', 'layer', 'rms'],
    ['family', 'gpt', 'gemma3'],
  ])('refuses %s = %s', (field, value, part) => {
    const error = errorOf(() => validateRecipe(change(SMALL_GEMMA, field, value)));
    expect(error.code).toBe('RECIPE');
    expect(error.message).toContain(part);
  });

  it.each([
    ['adapter.rank', 0, '1'],
    ['adapter.rank', 2 ** 20, '256'],
    ['adapter.alphaBits', 0, '2^-20'],
    ['adapter.targets', ['proj', 'qkv'], 'in this order'],
    ['adapter.targets', ['qkv', 'qkv'], 'at most once'],
    ['adapter.targets', ['qkv', 'wte'], 'nothing else'],
    ['adapter.targets', [], 'qkv, o, fc, proj'],
    ['adapter.kind', 'prefix', 'lora'],
    ['adapter.base', 'aa', '32 bytes'],
    ['adapter.dropout', 1, 'rank'],
  ])('refuses %s = %s', (field, value, part) => {
    const error = errorOf(() => validateRecipe(change(SMALL_LORA, field, value)));
    expect(error.code).toBe('RECIPE');
    expect(error.message).toContain(part);
  });
});

describe('recipe rules', () => {
  const tiny = loadRecipe('tiny');

  it.each([
    ['width', 100, '64 or 128'],
    ['width', 0, '64'],
    ['hidden', 65, '64 or 128'],
    ['context', 63, '64'],
    ['heads', 3, '2, 1'],
    ['heads', 0, '1'],
    ['vocab', 255, '256'],
    ['layers', 1.5, '2'],
    ['unitsPerStep', 0, '1'],
    ['stepsPerClaim', 5, '4'],
    ['minStepsPerClaim', 5, 'nearest'],
    ['sequencesPerUnit', 2 ** 20, '65536'],
  ])('refuses %s = %s and names the nearest legal value', (field, value, nearest) => {
    const error = errorOf(() => validateRecipe(change(tiny, field, value)));
    expect(error.code).toBe('RECIPE');
    expect(error.message).toContain(nearest);
    expect(error.message).toContain(String(value));
  });

  it.each([
    ['name', 'Tiny'],
    ['name', ''],
    ['numerics', 2],
    ['family', 'mamba'],
    ['norm', 'batch'],
    ['bias', 1],
    ['ema', 'yes'],
    ['normEpsilonBits', 0x7f800000],
    ['normEpsilonBits', 0],
    ['normEpsilonBits', -1],
    ['emaDecayBits', 0x80000000],
    ['learningRateBits', new Uint32Array(0)],
    ['learningRateBits', [0]],
    ['learningRateBits', Uint32Array.of(0, 0x7fc00000)],
    ['optimizer.epsilonBits', 1],
    ['optimizer.beta2Bits', 0x3f000000], // 0.5 < 0.9²
    ['optimizer.beta1Bits', 0x3f800000],
    ['data.tokens', 100],
    ['data.heldOutTokens', 64],
    ['data.tokensRoot', new Uint8Array(31)],
    ['start.seed', 'aa'],
    ['start.kind', 'zero'],
    ['start.root', new Uint8Array(32)],
    ['detection.targetPpm', 1_000_000],
    ['sampling', 'sequential'],
    ['colour', 'red'],
    ['optimizer.momentum', 1],
  ])('refuses a broken %s', (field, value) => {
    const error = errorOf(() => validateRecipe(change(tiny, field, value)));
    expect(error.code).toBe('RECIPE');
    expect(error.message).toContain(field.startsWith('start') ? 'start' : field);
  });

  it('refuses a missing field', () => {
    for (const key of Object.keys(tiny)) {
      const { [key as keyof Recipe]: _, ...rest } = tiny;
      expect(errorOf(() => validateRecipe(rest)).code, key).toBe('RECIPE');
    }
  });

  it('copies what the caller could still change', () => {
    const rates = tiny.learningRateBits.slice();
    const checked = validateRecipe({ ...tiny, learningRateBits: rates });
    rates[0] = 0;
    expect(checked.learningRateBits[0]).toBe(tiny.learningRateBits[0]);
  });

  it('names what it knows when asked for an unknown recipe, and refuses broken JSON', () => {
    expect(errorOf(() => loadRecipe('gpt-9000')).message).toContain('moby');
    expect(errorOf(() => loadRecipe('{"name":')).code).toBe('RECIPE');
    expect(errorOf(() => loadRecipe('{"name": "a", "name": "b"}')).message).toContain('the key "name" appears twice');
    expect(errorOf(() => loadRecipe('{}')).code).toBe('RECIPE');
  });

  it('takes a schedule in place of its entries', () => {
    const view = recipeToJson(loadRecipe('moby'));
    const learningRate = { peak: 0.003, warmup: 40, horizon: 400, floor: 0.1 };
    const recipe = loadRecipe(JSON.stringify({ ...view, learningRate }));
    expect(toHex(recipeRoot(recipe))).toBe(toHex(recipeRoot(loadRecipe('moby'))));
  });
});

describe('strict decoding', () => {
  const bytes = encodeRecipe(loadRecipe('moby'));
  const root = toHex(recipeRoot(loadRecipe('moby')));

  /** The data's name ends the encoding, so a cut or longer name is another recipe; anything else is refused. */
  function outcome(changed: Uint8Array): string {
    try {
      return toHex(recipeRoot(decodeRecipe(changed)));
    } catch (error) {
      if (error instanceof PogoError) return error.code;
      throw error;
    }
  }

  it('never reads cut or added bytes as the same recipe', () => {
    const name = 'moby-dick'.length;
    for (let length = 0; length < bytes.length; length++) {
      const found = outcome(bytes.subarray(0, length));
      if (length <= bytes.length - name) expect(['MALFORMED', 'RECIPE'], `${length}`).toContain(found);
      else expect(found).not.toBe(root);
    }
    expect(outcome(Uint8Array.from([...bytes, 0]))).toBe('RECIPE');
  });
});
