/**
 * Which tool chains this machine has, for `pogo doctor`: what each is for, its version, and the command that installs it.
 * Building itself is the business of `scripts/setup.mjs`, which leaves its report in `.tools/setup.json`.
 */
import { execFile } from 'node:child_process';
import { existsSync, readdirSync, readFileSync } from 'node:fs';
import { homedir } from 'node:os';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { setupFix } from '../backend/packageRoot.js';

const run = promisify(execFile);
/** A compiler that does not answer in this time counts as missing. */
const PROBE_TIMEOUT_MS = 10_000;

/** A program that set-up can use. `version` is absent where the program is. */
export interface Toolchain {
  readonly name: string;
  readonly purpose: string;
  readonly version?: string;
  readonly fix: string;
}

/** One line of `.tools/setup.json`. */
export interface SetupComponent {
  readonly component: string;
  readonly status: 'built' | 'current' | 'missing' | 'failed' | 'skipped';
  readonly reason: string;
  readonly fix: string;
}

interface Probe {
  readonly name: string;
  readonly purpose: string;
  /** Programs in the order of preference; the first that answers is taken. */
  readonly programs: readonly (string | undefined)[];
  readonly fix: string;
}

const INSTALLERS: readonly (readonly [program: string, compiler: string, cmake: string])[] = [
  ['/usr/bin/apt-get', 'sudo apt-get install -y build-essential python3', 'sudo apt-get install -y cmake'],
  ['/usr/bin/dnf', 'sudo dnf install -y gcc-c++ make python3', 'sudo dnf install -y cmake'],
  ['/usr/bin/pacman', 'sudo pacman -S --needed base-devel python', 'sudo pacman -S --needed cmake'],
  ['/sbin/apk', 'sudo apk add build-base python3 linux-headers', 'sudo apk add cmake'],
];

function installCommands(): { readonly compiler: string; readonly cmake: string } {
  if (process.platform === 'darwin') return { compiler: 'xcode-select --install', cmake: 'brew install cmake' };
  if (process.platform === 'win32') {
    return {
      compiler: 'winget install Microsoft.VisualStudio.2022.BuildTools Python.Python.3.12',
      cmake: 'winget install Kitware.CMake',
    };
  }
  const found = INSTALLERS.find(([program]) => existsSync(program));
  if (found) return { compiler: found[1], cmake: found[2] };
  return { compiler: 'install a C++17 compiler, make and Python 3', cmake: 'install CMake 3.24 or newer' };
}

/** The compiler that set-up may have fetched (`scripts/cuda-compiler.mjs`). */
function fetchedNvcc(packageRoot: string): string | undefined {
  const tools = join(packageRoot, '.tools');
  try {
    const folder = readdirSync(tools).find((name) => /^cuda-[0-9a-f]{16}$/.test(name));
    return folder && join(tools, folder, 'nvidia', 'cu13', 'bin', 'nvcc');
  } catch {
    return undefined;
  }
}

function probes(packageRoot: string): readonly Probe[] {
  const { compiler, cmake } = installCommands();
  const cargoHome = process.env['CARGO_HOME'] ?? join(homedir(), '.cargo');
  const cudaHome = process.env['CUDA_HOME'];
  return [
    {
      name: 'C++ compiler',
      purpose: 'native/cpu: the fast kernels',
      programs: [process.env['CXX'], 'c++', 'g++', 'clang++'],
      fix: compiler,
    },
    { name: 'make', purpose: 'native/cpu', programs: ['make', 'gmake'], fix: compiler },
    { name: 'Python', purpose: 'node-gyp', programs: [process.env['PYTHON'], 'python3', 'python'], fix: compiler },
    {
      name: 'Rust',
      purpose: 'native/merkle: BLAKE3 at full speed',
      programs: ['cargo', join(cargoHome, 'bin', 'cargo')],
      fix: "curl --proto '=https' --tlsv1.2 -sSf https://sh.rustup.rs | sh -s -- -y",
    },
    { name: 'CMake', purpose: 'native/cuda', programs: ['cmake'], fix: cmake },
    {
      name: 'CUDA compiler',
      purpose: 'native/cuda: GPU kernels',
      programs: [
        ...[process.env['CUDACXX'], 'nvcc', cudaHome && join(cudaHome, 'bin', 'nvcc'), '/usr/local/cuda/bin/nvcc'],
        fetchedNvcc(packageRoot),
      ],
      fix: setupFix('--cuda'),
    },
  ];
}

/** The line of `program --version` that holds the version, or undefined if the program does not answer. */
async function versionOf(program: string): Promise<string | undefined> {
  try {
    const { stdout } = await run(program, ['--version'], { timeout: PROBE_TIMEOUT_MS });
    const lines = stdout.split('\n').map((line) => line.trim());
    return lines.find((line) => /release \d/.test(line)) ?? lines.find((line) => /\d+\.\d+/.test(line)) ?? lines[0];
  } catch {
    return undefined;
  }
}

/** All tool chains, missing ones included. Starts each program once. */
export async function findToolchains(packageRoot: string): Promise<Toolchain[]> {
  return Promise.all(
    probes(packageRoot).map(async ({ name, purpose, programs, fix }) => {
      for (const program of programs) {
        const version = program ? await versionOf(program) : undefined;
        if (version !== undefined) return { name, purpose, version, fix };
      }
      return { name, purpose, fix };
    }),
  );
}

/** What the last set-up reported, or undefined: never run here, or an installed package. */
export function readSetupReport(packageRoot: string): readonly SetupComponent[] | undefined {
  try {
    const text = readFileSync(join(packageRoot, '.tools', 'setup.json'), 'utf8');
    const { components } = JSON.parse(text) as { components: readonly SetupComponent[] };
    return Array.isArray(components) ? components : undefined;
  } catch {
    return undefined;
  }
}
