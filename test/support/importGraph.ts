/** What source files import, read by the TypeScript parser: for laws about which file may reach which. */
import { existsSync, readdirSync, readFileSync } from 'node:fs';
import * as path from 'node:path';
import ts from 'typescript';

export const SOURCE = path.resolve(import.meta.dirname, '../../src');

export interface Import {
  /** As it is written. */
  readonly specifier: string;
  /** Erased by the compiler: nothing is loaded for it. */
  readonly typeOnly: boolean;
  /** An `import()` that is made when its code runs, not when its file loads. */
  readonly deferred: boolean;
}

const parsed = new Map<string, ts.SourceFile>();

function parse(file: string): ts.SourceFile {
  let source = parsed.get(file);
  if (source === undefined) {
    source = ts.createSourceFile(file, readFileSync(file, 'utf8'), ts.ScriptTarget.ESNext, true);
    parsed.set(file, source);
  }
  return source;
}

function walk(node: ts.Node, visit: (node: ts.Node) => void): void {
  visit(node);
  ts.forEachChild(node, (child) => walk(child, visit));
}

/** Static, dynamic and type imports, and re-exports. These are modules: there is no `require` that was not made. */
export function importsOf(file: string): Import[] {
  const found: Import[] = [];
  const add = (specifier: ts.Node | undefined, typeOnly: boolean, deferred = false): void => {
    if (specifier !== undefined && ts.isStringLiteralLike(specifier))
      found.push({ specifier: specifier.text, typeOnly, deferred });
  };
  walk(parse(file), (node) => {
    if (ts.isImportDeclaration(node)) {
      add(node.moduleSpecifier, node.importClause?.phaseModifier === ts.SyntaxKind.TypeKeyword);
    }
    if (ts.isExportDeclaration(node)) add(node.moduleSpecifier, node.isTypeOnly);
    if (ts.isImportTypeNode(node) && ts.isLiteralTypeNode(node.argument)) add(node.argument.literal, true);
    if (ts.isCallExpression(node) && node.expression.kind === ts.SyntaxKind.ImportKeyword)
      add(node.arguments[0], false, true);
  });
  return found;
}

/** All `.ts` files below a folder of `src/`, or the one file; paths absolute. */
export function sourceFiles(place: string): string[] {
  const whole = path.join(SOURCE, place);
  if (place.endsWith('.ts')) return [whole];
  return readdirSync(whole, { recursive: true, encoding: 'utf8' })
    .filter((name) => name.endsWith('.ts') && !name.endsWith('.d.ts'))
    .map((name) => path.join(whole, name))
    .sort();
}

export interface Closure {
  /** Files, entry included, relative to `src/`. */
  readonly files: ReadonlySet<string>;
  /** Everything that is not a file of `src/`, with the file that names it: `protocol/x.ts: node:fs`. */
  readonly outside: readonly string[];
}

/**
 * Everything that a file leads to.
 *
 * @param types whether type imports count, too
 */
export function closureOf(entries: readonly string[], types: boolean): Closure {
  const files = new Set<string>();
  const outside: string[] = [];
  const visit = (file: string): void => {
    const name = path.relative(SOURCE, file);
    if (files.has(name)) return;
    files.add(name);
    for (const { specifier, typeOnly } of importsOf(file)) {
      if (typeOnly && !types) continue;
      const target = path.resolve(path.dirname(file), specifier.replace(/\.js$/, '.ts'));
      if (specifier.startsWith('.') && existsSync(target)) visit(target);
      else outside.push(`${name}: ${specifier}`);
    }
  };
  for (const entry of entries) visit(entry);
  return { files, outside };
}

/** Identifiers and string literals of a file: its code without comments. */
export function wordsOf(file: string): string[] {
  const words: string[] = [];
  walk(parse(file), (node) => {
    if (ts.isIdentifier(node) || ts.isPrivateIdentifier(node) || ts.isStringLiteralLike(node)) words.push(node.text);
    if (ts.isTemplateHead(node) || ts.isTemplateMiddle(node) || ts.isTemplateTail(node)) words.push(node.text);
  });
  return words;
}
