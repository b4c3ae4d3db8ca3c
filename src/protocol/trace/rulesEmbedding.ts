// exact-arithmetic
/**
 * Rules of the token and position tables (docs/numerics.md §4, embed and embedBackward). Scatter sums run: every token's
 * term is added to the sum at the last token of the same table row, and where that is, is committed too.
 */
import { PANEL } from '../../reference/quantize8.js';
import { bf16, bf16Row, f32, inverse } from '../../reference/scalars.js';
import { type Rule, rowGroups, type Source, single } from './program.js';

/** Tokens whose last occurrences are looked up together. */
export const LOOKUP = 1024;

/**
 * u32 [T]: tokens of the unit's sequences out of the token file; targets are one further on.
 *
 * @param offsets first token of each sequence, drawn
 */
export function tokensRule(
  file: Source,
  type: 'u16' | 'u32',
  offsets: () => readonly number[],
  context: number,
  shift: 0 | 1,
): Rule {
  return {
    kind: 'tokens',
    inputs: [file],
    span: rowGroups(context, 64),
    compute(read, start, out) {
      const first = (offsets()[Math.floor(start / context)] as number) + (start % context) + shift;
      (out as Uint32Array).set(read[type](0, first, out.length));
    },
  };
}

/** bf16 [T, C]: the sum of a token's and a position's row. */
export function embedRule(tokens: Source, wte: Source, wpe: Source, C: number, context: number): Rule {
  return {
    kind: 'embed',
    inputs: [tokens, wte, wpe],
    span: rowGroups(C, 256),
    compute(read, start, out) {
      const t = Math.floor(start / C);
      const first = start % C;
      const token = read.u32(0, t, 1)[0];
      const a = read.f32(1, token * C + first, out.length);
      const b = read.f32(2, (t % context) * C + first, out.length);
      for (let i = 0; i < out.length; i += 1) out[i] = bf16(f32(a[i] + b[i]));
    },
  };
}

/** bf16 [T, C]: a token's row times a factor. */
export function scaledEmbedRule(tokens: Source, wte: Source, C: number, scale: number): Rule {
  return {
    kind: 'embed.scaled',
    inputs: [tokens, wte],
    span: rowGroups(C, 256),
    compute(read, start, out) {
      const token = read.u32(0, Math.floor(start / C), 1)[0];
      const row = read.f32(1, token * C + (start % C), out.length);
      for (let i = 0; i < out.length; i += 1) out[i] = bf16(f32(row[i] * f32(scale)));
    },
  };
}

/**
 * i32 [⌈T / 1024⌉ + 1, V]: row s holds, for each table row, the last of the tokens before 1024·s that names it, or −1.
 */
export function lastOccurrenceRule(tokens: Source, self: Source, T: number, V: number): Rule {
  return {
    kind: 'scatter.last',
    inputs: [tokens, self],
    span: single,
    compute(read, start, out) {
      const segment = Math.floor(start / V);
      if (segment === 0) {
        out[0] = -1;
        return;
      }
      const first = (segment - 1) * LOOKUP;
      const found = lastOf(read.u32(0, first, Math.min(LOOKUP, T - first)), start % V);
      out[0] = found >= 0 ? first + found : read.i32(1, start - V, 1)[0];
    },
    whole({ read }, out) {
      const all = read.u32(0, 0, T);
      out.fill(-1, 0, V);
      for (let first = 0, row = V; first < T; first += LOOKUP, row += V) {
        out.copyWithin(row, row - V, row);
        for (let t = first; t < Math.min(T, first + LOOKUP); t += 1) out[row + all[t]] = t;
      }
    },
  };
}

/** Index of the last entry that is `value`; −1 without any. */
function lastOf(entries: Uint32Array, value: number): number {
  for (let i = entries.length - 1; i >= 0; i -= 1) if (entries[i] === value) return i;
  return -1;
}

/** A term of a scatter sum: f32 values of columns [first, first + out.length) of token t. */
type Terms = (read: Parameters<Rule['compute']>[0], t: number, first: number, out: Float32Array) => void;

