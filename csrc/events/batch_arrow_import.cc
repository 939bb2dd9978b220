// AppendArrow: Arrow record batches into a ColumnBatch.
//
// The caller's buffers may be changed by their owner (a numpy array that another
// thread writes into) while they are read here. So everything that decides over
// memory or over what is valid - lengths, dictionary indices, null bits, UTF-8 -
// is read once, or copied first and then checked on the copy. Which of the old
// and the new values are taken is undefined, cell by cell.
#include <algorithm>
#include <cmath>
#include <cstring>
#include <limits>
#include <string>
#include <type_traits>
#include <utility>
#include <vector>

#include "base/utf8.h"
#include "events/batch_arrow.h"
#include "events/distinct_strings.h"

namespace segue {

namespace {

using Int128 = __int128;

// One byte a row, 0 for null; empty: no nulls.
using NullBytes = RawVector<uint8_t>;

// 0001-01-01 and 10000-01-01 in seconds since 1970.
constexpr int64_t kYear1 = -62135596800;
constexpr int64_t kYear10000 = 253402300800;

std::string Names(const Schema& schema) {
  std::string names;
  for (const Field& field : schema.fields) {
    if (!names.empty()) names += ", ";
    names += field.name;
  }
  return names;
}

std::string Show(double value) { return std::to_string(value); }
template <typename T>
  requires std::is_integral_v<T>
std::string Show(T value) {
  return std::to_string(value);
}
std::string Show(Int128 value) {
  const bool negative = value < 0;
  auto rest = negative ? -static_cast<unsigned __int128>(value) : static_cast<unsigned __int128>(value);
  std::string digits;
  do {
    digits.insert(digits.begin(), static_cast<char>('0' + static_cast<int>(rest % 10)));
    rest /= 10;
  } while (rest != 0);
  return negative ? "-" + digits : digits;
}

// The exact conversions; each stores some value and says whether it is exact.
template <typename S, typename D>
bool IntToInt(S value, D* out) {
  *out = static_cast<D>(value);
  return std::in_range<D>(value);
}

template <typename S, typename D>
bool IntToFloat(S value, D* out) {
  *out = static_cast<D>(value);
  const D limit = std::ldexp(D{1}, std::numeric_limits<S>::digits);  // first value past S
  return *out < limit && static_cast<S>(*out) == value;
}

template <typename S, typename D>
bool FloatToFloat(S value, D* out) {
  if (std::isfinite(value) && std::abs(value) > static_cast<S>(std::numeric_limits<D>::max())) {
    *out = 0;
    return false;
  }
  *out = static_cast<D>(value);
  return static_cast<S>(*out) == value || std::isnan(value);
}

bool PowerOfTen(int32_t exponent, Int128* out) {
  if (exponent < 0 || exponent > 38) return false;
  *out = 1;
  for (int32_t i = 0; i < exponent; ++i) *out *= 10;
  return true;
}

Status NullRefused(const StoreColumn& column, size_t row) {
  return Status::Schema(column.field.name, "column '" + column.field.name + "', row " + std::to_string(row) +
                                               ": null in a column that takes none (" +
                                               (column.is_key ? "key" : "not nullable or the time column") +
                                               "); fill it or drop the row");
}

// Appends one column. `view` and `to` are of the same name; rows [old, old + n) are new.
class ColumnAppender {
 public:
  ColumnAppender(const StoreColumn& column, bool required, const Interner* interner, const ArrayView& view, size_t old,
                 ColumnData* to)
      : column_(column),
        required_(required),
        interner_(const_cast<Interner*>(interner)),
        view_(view),
        old_(old),
        n_(static_cast<size_t>(view.length)),
        to_(to) {}

  Status Append() {
    SEGUE_RETURN_IF_ERROR(ReadNulls());
    SEGUE_RETURN_IF_ERROR(AppendValues());
    AppendNulls();
    return Status();
  }

