/**
 * Random arguments for every operation of the registry: legal shapes, odd where they may be, and hostile values.
 */
import type { Kernels, OperationName } from '../../src/backend/ops.js';
import { diffModel } from '../../src/reference/diffModel.js';

/** A counter-based generator: the same seed, the same arguments. */
export class Random {
  private state: number;

  constructor(seed: number) {
    this.state = seed >>> 0;
  }

  word(): number {
    this.state = (this.state + 0x9e3779b9) >>> 0;
    let x = this.state;
    x = Math.imul(x ^ (x >>> 16), 0x7feb352d);
    x = Math.imul(x ^ (x >>> 15), 0x846ca68b);
    return (x ^ (x >>> 16)) >>> 0;
  }

  /** An integer in [low, high]. */
  between(low: number, high: number): number {
    return low + (this.word() % (high - low + 1));
  }

  pick<T>(values: readonly T[]): T {
    return values[this.word() % values.length]!;
  }

  flag(): boolean {
    return (this.word() & 1) === 1;
  }
}

/** Values of a test: ordinary, integer extremes, with rows of zero, tiny or huge, mixed with −0 and subnormals. */
export const STYLES = ['ordinary', 'extreme', 'zeros', 'tiny', 'huge', 'edges'] as const;
export type Style = (typeof STYLES)[number];

/** Exponent of fp32 values by style; the operation's natural magnitude is added. */
const EXPONENT: Record<Style, number> = { ordinary: 0, extreme: 0, zeros: 0, tiny: -90, huge: 30, edges: 0 };

const panels = (k: number): number => Math.ceil(k / 1024);

export class Arguments {
  readonly r: Random;
  readonly style: Style;

  constructor(seed: number, style: Style) {
    this.r = new Random(seed);
    this.style = style;
  }

  codes(length: number, row = length): Int8Array {
    const x = new Int8Array(length);
    for (let i = 0; i < length; i += 1) {
      x[i] = this.style === 'extreme' ? (this.r.flag() ? 127 : -127) : this.r.between(-127, 127);
    }
    if (this.style === 'zeros') x.fill(0, 0, row);
    return x;
  }

  /** Binary32 bits: sign, exponent e … e + span − 1, random mantissa. */
  private bits(e: number, span: number, signed: boolean): number {
    const word = this.r.word();
    if (this.style === 'edges') {
      const kind = word % 16;
      if (kind === 0) return signed ? 0x80000000 : 0;
      if (kind === 1) return word >>> 10; // subnormal
      if (kind === 2) return 0x00800000;
    }
    const exponent = Math.min(250, Math.max(1, 127 + e + EXPONENT[this.style] + this.r.between(0, span - 1)));
    return ((signed && (word & 1) === 1 ? 0x80000000 : 0) | (exponent << 23) | (word >>> 9)) >>> 0;
  }

  f32(length: number, e = -4, span = 4): Float32Array {
    const words = new Uint32Array(length);
    for (let i = 0; i < length; i += 1) words[i] = this.bits(e, span, true);
    if (this.style === 'zeros') words.fill(0, 0, Math.min(length, 64));
    return new Float32Array(words.buffer);
  }

  /** Non-negative values: scales, reciprocal deviations, second moments. */
  positive(length: number, e = -8, span = 3): Float32Array {
    const words = new Uint32Array(length);
    for (let i = 0; i < length; i += 1) words[i] = this.bits(e, span, false);
    if (this.style === 'zeros') words[this.r.word() % length] = 0;
    return new Float32Array(words.buffer);
  }

  /** Moderate values whatever the style, for arguments that are never extreme. */
  calm(length: number, e = -1, span = 2): Float32Array {
    const calm = new Arguments(this.r.word(), 'ordinary');
    return calm.f32(length, e, span);
  }

  bf16(length: number, e = -4, span = 4): Uint16Array {
    const x = this.f32(length, e, span);
    const words = new Uint32Array(x.buffer);
    const out = new Uint16Array(length);
    for (let i = 0; i < length; i += 1) out[i] = words[i]! >>> 16;
    return out;
  }

  index(length: number, limit: number): Uint32Array {
    const x = new Uint32Array(length);
    for (let i = 0; i < length; i += 1) x[i] = this.r.word() % limit;
    return x;
  }

  seed(): Uint32Array {
    return Uint32Array.from({ length: 4 }, () => this.r.word());
  }

  nibbles(length: number): Uint8Array {
    const x = new Uint8Array(length);
    for (let i = 0; i < length; i += 1) x[i] = (this.r.between(-7, 7) & 15) | ((this.r.between(-7, 7) & 15) << 4);
    return x;
  }

