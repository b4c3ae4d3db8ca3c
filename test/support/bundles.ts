/** Bundles of the recipe `tiny` in temporary folders, and the ways to change their bytes. */
import { cpSync, mkdtempSync, readdirSync, readFileSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { loadRecipe } from '../../src/model/recipe.js';
import { findCheat } from '../../src/node/cheats.js';
import { Environment } from '../../src/node/environment.js';
import { type MineBundleOptions, type MinedBundle, mineBundle } from '../../src/node/mineBundle.js';
import { parseSeed } from '../../src/node/seed.js';
import { type Bundle, decodeBundle, encodeBundle } from '../../src/protocol/bundleType.js';

export const TINY = loadRecipe('tiny');

/** A temporary folder that `remove` deletes. */
export function temporaryFolder(): { readonly path: string; remove(): void } {
  const path = mkdtempSync(join(tmpdir(), 'pogo-bundle-'));
  return { path, remove: () => rmSync(path, { recursive: true, force: true }) };
}

/** An environment whose token files live in `folder`. */
export function testEnvironment(folder: string, lanes = 2): Environment {
  return new Environment({ lanes, home: join(folder, 'home') });
}

/** Mines `claims` claims of `tiny`; a cheat, if any, cheats in claim `cheatingClaim`. */
export function mineTiny(
  environment: Environment,
  directory: string,
  claims: number,
  cheat?: string,
  cheatingClaim = 0,
  more: Partial<MineBundleOptions> = {},
): Promise<MinedBundle> {
  return mineBundle({
    environment,
    recipe: TINY,
    directory,
    claims,
    seed: parseSeed(undefined),
    committer: (claimNumber, trainer, fromStep) =>
      cheat === undefined || claimNumber !== cheatingClaim
        ? undefined
        : findCheat(cheat).committer(trainer, fromStep, TINY.stepsPerClaim),
    ...more,
  });
}

/** All files of a bundle, paths relative to it, sorted. */
export function bundleFiles(directory: string): string[] {
  const blobs = readdirSync(join(directory, 'blobs')).sort();
  return ['bundle.ssz', ...blobs.map((name) => join('blobs', name))];
}

/** Runs `work` on a bundle with one file replaced, then puts the old bytes back. */
export async function withChangedFile<T>(
  directory: string,
  file: string,
  change: (bytes: Uint8Array) => Uint8Array,
  work: () => Promise<T>,
): Promise<T> {
  const path = join(directory, file);
  const bytes = readFileSync(path);
  writeFileSync(path, change(Uint8Array.from(bytes)));
  try {
    return await work();
  } finally {
    writeFileSync(path, bytes);
  }
}

/** A copy of a bundle whose container says something else, with its own root made right again. */
export function rewriteBundle(directory: string, copy: string, change: (bundle: Bundle) => Bundle): void {
  cpSync(directory, copy, { recursive: true });
  const bundle = decodeBundle(readFileSync(join(copy, 'bundle.ssz')));
  writeFileSync(join(copy, 'bundle.ssz'), encodeBundle(change(bundle)));
}

export function fileBytes(path: string): number {
  return statSync(path).size;
}
