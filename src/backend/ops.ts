/**
 * The operations of a training step: the contract between the tape and every backend.
 *
 * An operation is one whole-array call. Its formula, order and roundings are in `docs/numerics.md` under the
 * operation's name; here stand shapes and dtypes. Every backend implements every operation with the same bits.
 *
 * Letters: T tokens of this call (a micro-batch of the unit), U tokens of the whole unit, C width, F hidden width,
 * H heads, V padded vocabulary, N output rows of a weight, K contracted elements, P(K) = ceil(K / 1024) panels.
 * A *code matrix* is `codes` i8 [rows, K] row-major with `scales` f32 [P(K), rows] (panel-major).
 * bf16 values are their bit patterns in a Uint16Array. A seed is a Uint32Array of 4 words.
 *
 * `packed`, where an operation has it: the codes of its weight (`wt` if there is one, else `w`) in the form that the
 * backend's own {@link WeightPacking} made of them. It changes no bit and may be absent.
 */
import type { FusedKernels } from './fusions.js';

/** What a backend may offer: weights brought once into the form that its products read. */
export interface WeightPacking {
  /** Bytes of the packed form of codes [rows, cols]. */
  bytes(rows: number, cols: number): number;
  /** @param packed u8 [bytes(rows, cols)] that begins at a multiple of 4 bytes */
  pack(a: { codes: Int8Array; rows: number; cols: number; packed: Uint8Array }): void;
}

/** What one tensor's part of the commit pass takes. */
type Commit = Parameters<Kernels['commitLeaves']>[0];

/**
 * What a backend may offer: `commitLeaves` of neighbouring tensors in one call, which differ in weight decay alone. It leaves
 * the bits that a call for each leaves; calls are what small models wait for.
 *
 * @param a arrays and `n` of all of them together
 * @param leaves of each, in order; 256 times their sum is `n`
 * @param weightDecays of each
 */
export type CommitTensors = (a: Omit<Commit, 'weightDecay'>, leaves: Uint32Array, weightDecays: Float32Array) => void;

/** Kernels of a backend, with its packing and what it runs in one pass or one call, if it has them. */
export type LaneKernels = Kernels & {
  readonly packing?: WeightPacking;
  readonly fused?: FusedKernels;
  readonly commitTensors?: CommitTensors;
};

/** Codes and scales of a matrix; `codes` i8 [rows, cols], `scales` f32 [ceil(cols/1024), rows]. */
export interface Kernels {
  /** Zeros a range. */
  fillZero(a: { x: Float32Array }): void;

  /** x[t,c] = bf16(wte[token[t], c] + wpe[t mod context, c]). `wte` f32 [V,C], `wpe` f32 [context,C], x bf16 [T,C]. */
  embed(a: {
    tokens: Uint32Array;
    wte: Float32Array;
    wpe: Float32Array;
    x: Uint16Array;
    T: number;
    C: number;
    context: number;
  }): void;

  /** Normalizes rows of x and quantizes them. `bias`, `mean` are empty for RMSNorm (layer = false). */
  normForward(a: {
    x: Uint16Array;
    gain: Float32Array;
    bias: Float32Array;
    codes: Int8Array;
    scales: Float32Array;
    rstd: Float32Array;
    mean: Float32Array;
    T: number;
    C: number;
    layer: boolean;
    epsilon: number;
  }): void;

  /**
   * dx' = bf16(dx + gradient through the norm); dGain (and dBias with LayerNorm) get column sums.
   * `residual` false: dx' = bf16(gradient) (the final norm). `accumulate`: column sums go on from dGain/dBias.
   */
  normBackward(a: {
    dy: Uint16Array;
    x: Uint16Array;
    gain: Float32Array;
    rstd: Float32Array;
    mean: Float32Array;
    dx: Uint16Array;
    dGain: Float32Array;
    dBias: Float32Array;
    T: number;
    C: number;
    layer: boolean;
    residual: boolean;
    accumulate: boolean;
  }): void;

