/** Tables of results for README.md (short) and docs/performance.md (complete), by topic, from lines of several runs of a day. */

import type { BenchLine, PeerResult } from './harness.js';
import { bestOf } from './interleave.js';
import { targetKind } from './peers.js';
import { markdownTable, mebibytes, number, percent, times } from './table.js';

type Lines = readonly BenchLine[];

const recipeOf = (line: BenchLine): string => String(line.details['recipe'] ?? '–');
const detail = (line: BenchLine, name: string): number | undefined => {
  const value = line.details[name];
  return typeof value === 'number' ? value : undefined;
};
const valueCell = (line: BenchLine): string => `${number(line.value)} ${line.unit}`;
const between = ({ min, max }: { min: number; max: number }): string => `${number(min)}–${number(max)}`;

function named(lines: Lines, ...names: readonly string[]): BenchLine[] {
  return lines.filter(({ name }) => names.some((one) => name === one || (one.endsWith('/') && name.startsWith(one))));
}

const SETS: ReadonlySet<string> = new Set(['scalar', 'avx2', 'avxvnni', 'avx512', 'amx', 'neon']);

/** The instruction set that the machine chooses: that of the first line which has one, since a measurement begins with it. */
function chosenSet(lines: Lines): string | undefined {
  return lines.find(({ isa }) => SETS.has(isa))?.isa;
}

/**
 * The machine and the date, once: all lines of a file are of one machine. Most are of one day; those that were measured again on
 * another are named.
 */
export function machineText(lines: Lines): string {
  const [{ cpu, cores, features }] = lines;
  const dayOf = ({ time }: BenchLine): string => time.slice(0, 10);
  const days = [...new Set(lines.map(dayOf))].sort();
  const count = (day: string): number => lines.filter((line) => dayOf(line) === day).length;
  const main = days.reduce((most, day) => (count(day) > count(most) ? day : most));
  const others = days
    .filter((day) => day !== main)
    .map((day) => {
      const names = new Set(lines.filter((line) => dayOf(line) === day).map(({ name, isa }) => `${name} (${isa})`));
      return `; of ${day}: ${[...names].join(', ')}`;
    });
  return `${main}, ${cpu}, ${cores} cores (${features.join(' ')})${others.join('')}`;
}

/** The peers of a recipe that were measured beside any instruction set. */
function allPeers(lines: Lines, recipe: string): PeerResult[] {
  return named(lines, 'step').flatMap((line) => (recipeOf(line) === recipe ? line.peers : []));
}

const speedOf = (best: PeerResult | undefined): number | undefined => best?.value;
/** How many times as fast a line is as a peer: by rounds in turn where there are any, else by the medians of the run. */
function against(line: BenchLine, kind: string, lines: Lines): { cell: string; peer: PeerResult | undefined } {
  const own = bestOf(line.peers, [kind]);
  if (own !== undefined) return { cell: `${times(own.ratio)} (${number(own.value)})`, peer: own };
  const other = bestByValue(allPeers(lines, recipeOf(line)).filter((peer) => peer.kind === kind));
  const value = speedOf(other);
  return { cell: value === undefined ? '–' : `${times(line.value / value)} (${number(value)})*`, peer: other };
}

function bestByValue(peers: readonly PeerResult[]): PeerResult | undefined {
  return peers.reduce<PeerResult | undefined>((best, one) => (best && best.value >= one.value ? best : one), undefined);
}

/** Kinds of peers of a step: PyTorch's, and llm.c's CPU trainer. */
const KINDS = ['fp32 held to AVX2', 'fp32', 'bf16', 'llm.c'] as const;

/** Steps of every recipe and instruction set against the best of each kind of PyTorch. */
export function stepTable(lines: Lines): string {
  const rows = named(lines, 'step').map((line) => {
    const kinds = KINDS.map((kind) => against(line, kind, lines));
    const target = targetKind(line.isa);
    const peer = bestOf(line.peers, [target]);
    return [
      recipeOf(line),
      line.isa,
      `${number(line.value)} (${between(line.spread)})`,
      ...kinds.map(({ cell }) => cell),
      mebibytes(line.peakBytes),
      mebibytes(peer?.peakBytes),
    ];
  });
  if (rows.length === 0) return '';
  const head = [
    'recipe',
    'set',
    'tokens/s (min–max)',
    '× fp32 held to AVX2',
    '× fp32',
    '× bf16',
    '× llm.c',
    'peak',
    'peak of peer',
  ];
  return markdownTable(head, rows, 2);
}

