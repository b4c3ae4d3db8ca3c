/**
 * Which lanes a process has: POGO_LANES (`laneCount.ts`), POGO_DEVICES.
 */
import { availableParallelism } from 'node:os';
import { openBackend } from '../backend/open.js';
import type { Backend } from '../backend/types.js';
import { PogoError } from '../errors.js';
import { defaultLanes } from './laneCount.js';
import type { LaneGroupOptions, LanePoolOptions } from './lanePool.js';

/** Lanes of a device: while one copies, the other computes. Not yet tuned on a device. */
const LANES_OF_A_DEVICE = 2;

/** A CUDA device by its index, or the lanes over host memory. */
export type LaneDevice = number | 'cpu';

/** POGO_DEVICES, or the first CUDA device. @throws PogoError USAGE unless it is a list of indices, of `cpu` at most once */
export function defaultDevices(env: NodeJS.ProcessEnv = process.env): LaneDevice[] {
  const text = env['POGO_DEVICES'];
  if (text === undefined || text === '') return [0];
  const devices = text.split(',').map((part) => (part.trim() === 'cpu' ? 'cpu' : Number(part.trim() || Number.NaN)));
  const valid = devices.every((device) => device === 'cpu' || (Number.isInteger(device) && device >= 0 && device < 64));
  if (!valid || new Set(devices).size < devices.length || devices.every((device) => device === 'cpu')) {
    throw new PogoError(
      'USAGE',
      `POGO_DEVICES: expected CUDA devices by index and perhaps cpu, each once, such as 0,1,cpu; found ${JSON.stringify(text)}`,
    );
  }
  return devices as LaneDevice[];
}

/**
 * The lanes of a backend. With CUDA they are those of the devices, `lanes` each; with `cpu` among them also one a core over
 * host memory.
 */
export function laneGroups(
  backend: Backend,
  devices: readonly LaneDevice[],
  lanes: number | undefined,
): LanePoolOptions {
  if (backend.name !== 'cuda') return { backend: backend.name, isa: backend.isa, lanes: lanes ?? defaultLanes() };
  const ofDevice = lanes ?? defaultLanes(process.env, LANES_OF_A_DEVICE);
  const groups = devices.map((device): LaneGroupOptions => {
    if (device !== 'cpu') return { backend: 'cuda', isa: backend.isa, lanes: ofDevice, device };
    const host = openBackend({ backend: 'cpu', isa: 'auto' });
    return { backend: 'cpu', isa: host.isa, lanes: availableParallelism() };
  });
  // Devices first: their kernels are the pool's own.
  groups.sort((a, b) => Number(a.backend === 'cpu') - Number(b.backend === 'cpu'));
  const [first, ...also] = groups as [LaneGroupOptions, ...LaneGroupOptions[]];
  return { ...first, also };
}
