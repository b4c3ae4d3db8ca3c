/** Values of command-line options, checked where they enter. */
import type { Command } from 'commander';
import { PogoError } from '../errors.js';
import { fromHex } from '../hex.js';

/** Parser of an integer option in [min, max]. */
export function integerOption(name: string, min: number, max: number): (text: string) => number {
  return (text) => {
    const value = Number(text);
    if (!/^\d+$/.test(text) || !Number.isSafeInteger(value) || value < min || value > max) {
      throw new PogoError(
        'USAGE',
        `${name}: expected an integer from ${min} to ${max}, found ${JSON.stringify(text.slice(0, 80))}`,
      );
    }
    return value;
  };
}

/** The option of commands that write files: without it nothing that is there is replaced. */
export function addForceOption(command: Command): Command {
  return command.option('--force', 'replace what an earlier command wrote there');
}

/** Parser of an option of 64 hexadecimal digits. */
export function rootOption(name: string): (text: string) => Uint8Array {
  return (text) => {
    try {
      return fromHex(text, 32);
    } catch (error) {
      throw new PogoError('USAGE', `${name}: ${PogoError.from(error).message}`);
    }
  };
}