  /** y[t,n] = Σ panels of codes·codes, f32 [M,N]: the plain GEMM, for benches and tests. */
  gemm(a: {
    a: Int8Array;
    aScales: Float32Array;
    b: Int8Array;
    bScales: Float32Array;
    y: Float32Array;
    M: number;
    N: number;
    K: number;
  }): void;

  /** y = x·Wᵀ (+ bias), quantized per (token, head part). codes i8 [T,3C], scales f32 [3H,T]; `bias` f32 [3C] or empty. */
  linearQkv(a: {
    a: Int8Array;
    aScales: Float32Array;
    w: Int8Array;
    wScales: Float32Array;
    packed?: Uint8Array;
    bias: Float32Array;
    codes: Int8Array;
    scales: Float32Array;
    T: number;
    C: number;
    H: number;
  }): void;

  /** y = bf16(x + (a·Wᵀ (+ bias))). x, y bf16 [T,N]; y may be x. */
  linearResidual(a: {
    a: Int8Array;
    aScales: Float32Array;
    w: Int8Array;
    wScales: Float32Array;
    packed?: Uint8Array;
    bias: Float32Array;
    x: Uint16Array;
    y: Uint16Array;
    T: number;
    N: number;
    K: number;
  }): void;

  /** u = a·Wᵀ (+ bias); codes/scales of gelu(u) by rows, [T,N]; derivative i8 [T,N] = nearest(112·gelu'(u)). */
  linearGelu(a: {
    a: Int8Array;
    aScales: Float32Array;
    w: Int8Array;
    wScales: Float32Array;
    packed?: Uint8Array;
    bias: Float32Array;
    codes: Int8Array;
    scales: Float32Array;
    derivative: Int8Array;
    T: number;
    N: number;
    K: number;
  }): void;

  /** Causal attention. qkv codes i8 [T,3C], scales f32 [3H,T]; o bf16 [T,C]; lambda f32 [H,T]. Sequences of `context` tokens. */
  attentionForward(a: {
    qkv: Int8Array;
    qkvScales: Float32Array;
    o: Uint16Array;
    lambda: Float32Array;
    T: number;
    C: number;
    H: number;
    context: number;
  }): void;

  /** dqkv bf16 [T,3C] from dO codes i8 [T,C], scales f32 [H,T]. `t0`: index of the first token within the unit of U tokens. */
  attentionBackward(a: {
    qkv: Int8Array;
    qkvScales: Float32Array;
    dO: Int8Array;
    dOScales: Float32Array;
    lambda: Float32Array;
    dqkv: Uint16Array;
    seedV: Uint32Array;
    seedK: Uint32Array;
    seedQ: Uint32Array;
    T: number;
    C: number;
    H: number;
    context: number;
    t0: number;
    U: number;
  }): void;

  /** Row codes of a bf16 matrix [T,N], nearest (forward activations). */
  quantizeRows(a: { x: Uint16Array; codes: Int8Array; scales: Float32Array; T: number; N: number }): void;

  /**
   * Row codes of a bf16 gradient [T,N], dithered (row index t0 + t). Where `bias` has N elements it gets the column
   * sums of x (going on from `bias` with `accumulate`); empty: none.
   */
  quantizeGradientRows(a: {
    x: Uint16Array;
    codes: Int8Array;
    scales: Float32Array;
    bias: Float32Array;
    seed: Uint32Array;
    T: number;
    N: number;
    t0: number;
    accumulate: boolean;
  }): void;

  /** Transposing recode of codes [T,N] to [N,T] with scales f32 [P(T),N]; nearest where `dither` is false, else (t0+t, n). */
  recode(a: {
    codes: Int8Array;
    scales: Float32Array;
    out: Int8Array;
    outScales: Float32Array;
    seed: Uint32Array;
    dither: boolean;
    T: number;
    N: number;
    t0: number;
  }): void;

