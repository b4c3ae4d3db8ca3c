/**
 * The hashing operations that a tree needs. Two implementations: the Rust addon (`src/backend/merkleAddon.ts`) and
 * portable TypeScript (`./portable.ts`). All are synchronous, single-threaded and write into the caller's memory,
 * which may be shared between workers.
 */
export interface MerkleKernels {
  /** What computes: shown by `pogo doctor` and in benches. */
  readonly name: 'native' | 'portable';

  /** BLAKE3 of `bytes` into `out` (32 bytes). */
  hash(bytes: Uint8Array, out: Uint8Array): void;

  /**
   * Hashes the level-0 values that `bytes` hold and every value above that rests on them only.
   *
   * @param bytes whole leaves or groups; only the tree's last one may be short
   * @param tree memory of the tree, `nodeTreeBytes(nodes)` bytes; only the values that are computed are written
   * @param nodes level-0 values of the tree
   * @param first number of the first level-0 value that `bytes` hold
   * @param chunkBase number of the tree's first leaf in the whole input (0, or a segment's first leaf)
   * @param groupLog leaves of a level-0 value, as a power of two
   */
  hashRange(
    bytes: Uint8Array,
    tree: Uint8Array,
    nodes: number,
    first: number,
    chunkBase: number,
    groupLog: number,
  ): void;

  /** Computes all levels above `from`, which are taken as complete up to there, and the root. */
  finish(tree: Uint8Array, nodes: number, from: number): void;

  /**
   * Rehashes some level-0 values, what stands above them, and the root.
   *
   * @param bytes those of the whole tree
   * @param dirty ascending, unique numbers of level-0 values
   */
  update(
    bytes: Uint8Array,
    tree: Uint8Array,
    nodes: number,
    chunkBase: number,
    groupLog: number,
    dirty: Uint32Array,
  ): void;
}
