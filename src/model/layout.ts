/**
 * The layout of a state vector: which tensor lies where in the flat fp32 vectors θ, m, v and EMA .
 *
 * Tensors follow in recipe order, each starting at a multiple of 256 elements: 1 KiB, one BLAKE3 chunk, one *leaf*. So
 * a leaf never holds two tensors, and the padding behind a tensor's end is +0 for ever. A checker derives lengths and
 * shapes from here, never from what a peer sent.
 */

import { invariant, PogoError } from '../errors.js';
import { adapterNames, targetShape } from './adapter.js';
import { attentionSizes, paddedVocab, type Recipe, type RecipeAdapter } from './recipe.js';

/** Elements of one leaf. */
export const LEAF_ELEMENTS = 256;
/** Elements that share one scale in gradient units and in the packed model. */
export const BLOCK_ELEMENTS = 64;

export interface TensorSpec {
  /** Position in {@link Layout.tensors}; enters the dither seeds. */
  readonly id: number;
  readonly name: string;
  /** First element in the vector, a multiple of 256. */
  readonly offset: number;
  /** 1 for vectors. */
  readonly rows: number;
  /** Contiguous axis; weights are [out][in]. */
  readonly cols: number;
  /** rows · cols, without the padding. */
  readonly size: number;
  readonly kind: 'embedding' | 'matrix' | 'vector';
  /** Whether weight decay applies: matrices and embeddings. */
  readonly decay: boolean;
  /** Bits of a code in the packed model: 4 for matrices, 8 for everything else. */
  readonly modelBits: 4 | 8;
}

export interface Layout {
  readonly tensors: readonly TensorSpec[];
  /** Elements of a vector, padding included: a multiple of 256. */
  readonly length: number;
  /** @throws PogoError SHAPE for a name the model does not have */
  byName(name: string): TensorSpec;
  /** The tensor that owns an element; undefined for padding and beyond the end. `index` counts inside the tensor. */
  locate(element: number): { readonly tensor: TensorSpec; readonly index: number } | undefined;
}

type Shape = Pick<
  Recipe,
  'vocab' | 'layers' | 'width' | 'heads' | 'hidden' | 'context' | 'norm' | 'bias' | 'gemma' | 'adapter'
>;

/** @returns elements of a tensor with its padding to whole leaves */
export function paddedSize(tensor: Pick<TensorSpec, 'size'>): number {
  return Math.ceil(tensor.size / LEAF_ELEMENTS) * LEAF_ELEMENTS;
}

/**
 * The layout of a recipe's model. Names: `wte` [paddedVocab, width], `wpe` [context, width], then for each layer i
 * `h{i}.norm1.gain`, `h{i}.qkv.weight` [3·width, width] (rows: q heads, k heads, v heads), `h{i}.o.weight`,
 * `h{i}.norm2.gain`, `h{i}.fc.weight` [hidden, width], `h{i}.proj.weight` [width, hidden], at the end `norm.gain`;
 * each `.weight` is followed by its `.bias` where the recipe has biases, each `.gain` by its `.bias` with LayerNorm.
 * The head is tied to `wte`.
 *
 * The family gemma3 has no `wpe`; a layer is `norm1.gain`, `qkv.weight` [(H + 2G)·h, width], `qNorm.gain` [h],
 * `kNorm.gain` [h], `o.weight` [width, H·h], `postNorm1.gain`, `norm2.gain`, `fc.weight` [2·hidden, width] (rows: gates,
 * then the other half), `proj.weight` [width, hidden], `postNorm2.gain`.
 *
 * Of a recipe with adapters the state is the adapters alone: for each layer and target `h{i}.<target>.lora.a`
 * [rank, inputs] and `h{i}.<target>.lora.b` [rank, outputs]. {@link createModelLayout} is that of the frozen model.
 */
export function createLayout(recipe: Shape): Layout {
  return recipe.adapter === undefined ? createModelLayout(recipe) : adapterLayout(recipe, recipe.adapter);
}

class LayoutBuilder {
  readonly tensors: TensorSpec[] = [];
  offset = 0;

  add(
    name: string,
    kind: TensorSpec['kind'],
    rows: number,
    cols: number,
    modelBits: 4 | 8 = kind === 'matrix' ? 4 : 8,
  ): void {
    const size = rows * cols;
    invariant(Number.isSafeInteger(size), `${name}: ${rows} x ${cols} elements exceed 2^53`);
    const { offset } = this;
    const spec = { id: this.tensors.length, name, offset, rows, cols, size, kind, decay: kind !== 'vector' };
    this.tensors.push(Object.freeze({ ...spec, modelBits }));
    this.offset += paddedSize({ size });
  }
}

function adapterLayout(recipe: Shape, adapter: RecipeAdapter): Layout {
  const b = new LayoutBuilder();
  for (let i = 0; i < recipe.layers; i++) {
    for (const target of adapter.targets) {
      const { outputs, inputs } = targetShape(recipe, target);
      const names = adapterNames(`h${i}.${target}`);
      // 8 bits in the packed model: the two multiply each other, and they are small.
      b.add(names.a, 'matrix', adapter.rank, inputs, 8);
      b.add(names.b, 'matrix', adapter.rank, outputs, 8);
    }
  }
  return layoutOf(b.tensors, b.offset);
}

