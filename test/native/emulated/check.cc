// The program of the emulated machine: every integer product of the AMX kernels against the scalar kernels, the same
// machine code that the addon ships, without an operating system. Output goes to port E9.
#include <stdarg.h>
#include <string.h>

#include "../../../native/cpu/kernel_table.h"
#include "../../../native/cpu/isa/tiles.h"
#include "../../../native/cpu/machine.h"

extern const PogoKernels pogo_kernels_amx;

void program();
/** The program's first bytes. */
extern "C" __attribute__((section(".text.entry"), used)) void entry() { program(); }

// What the kernels want of a C library. Compiled without builtins, so that no loop becomes a call of itself.
extern "C" {
void* memcpy(void* to, const void* from, size_t n) {
  for (size_t i = 0; i < n; i++) ((char*)to)[i] = ((const char*)from)[i];
  return to;
}
void* memset(void* to, int value, size_t n) {
  for (size_t i = 0; i < n; i++) ((char*)to)[i] = (char)value;
  return to;
}
void* memmove(void* to, const void* from, size_t n) {
  if (to < from) return memcpy(to, from, n);
  while (n--) ((char*)to)[n] = ((const char*)from)[n];
  return to;
}
int memcmp(const void* a, const void* b, size_t n) {
  for (size_t i = 0; i < n; i++) {
    if (((const uint8_t*)a)[i] != ((const uint8_t*)b)[i]) return 1;
  }
  return 0;
}
static int error_number;
int* __errno_location() { return &error_number; }
static long asked[3];
/** arch_prctl of the detection: there is no kernel that could refuse. */
long syscall(long number, ...) {
  va_list list;
  va_start(list, number);
  asked[0] = number;
  asked[1] = va_arg(list, int);
  asked[2] = va_arg(list, int);
  va_end(list);
  return 0;
}
}

