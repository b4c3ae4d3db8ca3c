/** docs/cost.md and its charts, from the committed points: every figure with what it rests on. */

import { loadRecipe, RECIPE_NAMES } from '../model/recipe.js';
import { alternatives } from './alternatives.js';
import { type Analysis, analyse, type CostInputs, DEFAULT_INPUTS, stepSeconds } from './analysis.js';
import { type BarGroup, logBars } from './chart.js';
import { assumedDevice, type Device, H100, measuredDevice } from './device.js';
import { DUTY_SHARE, shortestClaimWithin } from './dutyLength.js';
import type { Figure } from './figure.js';
import { MEASURED } from './measured.js';
import type { MeasuredPoints } from './points.js';
import { figureText } from './text.js';
import { type Workload, workloadOf } from './workload.js';

/** Models of the document, where this version has a recipe of that name. */
const MODELS = ['gpt2-124m', 'gemma3-27b', 'gpt3-175b'] as const;
/** Machines on which a block time is shown. */
const FLEETS = [1, 16, 256, 4096, 65_536] as const;
const STEPS = [1, 20, 200] as const;
/** Steps of a claim for which a seat's share is shown. */
const CLAIMS = [20, 100, 500, 2000, 4000] as const;

const cell = (f: Figure): string => figureText(f);

function table(head: readonly string[], rows: readonly (readonly string[])[]): string {
  const line = (cells: readonly string[]): string => `| ${cells.join(' | ')} |\n`;
  return line(head) + line(head.map(() => '---')) + rows.map(line).join('');
}

interface Model {
  readonly name: string;
  readonly work: Workload;
  /** On the machine that was measured, and on assumed GPUs. */
  readonly cpu: Analysis;
  readonly gpu: Analysis;
}

function models(): Model[] {
  const cpu = measuredDevice(MEASURED);
  const gpu = assumedDevice(H100);
  return MODELS.filter((name) => RECIPE_NAMES.includes(name)).map((name) => {
    const work = workloadOf(loadRecipe(name));
    return { name, work, cpu: analyse(work, cpu, DEFAULT_INPUTS), gpu: analyse(work, gpu, DEFAULT_INPUTS) };
  });
}

/** Figures of all models on one kind of machine, a row each, with basis and source. */
function figures(all: readonly Model[], pick: (model: Model) => Analysis): string {
  const [first] = all;
  if (first === undefined) return '';
  return pick(first)
    .sections.map((section, s) => {
      const rows = section.rows.map(({ name, figure }, r) => [
        name,
        ...all.map((model) => cell((pick(model).sections[s]?.rows[r] ?? { figure }).figure)),
        figure.basis,
        figure.source,
      ]);
      return `**${section.title}**\n\n${table(['', ...all.map(({ name }) => name), 'basis', 'source'], rows)}`;
    })
    .join('\n');
}

function blockTimes(all: readonly Model[], device: Device): string {
  const rows = all.flatMap(({ name, work }) =>
    FLEETS.map((machines) => {
      const step = stepSeconds(work, device, machines);
      const times = STEPS.map((steps) => cell({ ...step, value: steps * step.value }));
      return [name, machines.toLocaleString('en-US'), ...times];
    }),
  );
  return table(['model', 'machines', ...STEPS.map((steps) => `K = ${steps}`)], rows);
}

function comparison(all: readonly Model[]): string {
  return all
    .map(({ name, gpu }) => {
      const rows = alternatives(gpu).map(({ name: way, rests, checker, prover, bytes }) => [
        way,
        checker.value === 0 ? 'not counted' : `${cell(checker)} (${checker.basis})`,
        prover.value === 0 ? '–' : `${cell(prover)} (${prover.basis})`,
        `${cell(bytes)} (${bytes.basis})`,
        rests,
      ]);
      return `\`${name}\`, a claim of ${gpu.work.stepsPerClaim} steps, on ${gpu.device.name}; training it takes ${cell(gpu.claimSeconds)}:\n\n${table(
        ['way', 'a checker computes', 'the prover adds', 'a checker fetches', 'rests on'],
        rows,
      )}`;
    })
    .join('\n');
}

