/** The same claim checked in other ways: what a seat computes and fetches, and what that is worth. */

import type { Analysis } from './analysis.js';
import { type Figure, figure } from './figure.js';

export interface Alternative {
  readonly name: string;
  /** What has to be true for the check to mean something. */
  readonly rests: string;
  /** Machine seconds of the checker; of the prover beyond training. */
  readonly checker: Figure;
  readonly prover: Figure;
  /** Bytes that a checker fetches for a claim. */
  readonly bytes: Figure;
}

/** A published proof of training: its prover is linear in parameters and batch at best. */
const KAIZEN = {
  parameters: 10e6,
  samples: 16,
  proverSeconds: 15 * 60,
  proofBytes: 1.63e6,
  verifierSeconds: 0.13,
  source:
    'Kaizen (IACR ePrint 2024/162): VGG-11, 10 M parameters, batch of 16: 15 minutes an iteration, 1.63 MB, 130 ms',
} as const;

/** A published proof of one forward pass. */
const ZKLLM = {
  parameters: 13e9,
  proverSeconds: 15 * 60,
  proofBytes: 2e5,
  source:
    'zkLLM (arXiv 2404.16109): one inference of 13 G parameters proven in under 15 minutes on a GPU, under 200 kB',
} as const;

/** Multiplications of training a token over those of a forward pass. */
const TRAIN_TO_FORWARD = 3;

export function alternatives(analysis: Analysis): readonly Alternative[] {
  const { work, claimSeconds, verifySeconds, inputs, claimBytes } = analysis;
  const train = claimSeconds.value * inputs.machines;
  const { basis } = claimSeconds;
  const steps = work.stepsPerClaim;
  const sequences = work.tokensPerStep / work.recipe.context;
  const stateBytes = 12 * work.length;
  const none = figure(0, 's', 'counted', 'nothing');
  const share = Math.min(1, analysis.samples / (steps * work.unitsPerStep));
  // Both ends of each replayed interval; intervals side by side share one.
  const states = Math.min(steps + 1, 2 * Math.ceil(share * steps));
  const scale = (work.parameters / KAIZEN.parameters) * (sequences / KAIZEN.samples);
  const forwards = steps * sequences * TRAIN_TO_FORWARD * (work.parameters / ZKLLM.parameters);
  return [
    {
      name: 'this project: a seat’s duty',
      rests: 'exact arithmetic: an honest miner is never off by a bit, a lie is a proof',
      checker: verifySeconds,
      prover: figure(0, 's', 'measured', 'units, roots and hashes are part of the measured step'),
      bytes: claimBytes,
    },
    {
      name: 'replaying everything, exactly',
      rests: 'exact arithmetic',
      checker: figure(train, 's', basis, 'the training, once more, by every seat'),
      prover: none,
      bytes: figure(work.modelBytes, 'B', 'counted', 'the result; data and start are there'),
    },
    {
      name: 'replaying everything, within a tolerance',
      rests:
        'a distance under which a forger is not believed to get: forged by Zhang et al. (arXiv 2108.09454) and Fang et al. (arXiv 2208.03567)',
      checker: figure(train, 's', basis, 'the training, once more, by every seat'),
      prover: none,
      bytes: figure(stateBytes, 'B', 'counted', 'final fp32 state with its optimizer’s'),
    },
    {
      name: 'checkpoints, some intervals replayed within a tolerance',
      rests: 'as above; nothing binds what lies between checkpoints that nobody drew',
      checker: figure(train * share, 's', basis, 'the same share of the work as a seat’s drawn units'),
      prover: none,
      bytes: figure(states * stateBytes, 'B', 'counted', 'fp32 states at both ends of replayed steps'),
    },
    {
      name: 'a zero-knowledge proof of training',
      rests: 'cryptography alone; quantized or fixed-point training that the circuit defines',
      checker: figure(KAIZEN.verifierSeconds, 's', 'assumed', `independent of the steps; ${KAIZEN.source}`),
      prover: figure(
        steps * scale * KAIZEN.proverSeconds,
        's',
        'assumed',
        `linear in parameters and sequences; ${KAIZEN.source}`,
      ),
      bytes: figure(KAIZEN.proofBytes, 'B', 'assumed', KAIZEN.source),
    },
    {
      name: 'zero-knowledge proofs of forward passes, three for a training pass',
      rests: 'cryptography alone; proves no gradient by itself, so this is a lower bound',
      checker: figure(0, 's', 'assumed', 'not counted: the prover alone decides'),
      prover: figure(forwards * ZKLLM.proverSeconds, 's', 'assumed', `linear in parameters; ${ZKLLM.source}`),
      bytes: figure(steps * sequences * ZKLLM.proofBytes, 'B', 'assumed', ZKLLM.source),
    },
  ];
}
