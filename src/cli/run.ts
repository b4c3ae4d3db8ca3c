/** `pogo run`: the main job, shown. */
import { appendFileSync, existsSync, readFileSync, writeFileSync } from 'node:fs';
import { totalmem } from 'node:os';
import * as path from 'node:path';
import { type Command, Option } from 'commander';
import { PogoError } from '../errors.js';
import { BlobStore } from '../files/blobStore.js';
import { toHex } from '../hex.js';
import { bitsToFloat } from '../model/fp32.js';
import { generate } from '../model/generate.js';
import { countParameters, createLayout, packedModelLayout } from '../model/layout.js';
import { openRecipe } from '../model/node/recipeFile.js';
import { openRecipeTokenizer } from '../model/node/tokenizerFile.js';
import { loadRecipe, recipeRoot } from '../model/recipe.js';
import { unpackModel } from '../model/state.js';
import { decodeText } from '../model/tokenizer.js';
import { allocateWeights, type ModelPlan, quantizeWeights } from '../model/unit.js';
import { DEFAULT_CHEAT, findCheat, listCheats } from '../node/cheats.js';
import { Environment } from '../node/environment.js';
import { startVectors } from '../node/publishedStart.js';
import { type RunResult, runMainJob } from '../node/run.js';
import {
  hasRun,
  newestRunDirectory,
  type RunJobSettings,
  type RunSettings,
  readSettings,
  takeRunDirectory,
} from '../node/runFiles.js';
import { parseSeed } from '../node/seed.js';
import { badUnits, committeeDetection, samplesForDetection } from '../protocol/detection.js';
import { type LossPoint, svgChart, terminalChart } from './chart.js';
import { bytesText, lossChange } from './format.js';
import { interruptible } from './interrupt.js';
import { integerOption } from './options.js';
import { commandLine, programName } from './program.js';
import { RunReport, type Totals } from './runReport.js';
import {
  addStartOptions,
  type OpenedRecipe,
  openStartedRecipe,
  type StartOptions,
  startEvent,
  startText,
} from './startOptions.js';
import { pogoVersion } from './version.js';

interface Flags extends StartOptions {
  readonly recipe?: string;
  readonly dir?: string;
  readonly claims?: string;
  readonly verifiers?: string;
  readonly cheat?: string;
  readonly seed?: string;
  readonly evidenceBytes?: string;
  readonly job?: string;
  readonly resume?: boolean;
  readonly json?: boolean;
}

const DEFAULT_CLAIMS = 6;
const DEFAULT_VERIFIERS = 4;
const MAX_COUNT = 10_000;
const SAMPLE_TOKENS = 160;
const SAMPLE_PROMPT = 'Call me ';

export function register(program: Command): void {
  const cheats = listCheats().map((c) => `  ${c.name.padEnd(14)} ${c.description}`);
  const command = program.command('run', { isDefault: true });
  addStartOptions(command, 'state folder, finished run or checkpoint that a recipe for fine-tuning starts from')
    .option('--recipe <name|file>', 'what to train (pogo recipe lists them; default: moby)')
    .option('--dir <folder>', 'folder of the run (default: the next free <POGO_HOME>/runs/<n>)')
    .option('--claims <n>', `finalized claims to reach (default: ${DEFAULT_CLAIMS})`)
    .option('--verifiers <n>', `verifiers (default: ${DEFAULT_VERIFIERS})`)
    .option('--cheat <kind|none>', `what the second miner does (default: ${DEFAULT_CHEAT})`)
    .option('--evidence-bytes <n>', 'largest evidence that verifiers send; what is larger they dispute to one element')
    .option('--job <recipe:claims>', 'a job of an owner on the same ledger, paid from its own fund')
    .option('--seed <hex>', '64 digits; keys, genesis and beacons derive from it')
    .option('--resume', 'go on with the newest run, or with that of --dir')
    .addOption(new Option('--json', 'events, one a line'))
    .addHelpText('after', `\nKinds of --cheat:\n${cheats.join('\n')}\n`)
    .action(async (flags: Flags) => run(flags));
}

