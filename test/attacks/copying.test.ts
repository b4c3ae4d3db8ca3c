/**
 * C1–C5: work, votes and progress that are somebody else’s, or nobody’s.
 */
import { expect } from 'vitest';
import { equalBytes, toHex } from '../../src/hex.js';
import { restore } from '../../src/node/checkClaim.js';
import type { KeyPair } from '../../src/protocol/bls.js';
import { signDraw } from '../../src/protocol/draws.js';
import { checkEvidence } from '../../src/protocol/evidence.js';
import type { ReceiptOpening } from '../../src/protocol/receipt.js';
import { claimRoot, stateRoot } from '../../src/protocol/types.js';
import { attack } from '../support/attack.js';
import { sourceFiles, wordsOf } from '../support/importGraph.js';
import { BEACON_2, dutyOf, honestOpening, honestPart, receiptEvidence } from '../support/receipts.js';
import { refusal } from '../support/refusal.js';
import type { Lie } from '../support/stage.js';
import { stageAttack } from '../support/stageAttack.js';
import { useStage } from '../support/stageFixture.js';
import { TestChain } from '../support/testChain.js';
import { bls, referenceExecutor, SEED, type TrainedClaim, trainClaim } from '../support/trainedClaim.js';

const stage = useStage();

const thief = (chain: TestChain) => chain.demo.miners.find((keys) => !equalBytes(keys.publicKey, chain.open.miner))!;

attack(
  {
    id: 'C1',
    attack: 'another miner’s gradients under one’s own key',
    gain: 'the reward for copied bytes; exact units are alike by design, so likeness tells nothing',
    defence: 'only the drawn miner can claim; a replacement gets a fresh draw, so other batches',
    file: 'src/protocol/claim.ts',
    stoppedBy: 'refused MISMATCH: claim field miner',
    harm: 'finalized, and the thief is paid',
  },
  {
    real: async () => (await stage().play({ signer: thief })).outcome,
    // Whoever signs is the miner.
    twin: async () => {
      const { outcome, chain, mined } = await stage().play({ signer: thief }, { believes: ['miner'] });
      const keys = chain.keyOf(mined.header.miner);
      const before = chain.demo.genesis.accounts[0]!.balance;
      return chain.balance(keys) > before ? `${outcome}, and the thief is paid` : outcome;
    },
    also: {
      'a replacement miner gets other batches': async () => {
        const chain = new TestChain();
        await chain.shares();
        const draw = chain.open.draw1;
        await chain.tick();
        await chain.shares();
        expect(toHex(chain.open.draw1)).not.toBe(toHex(draw));
      },
    },
  },
);

let work: TrainedClaim | undefined;
/** A claim of which each of four verifiers recomputes some units and not all. */
function trained(): TrainedClaim {
  work ??= trainClaim({}, { unitsPerStep: 4, detection: { fractionPpm: 250_000, targetPpm: 990_000 } });
  return work;
}
const [alice, bob] = [0, 1].map((index) => bls.deriveKey(SEED, 'verifier', index)) as [KeyPair, KeyPair];

/** What a rechecker finds of each part of an opened receipt. */
async function judged(keys: KeyPair, opening: ReceiptOpening): Promise<string[]> {
  const verdicts: string[] = [];
  for (let part = 0; part < opening.parts.length; part += 1) {
    const evidence = receiptEvidence(trained(), keys, opening, part);
    const { verdict, kind } = await checkEvidence(evidence, { bls, executor: referenceExecutor });
    verdicts.push(`${verdict} by evidence ${kind}`);
  }
  return verdicts;
}

const ownDraw = (keys: KeyPair): Uint8Array => signDraw(bls, keys, BEACON_2, claimRoot(trained().claim.header));

attack(
  {
    id: 'C2',
    attack: 'another verifier’s verdict and receipt are copied',
    gain: 'a verifier’s pay without its work',
    defence: 'receipts committed before any is open, each part keyed by its verifier’s own draw signature',
    file: 'src/protocol/evidence/receipt.ts',
    stoppedBy: 'guilty by evidence receipt',
    harm: 'the copied part is as good as one’s own',
    open: 'a verifier may still have somebody else do the work for it',
  },
  {
    real: async () => {
      const { parts } = await honestOpening(trained(), alice);
      return judged(bob, { drawSignature: ownDraw(bob), parts });
    },
    // Parts under no key: what one verifier hands in is right for all.
    twin: async () => {
      const nobody = new Uint8Array(96);
      const [a, b] = [await honestPart(trained(), nobody, 0), await honestPart(trained(), nobody, 0)];
      return equalBytes(a, b) ? 'the copied part is as good as one’s own' : 'another part';
    },
    also: {
      'an honest receipt holds in every part': async () => {
        for (const verdict of await judged(alice, await honestOpening(trained(), alice))) {
          expect(verdict).toBe('false-accusation by evidence receipt');
        }
      },
    },
  },
);

