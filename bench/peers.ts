/** The programs that results are compared with: bench-only tools, each skipped with a reason where it is missing. */

import { spawnSync } from 'node:child_process';
import { existsSync } from 'node:fs';
import { homedir } from 'node:os';
import { delimiter, join } from 'node:path';
import { PogoError } from '../src/errors.js';
import type { Recipe } from '../src/model/recipe.js';
import { PeerProcess } from './interleave.js';

/** A way to run PyTorch's step. */
export interface TorchMode {
  readonly name: string;
  /** What it counts as: the best of a kind is the peer. */
  readonly kind: 'fp32' | 'bf16' | 'fp32 held to AVX2';
  readonly compiled: boolean;
}

/** Modes by the name that `--peer-modes` takes. */
export const TORCH_MODES: readonly TorchMode[] = [
  { name: 'fp32', kind: 'fp32', compiled: false },
  { name: 'fp32-compiled', kind: 'fp32', compiled: true },
  { name: 'bf16', kind: 'bf16', compiled: false },
  { name: 'bf16-compiled', kind: 'bf16', compiled: true },
  { name: 'fp32-avx2', kind: 'fp32 held to AVX2', compiled: false },
  { name: 'fp32-avx2-compiled', kind: 'fp32 held to AVX2', compiled: true },
];

/**
 * Holds PyTorch to AVX2 as its own switch does: ATen's kernels and, by it, what they dispatch to. MKL and oneDNN are left
 * alone: told to use AVX2, MKL falls to a path seven times slower on AMD (measured 2026-11-24), which is no fair peer.
 */
const AVX2_ONLY = { ATEN_CPU_CAPABILITY: 'avx2' };
/**
 * Freed memory stays with the process: the logits are far larger than glibc's threshold for fresh pages, and without
 * this PyTorch pays for page faults in every step.
 */
const KEEP_MEMORY = {
  MALLOC_MMAP_MAX_: '0',
  MALLOC_TRIM_THRESHOLD_: String(2 ** 34),
  MALLOC_TOP_PAD_: String(2 ** 28),
};
/** Names that torch_step.py knows; their shapes are those of the built-in recipes. */
const KNOWN = new Set(['tiny', 'moby', 'gpt-5m', 'gpt-19m', 'gpt2-124m']);

/**
 * The modes that are measured beside an instruction set.
 *
 * @param asked names, comma-separated; all that fit by default
 * @throws PogoError USAGE for an unknown name
 */
export function torchModes(isa: string, asked?: string): readonly TorchMode[] {
  if (asked !== undefined) {
    return asked.split(',').map((name) => {
      const mode = TORCH_MODES.find((one) => one.name === name.trim());
      if (mode !== undefined) return mode;
      const known = TORCH_MODES.map((one) => one.name).join(', ');
      throw new PogoError('USAGE', `--peer-modes: expected names of ${known}, found ${name}`, { found: name });
    });
  }
  const held = isWithoutAvx512(isa);
  const modes = TORCH_MODES.filter(({ kind }) => held || kind !== 'fp32 held to AVX2');
  // The mode that the target names comes first: it is measured even where time runs out.
  return held
    ? [...modes].sort((a, b) => Number(b.kind === targetKind(isa)) - Number(a.kind === targetKind(isa)))
    : modes;
}

function isWithoutAvx512(isa: string): boolean {
  return isa === 'avx2' || isa === 'avxvnni' || isa === 'scalar' || isa === 'typescript';
}

/** The kind of peer that the target of an instruction set names. */
export function targetKind(isa: string): TorchMode['kind'] {
  if (isWithoutAvx512(isa)) return 'fp32 held to AVX2';
  return isa === 'amx' ? 'bf16' : 'fp32';
}

/** A Python that has PyTorch: the ignored venv of the repository, or `POGO_TORCH_PYTHON`. */
function pythonWithTorch(benchFolder: string): string | undefined {
  const named = process.env.POGO_TORCH_PYTHON;
  if (named !== undefined) return named;
  const own = join(benchFolder, '..', '.venv', 'bin', 'python');
  return existsSync(own) ? own : undefined;
}

export interface TorchOptions {
  readonly benchFolder: string;
  readonly recipe: Recipe;
  readonly threads: number;
  readonly mode: TorchMode;
  /** Longest start and warm-up, seconds: a compiled model takes minutes on a slow machine. */
  readonly seconds: number;
  readonly quick: boolean;
  readonly signal: AbortSignal;
}

/** PyTorch's step in one mode, warm, or the reason why there is none. */
export async function startTorch(options: TorchOptions): Promise<PeerProcess | string> {
  const python = pythonWithTorch(options.benchFolder);
  if (python === undefined) return 'no PyTorch at hand; python3 -m venv .venv && .venv/bin/pip install torch';
  const { recipe, mode, threads, signal, seconds } = options;
  if (!KNOWN.has(recipe.name)) return `torch_step.py has no shape for recipe ${recipe.name}`;
  const flags = [join(options.benchFolder, 'peers', 'torch_step.py'), '--recipe', recipe.name];
  flags.push('--mode', mode.kind === 'bf16' ? 'bf16' : 'fp32', '--threads', String(threads));
  flags.push('--warmup', options.quick ? '2' : '3');
  if (mode.compiled) flags.push('--compile');
  // The recipe may differ from the built-in one in how many tokens a step has.
  flags.push('--context', String(recipe.context), '--sequences', String(recipe.sequencesPerUnit));
  flags.push('--units', String(recipe.unitsPerStep));
  const held = mode.kind === 'fp32 held to AVX2' ? AVX2_ONLY : {};
  const environment = { ...process.env, ...held, ...KEEP_MEMORY, PYTHONDONTWRITEBYTECODE: '1' };
  return PeerProcess.start({ command: python, arguments: flags, environment, seconds, signal });
}

