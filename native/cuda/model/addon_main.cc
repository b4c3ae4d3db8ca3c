// The addon over the device model, for tests: the shipped exports, and one that sets the modelled machine.
#include "../addon.h"
#include "runtime.h"

namespace {

/** modelSettings({major, minor, devices, memory, driver, deferred, lostAt}): changes what is given. */
Napi::Value model_settings(const Napi::CallbackInfo& info) {
  cuda_model::Settings& settings = cuda_model::settings();
  Napi::Object wanted = info[0].As<Napi::Object>();
  auto number = [&](const char* name, auto& field) {
    Napi::Value value = wanted.Get(name);
    if (value.IsNumber()) field = (std::remove_reference_t<decltype(field)>)value.As<Napi::Number>().DoubleValue();
  };
  number("major", settings.major);
  number("minor", settings.minor);
  number("devices", settings.devices);
  number("memory", settings.memory);
  number("driver", settings.driver);
  number("lostAt", settings.lost_at);
  Napi::Value deferred = wanted.Get("deferred");
  if (deferred.IsBoolean()) settings.deferred = deferred.As<Napi::Boolean>().Value();
  return info.Env().Undefined();
}

Napi::Object initialize(Napi::Env env, Napi::Object exports) {
  exports.Set("modelSettings", Napi::Function::New(env, model_settings, "modelSettings"));
  return pogo_cuda_initialize(env, exports);
}

NODE_API_MODULE(pogo_cuda_model, initialize)

}  // namespace
