/**
 * The leaf check: one leaf (256 parameters) of one step, in pure TypeScript, from a few kilobytes.
 *
 * A leaf of θ, m, v and EMA before and after the step, with BLAKE3 paths under both state headers; its codes and scales
 * in the M unit files, with paths; the step's commitment with its branch in the claim's list. From these the step of
 * the optimizer is recomputed for 256 numbers, and every scalar's transition; equality decides. What it rests on: the
 * claim's list root, which the caller trusts, and the recipe.
 *
 * Sizes: at M = 16 about 61 KiB for 124 M parameters (8 state leaves, 32 chunks of units, their paths).
 */
import { ContainerType, ListCompositeType, type ValueOf } from '@chainsafe/ssz';
import { PogoError } from '../errors.js';
import { equalBytes, toHex } from '../hex.js';
import { bitsToFloat } from '../model/fp32.js';
import { createLayout, type Layout, LEAF_ELEMENTS, unitFileBytes } from '../model/layout.js';
import { type Recipe, recipeRoot } from '../model/recipe.js';
import { advanceScalars, EMA_INTERVAL, learningRateBits } from '../model/state.js';
import { adamwLeaf, assertCanonicalUnit, sumUnitsLeaf } from '../reference/adamw.js';
import { openCommitment, type ProvenCommitment, ProvenCommitmentType, proveCommitment } from './listProof.js';
import {
  type BlobShape,
  type ChunkOpening,
  ChunkOpeningsType,
  ChunkOpeningType,
  type ChunkSource,
  openChunks,
  openRanges,
} from './openings.js';
import { decodeStrict, Uint64 } from './ssz.js';
import {
  MAX_UNITS_PER_STEP,
  STATE_VERSION,
  type StateHeader,
  StateHeaderType,
  type StepCommitment,
  type StepCommitmentList,
  stateRoot,
  ZERO_ROOT,
} from './types.js';

/** Far above any real one: 4096 units at 3 KiB each. */
const MAX_LEAF_CHECK_BYTES = 1 << 24;

const VectorLeavesType = new ListCompositeType(ChunkOpeningType, 4);

/** Everything a leaf check reads. `before` and `after` hold the leaf of θ, m, v and, where the recipe has one, EMA. */
export const LeafCheckType = new ContainerType(
  {
    step: ProvenCommitmentType,
    preHeader: StateHeaderType,
    postHeader: StateHeaderType,
    leaf: Uint64,
    before: VectorLeavesType,
    after: VectorLeavesType,
    /** For each unit the chunks that cover the leaf's 128 bytes of codes and 8 bytes of scales. */
    units: new ListCompositeType(ChunkOpeningsType, MAX_UNITS_PER_STEP),
  },
  { typeName: 'LeafCheck', jsonCase: 'eth2' },
);
export type LeafCheck = ValueOf<typeof LeafCheckType>;

/** @throws PogoError MALFORMED */
export function decodeLeafCheck(bytes: Uint8Array): LeafCheck {
  return decodeStrict(LeafCheckType, bytes, MAX_LEAF_CHECK_BYTES);
}

/** `holds` false: the claim is false, and `fault` says in what. */
export type LeafResult =
  | { readonly holds: true; readonly step: number; readonly leaf: number }
  | { readonly holds: false; readonly step: number; readonly leaf: number; readonly fault: string };

/** Byte ranges of a leaf in a unit file: 128 bytes of codes, 8 bytes of scales. */
export function unitLeafRanges(layout: Pick<Layout, 'length'>, leaf: number): [number, number][] {
  const scales = layout.length / 2 + 8 * leaf;
  return [
    [128 * leaf, 128 * (leaf + 1)],
    [scales, scales + 8],
  ];
}

/** Names of the vectors of a state, in the order in which openings list them. */
export function vectorNames(recipe: Pick<Recipe, 'ema'>): ('theta' | 'm' | 'v' | 'ema')[] {
  return recipe.ema ? ['theta', 'm', 'v', 'ema'] : ['theta', 'm', 'v'];
}

/** Root of a vector in a state header. */
export function vectorRoot(header: StateHeader, name: 'theta' | 'm' | 'v' | 'ema'): Uint8Array {
  return { theta: header.thetaRoot, m: header.mRoot, v: header.vRoot, ema: header.emaRoot }[name];
}

/** Root and layout of a recipe, made once for each recipe object: the root alone costs more than a leaf's check. */
const shapes = new WeakMap<Recipe, { readonly root: Uint8Array; readonly layout: Layout }>();

