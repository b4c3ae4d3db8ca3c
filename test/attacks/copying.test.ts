/**
 * C1–C5: work, votes and progress that are somebody else’s, or nobody’s.
 */
import { expect } from 'vitest';
import { equalBytes, toHex } from '../../src/hex.js';
import { restore } from '../../src/node/checkClaim.js';
import { stateRoot } from '../../src/protocol/types.js';
import { attack, notCovered } from '../support/attack.js';
import { sourceFiles, wordsOf } from '../support/importGraph.js';
import type { Lie } from '../support/stage.js';
import { stageAttack } from '../support/stageAttack.js';
import { useStage } from '../support/stageFixture.js';
import { TestChain } from '../support/testChain.js';

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

notCovered({
  id: 'C2',
  attack: 'votes or weights of another verifier are copied',
  defence: 'receipts: committed before the deadline, revealed after it, drawn by the verifier’s own secret',
  reason: 'receipts are not there yet: a vote shows what its verifier had to check, not that it did',
});

notCovered({
  id: 'C3',
  attack: 'a lazy verifier echoes the published roots',
  defence: 'receipts over values that only somebody who redid the work can give; a foreign receipt is drawn to recheck',
  reason: 'receipts are not there yet',
});

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
