/**
 * The container of a bundle: everything of a chain of claims but its blobs, which it names by root and length.
 *
 * Nothing in it is believed: signatures, draws and arithmetic are checked by `verify`. The root over the body only
 * tells damage in transport (malformed) from a claim that is false; whoever wants to lie can recompute it.
 */
import { BooleanType, ContainerType, ListCompositeType, type ValueOf } from '@chainsafe/ssz';
import { PogoError } from '../errors.js';
import { equalBytes, toHex } from '../hex.js';
import { byteList, decodeStrict, Root, Uint32, Uint64 } from './ssz.js';
import { BeaconShareType, MAX_COMMITTEE, SignedClaimType, StateHeaderType, StepCommitmentListType } from './types.js';

export const BUNDLE_VERSION = 1;
/** Largest `bundle.ssz`, bytes. */
export const MAX_BUNDLE_BYTES = 2 ** 28;
const MAX_RECIPE_BYTES = 2 ** 24;
const MAX_CLAIMS = 2 ** 16;
const MAX_BLOBS = 2 ** 22;

/** One claim: what its miner signed, the list behind `listRoot`, and the shares of its beacon 1. */
export const BundleClaimType = new ContainerType(
  {
    signedClaim: SignedClaimType,
    steps: StepCommitmentListType,
    beaconShares: new ListCompositeType(BeaconShareType, MAX_COMMITTEE),
  },
  { typeName: 'BundleClaim', jsonCase: 'eth2' },
);
export type BundleClaim = ValueOf<typeof BundleClaimType>;

export const BlobEntryType = new ContainerType(
  { root: Root, length: Uint64 },
  { typeName: 'BlobEntry', jsonCase: 'eth2' },
);
export type BlobEntry = ValueOf<typeof BlobEntryType>;

export const BundleType = new ContainerType(
  {
    version: Uint32,
    /** Keys and beacons derive from a public seed: the signatures show nothing about who made them. */
    demo: new BooleanType(),
    chainId: Root,
    /** SSZ of the recipe. */
    recipe: byteList(MAX_RECIPE_BYTES),
    /** The start state's header with its vectors among the blobs; empty where the recipe's seed gives the state. */
    startHeader: new ListCompositeType(StateHeaderType, 1),
    /** In order of claim numbers. */
    claims: new ListCompositeType(BundleClaimType, MAX_CLAIMS),
    /** Every file of `blobs/`, ascending by root. */
    blobs: new ListCompositeType(BlobEntryType, MAX_BLOBS),
  },
  { typeName: 'Bundle', jsonCase: 'eth2' },
);
export type Bundle = ValueOf<typeof BundleType>;

/** What `bundle.ssz` holds: the bundle and its hash_tree_root. */
const BundleFileType = new ContainerType(
  { bundle: BundleType, bundleRoot: Root },
  { typeName: 'BundleFile', jsonCase: 'eth2' },
);

function compareBytes(a: Uint8Array, b: Uint8Array): number {
  for (let i = 0; i < a.length; i += 1) if (a[i] !== b[i]) return a[i]! - b[i]!;
  return 0;
}

/** Blob entries in the one order that a bundle has: ascending by root, each once. */
export function sortBlobs(blobs: readonly BlobEntry[]): BlobEntry[] {
  const sorted = [...blobs].sort((a, b) => compareBytes(a.root, b.root));
  return sorted.filter((blob, index) => index === 0 || compareBytes(sorted[index - 1]!.root, blob.root) !== 0);
}

/** @returns the bytes of `bundle.ssz` */
export function encodeBundle(bundle: Bundle): Uint8Array {
  return BundleFileType.serialize({ bundle, bundleRoot: BundleType.hashTreeRoot(bundle) });
}

/**
 * Decodes `bundle.ssz` and checks its form: version, root over the body, blobs in order and each once.
 *
 * @throws PogoError MALFORMED
 */
export function decodeBundle(bytes: Uint8Array): Bundle {
  const { bundle, bundleRoot } = decodeStrict(BundleFileType, bytes, MAX_BUNDLE_BYTES);
  if (bundle.version !== BUNDLE_VERSION) {
    throw new PogoError('MALFORMED', `bundle: expected version ${BUNDLE_VERSION}, found ${bundle.version}`);
  }
  const found = BundleType.hashTreeRoot(bundle);
  if (!equalBytes(found, bundleRoot)) {
    throw new PogoError(
      'MALFORMED',
      `bundle: expected contents with root ${toHex(bundleRoot)}, found ${toHex(found)}: bundle.ssz was changed; copy it again`,
    );
  }
  bundle.blobs.forEach((blob, index) => {
    if (index > 0 && compareBytes(bundle.blobs[index - 1]!.root, blob.root) >= 0) {
      throw new PogoError(
        'MALFORMED',
        `bundle: expected blobs in ascending order, found ${toHex(blob.root)} out of place`,
      );
    }
  });
  return bundle;
}
