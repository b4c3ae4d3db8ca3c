/**
 * N1–N11: arithmetic that is not the same everywhere. What an attacker gains is a difference that is nobody's fault, so
 * that either a tolerance is granted, or an honest node is convicted.
 */
import { describe, expect, it } from 'vitest';
import { openCpuBackend } from '../../src/backend/cpu.js';
import { loadCpuAddon } from '../../src/backend/cpuAddon.js';
import type { Kernels } from '../../src/backend/ops.js';
import { referenceKernels } from '../../src/backend/reference.js';
import { assertSelfTest } from '../../src/backend/selfTest.js';
import { toHex } from '../../src/hex.js';
import { type Recipe, recipeRoot, validateRecipe } from '../../src/model/recipe.js';
import { trainSteps } from '../../src/pipeline/trainSteps.js';
import { exp2 } from '../../src/reference/scalars.js';
import { attack } from '../support/attack.js';
import { elfImports } from '../support/elfImports.js';
import { sourceFiles, wordsOf } from '../support/importGraph.js';
import { Arguments, MAKE, STYLES } from '../support/kernelArguments.js';
import { seededRandom } from '../support/random.js';
import { refusal } from '../support/refusal.js';
import { changedUnits, type Lie } from '../support/stage.js';
import { stageAttack } from '../support/stageAttack.js';
import { useStage } from '../support/stageFixture.js';
import { smallRecipe } from '../support/trainedClaim.js';
import { DRAW, openTrainer, type Setup, syntheticTokens } from '../support/trainers.js';
import { codesOf, writeCodes } from '../support/unitCodes.js';

const stage = useStage();
const loaded = loadCpuAddon();
const isas = Object.entries(loaded.addon?.describe().isas ?? {})
  .filter(([, { built, machine }]) => built && machine)
  .map(([name]) => name as 'scalar');
/** Every implementation of this machine. */
const implementations: readonly (readonly [string, Kernels])[] = [
  ['reference', referenceKernels],
  ...isas.map((isa) => [isa, openCpuBackend(isa).kernels] as const),
];

const f32 = Math.fround;
/** One rounding of x·y + z: the product of two fp32 is exact in binary64. */
const fused = (x: number, y: number, z: number): number => f32(x * y + z);
const separate = (x: number, y: number, z: number): number => f32(f32(x * y) + z);

/** Functions of libm that have no exact definition. */
const LIBM = /^(a?(sin|cos|tan)h?|sincos|exp(2|m1|10)?|log(2|10|1p)?|pow|cbrt|erfc?|tgamma|lgamma|hypot)(f|l)?$/;
/** Functions of `Math` that are exact, or that are no floating-point functions at all. */
const EXACT_MATH = new Set(['fround', 'sqrt', 'abs', 'max', 'min', 'floor', 'ceil', 'trunc', 'imul', 'clz32', 'round']);

attack(
  {
    id: 'N1',
    attack: 'library functions that differ between systems (sin, exp, pow, tanh)',
    gain: 'an honest node’s bits differ: it is convicted, or a tolerance is granted',
    defence: 'own functions of + − × ÷ √ and integers; nothing of libm is called',
    file: 'src/reference/scalars.ts',
    stoppedBy: 'no library function is called',
    harm: 'other bits than the own function',
  },
  {
    real: () => {
      const called = sourceFiles('reference').flatMap((file) => {
        const words = wordsOf(file);
        return words.filter((word, i) => words[i - 1] === 'Math' && !EXACT_MATH.has(word));
      });
      const path = 'path' in loaded ? elfImports(loaded.path) : undefined;
      const imported = (path ?? []).filter((name) => LIBM.test(name));
      const found = [...called, ...imported];
      return found.length === 0 ? 'no library function is called' : found;
    },
    twin: () => {
      const different = Array.from({ length: 1000 }, (_, i) => -i / 97).filter((z) => f32(2 ** z) !== exp2(f32(z)));
      return different.length > 0 ? 'other bits than the own function' : 'the same bits';
    },
    also: {
      'the search would notice an import': () => {
        expect(['expf', 'tanhf', 'pow', 'sincosf'].every((name) => LIBM.test(name))).toBe(true);
        if ('path' in loaded && process.platform === 'linux') {
          expect(elfImports(loaded.path)).toContain('napi_set_element');
        }
      },
    },
  },
);

