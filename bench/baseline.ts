/**
 * `bench/baseline.json`: ratios that a class of machines reached, and what got slower since.
 *
 * Only ratios are kept: to a ceiling and to a peer that were measured in the same run, they hold for another machine of
 * the class, as values would not. A class is the processor's features and its cores; a line is its name, recipe and
 * instruction set.
 */

import { readFileSync, writeFileSync } from 'node:fs';
import { PogoError } from '../src/errors.js';
import { type BenchLine, round } from './harness.js';

/** What a line reached: share of its ceiling, times as fast as its peer. */
export interface Ratios {
  readonly ratio?: number;
  readonly peerRatio?: number;
}

export interface Baseline {
  readonly classes: Readonly<Record<string, Readonly<Record<string, Ratios>>>>;
}

/** A ratio that moved by more than the allowance, or has no counterpart. */
export interface Change {
  readonly line: string;
  readonly measure: 'ratio' | 'peerRatio';
  readonly before: number;
  readonly now: number;
  /** now ÷ before */
  readonly change: number;
  /** share that the measure may lose before it counts */
  readonly allowance: number;
}

export interface Comparison {
  readonly type: 'bench-compare';
  readonly time: string;
  readonly machineClass: string;
  readonly compared: number;
  readonly slower: readonly Change[];
  readonly faster: readonly Change[];
  /** lines without a counterpart in the baseline */
  readonly unknown: readonly string[];
}

/** Loss that counts at least: two runs of one build on an idle machine differ by a few percent. */
export const LEAST_ALLOWANCE = 0.1;
/** Loss that counts, in median absolute deviations of the samples. */
const DEVIATIONS = 3;
const MEASURES = ['ratio', 'peerRatio'] as const;

/** Features and cores; the same string on machines that the same ratios are expected of. */
export function machineClass({ features, cores }: Pick<BenchLine, 'features' | 'cores'>): string {
  return `${[...features].sort().join(' ') || 'no features known'}, ${cores} cores`;
}

/** Name, recipe and instruction set of a line. */
export function lineKey(line: BenchLine): string {
  const recipe = line.details['recipe'];
  return `${line.name}${typeof recipe === 'string' ? ` ${recipe}` : ''} ${line.isa}`;
}

/** @throws PogoError USAGE where the file is missing or is no baseline */
export function readBaseline(file: string): Baseline {
  let value: unknown;
  try {
    value = JSON.parse(readFileSync(file, 'utf8'));
  } catch (cause) {
    const reason = cause instanceof Error ? cause.message : String(cause);
    throw new PogoError('USAGE', `baseline: expected a file of --write-baseline at ${file}, found none: ${reason}`);
  }
  const classes = (value as Partial<Baseline> | null)?.classes;
  if (typeof classes !== 'object' || classes === null) {
    throw new PogoError('USAGE', `baseline: expected {"classes": …} in ${file}, found something else`);
  }
  return { classes };
}

/** The baseline with the ratios of these lines in the place of older ones; other classes and lines stay. */
export function withLines(baseline: Baseline, lines: readonly BenchLine[]): Baseline {
  const classes: Record<string, Record<string, Ratios>> = {};
  for (const [name, known] of Object.entries(baseline.classes)) classes[name] = { ...known };
  for (const line of lines) {
    const ratios: { ratio?: number; peerRatio?: number } = {};
    for (const measure of MEASURES) {
      const value = line[measure];
      if (value !== null) ratios[measure] = round(value, 3);
    }
    if (Object.keys(ratios).length === 0) continue;
    const name = machineClass(line);
    classes[name] ??= {};
    classes[name][lineKey(line)] = ratios;
  }
  return { classes: sorted(classes, (known) => sorted(known, (ratios) => ratios)) };
}

function sorted<T, U>(record: Readonly<Record<string, T>>, map: (value: T) => U): Record<string, U> {
  const names = Object.keys(record).sort();
  return Object.fromEntries(names.map((name) => [name, map(record[name])]));
}

/** Writes a baseline: one line of text a bench line, so that a change reads well in a diff. */
export function writeBaseline(file: string, baseline: Baseline): void {
  const classes = Object.entries(baseline.classes).map(([name, known]) => {
    const rows = Object.entries(known).map(([key, ratios]) => {
      const fields = Object.entries(ratios).map(([measure, value]) => `"${measure}": ${value}`);
      return `      ${JSON.stringify(key)}: { ${fields.join(', ')} }`;
    });
    return `    ${JSON.stringify(name)}: {\n${rows.join(',\n')}\n    }`;
  });
  writeFileSync(file, `{\n  "classes": {\n${classes.join(',\n')}\n  }\n}\n`);
}

/** Loss that counts however the samples scatter: a disturbed run hides no halving. */
export const MOST_ALLOWANCE = 0.5;

/** Share that a line may lose: what its samples scatter, within {@link LEAST_ALLOWANCE} and {@link MOST_ALLOWANCE}. */
function allowanceOf(line: BenchLine): number {
  const scatter = line.value === 0 ? 0 : line.spread.mad / line.value;
  return Math.min(MOST_ALLOWANCE, Math.max(LEAST_ALLOWANCE, DEVIATIONS * scatter));
}

/** What moved between a baseline and lines of one machine. */
export function compare(baseline: Baseline, lines: readonly BenchLine[]): Comparison {
  const name = machineClass(lines[0] ?? { features: [], cores: 0 });
  const known = baseline.classes[name] ?? {};
  const slower: Change[] = [];
  const faster: Change[] = [];
  const unknown: string[] = [];
  let compared = 0;
  for (const line of lines) {
    const key = lineKey(line);
    const before = known[key];
    const allowance = round(allowanceOf(line), 3);
    for (const measure of MEASURES) {
      const [old, now] = [before?.[measure], line[measure]];
      if (now === null) continue;
      if (old === undefined) {
        unknown.push(`${key} ${measure}`);
        continue;
      }
      compared += 1;
      const change = { line: key, measure, before: old, now, change: round(now / old, 3), allowance };
      if (now < old * (1 - allowance)) slower.push(change);
      else if (now > old / (1 - allowance)) faster.push(change);
    }
  }
  return {
    type: 'bench-compare',
    time: new Date().toISOString(),
    machineClass: name,
    compared,
    slower,
    faster,
    unknown,
  };
}

/** A comparison for people. */
export function comparisonText(comparison: Comparison): string {
  const { slower, faster, unknown, compared } = comparison;
  const row = ({ line, measure, before, now, change, allowance }: Change): string =>
    `  ${line}: ${measure} ${before} → ${now} (${(100 * change).toFixed(0)} %, allowed ${(100 * (1 - allowance)).toFixed(0)} %)`;
  const lines = [`${compared} ratios compared with the baseline of: ${comparison.machineClass}`];
  if (slower.length > 0) lines.push('slower:', ...slower.map(row));
  else if (compared > 0) lines.push('nothing got slower');
  if (faster.length > 0) lines.push('faster:', ...faster.map(row));
  if (unknown.length > 0) lines.push(`not in the baseline: ${unknown.join(', ')}`);
  return `${lines.join('\n')}\n`;
}
