// Finds compilers and says, for each that is missing, the command that installs it.
import { cpSync, existsSync, mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { capture, ROOT, TOOLS, which } from './project.mjs';

const LINUX_INSTALLERS = [
  ['apt-get', { compiler: 'sudo apt-get install -y build-essential python3', cmake: 'sudo apt-get install -y cmake' }],
  ['dnf', { compiler: 'sudo dnf install -y gcc-c++ make python3', cmake: 'sudo dnf install -y cmake' }],
  ['pacman', { compiler: 'sudo pacman -S --needed base-devel python', cmake: 'sudo pacman -S --needed cmake' }],
  ['apk', { compiler: 'sudo apk add build-base python3 linux-headers', cmake: 'sudo apk add cmake' }],
];

/** The command that installs a part on this platform. */
export function installCommand(part) {
  if (part === 'rust') return "curl --proto '=https' --tlsv1.2 -sSf https://sh.rustup.rs | sh -s -- -y";
  if (process.platform === 'darwin') return part === 'compiler' ? 'xcode-select --install' : 'brew install cmake';
  if (process.platform === 'win32') {
    return part === 'compiler'
      ? 'winget install Microsoft.VisualStudio.2022.BuildTools Python.Python.3.12'
      : 'winget install Kitware.CMake';
  }
  for (const [program, commands] of LINUX_INSTALLERS) if (which(program)) return commands[part];
  return part === 'compiler' ? 'install a C++17 compiler, make and Python 3' : 'install CMake 3.24 or newer';
}

/** What building a C++ addon needs. @returns paths, and the names of what is missing */
export function findCompiler() {
  const named = process.env.CXX?.split(' ')[0];
  const cxx = named ? which(named) : (which('c++') ?? which('g++') ?? which('clang++'));
  const make = which('make') ?? which('gmake');
  const python = which(process.env.PYTHON ?? 'python3') ?? which('python');
  // On Windows node-gyp finds Visual Studio by itself; it is the one that reports a missing one.
  if (process.platform === 'win32')
    return { cxx: cxx ?? 'msvc', make: 'msbuild', python, missing: python ? [] : ['Python 3'] };
  const missing = [];
  if (!cxx) missing.push(named ? `the C++ compiler named by CXX (${named})` : 'a C++17 compiler (c++, g++ or clang++)');
  if (!make) missing.push('make');
  if (!python) missing.push('Python 3');
  return { cxx, make, python, missing };
}

/** Cargo, also where rustup has put it without PATH having been read again. */
export function findCargo() {
  const home = process.env.CARGO_HOME ?? join(process.env.HOME ?? '', '.cargo');
  return which('cargo') ?? which(join(home, 'bin', 'cargo'));
}

/** First line of `program --version`, for stamps and `pogo doctor`. */
export async function versionOf(program, args = ['--version']) {
  return (await capture(program, args))
    ?.trim()
    .split('\n')
    .find((line) => /\d/.test(line));
}

/**
 * A folder that node-gyp takes as `--nodedir`, so that it never downloads headers: the headers beside this Node if they are
 * of the same version, else a made-up folder from the package node-api-headers (enough for Node-API addons).
 */
export function nodeDirectory() {
  const prefix = join(dirname(process.execPath), '..');
  try {
    const header = readFileSync(join(prefix, 'include', 'node', 'node_version.h'), 'utf8');
    const number = (part) => header.match(new RegExp(`#define NODE_${part}_VERSION (\\d+)`))?.[1];
    if (`v${number('MAJOR')}.${number('MINOR')}.${number('PATCH')}` === process.version) return prefix;
  } catch {
    // No headers beside this Node.
  }
  const made = join(TOOLS, `node-headers-${process.version}`);
  const include = join(made, 'include', 'node');
  if (!existsSync(join(include, 'common.gypi'))) {
    mkdirSync(include, { recursive: true });
    cpSync(join(ROOT, 'node_modules', 'node-api-headers', 'include'), include, { recursive: true });
    const [major, minor, patch] = process.versions.node.split('.');
    writeFileSync(
      join(include, 'node_version.h'),
      `#define NODE_MAJOR_VERSION ${major}\n#define NODE_MINOR_VERSION ${minor}\n#define NODE_PATCH_VERSION ${patch}\n`,
    );
    writeFileSync(join(include, 'config.gypi'), `{ 'variables': {} }\n`);
    // gyp needs the configurations and the variables that its generated addon.gypi reads.
    writeFileSync(join(include, 'common.gypi'), COMMON_GYPI);
    writeFileSync(join(made, 'common.gypi'), COMMON_GYPI);
  }
  return made;
}

const COMMON_GYPI = `{
  'variables': { 'configuration%': 'Release', 'openssl_fips%': '', 'clang%': 0, 'visibility%': 'hidden' },
  'target_defaults': {
    'default_configuration': 'Release',
    'configurations': { 'Release': { 'cflags': ['-O2'] }, 'Debug': { 'cflags': ['-O0', '-g'] } },
    'cflags': ['-fPIC'], 'xcode_settings': { 'OTHER_CFLAGS': ['-fPIC'] }
  }
}
`;
