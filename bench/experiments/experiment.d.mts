/** Types of experiment.mjs for the tests. */
export interface WrittenTensor {
  readonly name: string;
  readonly offset: number;
  readonly rows: number;
  readonly cols: number;
  readonly decay: boolean;
}
export interface ModelShape {
  readonly vocab: number;
  readonly layers: number;
  readonly width: number;
  readonly hidden: number;
  readonly context: number;
  readonly norm: string;
  readonly bias: boolean;
}
export function uint32Stream(label: string): () => number;
export function below(next: () => number, bound: number): number;
export function layoutOf(model: ModelShape): { readonly tensors: readonly WrittenTensor[]; readonly length: number };
