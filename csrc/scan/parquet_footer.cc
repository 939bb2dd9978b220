#include "scan/parquet_footer.h"

#include <algorithm>

#include "scan/thrift_compact.h"

namespace segue::scan {

namespace {

// Calls read(id, type) for each field of a struct; it is to consume the field.
template <typename Read>
bool ReadStruct(ThriftReader* in, Read read) {
  int id = 0;
  int type = 0;
  while (true) {
    if (!in->Field(&id, &type)) return false;
    if (type == ThriftReader::kStop) return true;
    if (!read(id, type)) return false;
  }
}

bool ReadEncodings(ThriftReader* in, int type, uint64_t* encodings) {
  uint64_t count = 0;
  if (!in->List(type, ThriftReader::kI32, &count)) return false;
  for (uint64_t i = 0; i < count; ++i) {
    int32_t encoding = 0;
    if (!in->I32(ThriftReader::kI32, &encoding) || encoding < 0) return false;
    *encodings |= uint64_t{1} << std::min(encoding, 63);
  }
  return true;
}

bool ReadPath(ThriftReader* in, int type, std::string* path) {
  uint64_t count = 0;
  if (!in->List(type, ThriftReader::kBinary, &count)) return false;
  for (uint64_t i = 0; i < count; ++i) {
    std::string_view name;
    if (!in->Binary(ThriftReader::kBinary, &name)) return false;
    if (i > 0) path->push_back('.');
    path->append(name);
  }
  return true;
}

bool ReadChunkMetadata(ThriftReader* in, ChunkMetadata* out) {
  return ReadStruct(in, [&](int id, int type) {
    switch (id) {
      case 1:
        return in->I32(type, &out->type);
      case 2:
        return ReadEncodings(in, type, &out->encodings);
      case 3:
        return ReadPath(in, type, &out->path);
      case 4:
        return in->I32(type, &out->codec);
      case 5:
        return in->I64(type, &out->num_values);
      case 6:
        return in->I64(type, &out->uncompressed_size);
      case 7:
        return in->I64(type, &out->compressed_size);
      case 9:
        return in->I64(type, &out->data_page_offset);
      case 11:
        return in->I64(type, &out->dictionary_page_offset);
      default:
        return in->Skip(type, 4);
    }
  });
}

bool ReadChunk(ThriftReader* in, ChunkMetadata* out) {
  return ReadStruct(in, [&](int id, int type) {
    std::string_view file;
    switch (id) {
      case 1:
        if (!in->Binary(type, &file)) return false;
        out->file = file;
        return true;
      case 3:
        return type == ThriftReader::kStruct && ReadChunkMetadata(in, out);
      case 8:  // crypto_metadata
      case 9:  // encrypted_column_metadata
        out->encrypted = true;
        return in->Skip(type, 3);
      default:
        return in->Skip(type, 3);
    }
  });
}

bool ReadRowGroup(ThriftReader* in, RowGroupMetadata* out) {
  return ReadStruct(in, [&](int id, int type) {
    if (id == 3) return in->I64(type, &out->rows);
    if (id != 1) return in->Skip(type, 2);
    uint64_t count = 0;
    if (!in->List(type, ThriftReader::kStruct, &count)) return false;
    for (uint64_t i = 0; i < count; ++i) {
      out->chunks.emplace_back();  // grows with the bytes that are really there
      if (!ReadChunk(in, &out->chunks.back())) return false;
    }
    return true;
  });
}

}  // namespace

Result<std::vector<RowGroupMetadata>> ParseFooter(std::string_view bytes, const std::string& path, int64_t offset) {
  std::vector<RowGroupMetadata> groups;
  ThriftReader in(bytes);
  const bool parsed = ReadStruct(&in, [&](int id, int type) {
    if (id != 4) return in.Skip(type, 1);
    uint64_t count = 0;
    if (!in.List(type, ThriftReader::kStruct, &count)) return false;
    for (uint64_t i = 0; i < count; ++i) {
      groups.emplace_back();
      if (!ReadRowGroup(&in, &groups.back())) return false;
    }
    return true;
  });
  const auto damaged = [&](const std::string& what) {
    return Status::Corruption(path, offset, "damaged Parquet footer of " + path + ": " + what);
  };
  if (!parsed) return damaged("it does not parse");
  for (const RowGroupMetadata& group : groups) {
    if (group.rows < 0) return damaged("a row group of " + std::to_string(group.rows) + " rows");
    if (group.chunks.size() != groups.front().chunks.size()) return damaged("row groups of different columns");
  }
  return groups;
}

}  // namespace segue::scan
