#include "pipeline/broadcast_join.h"

#include <algorithm>
#include <bit>
#include <cmath>
#include <limits>

#include "base/coding.h"
#include "base/hash.h"

namespace segue {

namespace {

constexpr uint32_t kUnknown = kNoMatch - 1;
constexpr int64_t kMaxRows = kUnknown;
constexpr uint64_t kAlwaysDense = 1 << 16;  // a range that costs nothing
constexpr uint64_t kDensePerRow = 8;        // else at most so many slots a row
constexpr int32_t kFewDistinct = 1 << 16;   // strings with at most so many values become codes

enum class Family : uint8_t { kBool, kInteger, kDate, kTimestamp, kFloat, kDecimal, kText, kBinary };

Family FamilyOf(TypeId id) {
  switch (id) {
    case TypeId::kBool:
      return Family::kBool;
    case TypeId::kDate32:
      return Family::kDate;
    case TypeId::kTimestamp:
      return Family::kTimestamp;
    case TypeId::kFloat32:
    case TypeId::kFloat64:
      return Family::kFloat;
    case TypeId::kDecimal128:
      return Family::kDecimal;
    case TypeId::kString:
    case TypeId::kDictionary:
      return Family::kText;
    case TypeId::kBinary:
      return Family::kBinary;
    default:
      return Family::kInteger;
  }
}

bool KeyedByBytes(TypeId id) {
  const Family family = FamilyOf(id);
  return family == Family::kDecimal || family == Family::kText || family == Family::kBinary;
}

uint64_t DoubleBits(double value) {
  if (value == 0) value = 0;  // -0.0
  if (std::isnan(value)) value = std::numeric_limits<double>::quiet_NaN();
  return std::bit_cast<uint64_t>(value);
}

// Calls visit(convert) where convert(const uint8_t* values, int64_t i, uint64_t* bits) gives value i
// of a fixed-width column of type `from` (a bool: a byte) in the key's 64-bit form, or false when
// no key of type `key` can equal it.
template <typename Visit>
void WithBits(const ColumnType& from, const ColumnType& key, Visit visit) {
  const auto integer = [&]<typename T>(T) {
    if (key.id == TypeId::kUInt64 && std::is_signed_v<T>) {
      visit([](const uint8_t* values, int64_t i, uint64_t* bits) {
        const T value = reinterpret_cast<const T*>(values)[i];
        *bits = static_cast<uint64_t>(static_cast<int64_t>(value));
        return !(value < 0);
      });
    } else if (key.id != TypeId::kUInt64 && std::is_same_v<T, uint64_t>) {
      visit([](const uint8_t* values, int64_t i, uint64_t* bits) {
        *bits = static_cast<uint64_t>(reinterpret_cast<const T*>(values)[i]);
        return *bits <= static_cast<uint64_t>(INT64_MAX);
      });
    } else {
      visit([](const uint8_t* values, int64_t i, uint64_t* bits) {
        const T value = reinterpret_cast<const T*>(values)[i];
        *bits = std::is_signed_v<T> ? static_cast<uint64_t>(static_cast<int64_t>(value)) : static_cast<uint64_t>(value);
        return true;
      });
    }
  };
  const auto floating = [&]<typename T>(T) {
    visit([](const uint8_t* values, int64_t i, uint64_t* bits) {
      *bits = DoubleBits(static_cast<double>(reinterpret_cast<const T*>(values)[i]));
      return true;
    });
  };
  switch (from.id) {
    case TypeId::kBool:
    case TypeId::kUInt8:
      return integer(uint8_t{});
    case TypeId::kInt8:
      return integer(int8_t{});
    case TypeId::kInt16:
      return integer(int16_t{});
    case TypeId::kUInt16:
      return integer(uint16_t{});
    case TypeId::kInt32:
    case TypeId::kDate32:
      return integer(int32_t{});
    case TypeId::kUInt32:
      return integer(uint32_t{});
    case TypeId::kInt64:
      return integer(int64_t{});
    case TypeId::kUInt64:
      return integer(uint64_t{});
    case TypeId::kFloat32:
      return floating(float{});
    case TypeId::kFloat64:
      return floating(double{});
    case TypeId::kTimestamp: {
      const int64_t have = UnitsPerSecond(from.unit);
      const int64_t want = UnitsPerSecond(key.unit);
      if (have == want) return integer(int64_t{});
      if (have > want) {
        return visit([divisor = have / want](const uint8_t* values, int64_t i, uint64_t* bits) {
          const int64_t value = reinterpret_cast<const int64_t*>(values)[i];
          *bits = static_cast<uint64_t>(value / divisor);
          return value % divisor == 0;
        });
      }
      return visit([factor = want / have](const uint8_t* values, int64_t i, uint64_t* bits) {
        int64_t scaled = 0;
        const bool overflow = __builtin_mul_overflow(reinterpret_cast<const int64_t*>(values)[i], factor, &scaled);
        *bits = static_cast<uint64_t>(scaled);
        return !overflow;
      });
    }
    default:
      return;
  }
}

}  // namespace

Result<JoinType> ParseJoinType(const std::string& how) {
  if (how == "inner") return JoinType::kInner;
  if (how == "left") return JoinType::kLeft;
  return Status::Invalid("how='" + how + "' is not a join that a broadcast table does; use 'inner' or 'left'");
}

std::string_view BroadcastTable::Column::BytesOf(size_t row) const {
  switch (field.type.id) {
    case TypeId::kDictionary:
      return dictionary->At(values.as<int32_t>()[row]);
    case TypeId::kDecimal128:
      return {reinterpret_cast<const char*>(values.data()) + 16 * row, 16};
    default:
      return {reinterpret_cast<const char*>(bytes.data()) + offsets[row],
              static_cast<size_t>(offsets[row + 1] - offsets[row])};
  }
}

Status BroadcastTable::Append(const ArrayView& view, Column* column, DictionaryMapper* mapper) {
  const auto n = static_cast<size_t>(view.length);
  const auto before = static_cast<size_t>(rows_);
  const bool may_null = MayHoldNulls(view);
  if (may_null && column->valid.empty()) column->valid.assign(before, 1);
  if (may_null || !column->valid.empty()) {
    for (int64_t i = 0; i < view.length; ++i) column->valid.push_back(IsNullValue(view, i) ? 0 : 1);
  }
  const TypeId id = column->field.type.id;
  if (IsVariable(id)) {
    if (column->offsets.empty()) column->offsets.push_back(0);
    for (int64_t i = 0; i < view.length; ++i) {
      if (!view.IsNull(i)) {
        const std::string_view value = view.StringAt(i);
        SEGUE_RETURN_IF_ERROR(column->bytes.Reserve(column->bytes.size() + value.size()));
        column->bytes.AppendUnchecked(value.data(), value.size());
      }
      column->offsets.push_back(column->bytes.size());
    }
    return Status();
  }
  const auto width = static_cast<size_t>(TypeWidth(id));
  SEGUE_RETURN_IF_ERROR(column->values.Resize((before + n) * width));
  uint8_t* out = column->values.data() + before * width;
  if (id == TypeId::kBool) {
    for (size_t i = 0; i < n; ++i) out[i] = view.BoolAt(static_cast<int64_t>(i)) ? 1 : 0;
  } else if (id == TypeId::kDictionary) {
    mapper->Begin(view);
    for (int64_t i = 0; i < view.length; ++i) {
      StoreAs<int32_t>(out + 4 * i, may_null && IsNullValue(view, i) ? 0 : mapper->Map(view.EntryAt(i)));
    }
  } else if (n != 0) {
    std::memcpy(out, view.values, n * width);
  }
  return Status();
}

// A string column with few distinct values becomes codes.
void BroadcastTable::TryDictionary(Column* column) {
  auto dictionary = std::make_unique<StringDictionary>();
  Buffer codes;
  if (!codes.Resize(static_cast<size_t>(rows_) * 4).ok()) return;
  for (size_t row = 0; row < static_cast<size_t>(rows_); ++row) {
    codes.as<int32_t>()[row] = column->IsNull(row) ? 0 : dictionary->Intern(column->BytesOf(row));
    if (dictionary->size() > kFewDistinct) return;
  }
  column->field.type.id = TypeId::kDictionary;
  column->values = std::move(codes);
  column->bytes.Free();
  column->offsets = {};
  column->dictionary = std::move(dictionary);
}

Result<std::shared_ptr<const BroadcastTable>> BroadcastTable::Make(
    StreamReader* stream, const std::string& key, const std::optional<std::vector<std::string>>& columns,
    MemoryBudget* budget) {
  std::shared_ptr<BroadcastTable> table(new BroadcastTable());
  const Schema& schema = stream->schema();
  const auto find = [&](const std::string& name) -> Result<size_t> {
    const int index = schema.IndexOf(name);
    if (index >= 0) return static_cast<size_t>(index);
    std::string names;
    for (const Field& field : schema.fields) names += (names.empty() ? "" : ", ") + field.name;
    return Status::Schema(name, "the dimension has no column '" + name + "'; it has " + names);
  };
  SEGUE_ASSIGN_OR_RETURN(const size_t key_index, find(key));
  table->key_ = schema.fields[key_index];
  std::vector<size_t> sources;
  if (columns) {
    for (const std::string& name : *columns) {
      SEGUE_ASSIGN_OR_RETURN(const size_t index, find(name));
      sources.push_back(index);
    }
  } else {
    for (size_t i = 0; i < schema.fields.size(); ++i) {
      if (i != key_index) sources.push_back(i);
    }
  }
  const auto make_column = [](const Field& field) {
    Column column;
    column.field = field;
    if (field.type.id == TypeId::kDictionary) column.dictionary = std::make_unique<StringDictionary>();
    return column;
  };
  table->key_column_ = make_column(table->key_);
  for (const size_t source : sources) table->attributes_.push_back(make_column(schema.fields[source]));
  DictionaryMapper key_mapper(table->key_column_.dictionary.get());
  std::vector<DictionaryMapper> mappers;
  for (Column& column : table->attributes_) mappers.emplace_back(column.dictionary.get());

  std::unique_ptr<BatchReader> previous;  // alive while the mappers compare dictionaries
  while (true) {
    SEGUE_ASSIGN_OR_RETURN(std::unique_ptr<BatchReader> batch, stream->Next());
    if (batch == nullptr) break;
    if (table->rows_ + batch->rows() > kMaxRows) {
      return Status::Unsupported("a broadcast dimension holds at most " + std::to_string(kMaxRows) + " rows");
    }
    SEGUE_RETURN_IF_ERROR(table->Append(batch->columns()[key_index], &table->key_column_, &key_mapper));
    for (size_t i = 0; i < sources.size(); ++i) {
      SEGUE_RETURN_IF_ERROR(table->Append(batch->columns()[sources[i]], &table->attributes_[i], &mappers[i]));
    }
    table->rows_ += batch->rows();
    previous = std::move(batch);
  }
  SEGUE_RETURN_IF_ERROR(table->BuildIndex());
  for (Column& column : table->attributes_) {
    if (column.field.type.id == TypeId::kString) table->TryDictionary(&column);
    if (column.dictionary != nullptr) {
      column.dictionary_export = std::make_unique<DictionaryExport>(column.dictionary.get());
    }
    table->fields_.push_back(column.field);
    table->memory_bytes_ += column.values.size() + column.bytes.size() + column.offsets.size() * 8 +
                            column.valid.size() + (column.dictionary ? column.dictionary->memory_bytes() : 0);
  }
  const Column& keys = table->key_column_;
  table->memory_bytes_ += keys.values.size() + keys.bytes.size() + keys.offsets.size() * 8 +
                          (keys.dictionary ? keys.dictionary->memory_bytes() : 0) + table->dense_.size() * 4 +
                          table->bits_slots_.size() * sizeof(BitsSlot) + table->bytes_slots_.size() * sizeof(BytesSlot);
  table->reservation_ = Reservation(budget);
  table->reservation_.Resize(table->memory_bytes_);
  return std::shared_ptr<const BroadcastTable>(std::move(table));
}

std::string BroadcastTable::KeyText(size_t row) const {
  const Column& column = key_column_;
  switch (FamilyOf(key_.type.id)) {
    case Family::kBool:
      return column.values.data()[row] != 0 ? "true" : "false";
    case Family::kText:
      return "'" + std::string(column.BytesOf(row)) + "'";
    case Family::kBinary:
      return "of " + std::to_string(column.BytesOf(row).size()) + " bytes";
    case Family::kDecimal: {
      auto value = LoadAs<__int128>(column.values.data() + 16 * row);
      const bool negative = value < 0;
      auto rest = negative ? -static_cast<unsigned __int128>(value) : static_cast<unsigned __int128>(value);
      std::string digits;
      for (int32_t i = 0; rest != 0 || i <= key_.type.scale; ++i) {
        if (i == key_.type.scale && i > 0) digits.push_back('.');
        digits.push_back(static_cast<char>('0' + static_cast<int>(rest % 10)));
        rest /= 10;
      }
      if (negative) digits.push_back('-');
      std::reverse(digits.begin(), digits.end());
      return digits;
    }
    default:
      break;
  }
  std::string text;
  WithBits(key_.type, key_.type, [&](auto convert) {
    uint64_t bits = 0;
    convert(column.values.data(), static_cast<int64_t>(row), &bits);
    if (FamilyOf(key_.type.id) == Family::kFloat) {
      text = std::to_string(std::bit_cast<double>(bits));
    } else {
      text = key_.type.id == TypeId::kUInt64 ? std::to_string(bits) : std::to_string(static_cast<int64_t>(bits));
    }
  });
  return text;
}

Status BroadcastTable::Duplicate(uint32_t first, size_t second) const {
  return Status::Invalid("the dimension's key column '" + key_.name + "' holds the value " + KeyText(second) +
                         " twice (rows " + std::to_string(first) + " and " + std::to_string(second) +
                         "); a broadcast join needs unique keys: deduplicate the dimension");
}

Status BroadcastTable::BuildIndex() {
  const auto n = static_cast<size_t>(rows_);
  for (size_t row = 0; row < n; ++row) {
    if (key_column_.IsNull(row)) {
      return Status::Invalid("the dimension's key column '" + key_.name + "' is null in row " + std::to_string(row) +
                             "; a key must have a value: filter such rows out");
    }
  }
  if (KeyedByBytes(key_.type.id)) return BuildBytesIndex();

  std::vector<uint64_t> bits(n);
  WithBits(key_.type, key_.type, [&](auto convert) {
    for (size_t row = 0; row < n; ++row) convert(key_column_.values.data(), static_cast<int64_t>(row), &bits[row]);
  });
  if (n > 0 && FamilyOf(key_.type.id) != Family::kFloat) {
    // Offsetting the signed ones makes the unsigned order theirs.
    const uint64_t flip = key_.type.id == TypeId::kUInt64 ? 0 : uint64_t{1} << 63;
    uint64_t least = bits[0] ^ flip;
    uint64_t greatest = least;
    for (const uint64_t b : bits) {
      least = std::min(least, b ^ flip);
      greatest = std::max(greatest, b ^ flip);
    }
    min_ = least ^ flip;
    range_ = greatest - least;
    if (range_ < std::max<uint64_t>(kAlwaysDense, kDensePerRow * n)) {
      kind_ = Kind::kDense;
      dense_.assign(range_ + 1, kNoMatch);
      for (size_t row = 0; row < n; ++row) {
        uint32_t& slot = dense_[bits[row] - min_];
        if (slot != kNoMatch) return Duplicate(slot, row);
        slot = static_cast<uint32_t>(row);
      }
      return Status();
    }
  }
  kind_ = Kind::kHashBits;
  bits_slots_.assign(std::bit_ceil(std::max<size_t>(16, 2 * n)), BitsSlot{0, kNoMatch});
  const size_t mask = bits_slots_.size() - 1;
  for (size_t row = 0; row < n; ++row) {
    size_t i = HashU64(bits[row]) & mask;
    for (; bits_slots_[i].row != kNoMatch; i = (i + 1) & mask) {
      if (bits_slots_[i].bits == bits[row]) return Duplicate(bits_slots_[i].row, row);
    }
    bits_slots_[i] = BitsSlot{bits[row], static_cast<uint32_t>(row)};
  }
  return Status();
}

Status BroadcastTable::BuildBytesIndex() {
  kind_ = Kind::kHashBytes;
  const auto n = static_cast<size_t>(rows_);
  bytes_slots_.assign(std::bit_ceil(std::max<size_t>(16, 2 * n)), BytesSlot{0, kNoMatch});
  const size_t mask = bytes_slots_.size() - 1;
  for (size_t row = 0; row < n; ++row) {
    const std::string_view value = key_column_.BytesOf(row);
    const uint64_t hash = HashBytes(value);
    const auto tag = static_cast<uint32_t>(hash >> 32);
    size_t i = hash & mask;
    for (; bytes_slots_[i].row != kNoMatch; i = (i + 1) & mask) {
      if (bytes_slots_[i].tag == tag && key_column_.BytesOf(bytes_slots_[i].row) == value) {
        return Duplicate(bytes_slots_[i].row, row);
      }
    }
    bytes_slots_[i] = BytesSlot{tag, static_cast<uint32_t>(row)};
  }
  return Status();
}

uint32_t BroadcastTable::FindBits(uint64_t bits) const {
  if (kind_ == Kind::kDense) {
    const uint64_t slot = bits - min_;
    return slot <= range_ && !dense_.empty() ? dense_[slot] : kNoMatch;
  }
  const size_t mask = bits_slots_.size() - 1;
  for (size_t i = HashU64(bits) & mask;; i = (i + 1) & mask) {
    if (bits_slots_[i].row == kNoMatch || bits_slots_[i].bits == bits) return bits_slots_[i].row;
  }
}

uint32_t BroadcastTable::Find(std::string_view bytes) const {
  const uint64_t hash = HashBytes(bytes);
  const auto tag = static_cast<uint32_t>(hash >> 32);
  const size_t mask = bytes_slots_.size() - 1;
  for (size_t i = hash & mask;; i = (i + 1) & mask) {
    const BytesSlot slot = bytes_slots_[i];
    if (slot.row == kNoMatch) return kNoMatch;
    if (slot.tag == tag && key_column_.BytesOf(slot.row) == bytes) return slot.row;
  }
}

int BroadcastTable::IndexOf(const std::string& attribute) const {
  for (size_t i = 0; i < fields_.size(); ++i) {
    if (fields_[i].name == attribute) return static_cast<int>(i);
  }
  return -1;
}

Status BroadcastTable::CheckKey(const Field& fact) const {
  const Family family = FamilyOf(key_.type.id);
  bool fits = family == FamilyOf(fact.type.id);
  if (fits && family == Family::kDecimal) fits = key_.type.scale == fact.type.scale;
  if (fits && family == Family::kTimestamp) fits = key_.type.zone.empty() == fact.type.zone.empty();
  if (fits) return Status();
  return Status::Schema(fact.name, "column '" + fact.name + "' is " + TypeName(fact.type) +
                                       " and cannot be joined to the dimension's key '" + key_.name + "', which is " +
                                       TypeName(key_.type) + "; cast one of them");
}

Status BroadcastTable::Gather(size_t index, const uint32_t* rows, int64_t n, ColumnBuilder* out) const {
  const Column& column = attributes_[index];
  const int64_t first = out->size();
  const auto is_null = [&](uint32_t row) { return row == kNoMatch || column.IsNull(row); };
  if (IsVariable(column.field.type.id)) {
    for (int64_t i = 0; i < n; ++i) {
      if (is_null(rows[i])) {
        SEGUE_RETURN_IF_ERROR(out->AppendNull());
      } else {
        SEGUE_RETURN_IF_ERROR(out->AppendString(column.BytesOf(rows[i])));
      }
    }
    return Status();
  }
  bool unmatched = false;
  const auto gather = [&]<typename T>(T) -> Status {
    SEGUE_ASSIGN_OR_RETURN(T* const values, out->template AppendFixed<T>(n));
    const uint8_t* from = column.values.data();
    for (int64_t i = 0; i < n; ++i) {
      const bool none = rows[i] == kNoMatch;
      unmatched |= none;
      values[i] = none ? T{} : LoadAs<T>(from + sizeof(T) * rows[i]);
    }
    return Status();
  };
  switch (TypeWidth(column.field.type.id)) {
    case 1:
      SEGUE_RETURN_IF_ERROR(gather(uint8_t{}));
      break;
    case 2:
      SEGUE_RETURN_IF_ERROR(gather(uint16_t{}));
      break;
    case 4:
      SEGUE_RETURN_IF_ERROR(gather(uint32_t{}));
      break;
    case 8:
      SEGUE_RETURN_IF_ERROR(gather(uint64_t{}));
      break;
    default: {
      struct Bytes16 {
        uint64_t low, high;
      };
      SEGUE_RETURN_IF_ERROR(gather(Bytes16{}));
    }
  }
  if (!unmatched && column.valid.empty()) return Status();
  for (int64_t i = 0; i < n; ++i) {
    if (is_null(rows[i])) SEGUE_RETURN_IF_ERROR(out->MakeNull(first + i));
  }
  return Status();
}

Result<std::vector<uint32_t>> BroadcastTable::MatchAttribute(size_t index, const BroadcastTable& other) const {
  const Column& column = attributes_[index];
  SEGUE_RETURN_IF_ERROR(other.CheckKey(column.field));
  const auto n = static_cast<size_t>(rows_);
  std::vector<uint32_t> matches(n, kNoMatch);
  if (KeyedByBytes(column.field.type.id)) {
    for (size_t row = 0; row < n; ++row) {
      if (!column.IsNull(row)) matches[row] = other.Find(column.BytesOf(row));
    }
    return matches;
  }
  WithBits(column.field.type, other.key_.type, [&](auto convert) {
    for (size_t row = 0; row < n; ++row) {
      uint64_t bits = 0;
      if (column.IsNull(row) || !convert(column.values.data(), static_cast<int64_t>(row), &bits)) continue;
      matches[row] = other.FindBits(bits);
    }
  });
  return matches;
}

void BroadcastTable::Prober::Begin(const ArrayView& view) {
  if (view.dictionary == nullptr) return;
  const bool same = source_ != nullptr && source_->SharesBuffers(*view.dictionary);
  source_ = view.dictionary;
  if (same) return;
  direct_ = source_->length > 16 * std::max<int64_t>(view.length, 1024);
  entries_.assign(direct_ ? 0 : static_cast<size_t>(source_->length), kUnknown);
}

template <typename BitsAt>
void BroadcastTable::Prober::LookupBits(const ArrayView& view, int64_t begin, int64_t n, uint32_t* matches,
                                        BitsAt bits_at) const {
  const bool may_null = MayHoldNulls(view);
  for (int64_t i = 0; i < n; ++i) {
    uint64_t bits = 0;
    const bool possible = bits_at(begin + i, &bits) && !(may_null && view.IsNull(begin + i));
    matches[i] = possible ? table_->FindBits(bits) : kNoMatch;
  }
}

void BroadcastTable::Prober::Lookup(const ArrayView& view, int64_t begin, int64_t n, uint32_t* matches) {
  if (view.dictionary != nullptr) {
    for (int64_t i = 0; i < n; ++i) {
      matches[i] = kNoMatch;
      if (IsNullValue(view, begin + i)) continue;
      const int64_t index = view.EntryAt(begin + i);
      if (direct_) {
        matches[i] = table_->Find(source_->StringAt(index));
        continue;
      }
      uint32_t& entry = entries_[static_cast<size_t>(index)];
      if (entry == kUnknown) entry = table_->Find(source_->StringAt(index));
      matches[i] = entry;
    }
    return;
  }
  if (KeyedByBytes(view.type.id)) {
    const bool decimal = view.type.id == TypeId::kDecimal128;
    for (int64_t i = 0; i < n; ++i) {
      const int64_t at = begin + i;
      if (view.IsNull(at)) {
        matches[i] = kNoMatch;
      } else if (decimal) {
        matches[i] = table_->Find({reinterpret_cast<const char*>(view.values) + 16 * at, 16});
      } else {
        matches[i] = table_->Find(view.StringAt(at));
      }
    }
    return;
  }
  if (view.type.id == TypeId::kBool) {
    return LookupBits(view, begin, n, matches, [&view](int64_t at, uint64_t* bits) {
      *bits = view.BoolAt(at) ? 1 : 0;
      return true;
    });
  }
  WithBits(view.type, table_->key_.type, [&](auto convert) {
    LookupBits(view, begin, n, matches, [&](int64_t at, uint64_t* bits) { return convert(view.values, at, bits); });
  });
}

}  // namespace segue
