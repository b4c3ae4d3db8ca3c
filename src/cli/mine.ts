/** `pogo mine`: trains claims and writes them as a bundle folder that can be checked on another machine. */
import type { Command } from 'commander';
import { toHex } from '../hex.js';
import { countParameters, createLayout } from '../model/layout.js';
import { type Recipe, recipeRoot, tokensPerStep } from '../model/recipe.js';
import type { MinedClaim, MinedStep } from '../node/claimMiner.js';
import { type Environment, withEnvironment } from '../node/environment.js';
import { pogoHome } from '../node/home.js';
import { readKeys } from '../node/keyFile.js';
import { type MinedBundle, mineBundle } from '../node/mineBundle.js';
import { parseSeed } from '../node/seed.js';
import type { StartVector } from '../node/startSource.js';
import { printEvent } from './events.js';
import { bytesText, durationText } from './format.js';
import { interruptible } from './interrupt.js';
import { integerOption } from './options.js';
import { passphraseFrom } from './passphrase.js';
import { commandLine } from './program.js';
import { addStartOptions, openStartedRecipe, type StartOptions, startEvent, startText } from './startOptions.js';
import { pogoVersion } from './version.js';

interface Options extends StartOptions {
  readonly recipe: string;
  readonly dir: string;
  readonly claims: number;
  readonly seed?: string;
  readonly key?: string;
  readonly passphraseFile?: string;
  readonly json?: true;
}

const out = (line: string): void => void process.stdout.write(`${line}\n`);

async function mine(options: Options): Promise<void> {
  const { recipe, start } = await openStartedRecipe(options.recipe, options, pogoHome());
  const seed = parseSeed(options.seed);
  await interruptible((signal) =>
    withEnvironment({ signal }, async (environment) => {
      const { bls } = environment;
      const keys =
        options.key === undefined
          ? undefined
          : await readKeys(options.key, bls, 'miner', passphraseFrom(options.passphraseFile));
      const report = options.json === true ? new JsonReport(recipe) : new TextReport(recipe, options, start?.vector);
      report.begin(environment);
      const mined = await mineBundle({
        environment,
        recipe,
        directory: options.dir,
        claims: options.claims,
        seed,
        signal,
        ...(options.from === undefined ? {} : { from: options.from }),
        ...(options.fromRecipe === undefined ? {} : { fromRecipe: options.fromRecipe }),
        ...(keys === undefined ? {} : { keys }),
        onStart: (start) => report.start(start.resumedClaims),
        onStep: (step) => report.step(step),
        onClaim: (claim) => report.claim(claim),
      });
      report.end(mined, options.dir);
    }),
  );
}

interface Report {
  begin(environment: Environment): void;
  start(resumedClaims: number): void;
  step(step: MinedStep): void;
  claim(mined: MinedClaim): void;
  end(mined: MinedBundle, directory: string): void;
}

class JsonReport implements Report {
  readonly #recipe: Recipe;

  constructor(recipe: Recipe) {
    this.#recipe = recipe;
  }

