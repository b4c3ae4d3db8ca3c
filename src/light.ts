/**
 * `proof-of-gradient/light`: what a browser can check by itself. Recipes, SSZ types, signatures, draws, leaf checks,
 * attestations and evidence, in pure TypeScript; no Node import anywhere below.
 *
 * A light client trusts what it is given as trusted: a genesis, a validator set or a claim root; every result says what
 * it rests on. Evidence that must recompute a unit or a step needs a backend; without one it is refused with ENVIRONMENT.
 * (`@chainsafe/ssz` uses three functions of Node's `Buffer`: bundlers for browsers must provide them, as
 * `examples/light/buffer.ts` does.)
 */
export { type ErrorCode, PogoError } from './errors.js';
export { fromHex, toHex } from './hex.js';
export { decodeOrigin, MAX_ORIGIN_BYTES, type OriginBody } from './ledger/origin.js';
export { isOriginChain, originFiles, requireJoin, verifyOriginChain } from './ledger/originChain.js';
export { type Origin, type OriginPins, verifyOrigin } from './ledger/originCheck.js';
export { decodeOriginFile, type OriginParts } from './ledger/originHandovers.js';
export {
  type LedgerState,
  LedgerStateType,
  totalMoney,
} from './ledger/stateTypes.js';
export {
  checkAttestationFile,
  checkEvidenceFile,
  checkLeafFile,
  checkOriginFile,
  type EvidencePins,
  type LightResult,
  originGrounds,
} from './lightChecks.js';
export { createLayout, type Layout } from './model/layout.js';
export {
  decodeRecipe,
  encodeRecipe,
  loadRecipe,
  RECIPE_NAMES,
  type Recipe,
  recipeRoot,
  recipeToJson,
  validateRecipe,
} from './model/recipe.js';
export {
  type AttestationContent,
  aggregateAttestations,
  verifyAggregatedAttestation,
  verifyAttestation,
} from './protocol/attestation.js';
export { combineBeacon, verifyBeaconShare } from './protocol/beacon.js';
export type { Bls, KeyPair } from './protocol/bls.js';
export { createNobleBls } from './protocol/blsNoble.js';
export { checkStepCommitments, verifyClaim, verifyClaimSignature } from './protocol/claim.js';
export { committeeDetection, detectionProbability, samplesForDetection } from './protocol/detection.js';
export { batchDigest, draw1, drawBatch, drawHeldOut, drawLeaves, drawUnits, verifyDraw } from './protocol/draws.js';
export {
  checkEvidence,
  EVIDENCE_KINDS,
  type EvidenceExecutors,
  type EvidenceKind,
  type Verdict,
} from './protocol/evidence.js';
export type { UnitExecutor } from './protocol/executor.js';
export { decodeLeafCheck, type LeafCheck, LeafCheckType, type LeafResult, verifyLeaf } from './protocol/leafCheck.js';
export * from './protocol/ledgerTypes.js';
export { decodeStrict } from './protocol/ssz.js';
export * from './protocol/types.js';
