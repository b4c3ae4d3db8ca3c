/** PyTorch as a peer: a bench-only tool, skipped with a reason where it is missing. */

import { spawn } from 'node:child_process';
import { existsSync } from 'node:fs';
import { delimiter, join } from 'node:path';
import type { Recipe } from '../src/model/recipe.js';
import type { Ceiling } from './ceilings.js';

export interface TorchOptions {
  readonly benchFolder: string;
  readonly recipe: Recipe;
  readonly threads: number;
  readonly mode: 'fp32' | 'bf16';
  readonly compile?: boolean;
  /**
   * Holds PyTorch to AVX2 as its own switch does: ATen's kernels and, by it, what they dispatch to. MKL and oneDNN are left
   * alone: told to use AVX2, MKL falls to a path seven times slower on AMD (measured 2026-11-24), which is no fair peer.
   */
  readonly avx2?: boolean;
  readonly quick?: boolean;
  readonly signal?: AbortSignal;
}

export interface TorchResult extends Ceiling {
  readonly peakRssBytes: number;
  readonly medianMs: number;
  readonly samplesMs: readonly number[];
}

/** Names that torch_step.py knows; their shapes are those of the built-in recipes. */
const KNOWN = new Set(['tiny', 'moby', 'gpt-5m', 'gpt-19m', 'gpt2-124m']);
const AVX2_ONLY = { ATEN_CPU_CAPABILITY: 'avx2' };

/** A Python that has PyTorch: the ignored venv of the repository, or `POGO_TORCH_PYTHON`. */
function pythonWithTorch(benchFolder: string): string | undefined {
  const named = process.env.POGO_TORCH_PYTHON;
  if (named !== undefined) return named;
  const own = join(benchFolder, '..', '.venv', 'bin', 'python');
  return existsSync(own) ? own : undefined;
}

/** Tokens a second of PyTorch's training step, or the reason why it was not measured. */
export async function torchStep(options: TorchOptions): Promise<TorchResult | string> {
  const python = pythonWithTorch(options.benchFolder);
  if (python === undefined) {
    return 'no PyTorch at hand; python3 -m venv .venv && .venv/bin/pip install torch';
  }
  const { recipe, mode, threads } = options;
  if (!KNOWN.has(recipe.name)) return `torch_step.py has no shape for recipe ${recipe.name}`;
  const flags = ['--recipe', recipe.name, '--mode', mode, '--threads', String(threads)];
  flags.push('--steps', options.quick ? '5' : '15', '--warmup', options.quick ? '2' : '3');
  if (options.compile) flags.push('--compile');
  // The recipe may differ from the built-in one in how many tokens a step has.
  flags.push('--context', String(recipe.context), '--sequences', String(recipe.sequencesPerUnit));
  flags.push('--units', String(recipe.unitsPerStep));
  const script = join(options.benchFolder, 'peers', 'torch_step.py');
  const environment = { ...process.env, ...(options.avx2 ? AVX2_ONLY : {}), PYTHONDONTWRITEBYTECODE: '1' };
  const { status, stdout, stderr } = await capture(python, [script, ...flags], environment, options.signal);
  if (status !== 0) return `torch_step.py ended with ${status}: ${stderr.trim().split('\n').at(-1) ?? ''}`;
  const line = JSON.parse(stdout.trim().split('\n').at(-1) ?? '') as {
    tokensPerSecond: number;
    version: string;
    capability: string;
    peakRssBytes: number;
    medianMs: number;
    samplesMs: number[];
  };
  const how = `${mode}${options.compile ? ' compiled' : ''}, ${line.capability}, ${threads} threads`;
  return {
    name: `PyTorch ${line.version} ${how}`,
    value: line.tokensPerSecond,
    peakRssBytes: line.peakRssBytes,
    medianMs: line.medianMs,
    samplesMs: line.samplesMs,
  };
}

interface Captured {
  readonly status: number | string;
  readonly stdout: string;
  readonly stderr: string;
}

function capture(
  command: string,
  flags: readonly string[],
  env: NodeJS.ProcessEnv,
  signal: AbortSignal | undefined,
): Promise<Captured> {
  return new Promise((resolve) => {
    const child = spawn(command, [...flags], { env, stdio: ['ignore', 'pipe', 'pipe'], ...(signal ? { signal } : {}) });
    let stdout = '';
    let stderr = '';
    child.stdout.setEncoding('utf8').on('data', (text: string) => {
      stdout += text;
    });
    child.stderr.setEncoding('utf8').on('data', (text: string) => {
      stderr += text;
    });
    child.on('error', (error) => resolve({ status: error.message, stdout, stderr }));
    child.on('close', (code, killed) => resolve({ status: code ?? killed ?? 'a signal', stdout, stderr }));
  });
}

/** The first of these programs on PATH. */
export function onPath(name: string): string | undefined {
  const folders = (process.env.PATH ?? '').split(delimiter);
  return folders.map((folder) => join(folder, name)).find((file) => existsSync(file));
}
