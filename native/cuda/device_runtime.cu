#include "device_runtime.h"

#include <string.h>

#include <atomic>
#include <map>
#include <mutex>

#include "bind.h"
#include "captured_tape.h"
#include "device.h"

namespace pogo {
namespace {

constexpr uint64_t ALIGNMENT = 256;
/** In front of every lane's part: the failure word. */
constexpr uint64_t LANE_HEADER = ALIGNMENT;
/** Graphs of one tape: runs whose places change each time are not worth more. */
constexpr uint32_t MOST_CAPTURES = 4;
/** Half of a staging memory that has no better size: large enough for the bus, small enough to begin early. */
constexpr uint64_t LEAST_STAGING = 64 * 1024;
constexpr int MOST_DEVICES = 64;

std::atomic<uint64_t> g_to_device, g_from_device, g_operations, g_graphs;
/** The code that a device was lost with, or 0. */
std::atomic<int> g_lost[MOST_DEVICES];

/** Errors after which a context runs nothing more (CUDA runtime API, "the only way to continue is to terminate"). */
bool loses_device(int code) {
  constexpr int FATAL[] = {46, 214, 220, 700, 702, 709, 710, 714, 715, 716, 717, 718, 719, 720, 721, 722, 802, 999};
  for (int fatal : FATAL) {
    if (code == fatal) return true;
  }
  return false;
}

[[noreturn]] void fail(int device, int code, const std::string& where, const char* message) {
  bool lost = loses_device(code);
  if (lost && device >= 0 && device < MOST_DEVICES) g_lost[device].store(code);
  throw CudaError(code, where, where + ": CUDA error " + std::to_string(code) + ", " + message, lost);
}

void check(int device, cudaError_t code, const std::string& where) {
  if (code == cudaSuccess) return;
  // An error that is not fatal must not be found again by the next call.
  cudaGetLastError();
  fail(device, (int)code, where, cudaGetErrorString(code));
}

void check(int device, const Status& status) {
  if (status.ok()) return;
  cudaGetLastError();
  fail(device, status.code, status.where, status.message);
}

/** Makes `device` the thread's current one. */
void use(int device) {
  if (device < 0 || device >= MOST_DEVICES) throw ArgumentError("device: expected an index below 64");
  int lost = g_lost[device].load();
  if (lost != 0) {
    throw CudaError(lost, "device", "device " + std::to_string(device) + " was lost with CUDA error " +
                                        std::to_string(lost) + ": start the process again",
                    true);
  }
  check(device, cudaSetDevice(device), "cudaSetDevice");
}

DeviceTraits traits_of(int device) {
  DeviceTraits traits;
  check(device, device_traits(device, &traits));
  return traits;
}

uint64_t aligned(uint64_t bytes) { return (bytes + ALIGNMENT - 1) / ALIGNMENT * ALIGNMENT; }

/** A stream with its own order, which waits for no other. */
class Stream {
 public:
  explicit Stream(int device) {
    check(device, cudaStreamCreateWithFlags(&stream_, cudaStreamNonBlocking), "cudaStreamCreateWithFlags");
  }
  Stream(const Stream&) = delete;
  Stream& operator=(const Stream&) = delete;
  ~Stream() { cudaStreamDestroy(stream_); }
  cudaStream_t get() const { return stream_; }

 private:
  cudaStream_t stream_ = nullptr;
};

/** Device memory that can be given back early. */
class DeviceBuffer {
 public:
  DeviceBuffer() = default;
  DeviceBuffer(const DeviceBuffer&) = delete;
  DeviceBuffer& operator=(const DeviceBuffer&) = delete;
  ~DeviceBuffer() { free(); }
  cudaError_t allocate(uint64_t bytes) {
    free();
    return cudaMalloc(&data_, bytes);
  }
  void free() {
    if (data_ != nullptr) cudaFree(data_);
    data_ = nullptr;
  }
  char* get() const { return static_cast<char*>(data_); }

