/** Names that an ELF shared object imports (undefined symbols of its dynamic table), read without tools. 64-bit, little-endian. */
import { readFileSync } from 'node:fs';

interface Section {
  readonly type: number;
  readonly offset: number;
  readonly size: number;
  readonly link: number;
}

const DYNAMIC_SYMBOLS = 11;
const SYMBOL_BYTES = 24;

/** @returns names without their versions; undefined for a file that is no such object */
export function elfImports(file: string): string[] | undefined {
  const bytes = readFileSync(file);
  if (bytes.readUInt32BE(0) !== 0x7f454c46 || bytes[4] !== 2 || bytes[5] !== 1) return undefined;
  const table = Number(bytes.readBigUInt64LE(0x28));
  const entryBytes = bytes.readUInt16LE(0x3a);
  const sections: Section[] = Array.from({ length: bytes.readUInt16LE(0x3c) }, (_, i) => {
    const at = table + i * entryBytes;
    return {
      type: bytes.readUInt32LE(at + 4),
      offset: Number(bytes.readBigUInt64LE(at + 24)),
      size: Number(bytes.readBigUInt64LE(at + 32)),
      link: bytes.readUInt32LE(at + 40),
    };
  });
  const symbols = sections.find(({ type }) => type === DYNAMIC_SYMBOLS);
  if (symbols === undefined) return undefined;
  const names = sections[symbols.link]!.offset;
  const imports: string[] = [];
  for (let at = symbols.offset; at < symbols.offset + symbols.size; at += SYMBOL_BYTES) {
    const undefinedSymbol = bytes.readUInt16LE(at + 6) === 0;
    const start = names + bytes.readUInt32LE(at);
    const name = bytes.toString('latin1', start, bytes.indexOf(0, start));
    if (undefinedSymbol && name !== '') imports.push(name);
  }
  return imports;
}
