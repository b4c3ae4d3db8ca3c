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
      perByte: 4.89914e-11,
    },
    normForward: {
      perOperation: 0,
      perByte: 6.86772e-11,
    },
    linearQkv: {
      perOperation: 1.04173e-12,
      perByte: 7.66364e-11,
    },
    attentionForward: {
      perOperation: 2.23154e-12,
      perByte: 0,
    },
    quantizeRows: {
      perOperation: 0,
      perByte: 3.18643e-11,
    },
    linearResidual: {
      perOperation: 1.04565e-12,
      perByte: 2.69976e-11,
    },
    linearGelu: {
      perOperation: 9.89075e-13,
      perByte: 1.78956e-10,
    },
    headForward: {
      perOperation: 9.86252e-13,
      perByte: 1.77834e-10,
    },
    headInputGradient: {
      perOperation: 1.11748e-12,
      perByte: 4.14875e-11,
    },
    recode: {
      perOperation: 0,
      perByte: 7.37629e-11,
    },
    weightGradient: {
      perOperation: 1.03707e-12,
      perByte: 1.12439e-11,
    },
    normBackward: {
      perOperation: 0,
      perByte: 3.75468e-11,
    },
    quantize4: {
      perOperation: 0,
      perByte: 2.94642e-11,
    },
    quantizeGradientRows: {
      perOperation: 0,
      perByte: 3.7056e-11,
    },
    linearGeluInputGradient: {
      perOperation: 1.07322e-12,
      perByte: 7.31001e-11,
    },
    linearInputGradient: {
      perOperation: 1.0718e-12,
      perByte: 4.19196e-12,
    },
    linearHeadsInputGradient: {
      perOperation: 9.89447e-13,
      perByte: 7.4688e-11,
    },
    attentionBackward: {
      perOperation: 2.31463e-12,
      perByte: 0,
    },
    embedBackward: {
      perOperation: 0,
      perByte: 8.0884e-11,
    },
    unitLoss: {
      perOperation: 0,
      perByte: 6.73664e-10,
    },
    fillZero: {
      perOperation: 0,
      perByte: 7.78386e-10,
    },
    '*': {
      perOperation: 1.07947e-12,
      perByte: 1.85968e-11,
    },
  },
  commit: {
    value: 20602200000,
    source: 'bench/results/2026-11-26-zen5-2cores.jsonl:267',
  },
  hash: {
    value: 8253170000,
    source: 'bench/results/2026-11-26-zen5-2cores.jsonl:267',
  },
  weights: {
    value: 12256800000,
    source: 'bench/results/2026-11-26-zen5-2cores.jsonl:267',
  },
  together: {
    value: 1.05063,
    source: 'bench/results/2026-11-26-zen5-2cores.jsonl, units in the lanes of step over unit-replay',
  },
  waits: {
    value: 0.0207123,
    source: 'bench/results/2026-11-26-zen5-2cores.jsonl, idlePercent of the lines step',
  },
  trip: {
    value: 0.000054875,
    source: 'bench/results/2026-11-26-zen5-2cores.jsonl, emptyTaskUs of the lines step',
  },
};