 private:
  void* data_ = nullptr;
};

class PinnedMemory {
 public:
  PinnedMemory(int device, uint64_t bytes) { check(device, cudaMallocHost(&data_, bytes), "cudaMallocHost"); }
  PinnedMemory(const PinnedMemory&) = delete;
  PinnedMemory& operator=(const PinnedMemory&) = delete;
  ~PinnedMemory() { cudaFreeHost(data_); }
  char* get() const { return static_cast<char*>(data_); }

 private:
  void* data_ = nullptr;
};

DeviceFailure failure_of(unsigned long long word) {
  DeviceFailure failure;
  failure.any = word != NO_FAILURE;
  if (!failure.any) return failure;
  failure.entry = failure_entry(word);
  failure.kind = failure_kind(word);
  failure.index = failure_index(word);
  return failure;
}

class Model final : public DeviceModel {
 public:
  Model(int device, uint64_t shared_bytes, uint64_t lane_bytes, uint32_t lanes)
      : device_(device), shared_(aligned(shared_bytes)), lane_(aligned(lane_bytes) + LANE_HEADER), taken_(lanes) {
    use(device);
    traits_ = traits_of(device);
    uint64_t needed = shared_ + lanes * lane_;
    size_t available = 0, total = 0;
    check(device, cudaMemGetInfo(&available, &total), "cudaMemGetInfo");
    cudaError_t code = needed > available ? cudaErrorMemoryAllocation : memory_.allocate(needed);
    if (code == cudaErrorMemoryAllocation) {
      cudaGetLastError();
      throw MemoryError("device " + std::to_string(device) + ": expected " + std::to_string(needed) +
                            " bytes of free memory, found " + std::to_string(available),
                        needed, available);
    }
    check(device, code, "cudaMalloc");
    // Padding of units and vectors is zero for ever, and nothing reads what nobody wrote.
    check(device, cudaMemset(memory_.get(), 0, needed), "cudaMemset");
    check(device, cudaDeviceSynchronize(), "cudaMemset");
    static std::atomic<uint32_t> numbers{1};
    id_ = numbers.fetch_add(1);
  }
  ~Model() override {
    // Frees on its own device; of a lost device nothing can be freed.
    if (g_lost[device_].load() == 0) cudaSetDevice(device_);
  }

  uint32_t id() const override { return id_; }
  int device() const override { return device_; }
  const DeviceTraits& traits() const { return traits_; }

  /** A lane nobody has, or -1. */
  int take() {
    std::lock_guard<std::mutex> hold(lock_);
    for (size_t i = 0; i < taken_.size(); i += 1) {
      if (taken_[i]) continue;
      taken_[i] = true;
      return (int)i;
    }
    return -1;
  }
  void give_back(int lane) {
    std::lock_guard<std::mutex> hold(lock_);
    taken_[(size_t)lane] = false;
  }
  Spaces spaces(int lane) const {
    Spaces spaces;
    char* own = memory_.get() + shared_ + (uint64_t)lane * lane_ + LANE_HEADER;
    spaces.base[0] = memory_.get();
    spaces.bytes[0] = shared_;
    spaces.base[1] = own;
    spaces.bytes[1] = lane_ - LANE_HEADER;
    return spaces;
  }

 private:
  uint32_t id_ = 0;
  int device_;
  uint64_t shared_, lane_;
  std::mutex lock_;
  std::vector<bool> taken_;
  DeviceTraits traits_;
  DeviceBuffer memory_;
};

struct Models {
  std::mutex lock;
  std::map<uint32_t, std::weak_ptr<Model>> by_id;
};

/** Never destroyed: threads may end after the process's static objects. */
Models& models() {
  static Models* instance = new Models;
  return *instance;
}

class BoundTape final : public Tape {
 public:
  struct Entry {
    const Operation* operation;
    Arguments arguments;
  };
  explicit BoundTape(GraphMode mode) : choice(mode) {}
  const void* lane = nullptr;
  std::vector<Entry> entries;
  Workspace workspace;
  // A run finds out whether a graph is worth it, and keeps it. Only the lane's own thread runs its tapes.
  mutable GraphChoice choice;
  mutable CapturedTape captured;
  mutable uint32_t captures = 0;
};

class DeviceLane final : public Lane {
 public:
  DeviceLane(std::shared_ptr<Model> model, int index, uint64_t staging_bytes)
      : model_(std::move(model)),
        index_(index),
        device_(model_->device()),
        spaces_(model_->spaces(index)),
        staging_bytes_(aligned(staging_bytes < LEAST_STAGING ? LEAST_STAGING : staging_bytes)),
        main_(device_),
        copies_(device_),
        staging_(device_, staging_bytes_ + ALIGNMENT) {
    for (cudaEvent_t* event : {&complete_, &joined_, &half_[0], &half_[1]}) {
      check(device_, cudaEventCreateWithFlags(event, cudaEventDisableTiming), "cudaEventCreateWithFlags");
    }
  }
  ~DeviceLane() override {
    if (g_lost[device_].load() == 0) cudaSetDevice(device_);
    drain();
    for (cudaEvent_t event : {complete_, joined_, half_[0], half_[1]}) {
      if (event != nullptr) cudaEventDestroy(event);
    }
    model_->give_back(index_);
  }

