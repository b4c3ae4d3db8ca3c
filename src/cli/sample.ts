/** `pogo sample`: text from a model, the same for the same seed on every machine. */
import type { Command } from 'commander';
import { openRecipe } from '../model/node/recipeFile.js';
import { decodeText } from '../model/tokenizer.js';
import { Environment } from '../node/environment.js';
import { openModel } from '../node/openModel.js';
import { sampleTokens } from '../node/sampleText.js';
import { printEvent } from './events.js';
import { yieldToSignals } from './interrupt.js';
import { integerOption } from './options.js';

interface Options {
  readonly checkpoint: string;
  readonly prompt: string;
  readonly tokens: number;
  readonly seed: number;
  readonly recipe?: string;
  readonly json?: true;
}

async function sample(options: Options): Promise<void> {
  const model = await openModel(
    options.checkpoint,
    options.recipe === undefined ? undefined : openRecipe(options.recipe),
  );
  const { backend } = new Environment({ lanes: 1, hostArrays: true });
  const { prompt, tokens: count, seed } = options;
  const tokens: number[] = [];
  for (const token of sampleTokens(backend, model, { prompt, count, seed })) {
    tokens.push(token);
    await yieldToSignals();
  }
  const text = decodeText(model.codec, Uint32Array.from(tokens));
  if (options.json === true) {
    printEvent({
      type: 'sample',
      text,
      prompt,
      tokens,
      seed,
      backend: backend.name,
      isa: backend.isa,
    });
  } else {
    process.stdout.write(`${prompt}${text}\n`);
  }
}

export function register(program: Command): void {
  program
    .command('sample')
    .requiredOption(
      '--checkpoint <file>',
      'safetensors: our own, or a model of Hugging Face with config.json and tokenizer.json beside it',
    )
    .requiredOption('--prompt <text>', 'text to go on from, at least one character')
    .option('--tokens <n>', 'tokens to write', integerOption('--tokens', 1, 1_000_000), 200)
    .option('--seed <n>', 'another number, another text', integerOption('--seed', 0, 0xffffffff), 0)
    .option('--recipe <name|file>', 'the model’s recipe, where the file does not say it')
    .option('--json', 'events instead of text')
    .addHelpText(
      'after',
      `
Examples:
  pogo sample --checkpoint moby.safetensors --prompt "Call me"
  pogo sample --checkpoint gpt2/model.safetensors --prompt "The whale" --tokens 40 --seed 7`,
    )
    .action((options: Options) => sample(options));
}