 private:
  Status BadType() const {
    return Status::Schema(column_.field.name, "column '" + column_.field.name + "' is " + TypeName(column_.field.type) +
                                                  ", but the batch has " + TypeName(view_.type) + "; cast it first");
  }
  Status BadValue(size_t row, const std::string& value, const std::string& why) const {
    return Status::Schema(column_.field.name,
                          "column '" + column_.field.name + "', row " + std::to_string(row) + ": " + value + " " + why);
  }

  bool Null(size_t row) const { return !valid_.empty() && valid_[row] == 0; }

  Status BadNull(size_t row) const { return NullRefused(column_, row); }
  Status BadArray(size_t row, const char* what) const {
    return Status::Schema(column_.field.name,
                          "column '" + column_.field.name + "', row " + std::to_string(row) +
                              ": not a well-formed Arrow array, or changed while it was read: " + what);
  }

  // Of the rows themselves; AppendFromDictionary adds those whose entry is null.
  Status ReadNulls() {
    if (!view_.MayHaveNulls()) return Status();
    valid_.resize(n_);
    size_t nulls = 0;
    for (size_t i = 0; i < n_; ++i) {
      const bool null = view_.IsNull(static_cast<int64_t>(i));
      valid_[i] = null ? 0 : 1;
      nulls += null ? 1 : 0;
      if (null && required_) return BadNull(i);
    }
    if (nulls == 0) valid_.clear();
    return Status();
  }

  void AppendNulls() {
    if (valid_.empty() && to_->valid.empty()) return;
    if (to_->valid.empty()) to_->valid.assign(old_, 1);
    to_->valid.resize(old_ + n_, 1);
    if (valid_.empty()) {
      std::memset(to_->valid.data() + old_, 1, n_);
    } else {
      std::memcpy(to_->valid.data() + old_, valid_.data(), n_);
    }
  }

  Status AppendValues() {
    switch (column_.field.type.id) {
      case TypeId::kBool:
        return AppendBools();
      case TypeId::kInt8:
        return AppendInts<int8_t>();
      case TypeId::kInt16:
        return AppendInts<int16_t>();
      case TypeId::kInt32:
        return AppendInts<int32_t>();
      case TypeId::kInt64:
        return AppendInts<int64_t>();
      case TypeId::kUInt8:
        return AppendInts<uint8_t>();
      case TypeId::kUInt16:
        return AppendInts<uint16_t>();
      case TypeId::kUInt32:
        return AppendInts<uint32_t>();
      case TypeId::kUInt64:
        return AppendInts<uint64_t>();
      case TypeId::kFloat32:
        return AppendFloats<float>();
      case TypeId::kFloat64:
        return AppendFloats<double>();
      case TypeId::kDecimal128:
        return AppendDecimals();
      case TypeId::kDate32:
        return view_.type.id == TypeId::kDate32 ? Copy<int32_t>() : BadType();
      case TypeId::kTimestamp:
        return AppendTimestamps();
      case TypeId::kString:
      case TypeId::kBinary:
      case TypeId::kDictionary:
        return AppendStrings();
    }
    return BadType();
  }

  template <typename D>
  D* Grow() {
    to_->values.resize((old_ + n_) * sizeof(D));
    return reinterpret_cast<D*>(to_->values.data()) + old_;
  }

  template <typename D>
  void ZeroNulls(D* out) {
    for (size_t i = 0; i < valid_.size(); ++i) {
      if (valid_[i] == 0) out[i] = D{};
    }
  }

  template <typename D>
  Status Copy() {
    D* out = Grow<D>();
    if (n_ > 0) std::memcpy(static_cast<void*>(out), view_.values, n_ * sizeof(D));
    ZeroNulls(out);
    return Status();
  }

