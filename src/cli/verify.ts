/** `pogo verify`: checks a bundle alone, trusting nothing in it. */
import type { Command } from 'commander';
import { PogoError } from '../errors.js';
import { toHex } from '../hex.js';
import { openRecipe } from '../model/node/recipeFile.js';
import { isOpenStart, recipeRoot } from '../model/recipe.js';
import { withEnvironment } from '../node/environment.js';
import {
  type Origin,
  type VerifiedClaim,
  type VerifyBundleResult,
  type VerifyStart,
  verifyBundle,
} from '../node/verifyBundle.js';
import { traceCost } from '../protocol/dispute/traceCost.js';
import { printEvent } from './events.js';
import { durationText, lossOfBits, percentText, traceText } from './format.js';
import { interruptible } from './interrupt.js';
import { integerOption, rootOption } from './options.js';
import { commandLine } from './program.js';
import { pogoVersion } from './version.js';

interface Options {
  readonly recipe?: string;
  readonly from?: Uint8Array;
  readonly beacon?: Uint8Array;
  readonly samples: number | 'auto';
  readonly exhaustive?: true;
  readonly json?: true;
}

const out = (line: string): void => void process.stdout.write(`${line}\n`);

async function verify(folder: string, options: Options): Promise<void> {
  const recipe = options.recipe === undefined ? undefined : openRecipe(options.recipe);
  const pin =
    recipe === undefined ? {} : isOpenStart(recipe) ? { openRecipe: recipe } : { recipeRoot: recipeRoot(recipe) };
  const result = await interruptible((signal) =>
    withEnvironment({ signal }, (environment) => {
      const json = options.json === true;
      const { backend, lanes } = environment;
      return verifyBundle(folder, {
        environment,
        signal,
        samples: options.samples,
        ...pin,
        ...(options.from === undefined ? {} : { fromRoot: options.from }),
        ...(options.beacon === undefined ? {} : { beacon: options.beacon }),
        ...(options.exhaustive === undefined ? {} : { exhaustive: true }),
        onStart: (start) => {
          if (json) startEvent(start, backend.name, backend.isa, lanes);
          else startText(folder, start, `${backend.name}/${backend.isa}, ${lanes} lane(s)`);
        },
        onClaim: json ? claimEvent : claimText,
      });
    }),
  );
  if (options.json === true) resultEvents(result);
  else resultText(result);
  conclude(result);
}

/** A claim that is false, or that nobody can judge by so few samples, is the command's error. */
function conclude({ verdict, evidence, claims }: VerifyBundleResult): void {
  if (evidence !== undefined) {
    throw new PogoError(
      'CLAIM_FALSE',
      `claim ${evidence.claimNumber}: ${evidence.reason}; evidence is in ${evidence.file}, check it with: ${commandLine('evidence', evidence.file)}`,
      { claim: evidence.claimNumber, kind: evidence.kind, file: evidence.file },
    );
  }
  if (verdict !== 'undecided') return;
  const least = Math.min(...claims.map(({ detection }) => detection));
  throw new PogoError(
    'UNDECIDED',
    `expected samples for the detection that the recipe asks for, found ${percentText(least)}: nothing false was ` +
      'found, but that proves too little; use --samples auto, or --exhaustive',
  );
}

function startEvent({ recipe, claims, demo, origin }: VerifyStart, backend: string, isa: string, lanes: number): void {
  printEvent({
    type: 'draw',
    command: 'verify',
    recipe: recipe.name,
    recipeRoot: toHex(recipeRoot(recipe)),
    claims,
    demo,
    ...origin,
    trace: traceCost(recipe),
    source: origin.pinned.includes('beacon') ? 'beacon' : 'fresh local randomness',
    backend,
    isa,
    lanes,
    version: pogoVersion(),
  });
}

function startText(folder: string, { recipe, claims, demo, origin }: VerifyStart, machine: string): void {
  out(`verify ${folder}: ${claims} claim(s) of ${recipe.name}, recipe ${toHex(recipeRoot(recipe))}; ${machine}`);
  out(`  ${originText(origin)}`);
  if (demo) out('  demo: true: keys and beacons come from a seed that its maker knew');
  const draw = origin.pinned.includes('beacon') ? 'by --beacon' : 'by fresh local randomness';
  out(`  units to compute again are drawn ${draw}`);
  out(`  ${traceText(traceCost(recipe))}`);
}

