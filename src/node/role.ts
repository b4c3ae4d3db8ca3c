/**
 * The child's side of a role process: gets its options, a ledger and an abort signal; reports events; ends with the
 * exit code of its error. A role that loses its parent stops: nothing is left running when `run` is killed.
 */
import { PogoError } from '../errors.js';
import type { Ledger } from '../ledger/ledger.js';
import type { MachineEvent } from '../ledger/machine.js';
import { LedgerClient } from './ipc.js';
import { parentChannel } from './processChannel.js';

/** Parent → child. */
export type RoleCommand =
  | { readonly role: 'start'; readonly name: string; readonly options: unknown }
  | { readonly role: 'stop' };

/** Child → parent. */
export type RoleMessage =
  | { readonly role: 'ready' }
  | { readonly role: 'report'; readonly event: object }
  | { readonly role: 'done' }
  | { readonly role: 'error'; readonly error: object };

/** What a role works with. */
export interface RoleContext<O, E extends MachineEvent = MachineEvent> {
  readonly name: string;
  readonly options: O;
  readonly ledger: Ledger<E>;
  /** Aborts when the parent asks the role to stop, or is gone. The role then returns, or throws INTERRUPTED. */
  readonly signal: AbortSignal;
  /** Sends an event to the parent: plain structured-clone data. */
  report(event: object): void;
}

/** After its signal aborted a role has this long to return before its process exits anyway, milliseconds. */
const GRACE_MS = 10_000;

/**
 * Runs `main` as this process's role: call it once, at the top of `roles/<role>.ts`. The process exits with 0, with
 * the error's exit code, or with 130 if it was stopped.
 */
export function runRole<O, E extends MachineEvent = MachineEvent>(
  main: (context: RoleContext<O, E>) => Promise<void>,
): void {
  const channel = parentChannel();
  const abort = new AbortController();
  const stop = (): void => {
    if (abort.signal.aborted) return;
    abort.abort(new PogoError('INTERRUPTED', `stopped; the run can be resumed`));
    setTimeout(() => process.exit(130), GRACE_MS).unref();
  };
  // Ctrl-C reaches the whole process group; the parent decides in which order its children stop.
  process.on('SIGINT', () => undefined);
  process.on('SIGTERM', stop);
  channel.onClose(stop);

  const run = async (command: Extract<RoleCommand, { role: 'start' }>): Promise<void> => {
    let exitCode = 0;
    let last: RoleMessage = { role: 'done' };
    try {
      await main({
        name: command.name,
        options: command.options as O,
        ledger: new LedgerClient<E>(channel),
        signal: abort.signal,
        report: (event) => channel.send({ role: 'report', event } satisfies RoleMessage),
      });
      if (abort.signal.aborted) exitCode = 130;
    } catch (error) {
      const failure = PogoError.from(error);
      exitCode = abort.signal.aborted ? 130 : failure.exitCode;
      if (!abort.signal.aborted) last = { role: 'error', error: failure.toJSON() };
      if (failure.code === 'INTERNAL') process.stderr.write(`${(error as Error)?.stack ?? String(error)}\n`);
    }
    // Exit only once the last message is out: process.exit drops what is still in the pipe.
    if (process.connected) process.send?.(last, () => process.exit(exitCode));
    else process.exit(exitCode);
  };

  let started = false;
  channel.onMessage((message) => {
    const command = message as Partial<RoleCommand> | null;
    if (command?.role === 'stop') stop();
    if (command?.role !== 'start' || started) return;
    started = true;
    void run(command as Extract<RoleCommand, { role: 'start' }>);
  });
  channel.send({ role: 'ready' } satisfies RoleMessage);
}
