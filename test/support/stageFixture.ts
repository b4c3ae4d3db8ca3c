/** One {@link Stage} for a file of tests, opened before them and closed after them. */
import { afterAll, beforeAll } from 'vitest';
import { Stage } from './stage.js';

export function useStage(): () => Stage {
  let open: Stage | undefined;
  beforeAll(async () => {
    open = await Stage.open();
  });
  afterAll(() => open?.dispose());
  return () => {
    if (open === undefined) throw new Error('the stage is open inside tests only');
    return open;
  };
}
