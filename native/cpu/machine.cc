// The only file that asks the machine what it can do.
#include "machine.h"

#if defined(POGO_X86)
#if defined(_MSC_VER)
#include <intrin.h>
#else
#include <cpuid.h>
#endif
#if defined(__linux__) && defined(__x86_64__)
#include <errno.h>
#include <sys/syscall.h>
#include <unistd.h>
#endif
#elif defined(POGO_NEON)
#if defined(__linux__)
#include <sys/auxv.h>
#elif defined(__APPLE__)
#include <sys/sysctl.h>
#elif defined(_WIN32)
#include <windows.h>
#endif
#endif

namespace {

constexpr uint32_t kOsxsave = 1u << 27;
// XCR0: XMM and YMM; the same with opmask, ZMM high halves and ZMM 16 to 31; tile configuration and tile data.
constexpr uint32_t kAvxStates = 0x6, kAvx512States = 0xE6, kTileStates = 0x60000;

bool bit(uint32_t word, int n) { return word >> n & 1; }

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
uint32_t enabled_states() {
#if defined(_MSC_VER)
  return (uint32_t)_xgetbv(0);
#else
  uint32_t low, high;
  __asm__ volatile("xgetbv" : "=a"(low), "=d"(high) : "c"(0));
  return low;
#endif
}

/**
 * Linux gives a process the 8 KiB of tile data only on request (5.16 and later): without it the first tile instruction
 * is a SIGILL. The permission holds for all threads, present and to come, of this process; a child that execs asks
 * again. It is refused where a thread has an alternate signal stack too small for the larger frame (ENOSPC), or by a
 * filter on system calls.
 */
uint32_t request_tiles() {
#if defined(__linux__) && defined(__x86_64__)
  constexpr int kRequest = 0x1023, kTileData = 18;  // ARCH_REQ_XCOMP_PERM, XFEATURE_XTILEDATA
  return syscall(SYS_arch_prctl, kRequest, kTileData) == 0 ? 0 : (uint32_t)errno;
#else
  return 38;  // ENOSYS: no other system is supported so far
#endif
}
#elif defined(POGO_NEON)
/** SDOT, by the operating system: user space may not read the registers that tell it. */
bool has_dotprod() {
#if defined(__linux__)
  return getauxval(AT_HWCAP) >> 20 & 1;  // HWCAP_ASIMDDP
#elif defined(__APPLE__)
  int value = 0;
  size_t size = sizeof value;
  return sysctlbyname("hw.optional.arm.FEAT_DotProd", &value, &size, nullptr, 0) == 0 && value != 0;
#elif defined(_WIN32)
  return IsProcessorFeaturePresent(43) != 0;  // PF_ARM_V82_DP_INSTRUCTIONS_AVAILABLE
#else
  return false;
#endif
}
#endif

PogoFacts ask() {
  PogoFacts f;
#if defined(POGO_X86)
  f.lastLeaf = cpuid(0, 0).eax;
  f.leaf1Ecx = cpuid(1, 0).ecx;
  if (f.lastLeaf >= 7) {
    const Registers seven = cpuid(7, 0);
    f.leaf7Ebx = seven.ebx;
    f.leaf7Ecx = seven.ecx;
    f.leaf7Edx = seven.edx;
    if (seven.eax >= 1) f.leaf7Eax1 = cpuid(7, 1).eax;
  }
  if (f.lastLeaf >= 0x1D) {
    const Registers palette = cpuid(0x1D, 1);
    f.leaf1DEbx = palette.ebx;
    f.leaf1DEcx = palette.ecx;
  }
  f.lastExtendedLeaf = cpuid(0x80000000u, 0).eax;
  if (f.lastExtendedLeaf >= 0x80000001u) f.extendedEcx = cpuid(0x80000001u, 0).ecx;
  if (f.leaf1Ecx & kOsxsave) f.enabledStates = enabled_states();
  if (pogo_features(f) & POGO_HAS_AMX_TILE) f.tileRefusal = request_tiles();
#elif defined(POGO_NEON)
  // Advanced SIMD itself belongs to every AArch64 system that Node runs on.
  f.arm = POGO_HAS_NEON | (has_dotprod() ? POGO_HAS_DOTPROD : 0);
#endif
  return f;
}

}  // namespace

const PogoFacts& pogo_machine() {
  static const PogoFacts facts = ask();
  return facts;
}