  std::unique_ptr<Tape> bind(const double* words, size_t count, Region constants, Region workspace) override {
    use(device_);
    Constants host;
    host.device = address({1, constants.offset}, constants.bytes);
    host.capacity = constants.bytes;
    auto tape = std::make_unique<BoundTape>(graph_mode());
    tape->lane = this;
    tape->workspace.data = address({1, workspace.offset}, workspace.bytes);
    tape->workspace.bytes = workspace.bytes;
    TapeFields fields(words, count, spaces_, host);
    while (!fields.done()) {
      const Operation& operation = fields.next();
      BoundTape::Entry entry = {&operation, {}};
      fields.fill(operation, entry.arguments);
      size_t needed = operation.workspace == nullptr ? 0 : operation.workspace(entry.arguments.bytes, model_->traits());
      if (needed > workspace.bytes) {
        throw ArgumentError(std::string(operation.name) + ": expected " + std::to_string(needed) +
                            " bytes of workspace, found " + std::to_string(workspace.bytes));
      }
      tape->entries.push_back(entry);
    }
    if (!host.bytes.empty()) upload({1, constants.offset}, host.bytes.data(), host.bytes.size());
    return tape;
  }

  DeviceFailure run(const Tape& tape, const std::vector<Upload>& uploads, const std::vector<Download>& downloads,
                    const std::vector<Copy>& copies) override {
    const BoundTape& bound = static_cast<const BoundTape&>(tape);
    if (bound.lane != this) throw ArgumentError("tape: expected one that this lane bound, found another lane's");
    use(device_);
    try {
      return run_bound(bound, uploads, downloads, copies);
    } catch (...) {
      // What was put on the streams still uses the staging memory.
      drain();
      throw;
    }
  }

  void upload(Place to, const void* data, uint64_t bytes) override {
    use(device_);
    char* device = address(to, bytes);
    const char* from = static_cast<const char*>(data);
    in_halves(bytes, [&](uint64_t at, uint64_t size, char* half, cudaEvent_t done) {
      check(device_, cudaEventSynchronize(done), "cudaEventSynchronize");
      memcpy(half, from + at, size);
      to_device(device + at, half, size, main_.get());
      check(device_, cudaEventRecord(done, main_.get()), "cudaEventRecord");
    });
    wait(main_, "upload");
  }

  void download(Place from, void* data, uint64_t bytes) override {
    use(device_);
    const char* device = address(from, bytes);
    char* to = static_cast<char*>(data);
    uint64_t before = 0, before_size = 0;
    char* before_half = nullptr;
    cudaEvent_t before_done = nullptr;
    auto take = [&]() {
      if (before_size == 0) return;
      check(device_, cudaEventSynchronize(before_done), "download");
      memcpy(to + before, before_half, before_size);
    };
    in_halves(bytes, [&](uint64_t at, uint64_t size, char* half, cudaEvent_t done) {
      to_host(half, device + at, size, main_.get());
      check(device_, cudaEventRecord(done, main_.get()), "cudaEventRecord");
      take();
      before = at;
      before_size = size;
      before_half = half;
      before_done = done;
    });
    take();
    wait(main_, "download");
  }

