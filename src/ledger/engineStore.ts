/** The key-value store under the embedded engine: atomic synced batches on `classic-level`. */
import { ClassicLevel } from 'classic-level';
import { PogoError } from '../errors.js';

/** One change of a batch; no `value` removes the key. */
export interface StoreChange {
  readonly key: string;
  readonly value?: Uint8Array;
}

export interface EngineStore {
  get(key: string): Promise<Uint8Array | undefined>;
  /** Applies all changes or none; when it resolves they survive power loss. */
  write(changes: readonly StoreChange[]): Promise<void>;
  close(): Promise<void>;
}

interface CodedError {
  readonly code?: unknown;
  readonly message?: unknown;
  readonly cause?: unknown;
}

/** LevelDB's failures as ours: its own lock, its checksums, everything else is input and output. */
function storeError(location: string, error: unknown): PogoError {
  const codes: string[] = [];
  const messages: string[] = [];
  for (let at: unknown = error; typeof at === 'object' && at !== null; at = (at as CodedError).cause) {
    const { code, message } = at as CodedError;
    if (typeof code === 'string') codes.push(code);
    if (typeof message === 'string') messages.push(message);
  }
  const found = messages.join(': ') || String(error);
  if (codes.includes('LEVEL_LOCKED')) {
    return new PogoError(
      'LOCKED',
      `expected the ledger store ${location} to be free, found another process using it: stop it or choose another directory`,
      { path: location },
      error,
    );
  }
  // Files of the store that are gone or too short come as input errors (ENOENT, EINVAL), and mean the same.
  const broken = /no such file|invalid argument/i;
  if (codes.includes('LEVEL_CORRUPTION') || broken.test(found)) return corruptStore(location, found, error);
  return new PogoError(
    'IO',
    `expected to read and write the ledger store ${location}, found: ${found}: check free space and permissions, then resume`,
    { path: location },
    error,
  );
}

/** The error of a store whose contents contradict its own roots. */
export function corruptStore(location: string, found: string, cause?: unknown): PogoError {
  return new PogoError(
    'CORRUPT',
    `ledger store ${location}: expected the blocks and the state that were committed, found ${found}: ` +
      'restore the folder from a copy, or remove the run folder and start again',
    { path: location },
    cause,
  );
}

/** Opens or creates the store. @throws PogoError LOCKED, CORRUPT, IO */
export async function openLevelStore(location: string): Promise<EngineStore> {
  const level = new ClassicLevel<string, Uint8Array>(location, { keyEncoding: 'utf8', valueEncoding: 'view' });
  const guard = async <T>(work: () => Promise<T>): Promise<T> => {
    try {
      return await work();
    } catch (error) {
      throw storeError(location, error);
    }
  };
  await guard(() => level.open());
  return {
    get: (key) => guard(() => level.get(key)),
    write: (changes) =>
      guard(() =>
        level.batch(
          changes.map(({ key, value }) =>
            value === undefined ? { type: 'del' as const, key } : { type: 'put' as const, key, value },
          ),
          { sync: true },
        ),
      ),
    close: () => guard(() => level.close()),
  };
}
