// b3sum as a peer of `hash`: node b3sum.mjs PROGRAM FILE THREADS. Says that it is warm, then answers rounds (bench/interleave.ts).
// A sample is the wall time of the whole command, its start included (some milliseconds).
import { spawnSync } from 'node:child_process';
import { createInterface } from 'node:readline';

const [program, file, threads] = process.argv.slice(2);

function call() {
  const start = performance.now();
  const { status, stdout, stderr } = spawnSync(program, ['--num-threads', threads, '--no-names', file], {
    encoding: 'utf8',
  });
  if (status !== 0) throw new Error(`b3sum ended with ${status}: ${stderr}`);
  return { ms: performance.now() - start, root: stdout.trim() };
}

const warmUp = [call(), call()];
const version = spawnSync(program, ['--version'], { encoding: 'utf8' }).stdout.trim();
const say = (line) => process.stdout.write(`${JSON.stringify(line)}\n`);
say({
  type: 'ready',
  name: version,
  threads: Number(threads),
  warmUpMs: warmUp.map(({ ms }) => ms),
  result: warmUp[0].root,
});
for await (const line of createInterface({ input: process.stdin })) {
  const { calls } = JSON.parse(line);
  say({ type: 'round', samplesMs: Array.from({ length: calls }, () => call().ms) });
}
