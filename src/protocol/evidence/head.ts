/**
 * What all kinds of evidence share: who is accused of which claim under which recipe.
 */
import { blake3 } from '@noble/hashes/blake3.js';
import { PogoError } from '../../errors.js';
import { equalBytes, toHex } from '../../hex.js';
import { createLayout, type Layout } from '../../model/layout.js';
import { decodeRecipe, encodeRecipe, type Recipe, recipeRoot } from '../../model/recipe.js';
import type { Bls } from '../bls.js';
import { verifyClaimSignature } from '../claim.js';
import type { UnitExecutor } from '../executor.js';
import { openCommitment, type ProvenCommitment } from '../listProof.js';
import {
  type ClaimHeader,
  claimRoot,
  type SignedClaim,
  type StateHeader,
  type StepCommitment,
  stateRoot,
} from '../types.js';
import type { EvidenceHead } from './types.js';

/** What a checker of evidence needs from outside. */
export interface EvidenceExecutors {
  readonly bls: Bls;
  /** Needed for `unit`, `loss` and `state-root` only. */
  readonly executor?: UnitExecutor;
  /** BLAKE3 of a whole blob; TypeScript by default. */
  readonly hash?: (bytes: Uint8Array) => Uint8Array;
}

/** A kind's finding: a sentence about what is false, or undefined when the claim holds in this point. */
export type Finding = string | undefined;

/** The opened head: everything in it was checked. */
export interface OpenedHead {
  readonly header: ClaimHeader;
  readonly recipe: Recipe;
  readonly recipeRoot: Uint8Array;
  readonly layout: Layout;
}

/** The head of evidence against a claim, or against a verifier of it. */
export function createEvidenceHead(
  claim: SignedClaim,
  recipe: Recipe,
  accused: Uint8Array = claim.header.miner,
): EvidenceHead {
  return {
    chainId: claim.header.chainId,
    claimRoot: claimRoot(claim.header),
    accused,
    claim,
    recipe: encodeRecipe(recipe),
  };
}

/**
 * Checks a head: the claim's signature, and that chain, claim root and recipe are those of the claim.
 *
 * @param accused who must be accused: the miner by default, a verifier of the claim for evidence against one
 * @throws PogoError MALFORMED
 */
export function openHead(bls: Bls, head: EvidenceHead, accused: Uint8Array = head.claim.header.miner): OpenedHead {
  const { header } = head.claim;
  const bindings = [
    ['chain id', head.chainId, header.chainId],
    ['claim root', head.claimRoot, claimRoot(header)],
    ['accused key', head.accused, accused],
  ] as const;
  for (const [name, found, expected] of bindings) {
    if (!equalBytes(found, expected)) {
      throw new PogoError(
        'MALFORMED',
        `evidence: expected the ${name} of its claim ${toHex(expected)}, found ${toHex(found)}`,
      );
    }
  }
  if (!verifyClaimSignature(bls, head.claim)) {
    throw new PogoError('MALFORMED', 'evidence: expected a claim signed by its miner, found a wrong signature');
  }
  const recipe = openRecipe(head.recipe);
  const root = recipeRoot(recipe);
  if (!equalBytes(root, header.recipeRoot)) {
    throw new PogoError(
      'MALFORMED',
      `evidence: expected the claim’s recipe ${toHex(header.recipeRoot)}, found recipe ${toHex(root)}`,
    );
  }
  return { header, recipe, recipeRoot: root, layout: createLayout(recipe) };
}

function openRecipe(bytes: Uint8Array): Recipe {
  try {
    return decodeRecipe(bytes);
  } catch (error) {
    // A broken rule of a recipe is, inside evidence, just a malformed file.
    if (error instanceof PogoError) throw new PogoError('MALFORMED', `evidence: ${error.message}`, error.details);
    throw error;
  }
}

/** Opens a step of the accused claim. @throws PogoError MALFORMED */
export function openStep(head: OpenedHead, proven: ProvenCommitment): StepCommitment {
  const { commitment } = openCommitment(head.header.listRoot, proven);
  return commitment;
}

/** Checks that a header is the preimage of a state root. @throws PogoError MALFORMED */
export function openState(name: string, header: StateHeader, root: Uint8Array): void {
  if (!equalBytes(stateRoot(header), root)) {
    throw new PogoError('MALFORMED', `evidence: expected the header of the ${name} ${toHex(root)}, found another`);
  }
}

/** Checks a whole blob: length from the layout, then its root. @throws PogoError MALFORMED */
export function openBlob(
  executors: EvidenceExecutors,
  name: string,
  bytes: Uint8Array,
  expectedBytes: number,
  root: Uint8Array,
): void {
  if (bytes.length !== expectedBytes) {
    throw new PogoError('MALFORMED', `evidence: expected ${expectedBytes} bytes of ${name}, found ${bytes.length}`);
  }
  const found = (executors.hash ?? blake3)(bytes);
  if (!equalBytes(found, root)) {
    throw new PogoError('MALFORMED', `evidence: expected ${name} ${toHex(root)}, found bytes of ${toHex(found)}`);
  }
}

/** @throws PogoError ENVIRONMENT where evidence must be recomputed and the caller gave no backend */
export function requireExecutor(executors: EvidenceExecutors): UnitExecutor {
  if (executors.executor === undefined) {
    throw new PogoError(
      'ENVIRONMENT',
      'expected a backend to recompute this evidence, found none; check it with `pogo evidence`',
    );
  }
  return executors.executor;
}
