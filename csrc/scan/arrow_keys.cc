#include "scan/arrow_keys.h"

#include <algorithm>
#include <string_view>

#include "scan/float_key.h"

namespace segue::scan {

namespace {

constexpr size_t kBatch = 4096;

uint64_t NumberAt(const ArrayView& column, int64_t i) {
  const auto widen = [](int64_t v) { return static_cast<uint64_t>(v); };
  switch (column.type.id) {
    case TypeId::kBool:
      return column.BoolAt(i);
    case TypeId::kInt8:
      return widen(column.Values<int8_t>()[i]);
    case TypeId::kInt16:
      return widen(column.Values<int16_t>()[i]);
    case TypeId::kInt32:
    case TypeId::kDate32:
      return widen(column.Values<int32_t>()[i]);
    case TypeId::kUInt8:
      return column.Values<uint8_t>()[i];
    case TypeId::kUInt16:
      return column.Values<uint16_t>()[i];
    case TypeId::kUInt32:
      return column.Values<uint32_t>()[i];
    case TypeId::kFloat32:
      return FloatKey(column.Values<float>()[i]);
    case TypeId::kFloat64:
      return DoubleKey(column.Values<double>()[i]);
    default:  // kInt64, kUInt64, kTimestamp
      return column.Values<uint64_t>()[i];
  }
}

std::string_view BytesAt(const ArrayView& column, int64_t i) {
  if (column.type.id != TypeId::kDecimal128) return column.StringAt(i);
  return {reinterpret_cast<const char*>(column.values) + 16 * i, 16};
}

// Maps the slots that are not NULL, a batch at a time; NULL slots get the NULL id.
template <typename Key, typename KeyAt, typename MapKeys>
Status MapSlots(const ArrayView& column, ValueDictionary* dictionary, uint32_t* ids, KeyAt key_at, MapKeys map_keys) {
  std::vector<Key> keys(kBatch);
  std::vector<uint32_t> mapped(kBatch);
  uint32_t null_id = kDropped;
  bool has_null_id = false;
  for (int64_t start = 0; start < column.length; start += static_cast<int64_t>(kBatch)) {
    const int64_t n = std::min<int64_t>(column.length - start, kBatch);
    size_t present = 0;
    for (int64_t i = 0; i < n; ++i) {
      if (!column.IsNull(start + i)) keys[present++] = key_at(column, start + i);
    }
    SEGUE_RETURN_IF_ERROR(map_keys(keys.data(), present, mapped.data()));
    if (present < static_cast<size_t>(n) && !has_null_id) {
      SEGUE_ASSIGN_OR_RETURN(null_id, dictionary->NullId());
      has_null_id = true;
    }
    size_t next = 0;
    for (int64_t i = 0; i < n; ++i) ids[start + i] = column.IsNull(start + i) ? null_id : mapped[next++];
  }
  return {};
}

Status MapValues(const ArrayView& column, ValueDictionary* dictionary, uint32_t* ids) {
  if (KeyKindOf(column.type) == KeyKind::kNumber) {
    return MapSlots<uint64_t>(column, dictionary, ids, NumberAt, [&](const uint64_t* keys, size_t n, uint32_t* out) {
      return dictionary->MapNumbers(keys, n, out);
    });
  }
  return MapSlots<std::string_view>(
      column, dictionary, ids, BytesAt,
      [&](const std::string_view* keys, size_t n, uint32_t* out) { return dictionary->MapBytes(keys, n, out); });
}

}  // namespace

KeyKind KeyKindOf(const ColumnType& type) {
  switch (type.id) {
    case TypeId::kDecimal128:
    case TypeId::kString:
    case TypeId::kBinary:
    case TypeId::kDictionary:
      return KeyKind::kBytes;
    default:
      return KeyKind::kNumber;
  }
}

Status MapArrowColumn(const ArrayView& column, ValueDictionary* dictionary, std::vector<uint32_t>* ids) {
  ids->resize(static_cast<size_t>(column.length));
  if (column.type.id != TypeId::kDictionary) return MapValues(column, dictionary, ids->data());
  std::vector<uint32_t> entries(static_cast<size_t>(column.dictionary->length));
  SEGUE_RETURN_IF_ERROR(MapValues(*column.dictionary, dictionary, entries.data()));
  uint32_t null_id = kDropped;
  bool has_null_id = false;
  for (int64_t i = 0; i < column.length; ++i) {
    if (!column.IsNull(i)) {
      (*ids)[static_cast<size_t>(i)] = entries[static_cast<size_t>(column.EntryAt(i))];
      continue;
    }
    if (!has_null_id) {
      SEGUE_ASSIGN_OR_RETURN(null_id, dictionary->NullId());
      has_null_id = true;
    }
    (*ids)[static_cast<size_t>(i)] = null_id;
  }
  return {};
}

}  // namespace segue::scan
