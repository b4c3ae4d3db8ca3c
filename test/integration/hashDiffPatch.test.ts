import * as fs from 'node:fs';
import * as os from 'node:os';
import * as path from 'node:path';
import { blake3 } from '@noble/hashes/blake3.js';
import { Command } from 'commander';
import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest';
import { register as registerDiffPatch } from '../../src/cli/diffPatch.js';
import { register as registerHash } from '../../src/cli/hash.js';
import { toHex } from '../../src/hex.js';
import { seededBytes } from '../support/random.js';

let directory: string;
let printed: string;
const at = (name: string) => path.join(directory, name);

beforeEach(() => {
  directory = fs.mkdtempSync(path.join(os.tmpdir(), 'pogo-cli-'));
  printed = '';
  vi.spyOn(process.stdout, 'write').mockImplementation((text) => {
    printed += String(text);
    return true;
  });
});
afterEach(() => {
  vi.restoreAllMocks();
  fs.rmSync(directory, { recursive: true, force: true });
});

async function pogo(...args: string[]): Promise<void> {
  const program = new Command('pogo').exitOverride();
  registerHash(program);
  registerDiffPatch(program);
  for (const command of program.commands) command.exitOverride().configureOutput({ writeErr: () => undefined });
  await program.parseAsync(['node', 'pogo', ...args]);
}

describe('pogo hash', () => {
  it('prints what b3sum prints', async () => {
    const bytes = seededBytes(100_000, 1);
    fs.writeFileSync(at('a'), bytes);
    fs.writeFileSync(at('b'), '');
    await pogo('hash', at('a'), at('b'));
    // The root of the empty string is published with BLAKE3.
    const empty = 'af1349b9f5f9a1a6a0404dea36dcc9499bcb25c9adc112b7cc9a93cae41f3262';
    expect(printed).toBe(`${toHex(blake3(bytes))}  ${at('a')}\n${empty}  ${at('b')}\n`);
  });

  it('writes the tree, whose last value is the root', async () => {
    const bytes = seededBytes(5000, 1);
    fs.writeFileSync(at('a'), bytes);
    await pogo('hash', at('a'), '--tree', at('tree'));
    expect(toHex(fs.readFileSync(at('tree')).subarray(-32))).toBe(toHex(blake3(bytes)));
    await expect(pogo('hash', at('a'), at('a'), '--tree', at('tree'))).rejects.toMatchObject({ code: 'USAGE' });
    await expect(pogo('hash', at('nothing'))).rejects.toMatchObject({ code: 'IO' });
  });
});

describe('pogo diff and pogo patch', () => {
  it('rebuild the new model from the old one and the diff', async () => {
    const older = seededBytes(50_000, 1);
    const newer = older.map((byte, index) => (index % 97 === 0 ? byte ^ 0x30 : byte));
    fs.writeFileSync(at('old'), older);
    fs.writeFileSync(at('new'), newer);
    await pogo('diff', at('old'), at('new'), '-o', at('patch'));
    expect(fs.statSync(at('patch')).size).toBeLessThan(15_000);
    await pogo('patch', at('old'), at('patch'), '-o', at('again'));
    expect(Buffer.compare(fs.readFileSync(at('again')), newer)).toBe(0);
    expect(printed).toContain(toHex(blake3(newer)));
  });

  it('write nothing when the patch is not for this model, is cut, or is no patch', async () => {
    fs.writeFileSync(at('old'), seededBytes(1000, 1));
    fs.writeFileSync(at('new'), seededBytes(1000, 2));
    await pogo('diff', at('old'), at('new'), '-o', at('patch'));
    fs.writeFileSync(at('cut'), fs.readFileSync(at('patch')).subarray(0, 500));
    fs.writeFileSync(at('huge'), Buffer.alloc(5000));
    await expect(pogo('patch', at('new'), at('patch'), '-o', at('x'))).rejects.toMatchObject({ code: 'MISMATCH' });
    for (const bad of ['cut', 'old', 'huge']) {
      await expect(pogo('patch', at('old'), at(bad), '-o', at('x'))).rejects.toMatchObject({ code: 'MALFORMED' });
    }
    await expect(pogo('patch', at('nothing'), at('patch'), '-o', at('x'))).rejects.toMatchObject({ code: 'IO' });
    expect(fs.existsSync(at('x'))).toBe(false);
  });
});
