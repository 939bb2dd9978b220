#include "pipeline/murmur3.h"

#include <algorithm>
#include <cmath>
#include <limits>

#include "base/coding.h"

namespace segue {

namespace murmur3 {

uint32_t HashBytes(std::string_view bytes, uint32_t seed) {
  uint32_t h1 = seed;
  const size_t aligned = bytes.size() & ~size_t{3};
  for (size_t i = 0; i < aligned; i += 4) h1 = MixH1(h1, MixK1(LoadAs<uint32_t>(bytes.data() + i)));
  for (size_t i = aligned; i < bytes.size(); ++i) {
    const auto half_word = static_cast<int32_t>(static_cast<int8_t>(bytes[i]));
    h1 = MixH1(h1, MixK1(static_cast<uint32_t>(half_word)));
  }
  return Fmix(h1, static_cast<uint32_t>(bytes.size()));
}

}  // namespace murmur3

namespace {

using murmur3::HashInt;
using murmur3::HashLong;

uint32_t HashFloat(float value, uint32_t seed) {
  if (value == 0) value = 0;
  if (std::isnan(value)) value = std::numeric_limits<float>::quiet_NaN();
  return HashInt(std::bit_cast<int32_t>(value), seed);
}

uint32_t HashDouble(double value, uint32_t seed) {
  if (value == 0) value = 0;
  if (std::isnan(value)) value = std::numeric_limits<double>::quiet_NaN();
  return HashLong(std::bit_cast<int64_t>(value), seed);
}

// java.math.BigInteger.toByteArray of the unscaled value, hashed.
uint32_t HashBigInteger(__int128 value, uint32_t seed) {
  char bytes[16];
  auto bits = static_cast<unsigned __int128>(value);
  for (int i = 15; i >= 0; --i) {
    bytes[i] = static_cast<char>(static_cast<uint8_t>(bits));
    bits >>= 8;
  }
  const char sign = value < 0 ? static_cast<char>(0xFF) : '\0';
  int begin = 0;
  while (begin < 15 && bytes[begin] == sign && ((bytes[begin + 1] ^ sign) & 0x80) == 0) ++begin;
  return murmur3::HashBytes({bytes + begin, static_cast<size_t>(16 - begin)}, seed);
}

uint32_t HashDecimal(const uint8_t* p, int32_t precision, uint32_t seed) {
  if (precision <= 18) return HashLong(LoadAs<int64_t>(p), seed);
  return HashBigInteger(LoadAs<__int128>(p), seed);
}

int64_t Microseconds(int64_t value, TimeUnit unit) {
  // Out of Spark's range wraps, as its own multiplication would.
  const auto times = [value](uint64_t factor) { return static_cast<int64_t>(static_cast<uint64_t>(value) * factor); };
  switch (unit) {
    case TimeUnit::kSecond:
      return times(1'000'000);
    case TimeUnit::kMilli:
      return times(1'000);
    case TimeUnit::kMicro:
      return value;
    case TimeUnit::kNano:
      return FloorDiv(value, 1'000);
  }
  return value;
}

// Calls run(hash) with a function (row, seed) -> hash of the view's type;
// every row given to it must hold a value.
template <typename Run>
void WithValueHash(const ArrayView& view, Run run) {
  const uint8_t* p = view.values;
  const auto as_int = [&]<typename T>(T) {
    run([p](int64_t i, uint32_t seed) {
      return HashInt(static_cast<int32_t>(reinterpret_cast<const T*>(p)[i]), seed);
    });
  };
  switch (view.type.id) {
    case TypeId::kBool:
      return run([&view](int64_t i, uint32_t seed) { return HashInt(view.BoolAt(i) ? 1 : 0, seed); });
    case TypeId::kInt8:
      return as_int(int8_t{});
    case TypeId::kInt16:
      return as_int(int16_t{});
    case TypeId::kInt32:
    case TypeId::kDate32:
      return as_int(int32_t{});
    case TypeId::kUInt8:
      return as_int(uint8_t{});
    case TypeId::kUInt16:
      return as_int(uint16_t{});
    case TypeId::kInt64:
      return run([p](int64_t i, uint32_t seed) { return HashLong(reinterpret_cast<const int64_t*>(p)[i], seed); });
    case TypeId::kUInt32:
      return run([p](int64_t i, uint32_t seed) { return HashLong(reinterpret_cast<const uint32_t*>(p)[i], seed); });
    case TypeId::kUInt64:
      return run(
          [p](int64_t i, uint32_t seed) { return HashBigInteger(reinterpret_cast<const uint64_t*>(p)[i], seed); });
    case TypeId::kTimestamp:
      return run([p, unit = view.type.unit](int64_t i, uint32_t seed) {
        return HashLong(Microseconds(reinterpret_cast<const int64_t*>(p)[i], unit), seed);
      });
    case TypeId::kFloat32:
      return run([p](int64_t i, uint32_t seed) { return HashFloat(reinterpret_cast<const float*>(p)[i], seed); });
    case TypeId::kFloat64:
      return run([p](int64_t i, uint32_t seed) { return HashDouble(reinterpret_cast<const double*>(p)[i], seed); });
    case TypeId::kDecimal128:
      return run([p, precision = view.type.precision](int64_t i, uint32_t seed) {
        return HashDecimal(p + 16 * i, precision, seed);
      });
    case TypeId::kString:
    case TypeId::kBinary:
    case TypeId::kDictionary:
      return run([&view](int64_t i, uint32_t seed) { return murmur3::HashBytes(BytesAt(view, i), seed); });
  }
}

}  // namespace

uint32_t Murmur3Value(const ArrayView& view, int64_t row, uint32_t seed) {
  if (IsNullValue(view, row)) return seed;
  uint32_t hash = seed;
  WithValueHash(view, [&](auto value_hash) { hash = value_hash(row, seed); });
  return hash;
}

void Murmur3Continue(const ArrayView& view, int64_t begin, int64_t n, uint32_t* hashes) {
  WithValueHash(view, [&](auto value_hash) {
    if (MayHoldNulls(view)) {
      for (int64_t i = 0; i < n; ++i) {
        if (!IsNullValue(view, begin + i)) hashes[i] = value_hash(begin + i, hashes[i]);
      }
    } else {
      for (int64_t i = 0; i < n; ++i) hashes[i] = value_hash(begin + i, hashes[i]);
    }
  });
}

Murmur3Batch::Murmur3Batch(std::vector<const ArrayView*> columns, uint32_t seed)
    : columns_(std::move(columns)), seed_(seed) {
  if (columns_.empty() || columns_[0]->dictionary == nullptr) return;
  const ArrayView& dictionary = *columns_[0]->dictionary;
  if (dictionary.length >= columns_[0]->length) return;
  entries_.resize(static_cast<size_t>(dictionary.length));
  for (int64_t i = 0; i < dictionary.length; ++i) {
    entries_[static_cast<size_t>(i)] = dictionary.IsNull(i) ? seed_ : murmur3::HashBytes(dictionary.StringAt(i), seed_);
  }
}

void Murmur3Batch::Hash(int64_t begin, int64_t n, uint32_t* hashes) const {
  for (int64_t i = 0; i < n; ++i) hashes[i] = seed_;
  for (size_t c = 0; c < columns_.size(); ++c) {
    const ArrayView& view = *columns_[c];
    if (c == 0 && !entries_.empty()) {
      const uint64_t last = entries_.size() - 1;  // as EntryAt, with the type of the indices looked up once
      view.WithIndices([&](const auto* indices) {
        for (int64_t i = 0; i < n; ++i) {
          if (view.IsNull(begin + i)) continue;
          hashes[i] = entries_[std::min(static_cast<uint64_t>(static_cast<int64_t>(indices[begin + i])), last)];
        }
      });
      continue;
    }
    Murmur3Continue(view, begin, n, hashes);
  }
}

}  // namespace segue
