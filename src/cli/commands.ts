/** The commands by name, each in a file that is loaded only when it is needed: all of them together take a third of a second. */
import type { Command } from 'commander';

interface CommandFile {
  /** Adds the file's commands, in the order of its entry here, without their descriptions. */
  readonly register: (program: Command) => void;
}

/** What `pogo --help` says of a command, so that it need not be loaded for that. */
export interface CommandLine {
  readonly name: string;
  /** What may follow the name. */
  readonly follows: string;
  readonly description: string;
}

interface CommandEntry {
  readonly lines: readonly CommandLine[];
  readonly load: () => Promise<CommandFile>;
}

const line = (name: string, follows: string, description: string): CommandLine => ({ name, follows, description });

/** The command of `pogo` alone. */
const DEFAULT_COMMAND = 'run';

/** Commands that a file registers, and the file. `pogo --help` lists them in this order. */
export const COMMANDS: readonly CommandEntry[] = [
  {
    lines: [
      line('run', '[options]', 'the main job: miners train, verifiers check, a cheat is caught; one process tree'),
    ],
    load: () => import('./run.js'),
  },
  {
    lines: [
      line('mine', '[options]', 'train claims and write them as a bundle folder that can be copied to another machine'),
    ],
    load: () => import('./mine.js'),
  },
  {
    lines: [line('verify', '[options] <bundle>', 'check a bundle alone, trusting nothing in it')],
    load: () => import('./verify.js'),
  },
  {
    lines: [line('evidence', '[options] <file>', 'check a fraud proof as a third party')],
    load: () => import('./evidence.js'),
  },
  {
    lines: [line('eval', '[options]', 'exact loss of a checkpoint on a text or token file, in nats per token')],
    load: () => import('./eval.js'),
  },
  {
    lines: [line('sample', '[options]', 'text from a model')],
    load: () => import('./sample.js'),
  },
  {
    lines: [
      line('export', '[options]', 'write a state as fp32 safetensors'),
      line('import', '[options]', 'read fp32, fp16 or bf16 safetensors into a new state folder'),
    ],
    load: () => import('./exportImport.js'),
  },
  {
    lines: [line('hash', '[options] <file...>', 'BLAKE3 of files, as b3sum prints it')],
    load: () => import('./hash.js'),
  },
  {
    lines: [
      line('diff', '[options] <old> <new>', 'binary diff between two packed 4-bit models'),
      line('patch', '[options] <old> <patch>', 'apply a diff to a packed 4-bit model and check the root of the result'),
    ],
    load: () => import('./diffPatch.js'),
  },
  {
    lines: [
      line(
        'doctor',
        '[options]',
        'backends, instruction sets, vectors passed, tool chains, and what to do about what is missing',
      ),
    ],
    load: () => import('./doctor.js'),
  },
  {
    lines: [line('bench', '[options]', 'ratios to measured ceilings: kernels, hashing, commit pass, whole steps')],
    load: () => import('./bench.js'),
  },
  {
    lines: [line('recipe', '[options] [name]', 'list the recipes, or print one in full with its root')],
    load: () => import('./recipe.js'),
  },
  {
    lines: [
      line(
        'cost',
        '[options]',
        'what a claim costs: training, verification, bytes, memory, money; each figure with its basis',
      ),
    ],
    load: () => import('./cost.js'),
  },
  {
    lines: [
      line(
        'economics',
        '[options]',
        'what bonds, rewards and fines must satisfy for a recipe, and which inequality binds',
      ),
    ],
    load: () => import('./economics.js'),
  },
  { lines: [line('data', '', 'token files for recipes')], load: () => import('./data.js') },
  {
    lines: [line('key', '', 'make and show key files: BLS secrets encrypted by a passphrase (EIP-2335)')],
    load: () => import('./key.js'),
  },
  {
    lines: [
      line(
        'prove-origin',
        '[options] [checkpoint]',
        'show which finalized claims a checkpoint comes from, in one file; or check such a file',
      ),
    ],
    load: () => import('./proveOrigin.js'),
  },
];

/** Names of all commands. */
export const COMMAND_NAMES: readonly string[] = COMMANDS.flatMap(({ lines }) => lines.map(({ name }) => name));

/**
 * Registers what `argv` (the node program and its file in front) needs: the command that it names, or the default one where it
 * names none. For help over all of them they are only listed, and for the version nothing is loaded.
 */
export async function registerCommands(program: Command, argv: readonly string[]): Promise<void> {
  const [first, second] = argv.slice(2);
  const asked = (first === 'help' ? second : first) ?? '';
  const named = COMMAND_NAMES.includes(asked);
  if (!named) {
    if (first === 'help' || argv.includes('--help') || argv.includes('-h')) return listCommands(program);
    if (argv.includes('--version') || argv.includes('-V')) return;
  }
  const wanted = named ? asked : DEFAULT_COMMAND;
  const entry = COMMANDS.find(({ lines }) => lines.some(({ name }) => name === wanted)) as CommandEntry;
  (await entry.load()).register(program);
  for (const { name, description } of entry.lines) {
    program.commands.find((command) => command.name() === name)?.description(description);
  }
}

/** Commands that are only listed. */
function listCommands(program: Command): void {
  const lines = new Map(COMMANDS.flatMap((entry) => entry.lines.map((of) => [of.name, of])));
  for (const { name, description } of lines.values()) program.command(name).description(description);
  program.configureHelp({
    subcommandTerm: (command) => [command.name(), lines.get(command.name())?.follows ?? '[command]'].join(' ').trim(),
  });
}
