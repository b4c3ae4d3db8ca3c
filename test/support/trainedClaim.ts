/**
 * A real claim of a tiny model, trained in this process by the reference kernels: states, units and commitments of
 * every step, so that evidence can be made against any part of it. No files, no workers.
 */
import { blake3 } from '@noble/hashes/blake3.js';
import { referenceKernels } from '../../src/backend/reference.js';
import { toHex } from '../../src/hex.js';
import { packedModelLayout } from '../../src/model/layout.js';
import { loadRecipe, type Recipe, validateRecipe } from '../../src/model/recipe.js';
import {
  advanceScalars,
  commitLeafRange,
  evaluatedVector,
  leafCount,
  packModel,
  START_SCALARS,
  type StateScalars,
  type StateVectors,
  seedState,
  unpackModel,
} from '../../src/model/state.js';
import {
  allocateWeights,
  gatherSequences,
  LossRunner,
  type ModelPlan,
  modelPlan,
  quantizeWeights,
  type UnitRequest,
  UnitRunner,
} from '../../src/model/unit.js';
import type { UnitPlace } from '../../src/model/unitPlaces.js';
import type { KeyPair } from '../../src/protocol/bls.js';
import { createNativeBls } from '../../src/protocol/blsNative.js';
import { buildClaim, signClaim } from '../../src/protocol/claim.js';
import { encodeDiff } from '../../src/protocol/diff.js';
import { batchDigest, drawBatch, unitOffsets } from '../../src/protocol/draws.js';
import type { ComputedUnit, UnitExecutor } from '../../src/protocol/executor.js';
import {
  claimRoot,
  type SignedClaim,
  STATE_VERSION,
  type StateHeader,
  type StepCommitment,
  stateRoot,
  ZERO_ROOT,
} from '../../src/protocol/types.js';
import { runnablePlan } from './adapters.js';
import { seededBytes } from './random.js';

export const bls = createNativeBls();
export const SEED = new Uint8Array(32).fill(7);

export function bytesOf(values: Float32Array): Uint8Array {
  return new Uint8Array(values.buffer, values.byteOffset, values.byteLength);
}

/** One finished step: everything around it, copied. */
export interface TrainedStep {
  readonly preHeader: StateHeader;
  readonly postHeader: StateHeader;
  readonly before: Readonly<Record<keyof StateVectors, Uint8Array>>;
  readonly after: Readonly<Record<keyof StateVectors, Uint8Array>>;
  readonly units: readonly Uint8Array[];
  readonly commitment: StepCommitment;
}

export interface TrainedClaim {
  readonly recipe: Recipe;
  readonly plan: ModelPlan;
  readonly tokenFile: Uint8Array;
  readonly steps: readonly TrainedStep[];
  /** The committed list: usually that of the steps. */
  readonly commitments: readonly StepCommitment[];
  readonly model: Uint8Array;
  readonly miner: KeyPair;
  readonly draw1: Uint8Array;
  readonly claim: SignedClaim;
  /** What its diff is taken from. */
  readonly parent: TrainedClaim | undefined;
}

/** A recipe as small as the rules allow, on a token file made here. */
export function smallRecipe(changes: Partial<Recipe> = {}): { recipe: Recipe; tokenFile: Uint8Array } {
  const tiny = loadRecipe('tiny');
  const tokens = 2048;
  const tokenFile = bytesOf16(Uint16Array.from(seededBytes(tokens, 1)));
  const recipe = validateRecipe({
    ...tiny,
    name: 'small',
    layers: 1,
    hidden: 64,
    sequencesPerUnit: 1,
    stepsPerClaim: 2,
    minStepsPerClaim: 2,
    maxStepsPerClaim: 2,
    data: { ...tiny.data, tokens, heldOutTokens: 512, tokensRoot: blake3(tokenFile) },
    ...changes,
  });
  return { recipe, tokenFile };
}

function bytesOf16(values: Uint16Array): Uint8Array {
  return new Uint8Array(values.buffer);
}

