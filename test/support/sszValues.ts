/** Random values of any SSZ type of the project, and all of those types. */

import { readFileSync } from 'node:fs';
import * as path from 'node:path';
import {
  BitArray,
  BitListType,
  BooleanType,
  ByteListType,
  ByteVectorType,
  ContainerType,
  ListBasicType,
  ListCompositeType,
  UintBigintType,
  UintNumberType,
} from '@chainsafe/ssz';
import fc from 'fast-check';
import type { Codec } from '../../src/protocol/ssz.js';
import { SOURCE, sourceFiles } from './importGraph.js';

/** Elements of a list, bytes of a byte list: enough for every branch, few enough for thousands of runs. */
const MAX_ELEMENTS = 3;
const MAX_BYTES = 40;

const bytes = (minLength: number, maxLength: number): fc.Arbitrary<Uint8Array> =>
  fc.uint8Array({ minLength, maxLength }).map((array) => Uint8Array.from(array));

/** @throws Error for a type that it does not know, so that a new kind of type cannot go untested */
export function sszValue(type: unknown): fc.Arbitrary<unknown> {
  if (type instanceof UintNumberType) {
    return fc.integer({ min: 0, max: Math.min(Number.MAX_SAFE_INTEGER, 2 ** (8 * type.byteLength) - 1) });
  }
  if (type instanceof UintBigintType) return fc.bigInt({ min: 0n, max: 2n ** BigInt(8 * type.byteLength) - 1n });
  if (type instanceof BooleanType) return fc.boolean();
  if (type instanceof BitListType) {
    const bits = fc.array(fc.boolean(), { maxLength: Math.min(type.limitBits, MAX_BYTES) });
    return bits.map((values) => BitArray.fromBoolArray(values));
  }
  if (type instanceof ByteVectorType) return bytes(type.lengthBytes, type.lengthBytes);
  if (type instanceof ByteListType) return bytes(0, Math.min(type.limitBytes, MAX_BYTES));
  if (type instanceof ListBasicType || type instanceof ListCompositeType) {
    return fc.array(sszValue(type.elementType), { maxLength: Math.min(type.limit, MAX_ELEMENTS) });
  }
  if (type instanceof ContainerType) {
    const fields = type.fields as Record<string, unknown>;
    return fc.record(Object.fromEntries(Object.entries(fields).map(([name, field]) => [name, sszValue(field)])));
  }
  throw new Error(`no values of ${String((type as { typeName?: string }).typeName)}`);
}

export interface NamedType {
  /** Type, then file and place of its export. */
  readonly name: string;
  readonly type: Codec<unknown>;
}

/** Every SSZ type that a file of the source exports, tables of types included. */
export async function allSszTypes(): Promise<NamedType[]> {
  const found = new Map<unknown, string>();
  const add = (name: string, value: unknown, depth: number): void => {
    if (value instanceof ContainerType || value instanceof ListCompositeType || value instanceof ListBasicType) {
      if (!found.has(value)) found.set(value, name);
      return;
    }
    if (depth === 0 || typeof value !== 'object' || value === null || ArrayBuffer.isView(value)) return;
    for (const [key, inner] of Object.entries(value)) add(`${name}.${key}`, inner, depth - 1);
  };
  for (const folder of ['protocol', 'ledger', 'model']) {
    for (const file of sourceFiles(folder)) {
      if (!readFileSync(file, 'utf8').includes('Type')) continue;
      const exported = (await import(file)) as Record<string, unknown>;
      for (const [name, value] of Object.entries(exported)) add(`${path.relative(SOURCE, file)}: ${name}`, value, 2);
    }
  }
  return [...found].map(([type, place]) => ({
    name: `${(type as Codec<unknown>).typeName} (${place})`,
    type: type as Codec<unknown>,
  }));
}
