// The int8 peak of one core: independent chains of the multiply-accumulate instructions that a GEMM is made of, on
// registers alone. Prints one line per instruction set the machine has: "<isa> <operations per second>", an operation
// being one multiplication or one addition of the int8 dot product. Usage: int8peak [seconds per set]
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

static double now(void) {
  struct timespec t;
  clock_gettime(CLOCK_MONOTONIC, &t);
  return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

#if defined(__x86_64__)
#include <immintrin.h>

// Twelve accumulators hide the latency of the chain. They are named, not an array: gcc 12 keeps an array in memory, and the
// loop then measures loads and stores (VPDPBUSD: 236 instead of 472 GOP/s on Zen 4, 2026-11-24).
#define CHAINS 12
#define EACH(X) X(0) X(1) X(2) X(3) X(4) X(5) X(6) X(7) X(8) X(9) X(10) X(11)

// Runs BODY for every accumulator, many times, for some seconds; the best rate of PRODUCTS multiply-adds each.
#define MEASURE(PRODUCTS, BODY)                                      \
  const long rounds = 1 << 16;                                       \
  double start = now(), best = 0;                                    \
  do {                                                               \
    double from = now();                                             \
    for (long r = 0; r < rounds; r++) {                              \
      EACH(BODY)                                                     \
    }                                                                \
    double rate = 2.0 * (PRODUCTS) * CHAINS * (double)rounds / (now() - from); \
    if (rate > best) best = rate;                                    \
  } while (now() - start < seconds);

// VPMADDUBSW, VPMADDWD, VPADDD on bytes: 32 products a round.
__attribute__((target("avx2"), noinline)) static double avx2_bytes(double seconds) {
  __m256i a = _mm256_set1_epi8(3), b = _mm256_set1_epi8(5), ones = _mm256_set1_epi16(1);
#define DECLARE(i) __m256i sum##i = _mm256_set1_epi32(i);
  EACH(DECLARE)
#undef DECLARE
#define STEP(i)                                                                          \
  {                                                                                      \
    __m256i product;                                                                     \
    __asm__ volatile("vpmaddubsw %3, %2, %0\n\tvpmaddwd %4, %0, %0\n\tvpaddd %0, %1, %1" \
                     : "=&x"(product), "+x"(sum##i)                                       \
                     : "x"(a), "x"(b), "x"(ones));                                        \
  }
  MEASURE(32, STEP)
#undef STEP
  return best;
}

// VPMADDWD, VPADDD on operands widened to 16 bits: 16 products a round.
__attribute__((target("avx2"), noinline)) static double avx2_words(double seconds) {
  __m256i a = _mm256_set1_epi16(3), b = _mm256_set1_epi16(5);
#define DECLARE(i) __m256i sum##i = _mm256_set1_epi32(i);
  EACH(DECLARE)
#undef DECLARE
#define STEP(i)                                                        \
  {                                                                    \
    __m256i product;                                                   \
    __asm__ volatile("vpmaddwd %3, %2, %0\n\tvpaddd %0, %1, %1"        \
                     : "=&x"(product), "+x"(sum##i)                     \
                     : "x"(a), "x"(b));                                 \
  }
  MEASURE(16, STEP)
#undef STEP
  return best;
}

// The faster of the two ways that AVX2 has.
static double avx2(double seconds) {
  double bytes = avx2_bytes(seconds / 2), words = avx2_words(seconds / 2);
  return bytes > words ? bytes : words;
}

// VPDPBUSD with VEX encoding on 256-bit registers: 32 products an instruction.
__attribute__((target("avx2"), noinline)) static double avxvnni(double seconds) {
  __m256i a = _mm256_set1_epi8(3), b = _mm256_set1_epi8(5);
#define DECLARE(i) __m256i sum##i = _mm256_set1_epi32(i);
  EACH(DECLARE)
#undef DECLARE
#define STEP(i) __asm__ volatile("%{vex%} vpdpbusd %2, %1, %0" : "+x"(sum##i) : "x"(a), "x"(b));
  MEASURE(32, STEP)
#undef STEP
  return best;
}

// VPDPBUSD on 512-bit registers: 64 products an instruction.
__attribute__((target("avx512f,avx512bw,avx512vnni"), noinline)) static double avx512(double seconds) {
  __m512i a = _mm512_set1_epi8(3), b = _mm512_set1_epi8(5);
#define DECLARE(i) __m512i sum##i = _mm512_set1_epi32(i);
  EACH(DECLARE)
#undef DECLARE
#define STEP(i) __asm__ volatile("vpdpbusd %2, %1, %0" : "+v"(sum##i) : "v"(a), "v"(b));
  MEASURE(64, STEP)
#undef STEP
  return best;
}

// TDPBSSD on tiles of 16 x 64 codes: 16,384 products an instruction, 4 tiles of sums as in a GEMM, the other 4 its operands.
#if defined(__linux__) && defined(__has_include)
#if __has_include(<amxint8intrin.h>)
#define AMX 1
#include <cpuid.h>
#include <sys/syscall.h>
#include <unistd.h>

// The processor has AMX-INT8, and the kernel gives this process the tile state (ARCH_REQ_XCOMP_PERM, XFEATURE_XTILEDATA).
static int has_amx(void) {
  unsigned a, b, c, d;
  if (!__get_cpuid_count(7, 0, &a, &b, &c, &d) || (d >> 24 & 3) != 3) return 0;
  return syscall(SYS_arch_prctl, 0x1023, 18) == 0;
}

__attribute__((target("amx-tile,amx-int8"), noinline)) static double amx(double seconds) {
  // Palette 1; bytes of a row of tiles 0 to 7 from byte 16, rows from byte 48.
  unsigned char config[64] __attribute__((aligned(64))) = {1};
  for (int t = 0; t < 8; t++) {
    config[16 + 2 * t] = 64;
    config[48 + t] = 16;
  }
  __asm__ volatile("ldtilecfg %0" : : "m"(config));
  const long rounds = 1 << 12;
  double start = now(), best = 0;
  do {
    double from = now();
    for (long r = 0; r < rounds; r++) {
      __asm__ volatile("tdpbssd %tmm6, %tmm4, %tmm0\n\ttdpbssd %tmm7, %tmm4, %tmm1\n\t"
                       "tdpbssd %tmm6, %tmm5, %tmm2\n\ttdpbssd %tmm7, %tmm5, %tmm3");
    }
    // A store waits for the chains.
    unsigned char sums[16 * 64] __attribute__((aligned(64)));
    __asm__ volatile("tilestored %%tmm3, (%0,%1,1)" : : "r"(sums), "r"(64L) : "memory");
    double rate = 2.0 * 16384 * 4 * (double)rounds / (now() - from);
    if (rate > best) best = rate;
  } while (now() - start < seconds);
  __asm__ volatile("tilerelease");
  return best;
}
#endif
#endif
#endif

int main(int count, char **arguments) {
  double seconds = count > 1 ? atof(arguments[1]) : 0.2;
#if defined(__x86_64__)
  __builtin_cpu_init();
  if (__builtin_cpu_supports("avx2")) printf("avx2 %.4e\n", avx2(seconds));
  if (__builtin_cpu_supports("avxvnni")) printf("avxvnni %.4e\n", avxvnni(seconds));
  if (__builtin_cpu_supports("avx512vnni")) printf("avx512 %.4e\n", avx512(seconds));
#if defined(AMX)
  if (has_amx()) printf("amx %.4e\n", amx(seconds));
#endif
#else
  (void)seconds;
  (void)now;
#endif
  return 0;
}
