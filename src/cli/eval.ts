/** `pogo eval`: the exact loss of a checkpoint on a text or token file. */
import type { Command } from 'commander';
import { toHex } from '../hex.js';
import { openRecipe } from '../model/node/recipeFile.js';
import { withEnvironment } from '../node/environment.js';
import { evaluateText, readTokenData } from '../node/evaluateText.js';
import { openModel } from '../node/openModel.js';
import { printEvent } from './events.js';
import { interruptible } from './interrupt.js';
import { integerOption } from './options.js';

interface Options {
  readonly checkpoint: string;
  readonly data: string;
  readonly recipe?: string;
  readonly context?: number;
  readonly json?: true;
}

/** Milliseconds between two lines of progress. */
const PROGRESS_MS = 2000;

async function evaluate(options: Options): Promise<void> {
  const model = await openModel(
    options.checkpoint,
    options.recipe === undefined ? undefined : openRecipe(options.recipe),
  );
  const data = readTokenData(options.data, model);
  const start = performance.now();
  let shown = start;
  await interruptible((signal) =>
    withEnvironment({ signal }, async (environment) => {
      const result = await evaluateText(environment, model, data, {
        signal,
        ...(options.context === undefined ? {} : { context: options.context }),
        onProgress: (done, all) => {
          if (performance.now() - shown < PROGRESS_MS || done === all) return;
          shown = performance.now();
          process.stderr.write(`eval: ${done} of ${all} tokens\n`);
        },
      });
      const seconds = (performance.now() - start) / 1000;
      const { backend, lanes } = environment;
      const bits = result.lossBits.toString(16).padStart(8, '0');
      if (options.json === true) {
        printEvent({
          type: 'eval',
          checkpoint: options.checkpoint,
          data: options.data,
          dataRoot: toHex(data.root),
          dataKind: data.kind,
          format: model.format,
          recipe: model.plan.recipe.name,
          ...result,
          lossHex: bits,
          perplexity: Math.exp(result.loss),
          tokenizer: model.codec.name,
          backend: backend.name,
          isa: backend.isa,
          lanes,
          seconds,
        });
        return;
      }
      process.stdout.write(
        `loss ${result.loss.toFixed(6)} nats per token (fp32 bits ${bits}), perplexity ${Math.exp(result.loss).toFixed(3)}\n` +
          `${result.tokens} tokens in ${result.sequences} windows of ${result.context}; ` +
          `${model.format} checkpoint, tokenizer ${model.codec.name}; ${backend.name}/${backend.isa}, ${seconds.toFixed(1)} s\n`,
      );
    }),
  );
}

export function register(program: Command): void {
  program
    .command('eval')
    .requiredOption(
      '--checkpoint <file>',
      'safetensors: our own, or a model of Hugging Face with config.json and tokenizer.json beside it',
    )
    .requiredOption('--data <file>', 'UTF-8 text, or token numbers in a file named .tokens or .bin')
    .option('--recipe <name|file>', 'the model’s recipe, where the file does not say it')
    .option(
      '--context <n>',
      'predictions of a window (default: the model’s context)',
      integerOption('--context', 1, 1 << 20),
    )
    .option('--json', 'events instead of text')
    .addHelpText(
      'after',
      `
The bits are the same on every backend, instruction set and number of lanes.

Examples:
  pogo eval --checkpoint moby.safetensors --data chapter.txt
  pogo eval --checkpoint gpt2/model.safetensors --data text.txt --context 512 --json`,
    )
    .action((options: Options) => evaluate(options));
}
