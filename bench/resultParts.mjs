// A file of results as parts: the lines of each, and the line `bench-part` that closes it. What is measured again takes the place of
// what it was measured as before; every line keeps the time of its own measurement, and the ceiling and peer of its own run.

/** Name, recipe and instruction set: what a line is about. */
const keyOf = ({ name, isa, details }) => `${name} ${details?.recipe ?? ''} ${isa ?? ''}`;

/** @param text of the file. @returns parts: {name, lines, closings}; lines that no part closes are of one without a name */
export function readParts(text) {
  const parts = [];
  let lines = [];
  for (const line of text.split('\n').filter((one) => one !== '')) {
    const value = JSON.parse(line);
    if (value.type !== 'bench-part') {
      lines.push(value);
      continue;
    }
    const known = parts.find(({ name }) => name === value.part);
    if (known === undefined) parts.push({ name: value.part, lines, closings: [value] });
    else {
      known.lines.push(...lines);
      known.closings.push(value);
    }
    lines = [];
  }
  if (lines.length > 0) parts.push({ name: '', lines, closings: [] });
  return parts;
}

/** The text of a file of parts. */
export function partsText(parts) {
  const values = parts.flatMap(({ lines, closings }) => [...lines, ...closings]);
  return values.map((value) => `${JSON.stringify(value)}\n`).join('');
}

/** Whether a part is complete: some of its lines alone do not make it so. */
export function isComplete(parts, name) {
  return parts.some((part) => part.name === name && part.closings.some(({ only }) => only === undefined));
}

/**
 * Parts with what was measured now.
 *
 * @param closing the line `bench-part`; with `only` where only some lines of the part were measured
 */
export function withMeasured(parts, lines, closing) {
  const known = parts.find(({ name }) => name === closing.part);
  if (known === undefined) return [...parts, { name: closing.part, lines, closings: [closing] }];
  const fresh = new Map(lines.map((line) => [keyOf(line), line]));
  if (closing.only === undefined) {
    return parts.map((part) => (part === known ? { name: part.name, lines, closings: [closing] } : part));
  }
  const kept = known.lines.map((line) => {
    const again = fresh.get(keyOf(line));
    fresh.delete(keyOf(line));
    return again ?? line;
  });
  const merged = { name: known.name, lines: [...kept, ...fresh.values()], closings: [...known.closings, closing] };
  return parts.map((part) => (part === known ? merged : part));
}

/** Names of `part`, a list of `--only`, that were asked for: the same ones, or those of a group before a slash. */
export function namesAsked(part, asked) {
  const within = (name, group) => name === group || name.startsWith(group.endsWith('/') ? group : `${group}/`);
  return part
    .split(',')
    .flatMap((name) =>
      asked.filter((one) => within(one, name) || within(name, one)).map((one) => (within(one, name) ? one : name)),
    );
}
