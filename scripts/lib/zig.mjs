// clang of another maker than the system's compiler, for this machine and for AArch64: Zig's, from a pinned wheel.
import { join } from 'node:path';
import { TOOLS } from './project.mjs';
import { installWheels } from './wheels.mjs';

const PINS = 'ziglang==0.17.1 --hash=sha256:ea6cc5d87b033cf0aedfbc8f9549a908cae6c50ac31f1698188fa48a74524b54\n';

/** Installs it unless it is there. @returns the compiler's command, and the environment that keeps its caches in `.tools` */
export async function zigCompiler() {
  const folder = await installWheels('zig', PINS, 'the pinned Zig compiler (101 MB)', 'or leave this check out');
  const env = {
    ...process.env,
    ZIG_GLOBAL_CACHE_DIR: join(TOOLS, 'zig-cache'),
    ZIG_LOCAL_CACHE_DIR: join(TOOLS, 'zig-cache'),
  };
  return { command: [join(folder, 'ziglang', 'zig'), 'c++'], env };
}
