/** What the cost analysis reads of lines of `pogo bench`. */

/** The parts of a bench line that are read here. */
export interface PointLine {
  readonly type: string;
  readonly name?: string;
  readonly time?: string;
  readonly value?: number;
  readonly unit?: string;
  readonly bytes?: number;
  readonly operations?: number;
  readonly isa?: string;
  readonly cpu?: string;
  readonly cores?: number;
  readonly details?: Readonly<Record<string, unknown>>;
}

export interface Located {
  readonly line: PointLine;
  /** `FILE:LINE` */
  readonly source: string;
}

export const recipeOf = ({ line }: Located): unknown => line.details?.['recipe'];

/** NaN where the line does not say it. */
export const detail = ({ line }: Located, name: string): number => Number(line.details?.[name] ?? Number.NaN);

export const secondsOfStep = (step: Located): number => detail(step, 'tokensPerStep') / Number(step.line.value);

/** Units of a step of the lines: two where they do not say it. */
export const unitsOf = ({ line }: Located): number => Number(line.details?.['units'] ?? 2);
