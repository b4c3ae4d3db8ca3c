/**
 * A chain driven by hand: the state machine with synthetic claims (roots out of a hash), so that the ledger's rules can
 * be tested without training. The evidence checker is real for what is arithmetic in TypeScript and injectable.
 */
import { blake3 } from '@noble/hashes/blake3.js';
import { equalBytes, toHex } from '../../src/hex.js';
import type { MachineBlock, StateMachine } from '../../src/ledger/machine.js';
import { createLedgerMachine, type LedgerState, totalMoney } from '../../src/ledger/state.js';
import { dutiesOf, tickFor, waitingTicks } from '../../src/ledger/stateDuties.js';
import type { LedgerEvent } from '../../src/ledger/stateEvents.js';
import { type EvidenceChecker, evidenceCommitment } from '../../src/ledger/stateEvidence.js';
import {
  createDemoGenesis,
  type DemoGenesis,
  type DemoGenesisOptions,
  EMBEDDED_PARAMETERS,
} from '../../src/ledger/stateGenesis.js';
import { openClaimOf } from '../../src/ledger/stateOpen.js';
import type { OpenClaim } from '../../src/ledger/stateTypes.js';
import { signAttestation } from '../../src/protocol/attestation.js';
import { createBeaconShare } from '../../src/protocol/beacon.js';
import type { Bls, KeyPair } from '../../src/protocol/bls.js';
import { createNativeBls } from '../../src/protocol/blsNative.js';
import { buildClaim, type ClaimAssignment, signClaim } from '../../src/protocol/claim.js';
import { batchDigest, drawBatch, signDraw } from '../../src/protocol/draws.js';
import { checkEvidence } from '../../src/protocol/evidence.js';
import { encodeTransaction, STAGE, signOrder } from '../../src/protocol/ledgerTypes.js';
import { type ReceiptOpening, signReceipt } from '../../src/protocol/receipt.js';
import type { SignedClaim, StepCommitment } from '../../src/protocol/types.js';
import { smallRecipe } from './trainedClaim.js';

export const nativeBls: Bls = createNativeBls();

export interface TestChainOptions extends Partial<Omit<DemoGenesisOptions, 'recipe'>> {
  readonly checkEvidence?: EvidenceChecker;
}

const text = (value: string): Uint8Array => blake3(new TextEncoder().encode(value));

/** An assignment's claim out of hashes. `lie` names what distinguishes a false one; batches are honest without one. */
export function syntheticClaim(
  assignment: ClaimAssignment,
  keys: KeyPair,
  steps: number,
  firstStep: number,
  lie = '',
  bls: Bls = nativeBls,
): { claim: SignedClaim; commitments: StepCommitment[] } {
  const { recipe } = smallRecipe();
  const commitments: StepCommitment[] = [];
  let pre = assignment.fromRoot;
  for (let i = 0; i < steps; i += 1) {
    const step = firstStep + i;
    const postStateRoot = text(`post ${toHex(pre)} ${lie}`);
    const offsets = drawBatch(assignment.draw1, step, recipe);
    commitments.push({
      step,
      preStateRoot: pre,
      batchDigest: batchDigest(lie === 'batch' ? [...offsets].reverse().map((offset) => offset + 1) : offsets),
      unitRoots: Array.from({ length: recipe.unitsPerStep }, (_, unit) => text(`unit ${unit} ${toHex(pre)} ${lie}`)),
      unitLosses: Array.from({ length: recipe.unitsPerStep }, () => 0x40000000),
      postStateRoot,
    });
    pre = postStateRoot;
  }
  const header = buildClaim(assignment, {
    commitments,
    modelRoot: text(`model ${toHex(pre)}`),
    diffRoot: new Uint8Array(32),
  });
  return { claim: signClaim(bls, keys, header), commitments };
}

export class TestChain {
  readonly bls: Bls;
  readonly demo: DemoGenesis;
  readonly machine: StateMachine<LedgerState, LedgerEvent>;
  state: LedgerState;
  readonly events: LedgerEvent[] = [];
  readonly money: bigint;
  /** What was trained, by claim root in hex. */
  readonly commitments = new Map<string, StepCommitment[]>();
  readonly #nonces = new Map<string, number>();

