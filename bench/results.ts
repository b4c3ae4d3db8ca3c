/** Files of bench lines (`--json`), as `bench/measure.mjs` writes them. */

import { readFileSync } from 'node:fs';
import { PogoError } from '../src/errors.js';
import type { GroupOutput } from './group.js';

/** The measured and skipped lines of a file, in order; other lines of it (which parts are done) are passed over. */
export function readResults(file: string): GroupOutput[] {
  let text: string;
  try {
    text = readFileSync(file, 'utf8');
  } catch (cause) {
    throw new PogoError('IO', `--from: expected a file of bench lines at ${file}, found none`, { path: file }, cause);
  }
  return text
    .split('\n')
    .filter((line) => line !== '')
    .map((line, i) => parse(line, `${file}:${i + 1}`))
    .filter((line): line is GroupOutput => line.type === 'bench' || line.type === 'bench-skipped');
}

const OLDER = 'expected a bench line with its spread, found one of an older version; measure again';

function parse(line: string, where: string): { readonly type: string } {
  try {
    const value = JSON.parse(line) as { readonly type?: unknown } | null;
    if (value?.type === 'bench' && !('spread' in value)) throw new PogoError('USAGE', `${where}: ${OLDER}`);
    if (typeof value?.type === 'string') return { ...value, type: value.type };
  } catch (error) {
    if (error instanceof PogoError) throw error;
    // Said below, with its place.
  }
  throw new PogoError('USAGE', `${where}: expected a bench line, found ${JSON.stringify(line.slice(0, 60))}`);
}
