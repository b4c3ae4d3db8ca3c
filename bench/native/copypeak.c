// Copy bandwidth: bytes read plus bytes written a second, by 1 and by all given threads at once, each between buffers of its
// own. Of every size the best of memcpy and of stores that pass the caches, median of eleven copies.
// Prints one line a size and thread count: "<threads> <bytes of a buffer> <bytes per second of all threads>".
// Usage: copypeak [threads [bytes of a buffer, a multiple of 64]]: of that size alone, else of three.
#define _GNU_SOURCE
#include <pthread.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#if defined(__x86_64__)
#include <immintrin.h>
#endif

enum { COPIES = 11, MAX_THREADS = 256 };

static double now(void) {
  struct timespec t;
  clock_gettime(CLOCK_MONOTONIC, &t);
  return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

typedef void (*copy_function)(char *to, const char *from, size_t bytes);

static void copy_cached(char *to, const char *from, size_t bytes) { memcpy(to, from, bytes); }

#if defined(__x86_64__)
__attribute__((target("avx2"))) static void copy_streaming(char *to, const char *from, size_t bytes) {
  for (size_t i = 0; i < bytes; i += 64) {
    __m256i a = _mm256_load_si256((const __m256i *)(from + i)), b = _mm256_load_si256((const __m256i *)(from + i + 32));
    _mm256_stream_si256((__m256i *)(to + i), a);
    _mm256_stream_si256((__m256i *)(to + i + 32), b);
  }
  _mm_sfence();
}
#endif

static pthread_barrier_t barrier;
static size_t buffer_bytes;
static copy_function copy_now;

struct buffers {
  char *from, *to;
};

static void *work(void *argument) {
  struct buffers *own = argument;
  for (int i = 0; i < COPIES; i++) {
    pthread_barrier_wait(&barrier);
    copy_now(own->to, own->from, buffer_bytes);
    pthread_barrier_wait(&barrier);
  }
  return NULL;
}

static int ascending(const void *a, const void *b) {
  double x = *(const double *)a, y = *(const double *)b;
  return (x > y) - (x < y);
}

// Seconds of a copy by all threads, the slowest of them: median.
static double measure(struct buffers *buffers, int threads) {
  pthread_t ids[MAX_THREADS];
  double seconds[COPIES];
  pthread_barrier_init(&barrier, NULL, (unsigned)threads + 1);
  for (int i = 0; i < threads; i++) pthread_create(&ids[i], NULL, work, &buffers[i]);
  for (int i = 0; i < COPIES; i++) {
    pthread_barrier_wait(&barrier);
    double from = now();
    pthread_barrier_wait(&barrier);
    seconds[i] = now() - from;
  }
  for (int i = 0; i < threads; i++) pthread_join(ids[i], NULL);
  pthread_barrier_destroy(&barrier);
  qsort(seconds, COPIES, sizeof(double), ascending);
  return seconds[COPIES / 2];
}

int main(int count, char **arguments) {
  int most = count > 1 ? atoi(arguments[1]) : 1;
  if (most < 1 || most > MAX_THREADS) return 2;
  size_t sizes[] = {8u << 20, 32u << 20, 128u << 20};
  int size_count = 3;
  if (count > 2) {
    sizes[0] = strtoull(arguments[2], NULL, 10);
    size_count = 1;
    if (sizes[0] == 0 || sizes[0] % 64 != 0) return 2;
  }
  static struct buffers buffers[MAX_THREADS];
  for (int i = 0; i < most; i++) {
    size_t bytes = sizes[size_count - 1];
    if (posix_memalign((void **)&buffers[i].from, 4096, bytes) || posix_memalign((void **)&buffers[i].to, 4096, bytes)) return 1;
    memset(buffers[i].from, 1, bytes);
    memset(buffers[i].to, 2, bytes);
  }
  for (int threads = 1;; threads = most) {
    for (int s = 0; s < size_count; s++) {
      buffer_bytes = sizes[s];
      copy_now = copy_cached;
      double best = measure(buffers, threads);
#if defined(__x86_64__)
      __builtin_cpu_init();
      if (__builtin_cpu_supports("avx2")) {
        copy_now = copy_streaming;
        double streaming = measure(buffers, threads);
        if (streaming < best) best = streaming;
      }
#endif
      printf("%d %zu %.4e\n", threads, sizes[s], 2.0 * threads * (double)sizes[s] / best);
    }
    if (threads == most) break;
  }
  return 0;
}