/** All arrays of a call of an operation, as text. */
function outputs(kernels: Kernels, operation: 'commitLeaves' | 'dequantize4' | 'gemm', seed: number, style: 0 | 3 | 5) {
  const argument = MAKE[operation](new Arguments(seed, STYLES[style]));
  (kernels[operation] as (a: unknown) => void)(argument);
  return Object.values(argument)
    .flat()
    .map((value) => (ArrayBuffer.isView(value) ? toHex(new Uint8Array(value.buffer, 0, value.byteLength)) : `${value}`))
    .join();
}

attack(
  {
    id: 'N2',
    attack: 'fused multiply-add, and subnormals flushed to zero',
    gain: 'a last bit that depends on compiler and processor mode',
    defence: 'no contraction in any build; one rounding an operation; values that decay are flushed by definition',
    file: 'binding.gyp',
    stoppedBy: 'the same bits on reference',
    harm: 'other bits by one fused operation, other bits by one flush',
  },
  {
    real: () => {
      for (let seed = 0; seed < 24; seed += 1) {
        const style = ([0, 3, 5] as const)[seed % 3]!;
        const expected = outputs(referenceKernels, 'commitLeaves', seed, style);
        for (const [name, kernels] of implementations) {
          if (outputs(kernels, 'commitLeaves', seed, style) !== expected) return `other bits on ${name}`;
        }
      }
      return `the same bits on ${implementations.map(([name]) => name).join(', ')}`;
    },
    twin: () => {
      const random = seededRandom(5);
      const cases = Array.from({ length: 1000 }, () => [f32(random()), f32(random()), f32(-random())] as const);
      const fusion = cases.some(([x, y, z]) => fused(x, y, z) !== separate(x, y, z));
      const tiny = 2 ** -140;
      const flush = (x: number): number => (Math.abs(x) < 2 ** -126 ? 0 : x);
      const flushed = flush(f32(tiny * 0.5)) !== f32(tiny * 0.5);
      return `${fusion ? 'other' : 'same'} bits by one fused operation, ${flushed ? 'other' : 'same'} bits by one flush`;
    },
  },
);

function gemm(kernels: Kernels, a: Int8Array, b: Int8Array, M: number, N: number, K: number): Float32Array {
  const panels = Math.ceil(K / 1024);
  const y = new Float32Array(M * N);
  const ones = (rows: number): Float32Array => new Float32Array(panels * rows).fill(1);
  kernels.gemm({ a, aScales: ones(M), b, bScales: ones(N), y, M, N, K });
  return y;
}

const codes = (length: number, seed: number): Int8Array => {
  const random = seededRandom(seed);
  return Int8Array.from({ length }, () => Math.floor(random() * 255) - 127);
};

attack(
  {
    id: 'N3',
    attack: 'another order of a sum: threads, tiles, split K, batch size',
    gain: 'a result that depends on how the work was cut',
    defence: 'sums of products are integers; sums of floats have one order',
    file: 'src/reference/sums.ts',
    stoppedBy: 'the same bits for every cut',
    harm: 'two orders, two results',
  },
  {
    real: () => {
      const [M, N, K] = [7, 67, 1500];
      const [a, b] = [codes(M * K, 1), codes(N * K, 2)];
      const whole = gemm(referenceKernels, a, b, M, N, K);
      for (const [name, kernels] of implementations) {
        for (const rows of [1, 2, 3, 7]) {
          for (let from = 0; from < M; from += rows) {
            const count = Math.min(rows, M - from);
            const part = gemm(kernels, a.slice(from * K, (from + count) * K), b, count, N, K);
            if (part.some((value, i) => value !== whole[from * N + i])) return `other bits on ${name}, ${rows} rows`;
          }
        }
      }
      return 'the same bits for every cut';
    },
    twin: () => {
      const random = seededRandom(9);
      const values = Array.from({ length: 4096 }, () => f32(random() - 0.5));
      const forward = values.reduce((sum, value) => f32(sum + value), 0);
      const backward = [...values].reverse().reduce((sum, value) => f32(sum + value), 0);
      return forward === backward ? 'one result' : 'two orders, two results';
    },
  },
);

