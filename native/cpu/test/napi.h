// The part of node-addon-api that native/cpu uses, without Node: addon.cc compiled against this header is an ordinary
// C++ class whose methods a test program calls by name, in any sanitizer, by any compiler, for any machine.
//
// Values are nodes owned by the program until `pogo_release_values`; typed arrays point into the program's memory.
#ifndef POGO_CPU_TEST_NAPI_H
#define POGO_CPU_TEST_NAPI_H

#include <stddef.h>
#include <stdint.h>

#include <exception>
#include <functional>
#include <initializer_list>
#include <map>
#include <memory>
#include <string>
#include <utility>
#include <vector>

enum napi_status { napi_ok, napi_invalid_arg };
// The numbers of js_native_api_types.h: the file of cases uses them.
enum napi_typedarray_type {
  napi_int8_array = 0,
  napi_uint8_array = 1,
  napi_int16_array = 3,
  napi_uint16_array = 4,
  napi_int32_array = 5,
  napi_uint32_array = 6,
  napi_float32_array = 7,
};

struct PogoNode {
  enum Kind { UNDEFINED, BOOLEAN, NUMBER, STRING, OBJECT, ARRAY, TYPED_ARRAY } kind = UNDEFINED;
  double number = 0;
  std::string text;
  std::vector<PogoNode*> items;
  std::map<std::string, PogoNode*> fields;
  napi_typedarray_type type = napi_int8_array;
  size_t count = 0;
  void* data = nullptr;
};
typedef PogoNode* napi_value;
typedef void* napi_env;

inline std::vector<std::unique_ptr<PogoNode>>& pogo_values() {
  static std::vector<std::unique_ptr<PogoNode>> values;
  return values;
}
inline PogoNode* pogo_value(PogoNode::Kind kind) {
  pogo_values().push_back(std::make_unique<PogoNode>());
  pogo_values().back()->kind = kind;
  return pogo_values().back().get();
}
/** Frees every value made so far; only what outlives a call (an addon's exports) must not be read afterwards. */
inline void pogo_release_values() { pogo_values().clear(); }

inline napi_status napi_get_typedarray_info(napi_env, napi_value value, napi_typedarray_type* type, size_t* count,
                                            void** data, napi_value*, size_t*) {
  if (value == nullptr || value->kind != PogoNode::TYPED_ARRAY) return napi_invalid_arg;
  *type = value->type;
  *count = value->count;
  if (data) *data = value->data;
  return napi_ok;
}

namespace Napi {

class Value;

class Env {
 public:
  operator napi_env() const { return nullptr; }
  Value Undefined() const;
};

class Value {
 public:
  Value() : node_(nullptr) {}
  explicit Value(PogoNode* node) : node_(node) {}
  operator napi_value() const { return node_; }
  bool IsNumber() const { return is(PogoNode::NUMBER); }
  bool IsBoolean() const { return is(PogoNode::BOOLEAN); }
  bool IsString() const { return is(PogoNode::STRING); }
  bool IsArray() const { return is(PogoNode::ARRAY); }
  bool IsTypedArray() const { return is(PogoNode::TYPED_ARRAY); }
  bool IsObject() const { return is(PogoNode::OBJECT) || IsArray() || IsTypedArray(); }
  bool IsUndefined() const { return node_ == nullptr || is(PogoNode::UNDEFINED); }
  template <class T>
  T As() const {
    return T(node_);
  }