/** Flags of llm.c's own Makefile. */
const LLMC_FLAGS = ['-Ofast', '-march=native', '-fopenmp', '-DOMP', '-DTESTING', '-w'];

/** llm.c's CPU step of GPT-2's shape, from the checkout that POGO_LLMC names, warm; or why there is none. */
export async function startLlmC(options: Omit<TorchOptions, 'mode'>): Promise<PeerProcess | string> {
  const { recipe, benchFolder, threads, seconds, signal, quick } = options;
  const checkout = process.env.POGO_LLMC;
  if (checkout === undefined) return 'no checkout of llm.c at hand; POGO_LLMC=FOLDER names one';
  if (recipe.name !== 'gpt2-124m') return `llm.c has no shape for recipe ${recipe.name}`;
  const program = join(benchFolder, '..', '.tools', 'llmc-step');
  const source = join(benchFolder, 'peers', 'llmc_step.c');
  const flags = [...LLMC_FLAGS, '-I', checkout, source, '-lm', '-o', program];
  const { status, error } = spawnSync(process.env.CC ?? 'cc', flags, { stdio: ['ignore', 2, 2] });
  if (status !== 0) return `llm.c in ${checkout} does not build (${error?.message ?? `it ended with ${status}`})`;
  const sequences = recipe.sequencesPerUnit * recipe.unitsPerStep;
  return PeerProcess.start({
    command: program,
    arguments: [String(recipe.context), String(sequences), quick ? '1' : '2'],
    environment: { ...process.env, ...KEEP_MEMORY, OMP_NUM_THREADS: String(threads) },
    seconds,
    signal,
  });
}

/** `b3sum`: named by POGO_B3SUM, installed in `.tools/bin` (`cargo install b3sum --locked --root .tools`), or on PATH. */
function b3sumProgram(benchFolder: string): string | undefined {
  const named = process.env.POGO_B3SUM;
  if (named !== undefined) return named;
  const folders = [join(benchFolder, '..', '.tools', 'bin'), ...(process.env.PATH ?? '').split(delimiter)];
  return folders.map((folder) => join(folder, 'b3sum')).find((file) => existsSync(file));
}

export interface HashPeerOptions {
  readonly benchFolder: string;
  readonly threads: number;
  readonly seconds: number;
  readonly signal: AbortSignal;
}

/** `b3sum` of a file, or why there is none. */
export async function startB3sum(file: string, options: HashPeerOptions): Promise<PeerProcess | string> {
  const { benchFolder, threads, seconds, signal } = options;
  const program = b3sumProgram(benchFolder);
  if (program === undefined) return 'no b3sum at hand; cargo install b3sum --locked --root .tools';
  const script = join(benchFolder, 'peers', 'b3sum.mjs');
  const command = { command: process.execPath, arguments: [script, program, file, String(threads)] };
  return PeerProcess.start({ ...command, seconds, signal });
}

let blake3Peer: string | undefined;

/** Builds `native/blake3-peer` into `.tools` once. @returns the program, or why there is none */
function buildBlake3Peer(benchFolder: string): { readonly program: string } | string {
  const cargoHome = process.env.CARGO_HOME ?? join(homedir(), '.cargo');
  const target = join(benchFolder, '..', '.tools', 'blake3-peer');
  const manifest = join(benchFolder, 'native', 'blake3-peer', 'Cargo.toml');
  const flags = ['build', '--release', '--locked', '--manifest-path', manifest, '--target-dir', target];
  const path = `${process.env.PATH}${delimiter}${join(cargoHome, 'bin')}`;
  // BLAKE3_CI: without a C compiler the crate would silently be built without its assembly.
  const env = { ...process.env, PATH: path, BLAKE3_CI: '1' };
  const { status, error } = spawnSync('cargo', flags, { env, stdio: ['ignore', 2, 2] });
  if (status === 0) return { program: join(target, 'release', 'blake3-peer') };
  return `no cargo that builds bench/native/blake3-peer (${error?.message ?? `it ended with ${status}`})`;
}

/** The one-shot hash of the blake3 crate over so many bytes in memory, or why there is none. */
export async function startBlake3(bytes: number, options: HashPeerOptions): Promise<PeerProcess | string> {
  const { benchFolder, threads, seconds, signal } = options;
  const built = blake3Peer === undefined ? buildBlake3Peer(benchFolder) : { program: blake3Peer };
  if (typeof built === 'string') return built;
  blake3Peer = built.program;
  return PeerProcess.start({ command: blake3Peer, arguments: [String(bytes), String(threads)], seconds, signal });
}
