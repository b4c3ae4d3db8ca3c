/** The pool of lanes: crashes, cancellation, progress. */
import { describe, expect, it } from 'vitest';
import { PogoError } from '../../src/errors.js';
import { toHex } from '../../src/hex.js';
import { gatherSequences } from '../../src/model/unit.js';
import { LanePool } from '../../src/pipeline/lanePool.js';
import { drawBatch, unitOffsets } from '../../src/protocol/draws.js';
import { DRAW, loadRecipe, openTrainer, syntheticTokens } from '../support/trainers.js';

const recipe = loadRecipe('tiny');
const setup = { backend: 'reference', isa: 'typescript', lanes: 2 } as const;

function request(unit: number): { draw1: Uint8Array; unit: number; tokens: Uint32Array } {
  const offsets = unitOffsets(drawBatch(DRAW, 0, recipe), unit, recipe);
  return { draw1: DRAW, unit, tokens: gatherSequences(syntheticTokens(recipe.data.tokens), offsets, recipe.context) };
}

describe('LanePool', () => {
  it('replaces a worker that dies and redoes its unit with the same result', async () => {
    const { trainer, close } = await openTrainer(recipe, setup);
    try {
      const expected = toHex((await trainer.computeUnit(request(0))).root);
      const again = trainer.computeUnit(request(0));
      const other = trainer.computeUnit(request(1));
      await Promise.all(trainer.pool.threads.map((worker) => worker.terminate()));
      expect(toHex((await again).root)).toBe(expected);
      await other;
      expect(trainer.pool.replaced).toBeGreaterThan(0);
    } finally {
      await close();
    }
  });

  it('ends with INTERRUPTED when its signal aborts', async () => {
    const controller = new AbortController();
    const pool = new LanePool(setup);
    try {
      const { trainer, close } = await openTrainer(recipe, setup);
      const { file: _file, ...task } = { ...request(0), file: undefined };
      const running = pool.run(
        { kind: 'unit', session: trainer.session, ...task, step: 0, file: new Uint8Array(new SharedArrayBuffer(1)) },
        controller.signal,
      );
      controller.abort();
      await expect(running).rejects.toMatchObject({ code: 'INTERRUPTED' });
      await close();
    } finally {
      await pool.dispose();
    }
  });

  it('reports the PogoError of a task with its code', async () => {
    const { trainer, close } = await openTrainer(recipe, setup);
    try {
      const wrong = { ...request(0), tokens: new Uint32Array(3) };
      await expect(trainer.computeUnit(wrong)).rejects.toMatchObject({ code: 'SHAPE' });
      await expect(trainer.computeUnit(wrong)).rejects.toBeInstanceOf(PogoError);
    } finally {
      await close();
    }
  });

  it('counts units and tokens while it works', async () => {
    const { trainer, close } = await openTrainer(recipe, setup);
    try {
      await trainer.computeUnit(request(1));
      expect(trainer.pool.progress.units).toBe(1);
      expect(trainer.pool.progress.tokens).toBe(recipe.sequencesPerUnit * recipe.context);
    } finally {
      await close();
    }
  });
});
