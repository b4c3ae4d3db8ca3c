export interface Problem {
  readonly file: string;
  readonly line: number;
  readonly column: number;
  readonly message: string;
}
export function exactFiles(): string[];
export function lintFround(files: readonly string[], options?: Readonly<Record<string, unknown>>): Problem[];
