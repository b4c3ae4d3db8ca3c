/** `pogo recipe [NAME|FILE]`: lists the recipes, or prints one in full with its root. */
import type { Command } from 'commander';
import { toHex } from '../hex.js';
import { bitsToDecimal } from '../model/fp32.js';
import { countParameters, createLayout, packedModelLayout, unitFileBytes } from '../model/layout.js';
import { openRecipe } from '../model/node/recipeFile.js';
import {
  loadRecipe,
  RECIPE_NAMES,
  type Recipe,
  recipeRoot,
  recipeToJson,
  tokensPerStep,
  tokensPerUnit,
} from '../model/recipe.js';
import { printEvent } from './events.js';

/** What follows from a recipe and is not part of it. */
function derived(recipe: Recipe) {
  const layout = createLayout(recipe);
  return {
    recipeRoot: toHex(recipeRoot(recipe)),
    parameters: countParameters(layout, recipe),
    tokensPerStep: tokensPerStep(recipe),
    unitBytes: unitFileBytes(layout).total,
    modelBytes: packedModelLayout(layout).bytes,
    vectorBytes: 4 * layout.length,
  };
}

function list(json: boolean): void {
  if (!json) process.stdout.write('name        parameters  context  tokens/step  steps/claim  root\n');
  for (const name of RECIPE_NAMES) {
    const recipe = loadRecipe(name);
    const { recipeRoot: root, parameters, tokensPerStep: tokens } = derived(recipe);
    if (json) {
      printEvent({ type: 'recipe', name, ...derived(recipe) });
      continue;
    }
    const columns = [parameters, recipe.context, tokens, recipe.stepsPerClaim];
    const widths = [10, 9, 13, 13];
    const text = columns.map((value, i) => value.toLocaleString('en-US').padStart(widths[i])).join('');
    process.stdout.write(`${name.padEnd(12)}${text}  ${root}\n`);
  }
  if (!json)
    process.stdout.write('\npogo recipe NAME prints one in full, pogo recipe NAME --file as a file to start from.\n');
}

function show(recipe: Recipe, json: boolean): void {
  const view = recipeToJson(recipe);
  const facts = derived(recipe);
  if (json) {
    printEvent({ type: 'recipe', name: recipe.name, ...facts, view });
    return;
  }
  const { learningRateBits: bits } = recipe;
  const peak = bits.reduce((most, rate) => Math.max(most, rate), 0); // bits of floats >= 0 order as the floats do
  const rate = `${bits.length} entries: ${bitsToDecimal(bits[0])} → ${bitsToDecimal(peak)} at step ${bits.indexOf(peak)} → ${bitsToDecimal(bits[bits.length - 1])}`;
  const lines: [string, unknown][] = [
    ['root', facts.recipeRoot],
    ...Object.entries({ ...view, learningRate: rate }),
    ['', ''],
    ['parameters', facts.parameters.toLocaleString('en-US')],
    ['tokens', `${tokensPerUnit(recipe)} a unit, ${facts.tokensPerStep} a step`],
    ['bytes', `${facts.unitBytes} a gradient unit, ${facts.modelBytes} the 4-bit model, ${facts.vectorBytes} a vector`],
  ];
  for (const [key, value] of lines) process.stdout.write(`${key.padEnd(18)}${text(value)}\n`.trimStart());
}

function text(value: unknown): string {
  if (typeof value !== 'object' || value === null) return String(value);
  return Object.entries(value)
    .map(([key, part]) => `${key} ${part}`)
    .join('\n'.padEnd(19));
}

export function register(program: Command): void {
  program
    .command('recipe')
    .description('list the recipes, or print one in full with its root')
    .argument('[name]', 'built-in name, or a recipe file')
    .option('--json', 'events instead of text; the field `view` is a recipe file')
    .option('--file', 'print only the recipe, as a file to start from')
    .action((name: string | undefined, options: { json?: true; file?: true }) => {
      if (name === undefined) list(options.json === true);
      else if (options.file === true)
        process.stdout.write(`${JSON.stringify(recipeToJson(openRecipe(name)), null, 2)}\n`);
      else show(openRecipe(name), options.json === true);
    });
}
