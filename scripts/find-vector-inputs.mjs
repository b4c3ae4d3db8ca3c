/**
 * Searches the inputs of `src/backend/vectorBorders.ts`: places where the last bit of a constant decides a bit of an
 * operation's output. Random inputs almost never lie there: one unit in the last place of a polynomial's highest
 * coefficient changes one value in a million.
 *
 * Usage: npx tsc -p tsconfig.build.json && node scripts/find-vector-inputs.mjs > src/backend/vectorBorderInputs.ts
 */
import { cpSync, mkdtempSync, readFileSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath, pathToFileURL } from 'node:url';

const dist = fileURLToPath(new URL('../dist/', import.meta.url));
const folder = mkdtempSync(join(tmpdir(), 'pogo-vectors-'));
writeFileSync(join(folder, 'package.json'), '{"type":"module"}');
symlinkSync(fileURLToPath(new URL('../node_modules', import.meta.url)), join(folder, 'node_modules'));

/** The reference with the lowest bit of one constant changed; with no name the reference itself. */
async function load(name) {
  const home = join(folder, name ?? 'original');
  for (const part of ['reference', 'errors.js', 'hex.js'])
    cpSync(join(dist, part), join(home, part), { recursive: true });
  const file = join(home, 'reference', 'constants.js');
  const source = readFileSync(file, 'utf8');
  const changed = source.replace(new RegExp(`(const ${name} = (?:bits\\()?)(0x[0-9a-f]+)`), (_, head, digits) => {
    return `${head}0x${((Number.parseInt(digits, 16) ^ 1) >>> 0).toString(16)}`;
  });
  if (name !== undefined && changed === source) throw new Error(`no constant ${name}`);
  writeFileSync(file, changed);
  const part = (path) => import(pathToFileURL(join(home, 'reference', path)).href);
  return {
    name,
    K: await part('constants.js'),
    ...(await part('scalars.js')),
    ...(await part('dither.js')),
    ...(await part('sums.js')),
  };
}

const original = await load();
const { f32, bitsOf, floatOf, K } = original;
let state = 1;
/** A repeatable word. */
function word() {
  state = (state + 1) | 0;
  return original.counterHash(17, 23, state) >>> 0;
}
/** A binary32 in [low, high), uniform. */
const between = (low, high) => f32(low + ((high - low) * word()) / 2 ** 32);
const hex = (x) => (bitsOf(x) >>> 0).toString(16).padStart(8, '0').toUpperCase();
const FOUND = {};

/** Collects `count` inputs of `draw` at which `f` of the two references differs. */
async function search(group, name, draw, f, count = 2, tries = 1e8) {
  const mutant = await load(name);
  FOUND[group] ??= [];
  let found = 0;
  for (let i = 0; i < tries && found < count; i += 1) {
    const x = draw();
    if (Object.is(f(original, x), f(mutant, x))) continue;
    FOUND[group].push({ name, bits: [x].flat().map(hex) });
    found += 1;
  }
  process.stderr.write(`${name} in ${group}: ${found} found\n`);
}

// linearGelu: the row's scale shows gelu(u), the derivative its code.
const scaleOfGelu = (r, u) => f32(Math.abs(r.gelu(u)) * K.F32_Q8_R);
const slopeCode = (r, u) => r.nearest(f32(r.geluDerivative(u) * r.K.F32_DERIVATIVE));
for (const name of ['EXP2_C1', 'EXP2_C2', 'EXP2_C3', 'EXP2_C4', 'EXP2_C5', 'GELU_C0', 'GELU_C1']) {
  await search('gelu', `F32_${name}`, () => between(-4, 2), scaleOfGelu);
}
for (const name of ['GELU_D0', 'GELU_D1', 'DERIVATIVE']) {
  await search('gelu', `F32_${name}`, () => between(-3, 3), slopeCode);
}
// The last u before the clamp (w = 64) and the first beyond it (w = 64.000015; no u gives the binary32 between).
for (const u of ['C0F5457F', 'C0F54580']) FOUND.gelu.push({ name: 'F32_GELU_MAX', bits: [u] });

