#include "case.h"

#include <stdio.h>
#include <stdlib.h>

#include "../../exact/dither.h"
#include "../blake3_compress.h"
#include "json.h"

namespace test {
namespace {

[[noreturn]] void fail(const std::string& message) {
  fprintf(stderr, "vectors: %s\n", message.c_str());
  exit(2);
}

Type type_of(const std::string& name) {
  if (name == "i8") return Type::I8;
  if (name == "u8") return Type::U8;
  if (name == "u16") return Type::U16;
  if (name == "u32") return Type::U32;
  if (name == "f32") return Type::F32;
  fail("unknown dtype " + name);
}

/** Groups of 64 at the borders of the quantizers, by group number mod 8: edgeBits in src/backend/vectorInputs.ts. */
uint32_t edge_bits(uint32_t i, uint32_t r) {
  uint32_t sign = (r & 1u) << 31;
  switch ((i >> 6) & 7u) {
    case 0: return sign;
    case 1: return sign | ((r >> 1) & 0x7FFFFFu);
    case 2: return sign | (0x0D000000u + ((r >> 9) & 0x7FFFFFu));
    case 3: return sign | (i % 64 == 17 ? 0x0D800000u : 0x0D000000u);
    case 4: return sign | (0x7E000000u + ((r >> 9) & 0x7FFFFFu));
    case 5: return i % 64 == 63 ? sign | 0x3F800000u : 0u;
    case 6: return sign | 0x41200000u;
    default: return sign | ((0x20000000u + (r >> 2)) & 0x7FFFFFFFu);
  }
}

struct Fill {
  std::string rule;
  uint32_t seed, limit;
  int32_t e;
  uint32_t span;
};

uint32_t element_bits(const Fill& fill, uint32_t i) {
  uint32_t r = counter_word(fill.seed, i);
  if (fill.rule == "codes") return r % 255u - 127u;
  if (fill.rule == "extreme") return (r & 1u) == 0 ? 127u : (uint32_t)-127;
  if (fill.rule == "nibbles") return ((r % 15u - 7u) & 15u) | ((((r >> 8) % 15u - 7u) & 15u) << 4);
  if (fill.rule == "values" || fill.rule == "positive") {
    uint32_t exponent = (uint32_t)(127 + fill.e) + ((r >> 23) & 0xFFu) % fill.span;
    return (fill.rule == "values" ? r & 0x80000000u : 0u) | (exponent << 23) | (r & 0x7FFFFFu);
  }
  if (fill.rule == "index") return r % fill.limit;
  if (fill.rule == "words") return r;
  if (fill.rule == "zero") return 0;
  if (fill.rule == "edges") return edge_bits(i, r);
  fail("unknown fill " + fill.rule);
}

Array make_array(const Json& spec) {
  Array array;
  array.type = type_of(spec.at("dtype").text);
  array.count = (size_t)spec.at("length").number;
  const Json* out = spec.find("out");
  array.out = out != nullptr && out->flag;
  Fill fill = {spec.at("fill").text, (uint32_t)spec.number_or("seed", 0), (uint32_t)spec.number_or("limit", 1),
               (int32_t)spec.number_or("e", 0), (uint32_t)spec.number_or("span", 1)};
  size_t size = size_of(array.type);
  array.bytes.resize(array.count * size);
  auto store = [&](size_t i, uint32_t bits) { memcpy(array.bytes.data() + i * size, &bits, size); };
  for (size_t i = 0; i < array.count; i += 1) {
    uint32_t bits = element_bits(fill, (uint32_t)i);
    store(i, array.type == Type::U16 ? bits >> 16 : bits);
  }
  if (const Json* pokes = spec.find("poke")) {
    for (const Json& poke : pokes->items) {
      store((size_t)poke.items.at(0).number, (uint32_t)strtoul(poke.items.at(1).text.c_str(), nullptr, 16));
    }
  }
  return array;
}

Value make_value(const Json& spec) {
  Value value;
  if (spec.kind == Json::NUMBER) {
    value.number = spec.number;
  } else if (spec.kind == Json::FLAG) {
    value.kind = Value::FLAG;
    value.flag = spec.flag;
  } else if (const Json* bits = spec.find("f32")) {
    value.kind = Value::REAL;
    value.real = pogo_of_bits((uint32_t)strtoul(bits->text.c_str(), nullptr, 16));
  } else if (const Json* list = spec.find("list")) {
    value.kind = Value::LIST;
    for (const Json& item : list->items) value.list.push_back(make_array(item));
  } else {
    value.kind = Value::ARRAY;
    value.array = make_array(spec);
  }
  return value;
}

}  // namespace

size_t size_of(Type type) { return type == Type::I8 || type == Type::U8 ? 1 : type == Type::U16 ? 2 : 4; }

uint32_t counter_word(uint32_t seed, uint32_t i) { return pogo_hash(seed, 0x9E3779B9u, i); }

double Case::number(const std::string& name) const {
  auto found = args.find(name);
  if (found == args.end()) fail(operation + ": no argument " + name);
  return found->second.number;
}

Array& Case::array(const std::string& name) {
  auto found = args.find(name);
  if (found == args.end()) fail(operation + ": no argument " + name);
  return found->second.array;
}

void Case::set(const std::string& name, double number) {
  Value value;
  value.number = number;
  args[name] = value;
}

void Case::set_flag(const std::string& name, bool flag) {
  Value value;
  value.kind = Value::FLAG;
  value.flag = flag;
  args[name] = value;
}

void Case::set_real(const std::string& name, float real) {
  Value value;
  value.kind = Value::REAL;
  value.real = real;
  args[name] = value;
}

void Case::set(const std::string& name, Array array) {
  Value value;
  value.kind = Value::ARRAY;
  value.array = std::move(array);
  args[name] = std::move(value);
}

std::vector<Case> read_vectors(const std::string& folder, const std::string& operation) {
  std::string path = folder + "/" + operation + ".json";
  FILE* file = fopen(path.c_str(), "rb");
  if (file == nullptr) fail("cannot open " + path);
  std::string text;
  char buffer[65536];
  for (size_t count; (count = fread(buffer, 1, sizeof buffer, file)) > 0;) text.append(buffer, count);
  fclose(file);
  Json root = JsonReader(text, path).read();
  if (root.at("operation").text != operation) fail(path + ": another operation");
  if (root.at("numerics").number != 1) fail(path + ": another version of the numerics");
  std::vector<Case> cases;
  for (const Json& spec : root.at("cases").items) {
    Case one;
    one.operation = operation;
    one.name = spec.at("name").text;
    for (const auto& argument : spec.at("args").members) one.args[argument.first] = make_value(argument.second);
    if (const Json* throws = spec.find("throws")) one.throws = throws->text;
    if (const Json* outputs = spec.find("outputs")) {
      for (const auto& output : outputs->members) {
        one.answers[output.first] = {(size_t)output.second.at("bytes").number, output.second.at("blake3").text};
      }
    }
    if (one.throws.empty() && one.answers.empty()) fail(path + ": " + one.name + " has no answer");
    cases.push_back(std::move(one));
  }
  if (cases.empty()) fail(path + ": no cases");
  return cases;
}

namespace {

void subtree(const uint8_t* bytes, size_t count, uint64_t chunk, bool root, uint32_t cv[8]) {
  if (count <= POGO_BLAKE3_CHUNK) return pogo_blake3_chunk(bytes, (uint32_t)count, chunk, root, cv);
  // The left part is the largest power of two of chunks that leaves something to the right.
  size_t left = POGO_BLAKE3_CHUNK;
  while (2 * left < count) left *= 2;
  uint32_t children[16];
  subtree(bytes, left, chunk, false, children);
  subtree(bytes + left, count - left, chunk + left / POGO_BLAKE3_CHUNK, false, children + 8);
  pogo_blake3_parent(children, root, cv);
}

}  // namespace

std::string hexadecimal(const uint8_t* bytes) {
  std::string text;
  char digits[3];
  for (int i = 0; i < 32; i += 1) {
    snprintf(digits, sizeof digits, "%02x", bytes[i]);
    text += digits;
  }
  return text;
}

std::string digest(const uint8_t* bytes, size_t count) {
  uint32_t cv[8];
  subtree(bytes, count, 0, true, cv);
  return hexadecimal(reinterpret_cast<const uint8_t*>(cv));
}

}  // namespace test
