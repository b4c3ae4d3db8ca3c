/** Typed views of the bytes of outputs, what a rule reads them through, and the one form of a NaN in them. */
import { ELEMENT_BYTES, type ElementArrays, type ElementType, type Reader, type Source } from './program.js';

export const CONSTRUCTORS = {
  f32: Float32Array,
  u16: Uint16Array,
  i8: Int8Array,
  u8: Uint8Array,
  u32: Uint32Array,
  i32: Int32Array,
} as const;

/** A typed view of bytes; copies where the bytes are not aligned. */
export function typedView<T extends ElementType>(type: T, bytes: Uint8Array): ElementArrays[T] {
  const size = ELEMENT_BYTES[type];
  const aligned = bytes.byteOffset % size === 0 ? bytes : bytes.slice();
  const { buffer, byteOffset, byteLength } = aligned;
  return new CONSTRUCTORS[type](buffer as ArrayBuffer, byteOffset, byteLength / size) as ElementArrays[T];
}

/**
 * What a rule reads its inputs through.
 *
 * @param inputs the operation's inputs
 * @param bytes bytes [start, start + count) of an input's blob
 */
export function readerOver(
  inputs: readonly Source[],
  bytes: (source: Source, start: number, count: number) => Uint8Array,
): Reader {
  const read =
    <T extends ElementType>(type: T) =>
    (input: number, start: number, count: number): ElementArrays[T] => {
      const source = inputs[input] as Source;
      const size = ELEMENT_BYTES[type];
      return typedView(type, bytes(source, (source.offset + start) * size, count * size));
    };
  return {
    f32: read('f32'),
    u16: read('u16'),
    i8: read('i8'),
    u8: read('u8'),
    u32: read('u32'),
    i32: read('i32'),
  };
}

/**
 * Writes every NaN of an output as one bit pattern. Sign and payload of a NaN differ by machine and are not specified;
 * an honest trace must have one root on all.
 */
export function canonicalNaN(type: ElementType, bytes: Uint8Array): void {
  if (type === 'f32') {
    const words = typedView('u32', bytes);
    for (let i = 0; i < words.length; i += 1) if ((words[i]! & 0x7fffffff) > 0x7f800000) words[i] = 0x7fc00000;
  } else if (type === 'u16') {
    const words = typedView('u16', bytes);
    for (let i = 0; i < words.length; i += 1) if ((words[i]! & 0x7fff) > 0x7f80) words[i] = 0x7fc0;
  }
}