namespace {

void out(uint16_t port, char c) { __asm__ volatile("outb %0, %1" : : "a"(c), "Nd"(port)); }
void print(const char* text) {
  for (; *text; text++) out(0xE9, *text);
}
void print(int64_t value) {
  char digits[24];
  int n = 0;
  do {
    digits[n++] = (char)('0' + value % 10);
    value /= 10;
  } while (value);
  while (n) out(0xE9, digits[--n]);
}

char* const kHeap = (char*)0x1000000;
char* heap = kHeap;
char* scratch = nullptr;

template <class T>
T* array(int64_t count) {
  T* p = (T*)heap;
  heap += (count * (int64_t)sizeof(T) + 191) / 64 * 64;
  return p;
}

uint32_t state;
uint32_t word() {
  uint32_t x = state += 0x9E3779B9u;
  x = (x ^ x >> 16) * 0x7FEB352Du;
  x = (x ^ x >> 15) * 0x846CA68Bu;
  return x ^ x >> 16;
}
int8_t* codes(int64_t n) {
  int8_t* p = array<int8_t>(n);
  for (int64_t i = 0; i < n; i++) {
    uint32_t w = word();
    p[i] = (int8_t)(w % 8 == 0 ? (w & 8 ? 127 : -127) : (int)(w >> 8) % 255 - 127);
  }
  return p;
}
/** Positive scales, 2^e to 2^(e + 4). */
float* scales(int64_t n, int e) {
  uint32_t* p = array<uint32_t>(n);
  for (int64_t i = 0; i < n; i++) p[i] = (uint32_t)(127 + e + (int)(word() % 4)) << 23 | word() >> 9;
  return (float*)p;
}
int64_t panel_count(int64_t k) { return (k + 1023) / 1024; }
PogoCodes matrix(int64_t rows, int64_t cols) {
  PogoCodes m;
  m.codes = codes(rows * cols);
  m.scales = scales(panel_count(cols) * rows, -9);
  return m;
}
template <class T>
T* filled(int64_t n) {
  T* p = array<T>(n);
  memset(p, 0x55, (size_t)n * sizeof(T));
  return p;
}

int64_t checks = 0, failures = 0;

/** A configuration of tiles in force, from XINUSE: there must be none between operations. */
bool tiles_in_use() {
  uint32_t low, high;
  __asm__ volatile("xgetbv" : "=a"(low), "=d"(high) : "c"(1));
  return (low & 0x20000) != 0;
}

/** The emulator itself: -1 times 1 by TDPBSSD, and 255 times -1 by TDPBUSD, without any kernel. */
bool emulator_multiplies() {
  static const TileConfig shapes = {1, 0, {0}, {4, 4, 4}, {1, 1, 1}};
  int32_t left = 0xFF, right = 1, signed_product, unsigned_product;
  tile_configure(&shapes);
  bool configured = tiles_in_use();
  tile_load<1>(&left, 4);
  tile_load<2>(&right, 4);
  tile_zero<0>();
  tile_dot_signed<0, 1, 2>();
  tile_store<0>(&signed_product, 4);
  right = 0xFF;
  tile_load<2>(&right, 4);
  tile_zero<0>();
  tile_dot_unsigned<0, 1, 2>();
  tile_store<0>(&unsigned_product, 4);
  tile_release();
  return configured && !tiles_in_use() && signed_product == -1 && unsigned_product == -255;
}

void verdict(const char* name, bool equal) {
  bool released = !tiles_in_use();
  checks++;
  if (!equal || !released) failures++;
  print(name);
  print(!equal ? " DIFFERS" : released ? " equal" : " LEFT TILES IN USE");
  print("\n");
}

void dimensions(int64_t a, int64_t b, int64_t c) {
  print(a);
  print(" x ");
  print(b);
  print(" x ");
  print(c);
  print(": ");
}

/** Runs an operation of both sets. `run(kernels, which)` writes the outputs of set `which`; results must agree. */
template <class Run>
bool both(Run run) {
  char* base = heap;
  scratch = base + (8 << 20);
  PogoResult expected = run(pogo_kernels_scalar, 0);
  scratch = base + (8 << 20);
  PogoResult found = run(pogo_kernels_amx, 1);
  return expected == found || (expected && found && memcmp(expected, found, 4) == 0);
}

void gemm(int64_t M, int64_t N, int64_t K, bool accumulate, bool packed) {
  heap = kHeap;
  PogoCodes a = matrix(M, K), b = matrix(N, K);
  float* y[2] = {filled<float>(M * N), filled<float>(M * N)};
  for (int64_t i = 0; accumulate && i < M * N; i++) y[0][i] = y[1][i] = (float)(int)(word() >> 20);
  char* space = packed ? array<char>(pogo_kernels_amx.packed_bytes(N, K)) : nullptr;
  bool same = both([&](const PogoKernels& k, int which) {
    PogoCodes right = b;
    if (packed && which == 1) {
      k.pack_codes(nullptr, b.codes, N, K, space);
      right.packed = space;
    }
    return k.gemm(nullptr, a, right, y[which], M, N, K, accumulate);
  });
  dimensions(M, N, K);
  verdict(packed ? "gemm, packed" : accumulate ? "gemm, accumulating" : "gemm", same && !memcmp(y[0], y[1], M * N * 4));
}

void gelu(int64_t T, int64_t N, int64_t K) {
  heap = kHeap;
  PogoCodes a = matrix(T, K), w = matrix(N, K);
  int8_t *c[2] = {filled<int8_t>(T * N), filled<int8_t>(T * N)}, *d[2] = {filled<int8_t>(T * N), filled<int8_t>(T * N)};
  float* s[2] = {filled<float>(panel_count(N) * T), filled<float>(panel_count(N) * T)};
  bool same = both(
      [&](const PogoKernels& k, int i) { return k.linear_gelu(nullptr, a, w, nullptr, c[i], s[i], d[i], T, N, K); });
  dimensions(T, N, K);
  verdict("linear_gelu", same && !memcmp(c[0], c[1], T * N) && !memcmp(d[0], d[1], T * N) &&
                             !memcmp(s[0], s[1], panel_count(N) * T * 4));
}

void attention(int64_t context, int64_t H, int64_t G, int64_t h, int64_t window, int64_t sequences) {
  heap = kHeap;
  const PogoAttention shape = {context * sequences, H, G, h, context, window, (uint32_t)h};
  int64_t T = shape.T, C = H * h, N = (H + 2 * G) * h;
  int8_t* qkv = codes(T * N);
  float* qkv_scales = scales((H + 2 * G) * T, -9);
  uint16_t* o[2] = {filled<uint16_t>(T * C), filled<uint16_t>(T * C)};
  float* lambda[2] = {filled<float>(H * T), filled<float>(H * T)};
  bool same = both([&](const PogoKernels& k, int i) {
    return k.attention_forward(nullptr, shape, qkv, qkv_scales, o[i], lambda[i]);
  });
  dimensions(context, H, h);
  verdict("attention_forward", same && !memcmp(o[0], o[1], T * C * 2) && !memcmp(lambda[0], lambda[1], H * T * 4));
  PogoAttentionBackward x;
  x.qkv = qkv;
  x.qkv_scales = qkv_scales;
  x.d_o = codes(T * C);
  x.d_o_scales = scales(H * T, -20);
  x.lambda = lambda[0];
  uint32_t seeds[12];
  for (uint32_t& seed : seeds) seed = word();
  x.seed_v = seeds;
  x.seed_k = seeds + 4;
  x.seed_q = seeds + 8;
  x.shape = shape;
  x.t0 = 0;
  x.U = T;
  uint16_t* dqkv[2] = {filled<uint16_t>(T * N), filled<uint16_t>(T * N)};
  same = both([&](const PogoKernels& k, int i) {
    x.dqkv = dqkv[i];
    return k.attention_backward(nullptr, x);
  });
  dimensions(context, H, h);
  verdict("attention_backward", same && !memcmp(dqkv[0], dqkv[1], T * N * 2));
}

}  // namespace

