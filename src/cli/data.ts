/** `pogo data build FILES -o D`: a token file from text, and a recipe that trains on it. */
import { join } from 'node:path';
import { type Command, Option } from 'commander';
import { PogoError } from '../errors.js';
import { toHex } from '../hex.js';
import { buildTokenFile, recipeForData } from '../model/node/dataset.js';
import { openRecipe } from '../model/node/recipeFile.js';
import { openRecipeTokenizer } from '../model/node/tokenizerFile.js';
import { recipeRoot, recipeToJson } from '../model/recipe.js';
import { type BuiltInTokenizer, openTokenizer } from '../model/tokenizer.js';
import { writeFileAtomic } from '../node/files/durable.js';
import { realFiles } from '../node/files/fileLayer.js';
import { printEvent } from './events.js';

interface Options {
  readonly output: string;
  readonly tokenizer?: BuiltInTokenizer;
  readonly name: string;
  readonly recipe?: string;
  readonly json?: true;
}

async function build(files: readonly string[], options: Options): Promise<void> {
  if (!/^[a-z0-9-]{1,32}$/.test(options.name)) {
    throw new PogoError('USAGE', `--name: expected 1 to 32 of the characters a-z, 0-9 and -, found "${options.name}"`);
  }
  const base = openRecipe(options.recipe ?? (options.tokenizer === 'gpt2' ? 'gpt2-124m' : 'moby'));
  const tokenizer =
    options.tokenizer === undefined
      ? await openRecipeTokenizer(base, options.output)
      : await openTokenizer(options.tokenizer);
  const built = await buildTokenFile(files, tokenizer, options.output, options.name);
  const recipe = recipeForData({ ...base, name: options.name }, built, options.name);
  const manifest = join(options.output, `${options.name}.recipe.json`);
  writeFileAtomic(realFiles, manifest, new TextEncoder().encode(`${JSON.stringify(recipeToJson(recipe), null, 2)}\n`));
  const roots = {
    textRoot: toHex(built.textRoot),
    tokensRoot: toHex(built.tokensRoot),
    tokenizerRoot: toHex(built.tokenizerRoot),
    recipeRoot: toHex(recipeRoot(recipe)),
  };
  const { tokens, heldOutTokens } = recipe.data;
  if (options.json === true) {
    printEvent({
      type: 'result',
      command: 'data build',
      file: built.path,
      recipe: manifest,
      tokens,
      heldOutTokens,
      ...roots,
    });
    return;
  }
  process.stdout.write(`${built.path}: ${tokens} tokens, the last ${heldOutTokens} held out\n`);
  process.stdout.write(`${manifest}: a recipe like ${base.name} on these data, for --recipe\n`);
  for (const [name, root] of Object.entries(roots)) process.stdout.write(`${name.padEnd(14)}${root}\n`);
}

/** Where `pogo run` and the others look for token files. */
function defaultFolder(): string {
  return join(process.env['POGO_HOME'] ?? '.pogo', 'data');
}

export function register(program: Command): void {
  const data = program.command('data').description('token files for recipes');
  data
    .command('build')
    .description('make a token file from UTF-8 text files, and a recipe that trains on it')
    .argument('<files...>', 'text files, joined in this order')
    .option('-o, --output <folder>', 'where to write both; runs look in the default', defaultFolder())
    .addOption(
      new Option('--tokenizer <name>', 'how to cut the text (default: that of the recipe)').choices(['bytes', 'gpt2']),
    )
    .option('--name <name>', 'name of data and recipe', 'data')
    .option('--recipe <name|file>', 'recipe that gives everything but the data (default: moby, or gpt2-124m)')
    .option('--json', 'events instead of text')
    .action((files: string[], options: Options) => build(files, options));
}
