/**
 * The program of a held-out loss: from the packed model and the drawn sequences to their mean loss (docs/disputes.md §2).
 * It is a unit's forward pass over unpacked weights; a model has no operation of its own but unpacking.
 */
import { GemmaBuilder } from './gemmaProgram.js';
import type { Program } from './program.js';
import { type EvaluationSubject, evaluatedGroup, type ProgramRecipe } from './unitBuilder.js';
import { GptBuilder } from './unitProgram.js';

export type { EvaluationSubject } from './unitBuilder.js';

/**
 * Externals: the packed model (or the vector that it is packed from), the recipe's token file, with adapters θ of the
 * frozen model. Result: `loss`.
 */
export function evaluationProgram(recipe: ProgramRecipe, subject: EvaluationSubject): Program {
  const Builder = recipe.family === 'gemma3' ? GemmaBuilder : GptBuilder;
  return new Builder(recipe, subject).evaluate(subject);
}

/** Operations of a recipe's program, counted on its first two groups: the others have as many as the second. */
export function evaluationOperations(recipe: ProgramRecipe, sequences: number): number {
  const size = evaluatedGroup(recipe, sequences);
  const shape = { sequencesPerUnit: size };
  const count = (groups: number): number =>
    evaluationProgram({ ...recipe, ...shape }, { sequences: groups * size, offsets: () => [], packs: true }).operations
      .length;
  const one = count(1);
  return one + (sequences / size - 1) * (count(2) - one);
}
