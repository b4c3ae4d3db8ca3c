/**
 * Builds the file of a checkpoint's origin out of a run: the ledger's log is replayed by the state machine, which says
 * what every claim's committee was and which votes counted (the state alone keeps outcomes, not votes).
 */
import { existsSync, statSync } from 'node:fs';
import * as path from 'node:path';
import { PogoError } from '../errors.js';
import { hashBytes } from '../files/digest.js';
import { lockDirectory } from '../files/lock.js';
import { equalBytes, toHex } from '../hex.js';
import { createEmbeddedLedger } from '../ledger/embedded.js';
import { buildOrigin, type OriginSubject } from '../ledger/origin.js';
import { type Origin, verifyOrigin } from '../ledger/originCheck.js';
import { buildHandovers, encodeOriginFile } from '../ledger/originHandovers.js';
import { type FinalizedVotes, OriginLog } from '../ledger/originLog.js';
import { createLedgerMachine } from '../ledger/state.js';
import type { EvidenceChecker } from '../ledger/stateEvidence.js';
import { packedModelLayout } from '../model/layout.js';
import { readCheckpoint, readCheckpointInfo } from '../model/node/checkpoint.js';
import { encodeRecipe, recipeRoot } from '../model/recipe.js';
import { type ModelPlan, modelPlan } from '../model/unit.js';
import type { Bls } from '../protocol/bls.js';
import { checkEvidence } from '../protocol/evidence.js';
import { chainIdOf, type Genesis } from '../protocol/ledgerTypes.js';
import { proveCommitment } from '../protocol/listProof.js';
import { headerOf } from '../protocol/stateHeader.js';
import { type StateHeader, stateRoot } from '../protocol/types.js';
import type { Environment } from './environment.js';
import { readStateFolder, readStateHeader } from './files/stateFolder.js';
import { hashFile } from './hashFile.js';
import { Published } from './published.js';
import { readSettings } from './runFiles.js';
import { genesisOfRun } from './runGenesis.js';

export interface ProveOriginOptions {
  /** Safetensors file of a whole state, state folder, or packed 4-bit model. */
  readonly checkpoint: string;
  /** Folder of a run that no process is working on. */
  readonly directory: string;
  readonly environment: Pick<Environment, 'bls' | 'executor'>;
  /** Number of the owner's job that the checkpoint is of; the genesis job by default. */
  readonly job?: number;
}

export interface ProvenOrigin {
  readonly file: Uint8Array;
  readonly origin: Origin;
  readonly genesis: Genesis;
}

/** A checkpoint by its roots: a state's header, or the BLAKE3 of a packed model. */
export type CheckpointRoots =
  | { readonly kind: 'state'; readonly header: StateHeader; readonly root: Uint8Array }
  | { readonly kind: 'model'; readonly root: Uint8Array };

/**
 * @throws PogoError MISSING when the run's ledger finalized no claim that leads to the checkpoint; USAGE, MALFORMED,
 *   SHAPE for a file that is no checkpoint; LOCKED while the run is going on; CORRUPT, IO
 */
export async function proveOrigin(options: ProveOriginOptions): Promise<ProvenOrigin> {
  const { checkpoint, directory } = options;
  const { bls, executor } = options.environment;
  const settings = readSettings(directory);
  const job = options.job ?? 0;
  const recipeOfJob = job === 0 ? settings.recipe : settings.jobs?.[job - 1]?.recipe;
  if (recipeOfJob === undefined) {
    throw new PogoError('USAGE', `--job: expected 0 to ${settings.jobs?.length ?? 0}, found ${job}`);
  }
  const plan = modelPlan(recipeOfJob);
  const roots = await checkpointRoots(checkpoint, plan);
  const { genesis } = genesisOfRun(settings, bls, modelPlan(settings.recipe));
  const check: EvidenceChecker = (bytes) => checkEvidence(bytes, { bls, executor, hash: hashBytes });
  const claims = await finalizedVotes(directory, genesis, bls, check, job);
  const chainId = chainIdOf(genesis);
  const recipe = encodeRecipe(recipeOfJob);
  const place = findClaim(directory, claims, roots);
  if (place === undefined) throw unknownCheckpoint(checkpoint, roots, directory, genesis, claims.length);
  const subject: OriginSubject = {
    chainId,
    recipe,
    state: roots.kind === 'state' ? [roots.header] : [],
    step: place.step,
  };
  const shown = claims.slice(0, place.claim + 1);
  const file = encodeOriginFile({ origin: buildOrigin(bls, subject, shown), handovers: buildHandovers(bls, shown) });
  return { file, origin: verifyOrigin(bls, file, { chainId }), genesis };
}

/**
 * @throws PogoError MISSING for a checkpoint of another recipe; USAGE for one that holds weights only; MALFORMED, SHAPE,
 *   CORRUPT, IO
 */
