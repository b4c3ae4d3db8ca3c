/**
 * Files of other programs, changed: each is read, or refused by a PogoError of the user's data, and no reader holds
 * memory that the file does not pay for. Trees of JSON are changed as trees, since changed bytes mostly end in the parser.
 *
 * POGO_FUZZ_RUNS=20000 npx vitest run test/property/importers.test.ts   (docs/fuzzing.md has results)
 */
import { mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { gzipSync } from 'node:zlib';
import fc from 'fast-check';
import { afterAll, describe, expect, it } from 'vitest';
import { PogoError } from '../../src/errors.js';
import { describeHfConfig, hfConfig } from '../../src/model/hf.js';
import { hfBuiltInTokenizer, hfTokenizerJson } from '../../src/model/hfVocabulary.js';
import { readConfigFile } from '../../src/model/node/configFile.js';
import { guardedTokenizer } from '../../src/model/node/guardedTokenizer.js';
import { TensorFiles } from '../../src/model/node/tensorFiles.js';
import { describePeftConfig, peftConfig } from '../../src/model/peft.js';
import { loadRecipe } from '../../src/model/recipe.js';
import { readDocuments } from '../../src/node/data/readDocuments.js';
import { temporaryFolder } from '../support/bundles.js';
import { gpt2Tensors, writeSharded, writeTensors } from '../support/hfTensors.js';
import { type Mutation, mutate, mutations } from '../support/mutations.js';
import { SMALL_LORA } from '../support/optionRecipes.js';
import { mutateTree, type TreeMutation, treeMutations } from '../support/treeMutations.js';

const RUNS = Number(process.env['POGO_FUZZ_RUNS'] ?? 1000);
/** What a reader may hold beside the file. */
const SLACK_BYTES = 2 ** 25;
/** What a user's file can be blamed for. */
const BLAME = ['MALFORMED', 'MISMATCH', 'SHAPE', 'DATA', 'MISSING', 'CORRUPT'];

const folder = temporaryFolder();
afterAll(() => folder.remove());

async function attempt(read: () => unknown): Promise<void> {
  const before = process.memoryUsage().arrayBuffers;
  try {
    await read();
  } catch (error) {
    if (!(error instanceof PogoError)) throw error;
    expect(BLAME, error.message).toContain(error.code);
  } finally {
    expect(process.memoryUsage().arrayBuffers - before).toBeLessThan(SLACK_BYTES);
  }
}

const bytesOf = (json: unknown): Uint8Array => new TextEncoder().encode(JSON.stringify(json));

interface Change {
  readonly isTree: boolean;
  readonly tree: TreeMutation[];
  readonly bytes: Mutation[];
}
const change: fc.Arbitrary<Change> = fc.record({ isTree: fc.boolean(), tree: treeMutations, bytes: mutations });
const changedJson = (json: unknown, { isTree, tree, bytes }: Change): Uint8Array =>
  isTree ? bytesOf(mutateTree(json, tree)) : mutate(bytesOf(json), bytes);

/** Runs `read` on the seeds unchanged, which it must accept, and on changed ones. */
async function law<T>(
  seeds: readonly T[],
  read: (seed: T, change: Change | undefined) => unknown,
  runs = RUNS,
): Promise<void> {
  for (const seed of seeds) await read(seed, undefined);
  const property = fc.asyncProperty(fc.constantFrom(...seeds), change, (seed, changes) =>
    attempt(() => read(seed, changes)),
  );
  await fc.assert(property, { numRuns: runs });
}

const LETTERS = ['<unk>', '[UNK]', '<s>', '▁', 'a', 'b', 'c', 'ab', '▁ab', '##b', '##c', 'é', '!', 'Ġ', 'Ġa'];
const VOCAB = Object.fromEntries(LETTERS.map((letter, id) => [letter, id]));
const flags = { single_word: false, lstrip: false, rstrip: true, normalized: false };
const replace = (Regex: string, content: string) => ({ type: 'Replace', pattern: { Regex }, content });

/** Tokenizers of four kinds, which together have most steps. */
const TOKENIZERS: readonly Readonly<Record<string, unknown>>[] = [
  {
    ...(await hfTokenizerJson('bytes')),
    added_tokens: [{ id: 256, content: '<s>', special: true, ...flags }],
    pre_tokenizer: {
      type: 'Sequence',
      pretokenizers: [
        { type: 'Split', pattern: { Regex: "'s| ?\\p{L}+|\\s+(?!\\S)" }, behavior: 'Isolated', invert: false },
        { type: 'Digits', individual_digits: true },
        { type: 'ByteLevel', add_prefix_space: true, use_regex: false },
      ],
    },
  },
  {
    added_tokens: [{ id: 2, content: '<s>', special: true, ...flags, normalized: true }],
    normalizer: {
      type: 'Sequence',
      normalizers: [{ type: 'Prepend', prepend: '▁' }, replace(' ', '▁'), { type: 'NFC' }],
    },
    pre_tokenizer: null,
    post_processor: {
      type: 'TemplateProcessing',
      single: [{ SpecialToken: { id: '<s>', type_id: 0 } }, { Sequence: { id: 'A', type_id: 0 } }],
      pair: [],
      special_tokens: { '<s>': { id: '<s>', ids: [2], tokens: ['<s>'] } },
    },
    decoder: {
      type: 'Sequence',
      decoders: [
        replace('▁', ' '),
        { type: 'ByteFallback' },
        { type: 'Fuse' },
        { type: 'Strip', content: ' ', start: 1, stop: 0 },
      ],
    },
    model: {
      type: 'BPE',
      vocab: VOCAB,
      merges: [
        ['a', 'b'],
        ['▁', 'ab'],
      ],
      unk_token: '<unk>',
      byte_fallback: true,
      fuse_unk: true,
    },
  },
  {
    added_tokens: [],
    normalizer: {
      type: 'Sequence',
      normalizers: [
        { type: 'Precompiled', precompiled_charsmap: 'AAAA' },
        replace(' {2,}', ' '),
        { type: 'NFKD' },
        { type: 'StripAccents' },
      ],
    },
    pre_tokenizer: { type: 'Metaspace', replacement: '▁', prepend_scheme: 'always', split: true },
    post_processor: {
      type: 'RobertaProcessing',
      sep: ['<s>', 2],
      cls: ['<s>', 2],
      trim_offsets: true,
      add_prefix_space: false,
    },
    decoder: { type: 'Metaspace', replacement: '▁', prepend_scheme: 'always', split: true },
    model: { type: 'Unigram', unk_id: 0, vocab: LETTERS.map((letter, id) => [letter, -id]) },
  },
  {
    added_tokens: [{ id: 1, content: '[UNK]', special: true, ...flags }],
    normalizer: {
      type: 'BertNormalizer',
      clean_text: true,
      handle_chinese_chars: true,
      strip_accents: null,
      lowercase: true,
    },
    pre_tokenizer: {
      type: 'Sequence',
      pretokenizers: [
        { type: 'BertPreTokenizer' },
        { type: 'Punctuation', behavior: 'Isolated' },
        { type: 'WhitespaceSplit' },
      ],
    },
    post_processor: { type: 'BertProcessing', sep: ['<s>', 2], cls: ['<s>', 2] },
    decoder: { type: 'WordPiece', prefix: '##', cleanup: true },
    model: {
      type: 'WordPiece',
      vocab: VOCAB,
      unk_token: '[UNK]',
      continuing_subword_prefix: '##',
      max_input_chars_per_word: 100,
    },
  },
];

it('tokenizer.json: texts become tokens of its table and text again, or the file is refused', async () => {
  await law(TOKENIZERS, async (seed, changes) => {
    const file = changes === undefined ? bytesOf(seed) : changedJson(seed, changes);
    await hfBuiltInTokenizer(file);
    const tokenizer = guardedTokenizer(file, 'tokenizer.json', { startMs: 20_000, unitsPerSecond: 1 << 16 });
    for (const text of ['', 'ab abc  é!', 'a<s>\n12 鯨🐋 Ab']) {
      const tokens = tokenizer.encode(text);
      expect(tokens.every((token) => token < tokenizer.entries)).toBe(true);
      tokenizer.decodeBytes(tokens);
    }
    tokenizer.decodeBytes([0, 1, 2, 3, 2 ** 20]);
  });
});

describe('models', () => {
  const tensors = gpt2Tensors('transformer.').slice(2, 6);
  const parts = tensors.map(({ name, shape }) => ({ name, shape, transposed: false, offset: 0 }));
  const sink = { write: (_: number, values: Float32Array) => expect(values.length).toBeLessThanOrEqual(1 << 20) };
  const readAll = async (path: string): Promise<void> => {
    const files = await TensorFiles.open(path);
    try {
      await files.read(parts, sink);
      files.expectNoOthers();
    } finally {
      await files.close();
    }
  };

  it('safetensors: tensors are read, or the file is refused', async () => {
    const path = join(folder.path, 'model.safetensors');
    await writeTensors(path, tensors, { format: 'pt' });
    const whole = readFileSync(path);
    const length = Number(whole.readBigUInt64LE(0));
    const header: unknown = JSON.parse(whole.toString('utf8', 8, 8 + length));
    await law([header], async (seed, changes) => {
      const json = changes === undefined ? bytesOf(seed) : changedJson(seed, changes);
      const head = Buffer.alloc(8);
      head.writeBigUInt64LE(BigInt(json.length));
      const file = Buffer.concat([head, json, whole.subarray(8 + length)]);
      // Changes beyond the header's text: its length, the tensors, the file's end.
      const everywhere = changes?.isTree === false && changes.bytes.length % 2 === 0 ? changes.bytes : [];
      writeFileSync(path, mutate(file, everywhere));
      await readAll(path);
    });
  });

  it('an index: tensors are read from the files beside it, or it is refused', async () => {
    const place = join(folder.path, 'sharded');
    mkdirSync(place);
    await writeSharded(place, tensors, 2);
    const path = join(place, 'model.safetensors.index.json');
    await law([JSON.parse(readFileSync(path, 'utf8')) as unknown], async (seed, changes) => {
      writeFileSync(path, changes === undefined ? bytesOf(seed) : changedJson(seed, changes));
      await readAll(place);
    });
  });

  it('configs of models and of adapters: a model is described, or the file is refused', async () => {
    const path = join(folder.path, 'config.json');
    const adapter = SMALL_LORA.adapter as NonNullable<typeof SMALL_LORA.adapter>;
    const describePeft = (json: unknown): unknown => describePeftConfig(json);
    const describeHf = (json: unknown): unknown => describeHfConfig(json);
    const seeds = [
      { json: hfConfig(loadRecipe('gpt2-124m')), describe: describeHf },
      { json: hfConfig(loadRecipe('gemma3-1b')), describe: describeHf },
      { json: peftConfig({ ...SMALL_LORA, norm: 'layer' }, adapter, null), describe: describePeft },
    ];
    await law(seeds, async ({ json, describe }, changes) => {
      writeFileSync(path, changes === undefined ? bytesOf(json) : changedJson(json, changes));
      describe(await readConfigFile(path, 'mend it'));
    });
  });
});

it('texts and lines of JSON, compressed or not: whole documents, or the file is refused', async () => {
  const lines = Array.from(
    { length: 6 },
    (_, n) => `${JSON.stringify({ text: `The ${n}th whale\u2028 é`, n })}\n`,
  ).join('');
  const seeds = (['text', 'jsonl'] as const).flatMap((format) =>
    [false, true].map((isPacked) => ({ format, isPacked })),
  );
  await law(seeds, async ({ format, isPacked }, changes) => {
    const plain = Buffer.from(lines);
    const isInside = isPacked && changes !== undefined && !changes.isTree;
    const packed = isPacked ? gzipSync(isInside ? mutate(plain, changes.bytes) : plain) : plain;
    const bytes = changes === undefined || isInside ? packed : mutate(packed, changes.bytes);
    const path = join(folder.path, isPacked ? 'data.gz' : 'data');
    writeFileSync(path, bytes);
    for await (const { text } of readDocuments(
      { path, format, gzip: isPacked },
      {
        documents: 'line',
        field: 'text',
      },
    )) {
      expect(Buffer.from(text, 'utf8').toString('utf8')).toBe(text);
    }
  });
});