  /** Scales of codes that do not overflow a bf16 or an exponential. */
  scales(length: number, e = -9): Float32Array {
    return this.style === 'huge' ? this.calm(length, e).map(Math.abs) : this.positive(length, e);
  }

  bias(length: number): Float32Array {
    return this.r.flag() ? this.calm(length) : new Float32Array(0);
  }

  /** A contracted length: borders of pairs, tiles and panels. */
  contracted(): number {
    return this.r.pick([1, 2, 7, 15, 16, 17, 63, 64, 65, 191, 192, 1023, 1024, 1025, 1088, 2049]);
  }

  rows(): number {
    return this.r.pick([1, 2, 5, 6, 7, 12, 47, 48, 49, 63, 64, 65, 70]);
  }

  width(max = 3): number {
    return 64 * this.r.between(1, max);
  }
}

const out8 = (n: number): Int8Array => new Int8Array(n).fill(99);
const out16 = (n: number): Uint16Array => new Uint16Array(n).fill(999);
const outF = (n: number): Float32Array => new Float32Array(n).fill(-99);

function product(a: Arguments, rows: number, cols: number, K: number) {
  return {
    a: a.codes(rows * K, K),
    aScales: a.scales(panels(K) * rows),
    w: a.codes(cols * K, K),
    wScales: a.scales(panels(K) * cols),
  };
}

function backward(a: Arguments, T: number, N: number, K: number) {
  const { a: e, aScales: eScales, w: wt, wScales: wtScales } = product(a, T, K, N);
  return { e, eScales, wt, wtScales, T, N, K };
}

type Make = { [K in OperationName]: (a: Arguments) => Parameters<Kernels[K]>[0] };

