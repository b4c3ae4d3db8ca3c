/** The roots of a trained state are those of its bytes at every step: also of the EMA, which is hashed only when it moves. */
import { blake3 } from '@noble/hashes/blake3.js';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { merkleKernels } from '../../src/backend/merkleAddon.js';
import { openBackend } from '../../src/backend/open.js';
import { toHex } from '../../src/hex.js';
import { unitFileBytes } from '../../src/model/layout.js';
import { loadRecipe } from '../../src/model/recipes.js';
import { EMA_INTERVAL, seedState, vectorBytes } from '../../src/model/state.js';
import { modelPlan } from '../../src/model/unit.js';
import { LanePool } from '../../src/pipeline/lanePool.js';
import { Trainer } from '../../src/pipeline/trainer.js';
import { seededBytes } from '../support/random.js';

const plan = modelPlan(loadRecipe('tiny'));
let pool: LanePool;

beforeAll(() => {
  const { name, isa } = openBackend();
  pool = new LanePool({ backend: name, isa, lanes: 2 });
});
afterAll(() => pool.dispose());

/** A unit file with codes 0 to 7 and scales of 2^-10. */
function unitFile(seed: number): Uint8Array {
  const sizes = unitFileBytes(plan.layout);
  const file = new Uint8Array(new SharedArrayBuffer(sizes.total));
  file.set(seededBytes(sizes.codes, seed).map((byte) => byte & 0x77));
  new Uint16Array(file.buffer, sizes.codes).fill(0x3a80);
  return file;
}

describe('roots of a state', () => {
  async function expectRoots(trainer: Trainer): Promise<void> {
    const header = await trainer.header();
    for (const name of ['theta', 'm', 'v', 'ema'] as const) {
      const expected = toHex(blake3(vectorBytes(trainer.state[name]).slice()));
      expect(toHex(header[`${name}Root`]), `${name} at step ${header.step}`).toBe(expected);
    }
  }

  it('are those of its bytes, step after step', async () => {
    const trainer = new Trainer(plan, pool, merkleKernels(), seedState(plan));
    await trainer.prepare();
    await expectRoots(trainer);
    const before = vectorBytes(trainer.state.ema).slice();
    for (let step = 0; step < 2 * EMA_INTERVAL + 1; step += 1) {
      await trainer.commit([unitFile(2 * step), unitFile(2 * step + 1)]);
      await expectRoots(trainer);
    }
    expect(Buffer.compare(vectorBytes(trainer.state.ema), before)).not.toBe(0);
  });

  it('are those of its bytes after steps whose roots nobody asked for', async () => {
    const trainer = new Trainer(plan, pool, merkleKernels(), seedState(plan));
    await trainer.prepare();
    await expectRoots(trainer);
    for (let step = 0; step < EMA_INTERVAL + 1; step += 1) {
      await trainer.commit([unitFile(step), unitFile(step + 1)]);
    }
    await expectRoots(trainer);
  });

  it('are those of its bytes after somebody else wrote them', async () => {
    const trainer = new Trainer(plan, pool, merkleKernels(), seedState(plan));
    await trainer.prepare();
    await expectRoots(trainer);
    trainer.state.ema[3] = 1;
    trainer.vectorsChanged();
    await expectRoots(trainer);
    trainer.state.ema[3] = 2;
    await trainer.reset(trainer.scalars);
    await expectRoots(trainer);
  });
});