function headerOf(plan: ModelPlan, state: StateVectors, scalars: StateScalars): StateHeader {
  return {
    version: STATE_VERSION,
    recipeRoot: plan.root,
    ...scalars,
    thetaRoot: blake3(bytesOf(state.theta).slice()),
    mRoot: blake3(bytesOf(state.m).slice()),
    vRoot: blake3(bytesOf(state.v).slice()),
    emaRoot: plan.recipe.ema ? blake3(bytesOf(state.ema).slice()) : ZERO_ROOT,
  };
}

const copy = (state: StateVectors) => ({
  theta: bytesOf(state.theta).slice(),
  m: bytesOf(state.m).slice(),
  v: bytesOf(state.v).slice(),
  ema: bytesOf(state.ema).slice(),
});

/** Bytes of little-endian fp32 → a vector of its own memory. */
function vectorOf(bytes: Uint8Array): Float32Array {
  const values = new Float32Array(new SharedArrayBuffer(bytes.length));
  bytesOf(values).set(bytes);
  return values;
}

/** Units that were computed before in this process: the same inputs give the same bits, so tests share them. */
const computed = new Map<string, ComputedUnit>();

type Request = UnitRequest & { readonly places?: readonly UnitPlace[] };

function computeUnit(plan: ModelPlan, theta: Uint8Array, request: Request): ComputedUnit {
  const words = [blake3(theta), request.draw1, plan.root, new Uint8Array(request.tokens.slice().buffer)].map(toHex);
  const key = [...words, request.step, request.unit, JSON.stringify(request.places ?? [])].join();
  const known = computed.get(key);
  if (known !== undefined) return { ...known, unit: known.unit.slice() };
  const shared = allocateWeights(plan, vectorOf(theta));
  quantizeWeights(plan, referenceKernels, shared);
  const runner = new UnitRunner(plan, referenceKernels, shared);
  const lossBits = runner.compute(request, request.places);
  const result = { unit: runner.file.slice(), lossBits, observed: runner.observed };
  computed.set(key, result);
  return { ...result, unit: result.unit.slice() };
}

/** The executor that a third party would use: the reference kernels. */
export const referenceExecutor: UnitExecutor = {
  async computeUnit(request) {
    return computeUnit(runnablePlan(request.recipe), request.theta, request);
  },
  async commitStep(request) {
    const plan = modelPlan(request.recipe);
    const state = {
      theta: vectorOf(request.theta),
      m: vectorOf(request.m),
      v: vectorOf(request.v),
      ema: vectorOf(request.ema),
    };
    const units = request.units.map((unit) => unit.slice());
    commitLeafRange(plan, referenceKernels, state, request.header, units, 0, leafCount(plan.layout));
    return { header: headerOf(plan, state, advanceScalars(plan.recipe, request.header)) };
  },
  async packModel({ recipe, vector }) {
    const plan = modelPlan(recipe);
    const packed = new Uint8Array(new SharedArrayBuffer(packedModelLayout(plan.layout).bytes));
    packModel(plan, referenceKernels, vectorOf(vector), packed);
    return packed.slice();
  },
  async modelLoss({ recipe, model, tokens }) {
    const plan = runnablePlan(recipe);
    const theta = new Float32Array(new SharedArrayBuffer(4 * plan.layout.length));
    unpackModel(plan, referenceKernels, model, theta);
    const shared = allocateWeights(plan, theta);
    quantizeWeights(plan, referenceKernels, shared);
    return new LossRunner(plan, referenceKernels, shared, 1).lossBits(tokens);
  },
};

/** Changes that a cheating miner makes to what it commits. */
export interface Tampering {
  /** Changes a step's units before they are committed and applied. */
  units?(units: Uint8Array[], step: number): void;
  losses?(losses: number[], step: number): void;
  offsets?(offsets: number[], step: number): number[];
  /** Changes the state after a step's commit pass, before it is hashed. */
  state?(state: StateVectors, step: number): void;
  header?(header: StateHeader, step: number): StateHeader;
  model?(model: Uint8Array): Uint8Array;
  commitments?(commitments: StepCommitment[]): StepCommitment[];
  /** Makes the claim a child of this one (whose model the diff is taken from). */
  parent?: TrainedClaim;
  diff?(diff: Uint8Array): Uint8Array;
}

