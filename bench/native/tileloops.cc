// What bounds products on AMX tiles: loops of the instructions alone, and the sweep of the integer GEMM in several
// orders, each against the rate of TDPBSSD on registers in the same run. native/cpu/README.md (AMX) says what is asked
// by which.
//   tileloops [SECONDS]     a line of JSON a loop; SECONDS (default 0.2) for each
//   tileloops --check       every order of the sweep against plain sums, on small shapes
// Exit code 0, 1 where an order gives other bits, 77 where the processor or the kernel has no tiles.
// POGO_TILES_FILE: another file with the functions of native/cpu/isa/tiles.h: the model of the tests (POGO_TILE_MODEL),
// or counters (POGO_TILE_COUNTS, tilecounts.h), with which the program prints what each order asks of ports and caches.
#include <immintrin.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include <vector>

#include "../../native/cpu/isa/gemm_tile_sizes.h"

#ifdef POGO_TILES_FILE
#include POGO_TILES_FILE
#else
#include "../../native/cpu/isa/tiles.h"
#endif

namespace {

double now() {
  timespec t;
  clock_gettime(CLOCK_MONOTONIC, &t);
  return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

/** The least seconds of a call, over at least `seconds` and three calls. */
template <class Call>
double least(double seconds, Call call) {
  double best = 1e9, start = now();
  for (int i = 0; i < 3 || now() - start < seconds; i++) {
    double from = now();
    call();
    double took = now() - from;
    if (took < best) best = took;
  }
  return best;
}

#if defined(POGO_TILE_COUNTS)
bool tiles_allowed() { return true; }
#elif defined(POGO_TILE_MODEL)
template <int t>
void tile_load_past(const void* p, int64_t stride) {
  tile_load<t>(p, stride);
}
bool tiles_allowed() { return true; }
#else
#include <cpuid.h>
#include <sys/syscall.h>
#include <unistd.h>
/** TILELOADDT1: a hint that the nearest cache need not keep it. */
template <int t>
inline void tile_load_past(const void* p, int64_t stride) {
  __asm__ volatile("tileloaddt1 (%1,%2,1), %%tmm%c0" : : "i"(t), "r"(p), "r"(stride) : "memory");
}
bool tiles_allowed() {
  unsigned a, b, c, d;
  if (!__get_cpuid_count(7, 0, &a, &b, &c, &d) || (d >> 24 & 3) != 3) return false;
  return syscall(SYS_arch_prctl, 0x1023, 18) == 0;
}
#endif

#if !defined(POGO_TILE_COUNTS)
inline void ask_to_write(const void* p) { __asm__ volatile("prefetchw %0" : : "m"(*(const char*)p)); }
/** What vector instructions read or write, for counters. */
inline void touch(const void*, int64_t, bool) {}
inline void touch_past(const void*, int64_t) {}
#endif

const TileConfig FULL = {1, 0, {0}, {64, 64, 64, 64, 64, 64, 64, 64}, {16, 16, 16, 16, 16, 16, 16, 16}};

// ---- the instructions alone ----

constexpr int ROUNDS = 4096;
alignas(4096) int8_t line_data[64 * 1024];
alignas(4096) int32_t store_data[4096];
double dot_seconds;  // of one TDPBSSD at its peak: 16 cycles

void peak_loop() {
  for (int i = 0; i < ROUNDS; i++) {
    tile_dot_signed<0, 4, 6>();
    tile_dot_signed<1, 4, 7>();
    tile_dot_signed<2, 5, 6>();
    tile_dot_signed<3, 5, 7>();
  }
  tile_store<3>(store_data, 64);
}

/** A loop of the instructions: `each` of something a round. Printed as cycles of it, a TDPBSSD at its peak being 16. */
template <class Round>
void print_loop(const char* name, double seconds, int each, Round round) {
  double took = least(seconds, [&] {
    for (int i = 0; i < ROUNDS; i++) round();
    tile_store<3>(store_data, 64);
  });
  printf("{\"type\":\"tile-loop\",\"name\":\"%s\",\"cyclesEach\":%.2f}\n", name,
         16 * took / dot_seconds / ROUNDS / each);
  fflush(stdout);
}

template <int... strides>
void print_loads(double seconds) {
  char name[64];
  auto one = [&](int64_t stride) {
    snprintf(name, sizeof name, "a load, L1, rows %d bytes apart", (int)stride);
    print_loop(name, seconds, 4, [stride] {
      tile_load<4>(line_data, stride);
      tile_load<5>(line_data + 64, stride);
      tile_load<6>(line_data + 128, stride);
      tile_load<7>(line_data + 192, stride);
    });
  };
  (one(strides), ...);
}

void print_instructions(double seconds) {
  dot_seconds = least(seconds, peak_loop) / (4 * ROUNDS);
  printf("{\"type\":\"tile-loop\",\"name\":\"peak\",\"operationsPerSecond\":%.4e}\n", 2.0 * 16384 / dot_seconds);
  print_loop("a product, one chain (latency)", seconds, 1, [] { tile_dot_signed<0, 4, 6>(); });
  print_loop("a product, three chains", seconds, 3, [] {
    tile_dot_signed<0, 4, 6>();
    tile_dot_signed<1, 4, 7>();
    tile_dot_signed<2, 5, 6>();
  });
  print_loads<64, 256, 768, 1024, 1088, 3072>(seconds);
  print_loop("a store of a tile, L1", seconds, 4, [] {
    tile_store<0>(store_data, 128);
    tile_store<1>(store_data + 16, 128);
    tile_store<2>(store_data + 512, 128);
    tile_store<3>(store_data + 528, 128);
  });
  // One operand's register is loaded again before each product: 16 if registers are renamed, else 16 and a load's
  // latency.
  print_loop("a product whose operand was just loaded, one register", seconds, 4, [] {
    tile_load<4>(line_data, 64);
    tile_dot_signed<0, 4, 6>();
    tile_load<4>(line_data + 1024, 64);
    tile_dot_signed<1, 4, 6>();
    tile_load<4>(line_data + 2048, 64);
    tile_dot_signed<2, 4, 6>();
    tile_load<4>(line_data + 3072, 64);
    tile_dot_signed<3, 4, 6>();
  });
  print_loop("a product whose operand was just loaded, two registers in turn", seconds, 4, [] {
    tile_load<4>(line_data, 64);
    tile_dot_signed<0, 4, 6>();
    tile_load<5>(line_data + 1024, 64);
    tile_dot_signed<1, 5, 6>();
    tile_load<4>(line_data + 2048, 64);
    tile_dot_signed<2, 4, 6>();
    tile_load<5>(line_data + 3072, 64);
    tile_dot_signed<3, 5, 6>();
  });
  // Sums begun again before each product: 16 if that ends the chain.
  print_loop("a product on zeroed sums, one register", seconds, 1, [] {
    tile_zero<0>();
    tile_dot_signed<0, 4, 6>();
  });
  print_loop("a product whose sums are stored and zeroed, four registers in turn", seconds, 4, [] {
    tile_zero<0>();
    tile_dot_signed<0, 4, 6>();
    tile_store<0>(store_data, 128);
    tile_zero<1>();
    tile_dot_signed<1, 4, 7>();
    tile_store<1>(store_data + 16, 128);
    tile_zero<2>();
    tile_dot_signed<2, 5, 6>();
    tile_store<2>(store_data + 512, 128);
    tile_zero<3>();
    tile_dot_signed<3, 5, 7>();
    tile_store<3>(store_data + 528, 128);
  });
}

// ---- the sweep ----

struct Problem {
  int64_t M, N, K;  // multiples of 32, 32, 64
  bool direct;      // into y [M][N]; else into a strip's scratch of at most 1024 columns, as an epilogue reads it
  const int8_t *a, *b;
  const float *sa, *sb;
  float *y, *scratch;  // a strip's, or 256 rows
  int32_t* halves;     // sums of the first half of the depth: a strip's
  int8_t* copied;      // rows of a, of one half
  float* kept;         // --check: where strips are copied to
};

/** What an order does otherwise than the first kernel (strips of 64 rows, two rows promoted a step, two buffers). */
enum : int {
  EVEN = 1,     // promotion ends with the next tile's last step: one buffer
  HALVES = 2,   // more than 576 codes deep: in two sweeps of half the depth, rows of a copied side by side
  PAST = 4,     // b by TILELOADDT1
  ASK = 8,      // lines of the result are asked for two steps before they are written
  STREAM = 16,  // a result that is a matrix is written past the caches (one panel)
};
template <int STRIP, int FLAGS>
struct Order {
  static constexpr int64_t strip = STRIP;
  static constexpr bool even = FLAGS & EVEN, halves = FLAGS & HALVES, past = FLAGS & PAST, ask = FLAGS & ASK;
  static constexpr bool stream = FLAGS & STREAM;
};
constexpr int64_t DEEP = 64 * WHOLE_STEPS;

struct Waiting {
  const int32_t *sums, *before;
  const float *sa, *sb;
  float *y, *past;
  int64_t ldy, ld_past;
  int done, rows;
  bool first;
};

template <class O>
void promote(Waiting& w, int count) {
  int last = w.done + count < w.rows ? w.done + count : w.rows;
  if (w.done >= last) return;
  const __m512 s0 = _mm512_loadu_ps(w.sb), s1 = _mm512_loadu_ps(w.sb + 16);
  for (int r = w.done; r < last; r++) {
    const __m512 row = _mm512_set1_ps(w.sa[r]);
    float* y = w.y + r * w.ldy;
    touch(w.sums + r * 32, 128, false);
    if (w.before) touch(w.before + r * 32, 128, false);
    if (!w.first) touch(y, 128, false);
    if (O::ask && r + 2 * count < w.rows) {
      ask_to_write(y + 2 * count * w.ldy);
      ask_to_write(y + 2 * count * w.ldy + 16);
    }
    __m512i c0 = _mm512_loadu_si512(w.sums + r * 32), c1 = _mm512_loadu_si512(w.sums + r * 32 + 16);
    if (w.before) {
      c0 = _mm512_add_epi32(c0, _mm512_loadu_si512(w.before + r * 32));
      c1 = _mm512_add_epi32(c1, _mm512_loadu_si512(w.before + r * 32 + 16));
    }
    __m512 v0 = _mm512_mul_ps(_mm512_cvtepi32_ps(c0), _mm512_mul_ps(row, s0));
    __m512 v1 = _mm512_mul_ps(_mm512_cvtepi32_ps(c1), _mm512_mul_ps(row, s1));
    if (!w.first) {
      v0 = _mm512_add_ps(_mm512_loadu_ps(y), v0);
      v1 = _mm512_add_ps(_mm512_loadu_ps(y + 16), v1);
    }
    if (w.past) {
      float* to = w.past + r * w.ld_past;
      touch_past(to, 128);
      _mm512_stream_ps(to, v0);
      _mm512_stream_ps(to + 16, v1);
    } else {
      touch(y, 128, true);
      _mm512_storeu_ps(y, v0);
      _mm512_storeu_ps(y + 16, v1);
    }
  }
  w.done = last;
}

template <class O>
void tile_of_sums(const int8_t* a, int64_t lda, const int8_t* b, int64_t steps, int32_t* sums, Waiting& w) {
  const int rows = O::even ? (int)((32 + steps - 1) / steps) : 2;
  tile_zero<0>();
  tile_zero<1>();
  tile_zero<2>();
  tile_zero<3>();
  for (int64_t k = 0; k < steps; k++) {
    if (O::past) {
      tile_load_past<6>(b, 64);
    } else {
      tile_load<6>(b, 64);
    }
    tile_load<4>(a, lda);
    tile_dot_signed<0, 4, 6>();
    tile_load<5>(a + 16 * lda, lda);
    tile_dot_signed<2, 5, 6>();
    if (O::past) {
      tile_load_past<7>(b + 1024, 64);
    } else {
      tile_load<7>(b + 1024, 64);
    }
    tile_dot_signed<1, 4, 7>();
    tile_dot_signed<3, 5, 7>();
    promote<O>(w, rows);
    a += 64;
    b += 2048;
  }
  if (O::even) promote<O>(w, 32);
  tile_store<0>(sums, 128);
  tile_store<1>(sums + 16, 128);
  tile_store<2>(sums + 512, 128);
  tile_store<3>(sums + 528, 128);
  if (!O::even) promote<O>(w, 32);
}

/** Rows of a, `count` codes each, side by side. */
void copy_rows(const int8_t* a, int64_t lda, int64_t rows, int64_t count, int8_t* out) {
  for (int64_t r = 0; r < rows; r++) {
    touch(a + r * lda, count, false);
    touch(out + r * count, count, true);
    memcpy(out + r * count, a + r * lda, (size_t)count);
  }
}

/** The tiles of a sweep, and the sums that wait. */
template <class O>
class Sweep {
 public:
  explicit Sweep(const Problem& p) : p_(p) {}

  /** One panel of the depth: `rows` rows from row0 on times `cols` columns from col0 on, into y, or past the caches
   * into `to`. */
  void panel(int64_t panel, int64_t row0, int64_t rows, int64_t col0, int64_t cols, float* y, int64_t ld, float* to) {
    const Problem& p = p_;
    const int64_t at = panel * 1024, depth = p.K - at < 1024 ? p.K - at : 1024, steps = depth / 64;
    const int parts = O::halves && depth > DEEP ? 2 : 1;
    for (int part = 0; part < parts; part++) {
      const int64_t from = part * (steps / parts), count = part == parts - 1 ? steps - from : steps / parts;
      const int8_t* left = p.a + row0 * p.K + at + 64 * from;
      int64_t lda = p.K;
      if (parts == 2) {
        copy_rows(left, lda, rows, 64 * count, p.copied);
        left = p.copied;
        lda = 64 * count;
      }
      for (int64_t c = 0; c < cols; c += 32) {
        const int8_t* b = p.b + (col0 + c) * p.K + (at + 64 * from) * 32;
        for (int64_t r = 0; r < rows; r += 32) {
          int32_t* half = p.halves + (c / 32 * (rows / 32) + r / 32) * 1024;
          const bool is_half = parts == 2 && part == 0;
          int32_t* sums = is_half ? half : buffers_[current_];
          tile_of_sums<O>(left + r * lda, lda, b, count, sums, waiting_);
          waiting_.rows = 0;
          if (is_half) continue;
          const float *sa = p.sa + panel * p.M + row0 + r, *sb = p.sb + panel * p.N + col0 + c;
          float* past = to ? to + r * p.N + c : nullptr;
          waiting_ = {sums, parts == 2 ? half : nullptr, sa, sb, y + r * ld + c, past, ld, p.N, 0, 32, panel == 0};
          if (!O::even) current_ ^= 1;
        }
      }
    }
  }

  void finish() {
    promote<O>(waiting_, 32);
    waiting_.rows = 0;
  }

 private:
  const Problem& p_;
  alignas(64) int32_t buffers_[2][1024];
  int current_ = 0;
  Waiting waiting_ = {};
};

/** --check: the strip as the result. */
void keep(const Problem& p, int64_t row0, int64_t rows, int64_t col0, int64_t cols, const float* strip, int64_t ld) {
  for (int64_t r = 0; p.kept && r < rows; r++) {
    memcpy(p.kept + (row0 + r) * p.N + col0, strip + r * ld, (size_t)cols * 4);
  }
}

template <class O>
void sweep(const Problem& p) {
  Sweep<O> sums(p);
  const int64_t limit = p.direct ? 256 : 1024, panels = (p.K + 1023) / 1024;
  const bool stream = O::stream && p.direct && panels == 1;
  for (int64_t col0 = 0; col0 < p.N; col0 += limit) {
    const int64_t cols = p.N - col0 < limit ? p.N - col0 : limit, ld = p.direct ? p.N : cols + 16;
    for (int64_t row0 = 0; row0 < p.M; row0 += O::strip) {
      const int64_t rows = p.M - row0 < O::strip ? p.M - row0 : O::strip;
      float* strip = p.direct ? p.y + row0 * p.N + col0 : p.scratch;
      for (int64_t panel = 0; panel < panels; panel++) {
        sums.panel(panel, row0, rows, col0, cols, strip, ld, stream ? strip : nullptr);
      }
      sums.finish();
      keep(p, row0, rows, col0, cols, strip, ld);
    }
  }
}

/** The kernel of native/cpu/isa/gemm_tiles.h and kernels/gemm.inc. */
void built(const Problem& p) {
  typedef Order<0, EVEN | HALVES> O;
  Sweep<O> sums(p);
  const int64_t panels = (p.K + 1023) / 1024, height = strip_rows(p.K);
  const int64_t limit = p.direct ? narrow_block(p.K) : 1024;
  const bool deep = !p.direct && gemm_is_deep(p.N, p.K);
  const int64_t tall = deep ? DEEP_ROWS : height, narrow = deep ? DEEP_COLUMNS : limit;
  for (int64_t col0 = 0; col0 < p.N; col0 += limit) {
    const int64_t cols = p.N - col0 < limit ? p.N - col0 : limit, ld = cols + 16;
    for (int64_t top = 0; top < p.M; top += tall) {
      const int64_t all = p.M - top < tall ? p.M - top : tall;
      for (int64_t panel = 0; panel < panels; panel++) {
        for (int64_t left = 0; left < cols; left += narrow) {
          const int64_t count = cols - left < narrow ? cols - left : narrow;
          for (int64_t r = 0; r < all; r += height) {
            const int64_t rows = all - r < height ? all - r : height;
            float* to = p.direct && panel == panels - 1 ? p.y + (top + r) * p.N + col0 + left : nullptr;
            sums.panel(panel, top + r, rows, col0 + left, count, p.scratch + r * ld + left, ld, to);
            if (deep) sums.finish();
          }
        }
      }
      sums.finish();
      if (p.direct) {
        keep(p, top, all, col0, cols, p.y + top * p.N + col0, p.N);
      } else {
        keep(p, top, all, col0, cols, p.scratch, ld);
      }
    }
  }
  if (p.direct) _mm_sfence();
}

struct NamedOrder {
  const char* name;
  void (*run)(const Problem&);
};
const NamedOrder ORDERS[] = {
    {"built", built},
    {"64", sweep<Order<64, 0>>},
    {"64 even", sweep<Order<64, EVEN>>},
    {"32 even", sweep<Order<32, EVEN>>},
    {"128 even", sweep<Order<128, EVEN>>},
    {"32 even halves", sweep<Order<32, EVEN | HALVES>>},
    {"32 even past", sweep<Order<32, EVEN | PAST>>},
    {"64 even past", sweep<Order<64, EVEN | PAST>>},
    {"64 even ask", sweep<Order<64, EVEN | ASK>>},
    {"32 even halves ask", sweep<Order<32, EVEN | HALVES | ASK>>},
    {"32 even halves stream", sweep<Order<32, EVEN | HALVES | STREAM>>},
};

class Data {
 public:
  Problem p;
  Data(int64_t M, int64_t N, int64_t K, bool direct) {
    const int64_t panels = (K + 1023) / 1024;
    auto* a = take<int8_t>(M * K);
    auto* b = take<int8_t>(N * K);
    auto* sa = take<float>(panels * M);
    auto* sb = take<float>(panels * N);
    uint32_t state = 1;
    auto next = [&] { return (state = state * 1664525 + 1013904223) >> 8; };
    for (int64_t i = 0; i < M * K; i++) a[i] = (int8_t)(next() % 255 - 127);
    for (int64_t i = 0; i < N * K; i++) b[i] = (int8_t)(next() % 255 - 127);
    for (int64_t i = 0; i < panels * M; i++) sa[i] = (float)(next() % 1000 + 1) * 0x1p-16f;
    for (int64_t i = 0; i < panels * N; i++) sb[i] = (float)(next() % 1000 + 1) * 0x1p-16f;
    p = {M,
         N,
         K,
         direct,
         a,
         b,
         sa,
         sb,
         direct ? take<float>(M * N) : nullptr,
         take<float>(256 * 1040),
         take<int32_t>(128 * 1024),
         take<int8_t>(128 * 1024),
         nullptr};
  }
  ~Data() {
    for (void* one : taken_) free(one);
  }
  template <class T>
  T* take(int64_t count) {
    const size_t bytes = ((size_t)count * sizeof(T) + 4095) / 4096 * 4096;
    void* memory = aligned_alloc(4096, bytes);
    if (!memory) abort();
    memset(memory, 0, bytes);
    taken_.push_back(memory);
    return (T*)memory;
  }

 private:
  std::vector<void*> taken_;
};

/** Plain sums of packed operands: b is [N / 32][K / 64][2][16 fours of k][16 columns][4]. */
float plain(const Problem& p, int64_t i, int64_t j) {
  float y = 0;
  for (int64_t panel = 0; panel * 1024 < p.K; panel++) {
    int32_t acc = 0;
    for (int64_t k = panel * 1024; k < p.K && k < panel * 1024 + 1024; k++) {
      const int64_t tile = (j / 32 * (p.K / 64) + k / 64) * 2 + j % 32 / 16;
      acc += (int32_t)p.a[i * p.K + k] * p.b[tile * 1024 + k % 64 / 4 * 64 + j % 16 * 4 + k % 4];
    }
    const float v = (float)acc * (p.sa[panel * p.M + i] * p.sb[panel * p.N + j]);
    y = panel == 0 ? v : y + v;
  }
  return y;
}

int check() {
  const int64_t shapes[][3] = {{32, 32, 64},   {96, 96, 192},   {160, 288, 640}, {64, 64, 1024},
                               {96, 64, 2688}, {64, 1120, 704}, {224, 512, 2112}};
  int failures = 0, count = 0;
  tile_configure(&FULL);
  for (const auto& [M, N, K] : shapes) {
    for (bool direct : {true, false}) {
      Data data(M, N, K, direct);
      std::vector<float> expected(M * N), found(M * N);
      for (int64_t i = 0; i < M * N; i++) expected[i] = plain(data.p, i / N, i % N);
      for (const NamedOrder& order : ORDERS) {
        // The largest is for the one that goes panel by panel there.
        if (M * N > 100000 && order.run != built) continue;
        Problem p = data.p;
        p.kept = found.data();
        for (float& x : found) x = NAN;
        order.run(p);
        count++;
        if (memcmp(found.data(), expected.data(), sizeof(float) * M * N) == 0) continue;
        failures++;
        printf("%d x %d x %d, %s: other bits\n", (int)M, (int)N, (int)K, order.name);
      }
    }
  }
  tile_release();
  printf("%d sweeps, %d differ\n", count, failures);
  return failures > 0;
}

const int64_t SHAPES[][3] = {{1024, 1024, 1024}, {1024, 3072, 768}, {1024, 768, 3072}, {1024, 2048, 512},
                             {1024, 1536, 384},  {2048, 768, 256},  {2048, 384, 128}};

#if defined(POGO_TILE_COUNTS)
/** A line an order and shape, of the second of two sweeps: what a product of 16 cycles asks for, and the share of the
 * peak that each allows. */
void print_counts() {
  for (const auto& [M, N, K] : SHAPES) {
    for (bool direct : {true, false}) {
      Data data(M, N, K, direct);
      for (const NamedOrder& order : ORDERS) {
        forget_counts();
        order.run(data.p);
        const Counts before = counts;
        order.run(data.p);
        const double products = (double)(counts.products - before.products);
        const double l2 =
            64.0 * (double)(counts.l1.fills - before.l1.fills + counts.l1.written_back - before.l1.written_back);
        const double l3 =
            64.0 * (double)(counts.l2.fills - before.l2.fills + counts.l2.written_back - before.l2.written_back);
        const double stores = (double)(counts.lines_stored - before.lines_stored) / products;
        const double loads = (double)(counts.lines_loaded - before.lines_loaded) / products;
        printf(
            "{\"type\":\"tile-counts\",\"shape\":\"%dx%dx%d\",\"into\":\"%s\",\"order\":\"%s\",\"loadedLines\":%.2f,"
            "\"storedLines\":%.2f,\"l2Bytes\":%.0f,\"l3Bytes\":%.0f}\n",
            (int)M, (int)N, (int)K, direct ? "matrix" : "strip", order.name, loads, stores, l2 / products,
            l3 / products);
      }
    }
  }
}
#endif

void print_sweeps(double seconds) {
  for (const auto& [M, N, K] : SHAPES) {
    for (bool direct : {true, false}) {
      Data data(M, N, K, direct);
      for (const NamedOrder& order : ORDERS) {
        const double took = least(seconds, [&] { order.run(data.p); });
        const double rate = 2.0 * (double)M * (double)N * (double)K / took;
        printf(
            "{\"type\":\"tile-sweep\",\"shape\":\"%dx%dx%d\",\"into\":\"%s\",\"order\":\"%s\",\"operationsPerSecond\":%"
            ".4e,"
            "\"ofPeak\":%.4f}\n",
            (int)M, (int)N, (int)K, direct ? "matrix" : "strip", order.name, rate, rate * dot_seconds / (2 * 16384));
        fflush(stdout);
      }
    }
  }
}

}  // namespace

int main(int count, char** arguments) {
  if (!tiles_allowed()) {
    fprintf(stderr, "tileloops: not run, no AMX-INT8 here, or the kernel gives no tiles\n");
    return 77;
  }
  if (count > 1 && strcmp(arguments[1], "--check") == 0) return check();
#if defined(POGO_TILE_COUNTS)
  print_counts();
  return 0;
#endif
  const double seconds = count > 1 ? atof(arguments[1]) : 0.2;
  tile_configure(&FULL);
  print_instructions(seconds);
  print_sweeps(seconds);
  tile_release();
  return 0;
}
