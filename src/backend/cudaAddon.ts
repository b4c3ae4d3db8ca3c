/**
 * The door to the CUDA addon `native/cuda`: the only file that loads it. Node-only.
 *
 * The addon holds the CUDA runtime, so it loads on machines without a GPU or a driver; {@link loadCudaAddon} then says why it
 * cannot be used. So far it has the operations of {@link CudaAddon}, not the whole registry: it is not yet a backend.
 */
import { readdirSync } from 'node:fs';
import { createRequire } from 'node:module';
import { dirname, join, relative } from 'node:path';
import { fileURLToPath } from 'node:url';
import { PogoError } from '../errors.js';
import type { Kernels } from './ops.js';

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

/** What `native/cuda/addon.cc` exports. All calls are synchronous; a failed one throws with `cudaCode` and `kernel`. */
export interface CudaAddon {
  deviceInfo(): CudaDeviceInfo;
  /** As `Kernels.quantize4`. @returns the first group of 64 that holds an Inf or NaN, or −1 */
  quantize4(
    x: Float32Array,
    codes: Uint8Array,
    scales: Uint16Array,
    seed: Uint32Array,
    rows: number,
    cols: number,
  ): number;
  /** As `Kernels.dequantize4`. */
  dequantize4(codes: Uint8Array, scales: Uint16Array, x: Float32Array, n: number): void;
  /** Every chaining value over 1 KiB leaves, level by level, then the hash; layout of `src/merkle/`. */
  blake3Tree(bytes: Uint8Array, firstLeaf: number, tree: Uint8Array): void;
  /** out = a − b (or a + b) in every field of 4 or 8 bits, modulo 2^bits. */
  diffCodes(a: Uint8Array, b: Uint8Array, out: Uint8Array, bits: 4 | 8, add: boolean): void;
}

/** The addon with what it found; or why it cannot be used, and the command that would change that. */
export type LoadedCudaAddon =
  | { readonly addon: CudaAddon; readonly path: string; readonly info: CudaDeviceInfo }
  | { readonly addon?: undefined; readonly reason: string; readonly fix: string; readonly info?: CudaDeviceInfo };

/** Machine code is built for 8.0 and newer. */
const MINIMUM_MAJOR = 8;

/** The root of the package: this file lies two folders below it, in `src/` as in `dist/`. */
const packageRoot = join(dirname(fileURLToPath(import.meta.url)), '..', '..');

function candidates(): string[] {
  const shipped = join(packageRoot, 'prebuilds', `${process.platform}-${process.arch}`);
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

function load(): LoadedCudaAddon {
  const require = createRequire(import.meta.url);
  const attempts: string[] = [];
  for (const path of candidates()) {
    try {
      const addon = require(path) as CudaAddon;
      const info = addon.deviceInfo();
      if (info.reason !== '') {
        const fix =
          info.driver === 0 ? 'install an NVIDIA driver, 580 or newer' : 'update the NVIDIA driver to 580 or newer';
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
    fix: 'npm run setup -- --cuda',
  };
}

let loaded: LoadedCudaAddon | undefined;

/** Loads the addon once per thread. Never throws. */
export function loadCudaAddon(): LoadedCudaAddon {
  loaded ??= load();
  return loaded;
}

/** The operations of the registry that run on the GPU so far. */
export function cudaKernels(addon: CudaAddon): Pick<Kernels, 'quantize4' | 'dequantize4'> {
  return {
    quantize4(a) {
      const group = addon.quantize4(a.x, a.codes, a.scales, a.seed, a.rows, a.cols);
      if (group < 0) return;
      throw new PogoError(
        'NON_FINITE',
        `quantize4: expected finite values, found an Inf or NaN in elements from ${64 * group}; lower the learning rate or check the input`,
        { operation: 'quantize4', where: `elements from ${64 * group}` },
      );
    },
    dequantize4(a) {
      addon.dequantize4(a.codes, a.scales, a.x, a.n);
    },
  };
}