bool pogo_tiles_in_use() {
#if defined(POGO_X86) && !defined(_MSC_VER)
  // XGETBV with ECX = 1 (CPUID 0D, sub-leaf 1, bit 2) gives the state components that differ from their initial state.
  const PogoFacts& facts = pogo_machine();
  if (!(pogo_features(facts) & POGO_HAS_AMX_TILE) || !bit(cpuid(0xD, 1).eax, 2)) return false;
  uint32_t low, high;
  __asm__ volatile("xgetbv" : "=a"(low), "=d"(high) : "c"(1));
  return (low & kTileStates) != 0;
#else
  return false;
#endif
}

uint32_t pogo_processor_features(const PogoFacts& f) {
  uint32_t has = f.arm & (POGO_HAS_NEON | POGO_HAS_DOTPROD);
  auto set = [&](bool present, uint32_t feature) {
    if (present) has |= feature;
  };
  if (f.lastLeaf >= 1) {
    set(bit(f.leaf1Ecx, 23), POGO_HAS_POPCNT);
    set(bit(f.leaf1Ecx, 28), POGO_HAS_AVX);
    set(bit(f.leaf1Ecx, 29), POGO_HAS_F16C);
    set(bit(f.leaf1Ecx, 12), POGO_HAS_FMA);
  }
  if (f.lastExtendedLeaf >= 0x80000001u) set(bit(f.extendedEcx, 5), POGO_HAS_LZCNT);
  if (f.lastLeaf >= 7) {
    set(bit(f.leaf7Ebx, 3), POGO_HAS_BMI1);
    set(bit(f.leaf7Ebx, 5), POGO_HAS_AVX2);
    set(bit(f.leaf7Ebx, 8), POGO_HAS_BMI2);
    set(bit(f.leaf7Ebx, 16), POGO_HAS_AVX512F);
    set(bit(f.leaf7Ebx, 17), POGO_HAS_AVX512DQ);
    set(bit(f.leaf7Ebx, 28), POGO_HAS_AVX512CD);
    set(bit(f.leaf7Ebx, 30), POGO_HAS_AVX512BW);
    set(bit(f.leaf7Ebx, 31), POGO_HAS_AVX512VL);
    set(bit(f.leaf7Ecx, 11), POGO_HAS_AVX512VNNI);
    set(bit(f.leaf7Ecx, 6), POGO_HAS_AVX512VBMI2);
    set(bit(f.leaf7Eax1, 4), POGO_HAS_AVXVNNI);
    // The kernels use eight tiles of 16 rows of 64 bytes: palette 1 must have them.
    const bool palette =
        f.lastLeaf >= 0x1D && (f.leaf1DEbx & 0xFFFF) >= 64 && f.leaf1DEbx >> 16 >= 8 && (f.leaf1DEcx & 0xFFFF) >= 16;
    set(bit(f.leaf7Edx, 24) && palette, POGO_HAS_AMX_TILE);
    set(bit(f.leaf7Edx, 25) && palette, POGO_HAS_AMX_INT8);
  }
  return has;
}

uint32_t pogo_features(const PogoFacts& f) {
  constexpr uint32_t avx512 = POGO_HAS_AVX512F | POGO_HAS_AVX512CD | POGO_HAS_AVX512BW | POGO_HAS_AVX512DQ |
                              POGO_HAS_AVX512VL | POGO_HAS_AVX512VNNI | POGO_HAS_AVX512VBMI2;
  constexpr uint32_t avx = POGO_HAS_AVX | POGO_HAS_F16C | POGO_HAS_FMA | POGO_HAS_AVX2 | POGO_HAS_AVXVNNI;
  constexpr uint32_t amx = POGO_HAS_AMX_TILE | POGO_HAS_AMX_INT8;
  const uint32_t states = f.leaf1Ecx & kOsxsave ? f.enabledStates : 0;
  uint32_t has = pogo_processor_features(f);
  // Encodings build on each other: no AVX2 without AVX, no AVX-512 subset without AVX512F, no INT8 tiles without tiles.
  if ((states & kAvxStates) != kAvxStates || !(has & POGO_HAS_AVX)) has &= ~(avx | avx512);
  if ((states & kAvx512States) != kAvx512States || !(has & POGO_HAS_AVX512F)) has &= ~avx512;
  if ((states & kTileStates) != kTileStates || f.tileRefusal != 0 || !(has & POGO_HAS_AMX_TILE)) has &= ~amx;
  return has;
}
