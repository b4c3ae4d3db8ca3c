import { spawn } from 'node:child_process';
import { once } from 'node:events';
import * as fs from 'node:fs';
import * as os from 'node:os';
import * as path from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { EmbeddedLedger } from '../../src/ledger/engine.js';
import { type ChildExit, ChildProcesses } from '../../src/node/children.js';
import { type AddedEvent, adding, type Tally, tallyMachine } from '../support/tally.js';

const CHILDREN = path.resolve(import.meta.dirname, '../support/children');
const ROLE = path.join(CHILDREN, 'tallyRole.mjs');

let directory: string;
beforeEach(() => {
  directory = fs.mkdtempSync(path.join(os.tmpdir(), 'pogo-children-'));
});
afterEach(() => {
  fs.rmSync(directory, { recursive: true, force: true });
});

describe('role processes', () => {
  let ledger: EmbeddedLedger<Tally, AddedEvent>;
  let children: ChildProcesses;
  let exits: ChildExit[];
  let reports: object[];
  let reported: () => void;

  beforeEach(async () => {
    ledger = await EmbeddedLedger.open({ machine: tallyMachine(), directory });
    exits = [];
    reports = [];
    reported = () => undefined;
    children = new ChildProcesses({
      ledger,
      graceMs: 1000,
      onExit: (exit) => exits.push(exit),
      onReport: (_, event) => {
        reports.push(event);
        reported();
      },
    });
  });
  afterEach(async () => {
    await children.stopAll();
    await ledger.close();
  });

  const untilReports = async (count: number): Promise<void> => {
    while (reports.length < count) {
      await new Promise<void>((resolve) => {
        reported = resolve;
      });
    }
  };
  const start = (name: string, options: object, more: object = {}) =>
    children.start({ name, role: ROLE, options, ...more });

  it('submit to and follow the parent’s ledger, and end with 0', async () => {
    void start('follower', { work: 'follow' });
    const exit = await start('writer', { work: 'submit', values: [4, 5, 0] });
    expect(exit).toMatchObject({ code: 0, signal: null, stopped: false, willRestart: false });
    await untilReports(5);
    expect(ledger.state).toEqual({ count: 2, sum: 9 });
    expect(reports).toContainEqual({ name: 'writer', result: { accepted: true, height: 2 } });
    expect(reports).toContainEqual({ height: 2, events: [{ type: 'added', value: 5, bytes: adding(5), money: 5n }] });
    await children.stop('follower');
    expect(exits.at(-1)).toMatchObject({ name: 'follower', code: 130, stopped: true });
  });

  it('carry errors to the parent, with their exit code', async () => {
    expect(await start('a', { work: 'fail' })).toMatchObject({
      code: 2,
      error: { code: 'DATA', message: 'expected text, found none', details: { path: 'x' } },
    });
    expect(await start('b', { work: 'query' })).toMatchObject({ code: 2, error: { code: 'USAGE' } });
    expect(reports).toEqual([{ answer: adding(3) }]);
  });

  it('are started again as often as their policy says, and every end is seen', async () => {
    const exit = await start('a', { work: 'crash' }, { restarts: 2, restartDelayMs: 1 });
    expect(exit).toMatchObject({ code: null, signal: 'SIGKILL', willRestart: false });
    expect(exits.map(({ willRestart }) => willRestart)).toEqual([true, true, false]);
  });

  it('that do not stop are killed after the grace time', async () => {
    void start('a', { work: 'stubborn' });
    await untilReports(1);
    await children.stop('a');
    expect(exits).toMatchObject([{ signal: 'SIGKILL', stopped: true, willRestart: false }]);
  });

  it('stop when their parent is killed', async () => {
    const parent = spawn(
      process.execPath,
      [
        '--input-type=module',
        '-e',
        `
      import { ChildProcesses } from ${JSON.stringify(path.resolve(import.meta.dirname, '../../dist/node/children.js'))};
      const children = new ChildProcesses({ onReport: () => process.stdout.write(String(children.pid('a'))) });
      children.start({ name: 'a', role: ${JSON.stringify(ROLE)}, options: { work: 'idle' } });
    `,
      ],
      { stdio: ['ignore', 'pipe', 'inherit'] },
    );
    const [pid] = (await once(parent.stdout, 'data')) as [Buffer];
    parent.kill('SIGKILL');
    await once(parent, 'exit');
    const alive = () => {
      try {
        process.kill(Number(pid.toString()), 0);
        return true;
      } catch {
        return false;
      }
    };
    for (let i = 0; i < 100 && alive(); i += 1) await new Promise((resolve) => setTimeout(resolve, 50));
    expect(alive()).toBe(false);
  });

  it('of a role that does not exist are refused with what to do', () => {
    expect(() => children.start({ name: 'x', role: 'nobody', options: {} })).toThrow(
      expect.objectContaining({ code: 'ENVIRONMENT' }),
    );
  });
});

