/** Text from an opened model on this thread. */
import type { Backend } from '../backend/types.js';
import { PogoError } from '../errors.js';
import { generateTokens } from '../model/generate.js';
import { allocateWeights, quantizeWeights } from '../model/unit.js';
import { type OpenedModel, shortenContext } from './openModel.js';

export interface SampleOptions {
  readonly prompt: string;
  /** New tokens. */
  readonly count: number;
  /** uint32 */
  readonly seed: number;
}

/**
 * @returns the new tokens, without the prompt's
 * @throws PogoError USAGE for an empty prompt, MALFORMED for weights that overflow
 */
export function sampleText(backend: Backend, model: OpenedModel, options: SampleOptions): Uint32Array {
  return Uint32Array.from(sampleTokens(backend, model, options));
}

/** As {@link sampleText}, one token at a time: between two of them the caller may do other things, or stop. */
export function* sampleTokens(backend: Backend, model: OpenedModel, options: SampleOptions): Generator<number> {
  const prompt = model.codec.encode(options.prompt);
  // A window as long as the text will get is enough: later positions change nothing.
  const { plan, weights } = shortenContext(model, Math.max(1, prompt.length + options.count));
  const shared = allocateWeights(plan, weights);
  try {
    quantizeWeights(plan, backend.kernels, shared);
    yield* generateTokens(plan, backend.kernels, shared, { prompt, count: options.count, seed: options.seed });
  } catch (error) {
    if (!(error instanceof PogoError) || error.code !== 'NON_FINITE') throw error;
    throw new PogoError('MALFORMED', `expected weights that give finite values, found: ${error.message}`, {}, error);
  }
}
