/**
 * Handovers: where the committee of a claim is another one than that of the claim before, seats of the one before sign
 * for it. So whoever trusts the first committee can follow every later one without the ledger (docs/protocol.md §12).
 */
import { ContainerType, type ValueOf } from '@chainsafe/ssz';
import { DOMAIN } from './domains.js';
import { DomainTag, Root, Uint32, Uint64 } from './ssz.js';

/** What a seat signs. Equal for all of them, so that their signatures aggregate. */
export const HandoverMessageType = new ContainerType(
  {
    domain: DomainTag,
    chainId: Root,
    job: Uint32,
    claimNumber: Uint64,
    attempt: Uint32,
    /** hash_tree_root of the seats of this claim's committee, each with its stake. */
    committeeRoot: Root,
  },
  { typeName: 'HandoverMessage', jsonCase: 'eth2' },
);

/** The claim whose committee is signed for. */
export type HandoverSubject = Omit<ValueOf<typeof HandoverMessageType>, 'domain'>;

/** @returns the 32 bytes that are signed */
export function handoverMessage(subject: HandoverSubject): Uint8Array {
  return HandoverMessageType.hashTreeRoot({ domain: DOMAIN.handover, ...subject });
}
