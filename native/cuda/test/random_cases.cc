// Random legal arguments of every operation: odd shapes, and values from ordinary to hostile (zeros of both signs, rows of
// zero, subnormals, tiny, huge, extreme codes).
#include "operations.h"

#include "../../cpu/arena.h"

namespace test {
namespace {

enum class Style { ORDINARY, EXTREME, ZEROS, TINY, HUGE_VALUES, EDGES };
constexpr uint32_t STYLES = 6;
constexpr uint32_t PANEL = 1024;

uint32_t panels(uint32_t k) { return (k + PANEL - 1) / PANEL; }

/** A prime, so that rows do not repeat each other. */
constexpr size_t PART = 1048573;

class Maker {
 public:
  Maker(const std::string& operation, const std::map<std::string, double>& shape)
      : style_(Style::ORDINARY), large_(true), seed_(0x51ED270Bu), shape_(&shape) {
    one.operation = operation;
    for (const auto& entry : shape) one.name += (one.name.empty() ? "" : " ") + entry.first + "=" + plain(entry.second);
  }

  Maker(const std::string& operation, uint32_t seed, bool large)
      : style_((Style)(seed % STYLES)), large_(large), seed_(seed * 0x9E3779B9u + 0x51ED270Bu) {
    one.operation = operation;
    const char* names[] = {"ordinary", "extreme", "zeros", "tiny", "huge", "edges"};
    one.name = std::string(large ? "large " : "random ") + std::to_string(seed) + ", " + names[(int)style_];
  }

  Case one;

  bool large() const { return large_; }
  uint32_t word() { return counter_word(seed_, next_++); }
  uint32_t between(uint32_t low, uint32_t high) { return low + word() % (high - low + 1); }
  bool flag() { return (word() & 1u) != 0; }
  uint32_t pick(std::initializer_list<uint32_t> values) { return values.begin()[word() % values.size()]; }
  /** A dimension: one of the small ones, or the large one. */
  uint32_t size(std::initializer_list<uint32_t> small, uint32_t large) { return large_ ? large : pick(small); }
  uint32_t rows() { return size({1, 2, 5, 7, 12, 47, 49, 63, 64, 65, 70, 130}, 2048); }
  uint32_t contracted() { return size({1, 2, 7, 16, 17, 32, 63, 64, 65, 191, 192, 1023, 1024, 1025, 1088, 2049}, 1536); }
  uint32_t width(uint32_t most = 3) { return large_ ? 768 : 64 * between(1, most); }

  /** What a given shape says of `name`, else `value`. */
  uint32_t extent(const char* name, uint32_t value) const {
    if (shape_ == nullptr) return value;
    auto found = shape_->find(name);
    return found == shape_->end() ? value : (uint32_t)found->second;
  }
  uint32_t dim(const char* name, uint32_t value) {
    value = extent(name, value);
    one.set(name, (double)value);
    return value;
  }
  bool set_flag(const char* name) {
    bool value = extent(name, flag() ? 1 : 0) != 0;
    one.set_flag(name, value);
    return value;
  }
  bool is_shaped() const { return shape_ != nullptr; }

