/**
 * Models and data that are not what they seem, through the command line with real files: the error names the thing and what
 * to do, the exit code is the contract's, and nothing is left of what failed.
 */
import { mkdirSync, readdirSync, readFileSync, rmSync, statSync, truncateSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { parquetWriteBuffer } from 'hyparquet-writer';
import { afterAll, describe, expect, it } from 'vitest';
import { ERROR_CODES, type ErrorCode } from '../../src/errors.js';
import { hfTokenizerJson } from '../../src/model/hfVocabulary.js';
import { temporaryFolder } from '../support/bundles.js';
import { type FileTensor, gpt2Tensors, writeSharded, writeTensors } from '../support/hfTensors.js';
import { pogo } from '../support/pogo.js';

const root = temporaryFolder();
afterAll(() => root.remove());

const CONFIG = { model_type: 'gpt2', n_embd: 64, n_layer: 1, n_head: 1, n_positions: 64, vocab_size: 256 };
const TENSORS = gpt2Tensors('transformer.', 'F32', 256).map((tensor) => ({
  ...tensor,
  values: tensor.values.map((value) => value / 1024),
}));
const HEAD: FileTensor = { ...(TENSORS[0] as FileTensor), name: 'lm_head.weight' };

/** The model with one tensor changed, or left out. */
function changed(name: string, edit: (tensor: FileTensor) => Partial<FileTensor> | undefined): FileTensor[] {
  return TENSORS.flatMap((tensor) => {
    if (!tensor.name.endsWith(name)) return [tensor];
    const edited = edit(tensor);
    return edited === undefined ? [] : [{ ...tensor, ...edited }];
  });
}

interface Model {
  readonly tensors?: readonly FileTensor[];
  readonly config?: object | string;
  /** Files of the model. */
  readonly shards?: number;
  /** Further files of its folder. */
  readonly more?: Readonly<Record<string, unknown>>;
  readonly spoil?: (folder: string) => void;
}

/** Writes a model and gives the arguments that import it. */
function model(description: Model, ...more: string[]): (place: string) => Promise<string[]> {
  return async (place) => {
    const { tensors = TENSORS, config = CONFIG, shards = 1, more: files = {}, spoil } = description;
    const folder = join(place, 'model');
    mkdirSync(folder);
    if (shards > 1) await writeSharded(folder, tensors, shards);
    else await writeTensors(join(folder, 'model.safetensors'), tensors, { format: 'pt' });
    for (const [name, content] of Object.entries({ 'config.json': config, ...files })) {
      writeFileSync(join(folder, name), typeof content === 'string' ? content : JSON.stringify(content));
    }
    spoil?.(folder);
    return ['import', '--checkpoint', folder, '--state', join(place, 'out', 'state'), ...more];
  };
}

const remove =
  (...names: string[]) =>
  (folder: string): void => {
    for (const name of names) rmSync(join(folder, name));
  };

/** Adapters on the MLP of that model's shape, and the arguments that import them. */
function adapters(config: object, names: readonly [string, number[]][]): (place: string) => Promise<string[]> {
  return async (place) => {
    const folder = join(place, 'adapters');
    mkdirSync(folder);
    const tensors = names.map(([name, shape]): FileTensor => {
      const values = Array<number>(shape.reduce((size, axis) => size * axis, 1)).fill(0.5);
      return { name: `base_model.model.${name}.weight`, shape, values };
    });
    await writeTensors(join(folder, 'adapter_model.safetensors'), tensors, { format: 'pt' });
    const whole = { peft_type: 'LORA', r: 4, lora_alpha: 8, target_modules: ['c_fc'], ...config };
    writeFileSync(join(folder, 'adapter_config.json'), JSON.stringify(whole));
    const recipe = ['--recipe', 'gpt2-124m', '--base', join(place, 'none')];
    return ['import', '--checkpoint', folder, '--state', join(place, 'state'), ...recipe];
  };
}

/** A source of data with its arguments. */
function data(name: string, content: string | Uint8Array, ...more: string[]): (place: string) => Promise<string[]> {
  return async (place) => {
    const file = join(place, name);
    writeFileSync(file, content);
    return ['data', 'build', file, '-o', join(place, 'out'), '--recipe', 'tiny', ...more];
  };
}

/** A byte-level tokenizer with one merge: 257 tokens. */
async function merging(): Promise<Record<string, unknown>> {
  const plain = await hfTokenizerJson('bytes');
  const table = plain['model'] as { readonly vocab: Record<string, number> };
  return { ...plain, model: { ...table, vocab: { ...table.vocab, th: 256 }, merges: [['t', 'h']] } };
}
const MERGING = await merging();

const columns = [
  { name: 'id', data: [1, 2], type: 'INT32' as const },
  { name: 'body', data: ['a whale', 'a ship'], type: 'STRING' as const },
];
const PARQUET = new Uint8Array(parquetWriteBuffer({ columnData: columns }));
const line = (text: string): string => JSON.stringify({ text });
const BOTH = /take both from one, or download the files again$/;

interface Case {
  readonly name: string;
  readonly make: (place: string) => Promise<string[]>;
  readonly code: ErrorCode;
  /** What the message calls the thing: file, and the part of it. */
  readonly names: readonly (string | RegExp)[];
  readonly fix: RegExp;
}

const cases: readonly Case[] = [
  {
    name: 'an unknown architecture',
    make: model({ config: { ...CONFIG, model_type: 'llama' } }),
    code: 'MISMATCH',
    names: ['model/config.json', 'field model_type: expected "gpt2" or "gemma3_text" or "gemma3", found "llama"'],
    fix: /take such a model$/,
  },
  {
    name: 'an activation that computes something else',
    make: model({ config: { ...CONFIG, activation_function: 'relu' } }),
    code: 'MISMATCH',
    names: ['model/config.json', 'activation_function', 'found "relu"'],
    fix: /take such a model$/,
  },
  {
    name: 'a size that is no number',
    make: model({ config: { ...CONFIG, n_layer: 'many' } }),
    code: 'MISMATCH',
    names: ['model/config.json', 'n_layer: expected a positive integer, found "many"'],
    fix: /download the file again$/,
  },
  {
    name: 'a width that is no multiple of 64',
    make: model({ config: { ...CONFIG, n_embd: 96 } }),
    code: 'RECIPE',
    names: ['width', '96'],
    fix: /64|128/,
  },
  {
    name: 'no config.json',
    make: model({ spoil: remove('config.json') }),
    code: 'MISSING',
    names: ['config.json beside', 'model/model.safetensors'],
    fix: /copy it from the model's page, or name the shape with --recipe$/,
  },
  {
    name: 'a config.json that is no JSON',
    make: model({ config: '{"model_type": "gpt2",}' }),
    code: 'MALFORMED',
    names: ['model/config.json', 'position 22'],
    fix: /download it again$/,
  },
  {
    name: 'a missing tensor',
    make: model({ tensors: changed('mlp.c_fc.bias', () => undefined) }),
    code: 'SHAPE',
    names: ['model/model.safetensors', 'tensor transformer.h.0.mlp.c_fc.bias [256], found no tensor'],
    fix: BOTH,
  },
  {
    name: 'a missing table',
    make: model({ tensors: TENSORS.slice(1) }),
    code: 'SHAPE',
    names: ['tensor transformer.wte.weight [256, 64], found no tensor'],
    fix: BOTH,
  },
  {
    name: 'an extra tensor',
    make: model({ tensors: [...TENSORS, { name: 'transformer.h.1.ln_1.bias', shape: [1], values: [0] }] }),
    code: 'SHAPE',
    names: ['model/model.safetensors', 'found "transformer.h.1.ln_1.bias" as well'],
    fix: BOTH,
  },
  {
    name: 'a wrong dtype',
    make: model({ tensors: changed('ln_f.bias', () => ({ dtype: 'I32' })) }),
    code: 'SHAPE',
    names: ['tensor transformer.ln_f.bias [64] of F32, F16, BF16, found I32'],
    fix: /save the model as float32 \(in PyTorch: model\.float\(\)\)$/,
  },
  {
    name: 'a wrong shape',
    make: model({ tensors: changed('mlp.c_fc.weight', () => ({ shape: [256, 64] })) }),
    code: 'SHAPE',
    names: ['tensor transformer.h.0.mlp.c_fc.weight [64, 256], found [256, 64]'],
    fix: BOTH,
  },
  {
    name: 'a number that is none',
    make: model({ tensors: changed('ln_f.bias', ({ values }) => ({ values: values.map(() => Number.NaN) })) }),
    code: 'MALFORMED',
    names: ['finite numbers in transformer.ln_f.bias, found NaN at 0'],
    fix: /take a checkpoint from before/,
  },
  {
    name: 'a head that is not the table, under a config that ties them',
    make: model({ tensors: [...TENSORS, { ...HEAD, values: HEAD.values.map((value) => value + 1) }] }),
    code: 'SHAPE',
    names: ['lm_head.weight to equal transformer.wte.weight'],
    fix: /tie the head first, as transformers does with tie_word_embeddings, and train that model on$/,
  },
  {
    name: 'an untied config without a head',
    make: model({ config: { ...CONFIG, tie_word_embeddings: false } }),
    code: 'SHAPE',
    names: ['tensor lm_head.weight (config.json says that the head is not tied), found none'],
    fix: /set tie_word_embeddings to true if the model was trained so$/,
  },
  {
    name: 'a tokenizer with more tokens than the model has rows',
    make: model({ more: { 'tokenizer.json': MERGING } }),
    code: 'MISMATCH',
    names: ['at most 256 tokens', 'found one of 257 in', 'model/tokenizer.json'],
    fix: /take the tokenizer that belongs to the model$/,
  },
  {
    name: 'another tokenizer than that of the recipe',
    make: model(
      { tensors: gpt2Tensors('transformer.', 'F32', 50_257), more: { 'tokenizer.json': MERGING } },
      '--recipe',
      'gpt2-124m',
    ),
    code: 'MISMATCH',
    names: ['the tokenizer of recipe gpt2-124m (gpt2, root', 'found json with root', 'model/tokenizer.json'],
    fix: /take the recipe's tokenizer, or another recipe$/,
  },
  {
    name: 'no tokenizer for words',
    make: model({ config: { ...CONFIG, vocab_size: 300 } }),
    code: 'MISSING',
    names: ['model/tokenizer.json', 'a vocabulary of 300'],
    fix: /copy it from the model's page, or name a recipe with --recipe$/,
  },
  {
    name: 'a tokenizer of another kind',
    make: model({ more: { 'tokenizer.json': { model: { type: 'Unigram', vocab: [] } } } }),
    code: 'MALFORMED',
    names: ['model/tokenizer.json'],
    fix: /take tokenizer\.json from the page of the model$/,
  },
  {
    name: 'a shard missing beside its index',
    make: model({ shards: 3, spoil: remove('model-2-of-3.safetensors') }),
    code: 'MISSING',
    names: ['model/model.safetensors.index.json', 'its file model-2-of-3.safetensors beside it'],
    fix: /download that file again$/,
  },
  {
    name: 'shards without their index',
    make: model({ shards: 3, spoil: remove('model.safetensors.index.json') }),
    code: 'MISSING',
    names: ['found model-1-of-3.safetensors without an index'],
    fix: /download model\.safetensors\.index\.json as well$/,
  },
  {
    name: 'one shard in place of all',
    make: async (place) => {
      const args = await model({ shards: 3 })(place);
      return args.map((word) => (word.endsWith('model') ? join(word, 'model-1-of-3.safetensors') : word));
    },
    code: 'SHAPE',
    names: ['model-1-of-3.safetensors: expected tensor transformer.wpe.weight'],
    fix: /name their folder, or their index$/,
  },
  {
    name: 'a shard that was cut',
    make: model({ shards: 3, spoil: (folder) => truncateSync(join(folder, 'model-2-of-3.safetensors'), 5000) }),
    code: 'MALFORMED',
    names: [/model-2-of-3\.safetensors: expected a file of \d+ bytes, as its header says, found 5000/],
    fix: /download or export it again$/,
  },
  {
    name: 'an index that names what no shard has',
    make: model({
      shards: 3,
      spoil: (folder) => {
        const file = join(folder, 'model.safetensors.index.json');
        writeFileSync(file, readFileSync(file, 'utf8').replace('"transformer.wte', '"transformer.xte'));
      },
    }),
    code: 'MALFORMED',
    names: ['model.safetensors.index.json', 'transformer.xte.weight in model-1-of-3.safetensors, found no such tensor'],
    fix: /download the files again$/,
  },
  {
    name: 'adapters of another kind',
    make: adapters({ peft_type: 'IA3' }, []),
    code: 'MISMATCH',
    names: ['adapters/adapter_config.json', 'peft_type: expected "LORA", found "IA3"'],
    fix: /take such a model$/,
  },
  {
    name: 'adapters without one of their layers',
    make: adapters({}, [
      ['transformer.h.0.mlp.c_fc.lora_A', [4, 768]],
      ['transformer.h.0.mlp.c_fc.lora_B', [3072, 4]],
    ]),
    code: 'SHAPE',
    names: ['adapter_model.safetensors', 'transformer.h.1.mlp.c_fc.lora_A.weight [4, 768], found none'],
    fix: /every layer has the same adapters, each with A and B$/,
  },
  {
    name: 'adapters of another rank than their config says',
    make: adapters({ r: 8 }, [['transformer.h.0.mlp.c_fc.lora_A', [4, 768]]]),
    code: 'SHAPE',
    names: ['c_fc.lora_A.weight [8, 768], found [4, 768]', 'the rank is 8 in adapter_config.json'],
    fix: /take both files from one training$/,
  },
  {
    name: 'Parquet without the column',
    make: data('rows.parquet', PARQUET),
    code: 'DATA',
    names: ['column "text" of text in', 'rows.parquet, found the columns id (INT32), body (UTF8)'],
    fix: /name .*--field$/,
  },
  {
    name: 'Parquet with a column of numbers',
    make: data('rows.parquet', PARQUET, '--field', 'id'),
    code: 'DATA',
    names: ['column "id" of text in', 'rows.parquet'],
    fix: /name .*--field$/,
  },
  {
    name: 'a file that only ends in .parquet',
    make: data('rows.parquet', 'PAR1 is not enough'),
    code: 'DATA',
    names: ['a Parquet file at', 'rows.parquet'],
    fix: /fetch it again$/,
  },
  {
    name: 'JSON Lines with a broken line',
    make: data('lines.jsonl', `${line('a whale')}\n${line('a ship')}\n{"text": "a\n${line('a sea')}\n`),
    code: 'DATA',
    names: ['JSON in', 'lines.jsonl, line 3'],
    fix: /mend the line$/,
  },
  {
    name: 'JSON Lines without the field',
    make: data('lines.jsonl', `${line('a whale')}\n{"body":"a ship"}\n`),
    code: 'DATA',
    names: ['field "text" of', 'lines.jsonl, line 2, found the fields body'],
    fix: /name the field with --field$/,
  },
  {
    name: 'an empty held-out part',
    make: data('one.txt', 'The whale swims. '.repeat(300), '--held-out', '0.01'),
    code: 'DATA',
    names: ['at least 65 tokens in the held-out part for recipe tiny (context 64)', 'found 0 in 0 documents'],
    fix: /give more text, another --held-out, smaller documents with --documents, or a recipe with a shorter context$/,
  },
  {
    name: 'an empty training part',
    make: async (place) => {
      writeFileSync(join(place, 'tokenizer.json'), JSON.stringify(MERGING));
      return await data('short.txt', 'one whale\n', '--tokenizer', join(place, 'tokenizer.json'))(place);
    },
    code: 'DATA',
    names: ['in the training part', 'found 10 in 1 documents'],
    fix: /give more text, another --held-out/,
  },
  {
    name: 'a tokenizer that the start was not trained with',
    make: async (place) => {
      writeFileSync(join(place, 'tokenizer.json'), JSON.stringify(MERGING));
      const more = ['--recipe', 'sotu-finetune', '--tokenizer', join(place, 'tokenizer.json')];
      return await data('a.txt', 'the whale', ...more)(place);
    },
    code: 'MISMATCH',
    names: [
      'the tokenizer of recipe sotu-finetune (bytes, root',
      'whose start was trained with it, found json with root',
    ],
    fix: /leave --tokenizer out$/,
  },
  {
    name: 'text in another encoding',
    make: data('latin.txt', Buffer.from('caf\xe9 ', 'latin1')),
    code: 'DATA',
    names: ['latin.txt', 'Latin-1'],
    fix: /iconv/,
  },
  {
    name: 'a file without text',
    make: data('empty.txt', ''),
    code: 'DATA',
    names: ['text in', 'empty.txt, found an empty file'],
    fix: /give a file with text$/,
  },
  {
    name: 'a file that is not there',
    make: async (place) => ['data', 'build', join(place, 'nothing.txt'), '-o', join(place, 'out')],
    code: 'IO',
    names: ['nothing.txt'],
    fix: /check the path$/,
  },
];

/** Every name below a folder, with size and time of what is a file. */
function contents(folder: string): string[] {
  return readdirSync(folder, { recursive: true, encoding: 'utf8' })
    .sort()
    .map((name) => {
      const status = statSync(join(folder, name));
      return status.isFile() ? `${name} ${status.size} ${status.mtimeMs} ${status.ino}` : name;
    });
}

describe('what is refused', () => {
  it.concurrent.each(cases)('$name', async ({ name, make, code, names, fix }) => {
    const place = join(root.path, name);
    mkdirSync(place);
    const args = await make(place);
    const before = contents(place);
    const { code: exit, stdout, stderr } = await pogo(args, { POGO_HOME: join(place, 'home') });
    expect(stderr).toMatch(new RegExp(`^error ${code}: [^\n]*expected [^\n]*found[ :][^\n]*\n$|^error IO: [^\n]*\n$`));
    for (const part of names) expect(stderr).toMatch(part);
    expect(stderr.trimEnd()).toMatch(fix);
    expect([exit, stdout]).toEqual([ERROR_CODES[code], '']);
    expect(contents(place)).toEqual(before);
  });
});
