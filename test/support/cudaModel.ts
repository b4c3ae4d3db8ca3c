/** The CUDA addon over the device model: built once, by the C++ compiler; undefined where there is none. */
import { spawnSync } from 'node:child_process';
import { existsSync } from 'node:fs';
import { join } from 'node:path';
import { type CudaAddon, loadCudaAddon } from '../../src/backend/cudaAddon.js';

const root = join(import.meta.dirname, '..', '..');
const ENVIRONMENT_EXIT = 5;

/** @returns path of the addon, or undefined where a tool is missing. @throws Error where a source does not compile */
export function buildModelAddon(): string | undefined {
  const script = join(root, 'scripts', 'cuda-model-addon.mjs');
  const { status, stdout, stderr } = spawnSync(process.execPath, [script], { encoding: 'utf8' });
  if (status === ENVIRONMENT_EXIT) return undefined;
  const file = stdout.trim();
  if (status !== 0 || !existsSync(file)) throw new Error(`the model addon was not built: ${stderr}`);
  return file;
}

/** What the model's addon has beside the shipped one's exports. */
export interface ModelAddon extends CudaAddon {
  /** Changes the modelled machine, for the whole process. `lostAt`: launches from this one on fail; 0: none. */
  modelSettings(settings: {
    readonly major?: number;
    readonly minor?: number;
    readonly devices?: number;
    readonly memory?: number;
    readonly driver?: number;
    readonly deferred?: boolean;
    readonly lostAt?: number;
  }): void;
}

export function modelAddon(file: string): ModelAddon {
  const loaded = loadCudaAddon(file);
  if (loaded.addon === undefined) throw new Error(loaded.reason);
  return loaded.addon as ModelAddon;
}
