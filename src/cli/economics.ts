/** `pogo economics`: whether a chain's parameters make cheating a loss for a recipe, and which inequality binds. */
import type { Command } from 'commander';
import { EMBEDDED_PARAMETERS } from '../ledger/stateGenesis.js';
import { openRecipe } from '../model/node/recipeFile.js';
import { traceCost } from '../protocol/dispute/traceCost.js';
import { beaconTries, economics, type Inequality } from '../protocol/economics.js';
import { printEvent } from './events.js';
import { traceText } from './format.js';
import { integerOption } from './options.js';

const out = (line = ''): void => void process.stdout.write(`${line}\n`);

interface Options {
  readonly recipe: string;
  readonly committee: number;
  readonly honest: number;
  readonly json?: true;
}

function amount(value: number, unit: Inequality['unit']): string {
  if (value === Number.POSITIVE_INFINITY) return 'any';
  const text = Number.isInteger(value) ? value.toLocaleString('en-US') : value.toPrecision(4);
  return unit === 'ratio' ? text : `${text} ${unit}`;
}

function show(options: Options): void {
  const recipe = openRecipe(options.recipe);
  const { committee, honest } = options;
  const result = economics({ recipe, parameters: EMBEDDED_PARAMETERS, committee, honest });
  const withholders = Math.floor((committee - 1) / 3);
  const beacon = beaconTries(withholders, EMBEDDED_PARAMETERS);
  const trace = traceCost(recipe);
  if (options.json === true) {
    const figures = { committee, honest, ...result, beacon, trace };
    printEvent({ type: 'result', command: 'economics', recipe: recipe.name, ...figures });
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
  const failing = result.inequalities.filter(({ holds }) => !holds);
  if (failing.length === 0) return;
  out();
  out('The parameters are those of the embedded ledger, whose members one operator runs. A chain between parties sets');
  for (const { parameter, least, unit } of failing) out(`  ${parameter} to at least ${amount(least, unit)}`);
  out(
    'in its genesis. They are part of the chain id, and so of every beacon: a run with others trains on other batches.',
  );
}

export function register(program: Command): void {
  program
    .command('economics')
    .description('what bonds, rewards and fines must satisfy for a recipe, and which inequality binds')
    .option('--recipe <name|file>', 'built-in name, or a recipe file', 'moby')
    .option('--committee <n>', 'seats of a committee', integerOption('--committee', 1, 4096), 4)
    .option('--honest <n>', 'seats that do their work', integerOption('--honest', 1, 4096), 1)
    .option('--json', 'events instead of text')
    .action((options: Options) => show(options));
}
