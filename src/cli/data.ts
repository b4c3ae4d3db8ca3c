/** `pogo data build` and `pogo data check`: token files from text, JSON Lines and Parquet, and recipes that train on them. */
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { type Command, Option } from 'commander';
import { PogoError } from '../errors.js';
import { requireTarget, writeTarget } from '../files/target.js';
import { toHex } from '../hex.js';
import { type DocumentRule, PPM } from '../model/documents.js';
import { openRecipe } from '../model/node/recipeFile.js';
import {
  keepTokenizer,
  openRecipeTokenizer,
  openTokenizerFile,
  type TokenizerFile,
} from '../model/node/tokenizerFile.js';
import { type Recipe, recipeRoot, recipeToJson } from '../model/recipe.js';
import { parseStrictJson } from '../model/strictJson.js';
import { openTokenizer, type Tokenizer } from '../model/tokenizer.js';
import { type BuiltData, buildData, type DatasetSpec } from '../node/data/build.js';
import { baseFor, checkData, manifestText, parseManifest, recipeOnData } from '../node/data/manifest.js';
import type { SourceFormat } from '../node/data/sources.js';
import { pogoHome } from '../node/home.js';
import { printEvent } from './events.js';
import { interruptible } from './interrupt.js';
import { addForceOption } from './options.js';
import { commandLine } from './program.js';
import { pogoVersion } from './version.js';

interface BuildCommand {
  readonly output: string;
  readonly tokenizer?: string;
  readonly name: string;
  readonly recipe?: string;
  readonly recipeOut?: string;
  readonly spec?: string;
  readonly weights?: string;
  readonly heldOut: string;
  readonly field: string;
  readonly format?: SourceFormat;
  readonly documents: DocumentRule;
  readonly force?: true;
  readonly json?: true;
}

/** Milliseconds between two signs of progress. */
const PROGRESS_MS = 2000;

const FORMATS = ['text', 'jsonl', 'parquet'] as const;
const RULES = ['section', 'line', 'file'] as const;

/** A decimal as parts per million, exactly. */
function partsPerMillion(text: string, option: string, most: number): number {
  const match = /^(\d{1,6})(?:\.(\d{1,6}))?$/.exec(text.trim());
  const ppm = match === null ? Number.NaN : Number(match[1]) * PPM + Number((match[2] ?? '').padEnd(6, '0'));
  if (ppm > 0 && ppm <= most * PPM) return ppm;
  const found = JSON.stringify(text.slice(0, 80));
  throw new PogoError(
    'USAGE',
    `${option}: expected a decimal above 0 and up to ${most}, of at most 6 places, found ${found}`,
  );
}

const MAX_WEIGHT = 1000;

/** The datasets of the arguments, or of the file of `--spec`. */
function datasetsOf(sources: readonly string[], options: BuildCommand): DatasetSpec[] {
  if (options.spec !== undefined) {
    if (sources.length > 0) throw new PogoError('USAGE', 'expected either files or --spec, found both');
    return specFile(options.spec, options);
  }
  if (sources.length === 0) throw new PogoError('USAGE', 'expected at least one file or folder, found none');
  const weights = options.weights?.split(',') ?? sources.map(() => '1');
  if (weights.length !== sources.length) {
    const message = `--weights: expected ${sources.length} numbers, one for each file or folder, found ${weights.length}`;
    throw new PogoError('USAGE', message);
  }
  const { field, documents, format } = options;
  return sources.map((source, i) => ({
    source,
    weightPpm: partsPerMillion(weights[i], '--weights', MAX_WEIGHT),
    field,
    documents,
    ...(format === undefined ? {} : { format }),
  }));
}

/** `{ "datasets": [{ "source", "weight", "format", "field", "documents" }] }`; all but the source may be left out. */
function specFile(file: string, options: BuildCommand): DatasetSpec[] {
  let value: unknown;
  try {
    value = parseStrictJson(readFileSync(file, 'utf8'));
  } catch (cause) {
    if (!(cause instanceof SyntaxError)) throw PogoError.from(cause, file);
    throw new PogoError('MALFORMED', `${file}: expected JSON, found: ${cause.message.slice(0, 200)}; mend the file`, {
      path: file,
    });
  }
  const malformed = (place: string, expected: string): never => {
    throw new PogoError('MALFORMED', `${file}: expected ${expected} in ${place}, found another value; mend the file`, {
      path: file,
    });
  };
  const list = (value as { datasets?: unknown } | null)?.datasets;
  if (!Array.isArray(list) || list.length === 0) return malformed('datasets', 'a list of datasets');
  return list.map((entry: unknown, i): DatasetSpec => {
    const place = `datasets[${i}]`;
    if (typeof entry !== 'object' || entry === null || Array.isArray(entry)) return malformed(place, 'an object');
    const fields = entry as Readonly<Record<string, unknown>>;
    for (const key of Object.keys(fields)) {
      if (!['source', 'weight', 'format', 'field', 'documents'].includes(key)) {
        malformed(place, 'source, weight, format, field and documents only');
      }
    }
    const {
      source,
      weight = 1,
      format = options.format,
      field = options.field,
      documents = options.documents,
    } = fields;
    if (typeof source !== 'string' || source === '') return malformed(`${place}.source`, 'a path');
    if (typeof weight !== 'number') return malformed(`${place}.weight`, 'a number');
    if (typeof field !== 'string') return malformed(`${place}.field`, 'a name');
    const rule = RULES.find((known) => known === documents) ?? malformed(`${place}.documents`, RULES.join(' or '));
    const known = FORMATS.find((name) => name === format);
    if (format !== undefined && known === undefined) return malformed(`${place}.format`, FORMATS.join(' or '));
    const weightPpm = partsPerMillion(String(weight), `${file}: ${place}.weight`, MAX_WEIGHT);
    return { source, weightPpm, field, documents: rule, ...(known === undefined ? {} : { format: known }) };
  });
}

