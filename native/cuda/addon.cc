// The Node-API side of the CUDA kernels. Loads without a GPU and without a driver: only `deviceInfo` works then, and says why.
//
// TypeScript (src/backend/cudaAddon.ts) checks shapes and values; here only what memory safety needs is checked again.
// Calls are synchronous and write into the caller's arrays, which may be views of SharedArrayBuffers.
#include <napi.h>

#include <string>

#include "host_calls.h"

namespace {

/** Start and length in elements of a typed array of the given type. Works for views of shared memory too. */
struct View {
  void* data = nullptr;
  size_t length = 0;
  template <class T>
  T* as() const {
    return static_cast<T*>(data);
  }
};

View view_of(const Napi::CallbackInfo& info, size_t index, napi_typedarray_type type, const char* name) {
  Napi::Env env = info.Env();
  View view;
  napi_typedarray_type found = napi_int8_array;
  bool is_array = false;
  if (index < info.Length()) napi_is_typedarray(env, info[index], &is_array);
  if (!is_array ||
      napi_get_typedarray_info(env, info[index], &found, &view.length, &view.data, nullptr, nullptr) != napi_ok ||
      found != type) {
    throw Napi::TypeError::New(env, std::string(name) + ": expected another typed array");
  }
  return view;
}

void require(const Napi::CallbackInfo& info, bool holds, const char* message) {
  if (!holds) throw Napi::RangeError::New(info.Env(), message);
}

uint32_t count_at(const Napi::CallbackInfo& info, size_t index, const char* name) {
  double value = index < info.Length() && info[index].IsNumber() ? info[index].As<Napi::Number>().DoubleValue() : -1;
  require(info, value >= 0 && value <= 4294967295.0 && value == (double)(uint32_t)value, name);
  return (uint32_t)value;
}

/** A failed CUDA call as an Error with `cudaCode` and `kernel`. */
void check(const Napi::CallbackInfo& info, const pogo::Status& status) {
  if (status.ok()) return;
  Napi::Error error = Napi::Error::New(
      info.Env(), std::string(status.where) + ": CUDA error " + std::to_string(status.code) + ", " + status.message);
  error.Set("cudaCode", Napi::Number::New(info.Env(), status.code));
  error.Set("kernel", Napi::String::New(info.Env(), status.where));
  throw error;
}

/** deviceInfo(): {runtime, driver, reason, devices}; `reason` is empty if a device can be used. */
Napi::Value device_info(const Napi::CallbackInfo& info) {
  Napi::Env env = info.Env();
  pogo::DeviceInfo found = pogo::device_info();
  Napi::Array devices = Napi::Array::New(env);
  for (int i = 0; i < found.count; i += 1) {
    pogo::Device device;
    check(info, pogo::describe_device(i, &device));
    Napi::Object entry = Napi::Object::New(env);
    entry.Set("name", device.name);
    entry.Set("major", device.major);
    entry.Set("minor", device.minor);
    entry.Set("multiprocessors", device.multiprocessors);
    entry.Set("memoryBytes", (double)device.memory_bytes);
    devices.Set((uint32_t)i, entry);
  }
  Napi::Object result = Napi::Object::New(env);
  result.Set("runtime", found.runtime);
  result.Set("driver", found.driver);
  result.Set("reason", found.reason);
  result.Set("devices", devices);
  return result;
}

/** quantize4(x, codes, scales, seed, rows, cols): index of the first non-finite group, or -1. */
Napi::Value quantize4(const Napi::CallbackInfo& info) {
  View x = view_of(info, 0, napi_float32_array, "x");
  View codes = view_of(info, 1, napi_uint8_array, "codes");
  View scales = view_of(info, 2, napi_uint16_array, "scales");
  View seed = view_of(info, 3, napi_uint32_array, "seed");
  uint32_t rows = count_at(info, 4, "rows");
  uint32_t cols = count_at(info, 5, "cols");
  size_t count = (size_t)rows * cols;
  require(info, rows <= 1 || cols % 64 == 0, "cols: expected a multiple of 64, or one row");
  require(info, x.length >= count, "x: shorter than rows x cols");
  require(info, codes.length >= (count + 1) / 2, "codes: shorter than half a byte an element");
  require(info, scales.length >= (count + 63) / 64, "scales: shorter than one for 64 elements");
  require(info, seed.length == 4, "seed: expected 4 words");
  int64_t group = -1;
  pogo::Status status = pogo::host::quantize4(x.as<float>(), codes.as<uint8_t>(), codes.length, scales.as<uint16_t>(),
                                              scales.length, seed.as<uint32_t>(), rows, cols, &group);
  check(info, status);
  return Napi::Number::New(info.Env(), (double)group);
}

/** dequantize4(codes, scales, x, n). */
Napi::Value dequantize4(const Napi::CallbackInfo& info) {
  View codes = view_of(info, 0, napi_uint8_array, "codes");
  View scales = view_of(info, 1, napi_uint16_array, "scales");
  View x = view_of(info, 2, napi_float32_array, "x");
  uint32_t n = count_at(info, 3, "n");
  require(info, n % 64 == 0, "n: expected a multiple of 64");
  require(info, codes.length >= n / 2 && scales.length >= n / 64 && x.length >= n, "n: beyond an array");
  check(info, pogo::host::dequantize4(codes.as<uint8_t>(), scales.as<uint16_t>(), x.as<float>(), n));
  return info.Env().Undefined();
}

/** blake3Tree(bytes, firstLeaf, tree): every chaining value, level by level, then the root. */
Napi::Value blake3_tree(const Napi::CallbackInfo& info) {
  View bytes = view_of(info, 0, napi_uint8_array, "bytes");
  uint32_t first_leaf = count_at(info, 1, "firstLeaf");
  View tree = view_of(info, 2, napi_uint8_array, "tree");
  require(info, bytes.length > 0, "bytes: expected at least one byte");
  require(info, tree.length >= 32 * pogo::blake3_tree_values((bytes.length + 1023) / 1024), "tree: too short");
  check(info, pogo::host::blake3_tree(bytes.as<uint8_t>(), bytes.length, first_leaf, tree.as<uint8_t>()));
  return info.Env().Undefined();
}

/** diffCodes(a, b, out, bits, add). */
Napi::Value diff_codes(const Napi::CallbackInfo& info) {
  View a = view_of(info, 0, napi_uint8_array, "a");
  View b = view_of(info, 1, napi_uint8_array, "b");
  View out = view_of(info, 2, napi_uint8_array, "out");
  uint32_t bits = count_at(info, 3, "bits");
  require(info, bits == 4 || bits == 8, "bits: expected 4 or 8");
  require(info, a.length == b.length && a.length == out.length, "a, b, out: expected equal lengths");
  bool add = info.Length() > 4 && info[4].ToBoolean();
  check(info, pogo::host::diff_codes(a.as<uint8_t>(), b.as<uint8_t>(), out.as<uint8_t>(), a.length, (int)bits, add));
  return info.Env().Undefined();
}

Napi::Object initialize(Napi::Env env, Napi::Object exports) {
  exports.Set("deviceInfo", Napi::Function::New(env, device_info));
  exports.Set("quantize4", Napi::Function::New(env, quantize4));
  exports.Set("dequantize4", Napi::Function::New(env, dequantize4));
  exports.Set("blake3Tree", Napi::Function::New(env, blake3_tree));
  exports.Set("diffCodes", Napi::Function::New(env, diff_codes));
  return exports;
}

NODE_API_MODULE(pogo_cuda, initialize)

}  // namespace
