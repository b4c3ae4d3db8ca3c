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

/** Name of the detail of a line `step` that says what share of its least round the lanes spent with a kind of task. */
export const leastRoundPercent = (kind: string): string =>
  `leastRound${kind.slice(0, 1).toUpperCase()}${kind.slice(1)}Percent`;

/** Whether a line `step` says which of its rounds took least. */
const saysLeastRound = (step: Located): boolean => step.line.details?.['leastRoundMs'] !== undefined;

/**
 * Seconds of a step in memory: the median of its least round, since the runs of whole processes that it is held against are
 * the least of several, too; in older lines the median of all rounds.
 */
export const secondsOfStep = (step: Located): number =>
  saysLeastRound(step) ? detail(step, 'leastRoundMs') / 1e3 : detail(step, 'tokensPerStep') / Number(step.line.value);

/** Share of such a step that the lanes spent with a kind of task, or idle. */
export const shareOfStep = (step: Located, kind: string): number =>
  detail(step, saysLeastRound(step) ? leastRoundPercent(kind) : `${kind}Percent`) / 100;

/** Units of a step of the lines: two where they do not say it. */
export const unitsOf = ({ line }: Located): number => Number(line.details?.['units'] ?? 2);
