// The N-API door of the CPU kernels: one function per operation, dimensions first, then arrays, positional.
// State lives per environment, so that every worker has its own scratch memory and its own choice of kernels.
#include <napi.h>

#include <string.h>

#include <atomic>
#include <map>
#include <new>
#include <string>
#include <vector>

#include "arena.h"
#include "arguments.h"
#include "dispatch.h"
#include "fp_mode.h"

namespace {

constexpr size_t kIsas = 8;
/** Kernel calls per instruction set, all environments of the process. */
std::atomic<uint64_t> g_calls[kIsas];

int64_t panels(int64_t k) { return (k + 1023) / 1024; }

class CpuAddon : public Napi::Addon<CpuAddon> {
 public:
  CpuAddon(Napi::Env env, Napi::Object exports) : arena_(pogo_arena_new()) {
    const PogoIsa* best = pogo_best_of(pogo_isas());
    // Possible only where flags like -march=native let even the scalar kernels use what this machine lacks.
    if (best == nullptr) throw Napi::Error::New(env, "no instruction set runs here: " + pogo_isas().back().reason);
    choose(best);
    DefineAddon(exports, {
                             InstanceMethod<&CpuAddon::Describe>("describe"),
                             InstanceMethod<&CpuAddon::Facts>("facts"),
                             InstanceMethod<&CpuAddon::IsasFor>("isasFor"),
                             InstanceMethod<&CpuAddon::SetIsa>("setIsa"),
                             InstanceMethod<&CpuAddon::ScratchAllocations>("scratchAllocations"),
                             InstanceMethod<&CpuAddon::TilesInUse>("tilesInUse"),
                             InstanceMethod<&CpuAddon::Mode>("floatingPointMode"),
                             InstanceMethod<&CpuAddon::SetMode>("setFloatingPointMode"),
                             InstanceMethod<&CpuAddon::PackedBytes>("packedBytes"),
                             InstanceMethod<&CpuAddon::PackCodes>("packCodes"),
                             InstanceMethod<&CpuAddon::UseOptional>("useOptionalFeatures"),
                             InstanceMethod<&CpuAddon::Embed>("embed"),
                             InstanceMethod<&CpuAddon::NormForward>("normForward"),
                             InstanceMethod<&CpuAddon::NormBackward>("normBackward"),
                             InstanceMethod<&CpuAddon::Gemm>("gemm"),
                             InstanceMethod<&CpuAddon::LinearHeads>("linearHeads"),
                             InstanceMethod<&CpuAddon::LinearResidual>("linearResidual"),
                             InstanceMethod<&CpuAddon::LinearGelu>("linearGelu"),
                             InstanceMethod<&CpuAddon::LinearBf16>("linearBf16"),
                             InstanceMethod<&CpuAddon::QuantizeHeads>("quantizeHeads"),
                             InstanceMethod<&CpuAddon::AddRows>("addRows"),
                             InstanceMethod<&CpuAddon::GeluRows>("geluRows"),
                             InstanceMethod<&CpuAddon::RoundRows>("roundRows"),
                             InstanceMethod<&CpuAddon::GeluGradientRows>("geluGradientRows"),
                             InstanceMethod<&CpuAddon::LinearGeluGradient>("linearGeluGradient"),
                             InstanceMethod<&CpuAddon::AttentionForward>("attentionForward"),
                             InstanceMethod<&CpuAddon::AttentionBackward>("attentionBackward"),
                             InstanceMethod<&CpuAddon::QuantizeRows>("quantizeRows"),
                             InstanceMethod<&CpuAddon::Recode>("recode"),
                             InstanceMethod<&CpuAddon::HeadForward>("headForward"),
                             InstanceMethod<&CpuAddon::HeadInputGradient>("headInputGradient"),
                             InstanceMethod<&CpuAddon::EmbedBackward>("embedBackward"),
                             InstanceMethod<&CpuAddon::UnitLoss>("unitLoss"),
                             InstanceMethod<&CpuAddon::Quantize4>("quantize4"),
                             InstanceMethod<&CpuAddon::Dequantize4>("dequantize4"),
                             InstanceMethod<&CpuAddon::QuantizeWeight>("quantizeWeight"),
                             InstanceMethod<&CpuAddon::CommitLeaves>("commitLeaves"),
                             InstanceMethod<&CpuAddon::CommitTensors>("commitTensors"),
                             InstanceMethod<&CpuAddon::PackModel>("packModel"),
                             InstanceMethod<&CpuAddon::UnpackModel>("unpackModel"),
                             InstanceMethod<&CpuAddon::DiffModel>("diffModel"),
                             InstanceMethod<&CpuAddon::PatchModel>("patchModel"),
                             InstanceMethod<&CpuAddon::GainPlusOne>("gainPlusOne"),
                             InstanceMethod<&CpuAddon::EmbedScaled>("embedScaled"),
                             InstanceMethod<&CpuAddon::NormResidual>("normResidual"),
                             InstanceMethod<&CpuAddon::RotateHeads>("rotateHeads"),
                             InstanceMethod<&CpuAddon::RotateHeadsBackward>("rotateHeadsBackward"),
                             InstanceMethod<&CpuAddon::Geglu>("geglu"),
                             InstanceMethod<&CpuAddon::GegluGradient>("gegluGradient"),
                             InstanceMethod<&CpuAddon::WeightGradient4>("weightGradient4"),
                             InstanceMethod<&CpuAddon::AttentionForwardRows>("attentionForwardRows"),
                             InstanceMethod<&CpuAddon::AttentionBackwardRows>("attentionBackwardRows"),
                         });
  }
  ~CpuAddon() { pogo_arena_delete(arena_); }

