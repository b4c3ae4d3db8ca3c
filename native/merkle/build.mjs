// Builds the addon: native/merkle/merkle.<triple>.node. Needs Rust 1.88 or later and a C compiler.
import { spawnSync } from 'node:child_process';
import { readdirSync, renameSync } from 'node:fs';
import { createRequire } from 'node:module';
import { homedir } from 'node:os';
import { delimiter, dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';

const here = dirname(fileURLToPath(import.meta.url));
const built = join(here, 'target', 'addon');
const cli = join(dirname(createRequire(import.meta.url).resolve('@napi-rs/cli/package.json')), 'dist', 'cli.js');
const cargoHome = process.env.CARGO_HOME ?? join(homedir(), '.cargo');
// Panic messages name source files: map them to fixed names, so that two machines build the same bytes.
const remap = [`--remap-path-prefix=${cargoHome}=/cargo`, `--remap-path-prefix=${here}=/merkle`];
const flags = [process.env.CARGO_ENCODED_RUSTFLAGS, ...remap].filter(Boolean).join('\x1f');

const result = spawnSync(
  process.execPath,
  [cli, 'build', '--release', '--platform', '--no-js', '--output-dir', built, '--', '--locked'],
  {
    cwd: here,
    stdio: ['ignore', 2, 2],
    env: {
      ...process.env,
      // Without a C compiler the blake3 crate would silently fall back to slow code; this makes that an error.
      BLAKE3_CI: '1',
      CARGO_ENCODED_RUSTFLAGS: flags,
      PATH: `${process.env.PATH}${delimiter}${join(cargoHome, 'bin')}`,
    },
  },
);
if (result.error) console.error(`native/merkle: ${result.error.message}`);
process.exitCode = result.status ?? 1;
if (process.exitCode === 0) {
  // Moved, not copied: a process that has the former file loaded keeps it.
  for (const file of readdirSync(built).filter((name) => name.endsWith('.node'))) {
    renameSync(join(built, file), join(here, file));
  }
}
