#include "bind.h"

#include <string.h>

namespace pogo {
namespace {

[[noreturn]] void refuse_argument(const char* operation, const char* name, const std::string& what) {
  throw ArgumentError(std::string(operation) + ": expected " + name + " " + what);
}

bool is_integer(double value, double limit) {
  return value >= 0 && value < limit && value == (double)(uint64_t)value;
}

constexpr double U32_LIMIT = 4294967296.0;
/** What a double holds exactly. */
constexpr double U64_LIMIT = 9007199254740992.0;

}  // namespace

const char* element_name(Element type) {
  switch (type) {
    case Element::f32:
      return "f32";
    case Element::bf16:
      return "bf16";
    case Element::i8:
      return "i8";
    case Element::u8:
      return "u8";
    default:
      return "u32";
  }
}

const Operation& TapeFields::next() {
  operation_ = "tape";
  uint64_t number = integer("operation", (double)operation_count());
  const Operation& operation = operation_at(number);
  operation_ = operation.name;
  return operation;
}

void TapeFields::fill(const Operation& operation, Arguments& arguments) {
  lists_.clear();
  operation.fields(arguments.bytes, *this);
}

double TapeFields::word(const char* name) {
  if (at_ >= count_) refuse_argument(operation_, name, "to be in the table, found its end");
  return words_[at_++];
}

uint64_t TapeFields::integer(const char* name, double limit) {
  double value = word(name);
  if (!is_integer(value, limit)) refuse_argument(operation_, name, "to be an integer in its range");
  return (uint64_t)value;
}

void TapeFields::u32(const char* name, uint32_t& value) { value = (uint32_t)integer(name, U32_LIMIT); }
void TapeFields::u64(const char* name, uint64_t& value) { value = integer(name, U64_LIMIT); }
void TapeFields::f32(const char* name, float& value) { value = (float)word(name); }
void TapeFields::flag(const char* name, bool& value) { value = integer(name, 2) == 1; }

DeviceArray TapeFields::array(const char* name, Element type, bool, uint64_t length, bool may_be_empty) {
  uint64_t space = integer(name, 2);
  uint64_t offset = integer(name, U64_LIMIT);
  uint64_t elements = integer(name, U64_LIMIT);
  if (elements == 0 && may_be_empty) return {};
  if (elements < length) {
    refuse_argument(operation_, name, "to have at least " + std::to_string(length) + " elements, found " +
                                          std::to_string(elements));
  }
  uint64_t bytes = elements * element_bytes(type);
  uint64_t alignment = type == Element::bf16 && strcmp(name, "scales") == 0 ? SCALES_ALIGNMENT : ARRAY_ALIGNMENT;
  if (offset % alignment != 0) {
    refuse_argument(operation_, name, "to begin at a multiple of " + std::to_string(alignment) + " bytes, found " +
                                          std::to_string(offset));
  }
  if (offset > spaces_.bytes[space] || bytes > spaces_.bytes[space] - offset) {
    refuse_argument(operation_, name, "to lie inside the memory of the model");
  }
  return {spaces_.base[space] + offset, elements};
}

uint32_t TapeFields::arrays(const char* name, Element type, bool written, uint64_t length) {
  uint64_t count = integer(name, 65536);
  std::vector<DeviceArray> list(count);
  for (DeviceArray& each : list) each = array(name, type, written, length, false);
  lists_.push_back(std::move(list));
  return (uint32_t)count;
}

DeviceArray TapeFields::array_at(uint32_t before, uint32_t index) { return lists_[lists_.size() - 1 - before][index]; }

const void* TapeFields::constant(const void* data, size_t bytes) {
  uint64_t at = (constants_.bytes.size() + ARRAY_ALIGNMENT - 1) / ARRAY_ALIGNMENT * ARRAY_ALIGNMENT;
  if (at + bytes > constants_.capacity) refuse_argument(operation_, "constants", "to fit their region");
  constants_.bytes.resize(at + bytes);
  if (bytes > 0) memcpy(constants_.bytes.data() + at, data, bytes);
  return constants_.device + at;
}

void TapeFields::refuse(const char* name, const char* expected) {
  refuse_argument(operation_, name, std::string("to be ") + expected);
}

HostValue& HostFields::value(const char* name) {
  if (at_ >= values_.size()) refuse_argument(operation_, name, "to be given, found no more arguments");
  return values_[at_++];
}

double HostFields::number(const char* name) {
  HostValue& found = value(name);
  if (found.is_array || found.is_list) refuse_argument(operation_, name, "to be a number");
  return found.number;
}

void HostFields::u32(const char* name, uint32_t& out) {
  double found = number(name);
  if (!is_integer(found, U32_LIMIT)) refuse_argument(operation_, name, "to be an integer below 2^32");
  out = (uint32_t)found;
}
void HostFields::u64(const char* name, uint64_t& out) {
  double found = number(name);
  if (!is_integer(found, U64_LIMIT)) refuse_argument(operation_, name, "to be an integer below 2^53");
  out = (uint64_t)found;
}
void HostFields::f32(const char* name, float& out) { out = (float)number(name); }
void HostFields::flag(const char* name, bool& out) { out = number(name) != 0; }

uint64_t HostFields::reserve(uint64_t bytes) {
  uint64_t at = offset_;
  offset_ += (bytes + 255) / 256 * 256;
  return at;
}

DeviceArray HostFields::stage(const char* name, const HostArray& host, Element type, bool written, uint64_t length,
                              bool may_be_empty) {
  if (host.type != type) refuse_argument(operation_, name, std::string("to be an array of ") + element_name(type));
  if (host.length == 0 && may_be_empty) return {};
  if (host.length < length) {
    refuse_argument(operation_, name, "to have at least " + std::to_string(length) + " elements, found " +
                                          std::to_string(host.length));
  }
  uint64_t offset = reserve(host.length * element_bytes(type));
  staged_.push_back({host, offset, written});
  return {base_ == nullptr ? nullptr : base_ + offset, host.length};
}

DeviceArray HostFields::array(const char* name, Element type, bool written, uint64_t length, bool may_be_empty) {
  HostValue& found = value(name);
  if (!found.is_array) refuse_argument(operation_, name, "to be a typed array");
  DeviceArray staged = stage(name, found.arrays[0], type, written, length, may_be_empty);
  // The first walk has no addresses, and arrays that are there must not look empty.
  static char somewhere;
  if (base_ == nullptr && staged.length > 0) staged.data = &somewhere;
  return staged;
}

uint32_t HostFields::arrays(const char* name, Element type, bool written, uint64_t length) {
  HostValue& found = value(name);
  if (!found.is_list) refuse_argument(operation_, name, "to be a list of typed arrays");
  std::vector<DeviceArray> list;
  for (const HostArray& host : found.arrays) list.push_back(stage(name, host, type, written, length, false));
  lists_.push_back(std::move(list));
  return (uint32_t)found.arrays.size();
}

DeviceArray HostFields::array_at(uint32_t before, uint32_t index) { return lists_[lists_.size() - 1 - before][index]; }

const void* HostFields::constant(const void* data, size_t bytes) {
  uint64_t offset = reserve(bytes);
  const unsigned char* first = static_cast<const unsigned char*>(data);
  constants_.push_back({std::vector<unsigned char>(first, first + bytes), offset});
  return base_ == nullptr ? nullptr : base_ + offset;
}

void HostFields::refuse(const char* name, const char* expected) {
  refuse_argument(operation_, name, std::string("to be ") + expected);
}

}  // namespace pogo
