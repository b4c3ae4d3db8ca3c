import { describe, expect, it } from 'vitest';
import { PogoError } from '../../../src/errors.js';
import { toHex } from '../../../src/hex.js';
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
