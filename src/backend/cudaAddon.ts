/**
 * The door to the CUDA addon `native/cuda`: the only file that loads it. Node-only.
 *
 * The addon holds the CUDA runtime, so it loads on machines without a GPU or a driver; {@link loadCudaAddon} then says why it
 * cannot be used. {@link file://./cuda.ts} is the typed, validated side.
 */
import { readdirSync } from 'node:fs';
import { createRequire } from 'node:module';
import { join, relative } from 'node:path';
import { packageRoot, prebuildTarget, setupFix } from './packageRoot.js';

/** One GPU. */
export interface CudaDevice {
  readonly name: string;
  /** Compute capability, for example 9 and 0. */
  readonly major: number;
  readonly minor: number;
  readonly multiprocessors: number;
  readonly memoryBytes: number;
}

/** Versions are CUDA's (13000 is 13.0); driver 0: none is installed. `reason` is empty if a device can be used. */
export interface CudaDeviceInfo {
  readonly runtime: number;
  readonly driver: number;
  readonly reason: string;
  readonly devices: readonly CudaDevice[];
}

/** One argument of an operation, as the addon's table lists it. */
export interface CudaField {
  readonly name: string;
  /** u32, u64, f32 or flag; of arrays the element type of `src/model/tape.ts`. */
  readonly type: string;
  readonly kind: 'scalar' | 'array' | 'list';
  readonly written: boolean;
}

/** An operation with its kernel; its index in the list is its number in a tape's words. */
export interface CudaOperation {
  readonly name: string;
  readonly fields: readonly CudaField[];
}

/** The lowest failure that the device saw: entry of the tape (0 for a call), `FailureKind` of `native/cuda/ops.h`, place. */
export interface CudaFailure {
  readonly entry: number;
  readonly kind: number;
  readonly index: number;
}

/** Memory of a model (0) or of a lane (1), in bytes. */
export interface CudaPlace {
  readonly space: 0 | 1;
  readonly offset: number;
}

export interface CudaRegion {
  readonly offset: number;
  readonly bytes: number;
}

export type CudaArray = Float32Array | Uint16Array | Int8Array | Uint8Array | Uint32Array;

export interface CudaUpload extends CudaPlace {
  readonly data: CudaArray;
}

export interface CudaDownload extends CudaPlace {
  /** Entry of the tape behind which the bytes are complete; downloads come in this order. */
  readonly after: number;
  /** Beside the computation: for bytes that no later entry changes. */
  readonly overlap: boolean;
  readonly data: CudaArray;
}

export interface CudaCopy {
  readonly fromSpace: 0 | 1;
  readonly fromOffset: number;
  readonly toSpace: 0 | 1;
  readonly toOffset: number;
  readonly bytes: number;
}

/** Of the whole process, since it started. */
export interface CudaCounters {
  /** Bytes over the bus. */
  readonly toDevice: number;
  readonly fromDevice: number;
  /** Operations that were launched. */
  readonly operations: number;
  /** Runs of tapes that were one launch of a CUDA graph. */
  readonly graphs: number;
}

export type CudaValue = number | boolean | CudaArray | readonly CudaArray[];

/**
 * What `native/cuda/addon.cc` exports. All calls are synchronous. A failed one throws an Error with a `code`: CUDA (with
 * `cudaCode`, `kernel`, `deviceLost`), MEMORY (with `needed`, `available`, in bytes) or ARGUMENT.
 *
 * Handles are numbers. Calls, lanes and tapes belong to the thread that made them; a model belongs to the process and
 * lives while a thread holds it or a lane is attached to it.
 */
