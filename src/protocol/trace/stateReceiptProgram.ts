/**
 * The part of a receipt over a state, as a program: chaining values of all leaves of θ, m and v, then the derive-key hash
 * over draw signature, number of steps, and those values, chunk by chunk and 32 nodes at a time. The draw signature is the
 * trace's first output and a result, so a trace says under which one it was made.
 */
import { chunkInto, contextKey, derivedChunkInto, derivedParentInto } from '../../merkle/compress.js';
import { CV_BYTES, LEAF_BYTES, leafCount } from '../../merkle/shape.js';
import { createLayout } from '../../model/layout.js';
import { CONTEXT, u64Bytes } from '../domains.js';
import { type Program, ProgramBuilder, type Rule, rowGroups, type Source } from './program.js';
import type { ProgramRecipe } from './unitProgram.js';

/** Nodes that one rule reduces: their values fill a leaf. */
const FAN_IN = LEAF_BYTES / CV_BYTES;
const DRAW_BYTES = 96;
/** Bytes of the hashed message before the chaining values: draw signature, steps. */
const HEAD_BYTES = DRAW_BYTES + 8;

const value = rowGroups(CV_BYTES, CV_BYTES);
const KEY = contextKey(new TextEncoder().encode(CONTEXT.receiptState));

/**
 * Externals: θ, m, v. Result: `draw`. The last operation, `part`, is the part of the receipt.
 *
 * @param stepsDone steps of the claim that the state has behind it
 * @param drawSignature of the verifier, asked for by the rule of `draw`, which no proof is about
 */
export function stateReceiptProgram(
  recipe: ProgramRecipe,
  stepsDone: number,
  drawSignature: () => Uint8Array,
): Program {
  const bytes = 4 * createLayout(recipe).length;
  const b = new ProgramBuilder();
  const length = CV_BYTES * leafCount(bytes);
  const names = ['theta', 'm', 'v'];
  const vectors = names.map((name) => b.external(name, bytes));
  const draw = b.add('draw', 'u8', DRAW_BYTES, drawRule(drawSignature));
  b.result('draw', draw);
  const values = vectors.map((vector, i) => b.add(`${names[i]}.leaves`, 'u8', length, leavesRule(vector, bytes)));
  let count = leafCount(HEAD_BYTES + 3 * length);
  let nodes = b.add(
    count === 1 ? 'part' : 'chunks',
    'u8',
    CV_BYTES * count,
    messageRule(draw, stepsDone, values, length),
  );
  for (let level = 1; count > 1; level += 1) {
    const below = count;
    count = Math.ceil(below / FAN_IN);
    const name = count === 1 ? 'part' : `nodes.${level}`;
    nodes = b.add(name, 'u8', CV_BYTES * count, nodesRule(nodes, below));
  }
  return b.build();
}

/** u8 [96]. */
function drawRule(drawSignature: () => Uint8Array): Rule {
  return {
    kind: 'receipt.draw',
    inputs: [],
    span: () => [0, DRAW_BYTES],
    compute: (_read, _start, out) => out.set(drawSignature()),
  };
}

/** u8 [32 · leaves]: BLAKE3 chaining values of a vector's leaves. */
function leavesRule(vector: Source, bytes: number): Rule {
  return {
    kind: 'receipt.leaves',
    inputs: [vector],
    span: value,
    compute(read, start, out) {
      const leaf = start / CV_BYTES;
      const from = leaf * LEAF_BYTES;
      const chunk = read.u8(0, from, Math.min(LEAF_BYTES, bytes - from));
      chunkInto(chunk, 0, chunk.length, leaf, out as Uint8Array, 0);
    },
  };
}

/** u8 [32 · chunks]: derive-key chaining values of the message; its root where it has one chunk. */
function messageRule(draw: Source, stepsDone: number, values: readonly Source[], length: number): Rule {
  const total = HEAD_BYTES + values.length * length;
  return {
    kind: 'receipt.chunks',
    inputs: [...values, draw],
    span: value,
    compute(read, start, out) {
      const index = start / CV_BYTES;
      const from = index * LEAF_BYTES;
      const chunk = new Uint8Array(Math.min(LEAF_BYTES, total - from));
      if (from < HEAD_BYTES) {
        chunk.set(read.u8(values.length, 0, DRAW_BYTES));
        chunk.set(u64Bytes(stepsDone), DRAW_BYTES);
      }
      values.forEach((_, input) => {
        const base = HEAD_BYTES + input * length;
        const first = Math.max(from, base);
        const end = Math.min(from + chunk.length, base + length);
        if (first < end) chunk.set(read.u8(input, first - base, end - first), first - from);
      });
      derivedChunkInto(KEY, chunk, index, total <= LEAF_BYTES, out as Uint8Array);
    },
  };
}

/** u8 [32 · ⌈below / 32⌉]: five levels of the tree; an odd last node moves up unchanged. */
function nodesRule(nodes: Source, below: number): Rule {
  return {
    kind: 'receipt.nodes',
    inputs: [nodes],
    span: value,
    compute(read, start, out) {
      const first = FAN_IN * (start / CV_BYTES);
      let count = Math.min(FAN_IN, below - first);
      const level = read.u8(0, CV_BYTES * first, CV_BYTES * count).slice();
      for (; count > 1; count = Math.ceil(count / 2)) {
        const isRoot = below <= FAN_IN && count === 2;
        for (let i = 0; i + 1 < count; i += 2) {
          derivedParentInto(KEY, level, CV_BYTES * i, isRoot, level, (CV_BYTES * i) / 2);
        }
        if (count % 2 === 1) level.copyWithin((CV_BYTES * (count - 1)) / 2, CV_BYTES * (count - 1), CV_BYTES * count);
      }
      out.set(level.subarray(0, CV_BYTES));
    },
  };
}

/** A program with the operation `receipt` at its end: u8 [128], draw signature and part. */
export function withPart(program: Program): Program {
  const output = (index: number): Source => ({ kind: 'operation', index, offset: 0 });
  const length = DRAW_BYTES + CV_BYTES;
  const rule: Rule = {
    kind: 'receipt',
    inputs: [output(0), output(program.operations.length - 1)],
    span: () => [0, length],
    compute(read, _start, out) {
      out.set(read.u8(0, 0, DRAW_BYTES));
      out.set(read.u8(1, 0, CV_BYTES), DRAW_BYTES);
    },
  };
  return { ...program, operations: [...program.operations, { name: 'receipt', type: 'u8', length, rule }] };
}
