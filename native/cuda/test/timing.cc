#include "timing.h"

#include <stdio.h>
#include <stdlib.h>

#include <algorithm>
#include <set>

#include "../device.h"
#include "ceilings.h"

namespace test {
namespace {

#if defined(POGO_CUDA_MODEL)
// The device model has no speed worth knowing: small shapes show that the timing itself works.
constexpr size_t COPY_BYTES = (size_t)1 << 20;
constexpr int MOST_CALLS = 1;
constexpr double T = 128, HEAD_T = 64, C = 128, F = 256, H = 2, V = 320, VOCABULARY = 300, CONTEXT = 64;
constexpr double SQUARE = 128, PACKED = 100000;
#else
// gpt2-124m: width 768, 12 heads, hidden 3,072, context 1,024, vocabulary 50,257 padded to 50,304; 16 sequences at a
// time, the head's and the table's operations 4 of them, so that everything fits 16 GB.
constexpr size_t COPY_BYTES = (size_t)512 << 20;
constexpr int MOST_CALLS = 30;
constexpr double T = 16384, HEAD_T = 4096, C = 768, F = 3072, H = 12, V = 50304, VOCABULARY = 50257, CONTEXT = 1024;
constexpr double SQUARE = 8192, PACKED = 62 << 20;
#endif
constexpr double ENOUGH_SECONDS = 0.3;

void need(cudaError_t error, const char* what) {
  if (error == cudaSuccess) return;
  fprintf(stderr, "kernel_test: %s: CUDA error %d, %s\n", what, (int)error, cudaGetErrorString(error));
  exit(1);
}

/** 2 x the products of every GEMM of the operation. */
double operations_of(const Case& one) {
  const std::string& op = one.operation;
  auto n = [&](const char* name) { return one.number(name); };
  if (op == "gemm") return 2 * n("M") * n("N") * n("K");
  if (op == "linearQkv") return 2 * n("T") * 3 * n("C") * n("C");
  if (op == "headForward" || op == "headLogits" || op == "headInputGradient") return 2 * n("T") * n("C") * n("V");
  // Half of the square of scores, and two products of it forward; scores and dP twice, and dQ, dK, dV backward.
  if (op == "attentionForward") return 2 * n("T") * n("C") * n("context");
  if (op == "attentionBackward") return 7 * n("T") * n("C") * n("context");
  if (op.compare(0, 6, "linear") == 0 || op.compare(0, 14, "weightGradient") == 0) return 2 * n("T") * n("N") * n("K");
  return 0;
}

/** Arrays that are read before they are written. */
bool is_read_too(const Case& one, const std::string& name) {
  const std::string& op = one.operation;
  if (op == "commitLeaves") return true;
  if (op == "normBackward") return name == "dx";
  if (op == "embedBackward") return name == "dWte";
  return false;
}

}  // namespace

double time_calls(const std::function<void()>& call, const pogo::DeviceTraits& traits) {
  pogo::DeviceMemory flush;
  size_t flush_bytes = 2 * traits.l2_bytes;
  need(flush.allocate(flush_bytes), "cudaMalloc");
  cudaEvent_t begin, end;
  need(cudaEventCreate(&begin), "cudaEventCreate");
  need(cudaEventCreate(&end), "cudaEventCreate");
  for (int i = 0; i < 2; i += 1) call();
  std::vector<double> seconds;
  double total = 0;
  for (int i = 0; i < MOST_CALLS && total < ENOUGH_SECONDS; i += 1) {
    need(cudaMemsetAsync(flush.as<void>(), i, flush_bytes, nullptr), "cudaMemsetAsync");
    need(cudaEventRecord(begin, nullptr), "cudaEventRecord");
    call();
    need(cudaEventRecord(end, nullptr), "cudaEventRecord");
    need(cudaEventSynchronize(end), "a timed call");
    float milliseconds = 0;
    need(cudaEventElapsedTime(&milliseconds, begin, end), "cudaEventElapsedTime");
    seconds.push_back(milliseconds / 1e3);
    total += milliseconds / 1e3;
  }
  cudaEventDestroy(begin);
  cudaEventDestroy(end);
  std::sort(seconds.begin(), seconds.end());
  return seconds[seconds.size() / 2];
}

Ceilings measure_ceilings(const pogo::DeviceTraits& traits) {
  Ceilings ceilings;
  pogo::DeviceMemory from, to;
  need(from.allocate(COPY_BYTES), "cudaMalloc");
  need(to.allocate(COPY_BYTES), "cudaMalloc");
  need(cudaMemset(from.as<void>(), 1, COPY_BYTES), "cudaMemset");
  double copy = time_calls(
      [&]() { need(copy_bytes(to.as<void>(), from.as<void>(), COPY_BYTES, traits, nullptr), "copy_kernel"); }, traits);
  ceilings.copy_bytes_per_second = 2.0 * COPY_BYTES / copy;
  double products = time_calls([&]() { need(tensor_products(to.as<int32_t>(), traits, nullptr), "tensor_kernel"); }, traits);
  ceilings.mma_per_second = tensor_operations(traits) / products;
  if (traits.wgmma()) {
    products = time_calls([&]() { need(wgmma_products(to.as<int32_t>(), traits, nullptr), "wgmma_peak_kernel"); }, traits);
    ceilings.wgmma_per_second = wgmma_operations(traits) / products;
  }
  return ceilings;
}

bool has_two_forms(const std::string& operation, const pogo::DeviceTraits& traits) {
  static const std::set<std::string> deep = {"gemm",           "weightGradient", "weightGradient4",     "headLogits",
                                             "linearResidual", "linearRows",     "linearInputGradient", "headInputGradient"};
  return traits.wgmma() && deep.count(operation) > 0;
}

Work work_of(const Case& one) {
  Work work;
  for (const auto& entry : one.args) {
    if (entry.second.kind == Value::LIST) {
      for (const Array& array : entry.second.list) work.bytes += (double)array.bytes.size();
    } else if (entry.second.kind == Value::ARRAY) {
      const Array& array = entry.second.array;
      work.bytes += (double)array.bytes.size() * (array.out && is_read_too(one, entry.first) ? 2 : 1);
    }
  }
  work.operations = operations_of(one);
  return work;
}

std::vector<Case> timing_cases(const std::string& operation) {
  typedef std::map<std::string, double> Shape;
  static const std::map<std::string, std::vector<Shape>> shapes = {
      {"fillZero", {{{"n", V * C}}}},
      {"embed", {{{"T", T}, {"C", C}, {"context", CONTEXT}, {"V", V}}}},
      {"normForward", {{{"T", T}, {"C", C}, {"layer", 1}}}},
      {"normBackward", {{{"T", T}, {"C", C}, {"layer", 1}, {"residual", 1}, {"accumulate", 0}}}},
      {"gemm", {{{"M", SQUARE}, {"N", SQUARE}, {"K", SQUARE}}}},
      {"linearQkv", {{{"T", T}, {"C", C}, {"H", H}, {"bias", 1}}}},
      {"linearResidual", {{{"T", T}, {"N", C}, {"K", F}, {"bias", 1}}, {{"T", T}, {"N", C}, {"K", C}, {"bias", 1}}}},
      {"linearGelu", {{{"T", T}, {"N", F}, {"K", C}, {"bias", 1}}}},
      {"attentionForward", {{{"T", T}, {"C", C}, {"H", H}, {"context", CONTEXT}}}},
      {"attentionBackward", {{{"T", T}, {"C", C}, {"H", H}, {"context", CONTEXT}, {"t0", 0}, {"U", T}}}},
      {"quantizeRows", {{{"T", T}, {"N", C}}}},
      {"quantizeGradientRows",
       {{{"T", T}, {"N", 3 * C}, {"bias", 1}, {"accumulate", 0}, {"t0", 0}},
        {{"T", T}, {"N", C}, {"bias", 1}, {"accumulate", 0}, {"t0", 0}}}},
      {"recode",
       {{{"T", T}, {"N", F}, {"dither", 1}, {"t0", 0}},
        {{"T", T}, {"N", 3 * C}, {"dither", 1}, {"t0", 0}},
        {{"T", T}, {"N", C}, {"dither", 1}, {"t0", 0}}}},
      {"linearInputGradient", {{{"T", T}, {"N", 3 * C}, {"K", C}}, {{"T", T}, {"N", F}, {"K", C}}}},
      {"linearHeadsInputGradient", {{{"T", T}, {"N", C}, {"K", C}, {"H", H}, {"t0", 0}}}},
      {"linearGeluInputGradient", {{{"T", T}, {"N", C}, {"K", F}, {"bias", 1}, {"accumulate", 0}, {"t0", 0}}}},
      {"weightGradient", {{{"N", F}, {"K", C}, {"T", T}, {"accumulate", 0}}}},
      {"weightGradient4",
       {{{"N", F}, {"K", C}, {"T", T}},
        {{"N", C}, {"K", F}, {"T", T}},
        {{"N", 3 * C}, {"K", C}, {"T", T}},
        {{"N", C}, {"K", C}, {"T", T}}}},
      {"quantizeHeads", {{{"T", T}, {"H", H}, {"N", C}, {"bias", 1}, {"dither", 1}, {"t0", 0}}}},
      {"addRows", {{{"T", T}, {"N", C}, {"bias", 1}}}},
      {"geluRows", {{{"T", T}, {"N", F}, {"bias", 1}}}},
      {"roundRows", {{{"T", T}, {"N", C}}}},
      {"geluGradientRows", {{{"T", T}, {"N", F}, {"bias", 0}, {"accumulate", 0}, {"t0", 0}}}},
      {"headForward", {{{"T", HEAD_T}, {"C", C}, {"V", V}, {"vocab", VOCABULARY}, {"coded", 1}, {"t0", 0}, {"U", HEAD_T}}}},
      {"headInputGradient", {{{"T", HEAD_T}, {"V", V}, {"C", C}, {"U", HEAD_T}}}},
      {"embedBackward", {{{"U", HEAD_T}, {"C", C}, {"V", V}, {"context", CONTEXT}}}},
      {"unitLoss", {{{"U", T}}}},
      {"quantize4", {{{"rows", V}, {"cols", C}}}},
      {"dequantize4", {{{"n", V * C}}}},
      {"quantizeWeight", {{{"N", F}, {"K", C}}}},
      {"commitLeaves",
       {{{"n", V * C}, {"units", 16}, {"updateEma", 0}}, {{"n", V * C}, {"units", 2}, {"updateEma", 0}}}},
      {"packModel", {{{"n", V * C}, {"bits", 4}}}},
      {"unpackModel", {{{"n", V * C}, {"bits", 4}}}},
      {"diffModel", {{{"n", PACKED}}}},
      {"patchModel", {{{"n", PACKED}, {"start", 0}}}},
  };
  std::vector<Case> cases;
  auto found = shapes.find(operation);
  if (found == shapes.end()) return cases;
  for (const Shape& shape : found->second) cases.push_back(shaped_case(operation, shape));
  return cases;
}

}  // namespace test
