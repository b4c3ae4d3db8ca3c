// Prints 1 if the C++ compiler of this build takes the given flags and assembles the instruction that they stand for, else
// 0: the instruction set is then left out. node has_flags.cjs INSTRUCTION FLAG…
const { spawnSync } = require('node:child_process');

const [instruction, ...flags] = process.argv.slice(2);

function knows() {
  // Microsoft's compiler has no inline assembly on x64; cross compilers are named by CXX.
  if (process.platform === 'win32') return false;
  const [compiler, ...own] = (process.env.CXX || 'c++').split(' ').filter((part) => part !== '');
  const source = `void probe() { __asm__ volatile("${instruction}"); }\n`;
  const args = [...own, '-std=c++17', ...flags, '-x', 'c++', '-c', '-', '-o', '/dev/null'];
  return spawnSync(compiler, args, { input: source, stdio: ['pipe', 'ignore', 'ignore'] }).status === 0;
}

process.stdout.write(knows() ? '1' : '0');