/** VPMADDUBSW: unsigned by signed bytes, two products added with saturation to int16. */
function maddubs(a: readonly [number, number], b: readonly [number, number]): number {
  return Math.max(-32768, Math.min(32767, a[0] * b[0] + a[1] * b[1]));
}

attack(
  {
    id: 'N4',
    attack: 'sums that saturate at 16 bits in VPMADDUBSW',
    gain: 'two machines of different generations disagree',
    defence: 'codes in ±127, operands whose pairs fit; every set is compared with integers',
    file: 'native/cpu/isa/avx2.cc',
    stoppedBy: 'the integer result everywhere',
    harm: '32767 instead of 64770',
  },
  {
    real: () => {
      const K = 1024;
      for (const [name, kernels] of implementations) {
        for (const sign of [1, -1]) {
          const y = gemm(kernels, new Int8Array(3 * K).fill(127), new Int8Array(5 * K).fill(127 * sign), 3, 5, K);
          if (y.some((value) => value !== sign * 127 * 127 * K)) return `another result on ${name}`;
        }
      }
      return 'the integer result everywhere';
    },
    twin: () => `${maddubs([255, 255], [127, 127])} instead of ${2 * 255 * 127}`,
  },
);

stageAttack(
  stage,
  {
    id: 'N5',
    attack: 'the code without a negative: −128 in int8, −8 in a unit',
    gain: 'a value that some instructions negate to itself: two machines disagree over one file',
    defence: 'quantizers never write it; a unit that holds it is not canonical and convicts itself',
    file: 'src/protocol/unitBytes.ts',
    stoppedBy: 'slashed by evidence unit',
    harm: 'finalized',
  },
  {
    lies: () => [
      {
        committer: changedUnits((file) => {
          file[file.findIndex((byte) => byte !== 0)] = 0x88;
        }),
      },
    ],
    rules: () => ({ unit: () => true, canonical: () => true }),
    also: {
      'no quantizer gives it, at the most extreme inputs': () => {
        for (const [name, kernels] of implementations) {
          for (let seed = 0; seed < 20; seed += 1) {
            const rows = MAKE.quantizeRows(new Arguments(seed, 'extreme')) as { codes: Int8Array };
            kernels.quantizeRows(rows as never);
            expect(rows.codes.includes(-128), name).toBe(false);
          }
        }
      },
      'negating it in eight bits gives it back': () => {
        expect(Int8Array.of(-Int8Array.of(-128)[0]!)[0]).toBe(-128);
      },
    },
  },
);

attack(
  {
    id: 'N6',
    attack: 'products that overflow a 32-bit accumulator',
    gain: 'a wrapped sum that only some kernels give',
    defence: 'panels of at most 1,024 products of ±127, added in fp32 in order',
    file: 'src/reference/gemm.ts',
    stoppedBy: 'the panel’s sum exactly, and panels in order',
    harm: 'wraps to a negative number',
  },
  {
    real: () => {
      const K = 140_000;
      let expected = 0;
      for (let at = 0; at < K; at += 1024) expected = f32(expected + 127 * 127 * Math.min(1024, K - at));
      for (const [name, kernels] of implementations) {
        const [y] = gemm(kernels, new Int8Array(K).fill(127), new Int8Array(K).fill(127), 1, 1, K);
        if (y !== expected) return `${y} on ${name}`;
      }
      return 'the panel’s sum exactly, and panels in order';
    },
    twin: () => {
      const accumulator = Int32Array.of(0);
      for (let i = 0; i < 140_000; i += 1) accumulator[0]! += 127 * 127;
      return accumulator[0]! < 0 ? 'wraps to a negative number' : 'fits';
    },
  },
);

