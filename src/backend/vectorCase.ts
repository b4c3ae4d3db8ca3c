/** One call of one operation as the vectors have it, and how the arrays of a case are filled. */
import type { OperationName } from './ops.js';
import type { ArgumentSpec, TensorSpec } from './vectorInputs.js';

export interface VectorCase {
  readonly operation: OperationName;
  readonly name: string;
  /** Part of the short check at start-up. */
  readonly quick: boolean;
  readonly args: Readonly<Record<string, ArgumentSpec>>;
  /** The operation must refuse the input with this error code. */
  readonly throws?: 'NON_FINITE' | 'MALFORMED';
}

export type Arguments = Record<string, ArgumentSpec>;

export function tensor(
  dtype: TensorSpec['dtype'],
  length: number,
  fill: TensorSpec['fill'],
  more: Partial<TensorSpec> = {},
) {
  return { dtype, length, fill, ...more } satisfies TensorSpec;
}

export const codes = (length: number): TensorSpec => tensor('i8', length, 'codes');
export const extreme = (length: number): TensorSpec => tensor('i8', length, 'extreme');
export const scales = (length: number, e = -10, span = 3): TensorSpec => tensor('f32', length, 'positive', { e, span });
export const floats = (length: number, e = -8, span = 12): TensorSpec => tensor('f32', length, 'values', { e, span });
export const positive = (length: number, e = -4, span = 4): TensorSpec =>
  tensor('f32', length, 'positive', { e, span });
export const halves = (length: number, e = -8, span = 12): TensorSpec => tensor('u16', length, 'values', { e, span });
export const index = (length: number, limit: number): TensorSpec => tensor('u32', length, 'index', { limit });
export const words = (): TensorSpec => tensor('u32', 4, 'words');
export const nibbles = (length: number): TensorSpec => tensor('u8', length, 'nibbles');
export const none = (dtype: TensorSpec['dtype'] = 'f32'): TensorSpec => ({ dtype, length: 0, fill: 'zero' });
export const out = (dtype: TensorSpec['dtype'], length: number): TensorSpec => ({
  dtype,
  length,
  fill: 'zero',
  out: true,
});
/** An array that the operation changes in place. */
export const inout = (spec: TensorSpec): TensorSpec => ({ ...spec, out: true });
export const poked = (spec: TensorSpec, at: number, bits: string): TensorSpec => ({ ...spec, poke: [[at, bits]] });
export const panelCount = (k: number): number => Math.ceil(k / 1024);

/** FNV-1a of a text: a case keeps its inputs when others are added. */
function textHash(text: string): number {
  let hash = 0x811c9dc5;
  for (let i = 0; i < text.length; i += 1) hash = Math.imul(hash ^ text.charCodeAt(i), 0x01000193);
  return hash >>> 0;
}

/** Cases in the order in which they are added. */
export interface CaseList {
  readonly cases: VectorCase[];
  /** Gives every array of the case a seed of its own. */
  readonly add: (operation: OperationName, name: string, args: Arguments, more?: Partial<VectorCase>) => void;
}

export function caseList(): CaseList {
  const cases: VectorCase[] = [];
  const add: CaseList['add'] = (operation, name, args, more = {}) => {
    let seed = textHash(`${operation}: ${name}`);
    const seeded = (spec: TensorSpec): TensorSpec => {
      seed = (seed + 1) >>> 0;
      return { ...spec, seed };
    };
    const entries = Object.entries(args).map(([key, spec]): [string, ArgumentSpec] => {
      if (typeof spec !== 'object' || 'f32' in spec) return [key, spec];
      return [key, 'list' in spec ? { list: spec.list.map(seeded) } : seeded(spec)];
    });
    cases.push({ operation, name, quick: false, args: Object.fromEntries(entries), ...more });
  };
  return { cases, add };
}

export const quick = { quick: true } as const;
export const refused = { throws: 'NON_FINITE' } as const;
export const malformed = { throws: 'MALFORMED' } as const;
