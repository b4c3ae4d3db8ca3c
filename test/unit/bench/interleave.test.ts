import { describe, expect, test } from 'vitest';
import type { PeerResult } from '../../../bench/harness.js';
import { bestOf, interleave, PeerProcess, ROUNDS } from '../../../bench/interleave.js';

const UNIT = { name: 'tokens/s', perCall: 1000 } as const;

/** A peer that says it is warm and answers every round with the given program. */
function peer(answer: string, seconds = 20): Promise<PeerProcess | string> {
  const script = `
    const say = (line) => console.log(JSON.stringify(line));
    say({ type: 'ready', name: 'other 1.0', threads: 2, warmUpMs: [9, 5] });
    let round = 0;
    require('node:readline').createInterface({ input: process.stdin }).on('line', (line) => {
      const { calls } = JSON.parse(line);
      round += 1;
      ${answer}
    });`;
  return PeerProcess.start({ command: process.execPath, arguments: ['-e', script], seconds });
}

describe('rounds in turn', () => {
  test('ours and the peer alternate; the ratio is of medians, above 1 where ours is faster', async () => {
    const other = await peer('say({ type: "round", samplesMs: Array(calls).fill(10 * round), peakBytes: 7 * round });');
    if (typeof other === 'string') throw new Error(other);
    let calls = 0;
    const both = await interleave(other, 'fp32', UNIT, async () => [5, 5, ++calls], 2);
    await other.close();
    expect(calls).toBe(ROUNDS);
    expect(both.oursMs).toEqual([5, 5, 1, 5, 5, 2, 5, 5, 3]);
    expect(both.peer).toMatchObject({
      name: 'other 1.0',
      kind: 'fp32',
      threads: 2,
      value: 50_000,
      ratio: 4,
      roundsMs: [10, 20, 30],
      oursRoundsMs: [5, 5, 5],
      warmUpMs: [9, 5],
      peakBytes: 21,
    });
    expect(both.peer.spread).toEqual({ min: 33333, max: 100_000, mad: 16_700 });
  });

  test('a peer that cannot be started, dies or stays silent is a reason, not a hang', async () => {
    const missing = await PeerProcess.start({ command: '/nonexistent/peer', arguments: [], seconds: 5 });
    expect(missing).toMatch(/^ended before it was warm: .*ENOENT/);
    const args = ['-e', 'console.error("no such module"); process.exit(3)'];
    const dead = await PeerProcess.start({ command: process.execPath, arguments: args, seconds: 20 });
    expect(dead).toBe('ended before it was warm: no such module');
    const silent = ['-e', 'setInterval(() => undefined, 1000)'];
    expect(await PeerProcess.start({ command: process.execPath, arguments: silent, seconds: 0.3 })).toMatch(
      /^not warm/,
    );
  });

  test('a peer that dies in a round fails the line with its last words', async () => {
    const other = await peer('console.error("out of memory"); process.exit(1);');
    if (typeof other === 'string') throw new Error(other);
    await expect(interleave(other, 'x', UNIT, async () => [1], 1)).rejects.toThrow(/other 1.0: .*out of memory/);
    await other.close();
  });
});

test('the best of a kind is the one that leaves us the lowest ratio', () => {
  const one = (kind: string, ratio: number) => ({ kind, ratio, name: `${kind} ${ratio}` }) as PeerResult;
  const peers = [one('fp32', 3), one('fp32', 2.5), one('bf16', 1.2)];
  expect(bestOf(peers, ['fp32'])?.name).toBe('fp32 2.5');
  expect(bestOf(peers, ['fp32', 'bf16'])?.name).toBe('bf16 1.2');
  expect(bestOf(peers, ['int8'])).toBeUndefined();
});