function count(name: string, text: string | undefined, preset: number): number {
  return text === undefined ? preset : integerOption(name, 1, MAX_COUNT)(text);
}

/** Memory that a verifier's process takes: 107 MB resident for `tiny` (Linux on x64, Node 20), a part of it shared; bytes. */
const VERIFIER_BYTES = 64e6;

/** @throws PogoError ENVIRONMENT for more processes than memory could ever hold: they would take the machine with them */
function verifierCount(text: string | undefined): number {
  const wanted = count('--verifiers', text, DEFAULT_VERIFIERS);
  const memory = Math.min(totalmem(), process.constrainedMemory() || Number.POSITIVE_INFINITY);
  const most = Math.max(1, Math.floor(memory / VERIFIER_BYTES));
  if (wanted <= most) return wanted;
  throw new PogoError(
    'ENVIRONMENT',
    `--verifiers: expected at most ${most} on a machine of ${bytesText(memory)} (each is a process), found ${wanted}`,
  );
}

const evidenceBytesOption = integerOption('--evidence-bytes', 0, Number.MAX_SAFE_INTEGER);

/** `NAME:CLAIMS`, or a recipe alone for one claim. */
function jobOf(text: string): RunJobSettings {
  const [, recipe, claims] = /^(.*?)(?::(\d+))?$/.exec(text) ?? [];
  return { recipe: openRecipe(recipe ?? text), claims: count('--job', claims, 1) };
}

/** What the flags ask for, or what a run that is resumed was started with. */
interface Plan {
  readonly settings: RunSettings;
  readonly directory: string;
  readonly resumed: boolean;
  /** The start that `--from` gave. */
  readonly start?: OpenedRecipe['start'];
}

async function plan(flags: Flags, environment: Environment): Promise<Plan> {
  if (flags.resume === true) {
    const directory = path.resolve(flags.dir ?? newestRunDirectory(environment.home));
    if (!hasRun(directory)) throw new PogoError('USAGE', `--resume: expected a run in ${directory}, found none`);
    const fixed = [
      'recipe',
      'claims',
      'verifiers',
      'cheat',
      'seed',
      'evidenceBytes',
      'job',
      'from',
      'weights',
      'fromRecipe',
    ] as const;
    const given = fixed.find((name) => flags[name] !== undefined);
    if (given !== undefined) {
      const flag = given.replace(/[A-Z]/g, (letter) => `-${letter.toLowerCase()}`);
      throw new PogoError('USAGE', `--${flag}: a resumed run keeps what it was started with; leave it out`);
    }
    return { settings: readSettings(directory), directory, resumed: true };
  }
  const named = flags.dir === undefined ? undefined : path.resolve(flags.dir);
  if (named !== undefined && hasRun(named)) {
    throw new PogoError('USAGE', `${named} holds a run already; go on with --resume, or choose another --dir`);
  }
  const cheat = flags.cheat ?? DEFAULT_CHEAT;
  const shown = cheat === 'none' ? undefined : findCheat(cheat).evidenceBytes;
  const evidenceBytes = flags.evidenceBytes === undefined ? shown : evidenceBytesOption(flags.evidenceBytes);
  const name = flags.recipe ?? (environment.backend.name === 'reference' ? 'tiny' : 'moby');
  const { recipe, start } = await openStartedRecipe(name, flags, environment.home, true);
  if (start === undefined && flags.from !== undefined) {
    throw new PogoError('USAGE', `--from: recipe ${recipe.name} starts from its seed; leave it out, or use pogo mine`);
  }
  const settings: RunSettings = {
    recipe,
    seed: parseSeed(flags.seed),
    claims: count('--claims', flags.claims, DEFAULT_CLAIMS),
    verifiers: verifierCount(flags.verifiers),
    ...(cheat === 'none' ? {} : { cheat }),
    ...(evidenceBytes === undefined ? {} : { evidenceBytes }),
    ...(flags.job === undefined ? {} : { jobs: [jobOf(flags.job)] }),
  };
  // Last, so that a command that is refused makes no folder.
  const directory = named ?? takeRunDirectory(path.resolve(environment.home));
  return { settings, directory, resumed: false, ...(start === undefined ? {} : { start }) };
}

