// The registry of kernel_test: how a case becomes the arguments of a launcher and of the scalar kernel beside it.
#ifndef POGO_CUDA_TEST_OPERATIONS_H
#define POGO_CUDA_TEST_OPERATIONS_H

#include "../../cpu/kernel_table.h"
#include "../ops.h"
#include "case.h"

namespace test {

enum class Slot { POINTER, LIST, U32, U64, FLAG, REAL };

/** One member of an argument struct. */
struct Field {
  const char* name;
  Slot slot;
  size_t offset;
};

struct Operation {
  const char* name;
  size_t bytes;
  std::vector<Field> fields;
  /** Null where no file of the build defines the launcher. */
  pogo::Status (*launch)(const void* args, const pogo::Launch& launch);
  size_t (*workspace)(const void* args, const pogo::DeviceTraits& device);
  /** The scalar kernel on host memory; null, or what it refuses: a tensor's name, or MALFORMED. */
  const char* (*oracle)(const void* args, PogoArena* arena);
  /** Arguments that ops.h has and ops.ts leaves to lengths. */
  void (*complete)(Case& one);
  /** Whether the arrays are specified after a failure. */
  bool written_on_failure;
};

const std::vector<Operation>& operations();
const Operation& operation_named(const std::string& name);

/** Random legal arguments, odd shapes, hostile values: the same seed, the same case. `large`: shapes of many blocks. */
Case random_case(const std::string& operation, uint32_t seed, bool large);
/** Ordinary values at the given dimensions and flags; large arrays repeat a part. */
Case shaped_case(const std::string& operation, const std::map<std::string, double>& shape);

}  // namespace test

#endif
