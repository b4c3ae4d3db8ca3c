/** The commands as processes: exit codes, events that match the schema, resuming, the same bits on every backend. */
import { cpSync, mkdirSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { createDemoGenesis, EMBEDDED_PARAMETERS } from '../../src/ledger/stateGenesis.js';
import { evidenceFromFault } from '../../src/node/buildEvidence.js';
import { openBundle } from '../../src/node/bundle.js';
import { createNativeBls } from '../../src/protocol/blsNative.js';
import { GenesisType } from '../../src/protocol/ledgerTypes.js';
import { mineTiny, TINY, temporaryFolder, testEnvironment } from '../support/bundles.js';
import { eventFaults } from '../support/eventSchema.js';
import { eventsOf, type Finished, pogo, startPogo } from '../support/pogo.js';

const folder = temporaryFolder();
const HOME = { POGO_HOME: join(folder.path, 'home'), POGO_LANES: '2' };
const bundle = join(folder.path, 'bundle');
const cheating = join(folder.path, 'cheating');
const checkpoint = join(folder.path, 'tiny.safetensors');

async function run(args: readonly string[], environment: Readonly<Record<string, string>> = {}): Promise<Finished> {
  return pogo(args, { ...HOME, ...environment });
}

/** Events of a run with `--json`, all of which match the schema. */
function checkedEvents({ stdout, stderr }: Finished): Record<string, unknown>[] {
  const events = eventsOf(stdout);
  expect(
    events.flatMap((event) => eventFaults(event)),
    stderr,
  ).toEqual([]);
  return events;
}

let mined: Finished;

beforeAll(async () => {
  mined = await run(['mine', '--recipe', 'tiny', '--dir', bundle, '--claims', '2', '--json']);
  const states = join(`${bundle}.work`, 'states');
  await run(['export', '--state', join(states, readdirSync(states).at(-1) as string), '--checkpoint', checkpoint]);
  const environment = testEnvironment(folder.path);
  await mineTiny(environment, cheating, 1, 'flip-code');
  await environment.dispose();
});

afterAll(() => folder.remove());

describe('mine and verify', () => {
  it('print the documented events', async () => {
    expect(mined.code, mined.stderr).toBe(0);
    const events = checkedEvents(mined);
    expect(events.map(({ type }) => type)).toEqual([
      'run',
      ...['step', 'step', 'step', 'step', 'claim'],
      ...['step', 'step', 'step', 'step', 'claim'],
      'mine',
    ]);
    const last = events.at(-1) as { stateRoot: string; demo: boolean };
    expect(last.demo).toBe(true);
    expect(events.at(-2)?.['toRoot']).toBe(last.stateRoot);

    const verified = await run(['verify', bundle, '--recipe', 'tiny', '--json']);
    expect(verified.code, verified.stderr).toBe(0);
    const checks = checkedEvents(verified);
    expect(checks.map(({ type }) => type)).toEqual(['draw', 'verify', 'verify', 'result']);
    expect(checks.at(-1)).toMatchObject({ verdict: 'holds', stateRoot: last.stateRoot, pinned: ['recipe'] });
  });

  it('end with 3 and accepted evidence for a lie, which changes no file of the bundle', async () => {
    const before = readdirSync(cheating);
    const verified = await run(['verify', cheating, '--json']);
    expect(verified.code, verified.stderr).toBe(3);
    expect(verified.stderr).toMatch(/^error CLAIM_FALSE: /);
    const events = checkedEvents(verified);
    const evidence = events.find(({ type }) => type === 'evidence') as { file: string; kind: string };
    expect(evidence.kind).toBe('unit');
    expect(readdirSync(cheating)).toEqual(before);

    const third = await run(['evidence', evidence.file, '--json'], { POGO_BACKEND: 'reference' });
    expect(third.code, third.stderr).toBe(0);
    expect(checkedEvents(third).at(-1)).toMatchObject({ type: 'result', verdict: 'guilty', kind: 'unit' });

    const bytes = readFileSync(evidence.file);
    const broken = join(folder.path, 'broken.evidence');
    writeFileSync(broken, bytes.subarray(0, bytes.length - 1));
    expect((await run(['evidence', broken])).code).toBe(2);
  });

  it('end with 3 for an accusation that is false', async () => {
    const { bundle: honest } = openBundle(bundle);
    const claim = honest.claims[0]!;
    const subject = {
      claim: claim.signedClaim,
      recipe: TINY,
      commitments: claim.steps,
      fromHeader: undefined as never,
      tokens: new Uint16Array(0),
    };
    const accusation = evidenceFromFault(subject, { kind: 'batch', stepIndex: 1, message: 'an invented fault' });
    const file = join(folder.path, 'false.evidence');
    writeFileSync(file, accusation);
    const { code, stderr, stdout } = await run(['evidence', file, '--json']);
    expect(code, stderr).toBe(3);
    expect(stderr).toMatch(/^error FALSE_ACCUSATION: /);
    expect(checkedEvents({ stdout, stderr, code, signal: null })[0]).toMatchObject({ verdict: 'false-accusation' });
  });

  it('end with 4 for missing bytes and for too few samples', async () => {
    const copy = join(folder.path, 'copy');
    cpSync(bundle, copy, { recursive: true });
    const blob = readdirSync(join(copy, 'blobs'))[0] as string;
    rmSync(join(copy, 'blobs', blob));
    const missing = await run(['verify', copy, '--json']);
    expect(missing.code).toBe(4);
    expect(missing.stderr).toContain(blob);
    expect(checkedEvents(missing).at(-1)).toMatchObject({ type: 'error', code: 'MISSING' });
    expect((await run(['verify', bundle, '--samples', '1'])).code).toBe(4);
  });
});

describe('a run that is stopped', () => {
  const last = (text: string): unknown => checkedEvents({ stdout: text, stderr: '', code: 0, signal: null }).at(-1);
  const stepsOf = (text: string): unknown[] =>
    text
      .split('\n')
      .filter((line) => line.startsWith('{"type":"step"') && line.endsWith('}'))
      .map((line) => (JSON.parse(line) as { step: number }).step);

  it.each([
    ['SIGKILL', null, 'step":2,'],
    ['SIGKILL', null, '"type":"claim"'],
    ['SIGINT', 130, 'step":1,'],
    ['a reader that closes the pipe', 130, 'step":1,'],
  ] as const)('by %s goes on and ends in the same state', async (how, code, when) => {
    const directory = join(folder.path, `stopped-by-${how}-${when}`.replace(/\W/g, ''));
    const args = ['mine', '--recipe', 'tiny', '--dir', directory, '--claims', '2', '--json'];
    const first = startPogo(args, HOME);
    await first.until((text) => text.includes(when));
    if (how === 'SIGKILL' || how === 'SIGINT') first.child.kill(how);
    else first.child.stdout?.destroy();
    const stopped = await first.finished;
    expect(stopped.code, stopped.stderr).toBe(code);
    // What is there is no bundle yet, and says so.
    expect((await run(['verify', directory])).code).toBe(2);
    const resumed = await run(args);
    expect(resumed.code, resumed.stderr).toBe(0);
    expect(last(resumed.stdout)).toMatchObject({ stateRoot: (last(mined.stdout) as { stateRoot: string }).stateRoot });
    // No step that was reported as durable is trained a second time.
    const before = stepsOf(stopped.stdout);
    for (const step of stepsOf(resumed.stdout)) expect(before).not.toContain(step);
    expect((await run(['verify', directory])).code).toBe(0);
  });
});

describe('a folder that is in use', () => {
  it('is left alone by a second process', async () => {
    const args = ['mine', '--recipe', 'tiny', '--dir', join(folder.path, 'busy'), '--claims', '20', '--json'];
    const first = startPogo(args, HOME);
    await first.until((text) => text.includes('"type":"step"'));
    const second = await run(args);
    first.child.kill('SIGKILL');
    await first.finished;
    expect(second.code, second.stderr).toBe(5);
    expect(second.stderr).toMatch(/error LOCKED: .*process \d+/);
  });
});

describe('eval and sample', () => {
  const text = join(folder.path, 'text.txt');
  const forced = [{ POGO_BACKEND: 'reference' }, { POGO_LANES: '1' }, { POGO_LANES: '3' }];

  beforeAll(() => writeFileSync(text, 'It is not down in any map; true places never are. '.repeat(6)));

  it('give the same bits on every backend and number of lanes', async () => {
    const args = ['eval', '--checkpoint', checkpoint, '--data', text, '--json'];
    const expected = checkedEvents(await run(args))[0] as { lossBits: number; tokens: number };
    expect(expected.tokens).toBe(6 * 50 - 1);
    for (const environment of forced) {
      const event = checkedEvents(await run(args, environment))[0] as { lossBits: number };
      expect(event.lossBits).toBe(expected.lossBits);
    }
    const sample = ['sample', '--checkpoint', checkpoint, '--prompt', 'The whale', '--tokens', '6', '--json'];
    const words = checkedEvents(await run(sample))[0] as { tokens: number[] };
    expect(words.tokens).toHaveLength(6);
    const again = checkedEvents(await run(sample, { POGO_BACKEND: 'reference' }))[0] as { tokens: number[] };
    expect(again.tokens).toEqual(words.tokens);
    const other = checkedEvents(await run([...sample, '--seed', '1']))[0] as { tokens: number[] };
    expect(other.tokens).not.toEqual(words.tokens);
  });

  it('read token files as the text they are made of', async () => {
    const tokens = join(folder.path, 'text.tokens');
    writeFileSync(tokens, new Uint8Array(Uint16Array.from(readFileSync(text)).buffer));
    const loss = async (data: string): Promise<unknown> =>
      checkedEvents(await run(['eval', '--checkpoint', checkpoint, '--data', data, '--json']))[0]?.['lossBits'];
    expect(await loss(tokens)).toBe(await loss(text));
  });
});

describe('bad input', () => {
  const empty = join(folder.path, 'empty.txt');
  const latin = join(folder.path, 'latin.txt');
  const notOurs = join(folder.path, 'photographs');
  const key = join(folder.path, 'short.key');

  const poorGenesis = join(folder.path, 'poor.genesis');

  beforeAll(() => {
    // The base values alone: too little for the claims of this recipe.
    const demo = createDemoGenesis({
      ...{ bls: createNativeBls(), seed: new Uint8Array(32), miners: 1, verifiers: 4, recipe: TINY },
      ...{ startStateRoot: new Uint8Array(32), parameters: EMBEDDED_PARAMETERS },
    });
    writeFileSync(poorGenesis, GenesisType.serialize(demo.genesis));
    writeFileSync(empty, '');
    writeFileSync(latin, Uint8Array.of(0x63, 0xe9, 0x63));
    mkdirSync(notOurs);
    writeFileSync(join(notOurs, 'holiday.jpg'), 'x');
    writeFileSync(key, 'ff');
  });

  it.each([
    [['verify', join(folder.path, 'nothing')], 2, 'USAGE'],
    [['verify', notOurs], 2, 'MALFORMED'],
    [['verify', bundle, '--from', 'abc'], 2, 'USAGE'],
    [['verify', bundle, '--samples', 'many'], 2, 'USAGE'],
    [['verify', bundle, '--recipe', 'moby'], 2, 'MISMATCH'],
    [['mine', '--recipe', 'no-such-recipe', '--dir', join(folder.path, 'x')], 2, 'RECIPE'],
    [['mine', '--recipe', 'tiny', '--dir', notOurs], 5, 'IO'],
    [['mine', '--recipe', 'tiny', '--dir', join(folder.path, 'x'), '--seed', 'xyz'], 2, 'USAGE'],
    [['mine', '--recipe', 'tiny', '--dir', join(folder.path, 'x'), '--key', key], 2, 'USAGE'],
    [['mine', '--recipe', 'tiny', '--dir', join(folder.path, 'x'), '--cheat', 'flip-code'], 2, 'USAGE'],
    [['eval', '--checkpoint', checkpoint, '--data', empty], 2, 'DATA'],
    [['eval', '--checkpoint', checkpoint, '--data', latin], 2, 'DATA'],
    [['eval', '--checkpoint', latin, '--data', latin], 2, 'MALFORMED'],
    [['eval', '--checkpoint', checkpoint], 2, 'USAGE'],
    [['sample', '--checkpoint', checkpoint, '--prompt', ''], 2, 'USAGE'],
    [['evidence', latin], 2, 'MALFORMED'],
    [['evidence', join(folder.path, 'nothing')], 5, 'IO'],
    [['run', '--evidence-bytes', ''], 2, 'USAGE'],
    [['no-such-command'], 2, 'USAGE'],
    [['recipe', '--file'], 2, 'USAGE'],
    [['recipe', '--plan'], 2, 'USAGE'],
    [['recipe', 'tiny', '--file'], 2, 'USAGE'],
    [['recipe', 'tiny', '--file', '--plan'], 2, 'USAGE'],
    [['economics', '--recipe', 'tiny', '--genesis', latin], 2, 'MALFORMED'],
    [['economics', '--recipe', 'tiny', '--committee', '1'], 2, 'UNSOUND'],
    [['economics', '--recipe', 'tiny', '--genesis', poorGenesis], 2, 'UNSOUND'],
  ] as const)('%j: exit code %i, %s', async (args, code, name) => {
    const { code: found, stdout, stderr } = await run([...args, '--json']);
    expect(stderr.trim().split('\n').at(-1)).toMatch(new RegExp(`^error ${name}: `));
    expect(found).toBe(code);
    expect(checkedEvents({ stdout, stderr, code, signal: null }).at(-1)).toMatchObject({ type: 'error', code: name });
  });
});