  constructor(options: TestChainOptions = {}) {
    const { recipe } = smallRecipe();
    this.bls = options.bls ?? nativeBls;
    this.demo = createDemoGenesis({
      bls: this.bls,
      seed: new Uint8Array(32).fill(5),
      miners: 2,
      verifiers: 4,
      startStateRoot: text('start'),
      ...options,
      recipe,
      parameters: { ...EMBEDDED_PARAMETERS, ...options.parameters },
    });
    const check: EvidenceChecker = options.checkEvidence ?? ((bytes) => checkEvidence(bytes, { bls: this.bls }));
    this.machine = createLedgerMachine({ genesis: this.demo.genesis, bls: this.bls, checkEvidence: check });
    this.state = this.machine.genesis();
    this.money = totalMoney(this.state);
  }

  /** Everybody's keys. */
  get keys(): readonly KeyPair[] {
    return [...this.demo.miners, ...this.demo.verifiers];
  }

  keyOf(publicKey: Uint8Array): KeyPair {
    const found = this.keys.find((keys) => equalBytes(keys.publicKey, publicKey));
    if (found === undefined) throw new Error(`no key of ${toHex(publicKey)}`);
    return found;
  }

  /** One block with one transaction. @throws what the machine throws; then nothing changed */
  async submit(transaction: Uint8Array): Promise<readonly LedgerEvent[]> {
    const block: MachineBlock = { height: this.state.height + 1, transactions: [transaction] };
    const { state, events } = await this.machine.apply(this.state, block);
    this.state = state;
    this.events.push(...events);
    return events;
  }

  get open() {
    const [open] = this.state.open;
    if (open === undefined) throw new Error('no open claim');
    return open;
  }

  /** All beacon shares that are due, with the ticks that let heights pass. */
  async shares(except: readonly KeyPair[] = []): Promise<void> {
    for (const tick of waitingTicks(this.state)) await this.submit(tick);
    for (const tick of waitingTicks(this.state)) await this.submit(tick);
    for (const keys of this.keys) {
      if (except.includes(keys)) continue;
      for (const duty of dutiesOf(this.state, keys.publicKey)) {
        if (duty.duty !== 'beacon-share') continue;
        await this.submit(encodeTransaction('beacon-share', createBeaconShare(this.bls, keys, duty.id)));
      }
    }
  }

  /** The drawn miner's claim for whichever open claim is training. */
  makeClaim(lie = ''): { claim: SignedClaim; commitments: StepCommitment[] } {
    for (const keys of this.demo.miners) {
      for (const duty of dutiesOf(this.state, keys.publicKey)) {
        if (duty.duty === 'train')
          return syntheticClaim(duty.assignment, keys, duty.steps, duty.firstStep, lie, this.bls);
      }
    }
    throw new Error('nobody is training');
  }

  async claim(lie = ''): Promise<SignedClaim> {
    const { claim, commitments } = this.makeClaim(lie);
    await this.submit(encodeTransaction('claim', claim));
    const open = openClaimOf(this.state, claim.header.claimNumber)!;
    this.commitments.set(toHex(open.claimRoot), commitments);
    return claim;
  }

  attestation(
    keys: KeyPair,
    verdict: 'positive' | 'negative' = 'positive',
    losses: readonly [number, number] = [0x40000000, 0x3f800000],
  ): Uint8Array {
    const open = this.state.open.find((other) => other.stage === STAGE.attesting)!;
    const content = {
      chainId: this.state.chainId,
      claimRoot: open.claimRoot,
      beacon2: open.beacon2,
      verdict,
      heldOutBeforeBits: losses[0],
      heldOutAfterBits: losses[1],
    };
    return encodeTransaction('attestation', signAttestation(this.bls, keys, content));
  }

