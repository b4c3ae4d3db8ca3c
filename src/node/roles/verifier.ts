/** The verifier's process: a {@link Verifier} fed by the ledger's blocks. */
import type { LedgerEvent } from '../../ledger/stateEvents.js';
import { Environment } from '../environment.js';
import { runRole } from '../role.js';
import { Verifier } from '../verifier.js';
import { followLedger, machineOf, memberOf, type RoleOptions } from './common.js';

runRole<RoleOptions, LedgerEvent>(async (context) => {
  const { options, ledger, signal } = context;
  const environment = new Environment({ ...machineOf(options), signal });
  try {
    const verifier = new Verifier(memberOf(context, environment, 'verifier'), environment);
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
