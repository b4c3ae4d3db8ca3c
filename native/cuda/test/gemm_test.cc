// Tests of the products and of recode: the index arithmetic of gemm_tiles.h on the host, and the kernels over odd shapes
// against the scalar kernels of native/cpu, bit for bit. On the device model or, built by nvcc, on a GPU.
// Exit code 0 passed, 1 failed, 77 no device (nothing was tested).
#include <math.h>
#include <stdio.h>
#include <string.h>

#include <algorithm>
#include <set>
#include <string>
#include <vector>

#include "../../cpu/arena.h"
#include "../../exact/dither.h"
#include "../gemm_tiles.h"
#include "../recode_index.h"
#include "../ops.h"
#include "../product_forms.h"
#include "walk_test.h"

uint32_t pogo_optional_features = 0;

namespace {

using namespace pogo;

int failures = 0;
int checks = 0;

void expect(bool holds, const std::string& what) {
  checks += 1;
  if (holds) return;
  failures += 1;
  printf("FAILED %s\n", what.c_str());
}

void expect_ok(const Status& status, const std::string& what) {
  expect(status.ok(), what + ": " + status.where + ": " + status.message);
}

// ---- index arithmetic

/** Every element of the tile is held by one register of one thread. */
template <class Shape>
void test_fragments(const char* name) {
  std::vector<int> seen(Shape::ROWS * Shape::COLUMNS, 0);
  bool inside = true;
  for (uint32_t thread = 0; thread < (uint32_t)Shape::THREADS; thread += 1) {
    for (int mt = 0; mt < Shape::MT; mt += 1) {
      for (int nt = 0; nt < Shape::NT; nt += 1) {
        for (int i = 0; i < 4; i += 1) {
          const uint32_t row = fragment_row<Shape>(thread, mt, i / 2);
          const uint32_t column = fragment_column<Shape>(thread, nt) + (uint32_t)(i % 2);
          inside = inside && row < (uint32_t)Shape::ROWS && column < (uint32_t)Shape::COLUMNS;
          if (inside) seen[row * Shape::COLUMNS + column] += 1;
        }
      }
    }
  }
  expect(inside, std::string(name) + ": fragments lie in the tile");
  expect(std::all_of(seen.begin(), seen.end(), [](int n) { return n == 1; }), std::string(name) + ": each element once");
}

/** Byte addresses that one phase of a warp touches, `bytes` each: no bank of four bytes is asked for two words. */
bool conflict_free(const std::vector<uint32_t>& addresses, uint32_t bytes) {
  std::vector<std::set<uint32_t>> words(32);
  for (uint32_t address : addresses) {
    for (uint32_t byte = 0; byte < bytes; byte += 1) words[(address + byte) / 4 % 32].insert((address + byte) / 4);
  }
  return std::all_of(words.begin(), words.end(), [](const std::set<uint32_t>& w) { return w.size() <= 1; });
}

/**
 * What pogo_reciprocal does behind the device's seed (native/exact/arith.h), from every seed that is off by up to four units:
 * the rounded quotient. `mantissa` of a number in [1, 2); exponents only move it.
 */
bool rounds_reciprocal(uint32_t mantissa) {
  const float x = pogo_of_bits(0x3F800000u | mantissa), quotient = 1.0f / x;
  for (int off = -4; off <= 4; off += 1) {
    float r = pogo_of_bits(pogo_bits(quotient) + (uint32_t)off);
    for (int step = 0; step < 2; step += 1) r = fmaf(r, fmaf(-x, r, 1.0f), r);
    r = pogo_of_bits(pogo_bits(r) | (mantissa == POGO_MANTISSA ? 1u : 0u));
    if (pogo_bits(r) != pogo_bits(quotient)) return false;
  }
  return true;
}

void test_reciprocal(uint32_t stride) {
  bool rounds = rounds_reciprocal(0) && rounds_reciprocal(POGO_MANTISSA) && rounds_reciprocal(POGO_MANTISSA - 1);
  for (uint32_t mantissa = 1; mantissa < POGO_MANTISSA; mantissa += stride) {
    rounds = rounds && rounds_reciprocal(mantissa);
  }
  expect(rounds, "reciprocal: two steps from any seed round like the division");
}

/** Blocks of a grid and tiles of a result are one to one. */
void test_raster() {
  bool once = true;
  for (uint32_t cluster : {1u, 2u, 8u}) {
    for (uint32_t rows : {1u, 15u, 16u, 17u, 40u}) {
      for (uint32_t clusters : {1u, 2u, 7u, 33u}) {
        std::set<uint32_t> tiles;
        for (uint32_t block = 0; block < rows * clusters * cluster; block += 1) {
          const TileIndex tile = tile_of_block(block, cluster, rows, clusters);
          once = once && tile.row < rows && tile.column < clusters * cluster && tile.column % cluster == block % cluster;
          tiles.insert(tile.row * clusters * cluster + tile.column);
          // A cluster is one row of neighbours.
          const TileIndex head = tile_of_block(block / cluster * cluster, cluster, rows, clusters);
          once = once && head.row == tile.row && head.column + block % cluster == tile.column;
        }
        once = once && tiles.size() == rows * clusters * cluster;
      }
    }
  }
  expect(once, "raster: each tile once, clusters together");
  once = true;
  for (uint32_t columns : {1u, 2u, 8u}) {
    for (uint32_t rows : {1u, 2u}) {
      for (uint32_t row_clusters : {1u, 15u, 17u}) {
        for (uint32_t column_clusters : {1u, 7u}) {
          std::set<uint32_t> tiles;
          const uint32_t together = columns * rows, blocks = row_clusters * column_clusters * together;
          for (uint32_t block = 0; block < blocks; block += 1) {
            const TileIndex tile = tile_of_cluster(block, columns, rows, row_clusters, column_clusters);
            const TileIndex head = tile_of_cluster(block / together * together, columns, rows, row_clusters, column_clusters);
            const uint32_t rank = block % together;
            once = once && tile.row == head.row + rank / columns && tile.column == head.column + rank % columns &&
                   head.row % rows == 0 && head.column % columns == 0 && tile.row < row_clusters * rows &&
                   tile.column < column_clusters * columns;
            tiles.insert(tile.row * column_clusters * columns + tile.column);
          }
          once = once && tiles.size() == blocks;
        }
      }
    }
  }
  expect(once, "raster of clusters of two rows: each tile once, rows and columns of a cluster are neighbours");
}

template <int DEPTH>
void test_stage() {
  const std::string name = "stage of rows of " + std::to_string(DEPTH) + " bytes";
  std::set<uint32_t> offsets;
  for (uint32_t row = 0; row < 128; row += 1) {
    for (uint32_t chunk = 0; chunk < DEPTH / CHUNK; chunk += 1) offsets.insert(chunk_offset<DEPTH>(row, chunk));
  }
  expect(offsets.size() == 128 * DEPTH / CHUNK && *offsets.rbegin() + CHUNK == 128 * DEPTH, name + ": each chunk once");
  bool reads = true, writes = true, steps = true;
  for (uint32_t step = 0; step < DEPTH / STEP; step += 1) {
    for (int right = 0; right < 2; right += 1) {
      for (uint32_t matrix = 0; matrix < 4; matrix += 1) {
        std::vector<uint32_t> phase;
        for (uint32_t lane = 8 * matrix; lane < 8 * matrix + 8; lane += 1) {
          const uint32_t row = right ? right_row(lane) : left_row(lane), chunk = right ? right_chunk(lane) : left_chunk(lane);
          const uint32_t at = chunk_offset<DEPTH>(row, 2 * step + chunk);
          phase.push_back(at);
          // The main loop reaches a step's chunks by one xor.
          steps = steps && at == (chunk_offset<DEPTH>(row, chunk) ^ (step * STEP));
        }
        reads = reads && conflict_free(phase, CHUNK);
      }
    }
  }
  // Sixteen-byte stores go by quarters of a warp.
  for (uint32_t first = 0; first < 256; first += 8) {
    std::vector<uint32_t> phase;
    for (uint32_t thread = first; thread < first + 8; thread += 1) {
      phase.push_back(chunk_offset<DEPTH>(thread / (DEPTH / CHUNK), thread % (DEPTH / CHUNK)));
    }
    writes = writes && conflict_free(phase, CHUNK);
  }
  expect(reads, name + ": ldmatrix reads each bank once");
  expect(writes, name + ": a quarter of a warp writes each bank once");
  expect(steps, name + ": steps by xor");
}

/** Stores of a warp's fragments into the staging tiles. */
template <class Shape>
void test_staging(const char* name) {
  for (uint32_t warp = 0; warp < (uint32_t)Shape::THREADS / 32; warp += 1) {
    for (int nt = 0; nt < Shape::NT; nt += 1) {
      std::vector<uint32_t> bytes, halves, nibbles;
      std::vector<uint32_t> floats[2];
      for (uint32_t lane = 0; lane < 32; lane += 1) {
        const uint32_t row = fragment_row<Shape>(32 * warp + lane, 0, 0), column = fragment_column<Shape>(32 * warp + lane, nt);
        bytes.push_back(row * byte_pitch(Shape::COLUMNS) + column);
        halves.push_back(row * half_pitch(Shape::COLUMNS) + 2 * column);
        nibbles.push_back(row * nibble_pitch(Shape::COLUMNS) + column / 2);
        floats[lane / 16].push_back(4 * (row * float_pitch(Shape::COLUMNS) + column));
      }
      const bool free = conflict_free(bytes, 2) && conflict_free(halves, 4) && conflict_free(nibbles, 1) &&
                        conflict_free(floats[0], 8) && conflict_free(floats[1], 8);
      if (!free) return expect(false, std::string(name) + ": staging stores hit each bank once");
    }
  }
  expect(byte_pitch(Shape::COLUMNS) % 16 == 0 && half_pitch(Shape::COLUMNS) % 16 == 0 &&
             nibble_pitch(Shape::COLUMNS) % 16 == 0,
         std::string(name) + ": staged rows begin at multiples of 16");
}

void test_recode_units() {
  constexpr uint32_t UNITS = RECODE_COLUMNS / RECODE_UNIT;
  std::set<uint32_t> all;
  bool copies = true, matrices = true;
  for (uint32_t i = 0; i < PANEL * UNITS; i += 8) {
    std::vector<uint32_t> phase;
    for (uint32_t j = i; j < i + 8; j += 1) phase.push_back(16 * recode_unit(j / UNITS, j % UNITS));
    copies = copies && conflict_free(phase, 16);
    all.insert(phase.begin(), phase.end());
  }
  std::set<uint32_t> rows;
  for (uint32_t half = 0; half < 2; half += 1) {
    for (uint32_t matrix = 0; matrix < 4; matrix += 1) {
      for (uint32_t unit = 0; unit < UNITS; unit += 1) {
        std::vector<uint32_t> phase;
        for (uint32_t lane = 8 * matrix; lane < 8 * matrix + 8; lane += 1) {
          rows.insert(recode_matrix_row(lane, half));
          phase.push_back(16 * recode_unit(recode_matrix_row(lane, half), unit));
        }
        matrices = matrices && conflict_free(phase, 16);
      }
    }
  }
  std::set<uint32_t> places;
  bool words = true;
  for (uint32_t row = 0; row < PANEL; row += 1) places.insert(recode_row_place(row));
  for (uint32_t row = 0; row < RECODE_UNIT; row += 4) {
    std::vector<uint32_t> phase;
    for (uint32_t run = 0; run < RECODE_STRIP; run += 16) phase.push_back(4 * recode_row_place(run + row));
    words = words && conflict_free(phase, 16);
  }
  expect(places.size() == PANEL && *places.rbegin() + 1 == PANEL, "recode: each row's word once");
  expect(words, "recode: the words of four rows of each run hit each bank once");
  expect(all.size() == PANEL * UNITS && *all.rbegin() == 16 * (PANEL * UNITS - 1), "recode: each unit once");
  expect(rows.size() == RECODE_STRIP && *rows.rbegin() + 1 == RECODE_STRIP, "recode: each row of a strip once");
  expect(copies, "recode: eight units in the order of memory hit each bank once");
  expect(matrices, "recode: the rows of a matrix hit each bank once");
}

// ---- kernels

/** Device memory, so that the model finds an access beyond it; begins as bytes FF. */
template <class T>
struct Device {
  T* data = nullptr;
  size_t count;
  explicit Device(size_t n) : count(n) {
    if (n > 0 && cudaMalloc(reinterpret_cast<void**>(&data), n * sizeof(T)) != cudaSuccess) data = nullptr;
    if (data != nullptr) cudaMemset(data, 0xFF, n * sizeof(T));
  }
  /** The first n values of a host array. */
  Device(const std::vector<T>& values, size_t n) : Device(n) {
    if (data != nullptr) cudaMemcpy(data, values.data(), n * sizeof(T), cudaMemcpyHostToDevice);
  }
  ~Device() { cudaFree(data); }
  Device(const Device&) = delete;
  Device& operator=(const Device&) = delete;
  std::vector<T> read() const {
    std::vector<T> values(count);
    if (count > 0) cudaMemcpy(values.data(), data, count * sizeof(T), cudaMemcpyDeviceToHost);
    return values;
  }
};

/** Vector loads and stores of the scalar kernels may reach beyond odd shapes. */
constexpr size_t SLACK = 2048;
constexpr uint32_t SEED[4] = {0x9E3779B9u, 0x243F6A88u, 0xB7E15162u, 0xDEADBEEFu};

uint32_t state = 1;
uint32_t draw() {
  state += 1;
  return pogo_mix<uint32_t>(state);
}

enum class Fill { RANDOM, EXTREME, SPARSE };

/** Codes of all values, or of +-127 alone. */
std::vector<int8_t> some_codes(size_t n, Fill fill = Fill::RANDOM) {
  std::vector<int8_t> values(n + SLACK);
  for (size_t i = 0; i < n; i += 1) {
    values[i] = fill == Fill::EXTREME ? (draw() & 1u ? 127 : -127) : (int8_t)((int)(draw() % 255u) - 127);
  }
  return values;
}

/** Positive scales; one in three is zero with SPARSE. */
std::vector<float> some_scales(size_t n, Fill fill = Fill::RANDOM) {
  std::vector<float> values(n + SLACK, 0.0f);
  for (size_t i = 0; i < n; i += 1) {
    const float scale = pogo_of_bits(0x3A000000u + (draw() & 0x01FFFFFFu));
    values[i] = fill == Fill::SPARSE && draw() % 3 == 0 ? 0.0f : scale;
  }
  return values;
}

std::vector<float> some_floats(size_t n) {
  std::vector<float> values(n + SLACK, 0.0f);
  for (size_t i = 0; i < n; i += 1) values[i] = pogo_of_bits((draw() & 0x80FFFFFFu) | 0x3F000000u);
  return values;
}

std::vector<uint16_t> some_halves(size_t n) {
  std::vector<uint16_t> values(n + SLACK, 0);
  const std::vector<float> wide = some_floats(n);
  for (size_t i = 0; i < n; i += 1) values[i] = (uint16_t)(pogo_bits(wide[i]) >> 16);
  return values;
}

/** Scratch of the scalar kernels. */
class Arena {
 public:
  Arena() : arena_(pogo_arena_new()) {}
  ~Arena() { pogo_arena_delete(arena_); }
  Arena(const Arena&) = delete;
  Arena& operator=(const Arena&) = delete;
  PogoArena* get() const { return arena_; }

