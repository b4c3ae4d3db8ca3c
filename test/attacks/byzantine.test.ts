/**
 * B1–B7: Byzantine updates. Robust aggregation bounds the harm of a bad gradient by a tolerance; here a gradient is
 * equal to the recomputed one or it is false, so every shape of it is one case: an unequal byte.
 */
import { expect } from 'vitest';
import { referenceKernels } from '../../src/backend/reference.js';
import { safetensorsHeaderLength } from '../../src/model/safetensors.js';
import { commitLeafRange, leafCount, START_SCALARS, seedState } from '../../src/model/state.js';
import { decodeTransaction, encodeTransaction } from '../../src/protocol/ledgerTypes.js';
import { decodeStrict, StepCommitmentListType } from '../../src/protocol/types.js';
import { canonicalUnitFault } from '../../src/protocol/unitBytes.js';
import { attack } from '../support/attack.js';
import { sourceFiles, wordsOf } from '../support/importGraph.js';
import { seededRandom } from '../support/random.js';
import { refusal } from '../support/refusal.js';
import { changedUnits, type Lie, type Rules } from '../support/stage.js';
import { stageAttack } from '../support/stageAttack.js';
import { useStage } from '../support/stageFixture.js';
import { codesOf, distance, norm, scaleBits, valuesOf, writeCodes } from '../support/unitCodes.js';

const stage = useStage();

type Change = (codes: Int8Array, scales: Uint16Array, step: number, unit: number) => Int8Array;

/** Every unit of the claim with its codes and scales changed. */
function units(change: Change): Lie {
  return {
    committer: changedUnits((file, step, unit) => {
      const { layout } = stage().plan;
      writeCodes(layout, file, change(codesOf(layout, file), scaleBits(layout, file), step, unit));
    }),
  };
}

/** A bf16 scale times a power of two. */
function scaled(scales: Uint16Array, exponent: number): void {
  scales.forEach((bits, i) => {
    if (bits !== 0) scales[i] = Math.max(1, bits + (exponent << 7));
  });
}

const signFlip = units((codes) => codes.map((code) => -code));
const scaling = units((codes, scales) => {
  scaled(scales, 1);
  return codes;
});
const noise = units((codes, _scales, step, unit) => {
  const random = seededRandom(1 + 2 * step + unit);
  return codes.map((code) => (random() < 0.5 ? code : -code));
});

/** Accepts whatever is no longer than `factor` times the honest gradient. */
const shortEnough =
  (factor: number): Rules['unit'] =>
  (committed, computed, { trainer }) =>
    norm(valuesOf(trainer.plan.layout, committed)) <= factor * norm(valuesOf(trainer.plan.layout, computed)) + 1e-12;

stageAttack(
  stage,
  {
    id: 'B1',
    attack: 'gradients with their sign flipped, scaled, or drowned in noise',
    gain: 'the model is ruined or steered',
    defence: 'a unit equals the recomputed one, or it is false',
    file: 'src/protocol/evidence/unit.ts',
    stoppedBy: 'slashed by evidence unit',
    harm: 'finalized',
  },
  { lies: () => [signFlip, scaling, noise], rules: () => ({ unit: shortEnough(2) }) },
);

stageAttack(
  stage,
  {
    id: 'B2',
    attack: '“a little is enough”: every coordinate moved by less than the spread of honest ones',
    gain: 'a drift that robust means let through',
    defence: 'a unit equals the recomputed one, or it is false',
    file: 'src/protocol/evidence/unit.ts',
    stoppedBy: 'slashed by evidence unit',
    harm: 'finalized',
  },
  {
    lies: () => [units((codes) => codes.map((code) => Math.max(-7, code - 1)))],
    rules: ({ plan: { layout } }) => ({
      unit: (committed, computed) => {
        const theirs = codesOf(layout, committed);
        return codesOf(layout, computed).every((code, i) => Math.abs(code - theirs[i]!) <= 1);
      },
    }),
  },
);

stageAttack(
  stage,
  {
    id: 'B3',
    attack: 'inner-product manipulation: a small step against the gradient',
    gain: 'training goes backwards inside a bound on norms',
    defence: 'a unit equals the recomputed one, or it is false',
    file: 'src/protocol/evidence/unit.ts',
    stoppedBy: 'slashed by evidence unit',
    harm: 'finalized',
  },
  {
    lies: () =>
      [1, 2, 4].map((halvings) =>
        units((codes, scales) => {
          scaled(scales, -halvings);
          return codes.map((code) => -code);
        }),
      ),
    rules: () => ({ unit: shortEnough(1) }),
  },
);

/** Units that lean towards the unit of the step before: nearer to the history than the honest one is. */
function leaning(): Lie {
  const history = new Map<number, Int8Array>();
  return units((codes, _scales, _step, unit) => {
    const last = history.get(unit) ?? new Int8Array(codes.length);
    const next = codes.map((code, i) => (i % 2 === 0 ? code : last[i]!));
    history.set(unit, next);
    return next;
  });
}

stageAttack(
  stage,
  {
    id: 'B4',
    attack: 'a history-aware drift that centred clipping lets through',
    gain: 'a bias that adds up over the steps',
    defence: 'a unit equals the recomputed one, or it is false',
    file: 'src/protocol/evidence/unit.ts',
    stoppedBy: 'slashed by evidence unit',
    harm: 'finalized',
  },
  {
    lies: () => [leaning()],
    // Clipping around the history: a unit may lie as far from the last one as twice the honest one does.
    rules: ({ plan: { layout } }) => {
      let last: Float64Array | undefined;
      return {
        unit: (committed, computed) => {
          const values = valuesOf(layout, committed);
          const honest = valuesOf(layout, computed);
          const centre = last ?? new Float64Array(values.length);
          last = values;
          return distance(values, centre) <= 2 * distance(honest, centre);
        },
      };
    },
  },
);

