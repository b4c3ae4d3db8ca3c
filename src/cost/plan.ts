/** What each role keeps in memory and on disk and moves over the network, counted from a recipe: before anything is bought. */

import { createLayout } from '../model/layout.js';
import type { Recipe } from '../model/recipe.js';
import { claimBytes, memoryOf, type Row, type Section } from './analysis.js';
import { type Figure, figure } from './figure.js';
import { type Workload, workloadOf } from './workload.js';

/** Bytes of a segment: a complete subtree of the hash, the unit of storage. */
const SEGMENT_BYTES = 2 ** 28;
/** Bytes of one window of a commit pass from disk, for each vector, and of the units beside it. */
const WINDOW_ELEMENTS = 2 ** 24;
/** Elements that one index of 32 bits reaches. */
const INDEX_32 = 2 ** 32;

const counted = (value: number, unit: string, source: string): Figure => figure(value, unit, 'counted', source);

function layoutSection(recipe: Recipe, work: Workload): Section {
  const layout = createLayout(recipe);
  const largest = layout.tensors.reduce((most, tensor) => (tensor.size > most.size ? tensor : most));
  const vectorBytes = 4 * work.length;
  return {
    title: 'Layout',
    rows: [
      { name: 'parameters', figure: counted(work.parameters, '', 'without padding') },
      { name: 'tensors', figure: counted(layout.tensors.length, '', 'each begins at a leaf of 256 elements') },
      { name: 'elements of a vector', figure: counted(work.length, '', beyond(work.length)) },
      { name: 'largest tensor', figure: counted(largest.size, '', `${largest.name}; ${beyond(largest.size)}`) },
      { name: 'bytes of a vector', figure: counted(vectorBytes, 'B', `${work.vectors} of them are the state`) },
      { name: 'segments of a vector', figure: counted(Math.ceil(vectorBytes / SEGMENT_BYTES), '', '256 MiB each') },
      ...frozenRows(work, 'elements of the frozen model', 1, '', 'what adapters stand on: no state, never changed'),
      { name: 'leaves of a vector', figure: counted(work.length / 256, '', '1 KiB each') },
    ],
  };
}

/** A row about the model under adapters, where there are any. */
function frozenRows({ frozenLength }: Workload, name: string, each: number, unit: string, source: string): Row[] {
  return frozenLength === 0 ? [] : [{ name, figure: counted(each * frozenLength, unit, source) }];
}

function beyond(count: number): string {
  return count > INDEX_32 ? `${(count / INDEX_32).toFixed(1)} times 2^32` : 'below 2^32';
}

function laneSection(work: Workload): Section {
  const { weights, lane } = memoryOf(work);
  const { unitsPerStep, unitBytes } = work;
  return {
    title: 'A lane (computes units)',
    rows: [
      {
        name: 'memory: integer weights',
        figure: counted(weights, 'B', 'codes and scales, both orientations, and packed'),
      },
      ...frozenRows(work, 'memory: θ of the frozen model', 4, 'B', 'embeddings, gains and biases are read from it'),
      { name: 'memory: activations', figure: counted(lane, 'B', 'buffers of the tape for one unit') },
      { name: 'memory: its unit', figure: counted(unitBytes, 'B', '4-bit codes and their scales') },
      { name: 'out, a unit', figure: counted(unitBytes, 'B', 'what it made') },
      {
        name: 'in, a step, state elsewhere',
        figure: counted(work.movingBytes, 'B', 'integer weights of the next state'),
      },
      {
        name: 'in, a step, own state',
        figure: counted((unitsPerStep - 1) * unitBytes, 'B', 'units of the others, applied here'),
      },
    ],
  };
}

function stateSection(work: Workload): Section {
  const { state, trees, units } = memoryOf(work);
  const { unitsPerStep, unitBytes, vectors, length } = work;
  const log = claimBytes(work).log;
  const window = 4 * WINDOW_ELEMENTS * (vectors - 1) + unitsPerStep * WINDOW_ELEMENTS * (0.5 + 2 / 64);
  return {
    title: 'The state (commit pass, hashing)',
    rows: [
      { name: 'memory: all of it', figure: counted(state + trees + units, 'B', 'state, trees, two sets of units') },
      {
        name: 'memory: from disk, one window',
        figure: counted(
          4 * length + window + (vectors * length * 4) / 256,
          'B',
          'θ, a window of the others, trees of 16 KiB groups',
        ),
      },
      { name: 'disk: states', figure: counted(2 * state, 'B', 'the one before stays until the next is complete') },
      { name: 'disk: log of a claim', figure: counted(log, 'B', 'all units') },
      {
        name: 'bytes over the disk, a step',
        figure: counted(
          2 * state + unitsPerStep * unitBytes,
          'B',
          'where it does not fit: state read and written, units read',
        ),
      },
      {
        name: 'bytes over memory, a step',
        figure: counted(
          length * (unitsPerStep * (0.5 + 2 / 64) + 24 + 1),
          'B',
          'units read, θ, m, v read and written, an eighth of the EMA',
        ),
      },
    ],
  };
}

function verifierSection(work: Workload): Section {
  const bytes = claimBytes(work);
  return {
    title: 'A verifier of one claim',
    rows: [
      { name: 'in', figure: counted(bytes.total, 'B', 'log, list, 4-bit model; the start state is the claim before') },
      { name: 'disk', figure: counted(8 * work.length * work.vectors + bytes.total, 'B', 'two states and the claim') },
      {
        name: 'memory',
        figure: counted(
          4 * (work.length + work.frozenLength) + memoryOf(work).weights + work.laneBytes,
          'B',
          'θ, integer weights, one lane; the rest from disk',
        ),
      },
      { name: 'a light check', figure: counted(64 * 1024, 'B', 'at most, of one leaf: see docs/protocol.md') },
    ],
  };
}

/** Sections of figures, all counted. */
export function planOf(recipe: Recipe): readonly Section[] {
  const work = workloadOf(recipe);
  return [layoutSection(recipe, work), laneSection(work), stateSection(work), verifierSection(work)];
}
