/**
 * The role processes of a run: started, watched, restarted where that is the policy, and stopped in good order.
 *
 * Miner and verifiers are processes of their own, which share files and the ledger with each other and nothing else.
 */
import { type ChildProcess, fork } from 'node:child_process';
import * as fs from 'node:fs';
import * as path from 'node:path';
import { packageRoot } from '../backend/packageRoot.js';
import { PogoError } from '../errors.js';
import type { Ledger } from '../ledger/ledger.js';
import type { MachineEvent } from '../ledger/machine.js';
import { serveLedger } from './ipc.js';
import { childChannel } from './processChannel.js';
import type { RoleCommand, RoleMessage } from './role.js';

export interface ChildSpec {
  /** Unique among the children, shown to people: `verifier-2`. */
  readonly name: string;
  /** File `dist/node/roles/<role>.js`, or an absolute path to a role's script. */
  readonly role: string;
  /** Plain structured-clone data for the role. */
  readonly options: unknown;
  /** How often a child that failed is started again; 0 if absent. */
  readonly restarts?: number;
  /** Pause before a restart, doubled each time, milliseconds; 200 if absent. */
  readonly restartDelayMs?: number;
  /** Added to this process's environment. */
  readonly environment?: Readonly<Record<string, string>>;
}

/** How a child's process ended. */
export interface ChildExit {
  readonly name: string;
  readonly pid: number;
  /** Exit code, or `null` if a signal ended it. */
  readonly code: number | null;
  readonly signal: NodeJS.Signals | null;
  /** What the child said before it ended, if it failed by an error. */
  readonly error?: PogoError;
  /** Whether {@link ChildProcesses} had asked it to stop. */
  readonly stopped: boolean;
  readonly willRestart: boolean;
}

export interface ChildProcessesOptions {
  /** Served to every child. */
  readonly ledger?: Ledger<MachineEvent>;
  /** Every end of a child's process, also those that are followed by a restart: the run's source of `tick`. */
  readonly onExit?: (exit: ChildExit) => void;
  /** Events that roles report. */
  readonly onReport?: (name: string, event: object) => void;
  /** How long a child may take to stop before it is killed, milliseconds. */
  readonly graceMs?: number;
}

interface Child {
  readonly spec: ChildSpec;
  process: ChildProcess;
  restartsLeft: number;
  delayMs: number;
  timer?: NodeJS.Timeout;
  stopping: boolean;
  error?: PogoError;
  /** Settles when the child has ended for good. */
  readonly ended: Promise<ChildExit>;
  readonly end: (exit: ChildExit) => void;
}

/** The script of a role. @throws PogoError ENVIRONMENT if the project is not built */
export function roleScript(role: string): string {
  const script = path.isAbsolute(role) ? role : path.join(packageRoot, 'dist', 'node', 'roles', `${role}.js`);
  if (!fs.existsSync(script)) {
    throw new PogoError(
      'ENVIRONMENT',
      `expected the script of role ${role} at ${script}, found none: run npm run build`,
    );
  }
  return script;
}

export class ChildProcesses {
  readonly #options: ChildProcessesOptions;
  readonly #children = new Map<string, Child>();
  #stopping = false;

  constructor(options: ChildProcessesOptions = {}) {
    this.#options = options;
  }

