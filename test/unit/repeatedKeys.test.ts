/** A JSON object with a key twice says two things, and each parser takes another for the truth: nobody here reads either. */
import { mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { blake3 } from '@noble/hashes/blake3.js';
import fc from 'fast-check';
import { afterAll, describe, expect, it } from 'vitest';
import { toHex } from '../../src/hex.js';
import { readConfigFile } from '../../src/model/node/configFile.js';
import { parseTensorIndex } from '../../src/model/node/tensorFiles.js';
import { openTokenizerFile } from '../../src/model/node/tokenizerFile.js';
import { loadRecipe, recipeToJson } from '../../src/model/recipe.js';
import { parseSafetensorsHeader } from '../../src/model/safetensors.js';
import { parseStrictJson } from '../../src/model/strictJson.js';
import { parseManifest } from '../../src/node/data/manifest.js';
import { textOfLine } from '../../src/node/data/readDocuments.js';
import { keystorePublicKey } from '../../src/node/keyFile.js';
import { readSettings, writeSettings } from '../../src/node/runFiles.js';
import { refusal } from '../support/refusal.js';

const folder = mkdtempSync(join(tmpdir(), 'pogo-keys-'));
afterAll(() => rmSync(folder, { recursive: true }));

function file(name: string, text: string): string {
  const path = join(folder, name);
  writeFileSync(path, text, { mode: 0o600 });
  return path;
}

/** The object's JSON with one of its keys once more, at its end, spelled by an escape. */
function twice(json: string, key: string): string {
  const escaped = `\\u${key.charCodeAt(0).toString(16).padStart(4, '0')}${key.slice(1)}`;
  return json.trimEnd().replace(/\}$/, `, "${escaped}": 0}`);
}

function header(json: string): () => unknown {
  const bytes = new TextEncoder().encode(json);
  return () => parseSafetensorsHeader(bytes, 8 + bytes.length, 'file');
}

const recipe = loadRecipe('tiny');
const BODY = '{\n  "format": "pogo-data/1",\n  "format": "pogo-data/1"';
const MANIFEST = `${BODY},\n  "root": "${toHex(blake3(new TextEncoder().encode(BODY)))}"\n}\n`;

const readers: readonly (readonly [string, string, () => unknown])[] = [
  ['a recipe', 'name', () => loadRecipe(twice(JSON.stringify(recipeToJson(recipe)), 'name'))],
  ['a manifest', 'format', () => parseManifest(MANIFEST, 'file')],
  ['a header of safetensors', '__metadata__', header('{"__metadata__":{},"__metadata__":{}}')],
  [
    'an index of shards',
    'w',
    () => parseTensorIndex('{"weight_map": {"w": "a.safetensors", "w": "b.safetensors"}}', 'file'),
  ],
  ['a config', 'n_embd', () => readConfigFile(file('config.json', '{"n_embd": 64, "n_embd": 128}'), 'mend it')],
  [
    'a tokenizer',
    'model',
    () => openTokenizerFile(file('tokenizer.json', twice('{"model": {"vocab": {"a": 0}}}', 'model'))),
  ],
  [
    'a vocabulary',
    'a',
    () =>
      openTokenizerFile(file('tokenizer.json', '{"model": {"type": "BPE", "vocab": {"a": 0, "a": 1}, "merges": []}}')),
  ],
  ['a line of JSON', 'text', () => textOfLine('{"text": "one", "text": "two"}', 'text', 'file, line 3')],
];

describe('a key twice', () => {
  it.each(readers)('in %s is refused by its name', async (_, key, read) => {
    expect(await refusal(read)).toMatch(new RegExp(`^[A-Z]+: .*the key "${key}" appears twice`));
  });

  it('in the settings of a run is refused', async () => {
    writeSettings(folder, { recipe, seed: new Uint8Array(32), claims: 1, verifiers: 1 });
    const path = join(folder, 'run.json');
    writeFileSync(path, twice(readFileSync(path, 'utf8'), 'claims'));
    expect(await refusal(() => readSettings(folder))).toMatch(/^CORRUPT: .*the key "claims" appears twice/);
  });

  it('in a keystore is refused, and nothing of the file is shown', async () => {
    const path = file('key', '{"secret": 1, "secret": 2}');
    expect(await refusal(() => keystorePublicKey(path))).toMatch(/^USAGE: .*found JSON with one key twice; make a key/);
  });

  it('is found wherever it is, and JSON without one is what JSON.parse reads', () => {
    const value = fc.jsonValue({ maxDepth: 4 });
    const text = fc
      .tuple(value, fc.constantFrom(undefined, 1, '\t'))
      .map(([v, space]) => JSON.stringify(v, null, space));
    fc.assert(
      fc.property(text, (json) => {
        expect(parseStrictJson(json)).toEqual(JSON.parse(json));
        expect(() => parseStrictJson(`{"a": ${json}, "b": [${json}], "a": 1}`)).toThrow('the key "a" appears twice');
        expect(() => parseStrictJson(`[{"b": ${json}}, {"\\"\\\\": 1, "b": ${json}, "\\u0022\\\\": 2}]`)).toThrow(
          'twice',
        );
      }),
    );
    expect(parseStrictJson('[{"a": "\\"a\\":", "b": "a"}, {"a": {"a": []}}]')).toEqual([
      { a: '"a":', b: 'a' },
      { a: { a: [] } },
    ]);
  });

  it('is looked for in a million levels without end of the stack', () => {
    const deep = `{"a": ${'['.repeat(1e6)}${']'.repeat(1e6)}}`;
    expect(() => parseStrictJson(deep)).toThrow('values in more than 256 others');
    expect(parseStrictJson(`${'['.repeat(256)}${']'.repeat(256)}`)).toHaveLength(1);
  });

  it('is looked for wherever JSON of others is read', () => {
    const source = join(import.meta.dirname, '../../src');
    const plain = (readdirSync(source, { recursive: true }) as string[])
      .filter((name) => name.endsWith('.ts') && readFileSync(join(source, name), 'utf8').includes('JSON.parse('))
      .sort();
    // Its own parser; the lock and the package it belongs to; its own events; texts that a second copy is compared with; what set-up wrote.
    const own = ['model/strictJson.ts', 'files/lock.ts', 'cli/version.ts', 'cli/run.ts', 'model/node/dataset.ts'];
    expect(plain).toEqual([...own, 'node/toolchains.ts'].sort());
  });
});
