// Run-time dispatch. The only file that asks the machine what it can do.
#include "dispatch.h"

#if defined(POGO_X86)
#if defined(_MSC_VER)
#include <intrin.h>
#else
#include <cpuid.h>
#endif
#endif

namespace {

struct Features {
  bool avx2 = false, fma = false, avx512 = false, vnni = false, amx = false, neon = false, dotprod = false;
};

#if defined(POGO_X86)
struct Registers {
  uint32_t eax, ebx, ecx, edx;
};

Registers cpuid(uint32_t leaf, uint32_t sub) {
  Registers r = {0, 0, 0, 0};
#if defined(_MSC_VER)
  int out[4];
  __cpuidex(out, (int)leaf, (int)sub);
  r = {(uint32_t)out[0], (uint32_t)out[1], (uint32_t)out[2], (uint32_t)out[3]};
#else
  __cpuid_count(leaf, sub, r.eax, r.ebx, r.ecx, r.edx);
#endif
  return r;
}

/** State components that the operating system saves. Legal only where CPUID reports OSXSAVE. */
uint64_t enabled_states() {
#if defined(_MSC_VER)
  return _xgetbv(0);
#else
  uint32_t low, high;
  __asm__ volatile("xgetbv" : "=a"(low), "=d"(high) : "c"(0));
  return ((uint64_t)high << 32) | low;
#endif
}

Features detect() {
  Features f;
  uint32_t last = cpuid(0, 0).eax;
  Registers one = cpuid(1, 0);
  const bool osxsave = one.ecx >> 27 & 1, avx = one.ecx >> 28 & 1;
  if (!osxsave || !avx || last < 7) return f;
  uint64_t states = enabled_states();
  Registers seven = cpuid(7, 0);
  // XMM and YMM; for AVX-512 also opmask, ZMM high halves and ZMM 16 to 31; for AMX tile configuration and data.
  if ((states & 0x6) != 0x6) return f;
  f.avx2 = seven.ebx >> 5 & 1;
  f.fma = one.ecx >> 12 & 1;
  if ((states & 0xE6) == 0xE6) {
    f.avx512 = (seven.ebx >> 16 & 1) && (seven.ebx >> 17 & 1) && (seven.ebx >> 30 & 1) && (seven.ebx >> 31 & 1);
    f.vnni = f.avx512 && (seven.ecx >> 11 & 1);
  }
  if ((states & 0x60000) == 0x60000) f.amx = (seven.edx >> 24 & 1) && (seven.edx >> 25 & 1);
  return f;
}
#else
Features detect() {
  Features f;
#if defined(__ARM_NEON)
  f.neon = true;
#if defined(__ARM_FEATURE_DOTPROD)
  f.dotprod = true;
#endif
#endif
  return f;
}
#endif

const Features& features() {
  static const Features f = detect();
  return f;
}

}  // namespace

const std::vector<PogoIsa>& pogo_isas() {
  static const std::vector<PogoIsa> isas = [] {
    const Features& f = features();
    const PogoKernels *avx2 = nullptr, *avx512 = nullptr;
#if defined(POGO_X86)
    avx2 = &pogo_kernels_avx2;
    avx512 = &pogo_kernels_avx512;
#endif
    return std::vector<PogoIsa>{
        {"amx", nullptr, f.amx},
        {"avx512", avx512, f.vnni},
        {"avx2", avx2, f.avx2},
        {"neon", nullptr, f.neon},
        {"scalar", &pogo_kernels_scalar, true},
    };
  }();
  return isas;
}

const PogoIsa* pogo_isa(const std::string& name) {
  for (const PogoIsa& isa : pogo_isas()) {
    if (name == isa.name) return &isa;
  }
  return nullptr;
}

const PogoIsa* pogo_best_isa() {
  for (const PogoIsa& isa : pogo_isas()) {
    if (isa.kernels && isa.machine) return &isa;
  }
  return nullptr;
}

std::vector<std::string> pogo_cpu_features() {
  const Features& f = features();
  std::vector<std::string> names;
  if (f.avx2) names.push_back("avx2");
  if (f.fma) names.push_back("fma");
  if (f.avx512) names.push_back("avx512");
  if (f.vnni) names.push_back("avx512-vnni");
  if (f.amx) names.push_back("amx-int8");
  if (f.neon) names.push_back("neon");
  if (f.dotprod) names.push_back("dotprod");
  return names;
}
