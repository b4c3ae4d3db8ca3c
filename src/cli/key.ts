/** `pogo key`: makes and shows key files. A secret is never printed. */
import { randomBytes } from 'node:crypto';
import type { Command } from 'commander';
import { toHex } from '../hex.js';
import { keystorePublicKey, requireFreeKey, writeKeystore } from '../node/keyFile.js';
import { createNativeBls } from '../protocol/blsNative.js';
import { printEvent } from './events.js';
import { passphraseFrom } from './passphrase.js';

interface Options {
  readonly passphraseFile?: string;
  readonly json?: true;
}

function show(action: 'new' | 'show', file: string, publicKey: Uint8Array, json: boolean): void {
  if (json) printEvent({ type: 'result', command: 'key', action, file, publicKey: toHex(publicKey) });
  else process.stdout.write(`${file}: public key ${toHex(publicKey)}\n`);
}

async function newKey(file: string, options: Options): Promise<void> {
  // Before anybody thinks of a passphrase.
  requireFreeKey(file);
  const bls = createNativeBls();
  const secret = bls.deriveMasterSecret(Uint8Array.from(randomBytes(32)));
  const keys = { secret, publicKey: bls.publicKeyFromSecret(secret) };
  await writeKeystore(file, keys, await passphraseFrom(options.passphraseFile, { isNew: true })());
  show('new', file, keys.publicKey, options.json === true);
}

export function register(program: Command): void {
  const key = program.command('key').addHelpText(
    'after',
    `
The passphrase is the first line of --passphrase-file, else POGO_PASSPHRASE, else asked on the terminal.

Examples:
  pogo key new miner.json
  pogo mine --recipe tiny --dir claims-of-tiny --key miner.json`,
  );
  key
    .command('new')
    .description('write a new random key, mode 600; an existing file is never replaced')
    .argument('<file>', 'keystore to write')
    .option('--passphrase-file <file>', 'file whose first line is the passphrase')
    .option('--json', 'events instead of text')
    .action((file: string, options: Options) => newKey(file, options));
  key
    .command('show')
    .description('print the public key of a keystore; needs no passphrase')
    .argument('<file>', 'keystore to read')
    .option('--json', 'events instead of text')
    .action((file: string, options: Options) => {
      show('show', file, keystorePublicKey(file), options.json === true);
    });
}
