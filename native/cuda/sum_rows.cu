// Epilogues of products that are made in several parts, over their sums in memory: quantizeHeads, addRows, geluRows,
// roundRows, geluGradientRows. The parts are weightGradient's; the formulas those of the fused epilogues.
//
// Memory decides: 4 bytes are read and 1 or 2 written an element. A warp has 256 columns of a row, or a panel of it, in
// registers, so that maxima and codes need one read.
#include "../exact/functions.h"
#include "gradient_rows.h"

namespace pogo {
namespace {

constexpr uint32_t WARPS = 8;
constexpr uint32_t THREADS = 32 * WARPS;
/** Rows that share the dither words of a part of the columns. */
constexpr uint32_t DITHER_ROWS = 4 * WARPS;

/** A lane's 8 sums from `place` on, with their biases where there are any. */
static __device__ __forceinline__ void load8_sum(const float* place, const float* bias, float v[8]) {
  load8_f32(place, v);
  if (bias == nullptr) return;
  float b[8];
  load8_f32(bias, b);
  POGO_UNROLL
  for (int e = 0; e < 8; e += 1) v[e] = pogo_add(v[e], b[e]);
}

static __device__ __forceinline__ const float* behind(const float* bias, uint32_t column) {
  return bias == nullptr ? nullptr : bias + column;
}

/** A panel of sums, +0 behind the row's end. */
static __device__ __forceinline__ void load_sum_panel(const float* row, const float* bias, const Panel& p,
                                                      float v[CHUNKS][8]) {
  POGO_UNROLL
  for (uint32_t k = 0; k < CHUNKS; k += 1) {
    if (p.owns(k)) {
      load8_sum(row + p.column(k), behind(bias, p.column(k)), v[k]);
    } else {
      POGO_UNROLL
      for (int e = 0; e < 8; e += 1) v[k][e] = 0.0f;
    }
  }
}

/** A warp for 256 columns of a row: a group is 4, 8, 16 or 32 neighbouring lanes. Shared: the columns' dither words. */
template <bool DITHER>
__global__ void __launch_bounds__(THREADS)
    quantize_heads_kernel(QuantizeHeadsArgs a, unsigned long long* failure, uint32_t entry) {
  uint32_t* words = reinterpret_cast<uint32_t*>(pogo_shared());
  const uint32_t lane = threadIdx.x % 32, size = a.N / a.H;
  const uint32_t column = blockIdx.y * CHUNK + lane * LANE_ELEMENTS, group = column / size;
  const bool owns = column < a.N, first_of_group = column % size == 0;
  uint32_t seed[4] = {};
  if (DITHER) {
    for (int i = 0; i < 4; i += 1) seed[i] = a.seed[i];
    for (uint32_t c = threadIdx.x; c < CHUNK; c += THREADS) {
      words[dither_place(c)] = pogo_dither_column(seed, blockIdx.y * CHUNK + c);
    }
    __syncthreads();
  }
  const uint32_t first = blockIdx.x * DITHER_ROWS;
  for (uint32_t t = first + threadIdx.x / 32; t < first + DITHER_ROWS && t < a.T; t += WARPS) {
    const uint64_t at = (uint64_t)t * a.N + column;
    float v[8] = {};
    if (owns) load8_sum(a.sum + at, behind(a.bias, column), v);
    uint32_t top = 0;
    POGO_UNROLL
    for (int e = 0; e < 8; e += 1) top = pogo_imax(top, pogo_abs_bits(v[e]));
    for (uint32_t apart = 1; apart < size / LANE_ELEMENTS; apart *= 2) {
      top = pogo_imax(top, __shfl_xor_sync(ALL_LANES, top, (int)apart));
    }
    if (!owns) continue;
    PogoScale s;
    pogo_q8(top, POGO_Q8_C, POGO_Q8_R, &s);
    if (first_of_group) {
      a.scales[(uint64_t)group * a.T + t] = pogo_mul(s.scale, a.factor);
      if (!pogo_absmax_is_finite(top)) pogo_report(failure, entry, FAILURE_NON_FINITE, t);
    }
    uint32_t code[8];
    if (DITHER) {
      const uint4* place = reinterpret_cast<const uint4*>(words) + lane;
      const uint4 low = place[0], high = place[32];
      const uint32_t word[8] = {low.x, low.y, low.z, low.w, high.x, high.y, high.z, high.w};
      const uint32_t row_word = pogo_dither_row(seed, a.t0 + t);
      POGO_UNROLL
      for (int e = 0; e < 8; e += 1) code[e] = pogo_code_dithered_bits(v[e], s.multiplier, word[e], row_word);
    } else {
      POGO_UNROLL
      for (int e = 0; e < 8; e += 1) code[e] = pogo_code_bits(v[e], s.multiplier);
    }
    *reinterpret_cast<uint2*>(a.codes + at) =
        make_uint2(low_bytes(code[0], code[1], code[2], code[3]), low_bytes(code[4], code[5], code[6], code[7]));
  }
}

/** y may be x: a lane reads its part of x before it writes it. */
__global__ void __launch_bounds__(THREADS) add_rows_kernel(AddRowsArgs a) {
  const uint32_t column = blockIdx.y * CHUNK + threadIdx.x % 32 * LANE_ELEMENTS;
  const uint64_t row = (uint64_t)blockIdx.x * WARPS + threadIdx.x / 32;
  if (row >= a.T || column >= a.N) return;
  const uint64_t at = row * a.N + column;
  float v[8], x[8];
  load8_sum(a.sum + at, behind(a.bias, column), v);
  load8_bf16(a.x + at, x);
  POGO_UNROLL
  for (int e = 0; e < 8; e += 1) v[e] = pogo_add(x[e], v[e]);
  store8_bf16(a.y + at, v);
}

__global__ void __launch_bounds__(THREADS) round_rows_kernel(RoundRowsArgs a) {
  const uint32_t column = blockIdx.y * CHUNK + threadIdx.x % 32 * LANE_ELEMENTS;
  const uint64_t row = (uint64_t)blockIdx.x * WARPS + threadIdx.x / 32;
  if (row >= a.T || column >= a.N) return;
  const uint64_t at = row * a.N + column;
  float v[8];
  load8_f32(a.sum + at, v);
  store8_bf16(a.y + at, v);
}

__global__ void __launch_bounds__(THREADS) gelu_rows_kernel(GeluRowsArgs a, unsigned long long* failure, uint32_t entry) {
  const uint32_t lane = threadIdx.x % 32;
  const uint64_t row = (uint64_t)blockIdx.x * WARPS + threadIdx.x / 32;
  if (row >= a.T) return;
  uint32_t steepest = 0;
  for (uint32_t first = 0; first < a.N; first += PANEL) {
    const Panel p = {first, a.N, lane};
    float v[CHUNKS][8];
    load_sum_panel(a.sum + row * a.N, a.bias, p, v);
    POGO_UNROLL
    for (uint32_t k = 0; k < CHUNKS; k += 1) {
      if (!p.owns(k)) continue;
      uint32_t code[8];
      POGO_UNROLL
      for (int e = 0; e < 8; e += 1) {
        float slope;
        pogo_gelu(v[k][e], &v[k][e], &slope);
        steepest = pogo_imax(steepest, pogo_abs_bits(slope));
        code[e] = pogo_derivative_bits(slope);
      }
      *reinterpret_cast<uint2*>(a.derivative + row * a.N + p.column(k)) =
          make_uint2(low_bytes(code[0], code[1], code[2], code[3]), low_bytes(code[4], code[5], code[6], code[7]));
    }
    const CodeRow out = {a.codes + row * a.N, a.scales + (uint64_t)(first / PANEL) * a.T + row, failure, entry, row};
    quantize_panel<false>(v, p, out, nullptr, 0);
  }
  // Where u * u overflows the slope is 0 * Inf while the value stays finite.
  if (!pogo_absmax_is_finite(steepest)) pogo_report(failure, entry, FAILURE_NON_FINITE, row);
}

/** sum * derivative / 112 */
static __device__ __forceinline__ float gelu_gradient(float sum, uint32_t code) {
  return pogo_mul(sum, pogo_mul(pogo_to_float(code), POGO_INV_DERIVATIVE));
}

/** Byte `e` of a word, sign-extended. */
static __device__ __forceinline__ uint32_t signed_byte(uint32_t word, int e) {
  return (uint32_t)((int32_t)(word << (24 - 8 * e)) >> 24);
}

struct GeluErrors {
  struct Raw {
    float4 sum;
    uint32_t codes;
  };
  typedef float4 Held;
  const float* sum;
  const int8_t* derivative;

