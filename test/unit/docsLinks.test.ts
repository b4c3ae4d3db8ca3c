/** Pages and comments name files, headings and folders that are there. */
import { existsSync, readdirSync, readFileSync } from 'node:fs';
import * as path from 'node:path';
import { describe, expect, it } from 'vitest';

const ROOT = path.resolve(import.meta.dirname, '../..');

/** Files of a folder with one of these endings; folders that builds make are passed over. */
function files(folder: string, endings: RegExp): string[] {
  return readdirSync(path.join(ROOT, folder), { withFileTypes: true }).flatMap((entry) => {
    const name = path.join(folder, entry.name);
    if (entry.isDirectory()) return /^(target|build.*|results)$/.test(entry.name) ? [] : files(name, endings);
    return endings.test(entry.name) ? [name] : [];
  });
}

const PARTS = ['src', 'docs', 'native', 'bench', 'scripts'];
const pages = [...['README.md', 'CONTRIBUTING.md', 'CHANGELOG.md'], ...PARTS.flatMap((part) => files(part, /\.md$/))];

const text = (name: string): string => readFileSync(path.join(ROOT, name), 'utf8');
const isThere = (name: string): boolean => existsSync(path.join(ROOT, name));

/** Anchors of a page's headings, as GitHub makes them. */
function anchors(page: string): Set<string> {
  const headings = [...text(page).matchAll(/^#+ (.*)$/gm)].map(([, heading]) => heading!.toLowerCase());
  return new Set(headings.map((heading) => heading.replace(/[^\p{L}\p{N} _-]/gu, '').replaceAll(' ', '-')));
}

/** What is wrong with the links of a page to files of the repository. */
function brokenLinks(page: string): string[] {
  return [...text(page).matchAll(/\]\(([^)\s]+)\)/g)].flatMap(([, link]) => {
    if (/^\w+:/.test(link!)) return [];
    const [file, anchor] = link!.split('#');
    const target = file === '' ? page : path.join(path.dirname(page), file!);
    if (!isThere(target)) return [`${link}: no such file`];
    const isMissing = anchor !== undefined && target.endsWith('.md') && !anchors(target).has(anchor);
    return isMissing ? [`${link}: no such heading`] : [];
  });
}

/** Files that a text names by their path from the root or from its own folder, and that are at neither. */
function missingFiles(name: string): string[] {
  const named = text(name).matchAll(
    /(?<![\w/.-])((?:src|docs|test|scripts|native|bench|examples)\/[\w/.-]+\.(?:ts|md|mjs|h|cc|cu|rs|json))\b/g,
  );
  return [...new Set([...named].map(([, file]) => file!))].filter(
    (file) => !isThere(file) && !isThere(path.join(path.dirname(name), file)),
  );
}

describe('pages', () => {
  it('link to files and headings that are there', () => {
    expect(pages.length).toBeGreaterThan(30);
    expect(pages.flatMap((page) => brokenLinks(page).map((link) => `${page}: ${link}`))).toEqual([]);
  });

  it('and a broken link would be found', () => {
    expect(anchors('docs/numerics.md')).toContain('5-dither-seeds');
    expect(anchors('docs/numerics.md')).not.toContain('5-dither');
    expect(isThere('docs/nothing.md')).toBe(false);
  });

  it('and sources name files that are there', () => {
    const sources = [...pages, ...PARTS.flatMap((part) => files(part, /\.(ts|h|cc|cu|mjs)$/))];
    expect(sources.length).toBeGreaterThan(500);
    expect(sources.flatMap((name) => missingFiles(name).map((file) => `${name}: ${file}`))).toEqual([]);
  });
});
