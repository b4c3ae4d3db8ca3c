// Reads binding.gyp as far as the CPU addon goes, so that other builds of the same sources take its flags from there.
import { execSync } from 'node:child_process';
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { ROOT, ScriptError } from './project.mjs';

/**
 * The value of a variable that a condition asks for: of another architecture it is known, of this one its command is run, as
 * gyp does.
 */
function variable(gyp, name, arch) {
  if (arch !== process.arch) return name === `pogo_${arch}` ? 1 : 0;
  const command = /^<!\((.*)\)$/.exec(gyp.variables[name])?.[1];
  if (command === undefined) throw new ScriptError(`binding.gyp: expected ${name} to be a command`);
  return Number(execSync(command, { cwd: ROOT, encoding: 'utf8' }));
}

/** A target or `target_defaults` with the branches of its conditions merged in. */
function resolved(gyp, block, arch) {
  const out = { ...block };
  for (const [condition, then, otherwise] of block.conditions ?? []) {
    const asked = /^(?:(pogo_\w+)==1|OS=='(\w+)')$/.exec(condition);
    if (asked === null) throw new ScriptError(`binding.gyp: expected a condition like pogo_x86==1, found ${condition}`);
    const holds = asked[1] ? variable(gyp, asked[1], arch) === 1 : asked[2] === 'linux';
    const branch = (holds ? then : otherwise) ?? {};
    for (const [key, value] of Object.entries(branch)) {
      out[key] = Array.isArray(value) ? [...(out[key] ?? []), ...value] : value;
    }
  }
  return out;
}

/**
 * What binding.gyp builds for Linux on an architecture.
 * @param arch `x64` or `arm64`
 * @returns flags of every file, the addon's own sources and what they are given besides, and each instruction set with its sources and flags
 */
export function cpuAddonBuild(arch) {
  const text = readFileSync(join(ROOT, 'binding.gyp'), 'utf8').replace(/^\s*#.*$/gm, '');
  const gyp = JSON.parse(text);
  const expand = (flags = []) =>
    flags.flatMap((flag) => {
      const name = /^<@\((\w+)\)$/.exec(flag)?.[1];
      return name === undefined ? [flag] : gyp.variables[name];
    });
  const defaults = resolved(gyp, gyp.target_defaults, arch);
  const targets = gyp.targets.map((target) => resolved(gyp, target, arch)).filter((target) => target.type !== 'none');
  const sets = targets
    .filter((target) => target.target_name.startsWith('pogo_cpu_'))
    .map((target) => ({
      name: target.target_name.slice('pogo_cpu_'.length),
      sources: target.sources,
      flags: expand(target.cflags_cc),
    }));
  const addon = targets.find((target) => target.target_name === 'pogo_cpu');
  if (sets.length < 2 || addon === undefined) throw new ScriptError('binding.gyp: expected pogo_cpu and its sets');
  const defines = (names = []) => names.map((name) => `-D${name}`);
  const flags = [...expand(defaults.cflags_cc), ...defines(defaults.defines)];
  return { flags, sources: addon.sources, ownFlags: defines(addon.defines), sets };
}