 private:
  PogoArena* arena_;
  const PogoKernels* kernels_ = nullptr;
  size_t index_ = 0;

  void choose(const PogoIsa* isa) {
    kernels_ = isa->kernels;
    index_ = static_cast<size_t>(isa - pogo_isas().data());
  }

  /** Runs a kernel in the exact floating-point mode; the scratch is free again however it ends. */
  template <class Kernel>
  Napi::Value run(const Napi::CallbackInfo& info, Kernel kernel) {
    struct Reset {
      PogoArena* arena;
      ~Reset() { pogo_arena_reset(arena); }
    };
    PogoResult bad = nullptr;
    try {
      Reset reset{arena_};
      PogoFpMode mode;
      bad = kernel(*kernels_, arena_);
    } catch (const std::bad_alloc&) {
      throw Napi::Error::New(info.Env(), "out of memory for scratch");
    }
    g_calls[index_].fetch_add(1, std::memory_order_relaxed);
    if (bad != nullptr) {
      Napi::Error error = Napi::Error::New(info.Env(), bad);
      error.Set("code", Napi::String::New(info.Env(), "NON_FINITE"));
      throw error;
    }
    return info.Env().Undefined();
  }

  static Napi::Array names(Napi::Env env, uint32_t features) {
    Napi::Array out = Napi::Array::New(env);
    uint32_t at = 0;
    for (const std::string& name : pogo_feature_names(features)) out.Set(at++, name);
    return out;
  }

  static Napi::Object entry(Napi::Env env, const PogoIsa& isa) {
    Napi::Object out = Napi::Object::New(env);
    out.Set("built", isa.kernels != nullptr);
    out.Set("machine", isa.machine);
    out.Set("reason", isa.reason);
    return out;
  }

  /** scratchAllocations(): how often this environment's scratch grew; still in a steady state. */
  Napi::Value ScratchAllocations(const Napi::CallbackInfo& info) {
    return Napi::Number::New(info.Env(), static_cast<double>(pogo_arena_allocations(arena_)));
  }

  Napi::Value Describe(const Napi::CallbackInfo& info) {
    Napi::Env env = info.Env();
    Napi::Object out = Napi::Object::New(env), isas = Napi::Object::New(env);
    for (size_t i = 0; i < pogo_isas().size(); i++) {
      Napi::Object set = entry(env, pogo_isas()[i]);
      set.Set("calls", static_cast<double>(g_calls[i].load(std::memory_order_relaxed)));
      isas.Set(pogo_isas()[i].name, set);
    }
    out.Set("isa", kernels_->name);
    out.Set("isas", isas);
    out.Set("features", names(env, pogo_features(pogo_machine())));
    return out;
  }

  /** The words that this machine's choice rests on. */
  Napi::Value Facts(const Napi::CallbackInfo& info) {
    Napi::Object out = Napi::Object::New(info.Env());
    const PogoFacts& facts = pogo_machine();
#define POGO_SET(name) out.Set(#name, static_cast<double>(facts.name));
    POGO_FACTS(POGO_SET)
#undef POGO_SET
    return out;
  }

