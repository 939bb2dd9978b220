// Column chunks: the columns of an SSTable block as bytes, each encoded in the
// way that is smallest for its data. docs/formats/sstable.md has the grammar.
//
//   kPlain             the values
//   kConstant          one value
//   kFrameOfReference  least value, then bit-packed distances from it
//   kDelta             first value, then bit-packed steps, as distances from the least step
//   kDictionary        distinct values in order of appearance, then a packed index
//   kWords             16-byte values as two packed sequences of 64-bit words
//   kBytes             packed lengths, then the bytes
//   kBytesDictionary   distinct byte strings in order of appearance, then a packed index
//   kAllNull           nothing
//   kModelled          what the file's model of the column does not foretell (value_model.h)
//
// Inputs: any bytes decode to a value or to kInvalid; nothing is read or written
// out of bounds. Nulls must hold zeros (or no bytes), as ColumnData says.
// Allocation: an encoder keeps its scratch; a decoder appends to *out, reusing its memory.
// Cost: encoding makes a few passes over a block that fits the L1 or L2 cache;
// decoding one pass over the wanted rows, a load, shift and mask a value. Rows in
// front of them cost nothing but for deltas and byte strings, whose steps and
// lengths are summed.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "base/status.h"
#include "events/column_batch.h"
#include "events/value_model.h"

namespace segue {

// Persistent: these values stand in files. Never renumber.
enum class Encoding : uint8_t {
  kPlain = 0,
  kConstant = 1,
  kFrameOfReference = 2,
  kDelta = 3,
  kDictionary = 4,
  kWords = 5,
  kBytes = 6,
  kBytesDictionary = 7,
  kAllNull = 8,
  kModelled = 9,  // files of version 2
};
const char* EncodingName(Encoding encoding);

// A block holds at most this many rows; decoders rely on it to bound what a
// damaged length can make them allocate.
inline constexpr size_t kMaxBlockRows = 65536;

// How the values of a column look to the encodings.
struct ColumnShape {
  int width = 0;           // as StoreColumn::width
  bool is_signed = false;  // integers below zero are extended with their sign
  bool is_bool = false;    // only 0 and 1

  static ColumnShape Of(const StoreColumn& column);
};

class ColumnEncoder {
 public:
  // Appends rows [begin, begin + n) of `data` to *out, with the smallest
  // encoding, or with `forced` (kInvalid when the data does not allow it).
  // 0 < n <= kMaxBlockRows. `context` is of these rows.
  Result<Encoding> Encode(const ColumnShape& shape, const ColumnData& data, size_t begin, size_t n,
                          std::optional<Encoding> forced, std::string* out, const BlockContext& context = {});
  // The same for uint64 values without nulls (sequence numbers).
  void EncodeUInt64s(const uint64_t* values, size_t n, const BlockContext& context, std::string* out);

 private:
  Result<Encoding> EncodeFixed(const ColumnShape& shape, std::optional<Encoding> forced, const BlockContext& context,
                               std::string* out);
  Result<Encoding> EncodeBytes(const ColumnData& data, size_t begin, std::optional<Encoding> forced, std::string* out);
  template <typename T>
  bool FindDistinct(size_t limit);

  size_t n_ = 0;
  RawVector<uint8_t> filled_;  // fixed-width values of the rows; nulls repeat a neighbour
  RawVector<uint64_t> words_;  // filled_ as 64-bit integers (16-byte values: the low words)
  RawVector<uint64_t> high_;   // 16-byte values: the high words
  RawVector<uint64_t> index_;  // row -> place in distinct_
  std::string distinct_;       // distinct fixed-width values
  size_t distinct_count_ = 0;
  std::vector<int32_t> slots_;  // hash table of FindDistinct
  ModelCoder coder_;
  std::string modelled_;
};

// What a chunk may need beside its bytes: nothing, unless it is kModelled.
struct DecodeContext {
  BlockContext block;
  ModelCoder* coder = nullptr;
};

inline bool IsModelled(std::string_view chunk) {
  return !chunk.empty() && chunk.front() == static_cast<char>(Encoding::kModelled);
}

// Appends rows [begin, end) of the column in `chunk`, which has `rows` rows, to *out.
// After an error *out may hold some of them.
Status DecodeColumn(const ColumnShape& shape, std::string_view chunk, size_t rows, size_t begin, size_t end,
                    ColumnData* out, const DecodeContext& context = {});
// Replaces *out with the whole column.
Status DecodeColumn(const ColumnShape& shape, std::string_view chunk, size_t rows, ColumnData* out,
                    const DecodeContext& context = {});

// The same for uint64 values without nulls (sequence numbers).
void EncodeUInt64s(const uint64_t* values, size_t n, std::string* out);
Status DecodeUInt64s(std::string_view chunk, size_t rows, size_t begin, size_t end, uint64_t* out,
                     const DecodeContext& context = {});

// Strings outside blocks, as the dictionaries of a file: the body of a kBytes
// column. The views that DecodeStrings gives point into `bytes`.
void EncodeStrings(const std::vector<std::string_view>& strings, std::string* out);
Status DecodeStrings(std::string_view bytes, size_t n, std::vector<std::string_view>* out);

}  // namespace segue