async function run(flags: Flags): Promise<void> {
  const start = performance.now();
  const environment = new Environment();
  const { settings, directory, resumed, start: from } = await plan(flags, environment);
  const { recipe } = settings;
  const curve = path.join(directory, 'loss.jsonl');
  const report = new RunReport(flags.json === true, recipe.stepsPerClaim, (point) => {
    appendFileSync(curve, `${JSON.stringify(point)}\n`);
  });
  if (resumed) report.restorePoints(readCurve(curve));
  try {
    announce(report, settings, directory, environment, resumed);
    if (from !== undefined) report.line(`  ${startText(recipe, from.vector)}`);
    announceEvent(report, settings, environment);
    await interruptible(async (signal) => {
      signal.addEventListener('abort', () => report.line('\nstopping; what is committed is kept …'));
      const result = await runMainJob({
        settings,
        directory,
        environment,
        signal,
        // The newest run may be another by the time the user goes on, so this one is named.
        resumeWith: commandLine('run', '--resume', '--dir', directory),
        ...(from === undefined ? {} : { startTheta: from.theta }),
        onReport: (role, event) => report.onReport(role, event),
        onBlock: (block, names, past) => report.onBlock(block, names, past),
      });
      await finish(report, result, settings, directory, environment, (performance.now() - start) / 1000);
    });
  } finally {
    await environment.dispose();
  }
}

/** The loss curve so far: for the chart only, so a line that a crash cut short is left out. */
function readCurve(file: string): LossPoint[] {
  if (!existsSync(file)) return [];
  return readFileSync(file, 'utf8')
    .split('\n')
    .flatMap((line) => {
      try {
        const point = JSON.parse(line) as Partial<LossPoint>;
        return typeof point.step === 'number' && typeof point.loss === 'number' ? [point as LossPoint] : [];
      } catch {
        return [];
      }
    });
}

/** What goes on with the run in `directory`; the newest run of the data directory needs no name. */
function resumeCommand(directory: string, home: string): string {
  const named = path.dirname(directory) === path.join(path.resolve(home), 'runs') ? [] : ['--dir', directory];
  return commandLine('run', '--resume', ...named);
}

function announce(
  report: RunReport,
  settings: RunSettings,
  directory: string,
  environment: Environment,
  resumed: boolean,
): void {
  const { recipe } = settings;
  const { backend, lanes } = environment;
  const population = recipe.stepsPerClaim * recipe.unitsPerStep;
  const samples = duty(settings);
  report.line(`PoGO ${pogoVersion()}: ${resumed ? 'goes on with' : 'runs'} recipe ${recipe.name} in ${directory}`);
  for (const miss of backend.misses) report.line(`  not ${miss.backend}: ${miss.reason}; ${miss.fix}`);
  report.line(`  backend ${backend.name}/${backend.isa}, ${lanes} lanes`);
  report.line(
    [
      '',
      'What will happen:',
      `  1. Public randomness draws a miner and its batches; it trains ${recipe.stepsPerClaim} steps of ${recipe.unitsPerStep} units and signs a claim.`,
      `  2. New randomness, after the claim, draws ${samples} of its ${population} units for each of ${settings.verifiers} verifiers.`,
      '  3. Each replays the whole log of 4-bit gradients, recomputes its units, and compares bits: no tolerance.',
      settings.cheat === undefined
        ? '  4. All miners are honest in this run.'
        : `  4. A second miner cheats when it is drawn (${settings.cheat}): evidence convicts it and its bond is slashed.`,
      `  Until ${settings.claims} claims are final${settings.cheat === undefined ? '' : ' and the cheat had its turn'}. Ctrl-C stops; ${resumeCommand(directory, environment.home)} goes on.`,
    ].join('\n'),
  );
}

