/** Changed copies of JSON that are still JSON: what byte mutations hardly reach behind the parser. */
import fc from 'fast-check';

/** One change: kind, which value of the tree in [0, 1), and what goes there. */
export interface TreeMutation {
  readonly kind: 'replace' | 'remove' | 'rename' | 'copy' | 'repeat';
  readonly at: number;
  readonly from: number;
  readonly value: unknown;
}

const place = fc.double({ min: 0, max: 1, maxExcluded: true, noNaN: true });

/** A list in lists, as deep as a file may have it, and deeper. */
const DEEP = [200, 300].map((depth) => JSON.parse('['.repeat(depth) + ']'.repeat(depth)) as unknown);

/** Values that are seldom expected. */
const ODD: readonly unknown[] = [
  null,
  true,
  0,
  -1,
  1,
  0.5,
  1e308,
  2 ** 31,
  2 ** 32,
  2 ** 53,
  '',
  'a',
  '(',
  '(a*)*',
  '$&',
  '__proto__',
  'constructor',
  '\ud800',
  '\u0000',
  'x'.repeat(20_000),
  [],
  {},
  [null],
  ...DEEP,
];

export const treeMutations: fc.Arbitrary<TreeMutation[]> = fc.array(
  fc.record({
    kind: fc.constantFrom('replace', 'remove', 'rename', 'copy', 'repeat'),
    at: place,
    from: place,
    value: fc.constantFrom(...ODD),
  }),
  { minLength: 1, maxLength: 4 },
);

type Holder = Record<string, unknown>;

/** Every place of a tree: the object or list, and the key in it. Long lists and tables count as their first hundred. */
function placesOf(tree: unknown): [Holder, string][] {
  if (typeof tree !== 'object' || tree === null) return [];
  const holder = tree as Holder;
  return Object.keys(holder)
    .slice(0, 100)
    .flatMap((key): [Holder, string][] => [[holder, key], ...placesOf(holder[key])]);
}

/** @param tree JSON; it is not changed */
export function mutateTree(tree: unknown, changes: readonly TreeMutation[]): unknown {
  const root = { value: structuredClone(tree) };
  for (const { kind, at, from, value } of changes) {
    const places = placesOf(root.value);
    const [holder, key] = places[Math.floor(at * places.length)] ?? [root, 'value'];
    const [other, otherKey] = places[Math.floor(from * places.length)] ?? [root, 'value'];
    if (kind === 'replace') set(holder, key, value);
    else if (kind === 'copy') set(holder, key, structuredClone(other[otherKey]));
    else if (kind === 'repeat' && Array.isArray(holder)) holder.push(...structuredClone(holder.slice(0, 50)));
    else if (kind === 'rename' && !Array.isArray(holder)) {
      const moved = holder[key];
      delete holder[key];
      set(holder, typeof value === 'string' ? value.slice(0, 50) : otherKey, moved);
    } else if (Array.isArray(holder)) holder.splice(Number(key), 1);
    else delete holder[key];
  }
  return root.value;
}

/** `__proto__` as a key of its own, as JSON has it. */
function set(holder: Holder, key: string, value: unknown): void {
  Object.defineProperty(holder, key, { value, writable: true, enumerable: true, configurable: true });
}
