/** How many lanes or threads a process has: POGO_LANES. Loads nothing of a backend, so that small commands start quickly. */
import { availableParallelism } from 'node:os';
import { PogoError } from '../errors.js';

/** POGO_LANES, or one lane per core. @throws PogoError USAGE unless it is an integer of 1 to 1024 */
export function defaultLanes(env: NodeJS.ProcessEnv = process.env, otherwise = availableParallelism()): number {
  const text = env['POGO_LANES'];
  if (text === undefined || text === '') return otherwise;
  const lanes = Number(text);
  if (!Number.isInteger(lanes) || lanes < 1 || lanes > 1024) {
    throw new PogoError('USAGE', `POGO_LANES: expected an integer of 1 to 1024, found ${JSON.stringify(text)}`);
  }
  return lanes;
}
