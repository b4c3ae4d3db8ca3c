// Sizes of element proofs, computed from shapes: the tables of docs/disputes.md.
//   npm run build && node scripts/dispute-sizes.mjs [RECIPE …]      (default: moby, sotu-lora, gpt2-124m, gemma3-27b, and a gpt of width 4096 with 262,144 entries)
import { readFileSync } from 'node:fs';
import { createLayout, packedModelLayout } from '../dist/model/layout.js';
import { loadRecipe, validateRecipe } from '../dist/model/recipe.js';
import { START_SCALARS } from '../dist/model/state.js';
import { maxDiffBytes } from '../dist/protocol/diff.js';
import { movesLeft, startNarrowing } from '../dist/protocol/dispute/narrowing.js';
import { largestProofs } from '../dist/protocol/dispute/proofSize.js';
import { diffProgram } from '../dist/protocol/trace/diffProgram.js';
import { evaluationProgram } from '../dist/protocol/trace/evaluationProgram.js';
import { outputBytes } from '../dist/protocol/trace/program.js';
import { commitProgram, modelProgram } from '../dist/protocol/trace/stateProgram.js';
import { stateReceiptProgram } from '../dist/protocol/trace/stateReceiptProgram.js';
import { unitProgram } from '../dist/protocol/trace/unitProgram.js';
import { isMain } from './lib/project.mjs';

/** A recipe of the size of large models: no such model is trained here. */
export function largeRecipe(changes = {}) {
  const base = loadRecipe('gpt2-124m');
  return validateRecipe({
    ...base,
    name: 'large',
    layers: 32,
    width: 4096,
    heads: 32,
    hidden: 16384,
    vocab: 262_144,
    context: 2048,
    sequencesPerUnit: 8,
    ...changes,
  });
}

export function programsOf(recipe) {
  const root = new Uint8Array(32);
  const { bytes } = packedModelLayout(createLayout(recipe));
  return {
    unit: unitProgram(recipe, { recipeRoot: root, draw1: root, step: 0, unit: 0 }),
    state: commitProgram(recipe, START_SCALARS, () => 0),
    model: modelProgram(recipe),
    diff: diffProgram({
      modelBytes: bytes,
      fileBytes: maxDiffBytes(bytes),
      roots: () => ({ older: root, newer: root }),
    }),
    receipt: stateReceiptProgram(recipe, 1, () => new Uint8Array(96)),
    loss: evaluationProgram(recipe, { sequences: 64, offsets: () => new Array(64).fill(0), packs: true }),
  };
}

function print(recipe) {
  const programs = Object.entries(programsOf(recipe));
  const all = new Map();
  for (const [name, program] of programs) {
    for (const [kind, size] of largestProofs(recipe, program, ['unit', 'state', 'receipt'].includes(name))) {
      // No proof is about a draw signature: a trace under another is no answer.
      if (kind !== 'receipt.draw' && size.bytes > (all.get(kind)?.bytes ?? 0)) all.set(kind, size);
    }
  }
  const largest = Math.max(...[...all.values()].map(({ bytes }) => bytes));
  const moves = Math.max(
    ...programs.flatMap(([, { operations }]) =>
      operations.map((operation) => 1 + movesLeft(startNarrowing(outputBytes(operation), new Uint8Array(32)))),
    ),
  );
  const operations = programs.map(([name, program]) => `${name} ${program.operations.length}`).join(', ');
  console.log(
    `${recipe.name}: operations ${operations}; moves of the accused at most ${moves}; largest proof ${largest} B`,
  );
  return all;
}

if (isMain(import.meta.url)) {
  const names = process.argv.slice(2);
  const recipes =
    names.length > 0
      ? names.map((name) => loadRecipe(name.endsWith('.json') ? readFileSync(name, 'utf8') : name))
      : [loadRecipe('moby'), loadRecipe('sotu-lora'), loadRecipe('gpt2-124m'), loadRecipe('gemma3-27b'), largeRecipe()];
  const tables = recipes.map(print);
  console.log(
    `\n| rule | ${recipes.map(({ name }) => name).join(' | ')} |\n|---|${recipes.map(() => '---|').join('')}`,
  );
  for (const kind of [...new Set(tables.flatMap((table) => [...table.keys()]))].sort()) {
    console.log(`| \`${kind}\` | ${tables.map((table) => table.get(kind)?.bytes ?? '–').join(' | ')} |`);
  }
}
