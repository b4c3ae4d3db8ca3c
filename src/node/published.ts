/**
 * What a miner publishes and verifiers read: blobs by BLAKE3 root and lists of step commitments by hash_tree_root.
 *
 * The two sides are different processes that share these files and nothing else; whoever reads believes the root that
 * it holds, never the file.
 */
import * as path from 'node:path';
import { PogoError } from '../errors.js';
import { BlobStore } from '../files/blobStore.js';
import { removeAbandoned, writeFileAtomic } from '../files/durable.js';
import { type FileLayer, readWholeFile, realFiles } from '../files/fileLayer.js';
import { equalBytes, toHex } from '../hex.js';
import { type ClaimHeader, decodeStrict, type StepCommitmentList, StepCommitmentListType } from '../protocol/types.js';
import type { ClaimSource } from './checkClaim.js';
import { storedUnits } from './unitFiles.js';

/** Largest list that is read, bytes: 2^16 steps of a few units each. */
const MAX_LIST_BYTES = 1 << 28;

export class Published {
  readonly blobs: BlobStore;
  readonly #lists: string;
  readonly #layer: FileLayer;

  private constructor(directory: string, blobs: BlobStore, layer: FileLayer) {
    this.blobs = blobs;
    this.#lists = path.join(directory, 'lists');
    this.#layer = layer;
  }

  /**
   * Opens for publishing; creates the folders, and clears what killed writers left half-written.
   *
   * @throws PogoError IO
   */
  static open(directory: string, layer: FileLayer = realFiles): Published {
    const blobs = BlobStore.open(path.join(directory, 'blobs'), { layer });
    const lists = path.join(directory, 'lists');
    layer.makeDirectory(lists);
    for (const folder of [blobs.directory, lists]) removeAbandoned(layer, folder);
    return new Published(directory, blobs, layer);
  }

  /** Opens for reading only. */
  static reader(directory: string, layer: FileLayer = realFiles): Published {
    return new Published(directory, BlobStore.reader(path.join(directory, 'blobs'), { layer }), layer);
  }

  putList(list: StepCommitmentList): void {
    const root = StepCommitmentListType.hashTreeRoot(list);
    writeFileAtomic(this.#layer, this.#listPath(root), StepCommitmentListType.serialize(list));
  }

  /** @throws PogoError MISSING naming the root when the list is absent, not decodable, or another one */
  list(root: Uint8Array): StepCommitmentList {
    const missing = (found: string): PogoError =>
      new PogoError('MISSING', `expected the step commitments ${toHex(root)}, found ${found}; get that list again`, {
        root: toHex(root),
      });
    const file = this.#listPath(root);
    const status = this.#layer.status(file);
    if (status?.kind !== 'file') throw missing('no such file');
    if (status.size > MAX_LIST_BYTES) throw missing(`${status.size} bytes`);
    let list: StepCommitmentList;
    try {
      list = decodeStrict(StepCommitmentListType, readWholeFile(this.#layer, file, MAX_LIST_BYTES), MAX_LIST_BYTES);
    } catch (error) {
      throw missing(PogoError.from(error).message);
    }
    const found = StepCommitmentListType.hashTreeRoot(list);
    if (!equalBytes(found, root)) throw missing(`a list with root ${toHex(found)}`);
    return list;
  }

  /** Everything that a check of a claim reads. @throws PogoError MISSING without the list */
  source(header: ClaimHeader): ClaimSource {
    return { header, list: this.list(header.listRoot), ...storedUnits(this.blobs) };
  }

  #listPath(root: Uint8Array): string {
    return path.join(this.#lists, `${toHex(root)}.ssz`);
  }
}