/** The tokenizer that was named, with its file where there is one to keep; or that of the recipe. */
async function tokenizerOf(options: BuildCommand, base: Recipe): Promise<TokenizerFile> {
  const { tokenizer, output } = options;
  if (tokenizer === undefined) return { tokenizer: await openRecipeTokenizer(base, output), file: undefined };
  if (tokenizer === 'bytes' || tokenizer === 'gpt2') {
    return { tokenizer: await openTokenizer(tokenizer), file: undefined };
  }
  const found = await openTokenizerFile(tokenizer);
  if (found === undefined) {
    throw new PogoError('USAGE', `--tokenizer: expected bytes, gpt2 or a tokenizer.json, found no file ${tokenizer}`);
  }
  return found;
}

async function build(sources: readonly string[], options: BuildCommand): Promise<void> {
  if (!/^[a-z0-9-]{1,32}$/.test(options.name)) {
    throw new PogoError('USAGE', `--name: expected 1 to 32 of the characters a-z, 0-9 and -, found "${options.name}"`);
  }
  const datasets = datasetsOf(sources, options);
  const heldOutPpm = partsPerMillion(options.heldOut, '--held-out', 0.5);
  const named = openRecipe(options.recipe ?? (options.tokenizer === 'gpt2' ? 'gpt2-124m' : 'moby'));
  const tokenizerFile = await tokenizerOf(options, named);
  const { tokenizer } = tokenizerFile;
  const base = baseFor(named, tokenizer);
  const start = performance.now();
  let shown = start;
  let files: DataFiles | undefined;
  const built = await interruptible((signal) =>
    buildData({
      datasets,
      tokenizer,
      recipe: base,
      heldOutPpm,
      directory: options.output,
      name: options.name,
      signal,
      beforePlaced: (whole) => {
        files = writeDataFiles(whole, base, { tokenizer, heldOutPpm }, options);
      },
      onProgress: (share, documents, tokens) => {
        if (performance.now() - shown < PROGRESS_MS) return;
        shown = performance.now();
        if (options.json === true) printEvent({ type: 'progress', command: 'data build', share, documents, tokens });
        else process.stderr.write(`data: ${(100 * share).toFixed(1)} %, ${documents} documents, ${tokens} tokens\n`);
      },
    }),
  );
  await keepTokenizer(options.output, tokenizerFile);
  const { recipe, manifest, recipeFile, text } = files as DataFiles;
  report(built, recipe, base, { manifest, recipeFile, text, seconds: (performance.now() - start) / 1000 }, options);
}

interface DataFiles {
  readonly recipe: Recipe;
  readonly manifest: string;
  readonly recipeFile: string;
  /** Of the manifest. */
  readonly text: string;
}

/** Manifest and recipe of built data: both are written, or none where one of them may not be. */
function writeDataFiles(
  built: BuiltData,
  base: Recipe,
  { tokenizer, heldOutPpm }: { readonly tokenizer: Tokenizer; readonly heldOutPpm: number },
  { name, output, recipeOut, force }: BuildCommand,
): DataFiles {
  const recipe = recipeOnData(base, tokenizer, built, name);
  const tool = `proof-of-gradient ${pogoVersion()}`;
  const text = manifestText(built, { name, tool, tokenizer, heldOutPpm, vocab: base.vocab });
  const recipeFile = recipeOut ?? join(output, `${name}.recipe.json`);
  const manifest = join(output, `${name}.manifest.json`);
  const encoder = new TextEncoder();
  const files: [string, Uint8Array][] = [
    [recipeFile, encoder.encode(`${JSON.stringify(recipeToJson(recipe), null, 2)}\n`)],
    [manifest, encoder.encode(text)],
  ];
  for (const [file, bytes] of files) requireTarget(file, bytes, force);
  for (const [file, bytes] of files) writeTarget(file, bytes, force);
  return { recipe, manifest, recipeFile, text };
}

