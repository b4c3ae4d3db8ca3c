// Packed model codes (numerics 2.6): nearest, blocks of 64 of the flat tensor, 4 or 8 bit; and their values.
//
// Memory decides. A warp holds 128 elements at a time; its loads are in flight while the group before is rounded.
#include "groups.h"

namespace pogo {
namespace {

constexpr int THREADS = 256;
constexpr uint32_t WARPS = THREADS / WARP_LANES;
/** Pieces of 128 elements of a warp's turn, loaded before any is used. */
constexpr uint32_t PIECES = 4;

template <int BITS>
__global__ void __launch_bounds__(THREADS) pack_model_kernel(PackModelArgs a, unsigned long long* failure, uint32_t entry) {
  const uint32_t lane = threadIdx.x % WARP_LANES;
  const uint64_t turn = (uint64_t)WARP_ELEMENTS * PIECES;
  const uint64_t stride = (uint64_t)gridDim.x * WARPS * turn;
  for (uint64_t first = ((uint64_t)blockIdx.x * WARPS + threadIdx.x / WARP_LANES) * turn; first < a.n; first += stride) {
    float4 v[PIECES];
    POGO_UNROLL
    for (uint32_t k = 0; k < PIECES; k += 1) v[k] = load_quad(a.x, first + k * WARP_ELEMENTS + 4 * lane, a.n);
    POGO_UNROLL
    for (uint32_t k = 0; k < PIECES; k += 1) {
      const uint64_t at = first + k * WARP_ELEMENTS + 4 * lane;
      const uint32_t absmax = group_absmax(v[k]);
      float multiplier = 0.0f;
      uint16_t stored = 0;
      pogo_q4(absmax, BITS == 4 ? POGO_Q4_R : POGO_MODEL8_R, &multiplier, &stored);
      if (at < a.n && lane % GROUP_LANES == 0) {
        a.scales[at / GROUP] = stored;
        if (!group_is_finite(absmax, stored)) pogo_report(failure, entry, FAILURE_NON_FINITE, at / GROUP);
      }
      const uint32_t c0 = pogo_code_bits(v[k].x, multiplier), c1 = pogo_code_bits(v[k].y, multiplier);
      const uint32_t c2 = pogo_code_bits(v[k].z, multiplier), c3 = pogo_code_bits(v[k].w, multiplier);
      if (BITS == 4) {
        const uint32_t nibbles = low_nibbles(c0, c1, c2, c3);
        if (at + 4 <= a.n) {
          *reinterpret_cast<uint16_t*>(a.codes + at / 2) = (uint16_t)nibbles;
        } else {
          // Elements behind the end are +0, and so are their nibbles.
          if (at < a.n) a.codes[at / 2] = (uint8_t)nibbles;
          if (at + 2 < a.n) a.codes[at / 2 + 1] = (uint8_t)(nibbles >> 8);
        }
      } else {
        const uint32_t bytes = low_bytes(c0, c1, c2, c3);
        if (at + 4 <= a.n) {
          *reinterpret_cast<uint32_t*>(a.codes + at) = bytes;
        } else {
          for (uint32_t e = 0; at + e < a.n && e < 4; e += 1) a.codes[at + e] = (uint8_t)(bytes >> (8 * e));
        }
      }
    }
  }
}

template <int BITS>
__global__ void __launch_bounds__(THREADS) unpack_model_kernel(UnpackModelArgs a) {
  const uint64_t quads = (a.n + 3) / 4;
  const uint64_t stride = (uint64_t)gridDim.x * THREADS;
  for (uint64_t i = (uint64_t)blockIdx.x * THREADS + threadIdx.x; i < quads; i += stride) {
    const float scale = pogo_of_bf16(a.scales[i / GROUP_LANES]);
    const bool whole = 4 * i + 4 <= a.n;
    const uint32_t left = whole ? 4 : (uint32_t)(a.n - 4 * i);
    float4 v;
    if (BITS == 4) {
      uint32_t codes;
      if (whole) {
        codes = reinterpret_cast<const uint16_t*>(a.codes)[i];
      } else {
        codes = a.codes[2 * i];
        if (left > 2) codes |= (uint32_t)a.codes[2 * i + 1] << 8;
      }
      v = nibble_values(codes, scale);
    } else {
      uint32_t codes = 0;
      if (whole) {
        codes = reinterpret_cast<const uint32_t*>(a.codes)[i];
      } else {
        for (uint32_t e = 0; e < left; e += 1) codes |= (uint32_t)a.codes[4 * i + e] << (8 * e);
      }
      v.x = pogo_mul(pogo_to_float((uint32_t)((int32_t)(codes << 24) >> 24)), scale);
      v.y = pogo_mul(pogo_to_float((uint32_t)((int32_t)(codes << 16) >> 24)), scale);
      v.z = pogo_mul(pogo_to_float((uint32_t)((int32_t)(codes << 8) >> 24)), scale);
      v.w = pogo_mul(pogo_to_float((uint32_t)((int32_t)codes >> 24)), scale);
    }
    if (whole) {
      reinterpret_cast<float4*>(a.x)[i] = v;
    } else {
      a.x[4 * i] = v.x;
      if (left > 1) a.x[4 * i + 1] = v.y;
      if (left > 2) a.x[4 * i + 2] = v.z;
    }
  }
}

}  // namespace

/** A failure's index: the block of 64. */
Status pack_model(const PackModelArgs& a, const Launch& launch) {
  if (a.n == 0) return Status();
  const uint64_t turn = (uint64_t)WARP_ELEMENTS * PIECES * WARPS;
  const unsigned blocks = stride_blocks((a.n + turn - 1) / turn, launch.device);
  if (a.bits == 4) {
    POGO_TRY(POGO_LAUNCH(pack_model_kernel<4>, blocks, THREADS, 0, launch.stream, a, launch.failure, launch.entry),
             "pack_model_kernel");
  } else {
    POGO_TRY(POGO_LAUNCH(pack_model_kernel<8>, blocks, THREADS, 0, launch.stream, a, launch.failure, launch.entry),
             "pack_model_kernel");
  }
  return Status();
}

Status unpack_model(const UnpackModelArgs& a, const Launch& launch) {
  if (a.n == 0) return Status();
  const unsigned blocks = stride_blocks((a.n + 4 * THREADS - 1) / (4 * THREADS), launch.device);
  if (a.bits == 4) {
    POGO_TRY(POGO_LAUNCH(unpack_model_kernel<4>, blocks, THREADS, 0, launch.stream, a), "unpack_model_kernel");
  } else {
    POGO_TRY(POGO_LAUNCH(unpack_model_kernel<8>, blocks, THREADS, 0, launch.stream, a), "unpack_model_kernel");
  }
  return Status();
}

}  // namespace pogo
