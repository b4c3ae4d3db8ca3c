#!/usr/bin/env node
/**
 * The `pogo` command. Each command is a file of this folder that registers itself; this one only puts them together,
 * turns every failure into the documented exit code, and never lets an error pass silently.
 */
import { Command, CommanderError } from 'commander';
import { EXIT, PogoError } from '../errors.js';
import { COMMAND_NAMES, registerCommands } from './commands.js';
import { reportFailure } from './fail.js';
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

/** @throws PogoError USAGE if the word in front names no command; without this it would be an argument of `run` */
function demandCommand(argv: readonly string[]): void {
  const word = argv[2] === 'help' ? argv[3] : argv[2];
  if (word === undefined || word.startsWith('-') || word === 'help' || COMMAND_NAMES.includes(word)) return;
  throw new PogoError(
    'USAGE',
    `expected a command (${COMMAND_NAMES.join(', ')}), found ${JSON.stringify(word.slice(0, 80))}; see: pogo --help`,
  );
}

async function main(argv: readonly string[]): Promise<number> {
  const json = argv.includes('--json');
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
    demandCommand(argv);
    await registerCommands(program, argv);
    for (const command of program.commands) command.exitOverride().configureOutput({ writeErr: () => undefined });
    await program.parseAsync(argv as string[]);
    return typeof process.exitCode === 'number' ? process.exitCode : EXIT.ok;
  } catch (error) {
    if (error instanceof CommanderError) {
      if (error.exitCode === 0) return EXIT.ok;
      if (error.code === 'commander.help') {
        // `pogo data` alone: the help of that command, which names what may follow.
        const named = program.commands.find((command) => command.name() === argv[2]);
        process.stderr.write((named ?? program).helpInformation());
        return EXIT.usage;
      }
      const message = error.message.replace(/^error: /, '');
      const help = ['pogo', ...commandWords(program, argv), '--help'].join(' ');
      return reportFailure(new PogoError('USAGE', `${message}; see: ${help}`), json);
    }
    return reportFailure(error, json);
  }
}

// A reader that closes the pipe (`pogo … | head`) wants no more: what can be interrupted is, in order, and nothing that was not
// decided is told as decided. Output that cannot be written at all (a full disk) is an error like any other.
let closed = false;
function onOutputError(error: NodeJS.ErrnoException): void {
  if (closed) return;
  closed = true;
  if (error.code !== 'EPIPE') process.exit(reportFailure(error, false));
  if (process.listenerCount('SIGTERM') === 0) process.exit(EXIT.interrupted);
  process.emit('SIGTERM');
}
process.stdout.on('error', onOutputError);
process.stderr.on('error', onOutputError);

process.exitCode = await main(process.argv);
