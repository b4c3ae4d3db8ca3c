// Generated from bench/results/2026-11-27-zen5-2cores.jsonl by scripts/generate-cost.mjs. Do not edit.
import type { MeasuredPoints } from './points.js';

/** Points of the newest measured machine. */
export const MEASURED: MeasuredPoints = {
  file: 'bench/results/2026-11-27-zen5-2cores.jsonl',
  date: '2026-11-27',
  cpu: 'AMD EPYC',
  cores: 2,
  isa: 'avx512',
  passes: {
    embed: {
      perOperation: 0,
      perByte: 4.94327e-11,
    },
    normForward: {
      perOperation: 0,
      perByte: 5.55984e-11,
    },
    linearQkv: {
      perOperation: 9.73788e-13,
      perByte: 1.24191e-10,
    },
    attentionForward: {
      perOperation: 1.95786e-12,
      perByte: 5.09121e-11,
    },
    linearResidual: {
      perOperation: 1.05241e-12,
      perByte: 3.80807e-11,
    },
    linearGelu: {
      perOperation: 9.92218e-13,
      perByte: 1.56502e-10,
    },
    headForward: {
      perOperation: 9.22935e-13,
      perByte: 2.22455e-10,
    },
    headInputGradient: {
      perOperation: 1.08805e-12,
      perByte: 5.64626e-11,
    },
    recode: {
      perOperation: 0,
      perByte: 7.57115e-11,
    },
    weightGradient: {
      perOperation: 1.0916e-12,
      perByte: 1.81865e-11,
    },
    normBackward: {
      perOperation: 0,
      perByte: 3.61829e-11,
    },
    quantize4: {
      perOperation: 0,
      perByte: 2.85675e-11,
    },
    quantizeGradientRows: {
      perOperation: 0,
      perByte: 3.4193e-11,
    },
    linearGeluInputGradient: {
      perOperation: 1.04295e-12,
      perByte: 8.81066e-11,
    },
    linearInputGradient: {
      perOperation: 1.08741e-12,
      perByte: 1.54706e-11,
    },
    linearHeadsInputGradient: {
      perOperation: 9.66414e-13,
      perByte: 9.35113e-11,
    },
    attentionBackward: {
      perOperation: 2.33216e-12,
      perByte: 9.46886e-12,
    },
    embedBackward: {
      perOperation: 0,
      perByte: 1.06593e-10,
    },
    unitLoss: {
      perOperation: 0,
      perByte: 8.04448e-10,
    },
    fillZero: {
      perOperation: 0,
      perByte: 1.3522e-9,
    },
    '*': {
      perOperation: 1.0726e-12,
      perByte: 3.9225e-11,
    },
  },
  lossPasses: {
    embed: {
      perOperation: 0,
      perByte: 2.8e-11,
    },
    normForward: {
      perOperation: 0,
      perByte: 5.81458e-11,
    },
    linearQkv: {
      perOperation: 1.11787e-12,
      perByte: 4.7429e-11,
    },
    attentionForward: {
      perOperation: 2.0233e-12,
      perByte: 2.55801e-11,
    },
    linearResidual: {
      perOperation: 1.09164e-12,
      perByte: 2.34809e-11,
    },
    linearGelu: {
      perOperation: 1.09292e-12,
      perByte: 9.3984e-11,
    },
    headForward: {
      perOperation: 9.41698e-13,
      perByte: 2.32484e-10,
    },
  },
  commit: {
    value: 56816500000,
    source: 'bench/results/2026-11-27-zen5-2cores.jsonl:418',
  },
  hash: {
    value: 8730620000,
    source: 'bench/results/2026-11-27-zen5-2cores.jsonl:418',
  },
  weights: {
    value: 19671200000,
    source: 'bench/results/2026-11-27-zen5-2cores.jsonl:418',
  },
  together: {
    value: 1.01658,
    source: 'bench/results/2026-11-27-zen5-2cores.jsonl, units in the lanes of step over unit-replay',
  },
  waits: {
    value: 0.0200339,
    source: 'bench/results/2026-11-27-zen5-2cores.jsonl, idlePercent of the lines step',
  },
  trip: {
    value: 0.0000559,
    source: 'bench/results/2026-11-27-zen5-2cores.jsonl, emptyTaskUs of the lines step',
  },
  process: {
    least: true,
    log: {
      points: [
        {
          size: 890256,
          seconds: 0.000297153,
        },
        {
          size: 5156300,
          seconds: 0.000297153,
        },
        {
          size: 20339600,
          seconds: 0.053511,
        },
        {
          size: 131838000,
          seconds: 0.368979,
        },
      ],
      source: 'bench/results/2026-11-27-zen5-2cores.jsonl, stepMs of the lines claim/mine over the lines step',
    },
    read: {
      points: [
        {
          size: 890256,
          seconds: 0.000665465,
        },
        {
          size: 5156300,
          seconds: 0.00141802,
        },
        {
          size: 20339600,
          seconds: 0.00540751,
        },
        {
          size: 131838000,
          seconds: 0.027465,
        },
      ],
      source: 'bench/results/2026-11-27-zen5-2cores.jsonl, readMs of the lines claim/verify',
    },
    replay: {
      points: [
        {
          size: 21837500,
          seconds: 0.000782306,
        },
        {
          size: 126481000,
          seconds: 0.00262384,
        },
        {
          size: 498919000,
          seconds: 0.00929073,
        },
        {
          size: 3233910000,
          seconds: 0.0531282,
        },
      ],
      source: 'bench/results/2026-11-27-zen5-2cores.jsonl, replayMs of the lines claim/verify',
    },
    hash: {
      points: [
        {
          size: 10473600,
          seconds: 0.00116089,
        },
        {
          size: 60662400,
          seconds: 0.00492553,
        },
        {
          size: 239290000,
          seconds: 0.0179622,
        },
        {
          size: 1551030000,
          seconds: 0.1004,
        },
      ],
      source: 'bench/results/2026-11-27-zen5-2cores.jsonl, hashMs of the lines claim/verify',
    },
    compare: {
      points: [
        {
          size: 445128,
          seconds: 0.000475394,
        },
        {
          size: 2578150,
          seconds: 0.000925921,
        },
        {
          size: 10169800,
          seconds: 0.00269835,
        },
        {
          size: 65918900,
          seconds: 0.0396074,
        },
      ],
      source: 'bench/results/2026-11-27-zen5-2cores.jsonl, dutyMs of the lines claim/verify without its timed parts',
    },
    model: {
      points: [
        {
          size: 470856,
          seconds: 0.00100536,
        },
        {
          size: 2645350,
          seconds: 0.00433229,
        },
        {
          size: 10304200,
          seconds: 0.0147076,
        },
        {
          size: 85492900,
          seconds: 0.226119,
        },
      ],
      source: 'bench/results/2026-11-27-zen5-2cores.jsonl, modelMs of the lines claim/verify',
    },
    mine: {
      points: [
        {
          size: 1921020,
          seconds: 0.627806,
        },
        {
          size: 13406200,
          seconds: 0.750185,
        },
        {
          size: 77647900,
          seconds: 1.40157,
        },
        {
          size: 306291000,
          seconds: 6.20976,
        },
        {
          size: 851263000,
          seconds: 10.0927,
        },
        {
          size: 1985320000,
          seconds: 28.0469,
        },
      ],
      source: 'bench/results/2026-11-27-zen5-2cores.jsonl, mineAroundMs of the lines claim/mine',
    },
    verify: {
      points: [
        {
          size: 1921020,
          seconds: 0.624502,
        },
        {
          size: 13406200,
          seconds: 0.718962,
        },
        {
          size: 77647900,
          seconds: 1.23013,
        },
        {
          size: 306291000,
          seconds: 3.13108,
        },
        {
          size: 851263000,
          seconds: 3.7989,
        },
        {
          size: 1985320000,
          seconds: 14.2178,
        },
      ],
      source: 'bench/results/2026-11-27-zen5-2cores.jsonl, verifyAroundMs of the lines claim/verify',
    },
  },
};
