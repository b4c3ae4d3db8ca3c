/** The list of commands: its names are those that the files register, since only the named file is loaded. */
import { readdirSync, readFileSync } from 'node:fs';
import { Command } from 'commander';
import { describe, expect, it } from 'vitest';
import { COMMANDS, registerCommands } from '../../src/cli/commands.js';

const namesOf = (program: Command): string[] => program.commands.map((command) => command.name());

describe('commands', () => {
  it.each(COMMANDS)('$names are what their file registers', async ({ names, load }) => {
    const program = new Command();
    (await load()).register(program);
    expect(namesOf(program)).toEqual(names);
  });

  it('every file of src/cli that registers a command is in the list', () => {
    const folder = new URL('../../src/cli/', import.meta.url);
    const files = readdirSync(folder).filter((name) =>
      /export function register\(/.test(readFileSync(new URL(name, folder), 'utf8')),
    );
    const list = readFileSync(new URL('commands.ts', folder), 'utf8');
    for (const file of files) expect(list).toContain(`import('./${file.replace(/\.ts$/, '.js')}')`);
    expect(COMMANDS).toHaveLength(files.length);
  });

  it('a named command is loaded alone, anything else loads all', async () => {
    const all = COMMANDS.flatMap(({ names }) => names);
    for (const [words, expected] of [
      [['hash', 'file'], ['hash']],
      [['import'], ['export', 'import']],
      [[], all],
      [['--help'], all],
      [['help', 'hash'], all],
      [['--claims', '2'], all],
      [['unknown'], all],
    ] as const) {
      const program = new Command();
      await registerCommands(program, ['node', 'pogo', ...words]);
      expect(namesOf(program)).toEqual(expected);
    }
  });
});
