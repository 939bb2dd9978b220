#include "pipeline/sort_key.h"

#include <bit>
#include <cmath>
#include <limits>
#include <type_traits>
#include <utility>

namespace segue {

namespace {

using UInt128 = unsigned __int128;

// Bits of a column's value in the key; 128: as many as there is room for.
int ValueBits(TypeId id) {
  switch (id) {
    case TypeId::kBool:
      return 1;
    case TypeId::kString:
    case TypeId::kBinary:
    case TypeId::kDictionary:
      return 128;
    default:
      return 8 * TypeWidth(id);
  }
}

bool HoldsWhole(TypeId id) { return !IsVariable(id) && id != TypeId::kDictionary; }

// Unsigned integers in the order of T.
template <typename T>
auto Ordered(T value) {
  if constexpr (std::is_floating_point_v<T>) {
    using U = std::conditional_t<sizeof(T) == 4, uint32_t, uint64_t>;
    if (value == 0) value = 0;  // -0.0
    if (std::isnan(value)) value = std::numeric_limits<T>::quiet_NaN();
    const auto bits = std::bit_cast<U>(value);
    constexpr U kSign = U{1} << (8 * sizeof(T) - 1);
    return (bits & kSign) != 0 ? static_cast<U>(~bits) : static_cast<U>(bits | kSign);
  } else if constexpr (std::is_signed_v<T>) {
    using U = std::make_unsigned_t<T>;
    return static_cast<U>(static_cast<U>(value) ^ (U{1} << (8 * sizeof(T) - 1)));
  } else {
    return value;
  }
}

// The first 16 bytes, big-endian, zero-padded.
UInt128 BytesPrefix(std::string_view bytes) {
  uint8_t padded[16] = {};
  if (!bytes.empty()) std::memcpy(padded, bytes.data(), bytes.size() < 16 ? bytes.size() : 16);
  const UInt128 high = __builtin_bswap64(LoadAs<uint64_t>(padded));
  return high << 64 | __builtin_bswap64(LoadAs<uint64_t>(padded + 8));
}

UInt128 LeftAligned(UInt128 value, int bits) { return bits == 128 ? value : value << (128 - bits); }

template <typename T>
int ThreeWay(T a, T b) {
  return a < b ? -1 : static_cast<int>(b < a);
}

template <typename T>
int CompareAt(const uint8_t* a, const uint8_t* b) {
  return ThreeWay(Ordered(LoadAs<T>(a)), Ordered(LoadAs<T>(b)));
}

// Calls visit(T{}) with the C++ type of a fixed-width type of at most 8 bytes.
template <typename Visit>
void VisitFixed(TypeId id, Visit visit) {
  switch (id) {
    case TypeId::kInt8:
      return visit(int8_t{});
    case TypeId::kInt16:
      return visit(int16_t{});
    case TypeId::kInt32:
    case TypeId::kDate32:
      return visit(int32_t{});
    case TypeId::kInt64:
    case TypeId::kTimestamp:
      return visit(int64_t{});
    case TypeId::kBool:
    case TypeId::kUInt8:
      return visit(uint8_t{});
    case TypeId::kUInt16:
      return visit(uint16_t{});
    case TypeId::kUInt32:
      return visit(uint32_t{});
    case TypeId::kUInt64:
      return visit(uint64_t{});
    case TypeId::kFloat32:
      return visit(float{});
    case TypeId::kFloat64:
      return visit(double{});
    default:
      return;
  }
}

}  // namespace

SortKey SortKey::Make(const RowLayout* layout, int split_bits, int bucket_bits, std::vector<SortColumn> columns,
                      std::vector<const StringDictionary*> dictionaries) {
  SortKey key;
  key.layout_ = layout;
  key.split_bits_ = split_bits;
  key.bucket_bits_ = bucket_bits;
  key.columns_ = std::move(columns);
  key.dictionaries_ = std::move(dictionaries);
  int position = split_bits + bucket_bits;
  for (size_t i = 0; i < key.columns_.size(); ++i) {
    const RowColumn& column = layout->columns()[key.columns_[i].column];
    position += (column.null_bit >= 0 ? 1 : 0) + ValueBits(column.field.type.id);
    if (position > 128 || !HoldsWhole(column.field.type.id)) {
      key.ties_.assign(key.columns_.begin() + static_cast<ptrdiff_t>(i), key.columns_.end());
      break;
    }
  }
  return key;
}

void SortKey::Build(const uint8_t* rows, const uint8_t* heap, int64_t n, const uint32_t* splits, const int32_t* buckets,
                    Key128* keys) const {
  for (int64_t i = 0; i < n; ++i) {
    keys[i] = First(splits == nullptr ? 0 : splits[i], buckets == nullptr ? 0 : static_cast<uint32_t>(buckets[i]));
  }
  const size_t stride = layout_->stride();
  int position = split_bits_ + bucket_bits_;
  for (const SortColumn& sort : columns_) {
    if (position >= 128) break;
    const RowColumn& column = layout_->columns()[sort.column];
    const TypeId id = column.field.type.id;
    const int present_bits = column.null_bit >= 0 ? 1 : 0;
    const int bits = std::min(128, present_bits + ValueBits(id));
    const UInt128 mask = ~UInt128{0} << (128 - bits);
    const UInt128 inverted = sort.descending ? mask : 0;
    // `ordered(row)` gives the value left-aligned in 128 bits.
    const auto add = [&](auto ordered) {
      for (int64_t i = 0; i < n; ++i) {
        const uint8_t* row = rows + static_cast<size_t>(i) * stride;
        UInt128 field = 0;
        if (!column.IsNull(row, layout_->nulls_offset())) {
          field = ordered(row);
          if (present_bits != 0) field = UInt128{1} << 127 | field >> 1;
        }
        field = (field ^ inverted) >> position;
        keys[i].hi |= static_cast<uint64_t>(field >> 64);
        keys[i].lo |= static_cast<uint64_t>(field);
      }
    };
    switch (id) {
      case TypeId::kString:
      case TypeId::kBinary:
        add([&](const uint8_t* row) { return BytesPrefix(column.BytesOf(RowRef{row, heap})); });
        break;
      case TypeId::kDictionary: {
        const StringDictionary& dictionary = *dictionaries_[sort.column];
        add([&](const uint8_t* row) { return BytesPrefix(dictionary.At(LoadAs<int32_t>(row + column.offset))); });
        break;
      }
      case TypeId::kDecimal128:
        add([&](const uint8_t* row) { return LoadAs<UInt128>(row + column.offset) ^ UInt128 { 1 } << 127; });
        break;
      default:
        VisitFixed(id, [&]<typename T>(T) {
          const int value_bits = ValueBits(id);
          add([&](const uint8_t* row) { return LeftAligned(Ordered(LoadAs<T>(row + column.offset)), value_bits); });
        });
    }
    position += present_bits + ValueBits(id);
  }
}

int SortKey::Compare(RowRef a, RowRef b) const {
  for (const SortColumn& sort : ties_) {
    const RowColumn& column = layout_->columns()[sort.column];
    const bool a_null = column.IsNull(a.row, layout_->nulls_offset());
    const bool b_null = column.IsNull(b.row, layout_->nulls_offset());
    int order = 0;
    if (a_null || b_null) {
      order = static_cast<int>(b_null) - static_cast<int>(a_null);
    } else {
      const uint8_t* pa = a.row + column.offset;
      const uint8_t* pb = b.row + column.offset;
      switch (column.field.type.id) {
        case TypeId::kString:
        case TypeId::kBinary:
          order = column.BytesOf(a).compare(column.BytesOf(b));
          break;
        case TypeId::kDictionary: {
          const auto ca = LoadAs<int32_t>(pa);
          const auto cb = LoadAs<int32_t>(pb);
          if (ca != cb) order = dictionaries_[sort.column]->At(ca).compare(dictionaries_[sort.column]->At(cb));
          break;
        }
        case TypeId::kDecimal128:
          order = ThreeWay(LoadAs<__int128>(pa), LoadAs<__int128>(pb));
          break;
        default:
          VisitFixed(column.field.type.id, [&]<typename T>(T) { order = CompareAt<T>(pa, pb); });
      }
    }
    if (order != 0) return sort.descending ? (order < 0 ? 1 : -1) : order;
  }
  return 0;
}

}  // namespace segue
