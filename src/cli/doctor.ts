/**
 * `pogo doctor`: what this machine can compute with. Every backend and instruction set runs all known-answer vectors here, so
 * an operator finds a broken device before it stakes.
 */
import type { Command } from 'commander';
import { openCpuBackend } from '../backend/cpu.js';
import { loadCpuAddon } from '../backend/cpuAddon.js';
import { cudaIsa, cudaKernels, cudaTable, missingOperations } from '../backend/cuda.js';
import { loadCudaAddon } from '../backend/cudaAddon.js';
import { CUDA_HARDWARE } from '../backend/cudaHardware.js';
import { loadMerkleAddon, MERKLE_FIX } from '../backend/merkleAddon.js';
import { openBackend } from '../backend/open.js';
import { type Kernels, OPERATIONS } from '../backend/ops.js';
import { isCheckout, packageRoot, setupFix } from '../backend/packageRoot.js';
import { referenceKernels } from '../backend/reference.js';
import { selfTest } from '../backend/selfTest.js';
import type { IsaName } from '../backend/types.js';
import { EXIT, PogoError } from '../errors.js';
import { findToolchains, readSetupReport, type SetupComponent, type Toolchain } from '../node/toolchains.js';
import { printEvent } from './events.js';
import { yieldToSignals } from './interrupt.js';

/** One way to compute. `state`: `ok` passed its vectors, `failed` did not, `missing` cannot be used. */
export interface DoctorBackend {
  readonly backend: 'cuda' | 'cpu' | 'reference' | 'merkle';
  readonly isa: string;
  readonly state: 'ok' | 'failed' | 'missing';
  readonly vectors: number;
  readonly vectorsPassed: number;
  readonly reason: string;
  readonly fix: string;
}

/** `hardware`: compared with the scalar kernels on a GPU, and equal; `compiled`: only compiled, and run on the device model. */
export interface CudaKernelStatus {
  readonly operation: string;
  readonly status: 'hardware' | 'compiled';
  /** Empty without hardware. */
  readonly device: string;
  readonly date: string;
}

export interface DoctorReport {
  readonly node: string;
  readonly platform: string;
  /** What `POGO_BACKEND` and `POGO_ISA` as they are choose; empty with a reason where they choose nothing. */
  readonly chosen: { readonly backend: string; readonly isa: string; readonly reason: string };
  readonly features: readonly string[];
  readonly backends: readonly DoctorBackend[];
  /** What of the CUDA kernels has ever run on a GPU, on whatever machine. */
  readonly cudaKernels: readonly CudaKernelStatus[];
  readonly toolchains: readonly Toolchain[];
  readonly setup: readonly SetupComponent[];
}

/** Runs the vectors of the given operations. */
async function checked(
  backend: DoctorBackend['backend'],
  isa: string,
  kernels: Kernels,
  quick: boolean,
): Promise<DoctorBackend> {
  await yieldToSignals();
  const results = selfTest(kernels, { quick });
  const wrong = results.filter((result) => !result.ok);
  const total = results.reduce((sum, result) => sum + result.cases, 0);
  const failed = wrong.reduce((sum, result) => sum + result.cases, 0);
  return {
    backend,
    isa,
    state: wrong.length === 0 ? 'ok' : 'failed',
    vectors: total,
    vectorsPassed: total - failed,
    reason: wrong.map((result) => result.operation).join(', '),
    fix:
      wrong.length === 0
        ? ''
        : `rebuild (${setupFix('--force')}); if that does not help, do not stake with this machine`,
  };
}

const missing = (backend: DoctorBackend['backend'], isa: string, reason: string, fix: string): DoctorBackend => ({
  backend,
  isa,
  state: 'missing',
  vectors: 0,
  vectorsPassed: 0,
  reason,
  fix,
});

function cudaKernelStatus(): CudaKernelStatus[] {
  return OPERATIONS.map((operation) => {
    const run = CUDA_HARDWARE[operation];
    if (run === undefined) return { operation, status: 'compiled', device: '', date: '' };
    return { operation, status: 'hardware', ...run };
  });
}

/** One line: which kernels are proven where. */
function describeCudaKernels(kernels: readonly CudaKernelStatus[]): string {
  const compiled = kernels.filter(({ status }) => status === 'compiled').map(({ operation }) => operation);
  if (compiled.length === kernels.length) {
    return 'compiled, and run on a model of the device; none has run on a GPU yet';
  }
  const places = [...new Set(kernels.filter(({ device }) => device !== '').map((k) => `${k.device}, ${k.date}`))];
  const rest = compiled.length === 0 ? '' : `; compiled only: ${compiled.join(', ')}`;
  return `${kernels.length - compiled.length} of ${kernels.length} run on hardware (${places.join('; ')})${rest}`;
}

/** One entry a device. */
async function cudaBackends(quick: boolean, addonFile: string | undefined): Promise<DoctorBackend[]> {
  const cuda = loadCudaAddon(addonFile);
  if (cuda.addon === undefined) return [missing('cuda', '', cuda.reason, cuda.fix)];
  const { addon, info } = cuda;
  const table = cudaTable(addon);
  const lacking = missingOperations(table);
  if (lacking.length > 0) {
    return [missing('cuda', '', `its addon has no kernel for ${lacking.join(', ')}`, setupFix('--cuda --force'))];
  }
  const found: DoctorBackend[] = [];
  for (const [index, device] of info.devices.entries()) {
    const one = await checked('cuda', cudaIsa(device.major, device.minor), cudaKernels(addon, index), quick);
    const facts = [`device ${index}: ${device.name}`, one.reason];
    found.push({ ...one, reason: facts.filter((fact) => fact !== '').join('; ') });
  }
  return found;
}

