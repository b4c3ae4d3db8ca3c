/**
 * The parameters that a recipe and the size of a committee bound from below, in base units: what `pogo economics` holds
 * a chain against, and what the genesis of an embedded chain is made with. Integers, rounded up, so that every machine
 * makes the same genesis.
 */
import type { Recipe } from '../model/recipe.js';
import { samplesForDetection } from './detection.js';
import { TRACE_WORK } from './dispute/traceCost.js';
import type { ProtocolParameters } from './ledgerTypes.js';

/** What the sampling of a recipe depends on. */
export type SampledRecipe = Pick<Recipe, 'unitsPerStep' | 'stepsPerClaim' | 'detection'>;

/** Units of a claim, and those that each seat of a committee draws. */
export function sampling(
  recipe: SampledRecipe,
  committee: number,
): { readonly units: number; readonly samples: number } {
  const units = recipe.unitsPerStep * recipe.stepsPerClaim;
  const { fractionPpm, targetPpm } = recipe.detection;
  return { units, samples: samplesForDetection(units, fractionPpm, targetPpm, committee) };
}

const up = (dividend: bigint, divisor: bigint): bigint => (dividend + divisor - 1n) / divisor;

/** Recomputing a unit is worth what making it is: the pay that all seats share. */
export function leastVerifierReward(recipe: SampledRecipe, committee: number, claimReward: bigint): bigint {
  const { units, samples } = sampling(recipe, committee);
  return up(BigInt(committee) * BigInt(samples) * claimReward, BigInt(units));
}

/**
 * Stake for which skipping units of one's own draw does not pay: a false receipt is looked at by an honest one of the
 * other seats, at one of `samples` + 2 places, and costs half the stake.
 *
 * @param honest seats that do their work
 * @returns undefined for a committee of one: nobody looks, so no stake is enough
 */
export function leastVerifierStake(
  recipe: SampledRecipe,
  committee: number,
  honest: number,
  verifierReward: bigint,
): bigint | undefined {
  if (committee === 1) return undefined;
  const { samples } = sampling(recipe, committee);
  const others = committee - 1;
  const looking = Math.min(honest, others);
  return up(
    2n * verifierReward * BigInt(samples + 2) * BigInt(others),
    BigInt(committee) * BigInt(Math.max(1, samples)) * BigInt(looking),
  );
}

/** Bond of a dispute: the work of a trace, at what a unit earns. */
export function leastDisputeBond(recipe: SampledRecipe, claimReward: bigint): bigint {
  return up(BigInt(TRACE_WORK) * claimReward, BigInt(recipe.unitsPerStep * recipe.stepsPerClaim));
}

/**
 * Parameters that hold for each of several recipes (a job's, beside the chain's own) under a committee of which one seat
 * does its work: a base, raised where a recipe needs more.
 */
export function parametersFor(
  base: ProtocolParameters,
  recipes: readonly SampledRecipe[],
  committee: number,
): ProtocolParameters {
  let { verifierReward, verifierStake, disputeBondSurplus } = base;
  const { claimReward, challengeBond } = base;
  for (const recipe of recipes) {
    verifierReward = largest(verifierReward, leastVerifierReward(recipe, committee, claimReward));
    verifierStake = largest(verifierStake, leastVerifierStake(recipe, committee, 1, verifierReward) ?? 0n);
    disputeBondSurplus = largest(disputeBondSurplus, leastDisputeBond(recipe, claimReward) - challengeBond);
  }
  return { ...base, verifierReward, verifierStake, disputeBondSurplus };
}

function largest(a: bigint, b: bigint): bigint {
  return a > b ? a : b;
}