 protected:
  bool is(PogoNode::Kind kind) const { return node_ != nullptr && node_->kind == kind; }
  PogoNode* node_;
};

inline Value Env::Undefined() const { return Value(pogo_value(PogoNode::UNDEFINED)); }

class Boolean : public Value {
 public:
  using Value::Value;
  static Boolean New(Env, bool value) {
    PogoNode* node = pogo_value(PogoNode::BOOLEAN);
    node->number = value ? 1 : 0;
    return Boolean(node);
  }
  bool Value() const { return node_->number != 0; }
};

class Number : public Value {
 public:
  using Value::Value;
  static Number New(Env, double value) {
    PogoNode* node = pogo_value(PogoNode::NUMBER);
    node->number = value;
    return Number(node);
  }
  double DoubleValue() const { return node_->number; }
  uint32_t Uint32Value() const { return (uint32_t)node_->number; }
  int64_t Int64Value() const { return (int64_t)node_->number; }
};

class String : public Value {
 public:
  using Value::Value;
  static String New(Env, const std::string& text) {
    PogoNode* node = pogo_value(PogoNode::STRING);
    node->text = text;
    return String(node);
  }
  std::string Utf8Value() const { return node_->text; }
};

// What Set accepts as a value.
inline PogoNode* pogo_node(const Value& value) { return value; }
inline PogoNode* pogo_node(const char* text) { return String::New(Env(), text); }
inline PogoNode* pogo_node(const std::string& text) { return String::New(Env(), text); }
inline PogoNode* pogo_node(bool value) { return Boolean::New(Env(), value); }
inline PogoNode* pogo_node(double value) { return Number::New(Env(), value); }

class Object : public Value {
 public:
  using Value::Value;
  static Object New(Env) { return Object(pogo_value(PogoNode::OBJECT)); }
  template <class T>
  void Set(const std::string& name, const T& value) {
    node_->fields[name] = pogo_node(value);
  }
  class Value Get(const std::string& name) const {
    auto found = node_->fields.find(name);
    return found == node_->fields.end() ? Env().Undefined() : Napi::Value(found->second);
  }
};

class Array : public Object {
 public:
  using Object::Object;
  static Array New(Env) { return Array(pogo_value(PogoNode::ARRAY)); }
  uint32_t Length() const { return (uint32_t)node_->items.size(); }
  template <class T>
  void Set(uint32_t at, const T& value) {
    if (node_->items.size() <= at) node_->items.resize(at + 1, nullptr);
    node_->items[at] = pogo_node(value);
  }
  class Value Get(uint32_t at) const { return Napi::Value(node_->items.at(at)); }
};

class Error : public std::exception {
 public:
  static Error New(Env, const std::string& message) { return Error(message); }
  const char* what() const noexcept override { return message_.c_str(); }
  const std::string& Message() const { return message_; }
  void Set(const std::string& name, const String& value) { fields_[name] = value.Utf8Value(); }
  std::string Get(const std::string& name) const {
    auto found = fields_.find(name);
    return found == fields_.end() ? "" : found->second;
  }

 protected:
  explicit Error(std::string message) : message_(std::move(message)) {}

 private:
  std::string message_;
  std::map<std::string, std::string> fields_;
};

class TypeError : public Error {
 public:
  static TypeError New(Env, const std::string& message) { return TypeError(message); }

 private:
  using Error::Error;
};

class CallbackInfo {
 public:
  explicit CallbackInfo(std::vector<PogoNode*> arguments) : arguments_(std::move(arguments)) {}
  Napi::Env Env() const { return Napi::Env(); }
  size_t Length() const { return arguments_.size(); }
  Value operator[](size_t at) const { return at < arguments_.size() ? Value(arguments_[at]) : Value(); }

 private:
  std::vector<PogoNode*> arguments_;
};

/** An addon's exports, by name. */
class AddonBase {
 public:
  typedef std::function<Value(const CallbackInfo&)> Method;
  virtual ~AddonBase() {}
  Value call(const std::string& name, std::vector<PogoNode*> arguments = {}) {
    auto found = methods_.find(name);
    if (found == methods_.end()) throw Error::New(Env(), "the addon exports no " + name);
    return found->second(CallbackInfo(std::move(arguments)));
  }

 protected:
  struct Property {
    const char* name;
    Method method;
  };
  void DefineAddon(Object, std::initializer_list<Property> properties) {
    for (const Property& property : properties) methods_[property.name] = property.method;
  }

 private:
  std::map<std::string, Method> methods_;
};

template <class T>
class Addon : public AddonBase {
 protected:
  template <Value (T::*method)(const CallbackInfo&)>
  Property InstanceMethod(const char* name) {
    T* self = static_cast<T*>(this);
    return {name, [self](const CallbackInfo& info) { return (self->*method)(info); }};
  }
};

}  // namespace Napi

#define NODE_API_ADDON(Class)                                                    \
  std::unique_ptr<Napi::AddonBase> pogo_new_addon() {                            \
    return std::make_unique<Class>(Napi::Env(), Napi::Object::New(Napi::Env())); \
  }

#endif