 private:
  template <class Work>
  void in_halves(uint64_t bytes, Work work) {
    uint64_t half = staging_bytes_ / 2;
    int which = 0;
    for (uint64_t at = 0; at < bytes; at += half, which = 1 - which) {
      work(at, bytes - at < half ? bytes - at : half, staging_.get() + (uint64_t)which * half, half_[which]);
    }
  }

  char* address(Place place, uint64_t bytes) const {
    if (place.space > 1 || place.offset > spaces_.bytes[place.space] ||
        bytes > spaces_.bytes[place.space] - place.offset) {
      throw ArgumentError("expected a place inside the memory of the model, found offset " +
                          std::to_string(place.offset) + " and " + std::to_string(bytes) + " bytes");
    }
    return spaces_.base[place.space] + place.offset;
  }

  void copy(void* to, const void* from, uint64_t bytes, cudaMemcpyKind kind, cudaStream_t stream, const char* where) {
    check(device_, cudaMemcpyAsync(to, from, bytes, kind, stream), where);
  }
  void to_device(void* to, const void* from, uint64_t bytes, cudaStream_t stream) {
    copy(to, from, bytes, cudaMemcpyHostToDevice, stream, "copy to the device");
    g_to_device.fetch_add(bytes, std::memory_order_relaxed);
  }
  void to_host(void* to, const void* from, uint64_t bytes, cudaStream_t stream) {
    copy(to, from, bytes, cudaMemcpyDeviceToHost, stream, "copy from the device");
    g_from_device.fetch_add(bytes, std::memory_order_relaxed);
  }
  void wait(const Stream& stream, const char* where) {
    check(device_, cudaStreamSynchronize(stream.get()), where);
  }
  void drain() {
    cudaStreamSynchronize(main_.get());
    cudaStreamSynchronize(copies_.get());
    cudaGetLastError();
  }

  /** Places in the staging memory of everything that goes up and down in a run, in this order. */
  std::vector<char*> stage_all(const std::vector<Upload>& uploads, const std::vector<Download>& downloads) const {
    std::vector<char*> staged;
    uint64_t used = 0;
    const auto stage = [&](uint64_t bytes) {
      staged.push_back(staging_.get() + used);
      used += (bytes + 15) / 16 * 16;
      if (used > staging_bytes_) throw ArgumentError("expected less to stage than " + std::to_string(staging_bytes_));
    };
    for (const Upload& upload : uploads) stage(upload.bytes);
    for (const Download& download : downloads) stage(download.bytes);
    return staged;
  }

  /** What a graph of a run hangs on, beside its tape. */
  static std::vector<uint64_t> key_of(const std::vector<Upload>& uploads, const std::vector<Download>& downloads) {
    std::vector<uint64_t> key = {uploads.size()};
    for (const Upload& each : uploads) key.insert(key.end(), {each.to.space, each.to.offset, each.bytes});
    for (const Download& each : downloads) {
      key.insert(key.end(), {each.after, each.overlap ? 1u : 0u, each.from.space, each.from.offset, each.bytes});
    }
    return key;
  }

  /** Puts a run on the streams: uploads from the staging memory, all entries, downloads into it, the failure word. */
  void issue(const BoundTape& tape, const std::vector<Upload>& uploads, const std::vector<Download>& downloads,
             const std::vector<char*>& staged, unsigned long long* device_word, unsigned long long* word) {
    for (size_t i = 0; i < uploads.size(); i += 1) {
      copy(address(uploads[i].to, uploads[i].bytes), staged[i], uploads[i].bytes, cudaMemcpyHostToDevice, main_.get(),
           "copy to the device");
    }
    check(device_, cudaMemsetAsync(device_word, 0xFF, 8, main_.get()), "cudaMemsetAsync");
    Launch launch;
    launch.stream = main_.get();
    launch.device = &model_->traits();
    launch.workspace = tape.workspace;
    launch.failure = device_word;
    size_t next = 0;
    bool forked = false;
    for (uint32_t i = 0; i < tape.entries.size(); i += 1) {
      launch.entry = i;
      const BoundTape::Entry& entry = tape.entries[i];
      check(device_, entry.operation->run(entry.arguments.bytes, launch));
      for (; next < downloads.size() && downloads[next].after <= i; next += 1) {
        const Download& wanted = downloads[next];
        cudaStream_t stream = main_.get();
        if (wanted.overlap) {
          stream = copies_.get();
          forked = true;
          follow(copies_, main_, complete_);
        }
        copy(staged[uploads.size() + next], address(wanted.from, wanted.bytes), wanted.bytes, cudaMemcpyDeviceToHost,
             stream, "copy from the device");
      }
    }
    if (next < downloads.size()) throw ArgumentError("downloads: expected them in the order of the tape's entries");
    copy(word, device_word, 8, cudaMemcpyDeviceToHost, main_.get(), "copy from the device");
    if (forked) follow(main_, copies_, joined_);
  }

