/**
 * Recipes that start from a trained model: a base recipe with the root of that model's θ as its start.
 *
 * The start belongs to the recipe, so its root is known only after the model is; everything else of the base stays. Two
 * people who derive from one base and one θ have one recipe root.
 */
import { PogoError } from '../errors.js';
import { equalBytes, toHex } from '../hex.js';
import { type GemmaOptions, isOpenStart, type Recipe } from './recipe.js';
import { builtInData } from './recipeData.js';
import { validateRecipe } from './recipeRules.js';

/** What of a recipe the start's θ must fit: its layout, and what its numbers mean. */
const SHAPE = [
  'family',
  'vocab',
  'layers',
  'width',
  'heads',
  'hidden',
  'context',
  'norm',
  'bias',
  'normEpsilonBits',
] as const;

/** The model that training starts from. */
export interface StartModel {
  /** Its recipe, or one made from a foreign file's description: only shape and tokenizer are read. */
  readonly recipe: Recipe;
  /** BLAKE3 of its θ, as a vector of the layout. */
  readonly thetaRoot: Uint8Array;
  /** For messages. */
  readonly source: string;
}

/**
 * @param base gives data, optimizer, schedule, sampling and sizes of steps and claims
 * @param takeShape the start's shape and tokenizer take the place of the base's
 * @throws PogoError MISMATCH for a start of another shape or tokenizer, or data that nobody has in that tokenizer's
 *   tokens; RECIPE where the taken shape breaks a rule
 */
export function deriveRecipe(base: Recipe, start: StartModel, takeShape = false): Recipe {
  const shaped = takeShape ? withShape(base, start) : base;
  requireSameModel(shaped, start.recipe, start.source);
  const { adapter } = shaped;
  // Adapters begin at their seed; what they stand on is the trained model.
  return adapter === undefined
    ? validateRecipe({ ...shaped, start: { kind: 'root', root: start.thetaRoot } })
    : validateRecipe({ ...shaped, adapter: { ...adapter, base: start.thetaRoot } });
}

/** The root of the trained model that a recipe names: its start's θ, or what its adapters stand on. */
export function namedModel({ adapter, start }: Pick<Recipe, 'adapter' | 'start'>): Uint8Array | undefined {
  return adapter?.base ?? (start.kind === 'root' ? start.root : undefined);
}

/** Whether two recipes are equal but for a start that one of them leaves open. */
export function differsInStartOnly(open: Recipe, other: Recipe, root: (recipe: Recipe) => Uint8Array): boolean {
  if (!isOpenStart(open)) return false;
  const { adapter } = open;
  const named = adapter === undefined ? { start: open.start } : { adapter };
  return (
    (other.adapter === undefined) === (adapter === undefined) &&
    toHex(root({ ...other, ...named })) === toHex(root(open))
  );
}

/** @throws PogoError MISMATCH naming the field in which a start's model is another one than the recipe's */
export function requireSameModel(recipe: Recipe, start: Recipe, source: string): void {
  const differs = (field: string, expected: unknown, found: unknown): PogoError =>
    new PogoError(
      'MISMATCH',
      `expected a model of recipe ${recipe.name} (${field} ${expected}), found ${field} ${found} in ${source}; ` +
        'take another start, or its shape: pogo recipe derive --shape',
      { field },
    );
  for (const field of SHAPE) if (recipe[field] !== start[field]) throw differs(field, recipe[field], start[field]);
  const options = Object.keys(recipe.gemma ?? {}) as (keyof GemmaOptions)[];
  for (const field of options) {
    const [expected, found] = [recipe, start].map(({ gemma }) => shown(gemma?.[field]));
    if (expected !== found) throw differs(`gemma.${field}`, expected, found);
  }
  if (recipe.tokenizer !== start.tokenizer) throw differs('tokenizer', recipe.tokenizer, start.tokenizer);
  const [expected, found] = [recipe, start].map(({ data }) => toHex(data.tokenizerRoot));
  if (expected !== found) throw differs('tokenizer', expected, found);
}

function shown(value: number | Uint8Array | undefined): string {
  return value instanceof Uint8Array ? toHex(value) : String(value);
}

function withShape(base: Recipe, { recipe, source }: StartModel): Recipe {
  const { tokenizer, gemma } = recipe;
  const same = equalBytes(base.data.tokenizerRoot, recipe.data.tokenizerRoot);
  const data = same ? base.data : builtInData(base.data.textRoot, tokenizer);
  if (data === undefined) {
    throw new PogoError(
      'MISMATCH',
      `expected data in tokens of ${tokenizer} (the tokenizer of ${source}), found tokens of ${base.tokenizer} in recipe ` +
        `${base.name}; make them with: pogo data build --tokenizer ${tokenizer === 'json' ? 'TOKENIZER.JSON' : tokenizer}` +
        (tokenizer === 'json' ? ', or take the recipe that pogo import writes' : ''),
    );
  }
  const shape = Object.fromEntries(SHAPE.map((field) => [field, recipe[field]])) as Pick<
    Recipe,
    (typeof SHAPE)[number]
  >;
  const { gemma: _other, ...others } = base;
  return validateRecipe({ ...others, ...shape, tokenizer, data, ...(gemma === undefined ? {} : { gemma }) });
}
