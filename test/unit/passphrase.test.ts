/** A passphrase typed on a terminal: unseen, corrected, given up, and typed twice for a new key. */
import { PassThrough } from 'node:stream';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { passphraseFrom, type Terminal } from '../../src/cli/passphrase.js';
import { refusal } from '../support/refusal.js';

const before = process.env['POGO_PASSPHRASE'];
beforeEach(() => {
  delete process.env['POGO_PASSPHRASE'];
});
afterEach(() => {
  if (before !== undefined) process.env['POGO_PASSPHRASE'] = before;
});

/** A terminal on which each question is answered by the next of `answers`; an answer that is left out closes it. */
function terminal(...answers: readonly string[]) {
  const stdin = Object.assign(new PassThrough(), {
    isTTY: true as const,
    raw: false,
    setRawMode(raw: boolean) {
      stdin.raw = raw;
      return stdin;
    },
  });
  let shown = '';
  const left = [...answers];
  const stderr = {
    write(text: string) {
      shown += text;
      if (!text.endsWith(': ')) return;
      const answer = left.shift();
      setImmediate(() => (answer === undefined ? stdin.end() : stdin.write(answer)));
    },
  };
  return { stdin, stderr, shown: () => shown };
}

const typed = (at: ReturnType<typeof terminal>, isNew = false): Promise<string> =>
  Promise.resolve(passphraseFrom(undefined, { isNew, terminal: at as unknown as Terminal })());

describe('a passphrase that is typed', () => {
  it('is the line, without what was erased, and nothing of it is shown', async () => {
    const at = terminal('sesame\u{1f511}\u007fx\b!\r');
    expect(await typed(at)).toBe('sesame!');
    expect(at.shown()).toBe('Passphrase: \n');
    expect(at.stdin.raw).toBe(false);
  });

  it('of a new key is typed twice, and two different ones are refused', async () => {
    expect(await typed(terminal('one\n', 'one\n'), true)).toBe('one');
    const at = terminal('one\n', 'on\n');
    expect(await refusal(typed(at, true))).toMatch(/^USAGE: expected the same passphrase twice/);
    expect(at.stdin.raw).toBe(false);
  });

  it.each([
    ['Ctrl-C', ['half\u0003']],
    ['Ctrl-D', ['\u0004']],
    ['a terminal that is gone', []],
    ['Ctrl-C at the second question', ['one\n', '\u0003']],
  ])('is given up by %s', async (_name, answers) => {
    const at = terminal(...answers);
    expect(await refusal(typed(at, true))).toMatch(/^INTERRUPTED: /);
    expect(at.stdin.raw).toBe(false);
  });
});
