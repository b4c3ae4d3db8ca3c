/** Token files that are not held in memory: the same bits, the same checks. */
import { readFileSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { blake3 } from '@noble/hashes/blake3.js';
import fc from 'fast-check';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { portableKernels } from '../../src/merkle/portable.js';
import { verifyLeafProof } from '../../src/merkle/proof.js';
import { TokenFile } from '../../src/model/node/tokenFile.js';
import { longTokenBytes, tokenBytes, tokenRange } from '../../src/model/tokens.js';
import { gatherSequences } from '../../src/model/unit.js';
import { openable } from '../../src/protocol/dispute/trace.js';
import { temporaryFolder } from '../support/bundles.js';
import { eventsOf, pogo } from '../support/pogo.js';

const folder = temporaryFolder();
afterAll(() => folder.remove());
const place = (name: string): string => join(folder.path, name);

/** Of one type and equal; a matcher of the test runner looks at each element by itself. */
function same(a: ArrayBufferView, b: ArrayBufferView): boolean {
  const bytes = ({ buffer, byteOffset, byteLength }: ArrayBufferView) => Buffer.from(buffer, byteOffset, byteLength);
  return a.constructor === b.constructor && bytes(a).equals(bytes(b));
}

/** Tokens that differ from place to place, with lengths off every border. */
function tokenArray(width: 2 | 4, count: number): Uint16Array | Uint32Array {
  const tokens = width === 2 ? new Uint16Array(count) : new Uint32Array(count);
  for (let i = 0; i < count; i += 1) tokens[i] = Math.imul(i, 2_654_435_761) >>> (width === 2 ? 17 : 13);
  return tokens;
}

function written(name: string, tokens: Uint16Array | Uint32Array): { path: string; bytes: Uint8Array; data: never } {
  const bytes = new Uint8Array(tokens.buffer);
  writeFileSync(place(name), bytes);
  const data = { tokens: tokens.length, tokensRoot: blake3(bytes) } as never;
  return { path: place(name), bytes, data };
}

describe.each([
  [2, 32_768],
  [4, 524_288],
] as const)('a file of tokens of %i bytes', (width, vocab) => {
  // More than one segment of the tree, and a last group that is short.
  const tokens = tokenArray(width, 2_200_001);
  const { path, bytes, data } = written(`w${width}.tokens`, tokens);
  const recipe = { data, vocab: width === 2 ? vocab : 524_288 };

  test('any range is what the file holds, and every leaf has its path to the root', () => {
    const file = TokenFile.open(path, recipe) as TokenFile;
    expect(file.length).toBe(tokens.length);
    const root = blake3(bytes);
    const law = fc.property(fc.nat(tokens.length - 1), fc.nat(40_000), (from, most) => {
      const count = Math.min(most, tokens.length - from);
      expect(same(file.range(from, count), tokens.subarray(from, from + count))).toBe(true);
      const { bytes: leaf, path: proof } = file.chunk(Math.floor((from * width) / 1024));
      expect(verifyLeafProof(root, bytes.length, Math.floor((from * width) / 1024), leaf, proof)).toBe(true);
    });
    fc.assert(law, { numRuns: 40 });
    const offsets = [0, 77, 1_000_003, tokens.length - 65];
    expect(same(gatherSequences(file, offsets, 64), gatherSequences(tokens, offsets, 64))).toBe(true);
    expect(() => gatherSequences(file, [tokens.length - 64], 64)).toThrow(/exceeds the 2200001 tokens/);
    expect(() => file.range(tokens.length - 1, 2)).toThrow(/exceeds the 2200001 tokens/);
    expect(same(tokenBytes(file), bytes)).toBe(true);
    expect(tokenRange(file, 5, 3)).toEqual(tokens.slice(5, 8));
  });

  test('for disputes, any bytes and the tree of all are those of the file', () => {
    const file = TokenFile.open(path, recipe) as TokenFile;
    const long = longTokenBytes(file);
    expect(long.length).toBe(bytes.length);
    const law = fc.property(fc.nat(bytes.length), fc.nat(5000), (start, most) => {
      const end = Math.min(bytes.length, start + most);
      expect(same(long.subarray(start, end), bytes.subarray(start, end))).toBe(true);
    });
    fc.assert(law, { numRuns: 40 });
    const opened = openable(portableKernels, long);
    const whole = openable(portableKernels, bytes);
    const leaves = Math.ceil(bytes.length / 1024);
    for (const leaf of [0, 1, 4095, 4096, leaves - 1]) {
      expect(same(opened.chunk(leaf), whole.chunk(leaf))).toBe(true);
      expect(same(opened.value(0, leaf), whole.value(0, leaf))).toBe(true);
    }
    expect(same(opened.value(13, 0), whole.value(13, 0))).toBe(true);
    // Whoever knows no root is told it.
    expect(same(TokenFile.openAny(path, recipe.vocab).root, blake3(bytes))).toBe(true);
  });

  test('another length or root is no file of the recipe; a token beyond the vocabulary has its place named', () => {
    const shorter = { ...recipe, data: { ...(data as object), tokens: tokens.length - 1 } as never };
    expect(TokenFile.open(path, shorter)).toBeUndefined();
    const other = { ...recipe, data: { ...(data as object), tokensRoot: new Uint8Array(32) } as never };
    expect(TokenFile.open(path, other)).toBeUndefined();
    let largest = 0;
    for (const token of tokens) largest = Math.max(largest, token);
    const first = tokens.indexOf(largest);
    const { data: same } = written(`v${width}.tokens`, tokens);
    const small = { data: same, vocab: width === 2 ? largest : Math.max(65_537, largest) };
    expect(() => TokenFile.open(place(`v${width}.tokens`), small)).toThrow(`found ${largest} at place ${first}`);
  });

  test('a byte that changes after the file was opened is found where it is read, and only there', () => {
    const file = TokenFile.open(path, recipe) as TokenFile;
    const at = 1_234_567;
    const changed = Uint8Array.from(bytes);
    changed[at] = (changed[at] as number) ^ 1;
    writeFileSync(path, changed);
    try {
      const token = Math.floor(at / width);
      expect(() => file.range(token, 1)).toThrow(/expected .*tokens to stay as it was/);
      expect(() => file.chunk(Math.floor(at / 1024))).toThrow(/to stay as it was/);
      expect(() => tokenBytes(file)).toThrow(/to stay as it was/);
      const apart = token + 16_384;
      expect(file.range(apart, 9)).toEqual(tokens.slice(apart, apart + 9));
      writeFileSync(path, bytes.subarray(0, at));
      expect(() => file.range(token, 64)).toThrow(/found it shorter/);
    } finally {
      writeFileSync(path, bytes);
    }
  });
});

describe('mine and verify', () => {
  const env = (bytes: number) => ({ POGO_HOME: place('home'), POGO_LANES: '2', POGO_TOKEN_MEMORY: String(bytes) });
  const run = async (args: readonly string[], bytes: number) => {
    const { code, stdout } = await pogo([...args, '--json'], env(bytes));
    return { code, events: eventsOf(stdout) };
  };
  let recipe: string;

  beforeAll(async () => {
    const text = Array.from(
      { length: 900 },
      (_, n) => `Tale ${n}: ${'water and wind, '.repeat(1 + (n % 7))}${n * 7919}.`,
    );
    writeFileSync(place('tales.txt'), text.join('\n\n'));
    const args = ['data', 'build', place('tales.txt'), '-o', place('home/data'), '--name', 'tales', '--recipe', 'tiny'];
    const { events } = await run([...args, '--documents', 'line'], 0);
    recipe = String(events.at(-1)?.['recipe']);
  });

  test('the same claims whether tokens are held in memory or read from the file; the bundle brings the file', async () => {
    const roots: unknown[] = [];
    for (const bytes of [0, 2 ** 25]) {
      const mined = await run(['mine', '--recipe', recipe, '--dir', place(`bundle-${bytes}`)], bytes);
      expect(mined.code).toBe(0);
      roots.push(mined.events.at(-1)?.['stateRoot']);
    }
    expect(roots[0]).toBe(roots[1]);
    expect(readFileSync(place('bundle-0/bundle.ssz'))).toEqual(readFileSync(place(`bundle-${2 ** 25}/bundle.ssz`)));
    for (const bytes of [0, 2 ** 25]) {
      const verified = await run(['verify', place(`bundle-${2 ** 25 - bytes}`), '--exhaustive'], bytes);
      expect(verified.code).toBe(0);
      expect(verified.events.at(-1)).toMatchObject({ verdict: 'holds', stateRoot: roots[0] });
    }
  }, 120_000);

  test('changed tokens in the bundle are missing data, whatever they say', async () => {
    const { events } = await run(['mine', '--recipe', recipe, '--dir', place('changed')], 0);
    expect(events.at(-1)?.['type']).toBe('mine');
    const { data } = JSON.parse(readFileSync(recipe, 'utf8')) as { data: { tokensRoot: string } };
    const blob = place(`changed/blobs/${data.tokensRoot}`);
    const bytes = readFileSync(blob);
    const change = async (at: number, value: number) => {
      const copy = Buffer.from(bytes);
      copy[at] = value;
      writeFileSync(blob, copy);
      const { code, events: found } = await run(['verify', place('changed')], 0);
      return [code, found.at(-1)?.['code']];
    };
    expect(await change(3_000, (bytes[3_000] as number) ^ 1)).toEqual([4, 'MISSING']);
    expect(await change(3_001, 0xff)).toEqual([4, 'MISSING']);
    rmSync(place('changed'), { recursive: true });
  }, 120_000);

  test('a cheater is convicted with openings out of the file', async () => {
    // The parent makes the built-in token file, miner and verifiers read it by ranges.
    const args = ['run', '--recipe', 'tiny', '--cheat', 'flip-code', '--claims', '2', '--verifiers', '2'];
    const { code, events } = await run([...args, '--dir', place('run')], 0);
    expect(code).toBe(0);
    expect(events.find(({ type }) => type === 'summary')).toMatchObject({ slashed: 1 });
    expect(events.filter(({ type }) => type === 'evidence').length).toBeGreaterThan(0);
  }, 240_000);
});
