// Writes the file of cases that native/cpu/test/kernel_test.cc runs: calls of the CPU addon as src/backend/cpu.ts makes them,
// every array before the call, and after it as the TypeScript reference leaves it. Needs `dist/`.
import { mkdirSync, writeFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { ScriptError, TOOLS } from './project.mjs';
import { supportModule } from './supportModule.mjs';

const RECORDER = fileURLToPath(new URL('recordingAddon.cjs', import.meta.url));
/** Random argument sets an operation, of every style in turn; those of the slow references fewer. */
const RANDOM_CASES = 18;
const FEWER_CASES = {
  attentionForward: 6,
  attentionBackward: 6,
  groupedAttentionForward: 6,
  groupedAttentionBackward: 6,
};
// napi_typedarray_type, as in native/cpu/test/napi.h.
const ELEMENT_TYPES = new Map([
  [Int8Array, 0],
  [Uint8Array, 1],
  [Uint16Array, 4],
  [Uint32Array, 6],
  [Float32Array, 7],
]);
const KIND = { number: 0, boolean: 1, tensor: 2, list: 3 };

const bytesOf = (x) => Buffer.from(x.buffer, x.byteOffset, x.byteLength);

/** Little-endian output of the form that case_file.h reads. */
class Writer {
  parts = [];
  number(value, method, size) {
    const part = Buffer.alloc(size);
    part[method](value);
    this.parts.push(part);
  }
  u8(value) {
    this.number(value, 'writeUInt8', 1);
  }
  u32(value) {
    this.number(value, 'writeUInt32LE', 4);
  }
  text(value) {
    const raw = Buffer.from(value);
    this.number(raw.length, 'writeUInt16LE', 2);
    this.parts.push(raw);
  }
}

/** The arrays that the calls name, each once, with the name and place that they have among the operation's arguments. */
function tensorsOf(calls, argument) {
  const known = new Map();
  for (const [name, value] of Object.entries(argument)) {
    if (ArrayBuffer.isView(value)) known.set(value, { name });
    else if (Array.isArray(value)) for (const [at, x] of value.entries()) known.set(x, { name, at });
  }
  const index = new Map();
  const tensors = [];
  const add = (x) => {
    if (index.has(x)) return;
    index.set(x, tensors.length);
    tensors.push({ array: x, before: Buffer.from(bytesOf(x)), origin: known.get(x) });
  };
  for (const { positional } of calls) {
    for (const value of positional) {
      if (ArrayBuffer.isView(value)) add(value);
      else if (Array.isArray(value)) value.forEach(add);
    }
  }
  return { index, tensors };
}

function writeArgument(out, value, index) {
  if (typeof value === 'number') {
    out.u8(KIND.number);
    out.number(value, 'writeDoubleLE', 8);
  } else if (typeof value === 'boolean') {
    out.u8(KIND.boolean);
    out.u8(value ? 1 : 0);
  } else if (ArrayBuffer.isView(value)) {
    out.u8(KIND.tensor);
    out.u32(index.get(value));
  } else if (Array.isArray(value)) {
    out.u8(KIND.list);
    out.u32(value.length);
    for (const x of value) out.u32(index.get(x));
  } else {
    throw new ScriptError(`kernel cases: expected numbers, flags and arrays in a call, found ${String(value)}`);
  }
}

/**
 * The calls that the TypeScript side makes for one operation. What it does with a result that never came (patchModel judges
 * what the kernel leaves) is of no interest.
 */
function recorded(recordedCalls, operate) {
  recordedCalls.length = 0;
  try {
    operate();
  } catch (error) {
    if (typeof error?.code !== 'string' || recordedCalls.length === 0) throw error;
  }
  return recordedCalls.slice();
}

/** Arguments of several operations as one object: `part.name`. */
function joinParts(parts) {
  return Object.fromEntries(parts.flatMap((of, part) => Object.entries(of).map(([k, v]) => [`${part}.${k}`, v])));
}

function splitParts(argument) {
  const parts = [];
  for (const [key, value] of Object.entries(argument)) {
    const [part, name] = key.split('.');
    parts[part] = { ...parts[part], [name]: value };
  }
  return parts;
}

/** The arguments after the reference's call, or the error code. `make` gives a fresh argument object each time. */
function referenceOutcome(operate, make) {
  const argument = make();
  try {
    operate(argument);
    return { argument, error: '' };
  } catch (error) {
    if (typeof error?.code !== 'string') throw error;
    return { argument, error: error.code };
  }
}

/**
 * Writes the cases.
 * @returns the path and how many cases each group has: `vector`, `extreme`, `random`
 */
export async function writeKernelCases() {
  process.env.POGO_CPU_ADDON = RECORDER;
  const { openCpuBackend } = await import('../../dist/backend/cpu.js');
  const { referenceKernels } = await import('../../dist/backend/reference.js');
  const { OPERATIONS } = await import('../../dist/backend/ops.js');
  const { VECTOR_CASES } = await import('../../dist/backend/vectorCases.js');
  const { VECTOR_ANSWERS } = await import('../../dist/backend/vectorData.js');
  const { digestOutput, vectorKey } = await import('../../dist/backend/vectorRun.js');
  const { makeArgument } = await import('../../dist/backend/vectorInputs.js');
  const { Arguments, MAKE, STYLES } = await supportModule('kernelArguments');
  const { EXTREME_CASES } = await supportModule('extremeArguments');
  const { PACKED_WEIGHTS } = await supportModule('packedWeights');
  const { FUSIONS, FUSION_NAMES } = await import('../../dist/backend/fusions.js');
  const { MAKE_FUSION } = await supportModule('fusionArguments');
  const { recordedCalls } = createRequire(import.meta.url)(RECORDER);
  const { kernels } = openCpuBackend('scalar');

  const cases = [];
  const add = (group, operation, name, make, answer) => cases.push({ group, operation, name, make, answer });
  for (const vector of VECTOR_CASES) {
    const entries = Object.entries(vector.args);
    const make = () => Object.fromEntries(entries.map(([name, spec]) => [name, makeArgument(spec)]));
    add('vector', vector.operation, vectorKey(vector), make, VECTOR_ANSWERS[vectorKey(vector)]);
  }
  for (const { operation, name, make } of EXTREME_CASES) add('extreme', operation, `${operation}: ${name}`, make);
  for (const operation of OPERATIONS) {
    for (let i = 0; i < (FEWER_CASES[operation] ?? RANDOM_CASES); i += 1) {
      const style = STYLES[i % STYLES.length];
      const make = () => MAKE[operation](new Arguments(1000 + i, style));
      add('random', operation, `${operation}: random ${i}, ${style}`, make);
      const weight = PACKED_WEIGHTS[operation];
      if (weight === undefined || i % 2 === 1) continue;
      cases.push({ group: 'random', operation, name: `${operation}: packed, random ${i}, ${style}`, make, weight });
    }
  }
  for (const operation of FUSION_NAMES) {
    for (let i = 0; i < RANDOM_CASES; i += 1) {
      const style = STYLES[i % STYLES.length];
      const make = () => joinParts(MAKE_FUSION[operation](new Arguments(1000 + i, style)));
      cases.push({
        group: 'random',
        operation,
        name: `${operation}: random ${i}, ${style}`,
        make,
        fusion: FUSIONS[operation],
      });
    }
  }

  const out = new Writer();
  const counts = {};
  let written = 0;
  for (const { group, operation, name, make, answer, weight, fusion } of cases) {
    const argument = make();
    const calls = recorded(recordedCalls, () => {
      if (fusion !== undefined) return kernels.fused[operation](...splitParts(argument));
      if (weight === undefined) return kernels[operation](argument);
      const [rows, cols] = weight.shape(argument);
      const packed = new Uint8Array(kernels.packing.bytes(rows, cols));
      kernels.packing.pack({ codes: argument[weight.field], rows, cols, packed });
      return kernels[operation]({ ...argument, packed });
    });
    if (calls.length === 0) continue; // fillZero is TypeScript's own
    const { index, tensors } = tensorsOf(calls, argument);
    const operate =
      fusion === undefined
        ? referenceKernels[operation]
        : (a) => {
            for (const [part, of] of splitParts(a).entries()) referenceKernels[fusion.parts[part]](of);
          };
    const expected = referenceOutcome(operate, make);
    if (expected.error !== (answer?.throws ?? '') && answer !== undefined) {
      throw new ScriptError(`kernel cases: ${name}: the reference no longer gives the committed answer`);
    }
    for (const [output, digest] of Object.entries(answer?.throws ? {} : (answer ?? {}))) {
      if (digestOutput(new Uint8Array(bytesOf(expected.argument[output])))[0] === digest[0]) continue;
      throw new ScriptError(`kernel cases: ${name}: the reference no longer gives the committed answer for ${output}`);
    }
    // NON_FINITE is the kernels' own error; where TypeScript judges, only the accesses are checked.
    const judged = expected.error !== '' && expected.error !== 'NON_FINITE';
    out.text(group);
    out.text(name);
    out.text(judged ? '' : expected.error);
    out.u32(tensors.length);
    for (const { array, before, origin } of tensors) {
      const type = ELEMENT_TYPES.get(array.constructor);
      if (type === undefined) throw new ScriptError(`kernel cases: ${name}: an array of unknown type`);
      out.u8(type);
      out.number(BigInt(array.length), 'writeBigUInt64LE', 8);
      // Scratch that the TypeScript side made has no counterpart in the reference.
      const compared = origin !== undefined && !judged;
      out.u8(compared ? 1 : 0);
      out.parts.push(before);
      if (!compared) continue;
      const value = expected.argument[origin.name];
      out.parts.push(bytesOf(origin.at === undefined ? value : value[origin.at]));
    }
    out.u32(calls.length);
    for (const { method, positional } of calls) {
      out.text(method);
      out.u32(positional.length);
      for (const value of positional) writeArgument(out, value, index);
    }
    written += 1;
    counts[group] = (counts[group] ?? 0) + 1;
  }
  const head = new Writer();
  head.text('pogo kernel cases 1');
  head.u32(written);
  const bytes = Buffer.concat([...head.parts, ...out.parts]);
  const path = join(TOOLS, 'kernel-test', 'cases.bin');
  mkdirSync(dirname(path), { recursive: true });
  writeFileSync(path, bytes);
  return { path, counts };
}