uint32_t pogo_optional_features = 0;

void* pogo_take(PogoArena*, size_t bytes) {
  char* p = (char*)(((uintptr_t)scratch + 63) & ~(uintptr_t)63);
  scratch = p + bytes + 64;
  return p;
}

void program() {
  unsigned control = 0x1F80;
  __asm__ volatile("ldmxcsr %0" : : "m"(control));
  const PogoFacts& facts = pogo_machine();
  const uint32_t missing = pogo_kernels_amx.needs & ~pogo_features(facts);
  checks++;
  if (missing != 0 || asked[1] != 0x1023 || asked[2] != 18) failures++;
  print(missing == 0 ? "detection: the processor has what the amx set needs\n" : "detection: FEATURES ARE MISSING\n");
  if (missing == 0 && !emulator_multiplies()) {
    failures++;
    print("THE EMULATOR'S OWN TDPBSSD OR TDPBUSD IS WRONG: see native/cpu/README.md\n");
  } else if (missing == 0) {
    const int64_t widths[] = {1, 15, 63, 64, 65, 192, 640, 1000, 1024, 1088, 2048, 2049};
    const int64_t sizes[][2] = {{1, 1},   {15, 16}, {16, 32}, {17, 33}, {32, 32},
                                {48, 31}, {64, 64}, {65, 70}, {33, 300}};
    for (int64_t K : widths) {
      for (auto& size : sizes) gemm(size[0], size[1], K, false, false);
      gemm(49, 65, K, true, false);
      gemm(48, 64, K, true, false);
      gemm(34, 70, K, false, true);
    }
    gelu(65, 128, 192);
    gelu(48, 1088, 64);
    gelu(200, 1024, 1088);
    gemm(513, 1024, 64, false, false);
    const int64_t heads[] = {32, 64, 128, 256};
    for (int64_t h : heads) {
      attention(64, h == 32 ? 2 : 1, h == 32 ? 2 : 1, h, 0, 1);
      attention(128, h == 32 ? 2 : 1, h == 32 ? 2 : 1, h, 0, 2);
      attention(192, 2, 1, h, 64, 1);
    }
  }
  print(checks);
  print(" checks, ");
  print(failures);
  print(" failures\n");
  for (const char* c = "Shutdown"; *c; c++) out(0x8900, *c);
}