function announceEvent(report: RunReport, { recipe }: RunSettings, { backend, lanes }: Environment): void {
  report.event({
    type: 'run',
    recipe: recipe.name,
    recipeRoot: toHex(recipeRoot(recipe)),
    parameters: countParameters(createLayout(recipe), recipe),
    ...startEvent(recipe),
    backend: backend.name,
    isa: backend.isa,
    lanes,
    version: pogoVersion(),
  });
}

/** Units that each verifier recomputes of a claim. */
function duty({ recipe, verifiers }: RunSettings): number {
  const { fractionPpm, targetPpm } = recipe.detection;
  return samplesForDetection(recipe.stepsPerClaim * recipe.unitsPerStep, fractionPpm, targetPpm, verifiers);
}

async function finish(
  report: RunReport,
  result: RunResult,
  settings: RunSettings,
  directory: string,
  environment: Environment,
  totalSeconds: number,
): Promise<void> {
  const { recipe } = settings;
  const { totals, points } = report;
  const outcomes = (kind: string): number => result.outcomes.filter((o) => o.outcome === kind).length;
  const finalized = result.outcomes.filter((o) => o.outcome === 'finalized');
  const last = result.finalized.at(-1);
  const chart = path.join(directory, 'loss.svg');
  writeFileSync(chart, svgChart(points, `${recipe.name}: training loss, exact arithmetic`, report.claimEnds));
  const texts = await samples(result.plan, last?.modelRoot, directory, environment);
  const population = recipe.stepsPerClaim * recipe.unitsPerStep;
  const perVerifier = duty(settings);
  const bad = badUnits(population, recipe.detection.fractionPpm);
  const detection = committeeDetection(population, bad, perVerifier, settings.verifiers);
  const heldOutBefore = bitsToFloat(finalized[0]?.heldOutBeforeBits ?? 0x7fc00000);
  const heldOutAfter = bitsToFloat(finalized.at(-1)?.heldOutAfterBits ?? 0x7fc00000);
  const verifyToTrain = totals.trainCpuSeconds === 0 ? 0 : totals.verifyCpuSeconds / totals.trainCpuSeconds;

  if (points.length > 0) report.line(`\nLoss by step\n${terminalChart(points)}`);
  for (const [when, text] of texts) {
    report.event({ type: 'sample', text, when });
    report.line(`\nThe 4-bit model writes, ${when}:\n  ${JSON.stringify(text)}`);
  }
  report.event({
    type: 'summary',
    recipe: recipe.name,
    parameters: countParameters(result.plan.layout, recipe),
    claims: result.outcomes.length,
    finalized: outcomes('finalized'),
    slashed: outcomes('slashed'),
    rejected: outcomes('rejected'),
    steps: totals.steps,
    tokens: totals.tokens,
    lossFirst: points[0]?.loss ?? Number.NaN,
    lossLast: points.at(-1)?.loss ?? Number.NaN,
    heldOutBefore,
    heldOutAfter,
    trainSeconds: totals.trainSeconds,
    verifySeconds: totals.verifySeconds,
    verifyToTrain,
    tokensPerSecond: totals.trainSeconds === 0 ? 0 : totals.tokens / totals.trainSeconds,
    detection,
    backend: environment.backend.name,
    isa: environment.backend.isa,
    lanes: environment.lanes,
    stateRoot: last === undefined ? '' : toHex(last.toRoot),
    chart,
    seconds: totalSeconds,
  });
  report.line(
    [
      '',
      `Done in ${totalSeconds.toFixed(0)} s: ${outcomes('finalized')} claims finalized, ${outcomes('slashed')} slashed, ${outcomes('rejected')} rejected.`,
      `  training    ${totals.steps} steps, ${totals.tokens.toLocaleString('en')} tokens in ${totals.trainSeconds.toFixed(1)} s (${Math.round(totals.tokens / Math.max(totals.trainSeconds, 1e-9)).toLocaleString('en')} tokens/s); loss ${lossChange(points[0]?.loss, points.at(-1)?.loss)}`,
      `  held out    ${lossChange(heldOutBefore, heldOutAfter)} (nats per token, of the 4-bit model)`,
      `  checking    ${totals.verifyCpuSeconds.toFixed(1)} s of processor time by ${settings.verifiers} verifiers together, ${(100 * verifyToTrain).toFixed(0)} % of training's ${totals.trainCpuSeconds.toFixed(1)} s, ${((100 * verifyToTrain) / settings.verifiers).toFixed(0)} % each (each recomputes ${perVerifier} of ${population} units: ${(100 * detection).toFixed(2)} % to find ${bad} bad ones)`,
      ...predictedShare(settings, totals),
      `  state       ${last === undefined ? 'none' : toHex(last.toRoot)}`,
      `  chart       ${chart}`,
      `  files       ${directory}`,
      '',
      `Next: ${[...(outcomes('slashed') > 0 ? ['evidence <a file above>'] : []), 'mine --recipe tiny --dir bundle', 'verify bundle', 'doctor', '--help'].map((words) => `${programName()} ${words}`).join(', ')}`,
    ].join('\n'),
  );
}

