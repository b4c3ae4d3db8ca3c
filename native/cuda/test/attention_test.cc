// Tests of attention and of the kernels over rows beyond what kernel_test's shapes reach: the index arithmetic of
// attention_index.h and row_index.h on the host; sequences that end anywhere; failures that name the token. On the device
// model or, built by nvcc, on a GPU. Exit code 0 passed, 1 failed, 77 no device (nothing was tested).
#include <stdio.h>
#include <string.h>

#include <algorithm>
#include <set>
#include <string>
#include <vector>

#include "../../cpu/arena.h"
#include "../../cpu/kernel_table.h"
#include "../../exact/dither.h"
#include "../attention_index.h"
#include "../device.h"
#include "../ops.h"
#include "../row_index.h"

uint32_t pogo_optional_features = 0;

namespace {

using namespace pogo;
using namespace pogo::attention;

int failures = 0;
int checks = 0;

void expect(bool holds, const std::string& what) {
  checks += 1;
  if (holds) return;
  failures += 1;
  printf("FAILED %s\n", what.c_str());
}

// ---- index arithmetic

/** Byte addresses that one phase of a warp touches, 16 bytes each: no bank of four bytes is asked for two words. */
bool conflict_free(const std::vector<int>& addresses) {
  std::vector<std::set<int>> words(32);
  for (int address : addresses) {
    for (int word = address / 4; word < address / 4 + 4; word += 1) words[word % 32].insert(word);
  }
  return std::all_of(words.begin(), words.end(), [](const std::set<int>& w) { return w.size() <= 1; });
}

template <int h>
void test_tile() {
  const std::string name = "tile of heads of " + std::to_string(h);
  std::set<int> places;
  bool steps = true;
  for (int row = 0; row < TILE; row += 1) {
    for (int chunk = 0; chunk < h / 16; chunk += 1) {
      const int place = tile_place<h>(row, chunk);
      if (place % 16 == 0 && place >= 0 && place < TILE * h) places.insert(place);
      steps = steps && (row < 8 || place == tile_place<h>(row - 8, chunk) + 8 * h);
    }
  }
  expect(places.size() == TILE * h / 16, name + ": each chunk has a place of its own");
  expect(steps, name + ": eight rows further is 8 h bytes further");

  std::set<int> copied;
  bool stores = true;
  for (int i = 0; i < TILE / rows_apart<h>(); i += 1) {
    for (int first = 0; first < THREADS; first += 8) {
      std::vector<int> phase;
      for (int thread = first; thread < first + 8; thread += 1) {
        const int row = fetch_row<h>(thread) + i * rows_apart<h>(), place = tile_place<h>(row, fetch_chunk<h>(thread));
        phase.push_back(place);
        copied.insert(place);
      }
      stores = stores && conflict_free(phase);
    }
  }
  expect(copied == places, name + ": the copy covers each chunk");
  expect(stores, name + ": a phase of the copy writes each bank once");

  bool reads = true, left = true, right = true;
  for (int k = 0; k < h / 32; k += 1) {
    for (int matrix = 0; matrix < 4; matrix += 1) {
      std::vector<int> left_phase, right_phase;
      for (int lane = 8 * matrix; lane < 8 * matrix + 8; lane += 1) {
        left_phase.push_back(tile_place<h>(left_row(lane), left_chunk(lane, k)));
        right_phase.push_back(tile_place<h>(right_row(lane), right_chunk(lane, k)));
      }
      reads = reads && conflict_free(left_phase) && conflict_free(right_phase);
      for (int lane = 0; lane < 32; lane += 1) {
        // Word `matrix` of this lane comes from row lane / 4 of the matrix, bytes 4 (lane % 4) on.
        const int from = 8 * matrix + lane / 4, column = 4 * (lane % 4);
        left = left && left_row(from) == lane / 4 + 8 * (matrix % 2) &&
               16 * left_chunk(from, k) + column == 32 * k + column + 16 * (matrix / 2);
        right = right && right_row(from) == lane / 4 + 8 * (matrix / 2) &&
                16 * right_chunk(from, k) + column == 32 * k + column + 16 * (matrix % 2);
      }
    }
  }
  expect(left, name + ": the left operand is mma's");
  expect(right, name + ": the right operand is mma's");
  for (int chunk = 0; chunk < h / 16; chunk += 1) {
    for (int first = 0; first < 32; first += 8) {
      std::vector<int> phase;
      for (int lane = first; lane < first + 8; lane += 1) phase.push_back(tile_place<h>(lane, chunk));
      reads = reads && conflict_free(phase);
    }
  }
  expect(reads, name + ": ldmatrix reads each bank once");
}

/** Codes and tokens meet in the same order, each token once; results cover each column once. */
void test_mix() {
  std::set<int> tokens, columns;
  bool codes = true, transposed = true;
  for (int lane = 0; lane < 32; lane += 1) {
    for (int n = 0; n < STEPS; n += 1) {
      for (int side = 0; side < 2; side += 1) {
        for (int r = 0; r < 2; r += 1) {
          const int upper = code_word(r, n) / 2;
          codes = codes && code_word(r, n) % 2 == r &&
                  mix_token(lane, code_half(n), upper, code_byte(n, side)) == score_column(lane, n, side);
        }
        if (lane < 4) tokens.insert(score_column(lane, n, side));
      }
    }
    for (int half = 0; half < 2; half += 1) {
      for (int upper = 0; upper < 2; upper += 1) {
        for (int byte = 0; byte < 4; byte += 1) {
          // Matrix m of ldmatrix.trans has tokens 32 half + 8 m on; its word holds those of 2 (lane % 4) and one more.
          const int matrix = 2 * upper + byte / 2, row = 32 * half + 8 * matrix + 2 * (lane % 4) + byte % 2;
          transposed = transposed && mix_token(lane, half, upper, byte) == row;
        }
      }
    }
    for (int odd = 0; lane < 4 && odd < 2; odd += 1) {
      for (int i = 0; i < 2; i += 1) columns.insert(mix_column(lane, odd, i));
    }
  }
  expect(codes, "mix: codes lie in the order of the tokens");
  expect(transposed, "mix: tokens lie in the order of the codes");
  expect(tokens.size() == TILE && *tokens.rbegin() == TILE - 1, "mix: each token once");
  expect(columns.size() == 16 && *columns.rbegin() == 15, "mix: each column once");
  std::set<int> cells;
  for (int lane = 0; lane < 32; lane += 1) {
    for (int i = 0; i < 4 * STEPS; i += 1) {
      cells.insert(64 * score_row(lane, i / (2 * STEPS)) + score_column(lane, i / 2 % STEPS, i % 2));
    }
  }
  expect(cells.size() == 16 * 64 && *cells.rbegin() == 16 * 64 - 1, "scores: each cell of a warp's rows once");
}

/** The exchange of errors: each cell a word, each bank once; tiles of a head: each one number, in the order of the queries' walk. */
template <int parts>
void test_exchange() {
  const std::string name = "exchange in " + std::to_string(parts);
  std::set<int> words;
  bool stores = true, loads = true, steps = true;
  for (int part = 0; part < parts; part += 1) {
    std::set<int> own;
    for (int warp = 0; warp < 4; warp += 1) {
      for (int i = 0; i < 4 * STEPS; i += 1) {
        const int r = i / (2 * STEPS), n = i / 2 % STEPS, side = i % 2;
        // A phase has 16 lanes of a store of two words, 8 of a load of four.
        std::set<int> store_banks[2], load_banks[4];
        for (int lane = 0; lane < 32; lane += 1) {
          const int key = ROWS * warp + score_row(lane, r), query = score_column(lane, n, side);
          const int stored = exchange_word<parts>(query, key), first = exchange_word<parts>(score_column(lane, part, side), key);
          if (parts == 1 || n % 2 == part) {
            own.insert(stored);
            store_banks[lane / 16].insert(stored % 32);
            store_banks[lane / 16].insert((stored ^ 1) % 32);
            steps = steps && stored == first + exchange_store_step<parts>(n);
          }
          stores = stores && stored % 2 == r;
          const int row = ROWS * warp + score_row(lane, r), word = exchange_word<parts>(row, score_column(lane, n / 2 * 2, 0));
          for (int i = 0; i < 4; i += 1) load_banks[lane / 8].insert((word + i) % 32);
          steps = steps && word == exchange_word<parts>(row, score_column(lane, n / 2 * 2 % 4, 0)) + exchange_load_step(n / 2 * 2);
          loads = loads && word % 4 == 0 &&
                  exchange_word<parts>(row, score_column(lane, n, side)) == word + 2 * side + n % 2;
        }
        for (const std::set<int>& phase : store_banks) stores = stores && (phase.empty() || phase.size() == 32);
        for (const std::set<int>& phase : load_banks) loads = loads && phase.size() == 32;
      }
    }
    // The part of the queries that its blocks of threads read: row half `part`.
    for (int query = 0; query < TILE; query += 1) {
      for (int key = 0; key < TILE; key += 1) {
        if (parts == 1 || query % 16 / 8 == part) words.insert(part * TILE * TILE + exchange_word<parts>(query, key));
      }
    }
    expect(own.size() == TILE * TILE / parts && *own.begin() == 0 && *own.rbegin() == TILE * TILE / parts - 1,
           name + ": each cell has a word of its own");
  }
  expect(words.size() == TILE * TILE, name + ": what is read was written");
  expect(steps, name + ": steps are the same for all lanes");
  expect(stores && loads, name + ": stores and loads touch each bank once");
}

void test_tile_numbers() {
  bool right = true;
  for (uint32_t blocks : {1u, 2u, 7u, 16u}) {
    for (uint32_t window : {0u, 64u, 256u, 1024u}) {
      const Shape shape = shape_of(64 * blocks, 2, 1, 64 * blocks, window, 64);
      uint32_t next = 0;
      for (uint32_t qb = 0; qb < blocks; qb += 1) {
        for (uint32_t kb = shape.first_block(qb); kb <= qb; kb += 1) {
          right = right && shape.tile_of(qb, kb) == next;
          if (qb + 1 < blocks && kb >= shape.first_block(qb + 1)) {
            right = right && shape.tile_of(qb + 1, kb) == next + shape.next_tile(qb);
          }
          next += 1;
        }
      }
      right = right && shape.tiles_a_head() == next;
    }
  }
  expect(right, "tiles: numbered in the order of the walk, none left out");
}

/** Which keys a query sees, from the blocks and the mask, against the definition. */
void test_window() {
  bool right = true;
  for (uint32_t window : {0u, 64u, 128u, 256u, 1024u}) {
    const Shape shape = shape_of(320, 2, 1, 320, window, 64);
    for (uint32_t i = 0; i < 320; i += 1) {
      std::set<uint32_t> seen;
      for (uint32_t kb = shape.first_block(i / 64); kb <= i / 64; kb += 1) {
        for (uint32_t key = 0; key < 64; key += 1) {
          const bool masked = shape.is_edge(i / 64, kb) && is_masked(kb == i / 64, i % 64, key);
          if (!masked) seen.insert(64 * kb + key);
        }
      }
      const uint32_t first = window == 0 || i + 1 < window ? 0 : i + 1 - window;
      right = right && seen.size() == i + 1 - first && *seen.begin() == first && *seen.rbegin() == i;
    }
  }
  expect(right, "window: a query sees its last keys and no others");
}

void test_rows() {
  std::set<uint32_t> places, words;
  for (uint32_t column = 0; column < PANEL; column += 1) words.insert(dither_place(column));
  bool order = true, banks = true;
  for (uint32_t k = 0; k < CHUNKS; k += 1) {
    for (uint32_t lane = 0; lane < 32; lane += 1) {
      for (uint32_t e = 0; e < LANE_ELEMENTS; e += 1) {
        places.insert(panel_place(lane, k, e));
        order = order && dither_place(panel_place(lane, k, e)) == k * CHUNK + e / 4 * 128 + 4 * lane + e % 4;
      }
    }
    for (uint32_t lane = 0; lane < 32; lane += 8) {
      for (uint32_t e = 0; e < LANE_ELEMENTS; e += 4) {
        std::vector<int> phase;
        for (uint32_t i = lane; i < lane + 8; i += 1) phase.push_back(4 * (int)dither_place(panel_place(i, k, e)));
        banks = banks && conflict_free(phase);
      }
    }
  }
  expect(places.size() == PANEL && *places.rbegin() == PANEL - 1, "panel: each column in one lane");
  expect(words.size() == PANEL && *words.rbegin() == PANEL - 1 && order, "panel: each dither word where its lane reads");
  expect(banks, "panel: dither words are read from each bank once");
  for (uint32_t n : {64u, 192u, 1088u}) {
    uint32_t next = 0;
    for (uint32_t part = 0; part < COLUMN_PARTS; part += 1) {
      expect(column_part(n, part) == next, "column sums: parts follow each other");
      next = column_part(n, part + 1);
    }
    expect(next == n / 2, "column sums: the parts are all columns");
  }
}

// ---- kernels

template <class T>
class Device {
 public:
  explicit Device(const std::vector<T>& values) : count_(values.size()) {
    if (cudaMalloc(&data, std::max<size_t>(1, count_) * sizeof(T)) != cudaSuccess) return;
    if (count_ > 0) cudaMemcpy(data, values.data(), count_ * sizeof(T), cudaMemcpyHostToDevice);
  }
  ~Device() { cudaFree(data); }
  Device(const Device&) = delete;
  Device& operator=(const Device&) = delete;
  std::vector<T> read() const {
    std::vector<T> values(count_);
    cudaMemcpy(values.data(), data, count_ * sizeof(T), cudaMemcpyDeviceToHost);
    return values;
  }
  T* data = nullptr;

