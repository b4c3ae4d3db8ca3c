/**
 * What the tapes of adapters of all families share on the way back: the adapters' gradients, and the gradients that go on
 * through the frozen layers (docs/numerics.md §4).
 *
 * No frozen tensor has a gradient, so the weight gradients of the model, its column sums and everything below the lowest
 * layer with an adapter are left out.
 */
import { PURPOSE } from '../backend/ops.js';
import { adapterNames, targetShape } from './adapter.js';
import type { Adapters, Bf16, Codes, F32, Gpt, U32 } from './gptForward.js';
import type { SeedUse } from './gptGradients.js';
import type { Layout } from './layout.js';
import type { AdapterTarget } from './recipe.js';
import { type Ref, slice } from './tape.js';
import { panels, type WeightsLayout } from './weights.js';

export interface AdapterLayouts {
  readonly model: Layout;
  /** The adapters. */
  readonly state: Layout;
  readonly weights: WeightsLayout;
}

/** Dithered quantizations of a layer: errors 4, attention's 4, and five for each target. */
const SEEDS_A_LAYER = 8 + 5 * 4;

/** Gradients of the adapters: memory, quantization, seeds. */
export class AdapterGradients {
  readonly seeds: SeedUse[] = [];
  readonly #g: Gpt;
  readonly #state: Layout;
  readonly #seedBuffer: U32;
  readonly #unitCodes: Ref<Uint8Array>;
  readonly #unitScales: Bf16;
  readonly #microBatches: number;
  /** One scratch matrix with a single micro-batch, else one a tensor, with the padding of the rank. */
  readonly #matrices = new Map<string, F32>();

  constructor(g: Gpt, state: Layout, rows: number, microBatches: number) {
    this.#g = g;
    this.#state = state;
    this.#microBatches = microBatches;
    this.#seedBuffer = g.b.buffer('seeds', 'u32', 4 * (SEEDS_A_LAYER * g.recipe.layers + 1));
    this.#unitCodes = g.b.buffer('unitCodes', 'u8', state.length / 2, 'given');
    this.#unitScales = g.b.buffer('unitScales', 'bf16', state.length / 64, 'given');
    const widest = Math.max(...state.tensors.map(({ cols }) => cols));
    const shared = microBatches === 1 ? g.b.buffer('gradient', 'f32', rows * widest) : undefined;
    for (const { name, cols } of state.tensors) {
      const own = shared ?? g.b.buffer(`${name}.sum`, 'f32', rows * cols);
      this.#matrices.set(name, slice(own, 0, rows * cols));
    }
  }

  /** The number of a matrix of an adapter; enters its seeds. */
  id(name: string): number {
    return this.#state.byName(name).id;
  }

