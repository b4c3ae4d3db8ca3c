// The operations of kernels.h without a GPU: the same element functions as the kernels, in plain loops.
// It exists for the test on machines without a device; the backends never use it (native/cpu is the fast path there).
#include <string.h>

#include "blake3_compress.h"
#include "elements.h"
#include "kernels.h"

namespace pogo {

DeviceInfo device_info() {
  DeviceInfo info;
  info.reason = "built without CUDA";
  return info;
}

Status describe_device(int, Device*) {
  Status status;
  status.code = 100;  // cudaErrorNoDevice
  status.where = "describe_device";
  status.message = "built without CUDA";
  return status;
}

Status quantize4(const float* x, uint8_t* codes, size_t code_bytes, uint16_t* scales, size_t scale_count,
                 const uint32_t seed[4], uint32_t rows, uint32_t cols) {
  memset(codes, 0, code_bytes);
  memset(scales, 0, 2 * scale_count);
  Status status;
  for (uint32_t row = 0; row < rows; row += 1) {
    uint32_t dither_row = pogo_dither_row(seed, row);
    for (uint32_t first = 0; first < cols; first += 64) {
      size_t start = (size_t)row * cols + first;
      uint32_t count = cols - first < 64 ? cols - first : 64;
      uint32_t absmax = 0;
      for (uint32_t i = 0; i < count; i += 1) absmax = pogo_imax(absmax, pogo_abs_bits(x[start + i]));
      float multiplier = 0.0f;
      uint16_t stored = 0;
      bool live = pogo_q4(absmax, POGO_Q4_R, &multiplier, &stored);
      bool finite = pogo_absmax_is_finite(absmax) && stored < (POGO_INFINITY_BITS >> 16);
      if (!finite && status.non_finite_group < 0) status.non_finite_group = (int64_t)(start / 64);
      scales[start / 64] = stored;
      for (uint32_t i = 0; i < count; i += 2) {
        bool has1 = i + 1 < count;
        uint32_t word0 = pogo_dither_column(seed, first + i);
        uint32_t word1 = pogo_dither_column(seed, first + i + 1);
        codes[(start + i) / 2] = pogo_quantize4_pair(x[start + i], has1 ? x[start + i + 1] : 0.0f, multiplier, live,
                                                     live && has1, word0, word1, dither_row);
      }
    }
  }
  return status;
}

Status dequantize4(const uint8_t* codes, const uint16_t* scales, float* x, size_t n) {
  for (size_t i = 0; i < n; i += 1) {
    uint32_t code = (uint32_t)pogo_nibble(codes[i / 2], i & 1);
    x[i] = pogo_mul(pogo_to_float(code), pogo_of_bf16(scales[i / 64]));
  }
  return Status();
}

Status blake3_tree(const uint8_t* bytes, size_t length, uint64_t first_leaf, uint8_t* tree) {
  size_t leaves = (length + POGO_BLAKE3_CHUNK - 1) / POGO_BLAKE3_CHUNK;
  uint32_t cv[8];
  for (size_t leaf = 0; leaf < leaves; leaf += 1) {
    size_t start = leaf * POGO_BLAKE3_CHUNK;
    size_t size = length - start < POGO_BLAKE3_CHUNK ? length - start : POGO_BLAKE3_CHUNK;
    pogo_blake3_chunk(bytes + start, (uint32_t)size, first_leaf + leaf, false, cv);
    memcpy(tree + 32 * leaf, cv, 32);
  }
  uint8_t* level = tree;
  uint32_t pair[16];
  for (size_t count = leaves; count > 1;) {
    uint8_t* next = level + 32 * count;
    for (size_t i = 0; 2 * i < count; i += 1) {
      if (2 * i + 1 < count) {
        memcpy(pair, level + 64 * i, 64);
        pogo_blake3_parent(pair, false, cv);
        memcpy(next + 32 * i, cv, 32);
      } else {
        memcpy(next + 32 * i, level + 64 * i, 32);
      }
    }
    if (count == 2) memcpy(pair, level, 64);
    level = next;
    count = (count + 1) / 2;
  }
  if (leaves == 1) {
    pogo_blake3_chunk(bytes, (uint32_t)length, first_leaf, true, cv);
  } else {
    pogo_blake3_parent(pair, true, cv);
  }
  memcpy(level + 32, cv, 32);
  return Status();
}

Status diff_codes(const uint8_t* a, const uint8_t* b, uint8_t* out, size_t bytes, int bits, bool add) {
  for (size_t at = 0; at < bytes; at += 4) {
    size_t size = bytes - at < 4 ? bytes - at : 4;
    uint32_t x = 0, y = 0;
    memcpy(&x, a + at, size);
    memcpy(&y, b + at, size);
    uint32_t result = add ? pogo_field_add(x, y, bits) : pogo_field_sub(x, y, bits);
    memcpy(out + at, &result, size);
  }
  return Status();
}

}  // namespace pogo