const COMPLETION = /completions|logprob|rewardModel|rlhf/i;

attack(
  {
    id: 'B5',
    attack: 'poisoned completions for reinforcement learning',
    gain: 'the policy learns what the attacker writes',
    defence: 'no reinforcement learning: training data is fixed by the recipe’s roots',
    file: 'src/model/recipe.ts',
    stoppedBy: 'no file of the source speaks of completions',
    harm: 'a source that had them is found: logProbs',
    showing: 'no such surface',
  },
  {
    real: () => {
      const found = sourceFiles('.').filter((file) => wordsOf(file).some((word) => COMPLETION.test(word)));
      return found.length === 0 ? 'no file of the source speaks of completions' : found;
    },
    twin: () => `a source that had them is found: ${['theta', 'logProbs'].find((word) => COMPLETION.test(word))}`,
  },
);

/** bf16 patterns that no encoder writes: NaN, both infinities, negative. */
const BAD_SCALES = [0x7fc0, 0x7f81, 0x7f80, 0xff80, 0xbf80];
const withScale = (bits: number): Lie => ({
  committer: changedUnits(
    (file) => {
      scaleBits(stage().plan.layout, file)[0] = bits;
    },
    (step, unit) => step === 1 && unit === 1,
  ),
});

attack(
  {
    id: 'B6',
    attack: 'NaN, infinite or negative scales in a unit',
    gain: 'one unit poisons every weight, or every later comparison with a bound',
    defence: 'codes are integers, scales are checked where a unit is read; such a unit is false whatever it should be',
    file: 'src/protocol/unitBytes.ts',
    stoppedBy: 'malformed: ',
    harm: 'NaN in θ',
  },
  {
    real: () => {
      const { layout } = stage().plan;
      const honest = new Uint8Array(new SharedArrayBuffer(layout.length / 2 + layout.length / 32));
      return BAD_SCALES.map((bits) => {
        const file = honest.slice();
        scaleBits(layout, file)[0] = bits;
        return `malformed: ${canonicalUnitFault(layout, file) ?? 'accepted'}`;
      });
    },
    // The commit pass on a unit that nobody looked at.
    twin: () => {
      const { plan } = stage();
      const state = seedState(plan);
      const { layout } = plan;
      const file = new Uint8Array(layout.length / 2 + layout.length / 32).fill(0x11, 0, layout.length / 2);
      scaleBits(layout, file)[0] = 0x7fc0;
      commitLeafRange(plan, referenceKernels, state, START_SCALARS, [file, file], 0, leafCount(layout));
      return Number.isNaN(state.theta[0]) ? 'NaN in θ' : `θ is ${state.theta[0]}`;
    },
    also: {
      'a claim over such a unit is convicted by it': async () => {
        for (const bits of [0xbf80, 0x0000]) {
          expect((await stage().play(withScale(bits))).outcome).toBe('slashed by evidence unit');
        }
      },
    },
  },
);

/** Objects of a few bytes that claim to be huge. */
function oversized(): Readonly<Record<string, () => unknown>> {
  const header = new Uint8Array(16);
  new DataView(header.buffer).setBigUint64(0, 2n ** 50n, true);
  const offsets = new Uint8Array(8);
  new DataView(offsets.buffer).setUint32(0, 0xfffffffc, true);
  const evidence = encodeTransaction('evidence', {
    finder: new Uint8Array(48),
    salt: new Uint8Array(32),
    evidence: new Uint8Array(1),
  });
  new DataView(evidence.buffer).setUint32(1 + 48 + 32, 0xffffffff, true);
  return {
    'a checkpoint whose header is a petabyte': () => safetensorsHeaderLength(header.subarray(0, 8), header.length),
    'a list whose first offset is 4 GiB': () => decodeStrict(StepCommitmentListType, offsets),
    'a transaction whose evidence begins at 4 GiB': () => decodeTransaction(evidence),
  };
}

attack(
  {
    id: 'B7',
    attack: 'huge payloads, or small ones that claim to be huge',
    gain: 'memory and time of everybody who reads them',
    defence: 'every length is compared with the bytes that are there before anything is allocated',
    file: 'src/protocol/ssz.ts',
    stoppedBy: 'MALFORMED',
    harm: 'asks for 4294967292 bytes',
    open: 'long completions have no surface here: nothing is generated',
  },
  {
    real: () => Promise.all(Object.values(oversized()).map((decode) => refusal(decode))),
    // A decoder that reserves what the first offset announces.
    twin: () => {
      const offsets = new Uint8Array(8);
      new DataView(offsets.buffer).setUint32(0, 0xfffffffc, true);
      let asked = 0;
      const allocate = (bytes: number): void => {
        asked = bytes;
      };
      allocate(new DataView(offsets.buffer).getUint32(0, true));
      return `asks for ${asked} bytes`;
    },
    also: {
      'memory does not grow while they are refused': async () => {
        const before = process.memoryUsage().arrayBuffers;
        for (const decode of Object.values(oversized())) expect(await refusal(decode)).toMatch(/^MALFORMED/);
        expect(process.memoryUsage().arrayBuffers - before).toBeLessThan(2 ** 24);
      },
    },
  },
);