  /** What comes on `later` from now on waits for what is on `earlier` by now. */
  void follow(const Stream& later, const Stream& earlier, cudaEvent_t event) {
    check(device_, cudaEventRecord(event, earlier.get()), "cudaEventRecord");
    check(device_, cudaStreamWaitEvent(later.get(), event, 0), "cudaStreamWaitEvent");
  }

  DeviceFailure run_bound(const BoundTape& tape, const std::vector<Upload>& uploads,
                          const std::vector<Download>& downloads, const std::vector<Copy>& copies) {
    const std::vector<char*> staged = stage_all(uploads, downloads);
    // Behind the halves: where the failure word comes down.
    unsigned long long* word = reinterpret_cast<unsigned long long*>(staging_.get() + staging_bytes_);
    unsigned long long* device_word = reinterpret_cast<unsigned long long*>(spaces_.base[1] - LANE_HEADER);
    for (size_t i = 0; i < uploads.size(); i += 1) memcpy(staged[i], uploads[i].data, uploads[i].bytes);

    const auto put = [&] { issue(tape, uploads, downloads, staged, device_word, word); };
    bool graph = tape.choice.wants_graph();
    if (graph) {
      const std::vector<uint64_t> key = key_of(uploads, downloads);
      if (!tape.captured.fits(key)) {
        tape.captures += 1;
        graph = tape.captures <= MOST_CAPTURES && tape.captured.record(main_.get(), key, put);
        if (!graph) tape.choice.give_up();
      }
    }
    const auto start = std::chrono::steady_clock::now();
    if (graph) {
      check(device_, tape.captured.launch(main_.get()), "cudaGraphLaunch");
      g_graphs.fetch_add(1, std::memory_order_relaxed);
    } else {
      put();
    }
    const auto issued = std::chrono::steady_clock::now();
    g_operations.fetch_add(tape.entries.size(), std::memory_order_relaxed);
    for (const Copy& each : copies) {
      copy(address(each.to, each.bytes), address(each.from, each.bytes), each.bytes, cudaMemcpyDeviceToDevice, main_.get(),
           "copy on the device");
    }
    wait(main_, "a kernel of the tape");
    for (const Upload& each : uploads) g_to_device.fetch_add(each.bytes, std::memory_order_relaxed);
    for (const Download& each : downloads) g_from_device.fetch_add(each.bytes, std::memory_order_relaxed);
    g_from_device.fetch_add(8, std::memory_order_relaxed);
    if (!graph) {
      const std::chrono::duration<double> issuing = issued - start, whole = std::chrono::steady_clock::now() - start;
      tape.choice.measured(issuing.count(), whole.count());
    }
    for (size_t i = 0; i < downloads.size(); i += 1) {
      memcpy(downloads[i].data, staged[uploads.size() + i], downloads[i].bytes);
    }
    return failure_of(*word);
  }

  std::shared_ptr<Model> model_;
  int index_;
  int device_;
  Spaces spaces_;
  uint64_t staging_bytes_;
  Stream main_, copies_;
  PinnedMemory staging_;
  cudaEvent_t complete_ = nullptr, joined_ = nullptr;
  cudaEvent_t half_[2] = {nullptr, nullptr};
};

/** Scratch memory that is kept between calls up to this size. */
constexpr uint64_t KEPT_SCRATCH = (uint64_t)64 << 20;

class DeviceCalls final : public HostCalls {
 public:
  explicit DeviceCalls(int device) : device_(device), traits_((use(device), traits_of(device))), stream_(device) {}
  ~DeviceCalls() override {
    if (g_lost[device_].load() == 0) cudaSetDevice(device_);
  }

