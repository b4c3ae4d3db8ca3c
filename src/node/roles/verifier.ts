/** The verifier's process: a {@link Verifier} fed by the ledger's blocks. */
import type { LedgerEvent } from '../../ledger/stateEvents.js';
import { decodeRecipe } from '../../model/recipe.js';
import { Environment } from '../environment.js';
import { runRole } from '../role.js';
import { forRecipes } from '../severalJobs.js';
import { Verifier } from '../verifier.js';
import { followLedger, machineOf, memberOf, type RoleOptions } from './common.js';

runRole<RoleOptions, LedgerEvent>(async (context) => {
  const { options, ledger, signal } = context;
  const environment = new Environment({ ...machineOf(options), signal });
  try {
    const others = (options.otherRecipes ?? []).map((bytes) => decodeRecipe(bytes));
    const own = memberOf(context, environment, 'verifier');
    const verifier = forRecipes(own, others, (member) => new Verifier(member, environment));
    await followLedger(
      ledger,
      signal,
      (state) => verifier.act(state),
      (block) => verifier.see(block),
    );
  } finally {
    await environment.dispose();
  }
});
