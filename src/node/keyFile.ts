/**
 * Key files: a BLS secret encrypted at rest (EIP-2335, https://eips.ethereum.org/EIPS/eip-2335), or the plain seed that a
 * miner's key derives from. Secrets and passphrases never appear in an error, an event or a log.
 */
import * as fs from 'node:fs';
import * as path from 'node:path';
import { create, decrypt, defaultScryptModule, type IKeystore, isValidKeystore } from '@chainsafe/bls-keystore';
import { PogoError } from '../errors.js';
import { makeDirectoryFor, unfinishedPath } from '../files/durable.js';
import { ioError, readWholeFile, realFiles } from '../files/fileLayer.js';
import { equalBytes, fromHex, toHex } from '../hex.js';
import { parseStrictJson, RepeatedKey } from '../model/strictJson.js';
import type { Bls, KeyPair } from '../protocol/bls.js';

/** A keystore is about 1 KiB. */
const MAX_KEY_FILE_BYTES = 1 << 16;
/** Derivations that cost more than this are refused: a file must not decide how much memory or time its reader spends. */
const MAX_SCRYPT_MEMORY_BYTES = 1 << 29;
const MAX_PBKDF2_ROUNDS = 1 << 24;
/** Readable and writable by the owner alone. */
const OWNER_ONLY = 0o600;

/** Gives the passphrase of a key file when one is needed. */
export type PassphraseSource = () => Promise<string>;

/**
 * Writes a new encrypted key file, readable by its owner alone.
 *
 * @param keys the pair to keep
 * @throws PogoError IO when the file exists or cannot be written, RANGE for an empty passphrase
 */
export async function writeKeystore(file: string, keys: KeyPair, passphrase: string): Promise<void> {
  if (passphrase.length === 0) throw new PogoError('RANGE', 'expected a passphrase, found an empty one');
  requireFreeKey(file);
  const keystore = await create(passphrase, keys.secret, keys.publicKey, '', null, defaultScryptModule());
  const undo = makeDirectoryFor(realFiles, path.dirname(file));
  const unfinished = unfinishedPath(file);
  try {
    const handle = fs.openSync(unfinished, 'wx', OWNER_ONLY);
    try {
      // Not `writeSync`, which may write a part: half a keystore is no key, and must not be told as one.
      fs.writeFileSync(handle, `${JSON.stringify(keystore, null, 2)}\n`);
      fs.fsyncSync(handle);
    } finally {
      fs.closeSync(handle);
    }
    giveName(unfinished, file);
    realFiles.syncDirectory(path.dirname(file));
  } catch (error) {
    fs.rmSync(unfinished, { force: true });
    undo();
    throw ioError('write the key file', file, error);
  }
}

/** A link, not a rename: it fails where another process has made a key meanwhile. */
function giveName(unfinished: string, file: string): void {
  try {
    fs.linkSync(unfinished, file);
    fs.rmSync(unfinished);
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'EEXIST') throw error;
    // A file system without hard links.
    requireFreeKey(file);
    fs.renameSync(unfinished, file);
  }
}

/** @throws PogoError IO where something is: there is no --force, since a key that is gone is gone */
export function requireFreeKey(file: string): void {
  if (realFiles.status(file) === undefined) return;
  const message = `expected nothing at ${file}, found a file or folder; a key is never replaced: name another file`;
  throw new PogoError('IO', message, { path: file });
}

/** The public key that a keystore names, without its passphrase. @throws PogoError MALFORMED, IO, USAGE for a plain seed */
export function keystorePublicKey(file: string): Uint8Array {
  const text = readKeyText(file);
  if (isPlainSeed(text)) {
    throw new PogoError('USAGE', `expected a keystore in ${file}, found a plain seed: pogo key show reads keystores`);
  }
  return publicKeyOf(parseKeystore(text, file), file);
}

/**
 * The keys of a file: a keystore, or 64 hexadecimal digits, the seed that the key of (role, 0) derives from.
 *
 * @param passphrase asked for keystores only
 * @throws PogoError IO; USAGE for a wrong passphrase, another content, or a plain seed that others may read; MALFORMED
 */
export async function readKeys(file: string, bls: Bls, role: string, passphrase: PassphraseSource): Promise<KeyPair> {
  const text = readKeyText(file);
  if (isPlainSeed(text)) {
    refuseOpenMode(file);
    return bls.deriveKey(fromHex(text, 32), role, 0);
  }
  const keystore = parseKeystore(text, file);
  const expected = publicKeyOf(keystore, file);
  const secret = await open(keystore, file, await passphrase());
  let publicKey: Uint8Array;
  try {
    publicKey = bls.publicKeyFromSecret(secret);
  } catch {
    throw new PogoError('MALFORMED', `expected a BLS secret in ${file}, found other bytes`);
  }
  if (!equalBytes(publicKey, expected)) {
    throw new PogoError('MALFORMED', `expected the secret of ${toHex(expected)} in ${file}, found that of another key`);
  }
  return { secret, publicKey };
}

function readKeyText(file: string): string {
  return new TextDecoder().decode(readWholeFile(realFiles, file, MAX_KEY_FILE_BYTES)).trim();
}

function isPlainSeed(text: string): boolean {
  return /^[0-9a-fA-F]{64}$/.test(text);
}

/** A secret that other users of the machine can read is none. */
function refuseOpenMode(file: string): void {
  const { mode } = fs.statSync(file);
  if (process.platform === 'win32' || (mode & 0o077) === 0) return;
  throw new PogoError(
    'USAGE',
    `expected a key file that only its owner can read, found mode ${(mode & 0o777).toString(8)}: chmod 600 ${file}`,
  );
}

function parseKeystore(text: string, file: string): IKeystore {
  let value: unknown;
  let found = 'something else';
  try {
    value = parseStrictJson(text);
  } catch (error) {
    if (error instanceof RepeatedKey) found = 'JSON with one key twice';
  }
  if (!isValidKeystore(value)) {
    // The content may be a secret of another kind: it is not shown.
    throw new PogoError(
      'USAGE',
      `expected an EIP-2335 keystore or 64 hexadecimal digits in ${file}, found ${found}; make a key with: pogo key new FILE`,
    );
  }
  const keystore = value as IKeystore;
  const { kdf } = keystore.crypto;
  const tooMuch =
    kdf.function === 'scrypt'
      ? 128 * kdf.params.n * kdf.params.r + 128 * kdf.params.r * kdf.params.p > MAX_SCRYPT_MEMORY_BYTES ||
        kdf.params.p > 16
      : kdf.params.c > MAX_PBKDF2_ROUNDS;
  if (tooMuch || kdf.params.dklen !== 32) {
    throw new PogoError(
      'MALFORMED',
      `expected a keystore of at most 512 MiB of scrypt in ${file}, found one that asks more`,
    );
  }
  return keystore;
}

function publicKeyOf(keystore: IKeystore, file: string): Uint8Array {
  try {
    return fromHex(keystore.pubkey, 48);
  } catch {
    throw new PogoError('MALFORMED', `expected a public key of 48 bytes in ${file}, found another`);
  }
}

async function open(keystore: IKeystore, file: string, passphrase: string): Promise<Uint8Array> {
  try {
    return Uint8Array.from(await decrypt(keystore, passphrase));
  } catch {
    // Whatever the library says may quote what it was given.
    throw new PogoError('USAGE', `expected the passphrase of ${file}, found another`);
  }
}
