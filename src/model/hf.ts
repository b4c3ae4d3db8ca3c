/**
 * Models as Hugging Face stores them: which tensors a file has for a recipe, `config.json` from a recipe and back.
 * Each family has a file of its own; this one is the door to them.
 */

import { PogoError } from '../errors.js';
import { ConfigReader, type ModelShape } from './hfConfigReader.js';
import { gemma3Config, gemma3Model, gemma3Shape } from './hfGemma3.js';
import { gpt2Config, gpt2Model, gpt2Shape } from './hfGpt2.js';
import type { Layout } from './layout.js';
import type { Recipe } from './recipe.js';

export type { ModelShape } from './hfConfigReader.js';

/** A tensor of a Hugging Face file, and the elements of θ that it holds. */
export interface HfPart {
  /** Without the prefix that a file may have on all names. */
  readonly name: string;
  /** Shape in the file. */
  readonly shape: readonly number[];
  /** The file holds [cols, rows] where we hold [rows, cols]. */
  readonly transposed: boolean;
  /** First element in the vector. */
  readonly offset: number;
  /** Elements of the part, first and one past the last, that are imported as +0. */
  readonly zero?: readonly [number, number];
  /** A file may have more rows (positions): the first ones are taken. */
  readonly moreRows?: true;
}

/** The tensors of a recipe's model in a Hugging Face file. */
export interface HfModel {
  readonly parts: readonly HfPart[];
  /** Tensors that the architecture has and the recipe has not: written as zeros, zero where a file has them. */
  readonly absent: readonly HfPart[];
  /** Name of the token table's part. */
  readonly table: string;
  /** What may stand before the names, and what the head is called then; the first is written. */
  readonly prefixes: readonly { readonly names: string; readonly head: string }[];
  /** Tensors that hold no weights. @param name without prefix */
  ignored(name: string): boolean;
  /** Tensors of other parts of a larger model, by their whole names. */
  foreign?(name: string): boolean;
}

/** @throws PogoError MISMATCH for a recipe that no architecture of Hugging Face expresses */
export function hfModel(recipe: Recipe, layout: Layout): HfModel {
  if (recipe.adapter !== undefined) {
    throw new PogoError(
      'MISMATCH',
      `expected a recipe whose state is a whole model for the format hf, found adapters in recipe ${recipe.name}; use --format pogo`,
      { recipe: recipe.name },
    );
  }
  return recipe.family === 'gemma3' ? gemma3Model(recipe, layout) : gpt2Model(recipe, layout);
}

/** `config.json` of a recipe's model, for `transformers`. */
export function hfConfig(recipe: Recipe): Record<string, unknown> {
  return recipe.family === 'gemma3' ? gemma3Config(recipe) : gpt2Config(recipe);
}

/** What a `config.json` says about a model. */
export interface HfDescription {
  readonly shape: ModelShape;
  /** Whether the head shares the token table; if not, the file must hold an equal head. */
  readonly tied: boolean;
}

/**
 * The model of a `config.json`. Sizes are checked when they become a recipe.
 *
 * @param config parsed JSON
 * @param file its name, for messages
 * @throws PogoError MISMATCH for another architecture, or an option that changes the arithmetic
 */
export function describeHfConfig(config: unknown, file = 'config.json'): HfDescription {
  const reader = new ConfigReader(config, '', file);
  reader.only('model_type', undefined, 'gpt2', 'gemma3_text', 'gemma3');
  reader.only('tie_word_embeddings', true, true, false);
  const tied = reader.get('tie_word_embeddings') !== false;
  if (reader.get('model_type') === 'gpt2') return { shape: gpt2Shape(reader), tied };
  if (reader.get('model_type') === 'gemma3_text') return { shape: gemma3Shape(reader, undefined), tied };
  // A multimodal model: its text part.
  const text = reader.inside('text_config');
  text.only('model_type', 'gemma3_text', 'gemma3_text');
  text.only('tie_word_embeddings', true, true, false);
  const dtype = reader.get('dtype') ?? reader.get('torch_dtype');
  return { shape: gemma3Shape(text, dtype), tied: tied && text.get('tie_word_embeddings') !== false };
}

/** Whether a file's shape is the recipe's, but for a context that was cut. */
export function sameShape(recipe: ModelShape, file: ModelShape): boolean {
  const keys = ['family', 'vocab', 'layers', 'width', 'heads', 'hidden', 'norm', 'bias', 'normEpsilonBits'] as const;
  return (
    keys.every((key) => recipe[key] === file[key]) &&
    recipe.context <= file.context &&
    sameOptions(recipe.gemma, file.gemma)
  );
}

function sameOptions(a: ModelShape['gemma'], b: ModelShape['gemma']): boolean {
  if (a === undefined || b === undefined) return a === b;
  const keys = Object.keys(b) as (keyof typeof b)[];
  return keys.every((key) => a[key] === b[key]);
}
