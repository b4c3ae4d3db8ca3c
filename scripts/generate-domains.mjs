// Writes docs/domains.md: every domain of a signature and every context of a hash, out of the source.
//   node scripts/generate-domains.mjs [--check]      exit code 1 with --check if the page is out of date
// A domain is a four-character `tag` in src/protocol/domains.ts, a context any string `pogo/…/N` in src/; the comment before it
// is its description, so one without a comment is an error.
import { readdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import ts from 'typescript';
import { cli, isMain, ROOT, ScriptError } from './lib/project.mjs';

const PAGE = join(ROOT, 'docs', 'domains.md');
const SOURCE = join(ROOT, 'src');
const CONTEXT = /^pogo\/[a-z0-9/-]+\/\d+$/;

/** The text of the comment before the nearest property or declaration around a node. */
function commentOf(node, source) {
  for (let at = node; at !== undefined && !ts.isSourceFile(at); at = at.parent) {
    if (!ts.isPropertyAssignment(at) && !ts.isVariableStatement(at) && !ts.isFunctionDeclaration(at)) continue;
    const ranges = ts.getLeadingCommentRanges(source.text, at.getFullStart()) ?? [];
    const last = ranges.at(-1);
    if (last === undefined && ts.isPropertyAssignment(at)) return undefined;
    if (last === undefined) continue;
    return source.text
      .slice(last.pos, last.end)
      .replace(/^\/\*\*?|\*\/$|^\/\//g, '')
      .replace(/\s*\n\s*\*?\s*/g, ' ')
      .trim()
      .replace(/\.$/, '');
  }
  return undefined;
}

/** All domains and contexts of the source. */
export function domains() {
  const found = [];
  const files = readdirSync(SOURCE, { recursive: true, encoding: 'utf8' })
    .filter((name) => name.endsWith('.ts') && !name.endsWith('.d.ts'))
    .sort();
  for (const name of files) {
    const source = ts.createSourceFile(name, readFileSync(join(SOURCE, name), 'utf8'), ts.ScriptTarget.ESNext, true);
    const visit = (node) => {
      if (ts.isStringLiteralLike(node)) {
        const call = node.parent;
        const isTag = ts.isCallExpression(call) && call.expression.getText() === 'tag';
        if (isTag || CONTEXT.test(node.text)) {
          const description = commentOf(node, source);
          if (!description)
            throw new ScriptError(`error: src/${name}: expected a comment that says what ${node.text} is for`);
          found.push({ text: node.text, kind: isTag ? 'signature' : 'hash', file: `src/${name}`, description });
        }
      }
      ts.forEachChild(node, visit);
    };
    visit(source);
  }
  return found;
}

function page(rows) {
  const table = (kind, head) => [
    `| ${head} | for | in |`,
    '|---|---|---|',
    ...rows
      .filter((row) => row.kind === kind)
      .map(({ text, description, file }) => `| \`${text}\` | ${description.replaceAll('|', '\\|')} | \`${file}\` |`),
  ];
  return [
    '# Domains',
    '',
    'Two messages of different kinds never share bytes. Written by `node scripts/generate-domains.mjs`; `test/unit/domains.test.ts` holds all of them to be different and none to begin another.',
    '',
    '## Signatures',
    '',
    'BLS12-381, `BLS_SIG_BLS12381G2_XMD:SHA-256_SSWU_RO_POP_`. What is signed is the `hash_tree_root` of an SSZ container whose first field is the domain, so the first chunk of its Merkle tree tells the kinds apart.',
    '',
    ...table('signature', 'domain'),
    '',
    '## Hashes',
    '',
    'BLAKE3 in key derivation mode, one context each; plain BLAKE3 is for the bytes of files alone. Parts of a hash have fixed lengths, or the last one varies. Keys derive under `pogo/<role>/<index>`; a role and index whose context is in',
    'this table is refused (`src/protocol/keyMaterial.ts`).',
    '',
    ...table('hash', 'context'),
    '',
  ].join('\n');
}

if (isMain(import.meta.url)) {
  await cli(async (args) => {
    const next = page(domains());
    let found = '';
    try {
      found = readFileSync(PAGE, 'utf8');
    } catch {
      // Not written yet.
    }
    if (found === next) return 0;
    if (args.includes('--check')) {
      throw new ScriptError(
        'error: docs/domains.md is not what the source says; run: node scripts/generate-domains.mjs',
      );
    }
    writeFileSync(PAGE, next);
    return 0;
  });
}