// attentionForward, query 1 of a sequence, key 0 with scale sk, own key with score 0: λ shows log2(1 + p).
const score = (r, sk) => f32(f32(-sk) * f32(r.K.F32_LOG2E / f32(Math.sqrt(64))));
const lambda = (r, sk) => r.log2(f32(1 + r.exp2c(score(r, sk))));
for (const name of ['EXP2C_C1', 'EXP2C_C2', 'EXP2C_C3', 'LOG2_L0', 'LOG2_L1', 'LOG2_L2', 'LOG2_L3']) {
  await search('lambda', `F32_${name}`, () => between(0.01, 12), lambda);
}
// The own value scale is 0, so that the smallest probability that is not +0 shows in the output.
const smallest = (r, sk) => r.exp2c(score(r, sk));
await search('least', 'F32_EXP2_MIN', () => between(354.8, 354.95), smallest, 1);
// Codes of two keys with p = 1 and value scales [s, 1]; the output is that of key 0.
const unsignedCode = (r, s) => r.nearest(f32(s * f32(r.K.F32_Q8U_C / 1)));
await search('unsigned', 'F32_Q8U_C', () => between(0.05, 0.45), unsignedCode);

// quantizeWeight: a row [absmax, x].
await search(
  'weight',
  'F32_Q8_C',
  () => {
    const a = between(1, 2);
    return [a, between(-a, a)];
  },
  (r, [a, x]) => r.nearest(f32(x * f32(r.K.F32_Q8_C / a))),
);
// packModel: a block with one value.
await search(
  'model4',
  'F32_Q4_R',
  () => between(1, 2),
  (r, a) => r.bf16Up(f32(a * r.K.F32_Q4_R), 'search'),
);
await search(
  'model8',
  'F32_MODEL8_R',
  () => between(1, 2),
  (r, a) => r.bf16Up(f32(a * r.K.F32_MODEL8_R), 'search'),
);

// quantize4 with the seed 1, 2, 3, 4: element n of a row whose absmax is 1. The exponent's word shows where a hash is even.
const seed = Uint32Array.of(1, 2, 3, 4);
const step = original.bf16Value(original.bf16Up(K.F32_Q4_R, 'search'));
const even = Array.from({ length: 8 }, (_, n) => n + 1).filter((n) => (original.ditherColumn(seed, n) & 1) === 0);
const ditheredCode = (r, [x, n]) => {
  const delta = r.ditherOf(r.ditherColumn(seed, n), r.ditherRow(seed, 0));
  return r.nearest(f32(f32(x * f32(1 / step)) + delta));
};
const nearTie = () => {
  const n = even[word() % even.length];
  const delta = original.ditherOf(original.ditherColumn(seed, n), original.ditherRow(seed, 0));
  const tie = (word() % 12) - 5.5;
  return [floatOf((bitsOf(f32((tie - delta) * step)) + (word() % 17) - 8) | 0), n];
};
await search('dither', 'F32_HALF_STEP', nearTie, ditheredCode, 2, 1e6);
await search('dither', 'U32_DITHER_ONE', nearTie, ditheredCode, 1, 1e6);

rmSync(folder, { recursive: true });
const lines = Object.entries(FOUND).map(([group, found]) => {
  const rows = found.map(({ name, bits }) => `    [${JSON.stringify(name)}, ${bits.map((b) => `'${b}'`).join(', ')}],`);
  return `  ${group}: [\n${rows.join('\n').replaceAll('"', "'")}\n  ],`;
});
process.stdout.write(`// Generated by scripts/find-vector-inputs.mjs. Do not edit.

/** By place of use: a constant whose last bit decides the answer there, and the bits of the inputs. */
export const BORDER_INPUTS = {
${lines.join('\n')}
} as const;
`);