  /** dx = bf16(E·recode(W)): E codes [T,N], wt codes [K,N] (scales [P(N),K]); dx bf16 [T,K]. */
  linearInputGradient(a: {
    e: Int8Array;
    eScales: Float32Array;
    wt: Int8Array;
    wtScales: Float32Array;
    packed?: Uint8Array;
    dx: Uint16Array;
    T: number;
    N: number;
    K: number;
  }): void;

  /** dO = E·recode(W), dithered codes per (token, head): codes i8 [T,K], scales f32 [H,T]; E codes [T,N]. */
  linearHeadsInputGradient(a: {
    e: Int8Array;
    eScales: Float32Array;
    wt: Int8Array;
    wtScales: Float32Array;
    packed?: Uint8Array;
    codes: Int8Array;
    scales: Float32Array;
    seed: Uint32Array;
    T: number;
    N: number;
    K: number;
    H: number;
    t0: number;
  }): void;

  /** du = (E·recode(W)) · derivative/112, dithered row codes [T,K]; `bias` f32 [K] gets column sums of du, or is empty. */
  linearGeluInputGradient(a: {
    e: Int8Array;
    eScales: Float32Array;
    wt: Int8Array;
    wtScales: Float32Array;
    packed?: Uint8Array;
    derivative: Int8Array;
    codes: Int8Array;
    scales: Float32Array;
    bias: Float32Array;
    seed: Uint32Array;
    T: number;
    N: number;
    K: number;
    t0: number;
    accumulate: boolean;
  }): void;

  /** dW f32 [N,K] = Et·Xtᵀ over T: et codes [N,T], xt codes [K,T]; `accumulate`: goes on from dw. */
  weightGradient(a: {
    et: Int8Array;
    etScales: Float32Array;
    xt: Int8Array;
    xtScales: Float32Array;
    dw: Float32Array;
    N: number;
    K: number;
    T: number;
    accumulate: boolean;
  }): void;

  /**
   * The epilogues of products that are made in several parts, as f32 sums [T,N]: `weightGradient` makes the parts, each
   * going on from the one before. Row codes of sum (+ bias) in groups of N / H columns: codes i8 [T,N], scales f32
   * [H,T], each × factor. Dithered by (n, t0 + t) where `seed` has 4 words; empty: nearest.
   */
  quantizeHeads(a: {
    sum: Float32Array;
    bias: Float32Array;
    codes: Int8Array;
    scales: Float32Array;
    seed: Uint32Array;
    factor: number;
    T: number;
    N: number;
    H: number;
    t0: number;
  }): void;

  /** y = bf16(x + (sum (+ bias))). x, y bf16 [T,N]; y may be x. */
  addRows(a: { sum: Float32Array; bias: Float32Array; x: Uint16Array; y: Uint16Array; T: number; N: number }): void;

  /** u = sum (+ bias); outputs as {@link linearGelu}. */
  geluRows(a: {
    sum: Float32Array;
    bias: Float32Array;
    codes: Int8Array;
    scales: Float32Array;
    derivative: Int8Array;
    T: number;
    N: number;
  }): void;

  /** y bf16 [T,N] = bf16(sum). */
  roundRows(a: { sum: Float32Array; y: Uint16Array; T: number; N: number }): void;

  /** du = sum · derivative/112; outputs as {@link linearGeluInputGradient}. */
  geluGradientRows(a: {
    sum: Float32Array;
    derivative: Int8Array;
    codes: Int8Array;
    scales: Float32Array;
    bias: Float32Array;
    seed: Uint32Array;
    T: number;
    N: number;
    t0: number;
    accumulate: boolean;
  }): void;

