/**
 * The CUDA backend: typed, validated kernels over the addon `native/cuda`. Node-only.
 *
 * {@link cudaKernels} takes host arrays: every call uploads, runs and downloads. That is what the self-test, evidence and
 * single calls use; training keeps its arrays on the device by tapes (`src/pipeline/deviceTape.ts`).
 */
import { PogoError } from '../errors.js';
import { type CudaAddon, type CudaFailure, type CudaOperation, type CudaValue, loadCudaAddon } from './cudaAddon.js';
import type { Kernels, OperationName } from './ops.js';
import { OPERATIONS } from './ops.js';
import { setupFix } from './packageRoot.js';
import { referenceKernels } from './reference.js';
import { shapeChecked } from './shapes.js';
import type { Backend, BackendMiss, IsaName } from './types.js';

/** `FailureKind` of native/cuda/ops.h. */
const FAILURE = { nonFinite: 1, target: 2, token: 3, malformed: 4 } as const;

/** The tensor in which an operation finds an Inf or NaN, by the names that the CPU kernels give. */
const NON_FINITE_TENSOR: Partial<Record<string, string>> = {
  linearQkv: 'product',
  linearGelu: 'product',
  linearHeadsInputGradient: 'product',
  linearGeluInputGradient: 'product',
  quantizeHeads: 'product',
  geluRows: 'product',
  geluGradientRows: 'product',
  attentionForward: 'probabilities',
  attentionBackward: 'gradient',
  groupedAttentionForward: 'probabilities',
  groupedAttentionBackward: 'gradient',
  rotateHeads: 'y',
  geglu: 'u',
  gegluGradient: 'dh',
  recode: 'codes',
  headForward: 'logits',
  unitLoss: 'loss',
  quantizeWeight: 'theta',
};

/** What the device saw, as the error that the CPU kernels throw. */
export function failureError(operation: string, { kind, index }: CudaFailure): PogoError {
  if (kind === FAILURE.nonFinite) {
    const tensor = NON_FINITE_TENSOR[operation] ?? 'x';
    return new PogoError(
      'NON_FINITE',
      `${operation}: expected finite values in ${tensor}, found an Inf or NaN; lower the learning rate or check the input`,
      { operation, tensor },
    );
  }
  if (kind === FAILURE.malformed) {
    return new PogoError('MALFORMED', `${operation}: expected canonical chunks, chunk ${index} is none`, { operation });
  }
  const what = kind === FAILURE.target ? 'targets' : 'tokens';
  return new PogoError('SHAPE', `${operation}: expected ${what} inside the vocabulary, found another at ${index}`, {
    operation,
    index,
  });
}

/** An Error of the addon as ours: what failed, where, and what to do. */
export function cudaError(error: unknown, operation: string): PogoError {
  if (!(error instanceof Error) || !('code' in error)) return PogoError.from(error);
  const { code, message } = error as Error & { code: string };
  if (code === 'ARGUMENT') return new PogoError('SHAPE', `${operation}: ${message}`, { operation }, error);
  if (code === 'MEMORY') {
    const { needed, available } = error as unknown as { needed: number; available: number };
    return new PogoError(
      'ENVIRONMENT',
      `${message}; use fewer lanes (POGO_LANES), a device with more memory (POGO_DEVICES) or POGO_BACKEND=cpu`,
      { backend: 'cuda', needed, available },
      error,
    );
  }
  if (code !== 'CUDA') return PogoError.from(error);
  const { cudaCode, kernel, deviceLost } = error as unknown as {
    cudaCode: number;
    kernel: string;
    deviceLost: boolean;
  };
  return new PogoError(
    'ENVIRONMENT',
    `${message}; ${cudaAdvice(cudaCode, deviceLost)}`,
    { backend: 'cuda', cudaCode, kernel, deviceLost },
    error,
  );
}

const NO_KERNEL_IMAGE = 209;
const INSUFFICIENT_DRIVER = 35;

function cudaAdvice(cudaCode: number, deviceLost: boolean): string {
  if (cudaCode === INSUFFICIENT_DRIVER) return 'update the NVIDIA driver to 580 or newer';
  if (cudaCode === NO_KERNEL_IMAGE) {
    return `the addon has no machine code for this device: build it here (${setupFix('--cuda --force')})`;
  }
  if (deviceLost) return 'the device can be used again after a restart of the process; nvidia-smi says what it reports';
  return 'run pogo doctor';
}

