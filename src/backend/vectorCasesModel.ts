/** Cases of 4-bit gradients, weights, the commit pass, packed models and their differences. */
import {
  type Arguments,
  caseList,
  floats,
  inout,
  malformed,
  nibbles,
  none,
  out,
  panelCount,
  poked,
  positive,
  quick,
  refused,
  tensor,
  type VectorCase,
  words,
} from './vectorCase.js';
import type { TensorSpec } from './vectorInputs.js';

const { add, cases } = caseList();
export const MODEL_CASES: readonly VectorCase[] = cases;

// --- 4-bit gradients, weights, commit pass, model ---
function quantize4Arguments(x: TensorSpec, rows: number, cols: number): Arguments {
  const leaves = Math.ceil((rows * cols) / 256);
  return {
    x,
    codes: out('u8', leaves * 128),
    scales: out('u16', leaves * 4),
    seed: words(),
    rows,
    cols,
  };
}
add('quantize4', '4 rows of 192', quantize4Arguments(floats(4 * 192, -20), 4, 192), quick);
add('quantize4', 'vector of 64, padded leaf', quantize4Arguments(floats(64, -20), 1, 64));
add('quantize4', 'edge values', quantize4Arguments(tensor('f32', 16 * 64, 'edges'), 16, 64), quick);
add('quantize4', 'a NaN', quantize4Arguments(poked(floats(256), 200, '7FC00000'), 1, 256), refused);
add(
  'dequantize4',
  '512 values',
  { codes: nibbles(256), scales: tensor('u16', 8, 'positive', { e: -12, span: 6 }), x: out('f32', 512), n: 512 },
  quick,
);

function weightArguments(theta: TensorSpec, N: number, K: number): Arguments {
  return {
    theta,
    w: out('i8', N * K),
    wScales: out('f32', panelCount(K) * N),
    wt: out('i8', N * K),
    wtScales: out('f32', panelCount(N) * K),
    N,
    K,
  };
}
add('quantizeWeight', '192 x 64', weightArguments(floats(192 * 64), 192, 64), quick);
add('quantizeWeight', 'two panels of rows', weightArguments(floats(1088 * 64), 1088, 64));
add('quantizeWeight', 'two panels of columns', weightArguments(floats(64 * 1088), 64, 1088));
add('quantizeWeight', 'edge values', weightArguments(tensor('f32', 64 * 64, 'edges'), 64, 64));

function commitArguments(
  leaves: number,
  units: number,
  decay: boolean,
  updateEma: boolean,
  e = { m: -12, v: -24, g: -12 },
): Arguments {
  const n = leaves * 256;
  const unitList = Array.from({ length: units }, (_, i) => i);
  return {
    theta: inout(floats(n)),
    m: inout(floats(n, e.m)),
    v: inout(positive(n, e.v)),
    ema: updateEma ? inout(floats(n)) : none(),
    codes: { list: unitList.map(() => nibbles(n / 2)) },
    scales: { list: unitList.map(() => tensor('u16', n / 64, 'positive', { e: e.g, span: 3 })) },
    n,
    beta1: { f32: '3F666666' },
    beta2: { f32: '3F733333' },
    b1t: { f32: '3F3A9FBE' },
    b2t: { f32: '3F5B851F' },
    epsilon: { f32: '322BCC77' },
    weightDecay: { f32: decay ? '3DCCCCCD' : '00000000' },
    learningRate: { f32: '3B449BA6' },
    emaDecay: { f32: '3F29D2F2' },
    updateEma,
  };
}
add('commitLeaves', '2 units, decay, average', commitArguments(4, 2, true, true), quick);
add('commitLeaves', '16 units', commitArguments(2, 16, false, false));
add('commitLeaves', 'values that are flushed', commitArguments(2, 2, true, false, { m: -64, v: -112, g: -51 }), quick);
const fresh = commitArguments(2, 2, true, true);
add('commitLeaves', 'first step', { ...fresh, m: out('f32', 512), v: out('f32', 512) });
add(
  'commitLeaves',
  'clipped leaves',
  { ...commitArguments(2, 2, true, true), v: inout(positive(512, -60)), b2t: { f32: '3ECCCCCD' } },
  quick,
);
add('commitLeaves', 'nothing but zeros', {
  ...commitArguments(1, 1, true, true),
  m: out('f32', 256),
  v: out('f32', 256),
  codes: { list: [{ dtype: 'u8', length: 128, fill: 'zero' }] },
  scales: { list: [{ dtype: 'u16', length: 4, fill: 'zero' }] },
});

for (const bits of [4, 8] as const) {
  const bytes = (n: number): number => (bits === 4 ? n / 2 : n);
  const pack = (x: TensorSpec, n: number): Arguments => ({
    x,
    codes: out('u8', bytes(n)),
    scales: out('u16', n / 64),
    n,
    bits,
  });
  add('packModel', `${bits} bit`, pack(floats(512), 512), quick);
  add('packModel', `${bits} bit, edge values`, pack(tensor('f32', 1024, 'edges'), 1024));
  const packed = bits === 4 ? nibbles(256) : tensor('u8', 512, 'index', { limit: 128 });
  const planes = { codes: packed, scales: tensor('u16', 8, 'positive', { e: -12, span: 6 }) };
  add('unpackModel', `${bits} bit`, { ...planes, x: out('f32', 512), n: 512, bits }, quick);
}

// --- Differences of packed models ---
const bytes = (length: number, fill: TensorSpec['fill'], limit = 256): TensorSpec =>
  tensor('u8', length, fill, { limit });

function diffArguments(older: TensorSpec, newer: TensorSpec): Arguments {
  const n = older.length;
  return { older, newer, out: out('u8', n + Math.ceil(n / 16384)), end: out('u32', 2), n };
}
add('diffModel', 'few differences', diffArguments(bytes(1000, 'zero'), bytes(1000, 'index', 3)), quick);
add('diffModel', 'mostly differences', diffArguments(bytes(321, 'nibbles'), bytes(321, 'index')), quick);
add('diffModel', 'none', diffArguments(bytes(64, 'zero'), bytes(64, 'zero')));
add('diffModel', 'two chunks', diffArguments(bytes(16384 + 37, 'zero'), bytes(16384 + 37, 'index', 2)));

function patchArguments(older: TensorSpec, patch: TensorSpec): Arguments {
  return { older, patch, newer: out('u8', older.length), start: 3, n: older.length };
}
/** A tag at byte 3, where the chunk starts, and its data by a rule; the last byte is poked where only a nibble is left. */
function chunk(tag: string, length: number, fill: TensorSpec['fill'], last?: string): TensorSpec {
  const poke: [number, string][] = [[3, tag]];
  if (last !== undefined) poke.push([3 + length, last]);
  return { ...bytes(4 + length, fill), poke };
}
add('patchModel', 'equal', patchArguments(bytes(100, 'index'), chunk('00', 0, 'zero')));
add('patchModel', 'raw', patchArguments(bytes(100, 'index'), chunk('02', 100, 'extreme')), quick);
add('patchModel', 'raw, cut', patchArguments(bytes(100, 'index'), chunk('02', 99, 'extreme')), malformed);
// 25 bytes of bitmap; what the rule puts there has 115 ones in the first case and 93 in the second.
add('patchModel', 'sparse', patchArguments(bytes(100, 'index'), chunk('01', 83, 'extreme', '07')), quick);
add('patchModel', 'a zero value', patchArguments(bytes(100, 'index'), chunk('01', 72, 'nibbles', '05')), malformed);
