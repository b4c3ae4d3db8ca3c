/** `pogo data build` and `pogo data check` through the command line. */
import { appendFileSync, mkdirSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { blake3 } from '@noble/hashes/blake3.js';
import { parquetWriteBuffer } from 'hyparquet-writer';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { toHex } from '../../src/hex.js';
import { copiesOf, isHeldOut } from '../../src/model/documents.js';
import { prepareData } from '../../src/model/node/dataset.js';
import { openRecipe } from '../../src/model/node/recipeFile.js';
import { tokenRange } from '../../src/model/tokens.js';
import { temporaryFolder } from '../support/bundles.js';
import { eventFaults } from '../support/eventSchema.js';
import { eventsOf, killTree, pogo as runPogo, startPogo } from '../support/pogo.js';

const folder = temporaryFolder();
const out = join(folder.path, 'data');
afterAll(() => folder.remove());

async function pogo(...args: string[]): Promise<{ code: number; event: Readonly<Record<string, unknown>> }> {
  const { code, stdout } = await runPogo([...args, '--json']);
  const events = eventsOf(stdout);
  expect(events.flatMap(eventFaults)).toEqual([]);
  return { code: code ?? -1, event: events[events.length - 1]! };
}

const utf8 = (text: string): Uint8Array => new TextEncoder().encode(text);
/** Texts that are all different. */
const story = (n: number): string => `Tale ${n}. ${'The sea and the whale, '.repeat(1 + (n % 9))}said ${n * 7919}.`;
const tales = Array.from({ length: 300 }, (_, n) => story(n));

const place = (name: string): string => join(folder.path, name);
beforeAll(() => {
  mkdirSync(place('texts/inner'), { recursive: true });
  for (const [n, text] of tales.slice(0, 100).entries()) {
    writeFileSync(place(n % 2 === 0 ? `texts/${n}.txt` : `texts/inner/${n}.txt`), text);
  }
  const lines = tales.slice(90, 200).map((body) => JSON.stringify({ body }));
  writeFileSync(place('lines.jsonl'), `${lines.join('\n')}\n`);
  const columnData = [{ name: 'body', data: tales.slice(200), type: 'STRING' as const }];
  writeFileSync(place('rows.parquet'), new Uint8Array(parquetWriteBuffer({ columnData, rowGroupSize: 30 })));
});

const SOURCES = ['texts', 'lines.jsonl', 'rows.parquet'].map(place);
const build = (name: string, ...more: string[]) =>
  pogo('data', 'build', '-o', out, '--name', name, '--recipe', 'tiny', '--field', 'body', '--held-out', '0.2', ...more);

/** Documents of a byte token file, for texts without line feeds. */
function documentsOf(tokens: ArrayLike<number>, from: number, to: number): string[] {
  const bytes = Uint8Array.from(Array.from(tokens).slice(from, to));
  return new TextDecoder().decode(bytes).split('\n').slice(0, -1);
}

describe('a build from a folder, JSON Lines and Parquet', () => {
  it('has every document once, split by its hash, and a recipe that finds it', async () => {
    const { code, event } = await build('three', ...SOURCES);
    expect(code).toBe(0);
    const recipe = openRecipe(String(event['recipe']));
    const { tokens, path } = await prepareData(recipe, out);
    expect(toHex(blake3(readFileSync(path)))).toBe(event['tokensRoot']);
    const cut = recipe.data.tokens - recipe.data.heldOutTokens;
    const [train, heldOut] = [
      documentsOf(tokenRange(tokens, 0, cut), 0, cut),
      documentsOf(tokenRange(tokens, 0, tokens.length), cut, tokens.length),
    ];
    expect(new Set([...train, ...heldOut])).toEqual(new Set(tales));
    expect(train.length + heldOut.length).toBe(tales.length);
    expect(event['duplicates']).toBe(10);
    expect(heldOut).toEqual(tales.filter((text) => isHeldOut(blake3(utf8(text)), 200_000)).sort(orderOf(heldOut)));
    const roots = [...train, ...heldOut].map((text) => blake3(utf8(text)));
    expect(toHex(blake3(Buffer.concat(roots)))).toBe(event['documentsRoot']);
    expect(toHex(recipe.data.textRoot)).toBe(event['documentsRoot']);
  });

  it('gives the same split in another order, with weights, and from a spec', async () => {
    const partsOf = async (recipeFile: unknown): Promise<[string[], string[]]> => {
      const recipe = openRecipe(String(recipeFile));
      const { tokens } = await prepareData(recipe, out);
      const cut = recipe.data.tokens - recipe.data.heldOutTokens;
      return [
        documentsOf(tokenRange(tokens, 0, cut), 0, cut),
        documentsOf(tokenRange(tokens, 0, tokens.length), cut, tokens.length),
      ];
    };
    const plain = await build('three', ...SOURCES);
    const [train, heldOut] = await partsOf(plain.event['recipe']);
    const turned = await build('turned', ...[...SOURCES].reverse());
    const [otherTrain, otherHeldOut] = await partsOf(turned.event['recipe']);
    expect(otherTrain.sort()).toEqual([...train].sort());
    expect(otherHeldOut.sort()).toEqual([...heldOut].sort());

    const spec = place('spec.json');
    const [a, b, c] = SOURCES;
    writeFileSync(
      spec,
      JSON.stringify({ datasets: [{ source: a, weight: 2.5 }, { source: b }, { source: c, weight: 0.5 }] }),
    );
    const weighted = await build('weighted', '--spec', spec);
    const listed = await build('listed', ...SOURCES, '--weights', '2.5,1,0.5');
    expect(weighted.event['tokensRoot']).toBe(listed.event['tokensRoot']);
    const [heavy] = await partsOf(weighted.event['recipe']);
    for (const [n, text] of tales.entries()) {
      const root = blake3(utf8(text));
      const copies = copiesOf(root, n < 100 ? 2_500_000 : n < 200 ? 1_000_000 : 500_000);
      expect(heavy.filter((found) => found === text).length, text).toBe(isHeldOut(root, 200_000) ? 0 : copies);
    }
  });

  it('trains and is verified', async () => {
    const { event } = await build('three', ...SOURCES);
    const env = { POGO_HOME: place('home') };
    mkdirSync(place('home/data'), { recursive: true });
    const file = String(event['file']);
    writeFileSync(join(place('home/data'), file.slice(file.lastIndexOf('/') + 1)), readFileSync(file));
    const bundle = place('bundle');
    const mined = await runPogo(['mine', '--recipe', String(event['recipe']), '--dir', bundle, '--claims', '1'], env);
    expect(mined.code, mined.stderr).toBe(0);
    const verified = await runPogo(['verify', bundle, '--samples', '2'], env);
    expect([0, 4]).toContain(verified.code);
  });
});

describe('a changed byte', () => {
  it('of the token file, a source, the manifest or the recipe is found, and named', async () => {
    const copy = place('copy.jsonl');
    writeFileSync(copy, readFileSync(SOURCES[1]!));
    const { event } = await build('checked', SOURCES[0]!, copy, SOURCES[2]!);
    const manifest = String(event['manifest']);
    const recipe = String(event['recipe']);
    const good = await pogo('data', 'check', manifest, '--recipe', recipe);
    expect([good.code, good.event['checked'], good.event['absent']]).toEqual([0, 103, []]);
    const flip = async (file: string, code: string, at = 0.5): Promise<void> => {
      const bytes = readFileSync(file);
      const changed = Buffer.from(bytes);
      changed[Math.floor(at * (bytes.length - 1))]! ^= 1;
      writeFileSync(file, changed);
      const found = await pogo('data', 'check', manifest, '--recipe', recipe);
      expect(found.event['code'], file).toBe(code);
      expect(found.event['message']).toContain(file === recipe ? 'recipe' : file);
      writeFileSync(file, bytes);
    };
    await flip(String(event['file']), 'CORRUPT', 0.9);
    await flip(copy, 'CORRUPT');
    await flip(place('texts/inner/31.txt'), 'CORRUPT', 1);
    await flip(manifest, 'CORRUPT');
    const text = readFileSync(recipe, 'utf8');
    const other = text.replace(String(event['tokensRoot']), '0'.repeat(64));
    writeFileSync(recipe, other);
    expect((await pogo('data', 'check', manifest, '--recipe', recipe)).event['code']).toBe('MISMATCH');
    writeFileSync(recipe, text);
    const prepared = () => prepareData(openRecipe(recipe), out);
    appendFileSync(String(event['file']), Buffer.alloc(2));
    expect((await pogo('data', 'check', manifest)).event['code']).toBe('CORRUPT');
    await expect(prepared()).rejects.toThrow(/found other bytes there; make it with: .* --force$/);
    rmSync(String(event['file']));
    await expect(prepared()).rejects.toThrow(/found no such file; make it with: .* --name checked$/);
    expect((await pogo('data', 'check', manifest)).event['code']).toBe('MISSING');
    rmSync(copy);
    expect((await build('checked', SOURCES[0]!, SOURCES[2]!)).event['code']).toBe('IO');
    await build('checked', SOURCES[0]!, SOURCES[2]!, '--force');
    expect((await pogo('data', 'check', manifest)).code).toBe(0);
  });
});

describe('what cannot be built (files that are not what they seem: badModels.test.ts)', () => {
  const refused: readonly (readonly [string, () => string[], string, RegExp])[] = [
    ['another number of weights', () => [...SOURCES, '--weights', '1,2'], 'USAGE', /3 numbers/],
    ['a weight of nothing', () => [SOURCES[0]!, '--weights', '0'], 'USAGE', /--weights/],
    ['files beside a spec', () => [SOURCES[0]!, '--spec', place('spec.json')], 'USAGE', /both/],
    [
      'a spec with an unknown field',
      () => ['--spec', bad('odd.json', '{"datasets":[{"sauce":"x"}]}')],
      'MALFORMED',
      /datasets\[0\]/,
    ],
    ['no files', () => [], 'USAGE', /at least one/],
  ];
  function bad(name: string, content: string | Uint8Array): string {
    writeFileSync(place(name), content);
    return place(name);
  }

  it.each(refused)('%s', async (_, make, code, message) => {
    const { event } = await build('refused', ...make());
    expect(event['code']).toBe(code);
    expect(event['message']).toMatch(message);
    expect(readdirSync(out).filter((name) => name.includes('refused'))).toEqual([]);
  });
});

describe('a build that is killed', () => {
  it('leaves nothing that counts, and the next one is whole', async () => {
    const large = place('large.jsonl');
    writeFileSync(large, Array.from({ length: 60_000 }, (_, n) => JSON.stringify({ body: story(n) })).join('\n'));
    const args = ['data', 'build', large, '-o', out, '--name', 'killed', '--recipe', 'tiny', '--field', 'body'];
    const { child, finished } = startPogo(args);
    const started = (): boolean => readdirSync(out).some((name) => name.startsWith('.unfinished-killed'));
    for (let i = 0; i < 2000 && !started() && child.exitCode === null; i++) {
      await new Promise((resolve) => setTimeout(resolve, 5));
    }
    killTree(child, 'SIGKILL');
    await finished;
    expect(readdirSync(out).filter((name) => name.startsWith('killed'))).toEqual([]);
    const { code, event } = await pogo(...args);
    expect(code).toBe(0);
    expect(readdirSync(out).filter((name) => name.startsWith('.unfinished'))).toEqual([]);
    expect((await pogo('data', 'check', String(event['manifest']))).code).toBe(0);
  });
});

/** Sorts texts as they stand in a list. */
function orderOf(list: readonly string[]): (a: string, b: string) => number {
  const at = new Map(list.map((text, i) => [text, i]));
  return (a, b) => (at.get(a) ?? -1) - (at.get(b) ?? -1);
}