/** True for an error after which a device runs nothing more in this process. */
export function losesDevice(error: unknown): boolean {
  return error instanceof PogoError && error.details['deviceLost'] === true;
}

/** Operations by name with their numbers. */
export type CudaTable = ReadonlyMap<string, { readonly number: number; readonly operation: CudaOperation }>;

export function cudaTable(addon: CudaAddon): CudaTable {
  return new Map(addon.operations().map((operation, number) => [operation.name, { number, operation }]));
}

/** Operations of the registry that the addon has no kernel for. */
export function missingOperations(table: CudaTable): OperationName[] {
  return OPERATIONS.filter((name) => !table.has(name));
}

/**
 * Kernels over host memory. An operation without a kernel throws when it is called.
 *
 * @param device index of the device
 */
export function cudaKernels(addon: CudaAddon, device: number): Kernels {
  const table = cudaTable(addon);
  let calls: number | undefined;
  return shapeChecked((operation, a: Readonly<Record<string, CudaValue>>) => {
    const known = table.get(operation);
    if (known === undefined) throw unavailable([operation]);
    const values = known.operation.fields.map(({ name }) => a[name] as CudaValue);
    let failure: CudaFailure | undefined;
    try {
      calls ??= addon.openCalls(device);
      failure = addon.call(calls, known.number, values);
    } catch (error) {
      throw cudaError(error, operation);
    }
    if (failure === undefined) return;
    // The specification says which byte of the patch is wrong, and stops where it does.
    if (failure.kind === FAILURE.malformed) referenceKernels.patchModel(a as never);
    throw failureError(operation, failure);
  });
}

/** @param operations names without a kernel */
export function unavailable(operations: readonly string[]): PogoError {
  const reason = `its addon has no kernel for ${operations.join(', ')}`;
  const fix = `build it again (${setupFix('--cuda --force')}) or use POGO_BACKEND=cpu`;
  return new PogoError('ENVIRONMENT', `expected all operations on CUDA, found that ${reason}; ${fix}`, {
    backend: 'cuda',
    reason,
    fix,
  });
}

/** The machine code that runs on a device: of its own generation, or compiled by the driver from that of 9.0. */
export function cudaIsa(major: number, minor: number): IsaName {
  if (major === 8) return 'sm_80';
  return major === 9 && minor === 0 ? 'sm_90a' : 'sm_90';
}

export interface OpenCudaOptions {
  /** Index of the device; the first by default. */
  readonly device?: number;
  /** The addon over the device model, for tests. */
  readonly addonFile?: string;
  readonly misses?: readonly BackendMiss[];
}

/**
 * Opens the CUDA kernels.
 *
 * @throws PogoError ENVIRONMENT if the addon, a driver, a device or a kernel is missing
 */
export function openCudaBackend(options: OpenCudaOptions = {}): Backend {
  const loaded = loadCudaAddon(options.addonFile);
  if (loaded.addon === undefined) {
    const { reason, fix } = loaded;
    throw new PogoError('ENVIRONMENT', `expected backend cuda, found: ${reason}; ${fix}`, {
      backend: 'cuda',
      reason,
      fix,
    });
  }
  const { addon } = loaded;
  const { devices } = addon.deviceInfo();
  const table = cudaTable(addon);
  const lacking = missingOperations(table);
  if (lacking.length > 0) throw unavailable(lacking);
  const index = options.device ?? 0;
  const device = devices[index];
  if (device === undefined) {
    const reason = `there is no device ${index}: the driver has ${devices.length}`;
    const fix = 'correct POGO_DEVICES';
    throw new PogoError('ENVIRONMENT', `expected CUDA device ${index}, found: ${reason}; ${fix}`, {
      backend: 'cuda',
      reason,
      fix,
    });
  }
  return {
    name: 'cuda',
    isa: cudaIsa(device.major, device.minor),
    features: [device.name, `compute capability ${device.major}.${device.minor}`],
    kernels: cudaKernels(addon, index),
    misses: options.misses ?? [],
    kernelCalls: () => addon.counters().operations,
  };
}