 private:
  PogoArena* arena_;
};

size_t panels(size_t k) { return (k + 1023) / 1024; }

template <class T>
void expect_same(const std::vector<T>& expected, const Device<T>& device, const std::string& what) {
  const std::vector<T> found = device.read();
  for (size_t i = 0; i < found.size(); i += 1) {
    if (memcmp(&expected[i], &found[i], sizeof(T)) == 0) continue;
    char text[160];
    snprintf(text, sizeof text, ": element %zu of %zu: expected %g, found %g", i, found.size(), (double)expected[i],
             (double)found[i]);
    return expect(false, what + text);
  }
  expect(true, what);
}

DeviceTraits traits;
Device<unsigned long long>* failure_word_memory = nullptr;

Launch launch_of(const Device<char>* workspace = nullptr) {
  Launch launch;
  launch.device = &traits;
  launch.failure = failure_word_memory->data;
  launch.entry = 7;
  if (workspace != nullptr) launch.workspace = {workspace->data, workspace->count};
  return launch;
}

unsigned long long take_failure() {
  const unsigned long long word = failure_word_memory->read()[0];
  cudaMemset(failure_word_memory->data, 0xFF, 8);
  return word;
}

/** A left and a right operand, on both sides. */
struct Operands {
  size_t M, N, K;
  std::vector<int8_t> a, b;
  std::vector<float> a_scales, b_scales;
  Device<int8_t> device_a, device_b;
  Device<float> device_a_scales, device_b_scales;
  Operands(size_t M_, size_t N_, size_t K_, Fill fill)
      : M(M_), N(N_), K(K_), a(some_codes(M * K, fill)), b(some_codes(N * K, fill)),
        a_scales(some_scales(panels(K) * M, fill)), b_scales(some_scales(panels(K) * N, fill)), device_a(a, M * K),
        device_b(b, N * K), device_a_scales(a_scales, panels(K) * M), device_b_scales(b_scales, panels(K) * N) {}
  PogoCodes left() const { return {a.data(), a_scales.data()}; }
  PogoCodes right() const { return {b.data(), b_scales.data()}; }
  std::string name(const char* operation) const {
    return std::string(operation) + " " + std::to_string(M) + " x " + std::to_string(N) + " x " + std::to_string(K) +
           " on sm_" + std::to_string(traits.major) + "0, " + std::to_string(traits.multiprocessors) +
           " multiprocessors" + (traits.products == Products::PINGPONG ? ", persistent" : "");
  }
};

const PogoKernels& cpu = pogo_kernels_scalar;

void test_gemm(size_t M, size_t N, size_t K, Fill fill) {
  const Operands o(M, N, K, fill);
  Arena arena;
  std::vector<float> y(M * N + SLACK);
  cpu.gemm(arena.get(), o.left(), o.right(), y.data(), (int64_t)M, (int64_t)N, (int64_t)K, false);
  Device<float> out(M * N);
  expect_ok(gemm({o.device_a.data, o.device_a_scales.data, o.device_b.data, o.device_b_scales.data, out.data,
                  (uint32_t)M, (uint32_t)N, (uint32_t)K},
                 launch_of()),
            o.name("gemm"));
  expect_same(y, out, o.name("gemm"));

  y = some_floats(M * N);
  Device<float> dw(y, M * N);
  cpu.gemm(arena.get(), o.left(), o.right(), y.data(), (int64_t)M, (int64_t)N, (int64_t)K, true);
  const WeightGradientArgs args = {o.device_a.data, o.device_a_scales.data, o.device_b.data, o.device_b_scales.data, dw.data,
                                   (uint32_t)M, (uint32_t)N, (uint32_t)K, true};
  const Device<char> workspace(weight_gradient_workspace(args, traits));
  expect_ok(weight_gradient(args, launch_of(&workspace)), o.name("weightGradient"));
  expect_same(y, dw, o.name("weightGradient"));
}

void test_gradient4(size_t M, size_t N, size_t K, Fill fill) {
  const Operands o(M, N, K, fill);
  const std::string name = o.name("weightGradient4");
  Arena arena;
  std::vector<float> y(M * N + SLACK);
  cpu.gemm(arena.get(), o.left(), o.right(), y.data(), (int64_t)M, (int64_t)N, (int64_t)K, false);
  const size_t padded = (M * N + 255) / 256 * 256;
  std::vector<uint8_t> codes(padded / 2, 0);
  std::vector<uint16_t> scales(padded / 64, 0);
  cpu.quantize4(arena.get(), y.data(), codes.data(), scales.data(), SEED, (int64_t)M, (int64_t)N);
  Device<uint8_t> out(padded / 2);
  Device<uint16_t> out_scales(padded / 64);
  const Device<uint32_t> seed(std::vector<uint32_t>(SEED, SEED + 4), 4);
  const WeightGradient4Args args = {o.device_a.data, o.device_a_scales.data, o.device_b.data, o.device_b_scales.data,
                                    out.data, out_scales.data, seed.data, (uint32_t)M, (uint32_t)N, (uint32_t)K,
                                    padded / 2, padded / 64};
  const Device<char> workspace(weight_gradient4_workspace(args, traits));
  expect_ok(weight_gradient4(args, launch_of(&workspace)), name);
  expect_same(codes, out, name + ": codes");
  expect_same(scales, out_scales, name + ": scales");
  expect(take_failure() == NO_FAILURE, name + ": no failure");
}

void test_bf16(size_t M, size_t N, size_t K, Fill fill) {
  const Operands o(M, N, K, fill);
  Arena arena;
  const std::vector<float> bias = some_floats(N);
  const Device<float> device_bias(bias, N);
  const bool with_bias = draw() % 2 == 0;
  const std::vector<uint16_t> x = some_halves(M * N);
  std::vector<uint16_t> y(M * N + SLACK);
  cpu.linear_residual(arena.get(), o.left(), o.right(), with_bias ? bias.data() : nullptr, x.data(), y.data(), (int64_t)M,
                      (int64_t)N, (int64_t)K);
  // In place, as the tape has it.
  Device<uint16_t> in_place(x, M * N);
  expect_ok(linear_residual({o.device_a.data, o.device_a_scales.data, o.device_b.data, o.device_b_scales.data,
                             with_bias ? device_bias.data : nullptr, in_place.data, in_place.data, (uint32_t)M,
                             (uint32_t)N, (uint32_t)K},
                            launch_of()),
            o.name("linearResidual"));
  expect_same(y, in_place, o.name("linearResidual"));

  Device<uint16_t> dx(M * N);
  cpu.linear_bf16(arena.get(), o.left(), o.right(), y.data(), (int64_t)M, (int64_t)K, (int64_t)N);
  expect_ok(linear_input_gradient({o.device_a.data, o.device_a_scales.data, o.device_b.data, o.device_b_scales.data,
                                   dx.data, (uint32_t)M, (uint32_t)K, (uint32_t)N},
                                  launch_of()),
            o.name("linearInputGradient"));
  expect_same(y, dx, o.name("linearInputGradient"));

  // The head: K is the vocabulary.
  const std::vector<int8_t> w = some_codes(K * N);
  const std::vector<float> w_scales = some_scales(panels(N) * K);
  std::vector<uint32_t> targets(M);
  for (uint32_t& target : targets) target = draw() % (uint32_t)K;
  const Device<int8_t> device_w(w, K * N);
  const Device<float> device_w_scales(w_scales, panels(N) * K);
  const Device<uint32_t> device_targets(targets, M);
  cpu.head_input_gradient(arena.get(), o.left(), o.right(), {w.data(), w_scales.data()}, targets.data(), y.data(), (int64_t)M,
                          (int64_t)K, (int64_t)N, 192);
  expect_ok(head_input_gradient({o.device_a.data, o.device_a_scales.data, o.device_b.data, o.device_b_scales.data,
                                 device_w.data, device_w_scales.data, device_targets.data, dx.data, (uint32_t)M,
                                 (uint32_t)K, (uint32_t)N, 192},
                                launch_of()),
            o.name("headInputGradient"));
  expect_same(y, dx, o.name("headInputGradient"));
}

void test_heads(size_t T, size_t C, size_t h, size_t K, Fill fill) {
  Arena arena;
  const size_t N = 3 * C, groups = N / h;
  {
    const Operands o(T, N, C, fill);
    const std::string name = o.name("linearQkv") + ", heads of " + std::to_string(h);
    const std::vector<float> bias = some_floats(N);
    const Device<float> device_bias(bias, N);
    const bool with_bias = draw() % 2 == 0;
    std::vector<int8_t> codes(T * N + SLACK);
    std::vector<float> scales(groups * T);
    cpu.linear_heads(arena.get(), o.left(), o.right(), with_bias ? bias.data() : nullptr, nullptr, codes.data(), scales.data(),
                     (int64_t)T, (int64_t)N, (int64_t)C, (int64_t)h, 0);
    Device<int8_t> out(T * N);
    Device<float> out_scales(groups * T);
    expect_ok(linear_qkv({o.device_a.data, o.device_a_scales.data, o.device_b.data, o.device_b_scales.data,
                          with_bias ? device_bias.data : nullptr, out.data, out_scales.data, (uint32_t)T, (uint32_t)C,
                          (uint32_t)(C / h)},
                         launch_of()),
              name);
    expect_same(codes, out, name + ": codes");
    expect_same(scales, out_scales, name + ": scales");
  }
  const Operands o(T, C, K, fill);
  const std::string name = o.name("linearHeadsInputGradient") + ", heads of " + std::to_string(h);
  const Device<uint32_t> seed(std::vector<uint32_t>(SEED, SEED + 4), 4);
  std::vector<int8_t> codes(T * C + SLACK);
  std::vector<float> scales(C / h * T);
  cpu.linear_heads(arena.get(), o.left(), o.right(), nullptr, SEED, codes.data(), scales.data(), (int64_t)T, (int64_t)C,
                   (int64_t)K, (int64_t)h, 64);
  Device<int8_t> out(T * C);
  Device<float> out_scales(C / h * T);
  expect_ok(linear_heads_input_gradient({o.device_a.data, o.device_a_scales.data, o.device_b.data, o.device_b_scales.data,
                                         out.data, out_scales.data, seed.data, (uint32_t)T, (uint32_t)K, (uint32_t)C,
                                         (uint32_t)(C / h), 64},
                                        launch_of()),
            name);
  expect_same(codes, out, name + ": codes");
  expect_same(scales, out_scales, name + ": scales");
  expect(take_failure() == NO_FAILURE, name + ": no failure");
}

void test_gelu(size_t T, size_t N, size_t K, Fill fill) {
  const Operands o(T, N, K, fill);
  Arena arena;
  const std::vector<float> bias = some_floats(N);
  const Device<float> device_bias(bias, N);
  const bool with_bias = draw() % 2 == 0;
  std::vector<int8_t> codes(T * N + SLACK), derivative(T * N + SLACK);
  std::vector<float> scales(panels(N) * T);
  cpu.linear_gelu(arena.get(), o.left(), o.right(), with_bias ? bias.data() : nullptr, codes.data(), scales.data(),
                  derivative.data(), (int64_t)T, (int64_t)N, (int64_t)K);
  Device<int8_t> out(T * N), out_derivative(T * N);
  Device<float> out_scales(panels(N) * T);
  std::string name = o.name("linearGelu");
  expect_ok(linear_gelu({o.device_a.data, o.device_a_scales.data, o.device_b.data, o.device_b_scales.data,
                         with_bias ? device_bias.data : nullptr, out.data, out_scales.data, out_derivative.data,
                         (uint32_t)T, (uint32_t)N, (uint32_t)K},
                        launch_of()),
            name);
  expect_same(codes, out, name + ": codes");
  expect_same(scales, out_scales, name + ": scales");
  expect_same(derivative, out_derivative, name + ": derivative");

  name = o.name("linearGeluInputGradient");
  const bool with_sums = draw() % 4 != 0, accumulate = draw() % 2 == 0;
  std::vector<float> sums = some_floats(N);
  Device<float> out_sums(sums, N);
  cpu.linear_gelu_gradient(arena.get(), o.left(), o.right(), derivative.data(), codes.data(), scales.data(),
                           with_sums ? sums.data() : nullptr, SEED, (int64_t)T, (int64_t)K, (int64_t)N, 1024, accumulate);
  const Device<uint32_t> seed(std::vector<uint32_t>(SEED, SEED + 4), 4);
  const LinearGeluInputGradientArgs args = {
      o.device_a.data, o.device_a_scales.data, o.device_b.data, o.device_b_scales.data, out_derivative.data, out.data,
      out_scales.data, with_sums ? out_sums.data : nullptr, seed.data, (uint32_t)T, (uint32_t)K, (uint32_t)N, 1024,
      accumulate};
  const Device<char> workspace(linear_gelu_input_gradient_workspace(args, traits));
  expect_ok(linear_gelu_input_gradient(args, launch_of(&workspace)), name);
  expect_same(codes, out, name + ": codes");
  expect_same(scales, out_scales, name + ": scales");
  expect_same(sums, out_sums, name + ": bias");
  expect(take_failure() == NO_FAILURE, name + ": no failure");
}

void test_head(size_t T, size_t C, size_t V, size_t vocab, Fill fill, bool with_codes) {
  const Operands o(T, V, C, fill);
  const std::string name = o.name("headForward");
  Arena arena;
  std::vector<uint32_t> targets(T);
  for (uint32_t& target : targets) target = draw() % (uint32_t)vocab;
  std::vector<int8_t> codes(T * V + SLACK);
  std::vector<float> scales(panels(V) * T), loss(T);
  const PogoHead head = {o.left(),   o.right(),  targets.data(), with_codes ? codes.data() : nullptr, scales.data(),
                         loss.data(), SEED,       (int64_t)T,     (int64_t)C,                          (int64_t)V,
                         (int64_t)vocab, 64, 192};
  expect(cpu.head_forward(arena.get(), head) == nullptr, name + ": the oracle is finite");
  const Device<uint32_t> device_targets(targets, T), seed(std::vector<uint32_t>(SEED, SEED + 4), 4);
  Device<int8_t> out(T * V);
  Device<float> out_scales(panels(V) * T), out_loss(T);
  const HeadForwardArgs args = {o.device_a.data, o.device_a_scales.data, o.device_b.data, o.device_b_scales.data,
                                device_targets.data, with_codes ? out.data : nullptr, out_scales.data, out_loss.data,
                                seed.data, (uint32_t)T, (uint32_t)C, (uint32_t)V, (uint32_t)vocab, 64, 192};
  const Device<char> workspace(head_forward_workspace(args, traits));
  expect_ok(head_forward(args, launch_of(&workspace)), name);
  expect_same(loss, out_loss, name + ": loss");
  if (with_codes) {
    expect_same(codes, out, name + ": codes");
    expect_same(scales, out_scales, name + ": scales");
  }
  expect(take_failure() == NO_FAILURE, name + ": no failure");
}

void test_recode(size_t T, size_t N, bool dither, Fill fill) {
  const std::string name = "recode " + std::to_string(T) + " x " + std::to_string(N) + (dither ? ", dithered" : "");
  Arena arena;
  const std::vector<int8_t> codes = some_codes(T * N, fill);
  const std::vector<float> scales = some_scales(panels(N) * T, fill);
  std::vector<int8_t> y(T * N + SLACK);
  std::vector<float> y_scales(panels(T) * N + SLACK);
  cpu.recode(arena.get(), {codes.data(), scales.data()}, y.data(), y_scales.data(), dither ? SEED : nullptr, (int64_t)T,
             (int64_t)N, 1024);
  const Device<int8_t> in(codes, T * N);
  const Device<float> in_scales(scales, panels(N) * T);
  const Device<uint32_t> seed(std::vector<uint32_t>(SEED, SEED + 4), 4);
  Device<int8_t> out(T * N);
  Device<float> out_scales(panels(T) * N);
  expect_ok(recode({in.data, in_scales.data, out.data, out_scales.data, dither ? seed.data : nullptr, dither, (uint32_t)T,
                    (uint32_t)N, 1024},
                   launch_of()),
            name);
  expect_same(y, out, name + ": codes");
  expect_same(y_scales, out_scales, name + ": scales");
  expect(take_failure() == NO_FAILURE, name + ": no failure");
}

/** An Inf in row 3's scale is found where its groups are quantized, and a target beyond the vocabulary as well. */
void test_failures() {
  const size_t T = 5, C = 64;
  const Device<uint32_t> seed(std::vector<uint32_t>(SEED, SEED + 4), 4);
  Operands o(T, 3 * C, C, Fill::RANDOM);
  o.a_scales[3] = pogo_of_bits(POGO_INFINITY_BITS);
  cudaMemcpy(o.device_a_scales.data, o.a_scales.data(), T * sizeof(float), cudaMemcpyHostToDevice);
  Device<int8_t> codes(T * 3 * C), derivative(T * 3 * C);
  Device<float> scales(6 * T), loss(T);
  expect_ok(linear_qkv({o.device_a.data, o.device_a_scales.data, o.device_b.data, o.device_b_scales.data, nullptr,
                        codes.data, scales.data, (uint32_t)T, (uint32_t)C, 2},
                       launch_of()),
            "linearQkv of an Inf");
  expect(take_failure() == failure_word(7, FAILURE_NON_FINITE, 3 * 6), "linearQkv names row 3, group 0");
  expect_ok(linear_gelu({o.device_a.data, o.device_a_scales.data, o.device_b.data, o.device_b_scales.data, nullptr,
                         codes.data, scales.data, derivative.data, (uint32_t)T, (uint32_t)(3 * C), (uint32_t)C},
                        launch_of()),
            "linearGelu of an Inf");
  expect(take_failure() == failure_word(7, FAILURE_NON_FINITE, 3), "linearGelu names row 3");
  std::vector<uint32_t> targets = {0, 1, 200, 3, 191};
  Device<uint32_t> device_targets(targets, T);
  HeadForwardArgs args = {o.device_a.data, o.device_a_scales.data, o.device_b.data, o.device_b_scales.data,
                          device_targets.data, codes.data, scales.data, loss.data, seed.data, (uint32_t)T, (uint32_t)C,
                          (uint32_t)(3 * C), 180, 0, 192};
  const Device<char> workspace(head_forward_workspace(args, traits));
  expect_ok(head_forward(args, launch_of(&workspace)), "headForward of an Inf");
  expect(take_failure() == failure_word(7, FAILURE_NON_FINITE, 3), "headForward names token 3");
  o.a_scales[3] = 1.0f;
  cudaMemcpy(o.device_a_scales.data, o.a_scales.data(), T * sizeof(float), cudaMemcpyHostToDevice);
  expect_ok(head_forward(args, launch_of(&workspace)), "headForward of a bad target");
  expect(take_failure() == failure_word(7, FAILURE_TARGET, 2), "headForward names the first token with a bad target");
  args.vocab = 200;
  expect(!head_forward(args, launch_of(&workspace)).ok(), "headForward refuses a vocabulary beyond its rows");
  expect(!head_forward(args, launch_of()).ok() && take_failure() == NO_FAILURE, "headForward refuses a missing workspace");
}

#if defined(POGO_CUDA_MODEL)
/** Two passes; clusters with wgmma; clusters without it. Which comes first depends on the order of fibers, so all meet. */
void next_device() {
  static const int majors[] = {8, 9, 10};
  static unsigned turn = (unsigned)cuda_model::settings().order;
  traits.major = majors[turn % 3];
  // Few multiprocessors are filled by large tiles, many ask for small ones.
  traits.multiprocessors = turn % 2 == 0 ? 1 : 132;
  traits.products = turn / 3 % 2 == 0 ? Products::CLUSTER : Products::PINGPONG;
  turn += 1;
}
#else
void next_device() {}
#endif

bool find_device() {
#if defined(POGO_CUDA_MODEL)
  printf("gemm_test on the device model\n");
#else
  int count = 0;
  cudaDeviceProp properties;
  if (cudaGetDeviceCount(&count) != cudaSuccess || count == 0) return false;
  if (cudaGetDeviceProperties(&properties, 0) != cudaSuccess) return false;
  traits.major = properties.major;
  traits.minor = properties.minor;
  traits.multiprocessors = properties.multiProcessorCount;
  traits.shared_bytes = properties.sharedMemPerBlockOptin;
  printf("gemm_test on %s (sm_%d%d)\n", properties.name, properties.major, properties.minor);
#endif
  return true;
}

/** Persistent grids of few walkers: several tiles each, clusters of one, two and four blocks, and tiles that are cut. */
void test_pingpong() {
  if (traits.major != 9) return;
  traits.products = Products::PINGPONG;
  // The last has less to do at a time on three clusters of two than on one of four.
  const size_t shapes[][4] = {{300, 64, 2064, 2},   {130, 320, 2064, 4}, {400, 130, 1040, 4},
                              {640, 128, 3072, 3}, {1100, 64, 1040, 4}, {768, 192, 1040, 6}};
  for (const auto& s : shapes) {
#if defined(POGO_CUDA_MODEL)
    traits.multiprocessors = (int)s[3];
#endif
    if (s[1] % 64 == 0) test_gradient4(s[0], s[1], s[2], Fill::RANDOM);
    if (s[1] % 128 != 0) test_gemm(s[0], s[1], s[2], Fill::EXTREME);
    if (s[0] == 400) test_bf16(s[0], s[1], s[2], Fill::RANDOM);
  }
}

/** Where the device decides, a shape's launches take turns until enough were timed, and every one has the same bits. */
void test_trials() {
  if (!traits.wgmma()) return;
  traits.products = Products::AUTO;
  unsigned seen[2] = {0, 0};
  const Launch launch = launch_of();
  for (unsigned i = 0; i < 2 * (TRIALS + 1); i += 1) {
    ProductTrial trial({"a product of this test", 1, 2, 3}, launch);
    seen[(unsigned)trial.form()] += 1;
    trial.end();
    cudaDeviceSynchronize();
  }
  expect(seen[0] == TRIALS + 1 && seen[1] == TRIALS + 1, "trials: both forms are tried as often");
  const ProductForm stays = ProductTrial({"a product of this test", 1, 2, 3}, launch).form();
  bool same = true;
  for (int i = 0; i < 4; i += 1) same = same && ProductTrial({"a product of this test", 1, 2, 3}, launch).form() == stays;
  expect(same, "trials: then one stays");
  // An abandoned trial (a launch that failed) decides nothing and keeps nothing.
  { ProductTrial abandoned({"another product of this test", 1, 2, 3}, launch); }
  for (Products forced : {Products::CLUSTER, Products::PINGPONG}) {
    traits.products = forced;
    const ProductForm form = ProductTrial({"a product of this test", 1, 2, 3}, launch).form();
    expect((form == ProductForm::PINGPONG) == (forced == Products::PINGPONG), "trials: what is forced runs");
  }
  traits.products = Products::AUTO;
  for (int i = 0; i < 3; i += 1) test_gradient4(130, 64, 1040, Fill::RANDOM);
}

void test_kernels() {
  const Fill fills[] = {Fill::RANDOM, Fill::EXTREME, Fill::SPARSE};
  unsigned turn = 0;
  const auto fill = [&]() { return fills[turn++ % 3]; };
  const size_t products[][3] = {{1, 1, 1},      {63, 65, 64},   {65, 63, 1023},  {129, 127, 1024}, {64, 1, 1025},
                                {1, 130, 2049}, {130, 257, 80}, {200, 100, 1040}, {3, 5, 63},       {257, 64, 2048}};
  for (const auto& p : products) {
    next_device();
    test_gemm(p[0], p[1], p[2], fill());
  }
  const size_t gradients[][3] = {{5, 64, 64}, {130, 192, 1088}, {65, 128, 2049}, {1, 320, 100}, {129, 64, 128}};
  for (const auto& p : gradients) {
    next_device();
    test_gradient4(p[0], p[1], p[2], fill());
  }
  const size_t halves[][3] = {{5, 64, 64}, {130, 192, 1088}, {66, 33, 128}, {1, 1090, 65}, {129, 130, 2050}};
  for (const auto& p : halves) {
    next_device();
    test_bf16(p[0], p[1], p[2], fill());
  }
  const size_t heads[][4] = {{5, 32, 32, 64},     {130, 192, 64, 128}, {65, 256, 128, 1088}, {3, 512, 256, 100},
                             {129, 256, 256, 64}, {1, 1088, 64, 64},   {2, 64, 64, 2049}};
  for (const auto& p : heads) {
    next_device();
    test_heads(p[0], p[1], p[2], p[3], fill());
  }
  const size_t gelus[][3] = {{5, 64, 64}, {130, 192, 128}, {70, 1088, 64}, {3, 2048, 1088}, {1, 1024, 1024}, {129, 576, 72}};
  for (const auto& p : gelus) {
    next_device();
    test_gelu(p[0], p[1], p[2], fill());
  }
  const size_t vocabularies[][4] = {{5, 64, 256, 256},   {130, 64, 1088, 1050}, {3, 128, 128, 100},
                                    {70, 1088, 320, 300}, {2, 64, 2112, 2050},   {1, 64, 1024, 1024}};
  for (const auto& p : vocabularies) {
    next_device();
    // Without zero scales: a row of equal logits is tested, an empty one is no row of a norm.
    test_head(p[0], p[1], p[2], p[3], turn++ % 2 == 0 ? Fill::RANDOM : Fill::EXTREME, p[0] != 3);
  }
  const size_t transposed[][2] = {{70, 20}, {1088, 5}, {6, 1030}, {1, 1}, {1025, 65}, {64, 64}, {2048, 128}, {1000, 192}, {2049, 63},
                                  {1090, 1104}, {80, 1088}, {2064, 1040}};
  for (const auto& p : transposed) {
    test_recode(p[0], p[1], false, fill());
    test_recode(p[0], p[1], true, fill());
  }
  for (int i = 0; i < 3; i += 1) {
    next_device();
    test_failures();
  }
}

}  // namespace

