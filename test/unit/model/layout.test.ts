import { describe, expect, it } from 'vitest';
import {
  countParameters,
  createLayout,
  LEAF_ELEMENTS,
  packedModelLayout,
  paddedSize,
  unitFileBytes,
} from '../../../src/model/layout.js';
import { loadRecipe, RECIPE_NAMES } from '../../../src/model/recipe.js';

describe.each(RECIPE_NAMES)('layout of %s', (name) => {
  const recipe = loadRecipe(name);
  const layout = createLayout(recipe);

  it('tiles the vector with aligned tensors and padding of less than a leaf', () => {
    let end = 0;
    for (const [id, tensor] of layout.tensors.entries()) {
      expect(tensor.id).toBe(id);
      expect(tensor.offset % LEAF_ELEMENTS).toBe(0);
      expect(tensor.offset).toBe(end);
      expect(tensor.size).toBe(tensor.rows * tensor.cols);
      end = tensor.offset + paddedSize(tensor);
      expect(end - tensor.offset - tensor.size).toBeLessThan(LEAF_ELEMENTS);
    }
    expect(layout.length).toBe(end);
  });

  it('locates first, last and padding elements', () => {
    for (const tensor of layout.tensors) {
      expect(layout.byName(tensor.name)).toBe(tensor);
      expect(layout.locate(tensor.offset)).toEqual({ tensor, index: 0 });
      expect(layout.locate(tensor.offset + tensor.size - 1)).toEqual({ tensor, index: tensor.size - 1 });
      if (paddedSize(tensor) > tensor.size) expect(layout.locate(tensor.offset + tensor.size)).toBeUndefined();
    }
    for (const outside of [-1, layout.length, 0.5, Number.NaN]) expect(layout.locate(outside)).toBeUndefined();
  });

  it('packs the 4-bit model without gaps: all codes, then all scales', () => {
    const packed = packedModelLayout(layout);
    let codes = 0;
    let scales = packed.codesBytes;
    for (const part of packed.tensors) {
      expect(part.codesOffset).toBe(codes);
      expect(part.scalesOffset).toBe(scales);
      expect(part.codesBytes).toBe(
        (paddedSize(part.tensor) * (part.tensor.kind === 'matrix' && recipe.adapter === undefined ? 4 : 8)) / 8,
      );
      expect(part.scalesBytes).toBe((paddedSize(part.tensor) / 64) * 2);
      codes += part.codesBytes;
      scales += part.scalesBytes;
    }
    expect(packed.codesBytes).toBe(codes);
    expect(packed.bytes).toBe(scales);
  });
});

describe('known sizes', () => {
  it('counts the parameters of GPT-2 as its paper does', () => {
    const recipe = loadRecipe('gpt2-124m');
    expect(countParameters(createLayout(recipe), recipe)).toBe(124_439_808);
  });

  it('has the tensors of a layer in order', () => {
    const names = createLayout(loadRecipe('gpt2-124m')).tensors.map((tensor) => tensor.name);
    expect(names.slice(0, 14)).toEqual([
      'wte',
      'wpe',
      ...['norm1.gain', 'norm1.bias', 'qkv.weight', 'qkv.bias', 'o.weight', 'o.bias'].map((part) => `h0.${part}`),
      ...['norm2.gain', 'norm2.bias', 'fc.weight', 'fc.bias', 'proj.weight', 'proj.bias'].map((part) => `h0.${part}`),
    ]);
    expect(names.slice(-2)).toEqual(['norm.gain', 'norm.bias']);
    expect(createLayout(loadRecipe('tiny')).tensors).toHaveLength(2 + 2 * 6 + 1);
  });

  it('makes a unit 17/32 byte a parameter', () => {
    expect(unitFileBytes({ length: 1024 })).toEqual({ codes: 512, scales: 32, total: 544 });
  });

  it('refuses an unknown tensor', () => {
    expect(() => createLayout(loadRecipe('tiny')).byName('h0.qkv.bias')).toThrow(/h0\.qkv\.bias/);
  });
});
