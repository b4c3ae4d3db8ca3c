// Visitors that fill an operation's arguments: from the words of a tape, or from host arrays.
#ifndef POGO_CUDA_BIND_H
#define POGO_CUDA_BIND_H

#include <string>
#include <vector>

#include "operations.h"
#include "device_runtime.h"

namespace pogo {

const char* element_name(Element type);

/** Arguments of any operation. */
struct alignas(16) Arguments {
  unsigned char bytes[MOST_ARGUMENT_BYTES] = {};
};

/** Addresses of a model's memory for one lane: by space. */
struct Spaces {
  char* base[2] = {nullptr, nullptr};
  uint64_t bytes[2] = {0, 0};
};

/** Host bytes that operations read on the device, and where they will lie. */
struct Constants {
  char* device = nullptr;
  uint64_t capacity = 0;
  std::vector<unsigned char> bytes;
};

/** The alignment that launchers may rely on. */
constexpr uint64_t ARRAY_ALIGNMENT = 16;
/** Of bf16 scales of 4-bit planes: a leaf has four, and tensors begin at leaves. */
constexpr uint64_t SCALES_ALIGNMENT = 8;

/**
 * Words: the operation's number, then its fields: a scalar is one word, an array three (space, byte offset, elements), a
 * list its count and then its arrays.
 */
class TapeFields : public Fields {
 public:
  TapeFields(const double* words, size_t count, const Spaces& spaces, Constants& constants)
      : words_(words), count_(count), spaces_(spaces), constants_(constants) {}

  bool done() const { return at_ == count_; }
  /** The number of the next operation. */
  const Operation& next();
  void fill(const Operation& operation, Arguments& arguments);

  void u32(const char* name, uint32_t& value) override;
  void u64(const char* name, uint64_t& value) override;
  void f32(const char* name, float& value) override;
  void flag(const char* name, bool& value) override;
  uint32_t arrays(const char* name, Element type, bool written, uint64_t length) override;
  DeviceArray array_at(uint32_t before, uint32_t index) override;
  const void* constant(const void* data, size_t bytes) override;
  void refuse(const char* name, const char* expected) override;

 protected:
  DeviceArray array(const char* name, Element type, bool written, uint64_t length, bool may_be_empty) override;

 private:
  double word(const char* name);
  uint64_t integer(const char* name, double limit);

  const double* words_;
  size_t count_;
  size_t at_ = 0;
  const Spaces& spaces_;
  Constants& constants_;
  const char* operation_ = "tape";
  std::vector<std::vector<DeviceArray>> lists_;
};

/** An array of the host and where its copy lies in the scratch memory of the device. */
struct Staged {
  HostArray host;
  uint64_t offset = 0;
  bool written = false;
};

/** First walk (base null): checks and places. Second walk: addresses. */
class HostFields : public Fields {
 public:
  HostFields(const Operation& operation, std::vector<HostValue>& values, char* base)
      : operation_(operation.name), values_(values), base_(base) {}

  /** Bytes of device memory that the arrays and constants need. */
  uint64_t bytes() const { return offset_; }
  const std::vector<Staged>& staged() const { return staged_; }
  /** Bytes of constants and where they go. */
  struct Constant {
    std::vector<unsigned char> bytes;
    uint64_t offset;
  };
  const std::vector<Constant>& constants() const { return constants_; }

  void u32(const char* name, uint32_t& value) override;
  void u64(const char* name, uint64_t& value) override;
  void f32(const char* name, float& value) override;
  void flag(const char* name, bool& value) override;
  uint32_t arrays(const char* name, Element type, bool written, uint64_t length) override;
  DeviceArray array_at(uint32_t before, uint32_t index) override;
  const void* constant(const void* data, size_t bytes) override;
  void refuse(const char* name, const char* expected) override;

 protected:
  DeviceArray array(const char* name, Element type, bool written, uint64_t length, bool may_be_empty) override;

 private:
  HostValue& value(const char* name);
  double number(const char* name);
  DeviceArray stage(const char* name, const HostArray& host, Element type, bool written, uint64_t length,
                    bool may_be_empty);
  uint64_t reserve(uint64_t bytes);

  const char* operation_;
  std::vector<HostValue>& values_;
  size_t at_ = 0;
  char* base_;
  uint64_t offset_ = 0;
  std::vector<Staged> staged_;
  std::vector<Constant> constants_;
  std::vector<std::vector<DeviceArray>> lists_;
};

}  // namespace pogo

#endif