  /**
   * Logits, softmax numerators and losses. a codes [T,C], w = row codes of wte [V,C]; `vocab` real entries (the rest is
   * masked). codes i8 [T,V] dithered, eScales f32 [P(V),T] = code scale × 1/U; loss f32 [T] in nats.
   * With `codes` empty only the loss is computed (evaluation).
   */
  headForward(a: {
    a: Int8Array;
    aScales: Float32Array;
    w: Int8Array;
    wScales: Float32Array;
    packed?: Uint8Array;
    targets: Uint32Array;
    codes: Int8Array;
    eScales: Float32Array;
    loss: Float32Array;
    seed: Uint32Array;
    T: number;
    C: number;
    V: number;
    vocab: number;
    t0: number;
    U: number;
  }): void;

  /** Plain logits f32 [T,V] = gemm; for sampling (padded entries are computed and ignored by the caller). */
  headLogits(a: {
    a: Int8Array;
    aScales: Float32Array;
    w: Int8Array;
    wScales: Float32Array;
    logits: Float32Array;
    T: number;
    C: number;
    V: number;
  }): void;

  /** dx bf16 [T,C] = bf16(E·recode(W) − Ŵ[target]·(1/U)). */
  headInputGradient(a: {
    e: Int8Array;
    eScales: Float32Array;
    wt: Int8Array;
    wtScales: Float32Array;
    packed?: Uint8Array;
    w: Int8Array;
    wScales: Float32Array;
    targets: Uint32Array;
    dx: Uint16Array;
    T: number;
    V: number;
    C: number;
    U: number;
  }): void;

  /** dWte (in place) = (dense − S1) + S2, dWpe = position sums; whole unit (T = U). a = final norm's codes, dx bf16 [U,C]. */
  embedBackward(a: {
    tokens: Uint32Array;
    targets: Uint32Array;
    a: Int8Array;
    aScales: Float32Array;
    dx: Uint16Array;
    dWte: Float32Array;
    dWpe: Float32Array;
    U: number;
    C: number;
    V: number;
    context: number;
  }): void;

  /** Sum of losses × 1/U → out[0] (f32). */
  unitLoss(a: { loss: Float32Array; out: Float32Array; U: number }): void;

  /**
   * 4-bit codes of a gradient tensor f32 [rows,cols] (cols a multiple of 64, or rows = 1): `codes` u8 [size/2 rounded up
   * to the leaf padding], `scales` bf16 [ceil(size/64)], dithered by (row, column).
   */
  quantize4(a: {
    x: Float32Array;
    codes: Uint8Array;
    scales: Uint16Array;
    seed: Uint32Array;
    rows: number;
    cols: number;
  }): void;

  /** x f32 [n] = codes × scales; n a multiple of 64. */
  dequantize4(a: { codes: Uint8Array; scales: Uint16Array; x: Float32Array; n: number }): void;

  /** Row codes of θ f32 [N,K] and their recode [K,N]: what the lanes multiply with. */
  quantizeWeight(a: {
    theta: Float32Array;
    w: Int8Array;
    wScales: Float32Array;
    wt: Int8Array;
    wtScales: Float32Array;
    N: number;
    K: number;
  }): void;

  /**
   * Commit pass over whole leaves of one tensor: Σ units → ×1/M → AdamW in place. `codes` u8 [M][n/2] and `scales`
   * bf16 [M][n/64] are concatenated views per unit given as arrays. n a multiple of 256. `b1t`, `b2t` already advanced.
   */
  commitLeaves(a: {
    theta: Float32Array;
    m: Float32Array;
    v: Float32Array;
    ema: Float32Array;
    codes: readonly Uint8Array[];
    scales: readonly Uint16Array[];
    n: number;
    beta1: number;
    beta2: number;
    b1t: number;
    b2t: number;
    epsilon: number;
    weightDecay: number;
    learningRate: number;
    emaDecay: number;
    updateEma: boolean;
  }): void;

  /** Packed model codes of x f32 [n], nearest, blocks of 64: bits 4 → codes u8 [n/2], bits 8 → u8 [n] (two's complement). */
  packModel(a: { x: Float32Array; codes: Uint8Array; scales: Uint16Array; n: number; bits: 4 | 8 }): void;

