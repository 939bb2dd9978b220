#include "pipeline/row_layout.h"

#include <string>

namespace segue {

RowLayout RowLayout::Make(const std::vector<Field>& fields) {
  RowLayout layout;
  int32_t bits = 0;
  for (const Field& field : fields) {
    RowColumn column;
    column.field = field;
    column.width = IsVariable(field.type.id) ? 8 : static_cast<uint32_t>(TypeWidth(field.type.id));
    column.null_bit = field.nullable ? bits++ : -1;
    if (IsVariable(field.type.id)) layout.variable_.push_back(static_cast<uint32_t>(layout.columns_.size()));
    layout.columns_.push_back(std::move(column));
  }
  uint32_t offset = 0;
  for (const uint32_t width : {16U, 8U, 4U, 2U, 1U}) {
    for (RowColumn& column : layout.columns_) {
      if (column.width != width) continue;
      column.offset = offset;
      offset += width;
    }
  }
  layout.nulls_offset_ = offset;
  layout.nulls_bytes_ = static_cast<uint32_t>(bits + 7) / 8;
  layout.stride_ = (offset + layout.nulls_bytes_ + 3) / 4 * 4;
  return layout;
}

void RowLayout::ClearNulls(uint8_t* rows, int64_t n) const {
  if (nulls_offset_ == stride_) return;
  for (int64_t i = 0; i < n; ++i) std::memset(rows + i * stride_ + nulls_offset_, 0, stride_ - nulls_offset_);
}

uint64_t RowLayout::HeapBytes(const ArrayView& view, const Selection& selection) {
  uint64_t bytes = 0;
  for (int64_t i = 0; i < selection.n; ++i) {
    const int64_t at = selection.At(i);
    if (!view.IsNull(at)) bytes += view.StringAt(at).size();
  }
  return bytes;
}

namespace {

// Calls put(i, source row) for every row that is not null, null(i) for the others.
template <typename Put, typename Null>
void ForEach(const ArrayView& view, const Selection& selection, Put put, Null null) {
  if (!MayHoldNulls(view)) {
    if (selection.chosen == nullptr) {
      for (int64_t i = 0; i < selection.n; ++i) put(i, selection.begin + i);
    } else {
      for (int64_t i = 0; i < selection.n; ++i) put(i, selection.begin + selection.chosen[i]);
    }
    return;
  }
  for (int64_t i = 0; i < selection.n; ++i) {
    const int64_t at = selection.At(i);
    if (IsNullValue(view, at)) {
      null(i);
    } else {
      put(i, at);
    }
  }
}

}  // namespace

Status RowLayout::PackColumn(size_t column_index, const ArrayView& view, const Selection& selection, uint8_t* rows,
                             Buffer* heap, DictionaryMapper* mapper, bool* nulls) const {
  const RowColumn& column = columns_[column_index];
  const size_t stride = stride_;
  uint8_t* const first = rows + column.offset;
  bool met_null = false;
  bool changed = false;
  const auto null = [&](int64_t i) {
    met_null = true;
    uint8_t* row = rows + static_cast<size_t>(i) * stride;
    std::memset(row + column.offset, 0, column.width);
    if (column.null_bit >= 0) {
      uint8_t& bits = row[nulls_offset_ + (static_cast<uint32_t>(column.null_bit) >> 3)];
      bits = static_cast<uint8_t>(bits | (1U << (column.null_bit & 7)));
    }
  };
  const auto fixed = [&]<typename T>(T) {
    const T* values = view.Values<T>();
    ForEach(
        view, selection,
        [&](int64_t i, int64_t at) { StoreAs<T>(first + static_cast<size_t>(i) * stride, values[at]); }, null);
  };
  switch (column.field.type.id) {
    case TypeId::kBool:
      ForEach(
          view, selection,
          [&](int64_t i, int64_t at) { first[static_cast<size_t>(i) * stride] = view.BoolAt(at) ? 1 : 0; }, null);
      break;
    case TypeId::kString:
    case TypeId::kBinary:
      ForEach(
          view, selection,
          [&](int64_t i, int64_t at) {
            std::string_view value = view.StringAt(at);
            if (value.size() > heap->capacity() - heap->size()) {  // longer than HeapBytes found it
              changed = true;
              value = {};
            }
            uint8_t* slot = first + static_cast<size_t>(i) * stride;
            StoreAs<uint32_t>(slot, static_cast<uint32_t>(heap->size()));
            StoreAs<uint32_t>(slot + 4, static_cast<uint32_t>(value.size()));
            heap->AppendUnchecked(value.data(), value.size());
          },
          null);
      break;
    case TypeId::kDictionary:
      ForEach(
          view, selection,
          [&](int64_t i, int64_t at) {
            StoreAs<int32_t>(first + static_cast<size_t>(i) * stride, mapper->Map(view.EntryAt(at)));
          },
          null);
      break;
    default:
      switch (column.width) {
        case 1:
          fixed(uint8_t{});
          break;
        case 2:
          fixed(uint16_t{});
          break;
        case 4:
          fixed(uint32_t{});
          break;
        case 8:
          fixed(uint64_t{});
          break;
        default:
          ForEach(
              view, selection,
              [&](int64_t i, int64_t at) {
                std::memcpy(first + static_cast<size_t>(i) * stride, view.values + 16 * at, 16);
              },
              null);
      }
  }
  if (changed) {
    return Status::Invalid("the memory of column '" + column.field.name +
                           "' changed while it was read; leave it alone until the call has returned");
  }
  if (met_null) {
    if (column.null_bit < 0) {
      return Status::Schema(column.field.name, "column '" + column.field.name +
                                                   "' is declared not nullable but holds a null; declare it nullable");
    }
    *nulls = true;
  }
  return Status();
}

void RowLayout::PackUInt32(size_t column, const uint32_t* values, int64_t n, uint8_t* rows) const {
  uint8_t* first = rows + columns_[column].offset;
  for (int64_t i = 0; i < n; ++i) StoreAs<uint32_t>(first + i * stride_, values[i]);
}

uint64_t RowLayout::HeapBytes(RowRef ref) const {
  uint64_t bytes = 0;
  for (const uint32_t c : variable_) bytes += LoadAs<uint32_t>(ref.row + columns_[c].offset + 4);
  return bytes;
}

void RowLayout::CopyRow(RowRef from, uint8_t* row, Buffer* heap, size_t heap_base) const {
  std::memcpy(row, from.row, stride_);
  for (const uint32_t c : variable_) {
    const std::string_view value = columns_[c].BytesOf(from);
    StoreAs<uint32_t>(row + columns_[c].offset, static_cast<uint32_t>(heap->size() - heap_base));
    heap->AppendUnchecked(value.data(), value.size());
  }
}

}  // namespace segue
