/**
 * The one error class of the project.
 *
 * Every failure that a user or a peer can cause carries a `code` from {@link ERROR_CODES}; the code fixes the
 * process exit code, so scripts can branch on it. A `PogoError` crosses worker and process boundaries unchanged
 * through {@link PogoError.toJSON} and {@link PogoError.fromJSON}.
 */

import { type SystemError, systemErrorCode, systemErrorText } from './systemErrors.js';

/** Exit codes of the command line. */
export const EXIT = {
  ok: 0,
  internal: 1,
  usage: 2,
  claimFalse: 3,
  undecided: 4,
  environment: 5,
  interrupted: 130,
} as const;

/** Code → process exit code. Each code has a line in `docs/errors.md`. */
export const ERROR_CODES = {
  /** A bug: an invariant of ours does not hold. */
  INTERNAL: EXIT.internal,
  /** A command-line or library argument is missing, unknown or of the wrong type. */
  USAGE: EXIT.usage,
  /** An argument has the right type and a value outside its range. */
  RANGE: EXIT.usage,
  /** A recipe is unknown or one of its fields is not valid. */
  RECIPE: EXIT.usage,
  /** Bytes of a container (bundle, SSZ object, safetensors, packed model, diff) break its format. */
  MALFORMED: EXIT.usage,
  /** A tensor has another shape or dtype than the recipe says. */
  SHAPE: EXIT.usage,
  /** Text data is empty, not UTF-8, or too short for the recipe. */
  DATA: EXIT.usage,
  /** A bundle, evidence or ledger object names another recipe, chain or job than the one asked for. */
  MISMATCH: EXIT.usage,
  /** An accusation does not hold. */
  FALSE_ACCUSATION: EXIT.claimFalse,
  /** A claim is false; evidence was written. */
  CLAIM_FALSE: EXIT.claimFalse,
  /** A chain's parameters break an inequality of docs/economics.md: somebody would gain by cheating. */
  UNSOUND: EXIT.usage,
  /** Bytes are missing or do not match their root: nothing can be decided. */
  MISSING: EXIT.undecided,
  /** Too few samples for the detection that was asked for. */
  UNDECIDED: EXIT.undecided,
  /** The environment lacks something that was demanded (backend, instruction set, compiler, Node version). */
  ENVIRONMENT: EXIT.environment,
  /** The file system refused: full disk, unwritable directory, missing file. */
  IO: EXIT.environment,
  /** Another process holds the directory. */
  LOCKED: EXIT.environment,
  /** A tensor holds an Inf or NaN where a quantizer or a loss reads it. */
  NON_FINITE: EXIT.internal,
  /** A backend failed its known-answer vectors. */
  SELF_TEST: EXIT.environment,
  /** A ledger transaction breaks a rule of the state machine. */
  REJECTED: EXIT.usage,
  /** The stored ledger, checkpoint or log does not match its roots. */
  CORRUPT: EXIT.undecided,
  /** The caller's AbortSignal or Ctrl-C ended the work; it can be resumed. */
  INTERRUPTED: EXIT.interrupted,
} as const;

export type ErrorCode = keyof typeof ERROR_CODES;

/** What an error says beside its message: every field is plain data, so that it survives a worker boundary. */
export type ErrorDetails = Readonly<Record<string, string | number | boolean | null>>;

interface SerializedError {
  readonly name: 'PogoError';
  readonly code: ErrorCode;
  readonly message: string;
  readonly details: ErrorDetails;
}

/** How V8 says that a buffer, or the memory of a WebAssembly module, cannot be had. */
const OUT_OF_MEMORY = /allocation failed|out of memory|could not allocate/i;

export class PogoError extends Error {
  override readonly name = 'PogoError';
  readonly code: ErrorCode;
  readonly details: ErrorDetails;

  /** @param message what was expected, what was found, what to do */
  constructor(code: ErrorCode, message: string, details: ErrorDetails = {}, cause?: unknown) {
    super(message, cause === undefined ? undefined : { cause });
    this.code = code;
    this.details = details;
  }

  get exitCode(): number {
    return ERROR_CODES[this.code];
  }

  toJSON(): SerializedError {
    return { name: 'PogoError', code: this.code, message: this.message, details: this.details };
  }

  /** Rebuilds an error that crossed a boundary; anything that is no serialized PogoError becomes INTERNAL. */
  static fromJSON(value: unknown): PogoError {
    if (typeof value === 'object' && value !== null && 'code' in value && 'message' in value) {
      const { code, message } = value as { code: unknown; message: unknown };
      if (typeof code === 'string' && Object.hasOwn(ERROR_CODES, code) && typeof message === 'string') {
        const details = 'details' in value ? (value as { details: ErrorDetails }).details : {};
        return new PogoError(code as ErrorCode, message, details);
      }
    }
    return PogoError.from(value);
  }

  /**
   * Wraps any thrown value. Node's ENOSPC, EACCES and the like become IO errors, buffers that cannot be had ENVIRONMENT.
   * @param target the file in question, which the system does not name when an open one is read
   */
  static from(value: unknown, target = ''): PogoError {
    if (value instanceof PogoError) return value;
    if (value instanceof Error) {
      const system = systemErrorCode(value);
      if (system !== undefined) {
        const { syscall, path = target } = value as SystemError;
        if (syscall === undefined) return new PogoError('IO', value.message, { system }, value);
        const details = path === '' ? { system } : { system, path };
        return new PogoError('IO', systemErrorText(syscall, path, system, value), details, value);
      }
      if (value instanceof RangeError && OUT_OF_MEMORY.test(value.message)) {
        const message = `expected memory, found none left (${value.message}): close other programs, raise the limit (ulimit -v), or use fewer lanes (POGO_LANES)`;
        return new PogoError('ENVIRONMENT', message, {}, value);
      }
      return new PogoError('INTERNAL', value.message, {}, value);
    }
    return new PogoError('INTERNAL', String(value));
  }
}

/** Throws an INTERNAL error unless `condition` holds: for invariants, never for input. */
export function invariant(condition: boolean, message: string): asserts condition {
  if (!condition) throw new PogoError('INTERNAL', message);
}