  void codes(const char* name, size_t count, size_t row) {
    Array a = array(Type::I8, count);
    for (size_t i = 0; i < part(count); i += 1) {
      uint32_t r = word();
      a.bytes[i] = (uint8_t)(style_ == Style::EXTREME ? ((r & 1u) != 0 ? 127 : -127) : (int)(r % 255u) - 127);
    }
    for (size_t i = 0; style_ == Style::ZEROS && i < row && i < count; i += 1) a.bytes[i] = 0;
    repeat(a);
    one.set(name, std::move(a));
  }
  void f32(const char* name, size_t count, int e = -4, uint32_t span = 4, bool out = false) {
    one.set(name, values(Type::F32, count, e, span, true, style_, out));
  }
  void bf16(const char* name, size_t count, int e = -4, uint32_t span = 4, bool out = false) {
    one.set(name, values(Type::U16, count, e, span, true, style_, out));
  }
  /** Non-negative: scales, second moments. */
  void positive(const char* name, size_t count, int e = -8, uint32_t span = 3, bool out = false) {
    one.set(name, values(Type::F32, count, e, span, false, style_, out));
  }
  /** Moderate whatever the style. */
  void calm(const char* name, size_t count, int e = -1, uint32_t span = 2, bool out = false, bool is_signed = true) {
    one.set(name, values(Type::F32, count, e, span, is_signed, Style::ORDINARY, out));
  }
  /** Scales of codes that overflow neither a bf16 nor an exponential. */
  void scales(const char* name, size_t count, int e = -9) {
    one.set(name, values(Type::F32, count, e, 3, false, style_ == Style::HUGE_VALUES ? Style::ORDINARY : style_, false));
  }
  /** Exponent of scales of queries and keys: where a shape is given, logits are a few units apart, as a model's mostly are. */
  int logit_exponent() {
    const int drawn = -9 + 2 * (int)between(0, 2);
    return is_shaped() ? -10 : drawn;
  }
  /** Logarithms of sums; where a shape is given above every logit, as forward makes them. */
  void lambda(size_t count) {
    if (is_shaped()) {
      calm("lambda", count, 3, 1, false, false);
    } else {
      calm("lambda", count, 2, 2);
    }
  }
  /** Moderate bf16 values, gates on both sides of the sigmoid. */
  Array calm_bf16(size_t count) { return values(Type::U16, count, -3, 6, true, Style::ORDINARY, false); }
  Array bf16_scales(size_t count, int e = -8) { return values(Type::U16, count, e, 3, false, style_, false); }
  void bias(const char* name, size_t count, bool out = false) { calm(name, extent("bias", flag()) != 0 ? count : 0, -1, 2, out); }
  void index(const char* name, size_t count, uint32_t limit) {
    Array a = array(Type::U32, count);
    for (size_t i = 0; i < count; i += 1) a.as<uint32_t>()[i] = word() % limit;
    one.set(name, std::move(a));
  }
  void seed(const char* name) {
    Array a = array(Type::U32, 4);
    for (int i = 0; i < 4; i += 1) a.as<uint32_t>()[i] = word();
    one.set(name, std::move(a));
  }
  Array nibbles(size_t count) {
    Array a = array(Type::U8, count);
    for (size_t i = 0; i < part(count); i += 1) {
      uint32_t r = word();
      a.bytes[i] = (uint8_t)(((r % 15u - 7u) & 15u) | ((((r >> 8) % 15u - 7u) & 15u) << 4));
    }
    repeat(a);
    return a;
  }
  /** An output that holds garbage before. */
  void out(const char* name, Type type, size_t count) {
    Array a = array(type, count);
    a.bytes.assign(a.bytes.size(), 0x63);
    a.out = true;
    one.set(name, std::move(a));
  }

  void product(const char* a, const char* b, uint32_t M, uint32_t N, uint32_t K) {
    codes(a, (size_t)M * K, K);
    scales((std::string(a) + "Scales").c_str(), (size_t)panels(K) * M);
    codes(b, (size_t)N * K, K);
    scales((std::string(b) + "Scales").c_str(), (size_t)panels(K) * N);
  }

  /** Two packed models whose nibbles differ with a probability that goes from never to always, the same in all chunks or not. */
  void models(std::vector<uint8_t>* older, std::vector<uint8_t>* newer) {
    uint32_t n = size({1, 2, 3, 4, 5, 31, 63, 64, 65, 127, 200, 2047, 2049, 2112, 16383, 16384, 16385, 40000}, 2621447);
    uint32_t density = pick({0, 1, 20, 100, 128, 180, 195, 256});
    n = extent("n", n);
    if (is_shaped()) density = 64;
    const bool mixed = !is_shaped() && flag();
    older->reserve(n);
    newer->reserve(n);
    for (uint32_t i = 0; i < n; i += 1) {
      if (i >= part(n)) {
        older->push_back((*older)[i - PART]);
        newer->push_back((*newer)[i - PART]);
        continue;
      }
      if (mixed && i % 16384 == 0) density = pick({0, 0, 1, 20, 100, 128, 195, 256});
      uint32_t r = word();
      older->push_back((uint8_t)word());
      uint32_t low = (r & 255u) < density ? (r >> 8) & 15u : 0, high = ((r >> 12) & 255u) < density ? (r >> 20) & 0xF0u : 0;
      newer->push_back((uint8_t)(older->back() ^ low ^ high));
    }
  }
  void bytes(const char* name, const std::vector<uint8_t>& content) {
    Array a;
    a.count = content.size();
    a.bytes = content;
    one.set(name, std::move(a));
  }

 private:
  static Array array(Type type, size_t count) {
    Array a;
    a.type = type;
    a.count = count;
    a.bytes.resize(count * size_of(type));
    return a;
  }

