// Builds bench/native/tileloops.cc: AMX in loops, as it is, over the model of the tiles, or over counters.
import { mkdirSync } from 'node:fs';
import { join } from 'node:path';
import { ROOT, runProgram, TOOLS } from './project.mjs';

const LANES = ['-mavx512f', '-mavx512bw', '-mavx512dq', '-mavx512vl'];

/**
 * @param model path of a file with the functions of native/cpu/isa/tiles.h that needs no AMX
 * @param counts over counters in the place of AMX
 * @param flags more for the compiler
 * @returns path of the program; undefined without a compiler that knows these instructions
 */
export async function buildTileLoops({ model, counts = false, flags = [] } = {}) {
  const program = join(TOOLS, `tileloops${counts ? '-counts' : model === undefined ? '' : '-model'}`);
  mkdirSync(TOOLS, { recursive: true });
  let tiles = ['-mamx-tile', '-mamx-int8'];
  if (counts) tiles = ['-DPOGO_TILE_COUNTS=1', '-DPOGO_TILES_FILE="tilecounts.h"'];
  else if (model !== undefined) tiles = ['-DPOGO_TILE_MODEL=1', `-DPOGO_TILES_FILE="${model}"`];
  const compiler = (process.env.CXX ?? 'c++').split(' ')[0];
  const source = join(ROOT, 'bench', 'native', 'tileloops.cc');
  const args = ['-std=c++17', '-O2', '-ffp-contract=off', ...LANES, ...tiles, ...flags, source, '-o', program];
  const result = await runProgram(compiler, args, { log: 'tileloops' });
  return result.code === 0 ? program : undefined;
}
