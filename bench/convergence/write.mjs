// Puts the newest results of bench/results/convergence into docs/: charts, and the table of docs/performance.md.
//   node bench/convergence/write.mjs [--check]
import { existsSync, readdirSync, readFileSync, writeFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';

const ROOT = dirname(dirname(dirname(fileURLToPath(import.meta.url))));
const RESULTS = join(ROOT, 'bench', 'results', 'convergence');
const PAGE = join(ROOT, 'docs', 'performance.md');
const SECTION = /<!-- convergence -->[\s\S]*?<!-- \/convergence -->/;
const COLOURS = ['#1f6feb', '#d1242f', '#9a6700', '#1a7f37', '#8250df'];
const [WIDTH, HEIGHT] = [720, 360];
const MARGIN = { left: 56, right: 16, top: 36, bottom: 44 };

/** Runs of a file by recipe: name and points of each. */
export function runsOf(lines) {
  const recipes = new Map();
  for (const line of lines) {
    const runs = recipes.get(line.recipe) ?? new Map();
    recipes.set(line.recipe, runs);
    const run = runs.get(line.run) ?? { name: line.run, points: [] };
    runs.set(line.run, run);
    if (line.type === 'start')
      Object.assign(run, { name: line.name, threads: line.threads, warmUp: line.warmUpSeconds });
    if (line.type === 'heldOut') run.points.push({ step: line.step, loss: line.loss, seconds: line.trainSeconds });
  }
  return new Map([...recipes].map(([recipe, runs]) => [recipe, [...runs.values()]]));
}

/** Seconds until a loss, on the straight line between measurements; undefined where it was not reached. */
export function secondsTo(points, loss) {
  for (let i = 1; i < points.length; i += 1) {
    const [a, b] = [points[i - 1], points[i]];
    if (b.loss > loss) continue;
    return a.loss <= loss ? a.seconds : a.seconds + ((a.loss - loss) / (a.loss - b.loss)) * (b.seconds - a.seconds);
  }
  return undefined;
}

function chart(recipe, runs) {
  const all = runs.flatMap(({ points }) => points);
  // The first measurement of a run is at zero seconds: the axis is logarithmic and begins at the first tenth of a second.
  const low = Math.log10(Math.max(0.1, Math.min(...all.filter((p) => p.seconds > 0).map((p) => p.seconds))));
  const high = Math.log10(Math.max(...all.map((p) => p.seconds)));
  const losses = all.filter((p) => p.seconds > 0).map((p) => p.loss);
  const [least, most] = [Math.min(...losses) - 0.1, Math.max(...losses) + 0.1];
  const x = (s) => MARGIN.left + ((Math.log10(s) - low) / (high - low)) * (WIDTH - MARGIN.left - MARGIN.right);
  const y = (loss) => MARGIN.top + ((most - loss) / (most - least)) * (HEIGHT - MARGIN.top - MARGIN.bottom);
  const parts = [];
  for (let decade = Math.floor(low); decade <= high; decade += 1) {
    for (const digit of [1, 2, 5]) {
      const s = digit * 10 ** decade;
      if (Math.log10(s) < low || Math.log10(s) > high) continue;
      parts.push(
        `<line x1="${x(s).toFixed(1)}" x2="${x(s).toFixed(1)}" y1="${MARGIN.top}" y2="${HEIGHT - MARGIN.bottom}" stroke="#eee"/>`,
      );
      parts.push(
        `<text x="${x(s).toFixed(1)}" y="${HEIGHT - MARGIN.bottom + 16}" text-anchor="middle">${Number(s.toPrecision(2))}</text>`,
      );
    }
  }
  for (let loss = Math.ceil(least * 2) / 2; loss <= most; loss += 0.5) {
    parts.push(
      `<line x1="${MARGIN.left}" x2="${WIDTH - MARGIN.right}" y1="${y(loss).toFixed(1)}" y2="${y(loss).toFixed(1)}" stroke="#ddd"/>`,
    );
    parts.push(
      `<text x="${MARGIN.left - 8}" y="${(y(loss) + 4).toFixed(1)}" text-anchor="end">${loss.toFixed(1)}</text>`,
    );
  }
  runs.forEach(({ name, points }, i) => {
    const colour = COLOURS[i % COLOURS.length];
    const path = points.filter((p) => p.seconds > 0).map((p) => `${x(p.seconds).toFixed(1)},${y(p.loss).toFixed(1)}`);
    parts.push(`<polyline fill="none" stroke="${colour}" stroke-width="1.8" points="${path.join(' ')}"/>`);
    parts.push(
      `<text x="${WIDTH - MARGIN.right - 8}" y="${MARGIN.top + 14 + 16 * i}" text-anchor="end" fill="${colour}">${name}</text>`,
    );
  });
  return (
    `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 ${WIDTH} ${HEIGHT}" font-family="sans-serif" font-size="12">` +
    `<title>${recipe}: held-out loss by seconds of training</title><rect width="100%" height="100%" fill="white"/>` +
    `<text x="${WIDTH / 2}" y="20" text-anchor="middle" font-size="14">${recipe}: held-out loss by seconds of training</text>` +
    `<text x="${WIDTH / 2}" y="${HEIGHT - 8}" text-anchor="middle">seconds (log)</text>` +
    `<text x="14" y="${HEIGHT / 2}" transform="rotate(-90 14 ${HEIGHT / 2})" text-anchor="middle">nats per token</text>` +
    `${parts.join('')}</svg>\n`
  );
}

const number = (value, digits) => (value === undefined ? 'not reached' : value.toFixed(digits));

function section(file, recipes, first) {
  const rows = [];
  for (const [recipe, runs] of recipes) {
    const last = runs.map(({ points }) => points.at(-1).loss);
    // The loss that every run reached: the worst of the final ones.
    const shared = Math.max(...last);
    const [ours] = runs;
    for (const run of runs) {
      const end = run.points.at(-1);
      const to = secondsTo(run.points, shared);
      const factor = to === undefined ? '–' : `${(to / secondsTo(ours.points, shared)).toFixed(2)}x`;
      const warm = run.warmUp === undefined ? '–' : `${run.warmUp.toFixed(1)} s`;
      rows.push(
        `| ${recipe} | ${run.name} | ${end.step} | ${number(end.loss, 3)} | ${number(end.seconds, 1)} s | ${number(to, 1)} s to ${shared.toFixed(3)} | ${factor} | ${warm} |`,
      );
    }
  }
  return [
    '<!-- convergence -->',
    `${first.time.slice(0, 10)}, ${first.cpu}, ${first.cores} cores (${first.features.join(' ')}), all cores for every run; raw lines: ${file}.`,
    '',
    ...[...recipes.keys()].map(
      (recipe) => `![held-out loss of ${recipe} by seconds of training](convergence-${recipe}.svg)`,
    ),
    '',
    '| recipe | run | steps | held-out loss at the end | training | time to the loss that all reached | × ours | warm-up before |',
    '| --- | --- | --: | --: | --: | --: | --: | --: |',
    ...rows,
    '<!-- /convergence -->',
  ].join('\n');
}

const files = existsSync(RESULTS) ? readdirSync(RESULTS).filter((name) => name.endsWith('.jsonl')) : [];
const newest = files.sort().at(-1);
if (newest === undefined) throw new Error('expected a file in bench/results/convergence, found none');
const lines = readFileSync(join(RESULTS, newest), 'utf8')
  .trimEnd()
  .split('\n')
  .map((line) => JSON.parse(line));
const recipes = runsOf(lines);
const page = readFileSync(PAGE, 'utf8');
if (!SECTION.test(page)) throw new Error('docs/performance.md: expected a section convergence, found none');
const text = section(`bench/results/convergence/${newest}`, recipes, lines[0]);
const outputs = [
  [PAGE, page.replace(SECTION, () => text)],
  ...[...recipes].map(([recipe, runs]) => [join(ROOT, 'docs', `convergence-${recipe}.svg`), chart(recipe, runs)]),
];
for (const [path, content] of outputs) {
  if (existsSync(path) && readFileSync(path, 'utf8') === content) continue;
  if (process.argv.includes('--check')) {
    process.stderr.write(`out of date: ${path}; run node bench/convergence/write.mjs\n`);
    process.exitCode = 1;
  } else {
    writeFileSync(path, content);
  }
}