 private:
  size_t count_;
};

uint32_t state = 1;
uint32_t draw() {
  state += 1;
  return pogo_mix<uint32_t>(state);
}
std::vector<int8_t> some_codes(size_t n) {
  std::vector<int8_t> values(n);
  for (int8_t& value : values) value = (int8_t)((int)(draw() % 255u) - 127);
  return values;
}
/** From 2^-9 on, over four powers of two; `hot`: so much larger that logits leave [-64, 0] in some parts of most tiles. */
std::vector<float> some_scales(size_t n, bool hot = false) {
  std::vector<float> values(n);
  for (float& value : values) value = pogo_of_bits((hot ? 0x3D000000u : 0x3B000000u) + (draw() & 0x01FFFFFFu));
  return values;
}

/** One call: a failure word and scratch memory. */
struct Call {
  explicit Call(size_t workspace)
      : word(std::vector<unsigned long long>(1, NO_FAILURE)), scratch(std::vector<uint8_t>(workspace)) {
    launch.device = &traits;
    launch.failure = word.data;
    launch.entry = 7;
    launch.workspace = {scratch.data, workspace};
  }
  unsigned long long failure() const { return word.read()[0]; }
  DeviceTraits traits;
  Device<unsigned long long> word;
  Device<uint8_t> scratch;
  Launch launch;
};

/** A head of T tokens whose sequences have `context` tokens, and the same at multiples of 64, which the oracle wants. */
struct Sequences {
  uint32_t T, H, h, context, padded;

