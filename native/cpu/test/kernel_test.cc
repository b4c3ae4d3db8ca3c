// Runs the whole native side of native/cpu (addon.cc, bindings, dispatch, kernels of every instruction set of this
// machine) without Node against a file of cases that the TypeScript reference has answered:
//   kernel_test FILE [--flip]      with --flip one bit of the first answer is changed, which must be noticed
// Every array is an allocation of its own and starts one element off the allocator's alignment, so that
// AddressSanitizer sees the first byte read or written beyond it. Exit code 0 all bits equal, 1 some differ, 2 the run
// is impossible.
#include <napi.h>
#include <stdio.h>
#include <string.h>

#include <memory>
#include <string>
#include <vector>

#include "case_file.h"

std::unique_ptr<Napi::AddonBase> pogo_new_addon();

namespace {

// All masked, round toward zero, subnormals flushed: what a host may have left behind.
#if defined(__aarch64__)
const double kForeignMode = 0x3C00000;  // FPCR: DN, FZ, RMode = 3
#else
const double kForeignMode = 0x1F80 | 0x6000 | 0x8000 | 0x40;  // MXCSR: RC = 3, FTZ, DAZ
#endif
const uint32_t kModeMask = ~0x3Fu;  // MXCSR's low six bits are status flags

/** The bytes of one array in memory of its own, shifted by one element. */
class Block {
 public:
  explicit Block(const TestTensor& tensor)
      : shift_(tensor.alignment ? tensor.alignment : element_bytes(tensor.type)),
        base_(new uint8_t[tensor.before.size() + shift_]) {
    if (!tensor.before.empty()) memcpy(data(), tensor.before.data(), tensor.before.size());
  }
  uint8_t* data() { return base_.get() + shift_; }

 private:
  size_t shift_;
  std::unique_ptr<uint8_t[]> base_;
};

PogoNode* typed_array(const TestTensor& tensor, Block* block) {
  PogoNode* node = pogo_value(PogoNode::TYPED_ARRAY);
  node->type = static_cast<napi_typedarray_type>(tensor.type);
  node->count = tensor.count;
  node->data = block->data();
  return node;
}

PogoNode* argument(const TestArgument& a, const TestCase& test, std::vector<Block>& blocks) {
  switch (a.kind) {
    case TestArgument::NUMBER: return Napi::Number::New(Napi::Env(), a.number);
    case TestArgument::BOOLEAN: return Napi::Boolean::New(Napi::Env(), a.number != 0);
    case TestArgument::TENSOR: return typed_array(test.tensors[a.tensors[0]], &blocks[a.tensors[0]]);
    case TestArgument::LIST: break;
  }
  Napi::Array list = Napi::Array::New(Napi::Env());
  uint32_t at = 0;
  for (uint32_t index : a.tensors) list.Set(at++, Napi::Value(typed_array(test.tensors[index], &blocks[index])));
  return list;
}

/** The packed form of a weight has another length under every set: the array becomes as long as this one needs. */
void fit_packed(Napi::AddonBase* addon, TestCase* test) {
  for (const TestCall& call : test->calls) {
    if (call.method != "packCodes") continue;
    std::vector<PogoNode*> shape = {Napi::Number::New(Napi::Env(), call.arguments[0].number),
                                    Napi::Number::New(Napi::Env(), call.arguments[1].number)};
    double bytes = addon->call("packedBytes", shape).As<Napi::Number>().DoubleValue();
    TestTensor& packed = test->tensors[call.arguments[3].tensors[0]];
    packed.count = static_cast<uint64_t>(bytes);
    packed.alignment = 4;
    packed.before.assign(packed.count, 0xA5);
  }
}

/** What went wrong, or an empty text. */
std::string outcome(Napi::AddonBase* addon, TestCase& test) {
  fit_packed(addon, &test);
  std::vector<Block> blocks;
  blocks.reserve(test.tensors.size());
  for (const TestTensor& tensor : test.tensors) blocks.emplace_back(tensor);
  std::string error;
  try {
    for (const TestCall& call : test.calls) {
      std::vector<PogoNode*> arguments;
      for (const TestArgument& a : call.arguments) arguments.push_back(argument(a, test, blocks));
      addon->call(call.method, arguments);
    }
  } catch (const Napi::Error& e) {
    error = e.Get("code").empty() ? e.Message() : e.Get("code");
  }
  if (error != test.error)
    return "expected " + (test.error.empty() ? "no error" : test.error) + ", found '" + error + "'";
  if (!error.empty()) return "";
  for (size_t i = 0; i < test.tensors.size(); i++) {
    const TestTensor& tensor = test.tensors[i];
    if (!tensor.compared) continue;
    const uint8_t* found = blocks[i].data();
    for (size_t at = 0; at < tensor.after.size(); at++) {
      if (found[at] == tensor.after[at]) continue;
      size_t size = element_bytes(tensor.type), element = at / size;
      uint32_t want = 0, have = 0;
      memcpy(&want, tensor.after.data() + element * size, size);
      memcpy(&have, found + element * size, size);
      char text[96];
      snprintf(text, sizeof text, "array %zu, element %zu: expected bits %X, found %X", i, element, want, have);
      return text;
    }
  }
  return "";
}

struct Tally {
  size_t cases = 0, failed = 0;
};

void check(Napi::AddonBase* addon, const std::string& label, TestCase& test, Tally* tally) {
  std::string wrong = outcome(addon, test);
  tally->cases += 1;
  if (wrong.empty()) return;
  tally->failed += 1;
  if (tally->failed <= 10) printf("FAILED %s: %s: %s\n", label.c_str(), test.name.c_str(), wrong.c_str());
}

/** 1 / 3, at run time: its last bit tells how the machine rounds. */
float third() {
  volatile float one = 1.0f, three = 3.0f;
  return one / three;
}

std::vector<std::string> sets_of(Napi::AddonBase* addon) {
  std::vector<std::string> names;
  Napi::Value described = addon->call("describe");
  PogoNode* isas = static_cast<napi_value>(described.As<Napi::Object>().Get("isas"));
  for (const auto& entry : isas->fields) {
    Napi::Object set(entry.second);
    if (set.Get("built").As<Napi::Boolean>().Value() && set.Get("machine").As<Napi::Boolean>().Value()) {
      names.push_back(entry.first);
    }
  }
  return names;
}

}  // namespace

