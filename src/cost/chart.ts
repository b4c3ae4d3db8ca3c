/** Bars on a logarithmic axis, as SVG: figures of several models side by side. */

import { svgText } from '../svgText.js';

export interface Bar {
  readonly label: string;
  readonly value: number;
  /** What is written beside the bar. */
  readonly text: string;
}

export interface BarGroup {
  readonly title: string;
  readonly bars: readonly Bar[];
}

const WIDTH = 760;
const LABELS = 250;
const TEXTS = 100;
const ROW = 20;
const HEAD = 46;

/** Powers of ten from just below the smallest to just above the largest value. */
function decades(values: readonly number[]): readonly [number, number] {
  const logs = values.filter((value) => value > 0).map(Math.log10);
  const low = Math.floor(Math.min(...logs) - 0.2);
  return [low, Math.max(low + 1, Math.ceil(Math.max(...logs)))];
}

/** @param marks values of vertical lines, with their names */
export function logBars(
  title: string,
  groups: readonly BarGroup[],
  marks: readonly (readonly [number, string])[],
): string {
  const [low, high] = decades([
    ...groups.flatMap(({ bars }) => bars.map(({ value }) => value)),
    ...marks.map(([v]) => v),
  ]);
  const x = (value: number): number =>
    LABELS + ((Math.log10(Math.max(value, 10 ** low)) - low) / (high - low)) * (WIDTH - LABELS - TEXTS);
  let y = HEAD;
  const parts: string[] = [];
  for (const group of groups) {
    parts.push(`<text x="8" y="${y + 14}" font-weight="bold">${svgText(group.title)}</text>`);
    y += ROW + 2;
    for (const { label, value, text } of group.bars) {
      const end = x(value);
      parts.push(
        `<text x="${LABELS - 8}" y="${y + 13}" text-anchor="end">${svgText(label)}</text>` +
          `<rect x="${LABELS}" y="${y + 2}" width="${Math.max(1, end - LABELS).toFixed(1)}" height="${ROW - 6}" fill="#1f6feb"/>` +
          `<text x="${(Math.max(end, LABELS) + 6).toFixed(1)}" y="${y + 13}">${svgText(text)}</text>`,
      );
      y += ROW;
    }
    y += 8;
  }
  const lines = marks.map(
    ([value, name]) =>
      `<line x1="${x(value).toFixed(1)}" x2="${x(value).toFixed(1)}" y1="${HEAD - 6}" y2="${y}" stroke="#d1242f" stroke-dasharray="4 3"/>` +
      `<text x="${x(value).toFixed(1)}" y="${HEAD - 10}" text-anchor="middle" fill="#d1242f">${svgText(name)}</text>`,
  );
  return (
    `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 ${WIDTH} ${y + 8}" font-family="sans-serif" font-size="12">` +
    `<title>${svgText(title)}</title>` +
    `<rect width="100%" height="100%" fill="white"/>` +
    `<text x="${WIDTH / 2}" y="18" text-anchor="middle" font-size="14">${svgText(title)}</text>` +
    `${parts.join('')}${lines.join('')}</svg>\n`
  );
}
