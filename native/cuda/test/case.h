// One call of an operation: its arguments by the names of src/backend/ops.ts and, for a vector, its answers.
#ifndef POGO_CUDA_TEST_CASE_H
#define POGO_CUDA_TEST_CASE_H

#include <stdint.h>
#include <string.h>

#include <map>
#include <string>
#include <vector>

namespace test {

enum class Type { I8, U8, U16, U32, F32 };
size_t size_of(Type type);

struct Array {
  Type type = Type::U8;
  size_t count = 0;
  std::vector<uint8_t> bytes;
  /** Compared after the call; other arrays must be as they were. */
  bool out = false;

  template <class T>
  T* as() {
    return reinterpret_cast<T*>(bytes.data());
  }
};

struct Value {
  enum Kind { NUMBER, FLAG, REAL, ARRAY, LIST };
  Kind kind = NUMBER;
  double number = 0;
  bool flag = false;
  float real = 0;
  Array array;
  std::vector<Array> list;
};

struct Answer {
  size_t bytes = 0;
  std::string blake3;
};

struct Case {
  std::string operation, name;
  std::map<std::string, Value> args;
  /** Empty for a case whose answer the scalar kernels give. */
  std::map<std::string, Answer> answers;
  std::string throws;

  double number(const std::string& name) const;
  Array& array(const std::string& name);
  void set(const std::string& name, double number);
  void set_flag(const std::string& name, bool flag);
  void set_real(const std::string& name, float real);
  void set(const std::string& name, Array array);
};

/** Element i of a test: docs/numerics.md 6. */
uint32_t counter_word(uint32_t seed, uint32_t i);

/** The cases of `folder`/OPERATION.json. Ends the program where the file is missing or not as described. */
std::vector<Case> read_vectors(const std::string& folder, const std::string& operation);

/** 32 bytes in hexadecimal. */
std::string hexadecimal(const uint8_t* bytes);
/** BLAKE3 in hexadecimal. */
std::string digest(const uint8_t* bytes, size_t count);

}  // namespace test

#endif
