// Positional arguments of a native call. TypeScript has validated them; here only what memory safety needs is checked:
// the element type and at least the length that the kernel will touch.
#ifndef POGO_CPU_ARGUMENTS_H
#define POGO_CPU_ARGUMENTS_H

#include <napi.h>

#include <limits>
#include <string>

class Arguments {
 public:
  explicit Arguments(const Napi::CallbackInfo& info) : info_(info) {}

  /** A dimension: an integer in [0, 2^30), so that a product of two, times 3, fits int64. */
  int64_t size() { return integer(1073741824.0); }
  /** A dimension that is at least 1. */
  int64_t count() {
    int64_t v = size();
    if (v == 0) fail("a positive integer");
    return v;
  }
  /** The length of a flat tensor, which is never multiplied: an integer in [1, 2^40). */
  int64_t elements() {
    int64_t v = integer(1099511627776.0);
    if (v == 0) fail("a positive integer");
    return v;
  }
  float real() { return static_cast<float>(number()); }
  bool flag() {
    Napi::Value v = next();
    if (!v.IsBoolean()) fail("a boolean");
    return v.As<Napi::Boolean>().Value();
  }

  float* f32(int64_t length) { return typed<float>(napi_float32_array, length, "a Float32Array"); }
  uint16_t* bf16(int64_t length) { return typed<uint16_t>(napi_uint16_array, length, "a Uint16Array"); }
  uint32_t* u32(int64_t length) { return typed<uint32_t>(napi_uint32_array, length, "a Uint32Array"); }
  int8_t* i8(int64_t length) { return typed<int8_t>(napi_int8_array, length, "an Int8Array"); }
  uint8_t* u8(int64_t length) { return typed<uint8_t>(napi_uint8_array, length, "a Uint8Array"); }

  /** The same, or null for an empty array. */
  float* f32_or_null(int64_t length) { return empty() ? skip<float>() : f32(length); }
  uint8_t* u8_or_null(int64_t length) { return empty() ? skip<uint8_t>() : u8(length); }
  int8_t* i8_or_null(int64_t length) { return empty() ? skip<int8_t>() : i8(length); }

  Napi::Array list() {
    Napi::Value v = next();
    if (!v.IsArray()) fail("an array");
    return v.As<Napi::Array>();
  }

  /** Pointer of a typed array; also of a view of a SharedArrayBuffer, for which napi_get_arraybuffer_info fails. */
  template <class T>
  T* view(napi_value value, napi_typedarray_type want, int64_t length, const char* expected) {
    napi_typedarray_type type;
    size_t count;
    void* data = nullptr;
    if (napi_get_typedarray_info(info_.Env(), value, &type, &count, &data, nullptr, nullptr) != napi_ok ||
        type != want) {
      fail(expected);
    }
    if (length < 0 || static_cast<uint64_t>(count) < static_cast<uint64_t>(length)) {
      fail(std::string(expected) + " of at least " + std::to_string(length) + " elements, found " +
           std::to_string(count));
    }
    last_length_ = static_cast<int64_t>(count);
    return static_cast<T*>(data);
  }

  /** Elements of the array read last. */
  int64_t last_length() const { return last_length_; }

  /** Every index of a gather must stay inside its table. */
  void below(const uint32_t* values, int64_t count, int64_t limit) {
    for (int64_t i = 0; i < count; i++) {
      if (values[i] >= limit) fail("indices below " + std::to_string(limit) + ", found " + std::to_string(values[i]));
    }
  }
  void multiple(int64_t value, int64_t of) {
    if (value % of != 0) fail("a multiple of " + std::to_string(of) + ", found " + std::to_string(value));
  }

  [[noreturn]] void fail(const std::string& expected) {
    throw Napi::TypeError::New(info_.Env(), "argument " + std::to_string(at_ - 1) + ": expected " + expected);
  }

 private:
  Napi::Value next() {
    if (at_ >= info_.Length()) {
      at_++;
      fail("a value, found none");
    }
    return info_[at_++];
  }
  int64_t integer(double limit) {
    double v = number();
    if (!(v >= 0 && v < limit) || v != static_cast<double>(static_cast<int64_t>(v))) {
      fail("a non-negative integer below " + std::to_string(static_cast<int64_t>(limit)));
    }
    return static_cast<int64_t>(v);
  }
  double number() {
    Napi::Value v = next();
    if (!v.IsNumber()) fail("a number");
    return v.As<Napi::Number>().DoubleValue();
  }
  bool empty() {
    napi_value v = at_ < info_.Length() ? static_cast<napi_value>(info_[at_]) : nullptr;
    size_t count;
    napi_typedarray_type type;
    return v != nullptr &&
           napi_get_typedarray_info(info_.Env(), v, &type, &count, nullptr, nullptr, nullptr) == napi_ok && count == 0;
  }
  template <class T>
  T* skip() {
    next();
    last_length_ = 0;
    return nullptr;
  }
  template <class T>
  T* typed(napi_typedarray_type want, int64_t length, const char* expected) {
    return view<T>(next(), want, length, expected);
  }

  const Napi::CallbackInfo& info_;
  size_t at_ = 0;
  int64_t last_length_ = 0;
};

#endif
