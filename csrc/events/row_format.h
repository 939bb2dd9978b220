// RowFormat: one event as packed bytes, as the row-at-a-time path passes it
// from Python through the WAL into the skiplist.
//
//   null bitmap   ceil(columns / 8) bytes, bit c set: column c is null
//   slots         in schema order, unaligned: the value of a fixed-width
//                 column, or u32 offset (from the row's start) and u32 length
//                 of bytes; dictionary columns are bytes here
//   heap          the bytes
//
// Rows stand in WAL records: the layout is part of the WAL format (docs/formats/wal.md).
// Thread safety: immutable after construction.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "base/status.h"
#include "events/column_batch.h"
#include "events/store_schema.h"

namespace segue {

class RowFormat {
 public:
  explicit RowFormat(const StoreSchema* schema);

  struct Slot {
    uint32_t offset;
    int width;  // 0: bytes (u32 offset, u32 length)
  };
  const std::vector<Slot>& slots() const { return slots_; }
  uint32_t fixed_size() const { return fixed_size_; }

  // Lengths, offsets and required columns; a row that passes is safe to decode.
  Status Check(std::string_view row) const;

  bool IsNull(const uint8_t* row, size_t column) const { return (row[column >> 3] >> (column & 7)) & 1; }
  std::string_view BytesAt(const uint8_t* row, size_t column) const {
    const uint8_t* slot = row + slots_[column].offset;
    return {reinterpret_cast<const char*>(row) + LoadAs<uint32_t>(slot), LoadAs<uint32_t>(slot + 4)};
  }
  int64_t TimeAt(const uint8_t* row) const {
    return LoadAs<int64_t>(row + slots_[static_cast<size_t>(schema_->time)].offset);
  }

  // Appends the packed form of one row of `batch` to `out`.
  void Pack(const Interners& interners, const ColumnBatch& batch, size_t row, std::string* out) const;
  // Appends checked rows to `batch`, column by column (its seq is not touched).
  void Unpack(const Interners& interners, const std::vector<const uint8_t*>& rows, ColumnBatch* batch) const;
  // The encoded key of a checked row (see EncodeKey); appends to `out`.
  void EncodeRowKey(const uint8_t* row, std::string* out) const;

 private:
  void UnpackCodes(Interner* interner, size_t column, const std::vector<const uint8_t*>& rows, ColumnData* to) const;
  void UnpackBytes(size_t column, const std::vector<const uint8_t*>& rows, ColumnData* to) const;

  const StoreSchema* schema_;
  std::vector<Slot> slots_;
  uint32_t fixed_size_ = 0;
};

}  // namespace segue
