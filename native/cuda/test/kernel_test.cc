// Compares every operation of ops.h, bit for bit, with the known-answer vectors and, on random odd shapes, with the scalar CPU
// kernels (which equal the TypeScript reference by their own tests). No Node needed.
//   kernel_test [--only OPERATION] [--seed N] [--cases N] [--large] [--time] [--profile] [--json FILE] [--vectors FOLDER]
//               [--require-all]
//     --large  also shapes of many blocks; --time  also times each operation at shapes of gpt2-124m, against a copy and
//     tensor-core instructions measured in the same run; --json  a report; --profile  times, and calls the first shape once more
//     between cudaProfilerStart and cudaProfilerStop: ncu --profile-from-start off kernel_test --profile --cases 0 --only OPERATION
// Built by nvcc it runs on a GPU; built by the C++ compiler the same kernels run on the device model.
// Exit code 0 passed, 1 failed, 2 wrong use, 77 no device (nothing was tested).
#include <stdio.h>
#include <stdlib.h>

#include <memory>

#include "../../cpu/arena.h"
#include "../blake3_compress.h"
#include "../device.h"
#include "operations.h"
#include "timing.h"

#if !defined(POGO_VECTOR_FOLDER)
#define POGO_VECTOR_FOLDER "test/vectors"
#endif

namespace test {
namespace {

struct Options {
  std::string only;
  std::string vectors = POGO_VECTOR_FOLDER;
  uint32_t seed = 1;
  uint32_t cases = 18;
  bool large = false, require_all = false, timed = false, profiled = false;
  std::string json;
};

int passed = 0, failed = 0;

/** What a report says of one operation. */
struct Row {
  std::string operation;
  int passed = 0, failed = 0;
  /** One for each of its shapes. */
  std::vector<Timing> timings;
};

void expect(bool holds, const std::string& what) {
  if (holds) {
    passed += 1;
    return;
  }
  failed += 1;
  printf("FAILED %s\n", what.c_str());
}

#if !defined(POGO_CUDA_MODEL)
// Of cuda_profiler_api.h, which NVIDIA ships in a package of its own.
extern "C" cudaError_t cudaProfilerStart();
extern "C" cudaError_t cudaProfilerStop();
#endif

void need(cudaError_t error, const char* what) {
  if (error == cudaSuccess) return;
  fprintf(stderr, "kernel_test: %s: CUDA error %d, %s\n", what, (int)error, cudaGetErrorString(error));
  exit(1);
}

// A byte that no kernel leaves untouched by accident: nothing around an array may change.
constexpr int GUARD = 0xA7;
#if defined(POGO_CUDA_MODEL) && defined(__SANITIZE_ADDRESS__)
// Arrays end where their allocation ends: the sanitizer sees reads beyond, too.
constexpr size_t GUARD_BYTES = 0;
#else
constexpr size_t GUARD_BYTES = 256;
#endif

/** A copy of an array on the device, between two guards. */
class DeviceArray {
 public:
  explicit DeviceArray(const std::vector<uint8_t>& bytes) : bytes_(bytes.size()) {
    need(memory_.allocate(bytes_ + 2 * GUARD_BYTES), "cudaMalloc");
    if (GUARD_BYTES > 0) {
      need(cudaMemset(memory_.as<uint8_t>(), GUARD, GUARD_BYTES), "cudaMemset");
      need(cudaMemset(data() + bytes_, GUARD, GUARD_BYTES), "cudaMemset");
    }
    if (bytes_ > 0) need(cudaMemcpy(data(), bytes.data(), bytes_, cudaMemcpyHostToDevice), "cudaMemcpy");
  }
  uint8_t* data() const { return memory_.as<uint8_t>() + GUARD_BYTES; }

