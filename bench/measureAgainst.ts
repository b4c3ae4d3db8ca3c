/** One job in turn with a peer, or alone where there is none. */

import { type GroupOutput, skipped } from './group.js';
import { type BenchLine, type Job, lineOf, measure } from './harness.js';
import { interleave, type PeerProcess } from './interleave.js';

/** Calls before the first round. */
const WARM_UP_CALLS = 2;

/**
 * @param start the peer, warm, or why there is none; undefined: no peer is wanted
 * @param calls calls of a round of either side
 * @returns the line; lines `bench-skipped` are yielded before
 */
export async function* measureAgainst(
  job: Job,
  start: (() => Promise<PeerProcess | string>) | undefined,
  kind: string,
  calls: number,
): AsyncGenerator<GroupOutput, BenchLine> {
  const peer = start === undefined ? 'not asked for (--no-peers)' : await start();
  if (typeof peer === 'string') {
    yield skipped(`${job.name}/${kind}`, peer);
    return measure(job);
  }
  try {
    job.before?.();
    await job.run();
    job.check?.();
    const result = job.result?.();
    for (let i = 0; i < WARM_UP_CALLS; i++) await job.run();
    const round = async (): Promise<number[]> => {
      const samples: number[] = [];
      for (let i = 0; i < calls; i++) {
        job.before?.();
        const begin = performance.now();
        await job.run();
        samples.push(performance.now() - begin);
      }
      return samples;
    };
    const both = await interleave(peer, kind, job.unit, round, calls);
    const line = lineOf({ ...job, peers: [both.peer] }, both.oursMs, result);
    return { ...line, peer: both.peer.name, peerValue: both.peer.value, peerRatio: both.peer.ratio };
  } finally {
    await peer.close();
  }
}
