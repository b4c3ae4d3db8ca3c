/**
 * The chunks that a proof opens, each under a root that the accused has signed or committed to.
 *
 * Nothing in a proof says what to read or where: the rule of the operation asks for bytes, they are looked up here among the
 * opened chunks, and a chunk that is missing or that nothing asked for makes the proof malformed.
 */
import { PogoError } from '../../errors.js';
import { equalBytes, toHex } from '../../hex.js';
import { rootOfSet } from '../../merkle/opening.js';
import { LEAF_BYTES } from '../../merkle/shape.js';
import { readerOver } from '../trace/arrays.js';
import { outputBytes, type Program, type Reader, type Source } from '../trace/program.js';
import { externalRoots, type SubjectContext } from './subject.js';
import type { BlobOpening, ElementProof } from './types.js';

/** The error of a proof that convicts nobody. */
export const malformed = (message: string): PogoError => new PogoError('MALFORMED', `element proof: ${message}`);

/** Opened chunks by blob, with a record of what was asked for. */
export class OpenedBlobs {
  readonly #chunks = new Map<string, Map<number, { readonly bytes: Uint8Array; used: boolean }>>();

  add(key: string, opening: BlobOpening): void {
    const chunks = new Map(opening.indices.map((index, i) => [index, { bytes: opening.chunks[i]!, used: false }]));
    this.#chunks.set(key, chunks);
  }

  /** @throws PogoError MALFORMED where a chunk was not opened */
  bytes(source: Source, start: number, count: number): Uint8Array {
    const chunks = this.#chunks.get(blobKey(source));
    const out = new Uint8Array(count);
    for (let at = start; at < start + count; ) {
      const index = Math.floor(at / LEAF_BYTES);
      const chunk = chunks?.get(index);
      if (chunk === undefined) throw malformed(`expected chunk ${index} of ${blobKey(source)}, found none`);
      chunk.used = true;
      const from = at - index * LEAF_BYTES;
      const part = chunk.bytes.subarray(from, Math.min(chunk.bytes.length, from + start + count - at));
      if (part.length === 0) throw malformed(`expected byte ${at} of ${blobKey(source)}, found the end`);
      out.set(part, at - start);
      at += part.length;
    }
    return out;
  }

  reader(inputs: readonly Source[]): Reader {
    return readerOver(inputs, (source, start, count) => this.bytes(source, start, count));
  }

  requireAllUsed(): void {
    for (const [key, chunks] of this.#chunks) {
      for (const [index, { used }] of chunks) if (!used) throw malformed(`chunk ${index} of ${key} is not needed`);
    }
  }
}

/** Name of a blob in messages and look-ups. */
function blobKey({ kind, index }: Pick<Source, 'kind' | 'index'>): string {
  return `${kind} ${index}`;
}

const LIST: Pick<Source, 'kind' | 'index'> & { readonly offset: number } = { kind: 'external', index: -1, offset: 0 };

/** Checks every opened blob against its root, the list first. */
export function openBlobs(proof: ElementProof, program: Program, context: SubjectContext, roots: number): OpenedBlobs {
  const blobs = new OpenedBlobs();
  if (proof.list.indices.length > 0) {
    requireRoot('the list of roots', 32 * roots, proof.trace.statement.listRoot, proof.list);
    blobs.add(blobKey(LIST), proof.list);
  }
  const externals = externalRoots(context);
  let before = -1;
  for (const { isExternal, index, opening } of proof.blobs) {
    if (isExternal > 1) throw malformed(`expected 0 or 1 for what is opened, found ${isExternal}`);
    const source = { kind: isExternal === 1 ? ('external' as const) : ('operation' as const), index };
    const rank = isExternal === 1 ? index : program.externals.length + index;
    if (rank <= before) throw malformed('expected blobs in order, each once');
    before = rank;
    const isInput = program.operations[proof.operation]!.rule.inputs.some(
      (input) => input.kind === source.kind && input.index === index,
    );
    if (!isInput && blobKey(source) !== `operation ${proof.operation}`) {
      throw malformed(`${blobKey(source)} is not read by operation ${proof.operation}`);
    }
    if (isExternal === 1) {
      requireRoot(program.externals[index]!.name, program.externals[index]!.bytes, externals[index]!, opening);
    } else {
      if (index >= roots) throw malformed(`expected an output before the trace ends, found operation ${index}`);
      const operation = program.operations[index]!;
      requireRoot(operation.name, outputBytes(operation), blobs.bytes(LIST, 32 * index, 32), opening);
    }
    blobs.add(blobKey(source), opening);
  }
  return blobs;
}

function requireRoot(name: string, totalBytes: number, root: Uint8Array, opening: BlobOpening): void {
  const found = rootOfSet(totalBytes, opening);
  if (found === undefined || !equalBytes(found, root)) {
    throw malformed(`${name}: expected chunks of ${toHex(root)}, found others`);
  }
}
