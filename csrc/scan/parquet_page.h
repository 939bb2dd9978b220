// Page headers of a Parquet column chunk, read from their Thrift compact form.
//
// Thread safety: pure functions on borrowed bytes.
// Every length is checked against the bytes given, nesting is bounded, and
// unknown fields are skipped; damaged bytes give kCorruption with the path and
// the file offset of the header, never a read past the end.
// Format: parquet-format/src/main/thrift/parquet.thrift, struct PageHeader.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

#include "base/status.h"

namespace segue::scan {

enum class PageType : int32_t { kData = 0, kIndex = 1, kDictionary = 2, kDataV2 = 3 };

// Values as in parquet.thrift.
enum class Encoding : int32_t {
  kPlain = 0,
  kPlainDictionary = 2,
  kRle = 3,
  kBitPacked = 4,
  kDeltaBinaryPacked = 5,
  kDeltaLengthByteArray = 6,
  kDeltaByteArray = 7,
  kRleDictionary = 8,
  kByteStreamSplit = 9,
};

struct PageHeader {
  PageType type = PageType::kData;
  int32_t uncompressed_size = 0;  // of the body, levels included
  int32_t compressed_size = 0;    // as it stands in the file
  int32_t num_values = 0;         // nulls included; entries of a dictionary
  Encoding encoding = Encoding::kPlain;
  Encoding level_encoding = Encoding::kRle;  // definition levels, data page v1
  int32_t num_nulls = 0;                     // v2
  int32_t definition_bytes = 0;              // v2: uncompressed, before the values
  int32_t repetition_bytes = 0;              // v2: uncompressed, before the definition levels
  bool values_compressed = true;             // v2
  size_t header_size = 0;                    // bytes of the header itself
};

// Reads the header at the front of `bytes`, which must reach to the end of the
// chunk: the body has to fit behind the header. `offset` is the place of
// `bytes` in the file `path`, for messages.
Result<PageHeader> ParsePageHeader(std::string_view bytes, const std::string& path, int64_t offset);

}  // namespace segue::scan
