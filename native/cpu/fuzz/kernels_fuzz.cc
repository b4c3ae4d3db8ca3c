// Coverage-guided fuzzing of the kernels that read bytes of strangers: patches, units, packed models. Every buffer is a
// heap block of exactly its length, so that a sanitizer sees one byte too far; every instruction set of this build must
// leave the bits of the scalar one. Built and run by scripts/fuzz.mjs.
#include <stdlib.h>
#include <string.h>

#include <memory>
#include <vector>

#include "../arena.h"
#include "../kernel_table.h"

namespace {

/** Reads the fuzzer's bytes from the front; zeros at the end. */
struct Input {
  const uint8_t* at;
  size_t left;
  uint8_t byte() { return left == 0 ? 0 : (left--, *at++); }
  uint32_t word() {
    uint32_t w = 0;
    for (int i = 0; i < 4; i++) w = w << 8 | byte();
    return w;
  }
};

/** A block of exactly `n` elements, filled from the input. */
template <class T>
struct Block {
  std::unique_ptr<T, decltype(&free)> memory;
  int64_t n;
  explicit Block(int64_t count) : memory(static_cast<T*>(calloc(count == 0 ? 1 : (size_t)count, sizeof(T))), free), n(count) {}
  T* get() const { return memory.get(); }
  void fill(Input& in) {
    uint8_t* bytes = reinterpret_cast<uint8_t*>(get());
    for (size_t i = 0; i < (size_t)n * sizeof(T); i++) bytes[i] = in.byte();
  }
  bool same(const Block& other) const { return memcmp(get(), other.get(), (size_t)n * sizeof(T)) == 0; }
};

std::vector<const PogoKernels*> tables() {
  std::vector<const PogoKernels*> found = {&pogo_kernels_scalar};
#if defined(POGO_X86)
  if (__builtin_cpu_supports("avx2") && __builtin_cpu_supports("popcnt")) found.push_back(&pogo_kernels_avx2);
#endif
  return found;
}

void require(bool holds) {
  if (!holds) abort();
}

/** Both results are null, or both name a tensor: then outputs need not agree. */
bool agree(PogoResult a, PogoResult b) {
  require((a == nullptr) == (b == nullptr));
  return a == nullptr;
}

void patch(PogoArena* arena, Input& in) {
  const int64_t n = 1 + in.word() % 40000;
  Block<uint8_t> older(n);
  const uint8_t seed = in.byte();
  for (int64_t i = 0; i < n; i++) older.get()[i] = (uint8_t)(i * 37 + seed);
  Block<uint8_t> bytes((int64_t)in.left);
  bytes.fill(in);
  Block<uint8_t> first(n);
  int64_t read[2] = {0, 0};
  for (const PogoKernels* k : tables()) {
    Block<uint8_t> newer(n);
    int64_t stopped[2] = {-1, -1};
    k->patch_model(arena, older.get(), bytes.get(), bytes.n, newer.get(), n, stopped);
    pogo_arena_reset(arena);
    require(stopped[0] >= 0 && stopped[0] <= bytes.n && stopped[1] >= 0 && stopped[1] <= n);
    if (k == &pogo_kernels_scalar) {
      memcpy(read, stopped, sizeof read);
      memcpy(first.get(), newer.get(), (size_t)n);
    }
    require(memcmp(read, stopped, sizeof read) == 0);
    require(memcmp(first.get(), newer.get(), (size_t)stopped[1]) == 0);
    if (stopped[1] != n) continue;
    // What was accepted is what the encoder writes: one form.
    Block<uint8_t> again(n + (n + 16383) / 16384);
    int64_t end = 0;
    k->diff_model(arena, older.get(), newer.get(), again.get(), n, &end);
    pogo_arena_reset(arena);
    require(end == stopped[0] && memcmp(again.get(), bytes.get(), (size_t)end) == 0);
  }
}

void dequantize(PogoArena* arena, Input& in) {
  const int64_t n = 64 * (1 + in.byte() % 9);
  Block<uint8_t> codes(n / 2);
  Block<uint16_t> scales(n / 64);
  codes.fill(in);
  scales.fill(in);
  Block<float> first(n);
  for (const PogoKernels* k : tables()) {
    Block<float> x(n);
    k->dequantize4(arena, codes.get(), scales.get(), x.get(), n);
    pogo_arena_reset(arena);
    if (k == &pogo_kernels_scalar) memcpy(first.get(), x.get(), (size_t)n * 4);
    // NaN times a code may differ in its payload: such scales are refused before they come here.
    bool finite = true;
    for (int64_t i = 0; i < scales.n; i++) finite = finite && (scales.get()[i] & 0x7f80) != 0x7f80;
    require(!finite || x.same(first));
  }
}

void commit(PogoArena* arena, Input& in) {
  const int64_t n = 256 * (1 + in.byte() % 3);
  const uint32_t units = 1 + in.byte() % 4;
  std::vector<Block<uint8_t>> codes;
  std::vector<Block<uint16_t>> scales;
  std::vector<const uint8_t*> code_rows;
  std::vector<const uint16_t*> scale_rows;
  for (uint32_t u = 0; u < units; u++) {
    codes.emplace_back(n / 2);
    scales.emplace_back(n / 64);
    codes.back().fill(in);
    scales.back().fill(in);
    // What the canonical form lets through: positive, finite, no code -8.
    for (int64_t i = 0; i < n / 64; i++) scales.back().get()[i] = (uint16_t)(scales.back().get()[i] & 0x4fff);
    for (int64_t i = 0; i < n / 2; i++) {
      uint8_t& b = codes.back().get()[i];
      if ((b & 15) == 8) b ^= 1;
      if ((b >> 4) == 8) b ^= 16;
    }
    code_rows.push_back(codes.back().get());
    scale_rows.push_back(scales.back().get());
  }
  std::vector<Block<float>> start;
  for (int i = 0; i < 4; i++) {
    start.emplace_back(n);
    for (int64_t j = 0; j < n; j++) start.back().get()[j] = (float)(in.byte() - (i == 2 ? 0 : 128)) / 1024.0f;
  }
  const float rate = (float)in.byte() / 4096.0f;
  std::vector<Block<float>> first;
  for (const PogoKernels* k : tables()) {
    std::vector<Block<float>> state;
    for (int i = 0; i < 4; i++) {
      state.emplace_back(n);
      memcpy(state.back().get(), start[i].get(), (size_t)n * 4);
    }
    PogoCommit a = {state[0].get(), state[1].get(), state[2].get(), state[3].get(), code_rows.data(), scale_rows.data(),
                    units, n, 0.9f, 0.95f, 0.9f, 0.95f, 1e-8f, 0.1f, rate, 0.95f, (in.left & 1) != 0};
    k->commit_leaves(arena, a);
    pogo_arena_reset(arena);
    if (k == &pogo_kernels_scalar) first = std::move(state);
    else for (int i = 0; i < 4; i++) require(state[i].same(first[i]));
  }
}

void quantize(PogoArena* arena, Input& in) {
  const int64_t rows = 1 + in.byte() % 3, cols = 64 * (1 + in.byte() % 4), n = rows * cols;
  Block<float> x(n);
  x.fill(in);
  Block<uint32_t> seed(4);
  seed.fill(in);
  Block<uint8_t> codes(n / 2);
  Block<uint16_t> scales(n / 64);
  PogoResult expected = nullptr;
  for (const PogoKernels* k : tables()) {
    Block<uint8_t> c(n / 2);
    Block<uint16_t> s(n / 64);
    const PogoResult result = k->quantize4(arena, x.get(), c.get(), s.get(), seed.get(), rows, cols);
    pogo_arena_reset(arena);
    if (k == &pogo_kernels_scalar) {
      expected = result;
      memcpy(codes.get(), c.get(), (size_t)n / 2);
      memcpy(scales.get(), s.get(), (size_t)n / 32);
    }
    if (!agree(expected, result)) continue;
    require(c.same(codes) && s.same(scales));
    for (int64_t i = 0; i < n / 2; i++) require((c.get()[i] & 15) != 8 && (c.get()[i] >> 4) != 8);
  }
}

void packed(PogoArena* arena, Input& in) {
  const int bits = in.byte() & 1 ? 8 : 4;
  const int64_t n = 64 * (1 + in.byte() % 5);
  Block<uint8_t> codes(bits == 8 ? n : n / 2);
  Block<uint16_t> scales(n / 64);
  codes.fill(in);
  scales.fill(in);
  for (int64_t i = 0; i < n / 64; i++) scales.get()[i] = (uint16_t)(scales.get()[i] & 0x4fff);
  Block<float> first(n);
  for (const PogoKernels* k : tables()) {
    Block<float> x(n);
    k->unpack_model(arena, codes.get(), scales.get(), x.get(), n, bits);
    pogo_arena_reset(arena);
    if (k == &pogo_kernels_scalar) memcpy(first.get(), x.get(), (size_t)n * 4);
    require(x.same(first));
  }
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  static PogoArena* arena = pogo_arena_new();
  Input in = {data, size};
  switch (in.byte() % 5) {
    case 0:
      patch(arena, in);
      break;
    case 1:
      dequantize(arena, in);
      break;
    case 2:
      commit(arena, in);
      break;
    case 3:
      quantize(arena, in);
      break;
    default:
      packed(arena, in);
  }
  return 0;
}