  /** Inverse of packModel. */
  unpackModel(a: { codes: Uint8Array; scales: Uint16Array; x: Float32Array; n: number; bits: 4 | 8 }): void;

  /**
   * The canonical chunks of newer − older, packed models u8 [n], into `out` u8 [n + one byte a chunk of 16,384]; `end`
   * u32 [2] gets their length, low word first. What `out` holds behind it stays.
   */
  diffModel(a: { older: Uint8Array; newer: Uint8Array; out: Uint8Array; end: Uint32Array; n: number }): void;

  /**
   * newer u8 [n] = older + the chunks that `patch` holds from byte `start` to its end. Throws MALFORMED unless they are
   * what diffModel writes: chunks before that one are applied, it and those behind are not.
   */
  patchModel(a: { older: Uint8Array; patch: Uint8Array; newer: Uint8Array; start: number; n: number }): void;

  // The family gemma3. G: heads of keys and of values, which divides H; h: head size; N here = (H + 2G)·h, a row of
  // heads: the query heads, then the keys', then the values'. Query head a attends to head a div (H ÷ G) of k and v.

  /** out[i] = 1 + gain[i], f32 [n]: the gain that norms multiply with. */
  gainPlusOne(a: { gain: Float32Array; out: Float32Array; n: number }): void;

  /** x[t,c] = bf16(wte[token[t], c] · scale). `wte` f32 [V,C], x bf16 [T,C]. */
  embedScaled(a: { tokens: Uint32Array; wte: Float32Array; x: Uint16Array; T: number; C: number; scale: number }): void;

  /** dWte (in place) = (dense − S1) + S2, the terms of S2 times `scale`; otherwise {@link embedBackward} without positions. */
  embedScaledBackward(a: {
    tokens: Uint32Array;
    targets: Uint32Array;
    a: Int8Array;
    aScales: Float32Array;
    dx: Uint16Array;
    dWte: Float32Array;
    U: number;
    C: number;
    V: number;
    scale: number;
  }): void;

  /** y bf16 [T,N] = bf16(a·Wᵀ): a codes [T,K], w codes [N,K]. N is any number of rows here. */
  linearRows(a: {
    a: Int8Array;
    aScales: Float32Array;
    w: Int8Array;
    wScales: Float32Array;
    packed?: Uint8Array;
    y: Uint16Array;
    T: number;
    N: number;
    K: number;
  }): void;

  /** y = bf16(x + RMSNorm(o)·gain), all bf16 [T,C], gain f32 [C]; rstd f32 [T] is kept. y may be x. */
  normResidual(a: {
    x: Uint16Array;
    o: Uint16Array;
    gain: Float32Array;
    y: Uint16Array;
    rstd: Float32Array;
    T: number;
    C: number;
    epsilon: number;
  }): void;

  /**
   * Heads of q and k: RMSNorm by head (gains f32 [h]), then the rotation of position t mod context; v as it is; then Q8 per
   * (token, head). y bf16 [T,N], rope f32 [context,h] (cosines, then sines), codes i8 [T,N], scales f32 [H+2G,T], rstd f32
   * [H+G,T].
   */
  rotateHeads(a: {
    y: Uint16Array;
    gainQ: Float32Array;
    gainK: Float32Array;
    rope: Float32Array;
    codes: Int8Array;
    scales: Float32Array;
    rstd: Float32Array;
    T: number;
    H: number;
    G: number;
    h: number;
    context: number;
    epsilon: number;
  }): void;

  /**
   * dy bf16 [T,N] from dqkv bf16 [T,N], the gradient of what rotateHeads quantized; dGainQ, dGainK f32 [h] get sums over
   * heads and tokens (going on from them with `accumulate`). dy may be dqkv.
   */
  rotateHeadsBackward(a: {
    dqkv: Uint16Array;
    y: Uint16Array;
    rstd: Float32Array;
    gainQ: Float32Array;
    gainK: Float32Array;
    rope: Float32Array;
    dy: Uint16Array;
    dGainQ: Float32Array;
    dGainK: Float32Array;
    T: number;
    H: number;
    G: number;
    h: number;
    context: number;
    accumulate: boolean;
  }): void;

