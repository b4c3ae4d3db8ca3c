/** Bench lines for people: numbers, one aligned line of text each, and the plainest Markdown table. */

import type { BenchLine } from './harness.js';

export function number(value: number | null | undefined): string {
  if (value === null || value === undefined) return '–';
  if (value === 0) return '0';
  const magnitude = Math.abs(value);
  if (magnitude >= 1000) return value.toLocaleString('en-US', { maximumFractionDigits: 0 });
  return value.toPrecision(3);
}

export function percent(ratio: number | null | undefined): string {
  return ratio === null || ratio === undefined ? '–' : `${(100 * ratio).toFixed(ratio < 0.1 ? 1 : 0)} %`;
}

export function times(ratio: number | null | undefined): string {
  return ratio === null || ratio === undefined ? '–' : `${ratio.toFixed(2)}x`;
}

export function mebibytes(bytes: number | null | undefined): string {
  return bytes === null || bytes === undefined ? '–' : `${number(bytes / 2 ** 20)} MiB`;
}

/** A Markdown table; columns after the first `left` ones hold numbers. */
export function markdownTable(head: readonly string[], rows: readonly (readonly string[])[], left = 1): string {
  const rule = head.map((_, i) => (i < left ? '---' : '--:'));
  return [head, rule, ...rows].map((cells) => `| ${cells.join(' | ')} |\n`).join('');
}

/** One line of plain text; a line per peer below it. */
export function textLine(line: BenchLine): string {
  const parts = [line.name.padEnd(28), `${number(line.value)} ${line.unit}`.padEnd(24)];
  parts.push(`±${number(line.spread.mad)} (${number(line.spread.min)}–${number(line.spread.max)})`);
  if (line.ratio !== null) parts.push(`${percent(line.ratio)} of ${line.ceilingName} ${number(line.ceiling)}`);
  const { ofFootprintCopy, footprintCopyGBs, footprintMiB, ...details } = line.details;
  if (typeof ofFootprintCopy === 'number') {
    const copy = `a copy of its footprint (${Number(footprintMiB).toFixed(0)} MiB) ${number(Number(footprintCopyGBs))}`;
    parts.push(`${percent(ofFootprintCopy)} of ${copy}`);
  }
  if (line.peer !== null) parts.push(`${times(line.peerRatio)} of ${line.peer} ${number(line.peerValue)}`);
  if (line.peakBytes !== null) parts.push(`peak ${mebibytes(line.peakBytes)}`);
  const notes = Object.entries(details).map(([key, value]) => `${key} ${value}`);
  if (notes.length > 0) parts.push(`(${notes.join(', ')})`);
  const peers = line.peers.map((peer) => {
    const { min, max, mad } = peer.spread;
    const rounds = `rounds ${peer.roundsMs.map(number).join('/')} ms, ours ${peer.oursRoundsMs.map(number).join('/')} ms`;
    const warmUp = `warm-up ${peer.warmUpMs.length} calls, ${number(peer.warmUpMs.reduce((sum, ms) => sum + ms, 0) / 1e3)} s`;
    const value = `${number(peer.value)} ${line.unit} ±${number(mad)} (${number(min)}–${number(max)})`;
    return `\n  ${times(peer.ratio)} of ${peer.name}: ${value}, ${peer.threads} threads, ${rounds}, ${warmUp}, peak ${mebibytes(peer.peakBytes)}`;
  });
  return parts.join('  ') + peers.join('');
}
