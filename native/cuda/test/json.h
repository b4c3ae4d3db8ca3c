// A strict reader of the JSON that the vectors are written in: no comments, no trailing commas, no duplicate names, numbers
// as binary64. Anything else ends the program with the place of the error.
#ifndef POGO_CUDA_TEST_JSON_H
#define POGO_CUDA_TEST_JSON_H

#include <stdio.h>
#include <stdlib.h>

#include <string>
#include <utility>
#include <vector>

namespace test {

struct Json {
  enum Kind { NONE, FLAG, NUMBER, TEXT, LIST, OBJECT };
  Kind kind = NONE;
  bool flag = false;
  double number = 0;
  std::string text;
  std::vector<Json> items;
  std::vector<std::pair<std::string, Json>> members;

  const Json* find(const std::string& name) const {
    for (const auto& member : members) {
      if (member.first == name) return &member.second;
    }
    return nullptr;
  }
  const Json& at(const std::string& name) const {
    const Json* found = find(name);
    if (found == nullptr) {
      fprintf(stderr, "json: no member \"%s\"\n", name.c_str());
      exit(2);
    }
    return *found;
  }
  double number_or(const std::string& name, double otherwise) const {
    const Json* found = find(name);
    return found == nullptr ? otherwise : found->number;
  }
};

class JsonReader {
 public:
  JsonReader(const std::string& text, const std::string& file) : text_(text), file_(file) {}

  Json read() {
    Json value = any();
    space();
    if (at_ != text_.size()) fail("expected the end");
    return value;
  }

 private:
  [[noreturn]] void fail(const char* what) {
    fprintf(stderr, "json: %s: %s at byte %zu\n", file_.c_str(), what, at_);
    exit(2);
  }
  void space() {
    while (at_ < text_.size() && (text_[at_] == ' ' || text_[at_] == '\n' || text_[at_] == '\r' || text_[at_] == '\t')) {
      at_ += 1;
    }
  }
  char peek() {
    space();
    if (at_ >= text_.size()) fail("unexpected end");
    return text_[at_];
  }
  void take(char expected) {
    if (peek() != expected) fail("unexpected character");
    at_ += 1;
  }
  bool word(const char* name) {
    std::string expected = name;
    if (text_.compare(at_, expected.size(), expected) != 0) return false;
    at_ += expected.size();
    return true;
  }

  std::string string() {
    take('"');
    std::string out;
    for (;;) {
      if (at_ >= text_.size()) fail("unexpected end of a string");
      unsigned char c = (unsigned char)text_[at_++];
      if (c == '"') return out;
      if (c < 0x20) fail("control character in a string");
      if (c != '\\') {
        out += (char)c;
        continue;
      }
      char escaped = at_ < text_.size() ? text_[at_++] : '\0';
      switch (escaped) {
        case '"': out += '"'; break;
        case '\\': out += '\\'; break;
        case '/': out += '/'; break;
        case 'n': out += '\n'; break;
        case 't': out += '\t'; break;
        default: fail("an escape that the vectors do not use");
      }
    }
  }

  double parsed_number() {
    const char* begin = text_.c_str() + at_;
    char* end = nullptr;
    double value = strtod(begin, &end);
    if (end == begin) fail("expected a value");
    // strtod takes more than JSON does: hexadecimal, "inf", a leading plus or point.
    for (const char* c = begin; c < end; c += 1) {
      bool legal = (*c >= '0' && *c <= '9') || *c == '-' || *c == '+' || *c == '.' || *c == 'e' || *c == 'E';
      if (!legal) fail("not a number of JSON");
    }
    if (*begin == '+' || *begin == '.') fail("not a number of JSON");
    at_ += (size_t)(end - begin);
    return value;
  }

  Json any() {
    Json value;
    switch (peek()) {
      case '{':
        at_ += 1;
        value.kind = Json::OBJECT;
        if (peek() == '}') {
          at_ += 1;
          return value;
        }
        for (;;) {
          if (peek() != '"') fail("expected a name");
          std::string name = string();
          if (value.find(name) != nullptr) fail("a name that stands twice");
          take(':');
          value.members.emplace_back(name, any());
          if (peek() == ',') {
            at_ += 1;
            continue;
          }
          take('}');
          return value;
        }
      case '[':
        at_ += 1;
        value.kind = Json::LIST;
        if (peek() == ']') {
          at_ += 1;
          return value;
        }
        for (;;) {
          value.items.push_back(any());
          if (peek() == ',') {
            at_ += 1;
            continue;
          }
          take(']');
          return value;
        }
      case '"':
        value.kind = Json::TEXT;
        value.text = string();
        return value;
      default:
        if (word("true")) {
          value.kind = Json::FLAG;
          value.flag = true;
        } else if (word("false")) {
          value.kind = Json::FLAG;
        } else if (word("null")) {
          value.kind = Json::NONE;
        } else {
          value.kind = Json::NUMBER;
          value.number = parsed_number();
        }
        return value;
    }
  }

  const std::string& text_;
  std::string file_;
  size_t at_ = 0;
};

}  // namespace test

#endif
