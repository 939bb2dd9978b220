#include "events/column_batch.h"

#include <bit>
#include <cstring>

#include "base/hash.h"

namespace segue {

size_t ColumnBatch::memory() const {
  size_t total = seq.capacity() * sizeof(uint64_t);
  for (const ColumnData& column : columns) total += column.memory();
  return total;
}

Interners MakeInterners(const StoreSchema& schema) {
  Interners interners(schema.columns.size());
  for (size_t c = 0; c < schema.columns.size(); ++c) {
    if (schema.columns[c].coded) interners[c] = std::make_unique<Interner>();
  }
  return interners;
}

namespace {

// row_at(i) names the source row of the i-th row to append.
template <typename T, typename RowAt>
void GatherFixed(const ColumnData& from, size_t n, RowAt row_at, ColumnData* to) {
  const size_t old = to->values.size();
  to->values.resize(old + n * sizeof(T));
  uint8_t* out = to->values.data() + old;
  const uint8_t* in = from.values.data();
  for (size_t i = 0; i < n; ++i) std::memcpy(out + i * sizeof(T), in + row_at(i) * sizeof(T), sizeof(T));
}

template <typename RowAt>
void GatherBytes(const ColumnData& from, size_t n, RowAt row_at, ColumnData* to) {
  if (to->offsets.empty()) to->offsets.push_back(0);
  to->offsets.reserve(to->offsets.size() + n);
  size_t position = to->values.size();
  size_t total = position;
  for (size_t i = 0; i < n; ++i) {
    total += from.Bytes(row_at(i)).size();
    to->offsets.push_back(static_cast<uint32_t>(total));
  }
  to->values.resize(total);
  for (size_t i = 0; i < n; ++i) {
    const std::string_view bytes = from.Bytes(row_at(i));
    if (!bytes.empty()) std::memcpy(to->values.data() + position, bytes.data(), bytes.size());
    position += bytes.size();
  }
}

template <typename RowAt>
void GatherColumn(int width, const ColumnData& from, size_t old_rows, size_t n, RowAt row_at, ColumnData* to) {
  switch (width) {
    case 1:
      GatherFixed<uint8_t>(from, n, row_at, to);
      break;
    case 2:
      GatherFixed<uint16_t>(from, n, row_at, to);
      break;
    case 4:
      GatherFixed<uint32_t>(from, n, row_at, to);
      break;
    case 8:
      GatherFixed<uint64_t>(from, n, row_at, to);
      break;
    case 16:
      GatherFixed<__uint128_t>(from, n, row_at, to);
      break;
    default:
      GatherBytes(from, n, row_at, to);
  }
  if (!from.valid.empty() || !to->valid.empty()) {
    if (to->valid.empty()) to->valid.assign(old_rows, 1);
    to->valid.resize(old_rows + n);
    for (size_t i = 0; i < n; ++i) to->valid[old_rows + i] = from.valid.empty() ? 1 : from.valid[row_at(i)];
  }
}

template <typename RowAt>
void Gather(const StoreSchema& schema, const ColumnBatch& from, size_t n, RowAt row_at, const std::vector<bool>& wanted,
            ColumnBatch* to) {
  to->columns.resize(schema.columns.size());
  for (size_t c = 0; c < schema.columns.size(); ++c) {
    if (!wanted.empty() && !wanted[c]) continue;
    GatherColumn(schema.columns[c].width, from.columns[c], to->rows, n, row_at, &to->columns[c]);
  }
  if (!from.seq.empty()) {
    const size_t old = to->seq.size();
    to->seq.resize(old + n);
    for (size_t i = 0; i < n; ++i) to->seq[old + i] = from.seq[row_at(i)];
  }
  to->rows += n;
}

template <typename T>
void PutBigEndian(T value, std::string* out) {
  char bytes[sizeof(T)];
  for (size_t i = 0; i < sizeof(T); ++i) bytes[i] = static_cast<char>((value >> (8 * (sizeof(T) - 1 - i))) & 0xFF);
  out->append(bytes, sizeof(T));
}

template <typename Unsigned>
void PutSigned(Unsigned bits, std::string* out) {
  PutBigEndian(static_cast<Unsigned>(bits ^ (Unsigned{1} << (sizeof(Unsigned) * 8 - 1))), out);
}

// Total order of IEEE floats: negative values have all bits flipped, others the sign bit.
template <typename Unsigned, typename Float>
void PutFloat(Float value, std::string* out) {
  if (value == 0) value = 0;  // -0.0 and 0.0 are one key
  const auto bits = std::bit_cast<Unsigned>(value);
  constexpr Unsigned kSign = Unsigned{1} << (sizeof(Unsigned) * 8 - 1);
  PutBigEndian(static_cast<Unsigned>((bits & kSign) != 0 ? ~bits : bits | kSign), out);
}

// 0x00 becomes 0x00 0xFF and the end is 0x00 0x01, so no key is a prefix of another.
void PutEscaped(std::string_view bytes, std::string* out) {
  for (const char byte : bytes) {
    out->push_back(byte);
    if (byte == '\0') out->push_back('\xFF');
  }
  out->push_back('\0');
  out->push_back('\x01');
}

}  // namespace

void AppendRows(const StoreSchema& schema, const ColumnBatch& from, size_t begin, size_t end,
                const std::vector<bool>& wanted, ColumnBatch* to) {
  Gather(schema, from, end - begin, [begin](size_t i) { return begin + i; }, wanted, to);
}

void AppendRows(const StoreSchema& schema, const ColumnBatch& from, const uint32_t* order, size_t n,
                const std::vector<bool>& wanted, ColumnBatch* to) {
  Gather(schema, from, n, [order](size_t i) -> size_t { return order[i]; }, wanted, to);
}

void EncodeKeyPart(TypeId type, const uint8_t* value, std::string_view bytes, std::string* out) {
  switch (type) {
    case TypeId::kBool:
    case TypeId::kUInt8:
      PutBigEndian(*value, out);
      break;
    case TypeId::kUInt16:
      PutBigEndian(LoadAs<uint16_t>(value), out);
      break;
    case TypeId::kUInt32:
      PutBigEndian(LoadAs<uint32_t>(value), out);
      break;
    case TypeId::kUInt64:
      PutBigEndian(LoadAs<uint64_t>(value), out);
      break;
    case TypeId::kInt8:
      PutSigned(*value, out);
      break;
    case TypeId::kInt16:
      PutSigned(LoadAs<uint16_t>(value), out);
      break;
    case TypeId::kInt32:
    case TypeId::kDate32:
      PutSigned(LoadAs<uint32_t>(value), out);
      break;
    case TypeId::kInt64:
    case TypeId::kTimestamp:
      PutSigned(LoadAs<uint64_t>(value), out);
      break;
    case TypeId::kDecimal128:
      PutSigned(LoadAs<__uint128_t>(value), out);
      break;
    case TypeId::kFloat32:
      PutFloat<uint32_t>(LoadAs<float>(value), out);
      break;
    case TypeId::kFloat64:
      PutFloat<uint64_t>(LoadAs<double>(value), out);
      break;
    case TypeId::kString:
    case TypeId::kBinary:
    case TypeId::kDictionary:
      PutEscaped(bytes, out);
      break;
  }
}

void EncodeKey(const StoreSchema& schema, const ColumnBatch& batch, size_t row, std::string* out) {
  for (const int c : schema.key) {
    const ColumnData& column = batch.columns[static_cast<size_t>(c)];
    const StoreColumn& spec = schema.columns[static_cast<size_t>(c)];
    const auto width = static_cast<size_t>(spec.width);
    EncodeKeyPart(spec.field.type.id, column.values.data() + row * width,
                  width == 0 ? column.Bytes(row) : std::string_view(), out);
  }
}

uint64_t KeyHash(std::string_view encoded_key) { return HashBytes(encoded_key, 0x5365677565ULL); }

}  // namespace segue
