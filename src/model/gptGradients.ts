/**
 * Gradients of a tape: their memory, when each is quantized, and how dither seeds are numbered.
 */
import { PURPOSE } from '../backend/ops.js';
import type { Bf16, F32, Gpt, U32 } from './gptForward.js';
import type { TensorSpec } from './layout.js';
import { type Ref, slice } from './tape.js';

/** A dithered quantization of the tape: its seed is words [4·index, 4·index + 4) of the buffer `seeds`. */
export interface SeedUse {
  readonly tensorId: number;
  readonly purpose: number;
}

/** Where gradients go and how their seeds are numbered. */
export class Gradients {
  readonly seeds: SeedUse[] = [];
  readonly seedBuffer: U32;
  readonly #flat: F32 | undefined;
  readonly #matrix: F32;
  readonly #vectors: F32;
  readonly #table: F32;
  readonly #unitCodes: Ref<Uint8Array>;
  readonly #unitScales: Bf16;

  constructor(
    readonly g: Gpt,
    readonly microBatches: number,
  ) {
    const { layout, b } = g;
    // One per tensor (purpose 1), twelve more per layer (proj 2, fc 2, o 3, qkv 5) in both families, two for the head.
    this.seedBuffer = b.buffer('seeds', 'u32', 4 * (layout.tensors.length + 12 * g.recipe.layers + 2));
    this.#unitCodes = b.buffer('unitCodes', 'u8', layout.length / 2, 'given');
    this.#unitScales = b.buffer('unitScales', 'bf16', layout.length / 64, 'given');
    const single = microBatches === 1;
    this.#flat = single ? undefined : b.buffer('gradients', 'f32', layout.length);
    const largest = (kind: TensorSpec['kind']): number =>
      Math.max(...layout.tensors.filter((t) => t.kind === kind && t.name !== 'wte').map((t) => t.size), 0);
    this.#matrix = b.buffer('dMatrix', 'f32', single ? Math.max(largest('matrix'), largest('embedding')) : 0);
    this.#vectors = b.buffer('dVectors', 'f32', single ? 2 * largest('vector') : 0);
    this.#table = b.buffer('dWte', 'f32', single ? layout.byName('wte').size : 0);
  }

  /** The seed of a quantization; the same use in several micro-batches has one seed. */
  seed(tensorName: string, purpose: number): U32 {
    const tensorId = this.g.layout.byName(tensorName).id;
    let index = this.seeds.findIndex((s) => s.tensorId === tensorId && s.purpose === purpose);
    if (index < 0) index = this.seeds.push({ tensorId, purpose }) - 1;
    return slice(this.seedBuffer, 4 * index, 4);
  }

  /** Memory of a tensor's fp32 gradient; `second` of two vectors that are alive together. */
  of(name: string, second = false): F32 {
    const t = this.g.layout.byName(name);
    if (this.#flat !== undefined) return slice(this.#flat, t.offset, t.size);
    if (name === 'wte') return this.#table;
    if (t.kind !== 'vector') return slice(this.#matrix, 0, t.size);
    return slice(this.#vectors, second ? this.#vectors.length / 2 : 0, t.size);
  }

  /** Called when a tensor's gradient of this micro-batch is complete: quantizes it if nothing more is added later. */
  done(name: string, second = false): void {
    if (this.microBatches === 1) this.quantize(name, this.of(name, second));
  }

  /** With several micro-batches: all tensors at the end, but those that {@link done} at the unit's end quantized. */
  finish(): void {
    if (this.microBatches === 1) return;
    for (const t of this.g.layout.tensors) this.quantize(t.name, this.of(t.name));
  }

  private quantize(name: string, x: F32): void {
    const t = this.g.layout.byName(name);
    if (name.endsWith('.qkv.bias')) {
      // The K third is constant along every softmax row: it has no gradient (docs/numerics.md §5).
      this.g.b.push('fillZero', `${name}.gradient`, { x: slice(x, t.size / 3, t.size / 3) });
    }
    this.g.b.push('quantize4', `${name}.gradient`, {
      x,
      codes: slice(this.#unitCodes, t.offset / 2, t.size / 2),
      scales: slice(this.#unitScales, t.offset / 64, Math.ceil(t.size / 64)),
      seed: this.seed(name, PURPOSE.gradient4),
      rows: t.rows,
      cols: t.cols,
    });
  }
}
