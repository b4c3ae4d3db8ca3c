import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { PogoError } from '../../src/errors.js';
import {
  halfToFloatBits,
  MAX_HEADER_BYTES,
  parseSafetensorsHeader,
  SAFETENSORS_DTYPES,
  type SafetensorsDtype,
  safetensorsHeaderLength,
  serializeSafetensorsHeader,
  toFp32,
} from '../../src/model/safetensors.js';

function parse(file: Uint8Array, fileBytes = file.length) {
  const length = safetensorsHeaderLength(file.subarray(0, 8), fileBytes);
  return parseSafetensorsHeader(file.subarray(8, 8 + length), fileBytes);
}

/** A file with this header text and `dataBytes` zeros. */
function fileOf(header: string, dataBytes: number): Uint8Array {
  const json = new TextEncoder().encode(header);
  const file = new Uint8Array(8 + json.length + dataBytes);
  new DataView(file.buffer).setBigUint64(0, BigInt(json.length), true);
  file.set(json, 8);
  return file;
}

const dtype = fc.constantFrom(...(Object.keys(SAFETENSORS_DTYPES) as SafetensorsDtype[]));
const tensor = fc.record({
  name: fc.oneof(fc.string({ maxLength: 12 }), fc.constantFrom('__proto__', '1', '0', 'constructor')),
  dtype,
  shape: fc.array(fc.integer({ min: 0, max: 5 }), { maxLength: 4 }),
});
const tensors = fc
  .uniqueArray(tensor, { maxLength: 6, selector: ({ name }) => name })
  .filter((list) => list.every(({ name }) => name !== '__metadata__'));
const metadata = fc.dictionary(fc.string({ maxLength: 6 }), fc.string({ maxLength: 10 }), { maxKeys: 3 });

describe('safetensors', () => {
  it('reads what it wrote', () => {
    fc.assert(
      fc.property(tensors, metadata, (list, extra) => {
        const { bytes, header, fileBytes } = serializeSafetensorsHeader(list, extra);
        const file = new Uint8Array(fileBytes);
        file.set(bytes);
        const found = parse(file);
        expect(bytes.length % 8).toBe(0);
        expect(found.dataOffset).toBe(bytes.length);
        const byName = new Map(found.tensors.map((entry) => [entry.name, entry]));
        expect(byName.size).toBe(list.length);
        for (const place of header.tensors) expect(byName.get(place.name)).toEqual(place);
        expect([...found.metadata].sort()).toEqual([...header.metadata].sort());
      }),
    );
  });

  it('never fails in another way than MALFORMED, whatever the bytes', () => {
    const { bytes, fileBytes } = serializeSafetensorsHeader(
      [
        { name: 'a', dtype: 'F32', shape: [2, 3] },
        { name: 'b', dtype: 'BF16', shape: [4] },
      ],
      { format: 'pt' },
    );
    const file = new Uint8Array(fileBytes);
    file.set(bytes);
    const edits = fc.array(fc.tuple(fc.nat(bytes.length - 1), fc.integer({ min: 0, max: 255 })), {
      minLength: 1,
      maxLength: 6,
    });
    fc.assert(
      fc.property(edits, fc.nat(fileBytes + 4), (list, length) => {
        const broken = new Uint8Array(length);
        broken.set(file.subarray(0, length));
        for (const [at, byte] of list) if (at < length) broken[at] = byte;
        try {
          const header = parse(broken);
          // Whatever was accepted covers the file exactly once.
          let end = header.dataOffset;
          for (const place of header.tensors) {
            expect(place.offset).toBe(end);
            end += place.bytes;
          }
          expect(end).toBe(broken.length);
        } catch (error) {
          if (!(error instanceof PogoError)) throw error;
          expect(error.code).toBe('MALFORMED');
        }
      }),
      { numRuns: 2000 },
    );
  });

  const one = (fields: string): string => `{"a":{${fields}}}`;
  it.each([
    ['an unknown dtype', one('"dtype":"F31","shape":[1],"data_offsets":[0,4]'), 4],
    ['a dtype of Object.prototype', one('"dtype":"constructor","shape":[1],"data_offsets":[0,4]'), 4],
    ['a size that is not the shape', one('"dtype":"F32","shape":[2],"data_offsets":[0,4]'), 4],
    ['a negative axis', one('"dtype":"F32","shape":[-1],"data_offsets":[0,4]'), 4],
    ['a shape whose product wraps', one('"dtype":"U8","shape":[4294967296,4294967296],"data_offsets":[0,0]'), 0],
    ['backward offsets', one('"dtype":"F32","shape":[1],"data_offsets":[4,0]'), 4],
    ['offsets beyond the file', one('"dtype":"F32","shape":[1],"data_offsets":[0,4]'), 3],
    ['bytes after the last tensor', one('"dtype":"F32","shape":[1],"data_offsets":[0,4]'), 5],
    [
      'a gap',
      '{"a":{"dtype":"U8","shape":[1],"data_offsets":[0,1]},"b":{"dtype":"U8","shape":[1],"data_offsets":[2,3]}}',
      3,
    ],
    [
      'an overlap',
      '{"a":{"dtype":"U8","shape":[2],"data_offsets":[0,2]},"b":{"dtype":"U8","shape":[2],"data_offsets":[1,3]}}',
      3,
    ],
    [
      'a name twice',
      '{"a":{"dtype":"U8","shape":[1],"data_offsets":[0,1]},"a":{"dtype":"U8","shape":[1],"data_offsets":[0,1]}}',
      1,
    ],
    [
      'a name twice, escaped',
      '{"a":{"dtype":"U8","shape":[1],"data_offsets":[0,1]},"\\u0061":{"dtype":"U8","shape":[1],"data_offsets":[0,1]}}',
      1,
    ],
    ['a field twice', one('"dtype":"U8","dtype":"I8","shape":[1],"data_offsets":[0,1]'), 1],
    ['an unknown field', one('"dtype":"U8","shape":[1],"data_offsets":[0,1],"code":"x"'), 1],
    ['metadata that is no text', '{"__metadata__":{"a":1}}', 0],
    ['an array', '[]', 0],
    ['no JSON', '{"a":', 0],
    ['a deep nest', `{"a":${'['.repeat(100_000)}`, 0],
  ])('refuses %s', (_, header, dataBytes) => {
    expect(() => parse(fileOf(header, dataBytes))).toThrow(expect.objectContaining({ code: 'MALFORMED' }));
  });

  it('checks the length of the header against the file before it is allocated', () => {
    const head = (length: bigint): Uint8Array => {
      const bytes = new Uint8Array(8);
      new DataView(bytes.buffer).setBigUint64(0, length, true);
      return bytes;
    };
    for (const length of [0n, 1n, 93n, 1n << 63n, (1n << 64n) - 1n]) {
      expect(() => safetensorsHeaderLength(head(length), 100)).toThrow(expect.objectContaining({ code: 'MALFORMED' }));
    }
    expect(safetensorsHeaderLength(head(92n), 100)).toBe(92);
    expect(() => safetensorsHeaderLength(head(BigInt(MAX_HEADER_BYTES) + 1n), 2 ** 40)).toThrow(/header/);
    expect(() => safetensorsHeaderLength(new Uint8Array(4), 4)).toThrow(/8 bytes/);
  });
});