async function cpuBackends(quick: boolean): Promise<DoctorBackend[]> {
  const cpu = loadCpuAddon();
  if (cpu.addon === undefined) return [missing('cpu', '', cpu.reason, cpu.fix)];
  const found: DoctorBackend[] = [];
  for (const [isa, { reason }] of Object.entries(cpu.addon.describe().isas)) {
    const { kernels } =
      reason === '' ? openCpuBackend(isa as Exclude<IsaName, 'typescript' | 'sm_80' | 'sm_90' | 'sm_90a'>) : {};
    found.push(kernels === undefined ? missing('cpu', isa, reason, '') : await checked('cpu', isa, kernels, quick));
  }
  return found;
}

function merkleBackend(): DoctorBackend {
  const merkle = loadMerkleAddon();
  // The door refuses an addon that hashes its known input wrong.
  if (merkle.addon !== undefined) {
    return { backend: 'merkle', isa: 'rust', state: 'ok', vectors: 1, vectorsPassed: 1, reason: '', fix: '' };
  }
  const reason = merkle.reason.replace(/\. To fix it.*/s, '; BLAKE3 runs in TypeScript');
  return missing('merkle', 'rust', reason, MERKLE_FIX);
}

export interface ExamineOptions {
  /** Only the vectors of the start-up test. */
  readonly quick?: boolean;
  /** Another CUDA addon than the package's own, for tests. */
  readonly cudaAddon?: string;
}

/** Looks at everything. Runs programs and kernels; takes some seconds. */
export async function examine(options: ExamineOptions = {}): Promise<DoctorReport> {
  const quick = options.quick ?? false;
  let chosen: DoctorReport['chosen'];
  let features: readonly string[] = [];
  try {
    const backend = openBackend();
    chosen = { backend: backend.name, isa: backend.isa, reason: '' };
    features = backend.features;
  } catch (error) {
    chosen = { backend: '', isa: '', reason: PogoError.from(error).message };
  }
  return {
    node: process.version,
    platform: `${process.platform}-${process.arch}`,
    chosen,
    features,
    backends: [
      ...(await cudaBackends(quick, options.cudaAddon)),
      ...(await cpuBackends(quick)),
      await checked('reference', 'typescript', referenceKernels, true),
      merkleBackend(),
    ],
    cudaKernels: cudaKernelStatus(),
    toolchains: isCheckout() ? await findToolchains(packageRoot) : [],
    setup: readSetupReport(packageRoot) ?? [],
  };
}

const MARK = { ok: 'ok     ', failed: 'FAILED ', missing: 'missing' } as const;

/** The report for people, one fact a line; a fix stands under what it fixes. */
export function describeReport(report: DoctorReport): string {
  const lines = [
    `Node ${report.node} on ${report.platform}`,
    report.chosen.backend === ''
      ? `No backend can be used: ${report.chosen.reason}`
      : `In use: ${report.chosen.backend} (${report.chosen.isa})`,
  ];
  if (report.features.length > 0) lines.push(`CPU features: ${report.features.join(' ')}`);
  lines.push('', 'Backends');
  for (const entry of report.backends) {
    const name = `${entry.backend} ${entry.isa}`.trim().padEnd(22);
    const vectors = entry.vectors > 0 ? `${entry.vectorsPassed} of ${entry.vectors} vectors` : '';
    lines.push(`  ${MARK[entry.state]} ${name} ${[vectors, entry.reason].filter((text) => text !== '').join(', ')}`);
    if (entry.fix !== '') lines.push(`          fix: ${entry.fix}`);
  }
  lines.push('', `CUDA kernels: ${describeCudaKernels(report.cudaKernels)}`);
  lines.push('', 'Tool chains');
  if (report.toolchains.length === 0) lines.push('  not needed: an installed package has nothing to build');
  for (const tool of report.toolchains) {
    const found = tool.version ?? `not found (${tool.purpose})`;
    lines.push(`  ${tool.version === undefined ? MARK.missing : MARK.ok} ${tool.name.padEnd(22)} ${found}`);
    if (tool.version === undefined) lines.push(`          fix: ${tool.fix}`);
  }
  const troubled = report.setup.filter((entry) => entry.status === 'failed' || entry.status === 'missing');
  if (troubled.length > 0) lines.push('', 'Last set-up');
  for (const entry of troubled) {
    lines.push(`  ${entry.component} ${entry.status}: ${entry.reason}`);
    if (entry.fix !== '') lines.push(`          fix: ${entry.fix}`);
  }
  return `${lines.join('\n')}\n`;
}

export function register(program: Command): void {
  program
    .command('doctor')
    .option('--json', 'one JSON object')
    .option('--quick', 'only the vectors of the start-up test')
    .action(async (options: { json?: boolean; quick?: boolean }) => {
      const report = await examine({ quick: options.quick ?? false });
      if (options.json) printEvent({ type: 'doctor', ...report });
      else process.stdout.write(describeReport(report));
      // A forced backend that cannot be used, or one that computes other bits, is a reason to stop.
      const broken = report.backends.some((entry) => entry.state === 'failed') || report.chosen.backend === '';
      if (broken) process.exitCode = EXIT.environment;
    });
}
