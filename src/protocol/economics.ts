/**
 * What the numbers of a chain must satisfy so that cheating costs more than it brings (docs/economics.md).
 *
 * Each inequality has a name, two sides in base units (or heights), and the parameter that it bounds from below. A finder
 * may be the cheater's second key, so half of what is slashed is never counted as lost. Nothing here decides anything on
 * a ledger: probabilities are doubles.
 */
import { PogoError } from '../errors.js';
import { badUnits, detectionProbability } from './detection.js';
import { TRACE_WORK } from './dispute/traceCost.js';
import {
  leastDisputeBond,
  leastVerifierReward,
  leastVerifierStake,
  type SampledRecipe,
  sampling,
} from './leastParameters.js';
import type { ProtocolParameters } from './ledgerTypes.js';

export interface Setting {
  readonly recipe: SampledRecipe;
  readonly parameters: ProtocolParameters;
  /** Seats of a committee. */
  readonly committee: number;
  /** Seats that do their work; the others vote for everything. At least 1: nobody checks what nobody checks. */
  readonly honest: number;
}

export interface Inequality {
  readonly name: string;
  /** The parameter that must be at least {@link least}. */
  readonly parameter: string;
  readonly have: number;
  readonly least: number;
  readonly holds: boolean;
  readonly unit: 'coins' | 'heights' | 'ratio';
  readonly because: string;
}

/** Base units of a coin, for people. */
const COIN = 1e9;
const coins = (money: bigint): number => Number(money) / COIN;
/** Turns of a dispute: the list, then at most 4 moves of the accused and as many of the challenger. */
const DISPUTE_TURNS = 9;
/** Heights that a challenged miner has at the least (`src/ledger/stateAvailability.ts`). */
const AVAILABILITY_HEIGHTS = 8;

/** Probability that none of the honest seats draws one of `bad` units. */
function missed(setting: Setting, samples: number, bad: number): number {
  const { unitsPerStep, stepsPerClaim } = setting.recipe;
  return (1 - detectionProbability(unitsPerStep * stepsPerClaim, bad, samples)) ** setting.honest;
}

/** What a setting comes to. */
export interface Economics {
  /** Units of a claim, and units that each seat draws. */
  readonly units: number;
  readonly samples: number;
  /** Fewest bad units that a recipe wants found, and the probability that the honest seats find them. */
  readonly badUnits: number;
  readonly detection: number;
  /** Fraction of all claims' work that invented units save, where it pays the cheater most. */
  readonly worstBad: number;
  /** Largest gain outside the chain, in coins, for which one wrong unit does not pay. */
  readonly securedValue: number;
  readonly inequalities: readonly Inequality[];
  /** The inequality with the least room: the smallest `have` ÷ `least`. */
  readonly binding: Inequality;
}

/** @throws PogoError RANGE without an honest seat, or with more than there are seats */
export function economics(setting: Setting): Economics {
  const { recipe, parameters, committee, honest } = setting;
  if (!(Number.isInteger(committee) && Number.isInteger(honest) && honest >= 1 && honest <= committee)) {
    throw new PogoError('RANGE', `expected 1 to ${committee} honest seats of a committee, found ${honest}`);
  }
  const { units, samples } = sampling(recipe, committee);
  const reward = coins(parameters.claimReward + parameters.usefulnessBonus);
  const worst = worstMiner(setting, samples, reward);
  const one = missed(setting, samples, 1);
  const list = [
    minerBond(parameters, worst),
    ...beacons(parameters),
    ...verifiers(setting),
    ...accusers(parameters),
    disputes(setting),
    ...clocks(parameters),
  ];
  const room = ({ have, least }: Inequality): number => (least === 0 ? Number.POSITIVE_INFINITY : have / least);
  const bad = badUnits(units, recipe.detection.fractionPpm);
  return {
    units,
    samples,
    badUnits: bad,
    detection: 1 - missed(setting, samples, bad),
    worstBad: worst.bad,
    securedValue: one === 0 ? Number.POSITIVE_INFINITY : ((1 - one) * coins(parameters.minerBond)) / 2 / one,
    inequalities: list,
    binding: list.reduce((least, next) => (room(next) < room(least) ? next : least)),
  };
}

interface Worst {
  readonly bad: number;
  readonly least: number;
}

/** Over every number of invented units: the bond for which inventing them just does not pay. */
function worstMiner(setting: Setting, samples: number, reward: number): Worst {
  const units = setting.recipe.unitsPerStep * setting.recipe.stepsPerClaim;
  let worst: Worst = { bad: 1, least: 0 };
  for (let bad = 1; bad <= units; bad += 1) {
    const miss = missed(setting, samples, bad);
    if (miss >= 1) return { bad, least: Number.POSITIVE_INFINITY };
    // Unseen, it saved at most its share of what the whole work is worth; seen, it loses half a bond.
    const least = (2 * miss * (bad / units) * reward) / (1 - miss);
    if (least > worst.least) worst = { bad, least };
  }
  return worst;
}

