/** The supervisor's ticks that nobody awaits: whose turn they end, and what becomes of one that cannot be written. */
import { describe, expect, it } from 'vitest';
import { PogoError } from '../../src/errors.js';
import { type LedgerState, LedgerStateType } from '../../src/ledger/stateTypes.js';
import type { RoleReport } from '../../src/node/roles/common.js';
import { RunTicks } from '../../src/node/runTicks.js';
import { DisputeType, TURN } from '../../src/protocol/dispute/transactions.js';
import { decodeTransaction } from '../../src/protocol/ledgerTypes.js';

const [ACCUSED, CHALLENGER] = [1, 2].map((byte) => new Uint8Array(48).fill(byte)) as [Uint8Array, Uint8Array];
const claim = { job: 0, claim: 1, attempt: 0, message: 'nothing' };
const REPORTS: readonly RoleReport[] = [
  { ...claim, type: 'withheld', root: '00' },
  { ...claim, type: 'gave-up', dispute: 7 },
  { ...claim, type: 'abstained', code: 'MISSING' },
];

function stateWith(turn: number): LedgerState {
  const state = LedgerStateType.defaultValue();
  const dispute = { ...DisputeType.defaultValue(), id: 7, sequence: 3, turn, accused: ACCUSED, challenger: CHALLENGER };
  state.disputes.push(dispute);
  return state;
}

/** Tells what is submitted over a state that stays. */
function ticksOver(state: LedgerState) {
  const sent: unknown[] = [];
  const failures: PogoError[] = [];
  const ticks = new RunTicks({
    ledger: {
      query: async () => LedgerStateType.serialize(state),
      submit: async (transaction) => {
        sent.push(decodeTransaction(transaction));
        return { accepted: true, height: 1 };
      },
    },
    nameOf: (key) => (key[0] === ACCUSED[0] ? 'verifier-1' : 'verifier-2'),
    onFailure: (error) => failures.push(error),
  });
  return { ticks, sent, failures };
}

const settled = (): Promise<void> => new Promise((resolve) => setImmediate(resolve));

describe('ticks of a run', () => {
  it.each([
    [TURN.open, 'verifier-1', 1],
    [TURN.open, 'verifier-2', 0],
    [TURN.contest, 'verifier-2', 1],
    [TURN.contest, 'verifier-1', 0],
    [TURN.queued, 'verifier-1', 0],
  ])(
    'end turn %i of a dispute for %s, who gave it up or is gone, only where it is its own: %i',
    async (turn, name, count) => {
      const tick = { kind: 'dispute-tick', body: { dispute: 7, sequence: 3 } };
      const { ticks, sent, failures } = ticksOver(stateWith(turn));
      ticks.heard(name, REPORTS[1] as RoleReport);
      await settled();
      expect(sent).toEqual(Array.from({ length: count }, () => tick));
      ticks.gone(name);
      await settled();
      expect(sent).toEqual(Array.from({ length: 2 * count }, () => tick));
      expect(failures).toEqual([]);
    },
  );

  it.each([...REPORTS.map((report) => report.type), 'gone'])('tell where the ledger fails: %s', async (type) => {
    const failures: PogoError[] = [];
    const full = new PogoError('IO', 'no room');
    const ticks = new RunTicks({
      ledger: { query: () => Promise.reject(full), submit: () => Promise.reject(full) },
      nameOf: () => 'miner-1',
      onFailure: (error) => failures.push(error),
    });
    const report = REPORTS.find((known) => known.type === type);
    if (report === undefined) ticks.gone('miner-1');
    else ticks.heard('miner-1', report);
    await settled();
    expect(failures).toEqual([full]);
  });
});