describe('the embedded ledger on classic-level', () => {
  const WRITER = path.join(CHILDREN, 'ledgerWriter.mjs');

  async function check(): Promise<{ height: number; state: number[]; code?: string }> {
    const child = spawn(process.execPath, [WRITER, directory, 'check'], { stdio: ['ignore', 'pipe', 'inherit'] });
    const [line] = (await once(child.stdout, 'data')) as [Buffer];
    return JSON.parse(line.toString());
  }

  it('loses no answered block to kill -9, whenever it comes', async () => {
    let least = 0;
    for (const delayMs of [5, 20, 50, 90]) {
      const child = spawn(process.execPath, [WRITER, directory], { stdio: ['ignore', 'pipe', 'inherit'] });
      let answered = 0;
      child.stdout.on('data', (data: Buffer) => {
        answered = Math.max(answered, ...data.toString().trim().split('\n').map(Number));
      });
      await once(child.stdout, 'data');
      await new Promise((resolve) => setTimeout(resolve, delayMs));
      child.kill('SIGKILL');
      await once(child, 'close');
      // The next process submits the same numbers again from 1 on: those in a block are only answered.
      least = Math.max(least, answered);
      const { height, state } = await check();
      expect(height).toBeGreaterThanOrEqual(least);
      expect(state).toEqual(Array.from({ length: height }, (_, index) => index + 1));
    }
    expect(least).toBeGreaterThan(2);
  });

  it('refuses a second process and names the store', async () => {
    const ledger = await EmbeddedLedger.open({ machine: tallyMachine(), directory });
    expect((await check()).code).toBe('LOCKED');
    await ledger.close();
  });

  it('calls a damaged or truncated store CORRUPT, wherever the damage is', async () => {
    const store = path.join(directory, 'store');
    const build = async (): Promise<void> => {
      fs.rmSync(directory, { recursive: true, force: true });
      // Twice, so that the first session's blocks are in a table file and the second's in the write-ahead log.
      for (const values of [
        [1, 2, 3],
        [4, 5],
      ]) {
        const ledger = await EmbeddedLedger.open({ machine: tallyMachine(), directory });
        for (const value of values) await ledger.submit(adding(value));
        await ledger.close();
      }
    };
    await build();
    let damaged = 0;
    for (const name of fs.readdirSync(store).filter((file) => /^(\d+\.(ldb|log)|MANIFEST-\d+|CURRENT)$/.test(file))) {
      for (const damage of ['cut', 'flip', 'remove'] as const) {
        await build();
        const file = path.join(
          store,
          fs
            .readdirSync(store)
            .find(
              (found) => found.split(/[-.]/)[0] === name.split(/[-.]/)[0] && path.extname(found) === path.extname(name),
            ) ?? name,
        );
        const bytes = fs.readFileSync(file);
        if (bytes.length === 0) continue;
        if (damage === 'cut') fs.truncateSync(file, Math.floor(bytes.length / 2));
        if (damage === 'flip')
          fs.writeFileSync(
            file,
            bytes.map((value, index) => (index === bytes.length >> 1 ? value ^ 0x40 : value)),
          );
        if (damage === 'remove') fs.rmSync(file);
        let outcome = 'opened';
        try {
          const ledger = await EmbeddedLedger.open({ machine: tallyMachine(), directory });
          // Damage where nothing is read from (an index LevelDB rebuilds, a table's filter) may be harmless: then all is there.
          expect(ledger.state).toEqual({ count: 5, sum: 15 });
          await ledger.close();
        } catch (error) {
          outcome = (error as { code: string }).code;
          damaged += 1;
        }
        expect(['opened', 'CORRUPT'], `${damage} ${name}: ${outcome}`).toContain(outcome);
      }
    }
    expect(damaged).toBeGreaterThan(3);
  });
});