/** How a seat's share falls with the tokens of a step: the log's replay is paid once a step. */
function shares(all: readonly Model[], device: Device): string {
  const counts = [1, 4, 16, 64, 256];
  const rows = all.map(({ name, work }) => [
    `${name} (${figureText({ value: work.tokensPerUnit, unit: '' })} tokens a unit)`,
    ...counts.map((unitsPerStep) => {
      const many = workloadOf(work.recipe, { unitsPerStep });
      const { verifyToTrain, work: w } = analyse(many, device, DEFAULT_INPUTS);
      return `${cell(verifyToTrain)} (${figureText({ value: w.tokensPerStep, unit: '' })} tokens)`;
    }),
  ]);
  return table(['model', ...counts.map((count) => `M = ${count}`)], rows);
}

/** A seat's share by the length of a claim: how many units it draws hardly grows with how many there are. */
function lengths(all: readonly Model[], device: Device): string {
  const rows = all.flatMap(({ name, work }) =>
    [10_000, 100_000].map((fractionPpm) => [
      name,
      `${fractionPpm / 1e4} %`,
      ...CLAIMS.map((stepsPerClaim) => {
        const long = workloadOf(work.recipe, { stepsPerClaim });
        const { verifyToTrain, samples } = analyse(long, device, { ...DEFAULT_INPUTS, fractionPpm });
        return `${cell(verifyToTrain)} (${samples} of ${stepsPerClaim * work.unitsPerStep})`;
      }),
    ]),
  );
  return table(['model', 'bad units that are found', ...CLAIMS.map((steps) => `K = ${steps}`)], rows);
}

/** The shortest claims whose duty is within a hundredth of training, part by part, with the line that they need. */
function dutyParts(all: readonly Model[], device: Device): string {
  const rows = all.flatMap(({ name, work }) =>
    [100_000, 10_000].map((fractionPpm) => {
      const within = shortestClaimWithin(work, device, { ...DEFAULT_INPUTS, fractionPpm });
      const title = [name, `${fractionPpm / 1e4} %`];
      if (within === undefined) return [...title, 'none', ...Array.from({ length: 11 }, () => '–')];
      const { duty, claimSeconds, claimBytes, samples, work: long } = within;
      const share = (seconds: number): string => figureText({ value: seconds / claimSeconds.value, unit: 'share' });
      const line = { value: (8 * claimBytes.value) / (DUTY_SHARE * claimSeconds.value), unit: 'bit/s' };
      return [
        ...title,
        long.stepsPerClaim.toLocaleString('en-US'),
        `${samples} of ${(long.stepsPerClaim * long.unitsPerStep).toLocaleString('en-US')}`,
        ...[duty.units, duty.replay, duty.read, duty.hash, duty.compare, duty.model, duty.heldOut].map(share),
        share(within.verifySeconds.value),
        cell(claimBytes),
        figureText(line),
      ];
    }),
  );
  const parts = ['drawn units', 'replay', 'reading', 'hashes', 'comparing', 'model', 'held-out loss', 'together'];
  return table(['model', 'found', 'K from', 'units drawn', ...parts, 'bytes of a claim', 'line'], rows);
}

