/**
 * Runs one known-answer vector against any kernels and digests what it wrote.
 */
import { blake3 } from '@noble/hashes/blake3.js';
import { PogoError } from '../errors.js';
import { toHex } from '../hex.js';
import type { Kernels } from './ops.js';
import type { VectorCase } from './vectorCase.js';
import { isTensorSpec, makeArgument, type Tensor } from './vectorInputs.js';

/** The bytes of every output array after the call, by argument name; or the code of the error that it threw. */
export type VectorResult = { readonly outputs: ReadonlyMap<string, Uint8Array> } | { readonly threw: string };

function bytesOf(x: Tensor): Uint8Array {
  return new Uint8Array(x.buffer, x.byteOffset, x.byteLength);
}

/** Makes the inputs, calls the operation, returns its outputs. Errors other than a PogoError pass through. */
export function runVector(kernels: Kernels, vector: VectorCase): VectorResult {
  const argument: Record<string, ReturnType<typeof makeArgument>> = {};
  for (const [name, spec] of Object.entries(vector.args)) argument[name] = makeArgument(spec);
  try {
    (kernels[vector.operation] as (a: unknown) => void)(argument);
  } catch (error) {
    if (error instanceof PogoError) return { threw: error.code };
    throw error;
  }
  const outputs = new Map<string, Uint8Array>();
  for (const [name, spec] of Object.entries(vector.args)) {
    if (isTensorSpec(spec) && spec.out === true) outputs.set(name, bytesOf(argument[name] as Tensor));
  }
  return { outputs };
}

/** What is kept of an output: its BLAKE3 and its first 16 bytes, both hexadecimal. */
export type OutputDigest = readonly [blake3: string, head: string];

export function digestOutput(bytes: Uint8Array): OutputDigest {
  return [toHex(blake3(bytes)), toHex(bytes.subarray(0, 16))];
}

/** Name of a case in the table of answers. */
export function vectorKey(vector: VectorCase): string {
  return `${vector.operation}: ${vector.name}`;
}

/** Answers of one case: digests by argument name, or the error code that it must throw. */
export type VectorAnswer = Readonly<Record<string, OutputDigest>> | { readonly throws: string };
