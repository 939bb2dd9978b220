#include "events/key_hashes.h"

#include <type_traits>

namespace segue {

namespace {

inline void Push(uint64_t hash, RawVector<uint64_t>* out) {
  if (out->empty() || out->back() != hash) out->push_back(hash);
}

template <typename T>
T ByteSwap(T value) {
  if constexpr (sizeof(T) == 2) return __builtin_bswap16(value);
  if constexpr (sizeof(T) == 4) return __builtin_bswap32(value);
  if constexpr (sizeof(T) == 8) return __builtin_bswap64(value);
  return value;
}

// EncodeKey of one integer column, without the string.
template <typename T>
void Integers(const ColumnData& column, bool is_signed, size_t begin, size_t end, RawVector<uint64_t>* out) {
  const T sign = is_signed ? static_cast<T>(T{1} << (sizeof(T) * 8 - 1)) : T{0};
  T previous{};
  for (size_t row = begin; row < end; ++row) {
    const T value = column.Get<T>(row);
    if (row > begin && value == previous) continue;
    previous = value;
    const T encoded = ByteSwap(static_cast<T>(value ^ sign));
    Push(KeyHash(std::string_view(reinterpret_cast<const char*>(&encoded), sizeof(T))), out);
  }
}

}  // namespace

void AppendKeyHashes(const StoreSchema& schema, const ColumnBatch& batch, size_t begin, size_t end,
                     RawVector<uint64_t>* out) {
  if (schema.key.size() == 1) {
    const auto c = static_cast<size_t>(schema.key[0]);
    const ColumnData& column = batch.columns[c];
    switch (schema.columns[c].field.type.id) {
      case TypeId::kInt8:
        return Integers<uint8_t>(column, true, begin, end, out);
      case TypeId::kInt16:
        return Integers<uint16_t>(column, true, begin, end, out);
      case TypeId::kInt32:
      case TypeId::kDate32:
        return Integers<uint32_t>(column, true, begin, end, out);
      case TypeId::kInt64:
      case TypeId::kTimestamp:
        return Integers<uint64_t>(column, true, begin, end, out);
      case TypeId::kUInt8:
        return Integers<uint8_t>(column, false, begin, end, out);
      case TypeId::kUInt16:
        return Integers<uint16_t>(column, false, begin, end, out);
      case TypeId::kUInt32:
        return Integers<uint32_t>(column, false, begin, end, out);
      case TypeId::kUInt64:
        return Integers<uint64_t>(column, false, begin, end, out);
      default:
        break;
    }
  }
  std::string key;
  for (size_t row = begin; row < end; ++row) {
    key.clear();
    EncodeKey(schema, batch, row, &key);
    Push(KeyHash(key), out);
  }
}

}  // namespace segue
