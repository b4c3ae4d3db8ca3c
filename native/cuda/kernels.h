// What the CUDA addon and its test call: whole-array operations on host memory, synchronous, one thread.
// Two implementations give the same bits: kernels on a GPU (*.cu), and the same element functions in plain loops
// (host_kernels.cc), which is how a machine without a GPU tests them.
#ifndef POGO_CUDA_KERNELS_H
#define POGO_CUDA_KERNELS_H

#include <stddef.h>
#include <stdint.h>

namespace pogo {

/** Outcome of a call. `code` is a cudaError_t, 0 when it worked; `where` names the kernel or call that failed. */
struct Status {
  int code = 0;
  const char* where = "";
  const char* message = "";
  /** First group of 64 whose absmax or scale is not finite, or -1. Only quantize4 sets it. */
  int64_t non_finite_group = -1;
  bool ok() const { return code == 0; }
};

struct Device {
  char name[256];
  int major;
  int minor;
  int multiprocessors;
  uint64_t memory_bytes;
};

/** Versions as CUDA gives them (13000 = 13.0); driver 0 means that none is installed. */
struct DeviceInfo {
  int runtime = 0;
  int driver = 0;
  int count = 0;
  /** Empty if a device can be used, else why not. */
  const char* reason = "";
};

DeviceInfo device_info();
Status describe_device(int index, Device* device);

/**
 * 4-bit codes of a gradient, numerics 2.5: x f32 [rows, cols] (cols a multiple of 64, or rows = 1), dithered by (row, column).
 * Bytes of `codes` and values of `scales` beyond the tensor become zero.
 */
Status quantize4(const float* x, uint8_t* codes, size_t code_bytes, uint16_t* scales, size_t scale_count,
                 const uint32_t seed[4], uint32_t rows, uint32_t cols);

/** x[i] = code × scale; n a multiple of 64. */
Status dequantize4(const uint8_t* codes, const uint16_t* scales, float* x, size_t n);

/**
 * BLAKE3 tree over 1 KiB leaves: level 0 ‖ level 1 ‖ … ‖ top (one value) ‖ root, 32 bytes each; an odd last value of a level
 * moves up unchanged. `first_leaf` is the index of the first leaf in the whole vector. bytes > 0.
 */
Status blake3_tree(const uint8_t* bytes, size_t length, uint64_t first_leaf, uint8_t* tree);

/** Chaining values in a tree over `leaves` leaves, the root included. */
inline size_t blake3_tree_values(size_t leaves) {
  size_t values = leaves + 1;
  for (size_t count = leaves; count > 1;) {
    count = (count + 1) / 2;
    values += count;
  }
  return values;
}

/** Modular difference of packed codes, field by field: out = a - b, or a + b with `add`. bits 4 or 8. */
Status diff_codes(const uint8_t* a, const uint8_t* b, uint8_t* out, size_t bytes, int bits, bool add);

}  // namespace pogo

#endif
