/**
 * The genesis of a chain that one seed describes: all keys, stakes and the chain id follow from it. For runs on one
 * machine; a real chain's genesis is made by those who stake on it.
 */
import { PogoError } from '../errors.js';
import { type Recipe, recipeRoot } from '../model/recipe.js';
import type { Bls, KeyPair } from '../protocol/bls.js';
import { CONTEXT, deriveHash } from '../protocol/domains.js';
import { parametersFor, type SampledRecipe } from '../protocol/leastParameters.js';
import { type Genesis, type ProtocolParameters, ROLE } from '../protocol/ledgerTypes.js';
import { leastBond } from './stateMoney.js';
import { MEMBER_STATUS, type Member } from './stateTypes.js';

/** Base units of one coin. */
export const COIN = 1_000_000_000n;

/**
 * Parameters of the embedded ledger, before {@link embeddedParameters} raises what a recipe needs more of. Clocks are 0: heights pass by events, a tick ends a stage when the sequencer sees
 * that its worker is gone. Claims follow one another (`maxOpenClaims` 1), so no outcome can depend on timing.
 */
export const EMBEDDED_PARAMETERS: ProtocolParameters = {
  epochClaims: 8,
  committeeSize: 64,
  maxOpenClaims: 1,
  beaconClock: 0,
  trainingClock: 0,
  attestationClock: 0,
  beaconTwoDelay: 2,
  attestationRounds: 2,
  silenceClaims: 8,
  unbondingClock: 16,
  quorumNumerator: 2,
  quorumDenominator: 3,
  minerBond: 1000n * COIN,
  verifierStake: 1000n * COIN,
  claimReward: 50n * COIN,
  usefulnessBonus: 50n * COIN,
  verifierReward: 20n * COIN,
  missedTurnFee: 10n * COIN,
  challengeBond: 10n * COIN,
  finderNumerator: 1,
  finderDenominator: 2,
  usefulnessSteps: 40,
  beaconFineSurplus: 0n,
  revealClock: 0,
  disputeClock: 0,
  disputeBondSurplus: 0n,
  extraDisputes: 0,
  availabilityClock: 0,
  leastSteps: 0,
  mostSteps: 0,
  targetHeights: 0,
};

/** Accusations, the dearest counted, that a member's free balance pays for at genesis. */
const BONDS_OF_BALANCE = 10n;

/**
 * Parameters of an embedded chain, under which every inequality of docs/economics.md holds.
 *
 * @param recipes that it trains: the genesis job's, and those of owners' jobs that are known by then
 * @param verifiers that it begins with, all of them in every committee
 */
export function embeddedParameters(recipes: readonly SampledRecipe[], verifiers: number): ProtocolParameters {
  return parametersFor(EMBEDDED_PARAMETERS, recipes, verifiers);
}

/** The members that a chain begins with: they may be drawn at once. */
export function membersOfGenesis({ members }: Pick<Genesis, 'members'>): Member[] {
  return members.map(({ publicKey, roles, stake }) => ({
    publicKey,
    roles,
    status: MEMBER_STATUS.active,
    stake,
    locked: 0n,
    eligibleFrom: 0,
    silence: 0,
    unbondHeight: 0,
    unbondClaim: 0,
  }));
}

export interface DemoGenesisOptions {
  readonly bls: Bls;
  /** At least 16 bytes: every key, and the chain id, derive from it. */
  readonly seed: Uint8Array;
  readonly miners: number;
  readonly verifiers: number;
  readonly recipe: Recipe;
  /** Recipes of jobs that will be created on the chain: its parameters hold for them, too. */
  readonly jobRecipes?: readonly Recipe[];
  /** State root of the recipe's start state. */
  readonly startStateRoot: Uint8Array;
  /** Instead of those of {@link embeddedParameters}. */
  readonly parameters?: Partial<ProtocolParameters>;
  /** Accounts without stake, beside those of the members. */
  readonly accounts?: Genesis['accounts'];
  /** Stake of each miner (5 bonds) and verifier (2 × the smallest stake) by default. */
  readonly minerStake?: bigint;
  readonly verifierStake?: bigint;
}

export interface DemoGenesis {
  readonly genesis: Genesis;
  /** Keys of (role, index): `miner/0`, `verifier/0`, … */
  readonly miners: readonly KeyPair[];
  readonly verifiers: readonly KeyPair[];
}

/** @throws PogoError RANGE without a miner or a verifier */
export function createDemoGenesis(options: DemoGenesisOptions): DemoGenesis {
  const { bls, seed, recipe } = options;
  if (!(options.miners >= 1) || !(options.verifiers >= 1)) {
    throw new PogoError(
      'RANGE',
      `expected at least one miner and one verifier, found ${options.miners} and ${options.verifiers}`,
    );
  }
  const parameters = {
    ...embeddedParameters([recipe, ...(options.jobRecipes ?? [])], options.verifiers),
    ...options.parameters,
  };
  const balance = BONDS_OF_BALANCE * leastBond(parameters);
  const keysOf = (role: string, count: number): KeyPair[] =>
    Array.from({ length: count }, (_, index) => bls.deriveKey(seed, role, index));
  const miners = keysOf('miner', options.miners);
  const verifiers = keysOf('verifier', options.verifiers);
  const member = (keys: KeyPair, roles: number, stake: bigint) => ({
    publicKey: keys.publicKey,
    possession: bls.popProve(keys),
    roles,
    stake,
  });
  const genesis: Genesis = {
    version: 1,
    salt: deriveHash(CONTEXT.genesisSalt, seed),
    parameters,
    job: {
      id: 0,
      recipeRoot: recipeRoot(recipe),
      startStateRoot: options.startStateRoot,
      stepsPerClaim: recipe.stepsPerClaim,
    },
    // Verifiers need a balance for the bonds of their accusations.
    accounts: [
      ...[...miners, ...verifiers].map(({ publicKey }) => ({ publicKey, balance })),
      ...(options.accounts ?? []),
    ],
    members: [
      ...miners.map((keys) => member(keys, ROLE.miner, options.minerStake ?? 5n * parameters.minerBond)),
      ...verifiers.map((keys) => member(keys, ROLE.verifier, options.verifierStake ?? 2n * parameters.verifierStake)),
    ],
    rewardPool: 1_000_000n * COIN,
  };
  return { genesis, miners, verifiers };
}
