export interface ResultLine {
  readonly type: string;
  readonly [field: string]: unknown;
}
export interface ResultPart {
  readonly name: string;
  readonly lines: ResultLine[];
  readonly closings: ResultLine[];
}
export function readParts(text: string): ResultPart[];
export function partsText(parts: readonly ResultPart[]): string;
export function isComplete(parts: readonly ResultPart[], name: string): boolean;
export function withMeasured(
  parts: readonly ResultPart[],
  lines: readonly ResultLine[],
  closing: ResultLine,
): ResultPart[];
export function namesAsked(part: string, asked: readonly string[]): string[];
