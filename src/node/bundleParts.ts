/** The blobs of a bundle by meaning: start state, tokens, and the proof that there are no others. */
import { PogoError } from '../errors.js';
import { equalBytes, fromHex, toHex } from '../hex.js';
import { heldTokenBytes, TokenFile } from '../model/node/tokenFile.js';
import { bytesPerToken, type Recipe } from '../model/recipe.js';
import { START_SCALARS, type StateVectors, seedState } from '../model/state.js';
import type { TokenSequence } from '../model/tokens.js';
import type { ModelPlan } from '../model/unit.js';
import { STATE_VERSION, type StateHeader, ZERO_ROOT } from '../protocol/types.js';
import type { OpenBundle } from './bundle.js';
import type { ChainedClaim } from './bundleChain.js';
import type { Environment } from './environment.js';
import type { StartState } from './startState.js';

const VECTOR_ROOTS = ['thetaRoot', 'mRoot', 'vRoot', 'emaRoot'] as const;

/**
 * The state that the first claim starts from: the recipe's, or the one that the bundle carries.
 *
 * @throws PogoError MALFORMED for a header that is no state of the recipe, MISSING for a vector
 */
export function bundleStart(opened: OpenBundle, plan: ModelPlan): StartState {
  const { recipe, layout, root } = plan;
  const [header] = opened.bundle.startHeader;
  if (header === undefined) {
    if (recipe.start.kind === 'seed') return { vectors: seedState(plan), scalars: START_SCALARS, derivable: true };
    throw new PogoError('MALFORMED', `bundle: expected the start state of recipe ${recipe.name}, found none`);
  }
  if (header.version !== STATE_VERSION || !equalBytes(header.recipeRoot, root)) {
    throw new PogoError('MALFORMED', 'bundle: expected a start state of its recipe, found one of another');
  }
  if (equalBytes(header.emaRoot, ZERO_ROOT) === recipe.ema) {
    throw new PogoError('MALFORMED', `bundle: expected a start state ${recipe.ema ? 'with' : 'without'} an EMA`);
  }
  const read = (vectorRoot: Uint8Array): Float32Array => {
    const shared = new Float32Array(new SharedArrayBuffer(4 * layout.length));
    opened.length(vectorRoot);
    opened.blobs.getInto(vectorRoot, new Uint8Array(shared.buffer));
    return shared;
  };
  const vectors: StateVectors = {
    theta: read(header.thetaRoot),
    m: read(header.mRoot),
    v: read(header.vRoot),
    ema: recipe.ema ? read(header.emaRoot) : new Float32Array(new SharedArrayBuffer(0)),
  };
  const { step, tokens, beta1Power, beta2Power } = header;
  return {
    vectors,
    scalars: { step, tokens, beta1Power, beta2Power },
    derivable: isRecipeStart(recipe, header, vectors),
  };
}

/** Whether a carried state is the one that the recipe names: θ of its root, nothing trained yet. */
function isRecipeStart({ start, ema }: Recipe, header: StateHeader, { m, v }: StateVectors): boolean {
  if (start.kind !== 'root' || !equalBytes(start.root, header.thetaRoot)) return false;
  const { step, tokens, beta1Power, beta2Power } = START_SCALARS;
  const fresh =
    header.step === step &&
    header.tokens === tokens &&
    header.beta1Power === beta1Power &&
    header.beta2Power === beta2Power;
  // +0 by its bits: −0 would be another root.
  const isZero = (vector: Float32Array): boolean =>
    new Uint32Array(vector.buffer, vector.byteOffset, vector.length).every((bits) => bits === 0);
  return fresh && isZero(m) && isZero(v) && (!ema || equalBytes(header.emaRoot, header.thetaRoot));
}

/**
 * The recipe's tokens: out of the bundle if it brings them, else from the data directory.
 *
 * @throws PogoError MISSING naming the token file's root when neither has them
 */
export async function bundleTokens(
  opened: OpenBundle,
  recipe: Recipe,
  environment: Environment,
): Promise<TokenSequence> {
  const { tokensRoot, tokens: count } = recipe.data;
  if (opened.bundle.blobs.some(({ root }) => equalBytes(root, tokensRoot))) {
    const bytes = opened.length(tokensRoot);
    if (bytes !== count * bytesPerToken(recipe)) {
      throw new PogoError('MALFORMED', `bundle: expected a token file of ${count} tokens, found another length`);
    }
    if (bytes > heldTokenBytes()) return bundledTokenFile(opened, recipe);
    const memory = new SharedArrayBuffer(bytes);
    opened.blobs.getInto(tokensRoot, new Uint8Array(memory));
    const tokens = bytesPerToken(recipe) === 2 ? new Uint16Array(memory) : new Uint32Array(memory);
    if (tokens.some((token) => token >= recipe.vocab)) {
      throw new PogoError('MALFORMED', `bundle: expected tokens below ${recipe.vocab}, found a larger one`);
    }
    return tokens;
  }
  try {
    return (await environment.tokens(recipe)).tokens;
  } catch (error) {
    if (!(error instanceof PogoError) || error.code !== 'DATA') throw error;
    throw new PogoError('MISSING', error.message, { root: toHex(tokensRoot) }, error);
  }
}

/** Tokens that stay in the bundle's file. @throws PogoError MISSING for other bytes, MALFORMED for tokens beyond the vocabulary */
function bundledTokenFile({ blobs }: OpenBundle, recipe: Recipe): TokenFile {
  const { tokensRoot } = recipe.data;
  let file: TokenFile | undefined;
  try {
    file = TokenFile.open(blobs.path(tokensRoot), recipe);
  } catch (error) {
    if (!(error instanceof PogoError) || error.code !== 'DATA') throw error;
    throw new PogoError('MALFORMED', `bundle: ${error.message}`, {}, error);
  }
  if (file !== undefined) return file;
  const root = toHex(tokensRoot);
  throw new PogoError('MISSING', `expected blob ${root} in ${blobs.directory}, found bytes of another root`, { root });
}

/**
 * Every blob of a bundle has a meaning that the claims commit to; one more would be bytes that nobody vouches for.
 *
 * @param endHeader header of the last claim's to state: its vectors belong to a bundle, so that others can go on
 * @throws PogoError MALFORMED naming a superfluous blob, MISSING for an end state that is not there
 */
export function expectOnlyKnownBlobs(
  opened: OpenBundle,
  recipe: Recipe,
  chain: readonly ChainedClaim[],
  startHeader: StateHeader,
  endHeader: StateHeader,
): void {
  const known = new Set<string>([toHex(recipe.data.tokensRoot)]);
  const carried = opened.bundle.startHeader.length > 0 ? [startHeader, endHeader] : [endHeader];
  for (const header of carried) for (const name of VECTOR_ROOTS) known.add(toHex(header[name]));
  for (const { signedClaim, steps } of chain) {
    known.add(toHex(signedClaim.header.modelRoot));
    known.add(toHex(signedClaim.header.diffRoot));
    for (const step of steps) for (const root of step.unitRoots) known.add(toHex(root));
  }
  if (recipe.adapter !== undefined) known.add(toHex(recipe.adapter.base));
  for (const { root } of opened.bundle.blobs) {
    if (known.delete(toHex(root))) continue;
    throw new PogoError('MALFORMED', `bundle: expected blobs that its claims commit to, found ${toHex(root)} as well`);
  }
  const optional = new Set([toHex(ZERO_ROOT), toHex(recipe.data.tokensRoot)]);
  for (const root of known) {
    if (!optional.has(root)) opened.length(fromHex(root, 32));
  }
}