  // exact(source value, &destination value) says whether the conversion lost nothing.
  template <typename S, typename D, typename Exact>
  Status Convert(Exact exact, const char* why = nullptr) {
    D* out = Grow<D>();
    const uint8_t* in = view_.values;
    bool all = true;
    for (size_t i = 0; i < n_; ++i) {
      D value{};
      all &= exact(LoadAs<S>(in + i * sizeof(S)), &value);
      std::memcpy(static_cast<void*>(out + i), &value, sizeof(D));
    }
    if (!all) {
      for (size_t i = 0; i < n_; ++i) {
        D value{};
        const S source = LoadAs<S>(in + i * sizeof(S));
        if (!Null(i) && !exact(source, &value)) {
          return BadValue(i, Show(source),
                          why != nullptr ? why : "does not fit " + TypeName(column_.field.type) + " exactly");
        }
        std::memcpy(static_cast<void*>(out + i), &value, sizeof(D));  // it may have become another one
      }
    }
    ZeroNulls(out);
    return Status();
  }

  // Calls f.template operator()<S>() with the source's integer type.
  template <typename F>
  Status WithInt(F f) {
    switch (view_.type.id) {
      case TypeId::kInt8:
        return f.template operator()<int8_t>();
      case TypeId::kInt16:
        return f.template operator()<int16_t>();
      case TypeId::kInt32:
        return f.template operator()<int32_t>();
      case TypeId::kInt64:
        return f.template operator()<int64_t>();
      case TypeId::kUInt8:
        return f.template operator()<uint8_t>();
      case TypeId::kUInt16:
        return f.template operator()<uint16_t>();
      case TypeId::kUInt32:
        return f.template operator()<uint32_t>();
      case TypeId::kUInt64:
        return f.template operator()<uint64_t>();
      default:
        return BadType();
    }
  }

  template <typename D>
  Status AppendInts() {
    return WithInt([this]<typename S>() {
      if constexpr (std::is_same_v<S, D>) return Copy<D>();
      return Convert<S, D>(&IntToInt<S, D>);
    });
  }

  template <typename D>
  Status AppendFloats() {
    if (view_.type.id == column_.field.type.id) return Copy<D>();
    if (view_.type.id == TypeId::kFloat32) return Convert<float, D>(&FloatToFloat<float, D>);
    if (view_.type.id == TypeId::kFloat64) return Convert<double, D>(&FloatToFloat<double, D>);
    return WithInt([this]<typename S>() { return this->template Convert<S, D>(&IntToFloat<S, D>); });
  }

  Status AppendBools() {
    if (view_.type.id != TypeId::kBool) return BadType();
    auto* out = Grow<uint8_t>();
    for (size_t i = 0; i < n_; ++i) out[i] = view_.BoolAt(static_cast<int64_t>(i)) ? 1 : 0;
    ZeroNulls(out);
    return Status();
  }

  Status AppendTimestamps() {
    SEGUE_RETURN_IF_ERROR(ConvertTimestamps());
    return CheckYears();
  }

  Status ConvertTimestamps() {
    if (view_.type.id != TypeId::kTimestamp) {
      return WithInt([this]<typename S>() { return Convert<S, int64_t>(&IntToInt<S, int64_t>); });
    }
    const int64_t from = UnitsPerSecond(view_.type.unit);
    const int64_t into = UnitsPerSecond(column_.field.type.unit);
    if (from == into) return Copy<int64_t>();
    if (into > from) {
      const int64_t factor = into / from;
      return Convert<int64_t, int64_t>(
          [factor](int64_t value, int64_t* out) { return !__builtin_mul_overflow(value, factor, out); },
          "is out of the column's range of time");
    }
    const int64_t factor = from / into;
    return Convert<int64_t, int64_t>(
        [factor](int64_t value, int64_t* out) {
          *out = value / factor;
          return value % factor == 0;
        },
        "is finer than the column's unit of time; round it first");
  }

