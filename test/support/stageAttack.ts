/** Rows of attacks that are one lie of a miner against one comparison of a verifier. */
import { expect } from 'vitest';
import { type AttackRow, attack } from './attack.js';
import type { Lie, Rules, Stage } from './stage.js';

export interface StagePlay {
  /** The lies of the row; each is played on its own. */
  lies(stage: Stage): Promise<readonly Lie[]> | readonly Lie[];
  /** The comparison that the twin replaces. */
  rules(stage: Stage): Partial<Rules>;
  readonly also?: Readonly<Record<string, () => Promise<void> | void>>;
}

/**
 * The row's two plays, and a third that keeps the twin honest: the twin's verifier with nothing replaced must not let
 * the lie pass, so that what lets it pass is the replaced comparison and nothing else.
 */
export function stageAttack(stage: () => Stage, row: AttackRow, { lies, rules, also = {} }: StagePlay): void {
  const outcomes = async (replaced: Partial<Rules> | undefined): Promise<string[]> => {
    const endings: string[] = [];
    for (const lie of await lies(stage())) {
      const ending = await stage().play(lie, replaced === undefined ? {} : { rules: replaced });
      endings.push(ending.outcome);
    }
    return endings;
  };
  attack(row, {
    real: () => outcomes(undefined),
    twin: () => outcomes(rules(stage())),
    also: {
      'the twin’s verifier with nothing replaced finds it, too': async () => {
        for (const outcome of await outcomes({})) expect(outcome).toBe('reopened');
      },
      ...also,
    },
  });
}
