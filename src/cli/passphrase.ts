/** Where the passphrase of a key file comes from: a file, the environment, or the terminal. Never an argument: those are public. */
import { readFileSync } from 'node:fs';
import { PogoError } from '../errors.js';
import type { PassphraseSource } from '../node/keyFile.js';

const VARIABLE = 'POGO_PASSPHRASE';

/** @param file value of `--passphrase-file`; its first line is the passphrase */
export function passphraseFrom(file: string | undefined): PassphraseSource {
  return async () => {
    if (file !== undefined) return firstLine(file);
    const fromEnvironment = process.env[VARIABLE];
    if (fromEnvironment !== undefined && fromEnvironment !== '') return fromEnvironment;
    if (process.stdin.isTTY !== true) {
      throw new PogoError('USAGE', `expected a passphrase, found none: use --passphrase-file FILE or ${VARIABLE}`);
    }
    return ask('Passphrase: ');
  };
}

function firstLine(file: string): string {
  try {
    return readFileSync(file, 'utf8').split(/\r?\n/, 1)[0] ?? '';
  } catch (cause) {
    throw PogoError.from(cause, file);
  }
}

/** Reads a line from the terminal without showing it. */
function ask(question: string): Promise<string> {
  const { stdin, stderr } = process;
  stderr.write(question);
  stdin.setRawMode(true);
  stdin.setEncoding('utf8');
  stdin.resume();
  return new Promise((resolve, reject) => {
    let text = '';
    const end = (): void => {
      stdin.off('data', read);
      stdin.setRawMode(false);
      stdin.pause();
      stderr.write('\n');
    };
    const read = (data: string): void => {
      for (const character of data) {
        if (character === '\r' || character === '\n') {
          end();
          return resolve(text);
        }
        if (character === '\u0003') {
          end();
          return reject(new PogoError('INTERRUPTED', 'no passphrase was given'));
        }
        text = character === '\u007f' || character === '\b' ? text.slice(0, -1) : text + character;
      }
    };
    stdin.on('data', read);
  });
}
