// A forward reader of Thrift's compact protocol, as far as Parquet metadata needs it.
//
// Thread safety: one thread; it borrows its bytes.
// Every method returns false on damage: nothing is read past the end, nesting
// is bounded, and the count of a container is bounded by the bytes that are left.
#pragma once

#include <cstdint>
#include <string_view>

#include "base/coding.h"

namespace segue::scan {

class ThriftReader {
 public:
  enum WireType : int {
    kStop = 0,
    kTrue = 1,
    kFalse = 2,
    kByte = 3,
    kI16 = 4,
    kI32 = 5,
    kI64 = 6,
    kDouble = 7,
    kBinary = 8,
    kList = 9,
    kSet = 10,
    kMap = 11,
    kStruct = 12,
  };

  explicit ThriftReader(std::string_view bytes) : cursor_(bytes) {}

  size_t remaining() const { return cursor_.remaining(); }

  // Reads a field header. `*type` is kStop at the end of the struct.
  bool Field(int* last_id, int* type) {
    uint8_t byte = 0;
    if (!cursor_.GetFixed(&byte)) return false;
    *type = byte & 0x0F;
    if (byte == 0) return true;
    if (*type == kStop) return false;
    const int delta = byte >> 4;
    if (delta != 0) {
      *last_id += delta;
      return *last_id <= INT16_MAX;
    }
    int64_t id = 0;
    if (!Integer(&id) || id < INT16_MIN || id > INT16_MAX) return false;
    *last_id = static_cast<int>(id);
    return true;
  }

  bool I32(int type, int32_t* out) {
    int64_t value = 0;
    if (type != kI32 || !Integer(&value) || value < INT32_MIN || value > INT32_MAX) return false;
    *out = static_cast<int32_t>(value);
    return true;
  }

  bool I64(int type, int64_t* out) { return type == kI64 && Integer(out); }

  bool Bool(int type, bool* out) {
    if (type != kTrue && type != kFalse) return false;
    *out = type == kTrue;  // the value stands in the field header
    return true;
  }

  bool Binary(int type, std::string_view* out) { return type == kBinary && cursor_.GetLengthPrefixed(out); }

  // Reads the header of a list of `element` values.
  bool List(int type, int element, uint64_t* count) {
    int found = 0;
    return type == kList && ListHeader(&found, count) && (*count == 0 || found == element);
  }

  bool Skip(int type, int depth = 0) {
    if (depth > kMaxDepth) return false;
    uint64_t size = 0;
    std::string_view bytes;
    switch (type) {
      case kTrue:
      case kFalse:
        return true;
      case kByte:
        return cursor_.GetBytes(1, &bytes);
      case kI16:
      case kI32:
      case kI64:
        return cursor_.GetVarint64(&size);
      case kDouble:
        return cursor_.GetBytes(8, &bytes);
      case kBinary:
        return cursor_.GetLengthPrefixed(&bytes);
      case kList:
      case kSet:
        return SkipList(depth);
      case kMap:
        return SkipMap(depth);
      case kStruct: {
        int id = 0;
        int field_type = 0;
        while (true) {
          if (!Field(&id, &field_type)) return false;
          if (field_type == kStop) return true;
          if (!Skip(field_type, depth + 1)) return false;
        }
      }
      default:
        return false;
    }
  }

 private:
  static constexpr int kMaxDepth = 16;  // Parquet's metadata nests 6 deep; it may grow a little

  bool Integer(int64_t* out) {
    uint64_t value = 0;
    if (!cursor_.GetVarint64(&value)) return false;
    *out = UnZigZag(value);
    return true;
  }

  bool SkipElement(int type, int depth) {
    // Inside a container a boolean takes a byte of its own.
    return Skip(type == kTrue || type == kFalse ? static_cast<int>(kByte) : type, depth);
  }

  bool ListHeader(int* element, uint64_t* count) {
    uint8_t head = 0;
    if (!cursor_.GetFixed(&head)) return false;
    *element = head & 0x0F;
    *count = head >> 4;
    if (*count == 15 && !cursor_.GetVarint64(count)) return false;
    return *count <= remaining();  // every element takes a byte at least
  }

  bool SkipList(int depth) {
    int element = 0;
    uint64_t count = 0;
    if (!ListHeader(&element, &count)) return false;
    for (uint64_t i = 0; i < count; ++i) {
      if (!SkipElement(element, depth + 1)) return false;
    }
    return true;
  }

  bool SkipMap(int depth) {
    uint64_t count = 0;
    if (!cursor_.GetVarint64(&count)) return false;
    if (count == 0) return true;
    uint8_t types = 0;
    if (!cursor_.GetFixed(&types) || count > remaining()) return false;
    for (uint64_t i = 0; i < count; ++i) {
      if (!SkipElement(types >> 4, depth + 1) || !SkipElement(types & 0x0F, depth + 1)) return false;
    }
    return true;
  }

  Cursor cursor_;
};

}  // namespace segue::scan
