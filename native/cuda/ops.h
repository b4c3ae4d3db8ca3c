// The operations of src/backend/ops.ts on device memory: one struct of arguments each, with the same field names, and
// one launcher. Shapes, dtypes and formulas stand there and in docs/numerics.md; here stands what a device adds.
//
// Pointers are device pointers, 16-byte aligned (the memory plan aligns to 256), the bf16 scales of 4-bit planes 8-byte (a
// leaf has four of them in a unit file); null where ops.ts says "empty".
// A launcher puts work on `launch.stream` and returns: it allocates nothing and waits for nothing. Where it needs
// scratch memory, `NAME_workspace` says how many bytes `launch.workspace` must have.
// bf16 values are uint16_t. Seeds are device pointers to four words, so that a captured graph may be replayed.
#ifndef POGO_CUDA_OPS_H
#define POGO_CUDA_OPS_H

#include <stddef.h>
#include <stdint.h>

#include "device_code.h"

namespace pogo {

/** Outcome of a call. `code` is a cudaError_t, 0 when it worked; `where` names the kernel or call that failed. */
struct Status {
  int code = 0;
  const char* where = "";
  const char* message = "";
  bool ok() const { return code == 0; }
};

/** What launchers may choose by. */
enum class Products { AUTO, CLUSTER, PINGPONG };

struct DeviceTraits {
  int index = 0;
  int major = 0;
  int minor = 0;
  int multiprocessors = 0;
  /** Dynamic shared memory that one block may have after opting in. */
  size_t shared_bytes = 0;
  size_t l2_bytes = 0;
  /** Clusters with distributed shared memory, and wgmma in the 90a image. */
  bool clusters() const { return major >= 9; }
  bool wgmma() const { return major == 9 && !without_wgmma; }
  /** POGO_CUDA_PRODUCTS: on which kernel a product runs where there are two with the same bits (product_forms.h). */
  Products products = Products::AUTO;
  /** POGO_CUDA_WGMMA=0: what has it runs as what has not. */
  bool without_wgmma = false;
};

struct Workspace {
  void* data = nullptr;
  size_t bytes = 0;
};

struct Launch {
  cudaStream_t stream = nullptr;
  const DeviceTraits* device = nullptr;
  Workspace workspace;
  /** The run's failure word, all ones before the first operation. */
  unsigned long long* failure = nullptr;
  /** Which entry of the tape this is: failures name it. Below 2^24. */
  uint32_t entry = 0;
};

/** Failures that only the device sees. The lowest (entry, kind, index) of a run is reported, so it is deterministic. */
enum FailureKind : uint32_t {
  /** An Inf or NaN in a result's group; `index` is the row, group or block of 64 that the operation's launcher names. */
  FAILURE_NON_FINITE = 1,
  /** A target >= vocab; `index` is the token. */
  FAILURE_TARGET = 2,
  /** A token >= the table's rows; `index` is the token. */
  FAILURE_TOKEN = 3,
  /** A chunk of a patch that is not canonical; `index` is the chunk. */
  FAILURE_MALFORMED = 4,
};

static constexpr unsigned long long NO_FAILURE = ~0ull;

POGO_HD unsigned long long failure_word(uint32_t entry, uint32_t kind, unsigned long long index) {
  return ((unsigned long long)entry << 40) | ((unsigned long long)kind << 36) | (index & 0xFFFFFFFFFull);
}
POGO_HD uint32_t failure_entry(unsigned long long word) { return (uint32_t)(word >> 40); }
POGO_HD uint32_t failure_kind(unsigned long long word) { return (uint32_t)(word >> 36) & 15u; }
POGO_HD unsigned long long failure_index(unsigned long long word) { return word & 0xFFFFFFFFFull; }

#if defined(POGO_DEVICE_CODE)
/** Called by any thread that sees a failure. */
static __device__ __forceinline__ void pogo_report(unsigned long long* failure, uint32_t entry, uint32_t kind,
                                                   unsigned long long index) {
  atomicMin(failure, failure_word(entry, kind, index));
}
#endif

struct FillZeroArgs {
  float* x;
  uint64_t n;
};

struct EmbedArgs {
  const uint32_t* tokens;
  const float* wte;
  const float* wpe;
  uint16_t* x;
  uint32_t T, C, context;
  /** Rows of wte: tokens beyond are a failure. */
  uint32_t V;
};

struct NormForwardArgs {
  const uint16_t* x;
  const float* gain;
  const float* bias;
  int8_t* codes;
  float* scales;
  float* rstd;
  float* mean;
  uint32_t T, C;
  bool layer;
  float epsilon;
};

struct NormBackwardArgs {
  const uint16_t* dy;
  const uint16_t* x;
  const float* gain;
  const float* rstd;
  const float* mean;
  uint16_t* dx;
  float* dGain;
  float* dBias;
  uint32_t T, C;
  bool layer, residual, accumulate;
};

struct GemmArgs {
  const int8_t* a;
  const float* aScales;
  const int8_t* b;
  const float* bScales;
  float* y;
  uint32_t M, N, K;
};

struct LinearQkvArgs {
  const int8_t* a;
  const float* aScales;
  const int8_t* w;
  const float* wScales;
  const float* bias;
  int8_t* codes;
  float* scales;
  uint32_t T, C, H;
};

struct LinearResidualArgs {
  const int8_t* a;
  const float* aScales;
  const int8_t* w;
  const float* wScales;
  const float* bias;
  const uint16_t* x;
  uint16_t* y;
  uint32_t T, N, K;
};

struct LinearGeluArgs {
  const int8_t* a;
  const float* aScales;
  const int8_t* w;
  const float* wScales;
  const float* bias;
  int8_t* codes;
  float* scales;
  int8_t* derivative;
  uint32_t T, N, K;
};

struct AttentionForwardArgs {
  const int8_t* qkv;
  const float* qkvScales;
  uint16_t* o;
  float* lambda;
  uint32_t T, C, H, context;
};

struct AttentionBackwardArgs {
  const int8_t* qkv;
  const float* qkvScales;
  const int8_t* dO;
  const float* dOScales;
  const float* lambda;
  uint16_t* dqkv;
  const uint32_t* seedV;
  const uint32_t* seedK;
  const uint32_t* seedQ;
  uint32_t T, C, H, context, t0, U;
};

struct QuantizeRowsArgs {
  const uint16_t* x;
  int8_t* codes;
  float* scales;
  uint32_t T, N;
};

struct QuantizeGradientRowsArgs {
  const uint16_t* x;
  int8_t* codes;
  float* scales;
  float* bias;
  const uint32_t* seed;
  uint32_t T, N, t0;
  bool accumulate;
};

struct RecodeArgs {
  const int8_t* codes;
  const float* scales;
  int8_t* out;
  float* outScales;
  const uint32_t* seed;
  bool dither;
  uint32_t T, N, t0;
};

struct LinearInputGradientArgs {
  const int8_t* e;
  const float* eScales;
  const int8_t* wt;
  const float* wtScales;
  uint16_t* dx;
  uint32_t T, N, K;
};

struct LinearHeadsInputGradientArgs {
  const int8_t* e;
  const float* eScales;
  const int8_t* wt;
  const float* wtScales;
  int8_t* codes;
  float* scales;
  const uint32_t* seed;
  uint32_t T, N, K, H, t0;
};

struct LinearGeluInputGradientArgs {
  const int8_t* e;
  const float* eScales;
  const int8_t* wt;
  const float* wtScales;
  const int8_t* derivative;
  int8_t* codes;
  float* scales;
  float* bias;
  const uint32_t* seed;
  uint32_t T, N, K, t0;
  bool accumulate;
};

struct WeightGradientArgs {
  const int8_t* et;
  const float* etScales;
  const int8_t* xt;
  const float* xtScales;
  float* dw;
  uint32_t N, K, T;
  bool accumulate;
};

/** weightGradient of a unit's only micro-batch and quantize4 of its result in one: no fp32 dW is stored. */
struct WeightGradient4Args {
  const int8_t* et;
  const float* etScales;
  const int8_t* xt;
  const float* xtScales;
  uint8_t* codes;
  uint16_t* scales;
  const uint32_t* seed;
  uint32_t N, K, T;
  /** As in Quantize4Args. */
  uint64_t codeBytes, scaleCount;
};

struct QuantizeHeadsArgs {
  const float* sum;
  const float* bias;
  int8_t* codes;
  float* scales;
  const uint32_t* seed;
  float factor;
  uint32_t T, N, H, t0;
};

struct AddRowsArgs {
  const float* sum;
  const float* bias;
  const uint16_t* x;
  uint16_t* y;
  uint32_t T, N;
};

struct GeluRowsArgs {
  const float* sum;
  const float* bias;
  int8_t* codes;
  float* scales;
  int8_t* derivative;
  uint32_t T, N;
};

struct RoundRowsArgs {
  const float* sum;
  uint16_t* y;
  uint32_t T, N;
};

struct GeluGradientRowsArgs {
  const float* sum;
  const int8_t* derivative;
  int8_t* codes;
  float* scales;
  float* bias;
  const uint32_t* seed;
  uint32_t T, N, t0;
  bool accumulate;
};

struct HeadForwardArgs {
  const int8_t* a;
  const float* aScales;
  const int8_t* w;
  const float* wScales;
  const uint32_t* targets;
  int8_t* codes;
  float* eScales;
  float* loss;
  const uint32_t* seed;
  uint32_t T, C, V, vocab, t0, U;
};

struct HeadLogitsArgs {
  const int8_t* a;
  const float* aScales;
  const int8_t* w;
  const float* wScales;
  float* logits;
  uint32_t T, C, V;
};

struct HeadInputGradientArgs {
  const int8_t* e;
  const float* eScales;
  const int8_t* wt;
  const float* wtScales;
  const int8_t* w;
  const float* wScales;
  const uint32_t* targets;
  uint16_t* dx;
  uint32_t T, V, C, U;
};

struct EmbedBackwardArgs {
  const uint32_t* tokens;
  const uint32_t* targets;
  const int8_t* a;
  const float* aScales;
  const uint16_t* dx;
  float* dWte;
  float* dWpe;
  uint32_t U, C, V, context;
};

struct GainPlusOneArgs {
  const float* gain;
  float* out;
  uint32_t n;
};

struct EmbedScaledArgs {
  const uint32_t* tokens;
  const float* wte;
  uint16_t* x;
  uint32_t T, C;
  float scale;
  /** Rows of wte: tokens beyond are a failure. */
  uint32_t V;
};

struct EmbedScaledBackwardArgs {
  const uint32_t* tokens;
  const uint32_t* targets;
  const int8_t* a;
  const float* aScales;
  const uint16_t* dx;
  float* dWte;
  uint32_t U, C, V;
  float scale;
};

struct LinearRowsArgs {
  const int8_t* a;
  const float* aScales;
  const int8_t* w;
  const float* wScales;
  uint16_t* y;
  uint32_t T, N, K;
};

struct NormResidualArgs {
  const uint16_t* x;
  const uint16_t* o;
  const float* gain;
  uint16_t* y;
  float* rstd;
  uint32_t T, C;
  float epsilon;
};

struct RotateHeadsArgs {
  const uint16_t* y;
  const float* gainQ;
  const float* gainK;
  const float* rope;
  int8_t* codes;
  float* scales;
  float* rstd;
  uint32_t T, H, G, h, context;
  float epsilon;
};

struct RotateHeadsBackwardArgs {
  const uint16_t* dqkv;
  const uint16_t* y;
  const float* rstd;
  const float* gainQ;
  const float* gainK;
  const float* rope;
  uint16_t* dy;
  float* dGainQ;
  float* dGainK;
  uint32_t T, H, G, h, context;
  bool accumulate;
};

struct GroupedAttentionForwardArgs {
  const int8_t* qkv;
  const float* qkvScales;
  uint16_t* o;
  float* lambda;
  uint32_t T, H, G, h, context, window, scalar;
};

struct GroupedAttentionBackwardArgs {
  const int8_t* qkv;
  const float* qkvScales;
  const int8_t* dO;
  const float* dOScales;
  const float* lambda;
  uint16_t* dqkv;
  const uint32_t* seedV;
  const uint32_t* seedK;
  const uint32_t* seedQ;
  uint32_t T, H, G, h, context, window, scalar, t0, U;
};

struct GegluArgs {
  const uint16_t* u;
  int8_t* codes;
  float* scales;
  uint32_t T, N;
};

struct GegluGradientArgs {
  const uint16_t* dh;
  const uint16_t* u;
  int8_t* codes;
  float* scales;
  const uint32_t* seed;
  uint32_t T, N, t0;
};

struct UnitLossArgs {
  const float* loss;
  float* out;
  uint32_t U;
};

struct Quantize4Args {
  const float* x;
  uint8_t* codes;
  uint16_t* scales;
  const uint32_t* seed;
  uint32_t rows, cols;
  /** Lengths of the planes; what lies beyond the tensor becomes zero. */
  uint64_t codeBytes, scaleCount;
};

struct Dequantize4Args {
  const uint8_t* codes;
  const uint16_t* scales;
  float* x;
  uint64_t n;
};

struct QuantizeWeightArgs {
  const float* theta;
  int8_t* w;
  float* wScales;
  int8_t* wt;
  float* wtScales;
  uint32_t N, K;
  /** Rows that theta has; those behind them are +0: the padding of an adapter's rank. */
  uint32_t rows;
};

struct CommitLeavesArgs {
  float* theta;
  float* m;
  float* v;
  float* ema;
  /** Device arrays of `units` device pointers: this tensor's planes in each unit. */
  const uint8_t* const* codes;
  const uint16_t* const* scales;
  uint32_t units;
  uint64_t n;
  float beta1, beta2, b1t, b2t, epsilon, weightDecay, learningRate, emaDecay;
  bool updateEma;
};

struct PackModelArgs {
  const float* x;
  uint8_t* codes;
  uint16_t* scales;
  uint64_t n;
  uint32_t bits;
};

struct UnpackModelArgs {
  const uint8_t* codes;
  const uint16_t* scales;
  float* x;
  uint64_t n;
  uint32_t bits;
};

struct DiffModelArgs {
  const uint8_t* older;
  const uint8_t* newer;
  uint8_t* out;
  uint32_t* end;
  uint64_t n;
};

struct PatchModelArgs {
  const uint8_t* older;
  const uint8_t* patch;
  uint8_t* newer;
  uint64_t start;
  uint64_t n;
  /** Bytes of `patch`, from its own beginning. */
  uint64_t patchBytes;
};

/** One part of a vector whose leaves are hashed: `tree` gets all its chaining values, as blake3_tree_values counts them. */
struct Blake3Segment {
  const uint8_t* bytes;
  uint8_t* tree;
  uint64_t length;
  /** Index of its first leaf of 1 KiB in the whole vector. */
  uint64_t firstLeaf;
};

/**
 * Trees over 1 KiB leaves of several segments at once: level 0 ‖ level 1 ‖ … ‖ top (one value) ‖ hash, 32 bytes each; an
 * odd last value of a level moves up unchanged. Every length > 0; bytes and trees 16-byte aligned.
 */
struct Blake3TreesArgs {
  /** On the device. */
  const Blake3Segment* segments;
  uint32_t count;
  /** The most leaves that one segment has, and their sum: what the grids are sized by. */
  uint64_t mostLeaves, allLeaves;
};

/** Chaining values in a tree over `leaves` leaves, the hash included. */
POGO_HD size_t blake3_tree_values(size_t leaves) {
  size_t values = leaves + 1;
  for (size_t count = leaves; count > 1;) {
    count = (count + 1) / 2;
    values += count;
  }
  return values;
}

Status fill_zero(const FillZeroArgs& a, const Launch& launch);
Status embed(const EmbedArgs& a, const Launch& launch);
Status norm_forward(const NormForwardArgs& a, const Launch& launch);
Status norm_backward(const NormBackwardArgs& a, const Launch& launch);
Status gemm(const GemmArgs& a, const Launch& launch);
Status linear_qkv(const LinearQkvArgs& a, const Launch& launch);
Status linear_residual(const LinearResidualArgs& a, const Launch& launch);
Status linear_gelu(const LinearGeluArgs& a, const Launch& launch);
Status attention_forward(const AttentionForwardArgs& a, const Launch& launch);
Status attention_backward(const AttentionBackwardArgs& a, const Launch& launch);
Status quantize_rows(const QuantizeRowsArgs& a, const Launch& launch);
Status quantize_gradient_rows(const QuantizeGradientRowsArgs& a, const Launch& launch);
Status recode(const RecodeArgs& a, const Launch& launch);
Status linear_input_gradient(const LinearInputGradientArgs& a, const Launch& launch);
Status linear_heads_input_gradient(const LinearHeadsInputGradientArgs& a, const Launch& launch);
Status linear_gelu_input_gradient(const LinearGeluInputGradientArgs& a, const Launch& launch);
Status weight_gradient(const WeightGradientArgs& a, const Launch& launch);
Status weight_gradient4(const WeightGradient4Args& a, const Launch& launch);
Status quantize_heads(const QuantizeHeadsArgs& a, const Launch& launch);
Status add_rows(const AddRowsArgs& a, const Launch& launch);
Status gelu_rows(const GeluRowsArgs& a, const Launch& launch);
Status round_rows(const RoundRowsArgs& a, const Launch& launch);
Status gelu_gradient_rows(const GeluGradientRowsArgs& a, const Launch& launch);
Status head_forward(const HeadForwardArgs& a, const Launch& launch);
Status head_logits(const HeadLogitsArgs& a, const Launch& launch);
Status head_input_gradient(const HeadInputGradientArgs& a, const Launch& launch);
Status embed_backward(const EmbedBackwardArgs& a, const Launch& launch);
Status unit_loss(const UnitLossArgs& a, const Launch& launch);
Status quantize4(const Quantize4Args& a, const Launch& launch);
Status dequantize4(const Dequantize4Args& a, const Launch& launch);
Status quantize_weight(const QuantizeWeightArgs& a, const Launch& launch);
Status commit_leaves(const CommitLeavesArgs& a, const Launch& launch);
Status pack_model(const PackModelArgs& a, const Launch& launch);
Status unpack_model(const UnpackModelArgs& a, const Launch& launch);
Status diff_model(const DiffModelArgs& a, const Launch& launch);
Status patch_model(const PatchModelArgs& a, const Launch& launch);
Status gain_plus_one(const GainPlusOneArgs& a, const Launch& launch);
Status embed_scaled(const EmbedScaledArgs& a, const Launch& launch);
Status embed_scaled_backward(const EmbedScaledBackwardArgs& a, const Launch& launch);
Status linear_rows(const LinearRowsArgs& a, const Launch& launch);
Status norm_residual(const NormResidualArgs& a, const Launch& launch);
Status rotate_heads(const RotateHeadsArgs& a, const Launch& launch);
Status rotate_heads_backward(const RotateHeadsBackwardArgs& a, const Launch& launch);
Status grouped_attention_forward(const GroupedAttentionForwardArgs& a, const Launch& launch);
Status grouped_attention_backward(const GroupedAttentionBackwardArgs& a, const Launch& launch);
Status geglu(const GegluArgs& a, const Launch& launch);
Status geglu_gradient(const GegluGradientArgs& a, const Launch& launch);
Status blake3_trees(const Blake3TreesArgs& a, const Launch& launch);

// Scratch memory in bytes: `size_t NAME_workspace(const ARGUMENTS& a, const DeviceTraits& device)`, NAME the launcher's, for
// those that need some; an operation without a line here needs none. `device` may decide (clusters or two passes).
size_t weight_gradient_workspace(const WeightGradientArgs& a, const DeviceTraits& device);
size_t weight_gradient4_workspace(const WeightGradient4Args& a, const DeviceTraits& device);
size_t linear_gelu_input_gradient_workspace(const LinearGeluInputGradientArgs& a, const DeviceTraits& device);
size_t head_forward_workspace(const HeadForwardArgs& a, const DeviceTraits& device);
size_t attention_backward_workspace(const AttentionBackwardArgs& a, const DeviceTraits& device);
size_t grouped_attention_backward_workspace(const GroupedAttentionBackwardArgs& a, const DeviceTraits& device);
size_t diff_model_workspace(const DiffModelArgs& a, const DeviceTraits& device);
size_t patch_model_workspace(const PatchModelArgs& a, const DeviceTraits& device);

inline Status failed(cudaError_t code, const char* where) {
  Status status;
  status.code = (int)code;
  status.where = where;
  status.message = cudaGetErrorString(code);
  return status;
}

}  // namespace pogo

/** Returns from the calling function with the CUDA code and the name of the kernel or call. */
#define POGO_TRY(call, where)                                                     \
  do {                                                                            \
    cudaError_t pogo_error = (call);                                              \
    if (pogo_error != cudaSuccess) return pogo::failed(pogo_error, where);        \
  } while (0)

#endif
