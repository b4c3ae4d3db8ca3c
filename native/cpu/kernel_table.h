// The kernels of one instruction set, as a table of function pointers. Only plain C types: it crosses translation
// units compiled for different instruction sets. Shapes and dtypes: src/backend/ops.ts; formulas: docs/numerics.md.
#ifndef POGO_CPU_KERNEL_TABLE_H
#define POGO_CPU_KERNEL_TABLE_H

#include <stddef.h>
#include <stdint.h>

#include "features.h"

/** Scratch memory of one environment: grows to the largest operation seen, then allocates nothing (arena.cc). */
struct PogoArena;
/** 64-byte aligned scratch, valid until the operation ends. Throws std::bad_alloc. */
void* pogo_take(PogoArena* arena, size_t bytes);

/**
 * Features of this machine beyond what a table needs: a kernel may use them in functions compiled for them, behind this
 * test. Set before the first kernel runs; tests clear it to run the other way.
 */
extern uint32_t pogo_optional_features;

/** A kernel's result: null, or the name of the tensor that holds an Inf or NaN. */
typedef const char* PogoResult;

/**
 * A code matrix: codes [rows, cols] row-major, scales [ceil(cols / 1024), rows]. `packed`: the same codes in the form
 * that pack_codes of this instruction set made, or null; only a right operand's is used.
 */
struct PogoCodes {
  const int8_t* codes;
  const float* scales;
  const void* packed = nullptr;
};

struct PogoCommit {
  float *theta, *m, *v, *ema;
  const uint8_t* const* codes;
  const uint16_t* const* scales;
  uint32_t units;
  int64_t n;
  float beta1, beta2, b1t, b2t, epsilon, weight_decay, learning_rate, ema_decay;
  bool update_ema;
};

struct PogoHead {
  PogoCodes a, w;
  const uint32_t* targets;
  int8_t* codes;
  float *e_scales, *loss;
  const uint32_t* seed;
  int64_t T, C, V, vocab, t0, U;
};

/**
 * Sizes of attention: H query heads of h elements, G heads of keys and of values; rows of qkv hold them in this order.
 * A query sees the last `window` keys (a multiple of 64; 0: all). Scores are divided by the root of `scalar`.
 */
struct PogoAttention {
  int64_t T, H, G, h, context, window;
  uint32_t scalar;
};

struct PogoAttentionBackward {
  PogoAttention shape;
  const int8_t* qkv;
  const float* qkv_scales;
  const int8_t* d_o;
  const float *d_o_scales, *lambda;
  uint16_t* dqkv;
  const uint32_t *seed_v, *seed_k, *seed_q;
  int64_t t0, U;
};

/** Heads of q, k and v before attention: bf16 rows of (H + 2 G) h elements. `rope` f32 [context, h]. */
struct PogoRotate {
  int64_t T, H, G, h, context;
  const float *gain_q, *gain_k, *rope;
};

