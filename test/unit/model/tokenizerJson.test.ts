/** Tokenizers from `tokenizer.json`: GPT-2's against its own encoder from another library, Gemma's kind by hand. */
import { mkdtemp, readdir, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { blake3 } from '@noble/hashes/blake3.js';
import fc from 'fast-check';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { PogoError } from '../../../src/errors.js';
import { equalBytes } from '../../../src/hex.js';
import { hfBuiltInTokenizer, hfTokenizerJson } from '../../../src/model/hfVocabulary.js';
import { keepTokenizer, openRecipeTokenizer, openTokenizerFile } from '../../../src/model/node/tokenizerFile.js';
import { loadRecipe, recipeFromJson, recipeToJson, validateRecipe } from '../../../src/model/recipe.js';
import { byteTokenizer, decodeText } from '../../../src/model/tokenizer.js';
import { gpt2Tokenizer } from '../../../src/model/tokenizerGpt2.js';
import { jsonTokenizer } from '../../../src/model/tokenizerJson.js';

const bytesOf = (json: unknown): Uint8Array => new TextEncoder().encode(JSON.stringify(json));
const gpt2Json = await hfTokenizerJson('gpt2');

/** BPE with byte fallback over `▁` for spaces, as Gemma has it. */
function gemmaLike(): Record<string, unknown> {
  const words = ['<pad>', '<eos>', '<bos>', '<unk>'];
  const bytes = Array.from({ length: 256 }, (_, b) => `<0x${b.toString(16).toUpperCase().padStart(2, '0')}>`);
  const letters = ['▁', 'a', 'b', 'c', '\n', 'ab', '▁ab', 'cc', '▁▁'];
  const vocab = Object.fromEntries([...words, ...bytes, ...letters].map((word, id) => [word, id]));
  const flags = { single_word: false, lstrip: false, rstrip: false, normalized: false, special: true };
  const special = words.map((content, id) => ({ id, content, ...flags }));
  return {
    version: '1.0',
    added_tokens: special,
    normalizer: { type: 'Replace', pattern: { String: ' ' }, content: '▁' },
    pre_tokenizer: { type: 'Split', pattern: { String: ' ' }, behavior: 'MergedWithPrevious', invert: false },
    post_processor: {
      type: 'TemplateProcessing',
      single: [{ SpecialToken: { id: '<bos>', type_id: 0 } }, { Sequence: { id: 'A', type_id: 0 } }],
      pair: [{ Sequence: { id: 'A', type_id: 0 } }, { Sequence: { id: 'B', type_id: 1 } }],
      special_tokens: { '<bos>': { id: '<bos>', ids: [2], tokens: ['<bos>'] } },
    },
    decoder: {
      type: 'Sequence',
      decoders: [
        { type: 'Replace', pattern: { String: '▁' }, content: ' ' },
        { type: 'ByteFallback' },
        { type: 'Fuse' },
      ],
    },
    model: {
      type: 'BPE',
      unk_token: '<unk>',
      fuse_unk: true,
      byte_fallback: true,
      vocab,
      merges: [
        ['a', 'b'],
        ['▁', 'ab'],
        ['c', 'c'],
        ['▁', '▁'],
      ],
    },
  };
}

describe('a tokenizer.json with GPT-2’s table', () => {
  const codec = jsonTokenizer(bytesOf(gpt2Json));

  it.each([
    'Call me Ishmael. Some years ago—never mind how long precisely',
    "it's  two   spaces,\n\tand a tab; we'll see: 1234567 € naïve 鯨 🐋",
    'aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa',
    '',
    ' ',
  ])('cuts %j as GPT-2 does, and puts it together again', (text) => {
    const tokens = codec.encode(text);
    expect(Array.from(tokens)).toEqual(Array.from(gpt2Tokenizer().encode(text)));
    expect(decodeText(codec, tokens)).toBe(text);
  });

  it('takes a special token’s spelling for the token, as transformers does', () => {
    expect(Array.from(codec.encode('a<|endoftext|>'))).toEqual([64, 50_256]);
    expect(codec.documentEnd).toBe(50_256);
    expect(decodeText(codec, [64, 50_256])).toBe('a');
  });

  it('is recognized as the built-in tokenizer, and so are the 256 bytes', async () => {
    expect(await hfBuiltInTokenizer(bytesOf(gpt2Json))).toBe('gpt2');
    const plain = await hfTokenizerJson('bytes');
    expect(await hfBuiltInTokenizer(bytesOf(plain))).toBe('bytes');
    const text = 'naïve 🐋\n';
    expect(Array.from(jsonTokenizer(bytesOf(plain)).encode(text))).toEqual(Array.from(byteTokenizer.encode(text)));
    const model = gpt2Json['model'] as object;
    for (const other of [
      { ...gpt2Json, pre_tokenizer: { type: 'ByteLevel', add_prefix_space: true } },
      { ...gpt2Json, normalizer: { type: 'NFC' } },
      { ...gpt2Json, added_tokens: [{ id: 50_257, content: '<new>' }] },
      { ...plain, model: { ...(plain['model'] as object), merges: [['a', 'b']] } },
      { model: { ...model, vocab: { a: 0 } } },
      gemmaLike(),
      null,
    ]) {
      expect(await hfBuiltInTokenizer(bytesOf(other))).toBeUndefined();
    }
  });
});

describe('a tokenizer.json of Gemma’s kind', () => {
  const file = bytesOf(gemmaLike());
  const codec = jsonTokenizer(file);
  const byte = (value: number): number => 4 + value;

  it('puts <bos> first, merges by rank, and falls back to bytes', () => {
    expect(Array.from(codec.encode('ab abc'))).toEqual([2, 265, 266, 263]);
    expect(Array.from(codec.encode('é'))).toEqual([2, byte(0xc3), byte(0xa9)]);
    expect(codec.entries).toBe(4 + 256 + 9);
    expect(codec.documentEnd).toBe(1);
    expect(equalBytes(codec.root, blake3(file))).toBe(true);
  });

  it('gives every text back', () => {
    const letter = fc.constantFrom('a', 'b', 'c', ' ', '\n', 'é', '🐋', 'ab', '\t', '.');
    fc.assert(
      fc.property(
        fc.array(letter, { maxLength: 30 }).map((letters) => letters.join('')),
        (text) => {
          const tokens = codec.encode(text);
          expect(tokens.every((token) => token < codec.entries)).toBe(true);
          expect(decodeText(codec, tokens)).toBe(text);
        },
      ),
      { numRuns: 200 },
    );
  });

  it('leaves out numbers beyond its table', () => {
    expect(decodeText(codec, [265, 1 << 20, 99_999])).toBe('ab');
    expect(codec.decodeBytes([])).toHaveLength(0);
  });
});

describe('what is no tokenizer', () => {
  it.each([
    ['no JSON', new TextEncoder().encode('{')],
    ['bytes that are no UTF-8', Uint8Array.of(0x7b, 0xff, 0x7d)],
    ['null', bytesOf(null)],
    ['no vocabulary', bytesOf({ model: { type: 'BPE' } })],
    [
      'an empty vocabulary',
      bytesOf({ ...gemmaLike(), added_tokens: [], model: { type: 'BPE', vocab: {}, merges: [] } }),
    ],
    ['an unknown model', bytesOf({ ...gemmaLike(), model: { type: 'Oracle', vocab: { a: 0 } } })],
    ['added tokens that are no list', bytesOf({ ...gemmaLike(), added_tokens: 3 })],
    ['a token numbered −1', bytesOf({ ...gemmaLike(), model: { type: 'BPE', vocab: { a: -1 }, merges: [] } })],
    ['a token numbered 2^30', bytesOf({ ...gemmaLike(), model: { type: 'BPE', vocab: { a: 2 ** 30 }, merges: [] } })],
  ])('%s is malformed', (_, file) => {
    expect(() => jsonTokenizer(file, 'file.json')).toThrow(PogoError);
    try {
      jsonTokenizer(file, 'file.json');
    } catch (error) {
      expect(PogoError.from(error)).toMatchObject({ code: 'MALFORMED', message: expect.stringContaining('file.json') });
    }
  });

  it('any change of a file is refused as malformed, or cuts texts into tokens of the table', () => {
    const text = new TextDecoder().decode(bytesOf(gemmaLike()));
    const edit = fc.tuple(fc.nat(text.length - 1), fc.constantFrom('', '0', '"', '{', 'null', 'x', '[', '9e9', '-'));
    fc.assert(
      fc.property(fc.array(edit, { minLength: 1, maxLength: 3 }), (edits) => {
        let changed = text;
        for (const [at, with_] of edits) changed = changed.slice(0, at) + with_ + changed.slice(at + 1);
        try {
          const codec = jsonTokenizer(new TextEncoder().encode(changed));
          const tokens = codec.encode('ab é');
          expect(tokens.every((token) => token < codec.entries)).toBe(true);
        } catch (error) {
          expect(['MALFORMED', 'DATA']).toContain(PogoError.from(error).code);
        }
      }),
      { numRuns: Number(process.env['POGO_FUZZ_RUNS'] ?? 300) },
    );
  });
});

describe('a recipe with a tokenizer of its own', () => {
  let folder: string;
  beforeAll(async () => {
    folder = await mkdtemp(join(tmpdir(), 'pogo-tokenizer-'));
  });
  afterAll(async () => {
    await rm(folder, { recursive: true });
  });

  const tiny = loadRecipe('tiny');
  const root = blake3(bytesOf(gemmaLike()));
  const recipe = validateRecipe({
    ...tiny,
    name: 'own',
    vocab: 300,
    tokenizer: 'json',
    data: { ...tiny.data, tokenizerRoot: root },
  });

  it('finds the kept file by its root, and takes no other', async () => {
    await expect(openRecipeTokenizer(recipe, folder)).rejects.toMatchObject({ code: 'DATA' });
    const path = join(folder, 'tokenizer.json');
    await writeFile(path, bytesOf(gemmaLike()));
    const found = await openTokenizerFile(path);
    await keepTokenizer(folder, found!);
    const opened = await openRecipeTokenizer(recipe, folder);
    expect(Array.from(opened.encode('ab'))).toEqual([2, 265]);
    await expect(openRecipeTokenizer(validateRecipe({ ...recipe, vocab: 268 }), folder)).rejects.toMatchObject({
      code: 'MISMATCH',
    });
    const kept = (await readdir(folder)).find((name) => name.endsWith('.tokenizer.json'))!;
    await writeFile(join(folder, kept), bytesOf({ ...gemmaLike(), version: '1.1' }));
    await expect(openRecipeTokenizer(recipe, folder)).rejects.toMatchObject({ code: 'DATA' });
  });

  it('survives its JSON view', () => {
    expect(recipeFromJson(JSON.parse(JSON.stringify(recipeToJson(recipe)))).tokenizer).toBe('json');
  });
});
