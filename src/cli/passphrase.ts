/** Where the passphrase of a key file comes from: a file, the environment, or the terminal. Never an argument: those are public. */
import { readFileSync } from 'node:fs';
import { PogoError } from '../errors.js';
import type { PassphraseSource } from '../node/keyFile.js';

const VARIABLE = 'POGO_PASSPHRASE';

/** What a passphrase is typed on. */
export interface Terminal {
  readonly stdin: Pick<NodeJS.ReadStream, 'isTTY' | 'setRawMode' | 'setEncoding' | 'resume' | 'pause' | 'on' | 'off'>;
  readonly stderr: { write(text: string): unknown };
}

export interface PassphraseOptions {
  /** Of a new key: what is typed unseen is typed twice, since a slip would lock the key for ever. */
  readonly isNew?: boolean;
  readonly terminal?: Terminal;
}

/** @param file value of `--passphrase-file`; its first line is the passphrase */
export function passphraseFrom(
  file: string | undefined,
  { isNew = false, terminal = process }: PassphraseOptions = {},
): PassphraseSource {
  return async () => {
    if (file !== undefined) return firstLine(file);
    const fromEnvironment = process.env[VARIABLE];
    if (fromEnvironment !== undefined && fromEnvironment !== '') return fromEnvironment;
    if (terminal.stdin.isTTY !== true) {
      throw new PogoError('USAGE', `expected a passphrase, found none: use --passphrase-file FILE or ${VARIABLE}`);
    }
    const passphrase = await ask('Passphrase: ', terminal);
    if (isNew && (await ask('The same once more: ', terminal)) !== passphrase) {
      throw new PogoError('USAGE', 'expected the same passphrase twice, found two: no key was made, try again');
    }
    return passphrase;
  };
}

function firstLine(file: string): string {
  try {
    return readFileSync(file, 'utf8').split(/\r?\n/, 1)[0] ?? '';
  } catch (cause) {
    throw PogoError.from(cause, file);
  }
}

/** Ctrl-C and Ctrl-D, which a terminal in raw mode hands on as characters. */
const GIVEN_UP = ['\u0003', '\u0004'];
const ERASE = ['\u007f', '\b'];

/** Reads a line from the terminal without showing it. */
function ask(question: string, { stdin, stderr }: Terminal): Promise<string> {
  stderr.write(question);
  stdin.setRawMode(true);
  stdin.setEncoding('utf8');
  stdin.resume();
  return new Promise((resolve, reject) => {
    let text: string[] = [];
    const end = (): void => {
      stdin.off('data', read);
      stdin.off('end', giveUp);
      stdin.setRawMode(false);
      stdin.pause();
      stderr.write('\n');
    };
    const giveUp = (): void => {
      end();
      reject(new PogoError('INTERRUPTED', 'no passphrase was given'));
    };
    const read = (data: string): void => {
      for (const character of data) {
        if (character === '\r' || character === '\n') {
          end();
          return resolve(text.join(''));
        }
        if (GIVEN_UP.includes(character)) return giveUp();
        if (ERASE.includes(character)) text = text.slice(0, -1);
        else text.push(character);
      }
    };
    stdin.on('data', read);
    stdin.on('end', giveUp);
  });
}
