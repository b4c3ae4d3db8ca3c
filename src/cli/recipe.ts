/** `pogo recipe [NAME|FILE]`: lists the recipes, or prints one in full with its root. */
import type { Command } from 'commander';
import { planOf } from '../cost/plan.js';
import { figureText } from '../cost/text.js';
import { PogoError } from '../errors.js';
import { writeTarget } from '../files/target.js';
import { toHex } from '../hex.js';
import { deriveRecipe, namedModel } from '../model/deriveRecipe.js';
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
import { FrozenModels } from '../node/frozenModels.js';
import { pogoHome } from '../node/home.js';
import { keepRecipe } from '../node/recipeStore.js';
import { openStartSource, type StartVector, startFrom } from '../node/startSource.js';
import { printEvent } from './events.js';
import { addForceOption, rootOption } from './options.js';
import { addStartOptions, type StartOptions, startEvent } from './startOptions.js';

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
  if (!json) process.stdout.write('name                parameters  context  tokens/step  steps/claim  root\n');
  for (const name of RECIPE_NAMES) {
    const recipe = loadRecipe(name);
    const { recipeRoot: root, parameters, tokensPerStep: tokens } = derived(recipe);
    if (json) {
      printEvent({ type: 'recipe', name, ...derived(recipe) });
      continue;
    }
    const columns = [parameters, recipe.context, tokens, recipe.stepsPerClaim];
    const widths = [15, 9, 13, 13];
    const text = columns.map((value, i) => value.toLocaleString('en-US').padStart(widths[i])).join('');
    process.stdout.write(`${name.padEnd(15)}${text}  ${root}\n`);
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

/** Memory, disk and traffic of each role. */
function plan(recipe: Recipe, json: boolean): void {
  const sections = planOf(recipe);
  if (json) {
    const rows = sections.map(({ title, rows }) => ({
      title,
      rows: rows.map(({ name, figure }) => ({ name, ...figure })),
    }));
    printEvent({
      type: 'result',
      command: 'recipe',
      recipe: recipe.name,
      recipeRoot: toHex(recipeRoot(recipe)),
      sections: rows,
    });
    return;
  }
  for (const { title, rows } of sections) {
    process.stdout.write(`${title}\n`);
    for (const { name, figure } of rows) {
      process.stdout.write(`  ${name.padEnd(32)} ${figureText(figure).padStart(18)}  ${figure.source}\n`);
    }
    process.stdout.write('\n');
  }
}

interface ShowOptions {
  readonly json?: true;
  readonly file?: true;
  readonly plan?: true;
}

/** @throws PogoError USAGE for views that want a recipe without one, or exclude each other */
function requireOneView(name: string | undefined, { json, file, plan }: ShowOptions): void {
  const wants = file === true ? '--file' : plan === true ? '--plan' : undefined;
  if (wants === undefined) return;
  if (name === undefined) {
    throw new PogoError('USAGE', `${wants}: expected a recipe before it, found none; pogo recipe lists them`);
  }
  if (wants === '--plan') return;
  const other = plan === true ? '--plan' : json === true ? '--json' : undefined;
  if (other === undefined) return;
  const advice = other === '--json' ? '; the field `view` of its event is the recipe file' : '';
  throw new PogoError('USAGE', `--file: expected no ${other} beside it, found both: leave one out${advice}`);
}

function text(value: unknown): string {
  if (typeof value !== 'object' || value === null) return String(value);
  return Object.entries(value)
    .map(([key, part]) => `${key} ${part}`)
    .join('\n'.padEnd(19));
}

interface DeriveOptions extends StartOptions {
  readonly theta?: Uint8Array;
  readonly shape?: true;
  readonly name?: string;
  readonly output?: string;
  readonly force?: true;
  readonly json?: true;
}

/** A recipe with its start filled in: from a model, or from the root of its θ alone. */
async function deriveFrom(base: Recipe, options: DeriveOptions): Promise<{ recipe: Recipe; vector?: StartVector }> {
  const { from, theta, weights, fromRecipe, shape } = options;
  if ((from === undefined) === (theta === undefined)) {
    throw new PogoError('USAGE', 'expected --from, or --theta with the root of a θ, found both or neither');
  }
  if (theta !== undefined) {
    return { recipe: deriveRecipe(base, { recipe: base, thetaRoot: theta, source: '--theta' }) };
  }
  const home = pogoHome();
  const source = await openStartSource(from ?? '', {
    home,
    ...(fromRecipe === undefined ? {} : { recipe: fromRecipe }),
  });
  const {
    recipe,
    vector,
    theta: values,
  } = await startFrom(base, source, {
    derive: true,
    takeShape: shape === true,
    ...(weights === undefined ? {} : { weights }),
  });
  if (recipe.adapter !== undefined) new FrozenModels(home).keep(values);
  return { recipe, vector };
}

async function derive(name: string, options: DeriveOptions): Promise<void> {
  const base = openRecipe(name);
  const derivedFrom = await deriveFrom(options.name === undefined ? base : { ...base, name: options.name }, options);
  const { recipe, vector } = derivedFrom;
  const root = toHex(keepRecipe(pogoHome(), recipe));
  const text = `${JSON.stringify(recipeToJson(recipe), null, 2)}\n`;
  if (options.output !== undefined) writeTarget(options.output, new TextEncoder().encode(text), options.force);
  if (options.json === true) {
    printEvent({
      type: 'result',
      command: 'recipe derive',
      base: base.name,
      baseRoot: toHex(recipeRoot(base)),
      recipe: recipe.name,
      recipeRoot: root,
      ...startEvent(recipe),
      ...(vector === undefined ? {} : { vector }),
      ...(options.output === undefined ? {} : { file: options.output }),
    });
    return;
  }
  const start = toHex(namedModel(recipe) ?? new Uint8Array(0));
  process.stdout.write(
    `recipe ${recipe.name} derived from ${base.name}\n` +
      `  ${recipe.adapter === undefined ? 'start θ root   ' : 'frozen θ root  '}${start}${vector === undefined ? '' : ` (${vector} of ${options.from})`}\n` +
      `  recipe root    ${root}\n` +
      `  pinned         data, shape, schedule and start: another θ, text or step size has another root\n` +
      (options.output === undefined ? '' : `  file           ${options.output}\n`),
  );
}

export function register(program: Command): void {
  const command = program
    .command('recipe')
    .argument('[name]', 'built-in name, or a recipe file')
    .option('--json', 'events instead of text; the field `view` is a recipe file')
    .option('--file', 'print only the recipe, as a file to start from')
    .option('--plan', 'memory, disk and traffic of lanes, state and verifiers')
    .action((name: string | undefined, options: ShowOptions) => {
      requireOneView(name, options);
      if (name === undefined) list(options.json === true);
      else if (options.plan === true) plan(openRecipe(name), options.json === true);
      else if (options.file === true)
        process.stdout.write(`${JSON.stringify(recipeToJson(openRecipe(name)), null, 2)}\n`);
      else show(openRecipe(name), options.json === true);
    });
  const sub = addForceOption(command.command('derive'))
    .description('name the start of a recipe: the same recipe from a trained model, with its new root')
    .argument('<recipe>', 'base recipe, such as sotu-finetune')
    .option('--theta <root>', 'root of the start’s θ, where the model itself is not at hand', rootOption('--theta'))
    .option('--shape', 'take shape and tokenizer of the model, too')
    .option('--name <name>', 'name of the new recipe (default: that of the base)')
    .option('-o, --output <file>', 'write the recipe as JSON')
    .option('--json', 'events instead of text');
  addStartOptions(sub, 'state folder, finished run or checkpoint to start from').action(
    (base: string, options: DeriveOptions, self: Command) => derive(base, { ...self.optsWithGlobals(), ...options }),
  );
}