/** f32 [T, C]: after each token the sum of its table row so far. */
function scatterRule(
  kind: string,
  inputs: Source[],
  tokens: Source,
  last: Source,
  self: Source,
  C: number,
  V: number,
  terms: Terms,
): Rule {
  const from = inputs.length;
  return {
    kind,
    inputs: [...inputs, tokens, last, self],
    span: rowGroups(C, 256),
    compute(read, start, out) {
      const t = Math.floor(start / C);
      const first = start % C;
      const sums = out as Float32Array;
      terms(read, t, first, sums);
      const segment = Math.floor(t / LOOKUP);
      const seen = read.u32(from, segment * LOOKUP, t - segment * LOOKUP + 1);
      const row = seen[seen.length - 1];
      const near = lastOf(seen.subarray(0, seen.length - 1), row);
      const before = near >= 0 ? segment * LOOKUP + near : read.i32(from + 1, segment * V + row, 1)[0];
      if (before < 0) return;
      const sum = read.f32(from + 2, before * C + first, sums.length);
      for (let i = 0; i < sums.length; i += 1) sums[i] = f32(sum[i] + sums[i]);
    },
  };
}

/** S1: scatter of (code·scale)·1/T by targets. Scales are [P(C), T]. */
export function targetScatterRule(
  codes: Source,
  scales: Source,
  targets: Source,
  last: Source,
  self: Source,
  { T, C, V }: { readonly T: number; readonly C: number; readonly V: number },
): Rule {
  return scatterRule('scatter.targets', [codes, scales], targets, last, self, C, V, (read, t, first, out) => {
    const row = read.i8(0, t * C + first, out.length);
    // Groups of 256 never straddle a panel of 1024.
    const scale = read.f32(1, Math.floor(first / PANEL) * T + t, 1)[0];
    for (let i = 0; i < out.length; i += 1) out[i] = f32(f32(row[i] * scale) * inverse(T));
  });
}

/** S2: scatter of dx by tokens, each times `scale`: 1 changes no bit. */
export function tokenScatterRule(
  dx: Source,
  tokens: Source,
  last: Source,
  self: Source,
  { C, V, scale }: { readonly C: number; readonly V: number; readonly scale: number },
): Rule {
  const kind = scale === 1 ? 'scatter.tokens' : 'scatter.tokens.scaled';
  return scatterRule(kind, [dx], tokens, last, self, C, V, (read, t, first, out) => {
    bf16Row(read.u16(0, t * C + first, out.length), 0, out.length, out);
    for (let i = 0; i < out.length; i += 1) out[i] = f32(out[i] * f32(scale));
  });
}

/** f32 [T, C]: sums over the sequences so far, for each position; the last `context` rows are the gradient of wpe. */
export function positionScatterRule(dx: Source, self: Source, C: number, context: number): Rule {
  return {
    kind: 'scatter.positions',
    inputs: [dx, self],
    span: rowGroups(C, 256),
    compute(read, start, out) {
      const sums = out as Float32Array;
      bf16Row(read.u16(0, start, sums.length), 0, sums.length, sums);
      if (start < context * C) return;
      const before = read.f32(1, start - context * C, sums.length);
      for (let i = 0; i < sums.length; i += 1) sums[i] = f32(before[i] + sums[i]);
    },
  };
}

/** One table of last occurrences with its running sums. */
export interface Scatter {
  readonly last: Source;
  readonly sums: Source;
}

/** f32 [V, C]: (dense − S1) + S2. */
export function tableGradientRule(
  dense: Source,
  targets: Scatter,
  tokens: Scatter,
  { T, C, V }: { readonly T: number; readonly C: number; readonly V: number },
): Rule {
  const end = Math.ceil(T / LOOKUP) * V;
  return {
    kind: 'scatter.table',
    inputs: [dense, targets.last, targets.sums, tokens.last, tokens.sums],
    span: rowGroups(C, 256),
    compute(read, start, out) {
      const row = Math.floor(start / C);
      const first = start % C;
      const sum = (last: number, sums: number): Float32Array => {
        const t = read.i32(last, end + row, 1)[0];
        return t < 0 ? new Float32Array(out.length) : read.f32(sums, t * C + first, out.length);
      };
      const value = read.f32(0, start, out.length);
      const s1 = sum(1, 2);
      const s2 = sum(3, 4);
      for (let i = 0; i < out.length; i += 1) out[i] = f32(f32(value[i] - s1[i]) + s2[i]);
    },
  };
}
