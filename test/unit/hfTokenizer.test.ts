/** Byte-level BPE from a `tokenizer.json`, against GPT-2's own encoder from another library. */
import ranks from 'gpt-tokenizer/bpeRanks/r50k_base';
import { describe, expect, it } from 'vitest';
import { PogoError } from '../../src/errors.js';
import { gpt2Tokenizer } from '../../src/model/tokenizerGpt2.js';
import { openHfTokenizer } from '../../src/node/hfTokenizer.js';

/** How byte-level BPE files spell bytes: printable ones as themselves, the others from U+0100 on. */
const SPELLED: string[] = [];
for (let byte = 0, next = 0x100; byte < 256; byte += 1) {
  const itself = (byte >= 0x21 && byte <= 0x7e) || (byte >= 0xa1 && byte <= 0xac) || byte >= 0xae;
  SPELLED[byte] = String.fromCodePoint(itself ? byte : next++);
}

const entries = ranks.map((entry) => (typeof entry === 'string' ? Buffer.from(entry) : Buffer.from(entry)));
const spell = (bytes: Uint8Array): string => Array.from(bytes, (byte) => SPELLED[byte]).join('');

/** GPT-2's `tokenizer.json`: a token's merge is the pair that merging by the ranks below its own leaves over. */
function gpt2Json(): Record<string, unknown> {
  const rankOf = new Map(entries.map((bytes, rank) => [bytes.toString('latin1'), rank]));
  const merges: string[] = [];
  entries.forEach((bytes, rank) => {
    let parts = Array.from(bytes.toString('latin1'));
    while (parts.length > 2) {
      let best = { at: -1, rank };
      for (let i = 0; i + 1 < parts.length; i += 1) {
        const found = rankOf.get(parts[i]! + parts[i + 1]!) ?? Number.POSITIVE_INFINITY;
        if (found < best.rank) best = { at: i, rank: found };
      }
      parts = [...parts.slice(0, best.at), parts[best.at]! + parts[best.at + 1]!, ...parts.slice(best.at + 2)];
    }
    if (parts.length === 2) merges.push(parts.map((part) => spell(Buffer.from(part, 'latin1'))).join(' '));
  });
  return {
    normalizer: null,
    pre_tokenizer: { type: 'ByteLevel', add_prefix_space: false },
    model: { type: 'BPE', vocab: Object.fromEntries(entries.map((bytes, token) => [spell(bytes), token])), merges },
  };
}

const json = gpt2Json();

describe('a tokenizer from tokenizer.json', () => {
  const codec = openHfTokenizer(json);

  it.each([
    'Call me Ishmael. Some years ago—never mind how long precisely',
    "it's  two   spaces,\n\tand a tab; we'll see: 1234567 € naïve 鯨 🐋",
    'aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa',
    '',
    ' ',
  ])('cuts %j as GPT-2 does, and puts it together again', (text) => {
    const tokens = codec.encode(text);
    expect(Array.from(tokens)).toEqual(Array.from(gpt2Tokenizer().encode(text)));
    expect(Buffer.from(codec.decodeBytes(tokens)).toString('utf8')).toBe(text);
  });

  it('takes merges as pairs, too', () => {
    const model = json['model'] as { merges: string[] };
    const pairs = { ...json, model: { ...model, merges: model.merges.map((merge) => merge.split(' ')) } };
    expect(Array.from(openHfTokenizer(pairs).encode('The whale'))).toEqual(Array.from(codec.encode('The whale')));
  });

  it('refuses what it cannot follow', () => {
    const model = json['model'] as object;
    const bad: readonly (readonly [string, unknown])[] = [
      ['MISMATCH', { ...json, pre_tokenizer: { type: 'Whitespace' } }],
      ['MISMATCH', { ...json, normalizer: { type: 'Lowercase' } }],
      ['MALFORMED', { ...json, model: { ...model, merges: ['nonsense'] } }],
      ['MALFORMED', { ...json, model: { ...model, merges: undefined } }],
      ['MALFORMED', { ...json, model: { ...model, merges: ['a unknown-part'] } }],
      ['MALFORMED', null],
    ];
    for (const [code, value] of bad) {
      try {
        openHfTokenizer(value);
        expect.unreachable(`expected ${code}`);
      } catch (error) {
        expect(PogoError.from(error).code).toBe(code);
      }
    }
  });
});
