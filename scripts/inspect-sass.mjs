// Reads the code of the built CUDA addon and fails where it is not exact arithmetic (numerics 1.1).
//   node scripts/inspect-sass.mjs [ADDON]          exit code 0 exact, 1 not, 5 no addon or no cuobjdump
// PTX, which later devices compile: no fused or approximate float instruction, no flush to zero. SASS, which sm_80 and sm_90
// run: no fused multiply-add, except in kernels that divide or take roots, because IEEE division and root are made of them.
import { existsSync } from 'node:fs';
import { delimiter, join } from 'node:path';
import { capture, cli, ROOT, ScriptError } from './lib/project.mjs';
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
const SASS_KERNEL = /Function\s*:\s*(\w+)/;
const SASS_FUSED = /\b[FD]FMA\b[.\w]*/;

/** Lines by kernel. */
function byKernel(text, pattern) {
  const kernels = new Map();
  let lines;
  for (const line of text.split('\n')) {
    const start = pattern.exec(line);
    if (start !== null) {
      lines = kernels.get(start[1]) ?? [];
      kernels.set(start[1], lines);
    }
    lines?.push(line);
  }
  return kernels;
}

/** The plain name of a mangled kernel: a length, then that many characters that end in `_kernel`. */
function plain(mangled) {
  for (const [, length, rest] of mangled.matchAll(/(?=(\d{1,2})([a-z]\w*))/g)) {
    const name = rest.slice(0, Number(length));
    if (name.length === Number(length) && name.endsWith('_kernel')) return name;
  }
  return mangled;
}

await cli(async (args) => {
  const addon = args[0] ?? join(ROOT, 'native', 'cuda', 'build', 'Release', 'pogo_cuda.node');
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
  const ptx = byKernel(await read('-ptx'), PTX_KERNEL);
  const dividing = new Set();
  for (const [kernel, lines] of ptx) {
    for (const line of lines) {
      const found = PTX_FORBIDDEN.exec(line);
      if (found !== null) problems.push(`PTX of ${plain(kernel)}: ${found[1]}`);
      if (PTX_DIVIDES.test(line)) dividing.add(kernel);
    }
  }
  let inspected = 0;
  for (const architecture of ['sm_80', 'sm_90']) {
    const kernels = byKernel(await read('-sass', '-arch', architecture), SASS_KERNEL);
    if (kernels.size !== ptx.size) {
      problems.push(`${architecture}: expected ${ptx.size} kernels as in the PTX, found ${kernels.size}`);
    }
    for (const [kernel, lines] of kernels) {
      inspected += 1;
      if (dividing.has(kernel)) continue;
      const fused = lines.map((line) => SASS_FUSED.exec(line)?.[0]).filter((name) => name !== undefined);
      if (fused.length > 0) problems.push(`${architecture} code of ${plain(kernel)}: ${fused.length} × ${fused[0]}`);
    }
  }
  if (ptx.size === 0) problems.push('no kernel was found');
  for (const problem of problems) process.stderr.write(`inspect-sass: ${problem}\n`);
  const names = [...dividing].map(plain).join(', ');
  process.stderr.write(
    `inspect-sass: ${ptx.size} kernels as PTX, ${inspected} as machine code, ${problems.length} problems`,
  );
  process.stderr.write(names === '' ? '\n' : ` (divisions in ${names})\n`);
  return problems.length > 0 ? 1 : 0;
});
