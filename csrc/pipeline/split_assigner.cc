#include "pipeline/split_assigner.h"

#include <bit>
#include <cmath>
#include <limits>

#include "base/coding.h"
#include "base/hash.h"

namespace segue {

namespace {

constexpr uint32_t kMaxSplits = (1U << 24) - 1;

// The month of a day since 1970 (Howard Hinnant, "chrono-compatible low-level date algorithms").
int64_t MonthOfDay(int64_t day) {
  const int64_t z = day + 719468;
  const int64_t era = FloorDiv(z, 146097);
  const int64_t day_of_era = z - era * 146097;
  const int64_t year_of_era = (day_of_era - day_of_era / 1460 + day_of_era / 36524 - day_of_era / 146096) / 365;
  const int64_t day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
  const int64_t shifted = (5 * day_of_year + 2) / 153;              // March is 0
  const int64_t month = shifted < 10 ? shifted + 2 : shifted - 10;  // January is 0
  const int64_t year = year_of_era + era * 400 + (month <= 1 ? 1 : 0);
  return (year - 1970) * 12 + month;
}

template <int64_t kUnitsPerSplit>
void DivideAll(const int64_t* times, int64_t n, int64_t* out) {
  for (int64_t i = 0; i < n; ++i) out[i] = FloorDiv(times[i], kUnitsPerSplit);  // by a constant: no division
}

template <int64_t kSeconds>
void DivideBy(const int64_t* times, int64_t n, TimeUnit unit, int64_t* out) {
  switch (unit) {
    case TimeUnit::kSecond:
      return DivideAll<kSeconds>(times, n, out);
    case TimeUnit::kMilli:
      return DivideAll<kSeconds * 1'000>(times, n, out);
    case TimeUnit::kMicro:
      return DivideAll<kSeconds * 1'000'000>(times, n, out);
    case TimeUnit::kNano:
      return DivideAll<kSeconds * 1'000'000'000>(times, n, out);
  }
}

void SplitTimes(const int64_t* times, int64_t n, TimeUnit time_unit, SplitUnit unit, int64_t* out) {
  if (unit == SplitUnit::kHour) return DivideBy<3600>(times, n, time_unit, out);
  DivideBy<86400>(times, n, time_unit, out);
  if (unit != SplitUnit::kMonth) return;
  int64_t day = std::numeric_limits<int64_t>::min();
  int64_t month = 0;
  for (int64_t i = 0; i < n; ++i) {
    if (out[i] != day) {
      day = out[i];
      month = MonthOfDay(day);
    }
    out[i] = month;
  }
}

}  // namespace

Result<SplitUnit> ParseSplitUnit(const std::string& name) {
  if (name == "hour") return SplitUnit::kHour;
  if (name == "day") return SplitUnit::kDay;
  if (name == "month") return SplitUnit::kMonth;
  return Status::Invalid("split_unit='" + name + "' is unknown; use 'hour', 'day' or 'month'");
}

int64_t SplitOfTime(int64_t time, TimeUnit time_unit, SplitUnit unit) {
  int64_t out = 0;
  SplitTimes(&time, 1, time_unit, unit, &out);
  return out;
}

SplitAssigner::SplitAssigner(std::vector<ColumnType> columns, std::optional<SplitUnit> unit)
    : columns_(std::move(columns)), unit_(unit) {
  strings_.resize(columns_.size());
  for (size_t c = 0; c < columns_.size(); ++c) {
    const TypeId id = columns_[c].id;
    if (IsVariable(id) || id == TypeId::kDictionary || id == TypeId::kDecimal128) {
      strings_[c] = std::make_unique<StringDictionary>();
    }
  }
  nodes_.push_back({0, false, 0, -1});  // the root
}

void SplitAssigner::Grow() {
  std::vector<uint32_t> grown(slots_.empty() ? 64 : slots_.size() * 2, 0);
  for (uint32_t number = 1; number < nodes_.size(); ++number) {
    const Node& node = nodes_[number];
    size_t i = HashU64(static_cast<uint64_t>(node.bits) ^ HashU64(node.parent * 2 + (node.null ? 1 : 0)));
    for (i &= grown.size() - 1; grown[i] != 0; i = (i + 1) & (grown.size() - 1)) {
    }
    grown[i] = number + 1;
  }
  slots_ = std::move(grown);
}

uint32_t SplitAssigner::Child(uint32_t parent, bool null, int64_t bits) {
  if (nodes_.size() * 2 >= slots_.size()) Grow();
  size_t i = HashU64(static_cast<uint64_t>(bits) ^ HashU64(parent * 2 + (null ? 1 : 0))) & (slots_.size() - 1);
  for (; slots_[i] != 0; i = (i + 1) & (slots_.size() - 1)) {
    const Node& node = nodes_[slots_[i] - 1];
    if (node.parent == parent && node.null == null && node.bits == bits) return slots_[i] - 1;
  }
  const auto number = static_cast<uint32_t>(nodes_.size());
  nodes_.push_back({parent, null, bits, -1});
  slots_[i] = number + 1;
  return number;
}

// Reduces a column to 64 bits a row and a null flag.
void SplitAssigner::Bits(size_t column, const ArrayView& view, const Selection& rows) {
  const auto count = static_cast<size_t>(rows.n);
  const auto row = [&](size_t i) { return rows.At(static_cast<int64_t>(i)); };
  bits_.resize(count);
  nulls_.assign(count, 0);
  if (MayHoldNulls(view)) {
    for (size_t i = 0; i < count; ++i) nulls_[i] = IsNullValue(view, row(i)) ? 1 : 0;
  }
  if (unit_) {
    const auto* times = view.Values<int64_t>();
    for (size_t i = 0; i < count; ++i) bits_[i] = times[row(i)];
    SplitTimes(bits_.data(), rows.n, view.type.unit, *unit_, bits_.data());
    return;
  }
  const auto fixed = [&]<typename T>(T) {
    const T* values = view.Values<T>();
    for (size_t i = 0; i < count; ++i) {
      T value = values[row(i)];
      if constexpr (std::is_floating_point_v<T>) {
        if (value == 0) value = 0;  // -0.0
        if (std::isnan(value)) value = std::numeric_limits<T>::quiet_NaN();
        if constexpr (sizeof(T) == 4) {
          bits_[i] = std::bit_cast<int32_t>(value);
        } else {
          bits_[i] = std::bit_cast<int64_t>(value);
        }
      } else {
        bits_[i] = static_cast<int64_t>(value);
      }
    }
  };
  switch (view.type.id) {
    case TypeId::kBool:
      for (size_t i = 0; i < count; ++i) bits_[i] = view.BoolAt(row(i)) ? 1 : 0;
      break;
    case TypeId::kInt8:
      fixed(int8_t{});
      break;
    case TypeId::kInt16:
      fixed(int16_t{});
      break;
    case TypeId::kInt32:
    case TypeId::kDate32:
      fixed(int32_t{});
      break;
    case TypeId::kInt64:
    case TypeId::kTimestamp:
      fixed(int64_t{});
      break;
    case TypeId::kUInt8:
      fixed(uint8_t{});
      break;
    case TypeId::kUInt16:
      fixed(uint16_t{});
      break;
    case TypeId::kUInt32:
      fixed(uint32_t{});
      break;
    case TypeId::kUInt64:
      fixed(uint64_t{});
      break;
    case TypeId::kFloat32:
      fixed(float{});
      break;
    case TypeId::kFloat64:
      fixed(double{});
      break;
    case TypeId::kDecimal128:
    case TypeId::kString:
    case TypeId::kBinary:
    case TypeId::kDictionary: {
      StringDictionary& dictionary = *strings_[column];
      for (size_t i = 0; i < count; ++i) {
        if (nulls_[i] != 0) continue;
        bits_[i] =
            dictionary.Intern(view.type.id == TypeId::kDecimal128
                                  ? std::string_view(reinterpret_cast<const char*>(view.values) + 16 * row(i), 16)
                                  : BytesAt(view, row(i)));
      }
      break;
    }
  }
}

Status SplitAssigner::Assign(const std::vector<ColumnSlice>& columns, const int32_t* chosen, int64_t n, uint32_t* ids) {
  const auto count = static_cast<size_t>(n);
  path_.assign(count, 0);
  for (size_t c = 0; c < columns_.size(); ++c) {
    Bits(c, *columns[c].view, Selection{columns[c].begin, chosen, n});
    // Rows of one split often follow each other.
    uint32_t last_parent = UINT32_MAX;
    uint32_t last_child = 0;
    for (size_t i = 0; i < count; ++i) {
      const bool null = nulls_[i] != 0;
      if (null) bits_[i] = 0;
      const Node& last = nodes_[last_child];
      if (path_[i] != last_parent || last.null != null || last.bits != bits_[i]) {
        last_parent = path_[i];
        last_child = Child(last_parent, null, bits_[i]);
      }
      path_[i] = last_child;
    }
  }
  for (size_t i = 0; i < count; ++i) {
    Node& node = nodes_[path_[i]];
    if (node.leaf < 0) {
      if (leaves_.size() >= kMaxSplits) {
        return Status::Invalid("the data fall into over " + std::to_string(kMaxSplits) +
                               " splits; partition by a column with fewer values, or by a longer time unit");
      }
      node.leaf = static_cast<int32_t>(leaves_.size());
      leaves_.push_back(path_[i]);
    }
    ids[i] = static_cast<uint32_t>(node.leaf);
  }
  return Status();
}

std::vector<SplitValue> SplitAssigner::Values(uint32_t id) const {
  std::vector<SplitValue> values(columns_.size());
  uint32_t number = leaves_[id];
  for (size_t c = columns_.size(); c-- > 0;) {
    const Node& node = nodes_[number];
    if (!node.null) {
      if (strings_[c] != nullptr) {
        values[c] = std::string(strings_[c]->At(static_cast<int32_t>(node.bits)));
      } else {
        values[c] = node.bits;
      }
    }
    number = node.parent;
  }
  return values;
}

}  // namespace segue
