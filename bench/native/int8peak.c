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

// Twelve accumulators hide the latency of the chain; the operands change so that nothing can be hoisted.
#define CHAINS 12

// VPMADDUBSW, VPMADDWD, VPADDD: 32 products a round. |a| unsigned, sign moved to b by the caller, as the kernels do.
__attribute__((target("avx2"), noinline)) static double avx2(double seconds) {
  __m256i sum[CHAINS], a = _mm256_set1_epi8(3), b = _mm256_set1_epi8(5), ones = _mm256_set1_epi16(1);
  for (int i = 0; i < CHAINS; i++) sum[i] = _mm256_set1_epi32(i);
  const long rounds = 1 << 16;
  double start = now(), best = 0;
  do {
    double from = now();
    for (long r = 0; r < rounds; r++) {
      __asm__ volatile("" : "+x"(a), "+x"(b));
      for (int i = 0; i < CHAINS; i++) {
        __m256i product;
        __asm__ volatile("vpmaddubsw %2, %1, %0" : "=x"(product) : "x"(a), "x"(b));
        __asm__ volatile("vpmaddwd %1, %0, %0" : "+x"(product) : "x"(ones));
        sum[i] = _mm256_add_epi32(sum[i], product);
      }
    }
    double rate = 2.0 * 32 * CHAINS * (double)rounds / (now() - from);
    if (rate > best) best = rate;
  } while (now() - start < seconds);
  volatile int32_t sink = 0;
  for (int i = 0; i < CHAINS; i++) sink += _mm256_extract_epi32(sum[i], 0);
  return best;
}

// VPDPBUSD on 512-bit registers: 64 products an instruction.
__attribute__((target("avx512f,avx512bw,avx512vnni"), noinline)) static double avx512(double seconds) {
  __m512i sum[CHAINS], a = _mm512_set1_epi8(3), b = _mm512_set1_epi8(5);
  for (int i = 0; i < CHAINS; i++) sum[i] = _mm512_set1_epi32(i);
  const long rounds = 1 << 16;
  double start = now(), best = 0;
  do {
    double from = now();
    for (long r = 0; r < rounds; r++)
      for (int i = 0; i < CHAINS; i++) __asm__ volatile("vpdpbusd %2, %1, %0" : "+v"(sum[i]) : "v"(a), "v"(b));
    double rate = 2.0 * 64 * CHAINS * (double)rounds / (now() - from);
    if (rate > best) best = rate;
  } while (now() - start < seconds);
  volatile int32_t sink = 0;
  for (int i = 0; i < CHAINS; i++) sink += _mm_cvtsi128_si32(_mm512_castsi512_si128(sum[i]));
  return best;
}
#endif

int main(int count, char **arguments) {
  double seconds = count > 1 ? atof(arguments[1]) : 0.2;
#if defined(__x86_64__)
  __builtin_cpu_init();
  if (__builtin_cpu_supports("avx2")) printf("avx2 %.4e\n", avx2(seconds));
  if (__builtin_cpu_supports("avx512vnni")) printf("avx512 %.4e\n", avx512(seconds));
#else
  (void)seconds;
  (void)now;
#endif
  return 0;
}
