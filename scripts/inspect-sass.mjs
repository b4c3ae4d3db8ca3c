// Reads the code of the built CUDA addon and fails where it is not exact arithmetic (numerics 1.1).
//   node scripts/inspect-sass.mjs [ADDON] [--list]          exit code 0 exact, 1 not, 5 no addon or no cuobjdump
// PTX, which later devices compile: no fused or approximate float instruction, no flush to zero. SASS, which sm_80, sm_90 and
// sm_90a run: no fused multiply-add, except in kernels that divide or take roots, because IEEE division and root are made of
// them (as is the reciprocal of native/exact/arith.h: the one approximation that is let through, with the steps that round it
// correctly); tensor-core instructions in every kernel that multiplies codes; no local memory in hot kernels; no more registers
// than let blocks share a multiprocessor; no more instructions than today where issue decides. The rules that name kernels stand in lib/sassRules.mjs. `--list` prints what was
// counted.
import { existsSync } from 'node:fs';
import { delimiter, join } from 'node:path';
import { capture, cli, ROOT, ScriptError } from './lib/project.mjs';
import {
  ARCHITECTURES,
  DIVISION_SEED,
  INSTRUCTIONS_ALLOWED,
  REGISTERS_ALLOWED,
  REGISTERS_MOVED,
  SPILLS_ALLOWED,
  TENSOR_KERNELS,
} from './lib/sassRules.mjs';
import { installWheels } from './lib/wheels.mjs';

/** Readers of machine code; they read files of older compilers. */
const PINS = `\
nvidia-cuda-cuobjdump==13.5.37 --hash=sha256:38780fee50863252a0b8926357faa91615ca1c8346490563f33a06100cd73f58
nvidia-cuda-nvdisasm==13.5.37 --hash=sha256:d3fdbdd49fa53e2e4aacd3db8259d052bd2b049ececdcb69e92e083c6728e7ca
`;
const PTX_KERNEL = /^\s*(?:\.visible\s+)?\.entry\s+(\w+)/;
const PTX_FORBIDDEN =
  /^\s*(?:@\S+\s+)?((?:fma|mad)\.(?:\w+\.)*f(?:16|32|64)\b|\S*\.ftz\b|\S*\.approx\b|div\.full\S*|(?:ex2|lg2|sin|cos|tanh)\.\S+)/;
const PTX_DIVIDES = /^\s*(?:@\S+\s+)?(?:div|sqrt|rcp)\.rn\.f32\b/;
/** pogo_reciprocal (native/exact/arith.h): nothing else may stand between these lines. */
const PTX_RECIPROCAL = [
  /^\s*neg\.f32 minus, (?<x>%f\d+);/,
  /^\s*rcp\.approx\.ftz\.f32 (?<r>%f\d+), (?<x>%f\d+);/,
  /^\s*fma\.rn\.f32 error, minus, (?<r>%f\d+), 0f3F800000;/,
  /^\s*fma\.rn\.f32 (?<r>%f\d+), (?<s>%f\d+), error, (?<t>%f\d+);/,
  /^\s*fma\.rn\.f32 error, minus, (?<r>%f\d+), 0f3F800000;/,
  /^\s*fma\.rn\.f32 (?<r>%f\d+), (?<s>%f\d+), error, (?<t>%f\d+);/,
];
const IMAGE = /^arch = (sm_\w+)/;
const SASS_KERNEL = /Function\s*:\s*(\w+)/;
const USED_KERNEL = /^\s*Function (\w+):/;
const USED_REGISTERS = /\bREG:(\d+)/;
const SASS_FUSED = /\b[FD]FMA\b[.\w]*/;
const SASS_LOCAL = /\b(?:LDL|STL)\b(?:\.LU)?(?:\.(64|128))?/;
/** An instruction's address, its text; not the encoding beside it. */
const SASS_INSTRUCTION = /^\s+\/\*[0-9a-f]{4,6}\*\/\s+(.*?);/;

/** Lines by kernel. */
function byKernel(lines, pattern) {
  const kernels = new Map();
  let own;
  for (const line of lines) {
    const start = pattern.exec(line);
    if (start !== null) {
      own = kernels.get(start[1]) ?? [];
      kernels.set(start[1], own);
    }
    own?.push(line);
  }
  return kernels;
}

