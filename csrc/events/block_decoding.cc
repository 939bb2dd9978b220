// Column chunks back into columns. Every length, index and width is checked before it is used.
#include <algorithm>
#include <cstring>
#include <limits>

#include "base/coding.h"
#include "events/block_encoding.h"
#include "events/packed_ints.h"
#include "events/value_width.h"

namespace segue {

Status DecodeUInt64s(std::string_view chunk, size_t rows, uint64_t* out) {
  if (!TakePacked<uint64_t>(&chunk, rows, out) || !chunk.empty()) {
    return Status::Invalid("a packed sequence does not fit its " + std::to_string(rows) + " rows");
  }
  return Status();
}

namespace {

Status Bad(const char* what) { return Status::Invalid(std::string("a column chunk is damaged: ") + what); }

// Takes n packed lengths and the bytes they cover; what follows stays in *in.
bool TakeStrings(std::string_view* in, size_t n, std::vector<std::string_view>* out) {
  if (n > in->size()) return false;  // distinct strings: at most one is empty, and the lengths take ten bytes
  RawVector<uint64_t> lengths(n);
  if (!TakePacked<uint64_t>(in, n, lengths.data())) return false;
  out->clear();
  out->reserve(n);
  for (const uint64_t length : lengths) {
    if (length > in->size()) return false;
    out->push_back(in->substr(0, length));
    in->remove_prefix(length);
  }
  return true;
}

template <typename T>
Status DecodeFixed(Encoding encoding, std::string_view body, size_t rows, uint8_t* bytes) {
  auto* out = reinterpret_cast<T*>(bytes);
  switch (encoding) {
    case Encoding::kPlain:
      if (body.size() != rows * sizeof(T)) return Bad("plain values of another size");
      std::memcpy(bytes, body.data(), body.size());
      return Status();
    case Encoding::kConstant:
      if (body.size() != sizeof(T)) return Bad("a constant of another size");
      std::fill_n(out, rows, LoadAs<T>(body.data()));
      return Status();
    case Encoding::kDictionary: {
      Cursor cursor(body);
      uint64_t entries = 0;
      std::string_view values;
      if (!cursor.GetVarint64(&entries) || entries > rows || !cursor.GetBytes(entries * sizeof(T), &values)) {
        return Bad("a dictionary that is cut off");
      }
      body.remove_prefix(body.size() - cursor.remaining());
      RawVector<uint32_t> index(rows);
      if (!TakePacked<uint32_t>(&body, rows, index.data()) || !body.empty()) return Bad("a dictionary's index");
      bool outside = false;
      for (const uint32_t i : index) outside |= i >= entries;
      if (outside) return Bad("an index outside its dictionary");
      for (size_t i = 0; i < rows; ++i) out[i] = LoadAs<T>(values.data() + index[i] * sizeof(T));
      return Status();
    }
    case Encoding::kWords: {
      if constexpr (sizeof(T) == 16) {
        RawVector<uint64_t> low(rows);
        RawVector<uint64_t> high(rows);
        if (!TakePacked<uint64_t>(&body, rows, low.data()) || !TakePacked<uint64_t>(&body, rows, high.data()) ||
            !body.empty()) {
          return Bad("packed words");
        }
        for (size_t i = 0; i < rows; ++i) out[i] = static_cast<T>(high[i]) << 64 | low[i];
        return Status();
      }
      return Bad("an encoding that does not fit the type");
    }
    default:
      return Bad("an encoding that does not fit the type");
  }
}

Status DecodeBytes(Encoding encoding, std::string_view body, size_t rows, ColumnData* out) {
  out->offsets.resize(rows + 1);
  out->offsets[0] = 0;
  constexpr uint64_t kLimit = std::numeric_limits<uint32_t>::max();
  if (encoding == Encoding::kBytes) {
    RawVector<uint64_t> lengths(rows);
    if (!TakePacked<uint64_t>(&body, rows, lengths.data())) return Bad("packed lengths");
    uint64_t total = 0;
    for (size_t i = 0; i < rows; ++i) {
      if (lengths[i] > kLimit) return Bad("a length");
      total += lengths[i];  // at most 2^16 lengths below 2^32: no overflow
      out->offsets[i + 1] = static_cast<uint32_t>(total);
    }
    if (total != body.size() || total > kLimit) return Bad("lengths that do not sum to the bytes there are");
    out->values.resize(total);
    if (total > 0) std::memcpy(out->values.data(), body.data(), total);
    return Status();
  }
  if (encoding != Encoding::kBytesDictionary) return Bad("an encoding that does not fit the type");
  Cursor cursor(body);
  uint64_t entries = 0;
  if (!cursor.GetVarint64(&entries) || entries > rows) return Bad("a dictionary's size");
  body.remove_prefix(body.size() - cursor.remaining());
  std::vector<std::string_view> strings;
  RawVector<uint32_t> index(rows);
  if (!TakeStrings(&body, entries, &strings)) return Bad("a dictionary that is cut off");
  if (!TakePacked<uint32_t>(&body, rows, index.data()) || !body.empty()) return Bad("a dictionary's index");
  uint64_t total = 0;
  for (size_t i = 0; i < rows; ++i) {
    if (index[i] >= entries) return Bad("an index outside its dictionary");
    total += strings[index[i]].size();
    if (total > kLimit) return Bad("a dictionary that unfolds to 4 GiB or more");
    out->offsets[i + 1] = static_cast<uint32_t>(total);
  }
  out->values.resize(total);
  for (size_t i = 0; i < rows; ++i) {
    const std::string_view value = strings[index[i]];
    if (!value.empty()) std::memcpy(out->values.data() + out->offsets[i], value.data(), value.size());
  }
  return Status();
}

}  // namespace

Status DecodeStrings(std::string_view bytes, size_t n, std::vector<std::string_view>* out) {
  if (!TakeStrings(&bytes, n, out) || !bytes.empty()) return Bad("strings that do not fit their lengths");
  return Status();
}

Status DecodeColumn(const ColumnShape& shape, std::string_view chunk, size_t rows, ColumnData* out) {
  if (rows == 0 || rows > kMaxBlockRows) return Bad("its number of rows");
  out->valid.clear();
  out->offsets.clear();
  const auto w = static_cast<size_t>(shape.width);
  if (chunk.empty()) return Bad("it is empty");
  const uint8_t tag = static_cast<uint8_t>(chunk[0]);
  if (tag > static_cast<uint8_t>(Encoding::kAllNull)) return Bad("an unknown encoding");
  const auto encoding = static_cast<Encoding>(tag);
  if (encoding == Encoding::kAllNull) {
    if (chunk.size() != 1) return Bad("bytes after nothing");
    out->values.assign(rows * w, 0);
    if (w == 0) out->offsets.assign(rows + 1, 0);
    out->valid.assign(rows, 0);
    return Status();
  }
  if (chunk.size() < 2 || static_cast<uint8_t>(chunk[1]) > 1) return Bad("its head");
  const bool nulls = chunk[1] == 1;
  std::string_view body = chunk.substr(2);
  const auto* bitmap = reinterpret_cast<const uint8_t*>(body.data());
  if (nulls) {
    const size_t bytes = (rows + 7) / 8;
    if (body.size() < bytes) return Bad("its validity");
    out->valid.resize(rows);
    for (size_t i = 0; i < rows; ++i) out->valid[i] = (bitmap[i >> 3] >> (i & 7)) & 1;
    body.remove_prefix(bytes);
  }
  if (w == 0) {
    SEGUE_RETURN_IF_ERROR(DecodeBytes(encoding, body, rows, out));
    if (nulls) {
      for (size_t i = 0; i < rows; ++i) {
        if (out->valid[i] == 0 && out->offsets[i] != out->offsets[i + 1]) return Bad("a null with bytes");
      }
    }
    return Status();
  }
  out->values.resize(rows * w);
  const bool packed = encoding == Encoding::kFrameOfReference || encoding == Encoding::kDelta;
  if (packed && w <= 8) {
    // The leading byte of the sequence is the chunk's encoding.
    const Status status = WithWidth(shape.width, [&]<typename T>() -> Status {
      if constexpr (sizeof(T) <= 8) {
        std::string_view rest = body;
        if (!TakePackedBody<T>(tag, &rest, rows, reinterpret_cast<T*>(out->values.data())) || !rest.empty()) {
          return Bad("packed values that do not fit its rows");
        }
      }
      return Status();
    });
    SEGUE_RETURN_IF_ERROR(status);
  } else {
    SEGUE_RETURN_IF_ERROR(
        WithWidth(shape.width, [&]<typename T>() { return DecodeFixed<T>(encoding, body, rows, out->values.data()); }));
  }
  if (shape.is_bool) {
    uint8_t any = 0;
    for (const uint8_t value : out->values) any |= value;
    if (any > 1) return Bad("a truth value that is neither 0 nor 1");
  }
  if (nulls) {
    WithWidth(shape.width, [&]<typename T>() {
      auto* values = reinterpret_cast<T*>(out->values.data());
      for (size_t i = 0; i < rows; ++i) {
        if (out->valid[i] == 0) values[i] = T{};
      }
    });
  }
  return Status();
}

}  // namespace segue
