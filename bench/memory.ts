/**
 * The high-water mark of this process, which all lanes are threads of: `VmHWM` of /proc/self/status, set back through
 * /proc/self/clear_refs (Linux; elsewhere the mark of the whole life of the process).
 */

import { readFileSync, writeFileSync } from 'node:fs';
import { setFlagsFromString } from 'node:v8';
import { runInNewContext } from 'node:vm';

/** @returns the largest resident set since the mark was set back, bytes */
export function peakResidentBytes(): number {
  try {
    const found = /^VmHWM:\s+(\d+) kB$/m.exec(readFileSync('/proc/self/status', 'utf8'));
    if (found !== null) return 1024 * Number(found[1]);
  } catch {
    // Not Linux: the system's own mark, which nobody can set back.
  }
  return process.resourceUsage().maxRSS * 1024;
}

let collect: (() => void) | undefined;

/** Frees what nobody holds any more, and sets the mark back to what is resident now. @returns that, bytes */
export function resetPeak(): number {
  if (collect === undefined) {
    setFlagsFromString('--expose-gc');
    collect = runInNewContext('gc') as () => void;
  }
  collect();
  try {
    writeFileSync('/proc/self/clear_refs', '5');
  } catch {
    // Not Linux, or not allowed: the mark stays that of the whole life.
  }
  return process.memoryUsage.rss();
}
