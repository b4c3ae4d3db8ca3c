/** The flags of the bench program. */

import { parseArgs } from 'node:util';
import { PogoError } from '../src/errors.js';

const OPTIONS = {
  only: { type: 'string' },
  recipe: { type: 'string', default: 'moby' },
  json: { type: 'boolean', default: false },
  markdown: { type: 'boolean', default: false },
  peers: { type: 'boolean', default: true },
  'peer-modes': { type: 'string' },
  seconds: { type: 'string', default: '240' },
  quick: { type: 'boolean', default: false },
  lanes: { type: 'string' },
  folder: { type: 'string', default: 'bench' },
  from: { type: 'string' },
  compare: { type: 'boolean', default: false },
  baseline: { type: 'string' },
  'write-baseline': { type: 'boolean', default: false },
  experiment: { type: 'string' },
  run: { type: 'string', default: 'exact' },
  timed: { type: 'boolean', default: false },
  steps: { type: 'string' },
} as const;

export type Flags = ReturnType<typeof parseFlags>;

/** `--compare FILE` is `--compare --baseline FILE`: a flag of parseArgs cannot have a value only sometimes. */
function withOptionalFile(args: readonly string[]): string[] {
  return args.flatMap((arg, i) => {
    const file = args[i + 1];
    const takesFile = arg === '--compare' || arg === '--write-baseline';
    return takesFile && file !== undefined && !file.startsWith('-') ? [arg, '--baseline'] : [arg];
  });
}

export function parseFlags(args: readonly string[]) {
  try {
    return parseArgs({ args: withOptionalFile(args), options: OPTIONS, allowNegative: true, strict: true }).values;
  } catch (cause) {
    throw new PogoError('USAGE', cause instanceof Error ? cause.message : String(cause));
  }
}

/** @throws PogoError USAGE */
export function positive(text: string | undefined, name: string): number | undefined {
  if (text === undefined) return undefined;
  const value = Number(text);
  if (Number.isSafeInteger(value) && value > 0) return value;
  throw new PogoError('USAGE', `--${name}: expected a positive integer, found ${text}`);
}
