// RowLayout: rows packed to one fixed width, for sorting and spilling.
//
//   row  := values by falling width (16, 8, 4, 2, 1 bytes) nulls pad
//   value of string, binary := offset:u32 length:u32 into the heap of the run or block
//   value of dictionary     := code:i32 in the job's StringDictionary
//   value of bool           := one byte, 0 or 1
//   nulls := one bit a nullable column, set when null; its value is then zero
//   pad   := to a multiple of 4 bytes
//
// Thread safety: const after Make. Packing writes only what the caller gives.
// Alignment: none assumed; rows are read and written with memcpy.
#pragma once

#include <cstdint>
#include <string_view>
#include <vector>

#include "base/coding.h"
#include "pipeline/array_values.h"
#include "pipeline/buffer.h"
#include "pipeline/dictionary_mapper.h"

namespace segue {

struct RowRef {
  const uint8_t* row = nullptr;
  const uint8_t* heap = nullptr;  // what the row's string offsets count from
};

struct RowColumn {
  Field field;
  uint32_t offset = 0;
  uint32_t width = 0;
  int32_t null_bit = -1;  // counted from the start of the null bytes; -1: never null

  bool IsNull(const uint8_t* row, uint32_t nulls_offset) const {
    return null_bit >= 0 && ((row[nulls_offset + (static_cast<uint32_t>(null_bit) >> 3)] >> (null_bit & 7)) & 1) != 0;
  }
  std::string_view BytesOf(RowRef ref) const {
    return {reinterpret_cast<const char*>(ref.heap) + LoadAs<uint32_t>(ref.row + offset),
            LoadAs<uint32_t>(ref.row + offset + 4)};
  }
};

class RowLayout {
 public:
  static RowLayout Make(const std::vector<Field>& fields);

  uint32_t stride() const { return stride_; }
  uint32_t nulls_offset() const { return nulls_offset_; }
  uint32_t nulls_bytes() const { return nulls_bytes_; }
  bool has_variable() const { return !variable_.empty(); }
  const std::vector<RowColumn>& columns() const { return columns_; }
  const std::vector<uint32_t>& variable() const { return variable_; }  // indices of string and binary columns

  // Zeroes the null bytes of n rows; to be called before PackColumn.
  void ClearNulls(uint8_t* rows, int64_t n) const;
  // Bytes that `selection` of a string or binary view takes in a heap.
  static uint64_t HeapBytes(const ArrayView& view, const Selection& selection);
  // Packs a column of the selected rows. `heap` must have room for HeapBytes
  // more (variable columns only); `mapper` is for dictionary columns, already begun.
  // Sets *nulls when a null was met. kSchema: a null in a column declared without. kInvalid: the heap has too
  // little room, as the owner of the view's memory changed it since HeapBytes.
  Status PackColumn(size_t column, const ArrayView& view, const Selection& selection, uint8_t* rows, Buffer* heap,
                    DictionaryMapper* mapper, bool* nulls) const;
  // Packs 32-bit values of the engine's own into a column of width 4.
  void PackUInt32(size_t column, const uint32_t* values, int64_t n, uint8_t* rows) const;

  // Bytes that the row's strings hold.
  uint64_t HeapBytes(RowRef ref) const;
  // Copies a row to `row`, its strings to the end of `heap` (room reserved),
  // whose first byte `heap_base` counts as offset 0.
  void CopyRow(RowRef from, uint8_t* row, Buffer* heap, size_t heap_base) const;

 private:
  std::vector<RowColumn> columns_;
  std::vector<uint32_t> variable_;
  uint32_t stride_ = 0;
  uint32_t nulls_offset_ = 0;
  uint32_t nulls_bytes_ = 0;
};

}  // namespace segue