interface Written {
  readonly manifest: string;
  readonly recipeFile: string;
  /** Of the manifest. */
  readonly text: string;
  readonly seconds: number;
}

function report(built: BuiltData, recipe: Recipe, base: Recipe, written: Written, options: BuildCommand): void {
  const roots = {
    documentsRoot: toHex(built.documentsRoot),
    tokensRoot: toHex(built.tokensRoot),
    tokenizerRoot: toHex(recipe.data.tokenizerRoot),
    manifestRoot: parseManifest(written.text, written.manifest).root,
    recipeRoot: toHex(recipeRoot(recipe)),
  };
  const { tokens, heldOutTokens } = recipe.data;
  const datasets = built.datasets.map(({ files, ...dataset }) => ({ ...dataset, files: files.length }));
  const duplicates = built.datasets.reduce((sum, dataset) => sum + dataset.duplicates, 0);
  if (options.json === true) {
    printEvent({
      type: 'result',
      command: 'data build',
      file: built.path,
      recipe: written.recipeFile,
      manifest: written.manifest,
      tokens,
      heldOutTokens,
      duplicates,
      datasets,
      textRoot: roots.documentsRoot,
      ...roots,
      seconds: written.seconds,
    });
    return;
  }
  const share = (part: number): string => `${((100 * part) / (tokens - heldOutTokens)).toFixed(1)} %`;
  for (const { source, files, trainDocuments, heldOutDocuments, trainTokens } of datasets) {
    process.stdout.write(
      `${source}: ${files} files, ${trainDocuments} documents to train on (${trainTokens} tokens, ${share(trainTokens)}), ${heldOutDocuments} held out\n`,
    );
  }
  process.stdout.write(
    `${built.path}: ${tokens} tokens, the last ${heldOutTokens} held out; ${duplicates} duplicates left out\n`,
  );
  process.stdout.write(
    `${written.manifest}: what it was made from; to compare: ${commandLine('data', 'check', written.manifest)}\n`,
  );
  process.stdout.write(`${written.recipeFile}: a recipe like ${base.name} on these data, for --recipe\n`);
  for (const [name, root] of Object.entries(roots)) process.stdout.write(`${name.padEnd(14)}${root}\n`);
}

async function check(file: string, options: { readonly recipe?: string; readonly json?: true }): Promise<void> {
  const recipe = options.recipe === undefined ? undefined : openRecipe(options.recipe);
  const { manifest, checked, absent } = await checkData(file, recipe);
  if (options.json === true) {
    const { root, tokensRoot, documentsRoot, tokens, heldOutTokens } = manifest;
    printEvent({
      type: 'result',
      command: 'data check',
      manifest: file,
      manifestRoot: root,
      tokensRoot,
      documentsRoot,
      tokens,
      heldOutTokens,
      checked,
      absent,
    });
    return;
  }
  process.stdout.write(`${file}: ${checked} files have the bytes that it names\n`);
  for (const source of absent) process.stdout.write(`${source}: not there, so not checked\n`);
}

export function register(program: Command): void {
  const data = program.command('data');
  addForceOption(data.command('build'))
    .description('make a token file from text, JSON Lines or Parquet, and a recipe that trains on it')
    .argument('[files...]', 'files or folders, each a dataset')
    .option('-o, --output <folder>', 'where to write; runs look in the default', join(pogoHome(), 'data'))
    .option('--tokenizer <name|file>', 'bytes, gpt2 or a tokenizer.json (default: that of the recipe)')
    .option('--name <name>', 'name of data and recipe', 'data')
    .option('--recipe <name|file>', 'recipe that gives everything but the data (default: moby, or gpt2-124m)')
    .option('--recipe-out <file>', 'where the recipe goes (default: NAME.recipe.json beside the token file)')
    .option('--weights <list>', 'how often the documents of each dataset are taken, as 2,1,0.5 (default: once)')
    .option('--held-out <share>', 'share of the documents that is held out', '0.05')
    .option('--field <name>', 'field of JSON Lines, column of Parquet', 'text')
    .addOption(new Option('--format <format>', 'what files hold (default: by their endings)').choices([...FORMATS]))
    .addOption(new Option('--documents <rule>', 'how text files are cut').choices([...RULES]).default('section'))
    .option('--spec <file>', 'datasets as JSON, each with a source, weight, format, field and documents of its own')
    .option('--json', 'events instead of text')
    .action((files: string[], options: BuildCommand) => build(files, options));
  data
    .command('check')
    .description('compare a token file and the files it was made from with their manifest')
    .argument('<manifest>', 'NAME.manifest.json')
    .option('--recipe <name|file>', 'a recipe that must name these data')
    .option('--json', 'events instead of text')
    .action((file: string, options: { recipe?: string; json?: true }) => check(file, options));
}
