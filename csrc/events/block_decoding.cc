// Column chunks back into columns. Every length, index and width is checked before it is used.
#include <algorithm>
#include <cstring>
#include <limits>

#include "base/coding.h"
#include "events/block_encoding.h"
#include "events/packed_ints.h"
#include "events/value_width.h"

namespace segue {

namespace {

Status Bad(const char* what) { return Status::Invalid(std::string("a column chunk is damaged: ") + what); }

template <typename T>
Status DecodeModelled(std::string_view body, size_t rows, size_t begin, size_t end, const DecodeContext& context,
                      T* out) {
  if (context.coder == nullptr) return Bad("it needs a model that its file does not have");
  if (!context.coder->Decode(context.block, body, rows, begin, end, out)) return Bad("coded values");
  return Status();
}

}  // namespace

Status DecodeUInt64s(std::string_view chunk, size_t rows, size_t begin, size_t end, uint64_t* out,
                     const DecodeContext& context) {
  if (IsModelled(chunk)) return DecodeModelled(chunk.substr(1), rows, begin, end, context, out);
  if (!TakePacked<uint64_t>(&chunk, rows, begin, end, out) || !chunk.empty()) {
    return Status::Invalid("a packed sequence does not fit its " + std::to_string(rows) + " rows");
  }
  return Status();
}

namespace {

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

// Rows [begin, end) of a chunk of `rows`.
struct RowRange {
  size_t rows;
  size_t begin;
  size_t end;

