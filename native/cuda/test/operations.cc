#include "operations.h"

#include <stdio.h>
#include <stdlib.h>

// Launchers and sizes of scratch memory that no file of this build defines are null.
#define POGO_EVERY_OPERATION(row)                                             \
  row(fillZero, fill_zero, FillZeroArgs)                                      \
  row(embed, embed, EmbedArgs)                                                \
  row(normForward, norm_forward, NormForwardArgs)                             \
  row(normBackward, norm_backward, NormBackwardArgs)                          \
  row(gemm, gemm, GemmArgs)                                                   \
  row(linearQkv, linear_qkv, LinearQkvArgs)                                   \
  row(linearResidual, linear_residual, LinearResidualArgs)                    \
  row(linearGelu, linear_gelu, LinearGeluArgs)                                \
  row(attentionForward, attention_forward, AttentionForwardArgs)              \
  row(attentionBackward, attention_backward, AttentionBackwardArgs)           \
  row(quantizeRows, quantize_rows, QuantizeRowsArgs)                          \
  row(quantizeGradientRows, quantize_gradient_rows, QuantizeGradientRowsArgs) \
  row(recode, recode, RecodeArgs)                                             \
  row(linearInputGradient, linear_input_gradient, LinearInputGradientArgs)    \
  row(linearHeadsInputGradient, linear_heads_input_gradient, LinearHeadsInputGradientArgs) \
  row(linearGeluInputGradient, linear_gelu_input_gradient, LinearGeluInputGradientArgs)    \
  row(weightGradient, weight_gradient, WeightGradientArgs)                    \
  row(quantizeHeads, quantize_heads, QuantizeHeadsArgs)                       \
  row(addRows, add_rows, AddRowsArgs)                                         \
  row(geluRows, gelu_rows, GeluRowsArgs)                                      \
  row(roundRows, round_rows, RoundRowsArgs)                                   \
  row(geluGradientRows, gelu_gradient_rows, GeluGradientRowsArgs)             \
  row(headForward, head_forward, HeadForwardArgs)                             \
  row(headLogits, head_logits, HeadLogitsArgs)                                \
  row(headInputGradient, head_input_gradient, HeadInputGradientArgs)          \
  row(embedBackward, embed_backward, EmbedBackwardArgs)                       \
  row(unitLoss, unit_loss, UnitLossArgs)                                      \
  row(quantize4, quantize4, Quantize4Args)                                    \
  row(dequantize4, dequantize4, Dequantize4Args)                              \
  row(quantizeWeight, quantize_weight, QuantizeWeightArgs)                    \
  row(commitLeaves, commit_leaves, CommitLeavesArgs)                          \
  row(packModel, pack_model, PackModelArgs)                                   \
  row(unpackModel, unpack_model, UnpackModelArgs)                             \
  row(diffModel, diff_model, DiffModelArgs)                                   \
  row(patchModel, patch_model, PatchModelArgs)                                \
  row(gainPlusOne, gain_plus_one, GainPlusOneArgs) \
  row(embedScaled, embed_scaled, EmbedScaledArgs) \
  row(embedScaledBackward, embed_scaled_backward, EmbedScaledBackwardArgs) \
  row(linearRows, linear_rows, LinearRowsArgs) \
  row(normResidual, norm_residual, NormResidualArgs) \
  row(rotateHeads, rotate_heads, RotateHeadsArgs) \
  row(rotateHeadsBackward, rotate_heads_backward, RotateHeadsBackwardArgs) \
  row(groupedAttentionForward, grouped_attention_forward, GroupedAttentionForwardArgs) \
  row(groupedAttentionBackward, grouped_attention_backward, GroupedAttentionBackwardArgs) \
  row(geglu, geglu, GegluArgs) \
  row(gegluGradient, geglu_gradient, GegluGradientArgs) \
  row(weightGradient4, weight_gradient4, WeightGradient4Args)