  /**
   * Starts a child.
   *
   * @returns settles when it has ended for good (after its restarts); never rejects
   * @throws PogoError ENVIRONMENT if there is no such role, USAGE if the name is taken
   */
  start(spec: ChildSpec): Promise<ChildExit> {
    if (this.#stopping) throw new PogoError('INTERRUPTED', `cannot start ${spec.name}: the run is stopping`);
    if (this.#children.has(spec.name)) throw new PogoError('USAGE', `a child named ${spec.name} is already running`);
    let end: (exit: ChildExit) => void = () => undefined;
    const ended = new Promise<ChildExit>((resolve) => {
      end = resolve;
    });
    const child: Child = {
      spec,
      process: this.#spawn(spec),
      restartsLeft: spec.restarts ?? 0,
      delayMs: spec.restartDelayMs ?? 200,
      stopping: false,
      ended,
      end,
    };
    this.#children.set(spec.name, child);
    this.#watch(child);
    return ended;
  }

  /** Process id of a running child, for tests that kill it. */
  pid(name: string): number | undefined {
    return this.#children.get(name)?.process.pid;
  }

  /** Asks a child to stop, kills it after the grace time; settles when it has ended. Nothing happens to unknown names. */
  async stop(name: string): Promise<void> {
    const child = this.#children.get(name);
    if (child === undefined) return;
    child.stopping = true;
    if (child.timer !== undefined) {
      // Between two lives: there is no process to stop, only a restart to call off.
      clearTimeout(child.timer);
      this.#finish(child, lastExit(child));
      return;
    }
    childChannel(child.process).send({ role: 'stop' } satisfies RoleCommand);
    const kill = setTimeout(() => child.process.kill('SIGKILL'), this.#options.graceMs ?? 5000);
    await child.ended;
    clearTimeout(kill);
  }

  /** Stops all children; none can be started any more. */
  async stopAll(): Promise<void> {
    this.#stopping = true;
    await Promise.all([...this.#children.keys()].map((name) => this.stop(name)));
  }

  /** Kills all children at once, without waiting: for the second Ctrl-C. */
  killAll(): void {
    this.#stopping = true;
    for (const child of this.#children.values()) {
      child.stopping = true;
      child.process.kill('SIGKILL');
    }
  }

  #spawn(spec: ChildSpec): ChildProcess {
    return fork(roleScript(spec.role), [], {
      serialization: 'advanced',
      // Standard output belongs to the parent's events: whatever a child prints goes to standard error.
      stdio: ['ignore', process.stderr, process.stderr, 'ipc'],
      env: { ...process.env, ...spec.environment },
      execArgv: [],
    });
  }

  #watch(child: Child): void {
    const { process: running, spec } = child;
    const channel = childChannel(running);
    const stopServing = this.#options.ledger === undefined ? undefined : serveLedger(this.#options.ledger, channel);
    delete child.error;
    channel.onMessage((message) => {
      const { role } = message as RoleMessage;
      if (role === 'ready') {
        channel.send({ role: 'start', name: spec.name, options: spec.options } satisfies RoleCommand);
        if (child.stopping) channel.send({ role: 'stop' } satisfies RoleCommand);
      } else if (role === 'report') {
        this.#options.onReport?.(spec.name, (message as Extract<RoleMessage, { role: 'report' }>).event);
      } else if (role === 'error') {
        child.error = PogoError.fromJSON((message as Extract<RoleMessage, { role: 'error' }>).error);
      }
    });
    // 'close' comes after 'exit' and after the last message of the channel has been delivered.
    let gone = false;
    const onGone = (code: number | null, signal: NodeJS.Signals | null): void => {
      if (gone) return;
      gone = true;
      stopServing?.();
      this.#ended(child, code, signal);
    };
    running.on('close', onGone);
    running.on('error', (error) => {
      child.error ??= PogoError.from(error);
      if (running.pid === undefined) onGone(null, null);
    });
  }

  #ended(child: Child, code: number | null, signal: NodeJS.Signals | null): void {
    const failed = code !== 0;
    const willRestart = failed && !child.stopping && !this.#stopping && child.restartsLeft > 0;
    const exit: ChildExit = {
      name: child.spec.name,
      pid: child.process.pid ?? 0,
      code,
      signal,
      ...(child.error === undefined ? {} : { error: child.error }),
      stopped: child.stopping,
      willRestart,
    };
    if (willRestart) {
      child.restartsLeft -= 1;
      child.timer = setTimeout(() => {
        delete child.timer;
        child.process = this.#spawn(child.spec);
        this.#watch(child);
      }, child.delayMs);
      child.delayMs *= 2;
      this.#options.onExit?.(exit);
    } else {
      this.#finish(child, exit);
    }
  }

  #finish(child: Child, exit: ChildExit): void {
    this.#children.delete(child.spec.name);
    this.#options.onExit?.(exit);
    child.end(exit);
  }
}

function lastExit(child: Child): ChildExit {
  const { exitCode: code, signalCode: signal, pid } = child.process;
  return { name: child.spec.name, pid: pid ?? 0, code, signal, stopped: true, willRestart: false };
}