  // Beyond these years neither Python, SQL nor the warehouse has a date: one such event, of a caller
  // who mistook the unit, would stop every later run of a pipeline.
  Status CheckYears() const {
    if (column_.field.type.unit == TimeUnit::kNano) return Status();  // 64 bits end long before
    const int64_t per_second = UnitsPerSecond(column_.field.type.unit);
    const int64_t low = kYear1 * per_second;
    const int64_t high = kYear10000 * per_second;
    const auto* values = reinterpret_cast<const int64_t*>(to_->values.data()) + old_;
    bool all = true;
    for (size_t i = 0; i < n_; ++i) all &= values[i] >= low && values[i] < high;
    if (all) return Status();
    size_t row = 0;
    while (values[row] >= low && values[row] < high) ++row;
    return BadValue(row, std::to_string(values[row]),
                    "is outside the years 1 to 9999 as " + TypeName(column_.field.type) + "; check its unit");
  }

  Status AppendDecimals() {
    if (view_.type.id != TypeId::kDecimal128) return BadType();
    const int32_t up = column_.field.type.scale - view_.type.scale;
    Int128 factor = 0;
    const bool known = PowerOfTen(up < 0 ? -up : up, &factor);
    Int128 limit = 0;
    PowerOfTen(column_.field.type.precision, &limit);
    return Convert<Int128, Int128>([=](Int128 value, Int128* out) {
      if (!known) return value == 0;  // 39 digits apart: only zero is in both
      if (up < 0) {
        *out = value / factor;
        return value % factor == 0 && *out < limit && *out > -limit;
      }
      return !__builtin_mul_overflow(value, factor, out) && *out < limit && *out > -limit;
    });
  }

  Status AppendStrings() {
    const TypeId from = view_.type.id;
    const bool binary = column_.field.type.id == TypeId::kBinary;
    if (from == TypeId::kDictionary) return binary ? BadType() : AppendFromDictionary();
    if (from != TypeId::kString && !(binary && from == TypeId::kBinary)) return BadType();
    const auto string_at = [this](size_t i, std::string_view* value) {
      return view_.StringWithin(static_cast<int64_t>(i), value);
    };
    if (!column_.coded) {
      SEGUE_RETURN_IF_ERROR(AppendBytes(string_at, old_, to_));
      return binary ? Status() : CheckText(*to_, old_);
    }
    ColumnData copy;
    SEGUE_RETURN_IF_ERROR(AppendBytes(string_at, 0, &copy));
    SEGUE_RETURN_IF_ERROR(CheckText(copy, 0));
    DistinctStrings distinct;
    RawVector<int32_t> local(n_);
    for (size_t i = 0; i < n_; ++i) local[i] = Null(i) ? -1 : distinct.Add(StringIn(copy, i));
    return AppendCodes(local, distinct.values());
  }

  static std::string_view StringIn(const ColumnData& column, size_t row) {
    const uint32_t begin = column.offsets[row];
    return {reinterpret_cast<const char*>(column.values.data()) + begin, column.offsets[row + 1] - begin};
  }

  // Of our copy, whose rows [begin, begin + n) are the batch's.
  Status CheckText(const ColumnData& column, size_t begin) const {
    for (size_t i = 0; i < n_; ++i) {
      if (!Null(i) && !IsUtf8(StringIn(column, begin + i))) return BadText(i);
    }
    return Status();
  }
  Status BadText(size_t row) const {
    return BadValue(row, "a string", "is not valid UTF-8; decode it first or make the column binary");
  }

  Status NullEntry(size_t row) {
    if (required_) return BadNull(row);
    if (valid_.empty()) valid_.assign(n_, 1);
    valid_[row] = 0;
    return Status();
  }