/** Whether the lines from `at` on are the correctly rounded reciprocal, each register the one that it must be. */
function isReciprocal(lines, at) {
  const found = PTX_RECIPROCAL.map((pattern, i) => pattern.exec(lines[at + i] ?? '')?.groups);
  if (found.some((groups) => groups === undefined)) return false;
  const [minus, seed, ...steps] = found;
  return seed.x === minus.x && steps.every(({ r, s = r, t = r }) => r === seed.r && s === seed.r && t === seed.r);
}

/** Machine code by architecture and kernel: the dump has a header for each image. */
function byArchitecture(text) {
  const images = new Map();
  let own;
  for (const line of text.split('\n')) {
    const start = IMAGE.exec(line);
    if (start !== null) {
      own = images.get(start[1]) ?? [];
      images.set(start[1], own);
    }
    own?.push(line);
  }
  return new Map([...images].map(([architecture, lines]) => [architecture, byKernel(lines, SASS_KERNEL)]));
}

/** Registers of a thread by architecture and kernel: the listing of what each uses has the same headers. */
function registersByArchitecture(text) {
  const used = new Map();
  let architecture;
  let kernel;
  for (const line of text.split('\n')) {
    architecture = IMAGE.exec(line)?.[1] ?? architecture;
    kernel = USED_KERNEL.exec(line)?.[1] ?? kernel;
    const registers = USED_REGISTERS.exec(line)?.[1];
    if (registers !== undefined) used.set(`${architecture} ${kernel}`, Number(registers));
  }
  return used;
}

/** Plain names by mangled ones: without namespaces, arguments and `void`. */
async function demangled(mangled) {
  const text = await capture('c++filt', mangled);
  if (text === undefined) throw new ScriptError('error ENVIRONMENT: c++filt not found; install binutils', 5);
  const names = text.trim().split('\n');
  return new Map(mangled.map((name, i) => [name, shortened(names[i])]));
}

/** `void pogo::(anonymous namespace)::f<pogo::X>(int)` becomes `f<X>`. */
function shortened(name) {
  const plain = name
    .replaceAll('(anonymous namespace)::', '')
    .replaceAll('pogo::', '')
    .replaceAll('attention::', '')
    .replace(/^void /, '');
  let depth = 0;
  for (let i = 0; i < plain.length; i += 1) {
    if (plain[i] === '<') depth += 1;
    else if (plain[i] === '>') depth -= 1;
    else if (plain[i] === '(' && depth === 0) return plain.slice(0, i);
  }
  return plain;
}

/** What a kernel's code holds: instructions, fused ones, tensor-core ones, words moved from and to local memory. */
function counted(lines, tensor) {
  const found = { instructions: 0, fused: 0, tensor: 0, local: 0, divides: false };
  for (const line of lines) {
    const instruction = SASS_INSTRUCTION.exec(line)?.[1];
    if (instruction === undefined) continue;
    found.instructions += 1;
    if (SASS_FUSED.test(instruction)) found.fused += 1;
    if (tensor.test(instruction)) found.tensor += 1;
    if (DIVISION_SEED.test(instruction)) found.divides = true;
    const local = SASS_LOCAL.exec(instruction);
    if (local !== null) found.local += Number(local[1] ?? 32) / 32;
  }
  return found;
}

