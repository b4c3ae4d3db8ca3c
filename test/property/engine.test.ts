import * as path from 'node:path';
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { toHex } from '../../src/hex.js';
import { EmbeddedLedger } from '../../src/ledger/engine.js';
import type { LedgerBlock } from '../../src/ledger/ledger.js';
import { crashSweep } from '../support/crashSweep.js';
import { FaultFiles } from '../support/faultFiles.js';
import { codeOf } from '../support/refusal.js';
import { type AddedEvent, adding, openLogStore, type Tally, tallyMachine } from '../support/tally.js';

const machine = tallyMachine();

function open(layer: FaultFiles, start = 0): Promise<EmbeddedLedger<Tally, AddedEvent>> {
  return EmbeddedLedger.open({
    machine: tallyMachine(start),
    directory: '/ledger',
    layer,
    openStore: (location) => openLogStore(layer, path.join(path.dirname(location), 'store.log')),
  });
}

async function take(ledger: EmbeddedLedger<Tally, AddedEvent>, from: number, count: number) {
  const blocks: LedgerBlock<AddedEvent>[] = [];
  for await (const block of ledger.subscribe(from)) {
    blocks.push(block);
    if (blocks.length === count) break;
  }
  return blocks;
}

describe('the embedded ledger', () => {
  it('is the fold of the accepted transactions, whatever is submitted and however often it is reopened', async () => {
    await fc.assert(
      fc.asyncProperty(
        fc.array(fc.array(fc.integer({ min: 0, max: 6 }), { maxLength: 5 }), { maxLength: 4 }),
        async (runs) => {
          const files = new FaultFiles();
          const accepted: number[] = [];
          for (const run of runs) {
            const ledger = await open(files);
            const results = await Promise.all(run.map((value) => ledger.submit(adding(value))));
            results.forEach((result, index) => {
              const value = run[index]!;
              if (value !== 0 && !accepted.includes(value)) accepted.push(value);
              expect(result.accepted).toBe(value !== 0);
              // Resubmission names the block that holds the transaction already.
              if (value !== 0) expect(result.height).toBe(accepted.indexOf(value) + 1);
            });
            expect(ledger.state).toEqual({
              count: accepted.length,
              sum: accepted.reduce((sum, value) => sum + value, 0),
            });
            await ledger.close();
          }
        },
      ),
      { numRuns: 40 },
    );
  });

  it('says why a transaction is in no block, and that nothing changed', async () => {
    const ledger = await open(new FaultFiles());
    await ledger.submit(adding(5));
    expect(await ledger.submit(adding(0))).toMatchObject({ accepted: false, height: 1, code: 'REJECTED' });
    expect(await ledger.submit(Uint8Array.of(1))).toMatchObject({ accepted: false, height: 1, code: 'MALFORMED' });
    expect(await codeOf(ledger.submit(adding(0xffffffff)))).toBe('IO');
    expect(await ledger.submit(adding(6))).toEqual({ accepted: true, height: 2 });
    expect(ledger.state.sum).toBe(11);
  });

  it('gives every block once and in order: past ones first, then new ones', async () => {
    const ledger = await open(new FaultFiles());
    for (const value of [3, 4]) await ledger.submit(adding(value));
    const [all, late] = [take(ledger, 1, 4), take(ledger, 4, 1)];
    await new Promise((resolve) => setImmediate(resolve));
    for (const value of [5, 6]) await ledger.submit(adding(value));
    const blocks = await all;
    expect(blocks.map((block) => block.height)).toEqual([1, 2, 3, 4]);
    expect(blocks.map((block) => block.events)).toEqual(
      [3, 4, 5, 6].map((value) => [{ type: 'added', value, bytes: adding(value), money: BigInt(value) }]),
    );
    expect((await late)[0]!.height).toBe(4);
    expect(toHex(blocks[3]!.stateRoot)).toBe(toHex((await ledger.head()).stateRoot));
    expect(toHex(blocks[3]!.stateRoot)).toBe(toHex(machine.root(ledger.state)));
  });

  it('ends subscriptions when it closes and when their signal aborts', async () => {
    const ledger = await open(new FaultFiles());
    await ledger.submit(adding(1));
    const abort = new AbortController();
    const collect = async (signal?: AbortSignal) => {
      let count = 0;
      for await (const _ of ledger.subscribe(1, signal)) count += 1;
      return count;
    };
    const [aborted, closed] = [collect(abort.signal), collect()];
    abort.abort();
    expect(await aborted).toBeLessThanOrEqual(1);
    await new Promise((resolve) => setImmediate(resolve));
    await ledger.close();
    expect(await closed).toBe(1);
    expect(await codeOf(ledger.submit(adding(2)))).toBe('INTERRUPTED');
    expect(await codeOf(ledger.subscribe(0)[Symbol.asyncIterator]().next())).toBe('RANGE');
  });

  it('answers queries from its newest state', async () => {
    const ledger = await open(new FaultFiles());
    await ledger.submit(adding(9));
    expect(await ledger.query('/state')).toEqual(machine.encode({ count: 1, sum: 9 }));
    expect(await ledger.query('/sum', new Uint8Array(2))).toEqual(adding(11));
    expect(await codeOf(ledger.query('/nothing'))).toBe('USAGE');
  });

  it('keeps every block it answered for through every crash, and accepts the same transactions again', async () => {
    const values = [7, 8, 9];
    let answered = 0;
    await crashSweep(
      (files) => files.makeDirectory('/ledger'),
      async (files) => {
        answered = 0;
        const ledger = await open(files);
        for (const value of values) {
          await ledger.submit(adding(value));
          answered += 1;
        }
      },
      async (files) => {
        const ledger = await open(files);
        expect(ledger.height === answered || ledger.height === answered + 1).toBe(true);
        for (const [index, value] of values.entries()) {
          expect(await ledger.submit(adding(value))).toEqual({ accepted: true, height: index + 1 });
        }
        expect(ledger.state).toEqual({ count: 3, sum: 24 });
        await ledger.close();
        const again = await open(files);
        expect(again.height).toBe(3);
      },
      17,
    );
  });

  it('refuses a store that lost committed blocks, even if the store itself does not notice', async () => {
    const files = new FaultFiles();
    const first = await open(files);
    await first.submit(adding(1));
    await first.close();
    const older = files.reboot('process');
    const second = await open(files);
    await second.submit(adding(2));
    await second.submit(adding(3));
    await second.close();
    let storeOfOlder: Uint8Array = new Uint8Array();
    older.damage('/ledger/store.log', (bytes) => {
      storeOfOlder = bytes.slice();
      return bytes;
    });
    files.damage('/ledger/store.log', () => storeOfOlder);
    expect(await codeOf(open(files))).toBe('CORRUPT');
    files.remove('/ledger/store.log');
    expect(await codeOf(open(files))).toBe('CORRUPT');
  });

  it('refuses changed blocks, states and heights', async () => {
    for (const key of ['block/00000000000001', 'block/00000000000002', 'state', 'height']) {
      for (const damage of ['change', 'remove'] as const) {
        const files = new FaultFiles();
        const ledger = await open(files);
        await ledger.submit(adding(1));
        await ledger.submit(adding(2));
        await ledger.close();
        const store = await openLogStore(files, '/ledger/store.log');
        const value = (await store.get(key))!;
        // Of the state the last digit, so that it still decodes and only its root tells.
        if (damage === 'change') value[value.length - (key === 'state' ? 2 : 1)]! ^= 1;
        await store.write([damage === 'change' ? { key, value } : { key }]);
        await store.close();
        expect(await codeOf(open(files)), `${damage} ${key}`).toBe('CORRUPT');
      }
    }
  });

  it('names the other genesis when a directory belongs to another run', async () => {
    const files = new FaultFiles();
    await (await open(files)).close();
    expect(await codeOf(open(files, 1))).toBe('MISMATCH');
  });

  it('stops at a full disk and goes on after reopening, with nothing lost', async () => {
    const files = new FaultFiles();
    const ledger = await open(files);
    await ledger.submit(adding(1));
    files.capacity = 1200;
    let value = 2;
    while ((await codeOf(ledger.submit(adding(value)))) === 'no error') value += 1;
    expect(await codeOf(ledger.submit(adding(1000)))).toBe('IO');
    files.capacity = Number.POSITIVE_INFINITY;
    // What the failed write left on the disk is only known after reopening.
    expect(await codeOf(ledger.submit(adding(1000)))).toBe('IO');
    const again = await open(files);
    expect(again.state.count).toBeGreaterThanOrEqual(value - 1);
    expect(await again.submit(adding(value))).toEqual({ accepted: true, height: value });
  });
});