function shapeOf(recipe: Recipe): { readonly root: Uint8Array; readonly layout: Layout } {
  const known = shapes.get(recipe);
  if (known !== undefined) return known;
  const shape = { root: recipeRoot(recipe), layout: createLayout(recipe) };
  shapes.set(recipe, shape);
  return shape;
}

/**
 * Checks one leaf of one step of a claim.
 *
 * @param listRoot `listRoot` of the claim's header, trusted by the caller
 * @throws PogoError MALFORMED when openings do not lead to the roots: then nothing is decided
 */
export function verifyLeaf(listRoot: Uint8Array, recipe: Recipe, check: LeafCheck): LeafResult {
  const { commitment } = openCommitment(listRoot, check.step);
  checkHeaderRoots(commitment, check);
  const { layout } = shapeOf(recipe);
  const { leaf } = check;
  if (leaf >= layout.length / LEAF_ELEMENTS) {
    throw new PogoError('MALFORMED', `expected a leaf below ${layout.length / LEAF_ELEMENTS}, found ${leaf}`);
  }
  const fault = headerFault(check.preHeader, check.postHeader, recipe) ?? leafFault(commitment, check, recipe, layout);
  const place = { step: commitment.step, leaf };
  return fault === undefined ? { holds: true, ...place } : { holds: false, ...place, fault };
}

function checkHeaderRoots(commitment: StepCommitment, check: LeafCheck): void {
  for (const [name, header, root] of [
    ['pre', check.preHeader, commitment.preStateRoot],
    ['post', check.postHeader, commitment.postStateRoot],
  ] as const) {
    if (!equalBytes(stateRoot(header), root)) {
      throw new PogoError('MALFORMED', `expected the header of the ${name}-state ${toHex(root)}, found another header`);
    }
  }
}

/**
 * Scalars of a transition: version, recipe, step, tokens, powers of β, and an EMA root exactly where the recipe has an
 * EMA. The pre-state's own fields are inputs; only the post-state can be at fault.
 */
export function headerFault(pre: StateHeader, post: StateHeader, recipe: Recipe): string | undefined {
  return scalarFault(pre, post, recipe, shapeOf(recipe).root);
}

/** As {@link headerFault}, for who has the recipe without its learning rates. */
export function scalarFault(
  pre: StateHeader,
  post: StateHeader,
  recipe: Parameters<typeof advanceScalars>[0] & Pick<Recipe, 'ema'>,
  root: Uint8Array,
): string | undefined {
  const expected = advanceScalars(recipe, pre);
  if (post.version !== STATE_VERSION) return `expected state version ${STATE_VERSION}, found ${post.version}`;
  if (!equalBytes(post.recipeRoot, root)) return 'expected the claim’s recipe root in the post-state';
  for (const field of ['step', 'tokens', 'beta1Power', 'beta2Power'] as const) {
    if (post[field] !== expected[field]) return `${field}: expected ${expected[field]}, found ${post[field]}`;
  }
  if (!recipe.ema && !equalBytes(post.emaRoot, ZERO_ROOT)) return 'expected a zero EMA root, found another';
  return undefined;
}

function leafFault(commitment: StepCommitment, check: LeafCheck, recipe: Recipe, layout: Layout): string | undefined {
  const { leaf, preHeader, postHeader } = check;
  if (commitment.unitRoots.length !== recipe.unitsPerStep) {
    return `expected ${recipe.unitsPerStep} unit roots, found ${commitment.unitRoots.length}`;
  }
  const before = openVectors('pre-state', preHeader, check.before, leaf, recipe, layout);
  const after = openVectors('post-state', postHeader, check.after, leaf, recipe, layout);
  const units = openUnitLeaves(commitment, check, recipe, layout);
  const nonCanonical = units.findIndex((unit) => !isCanonicalLeaf(unit, leaf, layout));
  if (nonCanonical >= 0) return `expected canonical codes in unit ${nonCanonical}, found others`;
  const expected = leafTransition(before, units, check, recipe, layout);
  for (const name of vectorNames(recipe)) {
    const found = words(after[name]!);
    const wanted = words(expected[name]);
    const at = wanted.findIndex((word, i) => word !== found[i]);
    if (at >= 0) {
      const shown = `${wanted[at]!.toString(16)}, found ${found[at]!.toString(16)}`;
      return `${name}[${leaf * LEAF_ELEMENTS + at}]: expected bits ${shown}`;
    }
  }
  return undefined;
}

type VectorLeaves = Partial<Record<'theta' | 'm' | 'v' | 'ema', Float32Array>>;

