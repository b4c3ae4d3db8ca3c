/** The list of commands: its names are those that the files register, since only the named file is loaded. */
import { readdirSync, readFileSync } from 'node:fs';
import { Command } from 'commander';
import { describe, expect, it } from 'vitest';
import { COMMAND_NAMES, COMMANDS, registerCommands } from '../../src/cli/commands.js';

const namesOf = (program: Command): string[] => program.commands.map((command) => command.name());

describe('commands', () => {
  it.each(COMMANDS.map((entry) => ({ entry, names: entry.lines.map(({ name }) => name) })))(
    '$names are what their file registers, and may be followed by what the help says',
    async ({ entry, names }) => {
      const program = new Command();
      (await entry.load()).register(program);
      expect(namesOf(program)).toEqual(names);
      const help = program.createHelp();
      for (const [i, { name, follows, description }] of entry.lines.entries()) {
        const command = program.commands[i] as Command;
        expect(help.subcommandTerm(command)).toBe(`${name} ${follows}`.trim());
        // Described in one place, the list.
        expect(command.description()).toBe('');
        expect(description).not.toBe('');
      }
    },
  );

  it('every file of src/cli that registers a command is in the list', () => {
    const folder = new URL('../../src/cli/', import.meta.url);
    const files = readdirSync(folder).filter((name) =>
      /export function register\(/.test(readFileSync(new URL(name, folder), 'utf8')),
    );
    const list = readFileSync(new URL('commands.ts', folder), 'utf8');
    for (const file of files) expect(list).toContain(`import('./${file.replace(/\.ts$/, '.js')}')`);
    expect(COMMANDS).toHaveLength(files.length);
  });

  it('a named command is loaded alone, the default one where none is named, and none for help and version', async () => {
    const run = ['run'];
    for (const [words, loaded] of [
      [['hash', 'file'], ['hash']],
      [['hash', '--help'], ['hash']],
      [['import'], ['export', 'import']],
      [['help', 'hash'], ['hash']],
      [[], run],
      [['--claims', '2'], run],
      [['--version'], []],
      [['-V'], []],
    ] as const) {
      const program = new Command();
      await registerCommands(program, ['node', 'pogo', ...words]);
      expect(namesOf(program)).toEqual(loaded);
      for (const command of program.commands) expect(command.description()).not.toBe('');
    }
  });

  it.each([['--help'], ['-h'], ['help'], ['--json', '--help']])(
    '%s lists all commands and loads none',
    async (...words) => {
      const listed = new Command('pogo');
      await registerCommands(listed, ['node', 'pogo', ...words]);
      expect(namesOf(listed)).toEqual(COMMAND_NAMES);
      const all = new Command('pogo');
      for (const { lines, load } of COMMANDS) {
        (await load()).register(all);
        for (const { name, description } of lines)
          all.commands.find((one) => one.name() === name)?.description(description);
      }
      expect(listed.helpInformation()).toBe(all.helpInformation());
    },
  );
});