namespace pogo {
#define POGO_WEAK(name, function, Args)                                       \
  __attribute__((weak)) Status function(const Args& a, const Launch& launch); \
  __attribute__((weak)) size_t function##_workspace(const Args& a, const DeviceTraits& device);
POGO_EVERY_OPERATION(POGO_WEAK)
#undef POGO_WEAK
}  // namespace pogo

namespace test {
namespace {

using namespace pogo;

template <class T>
struct SlotOf;
template <class T>
struct SlotOf<T*> {
  static constexpr Slot value = Slot::POINTER;
};
template <class T>
struct SlotOf<T* const*> {
  static constexpr Slot value = Slot::LIST;
};
template <>
struct SlotOf<uint32_t> {
  static constexpr Slot value = Slot::U32;
};
template <>
struct SlotOf<uint64_t> {
  static constexpr Slot value = Slot::U64;
};
template <>
struct SlotOf<bool> {
  static constexpr Slot value = Slot::FLAG;
};
template <>
struct SlotOf<float> {
  static constexpr Slot value = Slot::REAL;
};

#define F(name) {#name, SlotOf<decltype(Args::name)>::value, offsetof(Args, name)}

template <class Args>
std::vector<Field> fields_of();
#define POGO_FIELDS(Type, ...)                \
  template <>                                 \
  std::vector<Field> fields_of<Type>() {      \
    typedef Type Args;                        \
    return {__VA_ARGS__};                     \
  }
POGO_FIELDS(FillZeroArgs, F(x), F(n))
POGO_FIELDS(EmbedArgs, F(tokens), F(wte), F(wpe), F(x), F(T), F(C), F(context), F(V))
POGO_FIELDS(NormForwardArgs, F(x), F(gain), F(bias), F(codes), F(scales), F(rstd), F(mean), F(T), F(C), F(layer),
            F(epsilon))
POGO_FIELDS(NormBackwardArgs, F(dy), F(x), F(gain), F(rstd), F(mean), F(dx), F(dGain), F(dBias), F(T), F(C), F(layer),
            F(residual), F(accumulate))
POGO_FIELDS(GemmArgs, F(a), F(aScales), F(b), F(bScales), F(y), F(M), F(N), F(K))
POGO_FIELDS(LinearQkvArgs, F(a), F(aScales), F(w), F(wScales), F(bias), F(codes), F(scales), F(T), F(C), F(H))
POGO_FIELDS(LinearResidualArgs, F(a), F(aScales), F(w), F(wScales), F(bias), F(x), F(y), F(T), F(N), F(K))
POGO_FIELDS(LinearGeluArgs, F(a), F(aScales), F(w), F(wScales), F(bias), F(codes), F(scales), F(derivative), F(T), F(N),
            F(K))
POGO_FIELDS(AttentionForwardArgs, F(qkv), F(qkvScales), F(o), F(lambda), F(T), F(C), F(H), F(context))
POGO_FIELDS(AttentionBackwardArgs, F(qkv), F(qkvScales), F(dO), F(dOScales), F(lambda), F(dqkv), F(seedV), F(seedK),
            F(seedQ), F(T), F(C), F(H), F(context), F(t0), F(U))
POGO_FIELDS(QuantizeRowsArgs, F(x), F(codes), F(scales), F(T), F(N))
POGO_FIELDS(QuantizeGradientRowsArgs, F(x), F(codes), F(scales), F(bias), F(seed), F(T), F(N), F(t0), F(accumulate))
POGO_FIELDS(RecodeArgs, F(codes), F(scales), F(out), F(outScales), F(seed), F(dither), F(T), F(N), F(t0))
POGO_FIELDS(LinearInputGradientArgs, F(e), F(eScales), F(wt), F(wtScales), F(dx), F(T), F(N), F(K))
POGO_FIELDS(LinearHeadsInputGradientArgs, F(e), F(eScales), F(wt), F(wtScales), F(codes), F(scales), F(seed), F(T),
            F(N), F(K), F(H), F(t0))
POGO_FIELDS(LinearGeluInputGradientArgs, F(e), F(eScales), F(wt), F(wtScales), F(derivative), F(codes), F(scales),
            F(bias), F(seed), F(T), F(N), F(K), F(t0), F(accumulate))
POGO_FIELDS(WeightGradientArgs, F(et), F(etScales), F(xt), F(xtScales), F(dw), F(N), F(K), F(T), F(accumulate))
POGO_FIELDS(WeightGradient4Args, F(et), F(etScales), F(xt), F(xtScales), F(codes), F(scales), F(seed), F(N), F(K), F(T),
            F(codeBytes), F(scaleCount))
POGO_FIELDS(QuantizeHeadsArgs, F(sum), F(bias), F(codes), F(scales), F(seed), F(factor), F(T), F(N), F(H), F(t0))
POGO_FIELDS(AddRowsArgs, F(sum), F(bias), F(x), F(y), F(T), F(N))
POGO_FIELDS(GeluRowsArgs, F(sum), F(bias), F(codes), F(scales), F(derivative), F(T), F(N))
POGO_FIELDS(RoundRowsArgs, F(sum), F(y), F(T), F(N))
POGO_FIELDS(GeluGradientRowsArgs, F(sum), F(derivative), F(codes), F(scales), F(bias), F(seed), F(T), F(N), F(t0),
            F(accumulate))
POGO_FIELDS(HeadForwardArgs, F(a), F(aScales), F(w), F(wScales), F(targets), F(codes), F(eScales), F(loss), F(seed),
            F(T), F(C), F(V), F(vocab), F(t0), F(U))
POGO_FIELDS(HeadLogitsArgs, F(a), F(aScales), F(w), F(wScales), F(logits), F(T), F(C), F(V))
POGO_FIELDS(HeadInputGradientArgs, F(e), F(eScales), F(wt), F(wtScales), F(w), F(wScales), F(targets), F(dx), F(T),
            F(V), F(C), F(U))
POGO_FIELDS(EmbedBackwardArgs, F(tokens), F(targets), F(a), F(aScales), F(dx), F(dWte), F(dWpe), F(U), F(C), F(V),
            F(context))
POGO_FIELDS(GainPlusOneArgs, F(gain), F(out), F(n))
POGO_FIELDS(EmbedScaledArgs, F(tokens), F(wte), F(x), F(T), F(C), F(scale), F(V))
POGO_FIELDS(EmbedScaledBackwardArgs, F(tokens), F(targets), F(a), F(aScales), F(dx), F(dWte), F(U), F(C), F(V), F(scale))
POGO_FIELDS(LinearRowsArgs, F(a), F(aScales), F(w), F(wScales), F(y), F(T), F(N), F(K))
POGO_FIELDS(NormResidualArgs, F(x), F(o), F(gain), F(y), F(rstd), F(T), F(C), F(epsilon))
POGO_FIELDS(RotateHeadsArgs, F(y), F(gainQ), F(gainK), F(rope), F(codes), F(scales), F(rstd), F(T), F(H), F(G), F(h),
            F(context), F(epsilon))
POGO_FIELDS(RotateHeadsBackwardArgs, F(dqkv), F(y), F(rstd), F(gainQ), F(gainK), F(rope), F(dy), F(dGainQ), F(dGainK),
            F(T), F(H), F(G), F(h), F(context), F(accumulate))
POGO_FIELDS(GroupedAttentionForwardArgs, F(qkv), F(qkvScales), F(o), F(lambda), F(T), F(H), F(G), F(h), F(context),
            F(window), F(scalar))
POGO_FIELDS(GroupedAttentionBackwardArgs, F(qkv), F(qkvScales), F(dO), F(dOScales), F(lambda), F(dqkv), F(seedV),
            F(seedK), F(seedQ), F(T), F(H), F(G), F(h), F(context), F(window), F(scalar), F(t0), F(U))
POGO_FIELDS(GegluArgs, F(u), F(codes), F(scales), F(T), F(N))
POGO_FIELDS(GegluGradientArgs, F(dh), F(u), F(codes), F(scales), F(seed), F(T), F(N), F(t0))
POGO_FIELDS(UnitLossArgs, F(loss), F(out), F(U))
POGO_FIELDS(Quantize4Args, F(x), F(codes), F(scales), F(seed), F(rows), F(cols), F(codeBytes), F(scaleCount))
POGO_FIELDS(Dequantize4Args, F(codes), F(scales), F(x), F(n))
POGO_FIELDS(QuantizeWeightArgs, F(theta), F(w), F(wScales), F(wt), F(wtScales), F(N), F(K), F(rows))
POGO_FIELDS(CommitLeavesArgs, F(theta), F(m), F(v), F(ema), F(codes), F(scales), F(units), F(n), F(beta1), F(beta2),
            F(b1t), F(b2t), F(epsilon), F(weightDecay), F(learningRate), F(emaDecay), F(updateEma))
POGO_FIELDS(PackModelArgs, F(x), F(codes), F(scales), F(n), F(bits))
POGO_FIELDS(UnpackModelArgs, F(codes), F(scales), F(x), F(n), F(bits))
POGO_FIELDS(DiffModelArgs, F(older), F(newer), F(out), F(end), F(n))
POGO_FIELDS(PatchModelArgs, F(older), F(patch), F(newer), F(start), F(n), F(patchBytes))
#undef F

// The scalar kernels, called as src/backend/cpu.ts calls them.
const PogoKernels& scalar = pogo_kernels_scalar;

const char* run(const FillZeroArgs& a, PogoArena*) {
  memset(a.x, 0, a.n * 4);
  return nullptr;
}
const char* run(const EmbedArgs& a, PogoArena* s) {
  return scalar.embed(s, a.tokens, a.wte, a.wpe, a.x, a.T, a.C, a.context);
}
const char* run(const NormForwardArgs& a, PogoArena* s) {
  return scalar.norm_forward(s, a.x, a.gain, a.bias, a.codes, a.scales, a.rstd, a.mean, a.T, a.C, a.layer, a.epsilon);
}
const char* run(const NormBackwardArgs& a, PogoArena* s) {
  return scalar.norm_backward(s, a.dy, a.x, a.gain, a.rstd, a.mean, a.dx, a.dGain, a.dBias, a.T, a.C, a.layer,
                              a.residual, a.accumulate);
}
const char* run(const GemmArgs& a, PogoArena* s) {
  return scalar.gemm(s, {a.a, a.aScales}, {a.b, a.bScales}, a.y, a.M, a.N, a.K, false);
}
const char* run(const LinearQkvArgs& a, PogoArena* s) {
  return scalar.linear_heads(s, {a.a, a.aScales}, {a.w, a.wScales}, a.bias, nullptr, a.codes, a.scales, a.T, 3 * a.C,
                             a.C, a.C / a.H, 0);
}
const char* run(const LinearResidualArgs& a, PogoArena* s) {
  return scalar.linear_residual(s, {a.a, a.aScales}, {a.w, a.wScales}, a.bias, a.x, a.y, a.T, a.N, a.K);
}
const char* run(const LinearGeluArgs& a, PogoArena* s) {
  return scalar.linear_gelu(s, {a.a, a.aScales}, {a.w, a.wScales}, a.bias, a.codes, a.scales, a.derivative, a.T, a.N,
                            a.K);
}
PogoAttention attention_shape(int64_t T, int64_t C, int64_t H, int64_t context) {
  return {T, H, H, C / H, context, 0, static_cast<uint32_t>(C / H)};
}
const char* run(const AttentionForwardArgs& a, PogoArena* s) {
  return scalar.attention_forward(s, attention_shape(a.T, a.C, a.H, a.context), a.qkv, a.qkvScales, a.o, a.lambda);
}
const char* run(const AttentionBackwardArgs& a, PogoArena* s) {
  return scalar.attention_backward(s, {attention_shape(a.T, a.C, a.H, a.context), a.qkv, a.qkvScales, a.dO, a.dOScales,
                                       a.lambda, a.dqkv, a.seedV, a.seedK, a.seedQ, a.t0, a.U});
}
const char* run(const QuantizeRowsArgs& a, PogoArena* s) {
  return scalar.quantize_rows(s, a.x, a.codes, a.scales, nullptr, nullptr, a.T, a.N, 0, false);
}
const char* run(const QuantizeGradientRowsArgs& a, PogoArena* s) {
  return scalar.quantize_rows(s, a.x, a.codes, a.scales, a.bias, a.seed, a.T, a.N, a.t0, a.accumulate);
}
const char* run(const RecodeArgs& a, PogoArena* s) {
  return scalar.recode(s, {a.codes, a.scales}, a.out, a.outScales, a.dither ? a.seed : nullptr, a.T, a.N, a.t0);
}
const char* run(const LinearInputGradientArgs& a, PogoArena* s) {
  return scalar.linear_bf16(s, {a.e, a.eScales}, {a.wt, a.wtScales}, a.dx, a.T, a.N, a.K);
}
const char* run(const LinearHeadsInputGradientArgs& a, PogoArena* s) {
  return scalar.linear_heads(s, {a.e, a.eScales}, {a.wt, a.wtScales}, nullptr, a.seed, a.codes, a.scales, a.T, a.K, a.N,
                             a.K / a.H, a.t0);
}
const char* run(const LinearGeluInputGradientArgs& a, PogoArena* s) {
  return scalar.linear_gelu_gradient(s, {a.e, a.eScales}, {a.wt, a.wtScales}, a.derivative, a.codes, a.scales, a.bias,
                                     a.seed, a.T, a.N, a.K, a.t0, a.accumulate);
}
const char* run(const WeightGradientArgs& a, PogoArena* s) {
  return scalar.gemm(s, {a.et, a.etScales}, {a.xt, a.xtScales}, a.dw, a.N, a.K, a.T, a.accumulate);
}
const char* run(const Quantize4Args& a, PogoArena* s) {
  uint64_t count = (uint64_t)a.rows * a.cols, bytes = (count + 1) / 2, scales = (count + 63) / 64;
  memset(a.codes + bytes, 0, a.codeBytes - bytes);
  memset(a.scales + scales, 0, 2 * (a.scaleCount - scales));
  return scalar.quantize4(s, a.x, a.codes, a.scales, a.seed, a.rows, a.cols);
}
const char* run(const WeightGradient4Args& a, PogoArena* s) {
  std::vector<float> dw((size_t)a.N * a.K);
  const char* problem = scalar.gemm(s, {a.et, a.etScales}, {a.xt, a.xtScales}, dw.data(), a.N, a.K, a.T, false);
  if (problem != nullptr) return problem;
  return run(Quantize4Args{dw.data(), a.codes, a.scales, a.seed, a.N, a.K, a.codeBytes, a.scaleCount}, s);
}
const char* run(const QuantizeHeadsArgs& a, PogoArena* s) {
  return scalar.quantize_heads(s, a.sum, a.bias, a.seed, a.factor, a.codes, a.scales, a.T, a.N, a.N / a.H, a.t0);
}
const char* run(const AddRowsArgs& a, PogoArena* s) { return scalar.add_rows(s, a.sum, a.bias, a.x, a.y, a.T, a.N); }
const char* run(const GeluRowsArgs& a, PogoArena* s) {
  return scalar.gelu_rows(s, a.sum, a.bias, a.codes, a.scales, a.derivative, a.T, a.N);
}
const char* run(const RoundRowsArgs& a, PogoArena* s) { return scalar.round_rows(s, a.sum, a.y, a.T, a.N); }
const char* run(const GeluGradientRowsArgs& a, PogoArena* s) {
  return scalar.gelu_gradient_rows(s, a.sum, a.derivative, a.codes, a.scales, a.bias, a.seed, a.T, a.N, a.t0,
                                   a.accumulate);
}
const char* run(const HeadForwardArgs& a, PogoArena* s) {
  return scalar.head_forward(s, {{a.a, a.aScales}, {a.w, a.wScales}, a.targets, a.codes, a.eScales, a.loss, a.seed, a.T,
                                 a.C, a.V, a.vocab, a.t0, a.U});
}
const char* run(const HeadLogitsArgs& a, PogoArena* s) {
  return scalar.gemm(s, {a.a, a.aScales}, {a.w, a.wScales}, a.logits, a.T, a.V, a.C, false);
}
const char* run(const HeadInputGradientArgs& a, PogoArena* s) {
  return scalar.head_input_gradient(s, {a.e, a.eScales}, {a.wt, a.wtScales}, {a.w, a.wScales}, a.targets, a.dx, a.T,
                                    a.V, a.C, a.U);
}
const char* run(const EmbedBackwardArgs& a, PogoArena* s) {
  return scalar.embed_backward(s, a.tokens, a.targets, {a.a, a.aScales}, a.dx, 1.0f, a.dWte, a.dWpe, a.U, a.C,
                               a.V, a.context);
}
const char* run(const GainPlusOneArgs& a, PogoArena* s) { return scalar.gain_plus_one(s, a.gain, a.out, a.n); }
const char* run(const EmbedScaledArgs& a, PogoArena* s) {
  return scalar.embed_scaled(s, a.tokens, a.wte, a.x, a.T, a.C, a.scale);
}
const char* run(const EmbedScaledBackwardArgs& a, PogoArena* s) {
  return scalar.embed_backward(s, a.tokens, a.targets, {a.a, a.aScales}, a.dx, a.scale, a.dWte, nullptr, a.U, a.C, a.V, 0);
}
const char* run(const LinearRowsArgs& a, PogoArena* s) {
  return scalar.linear_bf16(s, {a.a, a.aScales}, {a.w, a.wScales}, a.y, a.T, a.K, a.N);
}
const char* run(const NormResidualArgs& a, PogoArena* s) {
  return scalar.norm_residual(s, a.x, a.o, a.gain, a.y, a.rstd, a.T, a.C, a.epsilon);
}
const char* run(const RotateHeadsArgs& a, PogoArena* s) {
  return scalar.rotate_heads(s, {a.T, a.H, a.G, a.h, a.context, a.gainQ, a.gainK, a.rope}, a.y, a.codes, a.scales, a.rstd,
                             a.epsilon);
}
const char* run(const RotateHeadsBackwardArgs& a, PogoArena* s) {
  return scalar.rotate_heads_backward(s, {a.T, a.H, a.G, a.h, a.context, a.gainQ, a.gainK, a.rope}, a.dqkv, a.y, a.rstd,
                                      a.dy, a.dGainQ, a.dGainK, a.accumulate);
}
const char* run(const GroupedAttentionForwardArgs& a, PogoArena* s) {
  return scalar.attention_forward(s, {a.T, a.H, a.G, a.h, a.context, a.window, a.scalar}, a.qkv, a.qkvScales, a.o,
                                  a.lambda);
}
const char* run(const GroupedAttentionBackwardArgs& a, PogoArena* s) {
  return scalar.attention_backward(s, {{a.T, a.H, a.G, a.h, a.context, a.window, a.scalar}, a.qkv, a.qkvScales, a.dO,
                                       a.dOScales, a.lambda, a.dqkv, a.seedV, a.seedK, a.seedQ, a.t0, a.U});
}
const char* run(const GegluArgs& a, PogoArena* s) { return scalar.geglu(s, a.u, a.codes, a.scales, a.T, a.N); }
const char* run(const GegluGradientArgs& a, PogoArena* s) {
  return scalar.geglu_gradient(s, a.dh, a.u, a.codes, a.scales, a.seed, a.T, a.N, a.t0);
}
const char* run(const UnitLossArgs& a, PogoArena* s) { return scalar.unit_loss(s, a.loss, a.out, a.U); }
const char* run(const Dequantize4Args& a, PogoArena* s) {
  return scalar.dequantize4(s, a.codes, a.scales, a.x, (int64_t)a.n);
}
const char* run(const QuantizeWeightArgs& a, PogoArena* s) {
  std::vector<float> padded((size_t)a.N * a.K);
  memcpy(padded.data(), a.theta, (size_t)a.rows * a.K * sizeof(float));
  return scalar.quantize_weight(s, padded.data(), a.w, a.wScales, a.wt, a.wtScales, a.N, a.K);
}
const char* run(const CommitLeavesArgs& a, PogoArena* s) {
  return scalar.commit_leaves(s, {a.theta, a.m, a.v, a.ema, a.codes, a.scales, a.units, (int64_t)a.n, a.beta1, a.beta2,
                                  a.b1t, a.b2t, a.epsilon, a.weightDecay, a.learningRate, a.emaDecay, a.updateEma});
}
const char* run(const PackModelArgs& a, PogoArena* s) {
  return scalar.pack_model(s, a.x, a.codes, a.scales, (int64_t)a.n, (int)a.bits);
}
const char* run(const UnpackModelArgs& a, PogoArena* s) {
  return scalar.unpack_model(s, a.codes, a.scales, a.x, (int64_t)a.n, (int)a.bits);
}
const char* run(const DiffModelArgs& a, PogoArena* s) {
  int64_t end = 0;
  const char* problem = scalar.diff_model(s, a.older, a.newer, a.out, (int64_t)a.n, &end);
  a.end[0] = (uint32_t)end;
  a.end[1] = (uint32_t)(end >> 32);
  return problem;
}
const char* run(const PatchModelArgs& a, PogoArena* s) {
  int64_t read[2] = {0, 0}, given = (int64_t)(a.patchBytes - a.start);
  const char* problem = scalar.patch_model(s, a.older, a.patch + a.start, given, a.newer, (int64_t)a.n, read);
  if (problem != nullptr) return problem;
  return read[0] == given && read[1] == (int64_t)a.n ? nullptr : "MALFORMED";
}

void complete(Case& one) {
  const std::string& name = one.operation;
  if (name == "fillZero") one.set("n", (double)one.array("x").count);
  if (name == "embed" || name == "embedScaled") one.set("V", (double)one.array("wte").count / one.number("C"));
  if (name == "quantize4" || name == "weightGradient4") {
    one.set("codeBytes", (double)one.array("codes").count);
    one.set("scaleCount", (double)one.array("scales").count);
  }
  if (name == "quantizeWeight") one.set("rows", (double)one.array("theta").count / one.number("K"));
  if (name == "commitLeaves") one.set("units", (double)one.args.at("codes").list.size());
  if (name == "patchModel") one.set("patchBytes", (double)one.array("patch").count);
}

#define POGO_ROW(name, function, Args)                                                                        \
  {#name,                                                                                                     \
   sizeof(Args),                                                                                              \
   fields_of<Args>(),                                                                                         \
   &pogo::function == nullptr                                                                                 \
       ? nullptr                                                                                              \
       : +[](const void* a, const Launch& launch) { return pogo::function(*static_cast<const Args*>(a), launch); }, \
   &pogo::function##_workspace == nullptr                                                                     \
       ? nullptr                                                                                              \
       : +[](const void* a, const DeviceTraits& d) { return pogo::function##_workspace(*static_cast<const Args*>(a), d); }, \
   [](const void* a, PogoArena* arena) { return run(*static_cast<const Args*>(a), arena); },                  \
   complete,                                                                                                  \
   sizeof(#name) == sizeof("patchModel") && strcmp(#name, "patchModel") == 0},

}  // namespace

const std::vector<Operation>& operations() {
  static const std::vector<Operation> all = {POGO_EVERY_OPERATION(POGO_ROW)};
  return all;
}

const Operation& operation_named(const std::string& name) {
  for (const Operation& operation : operations()) {
    if (name == operation.name) return operation;
  }
  fprintf(stderr, "kernel_test: no operation %s\n", name.c_str());
  exit(2);
}

}  // namespace test

// The scalar kernels name it; only wider instruction sets read it.
uint32_t pogo_optional_features = 0;