  Status AppendFromDictionary() {
    // Only the entries that rows use are copied, checked and interned: a slice of
    // a large table carries the whole table's dictionary.
    const ArrayView& dictionary = *view_.dictionary;
    const auto entries = static_cast<uint64_t>(dictionary.length);
    std::vector<int32_t> place(static_cast<size_t>(entries), -1);
    std::string bytes;
    std::vector<size_t> ends;
    RawVector<int32_t> local(n_);
    for (size_t i = 0; i < n_; ++i) {
      local[i] = -1;
      if (Null(i)) continue;
      const int64_t index = view_.IndexAt(static_cast<int64_t>(i));
      if (static_cast<uint64_t>(index) >= entries) return BadArray(i, "a dictionary index is out of range");
      int32_t& entry = place[static_cast<size_t>(index)];
      if (entry < 0) {
        if (dictionary.IsNull(index)) {
          SEGUE_RETURN_IF_ERROR(NullEntry(i));
          continue;
        }
        std::string_view value;
        if (!dictionary.StringWithin(index, &value)) return BadArray(i, "a string lies outside of its buffer");
        const size_t begin = bytes.size();
        bytes.append(value);
        if (!IsUtf8(std::string_view(bytes).substr(begin))) return BadText(i);
        entry = static_cast<int32_t>(ends.size());
        ends.push_back(bytes.size());
      }
      local[i] = entry;
    }
    std::vector<std::string_view> used;
    used.reserve(ends.size());
    for (size_t begin = 0; const size_t end : ends) {
      used.push_back(std::string_view(bytes).substr(begin, end - begin));
      begin = end;
    }
    if (column_.coded) return AppendCodes(local, used);
    return AppendBytes(
        [&](size_t i, std::string_view* value) {
          *value = used[static_cast<size_t>(local[i])];
          return true;
        },
        old_, to_);
  }

  // local[i] indexes `values`; -1 for null.
  Status AppendCodes(const RawVector<int32_t>& local, const std::vector<std::string_view>& values) {
    std::vector<int32_t> codes;
    interner_->InternMany(values, &codes);
    auto* out = Grow<int32_t>();
    for (size_t i = 0; i < n_; ++i) out[i] = local[i] < 0 ? 0 : codes[static_cast<size_t>(local[i])];
    return Status();
  }

  // Copies the strings into rows [old, old + n) of *to. string_at(row, &value) is asked once a row.
  template <typename StringAt>
  Status AppendBytes(StringAt string_at, size_t old, ColumnData* to) const {
    if (to->offsets.empty()) to->offsets.push_back(0);
    size_t position = to->values.size();
    to->offsets.resize(old + n_ + 1);
    for (size_t i = 0; i < n_; ++i) {
      std::string_view value;
      if (!Null(i) && !string_at(i, &value)) return BadArray(i, "a string lies outside of its buffer");
      if (value.size() > std::numeric_limits<uint32_t>::max() - position) {
        return Status::Invalid("column '" + column_.field.name +
                               "' would hold 4 GiB or more in one batch; append fewer rows at a time");
      }
      if (position + value.size() > to->values.size()) {
        // About what the rest will take, if it is like what there is.
        const size_t rest = (position / (old + i + 1) + 1) * (n_ - i);
        to->values.resize(std::max(position + value.size() + rest, to->values.size() + to->values.size() / 2));
      }
      if (!value.empty()) std::memcpy(to->values.data() + position, value.data(), value.size());
      position += value.size();
      to->offsets[old + i + 1] = static_cast<uint32_t>(position);
    }
    to->values.resize(position);
    return Status();
  }

