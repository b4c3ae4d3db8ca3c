// The Node-API side of the CUDA kernels. Loads without a GPU and without a driver: only `deviceInfo` works then, and says why.
//
// TypeScript (src/backend/cudaAddon.ts) checks shapes and values; here only what memory safety needs is checked again.
// Calls are synchronous. Arrays may be views of SharedArrayBuffers. Lanes, tapes and whole-array calls belong to one
// environment and go with it; models belong to the process and live as long as one environment holds them.
#include "addon.h"

#include <map>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "device_runtime.h"

namespace {

using Info = Napi::CallbackInfo;

/** An error that TypeScript translates: `code` and what belongs to it. */
Napi::Error coded(Napi::Env env, const char* code, const std::string& message) {
  Napi::Error error = Napi::Error::New(env, message);
  error.Set("code", Napi::String::New(env, code));
  return error;
}

/** Runs `work`; what it throws becomes an Error of JavaScript. */
template <class Work>
auto guarded(Napi::Env env, Work work) -> decltype(work()) {
  try {
    return work();
  } catch (const pogo::CudaError& failure) {
    Napi::Error error = coded(env, "CUDA", failure.what());
    error.Set("cudaCode", Napi::Number::New(env, failure.code));
    error.Set("kernel", Napi::String::New(env, failure.where));
    error.Set("deviceLost", Napi::Boolean::New(env, failure.lost));
    throw error;
  } catch (const pogo::MemoryError& failure) {
    Napi::Error error = coded(env, "MEMORY", failure.what());
    error.Set("needed", Napi::Number::New(env, (double)failure.needed));
    error.Set("available", Napi::Number::New(env, (double)failure.available));
    throw error;
  } catch (const pogo::ArgumentError& failure) {
    throw coded(env, "ARGUMENT", failure.what());
  } catch (const std::bad_alloc&) {
    throw coded(env, "ARGUMENT", "the host has no memory left");
  }
}

struct Array {
  void* data = nullptr;
  size_t length = 0;
  size_t bytes = 0;
  pogo::Element type = pogo::Element::u8;
};

/** Start and length of a typed array. Works for views of shared memory too. */
bool array_of(napi_env env, napi_value value, Array* out) {
  bool is_array = false;
  if (napi_is_typedarray(env, value, &is_array) != napi_ok || !is_array) return false;
  napi_typedarray_type type;
  if (napi_get_typedarray_info(env, value, &type, &out->length, &out->data, nullptr, nullptr) != napi_ok) return false;
  switch (type) {
    case napi_float32_array:
      out->type = pogo::Element::f32;
      break;
    case napi_uint16_array:
      out->type = pogo::Element::bf16;
      break;
    case napi_int8_array:
      out->type = pogo::Element::i8;
      break;
    case napi_uint8_array:
      out->type = pogo::Element::u8;
      break;
    case napi_uint32_array:
      out->type = pogo::Element::u32;
      break;
    default:
      return false;
  }
  out->bytes = out->length * pogo::element_bytes(out->type);
  return true;
}

Array array_at(const Info& info, size_t index, const char* name) {
  Array found;
  if (index >= info.Length() || !array_of(info.Env(), info[index], &found)) {
    throw coded(info.Env(), "ARGUMENT", std::string(name) + ": expected a typed array of the tape's types");
  }
  return found;
}

double number_of(Napi::Env env, const Napi::Value& value, const char* name) {
  double found = value.IsNumber() ? value.As<Napi::Number>().DoubleValue() : -1;
  if (!(found >= 0 && found <= 9007199254740991.0) || found != (double)(uint64_t)found) {
    throw coded(env, "ARGUMENT", std::string(name) + ": expected a non-negative integer");
  }
  return found;
}

uint64_t integer_at(const Info& info, size_t index, const char* name) {
  return (uint64_t)number_of(info.Env(), index < info.Length() ? Napi::Value(info[index]) : info.Env().Undefined(), name);
}

Napi::Object object_of(Napi::Env env, const Napi::Value& value, const char* name) {
  if (!value.IsObject()) throw coded(env, "ARGUMENT", std::string(name) + ": expected an object");
  return value.As<Napi::Object>();
}

pogo::Place place_of(Napi::Env env, const Napi::Object& object, const char* space, const char* offset) {
  double number = number_of(env, object.Get(space), space);
  if (number > 1) throw coded(env, "ARGUMENT", std::string(space) + ": expected 0 or 1");
  return {(uint32_t)number, (uint64_t)number_of(env, object.Get(offset), offset)};
}

Array data_of(Napi::Env env, const Napi::Object& object) {
  Array found;
  if (!array_of(env, object.Get("data"), &found)) throw coded(env, "ARGUMENT", "data: expected a typed array");
  return found;
}

pogo::Region region_of(Napi::Env env, const Napi::Value& value, const char* name) {
  Napi::Object object = object_of(env, value, name);
  return {(uint64_t)number_of(env, object.Get("offset"), "offset"), (uint64_t)number_of(env, object.Get("bytes"), "bytes")};
}

Napi::Value failure_value(Napi::Env env, const pogo::DeviceFailure& failure) {
  if (!failure.any) return env.Undefined();
  Napi::Object result = Napi::Object::New(env);
  result.Set("entry", failure.entry);
  result.Set("kind", failure.kind);
  result.Set("index", (double)failure.index);
  return result;
}

/** What one environment holds. Handles are numbers that are never given twice: a foreign one is refused, not followed. */
struct Held {
  std::map<uint32_t, std::shared_ptr<pogo::DeviceModel>> models;
  struct LaneTapes {
    // The lane goes last: its tapes are bound to it.
    std::unique_ptr<pogo::Lane> lane;
    std::map<uint32_t, std::unique_ptr<pogo::Tape>> tapes;
  };
  std::map<uint32_t, LaneTapes> lanes;
  std::map<uint32_t, std::unique_ptr<pogo::HostCalls>> calls;
  uint32_t next = 1;
};

Held& held(Napi::Env env) { return *env.GetInstanceData<Held>(); }

Held::LaneTapes& lane_at(const Info& info) {
  Held& all = held(info.Env());
  auto found = all.lanes.find((uint32_t)integer_at(info, 0, "lane"));
  if (found == all.lanes.end()) throw coded(info.Env(), "ARGUMENT", "lane: expected one of this thread, found a foreign handle");
  return found->second;
}

/** deviceInfo(): {runtime, driver, reason, devices}; `reason` is empty if a device can be used. */
Napi::Value device_info(const Info& info) {
  Napi::Env env = info.Env();
  pogo::Devices found = guarded(env, []() { return pogo::list_devices(); });
  Napi::Array devices = Napi::Array::New(env);
  uint32_t at = 0;
  for (const pogo::DeviceDescription& device : found.devices) {
    Napi::Object entry = Napi::Object::New(env);
    entry.Set("name", device.name);
    entry.Set("major", device.major);
    entry.Set("minor", device.minor);
    entry.Set("multiprocessors", device.multiprocessors);
    entry.Set("memoryBytes", (double)device.memory_bytes);
    devices.Set(at++, entry);
  }
  Napi::Object result = Napi::Object::New(env);
  result.Set("runtime", found.runtime);
  result.Set("driver", found.driver);
  result.Set("reason", found.reason);
  result.Set("devices", devices);
  return result;
}

/** operations(): [{name, fields: [{name, type, kind, written}]}], the number of an operation being its index. */
Napi::Value operations(const Info& info) {
  Napi::Env env = info.Env();
  Napi::Array result = Napi::Array::New(env);
  uint32_t at = 0;
  for (const pogo::OperationInfo& operation : pogo::describe_operations()) {
    Napi::Array fields = Napi::Array::New(env);
    uint32_t number = 0;
    for (const pogo::FieldInfo& field : operation.fields) {
      Napi::Object entry = Napi::Object::New(env);
      entry.Set("name", field.name);
      entry.Set("type", field.type);
      entry.Set("kind", field.kind);
      entry.Set("written", field.written);
      fields.Set(number++, entry);
    }
    Napi::Object entry = Napi::Object::New(env);
    entry.Set("name", operation.name);
    entry.Set("fields", fields);
    result.Set(at++, entry);
  }
  return result;
}

/** counters(): {toDevice, fromDevice, operations, graphs} of the process. */
Napi::Value counters(const Info& info) {
  Napi::Object result = Napi::Object::New(info.Env());
  pogo::Transferred bytes = pogo::transferred();
  result.Set("toDevice", (double)bytes.to_device);
  result.Set("fromDevice", (double)bytes.from_device);
  result.Set("operations", (double)pogo::operations_run());
  result.Set("graphs", (double)pogo::graphs_launched());
  return result;
}

/** freeBytes(device). */
Napi::Value free_bytes(const Info& info) {
  return guarded(info.Env(), [&]() -> Napi::Value {
    return Napi::Number::New(info.Env(), (double)pogo::free_bytes((int)integer_at(info, 0, "device")));
  });
}

/** openCalls(device): a handle for call(). */
Napi::Value open_calls(const Info& info) {
  return guarded(info.Env(), [&]() -> Napi::Value {
    Held& all = held(info.Env());
    auto calls = pogo::HostCalls::open((int)integer_at(info, 0, "device"));
    all.calls[all.next] = std::move(calls);
    return Napi::Number::New(info.Env(), all.next++);
  });
}

/** call(handle, operation, values): numbers, booleans, typed arrays or lists of them, in the order of the fields. */
Napi::Value call(const Info& info) {
  Napi::Env env = info.Env();
  Held& all = held(env);
  auto calls = all.calls.find((uint32_t)integer_at(info, 0, "calls"));
  if (calls == all.calls.end()) throw coded(env, "ARGUMENT", "calls: expected a handle of this thread");
  size_t operation = (size_t)integer_at(info, 1, "operation");
  if (info.Length() < 3 || !info[2].IsArray()) throw coded(env, "ARGUMENT", "values: expected an array");
  Napi::Array list = info[2].As<Napi::Array>();
  std::vector<pogo::HostValue> values(list.Length());
  auto host_array = [&](const Napi::Value& value) {
    Array found;
    if (!array_of(env, value, &found)) throw coded(env, "ARGUMENT", "values: expected typed arrays of the tape's types");
    return pogo::HostArray{found.data, found.length, found.type};
  };
  for (uint32_t i = 0; i < values.size(); i += 1) {
    Napi::Value value = list[i];
    if (value.IsNumber()) {
      values[i].number = value.As<Napi::Number>().DoubleValue();
    } else if (value.IsBoolean()) {
      values[i].number = value.As<Napi::Boolean>().Value() ? 1 : 0;
    } else if (value.IsArray()) {
      Napi::Array arrays = value.As<Napi::Array>();
      values[i].is_list = true;
      for (uint32_t j = 0; j < arrays.Length(); j += 1) values[i].arrays.push_back(host_array(arrays[j]));
    } else {
      values[i].is_array = true;
      values[i].arrays.push_back(host_array(value));
    }
  }
  return guarded(env, [&]() { return failure_value(env, calls->second->call(operation, values)); });
}

/** tapeNeeds(device, words): {workspace, constants} in bytes. */
Napi::Value tape_needs(const Info& info) {
  return guarded(info.Env(), [&]() -> Napi::Value {
    int device = (int)integer_at(info, 0, "device");
    if (info.Length() < 2 || !info[1].IsTypedArray() || info[1].As<Napi::TypedArray>().TypedArrayType() != napi_float64_array) {
      throw coded(info.Env(), "ARGUMENT", "words: expected a Float64Array");
    }
    Napi::Float64Array words = info[1].As<Napi::Float64Array>();
    pogo::TapeNeeds needs = pogo::tape_needs(device, words.Data(), words.ElementLength());
    Napi::Object result = Napi::Object::New(info.Env());
    result.Set("workspace", (double)needs.workspace);
    result.Set("constants", (double)needs.constants);
    return result;
  });
}

/** createModel(device, sharedBytes, laneBytes, lanes): a number that holds in the whole process. */
Napi::Value create_model(const Info& info) {
  return guarded(info.Env(), [&]() -> Napi::Value {
    int device = (int)integer_at(info, 0, "device");
    uint64_t lanes = integer_at(info, 3, "lanes");
    if (lanes == 0 || lanes > 1024) throw coded(info.Env(), "ARGUMENT", "lanes: expected 1 to 1024");
    auto model = pogo::DeviceModel::create(device, integer_at(info, 1, "sharedBytes"), integer_at(info, 2, "laneBytes"),
                                           (uint32_t)lanes);
    held(info.Env()).models[model->id()] = model;
    return Napi::Number::New(info.Env(), model->id());
  });
}

/** releaseModel(model): this environment lets go of it; its memory is free once no lane has it. */
Napi::Value release_model(const Info& info) {
  held(info.Env()).models.erase((uint32_t)integer_at(info, 0, "model"));
  return info.Env().Undefined();
}

/** attachLane(model, stagingBytes): a lane of this environment. */
Napi::Value attach_lane(const Info& info) {
  return guarded(info.Env(), [&]() -> Napi::Value {
    Held& all = held(info.Env());
    auto model = pogo::DeviceModel::find((uint32_t)integer_at(info, 0, "model"));
    if (model == nullptr) throw coded(info.Env(), "ARGUMENT", "model: expected one that somebody holds, found none");
    Held::LaneTapes entry;
    entry.lane = pogo::Lane::attach(model, integer_at(info, 1, "stagingBytes"));
    all.lanes[all.next] = std::move(entry);
    return Napi::Number::New(info.Env(), all.next++);
  });
}

/** detachLane(lane): ends it and its tapes. */
Napi::Value detach_lane(const Info& info) {
  lane_at(info).tapes.clear();
  held(info.Env()).lanes.erase((uint32_t)integer_at(info, 0, "lane"));
  return info.Env().Undefined();
}

/** bindTape(lane, words, constants, workspace): a handle for runTape(); regions are {offset, bytes} of the lane. */
Napi::Value bind_tape(const Info& info) {
  return guarded(info.Env(), [&]() -> Napi::Value {
    Napi::Env env = info.Env();
    Held::LaneTapes& entry = lane_at(info);
    if (info.Length() < 4 || !info[1].IsTypedArray() || info[1].As<Napi::TypedArray>().TypedArrayType() != napi_float64_array) {
      throw coded(env, "ARGUMENT", "words: expected a Float64Array");
    }
    Napi::Float64Array words = info[1].As<Napi::Float64Array>();
    auto tape = entry.lane->bind(words.Data(), words.ElementLength(), region_of(env, info[2], "constants"),
                                 region_of(env, info[3], "workspace"));
    uint32_t handle = held(env).next++;
    entry.tapes[handle] = std::move(tape);
    return Napi::Number::New(env, handle);
  });
}

/** releaseTape(lane, tape). */
Napi::Value release_tape(const Info& info) {
  lane_at(info).tapes.erase((uint32_t)integer_at(info, 1, "tape"));
  return info.Env().Undefined();
}

/**
 * runTape(lane, tape, uploads, downloads, copies): undefined, or the lowest failure {entry, kind, index}.
 * uploads [{space, offset, data}], downloads [{after, overlap, space, offset, data}] by ascending `after`,
 * copies [{fromSpace, fromOffset, toSpace, toOffset, bytes}].
 */
Napi::Value run_tape(const Info& info) {
  Napi::Env env = info.Env();
  Held::LaneTapes& entry = lane_at(info);
  auto tape = entry.tapes.find((uint32_t)integer_at(info, 1, "tape"));
  if (tape == entry.tapes.end()) throw coded(env, "ARGUMENT", "tape: expected one of this lane, found a foreign handle");
  for (size_t i = 2; i < 5; i += 1) {
    if (i >= info.Length() || !info[i].IsArray()) throw coded(env, "ARGUMENT", "uploads, downloads, copies: expected arrays");
  }
  std::vector<pogo::Upload> uploads;
  Napi::Array list = info[2].As<Napi::Array>();
  for (uint32_t i = 0; i < list.Length(); i += 1) {
    Napi::Object each = object_of(env, list[i], "upload");
    Array data = data_of(env, each);
    uploads.push_back({place_of(env, each, "space", "offset"), data.data, data.bytes});
  }
  std::vector<pogo::Download> downloads;
  list = info[3].As<Napi::Array>();
  for (uint32_t i = 0; i < list.Length(); i += 1) {
    Napi::Object each = object_of(env, list[i], "download");
    Array data = data_of(env, each);
    uint32_t after = (uint32_t)number_of(env, each.Get("after"), "after");
    downloads.push_back({after, each.Get("overlap").ToBoolean(), place_of(env, each, "space", "offset"), data.data, data.bytes});
  }
  std::vector<pogo::Copy> copies;
  list = info[4].As<Napi::Array>();
  for (uint32_t i = 0; i < list.Length(); i += 1) {
    Napi::Object each = object_of(env, list[i], "copy");
    copies.push_back({place_of(env, each, "fromSpace", "fromOffset"), place_of(env, each, "toSpace", "toOffset"),
                      (uint64_t)number_of(env, each.Get("bytes"), "bytes")});
  }
  return guarded(env, [&]() { return failure_value(env, entry.lane->run(*tape->second, uploads, downloads, copies)); });
}

/** upload(lane, space, offset, data). */
Napi::Value upload(const Info& info) {
  Held::LaneTapes& entry = lane_at(info);
  pogo::Place place = {(uint32_t)integer_at(info, 1, "space"), integer_at(info, 2, "offset")};
  Array data = array_at(info, 3, "data");
  guarded(info.Env(), [&]() { entry.lane->upload(place, data.data, data.bytes); });
  return info.Env().Undefined();
}

/** download(lane, space, offset, data). */
Napi::Value download(const Info& info) {
  Held::LaneTapes& entry = lane_at(info);
  pogo::Place place = {(uint32_t)integer_at(info, 1, "space"), integer_at(info, 2, "offset")};
  Array data = array_at(info, 3, "data");
  guarded(info.Env(), [&]() { entry.lane->download(place, data.data, data.bytes); });
  return info.Env().Undefined();
}

}  // namespace

Napi::Object pogo_cuda_initialize(Napi::Env env, Napi::Object exports) {
  env.SetInstanceData<Held>(new Held);
  const std::pair<const char*, Napi::Value (*)(const Info&)> functions[] = {
      {"deviceInfo", device_info},     {"operations", operations},   {"counters", counters},
      {"freeBytes", free_bytes},       {"openCalls", open_calls},    {"call", call},
      {"tapeNeeds", tape_needs},       {"createModel", create_model}, {"releaseModel", release_model},
      {"attachLane", attach_lane},     {"detachLane", detach_lane},  {"bindTape", bind_tape},
      {"releaseTape", release_tape},   {"runTape", run_tape},        {"upload", upload},
      {"download", download},
  };
  for (const auto& [name, function] : functions) exports.Set(name, Napi::Function::New(env, function, name));
  return exports;
}