  uint32_t columns() const { return 3 * H * h; }
  uint32_t padded_tokens() const { return (T + context - 1) / context * padded; }
  uint32_t place(uint32_t t) const { return t / context * padded + t % context; }
  template <class V>
  std::vector<V> pad(const std::vector<V>& x, size_t width) const {
    std::vector<V> wide(padded_tokens() * width);
    for (size_t t = 0; t < T; t += 1) memcpy(&wide[place((uint32_t)t) * width], &x[t * width], width * sizeof(V));
    return wide;
  }
  /** Scales [groups, T]. */
  std::vector<float> pad_scales(const std::vector<float>& x, size_t groups) const {
    std::vector<float> wide(groups * padded_tokens());
    for (size_t g = 0; g < groups; g += 1) {
      for (uint32_t t = 0; t < T; t += 1) wide[g * padded_tokens() + place(t)] = x[g * T + t];
    }
    return wide;
  }
};

/** Sequences and blocks that end anywhere, as in evaluation: what is absent counts as masked. */
void test_short(const Sequences& s, bool backward, bool hot = false) {
  const std::string name = (hot ? "large logits, " : "") + std::to_string(s.T) + " tokens in sequences of " + std::to_string(s.context) + ", heads of " +
                           std::to_string(s.h) + (backward ? ", backward" : "");
  const uint32_t C = s.H * s.h, wide = s.padded_tokens();
  const std::vector<int8_t> qkv = some_codes((size_t)s.T * s.columns()), d_o = some_codes((size_t)s.T * C);
  const std::vector<float> scales = some_scales((size_t)3 * s.H * s.T, hot), d_o_scales = some_scales((size_t)s.H * s.T);
  const PogoAttention shape = {wide, s.H, s.H, s.h, s.padded, 0, s.h};
  std::vector<uint16_t> o((size_t)wide * C), gradient((size_t)wide * s.columns());
  std::vector<float> lambda((size_t)s.H * wide);
  const std::vector<int8_t> wide_qkv = s.pad(qkv, s.columns()), wide_d_o = s.pad(d_o, C);
  const std::vector<float> wide_scales = s.pad_scales(scales, 3 * s.H), wide_d_o_scales = s.pad_scales(d_o_scales, s.H);
  PogoArena* arena = pogo_arena_new();
  const PogoKernels& scalar = pogo_kernels_scalar;
  expect(scalar.attention_forward(arena, shape, wide_qkv.data(), wide_scales.data(), o.data(), lambda.data()) == nullptr,
         name + ": oracle");
  Device<int8_t> device_qkv(qkv), device_d_o(d_o);
  Device<float> device_scales(scales), device_d_o_scales(d_o_scales);
  bool same = true;
  if (!backward) {
    Device<uint16_t> out(std::vector<uint16_t>((size_t)s.T * C, 0x6363));
    Device<float> out_lambda(std::vector<float>((size_t)s.H * s.T, 3.0f));
    Call call(0);
    const AttentionForwardArgs a = {device_qkv.data, device_scales.data, out.data, out_lambda.data, s.T, C, s.H, s.context};
    expect(attention_forward(a, call.launch).ok() && call.failure() == NO_FAILURE, name + ": call");
    const std::vector<uint16_t> found = out.read();
    const std::vector<float> found_lambda = out_lambda.read();
    for (uint32_t t = 0; t < s.T; t += 1) {
      same = same && memcmp(&found[(size_t)t * C], &o[(size_t)s.place(t) * C], 2 * C) == 0;
      for (uint32_t head = 0; head < s.H; head += 1) {
        same = same && pogo_bits(found_lambda[head * s.T + t]) == pogo_bits(lambda[head * wide + s.place(t)]);
      }
    }
  } else {
    const std::vector<uint32_t> seeds = {1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12};
    std::vector<float> own_lambda((size_t)s.H * s.T);
    for (uint32_t head = 0; head < s.H; head += 1) {
      for (uint32_t t = 0; t < s.T; t += 1) own_lambda[head * s.T + t] = lambda[head * wide + s.place(t)];
    }
    pogo_arena_reset(arena);
    const PogoAttentionBackward b = {shape,         wide_qkv.data(),   wide_scales.data(), wide_d_o.data(),
                                     wide_d_o_scales.data(), lambda.data(), gradient.data(), seeds.data(),
                                     seeds.data() + 4, seeds.data() + 8, 64, 4096};
    expect(scalar.attention_backward(arena, b) == nullptr, name + ": oracle");
    Device<float> device_lambda(own_lambda);
    Device<uint32_t> device_seeds(seeds);
    Device<uint16_t> out(std::vector<uint16_t>((size_t)s.T * s.columns(), 0x6363));
    const uint32_t* words = device_seeds.data;
    const AttentionBackwardArgs a = {device_qkv.data, device_scales.data, device_d_o.data, device_d_o_scales.data,
                                     device_lambda.data, out.data, words, words + 4, words + 8, s.T, C, s.H, s.context,
                                     64, 4096};
    const size_t all = attention_backward_workspace(a, DeviceTraits());
    // With memory for the codes of all heads and of one at a time.
    const size_t pair = (size_t)shape_of(s.T, s.H, s.H, s.context, 0, s.h).tiles_a_head() * (TILE * TILE + 4 * TILE);
    for (size_t bytes : {all, all - (s.H - 1) * pair}) {
      Call call(bytes);
      expect(attention_backward(a, call.launch).ok() && call.failure() == NO_FAILURE, name + ": call");
      const std::vector<uint16_t> found = out.read();
      for (uint32_t t = 0; t < s.T; t += 1) {
        const size_t width = s.columns();
        same = same && memcmp(&found[t * width], &gradient[s.place(t) * width], 2 * width) == 0;
      }
    }
    Call call(all - 16);
    expect(s.H > 1 || !attention_backward(a, call.launch).ok(), name + ": too little memory");
  }
  pogo_arena_delete(arena);
  expect(same, name);
}

/** An Inf or NaN in a scale is reported with the token that has it, whatever comes after. */
void test_failures() {
  const uint32_t T = 128, h = 64;
  const std::vector<int8_t> qkv = some_codes(3 * T * h);
  Device<int8_t> device_qkv(qkv);
  Device<uint16_t> o(std::vector<uint16_t>(T * h)), gradient(std::vector<uint16_t>(3 * T * h));
  Device<float> lambda(std::vector<float>(T, 1.0f));
  Device<uint32_t> seed(std::vector<uint32_t>(4, 5));
  for (uint32_t bits : {0x7F800000u, 0xFFC00001u}) {
    for (uint32_t part = 0; part < 3; part += 1) {
      std::vector<float> scales = some_scales(3 * T);
      scales[part * T + 70] = scales[part * T + 100] = pogo_of_bits(bits);
      Device<float> device_scales(scales);
      const std::string name = "scale " + std::to_string(part) + " not finite";
      Call forward(0);
      expect(attention_forward({device_qkv.data, device_scales.data, o.data, lambda.data, T, h, 1, T}, forward.launch).ok() &&
                 forward.failure() == failure_word(7, FAILURE_NON_FINITE, 70),
             name);
      Device<float> d_o_scales(some_scales(T));
      Device<float> calm(std::vector<float>(T, 1.0f));
      const AttentionBackwardArgs b = {device_qkv.data, device_scales.data, device_qkv.data, d_o_scales.data, calm.data,
                                       gradient.data, seed.data, seed.data, seed.data, T, h, 1, T, 0, T};
      Call backward(attention_backward_workspace(b, DeviceTraits()));
      expect(attention_backward(b, backward.launch).ok() && failure_kind(backward.failure()) == FAILURE_NON_FINITE &&
                 failure_index(backward.failure()) <= 70,
             name + ", backward");
    }
  }
}

}  // namespace

