/**
 * The command line as a whole: each command is a file of this folder that registers itself; this one only puts them together,
 * and turns every failure into the documented exit code.
 */
import { Command, CommanderError } from 'commander';
import { EXIT, PogoError } from '../errors.js';
import { COMMAND_NAMES, registerCommands } from './commands.js';
import { reportFailure } from './fail.js';
import { commandLine, programName } from './program.js';
import { pogoVersion } from './version.js';

/** The words of `argv` that name a command of `program`: `['data', 'build']`. */
function commandWords(program: Command, argv: readonly string[]): string[] {
  const words: string[] = [];
  let at: Command | undefined = program;
  for (const word of argv.slice(2)) {
    at = at?.commands.find((command) => command.name() === word);
    if (at === undefined) break;
    words.push(word);
  }
  return words;
}

/** The command that the words name, where it does nothing without another word: its options are those of its commands. */
function groupOf(program: Command, words: readonly string[]): Command | undefined {
  let at: Command | undefined = program;
  for (const word of words) at = at?.commands.find((command) => command.name() === word);
  if (at === undefined || at === program) return undefined;
  return at.commands.length > 0 && at.registeredArguments.length === 0 ? at : undefined;
}

/** What Node makes of bytes that are no UTF-8. */
const REPLACED = '\u{fffd}';

/**
 * Names reach us as text: of one that is no UTF-8 Node shows another, which would be read or, worse, written instead.
 *
 * @throws PogoError USAGE for an argument, the data directory or the working directory
 */
function demandUtf8(argv: readonly string[]): void {
  const places: readonly (readonly [string, string | undefined])[] = [
    ...argv.slice(2).map((word) => ['an argument', word] as const),
    ['POGO_HOME', process.env['POGO_HOME']],
    ['the path of the working directory', process.cwd()],
  ];
  for (const [place, text] of places) {
    if (text?.includes(REPLACED) !== true) continue;
    const found = JSON.stringify(text.slice(0, 200));
    throw new PogoError('USAGE', `expected ${place} in UTF-8, found ${found}: rename the file or folder`);
  }
}

/** @throws PogoError USAGE if the word in front names no command; without this it would be an argument of `run` */
function demandCommand(argv: readonly string[]): void {
  const word = argv[2] === 'help' ? argv[3] : argv[2];
  if (word === undefined || word.startsWith('-') || word === 'help' || COMMAND_NAMES.includes(word)) return;
  throw new PogoError(
    'USAGE',
    `expected a command (${COMMAND_NAMES.join(', ')}), found ${JSON.stringify(word.slice(0, 80))}; see: ${programName()} --help`,
  );
}

/** @returns the process exit code; nothing is thrown for what a user can cause */
export async function runCommandLine(argv: readonly string[], json: boolean): Promise<number> {
  const program = new Command('pogo')
    .description('Verified training: exact gradients, commitments, checks and fraud proofs.')
    .version(pogoVersion())
    .exitOverride()
    .configureOutput({ writeErr: () => undefined })
    .showHelpAfterError(false)
    .addHelpText(
      'after',
      '\nExit codes: 0 done or claim holds, 1 bug, 2 bad usage, 3 claim false, 4 undecided, 5 environment, 130 interrupted.',
    );
  try {
    demandUtf8(argv);
    demandCommand(argv);
    await registerCommands(program, argv);
    for (const command of program.commands) command.exitOverride().configureOutput({ writeErr: () => undefined });
    await program.parseAsync(argv as string[]);
    return typeof process.exitCode === 'number' ? process.exitCode : EXIT.ok;
  } catch (error) {
    if (error instanceof CommanderError) {
      if (error.exitCode === 0) return EXIT.ok;
      const words = commandWords(program, argv);
      const group = groupOf(program, words);
      if (group !== undefined) {
        const found = argv[2 + words.length];
        // `pogo data` alone: the help of that command, which names what may follow.
        if (found === undefined) process.stderr.write(`${group.helpInformation()}\n`);
        const names = group.commands.map((command) => command.name()).join(', ');
        const shown =
          found === undefined
            ? 'none'
            : `${JSON.stringify(found.slice(0, 80))}; see: ${commandLine(...words, '--help')}`;
        const fault = `expected a command (${names}) after ${words.join(' ')}, found ${shown}`;
        return reportFailure(new PogoError('USAGE', fault), json);
      }
      const message = error.message.replace(/^error: /, '');
      return reportFailure(new PogoError('USAGE', `${message}; see: ${commandLine(...words, '--help')}`), json);
    }
    return reportFailure(error, json);
  }
}
