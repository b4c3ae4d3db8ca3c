/** The genesis of a run with all its keys, and its owner's jobs: what follows from the settings alone. */
import { PogoError } from '../errors.js';
import { hashBytes } from '../files/digest.js';
import type { Ledger } from '../ledger/ledger.js';
import { readState, submitOrder } from '../ledger/orders.js';
import { COIN, createDemoGenesis, type DemoGenesis } from '../ledger/stateGenesis.js';
import { START_SCALARS, seedState } from '../model/state.js';
import { type ModelPlan, modelPlan } from '../model/unit.js';
import type { Bls, KeyPair } from '../protocol/bls.js';
import { ROLE } from '../protocol/ledgerTypes.js';
import { headerOf, rootStartHeader } from '../protocol/stateHeader.js';
import { stateRoot } from '../protocol/types.js';
import type { Environment } from './environment.js';
import type { RunSettings } from './runFiles.js';

/** What the owner of a run's jobs has. */
const OWNED = 1_000_000n * COIN;
/** Heights after which a job of a run opens no claim any more: far behind its last one. */
const JOB_HEIGHTS = 1_000_000;

/** The genesis of a run, with all keys: both follow from its settings. */
export function genesisOfRun(settings: RunSettings, bls: Bls, plan: ModelPlan): DemoGenesis {
  return createDemoGenesis({
    bls,
    seed: settings.seed,
    miners: settings.cheat === undefined ? 1 : 2,
    verifiers: settings.verifiers,
    recipe: settings.recipe,
    startStateRoot: startStateRoot(plan),
    ...(settings.jobs === undefined
      ? {}
      : {
          accounts: [{ publicKey: ownerOf(settings, bls).publicKey, balance: OWNED }],
          jobRecipes: settings.jobs.map((job) => job.recipe),
        }),
  });
}

/** Key of the owner of a run's jobs. */
export function ownerOf({ seed }: RunSettings, bls: Bls): KeyPair {
  return bls.deriveKey(seed, 'owner', 0);
}

/** Creates the owner's jobs, each once, however often the run was interrupted. */
export async function createJobs(
  settings: RunSettings,
  environment: Pick<Environment, 'bls' | 'tokens'>,
  ledger: Pick<Ledger, 'query' | 'submit'>,
): Promise<void> {
  const { bls } = environment;
  const keys = ownerOf(settings, bls);
  for (const [index, { recipe, claims }] of (settings.jobs ?? []).entries()) {
    const state = await readState(ledger);
    if (state.jobs.length > index) continue;
    const plan = modelPlan(recipe);
    await environment.tokens(recipe);
    const { claimReward, usefulnessBonus, verifierReward } = state.parameters;
    const rules = {
      leastSteps: recipe.minStepsPerClaim,
      mostSteps: recipe.maxStepsPerClaim,
      targetHeights: 0,
      claims,
      deadline: state.height + JOB_HEIGHTS,
      // All verifiers of the run: its committees, and so its beacons, are the same however fast each of them is.
      leastStake: state.members.reduce((sum, { roles, stake }) => sum + (roles === ROLE.verifier ? stake : 0n), 0n),
      ...{ claimReward, usefulnessBonus, verifierReward },
    };
    const sent = await submitOrder({ ledger, bls, keys }, state, 'create-job', {
      recipeRoot: plan.root,
      startStateRoot: startStateRoot(plan),
      firstSteps: recipe.stepsPerClaim,
      rules,
      fund: BigInt(claims) * (claimReward + usefulnessBonus + verifierReward),
    });
    if (!sent.accepted) throw new PogoError('INTERNAL', `expected the run’s job to be taken: ${sent.reason}`);
  }
}

/** Root of the state that a recipe starts from. */
function startStateRoot(plan: ModelPlan): Uint8Array {
  const { start, ema } = plan.recipe;
  return stateRoot(
    start.kind === 'root'
      ? rootStartHeader(plan.root, start.root, ema, plan.layout.length, hashBytes)
      : headerOf(plan.root, START_SCALARS, seedState(plan), hashBytes),
  );
}
