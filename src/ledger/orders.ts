/** What a member reads from a ledger and orders on it: the newest state, and orders under its account's next nonce. */
import type { Bls, KeyPair } from '../protocol/bls.js';
import { type Order, type OrderKind, signOrder } from '../protocol/ledgerTypes.js';
import { decodeStrict } from '../protocol/ssz.js';
import type { Ledger, SubmitResult } from './ledger.js';
import { findByKey, type LedgerState, LedgerStateType } from './stateTypes.js';

/** @throws PogoError INTERRUPTED where the ledger is gone */
export async function readState(ledger: Pick<Ledger, 'query'>): Promise<LedgerState> {
  return decodeStrict(LedgerStateType, await ledger.query('/state'));
}

/** Signs an order and offers it. @param state whose account of `keys` tells the nonce */
export async function submitOrder<K extends OrderKind>(
  { ledger, bls, keys }: { readonly ledger: Pick<Ledger, 'submit'>; readonly bls: Bls; readonly keys: KeyPair },
  state: LedgerState,
  kind: K,
  body: Omit<Order<K>, 'sender' | 'nonce'>,
): Promise<SubmitResult> {
  const nonce = findByKey(state.accounts, keys.publicKey)?.nonce ?? 0;
  const order = { ...body, nonce } as unknown as Omit<Order<K>, 'sender'>;
  return ledger.submit(signOrder(bls, keys, state.chainId, kind, order));
}
