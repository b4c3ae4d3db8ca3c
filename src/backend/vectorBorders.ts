/**
 * Vectors whose inputs lie where the last bit of a constant decides a bit of the output.
 *
 * Random inputs would let a constant with a wrong last digit pass: it changes one value in a million, and one such
 * value in a claim would convict an honest miner. `scripts/find-vector-inputs.mjs` found these inputs.
 */
import { BORDER_INPUTS } from './vectorBorderInputs.js';
import type { VectorCase } from './vectorCase.js';
import type { ArgumentSpec, Dtype, TensorSpec } from './vectorInputs.js';

type Poke = readonly [number, string];

const ONE = '3F800000';

/** Zeros with single elements set. */
function sparse(dtype: Dtype, length: number, poke: readonly Poke[]): TensorSpec {
  return { dtype, length, fill: 'zero', poke };
}

function out(dtype: Dtype, length: number, poke: readonly Poke[] = []): TensorSpec {
  return { ...sparse(dtype, length, poke), out: true };
}

const bias: TensorSpec = { dtype: 'f32', length: 0, fill: 'zero' };
const f32 = (bits: string): { readonly f32: string } => ({ f32: bits });
/** The magnitude of a binary32 and its sign as a code ±1. */
const magnitude = (bits: string): string =>
  (Number.parseInt(bits, 16) & 0x7fffffff).toString(16).padStart(8, '0').toUpperCase();
const signCode = (bits: string): string => (Number.parseInt(bits, 16) >>> 31 === 1 ? 'FF' : '01');

/** u = ±1 · (|u| · 1) in column 0 of row t: the row's scale shows gelu(u), the derivative its code. */
function geluBorders(): Record<string, ArgumentSpec> {
  const inputs = BORDER_INPUTS.gelu.map(([, bits]) => bits);
  const T = inputs.length;
  return {
    a: sparse(
      'i8',
      T * 64,
      inputs.map((bits, t) => [t * 64, signCode(bits)]),
    ),
    aScales: sparse(
      'f32',
      T,
      inputs.map((bits, t) => [t, magnitude(bits)]),
    ),
    w: sparse('i8', 64 * 64, [[0, '01']]),
    wScales: sparse('f32', 64, [[0, ONE]]),
    bias,
    codes: out('i8', T * 64),
    scales: out('f32', T),
    derivative: out('i8', T * 64),
    T,
    N: 64,
    K: 64,
  };
}

/** One sequence of 64 an input; only its first two tokens matter. */
function attentionBorders(): Record<string, ArgumentSpec> {
  const { lambda, least, unsigned } = BORDER_INPUTS;
  const T = 64 * (lambda.length + least.length + unsigned.length);
  const codes: Poke[] = [];
  const scales: Poke[] = [];
  let first = 0;
  // Score −sk of query 1 against key 0, and 0 against its own key: λ = log2(1 + p).
  for (const [, bits] of [...lambda, ...least]) {
    codes.push([first * 192 + 64, 'FF'], [(first + 1) * 192, '01']);
    scales.push([first + 1, ONE], [T + first, bits]);
    first += 64;
  }
  // Only key 0 has a value: the smallest probability shows in the output.
  for (let i = lambda.length; i < lambda.length + least.length; i += 1) {
    codes.push([i * 64 * 192 + 128, '7F']);
    scales.push([2 * T + i * 64, ONE]);
  }
  // Equal scores; value scales [s, 1]: the output is the code of key 0.
  for (const [, bits] of unsigned) {
    codes.push([first * 192 + 128, '01']);
    scales.push([2 * T + first, bits], [2 * T + first + 1, ONE]);
    first += 64;
  }
  return {
    qkv: sparse('i8', T * 192, codes),
    qkvScales: sparse('f32', 3 * T, scales),
    o: out('u16', T * 64),
    lambda: out('f32', T),
    T,
    C: 64,
    H: 1,
    context: 64,
  };
}

/** A row holds an absmax and a value at a rounding border. */
function weightBorders(): Record<string, ArgumentSpec> {
  const theta: Poke[] = BORDER_INPUTS.weight.flatMap(([, absmax, x], row): Poke[] => [
    [row * 64, absmax],
    [row * 64 + 1, x],
  ]);
  return {
    theta: sparse('f32', 64 * 64, theta),
    w: out('i8', 64 * 64),
    wScales: out('f32', 64),
    wt: out('i8', 64 * 64),
    wtScales: out('f32', 64),
    N: 64,
    K: 64,
  };
}

/** A block with one value, whose scale lies at a border of bf16. */
function modelBorders(bits: 4 | 8): Record<string, ArgumentSpec> {
  const inputs = bits === 4 ? BORDER_INPUTS.model4 : BORDER_INPUTS.model8;
  const values = inputs.map(([, value], block): Poke => [block * 64, value]);
  const codes = out('u8', bits === 4 ? 128 : 256);
  return { x: sparse('f32', 256, values), codes, scales: out('u16', 4), n: 256, bits };
}

/** Thresholds met exactly: g = 2⁻⁴⁸, m' = 2⁻⁶⁰, v' = 2⁻¹¹⁰ are not flushed. */
const thresholds: Record<string, ArgumentSpec> = {
  theta: out('f32', 256),
  m: out('f32', 256, [[1, '22000000']]),
  v: out('f32', 256, [[2, '09000000']]),
  ema: bias,
  codes: { list: [sparse('u8', 128, [[0, '01']])] },
  scales: { list: [sparse('u16', 4, [[0, '2780']])] },
  n: 256,
  beta1: f32('3F000000'),
  beta2: f32('3F000000'),
  b1t: f32('3F000000'),
  b2t: f32('3F000000'),
  epsilon: f32('322BCC77'),
  weightDecay: f32('00000000'),
  learningRate: f32('3B449BA6'),
  emaDecay: f32('3F29D2F2'),
  updateEma: false,
};

function ditherBorders(x: string, n: number): Record<string, ArgumentSpec> {
  return {
    x: sparse('f32', 64, [
      [0, ONE],
      [n, x],
    ]),
    codes: out('u8', 128),
    scales: out('u16', 4),
    seed: sparse('u32', 4, [
      [0, '1'],
      [1, '2'],
      [2, '3'],
      [3, '4'],
    ]),
    rows: 1,
    cols: 64,
  };
}

const quick = true;

/** All of them are part of the check at start-up. */
export const BORDER_CASES: readonly VectorCase[] = [
  { operation: 'linearGelu', name: 'last bits of exp2 and gelu', quick, args: geluBorders() },
  { operation: 'attentionForward', name: 'last bits of exp2c and log2', quick, args: attentionBorders() },
  { operation: 'quantizeWeight', name: 'last bit of the 8-bit constant', quick, args: weightBorders() },
  { operation: 'packModel', name: 'last bit of the 4-bit constant', quick, args: modelBorders(4) },
  { operation: 'packModel', name: 'last bit of the 8-bit model constant', quick, args: modelBorders(8) },
  { operation: 'commitLeaves', name: 'thresholds of the flushes', quick, args: thresholds },
  ...BORDER_INPUTS.dither.map(
    ([, x, column], i): VectorCase => ({
      operation: 'quantize4',
      name: `last bit of the dither ${i + 1}`,
      quick,
      args: ditherBorders(x, new Float32Array(new Uint32Array([Number.parseInt(column, 16)]).buffer)[0]),
    }),
  ),
];
