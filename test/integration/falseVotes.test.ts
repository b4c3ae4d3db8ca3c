/**
 * A verifier that did its work, found a drawn unit false, and voted for the claim all the same: its receipt is true, and
 * whoever rechecks it has the unit in its hands.
 */
import { describe, expect, it } from 'vitest';
import { equalBytes, toHex } from '../../src/hex.js';
import { gatherSequences } from '../../src/model/unit.js';
import { evidenceFromFault } from '../../src/node/buildEvidence.js';
import type { ClaimSource } from '../../src/node/checkClaim.js';
import { restore } from '../../src/node/checkClaim.js';
import { recheckReceipt } from '../../src/node/recheckReceipt.js';
import type { BookedReceipt } from '../../src/node/roles/receiptBook.js';
import { signAttestation } from '../../src/protocol/attestation.js';
import { signClaim } from '../../src/protocol/claim.js';
import { drawBatch, signDraw, unitOffsets } from '../../src/protocol/draws.js';
import { buildAttestationEvidence } from '../../src/protocol/evidence/buildVerifier.js';
import { checkEvidence } from '../../src/protocol/evidence.js';
import { receiptDuty, signReceipt, unitReceiptPart, unitReceiptPlaces } from '../../src/protocol/receipt.js';
import { claimRoot as claimRootOf } from '../../src/protocol/types.js';
import { changedUnits, type Lie } from '../support/stage.js';
import { useStage } from '../support/stageFixture.js';
import { nativeBls } from '../support/testChain.js';

const stage = useStage();
const COMMITTEE = 2;

/** A claim with an opened receipt whose first drawn unit's part is true. */
async function scene(lie: Lie) {
  const { trainer, recipe, plan, tokens, start } = stage();
  const chain = stage().chain({ verifiers: COMMITTEE });
  await chain.shares();
  const mined = await stage().mine(chain, start, lie);
  const claim = signClaim(nativeBls, chain.keyOf(chain.open.miner), mined.header);
  const [keys] = chain.demo.verifiers;
  const claimRoot = claimRootOf(mined.header);
  const beacon2 = claimRoot;
  const drawSignature = signDraw(nativeBls, keys!, beacon2, claimRoot);
  const duty = receiptDuty(drawSignature, recipe, mined.list.length, COMMITTEE);
  const [drawn] = duty.units;
  const source: ClaimSource = {
    header: mined.header,
    list: [...mined.list],
    blob: (root) => mined.blobs.get(toHex(root))!,
  };
  const before = drawn!.stepIndex === 0 ? mined.start.saved : mined.states[drawn!.stepIndex - 1]!.saved;
  await restore(trainer, before);
  const { draw1 } = mined.header;
  const offsets = unitOffsets(drawBatch(draw1, mined.list[drawn!.stepIndex]!.step, recipe), drawn!.unit, recipe);
  const { observed } = await trainer.computeUnit({
    draw1,
    unit: drawn!.unit,
    tokens: gatherSequences(tokens, offsets, recipe.context),
    places: unitReceiptPlaces(drawSignature, drawn!, recipe, plan.layout),
  });
  const parts = Array.from({ length: duty.parts }, (_, i) =>
    i === 0 ? unitReceiptPart(drawSignature, drawn!, observed) : new Uint8Array(32),
  );
  const opening = { drawSignature, parts };
  const subject = { chainId: mined.header.chainId, claimRoot, beacon2, committee: COMMITTEE };
  const booked: BookedReceipt = { claim, receipt: signReceipt(nativeBls, keys!, subject, opening), opening };
  const vote = signAttestation(nativeBls, keys!, {
    ...{ chainId: subject.chainId, claimRoot, beacon2, verdict: 'positive' as const },
    ...{ heldOutBeforeBits: 0x40000000, heldOutAfterBits: 0x3f800000 },
  });
  await restore(trainer, start);
  const result = await recheckReceipt({ trainer, source, tokens, booked, recipe, ticket: 0 });
  return { result, booked, vote, keys: keys!, source, mined };
}

describe('a recheck', () => {
  it('finds the false unit behind a true receipt: evidence convicts the vote', async () => {
    const { recipe, tokens, environment } = stage();
    const change = (file: Uint8Array): void => {
      file[40]! ^= 1;
    };
    const { result, booked, vote, keys, source, mined } = await scene({ committer: changedUnits(change) });
    expect(result.evidence).toBeUndefined();
    expect(result.falseUnit).toMatchObject({ kind: 'unit' });
    const { claim, receipt, opening } = booked;
    const subject = { claim, recipe, commitments: source.list, fromHeader: mined.start.header, tokens };
    const { drawSignature } = opening;
    const proof = evidenceFromFault(subject, result.falseUnit!);
    const file = buildAttestationEvidence({ claim, recipe, receipt, drawSignature }, vote, proof);
    const verdict = await checkEvidence(file, { bls: nativeBls, executor: environment.executor });
    expect(verdict).toMatchObject({ verdict: 'guilty', kind: 'attestation', against: 'verifier' });
    expect(equalBytes(verdict.accused, keys.publicKey)).toBe(true);
  });

  it('has nothing against who voted for a true unit', async () => {
    const { result } = await scene({});
    expect(result).toMatchObject({ part: 0, evidence: undefined });
    expect(result.falseUnit).toBeUndefined();
  });
});
