/**
 * A miner that dies at any byte of any write goes on to the same claims.
 *
 * Real training of the recipe `tiny` on a disk that dies (`faultFiles.ts`). A death inside a file with an unfinished name
 * leaves the next process the same disk whatever the byte, as long as nobody reads such files: the layer under test
 * refuses that, so of these writes the first, a middle and the last byte stand for all. Of every other write (the step
 * log) each byte is a point of its own. `npm test` visits a part of the points; all of them with POGO_FULL_SWEEP=1.
 */
import * as path from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { BlobStore } from '../../src/files/blobStore.js';
import { hashBytes } from '../../src/files/digest.js';
import { UNFINISHED_PREFIX } from '../../src/files/durable.js';
import type { FileLayer, OpenFile } from '../../src/files/fileLayer.js';
import { toHex } from '../../src/hex.js';
import { loadRecipe } from '../../src/model/recipe.js';
import { START_SCALARS, type StateVectors } from '../../src/model/state.js';
import { ClaimMiner, type MinedClaim } from '../../src/node/claimMiner.js';
import type { Trainer } from '../../src/pipeline/trainer.js';
import type { Committer } from '../../src/pipeline/trainSteps.js';
import { createNativeBls } from '../../src/protocol/blsNative.js';
import type { ClaimAssignment } from '../../src/protocol/claim.js';
import { claimRoot, StepCommitmentListType, ZERO_ROOT } from '../../src/protocol/types.js';
import { CRASH_MODELS, FaultFiles, Killed } from '../support/faultFiles.js';
import { seededBytes, seededRandom } from '../support/random.js';
import { DRAW, nativeIsas, openTrainer, syntheticTokens } from '../support/trainers.js';

const FULL = process.env['POGO_FULL_SWEEP'] === '1';
const RECIPE = loadRecipe('tiny');
const UNITS = RECIPE.unitsPerStep;
const STEPS = 2;
const TOKENS = syntheticTokens(RECIPE.data.tokens);
const bls = createNativeBls();
const keys = bls.deriveKey(new Uint8Array(32).fill(1), 'miner', 0);

let trainer: Trainer;
let close: () => Promise<void>;
let start: StateVectors;

beforeAll(async () => {
  const [isa] = (await nativeIsas()).slice(-1);
  const setup =
    isa === undefined ? ({ backend: 'reference', isa: 'typescript' } as const) : { backend: 'cpu' as const, isa };
  ({ trainer, close } = await openTrainer(RECIPE, { ...setup, lanes: 2 }));
  // A structured clone would share the memory.
  const { theta, m, v, ema } = trainer.state;
  start = { theta: theta.slice(), m: m.slice(), v: v.slice(), ema: ema.slice() };
});
afterAll(() => close());

/** A write as the layer saw it: ticks `from` to `to` count its bytes. */
interface Write {
  readonly from: number;
  readonly to: number;
  /** Whether a later process reads a file of this name. */
  readonly visible: boolean;
}

const isUnfinished = (file: string): boolean => file.split(path.sep).some((name) => name.startsWith(UNFINISHED_PREFIX));

/** The disk as the miner sees it: notes every write, and refuses to read what is unfinished. */
function watched(files: FaultFiles, writes: Write[]): FileLayer {
  const open: FileLayer['open'] = (file, mode) => {
    const unfinished = isUnfinished(file);
    if (unfinished && mode === 'read') throw new Error(`an unfinished file was read: ${file}`);
    const handle = files.open(file, mode);
    const noted = (work: () => void): void => {
      const from = files.ticks;
      work();
      writes.push({ from, to: files.ticks, visible: !unfinished });
    };
    return {
      read: (into, position) => handle.read(into, position),
      write: (bytes, position) => noted(() => handle.write(bytes, position)),
      append: (bytes) => noted(() => handle.append(bytes)),
      truncate: (size) => handle.truncate(size),
      size: () => handle.size(),
      sync: () => handle.sync(),
      close: () => handle.close(),
    } satisfies OpenFile;
  };
  return {
    open,
    rename: (from, to) => files.rename(from, to),
    syncDirectory: (directory) => files.syncDirectory(directory),
    list: (directory) => files.list(directory),
    status: (target) => files.status(target),
    remove: (file) => files.remove(file),
    removeDirectory: (directory) => files.removeDirectory(directory),
    makeDirectory: (directory) => files.makeDirectory(directory),
  };
}

