// Runs the machine code of the AMX kernels on an emulated processor with AMX: a ROM image of boot code, kernels and
// test/native/emulated/check.cc, compared with the scalar kernels there; no operating system, no hardware.
//   node scripts/amx-emulated.mjs BOCHS        the program `bochs`, 3.0 or newer, configured with
//     --enable-x86-64 --enable-cpu-level=6 --enable-avx --enable-evex --enable-amx --with-nogui
//   node scripts/amx-emulated.mjs --rom        only builds the image and prints its path
// Exit code 0 if all checks hold, 1 if one fails. What was seen: native/cpu/README.md (AMX).
import { existsSync, mkdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { capture, cli, logExcerpt, progress, ROOT, runProgram, ScriptError, TOOLS, which } from './lib/project.mjs';

const FOLDER = join(TOOLS, 'amx-emulated');
const at = (name) => join(FOLDER, name);

/** The flags of binding.gyp, for a program without operating system and C++ runtime. */
const COMMON = [
  ...['-std=c++17', '-O3', '-ffp-contract=off', '-fno-math-errno', '-DPOGO_X86=1', '-DPOGO_HAVE_AMX=1'],
  ...['-fno-exceptions', '-fno-rtti', '-fno-pic', '-fno-pie', '-fno-stack-protector', '-fno-threadsafe-statics'],
  ...['-fno-asynchronous-unwind-tables', '-fcf-protection=none', '-ffunction-sections'],
];
const AMX = ['-mavx512f', '-mavx512bw', '-mavx512dq', '-mavx512vl', '-mavx512vnni', '-mamx-tile', '-mamx-int8'];
const BARE = ['-fno-builtin', '-ffreestanding', '-fno-tree-loop-distribute-patterns'];

const LAYOUT = `SECTIONS {
  . = 0x200000;
  .text : { *(.text.entry) *(.text*) }
  .rodata : { *(.rodata*) *(.data.rel.ro*) }
  .data : { *(.data*) *(.bss*) *(COMMON) BYTE(0) }
  /DISCARD/ : { *(.note*) *(.comment) *(.eh_frame*) }
}
`;

async function must(command, args) {
  const result = await runProgram(command, args, { log: 'amx-emulated' });
  if (result.code !== 0) throw new ScriptError(`amx-emulated: ${command} failed:\n${logExcerpt(result.log)}`);
}

/** @returns path of the ROM image: the program, zeros, and the boot code in its last 64 KiB */
async function buildRom() {
  const compiler = (process.env.CXX ?? 'c++').split(' ')[0];
  if (process.arch !== 'x64' || ['ld', 'objcopy'].some((tool) => which(tool) === undefined)) {
    throw new ScriptError('error ENVIRONMENT: expected x86-64 with GNU binutils (ld, objcopy)', 5);
  }
  rmSync(FOLDER, { recursive: true, force: true });
  mkdirSync(FOLDER, { recursive: true });
  const compile = (source, object, flags) =>
    must(compiler, [...COMMON, ...flags, '-c', join(ROOT, source), '-o', at(object)]);
  await compile('native/cpu/isa/amx.cc', 'amx.o', [...AMX, '-mprefer-vector-width=512', '-w']);
  await compile('native/cpu/isa/scalar.cc', 'scalar.o', []);
  await compile('native/cpu/machine.cc', 'machine.o', []);
  await compile('test/native/emulated/check.cc', 'check.o', [...BARE, '-mamx-tile', '-mamx-int8']);
  writeFileSync(at('layout.ld'), LAYOUT);
  const runtime = (await capture(compiler, ['-print-libgcc-file-name'])).trim();
  const objects = ['check.o', 'amx.o', 'scalar.o', 'machine.o'].map(at);
  const link = ['-T', at('layout.ld'), '--gc-sections', '--no-warn-rwx-segments', '-e', 'entry'];
  await must('ld', [...link, '-o', at('program.elf'), ...objects, runtime]);
  await must('objcopy', ['-O', 'binary', at('program.elf'), at('program.bin')]);
  const program = readFileSync(at('program.bin'));
  let bytes = 1 << 17;
  while (bytes < program.length + 0x10000) bytes *= 2;
  const define = (name, value) => ['-Wa,--defsym', `-Wa,${name}=${value}`];
  const sizes = [...define('PROGRAM_BYTES', program.length), ...define('ROM_BYTES', bytes)];
  await must(compiler, ['-c', ...sizes, join(ROOT, 'test/native/emulated/boot.S'), '-o', at('boot.o')]);
  const boot = ['-Ttext=0xFFFF0000', '--oformat', 'binary', '-e', '0xFFFF0000', '-o', at('boot.bin'), at('boot.o')];
  await must('ld', boot);
  const rom = Buffer.alloc(bytes);
  program.copy(rom, 0);
  readFileSync(at('boot.bin')).copy(rom, bytes - 0x10000);
  writeFileSync(at('rom.bin'), rom);
  return at('rom.bin');
}

/** An option ROM that does nothing: the emulator wants one of its display adapter. */
function displayRom() {
  const rom = Buffer.alloc(32768);
  rom.set([0x55, 0xaa, 0x40]);
  rom[rom.length - 1] = -rom.reduce((sum, byte) => sum + byte, 0) & 0xff;
  return rom;
}

await cli(async (args) => {
  const rom = await buildRom();
  if (args[0] === '--rom') {
    process.stdout.write(`${rom}\n`);
    return 0;
  }
  const bochs = args[0] ?? which('bochs');
  if (bochs === undefined || !existsSync(bochs)) {
    throw new ScriptError('error ENVIRONMENT: expected the path of bochs, built with --enable-amx, found none', 5);
  }
  writeFileSync(at('display.bin'), displayRom());
  const settings = [
    'megs: 128',
    `romimage: file=${rom}`,
    `vgaromimage: file=${at('display.bin')}`,
    'cpu: model=sapphire_rapids, count=1, ips=50000000, reset_on_triple_fault=0',
    'display_library: nogui',
    'port_e9_hack: enabled=1',
    `log: ${at('bochs.log')}`,
    'panic: action=fatal',
  ];
  writeFileSync(at('bochsrc'), `${settings.join('\n')}\n`);
  // Its own exit code is 1 also after an orderly shutdown: the program's last line decides.
  const run = await runProgram(bochs, ['-q', '-f', at('bochsrc')], { log: 'amx-emulated-run' });
  const text = readFileSync(run.log, 'utf8');
  const lines = text.split('\n').filter((line) => /^\d+ x \d+ x \d+: |^detection|^THE EMULATOR|checks, /.test(line));
  for (const line of lines.filter((entry) => !/ equal$/.test(entry))) progress(`amx-emulated: ${line}`);
  const last = /^(\d+) checks, (\d+) failures$/.exec(lines.at(-1) ?? '');
  if (last === null) throw new ScriptError(`amx-emulated: the program did not end (${run.log}, ${at('bochs.log')})`);
  return Number(last[1]) > 100 && last[2] === '0' ? 0 : 1;
});
