import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { PogoError } from '../../src/errors.js';
import { EmbeddedLedger } from '../../src/ledger/engine.js';
import { BLOCK_WINDOW, CALL_WINDOW, type Channel, LedgerClient, serveLedger } from '../../src/node/ipc.js';
import { FaultFiles } from '../support/faultFiles.js';
import { type AddedEvent, adding, openLogStore, tallyMachine } from '../support/tally.js';

/** Two ends joined by structured clones and the event loop, as two processes are; counts what each end sent. */
function channelPair() {
  const ends = [0, 1].map(() => ({
    listeners: new Set<(m: unknown) => void>(),
    closers: new Set<() => void>(),
    sent: 0,
  }));
  let open = true;
  const end = (own: number): Channel => ({
    send(message) {
      const clone = structuredClone(message);
      ends[own]!.sent += 1;
      setImmediate(() => {
        if (open) for (const listener of [...ends[1 - own]!.listeners]) listener(clone);
      });
    },
    onMessage(listener) {
      ends[own]!.listeners.add(listener);
      return () => ends[own]!.listeners.delete(listener);
    },
    onClose(listener) {
      ends[own]!.closers.add(listener);
      return () => ends[own]!.closers.delete(listener);
    },
  });
  const close = (): void => {
    open = false;
    for (const { closers } of ends) for (const listener of [...closers]) listener();
  };
  return { server: end(0), client: end(1), close, sentByServer: () => ends[0]!.sent };
}

async function setUp() {
  const files = new FaultFiles();
  const ledger = await EmbeddedLedger.open({
    machine: tallyMachine(),
    directory: '/ledger',
    layer: files,
    openStore: () => openLogStore(files, '/ledger/store.log'),
  });
  const pair = channelPair();
  serveLedger(ledger, pair.server);
  return { ledger, pair, client: new LedgerClient<AddedEvent>(pair.client) };
}

const turns = async (count: number) => {
  for (let i = 0; i < count; i += 1) await new Promise((resolve) => setImmediate(resolve));
};

async function errorOf(work: Promise<unknown>): Promise<PogoError> {
  try {
    await work;
  } catch (error) {
    if (error instanceof PogoError) return error;
    throw error;
  }
  throw new Error('nothing was thrown');
}

describe('a ledger behind a channel', () => {
  it('answers as the ledger itself does', async () => {
    const { ledger, client } = await setUp();
    const results = await Promise.all(Array.from({ length: 3 * CALL_WINDOW }, (_, i) => client.submit(adding(i))));
    results.forEach((result, index) => {
      expect(result).toMatchObject(
        index === 0 ? { accepted: false, code: 'REJECTED' } : { accepted: true, height: index },
      );
    });
    expect(await client.head()).toEqual(await ledger.head());
    expect(await client.query('/state')).toEqual(await ledger.query('/state'));
    expect(await client.query('/sum', new Uint8Array(new SharedArrayBuffer(2)))).toEqual(
      await ledger.query('/sum', new Uint8Array(2)),
    );
  });

  it('carries errors with code, message and details', async () => {
    const { client } = await setUp();
    const error = await errorOf(client.query('/nothing'));
    expect(error.code).toBe('USAGE');
    expect(error.message).toContain('/nothing');
    expect((await errorOf(client.subscribe(0)[Symbol.asyncIterator]().next())).code).toBe('RANGE');
  });

  it('delivers every block once, in order, with bytes and money intact', async () => {
    const { ledger, client } = await setUp();
    const count = 5 * BLOCK_WINDOW;
    const seen: number[] = [];
    const reader = (async () => {
      for await (const block of client.subscribe(1)) {
        expect(block.events[0]).toEqual({
          type: 'added',
          value: block.height,
          bytes: adding(block.height),
          money: BigInt(block.height),
        });
        seen.push(block.height);
        if (block.height === count) break;
      }
    })();
    for (let value = 1; value <= count; value += 1) await ledger.submit(adding(value));
    await reader;
    expect(seen).toEqual(Array.from({ length: count }, (_, index) => index + 1));
  });

  it('sends a slow reader no more than the window', async () => {
    const { ledger, client, pair } = await setUp();
    for (let value = 1; value <= 4 * BLOCK_WINDOW; value += 1) await ledger.submit(adding(value));
    const blocks = client.subscribe(1);
    await blocks.next();
    await turns(200);
    expect(pair.sentByServer()).toBe(BLOCK_WINDOW);
    for (let i = 0; i < 4; i += 1) await blocks.next();
    await turns(200);
    expect(pair.sentByServer()).toBe(BLOCK_WINDOW + 4);
    await blocks.return(undefined);
    await turns(20);
    expect(pair.sentByServer()).toBeLessThanOrEqual(BLOCK_WINDOW + 5);
  });

  it('ends with the channel: open calls fail, subscriptions end on both sides', async () => {
    const { ledger, client, pair } = await setUp();
    const blocks = client.subscribe(1);
    const waiting = errorOf(blocks.next());
    await turns(5);
    const call = errorOf(client.submit(adding(1)));
    pair.close();
    expect((await waiting).code).toBe('INTERRUPTED');
    expect((await call).code).toBe('INTERRUPTED');
    expect((await errorOf(client.head())).code).toBe('INTERRUPTED');
    const before = pair.sentByServer();
    await ledger.submit(adding(2));
    await turns(20);
    expect(pair.sentByServer()).toBe(before);
  });

  it('answers malformed calls with an error and ignores what is not for it', async () => {
    const { pair } = await setUp();
    const replies: unknown[] = [];
    pair.client.onMessage((message) => replies.push(message));
    pair.client.send({ to: 'ledger', id: 1, call: 'submit', arguments: ['text'] });
    pair.client.send({ to: 'ledger', id: 2, call: 'query', arguments: [7] });
    pair.client.send({ to: 'ledger', id: 3, call: 'head' });
    await turns(20);
    expect(replies.map((reply) => (reply as { kind: string }).kind)).toEqual(['error', 'error', 'error']);
    await fc.assert(
      fc.asyncProperty(fc.dictionary(fc.constantFrom('to', 'id', 'call', 'x'), fc.jsonValue()), async (message) => {
        pair.client.send(message);
        pair.client.send({ to: 'ledger', id: 9, call: 'head', arguments: [] });
        await turns(6);
        expect(replies.at(-1)).toMatchObject({ id: 9, kind: 'value' });
      }),
      { numRuns: 100 },
    );
  });
});
