// What the addon does on a device, without CUDA's and without Node's headers: memory of a model, lanes, tapes, calls.
//
// A *model* is one allocation on one device: a shared part (state vectors, integer weights, unit slots) and one part a
// lane. Models belong to the process, lanes and tapes to one environment (thread). A *tape* is a table of operations
// bound to addresses once. Everything is synchronous for the caller; inside, copies overlap computation.
#ifndef POGO_CUDA_DEVICE_RUNTIME_H
#define POGO_CUDA_DEVICE_RUNTIME_H

#include <stddef.h>
#include <stdint.h>

#include <memory>
#include <stdexcept>
#include <string>
#include <vector>

#include "operation_fields.h"

namespace pogo {

/** Arguments that cannot be meant: wrong type, too short, outside the memory, not aligned. */
class ArgumentError : public std::runtime_error {
 public:
  using std::runtime_error::runtime_error;
};

/** Less memory than was asked for. */
class MemoryError : public std::runtime_error {
 public:
  MemoryError(const std::string& message, uint64_t needed, uint64_t available)
      : std::runtime_error(message), needed(needed), available(available) {}
  uint64_t needed;
  uint64_t available;
};

/** A CUDA call or kernel that failed. */
class CudaError : public std::runtime_error {
 public:
  CudaError(int code, const std::string& where, const std::string& message, bool lost)
      : std::runtime_error(message), code(code), where(where), lost(lost) {}
  /** A cudaError_t. */
  int code;
  /** The kernel or call. */
  std::string where;
  /** Nothing more can run on this device in this process. */
  bool lost;
};

/** One field of an operation, as TypeScript reads it. `type`: u32, u64, f32, flag; or an element type for arrays. */
struct FieldInfo {
  std::string name;
  std::string type;
  /** scalar, array or list (of arrays). */
  std::string kind;
  bool written = false;
};
struct OperationInfo {
  std::string name;
  std::vector<FieldInfo> fields;
};
std::vector<OperationInfo> describe_operations();

struct DeviceDescription {
  std::string name;
  int major = 0, minor = 0, multiprocessors = 0;
  uint64_t memory_bytes = 0;
};
/** Versions as CUDA gives them; driver 0: none is installed. `reason` is empty if a device can be used. */
struct Devices {
  int runtime = 0, driver = 0;
  std::string reason;
  std::vector<DeviceDescription> devices;
};
Devices list_devices();

/** Bytes that crossed the bus, since the process started. */
struct Transferred {
  uint64_t to_device = 0;
  uint64_t from_device = 0;
};
Transferred transferred();
/** Kernels of operations that were launched, since the process started. */
uint64_t operations_run();
/** Runs of a tape that were one launch of a CUDA graph, since the process started. */
uint64_t graphs_launched();

/** Free bytes of a device. */
uint64_t free_bytes(int device);

/** The lowest failure that the device saw during a run. */
struct DeviceFailure {
  bool any = false;
  uint32_t entry = 0;
  /** As `FailureKind` in ops.h. */
  uint32_t kind = 0;
  uint64_t index = 0;
};

/** Memory of a model on one device. */
class DeviceModel {
 public:
  /**
   * Allocates shared_bytes + lanes × (lane_bytes + a header) at once, zeroed.
   * @throws MemoryError with the bytes that are missing
   */
  static std::shared_ptr<DeviceModel> create(int device, uint64_t shared_bytes, uint64_t lane_bytes, uint32_t lanes);
  /** A model of this process that somebody still holds, or null. */
  static std::shared_ptr<DeviceModel> find(uint32_t id);
  virtual ~DeviceModel() = default;
  virtual uint32_t id() const = 0;
  virtual int device() const = 0;
};

/** A region of a lane's own memory. */
struct Region {
  uint64_t offset = 0;
  uint64_t bytes = 0;
};

/** What a table of operations needs beside its arrays. */
struct TapeNeeds {
  uint64_t workspace = 0;
  uint64_t constants = 0;
};
TapeNeeds tape_needs(int device, const double* words, size_t count);

class Tape;

/** Memory of the model (0) or of the lane (1). */
struct Place {
  uint32_t space = 0;
  uint64_t offset = 0;
};
struct Upload {
  Place to;
  const void* data;
  uint64_t bytes;
};
struct Download {
  /** Entry of the tape behind which the bytes are complete. */
  uint32_t after;
  /** Beside the computation: for bytes that no later entry changes. */
  bool overlap;
  Place from;
  void* data;
  uint64_t bytes;
};
struct Copy {
  Place from;
  Place to;
  uint64_t bytes;
};

/** One lane's streams, staging memory and part of a model. Belongs to one thread. */
class Lane {
 public:
  /** @throws ArgumentError where the model has no lane left */
  static std::unique_ptr<Lane> attach(std::shared_ptr<DeviceModel> model, uint64_t staging_bytes);
  virtual ~Lane() = default;

  /** Binds a table of operations to addresses. `constants` and `workspace` are regions of the lane's memory. */
  virtual std::unique_ptr<Tape> bind(const double* words, size_t count, Region constants, Region workspace) = 0;
  /** Uploads, runs all entries in order, downloads, then copies on the device; waits for all of it. */
  virtual DeviceFailure run(const Tape& tape, const std::vector<Upload>& uploads,
                            const std::vector<Download>& downloads, const std::vector<Copy>& copies) = 0;
  /** Any number of bytes, through the staging memory. */
  virtual void upload(Place to, const void* data, uint64_t bytes) = 0;
  virtual void download(Place from, void* data, uint64_t bytes) = 0;
};

class Tape {
 public:
  virtual ~Tape() = default;
};

/** An array of the host, or a number, in the order of an operation's fields. */
struct HostArray {
  void* data = nullptr;
  uint64_t length = 0;
  Element type = Element::u8;
};
struct HostValue {
  double number = 0;
  bool is_array = false;
  bool is_list = false;
  std::vector<HostArray> arrays;
};

/** Whole-array calls over host memory: upload, run, download. Belongs to one thread. */
class HostCalls {
 public:
  static std::unique_ptr<HostCalls> open(int device);
  virtual ~HostCalls() = default;
  virtual DeviceFailure call(size_t operation, std::vector<HostValue>& values) = 0;
};

}  // namespace pogo

#endif
