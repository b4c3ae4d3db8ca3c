// Generated from bench/results/2026-11-26-zen5-2cores.jsonl by scripts/generate-cost.mjs. Do not edit.
import type { MeasuredPoints } from './points.js';

/** Points of the newest measured machine. */
export const MEASURED: MeasuredPoints = {
  file: 'bench/results/2026-11-26-zen5-2cores.jsonl',
  date: '2026-11-26',
  cpu: 'AMD EPYC',
  cores: 2,
  isa: 'avx512',
  passes: {
    embed: {
      perOperation: 0,
      perByte: 4.82434e-11,
    },
    normForward: {
      perOperation: 0,
      perByte: 5.22986e-11,
    },
    linearQkv: {
      perOperation: 1.01243e-12,
      perByte: 8.80782e-11,
    },
    attentionForward: {
      perOperation: 1.96586e-12,
      perByte: 3.9144e-11,
    },
    linearResidual: {
      perOperation: 1.01441e-12,
      perByte: 3.74704e-11,
    },
    linearGelu: {
      perOperation: 9.75737e-13,
      perByte: 1.52773e-10,
    },
    headForward: {
      perOperation: 9.40989e-13,
      perByte: 1.99792e-10,
    },
    headInputGradient: {
      perOperation: 1.07752e-12,
      perByte: 5.04357e-11,
    },
    recode: {
      perOperation: 0,
      perByte: 6.69284e-11,
    },
    weightGradient: {
      perOperation: 1.06998e-12,
      perByte: 1.36268e-11,
    },
    normBackward: {
      perOperation: 0,
      perByte: 3.2063e-11,
    },
    quantize4: {
      perOperation: 0,
      perByte: 2.88406e-11,
    },
    quantizeGradientRows: {
      perOperation: 0,
      perByte: 2.92453e-11,
    },
    linearGeluInputGradient: {
      perOperation: 1.03994e-12,
      perByte: 7.40696e-11,
    },
    linearInputGradient: {
      perOperation: 1.0639e-12,
      perByte: 8.43922e-12,
    },
    linearHeadsInputGradient: {
      perOperation: 1.0054e-12,
      perByte: 6.9582e-11,
    },
    attentionBackward: {
      perOperation: 2.29164e-12,
      perByte: 0,
    },
    embedBackward: {
      perOperation: 0,
      perByte: 1.04059e-10,
    },
    unitLoss: {
      perOperation: 0,
      perByte: 7.37067e-10,
    },
    fillZero: {
      perOperation: 0,
      perByte: 1.55677e-9,
    },
    '*': {
      perOperation: 1.04743e-12,
      perByte: 3.46958e-11,
    },
  },
  lossPasses: {},
  commit: {
    value: 21493800000,
    source: 'bench/results/2026-11-26-zen5-2cores.jsonl:268',
  },
  hash: {
    value: 8177900000,
    source: 'bench/results/2026-11-26-zen5-2cores.jsonl:268',
  },
  weights: {
    value: 13158200000,
    source: 'bench/results/2026-11-26-zen5-2cores.jsonl:268',
  },
  together: {
    value: 1.06152,
    source: 'bench/results/2026-11-26-zen5-2cores.jsonl, units in the lanes of step over unit-replay',
  },
  waits: {
    value: 0.0211611,
    source: 'bench/results/2026-11-26-zen5-2cores.jsonl, idlePercent of the lines step',
  },
  trip: {
    value: 0.000047125,
    source: 'bench/results/2026-11-26-zen5-2cores.jsonl, emptyTaskUs of the lines step',
  },
  process: {
    least: false,
    log: {
      points: [
        {
          size: 890256,
          seconds: 0,
        },
        {
          size: 5156300,
          seconds: 0.00941163,
        },
        {
          size: 20339600,
          seconds: 0.0415941,
        },
        {
          size: 131838000,
          seconds: 0.298768,
        },
      ],
      source: 'bench/results/2026-11-26-zen5-2cores.jsonl, stepMs of the lines claim/mine over the lines step',
    },
    read: {
      points: [
        {
          size: 890256,
          seconds: 0.000584129,
        },
        {
          size: 5156300,
          seconds: 0.00152651,
        },
        {
          size: 20339600,
          seconds: 0.0045506,
        },
        {
          size: 131838000,
          seconds: 0.028071,
        },
      ],
      source: 'bench/results/2026-11-26-zen5-2cores.jsonl, readMs of the lines claim/verify',
    },
    replay: {
      points: [
        {
          size: 21837500,
          seconds: 0.000899178,
        },
        {
          size: 126481000,
          seconds: 0.00307493,
        },
        {
          size: 498919000,
          seconds: 0.00923981,
        },
        {
          size: 3233910000,
          seconds: 0.0562266,
        },
      ],
      source: 'bench/results/2026-11-26-zen5-2cores.jsonl, replayMs of the lines claim/verify',
    },
    hash: {
      points: [
        {
          size: 10473600,
          seconds: 0.00125718,
        },
        {
          size: 60662400,
          seconds: 0.00490924,
        },
        {
          size: 239290000,
          seconds: 0.016854,
        },
        {
          size: 1551030000,
          seconds: 0.0985769,
        },
      ],
      source: 'bench/results/2026-11-26-zen5-2cores.jsonl, hashMs of the lines claim/verify',
    },
    compare: {
      points: [
        {
          size: 445128,
          seconds: 0.00068688,
        },
        {
          size: 2578150,
          seconds: 0.00152474,
        },
        {
          size: 10169800,
          seconds: 0.00413631,
        },
        {
          size: 65918900,
          seconds: 0.0586487,
        },
      ],
      source: 'bench/results/2026-11-26-zen5-2cores.jsonl, dutyMs of the lines claim/verify without its timed parts',
    },
    model: {
      points: [
        {
          size: 470856,
          seconds: 0.00101049,
        },
        {
          size: 2645350,
          seconds: 0.00367557,
        },
        {
          size: 10304200,
          seconds: 0.014505,
        },
        {
          size: 85492900,
          seconds: 0.326948,
        },
      ],
      source: 'bench/results/2026-11-26-zen5-2cores.jsonl, modelMs of the lines claim/verify',
    },
    mine: {
      points: [
        {
          size: 13406200,
          seconds: 0.777391,
        },
        {
          size: 77647900,
          seconds: 2.02363,
        },
        {
          size: 306291000,
          seconds: 5.25663,
        },
        {
          size: 1985320000,
          seconds: 19.8354,
        },
      ],
      source: 'bench/results/2026-11-26-zen5-2cores.jsonl, mineAroundMs of the lines claim/mine',
    },
    verify: {
      points: [
        {
          size: 13406200,
          seconds: 0.702772,
        },
        {
          size: 77647900,
          seconds: 1.23241,
        },
        {
          size: 306291000,
          seconds: 1.93425,
        },
        {
          size: 1985320000,
          seconds: 12.9103,
        },
      ],
      source: 'bench/results/2026-11-26-zen5-2cores.jsonl, verifyAroundMs of the lines claim/verify',
    },
  },
};
