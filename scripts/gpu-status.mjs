// Writes the table of native/cuda/README.md that says of each kernel whether it has run on hardware, and what `pogo doctor`
// says of it (src/backend/cudaHardware.ts), from the results that scripts/gpu-test.sh left in bench/results/gpu. No result,
// no claim.
//   node scripts/gpu-status.mjs [--check]      --check changes nothing, exit code 1 if the table is not that of the results
// Needs `dist/`.
import { existsSync, readdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { cli, ROOT, ScriptError } from './lib/project.mjs';

const PAGE = join(ROOT, 'native', 'cuda', 'README.md');
const MODULE = join(ROOT, 'src', 'backend', 'cudaHardware.ts');
const RESULTS = join(ROOT, 'bench', 'results', 'gpu');
const NAME = /^(\d{4}-\d{2}-\d{2})-(.+)\.kernels\.json$/;
const SCHEMA = 'pogo-kernel-test/1';
const BEGIN = '<!-- status: begin, by scripts/gpu-status.mjs -->';
const END = '<!-- status: end -->';
/** Kernels beside the registry. */
const MORE = ['weightGradient4', 'blake3Trees'];

/** Reports, the newest first. */
function readReports() {
  if (!existsSync(RESULTS)) return [];
  const files = readdirSync(RESULTS).filter((name) => NAME.test(name));
  return files
    .sort()
    .reverse()
    .map((name) => {
      const report = JSON.parse(readFileSync(join(RESULTS, name), 'utf8'));
      if (report.schema !== SCHEMA || !Array.isArray(report.operations)) {
        throw new ScriptError(`gpu-status: ${name}: expected ${SCHEMA}, found ${report.schema}`);
      }
      // The device model writes the same report; it is no hardware.
      if (report.device === 'device model') throw new ScriptError(`gpu-status: ${name} is of the device model`);
      return { ...report, name, date: NAME.exec(name)[1] };
    });
}

/** One row: the newest report that has the operation decides. */
function row(operation, reports) {
  for (const report of reports) {
    const found = report.operations.find(({ name }) => name === operation);
    if (found === undefined || found.passed + found.failed === 0) continue;
    const outcome = found.failed === 0 ? `${found.passed} cases equal` : `**${found.failed} cases differ**`;
    const time = found.ms === undefined ? '–' : `${found.ms} ms, ${Math.round(100 * found.ratio)} % (${found.shape})`;
    return `| ${operation} | *run on hardware*: ${report.device}, ${report.date} | ${outcome} | ${time} |`;
  }
  return `| ${operation} | *compiled only* | – | – |`;
}

function table(operations, reports) {
  const head = ['| kernel of | status | against the scalar kernels | time, of the ceiling |', '|---|---|---|---|'];
  const lines = [...head, ...operations.map((operation) => row(operation, reports))];
  for (const { name, device, copyGBs, mmaTOPs, wgmmaTOPs, driver } of reports.slice(0, 1)) {
    lines.push(
      '',
      `Ceilings of ${device} (${name}, driver ${driver}): copy ${copyGBs} GB/s, int8 by mma.sync ${mmaTOPs} TOP/s, by wgmma ${wgmmaTOPs} TOP/s.`,
    );
  }
  if (reports.length === 0) {
    lines.push(
      '',
      'No GPU has run them: they compile for sm_80, sm_90 and sm_90a and are equal on the device model. No speed is claimed.',
    );
  }
  return lines.join('\n');
}

/** What the package itself knows: kernels that were equal on a GPU, by operation. */
function moduleText(operations, reports) {
  const lines = operations.flatMap((operation) => {
    const report = reports.find(({ operations: all }) => all.some(({ name }) => name === operation));
    const found = report?.operations.find(({ name }) => name === operation);
    if (found === undefined || found.passed === 0 || found.failed > 0) return [];
    const device = report.device.replace(/['\\]/g, '');
    return [`  ${operation}: { device: '${device}', date: '${report.date}' },\n`];
  });
  return (
    '/** CUDA kernels that have run on a GPU and were equal there: written by scripts/gpu-status.mjs from its results. */\n' +
    'export const CUDA_HARDWARE: Readonly<Record<string, { readonly device: string; readonly date: string }>> = {' +
    `${lines.length > 0 ? '\n' : ''}${lines.join('')}};\n`
  );
}

await cli(async (args) => {
  const { OPERATIONS } = await import('../dist/backend/ops.js');
  const page = readFileSync(PAGE, 'utf8');
  const [begin, end] = [page.indexOf(BEGIN), page.indexOf(END)];
  if (begin < 0 || end < begin)
    throw new ScriptError(`gpu-status: expected ${BEGIN} and ${END} in native/cuda/README.md`);
  const text = table([...OPERATIONS, ...MORE], readReports());
  const next = `${page.slice(0, begin + BEGIN.length)}\n${text}\n${page.slice(end)}`;
  const nextModule = moduleText([...OPERATIONS, ...MORE], readReports());
  if (next === page && nextModule === readFileSync(MODULE, 'utf8')) return 0;
  if (args.includes('--check')) {
    process.stderr.write('gpu-status: the table is not that of bench/results/gpu: run node scripts/gpu-status.mjs\n');
    return 1;
  }
  writeFileSync(PAGE, next);
  writeFileSync(MODULE, nextModule);
  return 0;
});
