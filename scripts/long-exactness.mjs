// Divergence that shows only late: trains `tiny` for 1,000 steps on every native instruction set of this machine with 1, 2 and 3
// lanes, and for 20 on the reference. All runs must have the same roots after every step: state, units, losses.
//   node scripts/long-exactness.mjs [--steps N] [--sets SET,…] [--write]      --write: the result into docs/long-exactness.md
//     --sets: some of the instruction sets of this machine
// Exit code 0 one log, 1 two. Needs `dist/` and the native addons. Takes minutes; the tests have the short form
// (test/integration/exactness.test.ts).
import { createHash } from 'node:crypto';
import { writeFileSync } from 'node:fs';
import { cpus } from 'node:os';
import { join } from 'node:path';
import { parseArgs } from 'node:util';
import { cli, progress, ROOT, ScriptError } from './lib/project.mjs';
import { supportModule } from './lib/supportModule.mjs';

const RECIPE = 'tiny';
const REFERENCE_STEPS = 20;
const LANES = [1, 2, 3];

const hex = (bytes) => Buffer.from(bytes).toString('hex');

/** Everything that a step commits to, as one text. */
function stepLine({ step, postStateRoot, unitRoots, unitLosses }) {
  return [step, hex(postStateRoot), ...unitRoots.map(hex), ...unitLosses].join(' ');
}

function report({ steps, runs, root, referenceRoot, digest, features }) {
  const rows = runs.map(({ name, lanes, shards, count }) => `| ${name} | ${lanes} | ${shards} | ${count} | same |`);
  return `# Long runs: one log on every instruction set

Written by \`node scripts/long-exactness.mjs --write\`. Each run trains \`${RECIPE}\` from the same start and draw; every step's state root,
unit roots and losses are compared, not only the last.

- Machine: ${cpus()[0].model.trim()}; ${features.join(', ')}
- Date: ${new Date().toISOString().slice(0, 10)}
- State root after step ${REFERENCE_STEPS}: \`${referenceRoot}\`
- State root after step ${steps}: \`${root}\`
- SHA-256 of the log (a line a step: step, state root, unit roots, loss bits): \`${digest}\`

| backend | lanes | shards of the commit pass | steps | log |
|---|---|---|---|---|
${rows.join('\n')}

Sets that this machine lacks have not run here; what else was verified, and on what, stands in
[determinism.md](determinism.md#what-was-verified-where).
`;
}

await cli(async (args) => {
  const { values } = parseArgs({
    args,
    options: {
      steps: { type: 'string', default: '1000' },
      sets: { type: 'string' },
      write: { type: 'boolean', default: false },
    },
  });
  const steps = Number(values.steps);
  if (!Number.isInteger(steps) || steps < REFERENCE_STEPS) {
    throw new ScriptError(`expected --steps of at least ${REFERENCE_STEPS}, found ${values.steps}`, 2);
  }
  const { loadRecipe, nativeIsas, trainFor } = await supportModule('trainers');
  const { openBackend } = await import('../dist/backend/open.js');
  const recipe = loadRecipe(RECIPE);
  const usable = await nativeIsas();
  const isas = values.sets?.split(',') ?? usable;
  const lacking = isas.filter((isa) => !usable.includes(isa));
  if (lacking.length > 0) {
    throw new ScriptError(`expected --sets of ${usable.join(', ')}, found ${lacking.join(', ')}`, 2);
  }
  const { features } = await openBackend({ backend: 'cpu' });
  const plan = [
    { name: 'reference', backend: 'reference', isa: 'typescript', lanes: 1, shards: 1, count: REFERENCE_STEPS },
    ...isas.flatMap((isa) =>
      LANES.map((lanes) => ({ name: `cpu/${isa}`, backend: 'cpu', isa, lanes, shards: 5 - lanes, count: steps })),
    ),
  ];
  let log = [];
  for (const { name, count, ...setup } of plan) {
    const begin = performance.now();
    const lines = (await trainFor(recipe, setup, count)).map(stepLine);
    const common = Math.min(lines.length, log.length);
    const different = lines.slice(0, common).findIndex((line, i) => line !== log[i]);
    if (lines.length !== count || different >= 0) {
      throw new ScriptError(
        `long exactness: ${name} with ${setup.lanes} lanes differs from the runs before it in line ${different + 1}:\n` +
          `${log[different]}\n${lines[different]}`,
      );
    }
    if (lines.length > log.length) log = lines;
    const seconds = ((performance.now() - begin) / 1000).toFixed(1);
    progress(`${name}, ${setup.lanes} lanes: ${count} steps, same log (${seconds} s)`);
  }
  const rootAfter = (step) => log[step - 1].split(' ')[1];
  const result = {
    steps,
    runs: plan,
    features,
    root: rootAfter(steps),
    referenceRoot: rootAfter(REFERENCE_STEPS),
    digest: createHash('sha256').update(log.join('\n')).digest('hex'),
  };
  progress(`state root after step ${REFERENCE_STEPS}: ${result.referenceRoot}`);
  progress(`state root after step ${steps}: ${result.root}`);
  if (values.write) writeFileSync(join(ROOT, 'docs', 'long-exactness.md'), report(result));
});
