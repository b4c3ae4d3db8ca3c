/** How busy others keep the processors while something is timed: what is timed beside them is longer than it is alone. */
import { readFileSync } from 'node:fs';
import { cpus } from 'node:os';

/** Above this share times say more about the others: an idle machine stays below 2 %. */
export const BUSY_SHARE = 0.05;

/** Clock ticks a second in which Linux reports processor time to programs. */
const TICKS = 100;

/** Milliseconds that all processors were busy, since the machine started. */
function busyMs(): number {
  return cpus().reduce((sum, { times }) => sum + times.user + times.nice + times.sys + times.irq, 0);
}

/** Processor milliseconds of this process and of its children that ended; undefined where the system does not say. */
function ownMs(): number | undefined {
  let text: string;
  try {
    text = readFileSync('/proc/self/stat', 'utf8');
  } catch {
    return undefined;
  }
  // utime, stime, cutime, cstime: the 14th to 17th field; the second, a name in brackets, may hold blanks.
  const fields = text.slice(text.lastIndexOf(')') + 2).split(' ');
  const ticks = fields.slice(11, 15).reduce((sum, field) => sum + Number(field), 0);
  return (1e3 * ticks) / TICKS;
}

/**
 * Begins to watch.
 *
 * @returns a function that says which share of all processors others used since; undefined where the system does not say.
 *   Children count as own once they ended
 */
export function watchOthers(): () => number | undefined {
  const [start, busy, own] = [performance.now(), busyMs(), ownMs()];
  return () => {
    const now = ownMs();
    if (own === undefined || now === undefined) return undefined;
    const passed = (performance.now() - start) * cpus().length;
    return Math.max(0, (busyMs() - busy - (now - own)) / passed);
  };
}
