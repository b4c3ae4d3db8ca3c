/** `pogo prove-origin`: which finalized claims a checkpoint comes from, as one file; and the check of such a file. */
import * as path from 'node:path';
import type { Command } from 'commander';
import { PogoError } from '../errors.js';
import { readWholeFile, realFiles } from '../files/fileLayer.js';
import { writeTarget } from '../files/target.js';
import { equalBytes, toHex } from '../hex.js';
import { MAX_ORIGIN_BYTES } from '../ledger/origin.js';
import { encodeOriginChain, originFiles, verifyOriginChain } from '../ledger/originChain.js';
import type { Origin, OriginPins } from '../ledger/originCheck.js';
import { originGrounds } from '../lightChecks.js';
import { modelPlan } from '../model/unit.js';
import { withEnvironment } from '../node/environment.js';
import { pogoHome } from '../node/home.js';
import { checkpointRoots, proveOrigin } from '../node/proveOrigin.js';
import { hasRun, newestRunDirectory } from '../node/runFiles.js';
import { createNativeBls } from '../protocol/blsNative.js';
import { GenesisType } from '../protocol/ledgerTypes.js';
import { printEvent } from './events.js';
import { bytesText } from './format.js';
import { readGenesis } from './genesisFile.js';
import { addForceOption, integerOption, rootOption } from './options.js';
import { startEvent } from './startOptions.js';

interface Options {
  readonly run?: string;
  readonly out?: string;
  readonly after?: string;
  readonly writeGenesis?: string;
  readonly check?: string;
  readonly genesis?: string;
  readonly chain?: Uint8Array;
  readonly job?: number;
  readonly force?: true;
  readonly json?: true;
}

const out = (line: string): void => void process.stdout.write(`${line}\n`);

async function prove(checkpoint: string, options: Options): Promise<void> {
  const directory = path.resolve(options.run ?? newestRunDirectory(path.resolve(pogoHome()), '--run'));
  if (!hasRun(directory)) throw new PogoError('USAGE', `--run: expected the folder of a run, found ${directory}`);
  const { file, origin, genesis } = await withEnvironment({ lanes: 1 }, (environment) =>
    proveOrigin({ checkpoint, directory, environment, job: options.job ?? 0 }),
  );
  const target = options.out ?? `${path.resolve(checkpoint)}.origin`;
  const before = options.after === undefined ? [] : originFiles(readOrigin(options.after));
  const written = before.length === 0 ? file : encodeOriginChain([...before, file]);
  const origins = before.length === 0 ? [origin] : verifyOriginChain(createNativeBls(), written);
  writeTarget(target, written, options.force);
  if (options.writeGenesis !== undefined) {
    writeTarget(options.writeGenesis, GenesisType.serialize(genesis), options.force);
  }
  // Written from the ledger itself, so nothing is taken on trust but that folder.
  const grounds = [`the ledger of ${directory}, of one operator: all its keys derive from the seed of the run`];
  show('proven', origins, target, written.length, grounds, options.json === true);
}

async function check(file: string, checkpoint: string | undefined, options: Options): Promise<void> {
  const bytes = readOrigin(file);
  const pins: OriginPins = {
    ...(options.chain === undefined ? {} : { chainId: options.chain }),
    ...(options.job === undefined || options.job === 0 ? {} : { job: { id: options.job } }),
    ...(options.genesis === undefined
      ? {}
      : {
          genesis: readGenesis(options.genesis),
        }),
  };
  const origins = verifyOriginChain(createNativeBls(), bytes, pins);
  const grounds = [...originGrounds(pins)];
  const [origin] = origins.slice(-1) as [Origin];
  if (origins.length > 1) grounds.push('the chain ids of the runs before it are taken from the file');
  if (origin.job !== 0)
    grounds.push(`the file for the recipe and the start state of job ${origin.job}, which an owner made`);
  if (checkpoint === undefined) grounds.push('a checkpoint was not given: the file speaks of the root above');
  else await requireCheckpoint(checkpoint, origin);
  show('holds', origins, file, bytes.length, grounds, options.json === true);
}

function readOrigin(file: string): Uint8Array {
  return Uint8Array.from(readWholeFile(realFiles, file, MAX_ORIGIN_BYTES));
}

/** @throws PogoError MISMATCH when the file speaks of another checkpoint */
async function requireCheckpoint(checkpoint: string, origin: Origin): Promise<void> {
  const { kind, root } = await checkpointRoots(checkpoint, modelPlan(origin.recipe));
  if (kind === origin.kind && equalBytes(root, origin.root)) return;
  throw new PogoError(
    'MISMATCH',
    `expected the checkpoint of the file, ${origin.kind} ${toHex(origin.root)}, found ${kind} ${toHex(root)} in ${checkpoint}`,
    { path: checkpoint },
  );
}

