import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { equalBytes } from '../../../src/hex.js';
import { hfTokenizerEntries, hfTokenizerRoot } from '../../../src/model/hfVocabulary.js';
import { readMobyDick } from '../../../src/model/node/dataset.js';
import { decodeText, GPT2_PATTERN, openTokenizer } from '../../../src/model/tokenizer.js';

const bytes = await openTokenizer('bytes');
const gpt2 = await openTokenizer('gpt2');

describe.each([bytes, gpt2])('tokenizer $name', (tokenizer) => {
  it('gives every text back', () => {
    const text = fc.oneof(
      fc.string({ unit: 'binary', maxLength: 60 }),
      fc
        .array(fc.constantFrom('whale', ' ', '  ', '\n', "'s", 'é', '🐋', '123', '<|endoftext|>'), { maxLength: 12 })
        .map((parts) => parts.join('')),
    );
    fc.assert(
      fc.property(text, (input) => {
        const tokens = tokenizer.encode(input);
        expect(tokens.every((token) => token < tokenizer.entries)).toBe(true);
        expect(decodeText(tokenizer, tokens)).toBe(
          new TextDecoder('utf-8', { ignoreBOM: true }).decode(new TextEncoder().encode(input)),
        );
      }),
      { numRuns: 200 },
    );
  });

  it('keeps no state between calls: half a character does not reach the next text', () => {
    const whole = tokenizer.encode('🐋');
    expect(whole.length).toBeGreaterThan(1);
    decodeText(tokenizer, whole.subarray(0, 1));
    expect(decodeText(tokenizer, tokenizer.encode('whale'))).toBe('whale');
  });

  it('skips numbers beyond its table', () => {
    expect(tokenizer.decodeBytes([tokenizer.entries, 1 << 20])).toHaveLength(0);
  });
});

describe('GPT-2 tokens', () => {
  it.each([
    // From the documentation of `GPT2Tokenizer` in Hugging Face's transformers.
    ['Hello world', [15496, 995]],
    [' Hello world', [18435, 995]],
  ])('of %j', (text, expected) => {
    expect([...gpt2.encode(text)]).toEqual(expected);
  });

  it('are what merging by rank gives, pair by pair', async () => {
    const entries = Array.from({ length: 50_256 }, (_, token) => gpt2.decodeBytes([token]));
    const rank = new Map(entries.map((entry, token) => [Buffer.from(entry).toString('latin1'), token]));
    /** The textbook algorithm: join the neighbours of lowest rank until none can be joined. */
    const merge = (word: string): number[] => {
      const parts = [...Buffer.from(word, 'utf8')].map((byte) => String.fromCharCode(byte));
      for (;;) {
        const ranks = parts.slice(1).map((part, i) => rank.get(parts[i] + part) ?? Number.POSITIVE_INFINITY);
        const best = Math.min(...ranks);
        if (!Number.isFinite(best)) return parts.map((part) => rank.get(part) ?? -1);
        const at = ranks.indexOf(best);
        parts.splice(at, 2, parts[at] + parts[at + 1]);
      }
    };
    const text = Buffer.from(await readMobyDick())
      .toString('utf8')
      .slice(600_000, 610_000);
    const expected = [...text.matchAll(new RegExp(GPT2_PATTERN, 'gu'))].flatMap(([word]) => merge(word));
    expect([...gpt2.encode(text)]).toEqual(expected);
  });

  it('treat a marker in the text as characters, and print token 50256 as the marker', () => {
    expect([...gpt2.encode('<|endoftext|>')]).not.toContain(50_256);
    expect(decodeText(gpt2, [50_256])).toBe('<|endoftext|>');
  });
});

describe('tokenizer.json of Hugging Face', () => {
  /** The byte-level alphabet of `openai/gpt-2` (`bytes_to_unicode`). */
  function spell(token: Uint8Array): string {
    const others = Array.from({ length: 256 }, (_, b) => b).filter(
      (b) => !((b >= 33 && b <= 126) || (b >= 161 && b <= 172) || b >= 174),
    );
    return [...token].map((b) => String.fromCodePoint(others.includes(b) ? 256 + others.indexOf(b) : b)).join('');
  }
  const vocab = Object.fromEntries(
    Array.from({ length: gpt2.entries }, (_, id) => [spell(gpt2.decodeBytes([id])), id]),
  );

  it('is recognized as the same table', () => {
    expect(vocab['Ġwhale']).toBe([...gpt2.encode(' whale')][0]);
    const entries = hfTokenizerEntries({ model: { type: 'BPE', vocab } });
    expect(equalBytes(hfTokenizerRoot(entries), gpt2.root)).toBe(true);
  });

  it('is another one if two tokens are exchanged', () => {
    const entries = hfTokenizerEntries({
      model: { type: 'BPE', vocab: { ...vocab, Ġwhale: vocab['Ġthe'], Ġthe: vocab['Ġwhale'] } },
    });
    expect(equalBytes(hfTokenizerRoot(entries), gpt2.root)).toBe(false);
  });

  it.each([
    [null],
    [{}],
    [{ model: { type: 'WordPiece', vocab: {} } }],
    [{ model: { vocab: { a: 0, b: 0 } } }],
    [{ model: { vocab: { a: 0, b: 2 } } }],
    [{ model: { vocab: { a: -1 } } }],
    [{ model: { vocab: { ' ': 0 } } }],
  ])('is refused if it is broken: %j', (json) => {
    expect(() => hfTokenizerEntries(json)).toThrow(/tokenizer\.json/);
  });
});
