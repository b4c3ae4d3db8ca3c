// The table of operations: name, fields, launcher, scratch memory.
#ifndef POGO_CUDA_OPERATIONS_H
#define POGO_CUDA_OPERATIONS_H

#include "operation_fields.h"
#include "ops.h"

namespace pogo {

struct Operation {
  /** As in src/backend/ops.ts; hashing, which is no operation of the registry, has its own. */
  const char* name;
  size_t argument_bytes;
  void (*fields)(void* arguments, Fields& fields);
  Status (*run)(const void* arguments, const Launch& launch);
  /** Null where none is needed. */
  size_t (*workspace)(const void* arguments, const DeviceTraits& device);
};

/** Operations of any struct fit here. */
constexpr size_t MOST_ARGUMENT_BYTES = 256;

size_t operation_count();
const Operation& operation_at(size_t index);

}  // namespace pogo

#endif