  std::vector<uint8_t> read() const {
    std::vector<uint8_t> out(bytes_);
    if (bytes_ > 0) need(cudaMemcpy(out.data(), data(), bytes_, cudaMemcpyDeviceToHost), "cudaMemcpy");
    return out;
  }
  bool guards_are_whole() const {
    if (GUARD_BYTES == 0) return true;
    std::vector<uint8_t> around(2 * GUARD_BYTES);
    need(cudaMemcpy(around.data(), memory_.as<uint8_t>(), GUARD_BYTES, cudaMemcpyDeviceToHost), "cudaMemcpy");
    need(cudaMemcpy(around.data() + GUARD_BYTES, data() + bytes_, GUARD_BYTES, cudaMemcpyDeviceToHost), "cudaMemcpy");
    for (uint8_t byte : around) {
      if (byte != GUARD) return false;
    }
    return true;
  }

 private:
  pogo::DeviceMemory memory_;
  size_t bytes_;
};

void put(std::vector<uint8_t>* args, const Field& field, const Value& value) {
  uint8_t* place = args->data() + field.offset;
  uint32_t u32 = (uint32_t)value.number;
  uint64_t u64 = (uint64_t)value.number;
  switch (field.slot) {
    case Slot::U32: memcpy(place, &u32, 4); break;
    case Slot::U64: memcpy(place, &u64, 8); break;
    case Slot::FLAG: memcpy(place, &value.flag, 1); break;
    case Slot::REAL: memcpy(place, &value.real, 4); break;
    default: break;
  }
}

void put_pointer(std::vector<uint8_t>* args, const Field& field, const void* pointer) {
  memcpy(args->data() + field.offset, &pointer, sizeof pointer);
}

const Value& argument(const Case& one, const Field& field) {
  auto found = one.args.find(field.name);
  if (found == one.args.end()) {
    fprintf(stderr, "kernel_test: %s, %s: no argument %s\n", one.operation.c_str(), one.name.c_str(), field.name);
    exit(2);
  }
  return found->second;
}

struct Outcome {
  /** Every array after the call; `intact`: nothing else was written. */
  std::map<std::string, std::vector<uint8_t>> arrays;
  bool intact = true;
  std::string problem;
  unsigned long long failure = pogo::NO_FAILURE;
};

constexpr uint32_t ENTRY = 5;

/** A case's arrays on the device, and the call. */
class DeviceCall {
 public:
  DeviceCall(const Operation& operation, const Case& one, const pogo::DeviceTraits& traits)
      : operation_(operation), args_(operation.bytes) {
    for (const Field& field : operation.fields) {
      const Value& value = argument(one, field);
      if (field.slot == Slot::POINTER) {
        if (value.array.count == 0) continue;
        arrays_[field.name].reset(new DeviceArray(value.array.bytes));
        put_pointer(&args_, field, arrays_[field.name]->data());
      } else if (field.slot == Slot::LIST) {
        std::vector<const uint8_t*> pointers;
        for (const Array& array : value.list) {
          lists_.emplace_back(new DeviceArray(array.bytes));
          pointers.push_back(lists_.back()->data());
        }
        const uint8_t* begin = reinterpret_cast<const uint8_t*>(pointers.data());
        lists_.emplace_back(new DeviceArray(std::vector<uint8_t>(begin, begin + sizeof(void*) * pointers.size())));
        put_pointer(&args_, field, lists_.back()->data());
      } else {
        put(&args_, field, value);
      }
    }
    need(failure_.allocate(8), "cudaMalloc");
    need(cudaMemset(failure_.as<void>(), 0xFF, 8), "cudaMemset");
    launch_.device = &traits;
    launch_.failure = failure_.as<unsigned long long>();
    launch_.entry = ENTRY;
    if (operation.workspace == nullptr) return;
    launch_.workspace.bytes = operation.workspace(args_.data(), traits);
    need(workspace_.allocate(launch_.workspace.bytes), "cudaMalloc of the workspace");
    launch_.workspace.data = workspace_.as<void>();
    // What an earlier call left there must not matter.
    need(cudaMemset(launch_.workspace.data, 0xFF, launch_.workspace.bytes), "cudaMemset");
  }