  Array values(Type type, size_t count, int e, uint32_t span, bool is_signed, Style style, bool out) {
    static const int exponents[] = {0, 0, 0, -90, 30, 0};
    Array a = array(type, count);
    a.out = out;
    for (size_t i = 0; i < part(count); i += 1) {
      uint32_t r = word(), sign = is_signed ? r << 31 : 0;
      int exponent = 127 + e + exponents[(int)style] + (int)(word() % span);
      exponent = exponent < 1 ? 1 : exponent > 250 ? 250 : exponent;
      uint32_t bits = sign | ((uint32_t)exponent << 23) | (r >> 9);
      if (style == Style::EDGES) {
        if (r % 16 == 0) bits = is_signed ? 0x80000000u : 0;
        if (r % 16 == 1) bits = r >> 10;
        if (r % 16 == 2) bits = 0x00800000u;
      }
      if (style == Style::ZEROS && i < 64) bits = 0;
      if (type == Type::U16) bits >>= 16;
      memcpy(a.bytes.data() + i * size_of(type), &bits, size_of(type));
    }
    repeat(a);
    return a;
  }

  static std::string plain(double value) { return std::to_string((unsigned long long)value); }
  /** Elements that are drawn; those behind repeat them where a shape is given. */
  size_t part(size_t count) const { return is_shaped() && count > PART ? PART : count; }
  void repeat(Array& a) const {
    size_t drawn = part(a.count) * size_of(a.type);
    for (size_t at = drawn; at < a.bytes.size(); at += drawn) {
      memcpy(a.bytes.data() + at, a.bytes.data(), at + drawn <= a.bytes.size() ? drawn : a.bytes.size() - at);
    }
  }

