// Fields of every operation, in the order in which a tape's words hold them: scalars, then arrays.
#include "operations.h"

#include <vector>

namespace pogo {

// A size that no file of this build defines is null: the operation needs no scratch memory.
#define POGO_SIZE(function, Args) \
  __attribute__((weak)) size_t function##_workspace(const Args&, const DeviceTraits&);
POGO_SIZE(fill_zero, FillZeroArgs)
POGO_SIZE(embed, EmbedArgs)
POGO_SIZE(norm_forward, NormForwardArgs)
POGO_SIZE(norm_backward, NormBackwardArgs)
POGO_SIZE(gemm, GemmArgs)
POGO_SIZE(linear_qkv, LinearQkvArgs)
POGO_SIZE(linear_residual, LinearResidualArgs)
POGO_SIZE(linear_gelu, LinearGeluArgs)
POGO_SIZE(attention_forward, AttentionForwardArgs)
POGO_SIZE(attention_backward, AttentionBackwardArgs)
POGO_SIZE(quantize_rows, QuantizeRowsArgs)
POGO_SIZE(quantize_gradient_rows, QuantizeGradientRowsArgs)
POGO_SIZE(recode, RecodeArgs)
POGO_SIZE(linear_input_gradient, LinearInputGradientArgs)
POGO_SIZE(linear_heads_input_gradient, LinearHeadsInputGradientArgs)
POGO_SIZE(linear_gelu_input_gradient, LinearGeluInputGradientArgs)
POGO_SIZE(weight_gradient, WeightGradientArgs)
POGO_SIZE(weight_gradient4, WeightGradient4Args)
POGO_SIZE(quantize_heads, QuantizeHeadsArgs)
POGO_SIZE(add_rows, AddRowsArgs)
POGO_SIZE(gelu_rows, GeluRowsArgs)
POGO_SIZE(round_rows, RoundRowsArgs)
POGO_SIZE(gelu_gradient_rows, GeluGradientRowsArgs)
POGO_SIZE(head_forward, HeadForwardArgs)
POGO_SIZE(head_logits, HeadLogitsArgs)
POGO_SIZE(head_input_gradient, HeadInputGradientArgs)
POGO_SIZE(embed_backward, EmbedBackwardArgs)
POGO_SIZE(unit_loss, UnitLossArgs)
POGO_SIZE(quantize4, Quantize4Args)
POGO_SIZE(dequantize4, Dequantize4Args)
POGO_SIZE(quantize_weight, QuantizeWeightArgs)
POGO_SIZE(commit_leaves, CommitLeavesArgs)
POGO_SIZE(pack_model, PackModelArgs)
POGO_SIZE(unpack_model, UnpackModelArgs)
POGO_SIZE(diff_model, DiffModelArgs)
POGO_SIZE(patch_model, PatchModelArgs)
POGO_SIZE(gain_plus_one, GainPlusOneArgs)
POGO_SIZE(embed_scaled, EmbedScaledArgs)
POGO_SIZE(embed_scaled_backward, EmbedScaledBackwardArgs)
POGO_SIZE(linear_rows, LinearRowsArgs)
POGO_SIZE(norm_residual, NormResidualArgs)
POGO_SIZE(rotate_heads, RotateHeadsArgs)
POGO_SIZE(rotate_heads_backward, RotateHeadsBackwardArgs)
POGO_SIZE(grouped_attention_forward, GroupedAttentionForwardArgs)
POGO_SIZE(grouped_attention_backward, GroupedAttentionBackwardArgs)
POGO_SIZE(geglu, GegluArgs)
POGO_SIZE(geglu_gradient, GegluGradientArgs)
POGO_SIZE(blake3_trees, Blake3TreesArgs)
#undef POGO_SIZE

namespace {

uint64_t panels(uint64_t k) { return (k + 1023) / 1024; }
uint64_t area(uint64_t rows, uint64_t cols) { return rows * cols; }

/** A code matrix [rows, cols] that is read. */
template <class Codes, class Scales>
void read_codes(Fields& f, const char* name, Codes& codes, const char* scales_name, Scales& scales, uint64_t rows,
                uint64_t cols) {
  f.in(name, codes, area(rows, cols));
  f.in(scales_name, scales, area(panels(cols), rows));
}

/** A code matrix [rows, cols] that is written. */
template <class Codes, class Scales>
void write_codes(Fields& f, const char* name, Codes& codes, const char* scales_name, Scales& scales, uint64_t rows,
                 uint64_t cols) {
  f.out(name, codes, area(rows, cols));
  f.out(scales_name, scales, area(panels(cols), rows));
}

void fields(FillZeroArgs& a, Fields& f) { a.n = f.out_or_empty("x", a.x, 0); }

void fields(EmbedArgs& a, Fields& f) {
  f.u32("T", a.T);
  f.u32("C", a.C);
  f.u32("context", a.context);
  f.in("tokens", a.tokens, a.T);
  uint64_t table = f.in("wte", a.wte, a.C);
  a.V = a.C == 0 ? 0 : (uint32_t)(table / a.C);
  f.in("wpe", a.wpe, area(a.context, a.C));
  f.out("x", a.x, area(a.T, a.C));
}

void fields(NormForwardArgs& a, Fields& f) {
  f.u32("T", a.T);
  f.u32("C", a.C);
  f.flag("layer", a.layer);
  f.f32("epsilon", a.epsilon);
  f.in("x", a.x, area(a.T, a.C));
  f.in("gain", a.gain, a.C);
  f.in_or_empty("bias", a.bias, a.layer ? a.C : 0);
  write_codes(f, "codes", a.codes, "scales", a.scales, a.T, a.C);
  f.out("rstd", a.rstd, a.T);
  f.out_or_empty("mean", a.mean, a.layer ? a.T : 0);
  if (a.layer && (a.bias == nullptr || a.mean == nullptr)) f.refuse("bias, mean", "arrays with LayerNorm");
}

void fields(NormBackwardArgs& a, Fields& f) {
  f.u32("T", a.T);
  f.u32("C", a.C);
  f.flag("layer", a.layer);
  f.flag("residual", a.residual);
  f.flag("accumulate", a.accumulate);
  f.in("dy", a.dy, area(a.T, a.C));
  f.in("x", a.x, area(a.T, a.C));
  f.in("gain", a.gain, a.C);
  f.in("rstd", a.rstd, a.T);
  f.in_or_empty("mean", a.mean, a.layer ? a.T : 0);
  f.out("dx", a.dx, area(a.T, a.C));
  f.out("dGain", a.dGain, a.C);
  f.out_or_empty("dBias", a.dBias, a.layer ? a.C : 0);
  if (a.layer && (a.mean == nullptr || a.dBias == nullptr)) f.refuse("mean, dBias", "arrays with LayerNorm");
}

void fields(GemmArgs& a, Fields& f) {
  f.u32("M", a.M);
  f.u32("N", a.N);
  f.u32("K", a.K);
  read_codes(f, "a", a.a, "aScales", a.aScales, a.M, a.K);
  read_codes(f, "b", a.b, "bScales", a.bScales, a.N, a.K);
  f.out("y", a.y, area(a.M, a.N));
}

void fields(LinearQkvArgs& a, Fields& f) {
  f.u32("T", a.T);
  f.u32("C", a.C);
  f.u32("H", a.H);
  read_codes(f, "a", a.a, "aScales", a.aScales, a.T, a.C);
  read_codes(f, "w", a.w, "wScales", a.wScales, 3 * (uint64_t)a.C, a.C);
  f.in_or_empty("bias", a.bias, 3 * (uint64_t)a.C);
  f.out("codes", a.codes, 3 * area(a.T, a.C));
  f.out("scales", a.scales, 3 * area(a.H, a.T));
}

void fields(LinearResidualArgs& a, Fields& f) {
  f.u32("T", a.T);
  f.u32("N", a.N);
  f.u32("K", a.K);
  read_codes(f, "a", a.a, "aScales", a.aScales, a.T, a.K);
  read_codes(f, "w", a.w, "wScales", a.wScales, a.N, a.K);
  f.in_or_empty("bias", a.bias, a.N);
  f.in("x", a.x, area(a.T, a.N));
  f.out("y", a.y, area(a.T, a.N));
}

void fields(LinearGeluArgs& a, Fields& f) {
  f.u32("T", a.T);
  f.u32("N", a.N);
  f.u32("K", a.K);
  read_codes(f, "a", a.a, "aScales", a.aScales, a.T, a.K);
  read_codes(f, "w", a.w, "wScales", a.wScales, a.N, a.K);
  f.in_or_empty("bias", a.bias, a.N);
  write_codes(f, "codes", a.codes, "scales", a.scales, a.T, a.N);
  f.out("derivative", a.derivative, area(a.T, a.N));
}

void fields(AttentionForwardArgs& a, Fields& f) {
  f.u32("T", a.T);
  f.u32("C", a.C);
  f.u32("H", a.H);
  f.u32("context", a.context);
  f.in("qkv", a.qkv, 3 * area(a.T, a.C));
  f.in("qkvScales", a.qkvScales, 3 * area(a.H, a.T));
  f.out("o", a.o, area(a.T, a.C));
  f.out("lambda", a.lambda, area(a.H, a.T));
}

void fields(AttentionBackwardArgs& a, Fields& f) {
  f.u32("T", a.T);
  f.u32("C", a.C);
  f.u32("H", a.H);
  f.u32("context", a.context);
  f.u32("t0", a.t0);
  f.u32("U", a.U);
  f.in("qkv", a.qkv, 3 * area(a.T, a.C));
  f.in("qkvScales", a.qkvScales, 3 * area(a.H, a.T));
  f.in("dO", a.dO, area(a.T, a.C));
  f.in("dOScales", a.dOScales, area(a.H, a.T));
  f.in("lambda", a.lambda, area(a.H, a.T));
  f.out("dqkv", a.dqkv, 3 * area(a.T, a.C));
  f.in("seedV", a.seedV, 4);
  f.in("seedK", a.seedK, 4);
  f.in("seedQ", a.seedQ, 4);
}

void fields(QuantizeRowsArgs& a, Fields& f) {
  f.u32("T", a.T);
  f.u32("N", a.N);
  f.in("x", a.x, area(a.T, a.N));
  write_codes(f, "codes", a.codes, "scales", a.scales, a.T, a.N);
}

void fields(QuantizeGradientRowsArgs& a, Fields& f) {
  f.u32("T", a.T);
  f.u32("N", a.N);
  f.u32("t0", a.t0);
  f.flag("accumulate", a.accumulate);
  f.in("x", a.x, area(a.T, a.N));
  write_codes(f, "codes", a.codes, "scales", a.scales, a.T, a.N);
  f.out_or_empty("bias", a.bias, a.N);
  f.in("seed", a.seed, 4);
}

void fields(RecodeArgs& a, Fields& f) {
  f.u32("T", a.T);
  f.u32("N", a.N);
  f.u32("t0", a.t0);
  f.flag("dither", a.dither);
  read_codes(f, "codes", a.codes, "scales", a.scales, a.T, a.N);
  write_codes(f, "out", a.out, "outScales", a.outScales, a.N, a.T);
  f.in_or_empty("seed", a.seed, a.dither ? 4 : 0);
  if (a.dither && a.seed == nullptr) f.refuse("seed", "4 words with dither");
}

void fields(LinearInputGradientArgs& a, Fields& f) {
  f.u32("T", a.T);
  f.u32("N", a.N);
  f.u32("K", a.K);
  read_codes(f, "e", a.e, "eScales", a.eScales, a.T, a.N);
  read_codes(f, "wt", a.wt, "wtScales", a.wtScales, a.K, a.N);
  f.out("dx", a.dx, area(a.T, a.K));
}

void fields(LinearHeadsInputGradientArgs& a, Fields& f) {
  f.u32("T", a.T);
  f.u32("N", a.N);
  f.u32("K", a.K);
  f.u32("H", a.H);
  f.u32("t0", a.t0);
  read_codes(f, "e", a.e, "eScales", a.eScales, a.T, a.N);
  read_codes(f, "wt", a.wt, "wtScales", a.wtScales, a.K, a.N);
  f.out("codes", a.codes, area(a.T, a.K));
  f.out("scales", a.scales, area(a.H, a.T));
  f.in("seed", a.seed, 4);
}

void fields(LinearGeluInputGradientArgs& a, Fields& f) {
  f.u32("T", a.T);
  f.u32("N", a.N);
  f.u32("K", a.K);
  f.u32("t0", a.t0);
  f.flag("accumulate", a.accumulate);
  read_codes(f, "e", a.e, "eScales", a.eScales, a.T, a.N);
  read_codes(f, "wt", a.wt, "wtScales", a.wtScales, a.K, a.N);
  f.in("derivative", a.derivative, area(a.T, a.K));
  write_codes(f, "codes", a.codes, "scales", a.scales, a.T, a.K);
  f.out_or_empty("bias", a.bias, a.K);
  f.in("seed", a.seed, 4);
}

void fields(WeightGradientArgs& a, Fields& f) {
  f.u32("N", a.N);
  f.u32("K", a.K);
  f.u32("T", a.T);
  f.flag("accumulate", a.accumulate);
  read_codes(f, "et", a.et, "etScales", a.etScales, a.N, a.T);
  read_codes(f, "xt", a.xt, "xtScales", a.xtScales, a.K, a.T);
  f.out("dw", a.dw, area(a.N, a.K));
}

void fields(WeightGradient4Args& a, Fields& f) {
  f.u32("N", a.N);
  f.u32("K", a.K);
  f.u32("T", a.T);
  read_codes(f, "et", a.et, "etScales", a.etScales, a.N, a.T);
  read_codes(f, "xt", a.xt, "xtScales", a.xtScales, a.K, a.T);
  f.out("codes", a.codes, area(a.N, a.K) / 2);
  f.out("scales", a.scales, area(a.N, a.K) / 64);
  f.in("seed", a.seed, 4);
}

void fields(QuantizeHeadsArgs& a, Fields& f) {
  f.u32("T", a.T);
  f.u32("N", a.N);
  f.u32("H", a.H);
  f.u32("t0", a.t0);
  f.f32("factor", a.factor);
  f.in("sum", a.sum, area(a.T, a.N));
  f.in_or_empty("bias", a.bias, a.N);
  f.out("codes", a.codes, area(a.T, a.N));
  f.out("scales", a.scales, area(a.H, a.T));
  f.in_or_empty("seed", a.seed, 4);
}

void fields(AddRowsArgs& a, Fields& f) {
  f.u32("T", a.T);
  f.u32("N", a.N);
  f.in("sum", a.sum, area(a.T, a.N));
  f.in_or_empty("bias", a.bias, a.N);
  f.in("x", a.x, area(a.T, a.N));
  f.out("y", a.y, area(a.T, a.N));
}

void fields(GeluRowsArgs& a, Fields& f) {
  f.u32("T", a.T);
  f.u32("N", a.N);
  f.in("sum", a.sum, area(a.T, a.N));
  f.in_or_empty("bias", a.bias, a.N);
  write_codes(f, "codes", a.codes, "scales", a.scales, a.T, a.N);
  f.out("derivative", a.derivative, area(a.T, a.N));
}

void fields(RoundRowsArgs& a, Fields& f) {
  f.u32("T", a.T);
  f.u32("N", a.N);
  f.in("sum", a.sum, area(a.T, a.N));
  f.out("y", a.y, area(a.T, a.N));
}

void fields(GeluGradientRowsArgs& a, Fields& f) {
  f.u32("T", a.T);
  f.u32("N", a.N);
  f.u32("t0", a.t0);
  f.flag("accumulate", a.accumulate);
  f.in("sum", a.sum, area(a.T, a.N));
  f.in("derivative", a.derivative, area(a.T, a.N));
  write_codes(f, "codes", a.codes, "scales", a.scales, a.T, a.N);
  f.out_or_empty("bias", a.bias, a.N);
  f.in("seed", a.seed, 4);
}

void fields(HeadForwardArgs& a, Fields& f) {
  f.u32("T", a.T);
  f.u32("C", a.C);
  f.u32("V", a.V);
  f.u32("vocab", a.vocab);
  f.u32("t0", a.t0);
  f.u32("U", a.U);
  read_codes(f, "a", a.a, "aScales", a.aScales, a.T, a.C);
  read_codes(f, "w", a.w, "wScales", a.wScales, a.V, a.C);
  f.in("targets", a.targets, a.T);
  bool codes = f.out_or_empty("codes", a.codes, area(a.T, a.V)) > 0;
  f.out_or_empty("eScales", a.eScales, codes ? area(panels(a.V), a.T) : 0);
  f.out("loss", a.loss, a.T);
  f.in_or_empty("seed", a.seed, codes ? 4 : 0);
  if (codes && (a.eScales == nullptr || a.seed == nullptr)) f.refuse("eScales, seed", "arrays beside codes");
}

void fields(HeadLogitsArgs& a, Fields& f) {
  f.u32("T", a.T);
  f.u32("C", a.C);
  f.u32("V", a.V);
  read_codes(f, "a", a.a, "aScales", a.aScales, a.T, a.C);
  read_codes(f, "w", a.w, "wScales", a.wScales, a.V, a.C);
  f.out("logits", a.logits, area(a.T, a.V));
}

void fields(HeadInputGradientArgs& a, Fields& f) {
  f.u32("T", a.T);
  f.u32("V", a.V);
  f.u32("C", a.C);
  f.u32("U", a.U);
  read_codes(f, "e", a.e, "eScales", a.eScales, a.T, a.V);
  read_codes(f, "wt", a.wt, "wtScales", a.wtScales, a.C, a.V);
  read_codes(f, "w", a.w, "wScales", a.wScales, a.V, a.C);
  f.in("targets", a.targets, a.T);
  f.out("dx", a.dx, area(a.T, a.C));
}

void fields(EmbedBackwardArgs& a, Fields& f) {
  f.u32("U", a.U);
  f.u32("C", a.C);
  f.u32("V", a.V);
  f.u32("context", a.context);
  f.in("tokens", a.tokens, a.U);
  f.in("targets", a.targets, a.U);
  read_codes(f, "a", a.a, "aScales", a.aScales, a.U, a.C);
  f.in("dx", a.dx, area(a.U, a.C));
  f.out("dWte", a.dWte, area(a.V, a.C));
  f.out("dWpe", a.dWpe, area(a.context, a.C));
}

void fields(GainPlusOneArgs& a, Fields& f) {
  f.u32("n", a.n);
  f.in("gain", a.gain, a.n);
  f.out("out", a.out, a.n);
}

void fields(EmbedScaledArgs& a, Fields& f) {
  f.u32("T", a.T);
  f.u32("C", a.C);
  f.f32("scale", a.scale);
  f.in("tokens", a.tokens, a.T);
  uint64_t table = f.in("wte", a.wte, a.C);
  a.V = a.C == 0 ? 0 : (uint32_t)(table / a.C);
  f.out("x", a.x, area(a.T, a.C));
}

void fields(EmbedScaledBackwardArgs& a, Fields& f) {
  f.u32("U", a.U);
  f.u32("C", a.C);
  f.u32("V", a.V);
  f.f32("scale", a.scale);
  f.in("tokens", a.tokens, a.U);
  f.in("targets", a.targets, a.U);
  read_codes(f, "a", a.a, "aScales", a.aScales, a.U, a.C);
  f.in("dx", a.dx, area(a.U, a.C));
  f.out("dWte", a.dWte, area(a.V, a.C));
}

void fields(LinearRowsArgs& a, Fields& f) {
  f.u32("T", a.T);
  f.u32("N", a.N);
  f.u32("K", a.K);
  read_codes(f, "a", a.a, "aScales", a.aScales, a.T, a.K);
  read_codes(f, "w", a.w, "wScales", a.wScales, a.N, a.K);
  f.out("y", a.y, area(a.T, a.N));
}

void fields(NormResidualArgs& a, Fields& f) {
  f.u32("T", a.T);
  f.u32("C", a.C);
  f.f32("epsilon", a.epsilon);
  f.in("x", a.x, area(a.T, a.C));
  f.in("o", a.o, area(a.T, a.C));
  f.in("gain", a.gain, a.C);
  f.out("y", a.y, area(a.T, a.C));
  f.out("rstd", a.rstd, a.T);
}

/** Sizes of heads and their elements a token. @returns columns of a row of heads */
template <class Args>
uint64_t head_sizes(Args& a, Fields& f) {
  f.u32("T", a.T);
  f.u32("H", a.H);
  f.u32("G", a.G);
  f.u32("h", a.h);
  f.u32("context", a.context);
  if (a.G == 0 || a.H % a.G != 0) f.refuse("G", "a divisor of H");
  return area((uint64_t)a.H + 2 * (uint64_t)a.G, a.h);
}

void fields(RotateHeadsArgs& a, Fields& f) {
  uint64_t columns = head_sizes(a, f);
  f.f32("epsilon", a.epsilon);
  f.in("y", a.y, area(a.T, columns));
  f.in("gainQ", a.gainQ, a.h);
  f.in("gainK", a.gainK, a.h);
  f.in("rope", a.rope, area(a.context, a.h));
  f.out("codes", a.codes, area(a.T, columns));
  f.out("scales", a.scales, area((uint64_t)a.H + 2 * (uint64_t)a.G, a.T));
  f.out("rstd", a.rstd, area((uint64_t)a.H + a.G, a.T));
}

void fields(RotateHeadsBackwardArgs& a, Fields& f) {
  uint64_t columns = head_sizes(a, f);
  f.flag("accumulate", a.accumulate);
  f.in("dqkv", a.dqkv, area(a.T, columns));
  f.in("y", a.y, area(a.T, columns));
  f.in("rstd", a.rstd, area((uint64_t)a.H + a.G, a.T));
  f.in("gainQ", a.gainQ, a.h);
  f.in("gainK", a.gainK, a.h);
  f.in("rope", a.rope, area(a.context, a.h));
  f.out("dy", a.dy, area(a.T, columns));
  f.out("dGainQ", a.dGainQ, a.h);
  f.out("dGainK", a.dGainK, a.h);
}

void fields(GroupedAttentionForwardArgs& a, Fields& f) {
  uint64_t columns = head_sizes(a, f);
  f.u32("window", a.window);
  f.u32("scalar", a.scalar);
  f.in("qkv", a.qkv, area(a.T, columns));
  f.in("qkvScales", a.qkvScales, area((uint64_t)a.H + 2 * (uint64_t)a.G, a.T));
  f.out("o", a.o, area(a.T, area(a.H, a.h)));
  f.out("lambda", a.lambda, area(a.H, a.T));
}

void fields(GroupedAttentionBackwardArgs& a, Fields& f) {
  uint64_t columns = head_sizes(a, f);
  f.u32("window", a.window);
  f.u32("scalar", a.scalar);
  f.u32("t0", a.t0);
  f.u32("U", a.U);
  f.in("qkv", a.qkv, area(a.T, columns));
  f.in("qkvScales", a.qkvScales, area((uint64_t)a.H + 2 * (uint64_t)a.G, a.T));
  f.in("dO", a.dO, area(a.T, area(a.H, a.h)));
  f.in("dOScales", a.dOScales, area(a.H, a.T));
  f.in("lambda", a.lambda, area(a.H, a.T));
  f.out("dqkv", a.dqkv, area(a.T, columns));
  f.in("seedV", a.seedV, 4);
  f.in("seedK", a.seedK, 4);
  f.in("seedQ", a.seedQ, 4);
}

void fields(GegluArgs& a, Fields& f) {
  f.u32("T", a.T);
  f.u32("N", a.N);
  f.in("u", a.u, 2 * area(a.T, a.N));
  write_codes(f, "codes", a.codes, "scales", a.scales, a.T, a.N);
}

void fields(GegluGradientArgs& a, Fields& f) {
  f.u32("T", a.T);
  f.u32("N", a.N);
  f.u32("t0", a.t0);
  f.in("dh", a.dh, area(a.T, a.N));
  f.in("u", a.u, 2 * area(a.T, a.N));
  write_codes(f, "codes", a.codes, "scales", a.scales, a.T, 2 * (uint64_t)a.N);
  f.in("seed", a.seed, 4);
}

void fields(UnitLossArgs& a, Fields& f) {
  f.u32("U", a.U);
  f.in("loss", a.loss, a.U);
  f.out("out", a.out, 1);
}

void fields(Quantize4Args& a, Fields& f) {
  f.u32("rows", a.rows);
  f.u32("cols", a.cols);
  uint64_t size = area(a.rows, a.cols);
  f.in("x", a.x, size);
  a.codeBytes = f.out("codes", a.codes, (size + 1) / 2);
  a.scaleCount = f.out("scales", a.scales, (size + 63) / 64);
  f.in("seed", a.seed, 4);
}

void fields(Dequantize4Args& a, Fields& f) {
  f.u64("n", a.n);
  f.in("codes", a.codes, a.n / 2);
  f.in("scales", a.scales, a.n / 64);
  f.out("x", a.x, a.n);
}

void fields(QuantizeWeightArgs& a, Fields& f) {
  f.u32("N", a.N);
  f.u32("K", a.K);
  uint64_t length = f.in("theta", a.theta, a.K);
  a.rows = a.K == 0 || length / a.K > a.N ? a.N : (uint32_t)(length / a.K);
  write_codes(f, "w", a.w, "wScales", a.wScales, a.N, a.K);
  write_codes(f, "wt", a.wt, "wtScales", a.wtScales, a.K, a.N);
}

void fields(CommitLeavesArgs& a, Fields& f) {
  f.u64("n", a.n);
  f.flag("updateEma", a.updateEma);
  f.f32("beta1", a.beta1);
  f.f32("beta2", a.beta2);
  f.f32("b1t", a.b1t);
  f.f32("b2t", a.b2t);
  f.f32("epsilon", a.epsilon);
  f.f32("weightDecay", a.weightDecay);
  f.f32("learningRate", a.learningRate);
  f.f32("emaDecay", a.emaDecay);
  f.out("theta", a.theta, a.n);
  f.out("m", a.m, a.n);
  f.out("v", a.v, a.n);
  f.out_or_empty("ema", a.ema, a.updateEma ? a.n : 0);
  if (a.updateEma && a.ema == nullptr) f.refuse("ema", "an array where it is moved");
  a.units = f.arrays("codes", Element::u8, false, a.n / 2);
  uint32_t scales = f.arrays("scales", Element::bf16, false, a.n / 64);
  if (scales != a.units) f.refuse("scales", "as many arrays as codes");
  std::vector<const void*> planes(2 * (size_t)a.units);
  for (uint32_t unit = 0; unit < a.units; unit += 1) {
    planes[unit] = f.array_at(1, unit).data;
    planes[a.units + unit] = f.array_at(0, unit).data;
  }
  const void* const* device = static_cast<const void* const*>(f.constant(planes.data(), planes.size() * sizeof(void*)));
  a.codes = reinterpret_cast<const uint8_t* const*>(device);
  a.scales = reinterpret_cast<const uint16_t* const*>(device == nullptr ? nullptr : device + a.units);
}

void packed_fields(Fields& f, uint64_t n, uint32_t bits) {
  (void)n;
  if (bits != 4 && bits != 8) f.refuse("bits", "4 or 8");
}

void fields(PackModelArgs& a, Fields& f) {
  f.u64("n", a.n);
  f.u32("bits", a.bits);
  packed_fields(f, a.n, a.bits);
  f.in("x", a.x, a.n);
  f.out("codes", a.codes, a.bits == 4 ? (a.n + 1) / 2 : a.n);
  f.out("scales", a.scales, (a.n + 63) / 64);
}

void fields(UnpackModelArgs& a, Fields& f) {
  f.u64("n", a.n);
  f.u32("bits", a.bits);
  packed_fields(f, a.n, a.bits);
  f.in("codes", a.codes, a.bits == 4 ? (a.n + 1) / 2 : a.n);
  f.in("scales", a.scales, (a.n + 63) / 64);
  f.out("x", a.x, a.n);
}

void fields(DiffModelArgs& a, Fields& f) {
  f.u64("n", a.n);
  f.in("older", a.older, a.n);
  f.in("newer", a.newer, a.n);
  f.out("out", a.out, a.n + (a.n + 16383) / 16384);
  f.out("end", a.end, 2);
}

void fields(PatchModelArgs& a, Fields& f) {
  f.u64("n", a.n);
  f.u64("start", a.start);
  f.in("older", a.older, a.n);
  a.patchBytes = f.in_or_empty("patch", a.patch, a.start);
  f.out("newer", a.newer, a.n);
}

void fields(Blake3TreesArgs& a, Fields& f) {
  a.count = f.arrays("bytes", Element::u8, false, 1);
  uint32_t trees = f.arrays("trees", Element::u8, true, 64);
  if (trees != a.count) f.refuse("trees", "as many arrays as bytes");
  std::vector<Blake3Segment> segments(a.count);
  a.mostLeaves = 0;
  a.allLeaves = 0;
  for (uint32_t i = 0; i < a.count; i += 1) {
    DeviceArray bytes = f.array_at(1, i);
    DeviceArray tree = f.array_at(0, i);
    uint64_t leaves = (bytes.length + 1023) / 1024;
    if (tree.length < 32 * (uint64_t)blake3_tree_values(leaves)) f.refuse("trees", "room for every chaining value");
    segments[i] = {static_cast<const uint8_t*>(bytes.data), static_cast<uint8_t*>(tree.data), bytes.length, 0};
    a.mostLeaves = leaves > a.mostLeaves ? leaves : a.mostLeaves;
    a.allLeaves += leaves;
  }
  a.segments =
      static_cast<const Blake3Segment*>(f.constant(segments.data(), segments.size() * sizeof(Blake3Segment)));
}

template <class A, Status (*RUN)(const A&, const Launch&)>
Status run(const void* arguments, const Launch& launch) {
  return RUN(*static_cast<const A*>(arguments), launch);
}

template <class A, size_t (*WORKSPACE)(const A&, const DeviceTraits&)>
size_t workspace(const void* arguments, const DeviceTraits& device) {
  return WORKSPACE(*static_cast<const A*>(arguments), device);
}

template <class A, Status (*RUN)(const A&, const Launch&), size_t (*WORKSPACE)(const A&, const DeviceTraits&)>
Operation entry(const char* name) {
  static_assert(sizeof(A) <= MOST_ARGUMENT_BYTES, "arguments of every operation fit");
  static_assert(std::is_trivially_copyable_v<A>, "arguments are plain");
  return {name, sizeof(A), [](void* arguments, Fields& f) { fields(*static_cast<A*>(arguments), f); },
          run<A, RUN>, WORKSPACE == nullptr ? nullptr : workspace<A, WORKSPACE>};
}

/** Every operation, and the hashing of trees. What is missing here is refused when a tape that needs it is bound. */
const std::vector<Operation>& table() {
  static const std::vector<Operation> operations = {
      entry<FillZeroArgs, fill_zero, fill_zero_workspace>("fillZero"),
      entry<EmbedArgs, embed, embed_workspace>("embed"),
      entry<NormForwardArgs, norm_forward, norm_forward_workspace>("normForward"),
      entry<NormBackwardArgs, norm_backward, norm_backward_workspace>("normBackward"),
      entry<GemmArgs, gemm, gemm_workspace>("gemm"),
      entry<LinearQkvArgs, linear_qkv, linear_qkv_workspace>("linearQkv"),
      entry<LinearResidualArgs, linear_residual, linear_residual_workspace>("linearResidual"),
      entry<LinearGeluArgs, linear_gelu, linear_gelu_workspace>("linearGelu"),
      entry<AttentionForwardArgs, attention_forward, attention_forward_workspace>("attentionForward"),
      entry<AttentionBackwardArgs, attention_backward, attention_backward_workspace>("attentionBackward"),
      entry<QuantizeRowsArgs, quantize_rows, quantize_rows_workspace>("quantizeRows"),
      entry<QuantizeGradientRowsArgs, quantize_gradient_rows, quantize_gradient_rows_workspace>("quantizeGradientRows"),
      entry<RecodeArgs, recode, recode_workspace>("recode"),
      entry<LinearInputGradientArgs, linear_input_gradient, linear_input_gradient_workspace>("linearInputGradient"),
      entry<LinearHeadsInputGradientArgs, linear_heads_input_gradient, linear_heads_input_gradient_workspace>("linearHeadsInputGradient"),
      entry<LinearGeluInputGradientArgs, linear_gelu_input_gradient, linear_gelu_input_gradient_workspace>("linearGeluInputGradient"),
      entry<WeightGradientArgs, weight_gradient, weight_gradient_workspace>("weightGradient"),
      entry<WeightGradient4Args, weight_gradient4, weight_gradient4_workspace>("weightGradient4"),
      entry<QuantizeHeadsArgs, quantize_heads, quantize_heads_workspace>("quantizeHeads"),
      entry<AddRowsArgs, add_rows, add_rows_workspace>("addRows"),
      entry<GeluRowsArgs, gelu_rows, gelu_rows_workspace>("geluRows"),
      entry<RoundRowsArgs, round_rows, round_rows_workspace>("roundRows"),
      entry<GeluGradientRowsArgs, gelu_gradient_rows, gelu_gradient_rows_workspace>("geluGradientRows"),
      entry<HeadForwardArgs, head_forward, head_forward_workspace>("headForward"),
      entry<HeadLogitsArgs, head_logits, head_logits_workspace>("headLogits"),
      entry<HeadInputGradientArgs, head_input_gradient, head_input_gradient_workspace>("headInputGradient"),
      entry<EmbedBackwardArgs, embed_backward, embed_backward_workspace>("embedBackward"),
      entry<UnitLossArgs, unit_loss, unit_loss_workspace>("unitLoss"),
      entry<Quantize4Args, quantize4, quantize4_workspace>("quantize4"),
      entry<Dequantize4Args, dequantize4, dequantize4_workspace>("dequantize4"),
      entry<QuantizeWeightArgs, quantize_weight, quantize_weight_workspace>("quantizeWeight"),
      entry<CommitLeavesArgs, commit_leaves, commit_leaves_workspace>("commitLeaves"),
      entry<PackModelArgs, pack_model, pack_model_workspace>("packModel"),
      entry<UnpackModelArgs, unpack_model, unpack_model_workspace>("unpackModel"),
      entry<DiffModelArgs, diff_model, diff_model_workspace>("diffModel"),
      entry<PatchModelArgs, patch_model, patch_model_workspace>("patchModel"),
      entry<GainPlusOneArgs, gain_plus_one, gain_plus_one_workspace>("gainPlusOne"),
      entry<EmbedScaledArgs, embed_scaled, embed_scaled_workspace>("embedScaled"),
      entry<EmbedScaledBackwardArgs, embed_scaled_backward, embed_scaled_backward_workspace>("embedScaledBackward"),
      entry<LinearRowsArgs, linear_rows, linear_rows_workspace>("linearRows"),
      entry<NormResidualArgs, norm_residual, norm_residual_workspace>("normResidual"),
      entry<RotateHeadsArgs, rotate_heads, rotate_heads_workspace>("rotateHeads"),
      entry<RotateHeadsBackwardArgs, rotate_heads_backward, rotate_heads_backward_workspace>("rotateHeadsBackward"),
      entry<GroupedAttentionForwardArgs, grouped_attention_forward, grouped_attention_forward_workspace>("groupedAttentionForward"),
      entry<GroupedAttentionBackwardArgs, grouped_attention_backward, grouped_attention_backward_workspace>("groupedAttentionBackward"),
      entry<GegluArgs, geglu, geglu_workspace>("geglu"),
      entry<GegluGradientArgs, geglu_gradient, geglu_gradient_workspace>("gegluGradient"),
      entry<Blake3TreesArgs, blake3_trees, blake3_trees_workspace>("blake3Trees"),
  };
  return operations;
}

}  // namespace

size_t operation_count() { return table().size(); }
const Operation& operation_at(size_t index) { return table()[index]; }

}  // namespace pogo
