/** What happens on the ledger, as engines hand it to their subscribers. Views only: no verdict rests on them. */
import type { Piece } from '../protocol/availability.js';
import type { EvidenceKind } from '../protocol/evidence.js';
import type { ReceiptOpening, SignedReceipt } from '../protocol/receipt.js';
import type { BeaconKind, SignedClaim } from '../protocol/types.js';

/** A claim's turn. */
interface Turn {
  readonly claimNumber: number;
  readonly attempt: number;
  /** Number of the owner's job; absent for the genesis job. */
  readonly job?: number;
}

export type Outcome = 'finalized' | 'slashed' | 'rejected' | 'void' | 'missed' | 'reopened';

export type LedgerEvent =
  | (Turn & {
      readonly type: 'opened';
      readonly committee: readonly Uint8Array[];
      /** Of the seats with their stakes. */
      readonly committeeRoot: Uint8Array;
    })
  | (Turn & { readonly type: 'beacon'; readonly kind: BeaconKind; readonly round: number; readonly beacon: Uint8Array })
  | (Turn & {
      readonly type: 'assigned';
      readonly miner: Uint8Array;
      readonly draw1: Uint8Array;
      readonly fromRoot: Uint8Array;
    })
  | (Turn & { readonly type: 'claim'; readonly claimRoot: Uint8Array; readonly claim: SignedClaim })
  | (Turn & {
      readonly type: 'attestation';
      readonly claimRoot: Uint8Array;
      readonly round: number;
      readonly verifier: Uint8Array;
      readonly verdict: 'positive' | 'negative';
    })
  | (Turn & {
      readonly type: 'receipt';
      readonly claimRoot: Uint8Array;
      readonly round: number;
      readonly receipt: SignedReceipt;
    })
  | (Turn & {
      readonly type: 'receipt-opened';
      readonly claimRoot: Uint8Array;
      readonly round: number;
      readonly verifier: Uint8Array;
      readonly opening: ReceiptOpening;
    })
  | (Turn & {
      readonly type: 'availability';
      readonly claimRoot: Uint8Array;
      readonly piece: Piece;
      readonly challenger: Uint8Array;
      readonly change: 'challenged' | 'answered' | 'silent';
    })
  | { readonly type: 'evidence-committed'; readonly claimRoot: Uint8Array; readonly finder: Uint8Array }
  | (Turn & {
      readonly type: 'evidence';
      readonly claimRoot: Uint8Array;
      readonly finder: Uint8Array;
      readonly accused: Uint8Array;
      readonly verdict: 'guilty' | 'false-accusation';
      readonly kind: EvidenceKind;
      readonly reason: string;
    })
  | (Turn & {
      readonly type: 'outcome';
      readonly outcome: Outcome;
      /** Zero where no claim was made. */
      readonly claimRoot: Uint8Array;
      readonly miner: Uint8Array;
      readonly stakeFor: bigint;
      readonly stakeAgainst: bigint;
      /** Stake taken from the miner, of which `burned` was destroyed. */
      readonly slashed: bigint;
      readonly burned: bigint;
      /** What the miner got. */
      readonly reward: bigint;
      /** fp32 bits that the quorum agreed on; 0x7FC00000 without one. */
      readonly heldOutBeforeBits: number;
      readonly heldOutAfterBits: number;
      readonly height: number;
    })
  | (Turn & {
      readonly type: 'dispute';
      readonly dispute: number;
      readonly claimRoot: Uint8Array;
      readonly challenger: Uint8Array;
      readonly accused: Uint8Array;
      /** `convicted`: by a proof or by silence; `lost`: the bond went to the accused. */
      readonly change: 'queued' | 'opened' | 'traced' | 'named' | 'node-opened' | 'contested' | 'convicted' | 'lost';
      readonly reason: string;
    })
  | {
      readonly type: 'job';
      readonly job: number;
      readonly owner: Uint8Array;
      /** `ended`: no claim follows, the rest of the fund is back; `closed`: the owner has had its time to ask for the model. */
      readonly change: 'created' | 'funded' | 'ended' | 'closed';
      /** Finalized so far. */
      readonly claims: number;
      readonly refund: bigint;
      readonly recipeRoot?: Uint8Array;
      /** Of the last finalized claim: what the owner paid for. */
      readonly toRoot?: Uint8Array;
      readonly modelRoot?: Uint8Array;
    }
  | {
      readonly type: 'member';
      readonly publicKey: Uint8Array;
      readonly change: 'registered' | 'unbonding' | 'withdrawn' | 'ejected' | 'fined' | 'slashed';
      /** Stake that was taken; 0 where none was. */
      readonly taken?: bigint;
    };
