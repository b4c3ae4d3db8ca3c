/** The folder of a run: what it was started with, so that `--resume` goes on with the same, and where its parts lie. */
import { existsSync, readdirSync, readFileSync } from 'node:fs';
import * as path from 'node:path';
import { PogoError } from '../errors.js';
import { writeFileAtomic } from '../files/durable.js';
import { realFiles } from '../files/fileLayer.js';
import { fromHex, toHex } from '../hex.js';
import { decodeRecipe, encodeRecipe, type Recipe } from '../model/recipe.js';
import { parseStrictJson } from '../model/strictJson.js';

/** A job of an owner in a run. */
export interface RunJobSettings {
  readonly recipe: Recipe;
  /** Finalized claims that it pays for. */
  readonly claims: number;
}

export interface RunSettings {
  readonly recipe: Recipe;
  readonly seed: Uint8Array;
  readonly claims: number;
  readonly verifiers: number;
  /** Name of a cheat; absent when all miners are honest. */
  readonly cheat?: string;
  /** Jobs of an owner beside the run's own: created at the start. */
  readonly jobs?: readonly RunJobSettings[];
  /** Largest evidence that verifiers send, bytes; what would be larger they dispute. Absent: what a transaction holds. */
  readonly evidenceBytes?: number;
}

const FILE = 'run.json';
/** In the folder of a finished run: the state that its last finalized claim ended in. */
export const FINAL_STATE = 'state';

/** The next free `<home>/runs/<n>`. */
export function nextRunDirectory(home: string): string {
  const runs = path.join(home, 'runs');
  const numbers = existsSync(runs) ? readdirSync(runs).map(Number).filter(Number.isSafeInteger) : [];
  return path.join(runs, String(Math.max(0, ...numbers) + 1));
}

/**
 * The newest run below a data directory.
 *
 * @param option of the command line that wants it, for the message
 * @throws PogoError USAGE when there is none
 */
export function newestRunDirectory(home: string, option = '--resume'): string {
  const next = nextRunDirectory(home);
  const newest = path.join(path.dirname(next), String(Number(path.basename(next)) - 1));
  if (!existsSync(path.join(newest, FILE))) {
    throw new PogoError(
      'USAGE',
      `${option}: expected a run below ${path.dirname(next)}, found none; start one: pogo run`,
    );
  }
  return newest;
}

/** Whether a folder holds a run. */
export function hasRun(directory: string): boolean {
  return existsSync(path.join(directory, FILE));
}

/** @throws PogoError IO for a folder that cannot be written */
export function writeSettings(directory: string, settings: RunSettings): void {
  try {
    realFiles.makeDirectory(directory);
  } catch (error) {
    throw new PogoError(
      'IO',
      `cannot make the run folder ${directory}: ${PogoError.from(error).message}; choose another with --dir`,
    );
  }
  const { recipe, seed, jobs, ...rest } = settings;
  const others = jobs?.map((job) => ({ recipe: toHex(encodeRecipe(job.recipe)), claims: job.claims }));
  const whole = { recipe: toHex(encodeRecipe(recipe)), seed: toHex(seed), ...rest };
  const json = { version: 1, ...whole, ...(others === undefined ? {} : { jobs: others }) };
  writeFileAtomic(realFiles, path.join(directory, FILE), new TextEncoder().encode(`${JSON.stringify(json)}\n`));
}

/** @throws PogoError CORRUPT */
export function readSettings(directory: string): RunSettings {
  const file = path.join(directory, FILE);
  try {
    const json = parseStrictJson(readFileSync(file, 'utf8')) as Record<string, unknown>;
    const { recipe, seed, claims, verifiers, cheat, evidenceBytes, jobs } = json;
    const counts = Number.isSafeInteger(claims) && Number.isSafeInteger(verifiers);
    if (typeof recipe !== 'string' || typeof seed !== 'string' || !counts) throw new Error('a field is missing');
    return {
      recipe: decodeRecipe(fromHex(recipe)),
      seed: fromHex(seed, 32),
      claims: claims as number,
      verifiers: verifiers as number,
      ...(typeof cheat === 'string' ? { cheat } : {}),
      ...(Array.isArray(jobs) ? { jobs: (jobs as Record<string, unknown>[]).map(readJob) } : {}),
      ...(typeof evidenceBytes === 'number' ? { evidenceBytes } : {}),
    };
  } catch (error) {
    const message = PogoError.from(error).message;
    throw new PogoError('CORRUPT', `${file}: expected the settings of a run, found: ${message}; start a new run`);
  }
}

function readJob({ recipe, claims }: Record<string, unknown>): RunJobSettings {
  if (typeof recipe !== 'string' || !Number.isSafeInteger(claims)) throw new Error('a job without recipe or claims');
  return { recipe: decodeRecipe(fromHex(recipe)), claims: claims as number };
}