/** The layout of the whole model, whether it is trained or frozen. */
export function createModelLayout(recipe: Shape): Layout {
  const { width, hidden } = recipe;
  const b = new LayoutBuilder();
  const add = (name: string, kind: TensorSpec['kind'], rows: number, cols: number): void => {
    b.add(name, kind, rows, cols);
  };
  const norm = (name: string, size = width): void => {
    add(`${name}.gain`, 'vector', 1, size);
    if (recipe.norm === 'layer') add(`${name}.bias`, 'vector', 1, width);
  };
  const linear = (name: string, out: number, into: number): void => {
    add(`${name}.weight`, 'matrix', out, into);
    if (recipe.bias) add(`${name}.bias`, 'vector', 1, out);
  };

  add('wte', 'embedding', paddedVocab(recipe), width);
  if (recipe.gemma !== undefined) {
    const { heads, keyValueHeads, headSize } = attentionSizes(recipe);
    for (let i = 0; i < recipe.layers; i++) {
      norm(`h${i}.norm1`);
      linear(`h${i}.qkv`, (heads + 2 * keyValueHeads) * headSize, width);
      norm(`h${i}.qNorm`, headSize);
      norm(`h${i}.kNorm`, headSize);
      linear(`h${i}.o`, width, heads * headSize);
      norm(`h${i}.postNorm1`);
      norm(`h${i}.norm2`);
      linear(`h${i}.fc`, 2 * hidden, width);
      linear(`h${i}.proj`, width, hidden);
      norm(`h${i}.postNorm2`);
    }
    norm('norm');
    return layoutOf(b.tensors, b.offset);
  }
  add('wpe', 'embedding', recipe.context, width);
  for (let i = 0; i < recipe.layers; i++) {
    norm(`h${i}.norm1`);
    linear(`h${i}.qkv`, 3 * width, width);
    linear(`h${i}.o`, width, width);
    norm(`h${i}.norm2`);
    linear(`h${i}.fc`, hidden, width);
    linear(`h${i}.proj`, width, hidden);
  }
  norm('norm');
  return layoutOf(b.tensors, b.offset);
}

function layoutOf(tensors: readonly TensorSpec[], length: number): Layout {
  const names = new Map(tensors.map((tensor) => [tensor.name, tensor]));
  return Object.freeze({
    tensors: Object.freeze(tensors),
    length,
    byName(name: string): TensorSpec {
      const tensor = names.get(name);
      if (tensor === undefined) {
        throw new PogoError('SHAPE', `expected a tensor of this model, found ${JSON.stringify(name)}`, {
          tensor: name,
        });
      }
      return tensor;
    },
    locate(element: number) {
      if (!Number.isSafeInteger(element) || element < 0 || element >= length) return undefined;
      // The last tensor that starts at or before the element.
      let low = 0;
      let high = tensors.length - 1;
      while (low < high) {
        const middle = (low + high + 1) >>> 1;
        if (tensors[middle].offset <= element) low = middle;
        else high = middle - 1;
      }
      const tensor = tensors[low];
      const index = element - tensor.offset;
      return index < tensor.size ? { tensor, index } : undefined;
    },
  });
}

/** Trained parameters: all elements without the padding, rows of the padded vocabulary left out. */
export function countParameters(layout: Layout, recipe: Pick<Recipe, 'vocab' | 'width'>): number {
  const all = layout.tensors.reduce((sum, tensor) => sum + tensor.size, 0);
  if (layout.tensors[0]?.name !== 'wte') return all; // adapters have no rows of a padded vocabulary
  return all - (paddedVocab(recipe) - recipe.vocab) * recipe.width;
}

/** Bytes of a gradient unit's file: codes plane (4 bits an element), then one bf16 scale per block of 64. */
export function unitFileBytes(layout: Pick<Layout, 'length'>): { codes: number; scales: number; total: number } {
  const codes = layout.length / 2;
  const scales = layout.length / 32;
  return { codes, scales, total: codes + scales };
}

/** Where one tensor lies in the packed 4-bit model. Padding is stored too, so that leaves map to whole byte ranges. */
export interface PackedTensor {
  readonly tensor: TensorSpec;
  /** Byte offset of the tensor's codes in the file. */
  readonly codesOffset: number;
  /** Bytes of its codes, padding included: 4-bit codes two to a byte (low nibble first), 8-bit codes as int8. */
  readonly codesBytes: number;
  /** Byte offset of its first scale in the file (bf16 LE, one per 64 elements). */
  readonly scalesOffset: number;
  readonly scalesBytes: number;
}

export interface PackedModelLayout {
  readonly tensors: readonly PackedTensor[];
  /** Bytes of the codes plane: where the scales plane starts. */
  readonly codesBytes: number;
  /** Bytes of the whole file. */
  readonly bytes: number;
}

/** The packed model's file: codes of all tensors in layout order, then scales of all tensors in layout order. */
export function packedModelLayout(layout: Layout): PackedModelLayout {
  const codes = layout.tensors.map((tensor) => (paddedSize(tensor) * tensor.modelBits) / 8);
  const codesBytes = codes.reduce((sum, bytes) => sum + bytes, 0);
  let codesOffset = 0;
  const tensors = layout.tensors.map((tensor, i) => {
    const packed: PackedTensor = {
      tensor,
      codesOffset,
      codesBytes: codes[i],
      scalesOffset: codesBytes + tensor.offset / 32,
      scalesBytes: paddedSize(tensor) / 32,
    };
    codesOffset += codes[i];
    return packed;
  });
  return { tensors, codesBytes, bytes: codesBytes + layout.length / 32 };
}
