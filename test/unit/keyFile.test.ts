/** Key files: EIP-2335's own vector, modes, and that no secret is ever shown. */
import { chmodSync, mkdtempSync, readFileSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, describe, expect, it } from 'vitest';
import { toHex } from '../../src/hex.js';
import { keystorePublicKey, readKeys, writeKeystore } from '../../src/node/keyFile.js';
import { createNativeBls } from '../../src/protocol/blsNative.js';
import { refusal } from '../support/refusal.js';

const bls = createNativeBls();
const folder = mkdtempSync(join(tmpdir(), 'pogo-keys-'));
afterAll(() => rmSync(folder, { recursive: true, force: true }));
const at = (name: string): string => join(folder, name);
const pass = (text: string) => async (): Promise<string> => text;
const keys = bls.deriveKey(new Uint8Array(32).fill(3), 'miner', 0);
const PASSPHRASE = 'correct horse';

/** Test vector "scrypt" of EIP-2335. */
const VECTOR = {
  crypto: {
    kdf: {
      function: 'scrypt',
      params: {
        dklen: 32,
        n: 262144,
        p: 1,
        r: 8,
        salt: 'd4e56740f876aef8c010b86a40d5f56745a118d0906a34e69aec8c0db1cb8fa3',
      },
      message: '',
    },
    checksum: {
      function: 'sha256',
      params: {},
      message: 'd2217fe5f3e9a1e34581ef8a78f7c9928e436d36dacc5e846690a5581e8ea484',
    },
    cipher: {
      function: 'aes-128-ctr',
      params: { iv: '264daa3f303d7259501c93d997d84fe6' },
      message: '06ae90d55fe0a6e9c5c3bc5b170827b2e5cce3929ed3f116c2811e6366dfe20f',
    },
  },
  description: 'This is a test keystore that uses scrypt to secure the secret.',
  pubkey: '9612d7a727c9d0a22e185a1c768478dfe919cada9266988cb32359c11f2b7b27f4ae4040902382ae2910c15e2b420d07',
  path: 'm/12381/60/3141592653/589793238',
  uuid: '1d85ae20-35c5-4611-98e8-aa14a633906f',
  version: 4,
};

/** Every message that a failure gives, for searching it. */
const shown: string[] = [];
async function refused(work: Promise<unknown>): Promise<string> {
  const message = await refusal(work);
  shown.push(message);
  return message;
}

describe('keystores', () => {
  it('opens the vector of EIP-2335', async () => {
    writeFileSync(at('vector.json'), JSON.stringify(VECTOR));
    const opened = await readKeys(at('vector.json'), bls, 'miner', pass('𝔱𝔢𝔰𝔱𝔭𝔞𝔰𝔰𝔴𝔬𝔯𝔡🔑'));
    expect(toHex(opened.secret)).toBe('000000000019d6689c085ae165831e934ff763ae46a2a6c172b3f1b60a8ce26f');
    expect(toHex(opened.publicKey)).toBe(VECTOR.pubkey);
  });

  it('comes back under its passphrase, in a file of mode 600 that holds no secret', async () => {
    await writeKeystore(at('new.json'), keys, PASSPHRASE);
    expect(statSync(at('new.json')).mode & 0o777).toBe(0o600);
    expect(readFileSync(at('new.json'), 'utf8')).not.toContain(toHex(keys.secret));
    expect(toHex(keystorePublicKey(at('new.json')))).toBe(toHex(keys.publicKey));
    expect(await readKeys(at('new.json'), bls, 'miner', pass(PASSPHRASE))).toEqual(keys);
    expect(await refused(readKeys(at('new.json'), bls, 'miner', pass('wrong battery')))).toMatch(
      /^USAGE: .*passphrase/,
    );
    expect(await refused(writeKeystore(at('new.json'), keys, PASSPHRASE))).toMatch(/^IO: /);
    expect(await refused(writeKeystore(at('empty.json'), keys, ''))).toMatch(/^RANGE: /);
  });

  it('refuses another key’s name, derivations without bound, doubled keys, and what is no keystore', async () => {
    const write = (name: string, value: unknown): string => {
      writeFileSync(at(name), typeof value === 'string' ? value : JSON.stringify(value));
      return at(name);
    };
    const stored = JSON.parse(readFileSync(at('new.json'), 'utf8')) as typeof VECTOR;
    const other = write('other.json', { ...stored, pubkey: VECTOR.pubkey });
    expect(await refused(readKeys(other, bls, 'miner', pass(PASSPHRASE)))).toMatch(/^MALFORMED: .*another key/);
    const { kdf } = stored.crypto;
    const bomb = { ...stored, crypto: { ...stored.crypto, kdf: { ...kdf, params: { ...kdf.params, n: 2 ** 30 } } } };
    expect(await refused(readKeys(write('bomb.json', bomb), bls, 'miner', pass('x')))).toMatch(/^MALFORMED: .*512 MiB/);
    const doubled = readFileSync(at('new.json'), 'utf8').replace('"version": 4', '"version": 4, "version": 4');
    for (const text of [doubled, '', '{}', 'null', toHex(keys.secret).slice(1), `${toHex(keys.secret)}00`]) {
      expect(await refused(readKeys(write('bad.json', text), bls, 'miner', pass(PASSPHRASE)))).toMatch(/^USAGE: /);
    }
  });

  it.skipIf(process.platform === 'win32')('a plain seed counts only where nobody else can read it', async () => {
    const seed = toHex(new Uint8Array(32).fill(3));
    writeFileSync(at('seed'), `${seed}\n`, { mode: 0o600 });
    expect(await readKeys(at('seed'), bls, 'miner', pass(''))).toEqual(keys);
    chmodSync(at('seed'), 0o644);
    expect(await refused(readKeys(at('seed'), bls, 'miner', pass('')))).toMatch(/^USAGE: .*chmod 600/);
  });

  it('no message of all these shows a secret or a passphrase', () => {
    expect(shown.length).toBeGreaterThan(10);
    for (const message of shown) {
      expect(message).not.toContain(toHex(keys.secret).slice(1, 20));
      expect(message).not.toContain(PASSPHRASE);
      expect(message).not.toContain('wrong battery');
    }
  });
});