/** What one process did; filled while it lives. */
class Life {
  readonly writes: Write[] = [];
  /** Units computed. */
  units = 0;
  /** Steps whose commit pass was done by training, not by replay of the log. */
  readonly trained: number[] = [];
  readonly replayed: number[] = [];
}

/** What the caller of the miner keeps: claims in its hands survive the miner's process. */
type Chain = readonly MinedClaim[];

function assignmentAfter(chain: Chain, fromRoot: Uint8Array): ClaimAssignment {
  const parent = chain.at(-1)?.claim.header;
  return {
    chainId: new Uint8Array(32).fill(2),
    job: 0,
    claimNumber: chain.length,
    attempt: 0,
    parentClaimRoot: parent === undefined ? ZERO_ROOT : claimRoot(parent),
    recipeRoot: trainer.plan.root,
    miner: keys.publicKey,
    fromRoot: parent?.toRoot ?? fromRoot,
    draw1: parent === undefined ? DRAW : seededBytes(32, chain.length),
    bond: 1000n,
  };
}

/** One process of the miner: from the recipe's start state, on whatever `files` holds, until `chain` has `claims`. */
async function live(files: FaultFiles, chain: MinedClaim[], claims: number, life: Life): Promise<void> {
  for (const name of ['theta', 'm', 'v', 'ema'] as const) trainer.state[name].set(start[name]);
  await trainer.reset(START_SCALARS);
  const startRoot = await trainer.stateRoot();
  const layer = watched(files, life.writes);
  const blobs = BlobStore.open('/published/blobs', { layer });
  const miner = ClaimMiner.open({ trainer, tokens: TOKENS, bls, keys, directory: '/miner', blobs, layer });
  while (chain.length < claims) {
    let computed = -1;
    const committer: Committer = {
      unit(step, _unit, compute) {
        life.units += 1;
        computed = step;
        return compute();
      },
      state: (step) => void (step <= computed ? life.trained : life.replayed).push(step),
    };
    chain.push(await miner.mineClaim(assignmentAfter(chain, startRoot), { steps: STEPS, committer }));
  }
}

/** Everything of a claim that anybody sees. */
function fingerprint({ claim, list, model }: MinedClaim): string {
  const parts = [claimRoot(claim.header), claim.signature, StepCommitmentListType.serialize(list), model];
  return parts.map((part) => toHex(hashBytes(part))).join(' ');
}

/** Names in a folder that belong to somebody. */
const finished = (files: FaultFiles, folder: string): string[] =>
  files.list(folder).filter((name) => !isUnfinished(name));

/** Ticks at which a death leaves another disk than at the tick before. */
function killPoints(files: FaultFiles, writes: readonly Write[]): number[] {
  const points = new Set(files.operations);
  for (const { from, to, visible } of writes) {
    for (const tick of [from + 1, (from + to) >> 1, to - 1]) points.add(tick);
    for (let tick = from; visible && tick < to; tick += 1) points.add(tick);
  }
  points.add(files.ticks);
  return [...points].sort((a, b) => a - b);
}

/**
 * Mines from `prepared` until there are `claims`, dying at many ticks, and compares what comes after with the same
 * work undisturbed.
 *
 * @param stride in `npm test` every stride-th point is visited, with one of the crash models
 */
