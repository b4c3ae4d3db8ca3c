/** `pogo run --job`: an owner's job beside the run's own, killed and resumed; and where its model comes from. */
import { readdirSync } from 'node:fs';
import { join } from 'node:path';
import { afterAll, describe, expect, it } from 'vitest';
import { temporaryFolder } from '../support/bundles.js';
import { eventFaults } from '../support/eventSchema.js';
import { eventsOf, killTree, pogo, startPogo } from '../support/pogo.js';

const folder = temporaryFolder();
const HOME = { POGO_HOME: join(folder.path, 'home') };
afterAll(() => folder.remove());

const args = (dir: string): string[] =>
  `run --recipe tiny --claims 1 --verifiers 2 --cheat none --job tiny:2 --json --dir ${dir}`.split(' ');

const whole = pogo(args(join(folder.path, 'whole')), HOME);

function ended(stdout: string): Record<string, unknown> {
  const event = eventsOf(stdout).find(({ type, change }) => type === 'job' && change === 'ended');
  expect(event, stdout.slice(-2000)).toBeDefined();
  return event!;
}

const rootOf = (stdout: string): unknown => eventsOf(stdout).find(({ type }) => type === 'summary')?.['stateRoot'];

describe('pogo run --job', () => {
  it('trains the owner’s job on the same ledger, pays it from its fund, and gives the rest back', async () => {
    const { code, stdout, stderr } = await whole;
    expect(code, stderr).toBe(0);
    const events = eventsOf(stdout);
    for (const event of events.filter(({ type }) => type === 'job')) expect(eventFaults(event)).toEqual([]);
    const end = ended(stdout);
    expect(end).toMatchObject({ job: 1, owner: 'owner', claims: 2 });
    // Two claims of 50 coins, a bonus of at most 50 and 20 for verifiers were paid in advance.
    expect(BigInt(end['refund'] as string)).toBeLessThanOrEqual(100n * 10n ** 9n);
    const outcomes = events.filter(({ type, job }) => type === 'outcome' && job === 1);
    expect(outcomes.map(({ outcome }) => outcome)).toEqual(['finalized', 'finalized']);
    // The run's own job is what it is without the other: its draws know nothing of it.
    const steps = events.filter(({ type, job }) => type === 'step' && job === 1);
    expect(steps.at(-1)?.['stateRoot']).toBe(end['toRoot']);
  });

  it('proves the origin of the owner’s model, for who names the job', async () => {
    const { stdout } = await whole;
    const dir = join(folder.path, 'whole');
    const blobs = join(dir, 'published', 'blobs');
    const model = readdirSync(blobs).find((name) => name.startsWith(ended(stdout)['modelRoot'] as string));
    const checkpoint = join(blobs, model!);
    const [file, genesis] = [join(folder.path, 'origin'), join(folder.path, 'genesis')];
    const prove = ['prove-origin', checkpoint, '--run', dir, '--out', file, '--write-genesis', genesis, '--json'];
    // Not a model of the run's own job.
    expect((await pogo(prove, HOME)).code).toBe(4);
    const proven = await pogo([...prove, '--job', '1'], HOME);
    expect(proven.code, proven.stderr).toBe(0);
    expect(eventsOf(proven.stdout)[0]).toMatchObject({ verdict: 'proven', job: 1, claims: 2, leastVote: 1 });
    const check = ['prove-origin', checkpoint, '--check', file, '--genesis', genesis, '--json'];
    expect((await pogo(check, HOME)).code).toBe(2);
    const checked = await pogo([...check, '--job', '1'], HOME);
    expect(checked.code, checked.stderr).toBe(0);
    expect((await pogo([...check, '--job', '2'], HOME)).code).toBe(2);
  });

  it('killed while the owner’s claim is checked it goes on to the same states', async () => {
    const dir = join(folder.path, 'killed');
    const first = startPogo(args(dir), HOME);
    await first.until((text) => /"type":"claim"[^\n]*"job":1/.test(text));
    killTree(first.child, 'SIGKILL');
    await first.finished;
    const { code, stdout, stderr } = await pogo(['run', '--resume', '--dir', dir, '--json'], HOME);
    expect(code, stderr).toBe(0);
    const undisturbed = (await whole).stdout;
    expect(rootOf(stdout)).toBe(rootOf(undisturbed));
    const { toRoot, modelRoot, claims } = ended(undisturbed);
    expect(ended(stdout)).toMatchObject({ toRoot, modelRoot, claims });
  });
});