  Style style_;
  bool large_;
  uint32_t seed_, next_ = 0;
  const std::map<std::string, double>* shape_ = nullptr;
};

void make_attention(Maker& m, bool backward) {
  uint32_t h = m.large() ? 64 : m.pick({32, 64, 128, 256});
  uint32_t context = m.large() ? 512 : 64 * m.between(1, 3);
  uint32_t H = m.dim("H", m.large() ? 4 : h == 32 ? 2 : m.between(1, 2));
  uint32_t T = m.dim("T", context * m.between(1, 2)), C = m.dim("C", h * H);
  m.dim("context", context);
  m.codes("qkv", (size_t)3 * T * C, C);
  m.scales("qkvScales", (size_t)3 * H * T, m.logit_exponent());
  if (!backward) {
    m.out("o", Type::U16, (size_t)T * C);
    m.out("lambda", Type::F32, (size_t)H * T);
    return;
  }
  m.codes("dO", (size_t)T * C, C);
  m.scales("dOScales", (size_t)H * T, -20);
  m.lambda((size_t)H * T);
  m.out("dqkv", Type::U16, (size_t)3 * T * C);
  m.seed("seedV");
  m.seed("seedK");
  m.seed("seedQ");
  m.dim("t0", PANEL * m.between(0, 2));
  m.dim("U", 4096);
}

/** Sizes of a row of heads. @returns its columns */
uint32_t make_heads(Maker& m, uint32_t* h, uint32_t* H, uint32_t* G) {
  *h = m.dim("h", m.large() ? 256 : m.pick({32, 64, 128, 256}));
  *G = m.dim("G", m.large() ? 1 : m.between(1, 2));
  uint32_t group = m.large() ? 4 : m.between(1, 3);
  *H = m.dim("H", *G * (*h == 32 && *G * group % 2 != 0 ? 2 * group : group));
  return (*H + 2 * *G) * *h;
}

void make_grouped_attention(Maker& m, bool backward) {
  uint32_t h, H, G, columns = make_heads(m, &h, &H, &G);
  uint32_t context = m.dim("context", m.large() ? 1024 : 64 * m.between(1, 4)), T = m.dim("T", context * m.between(1, 2));
  m.dim("window", m.large() ? 512 : m.pick({0, 64, 128, 192, 512}));
  m.dim("scalar", m.pick({h, 256, 100}));
  m.codes("qkv", (size_t)T * columns, columns);
  m.scales("qkvScales", (size_t)(H + 2 * G) * T, m.logit_exponent());
  if (!backward) {
    m.out("o", Type::U16, (size_t)T * H * h);
    m.out("lambda", Type::F32, (size_t)H * T);
    return;
  }
  m.codes("dO", (size_t)T * H * h, H * h);
  m.scales("dOScales", (size_t)H * T, -20);
  m.lambda((size_t)H * T);
  m.out("dqkv", Type::U16, (size_t)T * columns);
  m.seed("seedV");
  m.seed("seedK");
  m.seed("seedQ");
  m.dim("t0", PANEL * m.between(0, 2));
  m.dim("U", 4096);
}

void make_rotation(Maker& m, bool backward) {
  uint32_t h, H, G, columns = make_heads(m, &h, &H, &G), T = m.dim("T", m.rows());
  uint32_t context = m.dim("context", m.between(1, 90));
  m.bf16("y", (size_t)T * columns);
  m.calm("gainQ", h);
  m.calm("gainK", h);
  m.calm("rope", (size_t)context * h);
  if (!backward) {
    m.out("codes", Type::I8, (size_t)T * columns);
    m.out("scales", Type::F32, (size_t)(H + 2 * G) * T);
    m.out("rstd", Type::F32, (size_t)(H + G) * T);
    m.one.set_real("epsilon", 1e-6f);
    return;
  }
  m.bf16("dqkv", (size_t)T * columns);
  m.calm("rstd", (size_t)(H + G) * T, 0, 3, false, false);
  m.out("dy", Type::U16, (size_t)T * columns);
  m.calm("dGainQ", h, -1, 2, true);
  m.calm("dGainK", h, -1, 2, true);
  m.one.set_flag("accumulate", m.flag());
}

uint32_t rows_to_quantize(Maker& m, uint32_t* N) {
  uint32_t T = m.dim("T", m.rows());
  *N = m.dim("N", m.size({64, 192, 1024, 1088}, 2304));
  m.bf16("x", (size_t)T * *N);
  m.out("codes", Type::I8, (size_t)T * *N);
  m.out("scales", Type::F32, (size_t)panels(*N) * T);
  return T;
}

void make(Maker& m, const std::string& op) {
  if (op == "fillZero") {
    m.f32("x", m.extent("n", m.large() ? 1000003 : m.between(1, 3000)), -4, 4, true);
  } else if (op == "embed") {
    uint32_t T = m.dim("T", m.rows()), C = m.dim("C", m.width()), context = m.dim("context", m.between(1, 80));
    uint32_t V = m.extent("V", m.between(1, 40));
    m.index("tokens", T, V);
    m.f32("wte", (size_t)V * C);
    m.f32("wpe", (size_t)context * C);
    m.out("x", Type::U16, (size_t)T * C);
  } else if (op == "normForward") {
    uint32_t T = m.dim("T", m.rows()), C = m.dim("C", m.size({64, 128, 192, 768, 1024, 1088}, 768));
    bool layer = m.set_flag("layer");
    m.one.set_real("epsilon", 1e-5f);
    m.bf16("x", (size_t)T * C);
    m.calm("gain", C);
    m.calm("bias", layer ? C : 0);
    m.out("codes", Type::I8, (size_t)T * C);
    m.out("scales", Type::F32, (size_t)panels(C) * T);
    m.out("rstd", Type::F32, T);
    m.out("mean", Type::F32, layer ? T : 0);
  } else if (op == "normBackward") {
    uint32_t T = m.dim("T", m.rows()), C = m.dim("C", m.size({64, 128, 192, 1088}, 768));
    bool layer = m.set_flag("layer");
    m.set_flag("residual");
    m.set_flag("accumulate");
    m.bf16("dy", (size_t)T * C, -12);
    m.bf16("x", (size_t)T * C);
    m.calm("gain", C);
    m.calm("rstd", T, -1, 2, false, false);
    m.calm("mean", layer ? T : 0);
    m.bf16("dx", (size_t)T * C, -12, 4, true);
    m.calm("dGain", C, -1, 2, true);
    m.calm("dBias", layer ? C : 0, -1, 2, true);
  } else if (op == "gemm") {
    uint32_t M = m.dim("M", m.rows()), N = m.dim("N", m.size({1, 8, 33, 64, 70, 129, 200}, 1000)), K = m.dim("K", m.contracted());
    m.product("a", "b", M, N, K);
    m.out("y", Type::F32, (size_t)M * N);
  } else if (op == "linearQkv") {
    uint32_t h = m.large() ? 64 : m.pick({32, 64, 128, 256});
    uint32_t T = m.dim("T", m.rows()), H = m.dim("H", m.large() ? 12 : h == 32 ? 2 * m.between(1, 2) : m.between(1, 2));
    uint32_t C = m.dim("C", h * H);
    m.product("a", "w", T, 3 * C, C);
    m.bias("bias", 3 * C);
    m.out("codes", Type::I8, (size_t)3 * T * C);
    m.out("scales", Type::F32, (size_t)3 * H * T);
  } else if (op == "linearResidual") {
    uint32_t T = m.dim("T", m.rows()), N = m.dim("N", m.width()), K = m.dim("K", m.contracted());
    m.product("a", "w", T, N, K);
    m.bias("bias", N);
    m.bf16("x", (size_t)T * N);
    m.out("y", Type::U16, (size_t)T * N);
  } else if (op == "linearGelu") {
    uint32_t T = m.dim("T", m.size({1, 5, 13, 65}, 1024)), N = m.dim("N", m.size({64, 128, 1024, 1088, 2112}, 3072));
    uint32_t K = m.dim("K", m.size({64, 65, 128, 1025}, 768));
    m.product("a", "w", T, N, K);
    m.bias("bias", N);
    m.out("codes", Type::I8, (size_t)T * N);
    m.out("scales", Type::F32, (size_t)panels(N) * T);
    m.out("derivative", Type::I8, (size_t)T * N);
  } else if (op == "attentionForward" || op == "attentionBackward") {
    make_attention(m, op == "attentionBackward");
  } else if (op == "groupedAttentionForward" || op == "groupedAttentionBackward") {
    make_grouped_attention(m, op == "groupedAttentionBackward");
  } else if (op == "rotateHeads" || op == "rotateHeadsBackward") {
    make_rotation(m, op == "rotateHeadsBackward");
  } else if (op == "gainPlusOne") {
    uint32_t n = m.dim("n", m.size({1, 64, 255, 256, 257, 1000}, 1152));
    m.f32("gain", n);
    m.out("out", Type::F32, n);
  } else if (op == "embedScaled") {
    uint32_t T = m.dim("T", m.rows()), C = m.dim("C", m.width()), V = m.between(1, 40);
    m.index("tokens", T, V);
    m.f32("wte", (size_t)V * C);
    m.out("x", Type::U16, (size_t)T * C);
    m.one.set_real("scale", 25.25f);
  } else if (op == "embedScaledBackward") {
    uint32_t U = m.dim("U", m.rows()), C = m.dim("C", m.size({64, 1088}, 768)), V = m.dim("V", m.large() ? 500 : m.between(1, 40));
    m.index("tokens", U, V);
    m.index("targets", U, V);
    m.codes("a", (size_t)U * C, C);
    m.scales("aScales", (size_t)panels(C) * U);
    m.bf16("dx", (size_t)U * C);
    m.f32("dWte", (size_t)V * C, -4, 4, true);
    m.one.set_real("scale", 25.25f);
  } else if (op == "linearRows") {
    uint32_t T = m.dim("T", m.rows()), N = m.dim("N", m.size({1, 33, 64, 70, 130}, 1536)), K = m.dim("K", m.contracted());
    m.product("a", "w", T, N, K);
    m.out("y", Type::U16, (size_t)T * N);
  } else if (op == "normResidual") {
    uint32_t T = m.dim("T", m.rows()), C = m.dim("C", m.size({64, 192, 1024, 1088, 2112}, 640));
    m.bf16("x", (size_t)T * C);
    m.bf16("o", (size_t)T * C);
    m.calm("gain", C);
    m.out("y", Type::U16, (size_t)T * C);
    m.out("rstd", Type::F32, T);
    m.one.set_real("epsilon", 1e-6f);
  } else if (op == "geglu" || op == "gegluGradient") {
    uint32_t T = m.dim("T", m.rows()), N = m.dim("N", m.size({64, 192, 576, 1024, 1088}, 2048));
    uint32_t columns = op == "geglu" ? N : 2 * N;
    m.one.set("u", m.calm_bf16((size_t)2 * T * N));
    if (op == "gegluGradient") {
      m.bf16("dh", (size_t)T * N);
      m.seed("seed");
      m.dim("t0", PANEL * m.between(0, 3));
    }
    m.out("codes", Type::I8, (size_t)T * columns);
    m.out("scales", Type::F32, (size_t)panels(columns) * T);
  } else if (op == "quantizeRows") {
    uint32_t N;
    rows_to_quantize(m, &N);
  } else if (op == "quantizeGradientRows") {
    uint32_t N;
    rows_to_quantize(m, &N);
    m.bias("bias", N, true);
    m.seed("seed");
    m.dim("t0", PANEL * m.between(0, 3));
    m.set_flag("accumulate");
  } else if (op == "recode") {
    uint32_t T = m.dim("T", m.size({1, 5, 63, 64, 65, 130, 1024, 1025}, 2048)), N = m.dim("N", m.size({1, 20, 63, 64, 65, 130}, 768));
    m.codes("codes", (size_t)T * N, N);
    m.positive("scales", (size_t)panels(N) * T);
    m.out("out", Type::I8, (size_t)T * N);
    m.out("outScales", Type::F32, (size_t)panels(T) * N);
    m.seed("seed");
    m.set_flag("dither");
    m.dim("t0", PANEL * m.between(0, 3));
  } else if (op == "linearInputGradient") {
    bool deep = !m.large() && m.between(0, 7) == 0;
    uint32_t T = m.dim("T", deep ? m.pick({3, 70}) : m.rows());
    uint32_t N = m.dim("N", deep ? m.pick({7169, 8192}) : m.contracted()), K = m.dim("K", m.size({1, 33, 64, 70, 130}, 768));
    m.product("e", "wt", T, K, N);
    m.out("dx", Type::U16, (size_t)T * K);
  } else if (op == "linearHeadsInputGradient") {
    uint32_t T = m.dim("T", m.rows()), H = m.dim("H", m.large() ? 12 : m.between(1, 2));
    uint32_t K = m.dim("K", H * (m.large() ? 64 : m.pick({64, 128, 256}))), N = m.dim("N", m.size({64, 192, 1088}, 768));
    m.product("e", "wt", T, K, N);
    m.out("codes", Type::I8, (size_t)T * K);
    m.out("scales", Type::F32, (size_t)H * T);
    m.seed("seed");
    m.dim("t0", PANEL * m.between(0, 3));
  } else if (op == "linearGeluInputGradient") {
    uint32_t T = m.dim("T", m.rows()), K = m.dim("K", m.size({64, 128, 1088, 2112}, 3072)), N = m.dim("N", m.size({64, 192}, 768));
    m.product("e", "wt", T, K, N);
    m.codes("derivative", (size_t)T * K, K);
    m.out("codes", Type::I8, (size_t)T * K);
    m.out("scales", Type::F32, (size_t)panels(K) * T);
    m.bias("bias", K, true);
    m.seed("seed");
    m.dim("t0", PANEL * m.between(0, 3));
    m.set_flag("accumulate");
  } else if (op == "weightGradient") {
    uint32_t N = m.dim("N", m.size({1, 20, 60, 64, 130}, 768)), K = m.dim("K", m.size({1, 33, 64, 70, 192}, 768));
    uint32_t T = m.dim("T", m.contracted());
    m.product("et", "xt", N, K, T);
    m.calm("dw", (size_t)N * K, -1, 2, true);
    m.set_flag("accumulate");
  } else if (op == "weightGradient4") {
    uint32_t N = m.dim("N", m.size({1, 20, 60, 64, 130}, 768)), K = m.dim("K", m.size({64, 128, 192, 320}, 768));
    uint32_t T = m.dim("T", m.contracted());
    m.product("et", "xt", N, K, T);
    size_t leaves = ((size_t)N * K + 255) / 256;
    m.out("codes", Type::U8, leaves * 128);
    m.out("scales", Type::U16, leaves * 4);
    m.seed("seed");
  } else if (op == "quantizeHeads") {
    uint32_t size = m.large() ? 64 : m.pick({32, 64, 128, 256}), T = m.dim("T", m.rows());
    uint32_t H = m.dim("H", m.large() ? 12 : size == 32 ? 2 * m.between(1, 6) : m.between(1, 6)), N = m.dim("N", H * size);
    m.f32("sum", (size_t)T * N);
    m.bias("bias", N);
    m.out("codes", Type::I8, (size_t)T * N);
    m.out("scales", Type::F32, (size_t)H * T);
    m.seed("seed");
    if (m.extent("dither", m.flag()) == 0) m.one.set("seed", Array());
    m.one.set_real("factor", m.flag() ? 1.0f : 4.0f / 3.0f);
    m.dim("t0", PANEL * m.between(0, 3));
  } else if (op == "addRows" || op == "roundRows" || op == "geluRows") {
    uint32_t T = m.dim("T", m.rows()), N = m.dim("N", m.size({64, 192, 1024, 1088, 2112}, 768));
    m.f32("sum", (size_t)T * N);
    if (op != "roundRows") m.bias("bias", N);
    if (op == "geluRows") {
      m.out("codes", Type::I8, (size_t)T * N);
      m.out("scales", Type::F32, (size_t)panels(N) * T);
      m.out("derivative", Type::I8, (size_t)T * N);
    } else {
      if (op == "addRows") m.bf16("x", (size_t)T * N);
      m.out("y", Type::U16, (size_t)T * N);
    }
  } else if (op == "geluGradientRows") {
    uint32_t T = m.dim("T", m.rows()), N = m.dim("N", m.size({64, 128, 1088, 2112}, 3072));
    m.f32("sum", (size_t)T * N, -12);
    m.codes("derivative", (size_t)T * N, N);
    m.out("codes", Type::I8, (size_t)T * N);
    m.out("scales", Type::F32, (size_t)panels(N) * T);
    m.bias("bias", N, true);
    m.seed("seed");
    m.dim("t0", PANEL * m.between(0, 3));
    m.set_flag("accumulate");
  } else if (op == "headForward") {
    uint32_t T = m.dim("T", m.size({1, 5, 13, 65}, 512)), C = m.dim("C", m.size({64, 128}, 768));
    uint32_t V = m.dim("V", m.size({64, 256, 1024, 1088, 2112}, 5120));
    uint32_t least = V > 63 ? V - 63 : 1, last = (panels(V) - 1) * PANEL + 1;
    uint32_t vocab = m.dim("vocab", m.between(least > last ? least : last, V));
    bool codes = m.extent("coded", m.flag()) != 0;
    m.product("a", "w", T, V, C);
    m.index("targets", T, vocab);
    m.out("codes", Type::I8, codes ? (size_t)T * V : 0);
    m.out("eScales", Type::F32, codes ? (size_t)panels(V) * T : 0);
    m.out("loss", Type::F32, T);
    m.seed("seed");
    m.dim("t0", PANEL * m.between(0, 3));
    m.dim("U", 4096);
  } else if (op == "headLogits") {
    uint32_t T = m.dim("T", m.rows()), C = m.dim("C", m.width()), V = m.dim("V", m.size({1, 33, 64, 100}, 1000));
    m.product("a", "w", T, V, C);
    m.out("logits", Type::F32, (size_t)T * V);
  } else if (op == "headInputGradient") {
    uint32_t T = m.dim("T", m.rows()), V = m.dim("V", m.size({64, 128, 1088}, 5120)), C = m.dim("C", m.size({64, 1088}, 768));
    m.product("e", "wt", T, C, V);
    m.codes("w", (size_t)V * C, C);
    m.scales("wScales", (size_t)panels(C) * V);
    m.index("targets", T, V);
    m.out("dx", Type::U16, (size_t)T * C);
    m.dim("U", 4096);
  } else if (op == "embedBackward") {
    uint32_t U = m.dim("U", m.rows()), C = m.dim("C", m.size({64, 1088}, 768)), V = m.dim("V", m.large() ? 500 : m.between(1, 40));
    uint32_t context = m.dim("context", m.between(1, 90));
    m.index("tokens", U, V);
    m.index("targets", U, V);
    m.codes("a", (size_t)U * C, C);
    m.scales("aScales", (size_t)panels(C) * U);
    m.bf16("dx", (size_t)U * C);
    m.f32("dWte", (size_t)V * C, -4, 4, true);
    m.out("dWpe", Type::F32, (size_t)context * C);
  } else if (op == "unitLoss") {
    uint32_t U = m.dim("U", 64 * (m.large() ? 512 : m.between(1, 20)));
    m.f32("loss", U);
    m.out("out", Type::F32, 1);
  } else if (op == "quantize4") {
    uint32_t rows = m.dim("rows", m.large() ? 1000 : m.between(1, 9));
    uint32_t cols = m.dim("cols", rows == 1 ? m.between(1, 700) : m.width(20));
    size_t leaves = ((size_t)rows * cols + 255) / 256;
    m.f32("x", (size_t)rows * cols, -20);
    m.out("codes", Type::U8, leaves * 128);
    m.out("scales", Type::U16, leaves * 4);
    m.seed("seed");
  } else if (op == "dequantize4") {
    uint32_t n = m.dim("n", 64 * (m.large() ? 20001 : m.between(1, 40)));
    m.one.set("codes", m.nibbles(n / 2));
    m.one.set("scales", m.bf16_scales(n / 64));
    m.out("x", Type::F32, n);
  } else if (op == "quantizeWeight") {
    uint32_t N = m.dim("N", m.size({1, 20, 64, 130, 1030}, 3072)), K = m.dim("K", m.size({64, 128, 192, 1088}, 768));
    uint32_t rows = m.is_shaped() || m.flag() ? N : m.between(1, N);
    m.f32("theta", (size_t)rows * K);
    m.out("w", Type::I8, (size_t)N * K);
    m.out("wScales", Type::F32, (size_t)panels(K) * N);
    m.out("wt", Type::I8, (size_t)N * K);
    m.out("wtScales", Type::F32, (size_t)panels(N) * K);
  } else if (op == "commitLeaves") {
    uint32_t n = m.dim("n", 256 * (m.large() ? 5003 : m.between(1, 20))), units = m.extent("units", m.between(1, 5));
    m.f32("theta", n, -4, 4, true);
    m.f32("m", n, -20, 4, true);
    m.positive("v", n, -40, 3, true);
    m.f32("ema", n, -4, 4, true);
    Value codes, scales;
    codes.kind = scales.kind = Value::LIST;
    for (uint32_t u = 0; u < units; u += 1) {
      codes.list.push_back(m.nibbles(n / 2));
      scales.list.push_back(m.bf16_scales(n / 64, -20));
    }
    m.one.args["codes"] = codes;
    m.one.args["scales"] = scales;
    m.one.set_real("beta1", 0.9f);
    m.one.set_real("beta2", 0.95f);
    m.one.set_real("b1t", 0.43f);
    m.one.set_real("b2t", 0.66f);
    m.one.set_real("epsilon", 1e-8f);
    m.one.set_real("weightDecay", m.flag() ? 0.1f : 0.0f);
    m.one.set_real("learningRate", 3e-3f);
    m.one.set_real("emaDecay", 0.66f);
    m.set_flag("updateEma");
  } else if (op == "packModel" || op == "unpackModel") {
    uint32_t n = m.dim("n", m.large() ? 1000001 : m.between(1, 2200)), bits = m.dim("bits", m.pick({4, 8}));
    size_t bytes = bits == 4 ? ((size_t)n + 1) / 2 : n;
    if (op == "packModel") {
      m.f32("x", n);
      m.out("codes", Type::U8, bytes);
      m.out("scales", Type::U16, (n + 63) / 64);
    } else {
      if (bits == 4) {
        m.one.set("codes", m.nibbles(bytes));
      } else {
        m.codes("codes", bytes, 64);
        m.one.array("codes").type = Type::U8;
      }
      m.one.set("scales", m.bf16_scales((n + 63) / 64));
      m.out("x", Type::F32, n);
    }
  } else if (op == "diffModel") {
    std::vector<uint8_t> older, newer;
    m.models(&older, &newer);
    uint32_t n = m.dim("n", (uint32_t)older.size());
    m.bytes("older", older);
    m.bytes("newer", newer);
    m.out("out", Type::U8, n + (n + 16383) / 16384);
    m.out("end", Type::U32, 2);
  } else if (op == "patchModel") {
    std::vector<uint8_t> older, newer;
    m.models(&older, &newer);
    uint32_t n = m.dim("n", (uint32_t)older.size()), start = m.dim("start", m.between(0, 90));
    std::vector<uint8_t> patch(start + n + (n + 16383) / 16384);
    uint32_t end[2];
    pogo::DiffModelArgs diff = {older.data(), newer.data(), patch.data() + start, end, n};
    PogoArena* arena = pogo_arena_new();
    operation_named("diffModel").oracle(&diff, arena);
    pogo_arena_delete(arena);
    patch.resize(start + end[0]);
    // Some are damaged: a bit changed, cut, or with bytes behind.
    uint32_t damage = m.is_shaped() ? 5 : m.between(0, 5);
    if (damage == 0) patch[start + m.word() % end[0]] ^= (uint8_t)(1u << m.between(0, 7));
    if (damage == 1) patch.resize(start + m.word() % end[0]);
    if (damage == 2) patch.resize(patch.size() + m.between(1, 9));
    m.bytes("older", older);
    m.bytes("patch", patch);
    m.out("newer", Type::U8, n);
  }
}

}  // namespace

Case random_case(const std::string& operation, uint32_t seed, bool large) {
  Maker maker(operation, seed, large);
  make(maker, operation);
  return std::move(maker.one);
}

Case shaped_case(const std::string& operation, const std::map<std::string, double>& shape) {
  Maker maker(operation, shape);
  make(maker, operation);
  return std::move(maker.one);
}

}  // namespace test
