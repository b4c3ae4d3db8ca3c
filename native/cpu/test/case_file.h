// The file of cases that scripts/lib/kernelCases.mjs writes: calls of the addon with their arrays before and after.
// Little-endian, written and read on one machine; every length is checked, a damaged file ends the program.
#ifndef POGO_CPU_TEST_CASE_FILE_H
#define POGO_CPU_TEST_CASE_FILE_H

#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <string>
#include <vector>

/** An array: its bytes before, and after where the case determines them. */
struct TestTensor {
  uint8_t type;          // napi_typedarray_type
  size_t alignment = 0;  // bytes; 0: that of its elements
  uint64_t count;
  bool compared;
  std::vector<uint8_t> before, after;
};

struct TestArgument {
  enum Kind : uint8_t { NUMBER, BOOLEAN, TENSOR, LIST } kind;
  double number;
  std::vector<uint32_t> tensors;  // one, or the elements of a list
};

struct TestCall {
  std::string method;
  std::vector<TestArgument> arguments;
};

struct TestCase {
  std::string group, name, error;  // `error`: the code that it must throw, or empty
  std::vector<TestTensor> tensors;
  std::vector<TestCall> calls;
};

/** Bytes of one element of a typed array. */
inline size_t element_bytes(uint8_t type) { return type <= 1 ? 1 : type <= 4 ? 2 : 4; }

class CaseReader {
 public:
  explicit CaseReader(const char* path) : file_(fopen(path, "rb")) {
    if (file_ == nullptr) fail("cannot be opened");
    if (text() != "pogo kernel cases 1") fail("is of another format");
    left_ = number<uint32_t>();
  }
  ~CaseReader() { fclose(file_); }
  CaseReader(const CaseReader&) = delete;
  CaseReader& operator=(const CaseReader&) = delete;

  /** The next case; false at the end. */
  bool next(TestCase* out) {
    if (left_ == 0) return false;
    left_ -= 1;
    *out = TestCase();
    out->group = text();
    out->name = text();
    out->error = text();
    out->tensors.resize(number<uint32_t>());
    for (TestTensor& t : out->tensors) {
      t.type = number<uint8_t>();
      t.count = number<uint64_t>();
      t.compared = number<uint8_t>() != 0;
      if (t.count > (uint64_t(1) << 30)) fail("holds an impossible length");
      t.before = bytes(t.count * element_bytes(t.type));
      if (t.compared) t.after = bytes(t.count * element_bytes(t.type));
    }
    out->calls.resize(number<uint32_t>());
    for (TestCall& call : out->calls) {
      call.method = text();
      call.arguments.resize(number<uint32_t>());
      for (TestArgument& a : call.arguments) {
        a.kind = static_cast<TestArgument::Kind>(number<uint8_t>());
        a.number = a.kind == TestArgument::NUMBER    ? number<double>()
                   : a.kind == TestArgument::BOOLEAN ? number<uint8_t>()
                                                     : 0;
        if (a.kind == TestArgument::TENSOR) a.tensors = {number<uint32_t>()};
        if (a.kind == TestArgument::LIST) {
          a.tensors.resize(number<uint32_t>());
          for (uint32_t& index : a.tensors) index = number<uint32_t>();
        }
        for (uint32_t index : a.tensors) {
          if (index >= out->tensors.size()) fail("names an array that it does not hold");
        }
      }
    }
    return true;
  }

 private:
  [[noreturn]] void fail(const char* what) {
    fprintf(stderr, "kernel_test: the file of cases %s\n", what);
    exit(2);
  }
  std::vector<uint8_t> bytes(uint64_t count) {
    std::vector<uint8_t> out(count);
    if (count != 0 && fread(out.data(), 1, count, file_) != count) fail("ends early");
    return out;
  }
  template <class T>
  T number() {
    T value;
    std::vector<uint8_t> raw = bytes(sizeof(T));
    memcpy(&value, raw.data(), sizeof(T));
    return value;
  }
  std::string text() {
    std::vector<uint8_t> raw = bytes(number<uint16_t>());
    return std::string(raw.begin(), raw.end());
  }

  FILE* file_;
  uint32_t left_ = 0;
};

#endif