async function sweep(prepared: FaultFiles, before: Chain, claims: number, stride: number): Promise<number> {
  const whole = prepared.reboot('process');
  const expected = [...before];
  const undisturbed = new Life();
  await live(whole, expected, claims, undisturbed);
  const points = killPoints(whole, undisturbed.writes);
  let crashes = 0;
  for (const [index, tick] of points.entries()) {
    if (!FULL && index % stride !== 0 && index !== points.length - 1) continue;
    const dying = prepared.reboot('process');
    dying.dieAt = tick;
    const first = new Life();
    const chain = [...before];
    try {
      await live(dying, chain, claims, first);
    } catch (error) {
      if (!(error instanceof Killed)) throw error;
    }
    const models = FULL ? CRASH_MODELS : [CRASH_MODELS[crashes % CRASH_MODELS.length]!];
    for (const model of models) {
      const where = `${model} at tick ${tick}`;
      const files = dying.reboot(model, {}, seededRandom(tick));
      const second = new Life();
      const resumed = [...chain];
      await live(files, resumed, claims, second);
      expect(resumed.map(fingerprint), where).toEqual(expected.map(fingerprint));
      // A step that was finished is trained again at most once; beside it one more was on the lanes at the time.
      const again = first.trained.filter((step) => second.trained.includes(step));
      expect(again.length, where).toBeLessThanOrEqual(1);
      expect(first.units + second.units - undisturbed.units, where).toBeLessThanOrEqual(2 * UNITS);
      for (const folder of ['/miner/states', '/published/blobs']) {
        expect(finished(files, folder), where).toEqual(finished(whole, folder));
      }
      // Power loss may bring a removed log back; the next claim removes it again.
      expect(finished(files, '/miner/steps'), where).toEqual(expect.arrayContaining(finished(whole, '/miner/steps')));
      crashes += 1;
    }
  }
  return crashes;
}

describe('a miner that dies at any byte', () => {
  it('ends in the same first two claims, training at most one finished step again', async () => {
    const crashes = await sweep(new FaultFiles(), [], 2, 71);
    expect(crashes).toBeGreaterThan(10);
  });

  it('and where old checkpoints are pruned', async () => {
    const files = new FaultFiles();
    const chain: MinedClaim[] = [];
    await live(files, chain, 4, new Life());
    expect(finished(files, '/miner/states')).toHaveLength(5);
    const crashes = await sweep(files, chain, 5, 71);
    expect(crashes).toBeGreaterThan(5);
  });

  it('stops on a full disk with IO wherever that is, and goes on once there is room', async () => {
    const whole = new FaultFiles();
    const expected: MinedClaim[] = [];
    const undisturbed = new Life();
    await live(whole, expected, 1, undisturbed);
    const written = undisturbed.writes.reduce((sum, { from, to }) => sum + to - from, 0);
    for (const share of [0.1, 0.5, 0.6, 0.75]) {
      const files = new FaultFiles({ capacity: Math.floor(share * written) });
      const first = new Life();
      await expect(live(files, [], 1, first)).rejects.toMatchObject({ code: 'IO', details: { system: 'ENOSPC' } });
      files.capacity = Number.POSITIVE_INFINITY;
      const second = new Life();
      const resumed: MinedClaim[] = [];
      await live(files, resumed, 1, second);
      expect(resumed.map(fingerprint)).toEqual(expected.map(fingerprint));
      expect(first.trained.filter((step) => second.trained.includes(step)).length).toBeLessThanOrEqual(1);
    }
  });

  it('the sweep would notice a lost log: a claim without one is trained again as a whole', async () => {
    const life = new Life();
    const files = new FaultFiles();
    await live(files, [], 1, life);
    expect(life.trained).toEqual([0, 1]);
    expect(life.units).toBe(STEPS * UNITS);
    const second = new Life();
    await live(files, [], 1, second);
    expect(second).toMatchObject({ units: 0, trained: [], replayed: [0, 1] });
    files.remove(path.join('/miner/steps', finished(files, '/miner/steps')[0]!, 'steps.log'));
    const third = new Life();
    await live(files, [], 1, third);
    expect(third).toMatchObject({ units: STEPS * UNITS, trained: [0, 1], replayed: [] });
  });
});
