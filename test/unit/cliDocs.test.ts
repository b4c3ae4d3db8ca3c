/** docs/cli.md lists every command with every one of its options, and no other. */
import { readFileSync } from 'node:fs';
import { Command } from 'commander';
import { beforeAll, describe, expect, it } from 'vitest';
import { COMMANDS } from '../../src/cli/commands.js';

const PAGE = readFileSync(new URL('../../docs/cli.md', import.meta.url), 'utf8');
/** Options that a row gives by their short name. */
const SHORT: Readonly<Record<string, string>> = { '-o': '--output' };

/** Options by command, `data build` among them, as the first column of the page's tables names them. */
function documented(page: string): Map<string, Set<string>> {
  const found = new Map<string, Set<string>>();
  for (const [, cell] of page.matchAll(/^\| (`pogo (?:\\\||[^|])*)\|/gm)) {
    for (const [, span] of cell!.matchAll(/`pogo ([^`]*)`/g)) {
      const words = span!.split(' ');
      const end = words.findIndex((word) => !/^[a-z][a-z-]*$/.test(word));
      const name = words.slice(0, end < 0 ? undefined : end).join(' ');
      const options = found.get(name) ?? new Set();
      for (const [option] of span!.matchAll(/(?<![\w-])--?[a-z][a-z-]*/g)) options.add(SHORT[option] ?? option);
      found.set(name, options);
    }
  }
  return found;
}

/** Options by command, as the program knows them. */
function registered(program: Command, before: readonly string[] = []): [string, Set<string>][] {
  return program.commands.flatMap((command) => {
    const path = [...before, command.name()];
    const inner = registered(command, path);
    const isGroup = command.commands.length > 0 && command.registeredArguments.length === 0;
    const own = new Set(command.options.map(({ long }) => long as string));
    return isGroup ? inner : [[path.join(' '), own] as [string, Set<string>], ...inner];
  });
}

describe('docs/cli.md', () => {
  const program = new Command('pogo');
  beforeAll(async () => {
    for (const { load } of COMMANDS) (await load()).register(program);
  });

  it('names every command and its options', () => {
    const sorted = (options: ReadonlySet<string>): string[] => [...options].sort();
    const expected = registered(program).map(([name, options]) => [name, sorted(options)]);
    const found = [...documented(PAGE)].map(([name, options]) => [name, sorted(options)]);
    expect(Object.fromEntries(found)).toEqual(Object.fromEntries(expected));
  });

  it('and an option that a row leaves out would be found', () => {
    expect(
      documented('| `pogo x y FILE [--one N\\|M] -o OUT` · `pogo z` | does |\n| `pogo x y --two` | more |\n'),
    ).toEqual(
      new Map([
        ['x y', new Set(['--one', '--output', '--two'])],
        ['z', new Set()],
      ]),
    );
  });
});

describe('help', () => {
  it('of every command says what each argument and option is for', async () => {
    const program = new Command('pogo');
    for (const { load } of COMMANDS) (await load()).register(program);
    const walk = (command: Command): void => {
      for (const { long, description } of command.options)
        expect(description, `${command.name()} ${long}`).not.toBe('');
      for (const argument of command.registeredArguments) {
        expect(argument.description, `${command.name()} ${argument.name()}`).not.toBe('');
      }
      for (const inner of command.commands) walk(inner);
    };
    walk(program);
  });
});
