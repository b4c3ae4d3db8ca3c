// Run-time dispatch: a table of instruction sets, best first, and the rule that takes none whose instructions are
// missing.
#include "dispatch.h"

namespace {

/** What a set's intrinsics need at least; its kernels' `needs` add what the compiler was allowed to use beyond. */
struct Row {
  const char* name;
  const PogoKernels* kernels;
  uint32_t needs;
};

#if defined(POGO_X86)
#define POGO_X86_KERNELS(set) &pogo_kernels_##set
#else
#define POGO_X86_KERNELS(set) nullptr
#endif
#if defined(POGO_NEON)
#define POGO_NEON_KERNELS(set) &pogo_kernels_##set
#else
#define POGO_NEON_KERNELS(set) nullptr
#endif

// Sets that a compiler may not know.
#if defined(POGO_HAVE_AMX)
#define POGO_AMX_KERNELS &pogo_kernels_amx
#else
#define POGO_AMX_KERNELS nullptr
#endif

#if defined(POGO_HAVE_AVXVNNI)
#define POGO_AVXVNNI_KERNELS &pogo_kernels_avxvnni
#else
#define POGO_AVXVNNI_KERNELS nullptr
#endif

constexpr uint32_t kAvx2 = POGO_HAS_AVX | POGO_HAS_AVX2;
constexpr uint32_t kAvx512 =
    kAvx2 | POGO_HAS_AVX512F | POGO_HAS_AVX512BW | POGO_HAS_AVX512DQ | POGO_HAS_AVX512VL | POGO_HAS_AVX512VNNI;

const Row kRows[] = {
    {"amx", POGO_AMX_KERNELS, kAvx512 | POGO_HAS_AMX_TILE | POGO_HAS_AMX_INT8},
    {"avx512", POGO_X86_KERNELS(avx512), kAvx512},
    {"avxvnni", POGO_AVXVNNI_KERNELS, kAvx2 | POGO_HAS_AVXVNNI},
    {"avx2", POGO_X86_KERNELS(avx2), kAvx2},
    {"dotprod", POGO_NEON_KERNELS(dotprod), POGO_HAS_NEON | POGO_HAS_DOTPROD},
    {"neon", POGO_NEON_KERNELS(neon), POGO_HAS_NEON},
    {"scalar", &pogo_kernels_scalar, 0},
};

std::string list(uint32_t features) {
  std::string text;
  for (const std::string& name : pogo_feature_names(features)) text += (text.empty() ? "" : ", ") + name;
  return text;
}

/** Why a set that needs `missing` cannot run: the processor, the operating system, or the kernel's permission. */
std::string missing_reason(uint32_t missing, const PogoFacts& facts) {
  const uint32_t absent = missing & ~pogo_processor_features(facts);
  if (absent != 0) return "the processor lacks " + list(absent);
  const bool tiles = (missing & ~(POGO_HAS_AMX_TILE | POGO_HAS_AMX_INT8)) == 0;
  if (tiles && facts.tileRefusal != 0) {
    return "the kernel refused the tile registers (arch_prctl ARCH_REQ_XCOMP_PERM, errno " +
           std::to_string(facts.tileRefusal) + ")";
  }
  return "the operating system does not save the registers of " + list(missing);
}

}  // namespace

std::vector<PogoIsa> pogo_isas_for(const PogoFacts& facts) {
  const uint32_t has = pogo_features(facts);
  std::vector<PogoIsa> isas;
  for (const Row& row : kRows) {
    const uint32_t needs = row.needs | (row.kernels ? row.kernels->needs : 0);
    const uint32_t missing = needs & ~has;
    std::string reason;
    if (missing != 0) {
      reason = missing_reason(missing, facts);
    } else if (row.kernels == nullptr) {
      reason = "this build has no kernels for it";
    }
    isas.push_back({row.name, row.kernels, missing == 0, reason});
  }
  return isas;
}

const PogoIsa* pogo_best_of(const std::vector<PogoIsa>& isas) {
  for (const PogoIsa& isa : isas) {
    if (isa.kernels && isa.machine) return &isa;
  }
  return nullptr;
}

uint32_t pogo_optional_features = 0;

const std::vector<PogoIsa>& pogo_isas() {
  static const std::vector<PogoIsa> isas = [] {
    pogo_optional_features = pogo_features(pogo_machine());
    return pogo_isas_for(pogo_machine());
  }();
  return isas;
}

const PogoIsa* pogo_isa(const std::string& name) {
  for (const PogoIsa& isa : pogo_isas()) {
    if (name == isa.name) return &isa;
  }
  return nullptr;
}

std::vector<std::string> pogo_feature_names(uint32_t features) {
  std::vector<std::string> names;
#define POGO_NAME(bit, id, name) \
  if (features & POGO_HAS_##id) names.push_back(name);
  POGO_FEATURES(POGO_NAME)
#undef POGO_NAME
  return names;
}
