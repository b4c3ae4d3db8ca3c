/**
 * Evidence `state-root`: the commit pass over a step's pre-state and units gives another post-state than the committed
 * one. Carries the whole pre-state while models are small.
 */
import { PogoError } from '../../errors.js';
import { equalBytes, toHex } from '../../hex.js';
import { unitFileBytes } from '../../model/layout.js';
import { stateRoot } from '../types.js';
import { canonicalUnitFault } from '../unitBytes.js';
import {
  type EvidenceExecutors,
  type Finding,
  openBlob,
  openHead,
  openState,
  openStep,
  requireExecutor,
} from './head.js';
import type { EvidenceBody } from './types.js';

export async function checkStateRootEvidence(
  executors: EvidenceExecutors,
  body: EvidenceBody<'state-root'>,
): Promise<Finding> {
  const head = openHead(executors.bls, body.head);
  const { recipe, layout } = head;
  const commitment = openStep(head, body.step);
  openState('pre-state', body.preHeader, commitment.preStateRoot);
  if (commitment.unitRoots.length !== recipe.unitsPerStep || body.units.length !== recipe.unitsPerStep) {
    throw new PogoError('MALFORMED', `evidence: expected ${recipe.unitsPerStep} units, found ${body.units.length}`);
  }
  const vectorBytes = 4 * layout.length;
  openBlob(executors, 'θ', body.theta, vectorBytes, body.preHeader.thetaRoot);
  openBlob(executors, 'm', body.m, vectorBytes, body.preHeader.mRoot);
  openBlob(executors, 'v', body.v, vectorBytes, body.preHeader.vRoot);
  if (recipe.ema) openBlob(executors, 'EMA', body.ema, vectorBytes, body.preHeader.emaRoot);
  else if (body.ema.length !== 0) {
    throw new PogoError('MALFORMED', `evidence: expected no EMA in this recipe, found ${body.ema.length} bytes`);
  }
  const { total } = unitFileBytes(layout);
  for (const [j, unit] of body.units.entries()) {
    openBlob(executors, `unit ${j}`, unit, total, commitment.unitRoots[j]!);
  }
  for (const [j, unit] of body.units.entries()) {
    // A copy: the decoder's slices need not be aligned to the 2 bytes of a scale.
    const fault = canonicalUnitFault(layout, unit.slice());
    if (fault !== undefined) return `step ${commitment.step}, unit ${j}: ${fault}`;
  }
  const { header } = await requireExecutor(executors).commitStep({
    recipe,
    header: body.preHeader,
    theta: body.theta,
    m: body.m,
    v: body.v,
    ema: body.ema,
    units: body.units,
  });
  const expected = stateRoot(header);
  if (equalBytes(expected, commitment.postStateRoot)) return undefined;
  return `step ${commitment.step}: expected state ${toHex(expected)}, found ${toHex(commitment.postStateRoot)}`;
}