function charts(all: readonly Model[]): { name: string; text: string }[] {
  const ways: BarGroup[] = all.map(({ name, gpu }) => ({
    title: name,
    bars: alternatives(gpu).map((way) => {
      const seconds = way.checker.value + way.prover.value;
      return {
        label: way.name.slice(0, 40),
        value: seconds / gpu.claimSeconds.value,
        text: figureText({ value: seconds / gpu.claimSeconds.value, unit: 'share' }),
      };
    }),
  }));
  const bytes: BarGroup[] = all.map(({ name, gpu }) => ({
    title: name,
    bars: gpu.sections
      .filter(({ title }) => title === 'Bytes of a claim')
      .flatMap(({ rows }) => rows.slice(0, 4))
      .map((row) => ({ label: row.name, value: row.figure.value, text: cell(row.figure) })),
  }));
  return [
    {
      name: 'cost-ways.svg',
      text: logBars('Checking a claim and proving it: seconds over those of training it (log)', ways, [
        [1, 'training'],
      ]),
    },
    { name: 'cost-bytes.svg', text: logBars('Bytes of a claim (log)', bytes, []) },
  ];
}

const inputsText = (inputs: CostInputs): string =>
  `${inputs.committee} seats that together find ${inputs.fractionPpm / 1e4} % of bad units with ${inputs.targetPpm / 1e4} %; prices are ${inputs.machineHour} ¤ a machine hour, ` +
  `${inputs.sentGigabyte} ¤ a GB sent, ${inputs.storedGigabyteMonth} ¤ a GB and month kept`;

/** A line of `scripts/check-cost.mjs --write`: how a formula did against real runs. */
export type CheckedLine =
  | {
      readonly type: 'cost-check-run';
      readonly date: string;
      readonly cpu: string;
      readonly cores: number;
      readonly isa: string;
      readonly points: string;
    }
  | {
      readonly type: 'cost-check';
      readonly recipe: string;
      readonly what: string;
      readonly formula: number;
      readonly found: number;
      readonly off: number;
      readonly holds: boolean;
    };

/** Claims of the runs that the formulas are held against: the first one warms up (bench/claimRuns.ts). */
const CHECKED_CLAIMS = 2;

/** The formulas of a step and of a duty, each with the line of the bench that its point is of. */
function formulas(): string {
  const rows = [
    [
      'a unit',
      'operations and bytes of each pass of its tape over the pass’s two rates',
      '`unit-profile/…`, fitted over the recipes',
    ],
    ['units side by side', 'a unit alone, times what others that compute beside it cost', '`step` over `unit-replay`'],
    ['waits', 'lanes that wait for the slowest: in proportion to the root of the seconds', '`idlePercent` of `step`'],
    [
      'a miner’s commit pass, weights, hash',
      'bytes over the bandwidth of all lanes',
      'shares of `step`, largest recipe',
    ],
    [
      'trips',
      'handing tasks to lanes: rounds of tasks that a lane takes one after the other',
      '`emptyTaskUs` of `step`',
    ],
    ['the log of a miner', 'a step’s units: hashed, written, synced; by their bytes', '`claim/mine` over `step`'],
    [
      'reading the log',
      'a step’s units: read, hashed, looked through by the lanes; by their bytes',
      '`readMs` of `claim/verify`',
    ],
    ['replay of the log', 'a commit pass a step, with its trips; by its bytes', '`replayMs` of `claim/verify`'],
    ['hashes of a verifier', 'the state at drawn steps and the end; by the bytes read', '`hashMs` of `claim/verify`'],
    [
      'comparing drawn units',
      'a drawn unit’s batch and tokens, its bytes and loss compared; by its bytes',
      '`dutyMs` of `claim/verify` without its timed parts',
    ],
    [
      '4-bit model and diff',
      'packed, hashed, compared with the one before; by the model’s bytes',
      '`modelMs` of `claim/verify`',
    ],
    [
      'held-out loss',
      'for the models before and after: unpacking, weights, the tape of the loss for 64 sequences',
      '`loss-profile/…` where it was measured, else as for a unit',
    ],
    [
      'start and end',
      'once a process; by the bytes of the state',
      '`mineAroundMs`, `verifyAroundMs` of `claim/…`, of `tiny` and `gpt2-53m`, too, where they were run',
    ],
  ];
  return table(['what', 'formula', 'its point'], rows);
}

