/**
 * A chain of claims inside one program: the embedded ledger, a miner and two verifiers, until two claims are final.
 *
 * In a checkout, after `npm run setup`:
 *
 * npx tsc examples/embed.ts --ignoreConfig --rootDir examples --outDir .tools/examples --module nodenext \
 *   --target es2022 --skipLibCheck --types node
 * node .tools/examples/embed.js
 *
 * In a project with `"type": "module"` that has the package, TypeScript and @types/node:
 *
 * npx tsc node_modules/proof-of-gradient/examples/embed.ts --ignoreConfig --outDir out --module nodenext --target es2022 --types node
 * node out/embed.js
 */
import { mkdtempSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import {
  checkEvidence,
  createDemoGenesis,
  createEmbeddedLedger,
  createMiner,
  createVerifier,
  Environment,
  type KeyPair,
  loadRecipe,
  type MemberOptions,
  PogoError,
  toHex,
  waitingTicks,
} from 'proof-of-gradient';

const CLAIMS = 2;
const folder = mkdtempSync(join(tmpdir(), 'pogo-embed-'));
const recipe = loadRecipe('tiny');

// A backend that passed its vectors, with one lane. The ledger judges evidence with it.
const environment = new Environment({ lanes: 1 });
const { bls, backend, executor } = environment;
const startStateRoot = await (await environment.createTrainer(recipe)).stateRoot();

// Whoever stakes on a real chain makes its genesis; here one seed gives every key.
const seed = new Uint8Array(32).fill(7);
const demo = createDemoGenesis({ bls, seed, miners: 1, verifiers: 2, recipe, startStateRoot });

const ledger = await createEmbeddedLedger({
  directory: join(folder, 'ledger'),
  genesis: demo.genesis,
  bls,
  checkEvidence: (bytes) => checkEvidence(bytes, { bls, executor }),
});

const stop = new AbortController();
const options = (name: string, keys: KeyPair): MemberOptions => ({
  ledger,
  keys,
  recipe,
  directory: join(folder, name),
  published: join(folder, 'published'),
  lanes: 1,
  signal: stop.signal,
});
const members = [
  ...demo.miners.map((keys, i) => createMiner(options(`miner-${i}`, keys))),
  ...demo.verifiers.map((keys, i) => createVerifier(options(`verifier-${i}`, keys))),
];

console.log(`${backend.name}/${backend.isa}, recipe ${recipe.name}, files in ${folder}`);
let failure: PogoError | undefined;
const running = members.map((member) =>
  member.run().catch((error: unknown) => {
    failure ??= PogoError.from(error);
    stop.abort();
  }),
);
try {
  let finalized = 0;
  for await (const { events, height } of ledger.subscribe(1, stop.signal)) {
    for (const event of events) {
      if (event.type === 'claim') console.log(`claim ${event.claimNumber}: ${toHex(event.claim.header.toRoot)}`);
      if (event.type !== 'outcome') continue;
      console.log(`claim ${event.claimNumber}: ${event.outcome} at height ${height}`);
      if (event.outcome === 'finalized') finalized += 1;
    }
    if (finalized === CLAIMS) break;
    // The embedded ledger has no clock: whoever runs it lets heights pass until beacon 2 is due.
    for (const tick of waitingTicks(ledger.state)) await ledger.submit(tick);
  }
} finally {
  stop.abort();
  await Promise.all(running);
  await Promise.all(members.map((member) => member.dispose()));
  await ledger.close();
  await environment.dispose();
}
if (failure !== undefined) throw failure;