  DeviceFailure call(size_t index, std::vector<HostValue>& values) override {
    if (index >= operation_count()) throw ArgumentError("operation: expected one of the table");
    const Operation& operation = operation_at(index);
    use(device_);
    Arguments arguments;
    HostFields plan(operation, values, nullptr);
    operation.fields(arguments.bytes, plan);
    uint64_t workspace = operation.workspace == nullptr ? 0 : operation.workspace(arguments.bytes, traits_);
    char* base = reserve(plan.bytes() + aligned(workspace) + ALIGNMENT);
    HostFields fields(operation, values, base);
    operation.fields(arguments.bytes, fields);

    unsigned long long* word = reinterpret_cast<unsigned long long*>(base + plan.bytes() + aligned(workspace));
    check(device_, cudaMemsetAsync(word, 0xFF, 8, stream_.get()), "cudaMemsetAsync");
    for (const Staged& each : fields.staged()) {
      uint64_t bytes = each.host.length * element_bytes(each.host.type);
      if (bytes == 0) continue;
      copy(base + each.offset, each.host.data, bytes, cudaMemcpyHostToDevice);
      g_to_device.fetch_add(bytes, std::memory_order_relaxed);
    }
    for (const HostFields::Constant& each : fields.constants()) {
      if (!each.bytes.empty()) copy(base + each.offset, each.bytes.data(), each.bytes.size(), cudaMemcpyHostToDevice);
    }
    Launch launch;
    launch.stream = stream_.get();
    launch.device = &traits_;
    launch.workspace = {base + plan.bytes(), workspace};
    launch.failure = word;
    check(device_, operation.run(arguments.bytes, launch));
    g_operations.fetch_add(1, std::memory_order_relaxed);
    unsigned long long found = NO_FAILURE;
    copy(&found, word, 8, cudaMemcpyDeviceToHost);
    check(device_, cudaStreamSynchronize(stream_.get()), operation.name);
    for (const Staged& each : fields.staged()) {
      uint64_t bytes = each.host.length * element_bytes(each.host.type);
      if (!each.written || bytes == 0) continue;
      copy(each.host.data, base + each.offset, bytes, cudaMemcpyDeviceToHost);
      g_from_device.fetch_add(bytes, std::memory_order_relaxed);
    }
    check(device_, cudaStreamSynchronize(stream_.get()), operation.name);
    if (capacity_ > KEPT_SCRATCH) {
      scratch_.free();
      capacity_ = 0;
    }
    return failure_of(found);
  }

 private:
  char* reserve(uint64_t bytes) {
    if (bytes <= capacity_) return scratch_.get();
    capacity_ = 0;
    cudaError_t code = scratch_.allocate(bytes);
    if (code == cudaErrorMemoryAllocation) {
      cudaGetLastError();
      uint64_t available = free_bytes(device_);
      throw MemoryError("device " + std::to_string(device_) + ": expected " + std::to_string(bytes) +
                            " bytes of free memory, found " + std::to_string(available),
                        bytes, available);
    }
    check(device_, code, "cudaMalloc");
    capacity_ = bytes;
    return scratch_.get();
  }
  void copy(void* to, const void* from, uint64_t bytes, cudaMemcpyKind kind) {
    check(device_, cudaMemcpyAsync(to, from, bytes, kind, stream_.get()), "copy");
  }

  int device_;
  DeviceTraits traits_;
  Stream stream_;
  DeviceBuffer scratch_;
  uint64_t capacity_ = 0;
};

/** Writes an operation's fields down. */
class Describe final : public Fields {
 public:
  std::vector<FieldInfo> found;
  void u32(const char* name, uint32_t& value) override {
    scalar(name, "u32");
    value = 0;
  }
  void u64(const char* name, uint64_t&) override { scalar(name, "u64"); }
  void f32(const char* name, float&) override { scalar(name, "f32"); }
  void flag(const char* name, bool&) override { scalar(name, "flag"); }
  uint32_t arrays(const char* name, Element type, bool written, uint64_t) override {
    found.push_back({name, element_name(type), "list", written});
    return 0;
  }
  DeviceArray array_at(uint32_t, uint32_t) override { return {}; }
  const void* constant(const void*, size_t) override { return nullptr; }
  /** Nothing is filled in yet, so nothing can be wrong. */
  void refuse(const char*, const char*) override {}

