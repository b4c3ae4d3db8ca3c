// Completes package-lock.json with the optional packages of other platforms.
//   npm install --package-lock-only --ignore-scripts && node scripts/complete-lock.mjs
// npm leaves them out where its registry does not have them at that moment (a mirror that lags), and `npm ci` then refuses the
// lockfile on every machine. An added entry has the exact version that its parent asks for and the platform that its name
// says, so npm installs it there and nowhere else; it has no integrity, because nothing was fetched.
import { readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { cli, ROOT, ScriptError } from './lib/project.mjs';

const SYSTEMS = new Set('aix android darwin freebsd linux netbsd openbsd openharmony sunos win32'.split(' '));
const PROCESSORS = new Set('arm arm64 ia32 loong64 mips64el ppc64 riscv64 s390x x64 wasm32 universal'.split(' '));
const ALIASES = { armv7: 'arm', windows: 'win32', ppc64le: 'ppc64' };

/** os, cpu and libc of a package by the words of its name; undefined if they do not say. */
export function platformOf(name) {
  const words = name.split(/[/-]/).map((word) => ALIASES[word] ?? word);
  const os = words.find((word) => SYSTEMS.has(word));
  const cpu = words.find((word) => PROCESSORS.has(word));
  if (cpu === undefined && os === undefined) return undefined;
  const libc = words.some((word) => word.startsWith('musl')) ? ['musl'] : words.includes('gnu') ? ['glibc'] : undefined;
  return {
    ...(cpu && cpu !== 'universal' ? { cpu: [cpu] } : {}),
    ...(os ? { os: [os] } : {}),
    ...(libc && os === 'linux' ? { libc } : {}),
  };
}

/** Adds what is missing. @returns names of the added packages */
export function completeLock(lock) {
  const { packages } = lock;
  const added = [];
  for (const [path, entry] of Object.entries({ ...packages })) {
    for (const [name, range] of Object.entries(entry.optionalDependencies ?? {})) {
      const nested = `${path}/node_modules/${name}`;
      if (packages[`node_modules/${name}`] !== undefined || packages[nested] !== undefined) continue;
      const platform = platformOf(name);
      const version = range.replace(/^[\^~=v]*/, '');
      if (platform === undefined || !/^\d+\.\d+\.\d+[\w.+-]*$/.test(version)) {
        throw new ScriptError(`complete-lock: cannot tell version and platform of ${name}@${range}, wanted by ${path}`);
      }
      packages[`node_modules/${name}`] = { version, ...platform, ...(entry.dev ? { dev: true } : {}), optional: true };
      added.push(name);
    }
  }
  const root = packages[''];
  const rest = Object.keys(packages).filter((path) => path !== '');
  rest.sort((a, b) => a.localeCompare(b, 'en'));
  lock.packages = Object.fromEntries([['', root], ...rest.map((path) => [path, packages[path]])]);
  return added;
}

await cli(() => {
  const file = join(ROOT, 'package-lock.json');
  const lock = JSON.parse(readFileSync(file, 'utf8'));
  const added = completeLock(lock);
  if (added.length > 0) writeFileSync(file, `${JSON.stringify(lock, null, 2)}\n`);
  process.stderr.write(`package-lock.json: ${added.length} packages of other platforms added\n`);
});
