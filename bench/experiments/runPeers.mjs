/**
 * Runs the PyTorch fp32 peer on every experiment folder that has no result yet, one after the other.
 *
 *   nice -n 15 node bench/experiments/runPeers.mjs [--root .pogo/experiments] [--only moby] [--threads 1]
 */

import { spawnSync } from 'node:child_process';
import { existsSync, readdirSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { parseArgs } from 'node:util';

const { values } = parseArgs({
  options: {
    root: { type: 'string', default: '.pogo/experiments' },
    only: { type: 'string' },
    threads: { type: 'string', default: '1' },
    python: { type: 'string', default: '.venv/bin/python' },
  },
});
if (!existsSync(values.python)) {
  process.stderr.write(
    `skipped: no PyTorch at ${values.python}; python3 -m venv .venv && .venv/bin/pip install torch\n`,
  );
  process.exit(5);
}
const script = fileURLToPath(new URL('../peers/train_fp32.py', import.meta.url));
// The logits are far larger than glibc's threshold for fresh pages: without these a third of the time goes to page faults.
const env = {
  ...process.env,
  MALLOC_MMAP_MAX_: '0',
  MALLOC_TRIM_THRESHOLD_: String(2 ** 34),
  MALLOC_TOP_PAD_: String(2 ** 28),
};
// Small experiments first: their answers are needed first.
const names = values.only ? [values.only] : ['moby', 'bpe16k'];
for (const name of names) {
  const folder = join(values.root, name);
  for (const seed of readdirSync(folder)
    .filter((entry) => entry.startsWith('seed-'))
    .sort()) {
    const run = join(folder, seed);
    if (existsSync(join(run, 'result-fp32.jsonl'))) continue;
    const result = spawnSync(values.python, [script, run, '--threads', values.threads], { stdio: 'inherit', env });
    if (result.status !== 0) process.exit(result.status ?? 1);
  }
}