  const StoreColumn& column_;
  const bool required_;
  Interner* interner_;
  const ArrayView& view_;
  const size_t old_;
  const size_t n_;
  ColumnData* to_;
  NullBytes valid_;
};

void AppendAllNull(const StoreColumn& column, size_t old, size_t n, ColumnData* to) {
  if (column.width > 0) {
    to->values.resize((old + n) * static_cast<size_t>(column.width));
    if (n > 0) {
      std::memset(to->values.data() + old * static_cast<size_t>(column.width), 0,
                  n * static_cast<size_t>(column.width));
    }
  } else {
    to->offsets.resize(old + n + 1);
    if (old == 0) to->offsets[0] = 0;
    const uint32_t end = to->offsets[old];
    for (size_t i = 1; i <= n; ++i) to->offsets[old + i] = end;
  }
  if (to->valid.empty()) to->valid.assign(old, 1);
  to->valid.resize(old + n);
  if (n > 0) std::memset(to->valid.data() + old, 0, n);
}

// The row numbers of a data frame that was filtered or sorted, as pandas hands them over.
bool IsPandasIndex(std::string_view name) {
  constexpr std::string_view kBegin = "__index_level_";
  constexpr std::string_view kEnd = "__";
  return name.size() > kBegin.size() + kEnd.size() && name.starts_with(kBegin) && name.ends_with(kEnd);
}

// sources[c]: the batch's column for store column c, or -1.
Result<std::vector<int>> MatchColumns(const StoreSchema& schema, const Schema& source) {
  std::vector<int> sources(schema.columns.size(), -1);
  for (size_t i = 0; i < source.fields.size(); ++i) {
    const std::string& name = source.fields[i].name;
    const int c = schema.schema.IndexOf(name);
    if (c < 0 && IsPandasIndex(name)) continue;
    if (c < 0) {
      return Status::Schema(name, "unknown column '" + name + "'; the table has " + Names(schema.schema));
    }
    int& slot = sources[static_cast<size_t>(c)];
    if (slot >= 0) return Status::Schema(name, "column '" + name + "' is in the batch twice");
    slot = static_cast<int>(i);
  }
  for (size_t c = 0; c < sources.size(); ++c) {
    const StoreColumn& column = schema.columns[c];
    const bool required = column.is_key || static_cast<int>(c) == schema.time || !column.field.nullable;
    if (sources[c] < 0 && required) {
      const char* kind = column.is_key                        ? "key column '"
                         : static_cast<int>(c) == schema.time ? "time column '"
                                                              : "column '";
      return Status::Schema(column.field.name, kind + column.field.name +
                                                   "' is missing and takes no nulls; the batch has " + Names(source));
    }
  }
  return sources;
}

}  // namespace

Status AppendArrow(const StoreSchema& schema, const Interners& interners, const Schema& source,
                   const BatchReader& batch, ColumnBatch* out) {
  SEGUE_ASSIGN_OR_RETURN(const std::vector<int> sources, MatchColumns(schema, source));
  const size_t columns = schema.columns.size();
  const auto n = static_cast<size_t>(batch.rows());
  struct Sizes {
    size_t values;
    size_t offsets;
    size_t valid;
  };
  std::vector<Sizes> before(columns);
  out->columns.resize(columns);
  for (size_t c = 0; c < columns; ++c) {
    const ColumnData& data = out->columns[c];
    before[c] = {data.values.size(), data.offsets.size(), data.valid.size()};
  }
  for (size_t c = 0; c < columns; ++c) {
    const StoreColumn& column = schema.columns[c];
    const bool required = column.is_key || static_cast<int>(c) == schema.time || !column.field.nullable;
    Status status;
    if (sources[c] >= 0 && !source.fields[static_cast<size_t>(sources[c])].all_null) {
      status = ColumnAppender(column, required, column.coded ? interners[c].get() : nullptr,
                              batch.columns()[static_cast<size_t>(sources[c])], out->rows, &out->columns[c])
                   .Append();
    } else if (required && n > 0) {
      status = NullRefused(column, 0);
    } else {
      AppendAllNull(column, out->rows, n, &out->columns[c]);
    }
    if (status.ok()) continue;
    for (size_t i = 0; i < columns; ++i) {
      out->columns[i].values.resize(before[i].values);
      out->columns[i].offsets.resize(before[i].offsets);
      out->columns[i].valid.resize(before[i].valid);
    }
    return status;
  }
  out->rows += n;
  return Status();
}

}  // namespace segue
