/** Evidence `quantization`: the packed 4-bit model is not the quantized last state. Pure TypeScript. */
import { PogoError } from '../../errors.js';
import { equalBytes } from '../../hex.js';
import { type Layout, LEAF_ELEMENTS, packedModelLayout } from '../../model/layout.js';
import { packModel } from '../../reference/model4.js';
import { openRanges } from '../openings.js';
import { ZERO_ROOT } from '../types.js';
import { type EvidenceExecutors, type Finding, type OpenedHead, openHead, openState } from './head.js';
import { checkForeignLength } from './length.js';
import type { EvidenceBody } from './types.js';

/** Where a leaf's codes and scales lie in the packed model, and the bits of its codes. */
export function modelLeafRanges(layout: Layout, leaf: number): { bits: 4 | 8; ranges: [number, number][] } {
  const element = leaf * LEAF_ELEMENTS;
  const place = packedModelLayout(layout).tensors.findLast(({ tensor }) => tensor.offset <= element);
  if (place === undefined || !(element < layout.length)) {
    throw new PogoError('MALFORMED', `expected a leaf below ${layout.length / LEAF_ELEMENTS}, found ${leaf}`);
  }
  const bits = place.tensor.modelBits;
  const inside = element - place.tensor.offset;
  const codes = place.codesOffset + (inside * bits) / 8;
  const scales = place.scalesOffset + inside / 32;
  const ranges: [number, number][] = [
    [codes, codes + (LEAF_ELEMENTS * bits) / 8],
    [scales, scales + LEAF_ELEMENTS / 32],
  ];
  return { bits, ranges };
}

/** Codes ‖ scales of one leaf as the quantizer makes them; undefined for a vector with an Inf or NaN: no model has it. */
function packLeaf(vector: Float32Array, bits: 4 | 8): Uint8Array | undefined {
  const codesBytes = (LEAF_ELEMENTS * bits) / 8;
  const packed = new Uint8Array(codesBytes + LEAF_ELEMENTS / 32);
  try {
    packModel({
      x: vector,
      codes: packed.subarray(0, codesBytes),
      scales: new Uint16Array(packed.buffer, codesBytes),
      n: LEAF_ELEMENTS,
      bits,
    });
  } catch (error) {
    if (error instanceof PogoError && error.code === 'NON_FINITE') return undefined;
    throw error;
  }
  return packed;
}

export function checkQuantizationEvidence(executors: EvidenceExecutors, body: EvidenceBody<'quantization'>): Finding {
  const head = openHead(executors.bls, body.head);
  const { header, layout } = head;
  openState('to state', body.toHeader, header.toRoot);
  if (equalBytes(header.modelRoot, ZERO_ROOT)) return 'expected a 4-bit model, found none';
  const { bytes: expectedBytes } = packedModelLayout(layout);
  const blob = { name: '4-bit model', root: header.modelRoot, totalBytes: body.modelBytes };
  if (body.modelBytes !== expectedBytes) {
    if (body.leaf !== 0 || body.vectorLeaf.bytes.length !== 0 || body.vectorLeaf.path.length !== 0) {
      throw new PogoError('MALFORMED', 'evidence: expected no leaf beside a model of a wrong length, found one');
    }
    return checkForeignLength(blob, expectedBytes, body.modelChunks);
  }
  return compareLeaf(head, body, blob);
}

function compareLeaf(
  { recipe, layout }: OpenedHead,
  body: EvidenceBody<'quantization'>,
  blob: { name: string; root: Uint8Array; totalBytes: number },
): Finding {
  const { bits, ranges } = modelLeafRanges(layout, body.leaf);
  const vector = {
    name: recipe.ema ? 'EMA of the to state' : 'θ of the to state',
    root: recipe.ema ? body.toHeader.emaRoot : body.toHeader.thetaRoot,
    totalBytes: 4 * layout.length,
  };
  const [leafBytes] = openRanges(vector, [[1024 * body.leaf, 1024 * (body.leaf + 1)]], [body.vectorLeaf]);
  const [codes, scales] = openRanges(blob, ranges, body.modelChunks);
  const expected = packLeaf(new Float32Array(leafBytes!.buffer), bits);
  if (expected === undefined) return `leaf ${body.leaf}: the vector holds an Inf or NaN, which no model can have`;
  if (
    equalBytes(expected.subarray(0, codes!.length), codes!) &&
    equalBytes(expected.subarray(codes!.length), scales!)
  ) {
    return undefined;
  }
  return `leaf ${body.leaf}: the model’s codes or scales are not those of the vector`;
}
