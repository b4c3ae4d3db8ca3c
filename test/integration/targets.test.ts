/** Every command that writes where the user says: what is there stays unless --force is given, and links are never followed. */
import { lstatSync, mkdirSync, readdirSync, readFileSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { loadRecipe, recipeRoot } from '../../src/model/recipe.js';
import { readStateHeader } from '../../src/node/files/stateFolder.js';
import { temporaryFolder } from '../support/bundles.js';
import { type Finished, pogo } from '../support/pogo.js';

const folder = temporaryFolder();
const place = (...names: string[]): string => join(folder.path, ...names);
const run = (...args: string[]): Promise<Finished> => pogo(args, { POGO_HOME: place('home'), POGO_PASSPHRASE: 'x' });
afterAll(() => folder.remove());

let states: string[];
beforeAll(async () => {
  await run('mine', '--recipe', 'tiny', '--dir', place('bundle'));
  const all = place('bundle.work', 'states');
  states = readdirSync(all)
    .sort()
    .map((name) => join(all, name));
  writeFileSync(place('old'), Buffer.alloc(5000, 1));
  writeFileSync(place('new'), Buffer.alloc(5000, 2));
  expect((await run('diff', place('old'), place('new'), '-o', place('patch'))).code).toBe(0);
});

const THETA = '12'.repeat(32);
const writers: readonly (readonly [string, (target: string) => string[]])[] = [
  ['export', (target) => ['export', '--state', states[0] as string, '--checkpoint', target]],
  ['diff', (target) => ['diff', place('old'), place('new'), '-o', target]],
  ['patch', (target) => ['patch', place('old'), place('patch'), '-o', target]],
  ['hash', (target) => ['hash', place('new'), '--tree', target]],
  ['recipe derive', (target) => ['recipe', 'derive', 'sotu-finetune', '--theta', THETA, '-o', target]],
];

describe('a command that writes a file', () => {
  it.concurrent.each(writers)('%s', async (name, args) => {
    const home = place(`to ${name}`);
    mkdirSync(home);
    const [file, link] = [join(home, 'file'), join(home, 'link')];
    writeFileSync(file, 'mine');
    symlinkSync(file, link);
    const taken = await run(...args(file));
    expect([taken.code, taken.stdout]).toEqual([5, '']);
    expect(taken.stderr).toBe(
      `error IO: expected nothing at ${file}, found a file of 4 bytes; name another, or replace it with --force\n`,
    );
    const led = await run(...args(link), '--force');
    expect(led.stderr).toMatch(/^error IO: expected a plain file or nothing at .*found a symbolic link/);
    expect(readFileSync(file, 'utf8')).toBe('mine');
    expect(lstatSync(link).isSymbolicLink()).toBe(true);
    const forced = await run(...args(file), '--force');
    expect(forced.code, forced.stderr).toBe(0);
    const written = readFileSync(file);
    expect(written.length).toBeGreaterThan(100);
    const made = await run(...args(join(home, 'new', 'folder', 'file')));
    expect(made.code, made.stderr).toBe(0);
    expect(readFileSync(join(home, 'new', 'folder', 'file')).equals(written)).toBe(true);
    expect(readdirSync(home).sort()).toEqual(['file', 'link', 'new']);
  });

  it('writes no key over anything', async () => {
    const file = place('key.json');
    expect((await run('key', 'new', file)).code).toBe(0);
    expect(lstatSync(file).mode & 0o777).toBe(0o600);
    const before = readFileSync(file, 'utf8');
    const again = await run('key', 'new', file);
    expect(again.stderr).toMatch(/^error IO: expected nothing at .*a key is never replaced: name another file\n$/);
    expect(readFileSync(file, 'utf8')).toBe(before);
  });
});

describe('import', () => {
  it('replaces a state with --force alone, and nothing that is no state', async () => {
    const [first, last] = [states[0] as string, states.at(-1) as string];
    const [state, file] = [place('state'), place('last.safetensors')];
    expect((await run('export', '--state', last, '--checkpoint', file)).code).toBe(0);
    expect((await run('export', '--state', first, '--checkpoint', place('first.safetensors'))).code).toBe(0);
    const bring = (...more: string[]) => run('import', '--state', state, '--checkpoint', file, ...more);
    const other = await run('import', '--state', state, '--checkpoint', place('first.safetensors'));
    expect(other.code, other.stderr).toBe(0);
    const refused = await bring();
    expect([refused.code, refused.stdout]).toEqual([5, '']);
    expect(refused.stderr).toMatch(/found a state; name another, or replace it with --force\n$/);
    expect(readStateHeader(state)).toEqual(readStateHeader(first));
    expect((await bring('--force')).code).toBe(0);
    expect(readStateHeader(state)).toEqual(readStateHeader(last));
    writeFileSync(join(state, 'letter'), 'x');
    expect((await bring('--force')).stderr).toMatch(/found a folder with letter; name another folder\n$/);
    rmSync(state, { recursive: true });
    // A recipe that may not be written leaves no state either: half an import.
    writeFileSync(place('recipe.json'), 'mine');
    expect((await bring('--recipe-out', place('recipe.json'))).code).toBe(5);
    expect(readdirSync(folder.path).filter((name) => name.includes('state'))).toEqual([]);
    expect((await bring('--recipe-out', place('recipe.json'), '--force')).code).toBe(0);
    expect(readStateHeader(state).recipeRoot).toEqual(recipeRoot(loadRecipe('tiny')));
  });
});
