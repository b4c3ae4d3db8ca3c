import { readdirSync, readFileSync } from 'node:fs';
import { dirname, join, relative, resolve } from 'node:path';
import { describe, expect, it } from 'vitest';

const source = resolve(import.meta.dirname, '../../../src');

/** Modules that a file imports at run time; type imports leave no trace. */
function imports(file: string): string[] {
  const text = readFileSync(file, 'utf8').replace(/^\s*\/?\*.*$/gm, '');
  const statics = [...text.matchAll(/^(?:import|export)\s+(?!type\b)(?:[^;]*?\sfrom\s+)?'([^']+)'/gm)];
  const dynamic = [...text.matchAll(/\bimport\('([^']+)'\)/g)];
  return [...statics, ...dynamic].map(([, specifier]) => specifier);
}

/** What a browser cannot load, among all that `file` leads to. */
function nodeImports(file: string, seen = new Set<string>()): string[] {
  if (seen.has(file)) return [];
  seen.add(file);
  return imports(file).flatMap((specifier) => {
    if (specifier.startsWith('.')) {
      return nodeImports(resolve(dirname(file), specifier.replace(/\.js$/, '.ts')), seen);
    }
    return specifier.startsWith('node:') ? [`${relative(source, file)}: ${specifier}`] : [];
  });
}

describe('src/model runs in a browser', () => {
  const files = readdirSync(join(source, 'model')).filter((name) => name.endsWith('.ts'));
  it.each(files)('%s leads to no module of Node', (name) => {
    expect(nodeImports(join(source, 'model', name))).toEqual([]);
  });

  it('and the walk would find one', () => {
    expect(nodeImports(join(source, 'model/node/recipeFile.ts'))).toContain('model/node/recipeFile.ts: node:fs');
  });
});
