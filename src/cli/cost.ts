/** `pogo cost`: what a claim of a recipe costs its miner, its verifiers, the network and the disks. */
import { type Command, InvalidArgumentError, Option } from 'commander';
import { alternatives } from '../cost/alternatives.js';
import { type Analysis, analyse, type CostInputs, DEFAULT_INPUTS } from '../cost/analysis.js';
import { assumedDevice, type Device, H100, measuredDevice } from '../cost/device.js';
import { DUTY_SHARE, shortestClaimWithin } from '../cost/dutyLength.js';
import type { Figure } from '../cost/figure.js';
import { MEASURED } from '../cost/measured.js';
import { figureText } from '../cost/text.js';
import { workloadOf } from '../cost/workload.js';
import { openRecipe } from '../model/node/recipeFile.js';
import { printEvent } from './events.js';
import { integerOption } from './options.js';

const out = (line = ''): void => void process.stdout.write(`${line}\n`);

const DEVICES: Readonly<Record<string, () => Device>> = {
  measured: () => measuredDevice(MEASURED),
  h100: () => assumedDevice(H100),
};

interface Options {
  readonly model: string;
  readonly device: string;
  readonly detect: number;
  readonly fraction: number;
  readonly committee: number;
  readonly machines: number;
  readonly steps?: number;
  readonly units?: number;
  readonly machineHour: number;
  readonly sentGb: number;
  readonly storedGb: number;
  readonly bandwidth: number;
  readonly json?: true;
}

/** A number in [least, most]. */
function numberOption(name: string, least: number, most: number): (text: string) => number {
  return (text) => {
    const value = Number(text);
    if (text.trim() === '' || !Number.isFinite(value) || value < least || value > most) {
      throw new InvalidArgumentError(`expected ${name} from ${least} to ${most}, found ${text}`);
    }
    return value;
  };
}

function inputsOf(options: Options): CostInputs {
  return {
    fractionPpm: Math.max(1, Math.round(1e6 * options.fraction)),
    targetPpm: Math.round(1e6 * options.detect),
    committee: options.committee,
    machines: options.machines,
    machineHour: options.machineHour,
    sentGigabyte: options.sentGb,
    storedGigabyteMonth: options.storedGb,
    bandwidth: 1e9 * options.bandwidth,
  };
}

function printJson(analysis: Analysis): void {
  const { work, device, inputs, sections, samples, detection } = analysis;
  printEvent({
    type: 'result',
    command: 'cost',
    recipe: work.recipe.name,
    device: device.name,
    points: MEASURED.file,
    inputs,
    samples,
    detection,
    stepsForOnePercent: shortestClaimWithin(work, device, inputs)?.work.stepsPerClaim ?? null,
    sections: sections.map(({ title, rows }) => ({
      title,
      rows: rows.map(({ name, figure }) => ({ name, ...figure })),
    })),
    alternatives: alternatives(analysis),
  });
}

/** From which length on a seat's duty is within a hundredth of training, by computing and by its line. */
function dutyText({ work, device, inputs }: Analysis): string {
  const within = shortestClaimWithin(work, device, inputs);
  if (within === undefined)
    return 'A seat’s duty is above 1 % of training however long a claim is: replaying its log alone takes more.';
  const { stepsPerClaim } = within.work;
  const line = { value: (8 * within.claimBytes.value) / (DUTY_SHARE * within.claimSeconds.value), unit: 'bit/s' };
  return (
    `A seat’s duty is within 1 % of training for claims of ${stepsPerClaim.toLocaleString('en-US')} steps or more (${within.samples} units drawn of ` +
    `${stepsPerClaim * work.unitsPerStep}, ${figureText(within.claimBytes)}); fetching them is, on a line of ${figureText(line)}`
  );
}

function printText(analysis: Analysis): void {
  const { work, device, sections } = analysis;
  out(`${work.recipe.name} on ${device.name}`);
  for (const { title, rows } of sections) {
    out();
    out(title);
    for (const { name, figure } of rows) out(row(name, figure));
  }
  out();
  out(dutyText(analysis));
  out();
  out(`The same claim checked in other ways (training it takes ${figureText(analysis.claimSeconds)})`);
  for (const { name, checker, prover, bytes } of alternatives(analysis)) {
    const proving = prover.value === 0 ? '' : `, proving ${figureText(prover)} (${prover.basis})`;
    out(`  ${name}`);
    out(
      `    checking ${figureText(checker)} (${checker.basis})${proving}, fetching ${figureText(bytes)} (${bytes.basis})`,
    );
  }
  out();
  out(
    'measured: a committed bench line; counted: exact, from the recipe; derived: a formula over those; assumed: an input',
  );
}

function row(name: string, figure: Figure): string {
  return `  ${name.padEnd(42)} ${figureText(figure).padStart(14)}  ${figure.basis.padEnd(8)}  ${figure.source}`;
}

function cost(options: Options): void {
  const { steps, units } = options;
  const work = workloadOf(openRecipe(options.model), {
    ...(steps === undefined ? {} : { stepsPerClaim: steps }),
    ...(units === undefined ? {} : { unitsPerStep: units }),
  });
  const analysis = analyse(work, (DEVICES[options.device] as () => Device)(), inputsOf(options));
  if (options.json === true) printJson(analysis);
  else printText(analysis);
}

export function register(program: Command): void {
  const share = (name: string): ((text: string) => number) => numberOption(name, 1e-6, 1);
  const price = (name: string): ((text: string) => number) => numberOption(name, 0, 1e12);
  program
    .command('cost')
    .option('--model <recipe>', 'recipe by name, or a recipe file', 'gpt2-124m')
    .addOption(
      new Option('--device <name>', 'the machine of the committed results, or assumed GPUs')
        .choices(Object.keys(DEVICES))
        .default('measured'),
    )
    .option('--detect <p>', 'probability of finding bad units', share('--detect'), DEFAULT_INPUTS.targetPpm / 1e6)
    .option('--fraction <f>', 'of bad units that is to be found', share('--fraction'), DEFAULT_INPUTS.fractionPpm / 1e6)
    .option(
      '--committee <n>',
      'seats that check a claim',
      integerOption('--committee', 1, 4096),
      DEFAULT_INPUTS.committee,
    )
    .option(
      '--machines <n>',
      'machines of the miner',
      integerOption('--machines', 1, 10_000_000),
      DEFAULT_INPUTS.machines,
    )
    .option('--steps <k>', 'steps a claim (default: the recipe’s)', integerOption('--steps', 1, 1_000_000))
    .option('--units <m>', 'units a step (default: the recipe’s)', integerOption('--units', 1, 1_000_000))
    .option('--machine-hour <price>', 'of one machine', price('--machine-hour'), DEFAULT_INPUTS.machineHour)
    .option('--sent-gb <price>', 'of a gigabyte sent', price('--sent-gb'), DEFAULT_INPUTS.sentGigabyte)
    .option(
      '--stored-gb <price>',
      'of a gigabyte kept for a month',
      price('--stored-gb'),
      DEFAULT_INPUTS.storedGigabyteMonth,
    )
    .option(
      '--bandwidth <gbit>',
      'of a verifier’s line, Gbit/s',
      numberOption('--bandwidth', 1e-6, 1e6),
      DEFAULT_INPUTS.bandwidth / 1e9,
    )
    .option('--json', 'events instead of text')
    .addHelpText('after', '\nThe tables for three models, and where the numbers come from: docs/cost.md.')
    .action((options: Options) => cost(options));
}