attack(
  {
    id: 'C3',
    attack: 'a lazy verifier echoes the published roots and votes yes',
    gain: 'pay for nothing; lies pass where all do it',
    defence:
      'a positive vote counts only beside an opened receipt; after the reveals each verifier is drawn to recheck one',
    file: 'src/protocol/receipt.ts',
    stoppedBy: 'guilty by evidence receipt',
    harm: 'finalized, and the lazy verifiers are paid',
    open: 'found only where the verifier that is drawn to recheck does so',
  },
  {
    // A receipt made of what is public: every part is false, so any recheck finds it.
    real: async () => {
      const drawSignature = ownDraw(bob);
      const { header } = trained().claim;
      const count = dutyOf(trained(), drawSignature).parts;
      const roots = [header.toRoot, header.listRoot, header.modelRoot];
      return judged(bob, { drawSignature, parts: Array.from({ length: count }, (_, i) => roots[i % 3]!) });
    },
    // Nobody looks at receipts.
    twin: async () => {
      const chain = new TestChain();
      await chain.toAttesting('invented');
      const before = chain.balance(chain.demo.verifiers[0]!);
      await chain.attest();
      const paid = chain.balance(chain.demo.verifiers[0]!) > before;
      return `${chain.outcomes().join()}${paid ? ', and the lazy verifiers are paid' : ''}`;
    },
    also: {
      'without a receipt a vote is refused': async () => {
        const chain = new TestChain();
        await chain.toAttesting();
        const vote = chain.attestation(chain.demo.verifiers[0]!);
        expect(await refusal(chain.submit(vote))).toMatch(/commitment to a receipt/);
      },
    },
  },
);

const ROLLOUT = /rollout|copycat|completions|logprob|reinforcement|grpo/i;
const speaksOf = (words: readonly string[]): string | undefined => words.find((word) => ROLLOUT.test(word));

attack(
  {
    id: 'C4',
    attack: 'copied rollouts, prompts tampered with',
    gain: 'reward for answers that were not generated',
    defence: 'no reinforcement learning: nothing is generated that could be copied',
    file: 'src/model/recipe.ts',
    stoppedBy: 'no file of the source speaks of rollouts',
    harm: 'a source that had them is found: rollout',
    showing: 'no such surface',
  },
  {
    real: () => {
      const found = sourceFiles('.').filter((file) => speaksOf(wordsOf(file)) !== undefined);
      return found.length === 0 ? 'no file of the source speaks of rollouts' : found;
    },
    twin: () => `a source that had them is found: ${speaksOf(['unit', 'rollout']) ?? 'nothing'}`,
  },
);

/** The last state’s header with a counter that says more than was done. */
const moreTokens: Lie = {
  list: (list, states) => {
    const header = states.at(-1)!.header;
    const flattering = stateRoot({ ...header, tokens: 2 * header.tokens });
    return list.map((step, i) => (i === list.length - 1 ? { ...step, postStateRoot: flattering } : step));
  },
};

stageAttack(
  stage,
  {
    id: 'C5',
    attack: 'a self-reported counter or progress',
    gain: 'pay or standing for tokens that were not trained on',
    defence: 'every counter is derived by the verifier; the reported one only has to be equal',
    file: 'src/model/state.ts',
    stoppedBy: 'slashed by evidence state-root',
    harm: 'finalized',
  },
  {
    lies: () => [moreTokens],
    // The count of tokens is taken from the miner.
    rules: () => ({
      state: async ({ trainer, mined }, root, i) => {
        const header = await trainer.header();
        if (equalBytes(stateRoot(header), root)) return true;
        const told = { ...header, tokens: 2 * header.tokens };
        if (!equalBytes(stateRoot(told), root)) return false;
        await restore(trainer, mined.states[i - 1]!.saved);
        return true;
      },
    }),
  },
);
