/**
 * A set of BLAKE3 roots in 16 bytes each (the first half of a root: two documents with one half would have to be sought
 * for 2^64 tries), open addressing, at most 70 % full. Millions of documents take tens of megabytes.
 */

const WORDS = 4;

export class RootSet {
  #slots = 1 << 10;
  #table = new Uint32Array(WORDS * this.#slots);
  #used = 0;
  /** The key of four zeros marks a free slot, so it is kept apart. */
  #hasZero = false;

  get size(): number {
    return this.#used + (this.#hasZero ? 1 : 0);
  }

  /** Bytes of the table. */
  get bytes(): number {
    return this.#table.byteLength;
  }

  /** @returns false if the root was there already */
  add(root: Uint8Array): boolean {
    const view = new DataView(root.buffer, root.byteOffset, 4 * WORDS);
    const key: [number, number, number, number] = [0, 1, 2, 3].map((i) => view.getUint32(4 * i, true)) as never;
    if (key.every((part) => part === 0)) {
      const added = !this.#hasZero;
      this.#hasZero = true;
      return added;
    }
    const place = this.#find(this.#table, this.#slots, key);
    if (this.#table.subarray(place, place + WORDS).some((part) => part !== 0)) return false;
    this.#table.set(key, place);
    this.#used += 1;
    if (this.#used * 10 > this.#slots * 7) this.#grow();
    return true;
  }

  /** First word of the key's slot, or of the free slot where it belongs. */
  #find(table: Uint32Array, slots: number, key: ArrayLike<number>): number {
    // Roots are uniform: any word of one is a hash of it. The other words decide the split of the data.
    let slot = key[2] & (slots - 1);
    for (;;) {
      const place = WORDS * slot;
      const isFree = (table[place] | table[place + 1] | table[place + 2] | table[place + 3]) === 0;
      const isSame =
        table[place] === key[0] &&
        table[place + 1] === key[1] &&
        table[place + 2] === key[2] &&
        table[place + 3] === key[3];
      if (isFree || isSame) return place;
      slot = (slot + 1) & (slots - 1);
    }
  }

  #grow(): void {
    const slots = 2 * this.#slots;
    const table = new Uint32Array(WORDS * slots);
    for (let from = 0; from < this.#table.length; from += WORDS) {
      const key = this.#table.subarray(from, from + WORDS);
      if (key.some((part) => part !== 0)) table.set(key, this.#find(table, slots, key));
    }
    this.#slots = slots;
    this.#table = table;
  }
}