struct PogoKernels {
  const char* name;
  int64_t (*packed_bytes)(int64_t rows, int64_t cols);
  PogoResult (*pack_codes)(PogoArena*, const int8_t* codes, int64_t rows, int64_t cols, void* out);
  uint32_t needs;  // features that the compiler was allowed to use: PogoFeature
  PogoResult (*embed)(PogoArena*, const uint32_t* tokens, const float* wte, const float* wpe, uint16_t* x, int64_t T,
                      int64_t C, int64_t context);
  PogoResult (*norm_forward)(PogoArena*, const uint16_t* x, const float* gain, const float* bias, int8_t* codes,
                             float* scales, float* rstd, float* mean, int64_t T, int64_t C, bool layer, float epsilon);
  PogoResult (*norm_backward)(PogoArena*, const uint16_t* dy, const uint16_t* x, const float* gain, const float* rstd,
                              const float* mean, uint16_t* dx, float* d_gain, float* d_bias, int64_t T, int64_t C,
                              bool layer, bool residual, bool accumulate);
  PogoResult (*gemm)(PogoArena*, PogoCodes a, PogoCodes b, float* y, int64_t M, int64_t N, int64_t K, bool accumulate);
  PogoResult (*linear_heads)(PogoArena*, PogoCodes a, PogoCodes w, const float* bias, const uint32_t* seed,
                             int8_t* codes, float* scales, int64_t T, int64_t N, int64_t K, int64_t head_size,
                             int64_t t0);
  PogoResult (*linear_residual)(PogoArena*, PogoCodes a, PogoCodes w, const float* bias, const uint16_t* x, uint16_t* y,
                                int64_t T, int64_t N, int64_t K);
  PogoResult (*linear_gelu)(PogoArena*, PogoCodes a, PogoCodes w, const float* bias, int8_t* codes, float* scales,
                            int8_t* derivative, int64_t T, int64_t N, int64_t K);
  PogoResult (*linear_bf16)(PogoArena*, PogoCodes e, PogoCodes wt, uint16_t* dx, int64_t T, int64_t N, int64_t K);
  PogoResult (*linear_gelu_gradient)(PogoArena*, PogoCodes e, PogoCodes wt, const int8_t* derivative, int8_t* codes,
                                     float* scales, float* bias, const uint32_t* seed, int64_t T, int64_t N, int64_t K,
                                     int64_t t0, bool accumulate);
  PogoResult (*quantize_heads)(PogoArena*, const float* sum, const float* bias, const uint32_t* seed, float factor,
                               int8_t* codes, float* scales, int64_t T, int64_t N, int64_t head_size, int64_t t0);
  PogoResult (*add_rows)(PogoArena*, const float* sum, const float* bias, const uint16_t* x, uint16_t* y, int64_t T,
                         int64_t N);
  PogoResult (*gelu_rows)(PogoArena*, const float* sum, const float* bias, int8_t* codes, float* scales,
                          int8_t* derivative, int64_t T, int64_t N);
  PogoResult (*round_rows)(PogoArena*, const float* sum, uint16_t* y, int64_t T, int64_t N);
  PogoResult (*gelu_gradient_rows)(PogoArena*, const float* sum, const int8_t* derivative, int8_t* codes,
                                   float* scales, float* bias, const uint32_t* seed, int64_t T, int64_t N, int64_t t0,
                                   bool accumulate);
  PogoResult (*attention_forward)(PogoArena*, const PogoAttention& shape, const int8_t* qkv, const float* qkv_scales,
                                  uint16_t* o, float* lambda);
  PogoResult (*attention_backward)(PogoArena*, const PogoAttentionBackward& a);
  PogoResult (*quantize_rows)(PogoArena*, const uint16_t* x, int8_t* codes, float* scales, float* bias,
                              const uint32_t* seed, int64_t T, int64_t N, int64_t t0, bool accumulate);
  PogoResult (*recode)(PogoArena*, PogoCodes in, int8_t* out, float* out_scales, const uint32_t* seed, int64_t T,
                       int64_t N, int64_t t0);
  PogoResult (*head_forward)(PogoArena*, const PogoHead& a);
  PogoResult (*head_input_gradient)(PogoArena*, PogoCodes e, PogoCodes wt, PogoCodes w, const uint32_t* targets,
                                    uint16_t* dx, int64_t T, int64_t V, int64_t C, int64_t U);
  PogoResult (*embed_backward)(PogoArena*, const uint32_t* tokens, const uint32_t* targets, PogoCodes a,
                               const uint16_t* dx, float scale, float* d_wte, float* d_wpe, int64_t U, int64_t C,
                               int64_t V, int64_t context);
  PogoResult (*unit_loss)(PogoArena*, const float* loss, float* out, int64_t U);
  PogoResult (*quantize4)(PogoArena*, const float* x, uint8_t* codes, uint16_t* scales, const uint32_t* seed,
                          int64_t rows, int64_t cols);
  PogoResult (*dequantize4)(PogoArena*, const uint8_t* codes, const uint16_t* scales, float* x, int64_t n);
  PogoResult (*quantize_weight)(PogoArena*, const float* theta, int8_t* w, float* w_scales, int8_t* wt,
                                float* wt_scales, int64_t N, int64_t K);
  PogoResult (*commit_leaves)(PogoArena*, const PogoCommit& a);
  PogoResult (*pack_model)(PogoArena*, const float* x, uint8_t* codes, uint16_t* scales, int64_t n, int bits);
  PogoResult (*unpack_model)(PogoArena*, const uint8_t* codes, const uint16_t* scales, float* x, int64_t n, int bits);
  PogoResult (*diff_model)(PogoArena*, const uint8_t* older, const uint8_t* newer, uint8_t* out, int64_t n,
                           int64_t* end);
  PogoResult (*patch_model)(PogoArena*, const uint8_t* older, const uint8_t* patch, int64_t patch_bytes, uint8_t* newer,
                            int64_t n, int64_t* read);
  PogoResult (*gain_plus_one)(PogoArena*, const float* gain, float* out, int64_t n);
  PogoResult (*embed_scaled)(PogoArena*, const uint32_t* tokens, const float* wte, uint16_t* x, int64_t T, int64_t C,
                             float scale);
  PogoResult (*norm_residual)(PogoArena*, const uint16_t* x, const uint16_t* o, const float* gain, uint16_t* y,
                              float* rstd, int64_t T, int64_t C, float epsilon);
  PogoResult (*rotate_heads)(PogoArena*, const PogoRotate& a, const uint16_t* y, int8_t* codes, float* scales,
                             float* rstd, float epsilon);
  PogoResult (*rotate_heads_backward)(PogoArena*, const PogoRotate& a, const uint16_t* dqkv, const uint16_t* y,
                                      const float* rstd, uint16_t* dy, float* d_gain_q, float* d_gain_k,
                                      bool accumulate);
  PogoResult (*geglu)(PogoArena*, const uint16_t* u, int8_t* codes, float* scales, int64_t T, int64_t N);
  PogoResult (*geglu_gradient)(PogoArena*, const uint16_t* dh, const uint16_t* u, int8_t* codes, float* scales,
                               const uint32_t* seed, int64_t T, int64_t N, int64_t t0);
  // Several operations in one pass: src/backend/fusions.ts.
  PogoResult (*weight_gradient4)(PogoArena*, PogoCodes e, PogoCodes x, uint8_t* codes, uint16_t* scales,
                                 const uint32_t* seed, int64_t N, int64_t K, int64_t T);
  PogoResult (*attention_forward_rows)(PogoArena*, const PogoAttention& a, const int8_t* qkv, const float* qkv_scales,
                                       float* lambda, int8_t* codes, float* scales);
  PogoResult (*attention_backward_rows)(PogoArena*, const PogoAttentionBackward& x, int8_t* codes, float* scales,
                                        float* bias, const uint32_t* seed, bool accumulate);
};

extern const PogoKernels pogo_kernels_scalar;
#if defined(POGO_X86)
extern const PogoKernels pogo_kernels_avx2;
extern const PogoKernels pogo_kernels_avx512;
#elif defined(POGO_NEON)
extern const PogoKernels pogo_kernels_neon;
extern const PogoKernels pogo_kernels_dotprod;
#endif
#if defined(POGO_HAVE_AVXVNNI)
extern const PogoKernels pogo_kernels_avxvnni;
#endif
#if defined(POGO_HAVE_AMX)
extern const PogoKernels pogo_kernels_amx;
#endif

#endif