  size_t size() const { return end - begin; }
};

template <typename T>
Status DecodeFixed(Encoding encoding, std::string_view body, const RowRange& range, uint8_t* bytes) {
  auto* out = reinterpret_cast<T*>(bytes);
  const size_t n = range.size();
  switch (encoding) {
    case Encoding::kPlain:
      if (body.size() != range.rows * sizeof(T)) return Bad("plain values of another size");
      if (n > 0) std::memcpy(bytes, body.data() + range.begin * sizeof(T), n * sizeof(T));
      return Status();
    case Encoding::kConstant:
      if (body.size() != sizeof(T)) return Bad("a constant of another size");
      std::fill_n(out, n, LoadAs<T>(body.data()));
      return Status();
    case Encoding::kDictionary: {
      Cursor cursor(body);
      uint64_t entries = 0;
      std::string_view values;
      if (!cursor.GetVarint64(&entries) || entries > range.rows || !cursor.GetBytes(entries * sizeof(T), &values)) {
        return Bad("a dictionary that is cut off");
      }
      body.remove_prefix(body.size() - cursor.remaining());
      RawVector<uint32_t> index(n);
      if (!TakePacked<uint32_t>(&body, range.rows, range.begin, range.end, index.data()) || !body.empty()) {
        return Bad("a dictionary's index");
      }
      bool outside = false;
      for (const uint32_t i : index) outside |= i >= entries;
      if (outside) return Bad("an index outside its dictionary");
      for (size_t i = 0; i < n; ++i) out[i] = LoadAs<T>(values.data() + index[i] * sizeof(T));
      return Status();
    }
    case Encoding::kWords: {
      if constexpr (sizeof(T) == 16) {
        RawVector<uint64_t> low(n);
        RawVector<uint64_t> high(n);
        if (!TakePacked<uint64_t>(&body, range.rows, range.begin, range.end, low.data()) ||
            !TakePacked<uint64_t>(&body, range.rows, range.begin, range.end, high.data()) || !body.empty()) {
          return Bad("packed words");
        }
        for (size_t i = 0; i < n; ++i) out[i] = static_cast<T>(high[i]) << 64 | low[i];
        return Status();
      }
      return Bad("an encoding that does not fit the type");
    }
    default:
      return Bad("an encoding that does not fit the type");
  }
}

constexpr uint64_t kMaxBytes = std::numeric_limits<uint32_t>::max();

// Byte strings laid end to end: the range's are a piece of the body.
Status DecodePlainBytes(std::string_view body, const RowRange& range, ColumnData* out) {
  RawVector<uint64_t> lengths(range.rows);
  if (!TakePacked<uint64_t>(&body, range.rows, lengths.data())) return Bad("packed lengths");
  uint64_t total = 0;
  uint64_t from = 0;
  uint64_t to = 0;
  for (size_t i = 0; i < range.rows; ++i) {
    if (lengths[i] > kMaxBytes) return Bad("a length");
    if (i == range.begin) from = total;
    total += lengths[i];  // at most 2^16 lengths below 2^32: no overflow
    if (i + 1 == range.end) to = total;
  }
  if (total != body.size() || total > kMaxBytes) return Bad("lengths that do not sum to the bytes there are");
  const size_t old = out->values.size();
  if (old + (to - from) > kMaxBytes) return Bad("strings that together have 4 GiB or more");
  auto position = static_cast<uint32_t>(old);
  for (size_t i = range.begin; i < range.end; ++i) {
    position += static_cast<uint32_t>(lengths[i]);
    out->offsets.push_back(position);
  }
  out->values.resize(old + (to - from));
  if (to > from) std::memcpy(out->values.data() + old, body.data() + from, to - from);
  return Status();
}

Status DecodeDictionaryBytes(std::string_view body, const RowRange& range, ColumnData* out) {
  Cursor cursor(body);
  uint64_t entries = 0;
  if (!cursor.GetVarint64(&entries) || entries > range.rows) return Bad("a dictionary's size");
  body.remove_prefix(body.size() - cursor.remaining());
  std::vector<std::string_view> strings;
  RawVector<uint32_t> index(range.size());
  if (!TakeStrings(&body, entries, &strings)) return Bad("a dictionary that is cut off");
  if (!TakePacked<uint32_t>(&body, range.rows, range.begin, range.end, index.data()) || !body.empty()) {
    return Bad("a dictionary's index");
  }
  const size_t old = out->values.size();
  uint64_t total = old;
  for (const uint32_t i : index) {
    if (i >= entries) return Bad("an index outside its dictionary");
    total += strings[i].size();
    if (total > kMaxBytes) return Bad("a dictionary that unfolds to 4 GiB or more");
    out->offsets.push_back(static_cast<uint32_t>(total));
  }
  out->values.resize(total);
  uint8_t* bytes = out->values.data() + old;
  for (const uint32_t i : index) {
    if (!strings[i].empty()) std::memcpy(bytes, strings[i].data(), strings[i].size());
    bytes += strings[i].size();
  }
  return Status();
}

Status DecodeBytes(Encoding encoding, std::string_view body, const RowRange& range, ColumnData* out) {
  if (out->offsets.empty()) out->offsets.push_back(0);
  if (encoding == Encoding::kBytes) return DecodePlainBytes(body, range, out);
  if (encoding == Encoding::kBytesDictionary) return DecodeDictionaryBytes(body, range, out);
  return Bad("an encoding that does not fit the type");
}

}  // namespace

Status DecodeStrings(std::string_view bytes, size_t n, std::vector<std::string_view>* out) {
  if (!TakeStrings(&bytes, n, out) || !bytes.empty()) return Bad("strings that do not fit their lengths");
  return Status();
}

Status DecodeColumn(const ColumnShape& shape, std::string_view chunk, size_t rows, ColumnData* out,
                    const DecodeContext& context) {
  out->values.clear();
  out->offsets.clear();
  out->valid.clear();
  return DecodeColumn(shape, chunk, rows, 0, rows, out, context);
}

Status DecodeColumn(const ColumnShape& shape, std::string_view chunk, size_t rows, size_t begin, size_t end,
                    ColumnData* out, const DecodeContext& context) {
  if (rows == 0 || rows > kMaxBlockRows || begin > end || end > rows) return Bad("its number of rows");
  if (chunk.empty()) return Bad("it is empty");
  const RowRange range{rows, begin, end};
  const size_t n = range.size();
  const auto w = static_cast<size_t>(shape.width);
  const size_t old_bytes = out->values.size();
  const size_t old_rows = w > 0 ? old_bytes / w : std::max<size_t>(out->offsets.size(), 1) - 1;
  const uint8_t tag = static_cast<uint8_t>(chunk[0]);
  if (tag > static_cast<uint8_t>(Encoding::kModelled)) return Bad("an unknown encoding");
  const auto encoding = static_cast<Encoding>(tag);
  const bool all_null = encoding == Encoding::kAllNull;
  if (all_null ? chunk.size() != 1 : chunk.size() < 2 || static_cast<uint8_t>(chunk[1]) > 1) return Bad("its head");
  const bool nulls = all_null || chunk[1] == 1;
  std::string_view body = all_null ? std::string_view() : chunk.substr(2);
  if (nulls && out->valid.empty()) out->valid.assign(old_rows, 1);
  if (all_null) {
    out->values.resize(old_bytes + n * w, 0);
    if (w == 0) out->offsets.resize(old_rows + n + 1, static_cast<uint32_t>(old_bytes));
    out->valid.resize(old_rows + n, 0);
    return Status();
  }
  if (nulls) {
    const auto* bitmap = reinterpret_cast<const uint8_t*>(body.data());
    const size_t bytes = (rows + 7) / 8;
    if (body.size() < bytes) return Bad("its validity");
    out->valid.resize(old_rows + n);
    for (size_t i = 0; i < n; ++i) out->valid[old_rows + i] = (bitmap[(begin + i) >> 3] >> ((begin + i) & 7)) & 1;
    body.remove_prefix(bytes);
  } else if (!out->valid.empty()) {
    out->valid.resize(old_rows + n, 1);
  }
  if (w == 0) {
    SEGUE_RETURN_IF_ERROR(DecodeBytes(encoding, body, range, out));
    for (size_t i = old_rows; nulls && i < old_rows + n; ++i) {
      if (out->valid[i] == 0 && out->offsets[i] != out->offsets[i + 1]) return Bad("a null with bytes");
    }
    return Status();
  }
  out->values.resize(old_bytes + n * w);
  uint8_t* values = out->values.data() + old_bytes;
  const bool packed = encoding == Encoding::kFrameOfReference || encoding == Encoding::kDelta;
  if (encoding == Encoding::kModelled) {
    const Status status = WithWidth(shape.width, [&]<typename T>() -> Status {
      if constexpr (sizeof(T) > 8)
        return Bad("an encoding that does not fit the type");
      else
        return DecodeModelled(body, rows, begin, end, context, reinterpret_cast<T*>(values));
    });
    SEGUE_RETURN_IF_ERROR(status);
  } else if (packed && w <= 8) {
    // The leading byte of the sequence is the chunk's encoding.
    const Status status = WithWidth(shape.width, [&]<typename T>() -> Status {
      if constexpr (sizeof(T) <= 8) {
        if (!TakePackedRange<T>(tag, &body, rows, begin, end, reinterpret_cast<T*>(values)) || !body.empty()) {
          return Bad("packed values that do not fit its rows");
        }
      }
      return Status();
    });
    SEGUE_RETURN_IF_ERROR(status);
  } else {
    SEGUE_RETURN_IF_ERROR(
        WithWidth(shape.width, [&]<typename T>() { return DecodeFixed<T>(encoding, body, range, values); }));
  }
  if (shape.is_bool) {
    uint8_t any = 0;
    for (size_t i = 0; i < n; ++i) any |= values[i];
    if (any > 1) return Bad("a truth value that is neither 0 nor 1");
  }
  if (nulls) {
    WithWidth(shape.width, [&]<typename T>() {
      auto* typed = reinterpret_cast<T*>(values);
      for (size_t i = 0; i < n; ++i) {
        if (out->valid[old_rows + i] == 0) typed[i] = T{};
      }
    });
  }
  return Status();
}

}  // namespace segue
