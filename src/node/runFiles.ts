/** The folder of a run: what it was started with, so that `--resume` goes on with the same, and where its parts lie. */
import { existsSync, mkdirSync, readdirSync, readFileSync } from 'node:fs';
import * as path from 'node:path';
import { PogoError } from '../errors.js';
import { writeFileAtomic } from '../files/durable.js';
import { ioError, realFiles } from '../files/fileLayer.js';
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

/** Numbers of the folders of runs below a data directory. */
function runNumbers(home: string): number[] {
  const runs = path.join(home, 'runs');
  return existsSync(runs) ? readdirSync(runs).map(Number).filter(Number.isSafeInteger) : [];
}

/**
 * Makes the next free `<home>/runs/<n>`. Of several processes that ask at once each gets its own.
 *
 * @throws PogoError IO
 */
export function takeRunDirectory(home: string): string {
  const runs = path.join(home, 'runs');
  try {
    realFiles.makeDirectory(runs);
    for (let number = Math.max(0, ...runNumbers(home)) + 1; ; number += 1) {
      const directory = path.join(runs, String(number));
      try {
        mkdirSync(directory);
      } catch (error) {
        if ((error as NodeJS.ErrnoException).code === 'EEXIST') continue;
        throw ioError('create', directory, error);
      }
      realFiles.syncDirectory(runs);
      return directory;
    }
  } catch (error) {
    throw noRunFolder(runs, error);
  }
}

/**
 * The newest run below a data directory.
 *
 * @param option of the command line that wants it, for the message
 * @throws PogoError USAGE when there is none
 */
export function newestRunDirectory(home: string, option = '--resume'): string {
  const runs = path.join(home, 'runs');
  // A process that was killed at its start leaves an empty folder.
  const begun = runNumbers(home).filter((number) => hasRun(path.join(runs, String(number))));
  if (begun.length === 0) {
    throw new PogoError('USAGE', `${option}: expected a run below ${runs}, found none; start one: pogo run`);
  }
  return path.join(runs, String(Math.max(...begun)));
}

/** Whether a folder holds a run. */
export function hasRun(directory: string): boolean {
  return existsSync(path.join(directory, FILE));
}

function noRunFolder(directory: string, error: unknown): PogoError {
  const { message, details } = PogoError.from(error);
  return new PogoError('IO', `cannot make the run folder ${directory}: ${message}; choose another with --dir`, details);
}

/** @throws PogoError IO for a folder that cannot be written */
export function writeSettings(directory: string, settings: RunSettings): void {
  try {
    realFiles.makeDirectory(directory);
  } catch (error) {
    throw noRunFolder(directory, error);
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
