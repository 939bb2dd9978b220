#include "scan/parquet_page.h"

#include "base/coding.h"

namespace segue::scan {

namespace {

// Wire types of the Thrift compact protocol.
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

constexpr int kMaxDepth = 16;  // a page header nests 3 deep; statistics may grow a little

// A forward reader of one Thrift struct. Every method returns false on damage.
class Thrift {
 public:
  explicit Thrift(std::string_view bytes) : cursor_(bytes) {}

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
      return true;
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

  bool Bool(int type, bool* out) {
    if (type != kTrue && type != kFalse) return false;
    *out = type == kTrue;
    return true;
  }

  bool Skip(int type, int depth) {
    if (depth > kMaxDepth) return false;
    uint64_t size = 0;
    std::string_view bytes;
    switch (type) {
      case kTrue:
      case kFalse:
        return true;  // the value stands in the field header
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

  bool SkipList(int depth) {
    uint8_t head = 0;
    if (!cursor_.GetFixed(&head)) return false;
    uint64_t count = head >> 4;
    if (count == 15 && !cursor_.GetVarint64(&count)) return false;
    if (count > remaining()) return false;  // every element takes a byte at least
    for (uint64_t i = 0; i < count; ++i) {
      if (!SkipElement(head & 0x0F, depth + 1)) return false;
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

// What the page-kind struct of a header gave.
struct KindFields {
  bool values = false;
  bool encoding = false;
};

bool ReadKind(Thrift* in, PageType kind, PageHeader* out, KindFields* seen) {
  int id = 0;
  int type = 0;
  while (true) {
    if (!in->Field(&id, &type)) return false;
    if (type == kStop) return true;
    int32_t number = 0;
    const bool v2 = kind == PageType::kDataV2;
    if (id == 1) {
      if (!in->I32(type, &out->num_values)) return false;
      seen->values = true;
    } else if (id == (v2 ? 4 : 2)) {
      if (!in->I32(type, &number)) return false;
      out->encoding = static_cast<Encoding>(number);
      seen->encoding = true;
    } else if (kind == PageType::kData && id == 3) {
      if (!in->I32(type, &number)) return false;
      out->level_encoding = static_cast<Encoding>(number);
    } else if (v2 && id == 2) {
      if (!in->I32(type, &out->num_nulls)) return false;
    } else if (v2 && id == 5) {
      if (!in->I32(type, &out->definition_bytes)) return false;
    } else if (v2 && id == 6) {
      if (!in->I32(type, &out->repetition_bytes)) return false;
    } else if (v2 && id == 7) {
      if (!in->Bool(type, &out->values_compressed)) return false;
    } else if (!in->Skip(type, 2)) {
      return false;
    }
  }
}

bool ReadHeader(Thrift* in, PageHeader* out, const char** problem) {
  int id = 0;
  int type = 0;
  int32_t page_type = -1;
  bool sizes[2] = {false, false};
  PageHeader kinds[4];
  KindFields seen[4];
  *problem = "its fields do not parse";
  while (true) {
    if (!in->Field(&id, &type)) return false;
    if (type == kStop) break;
    int kind = -1;
    if (id == 5) kind = static_cast<int>(PageType::kData);
    if (id == 7) kind = static_cast<int>(PageType::kDictionary);
    if (id == 8) kind = static_cast<int>(PageType::kDataV2);
    if (id == 1) {
      if (!in->I32(type, &page_type)) return false;
    } else if (id == 2 || id == 3) {
      if (!in->I32(type, id == 2 ? &out->uncompressed_size : &out->compressed_size)) return false;
      sizes[id - 2] = true;
    } else if (kind >= 0) {
      if (type != kStruct || !ReadKind(in, static_cast<PageType>(kind), &kinds[kind], &seen[kind])) return false;
    } else if (!in->Skip(type, 1)) {
      return false;
    }
  }
  if (page_type < 0 || page_type > 3 || !sizes[0] || !sizes[1]) {
    *problem = "the page type or a size is missing";
    return false;
  }
  const int32_t uncompressed = out->uncompressed_size;
  const int32_t compressed = out->compressed_size;
  *out = kinds[page_type];
  out->type = static_cast<PageType>(page_type);
  out->uncompressed_size = uncompressed;
  out->compressed_size = compressed;
  if (out->type == PageType::kIndex) return true;
  if (!seen[page_type].values || !seen[page_type].encoding) {
    *problem = "the value count or the encoding is missing";
    return false;
  }
  *problem = "a count or size is negative or does not fit";
  if (out->num_values < 0 || out->definition_bytes < 0 || out->repetition_bytes < 0) return false;
  const int64_t levels = static_cast<int64_t>(out->definition_bytes) + out->repetition_bytes;
  return levels <= compressed && levels <= uncompressed;
}

}  // namespace

Result<PageHeader> ParsePageHeader(std::string_view bytes, const std::string& path, int64_t offset) {
  Thrift in(bytes);
  PageHeader header;
  const char* problem = nullptr;
  bool ok = ReadHeader(&in, &header, &problem);
  if (ok && (header.compressed_size < 0 || header.uncompressed_size < 0)) {
    ok = false;
    problem = "a size is negative";
  }
  if (ok && static_cast<size_t>(header.compressed_size) > in.remaining()) {
    ok = false;
    problem = "the page reaches past the end of its column chunk";
  }
  if (!ok) {
    return Status::Corruption(
        path, offset, "damaged Parquet page header in " + path + " at byte " + std::to_string(offset) + ": " + problem);
  }
  header.header_size = bytes.size() - in.remaining();
  return header;
}

}  // namespace segue::scan
