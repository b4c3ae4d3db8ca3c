/**
 * `element-check`: what ends a dispute: one element computed again from chunks under the accused's roots, with its two
 * signatures (natively). Of all rules of a unit of `tiny` the one with the largest proof. Against the target of 20 ms.
 */
import { merkleKernels } from '../../src/backend/merkleAddon.js';
import { PogoError } from '../../src/errors.js';
import { loadRecipe } from '../../src/model/recipe.js';
import { recipeHeader, recipeOfHeader } from '../../src/model/recipeHeader.js';
import { learningRateBits, START_SCALARS, seedState, vectorBytes } from '../../src/model/state.js';
import { modelPlan } from '../../src/model/unit.js';
import { createNativeBls } from '../../src/protocol/blsNative.js';
import { signClaim } from '../../src/protocol/claim.js';
import { createProofBase } from '../../src/protocol/dispute/buildProof.js';
import { checkElementProof } from '../../src/protocol/dispute/elementProof.js';
import { Challenger } from '../../src/protocol/dispute/players.js';
import { largestProofs } from '../../src/protocol/dispute/proofSize.js';
import { type SubjectContext, subjectProgram } from '../../src/protocol/dispute/subject.js';
import { makeTrace, signTrace, type TraceInputs } from '../../src/protocol/dispute/trace.js';
import { ElementProofType, SUBJECT_KIND } from '../../src/protocol/dispute/types.js';
import { DOMAIN } from '../../src/protocol/domains.js';
import { headerOf } from '../../src/protocol/stateHeader.js';
import { StepCommitmentListType, stateRoot, ZERO_ROOT } from '../../src/protocol/types.js';
import type { BenchGroup } from '../group.js';
import { measure } from '../harness.js';

const TARGET_SECONDS = 20e-3;

/** A claim whose unit 0 has an honest trace; its results are none of it, since a proof of an element reads none. */
function encodedProof(): { readonly bytes: Uint8Array; readonly rule: string } {
  const recipe = loadRecipe('tiny');
  const plan = modelPlan(recipe);
  const merkle = merkleKernels();
  const hash = (bytes: Uint8Array): Uint8Array => {
    const out = new Uint8Array(32);
    merkle.hash(bytes, out);
    return out;
  };
  const bls = createNativeBls();
  const keys = bls.deriveKey(new Uint8Array(32).fill(7), 'miner', 0);
  const state = seedState(plan);
  const tokenBytes = Uint8Array.from({ length: 2 * recipe.data.tokens }, (_, i) => (i % 2 === 0 ? (i * 37) % 251 : 0));
  // The recipe of the bench is tiny with a token file of its own.
  const own = { ...recipe, data: { ...recipe.data, tokensRoot: hash(tokenBytes) } };
  const { root } = modelPlan(own);
  const header = headerOf(root, START_SCALARS, state, hash);
  const commitment = {
    step: 0,
    preStateRoot: stateRoot(header),
    batchDigest: ZERO_ROOT,
    unitRoots: [ZERO_ROOT, ZERO_ROOT],
    unitLosses: [0, 0],
    postStateRoot: ZERO_ROOT,
  };
  const list = [commitment];
  const claim = signClaim(bls, keys, {
    ...{ domain: DOMAIN.claim, chainId: ZERO_ROOT, job: 0, claimNumber: 0, attempt: 0, parentClaimRoot: ZERO_ROOT },
    ...{ recipeRoot: root, miner: keys.publicKey, fromRoot: stateRoot(header), toRoot: ZERO_ROOT },
    ...{ listRoot: StepCommitmentListType.hashTreeRoot(list), modelRoot: ZERO_ROOT, diffRoot: ZERO_ROOT },
    ...{ draw1: ZERO_ROOT, bond: 0n },
  });
  const context: SubjectContext = {
    claim: claim.header,
    recipe: recipeOfHeader(recipeHeader(own)),
    subject: { kind: SUBJECT_KIND.unit, stepIndex: 0, unit: 0 },
    commitment,
    header,
    rate: () => learningRateBits(own, 0),
  };
  const program = subjectProgram(context);
  const inputs: TraceInputs = { externals: [vectorBytes(state.theta).slice(), tokenBytes], merkle };
  const trace = makeTrace(context, inputs);
  const statement = signTrace(bls, keys, context, trace, merkle);
  const sizes = [...largestProofs(own, program, true)].sort((a, b) => b[1].bytes - a[1].bytes);
  const [rule] = sizes[0] as (typeof sizes)[number];
  const operation = program.operations.findIndex((other) => other.rule.kind === rule);
  const base = createProofBase(claim, own, list, context, statement);
  const { length } = program.operations[operation] as (typeof program.operations)[number];
  const challenger = new Challenger({ program, trace }, inputs, operation);
  const proof = challenger.prove(base, own, Math.floor(length / 2));
  return { bytes: ElementProofType.serialize(proof), rule };
}

export const elementCheck: BenchGroup = {
  names: ['element-check'],
  async *lines({ quick }) {
    const { bytes, rule } = encodedProof();
    const bls = createNativeBls();
    // Decoding belongs to the check: this is what arrives.
    const check = (): string | undefined => checkElementProof(bls, ElementProofType.deserialize(bytes));
    yield await measure({
      name: 'element-check',
      backend: 'typescript',
      isa: 'typescript',
      unit: { name: 'ms', perCall: 1 },
      bytes: bytes.length,
      ceiling: { name: 'target of 20 ms', value: TARGET_SECONDS },
      details: { recipe: 'tiny', rule, proofBytes: bytes.length },
      budgetMs: quick ? 50 : 500,
      run: check,
      check: () => {
        const fault = check();
        if (fault !== undefined)
          throw new PogoError('SELF_TEST', `element-check: an honest element was refused: ${fault}`);
      },
      result: () => bytes,
    });
  },
};
