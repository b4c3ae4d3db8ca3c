/** The miner's process: a {@link Miner} fed by the ledger's blocks. */

import { realFiles } from '../../files/fileLayer.js';
import { lockWhenFree } from '../../files/lock.js';
import type { LedgerEvent } from '../../ledger/stateEvents.js';
import { decodeRecipe } from '../../model/recipe.js';
import { findCheat } from '../cheats.js';
import { Environment } from '../environment.js';
import { Miner } from '../miner.js';
import { runRole } from '../role.js';
import { forRecipes } from '../severalJobs.js';
import { followLedger, machineOf, memberOf, type RoleOptions } from './common.js';

/** Longer than an orphan may live after its parent died (`role.ts`), milliseconds. */
const LOCK_WAIT_MS = 15_000;

export interface MinerOptions extends RoleOptions {
  /** Name of a cheat, for demonstrations; absent for an honest miner. */
  readonly cheat?: string;
}

runRole<MinerOptions, LedgerEvent>(async (context) => {
  const { options, ledger, signal } = context;
  const environment = new Environment({ ...machineOf(options), signal });
  const cheat = options.cheat === undefined ? {} : { cheat: findCheat(options.cheat) };
  realFiles.makeDirectory(options.directory);
  // The miner of a killed run may still be ending its last write to the same log.
  const lock = await lockWhenFree(options.directory, LOCK_WAIT_MS, signal);
  try {
    const own = { ...memberOf(context, environment, 'miner'), ...cheat };
    const others = (options.otherRecipes ?? []).map((bytes) => decodeRecipe(bytes));
    const miner = forRecipes(own, others, (member) => new Miner(member, environment));
    await followLedger(
      ledger,
      signal,
      (state) => miner.act(state),
      (block) => miner.see(block),
    );
  } finally {
    lock.release();
    await environment.dispose();
  }
});
