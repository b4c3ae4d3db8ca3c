/**
 * The exact loss of a model on a text or token file: the same bits on every machine.
 *
 * The tokens are cut into windows of `context` predictions, one after the other; every token but the first of the file
 * is predicted once, from the tokens before it in its window. The losses are summed in their order in fp32
 * (docs/numerics.md, unit loss).
 */
import { readFileSync, statSync } from 'node:fs';
import { referenceKernels } from '../backend/reference.js';
import { PogoError } from '../errors.js';
import { hashBytes } from '../files/digest.js';
import { beyondVocabulary, cutToken, heldTokenBytes, TokenFile } from '../model/node/tokenFile.js';
import { bytesPerToken } from '../model/recipe.js';
import { type TokenSequence, tokenRange } from '../model/tokens.js';
import { Evaluator } from '../pipeline/evaluator.js';
import type { Environment } from './environment.js';
import { throwIfAborted } from './environment.js';
import { type OpenedModel, shortenContext } from './openModel.js';

/** Sequences of one round on each lane: enough to keep lanes busy, few enough to show progress. */
const SEQUENCES_PER_LANE = 8;

export interface TokenData {
  readonly tokens: TokenSequence;
  /** BLAKE3 of the file. */
  readonly root: Uint8Array;
  readonly kind: 'text' | 'tokens';
}

export interface TextLoss {
  /** fp32 bits of the mean loss in nats per predicted token. */
  readonly lossBits: number;
  readonly loss: number;
  /** Predicted tokens: one fewer than the file has. */
  readonly tokens: number;
  readonly context: number;
  readonly sequences: number;
}

/**
 * Reads a text (UTF-8), or a token file (`.tokens`, `.bin`: u16 little-endian, u32 where the vocabulary exceeds 65,536),
 * which stays on disk where it is larger than is held (POGO_TOKEN_MEMORY).
 *
 * @throws PogoError DATA for an empty file, text that is not UTF-8, or a token beyond the vocabulary; IO
 */
export function readTokenData(path: string, model: OpenedModel): TokenData {
  const { vocab } = model.plan.recipe;
  const { tokens, root, kind } = /\.(?:tokens|bin)$/.test(path) ? tokenData(path, vocab) : textData(path, model);
  if (tokens.length < 2) {
    throw new PogoError('DATA', `expected at least two tokens in ${path}, found ${tokens.length}; give a longer text`, {
      source: path,
    });
  }
  return { tokens, root, kind };
}

function readBytes(path: string): Buffer {
  try {
    return readFileSync(path);
  } catch (cause) {
    throw PogoError.from(cause, path);
  }
}

function textData(path: string, model: OpenedModel): TokenData {
  const bytes = readBytes(path);
  const tokens = model.codec.encode(utf8(path, bytes));
  requireVocabulary(tokens, model.plan.recipe.vocab, path);
  return { tokens, root: hashBytes(bytes), kind: 'text' };
}

function requireVocabulary(tokens: Uint16Array | Uint32Array, vocab: number, path: string): void {
  const bad = tokens.findIndex((token) => token >= vocab);
  if (bad >= 0) throw beyondVocabulary(tokens[bad] as number, bad, vocab, path);
}

function utf8(path: string, bytes: Uint8Array): string {
  try {
    return new TextDecoder('utf-8', { fatal: true, ignoreBOM: true }).decode(bytes);
  } catch (cause) {
    const message = `expected UTF-8 text in ${path}, found bytes that are not UTF-8; convert it, or name it .tokens`;
    throw new PogoError('DATA', message, { source: path }, cause);
  }
}

function tokenData(path: string, vocab: number): TokenData {
  const size = statSync(path, { throwIfNoEntry: false })?.size ?? 0;
  if (size > heldTokenBytes()) {
    const file = TokenFile.openAny(path, vocab);
    return { tokens: file, root: file.root, kind: 'tokens' };
  }
  const bytes = Uint8Array.from(readBytes(path));
  const width = bytesPerToken({ vocab });
  if (bytes.length % width !== 0) throw cutToken(path, width, bytes.length);
  const tokens = width === 2 ? new Uint16Array(bytes.buffer) : new Uint32Array(bytes.buffer);
  requireVocabulary(tokens, vocab, path);
  return { tokens, root: hashBytes(bytes), kind: 'tokens' };
}

export interface EvaluateOptions {
  /** Predictions of a window: 1 to the model's context, which is the default. */
  readonly context?: number;
  readonly signal?: AbortSignal;
  readonly onProgress?: (done: number, all: number) => void;
}

/** @throws PogoError RANGE for a context the model does not have, MALFORMED for weights that overflow, INTERRUPTED */
export async function evaluateText(
  environment: Environment,
  model: OpenedModel,
  { tokens }: TokenData,
  options: EvaluateOptions = {},
): Promise<TextLoss> {
  const most = model.plan.recipe.context;
  const context = options.context ?? most;
  if (!Number.isSafeInteger(context) || context < 1 || context > most) {
    throw new PogoError('RANGE', `context: expected an integer from 1 to ${most}, found ${context}`);
  }
  const { plan, weights } = shortenContext(model, context);
  const evaluator = new Evaluator(plan, environment.pool, options.signal);
  evaluator.theta.set(weights);
  try {
    await evaluator.prepare();
    const losses = await allLosses(evaluator, plan.recipe.context, tokens, context, environment.lanes, options);
    const out = new Float32Array(1);
    referenceKernels.unitLoss({ loss: losses, out, U: losses.length });
    const lossBits = new Uint32Array(out.buffer)[0] as number;
    const sequences = Math.ceil(losses.length / context);
    return { lossBits, loss: out[0] as number, tokens: losses.length, context, sequences };
  } catch (error) {
    if (!(error instanceof PogoError) || error.code !== 'NON_FINITE') throw error;
    throw new PogoError('MALFORMED', `expected weights that give finite values, found: ${error.message}`, {}, error);
  }
}

/** Losses of all predictions in order. A window is filled up with token 0: no loss depends on what comes later. */
async function allLosses(
  evaluator: Evaluator,
  length: number,
  tokens: TokenData['tokens'],
  context: number,
  lanes: number,
  options: EvaluateOptions,
): Promise<Float32Array> {
  const predictions = tokens.length - 1;
  const windows = Math.ceil(predictions / context);
  const losses = new Float32Array(predictions);
  const round = lanes * SEQUENCES_PER_LANE;
  for (let first = 0; first < windows; first += round) {
    throwIfAborted(options.signal);
    const count = Math.min(round, windows - first);
    const sequences = new Uint32Array(count * (length + 1));
    for (let w = 0; w < count; w += 1) {
      const from = (first + w) * context;
      const taken = Math.min(context + 1, tokens.length - from);
      sequences.set(tokenRange(tokens, from, taken), w * (length + 1));
    }
    const found = await evaluator.losses(sequences);
    for (let w = 0; w < count; w += 1) {
      const at = (first + w) * context;
      losses.set(found.subarray(w * length, w * length + Math.min(context, predictions - at)), at);
    }
    options.onProgress?.(Math.min(predictions, (first + count) * context), predictions);
  }
  return losses;
}