  /**
   * {@link attentionForward} with grouped heads and a window: a query sees the last `window` keys (a multiple of 64; 0: all).
   * qkv codes i8 [T,N], scales f32 [H+2G,T]; o bf16 [T,H·h]; lambda f32 [H,T]. Scores are divided by the root of `scalar`.
   */
  groupedAttentionForward(a: {
    qkv: Int8Array;
    qkvScales: Float32Array;
    o: Uint16Array;
    lambda: Float32Array;
    T: number;
    H: number;
    G: number;
    h: number;
    context: number;
    window: number;
    scalar: number;
  }): void;

  /** dqkv bf16 [T,N] from dO codes i8 [T,H·h], scales f32 [H,T]; `t0`: index of the first token within the unit of U tokens. */
  groupedAttentionBackward(a: {
    qkv: Int8Array;
    qkvScales: Float32Array;
    dO: Int8Array;
    dOScales: Float32Array;
    lambda: Float32Array;
    dqkv: Uint16Array;
    seedV: Uint32Array;
    seedK: Uint32Array;
    seedQ: Uint32Array;
    T: number;
    H: number;
    G: number;
    h: number;
    context: number;
    window: number;
    scalar: number;
    t0: number;
    U: number;
  }): void;

  /** Row codes [T,N] of gelu(gate)·up; u bf16 [T,2N]: the gates of a token, then the other half. */
  geglu(a: { u: Uint16Array; codes: Int8Array; scales: Float32Array; T: number; N: number }): void;

  /** Dithered row codes [T,2N] of the gradient of u, from dh bf16 [T,N] and u bf16 [T,2N]; scales f32 [P(2N),T]. */
  gegluGradient(a: {
    dh: Uint16Array;
    u: Uint16Array;
    codes: Int8Array;
    scales: Float32Array;
    seed: Uint32Array;
    T: number;
    N: number;
    t0: number;
  }): void;
}

export type OperationName = keyof Kernels;

/** The registry: every operation of the kernel interface. One test enumerates it over all backends. */
export const OPERATIONS: readonly OperationName[] = [
  'fillZero',
  'embed',
  'normForward',
  'normBackward',
  'gemm',
  'linearQkv',
  'linearResidual',
  'linearGelu',
  'attentionForward',
  'attentionBackward',
  'quantizeRows',
  'quantizeGradientRows',
  'recode',
  'linearInputGradient',
  'linearHeadsInputGradient',
  'linearGeluInputGradient',
  'weightGradient',
  'quantizeHeads',
  'addRows',
  'geluRows',
  'roundRows',
  'geluGradientRows',
  'headForward',
  'headLogits',
  'headInputGradient',
  'embedBackward',
  'unitLoss',
  'quantize4',
  'dequantize4',
  'quantizeWeight',
  'commitLeaves',
  'packModel',
  'unpackModel',
  'diffModel',
  'patchModel',
  'gainPlusOne',
  'embedScaled',
  'embedScaledBackward',
  'linearRows',
  'normResidual',
  'rotateHeads',
  'rotateHeadsBackward',
  'groupedAttentionForward',
  'groupedAttentionBackward',
  'geglu',
  'gegluGradient',
];

/** Purposes of dithered quantizations: one number each, an input of the dither seed (`docs/numerics.md`). */
export const PURPOSE = {
  gradient4: 1,
  errorRows: 2,
  errorRecode: 3,
  headsError: 4,
  attentionV: 5,
  attentionK: 6,
  attentionQ: 7,
  probabilities: 8,
  adapterError: 9,
  adapterRecode: 10,
} as const;
