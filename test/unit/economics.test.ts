/** The inequalities of docs/economics.md: what they say, and that breaking one is told. */
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { COIN, EMBEDDED_PARAMETERS } from '../../src/ledger/stateGenesis.js';
import { loadRecipe } from '../../src/model/recipe.js';
import { deriveHash, u64Bytes } from '../../src/protocol/domains.js';
import { drawUnits } from '../../src/protocol/draws.js';
import { beaconTries, economics } from '../../src/protocol/economics.js';

const moby = { recipe: loadRecipe('moby'), parameters: EMBEDDED_PARAMETERS, committee: 4, honest: 1 };
const of = (setting: typeof moby, name: string) => economics(setting).inequalities.find((line) => line.name === name)!;

describe('the economics of a recipe', () => {
  it('moby under the embedded parameters: all hold but the pay of verifiers and the bond of disputes, which binds', () => {
    const result = economics(moby);
    expect(result).toMatchObject({ units: 40, samples: 10, badUnits: 4 });
    const failing = result.inequalities.filter((line) => !line.holds).map((line) => line.name);
    expect(failing).toEqual(['being paid for the work', 'challenging for nothing']);
    expect(of(moby, 'being paid for the work').least).toBe(50);
    expect(result.binding.name).toBe('challenging for nothing');
    // The work of 380 units, of which 40 earn 50 coins.
    expect(result.binding.least).toBe(475);
    const raised = { verifierReward: 50n * COIN, disputeBondSurplus: 465n * COIN };
    const paid = { ...moby, parameters: { ...EMBEDDED_PARAMETERS, ...raised } };
    expect(economics(paid).inequalities.every((line) => line.holds)).toBe(true);
  });

  it('the least bond is where inventing units just does not pay, for every number of them', () => {
    const { least } = of(moby, 'inventing units');
    const expected = (bond: number, bad: number): number => {
      // One honest verifier of ten draws among 40 units: counted, not taken from the formula.
      let caught = 0;
      const trials = 4000;
      for (let i = 0; i < trials; i += 1) {
        const drawn = drawUnits(deriveHash('economics', u64Bytes(i)), 20, 2, 10);
        if (drawn.some(({ stepIndex, unit }) => 2 * stepIndex + unit < bad)) caught += 1;
      }
      const p = caught / trials;
      return (1 - p) * (bad / 40) * 100 - (p * bond) / 2;
    };
    for (const bad of [1, 2, 4, 10, 20, 40]) expect(expected(1.2 * least, bad)).toBeLessThan(0);
    expect(expected(0.8 * least, economics(moby).worstBad)).toBeGreaterThan(0);
  });

  it('needs less where more seats are honest, more where rewards grow; a share above half breaks its line', () => {
    fc.assert(
      fc.property(fc.integer({ min: 1, max: 3 }), fc.bigInt({ min: 1n, max: 1000n }), (honest, reward) => {
        const parameters = { ...EMBEDDED_PARAMETERS, claimReward: reward * COIN };
        const few = of({ ...moby, parameters, honest }, 'inventing units').least;
        expect(of({ ...moby, parameters, honest: honest + 1 }, 'inventing units').least).toBeLessThan(few);
        const richer = { ...parameters, claimReward: 2n * reward * COIN };
        expect(of({ ...moby, parameters: richer, honest }, 'inventing units').least).toBeGreaterThan(few);
      }),
      { numRuns: 20 },
    );
    const low = { ...moby, parameters: { ...EMBEDDED_PARAMETERS, minerBond: 1n, unbondingClock: 0 } };
    expect(of(low, 'inventing units').holds).toBe(false);
    expect(of(low, 'leaving before the proof').holds).toBe(false);
    expect(of(low, 'withholding a share').holds).toBe(true);
  });

  it('w withholders see w + 1 draws, each for a fine', () => {
    expect(beaconTries(3, EMBEDDED_PARAMETERS)).toEqual({ tries: 4, cost: 3300 });
  });

  it('refuses committees in which nobody checks', () => {
    for (const honest of [0, 5, 1.5]) expect(() => economics({ ...moby, honest })).toThrow(/honest seats/);
  });
});
