// Reading one column of one row group as dense group ids.
//
// Each page decides for itself: dictionary codes go through the map of the
// chunk's dictionary page (code -> id), values of other encodings through the
// ValueDictionary. NULLs become its NULL id.
//
// Thread safety: one thread; the ValueDictionary is shared and takes care of itself.
// Ownership: borrows the chunk's bytes, the kernels, the dictionary and the
// decompressor until the last Read. Bytes a Decompressor returns stay valid
// until its next call with the same slot.
// Invariants: nothing outside the chunk's bytes is read; every size, count and
// code of the file is checked first; damage gives kCorruption(path, offset).
// An encoding or level form that is not handled gives kUnsupported.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "base/status.h"
#include "scan/bit_unpack.h"
#include "scan/kernels.h"
#include "scan/parquet_page.h"
#include "scan/value_decoder.h"
#include "scan/value_dictionary.h"

namespace segue::scan {

// Inflates page bodies.
class Decompressor {
 public:
  virtual ~Decompressor() = default;
  // The `size` bytes that `input` inflates to. Errors are kInvalid (the bytes are damaged) or kMemory.
  virtual Result<std::string_view> Decompress(size_t slot, std::string_view input, size_t size) = 0;
};

struct ColumnChunk {
  std::string_view bytes;         // dictionary page first, then the data pages
  int64_t offset = 0;             // of `bytes` in the file
  int64_t num_values = 0;         // as the footer says
  int64_t uncompressed_size = 0;  // as the footer says: bounds what a page may claim
  PhysicalType type = PhysicalType::kInt64;
  int32_t fixed_length = 0;              // kFixedBytes
  bool nullable = false;                 // max definition level 1, else 0
  Decompressor* decompressor = nullptr;  // nullptr: pages are not compressed
};

class ColumnReader {
 public:
  // `slot` tells the columns of one row group apart to the decompressor.
  ColumnReader(const ScanKernels& kernels, ValueDictionary* dictionary, size_t slot);

  // Starts on a chunk of the file `path`.
  Status Open(const ColumnChunk& chunk, const std::string& path);
  // Writes the ids of the next n rows (n <= kMaxRead); `out` has kKernelPad slots more.
  Status Read(size_t n, uint32_t* out);

  static constexpr size_t kMaxRead = 4096;

 private:
  enum class Values : uint8_t { kNone, kCodes, kKeys };

  Status Damaged(const std::string& what) const;
  Status NextPage();
  Result<std::string_view> Inflate(std::string_view body, size_t size);
  Status LoadDictionary(const PageHeader& header, std::string_view body);
  Status StartPage(const PageHeader& header, std::string_view body);
  Status StartValues(const PageHeader& header, std::string_view values);
  Status ReadPart(size_t n, uint32_t* out);
  Status ReadValues(size_t n, uint32_t* out);
  Status MapNext(size_t n, uint32_t* out);
  Status BooleanMap();
  Status NeedNullId();

  const ScanKernels& kernels_;
  ValueDictionary* const dictionary_;
  const size_t slot_;

  ColumnChunk chunk_;
  std::string path_;
  bool has_null_id_ = false;
  uint32_t null_id_ = kDropped;

  size_t next_page_ = 0;     // position in chunk_.bytes
  int64_t page_offset_ = 0;  // of the current page in the file, for messages
  bool has_map_ = false;
  std::vector<uint32_t> map_;  // dictionary code -> id

  uint64_t page_left_ = 0;  // rows of the current page not yet read
  bool page_levels_ = false;
  HybridReader levels_;
  Values values_ = Values::kNone;
  HybridReader codes_;
  ValueDecoder decoder_;

  std::vector<uint32_t> level_buffer_;
  std::vector<uint32_t> packed_buffer_;
  std::vector<uint64_t> number_buffer_;
  std::vector<std::string_view> view_buffer_;
};

}  // namespace segue::scan
