/**
 * Is it faster to hash the state while the commit pass has it in cache? One thread, both ways in turn, the least processor
 * time of many rounds: the commit pass over everything and then the trees of θ, m, v by 4 MiB; or slab by slab.
 *
 *   npm run build && node bench/experiments/commitSlabs.mjs [recipe …]     # moby gpt-5m gpt-19m gpt2-124m
 *
 * What it showed and what was decided: docs/decisions/0009-hashing-apart-from-the-commit-pass.md.
 */
import { merkleKernels } from '../../dist/backend/merkleAddon.js';
import { openBackend } from '../../dist/backend/open.js';
import { treeBytes } from '../../dist/merkle/shape.js';
import { unitFileBytes } from '../../dist/model/layout.js';
import { loadRecipe } from '../../dist/model/recipes.js';
import { allocateState, commitLeafRange, leafCount, START_SCALARS, vectorBytes } from '../../dist/model/state.js';
import { modelPlan } from '../../dist/model/unit.js';

const UNITS = 2;
const SLABS = [256, 512, 1024];
const NAMES = ['theta', 'm', 'v'];
/** Elements that all rounds of one way may add up to. */
const BUDGET = 4e8;

const { kernels } = openBackend();
const merkle = merkleKernels();

function processorMs() {
  const { user, system } = process.cpuUsage();
  return (user + system) / 1e3;
}

/** A unit file with the code 1 everywhere and scales of about 2^-11. */
function unitFile(layout) {
  const sizes = unitFileBytes(layout);
  const file = new Uint8Array(new SharedArrayBuffer(sizes.total));
  file.fill(0x11, 0, sizes.codes);
  new Uint16Array(file.buffer, sizes.codes).fill(0x3a00);
  return file;
}

for (const name of process.argv.length > 2 ? process.argv.slice(2) : ['moby', 'gpt-5m', 'gpt-19m', 'gpt2-124m']) {
  const plan = modelPlan(loadRecipe(name));
  const { layout } = plan;
  const leaves = leafCount(layout);
  const state = allocateState(layout, true);
  for (let i = 0; i < layout.length; i += 1) state.theta[i] = ((i % 251) - 125) / 4096;
  const units = Array.from({ length: UNITS }, () => unitFile(layout));
  const trees = NAMES.map(() => new Uint8Array(new SharedArrayBuffer(treeBytes(4 * layout.length))));
  const commit = (from, to) => commitLeafRange(plan, kernels, state, START_SCALARS, units, from, to);
  const hash = (from, to) => {
    NAMES.forEach((vector, i) => {
      merkle.hashRange(vectorBytes(state[vector]).subarray(1024 * from, 1024 * to), trees[i], leaves, from, 0, 0);
    });
  };
  const hashBy = (slab) => {
    for (let from = 0; from < leaves; from += slab) hash(from, Math.min(leaves, from + slab));
  };
  const finish = (slab) => {
    for (const tree of trees) merkle.finish(tree, leaves, Math.min(Math.log2(slab), Math.ceil(Math.log2(leaves))));
  };
  const ways = {
    commit: () => commit(0, leaves),
    hash: () => hashBy(4096),
    apart: () => {
      commit(0, leaves);
      hashBy(4096);
      finish(4096);
    },
  };
  for (const slab of SLABS) {
    ways[`slabs of ${slab}`] = () => {
      for (let from = 0; from < leaves; from += slab) {
        const to = Math.min(leaves, from + slab);
        commit(from, to);
        hash(from, to);
      }
      finish(slab);
    };
  }
  const best = {};
  for (let round = 0; round < Math.max(6, BUDGET / layout.length); round += 1) {
    for (const [way, run] of Object.entries(ways)) {
      const start = processorMs();
      run();
      best[way] = Math.min(best[way] ?? Number.POSITIVE_INFINITY, processorMs() - start);
    }
  }
  const cells = Object.entries(best).map(([way, ms]) => `${way} ${ms.toFixed(2)} ms`);
  process.stdout.write(`${name}: ${cells.join(', ')}\n`);
}
