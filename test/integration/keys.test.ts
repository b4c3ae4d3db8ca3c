/** `pogo key` and `pogo mine --key` with a keystore, as processes: no secret reaches any output. */
import { readdirSync, readFileSync, statSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { toHex } from '../../src/hex.js';
import { readKeys } from '../../src/node/keyFile.js';
import { createNativeBls } from '../../src/protocol/blsNative.js';
import { temporaryFolder } from '../support/bundles.js';
import { eventsOf, type Finished, pogo } from '../support/pogo.js';

const PASSPHRASE = 'a passphrase of the test';
const folder = temporaryFolder();
afterAll(() => folder.remove());
const at = (name: string): string => join(folder.path, name);
const outputs: string[] = [];

async function run(args: readonly string[], environment: Record<string, string> = {}): Promise<Finished> {
  const finished = await pogo(args, { POGO_HOME: at('home'), POGO_PASSPHRASE: '', ...environment });
  outputs.push(finished.stdout, finished.stderr);
  return finished;
}

let secret: string;
beforeAll(async () => {
  writeFileSync(at('pass'), `${PASSPHRASE}\nsecond line\n`, { mode: 0o600 });
  expect((await run(['key', 'new', at('miner.json'), '--passphrase-file', at('pass')])).code).toBe(0);
  secret = toHex((await readKeys(at('miner.json'), createNativeBls(), 'miner', async () => PASSPHRASE)).secret);
});

describe('a keystore on the command line', () => {
  it('is shown without its passphrase, and never replaced', async () => {
    const shown = await run(['key', 'show', at('miner.json'), '--json']);
    const [event] = eventsOf(shown.stdout);
    expect(event).toMatchObject({ type: 'result', command: 'key', action: 'show' });
    expect((await run(['key', 'new', at('miner.json')], { POGO_PASSPHRASE: PASSPHRASE })).code).toBe(5);
  });

  it('signs a bundle that verifies and is no demo', async () => {
    const mine = ['mine', '--recipe', 'tiny', '--dir', at('bundle'), '--key', at('miner.json'), '--json'];
    expect((await run(mine, { POGO_PASSPHRASE: 'not the passphrase' })).code).toBe(2);
    expect((await run(mine)).stderr).toMatch(/^error USAGE: expected a passphrase/m);
    expect((await run(mine, { POGO_PASSPHRASE: PASSPHRASE })).code).toBe(0);
    const verified = await run(['verify', at('bundle'), '--exhaustive', '--json']);
    expect(verified.code).toBe(0);
    expect(eventsOf(verified.stdout).at(-1)).toMatchObject({ verdict: 'holds', demo: false });
  });

  it('the secret and the passphrase are in no output and in no file but the one that holds them', () => {
    expect(outputs.join('').length).toBeGreaterThan(1000);
    const hidden = [secret, secret.toUpperCase(), PASSPHRASE, 'not the passphrase'];
    for (const text of outputs) for (const each of hidden) expect(text).not.toContain(each);
    const raw = Buffer.from(secret, 'hex');
    for (const name of readdirSync(folder.path, { recursive: true, encoding: 'utf8' })) {
      if (name === 'pass' || !statSync(at(name)).isFile()) continue;
      const bytes = readFileSync(at(name));
      expect([name, bytes.includes(raw), bytes.includes(secret), bytes.includes(PASSPHRASE)]).toEqual([
        name,
        false,
        false,
        false,
      ]);
    }
  });
});
