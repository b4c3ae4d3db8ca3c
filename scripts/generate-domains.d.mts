/** All domains of signatures and contexts of hashes in the source. */
export function domains(): {
  readonly text: string;
  readonly kind: 'signature' | 'hash';
  readonly file: string;
  readonly description: string;
}[];
