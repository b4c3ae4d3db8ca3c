// A folder for a machine that has no Node, no compiler and no network, to see what its processor does: what was built here, and a
// script that runs it (docs/measuring.md).
//   node scripts/cpu-bundle.mjs [--out FOLDER]      default .tools/cpu-bundle; sets up the checkout
// There: bash FOLDER/run.sh [RESULTS] [flags of scripts/machine-run.mjs]      glibc as new as here's, and xz or Python to unpack
// At most 64 MiB: the library with its addons and packages, known answers, the translated benches with their C programs, PyTorch's
// peer, and Node itself. Exit code 0, 1 where it would be larger, 5 where something is missing.
import { spawnSync } from 'node:child_process';
import { cpSync, mkdirSync, rmSync } from 'node:fs';
import { join, resolve } from 'node:path';
import { parseArgs } from 'node:util';
import { buildBench } from '../bench/build.mjs';
import { Bundle } from './lib/bundle.mjs';
import { cli, progress, ROOT, ScriptError, TOOLS } from './lib/project.mjs';
import { buildSupportModule } from './lib/supportModule.mjs';
import { buildTileLoops } from './lib/tileLoops.mjs';
import { setup } from './setup.mjs';

/** Programs of bench/native with what they are linked with. */
const PROGRAMS = { int8peak: [], copypeak: ['-pthread'] };
const RUN = `./node scripts/machine-run.mjs --out "$results" "\${@:2}"
`;

await cli(async (args) => {
  const { values } = parseArgs({ args, options: { out: { type: 'string' } } });
  // What was built before a source changed must not travel with what is translated now.
  await setup({ quiet: true });
  const bundle = new Bundle('cpu-bundle', resolve(values.out ?? join(TOOLS, 'cpu-bundle')), 'npm run setup');
  await bundle.library(['tinybench']);
  bundle.copy(
    'bench/build.mjs',
    'bench/measure.mjs',
    'bench/resultParts.mjs',
    'bench/results',
    'scripts/machine-run.mjs',
    'scripts/long-exactness.mjs',
  );
  for (const [name, flags] of Object.entries(PROGRAMS)) {
    const program = join(bundle.content, 'bench', 'native', name);
    mkdirSync(join(program, '..'), { recursive: true });
    const source = join(ROOT, 'bench', 'native', `${name}.c`);
    const { status } = spawnSync(process.env.CC ?? 'cc', ['-O2', ...flags, source, '-o', program], {
      stdio: ['ignore', 2, 2],
    });
    if (status !== 0) throw new ScriptError(`error ENVIRONMENT: expected a C compiler that builds ${name}.c`, 5);
  }
  const loops = process.arch === 'x64' ? await buildTileLoops() : undefined;
  if (loops === undefined) progress('cpu-bundle: without the loops of AMX: no compiler that knows it');
  else bundle.program(loops, join('bench', 'native', 'tileloops'));
  const translated = join(await buildBench(), '..');
  cpSync(translated, join(bundle.content, '.tools', 'bench', 'bench'), { recursive: true });
  const support = await buildSupportModule('trainers');
  cpSync(join(support, '..'), join(bundle.content, '.tools', 'support'), { recursive: true });
  // The GPU's peers and results of other machines are not read there.
  rmSync(join(bundle.content, 'bench', 'results', 'gpu'), { recursive: true, force: true });
  bundle.finish(RUN);
});