await cli(async (args) => {
  const list = args.includes('--list');
  const addon =
    args.find((word) => !word.startsWith('--')) ?? join(ROOT, 'native', 'cuda', 'build', 'Release', 'pogo_cuda.node');
  if (!existsSync(addon))
    throw new ScriptError(`error ENVIRONMENT: expected ${addon}; build it by npm run setup -- --cuda`, 5);
  const bin = join(await installWheels('cuda-inspect', PINS, 'cuobjdump and nvdisasm (6 MB)'), 'nvidia', 'cu13', 'bin');
  process.env.PATH = `${bin}${delimiter}${process.env.PATH}`;
  const read = async (...options) => {
    const text = await capture(join(bin, 'cuobjdump'), [...options, addon]);
    if (text === undefined)
      throw new ScriptError(`error ENVIRONMENT: cuobjdump ${options.join(' ')} failed on ${addon}`, 5);
    return text;
  };

  const problems = [];
  const ptx = byKernel((await read('-ptx')).split('\n'), PTX_KERNEL);
  const code = byArchitecture(await read('-sass'));
  const registers = registersByArchitecture(await read('-res-usage'));
  for (const architecture of Object.keys(ARCHITECTURES)) {
    if (!code.has(architecture)) problems.push(`${architecture}: no machine code was found`);
  }
  const plain = await demangled([...new Set([...ptx.keys(), ...[...code.values()].flatMap((map) => [...map.keys()])])]);

  const dividing = new Set();
  for (const [kernel, lines] of ptx) {
    for (let at = 0; at < lines.length; at += 1) {
      const line = lines[at];
      if (isReciprocal(lines, at)) {
        dividing.add(kernel);
        at += PTX_RECIPROCAL.length - 1;
        continue;
      }
      const found = PTX_FORBIDDEN.exec(line);
      if (found !== null) problems.push(`PTX of ${plain.get(kernel)}: ${found[1]}`);
      if (PTX_DIVIDES.test(line)) dividing.add(kernel);
    }
  }
  let inspected = 0;
  let products = 0;
  for (const [architecture, kernels] of code) {
    const tensor = ARCHITECTURES[architecture];
    if (tensor === undefined) {
      problems.push(`${architecture}: an architecture that lib/sassRules.mjs does not know`);
      continue;
    }
    if (architecture !== 'sm_90a' && kernels.size !== ptx.size) {
      problems.push(`${architecture}: expected ${ptx.size} kernels as in the PTX, found ${kernels.size}`);
    }
    for (const [kernel, lines] of kernels) {
      inspected += 1;
      const name = plain.get(kernel);
      const where = `${architecture} code of ${name}`;
      const found = counted(lines, tensor);
      const used = registers.get(`${architecture} ${kernel}`);
      if (list)
        process.stdout.write(`${architecture} ${JSON.stringify({ kernel: name, registers: used, ...found })}\n`);
      const most = REGISTERS_ALLOWED.find((rule) => rule.kernel.test(name))?.registers ?? Number.POSITIVE_INFINITY;
      if (REGISTERS_MOVED.kernel.test(name)) {
        for (const pattern of REGISTERS_MOVED.instructions) {
          if (!lines.some((line) => pattern.test(line))) problems.push(`${where}: no ${pattern.source}`);
        }
      }
      if (used === undefined) problems.push(`${where}: no count of registers was read`);
      else if (used > most) problems.push(`${where}: ${used} registers, ${most} allowed`);
      const longest =
        INSTRUCTIONS_ALLOWED.find((rule) => rule.kernel.test(name))?.instructions ?? Number.POSITIVE_INFINITY;
      if (found.instructions > longest)
        problems.push(`${where}: ${found.instructions} instructions, ${longest} allowed`);
      if (found.instructions === 0) problems.push(`${where}: no instruction was read`);
      const divides = ptx.has(kernel) ? dividing.has(kernel) : found.divides;
      if (found.fused > 0 && !divides) problems.push(`${where}: ${found.fused} × FFMA`);
      if (TENSOR_KERNELS.some((rule) => rule.test(name))) {
        products += 1;
        if (found.tensor === 0) problems.push(`${where}: no tensor-core instruction`);
      }
      const allowed = SPILLS_ALLOWED.find((rule) => rule.kernel.test(name))?.words ?? 0;
      if (found.local > allowed) {
        problems.push(`${where}: ${found.local} words from and to local memory, ${allowed} allowed`);
      }
    }
  }
  if (ptx.size === 0) problems.push('no kernel was found');
  if (products === 0) problems.push('no kernel that multiplies codes was found');
  for (const problem of problems) process.stderr.write(`inspect-sass: ${problem}\n`);
  process.stderr.write(
    `inspect-sass: ${ptx.size} kernels as PTX, ${inspected} as machine code (${products} with tensor-core instructions), ` +
      `${problems.length} problems\n`,
  );
  return problems.length > 0 ? 1 : 0;
});
