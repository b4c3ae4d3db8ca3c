/** The loss curve of a run: as characters for the terminal, and as an SVG file. */
import asciichart from 'asciichart';
import { svgText } from '../svgText.js';

export interface LossPoint {
  readonly step: number;
  readonly loss: number;
}

const TERMINAL_COLUMNS = 72;
const TERMINAL_ROWS = 10;

/** Mean loss of each column. */
export function terminalChart(points: readonly LossPoint[], columns = TERMINAL_COLUMNS): string {
  if (points.length === 0) return '';
  const used = Math.min(columns, points.length);
  const means = Array.from({ length: used }, (_, i) => {
    const from = Math.floor((points.length * i) / used);
    const to = Math.max(from + 1, Math.floor((points.length * (i + 1)) / used));
    const part = points.slice(from, to);
    return part.reduce((sum, p) => sum + p.loss, 0) / part.length;
  });
  return asciichart.plot(means, { height: TERMINAL_ROWS });
}

const WIDTH = 720;
const HEIGHT = 320;
const MARGIN = { left: 56, right: 16, top: 32, bottom: 40 };

/** @param ends steps at which claims end, drawn as vertical lines */
export function svgChart(points: readonly LossPoint[], title: string, ends: readonly number[]): string {
  const steps = points.map((p) => p.step);
  const losses = points.map((p) => p.loss);
  const [minStep, maxStep] = [Math.min(...steps, 0), Math.max(...steps, 1)];
  const [minLoss, maxLoss] = [Math.floor(Math.min(...losses, 1)), Math.ceil(Math.max(...losses, 1))];
  const x = (step: number): number =>
    MARGIN.left + ((step - minStep) / (maxStep - minStep)) * (WIDTH - MARGIN.left - MARGIN.right);
  const y = (loss: number): number =>
    HEIGHT -
    MARGIN.bottom -
    ((loss - minLoss) / Math.max(1, maxLoss - minLoss)) * (HEIGHT - MARGIN.top - MARGIN.bottom);
  const line = points.map((p) => `${x(p.step).toFixed(1)},${y(p.loss).toFixed(1)}`).join(' ');
  const grid = Array.from({ length: maxLoss - minLoss + 1 }, (_, i) => minLoss + i)
    .map(
      (loss) =>
        `<line x1="${MARGIN.left}" x2="${WIDTH - MARGIN.right}" y1="${y(loss)}" y2="${y(loss)}" stroke="#ddd"/>` +
        `<text x="${MARGIN.left - 8}" y="${y(loss) + 4}" text-anchor="end">${loss}</text>`,
    )
    .join('');
  const claims = ends
    .map((s) => `<line x1="${x(s)}" x2="${x(s)}" y1="${MARGIN.top}" y2="${HEIGHT - MARGIN.bottom}" stroke="#eee"/>`)
    .join('');
  return (
    `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 ${WIDTH} ${HEIGHT}" font-family="sans-serif" font-size="12">` +
    `<rect width="100%" height="100%" fill="white"/>${grid}${claims}` +
    `<polyline fill="none" stroke="#1f6feb" stroke-width="1.5" points="${line}"/>` +
    `<text x="${WIDTH / 2}" y="18" text-anchor="middle" font-size="14">${svgText(title)}</text>` +
    `<text x="${WIDTH / 2}" y="${HEIGHT - 8}" text-anchor="middle">step (${minStep} to ${maxStep})</text>` +
    `<text x="14" y="${HEIGHT / 2}" transform="rotate(-90 14 ${HEIGHT / 2})" text-anchor="middle">loss, nats per token</text>` +
    `</svg>\n`
  );
}