  /** A receipt out of hashes; the ledger cannot tell it from a true one, other verifiers can. */
  opening(keys: KeyPair, open: Pick<OpenClaim, 'beacon2' | 'claimRoot'>): ReceiptOpening {
    const drawSignature = signDraw(this.bls, keys, open.beacon2, open.claimRoot);
    return { drawSignature, parts: this.partsOf(drawSignature) };
  }

  /** Parts of receipts; no test that needs none does the work for them. */
  partsOf = (drawSignature: Uint8Array): Uint8Array[] => [blake3(drawSignature)];

  /** Commitment to {@link opening}, as a transaction. */
  receipt(keys: KeyPair): Uint8Array {
    const open = this.state.open.find((other) => other.stage === STAGE.attesting)!;
    const { chainId } = this.state;
    const subject = { chainId, ...open, committee: open.committee.length };
    return encodeTransaction('receipt', signReceipt(this.bls, keys, subject, this.opening(keys, open)));
  }

  /** Receipt and positive vote. */
  async vote(keys: KeyPair, losses?: readonly [number, number]): Promise<void> {
    await this.submit(this.receipt(keys));
    await this.submit(this.attestation(keys, 'positive', losses));
  }

  /** Positive votes, and the openings that are due after them. */
  async attest(voters: readonly KeyPair[] = this.demo.verifiers): Promise<void> {
    for (const keys of voters) await this.vote(keys);
    await this.reveal();
  }

  /** All openings that are due. */
  async reveal(except: readonly KeyPair[] = []): Promise<void> {
    for (const keys of this.keys) {
      if (except.includes(keys)) continue;
      for (const duty of dutiesOf(this.state, keys.publicKey)) {
        if (duty.duty !== 'reveal') continue;
        const open = this.state.open.find((other) => equalBytes(other.claimRoot, duty.claimRoot))!;
        const opening = this.opening(keys, open);
        const { claimRoot } = duty;
        const body = { claimRoot, verifier: keys.publicKey, opening };
        await this.submit(encodeTransaction('receipt-reveal', body));
      }
    }
  }

  /** A tick of the first claim's stage; votes that are over are followed by the openings that are due. */
  async tick(): Promise<readonly LedgerEvent[]> {
    const before = this.events.length;
    await this.submit(tickFor(this.open));
    await this.reveal();
    return this.events.slice(before);
  }

  nonceOf(keys: KeyPair): number {
    return this.#nonces.get(toHex(keys.publicKey)) ?? 0;
  }

  usedNonce(keys: KeyPair): void {
    this.#nonces.set(toHex(keys.publicKey), this.nonceOf(keys) + 1);
  }

  /** Commitment of a finder to evidence, as a transaction. */
  commitmentTo(keys: KeyPair, evidence: Uint8Array, salt: Uint8Array, claimRoot = this.open.claimRoot): Uint8Array {
    return signOrder(this.bls, keys, this.state.chainId, 'commit-evidence', {
      nonce: this.nonceOf(keys),
      claimRoot,
      commitment: evidenceCommitment(evidence, keys.publicKey, salt),
    });
  }

  /** Commit and reveal. */
  async accuse(keys: KeyPair, evidence: Uint8Array): Promise<readonly LedgerEvent[]> {
    const salt = new Uint8Array(32).fill(1);
    await this.submit(this.commitmentTo(keys, evidence, salt));
    this.usedNonce(keys);
    return this.submit(encodeTransaction('evidence', { finder: keys.publicKey, salt, evidence }));
  }

  /** From an opened claim to where attestations are taken. */
  async toAttesting(lie = ''): Promise<SignedClaim> {
    await this.shares();
    const claim = await this.claim(lie);
    await this.shares();
    return claim;
  }

  balance(keys: KeyPair): bigint {
    return this.state.accounts.find((account) => equalBytes(account.publicKey, keys.publicKey))?.balance ?? 0n;
  }

  stake(keys: KeyPair): bigint {
    return this.state.members.find((member) => equalBytes(member.publicKey, keys.publicKey))?.stake ?? 0n;
  }

  outcomes(): string[] {
    return this.events.flatMap((event) => (event.type === 'outcome' ? [event.outcome] : []));
  }
}
