/** `pogo economics`: whether a chain's parameters make cheating a loss for a recipe, and which inequality binds. */
import type { Command } from 'commander';
import { PogoError } from '../errors.js';
import { embeddedParameters } from '../ledger/stateGenesis.js';
import { openRecipe } from '../model/node/recipeFile.js';
import type { Recipe } from '../model/recipe.js';
import { traceCost } from '../protocol/dispute/traceCost.js';
import { beaconBias, beaconTries, economics, type Inequality } from '../protocol/economics.js';
import { type ProtocolParameters, ROLE } from '../protocol/ledgerTypes.js';
import { printEvent } from './events.js';
import { traceText } from './format.js';
import { readGenesis } from './genesisFile.js';
import { integerOption } from './options.js';

const out = (line = ''): void => void process.stdout.write(`${line}\n`);

interface Options {
  readonly recipe: string;
  readonly committee?: number;
  readonly honest: number;
  readonly genesis?: string;
  readonly json?: true;
}

/** Of the outcome whose bias by withheld beacon shares is printed. */
const BIAS_CHANCE = 0.1;
/** Verifiers of a run, if nothing else is said. */
const DEFAULT_COMMITTEE = 4;

/** The chain whose parameters are looked at: one of a genesis file, or an embedded one that trains the recipe. */
function chainOf(options: Options, recipe: Recipe): { committee: number; parameters: ProtocolParameters } {
  if (options.genesis === undefined) {
    const committee = options.committee ?? DEFAULT_COMMITTEE;
    return { committee, parameters: embeddedParameters([recipe], committee) };
  }
  const { parameters, members } = readGenesis(options.genesis);
  const verifiers = members.filter(({ roles }) => (roles & ROLE.verifier) !== 0).length;
  return { committee: options.committee ?? Math.min(verifiers, parameters.committeeSize), parameters };
}

function amount(value: number, unit: Inequality['unit']): string {
  if (value === Number.POSITIVE_INFINITY) return 'any';
  const text = Number.isInteger(value) ? value.toLocaleString('en-US') : value.toPrecision(4);
  return unit === 'ratio' ? text : `${text} ${unit}`;
}

function show(options: Options): void {
  const recipe = openRecipe(options.recipe);
  const { honest } = options;
  const { committee, parameters } = chainOf(options, recipe);
  const result = economics({ recipe, parameters, committee, honest });
  const withholders = Math.floor((committee - 1) / 3);
  const beacon = beaconTries(withholders, parameters);
  const trace = traceCost(recipe);
  const failing = result.inequalities.filter(({ holds }) => !holds);
  if (options.json === true) {
    const bias = { chance: BIAS_CHANCE, most: beaconBias(withholders, BIAS_CHANCE) };
    const figures = { committee, honest, ...result, beacon: { ...beacon, bias }, trace };
    printEvent({ type: 'result', command: 'economics', recipe: recipe.name, ...figures });
    requireHolding(failing);
    return;
  }
  out(
    `${recipe.name}: ${result.units} units a claim, ${result.samples} drawn by each of ${committee} seats, ${honest} of them honest`,
  );
  out(`  ${result.badUnits} bad units are found with ${(100 * result.detection).toFixed(2)} %`);
  out(`  one false unit does not pay below a gain of ${amount(result.securedValue, 'coins')} outside the chain`);
  out(
    `  ${withholders} withholders see at most ${beacon.tries} draws of a beacon, for ${amount(beacon.cost, 'coins')}`,
  );
  const bias = (100 * beaconBias(withholders, BIAS_CHANCE)).toFixed(1);
  out(`  so an outcome that a draw gives with ${100 * BIAS_CHANCE} % is theirs with at most ${bias} %`);
  out(`  ${traceText(trace)}`);
  out();
  for (const line of result.inequalities) {
    const sign = line.holds ? '≥' : '<';
    out(
      `${line.holds ? 'holds ' : 'FAILS '} ${line.name}: ${line.parameter} ${amount(line.have, line.unit)} ${sign} ${amount(line.least, line.unit)}`,
    );
    out(`         ${line.because}`);
  }
  out();
  const { binding } = result;
  out(`binds: ${binding.name} (${binding.parameter} must be at least ${amount(binding.least, binding.unit)})`);
  requireHolding(failing);
}

/** @throws PogoError UNSOUND with the parameters that are too small */
function requireHolding(failing: readonly Inequality[]): void {
  if (failing.length === 0) return;
  const short = failing.map(({ parameter, have, least, unit }) =>
    least === Number.POSITIVE_INFINITY
      ? `${parameter} is never enough with so few seats`
      : `${parameter} ${amount(have, unit)} where ${amount(least, unit)} are needed`,
  );
  throw new PogoError(
    'UNSOUND',
    `expected every inequality to hold, found: ${short.join('; ')}; set them in the genesis, or ask with --committee and --honest of the chain`,
  );
}

export function register(program: Command): void {
  program
    .command('economics')
    .option('--recipe <name|file>', 'built-in name, or a recipe file', 'moby')
    .option(
      '--committee <n>',
      `seats of a committee (${DEFAULT_COMMITTEE}, or all verifiers of the genesis)`,
      integerOption('--committee', 1, 4096),
    )
    .option('--honest <n>', 'seats that do their work', integerOption('--honest', 1, 4096), 1)
    .option('--genesis <file>', 'a chain’s genesis (SSZ) instead of the one that pogo run makes for the recipe')
    .option('--json', 'events instead of text')
    .action((options: Options) => show(options));
}
