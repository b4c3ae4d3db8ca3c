/** Bench lines for people: one aligned line each, or a Markdown table for the documentation. */

import type { BenchLine } from './harness.js';
import { machine } from './machine.js';

function number(value: number | null): string {
  if (value === null) return '–';
  if (value === 0) return '0';
  const magnitude = Math.abs(value);
  if (magnitude >= 1000) return value.toLocaleString('en-US', { maximumFractionDigits: 0 });
  return value.toPrecision(3);
}

function percent(ratio: number | null): string {
  return ratio === null ? '–' : `${(100 * ratio).toFixed(ratio < 0.1 ? 1 : 0)} %`;
}

function times(ratio: number | null): string {
  return ratio === null ? '–' : `${ratio.toFixed(2)}x`;
}

/** One line of plain text. */
export function textLine(line: BenchLine): string {
  const parts = [line.name.padEnd(28), `${number(line.value)} ${line.unit}`.padEnd(24)];
  if (line.ratio !== null) parts.push(`${percent(line.ratio)} of ${line.ceilingName} ${number(line.ceiling)}`);
  if (line.peer !== null) parts.push(`${times(line.peerRatio)} of ${line.peer} ${number(line.peerValue)}`);
  const notes = Object.entries(line.details).map(([key, value]) => `${key} ${value}`);
  if (notes.length > 0) parts.push(`(${notes.join(', ')})`);
  return parts.join('  ');
}

/** A Markdown table with the machine and the date, ready for docs/performance.md. */
export function markdownTable(lines: readonly BenchLine[]): string {
  const { cpu, cores, features, node, system } = machine();
  const rows = lines.map((line) => {
    const ceiling = line.ceiling === null ? '–' : `${number(line.ceiling)} (${line.ceilingName})`;
    const peer = line.peer === null ? '–' : `${number(line.peerValue)} (${line.peer})`;
    const cells = [line.name, line.isa, `${number(line.value)} ${line.unit}`, ceiling, percent(line.ratio), peer];
    return `| ${[...cells, times(line.peerRatio)].join(' | ')} |`;
  });
  return [
    `${new Date().toISOString().slice(0, 10)}, ${cpu}, ${cores} cores (${features.join(' ')}), ${system}, Node ${node}`,
    '',
    '| line | isa | value | ceiling | of it | peer | times as fast |',
    '|---|---|---|---|---|---|---|',
    ...rows,
    '',
  ].join('\n');
}