  __device__ Raw read(uint64_t place) const {
    return {*reinterpret_cast<const float4*>(sum + place), *reinterpret_cast<const uint32_t*>(derivative + place)};
  }
  __device__ Held hold(const Raw& raw) const {
    return make_float4(gelu_gradient(raw.sum.x, signed_byte(raw.codes, 0)), gelu_gradient(raw.sum.y, signed_byte(raw.codes, 1)),
                       gelu_gradient(raw.sum.z, signed_byte(raw.codes, 2)), gelu_gradient(raw.sum.w, signed_byte(raw.codes, 3)));
  }
  __device__ void values(const Held& held, float v[GRADIENT_COLUMNS]) const {
    v[0] = held.x;
    v[1] = held.y;
    v[2] = held.z;
    v[3] = held.w;
  }
};

__global__ void __launch_bounds__(GRADIENT_THREADS, 2)
    gelu_gradient_rows_kernel(GeluGradientRowsArgs a, float* partial, unsigned long long* failure, uint32_t entry) {
  gradient_rows(a, partial, failure, entry, GeluErrors{a.sum, a.derivative});
}

/** A warp for 256 columns of a row. */
dim3 chunk_blocks(uint32_t T, uint32_t N) { return dim3((T + WARPS - 1) / WARPS, (N + CHUNK - 1) / CHUNK); }

}  // namespace

Status quantize_heads(const QuantizeHeadsArgs& a, const Launch& launch) {
  const uint32_t size = a.H == 0 ? 0 : a.N / a.H;
  if (size != 32 && size != 64 && size != 128 && size != 256) {
    return failed(cudaErrorInvalidValue, "quantize_heads: groups must be of 32, 64, 128 or 256");
  }
  const dim3 grid((a.T + DITHER_ROWS - 1) / DITHER_ROWS, (a.N + CHUNK - 1) / CHUNK);
  cudaError_t error = a.seed == nullptr
                          ? POGO_LAUNCH((quantize_heads_kernel<false>), grid, THREADS, 0, launch.stream, a, launch.failure,
                                        launch.entry)
                          : POGO_LAUNCH((quantize_heads_kernel<true>), grid, THREADS, CHUNK * sizeof(uint32_t),
                                        launch.stream, a, launch.failure, launch.entry);
  POGO_TRY(error, "quantize_heads_kernel");
  return Status();
}

Status add_rows(const AddRowsArgs& a, const Launch& launch) {
  POGO_TRY(POGO_LAUNCH(add_rows_kernel, chunk_blocks(a.T, a.N), THREADS, 0, launch.stream, a), "add_rows_kernel");
  return Status();
}

Status round_rows(const RoundRowsArgs& a, const Launch& launch) {
  POGO_TRY(POGO_LAUNCH(round_rows_kernel, chunk_blocks(a.T, a.N), THREADS, 0, launch.stream, a), "round_rows_kernel");
  return Status();
}

Status gelu_rows(const GeluRowsArgs& a, const Launch& launch) {
  POGO_TRY(POGO_LAUNCH(gelu_rows_kernel, (a.T + WARPS - 1) / WARPS, THREADS, 0, launch.stream, a, launch.failure,
                       launch.entry),
           "gelu_rows_kernel");
  return Status();
}

size_t gelu_gradient_rows_workspace(const GeluGradientRowsArgs& a, const DeviceTraits&) { return gradient_rows_workspace(a); }

Status gelu_gradient_rows(const GeluGradientRowsArgs& a, const Launch& launch) {
  return launch_gradient_rows(gelu_gradient_rows_kernel, "gelu_gradient_rows_kernel", a, launch);
}

}  // namespace pogo
