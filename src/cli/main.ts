#!/usr/bin/env node
/**
 * The `pogo` command. Each command is a file of this folder that registers itself; this one only puts them together,
 * turns every failure into the documented exit code, and never lets an error pass silently.
 */
import { Command, CommanderError } from 'commander';
import { EXIT, PogoError } from '../errors.js';
import { registerCommands } from './commands.js';
import { reportFailure } from './fail.js';
import { pogoVersion } from './version.js';

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
  await registerCommands(program, argv);
  for (const command of program.commands) command.exitOverride().configureOutput({ writeErr: () => undefined });
  try {
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
      return reportFailure(new PogoError('USAGE', `${message}; see: pogo --help`), json);
    }
    return reportFailure(error, json);
  }
}

// A reader that closes the pipe (`pogo … | head`) is no error of ours.
process.stdout.on('error', (error: NodeJS.ErrnoException) => {
  if (error.code === 'EPIPE') process.exit(EXIT.ok);
  throw error;
});

process.exitCode = await main(process.argv);
