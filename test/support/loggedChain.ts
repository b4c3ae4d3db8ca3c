/** A chain driven by hand whose claims go from one made-up state to the next, and whose votes are read out of its log. */
import { OriginLog } from '../../src/ledger/originLog.js';
import { dutiesOf } from '../../src/ledger/stateDuties.js';
import type { LedgerEvent } from '../../src/ledger/stateEvents.js';
import { recipeRoot } from '../../src/model/recipe.js';
import { buildClaim, signClaim } from '../../src/protocol/claim.js';
import { type SignedClaim, type StateHeader, type StepCommitment, stateRoot } from '../../src/protocol/types.js';
import { syntheticClaim, TestChain } from './testChain.js';
import { smallRecipe } from './trainedClaim.js';

const { recipe } = smallRecipe();
const root = (byte: number): Uint8Array => new Uint8Array(32).fill(byte);

/** A header for the state after `step` steps: its roots are made up, its own root is what claims name. */
export function headerAfter(step: number): StateHeader {
  return {
    version: 1,
    recipeRoot: recipeRoot(recipe),
    step,
    tokens: step * 256,
    beta1Power: 0x3f000000,
    beta2Power: 0x3f000000,
    thetaRoot: root(step),
    mRoot: root(step + 64),
    vRoot: root(step + 128),
    emaRoot: root(step + 192),
  };
}

/** A chain whose claims go from header to header, and whose log is read on the way. */
export class LoggedChain extends TestChain {
  readonly log = new OriginLog();
  readonly lists: StepCommitment[][] = [];

  override async submit(transaction: Uint8Array): Promise<readonly LedgerEvent[]> {
    const before = this.state;
    const events = await super.submit(transaction);
    this.log.take(before, [transaction], this.state, events);
    return events;
  }

  override makeClaim(): { claim: SignedClaim; commitments: StepCommitment[] } {
    for (const keys of this.demo.miners) {
      for (const duty of dutiesOf(this.state, keys.publicKey)) {
        if (duty.duty !== 'train') continue;
        const { assignment, steps, firstStep } = duty;
        const roots = Array.from({ length: steps }, (_, i) => stateRoot(headerAfter(firstStep + i + 1)));
        const { commitments: made } = syntheticClaim(assignment, keys, steps, firstStep);
        const commitments = made.map((commitment, i) => ({
          ...commitment,
          preStateRoot: roots[i - 1] ?? assignment.fromRoot,
          postStateRoot: roots[i]!,
        }));
        this.lists.push(commitments);
        const results = { commitments, modelRoot: root(100 + this.lists.length), diffRoot: root(0) };
        return { claim: signClaim(this.bls, keys, buildClaim(assignment, results)), commitments };
      }
    }
    throw new Error('nobody is training');
  }
}
