// Shows that the vectors bite: changes one constant in a copy of the generated header native/exact/constants.h, builds the
// CPU addon from that copy, and expects the vectors to fail on every instruction set.
//   node scripts/mutation-check.mjs [--all | NAME…]      default: LOG2E
// The unchanged addon must pass first, else a failure would prove nothing. Needs `npm run setup` before.
import { readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { cli, logExcerpt, progress, ROOT, runProgram, ScriptError } from './lib/project.mjs';
import { scratchTree } from './lib/scratch.mjs';
import { nodeDirectory } from './lib/toolchains.mjs';

// A constant that many operations read. Not every constant is noticed in its last bits: --all lists those that are not.
const DEFAULT = ['LOG2E'];
const HEADER = 'native/exact/constants.h';
const LINE = /^static constexpr (float|uint32_t) POGO_(\w+) = ([^;]+);/;

/** All constants of the header. @returns name and the line's text */
function constants() {
  const lines = readFileSync(join(ROOT, HEADER), 'utf8').split('\n');
  return lines
    .map((line) => LINE.exec(line))
    .filter(Boolean)
    .map((match) => ({ name: match[2], type: match[1], value: match[3] }));
}

/** The nearest value that is another one: two units in the last place of a float, bit 1 of an integer. */
function mutated({ type, value }) {
  if (type === 'uint32_t') return `0x${((Number.parseInt(value, 16) ^ 2) >>> 0).toString(16).toUpperCase()}u`;
  const view = new DataView(new ArrayBuffer(4));
  const [, sign, digits, exponent] = /^(-?)0x(1(?:\.[0-9a-f]+)?)p(-?\d+)f$/.exec(value);
  const [whole, fraction = ''] = digits.split('.');
  const mantissa = Number.parseInt(whole + fraction, 16) / 16 ** fraction.length;
  view.setFloat32(0, (sign ? -1 : 1) * mantissa * 2 ** Number(exponent));
  view.setUint32(0, view.getUint32(0) ^ 2);
  const changed = view.getFloat32(0);
  // Decimal with 9 significant digits names a binary32 exactly.
  return `${changed.toExponential(9)}f`;
}

function vectors(env) {
  return runProgram(process.execPath, [join(ROOT, 'scripts', 'vector-check.mjs')], { env: { ...process.env, ...env } });
}

await cli(async (args) => {
  const all = constants();
  const wanted = args.includes('--all') ? all.map((constant) => constant.name) : args.length > 0 ? args : DEFAULT;
  if ((await vectors({})).code !== 0) {
    throw new ScriptError(
      'mutation check: the unchanged addon fails its vectors; run npm run setup, then look there first',
    );
  }
  const folder = scratchTree('mutation');
  const original = readFileSync(join(folder, HEADER), 'utf8');
  const survivors = [];
  for (const name of wanted) {
    const constant = all.find((entry) => entry.name === name);
    if (constant === undefined) throw new ScriptError(`mutation check: ${HEADER} has no constant ${name}`, 2);
    const before = `POGO_${name} = ${constant.value};`;
    const after = `POGO_${name} = ${mutated(constant)};`;
    progress(`mutation check: ${before} becomes ${after}`);
    writeFileSync(join(folder, HEADER), original.replace(before, after));
    const gyp = join(ROOT, 'node_modules', 'node-gyp', 'bin', 'node-gyp.js');
    const options = ['configure', 'build', '--release', `--nodedir=${nodeDirectory()}`, '--jobs=2'];
    const built = await runProgram(process.execPath, [gyp, ...options], { cwd: folder, log: 'mutation' });
    if (built.code !== 0) throw new ScriptError(`mutation check: the build failed:\n${logExcerpt(built.log)}`);
    const result = await vectors({ POGO_CPU_ADDON: join(folder, 'build', 'Release', 'pogo_cpu.node') });
    if (result.code === 0) survivors.push(name);
    else if (result.code !== 1) throw new ScriptError('mutation check: the changed addon could not be loaded');
  }
  if (survivors.length > 0) {
    throw new ScriptError(`mutation check: no vector notices a change of ${survivors.join(', ')}`);
  }
  progress(`mutation check: ${wanted.length} of ${wanted.length} changes noticed`);
});