/** What of repeated runs the points are, and what of those that the formulas are held against. */
function runsText({ process }: MeasuredPoints): string {
  const least =
    'the least of each time counts, without the first run, which reads files for the first time, and runs beside which others computed: what disturbs a run makes it longer. Runs go on until their least was met twice within 5 %';
  if (process?.least === true) {
    return `Of the runs of \`claim/…\`, and of those below, ${least}; of \`gpt2-124m\`, whose run takes three minutes, there is one.`;
  }
  return `Of the runs below, and of the points timed beside them, ${least}; they are timed in three passes, minutes apart. The lines \`claim/…\` of these results are older: medians of three runs of \`moby\`, and the first run of larger models.`;
}

/** The section of the page that says how the formulas did; each miss by name. */
export function checkedText(lines: readonly CheckedLine[]): string {
  const run = lines.find((line) => line.type === 'cost-check-run');
  const rows = lines.filter((line) => line.type === 'cost-check');
  if (run === undefined || rows.length === 0) {
    return '`node scripts/check-cost.mjs --measure --write` compares the formulas with real runs and keeps the result; none of the present formulas is kept in `bench/results/cost/`.';
  }
  const cells = rows.map(({ recipe, what, formula, found, off, holds }) => {
    const digits = (x: number): string => String(Number(x.toPrecision(4)));
    const percent = `${off > 0 ? '+' : off < 0 ? '−' : ''}${Math.abs(100 * off).toFixed(1)} %`;
    return [recipe, what, digits(formula), digits(found), percent, holds ? 'holds' : '**missed**'];
  });
  const missed = rows.filter(({ holds }) => !holds).length;
  return (
    `\`node scripts/check-cost.mjs\` compares the formulas with real runs of \`pogo mine\` and \`pogo verify\` over ${CHECKED_CLAIMS} claims, each recipe predicted from the other recipes' points: the duty is that of the last claim, the whole commands are those of all, with start and end. ` +
    `${run.cpu}, ${run.cores} cores, ${run.isa}, ${run.date}, points ${run.points}; times within 15 % and equal counts are asked for, ` +
    `${missed === 0 ? 'all hold' : `${missed} of ${rows.length} are missed`}:\n\n` +
    table(['recipe', 'what', 'formula', 'run', 'off', ''], cells).trimEnd()
  );
}