function originText({ pinned, takenFromBundle }: Origin): string {
  const yours = pinned.length === 0 ? 'nothing pinned' : `pinned by you: ${pinned.join(', ')}`;
  return `${yours}; taken from the bundle: ${takenFromBundle.join(', ')}`;
}

function claimEvent(claim: VerifiedClaim): void {
  const { heldOutBeforeBits, heldOutAfterBits, miner, claimRoot, fromRoot, toRoot, claimNumber, ...counts } = claim;
  printEvent({
    type: 'verify',
    claim: claimNumber,
    miner: toHex(miner),
    claimRoot: toHex(claimRoot),
    fromRoot: toHex(fromRoot),
    toRoot: toHex(toRoot),
    ...counts,
    ...(heldOutBeforeBits === undefined || heldOutAfterBits === undefined
      ? {}
      : {
          heldOutBefore: lossOfBits(heldOutBeforeBits),
          heldOutAfter: lossOfBits(heldOutAfterBits),
          heldOutBeforeBits,
          heldOutAfterBits,
        }),
  });
}

function claimText(claim: VerifiedClaim): void {
  const { claimNumber, holds, samples, population, detection, seconds } = claim;
  const verdict = holds ? 'holds' : 'IS FALSE';
  out(`claim ${claimNumber} ${verdict}: ${claim.checks} comparisons, ${durationText(seconds)}`);
  out(
    `  ${samples} of ${population} units computed again: finds a cheat of the recipe’s size with ${percentText(detection)}`,
  );
  if (claim.heldOutBeforeBits !== undefined && claim.heldOutAfterBits !== undefined) {
    const before = lossOfBits(claim.heldOutBeforeBits).toFixed(4);
    const after = lossOfBits(claim.heldOutAfterBits).toFixed(4);
    out(`  held-out loss of the 4-bit model ${before} → ${after} nats per token`);
  }
  if (holds) out(`  state ${toHex(claim.toRoot)}`);
}

function resultEvents(result: VerifyBundleResult): void {
  const { evidence, origin, verdict, recipe, claims } = result;
  if (evidence !== undefined) {
    const { claimNumber, accused, ...rest } = evidence;
    printEvent({ type: 'evidence', claim: claimNumber, accused: toHex(accused), ...rest });
  }
  printEvent({
    type: 'result',
    command: 'verify',
    verdict,
    recipe: recipe.name,
    recipeRoot: toHex(recipeRoot(recipe)),
    claims: claims.length,
    demo: result.demo,
    ...origin,
    fromRoot: toHex(result.fromRoot),
    stateRoot: toHex(result.stateRoot),
  });
}

function resultText({ verdict, evidence, stateRoot }: VerifyBundleResult): void {
  if (evidence !== undefined) out(`evidence (${evidence.kind}, ${evidence.bytes} bytes): ${evidence.file}`);
  else if (verdict === 'holds') out(`all claims hold; state root ${toHex(stateRoot)}`);
}

export function register(program: Command): void {
  const number = integerOption('--samples', 1, 2 ** 31);
  program
    .command('verify')
    .argument('<bundle>', 'bundle folder, as pogo mine writes it')
    .option('--recipe <name|file>', 'pin the recipe (else it is taken from the bundle)')
    .option('--from <root>', 'pin the state root that the first claim starts from', rootOption('--from'))
    .option('--beacon <hex>', 'draw the units by this public randomness (else fresh local)', rootOption('--beacon'))
    .option(
      '--samples <n|auto>',
      'units of each claim to compute again',
      (text) => (text === 'auto' ? 'auto' : number(text)),
      'auto',
    )
    .option('--exhaustive', 'compute every unit again')
    .option('--json', 'events instead of text')
    .addHelpText(
      'after',
      `
Exit codes: 0 all claims hold, 3 a claim is false and evidence was written beside the bundle, 2 the folder is no
bundle, 4 undecided: bytes are missing, or too few samples.

Examples:
  pogo verify claims-of-tiny
  pogo verify moby-claims --recipe moby --exhaustive
  pogo verify moby-claims --beacon 6d1f… --json`,
    )
    .action((folder: string, options: Options) => verify(folder, options));
}
