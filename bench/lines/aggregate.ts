/**
 * `aggregate`: a thousand attestations of one verdict, aggregated to one signature, checked against their committee by
 * blst. The committee's keys are known to the checker, as a node knows those that registered; the first check, which
 * decodes them, is in the details.
 */
import { PogoError } from '../../src/errors.js';
import { aggregateAttestations, signAttestation, verifyAggregatedAttestation } from '../../src/protocol/attestation.js';
import { createNativeBls } from '../../src/protocol/blsNative.js';
import { AggregatedAttestationType, ZERO_ROOT } from '../../src/protocol/types.js';
import type { BenchGroup } from '../group.js';
import { measure } from '../harness.js';

const ATTESTATIONS = 1000;
const TARGET_SECONDS = 20e-3;

export const aggregate: BenchGroup = {
  names: ['aggregate'],
  async *lines({ quick }) {
    const bls = createNativeBls();
    const seed = new Uint8Array(32).fill(1);
    const committee = Array.from({ length: ATTESTATIONS }, (_, i) => bls.deriveKey(seed, 'verifier', i));
    const expected = { chainId: ZERO_ROOT, claimRoot: ZERO_ROOT };
    const content = {
      ...expected,
      beacon2: ZERO_ROOT,
      verdict: 'positive',
      heldOutBeforeBits: 1,
      heldOutAfterBits: 0,
    } as const;
    const [signed] = aggregateAttestations(
      bls,
      committee.map((keys) => signAttestation(bls, keys, content)),
    );
    if (signed === undefined) throw new PogoError('INTERNAL', 'aggregate: expected one aggregate, found none');
    const encoded = AggregatedAttestationType.serialize(signed);
    const keys = committee.map(({ publicKey }) => publicKey);
    const run = (checker: ReturnType<typeof createNativeBls>): number =>
      // Decoding belongs to the check: this is what arrives.
      verifyAggregatedAttestation(checker, AggregatedAttestationType.deserialize(encoded), expected, keys).length;
    const cold = createNativeBls();
    const start = performance.now();
    run(cold);
    const coldMs = performance.now() - start;
    yield await measure({
      name: 'aggregate',
      backend: 'blst',
      isa: 'blst',
      unit: { name: 'ms', perCall: 1 },
      bytes: encoded.length,
      ceiling: { name: 'target of 20 ms', value: TARGET_SECONDS },
      details: { attestations: ATTESTATIONS, aggregateBytes: encoded.length, firstCheckMs: Number(coldMs.toFixed(2)) },
      budgetMs: quick ? 50 : 500,
      run: () => run(cold),
      check: () => {
        if (run(cold) === ATTESTATIONS) return;
        throw new PogoError('SELF_TEST', 'aggregate: expected a thousand signers, found fewer');
      },
      result: () => encoded,
    });
  },
};
