/** The seed of a run: keys, genesis and beacons derive from it, so a run repeats; whoever knows it knows all keys. */
import { PogoError } from '../errors.js';
import { fromHex } from '../hex.js';

/** The public seed of demonstrations. */
export const DEFAULT_SEED_HEX = '706f676f2d64656d6f2d73656564000000000000000000000000000000000001';

/**
 * @param text 64 hexadecimal digits; the public default when left out
 * @throws PogoError USAGE
 */
export function parseSeed(text: string | undefined): Uint8Array {
  try {
    return fromHex(text ?? DEFAULT_SEED_HEX, 32);
  } catch (error) {
    throw new PogoError('USAGE', `--seed: ${PogoError.from(error).message}`);
  }
}
