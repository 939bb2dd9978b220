#include "scan/parquet_page.h"

#include "scan/thrift_compact.h"

namespace segue::scan {

namespace {

// What the page-kind struct of a header gave.
struct KindFields {
  bool values = false;
  bool encoding = false;
};

bool ReadKind(ThriftReader* in, PageType kind, PageHeader* out, KindFields* seen) {
  int id = 0;
  int type = 0;
  while (true) {
    if (!in->Field(&id, &type)) return false;
    if (type == ThriftReader::kStop) return true;
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

bool ReadHeader(ThriftReader* in, PageHeader* out, const char** problem) {
  int id = 0;
  int type = 0;
  int32_t page_type = -1;
  bool sizes[2] = {false, false};
  PageHeader kinds[4];
  KindFields seen[4];
  *problem = "its fields do not parse";
  while (true) {
    if (!in->Field(&id, &type)) return false;
    if (type == ThriftReader::kStop) break;
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
      if (type != ThriftReader::kStruct || !ReadKind(in, static_cast<PageType>(kind), &kinds[kind], &seen[kind]))
        return false;
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
  ThriftReader in(bytes);
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