/** An accumulator that keeps `bits` bits of its sum. */
function narrow(values: readonly number[], bits: number): number {
  return values.reduce((sum, value) => {
    const next = sum + value;
    const unit = 2 ** Math.max(0, Math.floor(Math.log2(Math.max(1, Math.abs(next)))) + 1 - bits);
    return Math.round(next / unit) * unit;
  }, 0);
}

attack(
  {
    id: 'N7',
    attack: 'accumulators of fewer bits than they seem to have',
    gain: 'sums that differ by a unit are one on such a device, and two elsewhere',
    defence: 'the largest sum of a panel is below 2^24; every device passes vectors at that bound',
    file: 'src/backend/vectorCases.ts',
    stoppedBy: 'neighbouring sums at the bound are told apart',
    harm: 'neighbouring sums are one',
  },
  {
    real: () => {
      const K = 1024;
      if (127 * 127 * K >= 2 ** 24) return 'a panel’s sum does not fit';
      const last = new Int8Array(K).fill(127);
      const one = new Int8Array(K).fill(127);
      one[K - 1] = 126;
      for (const [name, kernels] of implementations) {
        const [x] = gemm(kernels, last, last, 1, 1, K);
        const [y] = gemm(kernels, last, one, 1, 1, K);
        if (x !== 127 * 127 * K || y !== x - 127) return `${x} and ${y} on ${name}`;
      }
      return 'neighbouring sums at the bound are told apart';
    },
    twin: () => {
      const products = new Array<number>(1024).fill(127 * 127);
      const less = [...products.slice(0, -1), 127 * 127 - 1];
      return narrow(products, 14) === narrow(less, 14) ? 'neighbouring sums are one' : 'told apart';
    },
  },
);

const LONG_STEPS = 120;
/** State roots of a run of the small recipe. */
async function stateRoots(setup: Setup): Promise<string[]> {
  const { recipe } = smallRecipe({ stepsPerClaim: LONG_STEPS, minStepsPerClaim: 1, maxStepsPerClaim: LONG_STEPS });
  const { trainer, close } = await openTrainer(recipe, setup);
  try {
    const options = { trainer, draw1: DRAW, tokens: syntheticTokens(recipe.data.tokens), untilStep: LONG_STEPS };
    return (await trainSteps({ ...options, record: () => undefined })).map((step) => toHex(step.postStateRoot));
  } finally {
    await close();
  }
}

attack(
  {
    id: 'N8',
    attack: 'a divergence that shows only late, or on rare shapes',
    gain: 'devices that agree in a short test part in a long run',
    defence: 'state roots are compared at every step, over long runs, on every instruction set',
    file: 'src/protocol/claim.ts',
    stoppedBy: 'one chain of 120 state roots on ',
    harm: 'unseen in 14 steps, seen in step 15',
    open: 'a run of 1,000 steps over devices, GPU included',
  },
  {
    real: async () => {
      const setups: Setup[] =
        isas.length === 0
          ? [{ backend: 'reference', isa: 'typescript', lanes: 1 }]
          : isas.map((isa) => ({ backend: 'cpu', isa, lanes: 1 }));
      const chains = new Set<string>();
      for (const setup of setups) chains.add((await stateRoots(setup)).join());
      const names = setups.map(({ isa }) => isa).join(', ');
      return chains.size === 1 ? `one chain of ${LONG_STEPS} state roots on ${names}` : `${chains.size} chains`;
    },
    // A kernel that errs for the first time in step 15.
    twin: () => {
      const step = (state: number, i: number, faulty: boolean): number => state * 3 + i + (faulty && i === 14 ? 1 : 0);
      const run = (steps: number, faulty: boolean): number =>
        Array.from({ length: steps }, (_, i) => i).reduce((state, i) => step(state, i, faulty) % 65_521, 1);
      const unseen = run(14, true) === run(14, false);
      const seen = run(15, true) !== run(15, false);
      return `${unseen ? 'unseen' : 'seen'} in 14 steps, ${seen ? 'seen' : 'unseen'} in step 15`;
    },
  },
);