/** Files of `docs/` by name. @param checked lines that `scripts/check-cost.mjs --write` keeps; none where it did not run */
export function costFiles(checked: readonly CheckedLine[]): (readonly [string, string])[] {
  const all = models();
  const cpu = measuredDevice(MEASURED);
  const gpu = assumedDevice(H100);
  const page = `<!-- Generated by scripts/generate-cost.mjs: do not edit. -->

# What verified training costs

The paper of this protocol (arXiv 2504.07540) argues that checking is much cheaper than training, for GPT-3 with 175 billion parameters and Gemma 3 with 27 billion. Here the argument is
made again with this software's own numbers. \`pogo cost --model M\` prints the same for any recipe, with your prices and detection.

Every figure says what it rests on: **measured** (a line of \`${MEASURED.file}\`: ${cpu.name}), **counted** (bytes and operations of the recipe's layout and tape, exact), **derived** (a formula over those), or
**assumed** (prices, hardware that nothing was measured on, somebody else's publication). \`node scripts/publish-results.mjs\` writes this page out of the newest results; \`node scripts/check-cost.mjs\` compares
the formulas with real runs of three sizes, [below](#against-real-runs). A machine that other work keeps busy is refused there.

Inputs of this page: ${inputsText(DEFAULT_INPUTS)}.

## Checked against others

![seconds of checking and proving over those of training](cost-ways.svg)

${comparison(all)}
How the ways are put beside each other: all seats of a way check the same claim on the same machine. Whoever replays everything needs no log, only the start state, which everybody has. Of checkpoints a seat replays the same share of
the work that a seat here computes of drawn units, and fetches the states at both ends of each replayed interval; the miner keeps all of them. So a seat's computing is about the same there, and what differs is what an accepted check means: what a tolerance
accepts, others have forged. Proofs in zero knowledge are cheap to check and cost their prover orders of magnitude more than training; figures of publications are for other models and hardware, are scaled linearly in parameters and sequences, which favours
them, and their sources are the papers named here: Kaizen (IACR ePrint 2024/162, VGG-11 with 10 M parameters, batch of 16: 15 minutes an iteration, 1.63 MB, 130 ms to check) and zkLLM (arXiv 2404.16109, one inference of 13 G parameters in under 15 minutes
on a GPU, under 200 kB). A checker's time of the latter is not counted.

## On the machine that was measured

${figures(all, ({ cpu: one }) => one)}
## On assumed GPUs

Nothing was run on a GPU. A device is taken at ${H100.source}; units at 30 % of the integer peak, passes over memory at 80 % of its bandwidth. A model that needs more than one device's memory is split over several, without
loss: another assumption.

${figures(all, ({ gpu: one }) => one)}
## The formulas

${formulas()}
Where a formula says *by* a size, seconds were measured at several sizes and lie on the line between neighbours; above the largest the last line goes on, below the smallest the first, as far as its fixed part is not below zero;
seconds never fall with size (measured ones that do are averaged). ${runsText(MEASURED)}

A duty is that of a verifier that goes from claim to claim; what a process pays once (lanes bind their tapes, memory is touched for the first time) is start and end.

## Against real runs

${checkedText(checked)}

## Block times

A block is a claim: K steps. Seconds to years on ${cpu.name}:

${blockTimes(all, cpu)}
On assumed GPUs (${gpu.name}):

${blockTimes(all, gpu)}
Units of a step are independent, so machines beyond M lanes do not help: larger M is a larger batch. The ledger sets the next K from the time of finalized claims within a recipe's bounds.

## When a seat's duty falls below one percent

Replaying the log costs a commit pass a step whatever the batch, so it weighs less the more tokens a step has. Seats' duty over the miner's machine time, assumed GPUs:

${shares(all, gpu)}
and on the measured machine:

${shares(all, cpu)}
A seat draws about as many units from a long claim as from a short one, so the share of drawn units falls with the length of a claim (units drawn by each of ${DEFAULT_INPUTS.committee} seats, assumed GPUs):

${lengths(all, gpu)}
The shortest claims for which it is, with recipes as they are otherwise (all three have half a million tokens a step or more), on the measured machine: shares of training, and the line on which fetching the claim takes a hundredth of
it, too. Unit, commit pass a byte, hashing and reading are measured there; units of these sizes are derived from its passes. A drawn step mostly has one drawn unit, so that of two lanes one waits: machine time counts it.

${dutyParts(all, cpu)}
and on assumed GPUs:

${dutyParts(all, gpu)}
Other built-in recipes have claims of 20 steps, in which ${DEFAULT_INPUTS.committee} seats must draw 11 of 320 units each to find a tenth that is bad: **their duty is 3.4 % of the units, above one percent**. \`gpt2-124m-long\` is \`gpt2-124m\` with claims of
320 steps, of which a seat draws 11 of 5,120 units and its duty is below one percent. Other lengths are a field of a recipe file (\`stepsPerClaim\`), or bounds of K within which the ledger sets it.

## Bytes

![bytes of a claim](cost-bytes.svg)

The log is ${figureText({ value: 0.53125, unit: '' })} bytes a parameter and unit. It is what a positive verdict needs in full; who only wants a leaf fetches kilobytes. What a seat's line must carry so that fetching stays within
one percent of training stands in the tables above: for large models it, not arithmetic, decides how many seats can look at everything.
`;
  return [['cost.md', page], ...charts(all).map(({ name, text }) => [name, text] as const)];
}
