// Tools that come as Python wheels, pinned by hash, installed into `.tools/<name>-<hash of the pins>`. Linux on x64 only.
import { createHash } from 'node:crypto';
import { existsSync, mkdirSync, readdirSync, renameSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { capture, logExcerpt, progress, runProgram, ScriptError, TOOLS, which } from './project.mjs';

const CUDA_INSTEAD = 'or install CUDA 13.0 and set CUDACXX to its nvcc';

/** Where the wheels of these pins lie, or would lie. */
export function wheelFolder(name, pins) {
  return join(TOOLS, `${name}-${createHash('sha256').update(pins).digest('hex').slice(0, 16)}`);
}

/**
 * Installs wheels unless they are there. Older pins of the same name are removed.
 * @param pins lines of a requirements file, each with its hash; nothing else is installed
 * @param what the tool's name and size, for messages
 * @param instead what to do where it cannot be installed, the end of a sentence
 * @returns the folder
 */
export async function installWheels(name, pins, what, instead = CUDA_INSTEAD) {
  const folder = wheelFolder(name, pins);
  if (existsSync(folder)) return folder;
  if (process.platform !== 'linux' || process.arch !== 'x64') {
    throw new ScriptError(
      `error ENVIRONMENT: the pinned wheels of ${what} are for Linux on x64, found ${process.platform}-${process.arch}; ` +
        instead,
      5,
    );
  }
  const python = which('python3');
  if (python === undefined || (await capture(python, ['-m', 'pip', '--version'])) === undefined) {
    throw new ScriptError(
      `error ENVIRONMENT: expected python3 with pip to install ${what}, found none; ` +
        `install python3-pip, ${instead}`,
      5,
    );
  }
  const partial = `${folder}.${process.pid}`;
  mkdirSync(partial, { recursive: true });
  const requirements = join(partial, 'requirements.txt');
  writeFileSync(requirements, pins);
  progress(`set-up: fetching ${what}`);
  const options = [
    '--no-deps',
    '--no-compile',
    '--only-binary=:all:',
    '--require-hashes',
    '--disable-pip-version-check',
  ];
  const args = ['-m', 'pip', 'install', ...options, '--target', partial, '-r', requirements];
  const result = await runProgram(python, args, { log: name });
  if (result.code !== 0) {
    rmSync(partial, { recursive: true, force: true });
    throw new ScriptError(
      `error ENVIRONMENT: ${what} could not be installed (${result.log}):\n${logExcerpt(result.log)}\n` +
        `check the network, ${instead}`,
      5,
    );
  }
  // nvcc.profile links from lib64, the wheels have lib.
  const toolkit = join(partial, 'nvidia', 'cu13');
  if (existsSync(join(toolkit, 'lib'))) symlinkSync('lib', join(toolkit, 'lib64'));
  try {
    renameSync(partial, folder);
  } catch (error) {
    // Another process was faster: its folder has the same bytes.
    rmSync(partial, { recursive: true, force: true });
    if (!existsSync(folder)) throw error;
  }
  for (const old of readdirSync(TOOLS)) {
    const path = join(TOOLS, old);
    if (new RegExp(`^${name}-[0-9a-f]{16}$`).test(old) && path !== folder)
      rmSync(path, { recursive: true, force: true });
  }
  return folder;
}
