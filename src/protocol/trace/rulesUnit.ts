// exact-arithmetic
/** Rules of 4-bit and 8-bit files: gradient units and packed models (docs/numerics.md §2.5 and §2.6). */
import type { Layout, PackedModelLayout, PackedTensor } from '../../model/layout.js';
import { blockScale, GROUP4, nibbleAt, packNibbles, quantizeBlock } from '../../reference/codes4.js';
import * as K from '../../reference/constants.js';
import { ditherColumns, ditherOf, ditherRow } from '../../reference/dither.js';
import { bf16Value, f32 } from '../../reference/scalars.js';
import { type Reader, type Rule, rowGroups, type Source, single } from './program.js';

/** Bytes of a group's codes in a unit. */
const CODE_BYTES = 32;

/** A gradient that is quantized to 4 bits. */
export interface Gradient4 {
  readonly x: Source;
  readonly rows: number;
  readonly columns: number;
  /** Elements [from, to) are +0 by definition: the K third of a qkv bias. */
  readonly zero: readonly [from: number, to: number];
  readonly seed: () => Uint32Array;
}

/** Elements [start, start + count) of a gradient. */
function gradientValues(read: Reader, { zero }: Gradient4, start: number, count: number): Float32Array {
  const x = read.f32(0, start, count);
  const from = Math.max(0, zero[0] - start);
  const to = Math.min(count, zero[1] - start);
  return from < to ? x.slice().fill(0, from, to) : x;
}

/** Elements from `start` to the end of its group. */
function restOfGroup({ columns }: Gradient4, start: number): number {
  return Math.min(GROUP4, columns - (start % columns));
}

/** Codes −7 … 7 of groups [first, end), one after the other; the array is used again for the next group. */
function gradientGroups(
  read: Reader,
  g: Gradient4,
  first: number,
  end: number,
  visit: (group: number, codes: Int8Array) => void,
): void {
  const { rows, columns } = g;
  const start = first * GROUP4;
  const stop = Math.min(end * GROUP4, rows * columns);
  if (start >= stop) return;
  const x = gradientValues(read, g, start, stop - start);
  const seed = g.seed();
  // All rows have the same words of their columns: one group needs its own, several those of a row.
  const column = end - first === 1 ? start % columns : 0;
  const words = ditherColumns(seed, column, end - first === 1 ? restOfGroup(g, start) : columns);
  const codes = new Int8Array(GROUP4);
  const deltas = new Float32Array(GROUP4);
  for (let at = start; at < stop; at += GROUP4) {
    const count = restOfGroup(g, at);
    const word = ditherRow(seed, Math.floor(at / columns));
    const left = (at % columns) - column;
    for (let i = 0; i < count; i += 1) deltas[i] = ditherOf(words[left + i], word);
    codes.fill(0, count);
    quantizeBlock(x, at - start, count, K.F32_Q4_R, deltas, codes, 'quantize4');
    visit(Math.floor(at / GROUP4), codes);
  }
}

/** u8 [padded size / 2]: nibbles. */
export function gradientCodesRule4(g: Gradient4): Rule {
  return {
    kind: 'quantize4.codes',
    inputs: [g.x],
    span: rowGroups(CODE_BYTES, CODE_BYTES),
    compute(read, start, out) {
      const group = Math.floor(start / CODE_BYTES);
      out.fill(0);
      gradientGroups(read, g, group, group + 1, (_, codes) => packNibbles(codes, GROUP4, out as Uint8Array, 0));
    },
    whole({ read }, out) {
      const groups = Math.floor(out.length / CODE_BYTES);
      gradientGroups(read, g, 0, groups, (group, codes) => {
        packNibbles(codes, GROUP4, out as Uint8Array, group * GROUP4);
      });
    },
  };
}

/** bf16 [padded size / 64]: scales. They need no codes, and so no dither. */
export function gradientScalesRule4(g: Gradient4): Rule {
  const size = g.rows * g.columns;
  const scale = (x: Float32Array, at: number, count: number): number =>
    blockScale(x, at, count, K.F32_Q4_R, 'quantize4');
  return {
    kind: 'quantize4.scales',
    inputs: [g.x],
    span: single,
    compute(read, group, out) {
      const start = group * GROUP4;
      const count = restOfGroup(g, start);
      out[0] = start < size ? scale(gradientValues(read, g, start, count), 0, count) : 0;
    },
    whole({ read }, out) {
      const x = gradientValues(read, g, 0, size);
      for (let start = 0; start < size; start += GROUP4) {
        out[Math.floor(start / GROUP4)] = scale(x, start, restOfGroup(g, start));
      }
    },
  };
}