export async function checkpointRoots(checkpoint: string, plan: ModelPlan): Promise<CheckpointRoots> {
  const status = statSync(checkpoint, { throwIfNoEntry: false });
  if (status === undefined) {
    throw new PogoError('IO', `expected a checkpoint at ${checkpoint}, found nothing`, { path: checkpoint });
  }
  const otherRecipe = (found: string): PogoError =>
    new PogoError(
      'MISSING',
      `expected a checkpoint of recipe ${toHex(plan.root)}, found ${found} in ${checkpoint}; name the run that it is from`,
      { path: checkpoint },
    );
  if (status.isDirectory()) {
    const { recipeRoot: found } = readStateHeader(checkpoint);
    if (!equalBytes(found, plan.root)) throw otherRecipe(`recipe ${toHex(found)}`);
    const { header } = readStateFolder(checkpoint, plan.layout);
    return { kind: 'state', header, root: stateRoot(header) };
  }
  if (status.size === packedModelLayout(plan.layout).bytes) {
    return { kind: 'model', root: (await hashFile(checkpoint)).root };
  }
  const info = await readCheckpointInfo(checkpoint);
  if (info.format === 'hf') {
    throw new PogoError(
      'USAGE',
      `expected a whole state in ${checkpoint}, found weights alone; take: pogo export --format pogo, or the packed model`,
      { path: checkpoint },
    );
  }
  if (info.recipe === undefined || !equalBytes(recipeRoot(info.recipe), plan.root)) {
    throw otherRecipe(info.recipe === undefined ? 'no recipe' : `recipe ${info.recipe.name}`);
  }
  const { vectors, scalars } = await readCheckpoint(checkpoint, plan.recipe);
  if (scalars === undefined) {
    throw new PogoError('USAGE', `expected a whole state in ${checkpoint} (θ, m, v, EMA and scalars), found a part`, {
      path: checkpoint,
    });
  }
  const header = headerOf(plan.root, scalars, vectors, hashBytes);
  return { kind: 'state', header, root: stateRoot(header) };
}

/** Replays a run's ledger. @throws PogoError MISSING without one, CORRUPT where a block leads to another state */
async function finalizedVotes(
  directory: string,
  genesis: Genesis,
  bls: Bls,
  check: EvidenceChecker,
  job: number,
): Promise<readonly FinalizedVotes[]> {
  const folder = path.join(directory, 'ledger');
  if (!existsSync(folder)) {
    throw new PogoError('MISSING', `expected the ledger of a run at ${folder}, found none; go on with --resume`);
  }
  const lock = lockDirectory(directory);
  try {
    const ledger = await createEmbeddedLedger({ directory: folder, genesis, bls, checkEvidence: check });
    try {
      const machine = createLedgerMachine({ genesis, bls, checkEvidence: check });
      const log = new OriginLog();
      let state = machine.genesis();
      // Without a block a subscription would wait for the first one.
      if (ledger.height === 0) return [];
      for await (const { height, transactions, stateRoot: expected } of ledger.subscribe(1)) {
        const next = await machine.apply(state, { height, transactions });
        if (!equalBytes(machine.root(next.state), expected)) {
          throw new PogoError(
            'CORRUPT',
            `${folder}: expected block ${height} to lead to state ${toHex(expected)}, found another: restore it from a copy`,
            { path: folder },
          );
        }
        log.take(state, transactions, next.state, next.events);
        state = next.state;
        if (height === ledger.height) break;
      }
      return log.finalizedOf(job);
    } finally {
      await ledger.close();
    }
  } finally {
    lock.release();
  }
}

/** The first claim that ends in the checkpoint, or has it inside. */
function findClaim(
  directory: string,
  claims: readonly FinalizedVotes[],
  roots: CheckpointRoots,
): { readonly claim: number; readonly step: OriginSubject['step'] } | undefined {
  const field = roots.kind === 'state' ? 'toRoot' : 'modelRoot';
  const end = claims.findIndex(({ claim }) => equalBytes(claim.header[field], roots.root));
  if (end >= 0) return { claim: end, step: [] };
  if (roots.kind === 'model') return undefined;
  const published = Published.reader(path.join(directory, 'published'));
  for (const [number, { claim }] of claims.entries()) {
    const list = published.list(claim.header.listRoot);
    const index = list.findIndex(({ postStateRoot }) => equalBytes(postStateRoot, roots.root));
    if (index >= 0) return { claim: number, step: [proveCommitment(list, index)] };
  }
  return undefined;
}

function unknownCheckpoint(
  checkpoint: string,
  roots: CheckpointRoots,
  directory: string,
  genesis: Genesis,
  claims: number,
): PogoError {
  const what = roots.kind === 'state' ? 'state' : 'packed model';
  const isStart = equalBytes(roots.root, genesis.job.startStateRoot);
  const found = isStart ? 'the start state, which no claim made' : `${what} ${toHex(roots.root)}`;
  return new PogoError(
    'MISSING',
    `expected a checkpoint of one of the ${claims} finalized claims of ${directory}, found ${found} in ${checkpoint}; ` +
      'name the run that it is from with --run',
    { path: checkpoint, root: toHex(roots.root) },
  );
}