/**
 * What the same duty costs with the recipe `gpt2-124m`: its drawn units out of all, plus the log's replay. The replay is
 * scaled from the one measured here by the bytes of state and units that it goes through, a unit's training by 6 FLOP
 * per parameter and token.
 */
function predictedShare(settings: RunSettings, totals: Totals): string[] {
  if (totals.checks === 0 || totals.trainSeconds === 0) return [];
  const { recipe } = settings;
  const large = loadRecipe('gpt2-124m');
  const units = large.stepsPerClaim * large.unitsPerStep;
  const { fractionPpm, targetPpm } = large.detection;
  const each = samplesForDetection(units, fractionPpm, targetPpm, settings.verifiers);
  const replayedElements = recipe.stepsPerClaim * createLayout(recipe).length * (1 + recipe.unitsPerStep / 32);
  const secondsPerElement = totals.replaySeconds / totals.checks / replayedElements;
  const length = createLayout(large).length;
  const replay = secondsPerElement * large.stepsPerClaim * length * (1 + large.unitsPerStep / 32);
  const flopPerSecond = (6 * createLayout(recipe).length * totals.tokens) / totals.trainSeconds;
  const train = (6 * length * units * large.sequencesPerUnit * large.context) / flopPerSecond;
  const share = each / units + replay / train;
  return [
    `  gpt2-124m   predicted: ${(100 * share).toFixed(1)} % of training for each verifier (${each} of ${units} units recomputed, the log's replay ${((100 * replay) / train).toFixed(2)} %)`,
  ];
}

/** The same prompt continued by the start model and by the last finalized one. */
async function samples(
  plan: ModelPlan,
  modelRoot: Uint8Array | undefined,
  directory: string,
  environment: Environment,
): Promise<[string, string][]> {
  const tokenizer = await openRecipeTokenizer(plan.recipe, path.join(environment.home, 'data'));
  const { kernels } = environment.backend;
  const texts: [string, string][] = [];
  const write = (when: string, theta: Float32Array): void => {
    const weights = allocateWeights(environment.models.complete(plan), theta);
    quantizeWeights(plan, kernels, weights);
    const prompt = tokenizer.encode(SAMPLE_PROMPT);
    const tokens = generate(plan, kernels, weights, { prompt, count: SAMPLE_TOKENS, seed: 1 });
    texts.push([when, SAMPLE_PROMPT + decodeText(tokenizer, tokens)]);
  };
  const blobs = BlobStore.reader(path.join(directory, 'published', 'blobs'));
  write('before training', startVectors(plan, blobs).theta);
  if (modelRoot !== undefined) {
    const theta = new Float32Array(new SharedArrayBuffer(4 * plan.layout.length));
    unpackModel(plan, kernels, blobs.get(modelRoot, { length: packedModelLayout(plan.layout).bytes }), theta);
    write('after training', theta);
  }
  return texts;
}
