/**
 * Rounds of ours and of a peer in turn (ours, peer, ours, peer, …): whatever else the machine does falls on both.
 *
 * A peer runs in a process of its own that warms up once and then waits for rounds on its standard input; while one side
 * runs, the other only waits.
 */

import { type ChildProcess, spawn } from 'node:child_process';
import { createInterface } from 'node:readline';
import { PogoError } from '../src/errors.js';
import { median, type PeerResult, round, spreadOf, type Unit, unitValue } from './harness.js';

/** Rounds of each side: the least that shows a disturbed one. */
export const ROUNDS = 3;

/** First line of a peer's standard output, once it is warm. */
export interface PeerReady {
  readonly type: 'ready';
  readonly name: string;
  readonly threads: number;
  readonly warmUpMs: readonly number[];
  /** What it computed, where that can be compared. */
  readonly result?: string;
}

/** Its answer to a round. */
export interface PeerRound {
  readonly type: 'round';
  readonly samplesMs: readonly number[];
  /** High-water mark of its process since the round began, bytes. */
  readonly peakBytes?: number;
}

export interface PeerCommand {
  readonly command: string;
  readonly arguments: readonly string[];
  readonly environment?: NodeJS.ProcessEnv;
  /** Longest time to wait for a line, seconds: start and warm-up count together. */
  readonly seconds: number;
  readonly signal?: AbortSignal | undefined;
}

/** A peer begins no further call of a round after this time, seconds: slow models get one call a round. */
const ROUND_SECONDS = 6;
/** Longest wait for a peer to end by itself after its input was closed, milliseconds. */
const CLOSE_MS = 5000;

/** A peer that is warm and waits for rounds. */
export class PeerProcess {
  readonly ready: PeerReady;
  readonly #child: ChildProcess;
  readonly #lines: AsyncIterator<string>;
  readonly #seconds: number;
  readonly #errors: () => string;

  private constructor(
    child: ChildProcess,
    lines: AsyncIterator<string>,
    ready: PeerReady,
    seconds: number,
    errors: () => string,
  ) {
    this.#child = child;
    this.#lines = lines;
    this.ready = ready;
    this.#seconds = seconds;
    this.#errors = errors;
  }

  /** Starts a peer and waits until it is warm. @returns the peer, or the reason why there is none */
  static async start(options: PeerCommand): Promise<PeerProcess | string> {
    const { command, environment, seconds, signal } = options;
    const child = spawn(command, [...options.arguments], {
      env: environment ?? process.env,
      stdio: ['pipe', 'pipe', 'pipe'],
      ...(signal === undefined ? {} : { signal }),
    });
    let errors = '';
    child.stderr?.setEncoding('utf8').on('data', (text: string) => {
      errors = (errors + text).slice(-4000);
    });
    // Without listeners a missing program or a closed pipe would end this process; the missing line says it.
    child.on('error', (error) => {
      errors += error.message;
    });
    child.stdin?.on('error', () => undefined);
    const lastError = (): string => errors.trim().split('\n').at(-1) ?? '';
    const lines = createInterface({ input: child.stdout as NodeJS.ReadableStream })[Symbol.asyncIterator]();
    const first = await nextLine(lines, seconds);
    if (first === 'late' || first === undefined) {
      child.kill('SIGKILL');
      return first === 'late' ? `not warm after ${seconds} s` : `ended before it was warm: ${lastError()}`;
    }
    const ready = JSON.parse(first) as PeerReady;
    return new PeerProcess(child, lines, ready, seconds, lastError);
  }

  /** One round of at most `calls` calls. @throws PogoError INTERNAL when the peer ends or is late */
  async round(calls: number): Promise<PeerRound> {
    this.#child.stdin?.write(`${JSON.stringify({ calls, seconds: ROUND_SECONDS })}\n`);
    const line = await nextLine(this.#lines, this.#seconds);
    if (line === undefined || line === 'late') {
      const why = line === 'late' ? `no answer after ${this.#seconds} s` : `it ended: ${this.#errors()}`;
      throw new PogoError('INTERNAL', `${this.ready.name}: expected the samples of a round, ${why}`);
    }
    return JSON.parse(line) as PeerRound;
  }

  /** Ends the peer: by closing its input, then by force. */
  async close(): Promise<void> {
    const child = this.#child;
    if (child.exitCode !== null || child.signalCode !== null) return;
    const closed = new Promise<void>((resolve) => child.once('close', () => resolve()));
    const timer = setTimeout(() => child.kill('SIGKILL'), CLOSE_MS);
    child.stdin?.end();
    await closed;
    clearTimeout(timer);
  }
}

async function nextLine(lines: AsyncIterator<string>, seconds: number): Promise<string | 'late' | undefined> {
  let timer: NodeJS.Timeout | undefined;
  const late = new Promise<'late'>((resolve) => {
    timer = setTimeout(() => resolve('late'), seconds * 1e3);
  });
  try {
    return await Promise.race([lines.next().then(({ value, done }) => (done ? undefined : value)), late]);
  } finally {
    clearTimeout(timer);
  }
}

export interface Interleaved {
  readonly peer: PeerResult;
  /** All samples of ours in these rounds, milliseconds of a call. */
  readonly oursMs: readonly number[];
}

/**
 * Ours and the peer in turn.
 *
 * @param kind of the peer, for its result
 * @param unit what a call is worth, the same for both sides
 * @param ours one round: milliseconds of its calls
 * @param calls calls of a round of the peer, at most
 */
export async function interleave(
  peer: PeerProcess,
  kind: string,
  unit: Unit,
  ours: () => Promise<readonly number[]>,
  calls: number,
): Promise<Interleaved> {
  const oursRounds: (readonly number[])[] = [];
  const peerRounds: PeerRound[] = [];
  for (let i = 0; i < ROUNDS; i++) {
    oursRounds.push(await ours());
    peerRounds.push(await peer.round(calls));
  }
  const oursMs = oursRounds.flat();
  const peerMs = peerRounds.flatMap((one) => one.samplesMs);
  const peaks = peerRounds.map((one) => one.peakBytes ?? 0);
  return {
    oursMs,
    peer: {
      name: peer.ready.name,
      kind,
      value: unitValue(unit, median(peerMs)),
      spread: spreadOf(unit, peerMs),
      ratio: round(median(peerMs) / median(oursMs), 4),
      threads: peer.ready.threads,
      roundsMs: peerRounds.map((one) => round(median(one.samplesMs), 5)),
      oursRoundsMs: oursRounds.map((samples) => round(median(samples), 5)),
      warmUpMs: peer.ready.warmUpMs.map((ms) => round(ms, 5)),
      peakBytes: Math.max(...peaks) || null,
    },
  };
}

/** The fastest of the peers of a kind; undefined where none was measured. */
export function bestOf(peers: readonly PeerResult[], kinds: readonly string[]): PeerResult | undefined {
  const some = peers.filter(({ kind }) => kinds.includes(kind));
  // The lowest ratio of ours to theirs is the fastest peer, whatever the unit.
  return some.reduce<PeerResult | undefined>(
    (best, one) => (best === undefined || one.ratio < best.ratio ? one : best),
    undefined,
  );
}
