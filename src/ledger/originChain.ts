/**
 * The origin of a fine-tuned checkpoint: files of origin of several runs, each of which starts from the model in which
 * the one before ended. A recipe names its start by the root of θ, and the state that the earlier file proves holds that
 * root, so the join needs no vector.
 */
import { ByteVectorType, ContainerType, ListCompositeType } from '@chainsafe/ssz';
import { PogoError } from '../errors.js';
import { equalBytes, toHex } from '../hex.js';
import { portableHash } from '../merkle/portable.js';
import { createLayout } from '../model/layout.js';
import type { Bls } from '../protocol/bls.js';
import { byteList, decodeStrict } from '../protocol/ssz.js';
import { rootStartHeader } from '../protocol/stateHeader.js';
import { stateRoot } from '../protocol/types.js';
import { MAX_ORIGIN_BYTES } from './origin.js';
import { type Origin, type OriginPins, verifyOrigin } from './originCheck.js';

/** First bytes of a chain of files. A single file begins with an offset. */
const TAG = new TextEncoder().encode('ORC1');
const MAX_RUNS = 64;

const OriginChainType = new ContainerType(
  { tag: new ByteVectorType(4), origins: new ListCompositeType(byteList(MAX_ORIGIN_BYTES), MAX_RUNS) },
  { typeName: 'OriginChain', jsonCase: 'eth2' },
);

/** Whether bytes are a chain of files of origin, and not a single one. */
export function isOriginChain(bytes: Uint8Array): boolean {
  return TAG.every((byte, i) => bytes[i] === byte);
}

/** The single files in a file or a chain of them, the first run first. @throws PogoError MALFORMED */
export function originFiles(bytes: Uint8Array): readonly Uint8Array[] {
  if (!isOriginChain(bytes)) return [bytes];
  const { origins } = decodeStrict(OriginChainType, bytes, MAX_ORIGIN_BYTES);
  if (origins.length < 2) {
    throw new PogoError('MALFORMED', `origin: expected a chain of at least two runs, found ${origins.length}`);
  }
  return origins;
}

/** @param files of single runs, the first run first */
export function encodeOriginChain(files: readonly Uint8Array[]): Uint8Array {
  return OriginChainType.serialize({ tag: TAG, origins: [...files] });
}

/**
 * Checks a file of origin or a chain of them.
 *
 * @param pins of the last run; the earlier runs are taken from the file, but for what joins them
 * @returns origins from the first run on
 * @throws PogoError as {@link verifyOrigin}; MALFORMED where a run does not start from the state before it
 */
export function verifyOriginChain(bls: Bls, bytes: Uint8Array, pins: OriginPins = {}): readonly Origin[] {
  const files = originFiles(bytes);
  const origins = files.map((file, i) => verifyOrigin(bls, file, i === files.length - 1 ? pins : {}));
  for (let i = 1; i < origins.length; i += 1) requireJoin(origins[i - 1]!, origins[i]!);
  return origins;
}

/**
 * A run that goes on from an earlier one: its recipe starts from θ or EMA of the earlier state, and its first claim from
 * the state that this recipe gives.
 *
 * @throws PogoError MALFORMED
 */
export function requireJoin(earlier: Origin, later: Origin): void {
  const { recipe } = later;
  const malformed = (message: string): PogoError => new PogoError('MALFORMED', `origin: ${message}`);
  if (recipe.start.kind !== 'root') {
    throw malformed(`expected recipe ${recipe.name} to start from the state of an earlier run, found a seed`);
  }
  const { root } = recipe.start;
  if (earlier.vectors === undefined) {
    throw malformed('expected the earlier file to prove a whole state, found one of a packed model');
  }
  const { thetaRoot, emaRoot } = earlier.vectors;
  if (!equalBytes(root, thetaRoot) && !equalBytes(root, emaRoot)) {
    throw malformed(
      `expected recipe ${recipe.name} to start from θ ${toHex(thetaRoot)} or the EMA ${toHex(emaRoot)} of state ` +
        `${toHex(earlier.root)}, found ${toHex(root)}`,
    );
  }
  const { length } = createLayout(recipe);
  const start = stateRoot(rootStartHeader(later.recipeRoot, root, recipe.ema, length, portableHash));
  if (equalBytes(start, later.fromRoot)) return;
  throw malformed(`expected claim 0 to start from state ${toHex(start)}, found ${toHex(later.fromRoot)}`);
}