function show(
  verdict: 'proven' | 'holds',
  origins: readonly Origin[],
  file: string,
  bytes: number,
  restsOn: readonly string[],
  json: boolean,
): void {
  const [origin] = origins.slice(-1) as [Origin];
  const earlier = origins.slice(0, -1);
  const { stakeFor, stake } = origin.leastVote;
  const leastVote = Number((stakeFor * 10_000n) / stake) / 10_000;
  if (json) {
    printEvent({
      type: 'result',
      command: 'prove-origin',
      verdict,
      file,
      bytes,
      kind: origin.kind,
      root: toHex(origin.root),
      ...(origin.step === undefined ? {} : { step: origin.step }),
      recipe: origin.recipe.name,
      chainId: toHex(origin.chainId),
      job: origin.job,
      claims: origin.claims,
      claimRoot: toHex(origin.claimRoot),
      fromRoot: toHex(origin.fromRoot),
      falls: origin.falls,
      leastVote,
      ...startEvent(origin.recipe),
      ...(earlier.length === 0 ? {} : { earlier: earlier.map(earlierEvent) }),
      restsOn,
    });
    return;
  }
  out(`${file}: origin of a checkpoint of recipe ${origin.recipe.name}, ${bytesText(bytes)}`);
  const step = origin.step === undefined ? '' : `, after step ${origin.step}`;
  out(`  ${origin.kind === 'state' ? 'state     ' : 'model     '}${toHex(origin.root)}${step}`);
  out(`  claims    ${origin.claims}, the last one ${toHex(origin.claimRoot)}`);
  out(`  from      ${toHex(origin.fromRoot)}`);
  for (const run of [...earlier].reverse()) {
    out(`  which is  state ${toHex(run.root)} of recipe ${run.recipe.name}, after ${run.claims} claims of its own`);
  }
  out(`  chain     ${toHex(origin.chainId)}${origin.job === 0 ? '' : `, job ${origin.job}`}`);
  out(`  votes     at least ${(100 * leastVote).toFixed(2)} % of the stake for each claim`);
  out('  it rests on');
  for (const ground of restsOn) out(`    ${ground}`);
}

/** A run that the checkpoint's run goes on from. */
function earlierEvent({ root, recipe, chainId, claims, claimRoot, fromRoot }: Origin): Record<string, unknown> {
  const roots = { root: toHex(root), chainId: toHex(chainId), claimRoot: toHex(claimRoot), fromRoot: toHex(fromRoot) };
  return { recipe: recipe.name, claims, ...roots };
}

export function register(program: Command): void {
  addForceOption(program.command('prove-origin'))
    .argument('[checkpoint]', 'safetensors file of a whole state, state folder, or packed 4-bit model')
    .option('--run <folder>', 'folder of the run (default: the newest of POGO_HOME)')
    .option(
      '--job <n>',
      'the owner’s job that the checkpoint is of (default: the run’s own)',
      integerOption('--job', 0, 4096),
    )
    .option('--out <file>', 'file to write (default: <checkpoint>.origin)')
    .option('--after <file>', 'origin of the state that the run’s recipe starts from: one file spans both runs')
    .option('--write-genesis <file>', 'write the run’s genesis too, for --genesis')
    .option('--check <file>', 'check this file instead; with a checkpoint, that it speaks of that one')
    .option('--genesis <file>', 'of --check: SSZ of the genesis to count votes by')
    .option('--chain <hex>', 'of --check: the chain id to expect', rootOption('--chain'))
    .option('--json', 'events instead of text')
    .addHelpText(
      'after',
      `
Exit codes: 0 written, or the file holds; 2 the file is malformed, or of another chain, genesis or checkpoint;
4 the ledger finalized no such checkpoint, or too few votes stand behind a claim.

Examples:
  pogo prove-origin model.safetensors --run .pogo/runs/1 --write-genesis genesis.ssz
  pogo prove-origin --check model.safetensors.origin --genesis genesis.ssz
  pogo prove-origin model.safetensors --check model.safetensors.origin
  pogo prove-origin tuned.safetensors --run .pogo/runs/2 --after model.safetensors.origin`,
    )
    .action(async (checkpoint: string | undefined, options: Options) => {
      const given = (...names: readonly (keyof Options)[]): string | undefined =>
        names.find((name) => options[name] !== undefined);
      if (options.check !== undefined) {
        const other = given('run', 'out', 'after', 'writeGenesis', 'force');
        if (other !== undefined) throw new PogoError('USAGE', `--check: expected no --${dashed(other)} beside it`);
        return check(options.check, checkpoint, options);
      }
      const other = given('genesis', 'chain');
      if (other !== undefined) throw new PogoError('USAGE', `--${other}: expected --check FILE beside it, found none`);
      if (checkpoint === undefined)
        throw new PogoError('USAGE', 'expected a checkpoint or --check FILE, found neither');
      return prove(checkpoint, options);
    });
}

function dashed(name: string): string {
  return name.replace(/[A-Z]/g, (letter) => `-${letter.toLowerCase()}`);
}