  begin({ backend, lanes }: Environment): void {
    printEvent({
      type: 'run',
      command: 'mine',
      recipe: this.#recipe.name,
      recipeRoot: toHex(recipeRoot(this.#recipe)),
      parameters: countParameters(createLayout(this.#recipe), this.#recipe),
      ...startEvent(this.#recipe),
      backend: backend.name,
      isa: backend.isa,
      lanes,
      version: pogoVersion(),
    });
  }

  start(resumedClaims: number): void {
    if (resumedClaims > 0) printEvent({ type: 'progress', command: 'mine', resumedClaims });
  }

  step({ claimNumber, commitment, loss, tokens, ms }: MinedStep): void {
    const stateRoot = toHex(commitment.postStateRoot);
    printEvent({ type: 'step', claim: claimNumber, step: commitment.step, loss, tokens, ms, stateRoot });
  }

  claim({ claim: { header }, list, bytes, resumedSteps }: MinedClaim): void {
    printEvent({
      type: 'claim',
      claim: header.claimNumber,
      miner: toHex(header.miner),
      fromRoot: toHex(header.fromRoot),
      toRoot: toHex(header.toRoot),
      modelRoot: toHex(header.modelRoot),
      steps: list.length,
      bytes,
      resumedSteps,
    });
  }

  end({ fromRoot, stateRoot, ...mined }: MinedBundle, directory: string): void {
    printEvent({
      type: 'mine',
      directory,
      fromRoot: toHex(fromRoot),
      stateRoot: toHex(stateRoot),
      recipe: this.#recipe.name,
      ...mined,
    });
  }
}

class TextReport implements Report {
  readonly #recipe: Recipe;
  readonly #options: Options;
  /** Which vector of `--from` the recipe was derived from. */
  readonly #vector: StartVector | undefined;
  #done = 0;
  #tokens = 0;
  #ms = 0;
  #total: number;

  constructor(recipe: Recipe, options: Options, vector?: StartVector) {
    this.#recipe = recipe;
    this.#options = options;
    this.#vector = vector;
    this.#total = recipe.stepsPerClaim * options.claims;
  }

  begin({ backend, lanes }: Environment): void {
    const recipe = this.#recipe;
    const parameters = countParameters(createLayout(recipe), recipe);
    out(`mine ${recipe.name}: ${parameters.toLocaleString('en')} parameters, ${this.#options.claims} claim(s) of`);
    out(
      `  ${recipe.stepsPerClaim} steps of ${tokensPerStep(recipe)} tokens; ${backend.name}/${backend.isa}, ${lanes} lane(s)`,
    );
    if (this.#vector !== undefined) {
      out(`  ${startText(recipe, this.#vector)}`);
    }
    out(
      this.#options.key === undefined
        ? '  no --key: keys and beacons come from a public seed, so the bundle says demo: true'
        : '  signed with --key; without a ledger the beacons still come from --seed',
    );
  }

  start(resumedClaims: number): void {
    if (resumedClaims === 0) return;
    out(`  going on after ${resumedClaims} finished claim(s)`);
    this.#total = Math.max(0, this.#total - resumedClaims * this.#recipe.stepsPerClaim);
  }

  step({ claimNumber, commitment, loss, tokens, ms }: MinedStep): void {
    this.#done += 1;
    this.#tokens += tokens;
    this.#ms += ms;
    const perSecond = Math.round((1000 * this.#tokens) / this.#ms);
    const left = durationText(((this.#total - this.#done) * this.#ms) / this.#done / 1000);
    const root = toHex(commitment.postStateRoot).slice(0, 12);
    out(
      `  claim ${claimNumber} step ${commitment.step}  loss ${loss.toFixed(4)}  ${perSecond} tokens/s  ` +
        `state ${root}…  ${left} left`,
    );
  }

  claim({ claim: { header }, bytes, resumedSteps }: MinedClaim): void {
    if (resumedSteps > 0) this.#total = Math.max(this.#done, this.#total - resumedSteps);
    const resumed = resumedSteps > 0 ? `, ${resumedSteps} steps from the log` : '';
    out(`claim ${header.claimNumber} signed: state ${toHex(header.toRoot)}, ${bytesText(bytes)} of blobs${resumed}`);
  }

  end(mined: MinedBundle, directory: string): void {
    out(`${directory}: ${mined.claims} claim(s), ${mined.blobs} blobs, ${bytesText(mined.bytes)}; demo: ${mined.demo}`);
    out(`state root ${toHex(mined.stateRoot)}`);
    out(`check it anywhere: ${commandLine('verify', directory)}`);
    out(`more claims: the same command with a larger --claims; otherwise ${mined.workDirectory} can be removed`);
  }
}

export function register(program: Command): void {
  const command = program.command('mine');
  addStartOptions(command, 'state folder, finished run or checkpoint to start from (default: the recipe’s seed)')
    .requiredOption('--recipe <name|file>', 'what to train: see pogo recipe')
    .requiredOption('--dir <folder>', 'bundle folder; <folder>.work keeps what resuming needs')
    .option('--claims <n>', 'claims the bundle has in the end', integerOption('--claims', 1, 65_536), 1)
    .option('--seed <hex>', '64 hex digits: beacons and demo keys derive from it (default: a public seed)')
    .option('--key <file>', 'the miner’s key: a keystore (pogo key new), or 64 hex digits that it derives from')
    .option('--passphrase-file <file>', 'file whose first line opens the keystore (else POGO_PASSPHRASE, else asked)')
    .option('--json', 'events instead of text')
    .addHelpText(
      'after',
      `
Ctrl-C or a crash loses at most one step: the same command goes on where it stopped.

Examples:
  pogo mine --recipe tiny --dir claims-of-tiny
  pogo mine --recipe moby --dir moby-claims --claims 4 --json
  pogo mine --recipe moby --dir more --from .pogo/runs/1/state --key miner.json
  pogo mine --recipe sotu-finetune --dir tuned --from .pogo/runs/1`,
    )
    .action((options: Options) => mine(options));
}