  pogo::Status launch() const { return operation_.launch(args_.data(), launch_); }
  unsigned long long failure() const {
    unsigned long long word = 0;
    need(cudaMemcpy(&word, failure_.as<void>(), 8, cudaMemcpyDeviceToHost), "cudaMemcpy");
    return word;
  }
  const std::map<std::string, std::unique_ptr<DeviceArray>>& arrays() const { return arrays_; }

 private:
  const Operation& operation_;
  std::vector<uint8_t> args_;
  std::map<std::string, std::unique_ptr<DeviceArray>> arrays_;
  std::vector<std::unique_ptr<DeviceArray>> lists_;
  pogo::DeviceMemory failure_, workspace_;
  pogo::Launch launch_;
};

/** The operation on the device. */
Outcome on_device(const Operation& operation, const Case& one, const pogo::DeviceTraits& traits) {
  Outcome outcome;
  DeviceCall call(operation, one, traits);
  pogo::Status status = call.launch();
  cudaError_t after = cudaDeviceSynchronize();
  if (!status.ok()) {
    outcome.problem = std::string(status.where) + ": " + status.message;
    cudaGetLastError();
    return outcome;
  }
  need(after, operation.name);
  outcome.failure = call.failure();
  for (const auto& entry : call.arrays()) {
    outcome.intact = outcome.intact && entry.second->guards_are_whole();
    outcome.arrays[entry.first] = entry.second->read();
    const Array& before = one.args.at(entry.first).array;
    if (!before.out) outcome.intact = outcome.intact && outcome.arrays[entry.first] == before.bytes;
  }
  return outcome;
}

/** The scalar kernel on copies of the same arrays. */
Outcome on_host(const Operation& operation, const Case& one, PogoArena* arena) {
  Outcome outcome;
  std::vector<uint8_t> args(operation.bytes);
  std::vector<std::vector<const void*>> lists;
  lists.reserve(operation.fields.size());
  for (const Field& field : operation.fields) {
    const Value& value = argument(one, field);
    if (field.slot == Slot::POINTER) {
      if (value.array.count == 0) continue;
      std::vector<uint8_t>& bytes = outcome.arrays[field.name];
      bytes = value.array.bytes;
      put_pointer(&args, field, bytes.data());
    } else if (field.slot == Slot::LIST) {
      lists.emplace_back();
      for (const Array& array : value.list) lists.back().push_back(array.bytes.data());
      put_pointer(&args, field, lists.back().data());
    } else {
      put(&args, field, value);
    }
  }
  const char* problem = operation.oracle(args.data(), arena);
  pogo_arena_reset(arena);
  if (problem != nullptr) outcome.problem = problem;
  return outcome;
}

size_t first_difference(const std::vector<uint8_t>& a, const std::vector<uint8_t>& b) {
  size_t i = 0;
  while (i < a.size() && i < b.size() && a[i] == b[i]) i += 1;
  return i;
}

void check(const Operation& operation, Case one, const pogo::DeviceTraits& traits, PogoArena* arena) {
  operation.complete(one);
  const std::string name = std::string(operation.name) + ": " + one.name;
  Outcome device = on_device(operation, one, traits);
  if (!device.problem.empty()) return expect(false, name + ": " + device.problem);
  Outcome host = on_host(operation, one, arena);
  bool vector = !one.answers.empty() || !one.throws.empty();
  bool refused = vector ? !one.throws.empty() : !host.problem.empty();
  std::string problem;
  if (refused != (device.failure != pogo::NO_FAILURE)) {
    problem = refused ? "expected a failure" : "expected no failure, found kind " +
                                                   std::to_string(pogo::failure_kind(device.failure)) + " at " +
                                                   std::to_string(pogo::failure_index(device.failure));
  } else if (refused && pogo::failure_entry(device.failure) != ENTRY) {
    problem = "the failure names another entry";
  } else if (!device.intact) {
    problem = "something beside the outputs was written";
  }
  for (const auto& entry : one.answers) {
    const std::vector<uint8_t>& found = device.arrays[entry.first];
    if (problem.empty() && (found.size() != entry.second.bytes || digest(found.data(), found.size()) != entry.second.blake3)) {
      problem = entry.first + " differs from the vector";
    }
  }
  if (!refused || operation.written_on_failure) {
    for (const auto& entry : host.arrays) {
      if (!one.args.at(entry.first).array.out || !problem.empty()) continue;
      const std::vector<uint8_t>& found = device.arrays[entry.first];
      if (found == entry.second) continue;
      size_t at = first_difference(found, entry.second), size = size_of(one.args.at(entry.first).array.type);
      problem = entry.first + " differs from element " + std::to_string(at / size) + " of " +
                std::to_string(entry.second.size() / size) + " on";
    }
  }
  std::string shape;
  for (const Field& field : operation.fields) {
    if (field.slot == Slot::U32 || field.slot == Slot::U64) {
      shape += std::string(" ") + field.name + "=" + std::to_string((uint64_t)one.number(field.name));
    } else if (field.slot == Slot::FLAG) {
      shape += std::string(" ") + field.name + "=" + (one.args.at(field.name).flag ? "1" : "0");
    }
  }
  expect(problem.empty(), name + ": " + problem + " (" + shape.substr(shape.empty() ? 0 : 1) + ")");
}

/** The scalar kernels, which are to judge random cases, give the vectors' answers themselves. */
void check_oracle(const Operation& operation, Case one, PogoArena* arena) {
  operation.complete(one);
  Outcome host = on_host(operation, one, arena);
  bool right = host.problem.empty() == one.throws.empty();
  for (const auto& entry : one.answers) {
    const std::vector<uint8_t>& found = host.arrays[entry.first];
    right = right && digest(found.data(), found.size()) == entry.second.blake3;
  }
  expect(right, std::string("scalar ") + operation.name + ": " + one.name);
}

uint32_t cases_of(const std::string& name, const Options& options) {
  // The slow ones for the scalar kernels and the device model.
  bool slow = name == "attentionBackward" || name == "attentionForward";
  return slow ? (options.cases + 2) / 3 : options.cases;
}

/** The tree of ops.h, leaf by leaf and level by level. */
std::vector<uint8_t> tree_of(const std::vector<uint8_t>& bytes, uint64_t first_leaf) {
  size_t leaves = (bytes.size() + POGO_BLAKE3_CHUNK - 1) / POGO_BLAKE3_CHUNK;
  std::vector<uint32_t> words(8 * pogo::blake3_tree_values(leaves));
  for (size_t leaf = 0; leaf < leaves; leaf += 1) {
    size_t start = leaf * POGO_BLAKE3_CHUNK, left = bytes.size() - start;
    uint32_t size = left < POGO_BLAKE3_CHUNK ? (uint32_t)left : POGO_BLAKE3_CHUNK;
    pogo_blake3_chunk(bytes.data() + start, size, first_leaf + leaf, false, &words[8 * leaf]);
  }
  uint32_t* level = words.data();
  uint32_t* hash = &words[words.size() - 8];
  if (leaves == 1) pogo_blake3_chunk(bytes.data(), (uint32_t)bytes.size(), first_leaf, true, hash);
  for (size_t count = leaves; count > 1; count = (count + 1) / 2) {
    uint32_t* next = level + 8 * count;
    for (size_t i = 0; 2 * i + 1 < count; i += 1) pogo_blake3_parent(level + 16 * i, false, next + 8 * i);
    if (count % 2 == 1) memcpy(next + 8 * (count / 2), level + 8 * (count - 1), 32);
    if (count == 2) pogo_blake3_parent(level, true, hash);
    level = next;
  }
  const uint8_t* begin = reinterpret_cast<const uint8_t*>(words.data());
  return std::vector<uint8_t>(begin, begin + 4 * words.size());
}

/** Trees of several segments at once, every value; from leaf 0 on the last one is BLAKE3 of the bytes. */
void check_blake3(const pogo::DeviceTraits& traits, uint32_t seed, bool large) {
  std::vector<size_t> lengths = {1,    63,   64,    65,    1023,  1024,   1025,        2048,
                                 2049, 3073, 31744, 32769, 65536, 131072, 131072 + 1, 200001};
  // Three launches of seven levels, and an odd value that moves up through all of them.
  if (large) lengths.push_back((size_t)16385 * 1024 + 5);
  std::vector<std::unique_ptr<DeviceArray>> inputs, trees;
  std::vector<pogo::Blake3Segment> segments;
  std::vector<std::vector<uint8_t>> contents;
  pogo::Blake3TreesArgs args = {nullptr, 0, 0, 0};
  for (size_t length : lengths) {
    std::vector<uint8_t> bytes(length);
    // Period 251: swapped blocks or leaves cannot cancel.
    for (size_t i = 0; i < length; i += 1) bytes[i] = (uint8_t)((i + seed) % 251);
    size_t leaves = (length + 1023) / 1024;
    uint64_t first_leaf = args.count % 3 == 2 ? (uint64_t)1 << (30 + args.count) : 0;
    inputs.emplace_back(new DeviceArray(bytes));
    trees.emplace_back(new DeviceArray(std::vector<uint8_t>(32 * pogo::blake3_tree_values(leaves))));
    segments.push_back({inputs.back()->data(), trees.back()->data(), length, first_leaf});
    contents.push_back(std::move(bytes));
    args.count += 1;
    args.mostLeaves = leaves > args.mostLeaves ? leaves : args.mostLeaves;
    args.allLeaves += leaves;
  }
  const uint8_t* begin = reinterpret_cast<const uint8_t*>(segments.data());
  DeviceArray table(std::vector<uint8_t>(begin, begin + segments.size() * sizeof(pogo::Blake3Segment)));
  args.segments = reinterpret_cast<const pogo::Blake3Segment*>(table.data());
  pogo::Launch launch;
  launch.device = &traits;
  pogo::Status status = pogo::blake3_trees(args, launch);
  expect(status.ok(), std::string("blake3Trees: ") + status.where + ": " + status.message);
  need(cudaDeviceSynchronize(), "blake3Trees");
  for (size_t i = 0; i < segments.size(); i += 1) {
    std::vector<uint8_t> expected = tree_of(contents[i], segments[i].firstLeaf);
    if (segments[i].firstLeaf == 0) {
      std::string hash = hexadecimal(expected.data() + expected.size() - 32);
      expect(hash == digest(contents[i].data(), contents[i].size()), "blake3Trees: the test's own tree");
    }
    std::string name = "blake3Trees: " + std::to_string(lengths[i]) + " bytes";
    expect(trees[i]->read() == expected, name);
    expect(trees[i]->guards_are_whole() && inputs[i]->read() == contents[i], name + ": nothing else is written");
  }
}

/** One call that a profiler sees, and nothing around it. */
void profile_call(const DeviceCall& call) {
#if !defined(POGO_CUDA_MODEL)
  need(cudaProfilerStart(), "cudaProfilerStart");
  call.launch();
  need(cudaDeviceSynchronize(), "a profiled call");
  need(cudaProfilerStop(), "cudaProfilerStop");
#endif
}

/** Times one operation at one of its shapes of gpt2-124m. */
Timing time_operation(const Operation& operation, Case one, const Ceilings& ceilings, const pogo::DeviceTraits& traits,
                      bool profiled) {
  operation.complete(one);
  DeviceCall call(operation, one, traits);
  Timing timing;
  timing.operation = operation.name;
  timing.shape = one.name;
  timing.work = work_of(one);
  if (timing.operation == "diffModel") {
    // What the chunks need, not the room for them.
    call.launch();
    std::vector<uint8_t> end = call.arrays().at("end")->read();
    uint32_t length = 0;
    memcpy(&length, end.data(), 4);
    timing.work.bytes += (double)length - (double)one.array("out").bytes.size();
  }
  const auto seconds_of = [&](const DeviceCall& timed) {
    const double seconds = time_calls(
        [&]() {
          pogo::Status status = timed.launch();
          if (!status.ok()) need((cudaError_t)status.code, status.where);
        },
        traits);
    if (profiled) profile_call(timed);
    return seconds;
  };
  double seconds = 0;
  if (has_two_forms(operation.name, traits)) {
    pogo::DeviceTraits forced = traits;
    const auto seconds_on = [&](pogo::Products products) {
      forced.products = products;
      return seconds_of(DeviceCall(operation, one, forced));
    };
    timing.forms.cluster = 1e3 * seconds_on(pogo::Products::CLUSTER);
    timing.forms.pingpong = 1e3 * seconds_on(pogo::Products::PINGPONG);
    seconds = std::min(timing.forms.cluster, timing.forms.pingpong) / 1e3;
    printf("  %s: a block a tile %.3f ms, persistent %.3f ms\n", operation.name, timing.forms.cluster, timing.forms.pingpong);
  } else {
    seconds = seconds_of(call);
  }
  if (call.failure() != pogo::NO_FAILURE) expect(false, std::string(operation.name) + ": a failure while it was timed");
  timing.milliseconds = seconds * 1e3;
  double least_memory = timing.work.bytes / ceilings.copy_bytes_per_second;
  double least_products = timing.work.operations / ceilings.operations_per_second();
  timing.ratio = (least_products > least_memory ? least_products : least_memory) / seconds;
  printf("  %s: %.3f ms, %.0f GB/s, %.1f TOP/s, %.0f %% of the ceiling (%s)\n", operation.name, timing.milliseconds,
         timing.work.bytes / seconds / 1e9, timing.work.operations / seconds / 1e12, 100 * timing.ratio,
         timing.shape.c_str());
  return timing;
}

/** BLAKE3 of one segment that does not fit the L2 cache. */
void time_blake3(const Ceilings& ceilings, const pogo::DeviceTraits& traits, Row* row) {
#if defined(POGO_CUDA_MODEL)
  constexpr uint64_t BYTES = (uint64_t)1 << 20;
#else
  constexpr uint64_t BYTES = (uint64_t)256 << 20;
#endif
  pogo::DeviceMemory bytes, tree, table;
  need(bytes.allocate(BYTES), "cudaMalloc");
  need(cudaMemset(bytes.as<void>(), 0x5A, BYTES), "cudaMemset");
  need(tree.allocate(32 * pogo::blake3_tree_values(BYTES / 1024)), "cudaMalloc");
  need(table.allocate(sizeof(pogo::Blake3Segment)), "cudaMalloc");
  pogo::Blake3Segment segment = {bytes.as<uint8_t>(), tree.as<uint8_t>(), BYTES, 0};
  need(cudaMemcpy(table.as<void>(), &segment, sizeof segment, cudaMemcpyHostToDevice), "cudaMemcpy");
  pogo::Blake3TreesArgs args = {table.as<pogo::Blake3Segment>(), 1, BYTES / 1024, BYTES / 1024};
  pogo::Launch launch;
  launch.device = &traits;
  double seconds = time_calls([&]() { need((cudaError_t)pogo::blake3_trees(args, launch).code, "blake3_trees"); }, traits);
  Timing timing;
  timing.operation = row->operation;
  timing.shape = "bytes=" + std::to_string(BYTES);
  timing.milliseconds = seconds * 1e3;
  timing.work.bytes = (double)BYTES + 32.0 * (double)pogo::blake3_tree_values(BYTES / 1024);
  timing.ratio = timing.work.bytes / ceilings.copy_bytes_per_second / seconds;
  row->timings.push_back(timing);
  printf("  blake3Trees: %.3f ms, %.0f GB/s of leaves, %.0f %% of the copy\n", timing.milliseconds, BYTES / seconds / 1e9,
         100 * timing.ratio);
}

/** The members of a JSON object that say how long a shape took. */
void write_timing(FILE* file, const Timing& t) {
  fprintf(file, "\"shape\":\"%s\",\"ms\":%.4f,\"GBs\":%.1f,\"TOPs\":%.2f,\"ratio\":%.3f", t.shape.c_str(), t.milliseconds,
          t.work.bytes / t.milliseconds / 1e6, t.work.operations / t.milliseconds / 1e9, t.ratio);
  if (t.forms.cluster > 0) {
    fprintf(file, ",\"forms\":{\"cluster\":%.4f,\"pingpong\":%.4f}", t.forms.cluster, t.forms.pingpong);
  }
}

/**
 * The report as one JSON document. An operation's first shape stands beside its name, others under "more". Names are plain, so
 * nothing needs escaping but the device's.
 */
void write_report(const std::string& path, const pogo::Device& device, const pogo::DeviceInfo& info,
                  const Ceilings& ceilings, const std::vector<Row>& rows) {
  FILE* file = fopen(path.c_str(), "wb");
  if (file == nullptr) {
    fprintf(stderr, "kernel_test: cannot write %s\n", path.c_str());
    exit(1);
  }
  std::string name;
  for (const char* c = device.name; *c != '\0'; c += 1) {
    if (*c >= ' ' && *c != '"' && *c != '\\') name += *c;
  }
  fprintf(file, "{\"schema\":\"pogo-kernel-test/1\",\"device\":\"%s\",\"sm\":%d,\"multiprocessors\":%d,", name.c_str(),
          10 * device.major + device.minor, device.multiprocessors);
  fprintf(file, "\"driver\":%d,\"runtime\":%d,\"passed\":%d,\"failed\":%d,", info.driver, info.runtime, passed, failed);
  fprintf(file, "\"copyGBs\":%.1f,\"mmaTOPs\":%.1f,\"wgmmaTOPs\":%.1f,\"operations\":[",
          ceilings.copy_bytes_per_second / 1e9, ceilings.mma_per_second / 1e12, ceilings.wgmma_per_second / 1e12);
  for (size_t i = 0; i < rows.size(); i += 1) {
    const Row& row = rows[i];
    fprintf(file, "%s\n{\"name\":\"%s\",\"passed\":%d,\"failed\":%d", i == 0 ? "" : ",", row.operation.c_str(), row.passed,
            row.failed);
    if (!row.timings.empty()) {
      fprintf(file, ",");
      write_timing(file, row.timings[0]);
    }
    if (row.timings.size() > 1) {
      fprintf(file, ",\"more\":[");
      for (size_t t = 1; t < row.timings.size(); t += 1) {
        fprintf(file, t == 1 ? "{" : ",{");
        write_timing(file, row.timings[t]);
        fprintf(file, "}");
      }
      fprintf(file, "]");
    }
    fprintf(file, "}");
  }
  fprintf(file, "\n]}\n");
  fclose(file);
}

int run(const Options& options) {
  pogo::DeviceInfo info = pogo::device_info();
  if (info.reason[0] != '\0') {
    printf("kernel_test: nothing tested: %s\n", info.reason);
    return 77;
  }
  pogo::Device device;
  pogo::DeviceTraits traits;
  pogo::Status described = pogo::describe_device(0, &device);
  if (described.ok()) described = pogo::device_traits(0, &traits);
  if (!described.ok()) {
    fprintf(stderr, "kernel_test: %s: %s\n", described.where, described.message);
    return 1;
  }
  printf("kernel_test on %s (sm_%d%d)\n", device.name, device.major, device.minor);
  Ceilings ceilings;
  if (options.timed) {
    ceilings = measure_ceilings(traits);
    printf("ceilings: copy %.0f GB/s, int8 by mma.sync %.0f TOP/s, by wgmma %.0f TOP/s\n",
           ceilings.copy_bytes_per_second / 1e9, ceilings.mma_per_second / 1e12, ceilings.wgmma_per_second / 1e12);
  }
  PogoArena* arena = pogo_arena_new();
  std::string missing;
  std::vector<Row> rows;
  auto begin_row = [&](const char* name) {
    Row row;
    row.operation = name;
    row.passed = passed;
    row.failed = failed;
    return row;
  };
  auto end_row = [&](Row row) {
    row.passed = passed - row.passed;
    row.failed = failed - row.failed;
    printf("%s: %d passed, %d failed\n", row.operation.c_str(), row.passed, row.failed);
    fflush(stdout);
    rows.push_back(row);
  };
  for (const Operation& operation : operations()) {
    if (!options.only.empty() && options.only != operation.name) continue;
    Row row = begin_row(operation.name);
    // weightGradient4 is no operation of the registry and has no vectors of its own.
    std::vector<Case> vectors;
    if (strcmp(operation.name, "weightGradient4") != 0) vectors = read_vectors(options.vectors, operation.name);
    for (const Case& one : vectors) check_oracle(operation, one, arena);
    if (operation.launch == nullptr) {
      missing += std::string(missing.empty() ? "" : ", ") + operation.name;
      continue;
    }
    for (const Case& one : vectors) check(operation, one, traits, arena);
    for (uint32_t i = 0; i < cases_of(operation.name, options); i += 1) {
      check(operation, random_case(operation.name, 1000 * options.seed + i, false), traits, arena);
    }
    if (options.large) {
      for (uint32_t i = 0; i < 2; i += 1) {
        check(operation, random_case(operation.name, 1000 * options.seed + 6 * i, true), traits, arena);
      }
    }
    if (options.timed) {
      for (const Case& one : timing_cases(operation.name)) {
        const bool profiled = options.profiled && row.timings.empty();
        row.timings.push_back(time_operation(operation, one, ceilings, traits, profiled));
      }
    }
    end_row(row);
  }
  if (options.only.empty() || options.only == "blake3Trees") {
    Row row = begin_row("blake3Trees");
    check_blake3(traits, options.seed, options.large);
    if (options.timed) time_blake3(ceilings, traits, &row);
    end_row(row);
  }
  pogo_arena_delete(arena);
  if (!missing.empty()) {
    printf("not in this build: %s\n", missing.c_str());
    if (options.require_all) expect(false, "every operation has a launcher");
  }
  if (passed + failed == 0) expect(false, "something was tested");
  printf("%d passed, %d failed\n", passed, failed);
  if (!options.json.empty()) write_report(options.json, device, info, ceilings, rows);
  return failed == 0 ? 0 : 1;
}

}  // namespace
}  // namespace test

int main(int count, char** words) {
  test::Options options;
  for (int i = 1; i < count; i += 1) {
    std::string word = words[i];
    auto value = [&]() -> std::string {
      if (i + 1 < count) return words[++i];
      fprintf(stderr, "kernel_test: %s needs a value\n", word.c_str());
      exit(2);
    };
    if (word == "--only") {
      options.only = value();
    } else if (word == "--seed") {
      options.seed = (uint32_t)strtoul(value().c_str(), nullptr, 10);
    } else if (word == "--cases") {
      options.cases = (uint32_t)strtoul(value().c_str(), nullptr, 10);
    } else if (word == "--vectors") {
      options.vectors = value();
    } else if (word == "--large") {
      options.large = true;
    } else if (word == "--time") {
      options.timed = true;
    } else if (word == "--profile") {
      options.timed = options.profiled = true;
    } else if (word == "--json") {
      options.json = value();
    } else if (word == "--require-all") {
      options.require_all = true;
    } else {
      fprintf(stderr, "kernel_test: unknown option %s\n", word.c_str());
      return 2;
    }
  }
  return test::run(options);
}
