/**
 * `leaf-check`: what a light client does for one leaf of one step, in pure TypeScript: BLAKE3 paths, the optimizer on 256
 * numbers, every scalar's transition. Against the target of 5 ms; the bytes it reads are in the details.
 */

import { merkleKernels } from '../../src/backend/merkleAddon.js';
import { PogoError } from '../../src/errors.js';
import { allocateTree, MerkleTree, splitSegments } from '../../src/merkle/tree.js';
import { unitFileBytes } from '../../src/model/layout.js';
import {
  advanceScalars,
  commitLeafRange,
  leafCount,
  START_SCALARS,
  type StateScalars,
  type StateVectors,
  seedState,
  unitPlanes,
} from '../../src/model/state.js';
import { type ModelPlan, modelPlan } from '../../src/model/unit.js';
import { createLeafCheck, LeafCheckType, verifyLeaf } from '../../src/protocol/leafCheck.js';
import type { ChunkSource } from '../../src/protocol/openings.js';
import {
  STATE_VERSION,
  type StateHeader,
  type StepCommitmentList,
  StepCommitmentListType,
  stateRoot,
  ZERO_ROOT,
} from '../../src/protocol/types.js';
import type { BenchContext, BenchGroup } from '../group.js';
import { bytesOf, fillGaussian, measure, shared } from '../harness.js';

const TARGET_SECONDS = 5e-3;

interface Blob extends ChunkSource {
  readonly root: Uint8Array;
}

/** A blob in memory with its tree. */
function blobOf(view: ArrayBufferView): Blob {
  const bytes = bytesOf(view);
  const tree = new MerkleTree(merkleKernels(), allocateTree(bytes.length), splitSegments(bytes)).build();
  return {
    root: tree.root(),
    chunk: (index) => ({ bytes: bytes.slice(1024 * index, 1024 * (index + 1)), path: tree.proveLeaf(index) }),
  };
}

/** Unit files with codes of random gradients; padding stays zero, as in a real unit. */
function syntheticUnits({ backend }: BenchContext, { recipe, layout }: ModelPlan): Uint8Array[] {
  return Array.from({ length: recipe.unitsPerStep }, (_, unit) => {
    const file = shared.u8(unitFileBytes(layout).total);
    const planes = unitPlanes(layout, file);
    for (const { offset, rows, cols, size, id } of layout.tensors) {
      backend.kernels.quantize4({
        x: fillGaussian(shared.f32(size), 100 * unit + id + 1, 1e-3),
        codes: planes.codes.subarray(offset / 2, (offset + size) / 2),
        scales: planes.scales.subarray(offset / 64, (offset + size) / 64),
        seed: Uint32Array.of(unit, id, 3, 4),
        rows,
        cols,
      });
    }
    return file;
  });
}

interface HashedState {
  readonly header: StateHeader;
  readonly blobs: readonly Blob[];
}

/** Trees and header of a state; the blobs copy nothing but what is opened, so they are made of a snapshot. */
function hashState(plan: ModelPlan, state: StateVectors, scalars: StateScalars): HashedState {
  const names = plan.recipe.ema ? (['theta', 'm', 'v', 'ema'] as const) : (['theta', 'm', 'v'] as const);
  const blobs = names.map((name) => blobOf(state[name].slice()));
  const [theta, m, v, ema] = blobs;
  const roots = { thetaRoot: theta.root, mRoot: m.root, vRoot: v.root, emaRoot: ema?.root ?? ZERO_ROOT };
  return { header: { version: STATE_VERSION, recipeRoot: plan.root, ...scalars, ...roots }, blobs };
}

export const leafCheck: BenchGroup = {
  names: ['leaf-check'],
  async *lines(context) {
    const { recipe, quick } = context;
    const plan = modelPlan(recipe);
    const { layout } = plan;
    const units = syntheticUnits(context, plan);
    const state = seedState(plan);
    const before = hashState(plan, state, START_SCALARS);
    commitLeafRange(plan, context.backend.kernels, state, START_SCALARS, units, 0, leafCount(layout));
    const after = hashState(plan, state, advanceScalars(recipe, START_SCALARS));
    const unitBlobs = units.map(blobOf);
    const commitments: StepCommitmentList = [
      {
        step: 0,
        preStateRoot: stateRoot(before.header),
        batchDigest: ZERO_ROOT,
        unitRoots: unitBlobs.map((blob) => blob.root),
        unitLosses: units.map(() => 0),
        postStateRoot: stateRoot(after.header),
      },
    ];
    const listRoot = StepCommitmentListType.hashTreeRoot(commitments);
    const leaf = layout.byName('h0.qkv.weight').offset / 256;
    const sources = {
      commitments,
      stepIndex: 0,
      preHeader: before.header,
      postHeader: after.header,
      before: before.blobs,
      after: after.blobs,
      units: unitBlobs,
    };
    const encoded = LeafCheckType.serialize(createLeafCheck(sources, layout, leaf));
    yield await measure({
      name: 'leaf-check',
      backend: 'typescript',
      isa: 'typescript',
      unit: { name: 'ms', perCall: 1 },
      bytes: encoded.length,
      ceiling: { name: 'target of 5 ms', value: TARGET_SECONDS },
      details: { recipe: recipe.name, checkBytes: encoded.length, units: recipe.unitsPerStep },
      budgetMs: quick ? 50 : 500,
      // Decoding belongs to the check: this is what arrives.
      run: () => verifyLeaf(listRoot, recipe, LeafCheckType.deserialize(encoded)),
      check: () => {
        const outcome = verifyLeaf(listRoot, recipe, LeafCheckType.deserialize(encoded));
        if (!outcome.holds)
          throw new PogoError('SELF_TEST', `leaf-check: an honest leaf was refused: ${outcome.fault}`);
      },
      result: () => encoded,
    });
  },
};
