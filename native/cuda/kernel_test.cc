// Compares the operations of host_calls.h with known answers (made by the TypeScript reference and by @noble/hashes, see
// scripts/generate-kernel-answers.mjs) and with laws. No Node needed. Built by nvcc it runs on a GPU; built by the C++ compiler
// it runs the same kernels on the device model. Exit code 0 passed, 1 failed, 77 no device (nothing was tested).
#include <stdio.h>
#include <string.h>

#include <string>
#include <vector>

#include "elements.h"
#include "host_calls.h"
#include "known_answers.h"

namespace {

int failures = 0;
int checks = 0;

void expect(bool holds, const std::string& what) {
  checks += 1;
  if (holds) return;
  failures += 1;
  printf("FAILED %s\n", what.c_str());
}

void expect_ok(const pogo::Status& status, const std::string& what) {
  expect(status.ok(), what + ": " + status.where + ": " + status.message);
}

std::string hex(const uint8_t* bytes, size_t count) {
  std::string text;
  char digits[3];
  for (size_t i = 0; i < count; i += 1) {
    snprintf(digits, sizeof(digits), "%02x", bytes[i]);
    text += digits;
  }
  return text;
}

std::vector<uint8_t> tree_of(const std::vector<uint8_t>& bytes, uint64_t first_leaf, const std::string& what) {
  std::vector<uint8_t> tree(32 * pogo::blake3_tree_values((bytes.size() + 1023) / 1024));
  expect_ok(pogo::host::blake3_tree(bytes.data(), bytes.size(), first_leaf, tree.data()), what);
  return tree;
}

std::string root_of(const std::vector<uint8_t>& bytes) {
  std::vector<uint8_t> tree = tree_of(bytes, 0, "root");
  return hex(tree.data() + tree.size() - 32, 32);
}

/** Element i of the test input: random sign and mantissa, exponents over 32 binades, and some hard groups. */
float input(uint32_t i) {
  uint32_t h = pogo_mix<uint32_t>(i + 1);
  uint32_t exponent = 100 + (pogo_mix<uint32_t>(h) & 31);
  uint32_t group = i / 64;
  if (group % 7 == 1) return pogo_of_bits(h & 0x80000000u);             // zeros of both signs
  if (group % 7 == 3) return pogo_of_bits(h & 0x807FFFFFu);             // subnormals
  if (group % 7 == 5) return pogo_of_bits((h & 0x80000000u) | 0x3F800000u);  // ties: every value is the absmax
  return pogo_of_bits((h & 0x807FFFFFu) | (exponent << 23));
}

void test_blake3() {
  for (const BlakeAnswer& answer : BLAKE_ANSWERS) {
    std::vector<uint8_t> bytes(answer.length);
    // Period 251: swapped blocks or leaves cannot cancel.
    for (size_t i = 0; i < bytes.size(); i += 1) bytes[i] = (uint8_t)(i % 251);
    std::string name = "blake3 of " + std::to_string(answer.length) + " bytes from leaf " + std::to_string(answer.first_leaf);
    std::vector<uint8_t> tree = tree_of(bytes, answer.first_leaf, name);
    expect(hex(tree.data() + tree.size() - 32, 32) == answer.root, name + ": root");
    expect(root_of(tree) == answer.tree, name + ": tree");
  }
}

void test_quantize4() {
  const uint32_t seed[4] = {0x9E3779B9u, 0x243F6A88u, 0xB7E15162u, 0xDEADBEEFu};
  for (const QuantizeAnswer& answer : QUANTIZE_ANSWERS) {
    size_t count = (size_t)answer.rows * answer.cols;
    std::string name = "quantize4 of " + std::to_string(answer.rows) + " x " + std::to_string(answer.cols);
    std::vector<float> x(count);
    for (size_t i = 0; i < count; i += 1) x[i] = input((uint32_t)i);
    // Room for the padding of the last leaf, filled with garbage that must become zero.
    size_t padded = (count + 255) / 256 * 256;
    std::vector<uint8_t> codes(padded / 2, 0xA5);
    std::vector<uint16_t> scales(padded / 64, 0xA5A5);
    int64_t group = 0;
    pogo::Status status = pogo::host::quantize4(x.data(), codes.data(), codes.size(), scales.data(), scales.size(), seed,
                                                answer.rows, answer.cols, &group);
    expect_ok(status, name);
    expect(group == -1, name + ": finite");
    std::vector<uint8_t> bytes(codes);
    bytes.resize(codes.size() + 2 * scales.size());
    memcpy(bytes.data() + codes.size(), scales.data(), 2 * scales.size());
    expect(root_of(bytes) == answer.digest, name + ": codes and scales");

    std::vector<float> values(padded);
    expect_ok(pogo::host::dequantize4(codes.data(), scales.data(), values.data(), padded), name + ": dequantize4");
    std::vector<uint8_t> value_bytes(4 * padded);
    memcpy(value_bytes.data(), values.data(), value_bytes.size());
    expect(root_of(value_bytes) == answer.values, name + ": values");

    // An Inf or NaN is found, and the first group that holds one is named.
    size_t bad = count - 1;
    for (uint32_t bits : {0x7F800000u, 0xFFC00001u}) {
      float kept = x[bad];
      x[bad] = pogo_of_bits(bits);
      status = pogo::host::quantize4(x.data(), codes.data(), codes.size(), scales.data(), scales.size(), seed, answer.rows,
                                     answer.cols, &group);
      expect(status.ok() && group == (int64_t)(bad / 64), name + ": non-finite input");
      x[bad] = kept;
    }
  }
}

void test_diff() {
  for (int bits : {4, 8}) {
    for (size_t bytes : {1u, 3u, 4u, 7u, 64u, 1023u, 65537u}) {
      std::vector<uint8_t> a(bytes), b(bytes), d(bytes), back(bytes);
      for (size_t i = 0; i < bytes; i += 1) {
        a[i] = (uint8_t)pogo_mix<uint32_t>((uint32_t)i + 17);
        b[i] = (uint8_t)pogo_mix<uint32_t>((uint32_t)i * 3 + 5);
      }
      std::string name = "diff of " + std::to_string(bytes) + " bytes, " + std::to_string(bits) + " bits";
      expect_ok(pogo::host::diff_codes(a.data(), b.data(), d.data(), bytes, bits, false), name);
      bool right = true;
      for (size_t i = 0; i < bytes; i += 1) {
        uint32_t expected = bits == 8 ? (uint32_t)(a[i] - b[i]) & 255u
                                      : (((a[i] & 15u) - (b[i] & 15u)) & 15u) | ((((a[i] >> 4) - (b[i] >> 4)) & 15u) << 4);
        right = right && d[i] == expected;
      }
      expect(right, name);
      expect_ok(pogo::host::diff_codes(d.data(), b.data(), back.data(), bytes, bits, true), name + ": patch");
      expect(back == a, name + ": patch");
    }
  }
}

}  // namespace

int main() {
  pogo::DeviceInfo info = pogo::device_info();
  if (info.reason[0] != '\0') {
    printf("kernel_test: nothing tested: %s\n", info.reason);
    return 77;
  }
  pogo::Device device;
  expect_ok(pogo::describe_device(0, &device), "describe_device");
  printf("kernel_test on %s (sm_%d%d)\n", device.name, device.major, device.minor);
  test_blake3();
  test_quantize4();
  test_diff();
  printf("%d passed, %d failed\n", checks - failures, failures);
  return failures == 0 ? 0 : 1;
}
