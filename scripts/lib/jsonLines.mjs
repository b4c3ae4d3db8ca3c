/** Programs of ours that print JSON lines. */
import { spawn } from 'node:child_process';
import { createInterface } from 'node:readline';
import { ROOT, ScriptError } from './project.mjs';

/**
 * Runs a program and reads the JSON objects that it prints, one a line; its errors pass through.
 *
 * @param {(line: object) => void} [onLine] called for each as it comes
 * @returns {Promise<object[]>} @throws ScriptError for another exit code than 0
 */
export async function jsonLines(command, args, onLine = () => undefined) {
  const child = spawn(command, args, { cwd: ROOT, stdio: ['ignore', 'pipe', 'inherit'] });
  const ended = new Promise((resolve, reject) => {
    child.on('error', reject);
    child.on('close', resolve);
  });
  // Who waits for the lines first must not miss the error.
  ended.catch(() => undefined);
  const lines = [];
  for await (const text of createInterface({ input: child.stdout })) {
    if (!text.startsWith('{')) continue;
    const line = JSON.parse(text);
    lines.push(line);
    onLine(line);
  }
  const code = await ended;
  if (code !== 0) throw new ScriptError(`error: expected exit code 0 of ${args.join(' ')}, found ${code}`);
  return lines;
}