function openVectors(
  which: string,
  header: StateHeader,
  openings: readonly ChunkOpening[],
  leaf: number,
  recipe: Recipe,
  layout: Layout,
): VectorLeaves {
  const names = vectorNames(recipe);
  if (openings.length !== names.length) {
    throw new PogoError('MALFORMED', `${which}: expected leaves of ${names.join(', ')}, found ${openings.length}`);
  }
  const leaves: VectorLeaves = {};
  names.forEach((name, i) => {
    const blob: BlobShape = {
      name: `${name} of the ${which}`,
      root: vectorRoot(header, name),
      totalBytes: 4 * layout.length,
    };
    const [bytes] = openRanges(blob, [[1024 * leaf, 1024 * (leaf + 1)]], [openings[i]!]);
    leaves[name] = new Float32Array(bytes!.buffer);
  });
  return leaves;
}

interface UnitLeaf {
  readonly codes: Uint8Array;
  readonly scales: Uint16Array;
}

function openUnitLeaves(commitment: StepCommitment, check: LeafCheck, recipe: Recipe, layout: Layout): UnitLeaf[] {
  if (check.units.length !== recipe.unitsPerStep) {
    throw new PogoError('MALFORMED', `expected openings of ${recipe.unitsPerStep} units, found ${check.units.length}`);
  }
  const ranges = unitLeafRanges(layout, check.leaf);
  return commitment.unitRoots.map((root, unit) => {
    const blob = { name: `unit ${unit}`, root, totalBytes: unitFileBytes(layout).total };
    const [codes, scales] = openRanges(blob, ranges, check.units[unit]!);
    return { codes: codes!, scales: new Uint16Array(scales!.buffer) };
  });
}

/** Canonical codes, and nothing but zeros in the padding behind a tensor's end (groups of 64 never straddle it). */
function isCanonicalLeaf(unit: UnitLeaf, leaf: number, layout: Layout): boolean {
  try {
    assertCanonicalUnit(unit.codes, unit.scales);
  } catch (error) {
    if (error instanceof PogoError) return false;
    throw error;
  }
  return unit.scales.every(
    (scale, group) => scale === 0 || layout.locate(leaf * LEAF_ELEMENTS + 64 * group) !== undefined,
  );
}

function leafTransition(
  before: VectorLeaves,
  units: readonly UnitLeaf[],
  check: LeafCheck,
  recipe: Recipe,
  layout: Layout,
): Record<'theta' | 'm' | 'v' | 'ema', Float32Array> {
  const { optimizer } = recipe;
  const next = advanceScalars(recipe, check.preHeader);
  const decay = layout.locate(check.leaf * LEAF_ELEMENTS)?.tensor.decay ?? false;
  return adamwLeaf({
    theta: before.theta!,
    m: before.m!,
    v: before.v!,
    ema: before.ema ?? new Float32Array(0),
    gradient: sumUnitsLeaf(
      units.map((unit) => unit.codes),
      units.map((unit) => unit.scales),
    ),
    beta1: bitsToFloat(optimizer.beta1Bits),
    beta2: bitsToFloat(optimizer.beta2Bits),
    beta1t: bitsToFloat(next.beta1Power),
    beta2t: bitsToFloat(next.beta2Power),
    epsilon: bitsToFloat(optimizer.epsilonBits),
    weightDecay: decay ? bitsToFloat(optimizer.weightDecayBits) : 0,
    learningRate: bitsToFloat(learningRateBits(recipe, check.preHeader.step)),
    emaDecay: bitsToFloat(recipe.emaDecayBits),
    updateEma: recipe.ema && next.step % EMA_INTERVAL === 0,
  });
}

function words(values: Float32Array): Uint32Array {
  return new Uint32Array(values.buffer, values.byteOffset, values.length);
}

/** What the author of a leaf check holds: the two states' vectors and the step's units, as sources of chunks. */
export interface LeafCheckSources {
  readonly commitments: StepCommitmentList;
  readonly stepIndex: number;
  readonly preHeader: StateHeader;
  readonly postHeader: StateHeader;
  /** In the order of {@link vectorNames}. */
  readonly before: readonly ChunkSource[];
  readonly after: readonly ChunkSource[];
  readonly units: readonly ChunkSource[];
}

/** Assembles the check of one leaf. */
export function createLeafCheck(sources: LeafCheckSources, layout: Pick<Layout, 'length'>, leaf: number): LeafCheck {
  const step: ProvenCommitment = proveCommitment(sources.commitments, sources.stepIndex);
  return {
    step,
    preHeader: sources.preHeader,
    postHeader: sources.postHeader,
    leaf,
    before: sources.before.map((source) => source.chunk(leaf)),
    after: sources.after.map((source) => source.chunk(leaf)),
    units: sources.units.map((source) => openChunks(source, unitLeafRanges(layout, leaf))),
  };
}
