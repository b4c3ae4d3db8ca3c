// Folders for a machine that has no compiler, no Node and no network: what was built here in one archive, and a script that runs it.
import { spawnSync } from 'node:child_process';
import { chmodSync, cpSync, existsSync, mkdirSync, readdirSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { dirname, join, relative } from 'node:path';
import { capture, progress, ROOT, ScriptError, which } from './project.mjs';

const MOST_BYTES = 64 * 2 ** 20;
/** Texts and vocabularies that neither known answers nor steps of the recipes read, and what is needed for building alone. */
const LEFT_OUT = /^(@stdlib|gpt-tokenizer|node-addon-api)(\/|$)/;
const ARCHIVE = 'pogo.tar.xz';

/** The first lines of a run script: $here is the bundle, $results the folder that was named (made), and it stands in what was unpacked. */
const BEGIN = `set -uo pipefail
here=$(cd "$(dirname "$0")" && pwd)
results=$(mkdir -p "\${1:-results}" && cd "\${1:-results}" && pwd)
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$work"
tar xJf "$here/${ARCHIVE}" 2>/dev/null ||
  python3 -c 'import sys, tarfile; tarfile.open(sys.argv[1]).extractall()' "$here/${ARCHIVE}" || exit 5
`;

/** The newest of some files that exist. */
function newest(files) {
  return files.filter((file) => existsSync(file)).sort((a, b) => statSync(b).mtimeMs - statSync(a).mtimeMs)[0];
}

/** A bundle in the making. */
export class Bundle {
  #name;
  #folder;
  #setup;
  /** What will be unpacked. */
  content;

  /**
   * @param name of the script that makes it
   * @param folder replaced
   * @param setup command that builds what is missing
   */
  constructor(name, folder, setup) {
    this.#name = name;
    this.#folder = folder;
    this.#setup = setup;
    this.content = join(folder, 'content');
    if (!existsSync(join(ROOT, 'dist', 'index.js'))) {
      throw new ScriptError(`error ENVIRONMENT: expected dist/; run ${setup}`, 5);
    }
    rmSync(folder, { recursive: true, force: true });
    mkdirSync(this.content, { recursive: true });
  }

  /** Copies a program or an addon without symbols, where there is a tool to take them away. */
  program(from, to) {
    if (from === undefined || !existsSync(from)) {
      throw new ScriptError(`error ENVIRONMENT: expected ${to}'s build; run ${this.#setup}`, 5);
    }
    const target = join(this.content, to);
    mkdirSync(dirname(target), { recursive: true });
    cpSync(from, target);
    if (which('strip') !== undefined) spawnSync('strip', ['--strip-unneeded', target], { stdio: 'ignore' });
    chmodSync(target, 0o755);
  }

  /** Copies files or folders of the checkout to the same place. */
  copy(...paths) {
    for (const path of paths) cpSync(join(ROOT, path), join(this.content, path), { recursive: true });
  }

  /** What every bundle has: library, CPU and Merkle addons, Node, and the packages of the library, besides those that are named. */
  async library(packages = []) {
    this.copy('dist', 'package.json', 'test/vectors', 'bench/peers', 'scripts/lib');
    const cpu = join('build', 'Release', 'pogo_cpu.node');
    this.program(join(ROOT, cpu), cpu);
    const merkle = join('native', 'merkle');
    const built = newest(
      readdirSync(join(ROOT, merkle))
        .filter((name) => name.endsWith('.node'))
        .map((name) => join(ROOT, merkle, name)),
    );
    this.program(built, built === undefined ? join(merkle, 'merkle.node') : relative(ROOT, built));
    const listed = await capture('npm', ['ls', '--omit=dev', '--all', '--parseable'], { cwd: ROOT });
    const modules = join(ROOT, 'node_modules');
    const needed = (listed ?? '')
      .trim()
      .split('\n')
      .concat(packages.map((name) => join(modules, name)));
    for (const folder of needed) {
      const name = relative(modules, folder);
      if (name.startsWith('..') || name === '' || LEFT_OUT.test(name) || !existsSync(folder)) continue;
      cpSync(folder, join(this.content, 'node_modules', name), { recursive: true });
    }
    this.program(process.execPath, 'node');
  }

  /** Packs it. @param run the lines of run.sh after those that unpack */
  finish(run) {
    // Programs that hold the same machine code: xz finds that where its dictionary holds them, gzip does not.
    const env = { ...process.env, XZ_OPT: '--lzma2=preset=1,dict=64MiB' };
    const archive = join(this.#folder, ARCHIVE);
    const packed = spawnSync('tar', ['cJf', archive, '-C', this.content, '.'], { stdio: 'inherit', env });
    if (packed.status !== 0) throw new ScriptError('error ENVIRONMENT: expected tar and xz; install xz-utils', 5);
    rmSync(this.content, { recursive: true });
    const text = `#!/usr/bin/env bash\n# Written by scripts/${this.#name}.mjs. Results go to the folder that is named, as soon as they are there.\n${BEGIN}${run}`;
    writeFileSync(join(this.#folder, 'run.sh'), text, { mode: 0o755 });
    const { size } = statSync(archive);
    progress(`${this.#name}: ${(size / 2 ** 20).toFixed(1)} MiB in ${this.#folder}; there: bash run.sh RESULTS`);
    if (size + text.length > MOST_BYTES) {
      throw new ScriptError(`${this.#name}: expected at most 64 MiB, found ${size} bytes`, 1);
    }
  }
}
