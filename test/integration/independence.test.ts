/**
 * Who may know what, as laws over the import graph: whoever checks knows nothing of how miners cheat, the protocol runs in
 * a browser, and native code enters by its door files only. `test/unit/light.test.ts` and
 * `test/unit/model/browserSafe.test.ts` look closer at two of these places.
 */
import * as path from 'node:path';
import { describe, expect, it } from 'vitest';
import { CHEAT_NAMES } from '../../src/node/cheats.js';
import { closureOf, importsOf, SOURCE, sourceFiles, wordsOf } from '../support/importGraph.js';

const CHEATS = path.join('node', 'cheats.ts');

describe('whoever checks', () => {
  const checkers = ['node/roles/verifier.ts', 'node/checkClaim.ts', 'node/verifyBundle.ts', 'protocol', 'ledger'];

  it.each(checkers)('%s leads to nothing that knows how miners cheat, not even by its types', (place) => {
    const { files } = closureOf(sourceFiles(place), true);
    expect(files.size).toBeGreaterThan(5);
    expect([...files]).not.toContain(CHEATS);
  });

  it('names no kind of cheating in its code', () => {
    const { files } = closureOf(checkers.flatMap(sourceFiles), false);
    for (const file of files) {
      const words = wordsOf(path.join(SOURCE, file));
      const told = words.filter((word) => /cheat/i.test(word) || CHEAT_NAMES.includes(word));
      expect(told, file).toEqual([]);
    }
  });

  it('is another process than the one that may cheat: only the miner’s loads the cheats, by name', () => {
    const roles = sourceFiles('node/roles').filter((file) => closureOf([file], false).files.has(CHEATS));
    expect(roles.map((file) => path.relative(SOURCE, file))).toEqual([path.join('node', 'roles', 'miner.ts')]);
  });

  it('and the walk would find them', () => {
    expect(closureOf(sourceFiles('node/roles/miner.ts'), false).files).toContain(CHEATS);
    expect(wordsOf(path.join(SOURCE, CHEATS))).toEqual(expect.arrayContaining([...CHEAT_NAMES]));
  });
});

/** Packages without native code and without Node. */
const PURE =
  /^(@noble\/(hashes|curves)|@chainsafe\/(ssz|persistent-merkle-tree)|@huggingface\/tokenizers|gpt-tokenizer)(\/|$)/;

describe('what runs in a browser', () => {
  // One file of the protocol is the door to blst, and says so by its name; nothing of the protocol imports it.
  const blst = path.join(SOURCE, 'protocol', 'blsNative.ts');
  const places = ['protocol', 'reference', 'model', 'merkle', 'light.ts'];
  const backend = ['types', 'ops', 'selfTest', 'reference'].map((name) => `backend/${name}.ts`);

  it.each([...places, ...backend])('%s loads no module of Node, no addon, no package but pure ones', (place) => {
    const entries = sourceFiles(place).filter((file) => file !== blst && !file.includes(`${path.sep}node${path.sep}`));
    expect(entries.length).toBeGreaterThan(0);
    const { files, outside } = closureOf(entries, false);
    expect(outside.filter((line) => !PURE.test(line.slice(line.indexOf(': ') + 2)))).toEqual([]);
    expect([...files].filter((file) => /Addon\.ts$|Native\.ts$|^(node|cli|pipeline)\b/.test(file))).toEqual([]);
  });

  it('and the walk would find Node', () => {
    expect(closureOf(sourceFiles('backend/open.ts'), false).outside).toContain('backend/cpuAddon.ts: node:module');
    expect(closureOf([blst], false).outside).toContain('protocol/blsNative.ts: @chainsafe/blst');
  });
});

describe('native code', () => {
  const files = sourceFiles('.');
  const name = (file: string): string => path.relative(SOURCE, file);

  it('of ours is named in the door files only', () => {
    const naming = files.filter((file) => wordsOf(file).some((word) => /\.node$/.test(word) || word === 'dlopen'));
    expect(naming.map(name)).toEqual(
      ['cpuAddon.ts', 'cudaAddon.ts', 'merkleAddon.ts'].map((n) => path.join('backend', n)),
    );
  });

  it('cannot be loaded elsewhere: nothing else makes a `require` to load with', () => {
    // Packages of texts are found, not loaded, by one.
    const finder = path.join('model', 'node', 'packagedText.ts');
    const loaders = files.filter((file) => wordsOf(file).includes('createRequire')).map(name);
    expect(loaders.filter((file) => !file.endsWith('Addon.ts'))).toEqual([finder]);
    expect(wordsOf(path.join(SOURCE, finder)).filter((word) => word === 'require')).toEqual([]);
  });

  it('of others enters by one file each', () => {
    for (const [addon, door] of [
      ['@chainsafe/blst', path.join('protocol', 'blsNative.ts')],
      ['classic-level', path.join('ledger', 'engineStore.ts')],
    ] as const) {
      const users = files.filter((file) => importsOf(file).some(({ specifier }) => specifier === addon));
      expect(users.map(name)).toEqual([door]);
    }
  });
});
