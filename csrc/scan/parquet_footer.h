// Where the column chunks of a Parquet file lie, read from its footer.
//
// Thread safety: a pure function; the result is a plain value.
// Only what a scan of pages needs: the schema is left to Arrow. (Arrow's own
// reader ends the process on some damaged chunk metadata; this one does not.)
// Every length is checked; damage gives kCorruption with the path and offset.
// Format: parquet-format/src/main/thrift/parquet.thrift, struct FileMetaData.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "base/status.h"

namespace segue::scan {

struct ChunkMetadata {
  std::string path;  // names from the root, joined by a dot
  std::string file;  // not empty: the chunk lies in that other file
  bool encrypted = false;
  int32_t type = -1;       // parquet.thrift's Type
  int32_t codec = -1;      // parquet.thrift's CompressionCodec
  uint64_t encodings = 0;  // a bit for each Encoding; 63: all from there on
  int64_t num_values = -1;
  int64_t uncompressed_size = -1;
  int64_t compressed_size = -1;
  int64_t data_page_offset = -1;
  int64_t dictionary_page_offset = -1;  // -1: there is none
};

struct RowGroupMetadata {
  int64_t rows = -1;
  std::vector<ChunkMetadata> chunks;  // in the order of the schema's leaves
};

// `bytes` is the serialized FileMetaData, at `offset` of the file `path`.
Result<std::vector<RowGroupMetadata>> ParseFooter(std::string_view bytes, const std::string& path, int64_t offset);

}  // namespace segue::scan
