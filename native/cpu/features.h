// Features of CPUs as bits: what a machine offers, and what the compiler was allowed to use in a translation unit.
// Plain C types and preprocessor only: read by kernels of every instruction set.
#ifndef POGO_CPU_FEATURES_H
#define POGO_CPU_FEATURES_H

#include <stdint.h>

/** X(bit, name): the names are those of Linux's /proc/cpuinfo. */
#define POGO_FEATURES(X)             \
  X(0, POPCNT, "popcnt")             \
  X(1, AVX, "avx")                   \
  X(2, F16C, "f16c")                 \
  X(3, FMA, "fma")                   \
  X(4, AVX2, "avx2")                 \
  X(5, BMI1, "bmi1")                 \
  X(6, BMI2, "bmi2")                 \
  X(7, LZCNT, "abm")                 \
  X(8, AVXVNNI, "avx_vnni")          \
  X(9, AVX512F, "avx512f")           \
  X(10, AVX512CD, "avx512cd")        \
  X(11, AVX512BW, "avx512bw")        \
  X(12, AVX512DQ, "avx512dq")        \
  X(13, AVX512VL, "avx512vl")        \
  X(14, AVX512VNNI, "avx512_vnni")   \
  X(15, AMX_TILE, "amx_tile")        \
  X(16, AMX_INT8, "amx_int8")        \
  X(17, AVX512VBMI2, "avx512_vbmi2") \
  X(24, NEON, "neon")                \
  X(25, DOTPROD, "dotprod")

#define POGO_FEATURE_BIT(bit, id, name) POGO_HAS_##id = 1u << bit,
enum PogoFeature : uint32_t { POGO_FEATURES(POGO_FEATURE_BIT) };
#undef POGO_FEATURE_BIT

/**
 * What the compiler may emit anywhere in this translation unit, from the macros of its flags (-mavx512f implies avx2,
 * -mavx2 popcnt, …). A table of kernels carries it, and dispatch takes no table whose bits the machine lacks: code and
 * choice cannot part, whatever flags a build adds.
 */
static constexpr uint32_t pogo_compiled_features() {
  return 0u
#if defined(__POPCNT__)
         | POGO_HAS_POPCNT
#endif
#if defined(__AVX__)
         | POGO_HAS_AVX
#endif
#if defined(__F16C__)
         | POGO_HAS_F16C
#endif
#if defined(__FMA__)
         | POGO_HAS_FMA
#endif
#if defined(__AVX2__)
         | POGO_HAS_AVX2
#if defined(_MSC_VER)  // /arch:AVX2 stands for all of these and has no macro for them
         | POGO_HAS_POPCNT | POGO_HAS_F16C | POGO_HAS_FMA | POGO_HAS_BMI1 | POGO_HAS_BMI2 | POGO_HAS_LZCNT
#endif
#endif
#if defined(__BMI__)
         | POGO_HAS_BMI1
#endif
#if defined(__BMI2__)
         | POGO_HAS_BMI2
#endif
#if defined(__LZCNT__)
         | POGO_HAS_LZCNT
#endif
#if defined(__AVXVNNI__)
         | POGO_HAS_AVXVNNI
#endif
#if defined(__AVX512F__)
         | POGO_HAS_AVX512F
#endif
#if defined(__AVX512CD__)
         | POGO_HAS_AVX512CD
#endif
#if defined(__AVX512BW__)
         | POGO_HAS_AVX512BW
#endif
#if defined(__AVX512DQ__)
         | POGO_HAS_AVX512DQ
#endif
#if defined(__AVX512VL__)
         | POGO_HAS_AVX512VL
#endif
#if defined(__AVX512VNNI__)
         | POGO_HAS_AVX512VNNI
#endif
#if defined(__AVX512VBMI2__)
         | POGO_HAS_AVX512VBMI2
#endif
#if defined(__AMX_TILE__)
         | POGO_HAS_AMX_TILE
#endif
#if defined(__AMX_INT8__)
         | POGO_HAS_AMX_INT8
#endif
#if defined(__ARM_NEON)
         | POGO_HAS_NEON
#endif
#if defined(__ARM_FEATURE_DOTPROD)
         | POGO_HAS_DOTPROD
#endif
      ;
}

#endif
