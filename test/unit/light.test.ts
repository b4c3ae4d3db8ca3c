/** `proof-of-gradient/light` must load in a browser: nothing below it may import Node or a native addon. */
import * as fs from 'node:fs';
import * as path from 'node:path';
import { describe, expect, it } from 'vitest';

const SOURCE = path.resolve(import.meta.dirname, '../../src');

/** All files that a file imports at run time, itself included, and the packages that they name. */
function closure(entry: string): { files: Set<string>; packages: Set<string> } {
  const files = new Set<string>();
  const packages = new Set<string>();
  const visit = (file: string): void => {
    if (files.has(file)) return;
    files.add(file);
    const text = fs.readFileSync(file, 'utf8');
    for (const [, kind, target] of text.matchAll(/^(?:import|export)\s+(type\s)?[^;]*?from\s+'([^']+)'/gm)) {
      if (kind !== undefined) continue;
      if (target!.startsWith('.')) visit(path.resolve(path.dirname(file), target!.replace(/\.js$/, '.ts')));
      else packages.add(target!);
    }
  };
  visit(entry);
  return { files, packages };
}

describe('the light entry', () => {
  it('reaches pure TypeScript packages only', () => {
    const { files, packages } = closure(path.join(SOURCE, 'light.ts'));
    expect(files.size).toBeGreaterThan(20);
    for (const name of packages) expect(name).toMatch(/^@(noble|chainsafe\/(ssz|persistent-merkle-tree))/);
    expect([...files].filter((file) => /\/(node|cli|pipeline)\/|Native|Addon/.test(file.slice(SOURCE.length)))).toEqual(
      [],
    );
  });

  it('would notice a Node import', () => {
    const { packages } = closure(path.join(SOURCE, 'protocol/blsNative.ts'));
    expect(packages.has('@chainsafe/blst')).toBe(true);
  });
});
