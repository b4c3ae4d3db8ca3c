import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, describe, expect, it } from 'vitest';
import { exactFiles, lintFround } from '../../scripts/lint-fround.mjs';

const folder = mkdtempSync(join(tmpdir(), 'lint-fround-'));
afterAll(() => rmSync(folder, { recursive: true }));

/** Each body becomes a function that is given float arrays, integers and a helper. */
function write(body: string, index: number): string {
  const file = join(folder, `case${index}.ts`);
  writeFileSync(
    file,
    `const f32 = Math.fround; const LEAF = 256;
     function half(v: number): number { return f32(v * 0.5); }
     export function kernel(x: Float32Array, y: Float32Array, n: number, step: number): number { ${body} }
     export const unused = [half, LEAF, (s: { rate: number }) => f32(s.rate * 2)];`,
  );
  return file;
}

const ACCEPTED: [string, string][] = [
  ['one rounding an operation', 'let s = 0; for (let i = 0; i < n; i += 1) s = f32(s + f32(x[i] * y[i])); return s;'],
  ['integer indices', 'const row = n * 4 + step; return x[row % 3] < y[row - 1] ? row : n - row;'],
  ['integers made of divisions', 'return Math.floor(n / 2) + ((step / 3) | 0) + n / LEAF;'],
  ['a rounded root', 'return f32(1 / f32(Math.sqrt(x[0])));'],
  ['negation and comparison', 'return -x[0] < y[0] ? -half(x[1]) : 0;'],
  ['string concatenation', 'return (String(n) + x[0]).length;'],
  ['bigint', 'return Number(BigInt(n) * 3n / 2n);'],
];

const REPORTED: [string, string][] = [
  ['a bare product', 'return x[0] * 2;'],
  ['two operations in one rounding', 'return f32(x[0] * y[0] + 1);'],
  ['a float through a variable', 'const a = x[0]; const b = a; return b + 1;'],
  ['a float through a function', 'return half(x[0]) - 1;'],
  ['a float through a conditional', 'const a = n > 0 ? x[0] : 0; return a * a;'],
  ['a parameter used as a float', 'x[0] = f32(x[1] * step); return step + 1;'],
  ['a compound sum', 'let s = x[0]; s += x[1]; return s;'],
  ['a compound sum into an array', 'x[0] -= 1; return n;'],
  ['a remainder', 'return x[0] % 2;'],
  ['a power', 'return x[0] ** 2;'],
  ['an unrounded division of integers', 'return n / step;'],
  ['an unrounded root', 'return Math.sqrt(n);'],
  ['a library function', 'return f32(Math.exp(x[0]));'],
  ['rounding half up', 'return Math.round(x[0]);'],
  ['a float maximum', 'return Math.max(x[0], y[0]);'],
  ['an increment', 'x[0]++; return n;'],
  ['double precision', 'return new Float64Array(n).length;'],
];

describe('lint of exact arithmetic', () => {
  const files = [...ACCEPTED, ...REPORTED].map(([, body], index) => write(body, index));
  // One program for all cases: starting the compiler is what takes time.
  const problems = lintFround(files, { types: [], noUnusedLocals: false, noUnusedParameters: false });
  const of = (index: number): string[] => problems.filter((p) => p.file === files[index]).map((p) => p.message);

  it.each(ACCEPTED.map(([name], index) => [name, index] as const))('accepts %s', (_name, index) => {
    expect(of(index)).toEqual([]);
  });
  it.each(REPORTED.map(([name], index) => [name, index + ACCEPTED.length] as const))('reports %s', (_name, index) => {
    expect(of(index).length).toBeGreaterThan(0);
  });
  it('holds for the reference', () => {
    expect(lintFround(exactFiles())).toEqual([]);
  });
});
