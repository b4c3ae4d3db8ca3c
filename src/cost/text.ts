/** Figures for people. */
import type { Figure } from './figure.js';

const PREFIXES = ['', 'k', 'M', 'G', 'T', 'P', 'E', 'Z', 'Y'] as const;

function withPrefix(value: number, unit: string): string {
  let scaled = value;
  let step = 0;
  while (Math.abs(scaled) >= 1000 && step < PREFIXES.length - 1) {
    scaled /= 1000;
    step += 1;
  }
  return `${digits(scaled)} ${PREFIXES[step]}${unit}`.trimEnd();
}

/** Three significant digits, without an exponent where it can be read. */
function digits(value: number): string {
  if (value === 0) return '0';
  const size = Math.abs(value);
  if (size >= 1000) return Math.round(value).toLocaleString('en-US');
  if (size < 1e-4) return value.toExponential(2);
  return Number(value.toPrecision(3)).toString();
}

function duration(seconds: number): string {
  if (seconds === 0) return '0 s';
  if (seconds < 1) return `${digits(seconds * 1e3)} ms`;
  if (seconds < 120) return `${digits(seconds)} s`;
  if (seconds < 7200) return `${digits(seconds / 60)} min`;
  if (seconds < 2 * 86_400) return `${digits(seconds / 3600)} h`;
  if (seconds < 2 * 365.25 * 86_400) return `${digits(seconds / 86_400)} days`;
  return `${digits(seconds / 365.25 / 86_400)} years`;
}

/** A value with its unit, in the size that reads best. */
export function figureText({ value, unit }: Pick<Figure, 'value' | 'unit'>): string {
  if (unit === 's') return duration(value);
  if (unit === 'share') return `${digits(100 * value)} %`;
  if (unit === '') return Number.isInteger(value) ? value.toLocaleString('en-US') : digits(value);
  if (unit === '¤') return `${digits(value)} ¤`;
  return withPrefix(value, unit);
}