  /** The seed of a quantization; the same use in several micro-batches has one seed. */
  seed(tensorId: number, purpose: number): U32 {
    let index = this.seeds.findIndex((s) => s.tensorId === tensorId && s.purpose === purpose);
    if (index < 0) index = this.seeds.push({ tensorId, purpose }) - 1;
    return slice(this.#seedBuffer, 4 * index, 4);
  }

  /** f32 [R, cols] */
  of(name: string): F32 {
    return this.#matrices.get(name) as F32;
  }

  done(name: string): void {
    if (this.#microBatches === 1) this.#quantize(name);
  }

  finish(): void {
    if (this.#microBatches > 1) for (const { name } of this.#state.tensors) this.#quantize(name);
  }

  #quantize(name: string): void {
    const t = this.#state.byName(name);
    this.#g.b.push('quantize4', `${name}.gradient`, {
      x: slice(this.of(name), 0, t.size),
      codes: slice(this.#unitCodes, t.offset / 2, t.size / 2),
      scales: slice(this.#unitScales, t.offset / 64, t.size / 64),
      seed: this.seed(t.id, PURPOSE.gradient4),
      rows: t.rows,
      cols: t.cols,
    });
  }
}

/** Backward passes of the linear layers of a micro-batch of T tokens. The buffers are shared by all layers. */
export class AdapterBackward {
  readonly #error: Codes;
  readonly #transposed: Codes;
  readonly #inputTransposed: Codes;
  readonly #narrow: Codes;
  readonly #narrowTransposed: Codes;

  constructor(
    readonly g: Gpt,
    readonly adapters: Adapters,
    readonly gradients: AdapterGradients,
    readonly T: number,
  ) {
    const { rows: R } = adapters;
    const shapes = (['qkv', 'o', 'fc', 'proj'] as const).map((target) => targetShape(g.recipe, target));
    const outputs = Math.max(...shapes.map((shape) => shape.outputs));
    const inputs = Math.max(...shapes.map((shape) => shape.inputs));
    const matrix = (name: string, rows: number, cols: number): Codes => ({
      codes: g.b.buffer(`${name}.codes`, 'i8', rows * cols),
      scales: g.b.buffer(`${name}.scales`, 'f32', Math.max(panels(cols) * rows, panels(rows) * cols)),
    });
    this.#error = matrix('error', T, Math.max(g.layout.byName('wte').rows, outputs));
    this.#transposed = matrix('errorTransposed', outputs, T);
    this.#inputTransposed = matrix('inputTransposed', inputs, T);
    this.#narrow = matrix('narrow', T, R);
    this.#narrowTransposed = matrix('narrowTransposed', R, T);
  }

  /** Where the error codes of a layer with N outputs lie. */
  error(N: number): Codes {
    return cut(this.#error, this.T, N);
  }

  seed(weight: string, purpose: number): U32 {
    return this.gradients.seed(this.g.layout.byName(weight).id, purpose);
  }

  /** Error codes of a layer with N outputs from the gradient x [T,N] of what it gave. */
  errorRows(linear: string, x: Bf16, N: number, t0: number): Codes {
    const { g, T } = this;
    const e = this.error(N);
    const seed = this.seed(`${linear}.weight`, PURPOSE.errorRows);
    const row = { x, ...e, bias: g.noBias, seed, T, N, t0, accumulate: false };
    g.b.push('quantizeGradientRows', `${linear}.error`, row);
    return e;
  }

  /** Gradients of a layer's A and Bᵀ from the codes of its error [T,N] and of its input [T,K], where it has an adapter. */
  adapter(linear: string, target: AdapterTarget, e: Codes, input: Codes, t0: number): void {
    const { g, adapters, gradients, T } = this;
    if (!adapters.has(target)) return;
    const { rows: R } = adapters;
    const { outputs: N, inputs: K } = targetShape(g.recipe, target);
    const names = adapterNames(linear);
    const id = gradients.id(names.a);
    const z = adapters.hidden(linear, T);
    const errorSeed = gradients.seed(id, PURPOSE.adapterError);
    adapters.narrow(`${linear}.adapter.error`, e, g.rowCodes(names.b), this.#narrow, N, T, errorSeed, t0);
    const zT = this.#recode(`${linear}.adapter.recodeHidden`, z, this.#narrowTransposed, R, t0);
    const recodeSeed = this.seed(`${linear}.weight`, PURPOSE.errorRecode);
    const eT = this.#recode(`${linear}.adapter.recodeError`, e, this.#transposed, N, t0, recodeSeed);
    this.#gradient(names.b, zT, eT, N, t0);
    const narrowSeed = gradients.seed(id, PURPOSE.adapterRecode);
    const narrow = this.#recode(
      `${linear}.adapter.recodeNarrow`,
      this.#narrow,
      this.#narrowTransposed,
      R,
      t0,
      narrowSeed,
    );
    const xT = this.#recode(`${linear}.adapter.recodeInput`, input, this.#inputTransposed, K, t0);
    this.#gradient(names.a, narrow, xT, K, t0);
  }

  #recode(name: string, { codes, scales }: Codes, into: Codes, cols: number, t0: number, dither?: U32): Codes {
    const { g, T } = this;
    const out = cut(into, cols, T);
    const seed = dither ?? g.noSeed;
    const places = { codes, scales, out: out.codes, outScales: out.scales };
    g.b.push('recode', name, { ...places, seed, dither: dither !== undefined, T, N: cols, t0 });
    return out;
  }

  #gradient(name: string, left: Codes, right: Codes, cols: number, t0: number): void {
    const { g, adapters, gradients, T } = this;
    g.b.push('weightGradient', `${name}.product`, {
      et: left.codes,
      etScales: left.scales,
      xt: right.codes,
      xtScales: right.scales,
      dw: gradients.of(name),
      N: adapters.rows,
      K: cols,
      T,
      accumulate: t0 > 0,
    });
    gradients.done(name);
  }

  /**
   * f32 [T,K]: the gradient of the input of a layer with an adapter, through the frozen weight and through the adapter. The
   * last {@link adapter} was this layer's.
   */
  inputSums(linear: string, target: AdapterTarget, e: Codes): F32 {
    const { g, adapters, T } = this;
    const { outputs: N, inputs: K } = targetShape(g.recipe, target);
    const weight = g.recodes(`${linear}.weight`);
    const back = g.recodes(adapterNames(linear).a);
    return adapters.sums(`${linear}.inputGradient`, e, weight, this.#narrow, back, K, N, T);
  }

  /** bf16 [T,K] into `into`: the gradient of a layer's input. */
  input(linear: string, target: AdapterTarget, e: Codes, into: Bf16): void {
    const { g, adapters, T } = this;
    const { outputs: N, inputs: K } = targetShape(g.recipe, target);
    const name = `${linear}.inputGradient`;
    if (adapters.has(target)) {
      g.b.push('roundRows', name, { sum: this.inputSums(linear, target, e), y: into, T, N: K });
      return;
    }
    const operands = { e: e.codes, eScales: e.scales, ...g.wt(`${linear}.weight`) };
    g.b.push('linearInputGradient', name, { ...operands, dx: into, T, N, K });
  }

  /** Codes by head of the gradient of what attention gave, from the error of the layer `o` behind it. */
  heads(linear: string, e: Codes, into: Codes, H: number, t0: number): void {
    const { g, adapters, T } = this;
    const { outputs: N, inputs: K } = targetShape(g.recipe, 'o');
    const seed = this.seed(`${linear}.weight`, PURPOSE.headsError);
    const name = `${linear}.inputGradient`;
    if (adapters.has('o')) {
      const sum = this.inputSums(linear, 'o', e);
      g.b.push('quantizeHeads', name, { sum, bias: g.noBias, factor: 1, ...into, seed, T, N: K, H, t0 });
      return;
    }
    const operands = { e: e.codes, eScales: e.scales, ...g.wt(`${linear}.weight`) };
    g.b.push('linearHeadsInputGradient', name, { ...operands, ...into, seed, T, N, K, H, t0 });
  }
}

/** The part of a code matrix that a call with fewer columns fills. */
function cut({ codes, scales }: Codes, rows: number, cols: number): Codes {
  return { codes: slice(codes, 0, rows * cols), scales: slice(scales, 0, panels(cols) * rows) };
}
