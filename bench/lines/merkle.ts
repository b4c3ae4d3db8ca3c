/**
 * BLAKE3 in memory, in turn with the one-shot hash of the `blake3` crate on as many threads:
 * `merkle/root` (one-shot), `merkle/tree` (1 KiB leaves, every chaining value kept), `merkle/groups` (16 KiB groups), one
 * thread; `merkle/tree-all`, `merkle/groups-all` by all lanes; `merkle/update`: a hundredth of the leaves changed, the
 * tree brought up to date, against as many compressions at the one-shot's speed.
 */

import { blake3 } from '@noble/hashes/blake3.js';
import { loadMerkleAddon } from '../../src/backend/merkleAddon.js';
import type { MerkleKernels } from '../../src/merkle/kernels.js';
import { portableKernels } from '../../src/merkle/portable.js';
import { treeBytes } from '../../src/merkle/shape.js';
import { allocateTree, MerkleTree, splitSegments } from '../../src/merkle/tree.js';
import { LanePool } from '../../src/pipeline/lanePool.js';
import { hashParallel } from '../../src/pipeline/parallelHash.js';
import type { Ceiling } from '../ceilings.js';
import { type BenchContext, type BenchGroup, type GroupOutput, skipped } from '../group.js';
import { type BenchLine, bytesOf, fillGaussian, type Job, measure, requireSameBytes, shared } from '../harness.js';
import { measureAgainst } from '../measureAgainst.js';
import { startBlake3 } from '../peers.js';

const BYTES = 64 << 20;
const QUICK_BYTES = 4 << 20;
/** JavaScript hashes some 50 MB/s: a megabyte is enough to compare with. */
const REFERENCE_BYTES = 1 << 20;
const DIRTY_SHARE = 0.01;
const KINDS = [
  ['merkle/tree', 0],
  ['merkle/groups', 4],
] as const;

interface Work {
  readonly context: BenchContext;
  readonly kernels: MerkleKernels;
  readonly bytes: Uint8Array;
  /** BLAKE3 of the bytes, one-shot. */
  readonly root: Uint8Array;
  readonly common: Pick<Job, 'backend' | 'isa' | 'unit' | 'bytes' | 'budgetMs'>;
}

/** A job against the crate on so many threads. */
async function* againstCrate(work: Work, job: Job, threads: number): AsyncGenerator<GroupOutput, BenchLine> {
  const { benchFolder, seconds, signal, peers, quick } = work.context;
  const start = (): ReturnType<typeof startBlake3> =>
    startBlake3(work.bytes.length, { benchFolder, threads, seconds, signal });
  return yield* measureAgainst(job, peers ? start : undefined, 'one-shot', quick ? 2 : 12);
}

async function* oneThread(work: Work, wanted: (name: string) => boolean): AsyncGenerator<GroupOutput> {
  const { kernels, bytes, root, common } = work;
  const out = new Uint8Array(32);
  const oneShot = yield* againstCrate(
    work,
    {
      ...common,
      name: 'merkle/root',
      run: () => kernels.hash(bytes, out),
      check: () => {
        const sample = bytes.slice(0, REFERENCE_BYTES);
        const found = new Uint8Array(32);
        kernels.hash(sample, found);
        requireSameBytes('merkle/root', found, blake3(sample));
      },
      result: () => out,
    },
    1,
  );
  if (wanted('merkle/root')) yield oneShot;
  const ceiling = { name: 'one-shot BLAKE3 of the same bytes', value: oneShot.value * 1e9 };
  for (const [name, groupLog] of KINDS) {
    if (!wanted(name)) continue;
    const tree = new MerkleTree(kernels, allocateTree(bytes.length, groupLog), splitSegments(bytes));
    const job: Job = {
      ...common,
      name,
      ceiling,
      run: () => tree.build(),
      check: () => requireSameBytes(name, tree.root(), root),
      result: () => tree.root(),
    };
    yield yield* againstCrate(work, job, 1);
  }
  if (wanted('merkle/update')) yield await update(work, ceiling);
}

/** Compressions of a leaf of 1 KiB. */
const LEAF_COMPRESSIONS = 16;

