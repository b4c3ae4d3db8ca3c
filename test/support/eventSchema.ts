/** The part of JSON Schema that `docs/events.schema.json` uses: enough to hold the commands to it. */
import { readFileSync } from 'node:fs';

type Schema = Readonly<Record<string, unknown>>;

const file = JSON.parse(readFileSync(new URL('../../docs/events.schema.json', import.meta.url), 'utf8')) as {
  readonly $defs: Readonly<Record<string, Schema>>;
};

const KNOWN = new Set(
  'title description type properties required const enum pattern minLength minimum maximum items format'.split(' '),
);

function typeOf(value: unknown): string[] {
  if (value === null) return ['null'];
  if (Array.isArray(value)) return ['array'];
  if (Number.isInteger(value)) return ['integer', 'number'];
  return [typeof value];
}

function check(schema: Schema, value: unknown, path: string): string[] {
  const faults: string[] = [];
  const fault = (what: string): void => void faults.push(`${path}: ${what}, found ${JSON.stringify(value)}`);
  for (const word of Object.keys(schema)) if (!KNOWN.has(word)) fault(`the checker knows no ${word}`);
  const { type, const: only, enum: words, pattern, minimum, maximum, minLength, items, properties, required } = schema;
  if (type !== undefined && !typeOf(value).some((name) => [type].flat().includes(name))) fault(`expected ${type}`);
  if (only !== undefined && value !== only) fault(`expected ${only}`);
  if (Array.isArray(words) && !words.includes(value)) fault(`expected one of ${words.join(', ')}`);
  if (typeof value === 'string') {
    if (typeof pattern === 'string' && !new RegExp(pattern).test(value)) fault(`expected ${pattern}`);
    if (typeof minLength === 'number' && value.length < minLength) fault(`expected ${minLength} characters`);
    if (schema['format'] === 'date-time' && new Date(value).toISOString() !== value) fault('expected ISO 8601');
  }
  if (typeof value === 'number') {
    if (typeof minimum === 'number' && value < minimum) fault(`expected at least ${minimum}`);
    if (typeof maximum === 'number' && value > maximum) fault(`expected at most ${maximum}`);
  }
  if (Array.isArray(value) && items !== undefined) {
    value.forEach((item, i) => void faults.push(...check(items as Schema, item, `${path}[${i}]`)));
  }
  if (typeof value === 'object' && value !== null && properties !== undefined) {
    for (const name of (required as string[] | undefined) ?? []) if (!Object.hasOwn(value, name)) fault(`no ${name}`);
    for (const [name, inner] of Object.entries(properties as Record<string, Schema>)) {
      const field = (value as Record<string, unknown>)[name];
      if (field !== undefined) faults.push(...check(inner, field, `${path}.${name}`));
    }
  }
  return faults;
}

/** What of an event breaks the schema; empty when nothing does. */
export function eventFaults(event: Readonly<Record<string, unknown>>): string[] {
  const type = String(event['type']);
  const schema = file.$defs[type];
  if (schema === undefined) return [`no event of type ${type} in the schema`];
  const [first, second] = Object.keys(event);
  const order = first === 'type' && second === 'time' ? [] : [`${type}: expected type, then time, as first fields`];
  return [...order, ...check(schema, event, type)];
}
