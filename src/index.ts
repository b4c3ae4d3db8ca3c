/**
 * `proof-of-gradient`: verified training as a library for Node.
 *
 * - {@link openBackend}: exact kernels on this machine; {@link Environment}: a backend with its lanes.
 * - {@link createMiner}, {@link createVerifier}: members of any chain that implements {@link Ledger};
 *   {@link createEmbeddedLedger} is the one that comes along.
 * - {@link mineBundle}, {@link verifyBundle}: claims as files, without a chain.
 * - {@link checkEvidence}, {@link verifyLeaf}, {@link aggregateAttestations}: what third parties check by themselves.
 *
 * Errors are {@link PogoError}s with a `code` (docs/errors.md). Whatever holds threads or memory has `dispose()`;
 * whatever takes long takes an `AbortSignal`. `proof-of-gradient/light` is the part that runs in a browser,
 * `proof-of-gradient/kernels` the part for benchmark harnesses. See docs/embedding.md.
 */
export { type OpenBackendOptions, openBackend } from './backend/open.js';
export type { Backend, BackendMiss, BackendName, IsaName, Kernels, OperationName } from './backend/types.js';
export { ERROR_CODES, type ErrorCode, type ErrorDetails, EXIT, PogoError } from './errors.js';
export { fromHex, toHex } from './hex.js';
export { createEmbeddedLedger, type EmbeddedLedgerOptions } from './ledger/embedded.js';
export type { EmbeddedLedger } from './ledger/engine.js';
export type { Ledger, LedgerBlock, LedgerHead, SubmitResult } from './ledger/ledger.js';
export type { LedgerState } from './ledger/state.js';
export { type Duty, dutiesOf, tickFor, waitingTicks } from './ledger/stateDuties.js';
export type { LedgerEvent } from './ledger/stateEvents.js';
export type { EvidenceChecker } from './ledger/stateEvidence.js';
export {
  COIN,
  createDemoGenesis,
  type DemoGenesisOptions,
  EMBEDDED_PARAMETERS,
  embeddedParameters,
} from './ledger/stateGenesis.js';
export { countParameters, createLayout, type Layout } from './model/layout.js';
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
export { Environment, type EnvironmentOptions, withEnvironment } from './node/environment.js';
export { type EvaluateOptions, evaluateText, readTokenData, type TextLoss } from './node/evaluateText.js';
export { createMiner, createVerifier, type Member, type MemberOptions, type RoleReport } from './node/members.js';
export { type MineBundleOptions, type MinedBundle, mineBundle } from './node/mineBundle.js';
export { type OpenedModel, openModel } from './node/openModel.js';
export { type ProvenOrigin, type ProveOriginOptions, proveOrigin } from './node/proveOrigin.js';
export { type SampleOptions, sampleText } from './node/sampleText.js';
export {
  type FoundFalse,
  type VerifiedClaim,
  type VerifyBundleOptions,
  type VerifyBundleResult,
  verifyBundle,
} from './node/verifyBundle.js';
export { aggregateAttestations, verifyAggregatedAttestation, verifyAttestation } from './protocol/attestation.js';
export type { Bls, KeyPair } from './protocol/bls.js';
export { createNativeBls } from './protocol/blsNative.js';
export { committeeDetection, detectionProbability, samplesForDetection } from './protocol/detection.js';
export { createProofBase } from './protocol/dispute/buildProof.js';
export { checkElementProof } from './protocol/dispute/elementProof.js';
export { contest, movesLeft, nextOpening, opensNode } from './protocol/dispute/narrowing.js';
export { Accused, Challenger, disputedOutput, planChallenge } from './protocol/dispute/players.js';
export { type SubjectContext, subjectProgram } from './protocol/dispute/subject.js';
export { makeTrace, signTrace, type Trace, type TraceInputs } from './protocol/dispute/trace.js';
export { checkEvidence, type EvidenceExecutors, type EvidenceKind, type Verdict } from './protocol/evidence.js';
export type { UnitExecutor } from './protocol/executor.js';
export { decodeLeafCheck, type LeafCheck, type LeafResult, verifyLeaf } from './protocol/leafCheck.js';
export type { Attestation, ClaimHeader, SignedClaim, StateHeader, StepCommitment } from './protocol/types.js';
