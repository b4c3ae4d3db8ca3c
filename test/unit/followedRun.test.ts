/** A verifier's run that could not be opened: what was missing may be there the next time. */
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, describe, expect, it } from 'vitest';
import { PogoError } from '../../src/errors.js';
import { loadRecipe } from '../../src/model/recipe.js';
import { FollowedRun } from '../../src/node/followedRun.js';
import { FrozenModels } from '../../src/node/frozenModels.js';
import { ClaimHeaderType } from '../../src/protocol/types.js';

const folder = mkdtempSync(join(tmpdir(), 'pogo-followed-'));
afterAll(() => rmSync(folder, { recursive: true, force: true }));

describe('a run as a verifier follows it', () => {
  it('is opened anew after it could not be', async () => {
    const failures = ['MISSING', 'DATA'].map((code) => new PogoError(code as 'MISSING' | 'DATA', 'not there'));
    const { length } = failures;
    let asked = 0;
    const context = { recipe: loadRecipe('tiny'), published: join(folder, 'published') };
    const run = new FollowedRun(context, {
      models: new FrozenModels(folder),
      tokens: () => Promise.reject(failures[asked++]),
      createTrainer: () => Promise.reject(new PogoError('INTERNAL', 'nothing gets here')),
    });
    for (const failure of failures) {
      await expect(run.goTo(ClaimHeaderType.defaultValue())).rejects.toBe(failure);
    }
    expect(asked).toBe(length);
  });
});
