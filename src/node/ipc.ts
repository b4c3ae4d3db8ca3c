/**
 * The ledger across a process boundary: a server beside the engine, a client that implements {@link Ledger} in the
 * child. Messages are plain structured-clone data over any {@link Channel} (Node's child process channel in `run`).
 *
 * Back-pressure: at most {@link BLOCK_WINDOW} blocks of a subscription are on their way unread, and a client has at
 * most {@link CALL_WINDOW} calls open, so neither side can fill the other's memory. Errors cross as PogoError JSON.
 */
import { PogoError } from '../errors.js';
import type { Ledger, LedgerBlock, LedgerHead, SubmitResult } from '../ledger/ledger.js';
import type { MachineEvent } from '../ledger/machine.js';

/** Blocks of a subscription that may be sent before the first is acknowledged. */
export const BLOCK_WINDOW = 8;
/** Calls a client keeps open; more wait on its side. */
export const CALL_WINDOW = 32;

/** A pair of ends that deliver structured-clone data in order. */
export interface Channel {
  send(message: object): void;
  /** @returns removes the listener */
  onMessage(listener: (message: unknown) => void): () => void;
  /** Called once when the other end is gone. @returns removes the listener */
  onClose(listener: () => void): () => void;
}

type Method = 'submit' | 'head' | 'query';

type Request =
  | { readonly to: 'ledger'; readonly id: number; readonly call: Method; readonly arguments: readonly unknown[] }
  | { readonly to: 'ledger'; readonly id: number; readonly call: 'subscribe'; readonly fromHeight: number }
  | { readonly to: 'ledger'; readonly id: number; readonly call: 'more' | 'unsubscribe' };

type Reply =
  | { readonly from: 'ledger'; readonly id: number; readonly kind: 'value'; readonly value: unknown }
  | { readonly from: 'ledger'; readonly id: number; readonly kind: 'error'; readonly error: object }
  | { readonly from: 'ledger'; readonly id: number; readonly kind: 'block'; readonly block: LedgerBlock<MachineEvent> }
  | { readonly from: 'ledger'; readonly id: number; readonly kind: 'end' };

const CALLS = new Set(['submit', 'head', 'query', 'subscribe', 'more', 'unsubscribe']);

function isRequest(message: unknown): message is Request {
  if (typeof message !== 'object' || message === null) return false;
  const { to, id, call } = message as Partial<Request>;
  return to === 'ledger' && Number.isSafeInteger(id) && typeof call === 'string' && CALLS.has(call);
}

function isReply(message: unknown): message is Reply {
  return typeof message === 'object' && message !== null && (message as Partial<Reply>).from === 'ledger';
}

/** Bytes on memory of their own: views of shared memory cannot be cloned across processes. */
function ownBytes(value: unknown, name: string): Uint8Array {
  if (!(value instanceof Uint8Array)) {
    throw new PogoError('MALFORMED', `ledger call: expected ${name} as a Uint8Array, found ${typeof value}`);
  }
  return Uint8Array.from(value);
}

interface Subscription {
  readonly abort: AbortController;
  /** Blocks that may still be sent. */
  credit: number;
  wake: () => void;
}

/**
 * Serves a ledger on a channel until the other end goes away; then its subscriptions end. A call of a shape that is
 * not ours is answered with MALFORMED; messages for others on the channel are left alone.
 *
 * @returns stops serving
 */
export function serveLedger<E extends MachineEvent>(ledger: Ledger<E>, channel: Channel): () => void {
  const subscriptions = new Map<number, Subscription>();
  let open = true;
  const send = (reply: Reply): void => {
    if (open) channel.send(reply);
  };

  const run = async (request: Request): Promise<unknown> => {
    if (!('arguments' in request)) throw new PogoError('INTERNAL', 'ledger call without arguments');
    if (!Array.isArray(request.arguments)) throw new PogoError('MALFORMED', 'ledger call: expected arguments');
    const [first, second] = request.arguments as unknown[];
    switch (request.call) {
      case 'submit':
        return ledger.submit(ownBytes(first, 'transaction'));
      case 'head':
        return ledger.head();
      case 'query':
        if (typeof first !== 'string') throw new PogoError('MALFORMED', 'ledger query: expected a path');
        return ledger.query(first, second === undefined ? undefined : ownBytes(second, 'data'));
    }
  };

  const stream = async (id: number, fromHeight: number): Promise<void> => {
    const subscription: Subscription = { abort: new AbortController(), credit: BLOCK_WINDOW, wake: () => undefined };
    subscriptions.get(id)?.abort.abort();
    subscriptions.set(id, subscription);
    try {
      for await (const block of ledger.subscribe(fromHeight, subscription.abort.signal)) {
        send({ from: 'ledger', id, kind: 'block', block });
        subscription.credit -= 1;
        while (subscription.credit <= 0 && !subscription.abort.signal.aborted) {
          await new Promise<void>((resolve) => {
            subscription.wake = resolve;
          });
        }
        if (subscription.abort.signal.aborted) break;
      }
      send({ from: 'ledger', id, kind: 'end' });
    } catch (error) {
      send({ from: 'ledger', id, kind: 'error', error: PogoError.from(error).toJSON() });
    } finally {
      if (subscriptions.get(id) === subscription) subscriptions.delete(id);
    }
  };

  const endAll = (): void => {
    open = false;
    for (const { abort, wake } of subscriptions.values()) {
      abort.abort();
      wake();
    }
    removeMessage();
    removeClose();
  };
  const removeMessage = channel.onMessage((message) => {
    if (!isRequest(message)) return;
    const { id } = message;
    if (message.call === 'subscribe') {
      void stream(id, message.fromHeight);
    } else if (message.call === 'more' || message.call === 'unsubscribe') {
      const subscription = subscriptions.get(id);
      if (subscription === undefined) return;
      if (message.call === 'more') subscription.credit += 1;
      else subscription.abort.abort();
      subscription.wake();
    } else {
      run(message).then(
        (value) => send({ from: 'ledger', id, kind: 'value', value }),
        (error: unknown) => send({ from: 'ledger', id, kind: 'error', error: PogoError.from(error).toJSON() }),
      );
    }
  });
  const removeClose = channel.onClose(endAll);
  return endAll;
}