int main(int argc, char** argv) {
  if (!find_device()) {
    printf("gemm_test: no device, nothing tested\n");
    return 77;
  }
  test_fragments<TileShape<2, 8, 4, 2>>("tile of 128 x 128");
  test_fragments<TileShape<2, 8, 2, 1>>("tile of 64 x 64");
  test_fragments<TileShape<1, 16, 8, 1>>("tile of wgmma");
  test_fragments<TileShape<1, 16, 4, 1>>("tile of one warpgroup");
  // Every mantissa with `gemm_test reciprocal`.
  test_reciprocal(argc > 1 && std::string(argv[1]) == "reciprocal" ? 1 : 1009);
  test_raster();
  test_stage<64>();
  test_stage<128>();
  test_staging<TileShape<2, 8, 4, 2>>("tile of 128 x 128");
  test_staging<TileShape<2, 8, 2, 1>>("tile of 64 x 64");
  test_staging<TileShape<1, 16, 8, 1>>("tile of wgmma");
  test_recode_units();
  const std::string wrong_walk = test_walks();
  expect(wrong_walk.empty(), "walk: " + wrong_walk);
  Device<unsigned long long> word(1);
  failure_word_memory = &word;
#if defined(POGO_CUDA_MODEL)
  test_kernels();
  traits.major = 9;
#else
  for (Products products : {Products::CLUSTER, Products::PINGPONG}) {
    traits.products = products;
    if (products == Products::CLUSTER || traits.wgmma()) test_kernels();
  }
#endif
  test_pingpong();
  test_trials();
  printf("%d passed, %d failed\n", checks - failures, failures);
  return failures == 0 ? 0 : 1;
}
