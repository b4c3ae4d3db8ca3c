/** Domain separation: every domain and context of the source is in one table, all differ, and none begins another. */
import { execFileSync } from 'node:child_process';
import * as path from 'node:path';
import { describe, expect, it } from 'vitest';
import { domains } from '../../scripts/generate-domains.mjs';
import { CONTEXT, DOMAIN } from '../../src/protocol/domains.js';
import { deriveKeyMaterial } from '../../src/protocol/keyMaterial.js';
import * as ledgerTypes from '../../src/protocol/ledgerTypes.js';
import * as types from '../../src/protocol/types.js';
import { refusal } from '../support/refusal.js';

const ROOT = path.resolve(import.meta.dirname, '../..');
const found = domains();
const texts = (kind: 'signature' | 'hash'): string[] =>
  found.filter((row) => row.kind === kind).map(({ text }) => text);
const decode = (bytes: Uint8Array): string => new TextDecoder().decode(bytes);

describe('domains', () => {
  it('docs/domains.md is what the source says', () => {
    execFileSync(process.execPath, [path.join(ROOT, 'scripts/generate-domains.mjs'), '--check'], { stdio: 'pipe' });
  });

  it('the table of the page holds all of domains.ts', () => {
    expect(texts('signature').sort()).toEqual(Object.values(DOMAIN).map(decode).sort());
    for (const context of Object.values(CONTEXT)) expect(texts('hash')).toContain(context);
  });

  it('all differ, signed ones have four bytes each, and none begins another', () => {
    const all = [...new Set(found.map(({ text }) => text))];
    // A format's name may stand in several files; a context of one meaning has one place.
    for (const kind of ['signature', 'hash'] as const) expect(new Set(texts(kind)).size).toBe(texts(kind).length);
    for (const text of texts('signature')) expect(text).toMatch(/^[A-Z]{3}\d$/);
    for (const a of all) for (const b of all) if (a !== b) expect([a, b, b.startsWith(a)]).toEqual([a, b, false]);
  });

  it('every signed container begins with its domain', () => {
    const signed = Object.entries({ ...types, ...ledgerTypes })
      .map(([name, type]) => [name, (type as { fields?: Record<string, unknown> }).fields] as const)
      .filter(([, fields]) => fields !== undefined && 'domain' in fields);
    expect(signed.length).toBeGreaterThanOrEqual(3);
    for (const [name, fields] of signed) expect([name, Object.keys(fields!)[0]]).toEqual([name, 'domain']);
  });

  it('a key never derives under the context of a hash', async () => {
    const seed = new Uint8Array(32);
    for (const context of Object.values(CONTEXT)) {
      const [, role, index] = /^pogo\/(.*)\/(\d+)$/.exec(context)!;
      // Roles are lowercase letters, so a name with a hyphen is refused for its form already.
      expect(await refusal(() => deriveKeyMaterial(seed, role!, Number(index)))).toMatch(/^RANGE/);
    }
    expect(await refusal(() => deriveKeyMaterial(seed, 'beacon', 0))).toBe('accepted');
  });
});
