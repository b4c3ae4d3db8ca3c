/**
 * What `@chainsafe/ssz` uses of Node's `Buffer`, for browsers: handed to the bundler as an injected file, so that no
 * global is set.
 */
class LightBuffer extends Uint8Array {
  static alloc(size: number): LightBuffer {
    return new LightBuffer(size);
  }

  static allocUnsafe(size: number): LightBuffer {
    return new LightBuffer(size);
  }

  static override from(...parts: unknown[]): LightBuffer {
    const [memory, offset, length] = parts as [ArrayBuffer, number, number];
    return new LightBuffer(memory, offset, length);
  }

  /** Little-endian, at most six bytes, as in Node. */
  writeUIntLE(value: number, offset: number, byteLength: number): number {
    let rest = value;
    for (let i = 0; i < byteLength; i += 1) {
      this[offset + i] = rest % 256;
      rest = Math.floor(rest / 256);
    }
    return offset + byteLength;
  }
}

export { LightBuffer as Buffer };