/** u8: the unit's file, codes of all tensors, then scales of all tensors. `planes` has both for each tensor. */
export function unitFileRule(
  layout: Layout,
  planes: readonly { readonly codes: Source; readonly scales: Source }[],
): Rule {
  const codesBytes = Math.floor(layout.length / 2);
  return {
    kind: 'unit',
    inputs: planes.flatMap(({ codes, scales }) => [codes, scales]),
    span: (element) => {
      const size = element < codesBytes ? 32 : 8;
      const start = element - (element % size);
      return [start, start + size];
    },
    compute(read, start, out) {
      const isCode = start < codesBytes;
      const element = isCode ? 2 * start : 32 * (start - codesBytes);
      const id = lastAtOrBefore(layout, element);
      const inside = element - layout.tensors[id]!.offset;
      (out as Uint8Array).set(
        isCode
          ? read.u8(2 * id, Math.floor(inside / 2), out.length)
          : read.u8(2 * id + 1, Math.floor(inside / 32), out.length),
      );
    },
    whole({ read, length }, out) {
      const file = out as Uint8Array;
      layout.tensors.forEach(({ offset }, id) => {
        file.set(read.u8(2 * id, 0, length(2 * id, 'u8')), Math.floor(offset / 2));
        file.set(read.u8(2 * id + 1, 0, length(2 * id + 1, 'u8')), codesBytes + Math.floor(offset / 32));
      });
    },
  };
}

/** The tensor whose padded range holds an element. */
function lastAtOrBefore(layout: Layout, element: number): number {
  let low = 0;
  let high = layout.tensors.length - 1;
  while (low < high) {
    const middle = Math.ceil((low + high) / 2);
    if (layout.tensors[middle]!.offset <= element) low = middle;
    else high = middle - 1;
  }
  return low;
}

/** u8: the packed model of a vector f32 [layout.length]. */
export function packedModelRule(vector: Source, packed: PackedModelLayout): Rule {
  /** Bytes [start, end) of the group of 64 around a byte of a plane, its elements, and how it is coded. */
  const groupAt = (byte: number) => {
    const isCode = byte < packed.codesBytes;
    const places = packed.tensors;
    let id = places.length - 1;
    while (id > 0 && byte < (isCode ? places[id]!.codesOffset : places[id]!.scalesOffset)) id -= 1;
    const place = places[id]!;
    const { modelBits: bits, offset } = place.tensor;
    const size = isCode ? 8 * bits : 2;
    const from = isCode ? place.codesOffset : place.scalesOffset;
    const group = Math.floor((byte - from) / size);
    return { isCode, bits, start: from + group * size, size, element: offset + group * GROUP4 };
  };
  return {
    kind: 'model',
    inputs: [vector],
    span: (byte) => {
      const { start, size } = groupAt(byte);
      return [start, start + size];
    },
    compute(read, start, out) {
      const { isCode, bits, element } = groupAt(start);
      const codes = new Int8Array(GROUP4);
      const x = read.f32(0, element, GROUP4);
      const inverseC = bits === 4 ? K.F32_Q4_R : K.F32_MODEL8_R;
      const scale = quantizeBlock(x, 0, GROUP4, inverseC, undefined, codes, 'packModel');
      const bytes = out as Uint8Array;
      if (!isCode) bytes.set([scale & 255, scale >>> 8]);
      else if (bits === 4) packNibbles(codes, GROUP4, bytes, 0);
      else for (let i = 0; i < GROUP4; i += 1) bytes[i] = codes[i] & 255;
    },
  };
}

/** f32 [layout.length]: the elements of a packed model, code × scale. */
export function unpackedModelRule(model: Source, layout: Layout, packed: PackedModelLayout): Rule {
  return {
    kind: 'model.unpacked',
    inputs: [model],
    span: rowGroups(GROUP4, GROUP4),
    compute(read, start, out) {
      const { tensor, codesOffset, scalesOffset } = packed.tensors[lastAtOrBefore(layout, start)] as PackedTensor;
      const inside = start - tensor.offset;
      const bits = tensor.modelBits;
      const codes = read.u8(0, codesOffset + Math.floor((inside * bits) / 8), 8 * bits);
      const [low, high] = read.u8(0, scalesOffset + Math.floor(inside / 32), 2) as unknown as readonly [number, number];
      const scale = bf16Value(low | (high << 8));
      for (let i = 0; i < out.length; i += 1) {
        const code = bits === 4 ? nibbleAt(codes, i) : (codes[i]! << 24) >> 24;
        out[i] = f32(code * scale);
      }
    },
  };
}
