// Heads of q, k and v before attention (rotateHeads) and their gradient (rotateHeadsBackward): RMSNorm by head, rotation of
// its pairs, codes per (token, head).
//
// A warp has 256 columns of one token, so a head is 4, 8, 16 or 32 neighbouring lanes of 8 elements, and the other half of
// a pair is half a head's lanes away.
#include "column_sums.h"
#include "../exact/norm.h"
#include "../exact/rope.h"

namespace pogo {
namespace {

constexpr uint32_t WARPS = 8;
constexpr uint32_t THREADS = 32 * WARPS;

/** Sum of a head's h values in the one order, in all its lanes; a head of 32 is filled with +0 to 64. All lanes. */
template <int h>
static __device__ __forceinline__ float head_sum(const float x[8], uint32_t lane) {
  if (h == 32) {
    float y[4];
    POGO_UNROLL
    for (int i = 0; i < 4; i += 1) {
      // The upper 16 pairs are +0: adding one makes of -0 what the definition does.
      y[i] = pogo_add(pogo_add(x[2 * i], x[2 * i + 1]), 0.0f);
      y[i] = pogo_add(y[i], __shfl_xor_sync(ALL_LANES, y[i], 2));
      y[i] = pogo_add(y[i], __shfl_xor_sync(ALL_LANES, y[i], 1));
    }
    return pogo_add(pogo_add(y[0], y[2]), pogo_add(y[1], y[3]));
  }
  const float block = t64_of_lanes(x, lane);
  if (h == 64) return block;
  const int first = (int)(lane & ~(uint32_t)(h / 8 - 1));
  float sum = __shfl_sync(ALL_LANES, block, first);
  POGO_UNROLL
  for (int b = 1; b < h / 64; b += 1) sum = pogo_add(sum, __shfl_sync(ALL_LANES, block, first + 8 * b));
  return sum;
}

/** Where a lane's 8 elements lie in a token's row of heads. */
template <int h>
struct HeadLanes {
  uint32_t column, head, place;
  bool owns, upper;

