/**
 * Evidence `unit` and `loss`: a gradient unit, or its loss, is not what the model gives for its batch.
 *
 * The checker recomputes the whole unit from θ of the step and the batch of draw 1, on any backend. Evidence carries θ
 * while models are small. A unit that breaks the canonical form (nibble −8, scale NaN, Inf or negative, non-zero
 * padding) differs from every recomputed unit, which is canonical, so it is convicted by the same comparison.
 */
import { PogoError } from '../../errors.js';
import { equalBytes, toHex } from '../../hex.js';
import { unitFileBytes } from '../../model/layout.js';
import { bytesPerToken, type Recipe } from '../../model/recipe.js';
import { drawBatch, unitOffsets } from '../draws.js';
import type { ComputedUnit } from '../executor.js';
import { CHUNK_BYTES, type ChunkOpening, openRanges } from '../openings.js';
import type { StepCommitment } from '../types.js';
import {
  type EvidenceExecutors,
  type Finding,
  type OpenedHead,
  openBlob,
  openHead,
  openState,
  openStep,
  requireExecutor,
} from './head.js';
import { checkForeignLength } from './length.js';
import type { EvidenceBody } from './types.js';

/** Byte ranges of a unit's sequences in the token file, in the order of the batch. */
export function unitTokenRanges(recipe: Recipe, draw1: Uint8Array, step: number, unit: number): [number, number][] {
  const bytes = bytesPerToken(recipe);
  return unitOffsets(drawBatch(draw1, step, recipe), unit, recipe).map((offset) => [
    offset * bytes,
    (offset + recipe.context + 1) * bytes,
  ]);
}

/** The tokens of a unit, opened under the recipe's tokens root. u32 [sequencesPerUnit, context + 1]. */
export function openTokens(
  head: OpenedHead,
  step: number,
  unit: number,
  openings: readonly ChunkOpening[],
): Uint32Array {
  return openSequences(head.recipe, unitTokenRanges(head.recipe, head.header.draw1, step, unit), openings);
}

/** Sequences of context + 1 tokens at byte ranges of the recipe's token file. */
export function openSequences(
  recipe: Recipe,
  ranges: readonly (readonly [number, number])[],
  openings: readonly ChunkOpening[],
): Uint32Array {
  const bytes = bytesPerToken(recipe);
  const blob = { name: 'token file', root: recipe.data.tokensRoot, totalBytes: recipe.data.tokens * bytes };
  const sequences = openRanges(blob, ranges, openings);
  const tokens = new Uint32Array(sequences.length * (recipe.context + 1));
  sequences.forEach((sequence, i) => {
    const values = bytes === 2 ? new Uint16Array(sequence.buffer) : new Uint32Array(sequence.buffer);
    tokens.set(values, i * (recipe.context + 1));
  });
  return tokens;
}

function openUnit(head: OpenedHead, body: EvidenceBody<'loss'>): StepCommitment {
  const commitment = openStep(head, body.step);
  const { unitRoots, unitLosses } = commitment;
  if (body.unit >= Math.min(unitRoots.length, unitLosses.length, head.recipe.unitsPerStep)) {
    throw new PogoError('MALFORMED', `evidence: expected a unit below ${head.recipe.unitsPerStep}, found ${body.unit}`);
  }
  openState('pre-state', body.preHeader, commitment.preStateRoot);
  return commitment;
}

async function recompute(
  executors: EvidenceExecutors,
  head: OpenedHead,
  body: EvidenceBody<'loss'>,
  commitment: StepCommitment,
): Promise<ComputedUnit> {
  const executor = requireExecutor(executors);
  openBlob(executors, 'θ', body.theta, 4 * head.layout.length, body.preHeader.thetaRoot);
  return executor.computeUnit({
    recipe: head.recipe,
    recipeRoot: head.recipeRoot,
    draw1: head.header.draw1,
    step: commitment.step,
    unit: body.unit,
    theta: body.theta,
    tokens: openTokens(head, commitment.step, body.unit, body.tokenChunks),
  });
}

export async function checkUnitEvidence(executors: EvidenceExecutors, body: EvidenceBody<'unit'>): Promise<Finding> {
  const head = openHead(executors.bls, body.head);
  const commitment = openUnit(head, body);
  const name = `step ${commitment.step}, unit ${body.unit}`;
  const blob = { name, root: commitment.unitRoots[body.unit]!, totalBytes: body.unitBytes };
  const expectedBytes = unitFileBytes(head.layout).total;
  if (body.unitBytes !== expectedBytes) {
    const last = Math.max(0, Math.ceil(body.unitBytes / CHUNK_BYTES) - 1);
    if (body.chunkIndex !== last || body.theta.length !== 0 || body.tokenChunks.length !== 0) {
      throw new PogoError('MALFORMED', 'evidence: expected only the last chunk of a unit of a wrong length');
    }
    return checkForeignLength(blob, expectedBytes, [body.chunk]);
  }
  const start = body.chunkIndex * CHUNK_BYTES;
  if (start >= expectedBytes) {
    throw new PogoError('MALFORMED', `evidence: expected a chunk of the unit, found chunk ${body.chunkIndex}`);
  }
  const end = Math.min(expectedBytes, start + CHUNK_BYTES);
  const [committed] = openRanges(blob, [[start, end]], [body.chunk]);
  const { unit } = await recompute(executors, head, body, commitment);
  if (equalBytes(unit.subarray(start, end), committed!)) return undefined;
  return `${name}: chunk ${body.chunkIndex} of the committed unit ${toHex(blob.root)} differs from the recomputed one`;
}

export async function checkLossEvidence(executors: EvidenceExecutors, body: EvidenceBody<'loss'>): Promise<Finding> {
  const head = openHead(executors.bls, body.head);
  const commitment = openUnit(head, body);
  const { lossBits } = await recompute(executors, head, body, commitment);
  const committed = commitment.unitLosses[body.unit]!;
  if (lossBits === committed) return undefined;
  const bits = `${lossBits.toString(16)}, found ${committed.toString(16)}`;
  return `step ${commitment.step}, unit ${body.unit}: expected loss bits ${bits}`;
}
