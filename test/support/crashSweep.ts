/** Kills a program at every tick of its writing and looks at what the next process finds. */
import { CRASH_MODELS, type CrashModel, FaultFiles, Killed } from './faultFiles.js';
import { seededRandom } from './random.js';

/**
 * Runs `program` undisturbed once, then once for each tick and crash model, killed at that tick.
 *
 * @param prepare builds the disk that the program starts from, without faults
 * @param program may be killed anywhere; it reports progress through what it returns or through its closure
 * @param inspect gets the disk after the crash, and where and how it happened
 * @param stride kills at every stride-th byte and every operation, to keep `npm test` short; POGO_FULL_SWEEP=1 kills at every one
 * @returns the number of crashes inspected
 */
export async function crashSweep(
  prepare: (files: FaultFiles) => void | Promise<void>,
  program: (files: FaultFiles) => void | Promise<void>,
  inspect: (files: FaultFiles, crash: { model: CrashModel; tick: number; files: FaultFiles }) => void | Promise<void>,
  stride = 1,
): Promise<number> {
  const whole = new FaultFiles();
  await prepare(whole);
  const first = whole.ticks;
  await program(whole);
  const last = whole.ticks;
  const step = process.env['POGO_FULL_SWEEP'] === '1' ? 1 : stride;
  let crashes = 0;
  // The end, and the start of every operation, are never skipped: there the order of syncs and renames shows.
  const always = new Set([last, ...whole.operations]);
  for (let tick = first; tick <= last; tick += 1) {
    if ((tick - first) % step !== 0 && !always.has(tick)) continue;
    const files = new FaultFiles();
    await prepare(files);
    files.dieAt = tick;
    try {
      await program(files);
    } catch (error) {
      if (!(error instanceof Killed)) throw error;
    }
    for (const model of CRASH_MODELS) {
      const after = files.reboot(model, {}, seededRandom(tick * 4 + CRASH_MODELS.indexOf(model)));
      await inspect(after, { model, tick, files });
      crashes += 1;
    }
  }
  return crashes;
}
