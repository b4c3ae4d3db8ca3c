/** The inequalities of docs/economics.md: what they say, and that breaking one is told. */
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { COIN, createDemoGenesis, EMBEDDED_PARAMETERS, embeddedParameters } from '../../src/ledger/stateGenesis.js';
import { loadRecipe } from '../../src/model/recipe.js';
import { RECIPE_NAMES } from '../../src/model/recipes.js';
import { createNativeBls } from '../../src/protocol/blsNative.js';
import { deriveHash, u64Bytes } from '../../src/protocol/domains.js';
import { drawMiner, drawUnits } from '../../src/protocol/draws.js';
import { beaconBias, beaconTries, economics } from '../../src/protocol/economics.js';

const moby = { recipe: loadRecipe('moby'), parameters: EMBEDDED_PARAMETERS, committee: 4, honest: 1 };
const of = (setting: typeof moby, name: string) => economics(setting).inequalities.find((line) => line.name === name)!;

describe('the economics of a recipe', () => {
  it('moby under the base values: all hold but the pay of verifiers and the bond of disputes, which the genesis of a run raises', () => {
    const result = economics(moby);
    expect(result).toMatchObject({ units: 40, samples: 10, badUnits: 4 });
    const failing = result.inequalities.filter((line) => !line.holds).map((line) => line.name);
    expect(failing).toEqual(['being paid for the work', 'challenging for nothing']);
    expect(of(moby, 'being paid for the work').least).toBe(50);
    expect(result.binding.name).toBe('challenging for nothing');
    // The work of 380 units, of which 40 earn 50 coins.
    expect(result.binding.least).toBe(475);
    const raised = { verifierReward: 50n * COIN, disputeBondSurplus: 465n * COIN };
    expect(embeddedParameters([moby.recipe], 4)).toEqual({ ...EMBEDDED_PARAMETERS, ...raised });
  });

  it.each(RECIPE_NAMES)('%s: no inequality fails under the genesis of a run with 2 to 64 verifiers', (name) => {
    const recipe = loadRecipe(name);
    for (const committee of [2, 3, 4, 5, 7, 10, 16, 33, 64]) {
      const parameters = embeddedParameters([recipe], committee);
      for (const honest of [1, committee]) {
        const failing = economics({ recipe, parameters, committee, honest }).inequalities.filter((line) => !line.holds);
        expect(failing, `${committee} seats, ${honest} honest`).toEqual([]);
      }
      // No more than is needed: a base unit less of what was raised fails.
      for (const name of ['verifierReward', 'verifierStake', 'disputeBondSurplus'] as const) {
        if (parameters[name] === EMBEDDED_PARAMETERS[name]) continue;
        const less = { ...parameters, [name]: parameters[name] - 1n };
        expect(economics({ recipe, parameters: less, committee, honest: 1 }).inequalities.some((l) => !l.holds)).toBe(
          true,
        );
      }
    }
  });

  it('a genesis holds for the recipes of its jobs, too, and its members can pay ten bonds of disputes', () => {
    const seed = new Uint8Array(32).fill(1);
    const jobRecipes = [loadRecipe('tiny')];
    const { genesis } = createDemoGenesis({
      ...{ bls: createNativeBls(), seed, miners: 1, verifiers: 4, startStateRoot: new Uint8Array(32) },
      ...{ recipe: moby.recipe, jobRecipes },
    });
    const { parameters } = genesis;
    for (const recipe of [moby.recipe, ...jobRecipes]) {
      expect(economics({ ...moby, parameters, recipe }).inequalities.every((line) => line.holds)).toBe(true);
    }
    expect(
      economics({ ...moby, parameters: embeddedParameters([moby.recipe], 4), recipe: jobRecipes[0]! }).binding.holds,
    ).toBe(false);
    const bond = parameters.challengeBond + parameters.disputeBondSurplus;
    expect(genesis.accounts.map(({ balance }) => balance)).toEqual(genesis.accounts.map(() => 10n * bond));
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

  it.each([0, 1, 3])(
    '%i withholders that take the best of their draws have their miner drawn as often as the bound says',
    (w) => {
      // The miner that withholders want has a tenth of the stake; beacons are hashed, so a hash of a counter stands for one.
      const miners = [1, 9].map((stake, i) => ({ publicKey: new Uint8Array(48).fill(i), stake: BigInt(stake) }));
      const trials = 3000;
      let wins = 0;
      for (let trial = 0; trial < trials; trial += 1) {
        const tries = Array.from({ length: w + 1 }, (_, i) => deriveHash('bias', u64Bytes(trial), u64Bytes(i)));
        if (tries.some((beacon) => drawMiner(beacon, miners)![0] === 0)) wins += 1;
      }
      const bound = beaconBias(w, 0.1);
      expect(Math.abs(wins / trials - bound)).toBeLessThanOrEqual(3 * Math.sqrt((bound * (1 - bound)) / trials));
    },
  );

  it('refuses committees in which nobody checks', () => {
    for (const honest of [0, 5, 1.5]) expect(() => economics({ ...moby, honest })).toThrow(/honest seats/);
  });
});
