/** `pogo hash FILE… [--tree OUT]`: BLAKE3 roots, one line a file, as `b3sum` prints them. */
import type { Command } from 'commander';
import { PogoError } from '../errors.js';
import { requireFreeFile } from '../files/target.js';
import { toHex } from '../hex.js';
import { hashFile } from '../node/hashFile.js';
import { defaultLanes } from '../pipeline/laneCount.js';
import { interruptible } from './interrupt.js';
import { addForceOption, integerOption } from './options.js';

/** `b3sum`'s form of a name: a name with a backslash or line break is escaped and the line begins with a backslash. */
function line(root: Uint8Array, file: string): string {
  const escaped = file.replaceAll('\\', '\\\\').replaceAll('\n', '\\n');
  return `${escaped === file ? '' : '\\'}${toHex(root)}  ${escaped}\n`;
}

export function register(program: Command): void {
  addForceOption(program.command('hash'))
    .argument('<file...>', 'files to hash')
    .option('--tree <out>', 'also write the tree of chaining values (one file only)')
    .option('--threads <n>', 'threads (default: POGO_LANES, or all cores)', integerOption('--threads', 1, 1024))
    .action(async (files: string[], options: { tree?: string; threads?: number; force?: true }) => {
      if (options.tree !== undefined && files.length !== 1) {
        throw new PogoError('USAGE', `--tree: expected one file, found ${files.length}: hash them one by one`);
      }
      if (options.tree !== undefined) requireFreeFile(options.tree, options.force);
      const threads = options.threads ?? defaultLanes();
      const treeFile = options.tree === undefined ? {} : { treeFile: options.tree };
      for (const file of files) {
        const { root } = await interruptible((signal) => hashFile(file, { threads, signal, ...treeFile }));
        process.stdout.write(line(root, file));
      }
    });
}