const STEP_NOTE =
  '`×` is how many times as fast as the best PyTorch mode of its kind, medians of rounds in turn, its tokens/s in brackets; ' +
  '`*`: against the best mode measured beside another instruction set in the same run. Both sides use all cores.\n';

/** Every mode of PyTorch as it was measured. */
function modeTable(lines: Lines): string {
  const rows = named(lines, 'step').flatMap((line) =>
    line.peers.map((peer) => [
      recipeOf(line),
      line.isa,
      peer.name,
      `${number(peer.value)} (${between(peer.spread)})`,
      times(peer.ratio),
      peer.roundsMs.map(number).join(' / '),
      peer.oursRoundsMs.map(number).join(' / '),
      String(peer.threads),
      number(peer.warmUpMs.reduce((sum, ms) => sum + ms, 0) / 1e3),
      mebibytes(peer.peakBytes),
    ]),
  );
  if (rows.length === 0) return '';
  const head = ['recipe', 'our set', 'peer', 'tokens/s (min–max)', 'ours ×', 'its rounds, ms', 'our rounds, ms'];
  return markdownTable([...head, 'threads', 'warm-up, s', 'peak'], rows, 3);
}

function gemmTable(lines: Lines): string {
  const all = named(lines, 'gemm/');
  const sets = [...new Set(all.map(({ isa }) => isa))];
  const shapes = [...new Set(all.map(({ name }) => name))];
  if (all.length === 0) return '';
  const rows = shapes.map((shape) => [
    shape.slice('gemm/'.length),
    ...sets.map((set) => {
      const line = all.find(({ name, isa }) => name === shape && isa === set);
      return line === undefined ? '–' : `${number(line.value)} (${percent(line.ratio)})`;
    }),
  ]);
  const peaks = sets.map((set) => {
    const line = all.find(({ isa, ceiling }) => isa === set && ceiling !== null);
    return line === undefined ? '–' : number(line.ceiling);
  });
  return markdownTable(['M × N × K', ...sets.map((set) => `${set}, GOP/s`)], [...rows, ['peak of a core', ...peaks]]);
}

/** Value, ceiling, share, spread: for lines that have a ceiling of memory or of another kind. */
function ceilingTable(lines: Lines, copy?: BenchLine): string {
  if (lines.length === 0) return '';
  // Best of three sizes, the ceiling may be that of a cache; beside it stands a copy of the pass' own footprint.
  // Lines of an older measurement have the largest of the three sizes there.
  const large = copy === undefined ? undefined : detail(copy, 'GBs128MiB');
  const hasFootprint = large !== undefined || lines.some((line) => detail(line, 'ofFootprintCopy') !== undefined);
  const footprint = (line: BenchLine): string[] => {
    const share = detail(line, 'ofFootprintCopy');
    if (share !== undefined) {
      const [mib, rate] = [detail(line, 'footprintMiB'), detail(line, 'footprintCopyGBs')];
      return [`${number(rate)} GB/s: ${number(mib)} MiB`, percent(share)];
    }
    if (large === undefined || line.unit !== 'GB/s' || line.ceiling === null) return ['–', '–'];
    return [`${number(large)} GB/s: 256 MiB`, percent(line.value / large)];
  };
  const rows = lines.map((line) => [
    line.details['recipe'] === undefined ? line.name : `${line.name} (${recipeOf(line)})`,
    line.isa,
    `${valueCell(line)} (${between(line.spread)})`,
    line.ceiling === null ? '–' : `${number(line.ceiling)} ${line.unit}: ${line.ceilingName}`,
    percent(line.ratio),
    ...(hasFootprint ? footprint(line) : []),
  ]);
  const head = ['line', 'set', 'value (min–max)', 'ceiling', 'of it'];
  return markdownTable(hasFootprint ? [...head, 'copy of its footprint', 'of that'] : head, rows, 2);
}

