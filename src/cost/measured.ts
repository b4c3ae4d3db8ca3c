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
    log: {
      fixed: 0,
      perUnit: 1.97491e-9,
      source: 'bench/results/2026-11-26-zen5-2cores.jsonl, stepMs of the lines claim/mine over the lines step',
    },
    read: {
      fixed: 0.000402896,
      perUnit: 2.0912e-10,
      source: 'bench/results/2026-11-26-zen5-2cores.jsonl, readMs of the lines claim/verify',
    },
    model: {
      fixed: 0.000248513,
      perUnit: 1.51507e-9,
      source: 'bench/results/2026-11-26-zen5-2cores.jsonl, modelMs of the lines claim/verify',
    },
    mine: {
      fixed: 0.705159,
      perUnit: 1.1433e-8,
      source: 'bench/results/2026-11-26-zen5-2cores.jsonl, mineAroundMs of the lines claim/mine',
    },
    verify: {
      fixed: 0.646437,
      perUnit: 5.33384e-9,
      source: 'bench/results/2026-11-26-zen5-2cores.jsonl, verifyAroundMs of the lines claim/verify',
    },
  },
};
