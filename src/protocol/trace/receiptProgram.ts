/**
 * What a receipt looks at inside a unit, as one more operation behind the unit's program: the bytes at its places, which
 * are rows of outputs that the program has anyway. A verifier's own trace of a unit so says what its receipt's part is.
 */
import { PogoError } from '../../errors.js';
import type { UnitPlace } from '../../model/unitPlaces.js';
import { type Operation, outputBytes, type Program, type Rule, type Source } from './program.js';

/** Where a place's array stands. */
interface PlaceArray {
  readonly type: 'u16' | 'f32';
  readonly source: Source;
  /** Elements of the array. */
  readonly length: number;
  /** Elements [from, to) that are +0 in what a unit is made of, whatever stands in the output. */
  readonly zero: readonly [from: number, to: number];
}

/** The operation that writes a bf16 array of the tape. */
const OUTPUT_OF = [
  [/\.(?:o|postNorm1)\.forward$/, '.xMid'],
  [/\.(?:proj|postNorm2)\.forward$/, '.out'],
  [/\.backward$/, '.dx'],
] as const;

function arrayOf(program: Program, { kind, name }: UnitPlace, tensorSize: (name: string) => number): PlaceArray {
  if (kind === 'quantize4') {
    const source = program.gradients?.get(name);
    if (source === undefined) throw new PogoError('RANGE', `expected a gradient of the unit, found ${name}`);
    const length = tensorSize(name.slice(0, -'.gradient'.length));
    const third = length / 3;
    return { type: 'f32', source, length, zero: name.endsWith('.qkv.bias.gradient') ? [third, 2 * third] : [0, 0] };
  }
  const pair = OUTPUT_OF.find(([pattern]) => pattern.test(name));
  const output = pair === undefined ? name : name.replace(pair[0], pair[1]);
  const index = program.operations.findIndex((operation) => operation.name === output);
  const operation = program.operations[index];
  if (operation?.type !== 'u16') throw new PogoError('RANGE', `expected a place inside the unit, found ${name}`);
  return { type: 'u16', source: { kind: 'operation', index, offset: 0 }, length: operation.length, zero: [0, 0] };
}

/**
 * A unit's program with the operation `receipt` at its end: u8, the bytes at `places`, one after the other.
 *
 * @param tensorSize elements of a trained tensor
 * @throws PogoError RANGE for a place that the unit does not have
 */
export function withReceipt(
  program: Program,
  places: readonly UnitPlace[],
  tensorSize: (name: string) => number,
): Program {
  const reads = places.map((place) => {
    const array = arrayOf(program, place, tensorSize);
    const start = place.row * place.width;
    return { ...array, start, count: Math.min(place.width, array.length - start) };
  });
  const length = reads.reduce((sum, { type, count }) => sum + count * (type === 'u16' ? 2 : 4), 0);
  const rule: Rule = {
    kind: 'receipt',
    inputs: reads.map(({ source }) => source),
    span: () => [0, length],
    compute(read, _start, out) {
      let at = 0;
      reads.forEach(({ type, start, count, zero }, input) => {
        const values = read[type](input, start, count).slice();
        for (let i = Math.max(zero[0], start); i < Math.min(zero[1], start + count); i += 1) values[i - start] = 0;
        (out as Uint8Array).set(new Uint8Array(values.buffer, values.byteOffset, values.byteLength), at);
        at += values.byteLength;
      });
    },
  };
  const operation: Operation = { name: 'receipt', type: 'u8', length, rule };
  if (outputBytes(operation) === 0) throw new PogoError('RANGE', 'expected places that hold bytes, found none');
  return { ...program, operations: [...program.operations, operation] };
}