 protected:
  DeviceArray array(const char* name, Element type, bool written, uint64_t, bool) override {
    found.push_back({name, element_name(type), "array", written});
    return {};
  }

 private:
  void scalar(const char* name, const char* type) { found.push_back({name, type, "scalar", false}); }
};

}  // namespace

std::vector<OperationInfo> describe_operations() {
  std::vector<OperationInfo> all;
  for (size_t i = 0; i < operation_count(); i += 1) {
    Arguments arguments;
    Describe visitor;
    operation_at(i).fields(arguments.bytes, visitor);
    all.push_back({operation_at(i).name, visitor.found});
  }
  return all;
}

Devices list_devices() {
  DeviceInfo info = device_info();
  Devices result;
  result.runtime = info.runtime;
  result.driver = info.driver;
  result.reason = info.reason;
  for (int i = 0; i < info.count; i += 1) {
    Device device;
    check(i, describe_device(i, &device));
    result.devices.push_back({device.name, device.major, device.minor, device.multiprocessors, device.memory_bytes});
  }
  return result;
}

Transferred transferred() { return {g_to_device.load(), g_from_device.load()}; }
uint64_t operations_run() { return g_operations.load(); }
uint64_t graphs_launched() { return g_graphs.load(); }

uint64_t free_bytes(int device) {
  use(device);
  size_t available = 0, total = 0;
  check(device, cudaMemGetInfo(&available, &total), "cudaMemGetInfo");
  return available;
}

std::shared_ptr<DeviceModel> DeviceModel::create(int device, uint64_t shared_bytes, uint64_t lane_bytes,
                                                 uint32_t lanes) {
  auto model = std::make_shared<Model>(device, shared_bytes, lane_bytes, lanes);
  std::lock_guard<std::mutex> hold(models().lock);
  models().by_id[model->id()] = model;
  return model;
}

std::shared_ptr<DeviceModel> DeviceModel::find(uint32_t id) {
  std::lock_guard<std::mutex> hold(models().lock);
  auto found = models().by_id.find(id);
  if (found == models().by_id.end()) return nullptr;
  std::shared_ptr<Model> model = found->second.lock();
  if (model == nullptr) models().by_id.erase(found);
  return model;
}

TapeNeeds tape_needs(int device, const double* words, size_t count) {
  use(device);
  DeviceTraits traits = traits_of(device);
  // Only sizes are asked for: the addresses are made up and never used.
  Spaces spaces;
  static char nowhere[ARRAY_ALIGNMENT];
  for (int space : {0, 1}) {
    spaces.base[space] = nowhere;
    spaces.bytes[space] = ~(uint64_t)0;
  }
  Constants constants;
  constants.capacity = ~(uint64_t)0;
  TapeNeeds needs;
  TapeFields fields(words, count, spaces, constants);
  while (!fields.done()) {
    const Operation& operation = fields.next();
    Arguments arguments;
    fields.fill(operation, arguments);
    if (operation.workspace == nullptr) continue;
    uint64_t bytes = operation.workspace(arguments.bytes, traits);
    if (bytes > needs.workspace) needs.workspace = bytes;
  }
  needs.constants = constants.bytes.size();
  return needs;
}

std::unique_ptr<Lane> Lane::attach(std::shared_ptr<DeviceModel> model, uint64_t staging_bytes) {
  auto own = std::static_pointer_cast<Model>(std::move(model));
  use(own->device());
  int index = own->take();
  if (index < 0) throw ArgumentError("model: expected a free lane, found all taken");
  try {
    return std::make_unique<DeviceLane>(own, index, staging_bytes);
  } catch (...) {
    own->give_back(index);
    throw;
  }
}

std::unique_ptr<HostCalls> HostCalls::open(int device) { return std::make_unique<DeviceCalls>(device); }

}  // namespace pogo