function inequality(
  name: string,
  parameter: string,
  have: number,
  least: number,
  unit: Inequality['unit'],
  because: string,
): Inequality {
  return { name, parameter, have, least, holds: have >= least, unit, because };
}

function minerBond(parameters: ProtocolParameters, worst: Worst): Inequality {
  return inequality(
    'inventing units',
    'minerBond',
    coins(parameters.minerBond),
    worst.least,
    'coins',
    `found × bond/2 ≥ not found × work saved, over every number of units; worst at ${worst.bad}`,
  );
}

function beacons(parameters: ProtocolParameters): Inequality[] {
  const { minerBond: bond, claimReward, usefulnessBonus, beaconFineSurplus, verifierStake } = parameters;
  const atStake = bond + claimReward + usefulnessBonus;
  const fine = atStake + beaconFineSurplus;
  return [
    inequality(
      'withholding a share',
      'beaconFineSurplus',
      coins(fine),
      coins(atStake),
      'coins',
      'fine ≥ bond + rewards of a claim: another beacon 1 wins at most the rewards, another beacon 2 saves at most the bond',
    ),
    inequality(
      'paying the fine',
      'stake of a seat',
      coins(verifierStake > fine ? verifierStake : fine),
      coins(fine),
      'coins',
      'who has less draws no beacons',
    ),
  ];
}

function verifiers({ recipe, parameters, committee, honest }: Setting): Inequality[] {
  const stake = leastVerifierStake(recipe, committee, honest, parameters.verifierReward);
  return [
    inequality(
      'skipping units of one’s own draw',
      'verifierStake',
      coins(parameters.verifierStake),
      stake === undefined ? Number.POSITIVE_INFINITY : coins(stake),
      'coins',
      'skipped/(units + 2) × looked at × stake/2 ≥ skipped/units × pay',
    ),
    inequality(
      'being paid for the work',
      'verifierReward',
      coins(parameters.verifierReward),
      coins(leastVerifierReward(recipe, committee, parameters.claimReward)),
      'coins',
      'pay of a seat ≥ its share of the units × base reward: recomputing a unit is worth what making it is',
    ),
  ];
}

function accusers(parameters: ProtocolParameters): Inequality[] {
  const { minerBond: bond, challengeBond, finderNumerator, finderDenominator } = parameters;
  const share = Math.min(0.5, finderNumerator / finderDenominator);
  return [
    inequality(
      'accusing the guilty',
      'finder’s share',
      coins(bond) * share,
      coins(challengeBond),
      'coins',
      'what a conviction brings ≥ the bond that an accusation locks',
    ),
    inequality(
      'accusing oneself',
      'burned share',
      1 - share,
      0.5,
      'ratio',
      'at least half of every slashed bond is burned, whoever finds it',
    ),
    inequality(
      'holding up a claim',
      'challengeBond',
      coins(challengeBond),
      coins(parameters.missedTurnFee),
      'coins',
      'a false accusation costs its maker at least what a missed turn costs a miner',
    ),
  ];
}

function disputes({ recipe, parameters }: Setting): Inequality {
  const { challengeBond, disputeBondSurplus, claimReward } = parameters;
  return inequality(
    'challenging for nothing',
    'challengeBond + disputeBondSurplus',
    coins(challengeBond + disputeBondSurplus),
    coins(leastDisputeBond(recipe, claimReward)),
    'coins',
    `bond of a dispute ≥ the work of a trace, that of ${TRACE_WORK} units at what a unit earns`,
  );
}

function clocks(parameters: ProtocolParameters): Inequality[] {
  const { attestationClock, revealClock, beaconTwoDelay, beaconClock, attestationRounds } = parameters;
  const round = beaconTwoDelay + beaconClock + attestationClock + revealClock;
  const dispute = DISPUTE_TURNS * parameters.disputeClock;
  const least = Math.max(attestationRounds * round, AVAILABILITY_HEIGHTS + parameters.availabilityClock) + dispute;
  return [
    inequality(
      'leaving before the proof',
      'unbondingClock',
      parameters.unbondingClock,
      least,
      'heights',
      'unbonding ≥ all rounds (or an availability challenge) + the longest dispute; votes stay accusable for an epoch beside it',
    ),
  ];
}

/** Draws that w withholders of a committee may see of one beacon, and what the redraws cost them together. */
export function beaconTries(withholders: number, parameters: ProtocolParameters): { tries: number; cost: number } {
  const { minerBond: bond, claimReward, usefulnessBonus, beaconFineSurplus } = parameters;
  return {
    tries: withholders + 1,
    cost: withholders * coins(bond + claimReward + usefulnessBonus + beaconFineSurplus),
  };
}

/**
 * The most that withholders can make of an outcome that one draw gives with probability `chance`: each share that is kept
 * back shows one more draw, and the best of w + 1 is taken.
 */
export function beaconBias(withholders: number, chance: number): number {
  return 1 - (1 - chance) ** (withholders + 1);
}
