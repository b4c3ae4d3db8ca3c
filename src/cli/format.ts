/** Numbers for people. */
import type { TraceCost } from '../protocol/dispute/traceCost.js';

/** Bytes with a decimal prefix: `1.2 MB`. */
export function bytesText(bytes: number): string {
  const units = ['B', 'kB', 'MB', 'GB', 'TB'];
  let value = bytes;
  let unit = 0;
  while (value >= 1000 && unit < units.length - 1) {
    value /= 1000;
    unit += 1;
  }
  return `${unit === 0 ? value : value.toFixed(1)} ${units[unit]}`;
}

/** Seconds as `45 s`, `3 min 20 s`, `2 h 5 min`. */
export function durationText(seconds: number): string {
  const whole = Math.max(0, Math.round(seconds));
  if (whole < 60) return `${whole} s`;
  if (whole < 3600) return `${Math.floor(whole / 60)} min ${whole % 60} s`;
  return `${Math.floor(whole / 3600)} h ${Math.floor((whole % 3600) / 60)} min`;
}

const BITS = new Uint32Array(1);
const FLOAT = new Float32Array(BITS.buffer);

/** The number behind fp32 bits. */
export function lossOfBits(bits: number): number {
  BITS[0] = bits;
  return FLOAT[0] as number;
}

/** A probability in percent, never rounded up to certainty. */
export function percentText(probability: number): string {
  if (probability >= 1) return '100 %';
  return `${(Math.floor(probability * 10_000) / 100).toFixed(2)} %`;
}

/** What a challenged unit costs its maker. */
export function traceText(cost: { readonly unit: TraceCost } | undefined): string {
  if (cost === undefined) return 'a unit is too large for disputes: what is false is proven by evidence alone';
  const { unit } = cost;
  const { operations, hashedBytes, publishedBytes, seconds } = unit;
  const time = seconds < 1 ? 'less than a second' : `about ${durationText(seconds)}`;
  return `a disputed unit costs the accused ${operations} operations, ${bytesText(hashedBytes)} of outputs, ${time} of one core, and publishes ${bytesText(publishedBytes)}`;
}

/** `5.5477 → 2.5710`; of what was never measured, since nothing was finalized, that it was not. */
export function lossChange(before = Number.NaN, after = Number.NaN): string {
  return Number.isNaN(before) || Number.isNaN(after) ? 'not measured' : `${before.toFixed(4)} → ${after.toFixed(4)}`;
}