  /** What would be chosen on a machine of these facts. Evaluates the rule; the choice of this process stays. */
  Napi::Value IsasFor(const Napi::CallbackInfo& info) {
    Napi::Env env = info.Env();
    if (!info[0].IsObject()) throw Napi::TypeError::New(env, "expected an object of facts");
    Napi::Object in = info[0].As<Napi::Object>(), out = Napi::Object::New(env), isas = Napi::Object::New(env);
    PogoFacts facts;
#define POGO_GET(name)                                                                           \
  {                                                                                              \
    Napi::Value value = in.Get(#name);                                                           \
    if (!value.IsNumber()) throw Napi::TypeError::New(env, "expected a number in facts." #name); \
    facts.name = value.As<Napi::Number>().Uint32Value();                                         \
  }
    POGO_FACTS(POGO_GET)
#undef POGO_GET
    const std::vector<PogoIsa> sets = pogo_isas_for(facts);
    for (const PogoIsa& isa : sets) isas.Set(isa.name, entry(env, isa));
    const PogoIsa* best = pogo_best_of(sets);
    out.Set("isa", best ? best->name : "");
    out.Set("isas", isas);
    out.Set("features", names(env, pogo_features(facts)));
    return out;
  }

  /** 'auto' or a name; throws where the build or the machine lacks it. Returns the name chosen. */
  Napi::Value SetIsa(const Napi::CallbackInfo& info) {
    std::string name = info[0].IsString() ? info[0].As<Napi::String>().Utf8Value() : "";
    const PogoIsa* isa = name == "auto" ? pogo_best_of(pogo_isas()) : pogo_isa(name);
    if (isa == nullptr) throw Napi::Error::New(info.Env(), "unknown instruction set '" + name + "'");
    if (!isa->reason.empty()) throw Napi::Error::New(info.Env(), isa->reason);
    choose(isa);
    return Napi::String::New(info.Env(), isa->name);
  }

  // For tests: no operation may leave tiles in use on the thread that JavaScript goes on with.
  Napi::Value TilesInUse(const Napi::CallbackInfo& info) {
    return Napi::Boolean::New(info.Env(), pogo_tiles_in_use());
  }

  // For tests: the host's own mode, which every operation must put back.
  Napi::Value Mode(const Napi::CallbackInfo& info) {
#if defined(POGO_HAS_FP_CONTROL)
    return Napi::Number::New(info.Env(), static_cast<double>(pogo_fp_control()));
#else
    return info.Env().Undefined();
#endif
  }
  Napi::Value SetMode(const Napi::CallbackInfo& info) {
#if defined(POGO_HAS_FP_CONTROL)
    pogo_set_fp_control(info[0].As<Napi::Number>().Uint32Value());
#endif
    return info.Env().Undefined();
  }

  // For tests: whether kernels may use what this machine has beyond their set's needs.
  Napi::Value UseOptional(const Napi::CallbackInfo& info) {
    const bool use = info[0].IsBoolean() && info[0].As<Napi::Boolean>().Value();
    pogo_optional_features = use ? pogo_features(pogo_machine()) : 0;
    return info.Env().Undefined();
  }

  static PogoCodes codes(Arguments& a, int64_t rows, int64_t cols) {
    const int8_t* c = a.i8(rows * cols);
    return {c, a.f32(panels(cols) * rows), nullptr};
  }
  /** A weight: codes and scales, and their packed form or an empty array. */
  PogoCodes weight(Arguments& a, int64_t rows, int64_t cols) {
    PogoCodes w = codes(a, rows, cols);
    w.packed = packed(a, a.u8_or_null(kernels_->packed_bytes(rows, cols)));
    return w;
  }
  /** Packed forms hold words of up to 32 bits, which compilers may take as aligned. */
  static uint8_t* packed(Arguments& a, uint8_t* bytes) {
    if (reinterpret_cast<uintptr_t>(bytes) % 4 != 0) a.fail("a packed form that begins at a multiple of 4 bytes");
    return bytes;
  }
  /** Widths of everything but plain products are multiples of 64. */
  static int64_t width(Arguments& a) {
    int64_t v = a.count();
    a.multiple(v, 64);
    return v;
  }
  /** A seed, or null for an empty array. */
  static const uint32_t* seed(Arguments& a) {
    const uint32_t* s = a.u32(0);
    if (a.last_length() == 0) return nullptr;
    if (a.last_length() < 4) a.fail("a seed of 4 words");
    return s;
  }

#include "bindings.inc"
};

}  // namespace

NODE_API_ADDON(CpuAddon)
