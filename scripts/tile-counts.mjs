// What each order of the AMX sweep asks of ports and caches, counted on any x86-64 machine with AVX-512 (bench/native/tilecounts.h).
//   node scripts/tile-counts.mjs [--json]
// A TDPBSSD takes 16 cycles at its peak. For each product: lines loaded and stored (two and one a cycle), bytes between L1 and L2 and
// beyond L2, and the share of the peak that 48 bytes a cycle from L2 allow, alone and with 15 a cycle beyond it (fitted to what the
// first kernel did: native/cpu/README.md, AMX). Least recently used lines leave a cache first.
import { spawnSync } from 'node:child_process';
import { cli, ScriptError } from './lib/project.mjs';
import { buildTileLoops } from './lib/tileLoops.mjs';

const CYCLES = 16;
const L2_BYTES = 48;
const L3_BYTES = 15;

await cli(async (args) => {
  const program = process.arch === 'x64' ? await buildTileLoops({ counts: true }) : undefined;
  if (program === undefined) throw new ScriptError('error ENVIRONMENT: expected x86-64 and a C++17 compiler', 5);
  const { stdout, status } = spawnSync(program, { encoding: 'utf8', maxBuffer: 2 ** 24 });
  if (status !== 0) throw new ScriptError('tile counts: expected AVX-512 on this machine, the program did not run', 5);
  if (args.includes('--json')) {
    process.stdout.write(stdout);
    return;
  }
  process.stdout.write('shape | into | order | loads | stores | L2, bytes | of peak | beyond, bytes | of peak\n');
  for (const text of stdout.trim().split('\n')) {
    const { shape, into, order, loadedLines, storedLines, l2Bytes, l3Bytes } = JSON.parse(text);
    const near = Math.max(CYCLES, l2Bytes / L2_BYTES);
    const share = (cycles) => `${Math.round((100 * CYCLES) / cycles)} %`;
    const columns = [shape, into, order, loadedLines, storedLines, l2Bytes, share(near), l3Bytes];
    process.stdout.write(`${[...columns, share(near + l3Bytes / L3_BYTES)].join(' | ')}\n`);
  }
});
