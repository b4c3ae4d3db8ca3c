/**
 * One member of a chain with several jobs: a miner or verifier of its own for each recipe, all with one key. Each does the
 * duties of claims under its recipe; beacon shares and openings are whoever's comes first.
 */
import * as path from 'node:path';
import { equalBytes, toHex } from '../hex.js';
import type { LedgerBlock } from '../ledger/ledger.js';
import { submitOrder } from '../ledger/orders.js';
import type { LedgerEvent } from '../ledger/stateEvents.js';
import { findByKey, JOB_STATUS, type LedgerState } from '../ledger/stateTypes.js';
import { type Recipe, recipeRoot } from '../model/recipe.js';
import type { MemberContext, SigningMember } from './roles/common.js';

export interface Duties {
  see(block: LedgerBlock<LedgerEvent>): void;
  act(state: LedgerState): Promise<boolean>;
}

/**
 * @param make a member for one recipe
 * @param others recipes of jobs beside the context's own; the member keeps their files in folders named by their roots
 */
export function forRecipes<C extends MemberContext>(
  context: C,
  others: readonly Recipe[],
  make: (context: C) => Duties,
): Duties {
  const known = new Set([toHex(recipeRoot(context.recipe))]);
  const members = [make(context)];
  for (const recipe of others) {
    const root = toHex(recipeRoot(recipe));
    if (known.has(root)) continue;
    known.add(root);
    const directory = path.join(context.directory, `recipe-${root.slice(0, 16)}`);
    members.push(make({ ...context, recipe, directory }));
  }
  return {
    see(block) {
      for (const member of members) member.see(block);
    },
    async act(state) {
      for (const member of members) if (await member.act(state)) return true;
      return false;
    },
  };
}

/** Takes part in the next open job of an owner whose recipe this member has. @returns false where there is none */
export async function serveJobs(
  member: Pick<SigningMember, 'keys' | 'ledger' | 'bls'>,
  state: LedgerState,
  recipeRootOfMember: Uint8Array,
): Promise<boolean> {
  const { publicKey } = member.keys;
  if (findByKey(state.members, publicKey) === undefined) return false;
  for (const { job, status, servers } of state.jobs) {
    const served = servers.some((key) => equalBytes(key, publicKey));
    if (status !== JOB_STATUS.open || served || !equalBytes(job.recipeRoot, recipeRootOfMember)) continue;
    return (await submitOrder(member, state, 'serve-job', { job: job.id, serves: 1 })).accepted;
  }
  return false;
}