  __device__ HeadLanes(uint32_t chunk, uint32_t lane, uint32_t columns)
      : column(chunk * CHUNK + lane * 8), head(column / h), place(column % h), owns(column < columns), upper(place >= h / 2) {}
};

/** A lane's elements turned with those of the other half of its head. All lanes. */
template <int h, bool BACK>
static __device__ __forceinline__ void turn(float x[8], const float* table, const HeadLanes<h>& lanes) {
  const uint32_t pair = lanes.upper ? lanes.place - h / 2 : lanes.place;
  float cosine[8], sine[8];
  load8_f32(table + pair, cosine);
  load8_f32(table + h / 2 + pair, sine);
  POGO_UNROLL
  for (int e = 0; e < 8; e += 1) {
    const float other = __shfl_xor_sync(ALL_LANES, x[e], h / 16);
    const float a = lanes.upper ? other : x[e], b = lanes.upper ? x[e] : other;
    float first, second;
    if (BACK) {
      pogo_rotate_back(a, b, cosine[e], sine[e], &first, &second);
    } else {
      pogo_rotate(a, b, cosine[e], sine[e], &first, &second);
    }
    x[e] = lanes.upper ? second : first;
  }
}

template <int h>
__global__ void __launch_bounds__(THREADS)
    rotate_heads_kernel(RotateHeadsArgs a, float inverse, unsigned long long* failure, uint32_t entry) {
  const uint32_t lane = threadIdx.x % 32, columns = (a.H + 2 * a.G) * h;
  const uint32_t t = blockIdx.x * WARPS + threadIdx.x / 32;
  if (t >= a.T) return;
  const HeadLanes<h> lanes(blockIdx.y, lane, columns);
  const uint64_t at = (uint64_t)t * columns + lanes.column;
  float x[8] = {};
  if (lanes.owns) load8_bf16(a.y + at, x);
  float squares[8], turned[8];
  POGO_UNROLL
  for (int e = 0; e < 8; e += 1) squares[e] = pogo_mul(x[e], x[e]);
  const float r = pogo_norm_rstd(head_sum<h>(squares, lane), inverse, a.epsilon);
  float gain[8];
  load8_f32((lanes.head < a.H ? a.gainQ : a.gainK) + lanes.place, gain);
  POGO_UNROLL
  for (int e = 0; e < 8; e += 1) turned[e] = pogo_rms(x[e], r, gain[e]);
  turn<h, false>(turned, a.rope + (t % a.context) * h, lanes);
  // Heads of v are neither normed nor turned.
  const bool is_value = lanes.head >= a.H + a.G;
  uint32_t top = 0;
  POGO_UNROLL
  for (int e = 0; e < 8; e += 1) {
    if (is_value) turned[e] = x[e];
    top = pogo_imax(top, pogo_abs_bits(turned[e]));
  }
  POGO_UNROLL
  for (int apart = 1; apart < h / 8; apart *= 2) top = pogo_imax(top, __shfl_xor_sync(ALL_LANES, top, apart));
  if (!lanes.owns) return;
  PogoScale s;
  pogo_q8(top, POGO_Q8_C, POGO_Q8_R, &s);
  if (lanes.place == 0) {
    a.scales[(uint64_t)lanes.head * a.T + t] = s.scale;
    if (!is_value) a.rstd[(uint64_t)lanes.head * a.T + t] = r;
    if (!pogo_absmax_is_finite(top)) pogo_report(failure, entry, FAILURE_NON_FINITE, t);
  }
  uint32_t code[8];
  POGO_UNROLL
  for (int e = 0; e < 8; e += 1) code[e] = pogo_code_bits(turned[e], s.multiplier);
  *reinterpret_cast<uint2*>(a.codes + at) =
      make_uint2(low_bytes(code[0], code[1], code[2], code[3]), low_bytes(code[4], code[5], code[6], code[7]));
}

/** dy; a warp has read what it writes, so dy may be dqkv. */
template <int h>
__global__ void __launch_bounds__(THREADS) rotate_heads_backward_kernel(RotateHeadsBackwardArgs a, float inverse) {
  const uint32_t lane = threadIdx.x % 32, columns = (a.H + 2 * a.G) * h;
  const uint32_t t = blockIdx.x * WARPS + threadIdx.x / 32;
  if (t >= a.T) return;
  const HeadLanes<h> lanes(blockIdx.y, lane, columns);
  const uint64_t at = (uint64_t)t * columns + lanes.column;
  const bool is_value = lanes.head >= a.H + a.G;
  float d[8] = {}, n[8], xhat[8] = {}, gain[8], product[8];
  if (lanes.owns) {
    load8_bf16(a.dqkv + at, d);
    load8_bf16(a.y + at, xhat);
  }
  const float r = lanes.owns && !is_value ? a.rstd[(uint64_t)lanes.head * a.T + t] : 0.0f;
  load8_f32((lanes.head < a.H ? a.gainQ : a.gainK) + lanes.place, gain);
  POGO_UNROLL
  for (int e = 0; e < 8; e += 1) n[e] = d[e];
  turn<h, true>(n, a.rope + (t % a.context) * h, lanes);
  POGO_UNROLL
  for (int e = 0; e < 8; e += 1) {
    xhat[e] = pogo_mul(xhat[e], r);
    n[e] = pogo_mul(n[e], gain[e]);
    product[e] = pogo_mul(n[e], xhat[e]);
  }
  const float s = pogo_mul(head_sum<h>(product, lane), inverse);
  if (!lanes.owns) return;
  if (is_value) {
    if (a.dy != a.dqkv) *reinterpret_cast<uint4*>(a.dy + at) = *reinterpret_cast<const uint4*>(a.dqkv + at);
    return;
  }
  POGO_UNROLL
  for (int e = 0; e < 8; e += 1) d[e] = pogo_rms_gradient(n[e], xhat[e], r, s);
  store8_bf16(a.dy + at, d);
}

/**
 * Column sums of the gains over 64 tokens: block (x, 0) for q, (x, 1) for k, a thread for each of the h columns.
 * partial: [2][blocks][h].
 */
__global__ void __launch_bounds__(256) rotate_heads_gains_kernel(RotateHeadsBackwardArgs a, float* partial) {
  const uint32_t i = threadIdx.x, half = a.h / 2, columns = (a.H + 2 * a.G) * a.h;
  const bool keys = blockIdx.y == 1, upper = i >= half;
  const uint32_t first = keys ? a.H : 0, count = keys ? a.G : a.H, other = upper ? i - half : i + half;
  const uint32_t first_row = blockIdx.x * COLUMN_ROWS;
  const uint32_t rows = a.T - first_row < COLUMN_ROWS ? a.T - first_row : COLUMN_ROWS;
  float total = 0.0f;
  for (uint32_t row = 0; row < rows; row += 1) {
    const uint32_t t = first_row + row;
    const float* table = a.rope + (t % a.context) * a.h;
    const float cosine = table[upper ? other : i], sine = table[half + (upper ? other : i)];
    float sum = 0.0f;
    for (uint32_t head = first; head < first + count; head += 1) {
      const uint64_t at = (uint64_t)t * columns + head * a.h;
      const float own = pogo_of_bf16(a.dqkv[at + i]), far = pogo_of_bf16(a.dqkv[at + other]);
      float turned_first, turned_second;
      pogo_rotate_back(upper ? far : own, upper ? own : far, cosine, sine, &turned_first, &turned_second);
      const float xhat = pogo_mul(pogo_of_bf16(a.y[at + i]), a.rstd[(uint64_t)head * a.T + t]);
      const float term = pogo_mul(upper ? turned_second : turned_first, xhat);
      sum = head == first ? term : pogo_add(sum, term);
    }
    total = row == 0 ? sum : pogo_add(total, sum);
  }
  partial[((uint64_t)blockIdx.y * gridDim.x + blockIdx.x) * a.h + i] = total;
}

/** A warp for 256 columns of a token. */
dim3 head_blocks(uint32_t T, uint32_t columns) { return dim3((T + WARPS - 1) / WARPS, (columns + CHUNK - 1) / CHUNK); }

template <int h>
cudaError_t launch_rotate(const RotateHeadsArgs& a, const Launch& launch) {
  return POGO_LAUNCH((rotate_heads_kernel<h>), head_blocks(a.T, (a.H + 2 * a.G) * h), THREADS, 0, launch.stream, a,
                     pogo_inverse_count(h), launch.failure, launch.entry);
}

template <int h>
cudaError_t launch_rotate_backward(const RotateHeadsBackwardArgs& a, const Launch& launch) {
  return POGO_LAUNCH((rotate_heads_backward_kernel<h>), head_blocks(a.T, (a.H + 2 * a.G) * h), THREADS, 0, launch.stream,
                     a, pogo_inverse_count(h));
}

}  // namespace

Status rotate_heads(const RotateHeadsArgs& a, const Launch& launch) {
  cudaError_t error = cudaErrorInvalidValue;
  switch (a.h) {
    case 32: error = launch_rotate<32>(a, launch); break;
    case 64: error = launch_rotate<64>(a, launch); break;
    case 128: error = launch_rotate<128>(a, launch); break;
    case 256: error = launch_rotate<256>(a, launch); break;
    default: break;
  }
  POGO_TRY(error, "rotate_heads_kernel");
  return Status();
}

size_t rotate_heads_backward_workspace(const RotateHeadsBackwardArgs& a, const DeviceTraits&) {
  return 2 * (size_t)column_blocks(a.T) * a.h * sizeof(float);
}

Status rotate_heads_backward(const RotateHeadsBackwardArgs& a, const Launch& launch) {
  float* partial = static_cast<float*>(launch.workspace.data);
  const uint32_t blocks = column_blocks(a.T);
  // The gains first: dy may take the place of dqkv.
  POGO_TRY(POGO_LAUNCH(rotate_heads_gains_kernel, dim3(blocks, 2), a.h, 0, launch.stream, a, partial),
           "rotate_heads_gains_kernel");
  POGO_TRY(add_column_blocks(partial, {a.dGainQ, a.dGainK}, blocks, a.h, a.accumulate, launch.stream),
           "add_column_blocks_kernel");
  cudaError_t error = cudaErrorInvalidValue;
  switch (a.h) {
    case 32: error = launch_rotate_backward<32>(a, launch); break;
    case 64: error = launch_rotate_backward<64>(a, launch); break;
    case 128: error = launch_rotate_backward<128>(a, launch); break;
    case 256: error = launch_rotate_backward<256>(a, launch); break;
    default: break;
  }
  POGO_TRY(error, "rotate_heads_backward_kernel");
  return Status();
}

}  // namespace pogo
