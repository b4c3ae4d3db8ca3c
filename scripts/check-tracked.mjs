// Checks tracked files for what must not be committed: addresses of hosts beyond the known ones, absolute paths of one
// machine, conflict markers, large or built files.
import { readFileSync, statSync } from 'node:fs';
import { join } from 'node:path';
import { capture, cli, isMain, ROOT, ScriptError } from './lib/project.mjs';

/** Hosts that documentation, licences and format identifiers name; nothing is fetched from others. */
const HOSTS = new Set(
  (
    'github.com nodejs.org sh.rustup.rs rustup.rs arxiv.org www.w3.org json-schema.org www.apache.org huggingface.co ' +
    'developer.nvidia.com opencollective.com www.patreon.com feross.org paulmillr.com tidelift.com 127.0.0.1 localhost ' +
    'example.com en.wikipedia.org www.rfc-editor.org eips.ethereum.org keepachangelog.com semver.org www.gutenberg.org'
  ).split(' '),
);
const ADDRESS = /\bhttps?:\/\/([A-Za-z0-9.-]+)/g;
const MACHINE_PATH = /(?:^|[\s'"`=(:])\/(?:work|root|home|Users|mnt|tmp)\/[A-Za-z0-9_.-]+/;
const LARGEST_BYTES = 2_000_000;
const BUILT = /\.(?:node|o|a|so|dylib|dll|tgz|pyc)$/;

/** @returns problems of one file's text, as `line: message` */
export function problemsOf(text) {
  const problems = [];
  text.split('\n').forEach((line, index) => {
    for (const [, host] of line.matchAll(ADDRESS)) {
      if (!HOSTS.has(host)) problems.push(`${index + 1}: an address of an unknown host: ${host}`);
    }
    if (MACHINE_PATH.test(line))
      problems.push(`${index + 1}: an absolute path of one machine: ${line.trim().slice(0, 100)}`);
    if (/^(?:<{7}|>{7}) /.test(line)) problems.push(`${index + 1}: a conflict marker`);
  });
  return problems;
}

if (isMain(import.meta.url)) {
  await cli(async () => {
    const list = await capture('git', ['ls-files', '-z']);
    if (list === undefined) throw new ScriptError('error ENVIRONMENT: expected a git checkout, found none', 5);
    const files = list.split('\0').filter((file) => file !== '');
    let count = 0;
    const report = (file, message) => {
      count += 1;
      process.stderr.write(`${file}:${message}\n`);
    };
    for (const file of files) {
      const path = join(ROOT, file);
      const info = statSync(path, { throwIfNoEntry: false });
      // Deleted in the working tree, or a folder that is a checkout of its own.
      if (info === undefined || !info.isFile()) continue;
      if (info.size > LARGEST_BYTES) report(file, ` ${info.size} bytes, more than ${LARGEST_BYTES}`);
      if (BUILT.test(file)) report(file, ' a built file');
      const bytes = readFileSync(path);
      if (!bytes.subarray(0, 8000).includes(0))
        for (const problem of problemsOf(bytes.toString('utf8'))) report(file, problem);
    }
    process.stderr.write(`tracked files: ${files.length} checked, ${count} problems\n`);
    return count > 0 ? 1 : 0;
  });
}
