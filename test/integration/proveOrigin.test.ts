/** `pogo prove-origin` on a real run: the files that it writes hold, and what is not of that run is refused. */
import { mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { eventFaults } from '../support/eventSchema.js';
import { eventsOf, type Finished, pogo } from '../support/pogo.js';

const folder = mkdtempSync(join(tmpdir(), 'pogo-origin-'));
afterAll(() => rmSync(folder, { recursive: true, force: true }));
const at = (...names: string[]): string => join(folder, ...names);
const HOME = { POGO_HOME: at('home') };
const RUN = at('home', 'runs', '1');
const CLAIMS = 2;

const command = (...args: string[]): Promise<Finished> => pogo([...args, '--json'], HOME);
const resultOf = ({ code, stdout, stderr }: Finished): Record<string, unknown> => {
  expect(code, stderr).toBe(0);
  const event = eventsOf(stdout).at(-1)!;
  expect(eventFaults(event)).toEqual([]);
  expect(event).toMatchObject({ type: 'result' });
  return event;
};
const failed = ({ code, stderr }: Finished, expected: number, name: string): void => {
  expect(code, stderr).toBe(expected);
  expect(stderr.trim().split('\n').at(-1)).toMatch(new RegExp(`^error ${name}: `));
};
/** A copy of a file with one bit of one byte changed. */
function flipped(file: string, place: (bytes: Uint8Array) => number): string {
  const bytes = Uint8Array.from(readFileSync(file));
  bytes[place(bytes)]! ^= 1;
  const copy = at('flipped');
  writeFileSync(copy, bytes);
  return copy;
}

const checkpoint = at('model.safetensors');
const origin = at('model.safetensors.origin');
const genesis = at('genesis.ssz');
let events: Record<string, unknown>[];
let state: string;
let proven: Record<string, unknown>;
/** State folders of the run's miners. */
let states: string[];

beforeAll(async () => {
  // With a second miner that lies: its claim falls, and its evidence is in the log that is replayed.
  const ran = await command('run', '--recipe', 'tiny', '--claims', String(CLAIMS), '--cheat', 'own-data');
  expect(ran.code, ran.stderr).toBe(0);
  events = eventsOf(ran.stdout);
  state = events.at(-1)!['stateRoot'] as string;
  states = readdirSync(RUN)
    .filter((name) => name.startsWith('miner-'))
    .flatMap((miner) => readdirSync(join(RUN, miner, 'states')).map((name) => join(RUN, miner, 'states', name)));
  const last = states.find((name) => name.endsWith(`-${state}`))!;
  resultOf(await command('export', '--state', last, '--checkpoint', checkpoint));
  proven = resultOf(await command('prove-origin', checkpoint, '--write-genesis', genesis));
});

describe('pogo prove-origin', () => {
  it('writes the claims that lead to the checkpoint', () => {
    const finalized = events.filter((event) => event['type'] === 'outcome' && event['outcome'] === 'finalized').length;
    expect(proven).toMatchObject({ kind: 'state', root: state, claims: finalized, verdict: 'proven', leastVote: 1 });
    expect(proven['bytes']).toBe(readFileSync(origin).length);
  });

  it('whose file holds for others, with and without the genesis and the checkpoint', async () => {
    const alone = resultOf(await command('prove-origin', '--check', origin));
    expect(alone).toMatchObject({ verdict: 'holds', root: state, chainId: proven['chainId'] });
    expect(String(alone['restsOn'])).toContain('taken from the file');
    const known = resultOf(await command('prove-origin', checkpoint, '--check', origin, '--genesis', genesis));
    expect(known).toMatchObject({ root: state });
    expect(String(known['restsOn'])).not.toContain('taken from the file');
    resultOf(await command('prove-origin', '--check', origin, '--chain', proven['chainId'] as string));
    const text = await pogo(['prove-origin', '--check', origin], HOME);
    expect(text.code).toBe(0);
    expect(text.stdout).toContain(state);
  });

  it('does the same for the packed model of a claim, and for a state folder', async () => {
    const claim = events.find((event) => event['type'] === 'claim')!;
    const model = join(RUN, 'published', 'blobs', claim['modelRoot'] as string);
    const file = at('model.origin');
    const result = resultOf(await command('prove-origin', model, '--run', RUN, '--out', file));
    expect(result).toMatchObject({ kind: 'model', root: claim['modelRoot'] });
    resultOf(await command('prove-origin', model, '--check', file, '--genesis', genesis));
    failed(await command('prove-origin', checkpoint, '--check', file), 2, 'MISMATCH');
    failed(
      await command(
        'prove-origin',
        flipped(model, () => 0),
        '--run',
        RUN,
      ),
      4,
      'MISSING',
    );
    const last = states.find((name) => name.endsWith(`-${state}`))!;
    const same = resultOf(await command('prove-origin', last, '--out', at('folder.origin')));
    expect(same).toMatchObject({ kind: 'state', root: state });
    expect(readFileSync(at('folder.origin')).equals(readFileSync(origin))).toBe(true);
  });

  it('ends with 4 for a checkpoint that the ledger does not know', async () => {
    const foreign = flipped(checkpoint, (bytes) => bytes.length - 4);
    failed(await command('prove-origin', foreign, '--run', RUN), 4, 'MISSING');
    failed(await command('prove-origin', foreign, '--check', origin), 2, 'MISMATCH');
    const start = states.find((name) => name.includes('/000000000000-'))!;
    const made = await command('prove-origin', start, '--out', at('start.origin'));
    failed(made, 4, 'MISSING');
    expect(made.stderr).toContain('the start state');
  });

  it('ends with 2 for a file that was changed or cut, another chain, and wrong usage', async () => {
    const { length } = readFileSync(origin);
    for (const place of [0, length >> 2, length >> 1, length - 1]) {
      failed(
        await command(
          'prove-origin',
          '--check',
          flipped(origin, () => place),
        ),
        2,
        'MALFORMED',
      );
    }
    writeFileSync(at('cut'), readFileSync(origin).subarray(0, length >> 1));
    failed(await command('prove-origin', '--check', at('cut')), 2, 'MALFORMED');
    failed(await command('prove-origin', '--check', origin, '--chain', '00'.repeat(32)), 2, 'MISMATCH');
    failed(await command('prove-origin', '--check', origin, '--genesis', origin), 2, 'MALFORMED');
    failed(await command('prove-origin'), 2, 'USAGE');
    failed(await command('prove-origin', checkpoint, '--genesis', genesis), 2, 'USAGE');
    failed(await command('prove-origin', '--check', origin, '--run', RUN), 2, 'USAGE');
    failed(await command('prove-origin', checkpoint, '--run', at('nowhere')), 2, 'USAGE');
  });
});