/** A fresh legal argument object of each operation. */
export const MAKE: Make = {
  fillZero: (a) => ({ x: a.f32(a.r.between(1, 300)) }),
  embed: (a) => {
    const [T, C, context, V] = [a.rows(), a.width(), a.r.between(1, 80), a.r.between(1, 40)];
    return { tokens: a.index(T, V), wte: a.f32(V * C), wpe: a.f32(context * C), x: out16(T * C), T, C, context };
  },
  normForward: (a) => {
    const [T, C, layer] = [a.rows(), a.r.pick([64, 128, 192, 1024, 1088]), a.r.flag()];
    return {
      x: a.bf16(T * C),
      gain: a.calm(C),
      bias: layer ? a.calm(C) : new Float32Array(0),
      codes: out8(T * C),
      scales: outF(panels(C) * T),
      rstd: outF(T),
      mean: outF(layer ? T : 0),
      T,
      C,
      layer,
      epsilon: Math.fround(1e-5),
    };
  },
  normBackward: (a) => {
    const [T, C, layer] = [a.rows(), a.width(), a.r.flag()];
    return {
      dy: a.bf16(T * C, -12),
      x: a.bf16(T * C),
      gain: a.calm(C),
      rstd: a.calm(T).map(Math.abs),
      mean: layer ? a.calm(T) : new Float32Array(0),
      dx: a.bf16(T * C, -12),
      dGain: a.calm(C),
      dBias: layer ? a.calm(C) : new Float32Array(0),
      T,
      C,
      layer,
      residual: a.r.flag(),
      accumulate: a.r.flag(),
    };
  },
  gemm: (a) => {
    const [M, N, K] = [a.rows(), a.r.between(1, 70), a.contracted()];
    const { w: b, wScales: bScales, ...rest } = product(a, M, N, K);
    return { ...rest, b, bScales, y: outF(M * N), M, N, K };
  },
  linearQkv: (a) => {
    const [T, h] = [a.rows(), a.r.pick([32, 64, 128, 256])];
    const H = h === 32 ? 2 * a.r.between(1, 2) : a.r.between(1, 2);
    const C = h * H;
    return {
      ...product(a, T, 3 * C, C),
      bias: a.bias(3 * C),
      codes: out8(3 * T * C),
      scales: outF(3 * H * T),
      T,
      C,
      H,
    };
  },
  linearResidual: (a) => {
    const [T, N, K] = [a.rows(), a.width(), a.contracted()];
    return { ...product(a, T, N, K), bias: a.bias(N), x: a.bf16(T * N), y: out16(T * N), T, N, K };
  },
  linearGelu: (a) => {
    const [T, N, K] = [a.r.between(1, 13), a.r.pick([64, 128, 1024, 1088]), a.r.pick([64, 65, 128])];
    return {
      ...product(a, T, N, K),
      bias: a.bias(N),
      codes: out8(T * N),
      scales: outF(panels(N) * T),
      derivative: out8(T * N),
      T,
      N,
      K,
    };
  },
  attentionForward: (a) => {
    const [h, context] = [a.r.pick([32, 64, 128, 256]), 64 * a.r.between(1, 3)];
    const [H, T] = [h === 32 ? 2 : a.r.between(1, 2), context * a.r.between(1, 2)];
    const C = h * H;
    return {
      qkv: a.codes(3 * T * C, C),
      qkvScales: a.scales(3 * H * T, a.r.pick([-9, -7, -5])),
      o: out16(T * C),
      lambda: outF(H * T),
      T,
      C,
      H,
      context,
    };
  },
  attentionBackward: (a) => {
    const forward = MAKE.attentionForward(a);
    const { T, C, H, context, qkv, qkvScales } = forward;
    return {
      qkv,
      qkvScales,
      dO: a.codes(T * C, C),
      dOScales: a.scales(H * T, -20),
      lambda: a.calm(H * T, 2, 2),
      dqkv: out16(3 * T * C),
      seedV: a.seed(),
      seedK: a.seed(),
      seedQ: a.seed(),
      T,
      C,
      H,
      context,
      t0: 1024 * a.r.between(0, 2),
      U: 4096,
    };
  },
  quantizeRows: (a) => {
    const [T, N] = [a.rows(), a.r.pick([64, 192, 1024, 1088])];
    return { x: a.bf16(T * N), codes: out8(T * N), scales: outF(panels(N) * T), T, N };
  },
  quantizeGradientRows: (a) => {
    const rows = MAKE.quantizeRows(a);
    return { ...rows, bias: a.bias(rows.N), seed: a.seed(), t0: 1024 * a.r.between(0, 3), accumulate: a.r.flag() };
  },
  recode: (a) => {
    const [T, N] = [a.r.pick([1, 5, 63, 64, 65, 130, 1024, 1025]), a.r.pick([1, 20, 63, 64, 65, 130])];
    return {
      codes: a.codes(T * N, N),
      scales: a.positive(panels(N) * T),
      out: out8(T * N),
      outScales: outF(panels(T) * N),
      seed: a.seed(),
      dither: a.r.flag(),
      T,
      N,
      t0: 1024 * a.r.between(0, 3),
    };
  },
  linearInputGradient: (a) => {
    // Seldom a contraction of so many panels, over so many rows, that products take another order of work.
    const deep = a.r.between(0, 7) === 0;
    const [T, N] = deep ? [a.r.pick([3, 70, 970]), a.r.pick([7169, 8192, 8200])] : [a.rows(), a.contracted()];
    const K = deep ? a.r.pick(T > 900 ? [1, 2] : [1, 33, 70]) : a.r.between(1, 130);
    return { ...backward(a, T, N, K), dx: out16(T * K) };
  },
  linearHeadsInputGradient: (a) => {
    const [T, H, h] = [a.rows(), a.r.between(1, 2), a.r.pick([64, 128, 256])];
    const K = h * H;
    return {
      ...backward(a, T, a.r.pick([64, 192]), K),
      codes: out8(T * K),
      scales: outF(H * T),
      seed: a.seed(),
      H,
      t0: 1024 * a.r.between(0, 3),
    };
  },
  linearGeluInputGradient: (a) => {
    const [T, K] = [a.rows(), a.r.pick([64, 128, 1088])];
    return {
      ...backward(a, T, 64, K),
      derivative: a.codes(T * K),
      codes: out8(T * K),
      scales: outF(panels(K) * T),
      bias: a.bias(K),
      seed: a.seed(),
      t0: 1024 * a.r.between(0, 3),
      accumulate: a.r.flag(),
    };
  },
  weightGradient: (a) => {
    const [N, K, T] = [a.r.between(1, 60), a.r.between(1, 70), a.contracted()];
    const { a: et, aScales: etScales, w: xt, wScales: xtScales } = product(a, N, K, T);
    return { et, etScales, xt, xtScales, dw: a.calm(N * K), N, K, T, accumulate: a.r.flag() };
  },
  quantizeHeads: (a) => {
    const [T, h, dither] = [a.rows(), a.r.pick([32, 64, 128, 256]), a.r.flag()];
    const H = h === 32 ? 2 * a.r.between(1, 2) : a.r.between(1, 3);
    const N = h * H;
    return {
      sum: a.f32(T * N),
      bias: a.bias(N),
      codes: out8(T * N),
      scales: outF(H * T),
      seed: dither ? a.seed() : new Uint32Array(0),
      factor: a.r.pick([1, 2, Math.fround(4 / 3), 0.125]),
      T,
      N,
      H,
      t0: 1024 * a.r.between(0, 3),
    };
  },
  addRows: (a) => {
    const [T, N] = [a.rows(), a.r.pick([64, 128, 1024, 1088])];
    return { sum: a.f32(T * N), bias: a.bias(N), x: a.bf16(T * N), y: out16(T * N), T, N };
  },
  geluRows: (a) => {
    const [T, N] = [a.rows(), a.r.pick([64, 128, 1024, 1088])];
    return {
      sum: a.f32(T * N),
      bias: a.bias(N),
      codes: out8(T * N),
      scales: outF(panels(N) * T),
      derivative: out8(T * N),
      T,
      N,
    };
  },
  roundRows: (a) => {
    const [T, N] = [a.rows(), a.r.pick([64, 128, 1024, 1088])];
    return { sum: a.f32(T * N), y: out16(T * N), T, N };
  },
  geluGradientRows: (a) => {
    const [T, N] = [a.rows(), a.r.pick([64, 128, 1088])];
    return {
      sum: a.f32(T * N),
      derivative: a.codes(T * N),
      codes: out8(T * N),
      scales: outF(panels(N) * T),
      bias: a.bias(N),
      seed: a.seed(),
      T,
      N,
      t0: 1024 * a.r.between(0, 3),
      accumulate: a.r.flag(),
    };
  },
  headForward: (a) => {
    const [T, C, V] = [a.r.between(1, 13), a.r.pick([64, 128]), a.r.pick([64, 256, 1024, 1088, 2112])];
    const last = Math.max(0, V - 63);
    const vocab = a.r.between(Math.max(last, (panels(V) - 1) * 1024 + 1), V);
    const { a: x, aScales, w, wScales } = product(a, T, V, C);
    const codes = a.r.flag();
    return {
      a: x,
      aScales,
      w,
      wScales,
      targets: a.index(T, vocab),
      codes: out8(codes ? T * V : 0),
      eScales: outF(codes ? panels(V) * T : 0),
      loss: outF(T),
      seed: a.seed(),
      T,
      C,
      V,
      vocab,
      t0: 1024 * a.r.between(0, 3),
      U: 4096,
    };
  },
  headLogits: (a) => {
    const [T, C, V] = [a.rows(), a.width(), a.r.between(1, 100)];
    return { ...product(a, T, V, C), logits: outF(T * V), T, C, V };
  },
  headInputGradient: (a) => {
    const [T, V, C] = [a.rows(), a.width(2), a.r.pick([64, 1088])];
    const { e, eScales, wt, wtScales } = backward(a, T, V, C);
    return {
      e,
      eScales,
      wt,
      wtScales,
      w: a.codes(V * C),
      wScales: a.scales(panels(C) * V),
      targets: a.index(T, V),
      dx: out16(T * C),
      T,
      V,
      C,
      U: 4096,
    };
  },
  embedBackward: (a) => {
    const [U, C, V, context] = [a.rows(), a.r.pick([64, 1088]), a.r.between(1, 40), a.r.between(1, 90)];
    return {
      tokens: a.index(U, V),
      targets: a.index(U, V),
      a: a.codes(U * C, C),
      aScales: a.scales(panels(C) * U),
      dx: a.bf16(U * C),
      dWte: a.f32(V * C),
      dWpe: outF(context * C),
      U,
      C,
      V,
      context,
    };
  },
  unitLoss: (a) => {
    const U = a.width(20);
    return { loss: a.f32(U), out: outF(1), U };
  },
  quantize4: (a) => {
    const rows = a.r.between(1, 9);
    const cols = rows === 1 ? a.r.between(1, 700) : a.width(5);
    const leaves = Math.ceil((rows * cols) / 256);
    return {
      x: a.f32(rows * cols, -20),
      codes: new Uint8Array(leaves * 128).fill(7),
      scales: out16(leaves * 4),
      seed: a.seed(),
      rows,
      cols,
    };
  },
  dequantize4: (a) => {
    const n = a.width(9);
    const positive = a.positive(n / 64);
    const words = new Uint32Array(positive.buffer);
    return { codes: a.nibbles(n / 2), scales: Uint16Array.from(words, (w) => w >>> 16), x: outF(n), n };
  },
  quantizeWeight: (a) => {
    const [N, K] = [a.r.pick([1, 20, 64, 130, 1030]), a.width(2)];
    return {
      theta: a.f32(N * K),
      w: out8(N * K),
      wScales: outF(panels(K) * N),
      wt: out8(N * K),
      wtScales: outF(panels(N) * K),
      N,
      K,
    };
  },
  commitLeaves: (a) => {
    const [n, units] = [256 * a.r.between(1, 3), a.r.between(1, 5)];
    const plane = (): Uint16Array => {
      const words = new Uint32Array(a.positive(n / 64, -20).buffer);
      return Uint16Array.from(words, (w) => w >>> 16);
    };
    return {
      theta: a.f32(n),
      m: a.f32(n, -20),
      v: a.positive(n, -40),
      ema: a.f32(n),
      codes: Array.from({ length: units }, () => a.nibbles(n / 2)),
      scales: Array.from({ length: units }, plane),
      n,
      beta1: Math.fround(0.9),
      beta2: Math.fround(0.95),
      b1t: Math.fround(0.43),
      b2t: Math.fround(0.66),
      epsilon: Math.fround(1e-8),
      weightDecay: a.r.flag() ? Math.fround(0.1) : 0,
      learningRate: Math.fround(3e-3),
      emaDecay: Math.fround(0.66),
      updateEma: a.r.flag(),
    };
  },
  packModel: (a) => {
    const [n, bits] = [a.r.between(1, 2200), a.r.pick([4, 8] as const)];
    const codes = new Uint8Array(bits === 4 ? Math.ceil(n / 2) : n).fill(7);
    return { x: a.f32(n), codes, scales: out16(Math.ceil(n / 64)), n, bits };
  },
  unpackModel: (a) => {
    const [n, bits] = [a.r.between(1, 2200), a.r.pick([4, 8] as const)];
    const scales = Uint16Array.from(new Uint32Array(a.positive(Math.ceil(n / 64)).buffer), (w) => w >>> 16);
    const codes = bits === 4 ? a.nibbles(Math.ceil(n / 2)) : new Uint8Array(a.codes(n).buffer);
    return { codes, scales, x: outF(n), n, bits };
  },
  diffModel: (a) => {
    const { older, newer } = twoModels(a);
    const n = older.length;
    return { older, newer, out: new Uint8Array(n + Math.ceil(n / 16384)).fill(7), end: new Uint32Array(2), n };
  },
  patchModel: (a) => {
    const { older, newer } = twoModels(a);
    const n = older.length;
    const start = a.r.between(0, 90);
    const out = new Uint8Array(n + Math.ceil(n / 16384));
    const end = new Uint32Array(2);
    diffModel({ older, newer, out, end, n });
    const patch = new Uint8Array(start + end[0]!);
    patch.set(out.subarray(0, end[0]), start);
    // Some are damaged, unless the style is ordinary: a bit changed, or cut, or with bytes behind.
    const damage = a.style === 'ordinary' ? 3 : a.r.between(0, 8);
    if (damage === 0) patch[start + (a.r.word() % end[0]!)]! ^= 1 << a.r.between(0, 7);
    const length =
      damage === 1 ? start + (a.r.word() % end[0]!) : patch.length + (damage === 2 ? a.r.between(1, 9) : 0);
    const given = new Uint8Array(length);
    given.set(patch.subarray(0, length));
    return { older, patch: given, newer: new Uint8Array(n).fill(9), start, n };
  },
  gainPlusOne: (a) => {
    const n = a.r.between(1, 300);
    return { gain: a.f32(n), out: outF(n), n };
  },
  embedScaled: (a) => {
    const [T, C, V] = [a.rows(), a.width(), a.r.between(1, 40)];
    const scale = a.r.pick([1, 8, Math.fround(33.94)]);
    return { tokens: a.index(T, V), wte: a.f32(V * C), x: out16(T * C), T, C, scale };
  },
  embedScaledBackward: (a) => {
    const { dWpe: _dWpe, context: _context, ...table } = MAKE.embedBackward(a);
    return { ...table, scale: a.r.pick([1, 8, Math.fround(33.94)]) };
  },
  linearRows: (a) => {
    const [T, N, K] = [a.rows(), a.r.between(1, 200), a.contracted()];
    return { ...product(a, T, N, K), y: out16(T * N), T, N, K };
  },
  normResidual: (a) => {
    const [T, C] = [a.rows(), a.r.pick([64, 128, 192, 1088])];
    return {
      x: a.bf16(T * C),
      o: a.bf16(T * C),
      gain: a.calm(C),
      y: out16(T * C),
      rstd: outF(T),
      T,
      C,
      epsilon: Math.fround(1e-6),
    };
  },
  rotateHeads: (a) => {
    const { T, H, G, h, context, N } = groups(a, a.rows(), a.r.between(1, 70));
    return {
      y: a.bf16(T * N),
      gainQ: a.calm(h),
      gainK: a.calm(h),
      rope: a.calm(context * h),
      codes: out8(T * N),
      scales: outF((H + 2 * G) * T),
      rstd: outF((H + G) * T),
      T,
      H,
      G,
      h,
      context,
      epsilon: Math.fround(1e-6),
    };
  },
  rotateHeadsBackward: (a) => {
    const { T, H, G, h, context, N } = groups(a, a.r.pick([1, 5, 63, 64, 65, 130]), a.r.between(1, 70));
    return {
      dqkv: a.bf16(T * N, -12),
      y: a.bf16(T * N),
      rstd: a.calm((H + G) * T).map(Math.abs),
      gainQ: a.calm(h),
      gainK: a.calm(h),
      rope: a.calm(context * h),
      dy: out16(T * N),
      dGainQ: a.calm(h),
      dGainK: a.calm(h),
      T,
      H,
      G,
      h,
      context,
      accumulate: a.r.flag(),
    };
  },
  groupedAttentionForward: (a) => {
    const context = 64 * a.r.between(1, 4);
    const { T, H, G, h, N } = groups(a, context * a.r.between(1, 2), context);
    return {
      qkv: a.codes(T * N, N),
      qkvScales: a.scales((H + 2 * G) * T, a.r.pick([-9, -7, -5])),
      o: out16(T * H * h),
      lambda: outF(H * T),
      T,
      H,
      G,
      h,
      context,
      window: a.r.pick([0, 64, 64, 128, 192, 1024]),
      scalar: a.r.pick([1, h, 168]),
    };
  },
  groupedAttentionBackward: (a) => {
    const { o: _o, lambda: _lambda, ...forward } = MAKE.groupedAttentionForward(a);
    const { T, H, h, qkv } = forward;
    return {
      ...forward,
      dO: a.codes(T * H * h, H * h),
      dOScales: a.scales(H * T, -20),
      lambda: a.calm(H * T, 2, 2),
      dqkv: out16(qkv.length),
      seedV: a.seed(),
      seedK: a.seed(),
      seedQ: a.seed(),
      t0: 1024 * a.r.between(0, 2),
      U: 4096,
    };
  },
  geglu: (a) => {
    const [T, N] = [a.rows(), a.r.pick([64, 192, 1024, 1088])];
    return { u: a.bf16(2 * T * N, -2), codes: out8(T * N), scales: outF(panels(N) * T), T, N };
  },
  gegluGradient: (a) => {
    const [T, N] = [a.rows(), a.r.pick([64, 192, 512, 576, 1088])];
    return {
      dh: a.bf16(T * N, -12),
      u: a.bf16(2 * T * N, -2),
      codes: out8(2 * T * N),
      scales: outF(panels(2 * N) * T),
      seed: a.seed(),
      T,
      N,
      t0: 1024 * a.r.between(0, 3),
    };
  },
};

/** Heads in groups: H query heads, G of keys and values, N elements of a row. */
function groups(a: Arguments, T: number, context: number) {
  const [h, G] = [a.r.pick([32, 64, 128, 256]), a.r.between(1, 2)];
  const H = G * a.r.between(1, h > 64 ? 2 : 3);
  return { T, H, G, h, context, N: (H + 2 * G) * h };
}

/** Two packed models whose nibbles differ with a probability that goes from never to always. */
function twoModels(a: Arguments): { older: Uint8Array; newer: Uint8Array } {
  const n = a.r.pick([1, 2, 3, 4, 5, 31, 63, 64, 65, 127, 200, 2047, 2049, 2112, 16383, 16384, 16385, 40000]);
  const density = a.r.pick([0, 1, 20, 100, 128, 180, 195, 256]);
  const older = Uint8Array.from({ length: n }, () => a.r.word());
  const newer = older.map((byte) => {
    const word = a.r.word();
    const low = (word & 255) < density ? (word >>> 8) & 15 : 0;
    const high = ((word >>> 12) & 255) < density ? (word >>> 20) & 0xf0 : 0;
    return byte ^ low ^ high;
  });
  return { older, newer };
}