int main(int argc, char** argv) {
  const bool flip = argc == 3 && strcmp(argv[2], "--flip") == 0;
  if (argc != 2 && !flip) {
    fprintf(stderr, "kernel_test FILE [--flip]\n");
    return 2;
  }
  std::unique_ptr<Napi::AddonBase> addon = pogo_new_addon();
  std::vector<std::string> sets = sets_of(addon.get());
  std::vector<Tally> tally(sets.size()), foreign(sets.size());
  const float exact_third = third();
  const double host_mode = addon->call("floatingPointMode").As<Napi::Number>().DoubleValue();
  bool mode_kept = true, mode_matters = false;
  CaseReader reader(argv[1]);
  TestCase test;
  while (reader.next(&test)) {
    if (flip) {
      // The last array of the first case is an output.
      if (test.tensors.empty() || test.tensors.back().after.empty()) return 2;
      test.tensors.back().after.back() ^= 1;
    }
    for (size_t i = 0; i < sets.size(); i++) {
      addon->call("setIsa", {Napi::String::New(Napi::Env(), sets[i])});
      check(addon.get(), sets[i], test, &tally[i]);
      if (test.group == "vector") {
        // Also without what kernels use where the machine has more than their set needs.
        addon->call("useOptionalFeatures", {Napi::Boolean::New(Napi::Env(), false)});
        addon->call("setFloatingPointMode", {Napi::Number::New(Napi::Env(), kForeignMode)});
        check(addon.get(), sets[i] + " under a foreign mode", test, &foreign[i]);
        mode_matters = third() != exact_third;
        uint32_t after = addon->call("floatingPointMode").As<Napi::Number>().Uint32Value();
        mode_kept = mode_kept && (after & kModeMask) == ((uint32_t)kForeignMode & kModeMask);
        addon->call("setFloatingPointMode", {Napi::Number::New(Napi::Env(), host_mode)});
        addon->call("useOptionalFeatures", {Napi::Boolean::New(Napi::Env(), true)});
      }
    }
    pogo_release_values();
    if (flip) break;
  }
  size_t failed = 0;
  for (size_t i = 0; i < sets.size(); i++) {
    failed += tally[i].failed + foreign[i].failed;
    printf("%s: %zu cases, %zu differ; %zu under a foreign floating-point mode, %zu differ\n", sets[i].c_str(),
           tally[i].cases, tally[i].failed, foreign[i].cases, foreign[i].failed);
    if (tally[i].cases == 0) failed += 1;
  }
  if (!mode_kept) printf("FAILED: an operation did not put the host's floating-point mode back\n");
  if (!mode_matters) printf("FAILED: the foreign floating-point mode was not in force\n");
  return failed == 0 && mode_kept && mode_matters ? 0 : 1;
}