export function trainClaim(tampering: Tampering = {}, changes: Partial<Recipe> = {}): TrainedClaim {
  const { recipe, tokenFile } = smallRecipe(changes);
  const plan = runnablePlan(recipe);
  const miner = bls.deriveKey(SEED, 'miner', 0);
  const draw1 = new Uint8Array(32).fill(3);
  const tokens = new Uint16Array(tokenFile.buffer);
  const state = seedState(plan);
  let scalars: StateScalars = START_SCALARS;
  let preHeader = headerOf(plan, state, scalars);
  const fromHeader = preHeader;
  const steps: TrainedStep[] = [];
  for (let step = 0; step < recipe.stepsPerClaim; step += 1) {
    const drawn = drawBatch(draw1, step, recipe);
    const offsets = tampering.offsets?.(drawn, step) ?? drawn;
    const units: Uint8Array[] = [];
    const losses: number[] = [];
    for (let unit = 0; unit < recipe.unitsPerStep; unit += 1) {
      const starts = unitOffsets(offsets, unit, recipe);
      const request = { draw1, step, unit, tokens: gatherSequences(tokens, starts, recipe.context) };
      const result = computeUnit(plan, bytesOf(state.theta).slice(), request);
      losses.push(result.lossBits);
      units.push(result.unit);
    }
    tampering.units?.(units, step);
    tampering.losses?.(losses, step);
    const before = copy(state);
    commitLeafRange(plan, referenceKernels, state, scalars, fitted(units, plan), 0, leafCount(plan.layout));
    tampering.state?.(state, step);
    scalars = advanceScalars(recipe, scalars);
    const honest = headerOf(plan, state, scalars);
    const postHeader = tampering.header?.(honest, step) ?? honest;
    steps.push({
      preHeader,
      postHeader,
      before,
      after: copy(state),
      units,
      commitment: {
        step,
        preStateRoot: stateRoot(preHeader),
        batchDigest: batchDigest(offsets),
        unitRoots: units.map((unit) => blake3(unit)),
        unitLosses: losses,
        postStateRoot: stateRoot(postHeader),
      },
    });
    preHeader = postHeader;
  }
  const packed = new Uint8Array(new SharedArrayBuffer(packedModelLayout(plan.layout).bytes));
  packModel(plan, referenceKernels, evaluatedVector(recipe, state), packed);
  const model = tampering.model?.(packed.slice()) ?? packed.slice();
  const list = steps.map((step) => step.commitment);
  const commitments = tampering.commitments?.(list) ?? list;
  const { parent } = tampering;
  const honestDiff = parent === undefined ? undefined : encodeDiff(parent.model, model);
  const diff = tampering.diff?.(honestDiff ?? new Uint8Array(0)) ?? honestDiff;
  const header = buildClaim(
    {
      chainId: new Uint8Array(32).fill(1),
      job: 0,
      claimNumber: 0,
      attempt: 0,
      parentClaimRoot: parent === undefined ? ZERO_ROOT : claimRoot(parent.claim.header),
      recipeRoot: plan.root,
      miner: miner.publicKey,
      fromRoot: stateRoot(fromHeader),
      draw1,
      bond: 1000n,
    },
    { commitments, modelRoot: blake3(model), diffRoot: diff === undefined ? ZERO_ROOT : blake3(diff) },
  );
  const claim = signClaim(bls, miner, header);
  return { recipe, plan, tokenFile, steps, commitments, model, miner, draw1, claim, parent };
}

/** Units that a cheater lengthened or cut are applied at their right length. */
function fitted(units: readonly Uint8Array[], plan: ModelPlan): Uint8Array[] {
  const total = plan.layout.length / 2 + plan.layout.length / 32;
  return units.map((unit) => {
    const file = new Uint8Array(total);
    file.set(unit.subarray(0, total));
    return file;
  });
}