function hashTable(lines: Lines): string {
  if (lines.length === 0) return '';
  const rows = lines.map((line) => {
    const peers = line.peers.map((peer) => `${times(peer.ratio)} of ${peer.name} (${number(peer.value)})`);
    if (line.peers.length === 0 && line.peer !== null) peers.push(`${times(line.peerRatio)} of ${line.peer}`);
    return [line.name, `${valueCell(line)} (${between(line.spread)})`, percent(line.ratio), peers.join('; ') || '–'];
  });
  return markdownTable(['line', 'value (min–max)', 'of its ceiling', 'peers, in turn'], rows);
}

function scalingTable(lines: Lines): string {
  const all = named(lines, 'pipeline/scaling');
  if (all.length === 0) return '';
  const share = (line: BenchLine, name: string): string => {
    const value = detail(line, `${name}Percent`);
    return value === undefined ? '–' : `${number(value)} %`;
  };
  const rows = all.map((line) => [
    recipeOf(line),
    line.isa,
    number(detail(line, 'tokensPerSecond1')),
    `${number(line.value)} (${detail(line, 'lanes')} lanes)`,
    times(detail(line, 'timesOneLane')),
    ...['unit', 'commit', 'weights', 'hash', 'idle', 'pool'].map((kind) => share(line, kind)),
  ]);
  const head = ['recipe', 'set', 'tokens/s, 1 lane', 'all lanes', 'times one'];
  return markdownTable([...head, 'units', 'commit', 'weights', 'hash', 'idle', 'pool'], rows, 2);
}

const SCALING_NOTE =
  "Shares of all lanes' time: what the tasks took, lanes without work (`idle`), and the number of tasks × the round trip of an empty one (`pool`, part of `idle`).\n";

/** Passes below this share of a unit are summed in one row, percent. */
const SMALL_PASS = 1;

/** Where a unit's time goes: one recipe, one instruction set, the slowest pass first. */
function passesTable(lines: Lines): string {
  const sorted = [...lines].sort((a, b) => b.value - a.value);
  const isSmall = (line: BenchLine): boolean => (detail(line, 'unitPercent') ?? 0) < SMALL_PASS;
  const rows = sorted
    .filter((line) => !isSmall(line))
    .map((line) => [
      line.name.slice('unit-profile/'.length),
      String(line.details['operation']),
      String(line.details['calls']),
      number(line.value),
      `${number(detail(line, 'unitPercent'))} %`,
      number(line.bytes / 1e6),
      number(detail(line, 'GBs')),
      percent((detail(line, 'copyPercent') ?? 0) / 100),
      line.operations === 0 ? '–' : number(line.operations / 1e9),
      line.operations === 0 ? '–' : number(detail(line, 'GOPs')),
      line.operations === 0 ? '–' : percent((detail(line, 'peakPercent') ?? 0) / 100),
    ]);
  const small = sorted.filter(isSmall);
  const sum = (of: (line: BenchLine) => number): number => small.reduce((total, line) => total + of(line), 0);
  if (small.length > 0) {
    const share = `${number(sum((line) => detail(line, 'unitPercent') ?? 0))} %`;
    const bytes = sum((line) => line.bytes);
    const rest = [number(bytes / 1e6), number(bytes / 1e6 / sum((line) => line.value)), '–', '–', '–', '–'];
    rows.push([
      `${small.length} more`,
      '–',
      String(sum((line) => detail(line, 'calls') ?? 0)),
      number(sum((line) => line.value)),
      share,
      ...rest,
    ]);
  }
  const head = [
    'pass',
    'operation',
    'calls',
    'ms',
    'of the unit',
    'MB',
    'GB/s',
    'of copy',
    'GOP',
    'GOP/s',
    'of int8 peak',
  ];
  return markdownTable(head, rows, 2);
}

/** The passes of every recipe in the set that the machine chooses. */
function passesTables(lines: Lines): string {
  const chosen = chosenSet(lines);
  const all = named(lines, 'unit-profile/').filter(({ isa }) => isa === chosen);
  const recipes = [...new Set(all.map(recipeOf))];
  return recipes
    .map((recipe) => {
      const some = all.filter((line) => recipeOf(line) === recipe);
      const ms = number(some.reduce((sum, { value }) => sum + value, 0));
      return `A unit of \`${recipe}\`, ${chosen}, one core, ${ms} ms in all:\n\n${passesTable(some)}`;
    })
    .join('\n');
}