/** Every code of every unit moved by at most one, all in the same direction. */
const manySmall: Lie = {
  committer: changedUnits((file) => {
    const { layout } = stage().plan;
    writeCodes(
      layout,
      file,
      codesOf(layout, file).map((code) => Math.min(7, code + 1)),
    );
  }),
};

stageAttack(
  stage,
  {
    id: 'N9',
    attack: 'a tolerance for honest differences hides forged ones',
    gain: 'as much drift as the tolerance allows, in every value of every step',
    defence: 'no tolerance exists anywhere: equality of bytes',
    file: 'src/node/checkClaim.ts',
    stoppedBy: 'slashed by evidence unit',
    harm: 'finalized',
  },
  {
    lies: () => [manySmall],
    rules: ({ plan: { layout } }) => ({
      unit: (committed, computed) => {
        const theirs = codesOf(layout, committed);
        return codesOf(layout, computed).every((code, i) => Math.abs(code - theirs[i]!) <= 1);
      },
    }),
  },
);

/** Kernels of a device with one wire that is stuck: a bit of every third product. */
const faulty: Kernels = {
  ...referenceKernels,
  gemm(a) {
    referenceKernels.gemm(a);
    const words = new Uint32Array(a.y.buffer, a.y.byteOffset, a.y.length);
    for (let i = 0; i < words.length; i += 3) words[i] = words[i]! | 1;
  },
};

attack(
  {
    id: 'N10',
    attack: 'an honest node is slashed for its hardware',
    gain: 'its bond, without any fault of its own',
    defence: 'known-answer vectors before a backend is used, so before anything is staked on it',
    file: 'src/backend/selfTest.ts',
    stoppedBy: 'SELF_TEST',
    harm: 'slashed by evidence unit',
  },
  {
    real: () => refusal(() => assertSelfTest(faulty, 'a device with a stuck wire', { quick: true })),
    // Without the vectors the same device mines, and what it commits convicts its honest owner.
    twin: async () => {
      const stuck: Lie = {
        committer: changedUnits((file) => {
          const at = file.findIndex((byte) => (byte & 15) >= 1 && (byte & 15) <= 6 && (byte & 1) === 0);
          file[at] = file[at]! | 1;
        }),
      };
      return (await stage().play(stuck)).outcome;
    },
    also: {
      'a device that works passes': async () => {
        for (const [name, kernels] of implementations) {
          expect(await refusal(() => assertSelfTest(kernels, name, { quick: true }))).toBe('accepted');
        }
      },
    },
  },
);

attack(
  {
    id: 'N11',
    attack: 'another version of a library changes the results',
    gain: 'two honest nodes of different versions convict one another',
    defence: 'own kernels; the version of the numerics is a field of the recipe, under its root',
    file: 'src/model/recipeRules.ts',
    stoppedBy: 'RECIPE',
    harm: 'one root for two versions',
  },
  {
    real: () => {
      const { recipe } = smallRecipe();
      const other = { ...recipe, numerics: 2 } as unknown as Recipe;
      return refusal(() => validateRecipe(other));
    },
    // A root that does not cover the version.
    twin: () => {
      const { recipe } = smallRecipe();
      const other = { ...recipe, numerics: 2 } as unknown as Recipe;
      const weak = ({ numerics: _numerics, ...rest }: Recipe): string => toHex(recipeRoot({ ...rest, numerics: 1 }));
      return weak(recipe) === weak(other) ? 'one root for two versions' : 'two roots';
    },
  },
);

describe('what the rows above rest on', () => {
  it('runs native kernels here, or says that it does not', () => {
    if (loaded.addon === undefined) expect(loaded.reason).not.toBe('');
    else expect(isas).toContain('scalar');
  });
});
