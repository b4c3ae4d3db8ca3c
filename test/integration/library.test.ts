/** The library inside another program: a chain in one process, a miner and verifiers that follow it. */

import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { loadCudaAddon } from '../../src/backend/cudaAddon.js';
import type { Ledger, LedgerEvent, Member, MemberOptions, RoleReport } from '../../src/index.js';
import * as pogo from '../../src/index.js';
import { TRANSACTION_TYPES } from '../../src/protocol/ledgerTypes.js';
import { temporaryFolder } from '../support/bundles.js';

const folder = temporaryFolder();
const recipe = pogo.loadRecipe('tiny');
const home = join(folder.path, 'home');
const environment = new pogo.Environment({ lanes: 1, home });
const { bls } = environment;
let startStateRoot: Uint8Array;

beforeAll(async () => {
  const trainer = await environment.createTrainer(recipe);
  startStateRoot = await trainer.stateRoot();
});

afterAll(async () => {
  await environment.dispose();
  folder.remove();
});

/** A chain with one miner and two verifiers, run until `done` says so, or `until` settles. @param first changes the first verifier */
async function runChain(
  name: string,
  done: (event: LedgerEvent) => boolean,
  {
    first = (options) => options,
    until,
  }: { readonly first?: (options: MemberOptions) => MemberOptions; readonly until?: Promise<unknown> } = {},
): Promise<LedgerEvent[]> {
  const seed = new Uint8Array(32).fill(3);
  const demo = pogo.createDemoGenesis({ bls, seed, miners: 1, verifiers: 2, recipe, startStateRoot });
  const ledger = await pogo.createEmbeddedLedger({
    directory: join(folder.path, name, 'ledger'),
    genesis: demo.genesis,
    bls,
    checkEvidence: (bytes) => pogo.checkEvidence(bytes, { bls, executor: environment.executor }),
  });
  const options = (role: string, keys: MemberOptions['keys']): MemberOptions => ({
    ledger,
    keys,
    recipe,
    directory: join(folder.path, name, role),
    published: join(folder.path, name, 'published'),
    home,
    lanes: 1,
  });
  const members: Member[] = [
    pogo.createMiner(options('miner', demo.miners[0]!)),
    ...demo.verifiers.map((keys, i) => {
      const own = options(`verifier-${i}`, keys);
      return pogo.createVerifier(i === 0 ? first(own) : own);
    }),
  ];
  const running = members.map((member) => member.run());
  const events: LedgerEvent[] = [];
  try {
    const follow = async (): Promise<void> => {
      for await (const block of ledger.subscribe(1)) {
        events.push(...block.events);
        if (block.events.some(done)) return;
        for (const tick of pogo.waitingTicks(ledger.state)) await ledger.submit(tick);
      }
    };
    // A member that fails would leave the chain waiting for ever.
    const end = until === undefined ? follow() : Promise.race([follow(), until]);
    await Promise.race([end, Promise.all(running).then(() => Promise.reject(new Error('the members left')))]);
    return events;
  } finally {
    await Promise.all(members.map((member) => member.dispose()));
    await Promise.all(running);
    await ledger.close();
  }
}

const outcomeOf = (event: LedgerEvent): string | undefined => (event.type === 'outcome' ? event.outcome : undefined);

describe('the library', () => {
  it('mines, verifies and finalizes claims on an embedded ledger, in one process', async () => {
    let finalized = 0;
    const events = await runChain('honest', (event) => {
      if (outcomeOf(event) === 'finalized') finalized += 1;
      return finalized === 2;
    });
    expect(events.flatMap((event) => outcomeOf(event) ?? [])).toEqual(['finalized', 'finalized']);
    expect(events.filter((event) => event.type === 'attestation').every(({ verdict }) => verdict === 'positive')).toBe(
      true,
    );
  });

  it('abstains from a round whose ledger takes no vote of it, instead of checking the claim for ever', async () => {
    const checked: unknown[] = [];
    let told: (code: string) => void = () => undefined;
    const abstained = new Promise<string>((resolve, reject) => {
      told = (code) => (code === 'checked' ? reject(new Error('the claim is checked again')) : resolve(code));
    });
    const onReport = (report: RoleReport): void => {
      if (report.type === 'checked' && checked.push(report) > 1) told('checked');
      if (report.type === 'abstained') told(report.code);
    };
    const refused = { accepted: false, height: 0, code: 'REJECTED', reason: 'the account holds too little' } as const;
    const refusing = (ledger: Ledger): Ledger => ({
      submit: async (bytes) => (bytes[0] === TRANSACTION_TYPES.attestation[0] ? refused : ledger.submit(bytes)),
      subscribe: (from, signal) => ledger.subscribe(from, signal),
      head: () => ledger.head(),
      query: (route, data) => ledger.query(route, data),
    });
    const first = (options: MemberOptions): MemberOptions => ({
      ...options,
      ledger: refusing(options.ledger),
      onReport,
    });
    await expect(runChain('refused', () => false, { first, until: abstained })).resolves.toBeDefined();
    expect(await abstained).toBe('REJECTED');
    expect(checked).toHaveLength(1);
  });

  it('disposes of a member that never ran, and of one twice', async () => {
    const seed = new Uint8Array(32).fill(4);
    const demo = pogo.createDemoGenesis({ bls, seed, miners: 1, verifiers: 1, recipe, startStateRoot });
    const ledger = await pogo.createEmbeddedLedger({
      directory: join(folder.path, 'idle', 'ledger'),
      genesis: demo.genesis,
      bls,
      checkEvidence: (bytes) => pogo.checkEvidence(bytes, { bls }),
    });
    const member = pogo.createMiner({
      ledger,
      keys: demo.miners[0]!,
      recipe,
      directory: join(folder.path, 'idle', 'miner'),
      published: join(folder.path, 'idle', 'published'),
      lanes: 1,
    });
    await member.dispose();
    await member.dispose();
    await ledger.close();
  });

  it('exports the documented names', () => {
    const { openBackend, loadRecipe, createMiner, createVerifier, verifyBundle, verifyLeaf } = pogo;
    const { checkEvidence, aggregateAttestations, createEmbeddedLedger, PogoError } = pogo;
    const all = { openBackend, loadRecipe, createMiner, createVerifier, verifyBundle, verifyLeaf };
    for (const value of Object.values({
      ...all,
      checkEvidence,
      aggregateAttestations,
      createEmbeddedLedger,
      PogoError,
    })) {
      expect(typeof value).toBe('function');
    }
    const { name, kernels } = pogo.openBackend({ backend: 'reference' });
    expect(name).toBe('reference');
    expect(typeof kernels.gemm).toBe('function');
  });

  it.skipIf(loadCudaAddon().addon !== undefined)(
    'ends in an error with a code where a demanded backend is missing',
    () => {
      const demand = (): unknown => new pogo.Environment({ require: 'cuda' });
      expect(demand).toThrow(pogo.PogoError);
      try {
        demand();
      } catch (error) {
        expect((error as pogo.PogoError).code).toBe('ENVIRONMENT');
      }
    },
  );
});
