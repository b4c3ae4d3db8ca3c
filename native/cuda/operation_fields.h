// The arguments of every operation as data: one function names the fields of its struct in order, and a visitor does the
// rest: describes them to TypeScript, fills them from a tape's words, or from host arrays. So an operation's fields are
// listed once, and memory safety (type, length, place of every array) is checked in one place.
#ifndef POGO_CUDA_OPERATION_FIELDS_H
#define POGO_CUDA_OPERATION_FIELDS_H

#include <stddef.h>
#include <stdint.h>

#include <type_traits>

namespace pogo {

/** Element types as src/model/tape.ts names them. */
enum class Element { f32, bf16, i8, u8, u32 };

template <class T>
constexpr Element element_of() {
  using U = std::remove_cv_t<T>;
  if constexpr (std::is_same_v<U, float>) return Element::f32;
  if constexpr (std::is_same_v<U, uint16_t>) return Element::bf16;
  if constexpr (std::is_same_v<U, int8_t>) return Element::i8;
  if constexpr (std::is_same_v<U, uint8_t>) return Element::u8;
  static_assert(std::is_same_v<U, float> || std::is_same_v<U, uint16_t> || std::is_same_v<U, int8_t> ||
                    std::is_same_v<U, uint8_t> || std::is_same_v<U, uint32_t>,
                "an element type of the tape");
  return Element::u32;
}

constexpr size_t element_bytes(Element type) {
  return type == Element::f32 || type == Element::u32 ? 4 : type == Element::bf16 ? 2 : 1;
}

/** One array of device memory, as a field hands it on. */
struct DeviceArray {
  void* data = nullptr;
  uint64_t length = 0;
};

/** What walks over the fields. Scalars come before the arrays whose lengths they give. */
class Fields {
 public:
  virtual ~Fields() = default;
  virtual void u32(const char* name, uint32_t& value) = 0;
  virtual void u64(const char* name, uint64_t& value) = 0;
  virtual void f32(const char* name, float& value) = 0;
  virtual void flag(const char* name, bool& value) = 0;

  /** An array that is only read, of at least `length` elements. @returns how many it has */
  template <class T>
  uint64_t in(const char* name, const T*& pointer, uint64_t length) {
    DeviceArray found = array(name, element_of<T>(), false, length, false);
    pointer = static_cast<const T*>(found.data);
    return found.length;
  }
  /** The same, or empty: then null. */
  template <class T>
  uint64_t in_or_empty(const char* name, const T*& pointer, uint64_t length) {
    DeviceArray found = array(name, element_of<T>(), false, length, true);
    pointer = static_cast<const T*>(found.data);
    return found.length;
  }
  /** An array that is written, and may be read before. */
  template <class T>
  uint64_t out(const char* name, T*& pointer, uint64_t length) {
    DeviceArray found = array(name, element_of<T>(), true, length, false);
    pointer = static_cast<T*>(found.data);
    return found.length;
  }
  template <class T>
  uint64_t out_or_empty(const char* name, T*& pointer, uint64_t length) {
    DeviceArray found = array(name, element_of<T>(), true, length, true);
    pointer = static_cast<T*>(found.data);
    return found.length;
  }

  /** Several arrays of `length` elements each; `list(i)` is asked afterwards. @returns how many */
  virtual uint32_t arrays(const char* name, Element type, bool written, uint64_t length) = 0;
  /** Array `index` of the list that was visited `before` lists ago (0: the last one). */
  virtual DeviceArray array_at(uint32_t before, uint32_t index) = 0;
  /** Copies host bytes to where the operation can read them on the device. */
  virtual const void* constant(const void* data, size_t bytes) = 0;
  /** Refuses arguments. Never returns. */
  virtual void refuse(const char* name, const char* expected) = 0;

 protected:
  virtual DeviceArray array(const char* name, Element type, bool written, uint64_t length, bool may_be_empty) = 0;
};

}  // namespace pogo

#endif
