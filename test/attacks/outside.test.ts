/**
 * X1–X4: what lies outside the protocol: hardware that vouches for itself, chains that can be switched off, stores and
 * binaries of somebody else.
 */
import { cpSync, readdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { openCpuBackend } from '../../src/backend/cpu.js';
import { loadCpuAddon } from '../../src/backend/cpuAddon.js';
import type { Kernels } from '../../src/backend/ops.js';
import { referenceKernels } from '../../src/backend/reference.js';
import { assertSelfTest } from '../../src/backend/selfTest.js';
import { toHex } from '../../src/hex.js';
import { EmbeddedLedger } from '../../src/ledger/engine.js';
import { dutiesOf, waitingTicks } from '../../src/ledger/stateDuties.js';
import type { Environment } from '../../src/node/environment.js';
import { verifyBundle } from '../../src/node/verifyBundle.js';
import { createBeaconShare } from '../../src/protocol/beacon.js';
import { encodeTransaction } from '../../src/protocol/ledgerTypes.js';
import { attack } from '../support/attack.js';
import { mineTiny, temporaryFolder, testEnvironment } from '../support/bundles.js';
import { SOURCE, sourceFiles, wordsOf } from '../support/importGraph.js';
import { refusal } from '../support/refusal.js';
import { nativeBls, TestChain } from '../support/testChain.js';

const TEE = /\b(sgx|tdx|sev(?!er)|trustzone|enclave|quote[A-Z]|attestedHardware)/;

attack(
  {
    id: 'X1',
    attack: 'a forged attestation of a trusted execution environment',
    gain: 'results that are believed because of the machine that signed them',
    defence: 'no statement about hardware is read anywhere; results are recomputed',
    file: 'src/protocol/evidence.ts',
    stoppedBy: 'no file of the source reads an attestation of hardware',
    harm: 'a source that did is found: enclave',
    showing: 'argument',
  },
  {
    real: () => {
      const found = sourceFiles('.').filter((file) => wordsOf(file).some((word) => TEE.test(word)));
      return found.length === 0 ? 'no file of the source reads an attestation of hardware' : found;
    },
    twin: () => `a source that did is found: ${['unit', 'enclave'].find((word) => TEE.test(word))}`,
  },
);

/** All transactions of a claim that is finalized. */
async function transactionsOfAClaim(): Promise<{ chain: TestChain; transactions: Uint8Array[] }> {
  const chain = new TestChain();
  const transactions: Uint8Array[] = [];
  const submit = chain.submit.bind(chain);
  chain.submit = (transaction) => {
    transactions.push(transaction);
    return submit(transaction);
  };
  await chain.toAttesting();
  await chain.attest();
  expect(chain.outcomes()).toEqual(['finalized']);
  return { chain, transactions };
}

const folder = temporaryFolder();
afterAll(() => folder.remove());

attack(
  {
    id: 'X2',
    attack: 'the chain under the protocol is switched off or captured',
    gain: 'a run that ends with its ledger',
    defence: 'the ledger is an interface; any engine that orders the same transactions reaches the same state',
    file: 'src/ledger/ledger.ts',
    stoppedBy: 'two engines, one state',
    harm: 'two engines, two states',
    showing: 'simulation',
  },
  {
    real: async () => {
      const { chain, transactions } = await transactionsOfAClaim();
      const engine = await EmbeddedLedger.open({ machine: chain.machine, directory: join(folder.path, 'ledger') });
      try {
        for (const transaction of transactions) expect((await engine.submit(transaction)).accepted).toBe(true);
        const same = toHex((await engine.head()).stateRoot) === toHex(chain.machine.root(chain.state));
        return same ? 'two engines, one state' : 'two engines, two states';
      } finally {
        await engine.close();
      }
    },
    // A machine whose state depends on its engine: here, on how many transactions share a block.
    twin: async () => {
      const chain = new TestChain();
      const due = chain.keys.flatMap((keys) =>
        dutiesOf(chain.state, keys.publicKey).flatMap((duty) =>
          duty.duty === 'beacon-share'
            ? [encodeTransaction('beacon-share', createBeaconShare(nativeBls, keys, duty.id))]
            : [],
        ),
      );
      expect(waitingTicks(chain.state)).toEqual([]);
      const together = await chain.machine.apply(chain.state, { height: 1, transactions: due });
      for (const transaction of due) await chain.submit(transaction);
      return toHex(chain.machine.root(together.state)) === toHex(chain.machine.root(chain.state))
        ? 'two engines, one state'
        : 'two engines, two states';
    },
  },
);

const bundles = temporaryFolder();
let environment: Environment;
let bundle: string;
let blobs: string[];
beforeAll(async () => {
  environment = testEnvironment(bundles.path, 1);
  bundle = join(bundles.path, 'bundle');
  await mineTiny(environment, bundle, 1);
  blobs = readdirSync(join(bundle, 'blobs')).sort();
});
afterAll(async () => {
  await environment.dispose();
  bundles.remove();
});

/** Verifies a copy of the bundle in which one byte of each of some blobs was changed, one at a time. */
async function changedBlobs(): Promise<string[]> {
  const copy = join(bundles.path, 'copy');
  cpSync(bundle, copy, { recursive: true });
  const endings: string[] = [];
  for (const name of [blobs[0]!, blobs.at(-1)!]) {
    const file = join(copy, 'blobs', name);
    const bytes = readFileSync(file);
    const changed = Uint8Array.from(bytes);
    changed[Math.floor(changed.length / 2)]! ^= 1;
    writeFileSync(file, changed);
    endings.push(await refusal(verifyBundle(copy, { environment, exhaustive: true })));
    writeFileSync(file, bytes);
  }
  return endings;
}

attack(
  {
    id: 'X3',
    attack: 'stored artifacts are changed after they were published',
    gain: 'others train on, or run, what was never claimed',
    defence: 'content addressing: a file is what its root says, or it is missing',
    file: 'src/files/blobStore.ts',
    stoppedBy: 'MISSING',
    harm: 'the changed file is served under the old name',
  },
  {
    real: changedBlobs,
    // A store that goes by names.
    twin: () => {
      const store = new Map([['model-v1', Uint8Array.of(1)]]);
      store.set('model-v1', Uint8Array.of(2));
      return store.get('model-v1')![0] === 2 ? 'the changed file is served under the old name' : 'refused';
    },
  },
);

/** A build whose quantizer favours one direction by a single code. */
const trojan: Kernels = {
  ...referenceKernels,
  quantize4(a) {
    referenceKernels.quantize4(a);
    a.codes[0] = a.codes[0]! ^ 1;
  },
};

attack(
  {
    id: 'X4',
    attack: 'a malicious binary of the kernels',
    gain: 'every miner that installs it computes what the attacker wants',
    defence: 'kernels are built from source; every backend must give the bits of the TypeScript reference before use',
    file: 'src/backend/selfTest.ts',
    stoppedBy: 'SELF_TEST',
    harm: 'used, and its first code is wrong',
  },
  {
    real: () => refusal(() => assertSelfTest(trojan, 'a binary of unknown origin')),
    twin: () => {
      const run = (kernels: Kernels): number => {
        const a = {
          x: Float32Array.from({ length: 64 }, (_, i) => i / 64),
          codes: new Uint8Array(32),
          scales: new Uint16Array(1),
          seed: new Uint32Array(4),
          rows: 1,
          cols: 64,
        };
        kernels.quantize4(a);
        return a.codes[0]!;
      };
      return run(trojan) !== run(referenceKernels) ? 'used, and its first code is wrong' : 'the right bits';
    },
    also: {
      'the native build of this machine gives the reference’s bits': () => {
        const { addon } = loadCpuAddon();
        if (addon !== undefined) assertSelfTest(openCpuBackend('scalar').kernels, 'cpu');
      },
    },
  },
);

/** Names that a switch of a defence would have. */
const SWITCH =
  /skip_?(check|verif|replay|signature|proof)|(disable|no|without)_?(check|verif|slash|evidence)|insecure|unsafe_?mode|weak(en|ened)_?|allow_?tolerance|trust_?all/i;

describe('no switch weakens anything', () => {
  it('neither source nor built output names one', () => {
    const words = sourceFiles('.').flatMap((file) => wordsOf(file));
    expect(words.filter((word) => SWITCH.test(word) && !/\s/.test(word))).toEqual([]);
    const built = join(SOURCE, '../dist');
    const texts = readdirSync(built, { recursive: true, encoding: 'utf8' })
      .filter((name) => name.endsWith('.js'))
      .map((name) => readFileSync(join(built, name), 'utf8').replace(/\/\*[\s\S]*?\*\/|\/\/.*$/gm, ''));
    expect(texts.length).toBeGreaterThan(100);
    const found = texts.flatMap((text) => text.match(/[A-Za-z_$][\w$]*/g) ?? []).filter((word) => SWITCH.test(word));
    expect([...new Set(found)]).toEqual([]);
  });

  it('reads no variable of the environment but the documented ones', () => {
    const names = new Set<string>();
    for (const file of sourceFiles('.')) {
      for (const [, name] of readFileSync(file, 'utf8').matchAll(/env(?:\.|\[['"])([A-Z][A-Z0-9_]+)/g))
        names.add(name!);
    }
    // Ours, and those that say where a tool chain is.
    const known = ['POGO_', 'CUDA', 'CARGO_HOME', 'CXX', 'HOME', 'PATH', 'PYTHON'];
    expect([...names].filter((name) => !known.some((prefix) => name.startsWith(prefix)))).toEqual([]);
    expect([...names].filter((name) => SWITCH.test(name))).toEqual([]);
  });

  it('would notice one', () => {
    for (const name of ['skipChecks', 'SKIP_VERIFY', 'disableSlashing', 'weakenedCheck', 'noVerify']) {
      expect(SWITCH.test(name), name).toBe(true);
    }
  });
});
