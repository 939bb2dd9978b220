#include "events/key_prefixes.h"

#include <string>

#include "events/skiplist.h"

namespace segue {
namespace {

// Of a single fixed-width integer key, without the bytes between.
template <typename Unsigned>
void IntegerPrefixes(const ColumnData& column, size_t rows, bool is_signed, uint64_t* prefixes) {
  constexpr int kBits = static_cast<int>(sizeof(Unsigned)) * 8;
  const Unsigned bias = is_signed ? static_cast<Unsigned>(Unsigned{1} << (kBits - 1)) : Unsigned{0};
  for (size_t row = 0; row < rows; ++row) {
    prefixes[row] = static_cast<uint64_t>(static_cast<Unsigned>(column.Get<Unsigned>(row) ^ bias)) << (64 - kBits);
  }
}

bool SimplePrefixes(const StoreSchema& schema, const ColumnBatch& batch, uint64_t* prefixes) {
  if (schema.key.size() != 1) return false;
  const auto c = static_cast<size_t>(schema.key[0]);
  const ColumnData& column = batch.columns[c];
  switch (schema.columns[c].field.type.id) {
    case TypeId::kInt64:
    case TypeId::kTimestamp:
      IntegerPrefixes<uint64_t>(column, batch.rows, true, prefixes);
      return true;
    case TypeId::kUInt64:
      IntegerPrefixes<uint64_t>(column, batch.rows, false, prefixes);
      return true;
    case TypeId::kInt32:
    case TypeId::kDate32:
      IntegerPrefixes<uint32_t>(column, batch.rows, true, prefixes);
      return true;
    case TypeId::kUInt32:
      IntegerPrefixes<uint32_t>(column, batch.rows, false, prefixes);
      return true;
    default:
      return false;
  }
}

}  // namespace

bool PrefixIsExact(const StoreSchema& schema) {
  int width = 0;
  for (const int c : schema.key) {
    const int column = schema.columns[static_cast<size_t>(c)].width;
    if (column == 0) return false;
    width += column;
  }
  return width <= 8;
}

void KeyPrefixes(const StoreSchema& schema, const ColumnBatch& batch, RawVector<uint64_t>* prefixes) {
  prefixes->resize(batch.rows);
  if (SimplePrefixes(schema, batch, prefixes->data())) return;
  std::string key;
  for (size_t row = 0; row < batch.rows; ++row) {
    key.clear();
    EncodeKey(schema, batch, row, &key);
    (*prefixes)[row] = KeyPrefix(key);
  }
}

}  // namespace segue
