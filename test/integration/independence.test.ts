/**
 * Who may know what, as laws over the import graph: whoever checks knows nothing of how miners cheat, the protocol runs in
 * a browser, folders import what stands below them, and native code enters by its door files only. `test/unit/light.test.ts` and
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

/**
 * What each folder may import beside itself and the files of `src/` that all share: the map of CONTRIBUTING.md, word for
 * word. Types count, because whoever names a type of another folder is built on it.
 */
const LAYERS: Readonly<Record<string, readonly string[]>> = {
  reference: [],
  merkle: [],
  backend: ['merkle', 'reference'],
  files: ['backend', 'merkle'],
  model: ['files', 'backend', 'merkle', 'reference'],
  protocol: ['model', 'backend', 'merkle', 'reference'],
  pipeline: ['protocol', 'model', 'backend', 'merkle'],
  ledger: ['protocol', 'files', 'model', 'backend', 'merkle'],
  cost: ['pipeline', 'protocol', 'model'],
  node: ['ledger', 'pipeline', 'protocol', 'files', 'model', 'backend', 'merkle'],
  cli: ['node', 'cost', 'ledger', 'pipeline', 'protocol', 'files', 'model', 'backend'],
};
const SHARED = ['errors.ts', 'hex.ts', 'systemErrors.ts', 'svgText.ts'];

/** Files of `src/` that a file imports, relative to it. */
function within(file: string): { readonly target: string; readonly loads: boolean }[] {
  return importsOf(file)
    .filter(({ specifier }) => specifier.startsWith('.') && specifier.endsWith('.js'))
    .map(({ specifier, typeOnly, deferred }) => ({
      target: path.relative(SOURCE, path.resolve(path.dirname(file), specifier.replace(/\.js$/, '.ts'))),
      loads: !typeOnly && !deferred,
    }));
}

describe('folders', () => {
  it('have a place in the map each', () => {
    const folders = new Set(sourceFiles('.').map((file) => path.relative(SOURCE, file).split(path.sep)));
    const names = new Set([...folders].filter((parts) => parts.length > 1).map(([folder]) => folder));
    expect([...names].sort()).toEqual(Object.keys(LAYERS).sort());
  });

  it.each(Object.entries(LAYERS))('%s imports itself, what all share, and %j', (folder, below) => {
    const allowed = [folder, ...below, ...SHARED];
    const wrong = sourceFiles(folder).flatMap((file) =>
      within(file)
        .filter(({ target }) => !allowed.includes(target.split(path.sep)[0]))
        // One door for the checks that a browser and the command line share.
        .filter(({ target }) => !(folder === 'cli' && target === 'lightChecks.ts'))
        .map(({ target }) => `${path.relative(SOURCE, file)} imports ${target}`),
    );
    expect(wrong).toEqual([]);
  });

  it('stand above what they import, so that no two need each other', () => {
    const names = Object.keys(LAYERS);
    for (const [folder, below] of Object.entries(LAYERS)) {
      for (const other of below)
        expect(names.indexOf(other), `${folder}: ${other}`).toBeLessThan(names.indexOf(folder));
    }
  });
});

describe('files', () => {
  it('never wait for one another while they load', () => {
    const loads = new Map<string, string[]>();
    for (const file of sourceFiles('.')) {
      const targets = within(file).filter((found) => found.loads);
      loads.set(
        path.relative(SOURCE, file),
        targets.map(({ target }) => target),
      );
    }
    const done = new Set<string>();
    const cycles: string[] = [];
    const visit = (file: string, way: readonly string[]): void => {
      if (way.includes(file)) cycles.push([...way.slice(way.indexOf(file)), file].join(' → '));
      if (way.includes(file) || done.has(file)) return;
      for (const target of loads.get(file) ?? []) visit(target, [...way, file]);
      done.add(file);
    };
    for (const file of loads.keys()) visit(file, []);
    expect(loads.get(path.join('model', 'recipe.ts'))).toContain(path.join('model', 'recipes.ts'));
    expect(cycles).toEqual([]);
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
