/** An element proof as a file: what `pogo evidence` says of a lie, of a truth, and of changed bytes. */
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { afterAll, beforeAll, expect, it } from 'vitest';
import { encodeEvidence } from '../../src/protocol/evidence.js';
import { adapterOver } from '../support/adapters.js';
import { falseProof, type HonestTrace, honestTrace, lie, play } from '../support/disputes.js';
import { pogo } from '../support/pogo.js';
import { smallRecipe, trainClaim } from '../support/trainedClaim.js';

let honest: HonestTrace;
let folder: string;
beforeAll(() => {
  honest = honestTrace(trainClaim(), 'unit');
  folder = mkdtempSync(path.join(tmpdir(), 'pogo-element-'));
});
afterAll(() => rmSync(folder, { recursive: true }));

async function codeOf(name: string, bytes: Uint8Array): Promise<number | null> {
  const file = path.join(folder, name);
  writeFileSync(file, bytes);
  return (await pogo(['evidence', file, '--json'])).code;
}

it('needs nothing but the file where adapters are disputed: it opens what it reads of the model under them', async () => {
  const adapted = honestTrace(trainClaim({}, { adapter: adapterOver(smallRecipe().recipe, ['qkv', 'fc']) }), 'unit', 1);
  // A product over frozen weights, and the codes of one of them.
  for (const name of ['h0.fc.frozen.product', 'h0.fc.weight.codes']) {
    const operation = adapted.program.operations.findIndex((one) => one.name === name);
    const { evidence } = play(adapted, lie(adapted, operation, 77, false));
    const file = path.join(folder, name);
    writeFileSync(file, evidence);
    expect((await pogo(['evidence', file], { POGO_HOME: path.join(folder, 'nothing') })).code).toBe(0);
    expect(evidence.length).toBeLessThan(64 * 1024);
  }
});

it('0 for a lie, 3 for a false accusation, 2 for anything else', async () => {
  const operation = honest.program.operations.findIndex(({ name }) => name === 'h0.fc.product');
  const { evidence } = play(honest, lie(honest, operation, 1234, false));
  expect(await codeOf('lie', evidence)).toBe(0);
  expect(await codeOf('truth', encodeEvidence('element', falseProof(honest, operation, 1234)))).toBe(3);
  expect(await codeOf('cut', evidence.subarray(0, evidence.length - 1))).toBe(2);
  const changed = evidence.slice();
  changed[changed.length - 40]! ^= 1;
  expect(await codeOf('changed', changed)).toBe(2);
});
