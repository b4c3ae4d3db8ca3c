/** The pages that scripts rely on say what the code does. */
import { readFileSync } from 'node:fs';
import { describe, expect, it } from 'vitest';
import { ERROR_CODES, EXIT, PogoError } from '../../src/errors.js';

function page(name: string): string {
  return readFileSync(new URL(`../../docs/${name}`, import.meta.url), 'utf8');
}

describe('docs/errors.md', () => {
  const rows = new Map(
    [...page('errors.md').matchAll(/^\| `([A-Z_]+)` \| (\d+) \| (.+) \|$/gm)].map(([, code, exit]) => [code, exit]),
  );

  it('has every code with its exit code, and no other', () => {
    const expected = Object.entries(ERROR_CODES).map(([code, exit]) => [code, String(exit)] as const);
    expect(Object.fromEntries(rows)).toEqual(Object.fromEntries(expected));
  });

  it('has every exit code', () => {
    const listed = [...page('errors.md').matchAll(/^\| (\d+) \|/gm)].map(([, exit]) => Number(exit));
    expect(listed.sort((a, b) => a - b)).toEqual(Object.values(EXIT).sort((a, b) => a - b));
  });
});

describe('an error that crossed a boundary', () => {
  it('is what it was, with any code of ours; with any other it is INTERNAL', () => {
    for (const code of Object.keys(ERROR_CODES)) {
      const error = new PogoError(code as keyof typeof ERROR_CODES, 'found x', { at: 3 });
      expect(PogoError.fromJSON(JSON.parse(JSON.stringify(error)))).toEqual(error);
    }
    for (const code of ['NOTHING', 'constructor', 'toString', '__proto__', 7]) {
      expect(PogoError.fromJSON({ code, message: 'found x' }).code).toBe('INTERNAL');
    }
  });
});

describe('docs/cli.md and docs/events.schema.json', () => {
  const schema = JSON.parse(page('events.schema.json')) as {
    readonly oneOf: readonly { readonly $ref: string }[];
    readonly $defs: Readonly<Record<string, { readonly properties: { readonly type: { readonly const: string } } }>>;
  };

  it('name the same events', () => {
    const names = Object.keys(schema.$defs);
    for (const name of names) expect(page('cli.md')).toContain(`\`${name}\``);
    expect(schema.oneOf.map(({ $ref }) => $ref)).toEqual(names.map((name) => `#/$defs/${name}`));
    for (const name of names) expect(schema.$defs[name]?.properties.type.const).toBe(name);
  });
});
