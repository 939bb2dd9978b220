#include "events/block_encoding.h"

#include <algorithm>
#include <bit>
#include <cstring>

#include "base/coding.h"
#include "base/hash.h"
#include "events/distinct_strings.h"
#include "events/packed_ints.h"
#include "events/value_width.h"

namespace segue {

namespace {

static_assert(static_cast<uint8_t>(Encoding::kFrameOfReference) == kPackedFrame);
static_assert(static_cast<uint8_t>(Encoding::kDelta) == kPackedDelta);

// A local dictionary makes decoding slower: it must save at least an eighth.
constexpr uint64_t Worth(uint64_t bytes) { return bytes + bytes / 8; }

// The most distinct values of `width` bytes with which a dictionary of n values could
// still be worth it beside `best` bytes: looking for more is in vain.
size_t MostDistinct(size_t n, size_t width, uint64_t best) {
  size_t most = 0;
  for (int bits = 1; bits <= 16; ++bits) {
    const uint64_t index = PackedBytes(n, bits);
    if (Worth(index) >= best) break;
    // Worth(distinct * width + index) < best
    most = std::min<uint64_t>((best * 8 / 9 - index) / width, uint64_t{1} << bits);
    if (most < uint64_t{1} << bits) break;
  }
  return most;
}

template <typename T>
void Widen(const uint8_t* in, size_t n, bool is_signed, uint64_t* out) {
  if (is_signed) {
    for (size_t i = 0; i < n; ++i) {
      out[i] = static_cast<uint64_t>(
          static_cast<int64_t>(static_cast<std::make_signed_t<T>>(LoadAs<T>(in + i * sizeof(T)))));
    }
  } else {
    for (size_t i = 0; i < n; ++i) out[i] = LoadAs<T>(in + i * sizeof(T));
  }
}

template <typename T>
uint64_t HashValue(T value) {
  if constexpr (sizeof(T) <= 8) return HashU64(value);
  return HashU64(static_cast<uint64_t>(value) ^ HashU64(static_cast<uint64_t>(static_cast<UInt128>(value) >> 64)));
}

void AppendBitmap(const uint8_t* valid, size_t n, std::string* out) {
  const size_t old = out->size();
  out->resize(old + (n + 7) / 8, '\0');
  char* bits = out->data() + old;
  for (size_t i = 0; i < n; ++i) {
    bits[i >> 3] = static_cast<char>(static_cast<uint8_t>(bits[i >> 3]) | (valid[i] != 0 ? 1U : 0U) << (i & 7));
  }
}

}  // namespace

const char* EncodingName(Encoding encoding) {
  switch (encoding) {
    case Encoding::kPlain:
      return "plain";
    case Encoding::kConstant:
      return "constant";
    case Encoding::kFrameOfReference:
      return "frame_of_reference";
    case Encoding::kDelta:
      return "delta";
    case Encoding::kDictionary:
      return "dictionary";
    case Encoding::kWords:
      return "words";
    case Encoding::kBytes:
      return "bytes";
    case Encoding::kBytesDictionary:
      return "bytes_dictionary";
    case Encoding::kAllNull:
      return "all_null";
    case Encoding::kModelled:
      return "modelled";
  }
  return "?";
}

ColumnShape ColumnShape::Of(const StoreColumn& column) {
  ColumnShape shape;
  shape.width = column.width;
  switch (column.field.type.id) {
    case TypeId::kInt8:
    case TypeId::kInt16:
    case TypeId::kInt32:
    case TypeId::kInt64:
    case TypeId::kDate32:
    case TypeId::kTimestamp:
      shape.is_signed = true;
      break;
    case TypeId::kBool:
      shape.is_bool = true;
      break;
    default:
      break;
  }
  return shape;
}

Result<Encoding> ColumnEncoder::Encode(const ColumnShape& shape, const ColumnData& data, size_t begin, size_t n,
                                       std::optional<Encoding> forced, std::string* out, const BlockContext& context) {
  if (n == 0 || n > kMaxBlockRows) return Status::Invalid("a block of " + std::to_string(n) + " rows; use 1 to 65536");
  n_ = n;
  const uint8_t* valid = data.valid.empty() ? nullptr : data.valid.data() + begin;
  const size_t nulls = valid == nullptr ? 0 : static_cast<size_t>(std::count(valid, valid + n, uint8_t{0}));
  const size_t start = out->size();
  if (nulls == n && (!forced || *forced == Encoding::kAllNull)) {
    out->push_back(static_cast<char>(Encoding::kAllNull));
    return Encoding::kAllNull;
  }
  if (forced && *forced == Encoding::kAllNull) return Status::Invalid("not every value is null");
  out->push_back('\0');  // the encoding, once it is chosen
  out->push_back(nulls > 0 ? '\1' : '\0');
  if (nulls > 0) AppendBitmap(valid, n, out);

  Result<Encoding> chosen = Encoding::kPlain;
  if (shape.width == 0) {
    chosen = EncodeBytes(data, begin, forced, out);
  } else {
    const auto w = static_cast<size_t>(shape.width);
    filled_.resize(n * w);
    std::memcpy(filled_.data(), data.values.data() + begin * w, n * w);
    if (nulls > 0) {
      // A null repeats the value before it (the first ones, the first value), so
      // that the zero it holds in memory does not widen the range.
      const uint8_t* last =
          filled_.data() + static_cast<size_t>(std::find(valid, valid + n, uint8_t{1}) - valid) % n * w;
      for (size_t i = 0; i < n; ++i) {
        uint8_t* value = filled_.data() + i * w;
        if (valid[i] == 0) {
          std::memmove(value, last, w);
        } else {
          last = value;
        }
      }
    }
    chosen = EncodeFixed(shape, forced, context, out);
  }
  if (!chosen.ok()) {
    out->resize(start);
    return chosen;
  }
  (*out)[start] = static_cast<char>(*chosen);
  return chosen;
}

template <typename T>
bool ColumnEncoder::FindDistinct(size_t limit) {
  const size_t capacity = std::bit_ceil(limit * 2 + 2);
  slots_.assign(capacity, -1);
  index_.resize(n_);
  distinct_.clear();
  distinct_count_ = 0;
  T previous{};
  uint64_t previous_index = 0;
  for (size_t i = 0; i < n_; ++i) {
    const T value = LoadAs<T>(filled_.data() + i * sizeof(T));
    if (i > 0 && value == previous) {
      index_[i] = previous_index;
      continue;
    }
    previous = value;
    size_t slot = HashValue(value) & (capacity - 1);
    while (slots_[slot] >= 0 && LoadAs<T>(distinct_.data() + static_cast<size_t>(slots_[slot]) * sizeof(T)) != value) {
      slot = (slot + 1) & (capacity - 1);
    }
    if (slots_[slot] < 0) {
      if (distinct_count_ == limit) return false;
      slots_[slot] = static_cast<int32_t>(distinct_count_++);
      PutFixed<T>(&distinct_, value);
    }
    previous_index = static_cast<uint64_t>(slots_[slot]);
    index_[i] = previous_index;
  }
  return true;
}

Result<Encoding> ColumnEncoder::EncodeFixed(const ColumnShape& shape, std::optional<Encoding> forced,
                                            const BlockContext& context, std::string* out) {
  const auto w = static_cast<size_t>(shape.width);
  const auto* values = reinterpret_cast<const char*>(filled_.data());
  const bool constant = std::memcmp(values, values + w, (n_ - 1) * w) == 0;
  if (forced ? *forced == Encoding::kConstant : constant) {
    if (!constant) return Status::Invalid("the values are not all the same");
    out->append(values, w);
    return Encoding::kConstant;
  }

  words_.resize(n_);
  const bool pair = w == 16;
  PackedPlan plan;
  PackedPlan high_plan;
  uint64_t packed_bytes = 0;
  if (pair) {
    high_.resize(n_);
    for (size_t i = 0; i < n_; ++i) {
      words_[i] = LoadAs<uint64_t>(values + i * 16);
      high_[i] = LoadAs<uint64_t>(values + i * 16 + 8);
    }
    high_plan = PlanPacked(high_.data(), n_);
    packed_bytes = high_plan.bytes();
  } else {
    WithWidth(shape.width, [&]<typename T>() {
      if constexpr (sizeof(T) <= 8) Widen<T>(filled_.data(), n_, shape.is_signed, words_.data());
    });
  }
  plan = PlanPacked(words_.data(), n_);
  packed_bytes += plan.bytes();
  const uint64_t plain_bytes = n_ * w;

  Encoding chosen = forced.value_or(Encoding::kPlain);
  PackedPlan index_plan;
  if (!forced) {
    chosen = packed_bytes >= plain_bytes ? Encoding::kPlain
             : pair                      ? Encoding::kWords
             : plan.delta()              ? Encoding::kDelta
                                         : Encoding::kFrameOfReference;
    uint64_t best = std::min(plain_bytes, packed_bytes);
    modelled_.clear();
    if (context.model != nullptr && coder_.Encode(context, words_.data(), n_, &modelled_) && modelled_.size() < best) {
      chosen = Encoding::kModelled;
      best = modelled_.size();
    }
    const size_t limit = MostDistinct(n_, w, best);
    if (limit >= 2 && WithWidth(shape.width, [&]<typename T>() { return FindDistinct<T>(limit); })) {
      index_plan = PlanPacked(index_.data(), n_);
      if (Worth(distinct_.size() + index_plan.bytes() + 3) < best) chosen = Encoding::kDictionary;
    }
  } else if (*forced == Encoding::kDictionary) {
    WithWidth(shape.width, [&]<typename T>() { return FindDistinct<T>(n_); });
    index_plan = PlanPacked(index_.data(), n_);
  }

  switch (chosen) {
    case Encoding::kPlain:
      out->append(values, n_ * w);
      return chosen;
    case Encoding::kFrameOfReference:
    case Encoding::kDelta: {
      if (pair) break;
      // The leading byte of a packed sequence is the chunk's encoding; drop it.
      const size_t at = out->size();
      AppendPacked(plan, chosen == Encoding::kDelta, words_.data(), n_, out);
      out->erase(at, 1);
      return chosen;
    }
    case Encoding::kWords:
      if (!pair) break;
      AppendPacked(plan, plan.delta(), words_.data(), n_, out);
      AppendPacked(high_plan, high_plan.delta(), high_.data(), n_, out);
      return chosen;
    case Encoding::kModelled:
      if (forced) break;
      out->append(modelled_);
      return chosen;
    case Encoding::kDictionary:
      PutVarint64(out, distinct_count_);
      out->append(distinct_);
      AppendPacked(index_plan, index_plan.delta(), index_.data(), n_, out);
      return chosen;
    default:
      break;
  }
  return Status::Invalid(std::string("encoding ") + EncodingName(chosen) + " does not take values of " +
                         std::to_string(w) + " bytes");
}

Result<Encoding> ColumnEncoder::EncodeBytes(const ColumnData& data, size_t begin, std::optional<Encoding> forced,
                                            std::string* out) {
  const uint32_t first = data.offsets[begin];
  const uint64_t total = data.offsets[begin + n_] - first;
  words_.resize(n_);
  for (size_t i = 0; i < n_; ++i) words_[i] = data.offsets[begin + i + 1] - data.offsets[begin + i];
  const PackedPlan plan = PlanPacked(words_.data(), n_);
  const uint64_t plain_bytes = plan.bytes() + total;

  Encoding chosen = forced.value_or(Encoding::kBytes);
  if (chosen != Encoding::kBytes && chosen != Encoding::kBytesDictionary) {
    return Status::Invalid(std::string("encoding ") + EncodingName(chosen) + " does not take byte strings");
  }
  DistinctStrings distinct;
  PackedPlan index_plan;
  if (!forced || chosen == Encoding::kBytesDictionary) {
    const size_t limit = forced ? n_ : n_ / 2;
    index_.resize(n_);
    size_t i = 0;
    for (; i < n_; ++i) {
      const std::string_view value = data.Bytes(begin + i);
      if (i > 0 && value == data.Bytes(begin + i - 1)) {
        index_[i] = index_[i - 1];
        continue;
      }
      index_[i] = static_cast<uint64_t>(distinct.Add(value));
      if (distinct.size() > limit) break;
    }
    if (i == n_) {
      index_plan = PlanPacked(index_.data(), n_);
      uint64_t bytes = distinct.size() + index_plan.bytes() + 16;
      for (const std::string_view value : distinct.values()) bytes += value.size();
      if (Worth(bytes) < plain_bytes) chosen = Encoding::kBytesDictionary;
    }
  }
  if (chosen == Encoding::kBytesDictionary) {
    PutVarint64(out, distinct.size());
    EncodeStrings(distinct.values(), out);
    AppendPacked(index_plan, index_plan.delta(), index_.data(), n_, out);
    return chosen;
  }
  AppendPacked(plan, plan.delta(), words_.data(), n_, out);
  if (total > 0) out->append(reinterpret_cast<const char*>(data.values.data()) + first, total);
  return chosen;
}

void ColumnEncoder::EncodeUInt64s(const uint64_t* values, size_t n, const BlockContext& context, std::string* out) {
  const PackedPlan plan = PlanPacked(values, n);
  modelled_.clear();
  if (context.model != nullptr && coder_.Encode(context, values, n, &modelled_) &&
      modelled_.size() + 1 < plan.bytes()) {
    out->push_back(static_cast<char>(Encoding::kModelled));
    out->append(modelled_);
  } else {
    AppendPacked(plan, plan.delta(), values, n, out);
  }
}

void EncodeUInt64s(const uint64_t* values, size_t n, std::string* out) {
  const PackedPlan plan = PlanPacked(values, n);
  AppendPacked(plan, plan.delta(), values, n, out);
}

void EncodeStrings(const std::vector<std::string_view>& strings, std::string* out) {
  RawVector<uint64_t> lengths(strings.size());
  for (size_t i = 0; i < strings.size(); ++i) lengths[i] = strings[i].size();
  EncodeUInt64s(lengths.data(), lengths.size(), out);
  for (const std::string_view value : strings) out->append(value);
}

}  // namespace segue
