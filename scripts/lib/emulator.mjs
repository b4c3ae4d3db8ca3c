// QEMU's user-mode emulator for AArch64: the system's, else the one of Debian's package, unpacked into `.tools/qemu`.
import { existsSync, mkdirSync, readdirSync, renameSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import { progress, runProgram, TOOLS, which } from './project.mjs';

const PACKAGE = 'qemu-user-static';
const NAMES = ['qemu-aarch64', 'qemu-aarch64-static'];

/**
 * apt keeps its lists in `.tools` for this, so neither rights of root nor the system's own state are touched; its signatures
 * are checked as ever.
 */
async function download(folder) {
  const [apt, unpack] = [which('apt-get'), which('dpkg-deb')];
  if (apt === undefined || unpack === undefined) return 'no qemu-aarch64 on PATH, and no apt-get to fetch it';
  rmSync(folder, { recursive: true, force: true });
  for (const part of ['lists/partial', 'cache/archives/partial']) mkdirSync(join(folder, part), { recursive: true });
  const options = [
    ...['-o', `Dir::State::lists=${join(folder, 'lists')}`],
    ...['-o', `Dir::Cache=${join(folder, 'cache')}`],
    ...['-o', 'APT::Sandbox::User='],
  ];
  progress(`fetching ${PACKAGE} (63 MB) into .tools/qemu`);
  for (const command of [['update'], ['download', PACKAGE]]) {
    const { code, log } = await runProgram(apt, [...options, ...command], { cwd: folder, log: `qemu-${command[0]}` });
    if (code !== 0) return `no qemu-aarch64 on PATH, and apt-get ${command[0]} failed (${log})`;
  }
  const archive = readdirSync(folder).find((name) => name.endsWith('.deb'));
  const { code } = await runProgram(unpack, ['-x', archive, '.'], { cwd: folder, log: 'qemu-unpack' });
  // Of the emulators of all machines one is kept.
  const unpacked = join(folder, 'usr', 'bin', NAMES[1]);
  if (existsSync(unpacked)) renameSync(unpacked, join(folder, NAMES[1]));
  for (const name of readdirSync(folder)) {
    if (name !== NAMES[1]) rmSync(join(folder, name), { recursive: true, force: true });
  }
  return code === 0 ? undefined : `${PACKAGE} could not be unpacked`;
}

/** @returns the emulator's path, or why there is none */
export async function armEmulator() {
  const installed = NAMES.map((name) => which(name)).find(Boolean);
  if (installed !== undefined) return { emulator: installed };
  const folder = join(TOOLS, 'qemu');
  const file = join(folder, NAMES[1]);
  if (existsSync(file)) return { emulator: file };
  const reason = await download(folder);
  return existsSync(file) ? { emulator: file } : { reason: reason ?? 'the package holds no qemu-aarch64-static' };
}