interface Waiting {
  readonly resolve: (value: unknown) => void;
  readonly reject: (error: PogoError) => void;
}

/** Blocks that arrived and were not read yet, and who waits for the next. */
interface Inbox {
  readonly blocks: LedgerBlock<MachineEvent>[];
  ended: boolean;
  error?: PogoError;
  wake: () => void;
}

/** A ledger on the other end of a channel. When the channel closes, open calls fail with code INTERRUPTED. */
export class LedgerClient<E extends MachineEvent = MachineEvent> implements Ledger<E> {
  readonly #channel: Channel;
  readonly #calls = new Map<number, Waiting>();
  readonly #inboxes = new Map<number, Inbox>();
  readonly #slots: (() => void)[] = [];
  #open = 0;
  #nextId = 1;
  #closed = false;

  constructor(channel: Channel) {
    this.#channel = channel;
    channel.onMessage((message) => {
      if (isReply(message)) this.#receive(message);
    });
    channel.onClose(() => this.#close());
  }

  async submit(transaction: Uint8Array): Promise<SubmitResult> {
    return (await this.#call('submit', Uint8Array.from(transaction))) as SubmitResult;
  }

  async head(): Promise<LedgerHead> {
    return (await this.#call('head')) as LedgerHead;
  }

  async query(path: string, data?: Uint8Array): Promise<Uint8Array> {
    const answer = data === undefined ? this.#call('query', path) : this.#call('query', path, Uint8Array.from(data));
    return (await answer) as Uint8Array;
  }

  async *subscribe(fromHeight: number, signal?: AbortSignal): AsyncGenerator<LedgerBlock<E>> {
    if (this.#closed) throw gone();
    const id = this.#nextId;
    this.#nextId += 1;
    const inbox: Inbox = { blocks: [], ended: false, wake: () => undefined };
    this.#inboxes.set(id, inbox);
    const onAbort = (): void => inbox.wake();
    signal?.addEventListener('abort', onAbort, { once: true });
    this.#channel.send({ to: 'ledger', id, call: 'subscribe', fromHeight });
    try {
      while (signal?.aborted !== true) {
        const block = inbox.blocks.shift();
        if (block !== undefined) {
          yield block as LedgerBlock<E>;
          if (!this.#closed && !inbox.ended) this.#channel.send({ to: 'ledger', id, call: 'more' });
          continue;
        }
        if (inbox.error !== undefined) throw inbox.error;
        if (inbox.ended) return;
        await new Promise<void>((resolve) => {
          inbox.wake = resolve;
        });
      }
    } finally {
      signal?.removeEventListener('abort', onAbort);
      this.#inboxes.delete(id);
      if (!this.#closed && !inbox.ended) this.#channel.send({ to: 'ledger', id, call: 'unsubscribe' });
    }
  }

  async #call(call: Method, ...args: unknown[]): Promise<unknown> {
    // A released slot passes to the first in the queue, so calls are sent in the order in which they were made.
    if (this.#open >= CALL_WINDOW) await new Promise<void>((resolve) => this.#slots.push(resolve));
    else this.#open += 1;
    try {
      if (this.#closed) throw gone();
      const id = this.#nextId;
      this.#nextId += 1;
      return await new Promise<unknown>((resolve, reject) => {
        this.#calls.set(id, { resolve, reject });
        this.#channel.send({ to: 'ledger', id, call, arguments: args });
      });
    } finally {
      const next = this.#slots.shift();
      if (next === undefined) this.#open -= 1;
      else next();
    }
  }

  #receive(reply: Reply): void {
    const inbox = this.#inboxes.get(reply.id);
    if (inbox !== undefined) {
      if (reply.kind === 'block') inbox.blocks.push(reply.block);
      else inbox.ended = true;
      if (reply.kind === 'error') inbox.error = PogoError.fromJSON(reply.error);
      inbox.wake();
      return;
    }
    const waiting = this.#calls.get(reply.id);
    this.#calls.delete(reply.id);
    if (reply.kind === 'value') waiting?.resolve(reply.value);
    else if (reply.kind === 'error') waiting?.reject(PogoError.fromJSON(reply.error));
  }

  #close(): void {
    this.#closed = true;
    for (const { reject } of this.#calls.values()) reject(gone());
    this.#calls.clear();
    for (const inbox of this.#inboxes.values()) {
      inbox.ended = true;
      inbox.error = gone();
      inbox.wake();
    }
  }
}

function gone(): PogoError {
  return new PogoError(
    'INTERRUPTED',
    'ledger: expected the process that runs it, found its channel closed: resume the run',
  );
}
