/** Commands in our output can be typed as they stand: by the name that the user called us, with words that a shell keeps whole. */
import { execFileSync } from 'node:child_process';
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { programName, shellWord } from '../../src/cli/program.js';

describe('the name of the program', () => {
  it.each([
    ['pogo', {}],
    ['npm start --', { npm_lifecycle_event: 'start', npm_package_name: 'proof-of-gradient' }],
    ['pogo', { npm_lifecycle_event: 'start', npm_package_name: 'another' }],
    ['npx pogo', { npm_lifecycle_event: 'npx', npm_package_name: 'proof-of-gradient' }],
    ['npx pogo', { npm_lifecycle_event: 'npx' }],
  ])('is %s for %j', (name, environment) => {
    expect(programName(environment)).toBe(name);
  });
});

// cmd.exe has other rules.
describe.skipIf(process.platform === 'win32')('a word of a command line', () => {
  it('is one word for a shell, whatever it holds', () => {
    const word = fc.string({ unit: 'grapheme', minLength: 1, maxLength: 12 }).filter((text) => !text.includes('\0'));
    fc.assert(
      fc.property(fc.array(word, { minLength: 1, maxLength: 20 }), (words) => {
        const text = words.map(shellWord).join(' ');
        const out = execFileSync('/bin/sh', ['-c', `printf '%s\\0' ${text}`], { encoding: 'utf8' });
        expect(out).toBe(words.map((each) => `${each}\0`).join(''));
      }),
      { numRuns: 50 },
    );
  });
});
