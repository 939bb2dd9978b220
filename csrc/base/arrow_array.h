// Reading and making Arrow arrays through the C data interface.
//
// ArrayView    a borrowed, typed view of one column of an imported array
// BatchReader  an imported record batch: owns the ArrowArray, gives views
// StreamReader pulls record batches from an ArrowArrayStream
// ExportColumn, ExportBatch, ExportStream   the way out
//
// Thread safety: views are const and may be shared while their batch lives;
// a StreamReader belongs to one thread at a time.
// Ownership: BatchReader releases its array when destroyed. An exported array
// keeps the `owner` of each of its columns alive until the consumer releases it.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "base/arrow_abi.h"
#include "base/schema.h"
#include "base/status.h"

namespace segue {

enum class StringLayout : uint8_t { kNone, kOffsets32, kOffsets64, kView };

// Buffers of a column of any supported type. `values` is already advanced by
// the array's offset for byte-sized fixed-width values; validity and booleans
// are bitmaps, to be read at bit `offset + i`.
class ArrayView {
 public:
  ColumnType type;
  int64_t length = 0;
  int64_t offset = 0;
  const uint8_t* validity = nullptr;  // null: no nulls
  const uint8_t* values = nullptr;    // fixed-width values; bool bitmap (use BoolAt); dictionary indices
  StringLayout layout = StringLayout::kNone;
  // kDictionary only:
  int index_width = 4;
  bool index_signed = true;
  std::shared_ptr<const ArrayView> dictionary;

  bool MayHaveNulls() const { return validity != nullptr; }
  bool IsNull(int64_t i) const {
    if (validity == nullptr) return false;
    const int64_t bit = offset + i;
    return ((validity[bit >> 3] >> (bit & 7)) & 1) == 0;
  }
  bool BoolAt(int64_t i) const {
    const int64_t bit = offset + i;
    return ((values[bit >> 3] >> (bit & 7)) & 1) != 0;
  }
  template <typename T>
  const T* Values() const {
    return reinterpret_cast<const T*>(values);
  }
  // The memory of an array may be changed by its owner while it is read. Then
  // some value is read, and never one outside of the array's buffers as they were
  // when the view was made. A second look may find another one: where the first
  // was measured and room made for it, the second is to be checked against that.

  // kString and kBinary, any layout; undefined for a null slot. Empty where it lies outside.
  std::string_view StringAt(int64_t i) const {
    std::string_view value;
    return StringWithin(i, &value) ? value : std::string_view();
  }
  // The same, and false where it lies outside.
  bool StringWithin(int64_t i, std::string_view* out) const;
  // kDictionary: calls fn with the indices as an array of their own type.
  template <typename Fn>
  auto WithIndices(Fn&& fn) const {
    switch (index_width) {
      case 1:
        return index_signed ? fn(Values<int8_t>()) : fn(Values<uint8_t>());
      case 2:
        return index_signed ? fn(Values<int16_t>()) : fn(Values<uint16_t>());
      case 4:
        return index_signed ? fn(Values<int32_t>()) : fn(Values<uint32_t>());
      default:
        return fn(Values<int64_t>());
    }
  }
  // kDictionary: the index of slot i (not null), widened, as it stands there.
  int64_t IndexAt(int64_t i) const {
    return WithIndices([i](const auto* indices) { return static_cast<int64_t>(indices[i]); });
  }
  // kDictionary: the same, or the last entry when it is outside of the dictionary.
  int64_t EntryAt(int64_t i) const {
    const int64_t index = IndexAt(i);
    const int64_t last = dictionary->length - 1;
    return static_cast<uint64_t>(index) <= static_cast<uint64_t>(last) ? index : last;
  }
  // Strings: both read the same memory, hence (while both live) hold the same values.
  bool SharesBuffers(const ArrayView& other) const {
    return offsets_ == other.offsets_ && bytes_ == other.bytes_ && variadic_ == other.variadic_ &&
           validity == other.validity && length == other.length && offset == other.offset;
  }

 private:
  friend Result<ArrayView> MakeView(const Field&, const ArrowSchema&, const ArrowArray&);
  std::shared_ptr<const std::vector<uint8_t>> all_null_;  // `validity` where no slot may ever hold a value
  const void* offsets_ = nullptr;
  const uint8_t* bytes_ = nullptr;
  const void** variadic_ = nullptr;  // string_view data buffers
  int64_t variadics_ = 0;
  const int64_t* variadic_sizes_ = nullptr;
  int64_t first_byte_ = 0;  // the strings of the view lie in [first_byte_, last_byte_) of bytes_
  int64_t last_byte_ = 0;
};

// Checks buffer presence and, for dictionaries, that every valid index is in range: a dictionary without
// entries has none.
Result<ArrayView> MakeView(const Field& field, const ArrowSchema& schema, const ArrowArray& array);

class BatchReader {
 public:
  // Takes over `array` (sets array->release to null), also on failure.
  static Result<BatchReader> Make(const Schema& schema, const ArrowSchema& arrow_schema, ArrowArray* array);
  BatchReader(BatchReader&&) noexcept;
  BatchReader& operator=(BatchReader&&) noexcept;
  ~BatchReader();

  int64_t rows() const { return array_.length; }
  const std::vector<ArrayView>& columns() const { return columns_; }

 private:
  BatchReader() = default;
  ArrowArray array_{};
  std::vector<ArrayView> columns_;
};

class StreamReader {
 public:
  // Takes over `stream` (sets stream->release to null), also on failure. `take_null`: as SchemaFromArrow.
  static Result<StreamReader> Make(ArrowArrayStream* stream, bool take_null = false);
  StreamReader(StreamReader&&) noexcept;
  StreamReader& operator=(StreamReader&&) noexcept;
  ~StreamReader();

  const Schema& schema() const { return schema_; }
  const ArrowSchema& arrow_schema() const { return arrow_schema_; }
  // nullptr at the end of the stream.
  Result<std::unique_ptr<BatchReader>> Next();

 private:
  StreamReader() = default;
  void Release();
  ArrowArrayStream stream_{};
  ArrowSchema arrow_schema_{};
  Schema schema_;
};

// One column on its way out. Pointers must stay valid while `owner` lives.
// kBool: `values` is a bitmap. Strings: `offsets` is int32[length + 1], `values` the bytes.
// kDictionary: `values` is int32 codes and `dictionary` the strings.
struct ExportColumn {
  const uint8_t* validity = nullptr;  // bitmap; null: no nulls
  int64_t null_count = 0;             // -1: unknown
  const void* values = nullptr;
  const int32_t* offsets = nullptr;
  std::shared_ptr<const ExportColumn> dictionary;
  int64_t dictionary_length = 0;
  std::shared_ptr<const void> owner;
};

void ExportBatch(const Schema& schema, int64_t rows, std::vector<ExportColumn> columns, ArrowArray* out);

// `next` fills `out` and returns true, or returns false at the end. It may be
// called from any one thread at a time; it is destroyed on release.
using NextBatch = std::function<Result<bool>(ArrowArray* out)>;
void ExportStream(const Schema& schema, NextBatch next, ArrowArrayStream* out);

}  // namespace segue
