/** Parts of a token file, written as documents come: tokens (u16 or u32 LE) and the roots of their documents. */
import * as path from 'node:path';
import { PogoError } from '../../errors.js';
import type { FileLayer, OpenFile } from '../../files/fileLayer.js';

/** Bytes that are kept until they are written. */
const BUFFER_BYTES = 1 << 20;

/** Appends bytes to a new file in large writes. */
class BufferedFile {
  readonly #file: OpenFile;
  readonly #buffer = new Uint8Array(BUFFER_BYTES);
  #held = 0;
  #written = 0;

  constructor(layer: FileLayer, file: string) {
    this.#file = layer.open(file, 'exclusive');
  }

  append(bytes: Uint8Array): void {
    for (let at = 0; at < bytes.length; ) {
      const taken = Math.min(bytes.length - at, BUFFER_BYTES - this.#held);
      this.#buffer.set(bytes.subarray(at, at + taken), this.#held);
      this.#held += taken;
      at += taken;
      if (this.#held === BUFFER_BYTES) this.#flush();
    }
  }

  #flush(): void {
    this.#file.write(this.#buffer.subarray(0, this.#held), this.#written);
    this.#written += this.#held;
    this.#held = 0;
  }

  /** Writes what is held, and makes it durable. @returns bytes of the file */
  finish(): number {
    this.#flush();
    this.#file.sync();
    return this.#written;
  }

  close(): void {
    this.#file.close();
  }
}

/** The training part or the held-out part while it is made. */
export class PartWriter {
  readonly tokensPath: string;
  readonly rootsPath: string;
  readonly #tokens: BufferedFile;
  readonly #roots: BufferedFile;
  readonly #vocab: number;
  readonly #width: 2 | 4;
  #count = 0;
  #documents = 0;

  constructor(layer: FileLayer, folder: string, name: string, vocab: number, width: 2 | 4) {
    this.tokensPath = path.join(folder, `${name}.tokens`);
    this.rootsPath = path.join(folder, `${name}.roots`);
    this.#tokens = new BufferedFile(layer, this.tokensPath);
    this.#roots = new BufferedFile(layer, this.rootsPath);
    this.#vocab = vocab;
    this.#width = width;
  }

  /** Tokens so far. */
  get tokens(): number {
    return this.#count;
  }

  /** Documents so far, repeated ones as often as they stand there. */
  get documents(): number {
    return this.#documents;
  }

  /**
   * @param root BLAKE3 of the document
   * @throws PogoError MISMATCH for a token that the model has no row for
   */
  add(root: Uint8Array, tokens: Uint32Array, copies: number): void {
    const bad = tokens.findIndex((token) => token >= this.#vocab);
    if (bad >= 0) {
      throw new PogoError(
        'MISMATCH',
        `expected tokens below ${this.#vocab} (the recipe's vocabulary), found ${tokens[bad]}; take the tokenizer of the recipe`,
      );
    }
    const narrow = this.#width === 2 ? Uint16Array.from(tokens) : tokens;
    const bytes = new Uint8Array(narrow.buffer, narrow.byteOffset, narrow.byteLength);
    for (let copy = 0; copy < copies; copy++) {
      this.#tokens.append(bytes);
      this.#roots.append(root);
      this.#count += tokens.length;
      this.#documents += 1;
    }
  }

  finish(): void {
    this.#tokens.finish();
    this.#roots.finish();
  }

  close(): void {
    this.#tokens.close();
    this.#roots.close();
  }
}

/** Appends a file to another in pieces. */
export function appendFile(layer: FileLayer, to: string, from: string): void {
  const target = layer.open(to, 'update');
  const source = layer.open(from, 'read');
  try {
    const piece = new Uint8Array(4 * BUFFER_BYTES);
    let end = target.size();
    for (let at = 0; ; ) {
      const count = source.read(piece, at);
      if (count === 0) break;
      target.write(piece.subarray(0, count), end);
      at += count;
      end += count;
    }
    target.sync();
  } finally {
    source.close();
    target.close();
  }
}
