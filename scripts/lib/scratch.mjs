// A copy of the sources of native/cpu in which something may be changed or built without touching the checkout's build.
import { cpSync, mkdirSync, rmSync, symlinkSync } from 'node:fs';
import { join } from 'node:path';
import { ROOT, TOOLS } from './project.mjs';

/** @returns path of `.tools/<name>` with binding.gyp, package.json, native/cpu, native/exact and a link to node_modules */
export function scratchTree(name) {
  const folder = join(TOOLS, name);
  rmSync(folder, { recursive: true, force: true });
  mkdirSync(join(folder, 'native'), { recursive: true });
  for (const part of ['binding.gyp', 'package.json', 'native/cpu', 'native/exact']) {
    cpSync(join(ROOT, part), join(folder, part), { recursive: true });
  }
  symlinkSync(join(ROOT, 'node_modules'), join(folder, 'node_modules'), 'junction');
  return folder;
}