describe('conversion to fp32', () => {
  it('of every fp16 equals sign · fraction · 2^exponent', () => {
    const float = new Float32Array(1);
    const bits = new Uint32Array(float.buffer);
    for (let half = 0; half < 65_536; half++) {
      const exponent = (half >> 10) & 31;
      const fraction = half & 1023;
      bits[0] = halfToFloatBits(half);
      if (exponent === 31) {
        if (fraction === 0) expect(Math.abs(float[0])).toBe(Number.POSITIVE_INFINITY);
        else expect(float[0]).toBeNaN();
        continue;
      }
      const value = exponent === 0 ? fraction * 2 ** -24 : (1024 + fraction) * 2 ** (exponent - 25);
      if (!Object.is(float[0], half & 0x8000 ? -value : value)) expect.fail(`fp16 ${half.toString(16)}: ${float[0]}`);
    }
  });

  it('of bf16 and fp32 copies bits, at any alignment', () => {
    fc.assert(
      fc.property(fc.uint8Array({ minLength: 8, maxLength: 64 }), fc.nat(3), (data, shift) => {
        const count = data.length >> 2;
        const raw = new Uint8Array(shift + 4 * count);
        raw.set(data.subarray(0, 4 * count), shift);
        const out = new Float32Array(count);
        toFp32('F32', raw.subarray(shift), out);
        expect([...new Uint8Array(out.buffer)]).toEqual([...data.subarray(0, 4 * count)]);
        toFp32('BF16', raw.subarray(shift, shift + 2 * count), out);
        const view = new DataView(raw.buffer);
        const expected = Array.from({ length: count }, (_, i) => (view.getUint16(shift + 2 * i, true) << 16) >>> 0);
        expect([...new Uint32Array(out.buffer)]).toEqual(expected);
      }),
    );
  });
});
