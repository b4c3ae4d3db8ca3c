/**
 * The choice of a backend: CUDA, then native CPU, then the reference; each step that is not taken keeps its reason.
 * A backend that fails its known-answer vectors is never used. Node-only.
 */
import { PogoError } from '../errors.js';
import { type CpuIsaChoice, openCpuBackend } from './cpu.js';
import { type OpenCudaOptions, openCudaBackend } from './cuda.js';
import { openReferenceBackend } from './reference.js';
import { assertSelfTest } from './selfTest.js';
import { type Backend, type BackendMiss, type BackendName, CPU_ISAS } from './types.js';

export interface OpenBackendOptions {
  /** Default: POGO_BACKEND, else 'auto'. A forced backend that cannot be used is an error. */
  readonly backend?: BackendName | 'auto';
  /** Default: POGO_ISA, else 'auto'. Forcing an instruction set excludes CUDA unless that is forced, too. */
  readonly isa?: CpuIsaChoice;
  /** The backend must be this one, whatever the environment says: a miss is an error that names the fix. */
  readonly require?: BackendName;
  /** Known-answer vectors before use: 'quick' (default), 'full', or 'none' where this process ran them already. */
  readonly selfTest?: 'quick' | 'full' | 'none';
  /** Which CUDA device. */
  readonly cuda?: OpenCudaOptions;
  /** Many small calls on host arrays are to come: CUDA only if it is forced, since each call would cross the bus. */
  readonly hostArrays?: boolean;
}

const BACKENDS: readonly (BackendName | 'auto')[] = ['auto', 'cuda', 'cpu', 'reference'];
const ISAS: readonly CpuIsaChoice[] = ['auto', ...CPU_ISAS];

function choice<T extends string>(name: string, given: string | undefined, allowed: readonly T[]): T {
  const value = given ?? process.env[name] ?? '';
  if (value === '') return 'auto' as T;
  if ((allowed as readonly string[]).includes(value)) return value as T;
  throw new PogoError('USAGE', `expected ${name} to be one of ${allowed.join(', ')}, found ${value}; correct it`, {
    variable: name,
    found: value,
  });
}

function test(backend: Backend, mode: 'quick' | 'full' | 'none'): Backend {
  const { name, isa, kernels } = backend;
  if (mode !== 'none') assertSelfTest(kernels, `${name}/${isa}`, { quick: mode === 'quick' });
  return backend;
}

function missOf(backend: BackendName, error: unknown): BackendMiss {
  const failure = PogoError.from(error);
  const { reason, fix } = failure.details;
  return {
    backend,
    reason: typeof reason === 'string' ? reason : failure.message,
    fix: typeof fix === 'string' ? fix : 'pogo doctor',
  };
}

/**
 * Opens the best backend that passes its vectors.
 * @throws PogoError ENVIRONMENT or SELF_TEST if a demanded backend or instruction set cannot be used, USAGE for an
 * unknown name
 */
export function openBackend(options: OpenBackendOptions = {}): Backend {
  const isa = choice('POGO_ISA', options.isa, ISAS);
  const wanted = options.require ?? choice('POGO_BACKEND', options.backend, BACKENDS);
  const mode = options.selfTest ?? 'quick';
  const misses: BackendMiss[] = [];
  if (wanted === 'cuda' || (wanted === 'auto' && isa === 'auto' && options.hostArrays !== true)) {
    try {
      return test(openCudaBackend(options.cuda), mode);
    } catch (error) {
      if (wanted === 'cuda') throw error;
      misses.push(missOf('cuda', error));
    }
  }
  if (wanted === 'cpu' || wanted === 'auto') {
    try {
      return test(openCpuBackend(isa, misses), mode);
    } catch (error) {
      // A forced backend or instruction set is never replaced silently.
      if (wanted === 'cpu' || isa !== 'auto') throw error;
      misses.push(missOf('cpu', error));
    }
  }
  return test(openReferenceBackend(misses), mode);
}