const PASSES_NOTE =
  'All layers together. Bytes: every operand once, what is updated in place twice. What lies in a cache streams faster than copies do.\n';

function smallTable(lines: Lines): string {
  const rows = [
    ...named(lines, 'boundary', 'boundary/').map((line) => [line.name, line.isa, valueCell(line), '–']),
    ...named(lines, 'leaf-check').map((line) => [
      `leaf-check (${recipeOf(line)})`,
      line.isa,
      valueCell(line),
      `${number(detail(line, 'checkBytes'))} bytes`,
    ]),
    ...named(lines, 'element-check').map((line) => [
      'element-check (tiny, the largest proof of a unit)',
      line.isa,
      valueCell(line),
      `${number(detail(line, 'proofBytes'))} bytes`,
    ]),
    ...named(lines, 'aggregate').map((line) => [
      `aggregate (${number(detail(line, 'attestations'))} attestations)`,
      line.isa,
      valueCell(line),
      `${number(detail(line, 'aggregateBytes'))} bytes`,
    ]),
  ];
  return rows.length === 0 ? '' : markdownTable(['line', 'set', 'time', 'bytes read'], rows, 2);
}

interface Section {
  readonly title: string;
  readonly text: string;
  readonly note?: string;
}

function sections(lines: Lines): Section[] {
  return [
    { title: 'Training step: tokens to state root', text: stepTable(lines), note: STEP_NOTE },
    { title: "PyTorch's modes", text: modeTable(lines) },
    { title: 'Lanes', text: scalingTable(lines), note: SCALING_NOTE },
    { title: 'Integer GEMM, one core', text: gemmTable(lines) },
    {
      title: 'Passes over memory',
      text: ceilingTable(
        named(
          lines,
          'ceiling/copy',
          'ceiling/copy-all',
          'quantize4',
          'dequantize4',
          'pack-model',
          'diff',
          'patch',
          'commit',
          'commit/',
          'log-replay',
        ),
        named(lines, 'ceiling/copy')[0],
      ),
    },
    { title: 'Units', text: ceilingTable(named(lines, 'unit-replay')) },
    { title: 'Passes of a unit', text: passesTables(lines), note: PASSES_NOTE },
    { title: 'BLAKE3', text: hashTable(named(lines, 'merkle/', 'hash', 'hash/')) },
    { title: 'Calls and leaf checks', text: smallTable(lines) },
  ].filter(({ text }) => text !== '');
}

/** Every table, for docs/performance.md. */
export function completeTables(lines: Lines): string {
  if (lines.length === 0) return '';
  const parts = sections(lines).map(({ title, text, note }) => `### ${title}\n\n${text}${note ? `\n${note}` : ''}`);
  return `${machineText(lines)}.\n\n${parts.join('\n')}`;
}

/** Names of the lines of the short table beside steps. */
const SHORT = ['gemm/1024x1024x1024', 'commit', 'merkle/tree', 'hash', 'leaf-check', 'boundary', 'pipeline/scaling'];

/** What a reader of the README wants to know: steps, and one line of each topic in the set that the machine chooses. */
export function shortTables(lines: Lines): string {
  if (lines.length === 0) return '';
  const chosen = chosenSet(lines);
  const some = SHORT.flatMap((name) => {
    const found = named(lines, name).filter(({ isa }) => isa === chosen || !SETS.has(isa));
    return found.slice(0, 1);
  });
  const rows = some.map((line) => [
    line.details['recipe'] === undefined ? line.name : `${line.name} (${recipeOf(line)})`,
    valueCell(line),
    line.ratio === null ? '–' : `${percent(line.ratio)} of ${number(line.ceiling)}: ${line.ceilingName}`,
    line.peer === null ? '–' : `${times(line.peerRatio)} of ${line.peer}`,
  ]);
  const others = rows.length === 0 ? '' : `\n${markdownTable(['line', 'value', 'of its ceiling', 'peer'], rows)}`;
  return `${machineText(lines)}.\n\n${stepTable(lines)}\n${STEP_NOTE}${others}`;
}