int main() {
  test_tile<32>();
  test_tile<64>();
  test_tile<128>();
  test_tile<256>();
  test_mix();
  test_exchange<1>();
  test_exchange<2>();
  test_tile_numbers();
  test_window();
  test_rows();
  if (device_info().reason[0] != '\0') {
    printf("attention_test: no device, kernels not tested\n");
    return failures == 0 ? 77 : 1;
  }
  for (const Sequences& s : {Sequences{70, 2, 32, 70, 128}, Sequences{1, 1, 64, 64, 64}, Sequences{150, 1, 64, 100, 128},
                             Sequences{63, 1, 128, 63, 64}, Sequences{130, 1, 256, 65, 128}, Sequences{257, 2, 64, 128, 128}}) {
    test_short(s, false);
  }
  // The dither counts tokens of the unit, so here the padded form has one sequence.
  for (const Sequences& s : {Sequences{70, 2, 32, 70, 128}, Sequences{1, 1, 64, 64, 64}, Sequences{150, 1, 64, 150, 192},
                             Sequences{63, 1, 128, 63, 64}, Sequences{65, 1, 256, 128, 128}}) {
    test_short(s, true);
  }
  test_short(Sequences{256, 1, 64, 256, 256}, false, true);
  test_short(Sequences{256, 2, 64, 256, 256}, true, true);
  test_failures();
  printf("%d passed, %d failed\n", checks - failures, failures);
  return failures == 0 ? 0 : 1;
}