export interface CudaAddon {
  deviceInfo(): CudaDeviceInfo;
  operations(): readonly CudaOperation[];
  counters(): CudaCounters;
  freeBytes(device: number): number;
  /** @returns a handle for {@link call} */
  openCalls(device: number): number;
  /** Runs one operation over host arrays: uploads, runs, downloads. Values in the order of its fields. */
  call(calls: number, operation: number, values: readonly CudaValue[]): CudaFailure | undefined;
  /** Bytes of workspace and of constants that a table of operations needs on a device. */
  tapeNeeds(device: number, words: Float64Array): { readonly workspace: number; readonly constants: number };
  /** One allocation for the shared part and `lanes` parts, zeroed. @returns a number that holds in the whole process */
  createModel(device: number, sharedBytes: number, laneBytes: number, lanes: number): number;
  releaseModel(model: number): void;
  attachLane(model: number, stagingBytes: number): number;
  detachLane(lane: number): void;
  /** Regions are of the lane's memory. */
  bindTape(lane: number, words: Float64Array, constants: CudaRegion, workspace: CudaRegion): number;
  releaseTape(lane: number, tape: number): void;
  /** Uploads, runs every operation, downloads, copies on the device; waits for all of it. */
  runTape(
    lane: number,
    tape: number,
    uploads: readonly CudaUpload[],
    downloads: readonly CudaDownload[],
    copies: readonly CudaCopy[],
  ): CudaFailure | undefined;
  upload(lane: number, space: 0 | 1, offset: number, data: CudaArray): void;
  download(lane: number, space: 0 | 1, offset: number, data: CudaArray): void;
}

/** The addon with what it found; or why it cannot be used, and the command that would change that. */
export type LoadedCudaAddon =
  | { readonly addon: CudaAddon; readonly path: string; readonly info: CudaDeviceInfo }
  | { readonly addon?: undefined; readonly reason: string; readonly fix: string; readonly info?: CudaDeviceInfo };

/** Machine code is built for 8.0 and newer. */
const MINIMUM_MAJOR = 8;

function candidates(): string[] {
  const shipped = join(packageRoot, 'prebuilds', prebuildTarget);
  let files: string[] = [];
  try {
    files = readdirSync(shipped).filter((file) => file.startsWith('pogo_cuda') && file.endsWith('.node'));
  } catch {
    // No prebuilds: the usual case in a clone.
  }
  return [
    ...files.sort().map((file) => join(shipped, file)),
    join(packageRoot, 'native', 'cuda', 'build', 'Release', 'pogo_cuda.node'),
  ];
}

function isCudaAddon(value: unknown): value is CudaAddon {
  if (typeof value !== 'object' || value === null) return false;
  return ['deviceInfo', 'operations', 'call', 'bindTape', 'runTape'].every(
    (name) => typeof (value as Record<string, unknown>)[name] === 'function',
  );
}

function driverFix({ driver, runtime }: CudaDeviceInfo): string {
  if (driver === 0) return 'install an NVIDIA driver, 580 or newer';
  if (driver < runtime) return 'update the NVIDIA driver to 580 or newer';
  return 'see that nvidia-smi lists a device; in a container, start it with the GPU; check CUDA_VISIBLE_DEVICES';
}

function load(files: readonly string[]): LoadedCudaAddon {
  const require = createRequire(import.meta.url);
  const attempts: string[] = [];
  for (const path of files) {
    try {
      const addon: unknown = require(path);
      if (!isCudaAddon(addon)) {
        attempts.push(`${relative(packageRoot, path)}: it is of another version`);
        continue;
      }
      const info = addon.deviceInfo();
      if (info.reason !== '') {
        const fix = driverFix(info);
        return { reason: info.reason, fix, info };
      }
      const usable = info.devices.some((device) => device.major >= MINIMUM_MAJOR);
      if (usable) return { addon, path, info };
      const names = info.devices.map((device) => `${device.name} (${device.major}.${device.minor})`).join(', ');
      return {
        reason: `no device of compute capability ${MINIMUM_MAJOR}.0 or newer, found ${names}`,
        fix: 'use a machine with an A100 or a newer GPU',
        info,
      };
    } catch (error) {
      const message = error instanceof Error ? error.message.split('\n')[0] : String(error);
      attempts.push(`${relative(packageRoot, path)}: ${message}`);
    }
  }
  const missing = attempts.every((line) => line.includes('Cannot find module'));
  return {
    reason: missing ? 'the CUDA addon is not built' : `the CUDA addon cannot be loaded: ${attempts.join('; ')}`,
    fix: setupFix('--cuda'),
  };
}

const loaded = new Map<string, LoadedCudaAddon>();

/**
 * Loads the addon once per thread. Never throws.
 *
 * @param file the addon over the device model, which only tests have; the package's own by default
 */
export function loadCudaAddon(file?: string): LoadedCudaAddon {
  const key = file ?? '';
  let found = loaded.get(key);
  if (found === undefined) {
    found = load(file === undefined ? candidates() : [file]);
    loaded.set(key, found);
  }
  return found;
}