/** Nodes above the leaves that rest on one of `dirty`. */
function parentsAbove(leaves: number, dirty: Uint32Array): number {
  let nodes = new Set<number>(dirty);
  let parents = 0;
  for (let count = leaves; count > 1; count = Math.ceil(count / 2)) {
    nodes = new Set([...nodes].map((node) => node >> 1));
    parents += nodes.size;
  }
  return parents;
}

/** Dirty leaves far apart: each costs its own path. */
async function update({ context, kernels, bytes, root, common }: Work, oneShot: Ceiling): Promise<BenchLine> {
  const tree = new MerkleTree(kernels, allocateTree(bytes.length), splitSegments(bytes)).build();
  const count = Math.max(1, Math.floor(tree.leaves * DIRTY_SHARE));
  const dirty = Uint32Array.from({ length: count }, (_, i) => Math.floor((i * tree.leaves) / count));
  const compressions = LEAF_COMPRESSIONS * count + parentsAbove(tree.leaves, dirty);
  const oneShotCompressions = (LEAF_COMPRESSIONS + 1) * tree.leaves - 1;
  const oneShotSeconds = bytes.length / oneShot.value;
  return measure({
    ...common,
    name: 'merkle/update',
    unit: { name: 'us', perCall: 1 },
    ceiling: {
      name: `${compressions} compressions at the speed of ${oneShot.name}`,
      value: (oneShotSeconds * compressions) / oneShotCompressions,
    },
    details: { leaves: tree.leaves, dirtyLeaves: count, compressions },
    budgetMs: context.quick ? 50 : 300,
    run: () => tree.update(dirty),
    check: () => {
      for (const leaf of dirty) bytes[1024 * leaf] ^= 1;
      tree.update(dirty);
      const found = tree.root();
      requireSameBytes(
        'merkle/update',
        found,
        new MerkleTree(kernels, allocateTree(bytes.length), splitSegments(bytes)).build().root(),
      );
      for (const leaf of dirty) bytes[1024 * leaf] ^= 1;
      tree.update(dirty);
      requireSameBytes('merkle/update, back', tree.root(), root);
    },
    result: () => tree.root(),
  });
}

async function* allLanes(work: Work, wanted: (name: string) => boolean): AsyncGenerator<GroupOutput> {
  const { context, kernels, bytes, root, common } = work;
  const { backend, lanes, signal } = context;
  const pool = new LanePool({ backend: backend.name, isa: backend.isa, lanes });
  try {
    for (const [kind, groupLog] of KINDS) {
      const name = `${kind}-all`;
      if (!wanted(name)) continue;
      const tree = shared.u8(treeBytes(bytes.length, groupLog));
      let found = root;
      const job: Job = {
        ...common,
        name,
        details: { lanes },
        run: async () => {
          [found] = await hashParallel(pool, kernels, [{ bytes, tree }], signal, groupLog);
        },
        check: () => requireSameBytes(name, found, root),
        result: () => found,
      };
      yield yield* againstCrate(work, job, lanes);
    }
  } finally {
    await pool.dispose();
  }
}

export const merkle: BenchGroup = {
  names: ['merkle/root', 'merkle/tree', 'merkle/groups', 'merkle/update', 'merkle/tree-all', 'merkle/groups-all'],
  async *lines(context, wanted) {
    const { quick } = context;
    const loaded = loadMerkleAddon();
    const kernels = loaded.addon ?? portableKernels;
    if (loaded.addon === undefined) yield skipped('merkle/native', loaded.reason);
    const length = quick || loaded.addon === undefined ? QUICK_BYTES : BYTES;
    const bytes = bytesOf(fillGaussian(shared.f32(length / 4), 7, 1));
    const root = new Uint8Array(32);
    kernels.hash(bytes, root);
    const unit = { name: 'GB/s (input)', perCall: length } as const;
    const common = { backend: kernels.name, isa: kernels.name, unit, bytes: length, budgetMs: quick ? 50 : 500 };
    const work: Work = { context, kernels, bytes, root, common };
    yield* oneThread(work, wanted);
    if (wanted('merkle/tree-all') || wanted('merkle/groups-all')) yield* allLanes(work, wanted);
  },
};
